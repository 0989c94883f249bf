"""The codebook of moving averages by hand values, k-means, and files of earlier versions."""

import functools
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import VectorQuantizer, VectorQuantizerEMA

BOOK = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]], "float32")


def quantizer(book=BOOK, **arguments):
    layer = VectorQuantizerEMA(*book.shape, **arguments)
    layer.embeddings.assign(book)
    layer.embedding_sums.assign(book)
    return layer


def test_moving_averages_by_hand():
    layer = quantizer(decay=0.75, epsilon=0.1)
    np.testing.assert_array_equal(layer.cluster_size, [1, 1, 1])
    # Two vectors next to code 0, one next to code 1, none next to code 2.
    inputs = np.array([[[0.5, 0.0], [0.0, -0.5], [3.0, 1.0]]], "float32")
    quantized, indices, _ = layer(inputs, training=True)
    np.testing.assert_array_equal(indices, [[0, 0, 1]])
    np.testing.assert_allclose(quantized, BOOK[[[0, 0, 1]]])  # by the codebook before it moved
    sizes = np.array([0.75 + 0.25 * 2, 0.75 + 0.25, 0.75])
    sums = 0.75 * BOOK + 0.25 * np.array([[0.5, -0.5], [3.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(layer.cluster_size, sizes)  # not smoothed themselves
    np.testing.assert_allclose(layer.embedding_sums, sums)
    smooth = (sizes + 0.1) / (3.0 + 3 * 0.1) * 3.0
    np.testing.assert_allclose(layer.embeddings, sums / smooth[:, None], rtol=1e-6)
    # A second step, from where the first one ended.
    layer(np.array([[[0.0, 3.0]]], "float32"), training=True)
    np.testing.assert_allclose(layer.cluster_size, 0.75 * sizes + [0, 0, 0.25])
    np.testing.assert_allclose(layer.embedding_sums, 0.75 * sums + [[0, 0], [0, 0], [0, 0.75]])


def test_the_first_step_barely_moves_codes_that_are_not_used():
    layer = quantizer(decay=0.99)
    layer(np.zeros((1, 4, 2), "float32"), training=True)
    np.testing.assert_allclose(layer.embeddings, BOOK, atol=1e-3)


# Next to BOOK: two vectors per code, and a fourth code that none is near.
FAR = np.concatenate([BOOK, [[1e3, 1e3]]]).astype("float32")
AROUND = np.array([[0.1, 0], [0, 0.2], [2.3, 0], [2, 0.4], [0.5, 4], [0, 4.6]], "float32")


def test_dead_codes_become_vectors_of_the_batch():
    layer = quantizer(FAR, decay=0.5, dead_code_threshold=0.6, seed=1)
    layer(AROUND, training=True)
    embedding, total = np.array(layer.embeddings)[3], np.array(layer.embedding_sums)[3]
    assert (AROUND == embedding).all(1).any()
    np.testing.assert_array_equal(total, embedding)
    # 0.5 + 0.5 * 2 uses; the code that came back starts at one again.
    np.testing.assert_allclose(layer.cluster_size, [1.5, 1.5, 1.5, 1.0])
    sums = 0.5 * BOOK + 0.5 * AROUND.reshape(3, 2, 2).sum(1)
    np.testing.assert_allclose(layer.embedding_sums[:3], sums, rtol=1e-6)
    np.testing.assert_allclose(layer.embeddings[:3], sums / 1.5, rtol=1e-4)


def test_replacements_differ_between_codes_and_repeat_by_seed():
    inputs = np.random.default_rng(0).normal(size=(3, 4, 2, 5)).astype("float32")
    book = np.full((8, 5), 1e3, "float32")
    results = []
    for seed in (1, 1, 2):
        layer = quantizer(book, decay=0.5, dead_code_threshold=0.9, seed=seed)
        layer(inputs, training=True)
        results.append(np.array(layer.embeddings)[1:])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    assert len(np.unique(results[0], axis=0)) > 3


def test_repeated_training_finds_the_clusters():
    """Four tight clusters and four codes: each code ends in one of the centres.

    In 64 bits: whether two codes begin in one cluster must not be a matter of rounding.
    """
    rng = np.random.default_rng(0)
    centres = np.array([[5, 5], [-5, 5], [5, -5], [-5, -5]], "float32")
    layer = VectorQuantizerEMA(4, 2, decay=0.8, dead_code_threshold=0.5, seed=0, dtype="float64")
    for _ in range(60):
        inputs = centres[rng.permutation(np.repeat(np.arange(4), 8))]
        layer((inputs + 0.01 * rng.normal(size=inputs.shape))[None], training=True)
    found = np.array(layer.embeddings)
    distances = np.linalg.norm(found[:, None] - centres, axis=-1)
    assert sorted(distances.argmin(1)) == [0, 1, 2, 3] and distances.min(1).max() < 0.1


def test_two_replicas_average_and_replace_like_one(mirrored):
    inputs = np.random.default_rng(0).normal(size=(6, 4, 2)).astype("float32")
    weights = np.array([0.5, 2.0, 0.0, 1.0, 3.0, 0.5], "float32")
    arguments = {"decay": 0.5, "dead_code_threshold": 0.6, "seed": 1}
    one = quantizer(FAR, **arguments)
    with mirrored.scope():
        two = quantizer(FAR, **arguments)
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices((inputs, weights)).batch(6)
    )

    def call(layer, images, weights):
        return layer(images, training=True, sample_weight=weights)[1]

    step = tf.function(lambda part: mirrored.run(functools.partial(call, two), part))
    parts = mirrored.experimental_local_results(step(next(iter(data))))
    indices = call(one, inputs, weights)
    np.testing.assert_array_equal(tf.concat(parts, 0), indices)
    for variable, other in zip(two.variables, one.variables):
        np.testing.assert_allclose(variable, other, rtol=1e-5, atol=1e-6)
    assert (np.array(two.embeddings)[3] != FAR[3]).all()


def test_configuration_and_symbolic_shapes():
    layer = VectorQuantizerEMA(7, 3, 0.5, 0.9, 1e-3, dead_code_threshold=0.2, seed=4)
    again = VectorQuantizerEMA.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again.embeddings, layer.embeddings)  # by its seed
    quantized, indices, loss = layer(keras.Input((6, 4, 3)))
    assert quantized.shape == (None, 6, 4, 3) and indices.shape == (None, 6, 4)
    assert indices.dtype == "int32" and loss.shape == ()


def test_a_functional_model_saves_and_loads(tmp_path):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, VectorQuantizerEMA(7, 3, decay=0.9)(inputs))
    data = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    model(data, training=True)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    for found, expected in zip(again(data), model(data)):
        np.testing.assert_array_equal(found, expected)


