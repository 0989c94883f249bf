"""copy.deepcopy of callbacks, before and after fit: as KerasTuner copies them for each trial."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, smooth_pictures

from keras_genimg import callbacks

REAL = smooth_pictures(20)


def columns(images):
    """Means of the columns of images: (n, 16, 16, 1) -> (n, 16)."""
    return np.asarray(images).mean(axis=(1, 3))


def every_callback(folder):
    """One of each callback of the package, with all that one can hold."""
    data = tf.data.Dataset.from_tensor_slices(REAL).batch(7)
    metrics = ["frechet_distance", "precision_recall_density_coverage"]
    return [
        callbacks.EvaluateSamples(
            data, metrics, features=columns, num_images=20, keep_best=folder / "best.keras",
            log_dir=folder / "logs",
        ),
        callbacks.ImageGrid(folder / "grids", 4, log_dir=folder / "logs"),
        callbacks.BestCheckpoint(folder / "other.keras", "g_loss"),
        callbacks.Prune(0.5, 1, 4, every=1),
        callbacks.Resume(folder / "checkpoints"),
    ]


def fit(model, epochs, callbacks):
    return model.fit(
        REAL, batch_size=10, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks
    ).history


def test_it_copies_every_callback():
    classes = {type(callback) for callback in every_callback(callbacks.resume.Path())}
    assert classes == {
        each for each in vars(callbacks).values()
        if isinstance(each, type) and issubclass(each, keras.callbacks.Callback)
    }


@pytest.mark.slow
def test_copies_do_what_the_originals_do(tmp_path):
    keras.utils.set_random_seed(1)
    model, unused = MODELS["gan"](networks="mlp"), every_callback(tmp_path)
    model.compile()
    # Before use: a training with the copies leaves the originals as they are.
    used = copy.deepcopy(unused)
    logs = fit(model, 1, used)
    assert {"frechet_distance[columns]", "coverage[columns]", "sparsity"} <= set(logs)
    assert used[0].history and not unused[0].history and unused[0].model is None
    # After use: the state goes along, and the model is shared.
    again = copy.deepcopy(used)
    for callback, other in zip(used, again):
        assert type(other) is type(callback) and other is not callback
        assert other.model is callback.model is model
    evaluate, _, best, prune, _ = again
    assert evaluate.history == used[0].history and evaluate.history is not used[0].history
    assert evaluate.real_images is used[0].real_images is unused[0].real_images
    assert evaluate.best == used[0].best is not None and best.best == used[2].best is not None
    assert prune.kernels[0] is model.generator.trainable_weights[0]
    assert len(fit(model, 2, again)["g_loss"]) == 1  # Resume starts after the first epoch
    assert [row["epoch"] for row in evaluate.history] == [1, 2] and len(used[0].history) == 1
    distance = evaluate.evaluate()["frechet_distance[columns]"]
    assert distance == pytest.approx(evaluate.history[1]["frechet_distance[columns]"], rel=1e-6)


def test_a_copy_of_an_open_file_opens_its_own(tmp_path):
    writer = callbacks.summaries.SummaryWriter(tmp_path)
    for each in (writer, copy.deepcopy(writer)):
        each.scalar("distance", 1.0, 1)
        other = copy.deepcopy(each)
        other.scalar("distance", 2.0, 2)
        other.close()
        each.close()
    assert len(list(tmp_path.iterdir())) >= 2
