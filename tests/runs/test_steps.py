"""A training that stops within an epoch after a signal, and goes on at that step."""

import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures

import keras_genimg as kg
from keras_genimg import signals
from keras_genimg.callbacks.resume import (
    latest_position,
    restore_checkpoint,
    save_checkpoint,
)
from keras_genimg.errors import InputError
from keras_genimg.runs.steps import Checkpoints, check_position

STEPS = 6


def new_model(name="vae", several=1):
    keras.utils.set_random_seed(1)
    if name == "vae":
        model = kg.VAE(SHAPE, 2, networks="mlp", seed=0)
    elif name == "vq_vae":  # counts codes beside the means of its logs
        model = kg.VQVAE(SHAPE, num_embeddings=8, seed=0)
    else:
        model = kg.WGAN(SHAPE, latent_dim=4, n_critic=2, seed=0)
    model.compile(steps_per_execution=several)
    return model


def batches(model, epoch, step):
    data = tf.data.Dataset.from_tensor_slices(smooth_pictures(20)).batch(4)
    return data.repeat().skip((epoch * STEPS + step) * model.n_critic)


class Sends(keras.callbacks.Callback):
    """Sends a signal within the steps of these numbers, counted over all epochs."""

    def __init__(self, *moments):
        super().__init__()
        self.moments, self.count = moments, 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += self.model.steps_per_execution
        for _ in range(self.moments.count(self.count)):
            os.kill(os.getpid(), signal.SIGTERM)

    def on_epoch_end(self, epoch, logs=None):
        if f"end of {epoch}" in self.moments:
            os.kill(os.getpid(), signal.SIGTERM)


def fit(model, folder, *moments, epochs=3):
    """Trains, from the last checkpoint on; returns the logs of the epochs."""
    start, epoch, step = latest_position(folder) or (None, 0, 0)
    if start is not None:
        for variable in state_variables(model):  # nothing is there already
            variable.assign(keras.ops.ones_like(variable))
        restore_checkpoint(model, start)
    with signals.held() as held:
        history = model.fit(
            batches(model, epoch, step), steps_per_epoch=STEPS, epochs=epochs,
            initial_epoch=epoch, verbose=0,
            callbacks=[Sends(*moments), Checkpoints(folder, STEPS, held, start, step)],
        )  # fmt: skip
    return history.history


def state_variables(model):
    return [*model.variables, *model.optimizer.variables]


def state(model):
    return [np.array(variable) for variable in state_variables(model)]


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize(
    "name, several",
    [("vae", 1),
     *(pytest.param(*case, marks=pytest.mark.slow)
       for case in [("vae", 2), ("wgan", 2), ("vq_vae", 1)])],
)  # fmt: skip
def test_stopped_within_epochs_is_as_if_it_never_was(tmp_path, name, several):
    model = new_model(name, several)
    first = tmp_path / "epoch-0000.keras"
    save_checkpoint(model, first, {})
    logs = fit(model, tmp_path / "unbroken")
    unbroken = state(model)

    folder = tmp_path / "stopped"
    folder.mkdir()
    first.rename(folder / first.name)
    for moment in (several, STEPS + several):
        with pytest.raises(signals.Interrupted) as error:
            fit(model, folder, moment)
        assert error.value.code == 143
    assert names(folder)[1:] == [f"epoch-0001-step-{2 * several:06d}.keras", "epoch-0001.keras"]
    found = fit(model, folder)
    assert found == {name: values[1:] for name, values in logs.items()}
    for one, other in zip(unbroken, state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert names(folder) == ["epoch-0002.keras", "epoch-0003.keras"]


def test_where_it_stops(tmp_path):
    model = new_model()
    for moments, found in [
        ([2], ["epoch-0000-step-000002.keras"]),
        ([1], ["epoch-0000-step-000003.keras"]),  # a later one replaces it
        ([3], ["epoch-0001.keras"]),  # the last step ends the epoch
        (["end of 1"], ["epoch-0001.keras", "epoch-0002.keras"]),  # as does a signal after it
        ([2, 2], ["epoch-0001.keras", "epoch-0002.keras"]),  # the second one ends it at once
    ]:
        with pytest.raises(signals.Interrupted):
            fit(model, tmp_path, *moments)
        assert names(tmp_path) == found


def test_what_cannot_be_saved_is_told(tmp_path, capsys, monkeypatch):
    """NaN in the weights, or a full disk: earlier checkpoints stay, and the exit code is 143."""
    model = new_model()
    fit(model, tmp_path, epochs=1)

    def full(*args):
        raise InputError("it could not be written: No space left on device.")

    monkeypatch.setattr("keras_genimg.runs.steps.save_step", full)
    with pytest.raises(signals.Interrupted) as error:
        fit(model, tmp_path, 2)
    assert error.value.code == 143
    said = capsys.readouterr().err
    assert "no checkpoint of this step: it could not be written: No space left" in said
    assert names(tmp_path) == ["epoch-0001.keras"]


def test_epochs_that_have_become_shorter_are_refused():
    check_position(None, 0, 1)
    check_position("x", 3, 4)
    with pytest.raises(InputError, match="without run/x.keras it resumes after.*Received: 3 steps"):
        check_position("run/x.keras", 3, 3)


def test_messages_count_the_steps_before(tmp_path):
    model = new_model()
    with pytest.raises(signals.Interrupted):
        fit(model, tmp_path, 2)
    bad = np.full((4, *SHAPE), np.nan, "float32")
    data = tf.data.Dataset.from_tensors(smooth_pictures(4)).concatenate(
        tf.data.Dataset.from_tensors(bad)
    )
    start, _, step = latest_position(tmp_path)
    last = Checkpoints(tmp_path, STEPS, signals.Held(), start, step)
    with pytest.raises(InputError, match="step 4 of epoch 1"):
        model.fit(data, steps_per_epoch=STEPS, verbose=0, callbacks=[last])
