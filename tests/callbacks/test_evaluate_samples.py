"""EvaluateSamples: the right results at the right epochs, and the best model kept."""

import csv
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, compile_with_sgd, smooth_pictures

from keras_genimg.callbacks import EvaluateSamples
from keras_genimg.errors import InputError
from keras_genimg.metrics import (
    FeatureExtractor,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    PrecisionRecallDensityCoverage,
    frechet_distance,
)
from keras_genimg.plotting import to_uint8

REAL = smooth_pictures(40)
NAME = "frechet_distance[columns]"


def columns(images):
    """Means of the columns of images: (n, 16, 16, 1) -> (n, 16)."""
    return np.asarray(images).mean(axis=(1, 3))


LOGITS = FeatureExtractor("columns", lambda images: 2 * [columns(images)], has_logits=True)


def evaluation(real=REAL, metrics="frechet_distance", **arguments):
    return EvaluateSamples(
        real, metrics, **{"features": columns, "num_images": 30, "batch_size": 8, **arguments}
    )


def trained(callbacks, name="gan", epochs=3, images=REAL, strategy=None, **arguments):
    strategy = strategy or tf.distribute.get_strategy()
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = MODELS[name]()
        compile_with_sgd(model)
    history = model.fit(
        images, epochs=epochs, batch_size=16, verbose=0, shuffle=False, callbacks=callbacks,
        **arguments,
    )
    return model, history.history


def by_hand(model):
    """The distance of the model's first 30 images of seed 0, as files would store them."""
    files = to_uint8(model.generate(30, seed=0)).astype("float32") / 127.5 - 1.0
    return frechet_distance(columns(REAL), columns(files))


@pytest.mark.parametrize("name", ["gan", "vae"])
def test_the_last_result_is_that_of_the_model(name):
    callback = evaluation()
    model, history = trained([callback], name)
    assert history[NAME][-1] == pytest.approx(by_hand(model), rel=1e-6)
    assert len(set(history[NAME])) == 3  # the model changes, and so does the result
    assert callback.history == [
        {"epoch": epoch + 1, NAME: value} for epoch, value in enumerate(history[NAME])
    ]


