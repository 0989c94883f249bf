"""Where the probe's features come from, and that its classifier is at its lowest point."""

import pathlib
import runpy

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, smooth_pictures

from keras_genimg import VQVAE
from keras_genimg.errors import InputError

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))  # it imports what the benchmarks share
        return runpy.run_path(str(BENCHMARKS / "linear_probe.py"))


def adaptive_maxima(grid, size=4):
    """Maxima over size x size regions that cover the grid, by hand: (n, h, w, c) -> (n, 16c)."""
    height, width = grid.shape[1:3]
    rows = [(i * height // size, -(-(i + 1) * height // size)) for i in range(size)]
    columns = [(j * width // size, -(-(j + 1) * width // size)) for j in range(size)]
    parts = [[grid[:, a:b, c:d].max(axis=(1, 2)) for c, d in columns] for a, b in rows]
    return np.stack([np.stack(row, 1) for row in parts], 1).reshape(len(grid), -1)


def test_features_of_a_discriminator(script, tmp_path):
    MODELS["gan"]().save(tmp_path / "gan.keras")
    network = keras.saving.load_model(tmp_path / "gan.keras").discriminator
    model = type("Holder", (), {"discriminator": network})()
    images = smooth_pictures(6)
    found = {name: run(images) for name, run in script["feature_functions"](model).items()}

    # The network by hand, layer by layer; a level ends where the grid or its width changes.
    x, grids, before = tf.constant(images), {}, None
    for layer in network.layers[1:]:
        before, x = x, layer(x, training=False)
        if len(x.shape) == 4:
            grids[x.shape[1:]] = x.numpy()
    before = np.asarray(before)
    assert before.ndim == 2 and len(grids) > 1
    names = ["discriminator, before the logit", "discriminator, all levels at 4x4"]
    assert list(found) == names
    np.testing.assert_allclose(found[names[0]], before, atol=1e-5)
    expected = np.concatenate([adaptive_maxima(grid) for grid in grids.values()], axis=1)
    np.testing.assert_allclose(found[names[1]], expected, atol=1e-5)


def test_features_of_a_discriminator_that_ends_in_a_convolution(script):
    images = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="seen")(images)
    logits = keras.layers.Flatten()(keras.layers.Conv2D(1, 8)(x))  # no weights in the last layer
    network = keras.Model(images, logits)
    found = script["feature_functions"](type("Holder", (), {"discriminator": network})())
    batch = smooth_pictures(2)[:, :8, :8]
    grid = np.asarray(network.get_layer("seen")(batch))
    np.testing.assert_allclose(
        found["discriminator, before the logit"](batch), grid.reshape(2, -1), atol=1e-6
    )
    # The grid of one channel is the logit itself.
    assert found["discriminator, all levels at 4x4"](batch).shape == (2, 4 * 4 * 3)


def test_features_of_a_vae(script):
    vae, images = MODELS["vae"](), smooth_pictures(6)
    found = {name: run(images) for name, run in script["feature_functions"](vae).items()}
    z_mean = vae.encoder.get_layer("z_mean")
    np.testing.assert_allclose(found["encoder, z_mean"], vae.encode(images), atol=1e-5)
    np.testing.assert_allclose(
        z_mean(found["encoder, before z_mean"]), found["encoder, z_mean"], atol=1e-5
    )


def test_features_of_a_vq_vae(script):
    model, images = MODELS["vq_vae"](), smooth_pictures(6)
    found = {name: run(images) for name, run in script["feature_functions"](model).items()}
    vectors = np.asarray(model.encoder(images))
    np.testing.assert_allclose(found["encoder, vectors"], vectors.reshape(6, -1), atol=1e-5)
    size = model.quantizer.num_embeddings
    expected = [np.bincount(codes.ravel(), minlength=size) / codes.size
                for codes in model.encode(images)]  # fmt: skip
    np.testing.assert_allclose(found["code frequencies"], expected)


def test_shares_of_two_grids(script):
    class TwoGrids(VQVAE):
        def encode(self, images):
            codes = super().encode(images)
            return codes[:, :2, :2], codes

    model, images = TwoGrids((16, 16, 1), num_embeddings=8, seed=0), smooth_pictures(3)
    shares = script["code_shares"](model, images)
    assert shares.shape == (3, 16)
    for part, grid in zip((shares[:, :8], shares[:, 8:]), model.encode(images)):
        for row, codes in zip(part, grid):
            np.testing.assert_allclose(row, np.bincount(codes.ravel(), minlength=8) / codes.size)


def test_a_model_without_features_is_refused(script):
    with pytest.raises(InputError, match="takes only images. Received: ConditionalVAE"):
        script["feature_functions"](MODELS["conditional_vae"]())
    with pytest.raises(InputError, match="takes only images. Received: PixelCNN"):
        script["feature_functions"](MODELS["pixel_cnn"]())


@pytest.mark.parametrize("l2", [100, 0.3])
@pytest.mark.parametrize("count", [60, 15])  # more images than dimensions, and fewer
def test_the_classifier_is_at_its_lowest_point(script, l2, count):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    raw = rng.normal(size=(count, 20)) * 3 + rng.normal(size=(3, 20))[labels]
    features, _ = script["standardized"](raw.astype("float32"), raw.astype("float32"))
    weights = script["softmax_regression"](
        features, labels, 3, l2, features.T @ features, tolerance=1e-10
    )
    # Plain gradients of the same sum vanish there.
    variable = tf.Variable(weights)
    with tf.GradientTape() as tape:
        logits = tf.constant(features, tf.float64) @ variable
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_sum(nats) + l2 / 2 * tf.reduce_sum(variable[:-1] ** 2)
    assert np.abs(tape.gradient(loss, variable)).max() < 2e-3
    assert np.abs(weights).max() > 1e-3


def test_standardized(script):
    features = np.array([[1, 5, 0], [3, 5, 2], [5, 5, 4]], "float32")
    found, others = script["standardized"](features, np.array([[3, 9, 8]], "float32"))
    step = 1.5**0.5
    expected = [[-step, 0, -step, 1], [0, 0, 0, 1], [step, 0, step, 1]]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(others, [[0, 0, 3 * step, 1]], atol=1e-6)  # as the first


def test_l2_is_chosen_on_the_last_fifth_and_the_fit_repeated(script):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 400)
    # Only the difference of two features tells the class, which strong L2 does not allow to see.
    raw = rng.normal(size=(400, 10))
    raw[:, 1] = 3 * raw[:, 0] + labels + 0.3 * raw[:, 1]
    raw = raw.astype("float32")

    def accuracy(count, l2, chosen_on):
        part = script["standardized"](raw[:100], raw)[0][:count]
        weights = script["softmax_regression"](
            part, labels[:count], 3, l2, part.T @ part, tolerance=1e-9
        )
        _, others = script["standardized"](raw[:100], raw[chosen_on])
        return (np.argmax(others @ weights, axis=1) == labels[chosen_on]).mean()

    held_out = [accuracy(80, l2, slice(80, 100)) for l2 in script["L2"]]
    found, l2 = script["probe"](raw[:100], labels[:100], raw[100:], labels[100:])
    assert l2 == script["L2"][int(np.argmax(held_out))]
    assert len(set(held_out)) > 2 and l2 not in script["L2"][:2]
    assert found == pytest.approx(accuracy(100, l2, slice(100, 400)), abs=0.004)  # one image


def test_labels_that_mean_nothing_are_read_by_chance(script):
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(2060, 150)), rng.integers(0, 2, 2060)
    features = features.astype("float32")
    share, _ = script["probe"](features[:60], labels[:60], features[60:], labels[60:])
    assert abs(share - 0.5) < 0.06