def test_k_means_finds_clusters_and_starts_averages_there():
    rng = np.random.default_rng(0)
    corners = np.array([[5, 5], [-5, 5], [5, -5], [-5, -5]], "float32")
    vectors = np.repeat(corners, 50, axis=0) + 0.1 * rng.normal(size=(200, 2)).astype("float32")
    layer = VectorQuantizerEMA(4, 2, decay=0.9, seed=2)
    layer.start_from(vectors, iterations=20)
    found = layer.embeddings.numpy()
    # Lloyd's algorithm stops where every centre is the mean of what is nearest to it.
    nearest = np.linalg.norm(vectors[:, None] - found, axis=-1).argmin(1)
    for code in range(4):
        np.testing.assert_allclose(found[code], vectors[nearest == code].mean(0), atol=1e-4)
    np.testing.assert_array_equal(layer.embedding_sums, found)
    np.testing.assert_array_equal(layer.cluster_size, np.ones(4))
    again = VectorQuantizer(4, 2, seed=2)
    again.start_from(vectors, iterations=20)
    np.testing.assert_array_equal(again.embeddings, found)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"decay": 1.0}, "decay must be a number between 0 and 1. Received: decay=1.0."),
        ({"decay": 0.0}, "decay must be a number between 0 and 1. Received: decay=0.0."),
        ({"decay": float("nan")}, "decay must be a number between 0 and 1. Received: decay=nan."),
        ({"decay": "0.9"}, "decay must be a number between 0 and 1. Received: decay='0.9'."),
        ({"epsilon": 0.0}, "epsilon must be a finite number above 0. Received: epsilon=0.0."),
    ],
    ids=str,
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        VectorQuantizerEMA(4, 2, **arguments)
    assert str(caught.value) == words


# Up to version 0.1 `VectorQuantizer(ema_decay=...)` was this layer.


def test_the_earlier_class_with_a_decay_is_this_one():
    layer = VectorQuantizer(4, 2, 0.5, ema_decay=0.9, epsilon=1e-3, seed=1)
    same = VectorQuantizerEMA(4, 2, 0.5, 0.9, 1e-3, seed=1)
    assert isinstance(layer, VectorQuantizerEMA)
    assert {**layer.get_config(), "name": ""} == {**same.get_config(), "name": ""}
    np.testing.assert_array_equal(layer.embeddings, same.embeddings)
    by_gradient = VectorQuantizer(4, 2, ema_decay=None, epsilon=1e-3)
    assert type(by_gradient) is VectorQuantizer and "ema_decay" not in by_gradient.get_config()


def test_a_functional_model_of_version_0_1_loads_and_is_saved_again(tmp_path):
    """Written by 0.1: `VectorQuantizer(7, 3, ema_decay=0.9)` and then one with `ema_decay=None`."""
    path = pathlib.Path(__file__).parent / "vector_quantizers_0_1"
    recorded = np.load(path.with_suffix(".npz"))
    for _ in range(2):
        model = keras.saving.load_model(path.with_suffix(".keras"), safe_mode=True)
        averaged, by_gradient = model.layers[1:]
        assert isinstance(averaged, VectorQuantizerEMA) and averaged.decay == 0.9
        assert type(by_gradient) is VectorQuantizer
        for index, weight in enumerate(model.get_weights()):
            np.testing.assert_array_equal(weight, recorded[f"weight_{index}"])
        for index, found in enumerate(model(recorded["inputs"])):
            np.testing.assert_allclose(found, recorded[f"output_{index}"], rtol=1e-6)
        path = tmp_path / "again"
        model.save(path.with_suffix(".keras"))
        np.savez(path.with_suffix(".npz"), **recorded)
