"""`dtype=` of a model reaches its default networks, layers and EMA copies, and nothing else."""

import keras
import numpy as np
import pytest
from cases import MODELS, SHAPE, dataset, small_gan, small_vq_vae, smooth_pictures

from keras_genimg import GAN
from keras_genimg.core import dtype_policy

MADE = {**MODELS, "gan_augmented": small_gan.with_arguments(augment="color", networks="mlp")}


def policies(model):
    return [(type(layer).__name__, layer.dtype_policy.name) for layer in model._flatten_layers()]


def variables(model):
    return [(variable.path.split("/")[-1], variable.dtype) for variable in model.variables]


@pytest.mark.parametrize("name", MADE)
def test_a_model_has_the_layers_that_the_global_policy_would_give_it(name):
    given = MADE[name](dtype="float64")
    assert keras.config.dtype_policy().name == "float32"
    with dtype_policy("float64"):
        expected = MADE[name]()
    assert policies(given) == policies(expected)
    assert variables(given) == variables(expected)


@pytest.mark.parametrize(
    "name, policy",
    [
        ("gan", "mixed_bfloat16"),
        *(pytest.param(*each, marks=pytest.mark.slow)
          for each in (("gan", "float64"), ("vq_vae", "float64"), ("vq_vae", "mixed_bfloat16"))),
    ],
)  # fmt: skip
def test_it_trains_and_is_saved(name, policy, tmp_path):
    case = MODELS[name].with_arguments(dtype=policy)
    if name == "gan":
        case = case.with_arguments(networks="mlp")
    model = case()
    compute = "float64" if policy == "float64" else "bfloat16"
    assert model.compute_dtype == compute and compute in str(policies(model))
    model.compile()
    images = smooth_pictures(8)
    logs = model.fit(dataset(images, model, 8), verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert policies(again) == policies(model) and again.dtype_policy.name == policy

    def outputs(of):
        return of.generate(4, seed=1) if name == "gan" else of.reconstruct(images)

    np.testing.assert_array_equal(outputs(again), outputs(model))


def test_custom_networks_keep_their_policy(tmp_path):
    layers = [keras.Input((6,)), keras.layers.Dense(256), keras.layers.Reshape(SHAPE)]
    generator = keras.Sequential(layers)
    gan = GAN(SHAPE, 6, networks="mlp", generator=generator, dtype="float64", seed=1)
    gan.save(tmp_path / "gan.keras")
    for model in (gan, keras.saving.load_model(tmp_path / "gan.keras")):
        for network, policy in (
            (model.generator, "float32"), (model.ema_generator, "float32"),
            (model.discriminator, "float64"),
        ):  # fmt: skip
            assert {layer.dtype_policy.name for layer in network.layers} == {policy}


@pytest.mark.slow
def test_priors_have_the_policy_of_their_model():
    model = small_vq_vae(dtype="float64")
    model.fit_prior(smooth_pictures(8), epochs=1, verbose=0)
    assert {layer.dtype_policy.name for layer in model.prior._flatten_layers()} == {"float64"}
    vae = MODELS["vae"](dtype="float64", networks="mlp")
    vae.fit_prior(smooth_pictures(32), num_components=2)
    assert vae.prior.dtype_policy.name == "float64"
