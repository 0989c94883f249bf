"""Arguments are recorded when a model is made, by the names that its constructors have for them."""

import json
import zipfile

import keras
import numpy as np
import pytest
from cases import SHAPE

from keras_genimg import GAN, VAE, VQVAE, ConditionalVAE
from keras_genimg.core import argument_names


@keras.saving.register_keras_serializable(package="test_arguments")
class SharperVAE(VAE):
    """As a reader of a tutorial writes it: what is not its own goes on to VAE."""

    def __init__(self, *args, sharpness=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.sharpness = sharpness


def test_defaults_positions_and_keywords_are_recorded_by_name():
    gan = GAN(SHAPE, 5, networks="mlp", loss="hinge")
    assert gan.arguments["image_shape"] == SHAPE and gan.arguments["latent_dim"] == 5
    assert gan.arguments["loss"] == "hinge" and gan.arguments["r1_weight"] == 0.0
    assert set(gan.arguments) == argument_names(GAN)
    assert "name" not in gan.arguments and "dtype" not in gan.arguments  # Keras's own
    assert not gan.is_custom("generator", "discriminator")


def test_a_subclass_that_hands_arguments_on_needs_no_get_config():
    model = SharperVAE(SHAPE, 4, networks="mlp", sharpness=2.5)
    assert argument_names(SharperVAE) == argument_names(VAE) | {"sharpness"}
    config = model.get_config()
    assert config["sharpness"] == 2.5 and config["latent_dim"] == 4
    again = SharperVAE.from_config(json.loads(json.dumps(config)))
    assert again.sharpness == 2.5 and again.get_config() == config
    assert SharperVAE(SHAPE, networks="mlp").get_config()["sharpness"] == 1.0


def test_numpy_numbers_become_numbers_that_json_holds():
    vae = VAE(list(SHAPE), 4, networks="mlp", beta=np.float32(0.5))
    config = json.loads(json.dumps(vae.get_config()))
    assert config["beta"] == 0.5
    assert VAE.from_config(config).get_config() == vae.get_config()


def test_a_custom_network_is_serialised_and_stored_once(tmp_path):
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(8, 4, 4)], name="mine")
    model = VQVAE(SHAPE, 16, 8, encoder=encoder)
    assert model.is_custom("encoder") and not model.is_custom("decoder")
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert again.encoder.name == "mine" and again.is_custom("encoder")
    images = np.zeros((2, *SHAPE), "float32")
    np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))
    # The record of arguments is not walked when weights are saved.
    with zipfile.ZipFile(tmp_path / "x.keras") as archive:
        weights = archive.read("model.weights.h5")
    assert b"arguments" not in weights


def test_wrong_arguments_are_the_constructors_to_refuse():
    with pytest.raises(ValueError, match="latent_dims"):
        GAN(SHAPE, latent_dims=4)
    with pytest.raises(TypeError):
        GAN(SHAPE, 4, "positional")


class Digits(GAN):
    """A subclass with a constructor of its own, which says what its parent gets."""

    def __init__(self, mine=3, **kwargs):
        super().__init__(SHAPE, networks="mlp", **{"latent_dim": 8, **kwargs})
        self.mine = mine


@pytest.mark.parametrize("given", [{}, {"mine": 5, "loss": "hinge", "seed": 4}, {"latent_dim": 6}])
def test_a_subclass_with_its_own_constructor(given, tmp_path):
    model = Digits(**given)
    model.compile()  # asks whether networks are custom
    config = model.get_config()
    assert {name: config[name] for name in given} == given
    assert config["mine"] == given.get("mine", 3)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", custom_objects={"Digits": Digits})
    assert again.latent_dim == given.get("latent_dim", 8) and again.get_config() == config
    assert again.arguments.get("loss") == given.get("loss")
    np.testing.assert_array_equal(again.generate(2, seed=1), model.generate(2, seed=1))


class WithOwnNetwork(GAN):
    def __init__(self, **kwargs):
        layers = [keras.Input((8,)), keras.layers.Dense(256), keras.layers.Reshape(SHAPE)]
        super().__init__(SHAPE, 8, generator=keras.Sequential(layers), **kwargs)


def test_a_network_that_a_subclass_hands_on_is_custom():
    model = WithOwnNetwork()
    model.compile()
    assert model.is_custom("generator") and not model.is_custom("discriminator")
    assert float(model.generator_optimizer.learning_rate) == pytest.approx(2e-4)


def test_a_number_that_is_set_anew_is_saved(tmp_path):
    vae = VAE(SHAPE, 4, networks="mlp")
    vae.beta = 4.0
    vae.save(tmp_path / "x.keras")
    assert keras.saving.load_model(tmp_path / "x.keras").beta == 4.0


def test_a_conditional_vae_of_importance_samples_loads_with_a_warning():
    config = ConditionalVAE(SHAPE, 4, 4, networks="mlp").get_config()
    with pytest.warns(UserWarning, match="with 5 importance samples; further training"):
        model = ConditionalVAE.from_config({**config, "importance_samples": 5})
    assert model.get_config() == config
