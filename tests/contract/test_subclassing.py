"""A reader's own step on a model of the package keeps everything else."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, dataset, smooth_pictures
from matrix import assert_same_state, state_of

import keras_genimg
from keras_genimg.core import update_ema


class NotebookGAN(keras_genimg.GAN):
    """As a reader of a tutorial writes it: another step that logs another name."""

    def train_step(self, data):
        images, _, batch = self.unpack(data)
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            error = tf.reduce_mean((self.generator(latents, training=True) - images) ** 2)
        weights = self.generator.trainable_variables
        gradients = tape.gradient(error, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())
        return self.log(batch, pixel_error=error)


@keras.saving.register_keras_serializable(package="test_subclassing")
class NotebookVAE(keras_genimg.VAE):
    """An argument more, which the configuration holds without a get_config."""

    def __init__(self, *args, sharpness=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.sharpness = sharpness

    def train_step(self, data):
        logs = super().train_step(data)
        return {**logs, "sharpness": tf.constant(self.sharpness)}


@pytest.mark.parametrize(
    "kind", [pytest.param("custom_objects", marks=pytest.mark.slow), "registered"]
)
def test_a_subclass_keeps_everything_else(kind, tmp_path):
    if kind == "registered":
        model = NotebookVAE(SHAPE, 4, networks="mlp", sharpness=2.5)
        log, custom = "sharpness", None
    else:
        model = NotebookGAN(SHAPE, 4, networks="mlp", seed=1)
        log, custom = "pixel_error", {"NotebookGAN": NotebookGAN}
    model.compile()
    data = dataset(smooth_pictures(16), model, 8)
    history = model.fit(data, epochs=2, verbose=0).history
    assert len(history[log]) == 2 and np.isfinite(history[log]).all()
    if kind == "registered":
        assert history[log] == [2.5, 2.5] and "elbo" in history
    else:
        assert set(history) == {"pixel_error"} and history[log][1] < history[log][0]
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", custom_objects=custom)
    assert type(again) is type(model)
    assert_same_state(state_of(model), state_of(again))
    assert log in again.fit(data, verbose=0).history
    told = f"{type(again).__name__} has its own train_step but not its own test_step: evaluate and"
    with pytest.warns(UserWarning, match=told):
        assert again.evaluate(data, verbose=0, return_dict=True)
    with warnings.catch_warnings():  # once, and not about a model of the package
        warnings.simplefilter("error")
        again.fit(data, validation_data=data, verbose=0)
    assert again.generate(2, seed=1).shape == (2, *SHAPE)
    again.export(tmp_path / "exported")
    signatures = tf.saved_model.load(tmp_path / "exported").signatures
    assert "serving_default" in signatures