def test_every_second_epoch_and_after_the_last(tmp_path):
    log = tmp_path / "logs.csv"
    _, history = trained([evaluation(every=2), keras.callbacks.CSVLogger(log)], epochs=5)
    assert [math.isfinite(value) for value in history[NAME]] == [False, True, False, True, True]
    with open(log) as file:
        written = [float(row[NAME]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(written, history[NAME], rtol=1e-6)


def test_evaluation_does_not_change_training():
    evaluated, _ = trained([evaluation()])
    alone, _ = trained([])
    for weight, other in zip(evaluated.get_weights(), alone.get_weights()):
        np.testing.assert_allclose(weight, other, atol=1e-6)


def test_a_dataset_of_real_images_and_several_metrics():
    labelled = tf.data.Dataset.from_tensor_slices((REAL, np.zeros(40, "int32"))).batch(7)
    seen = []

    def counted(images):
        seen.append(len(images))
        return columns(images)

    extractor = FeatureExtractor("columns", counted)
    metrics = [FrechetDistance(extractor), PrecisionRecallDensityCoverage(extractor, k=3)]
    model, history = trained([EvaluateSamples(labelled, metrics, num_images=30)], epochs=2)
    assert history[NAME][-1] == pytest.approx(by_hand(model), rel=1e-6)
    assert 0 <= history["coverage[columns]"][-1] <= 1
    assert sum(seen) == 40 + 2 * 30  # the real ones once, each set of samples once


def test_keeps_the_best(tmp_path):
    path = tmp_path / "best.keras"

    class Spoil(keras.callbacks.Callback):
        """Makes the generator's images white at the end of the second epoch."""

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                bias = self.model.ema_generator.weights[-1]
                bias.assign(tf.fill(bias.shape, 10.0))

    callback = evaluation(keep_best=path)
    _, history = trained([Spoil(), callback], epochs=2)
    assert history[NAME][0] < history[NAME][1]
    assert callback.best == history[NAME][0]
    assert by_hand(keras.saving.load_model(path)) == pytest.approx(callback.best, rel=1e-6)
    # A later run does not replace it with a worse one.
    again = evaluation(keep_best=path)
    trained([Spoil(), again], epochs=2, initial_epoch=1)
    assert again.best == callback.best


def test_the_monitor_selects(tmp_path):
    extractor = FeatureExtractor("columns", columns)
    metrics = [FrechetDistance(extractor), PrecisionRecallDensityCoverage(extractor, k=3)]
    callback = EvaluateSamples(
        REAL, metrics, num_images=30, keep_best=tmp_path / "b.keras", monitor="coverage[columns]"
    )
    _, history = trained([callback])
    assert callback.best == max(history["coverage[columns]"])


@pytest.mark.full
def test_two_replicas_have_the_same_results(mirrored, tmp_path):
    one = trained([evaluation(keep_best=tmp_path / "one.keras")])[1][NAME]
    two = trained([evaluation(keep_best=tmp_path / "two.keras")], strategy=mirrored)[1][NAME]
    np.testing.assert_allclose(two, one, rtol=1e-2)
    assert (tmp_path / "two.keras").exists()


def test_tensorboard_gets_the_results(tmp_path):
    _, history = trained([evaluation(log_dir=tmp_path, every=2)])
    found = {}
    for file in tmp_path.iterdir():
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                found[event.step] = (value.tag, float(tf.make_ndarray(value.tensor)))
    assert found == {
        epoch: (NAME, pytest.approx(history[NAME][epoch - 1], rel=1e-6)) for epoch in (2, 3)
    }


def test_a_progress_bar_when_asked(capsys):
    trained([evaluation(verbose=1)], epochs=1)
    printed = capsys.readouterr().out
    assert "evaluating 30 samples" in printed and "30/30" in printed
    trained([evaluation()], epochs=1)
    assert capsys.readouterr().out == ""


def test_invalid_arguments_are_refused(tmp_path):
    with pytest.raises(InputError, match="num_images must be an integer of at least 2"):
        evaluation(num_images=1)
    with pytest.raises(InputError, match="one label per image"):
        evaluation(labels=[1, 2])
    with pytest.raises(InputError, match=r"monitor must be one of frechet_distance\[columns\]"):
        evaluation(monitor="coverage")
    with pytest.raises(InputError, match="path must end in .keras"):
        evaluation(keep_best=tmp_path / "best")
    with pytest.raises(InputError, match="EvaluateSamples needs a model that generates images"):
        trained_classifier = MODELS["cnn_classifier"]()
        trained_classifier.compile()
        trained_classifier.fit(REAL, np.zeros(40, "int32"), verbose=0, callbacks=[evaluation()])
    with pytest.raises(InputError, match="height 28"):
        trained([EvaluateSamples(REAL, "frechet_distance", features="mnist")])
    with pytest.raises(InputError, match="real_images must be finite"):
        trained([evaluation(tf.data.Dataset.from_tensor_slices(REAL).batch(8).repeat())])


@pytest.mark.parametrize(
    "callback, words",
    [
        (evaluation(labels=3), "GAN has no classes. Received: labels="),
        (evaluation(seed=0.5), "or None. Received: seed=0.5."),
        (evaluation(metrics="kernel_distance"),
         "KernelDistance needs at least 1000 real and as many generated images with "
         "subset_size=1000; a smaller one, as in metrics=KernelDistance(features, "
         "subset_size=...), needs fewer. Received: 40 real and 30 generated images."),
        (evaluation(metrics=KernelDistance(columns, subset_size=31)), "40 real and 30 generated"),
        (evaluation(REAL[:5], "precision_recall_density_coverage"),
         "needs at least 6 real and as many generated images with k=5; a smaller one"),
        (evaluation(REAL[:1]), "FrechetDistance needs at least 2 real and as many generated"),
        (evaluation(metrics=InceptionScore(LOGITS, num_splits=31)),
         "InceptionScore needs at least 31 generated images with num_splits=31"),
        (evaluation(np.zeros((9, 20, 20, 1))), "the same dimensions. Received: 20 and 16."),
    ],
)  # fmt: skip
def test_what_a_metric_needs_is_checked_before_the_first_step(callback, words):
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda step, logs: steps.append(step))
    with pytest.raises(InputError, match=re.escape(words)):
        trained([count, callback])
    assert not steps


def test_clips_are_refused_before_the_first_step():
    model = MODELS["sequence_gan"]()
    callback = evaluation()
    callback.set_model(model)
    with pytest.raises(InputError, match=re.escape("Received: shape=(3, 16, 16, 1).")):
        callback.on_train_begin()


def test_as_few_images_as_a_metric_needs():
    metrics = [
        KernelDistance(columns, subset_size=30), InceptionScore(LOGITS, num_splits=30),
        PrecisionRecallDensityCoverage(columns, k=29),
    ]
    _, history = trained([evaluation(REAL[:30], metrics)], epochs=1)
    assert np.isfinite([*history.values()]).all()
