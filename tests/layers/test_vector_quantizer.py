"""Both vector quantisers against NumPy, and the codebook learned by gradient."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import VectorQuantizer, VectorQuantizerEMA

BOOK = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]], "float32")


KINDS = (VectorQuantizer, VectorQuantizerEMA)


def quantizer(book=BOOK, kind=VectorQuantizer, **arguments):
    layer = kind(*book.shape, **arguments)
    layer.embeddings.assign(book)
    if kind is VectorQuantizerEMA:
        layer.embedding_sums.assign(layer.start_count * book)
    return layer


def random_case(seed=0, codes=16, dim=5):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(codes, dim)).astype("float32"),
        rng.normal(size=(3, 4, 2, dim)).astype("float32"),
    )


def nearest_by_numpy(inputs, book):
    differences = inputs[..., None, :].astype("float64") - book  # (B, h, w, K, D)
    return np.argmin((differences**2).sum(-1), axis=-1)


def test_indices_vectors_and_loss_against_numpy():
    book, inputs = random_case()
    expected = nearest_by_numpy(inputs, book)
    squares = np.mean((inputs - book[expected]) ** 2)
    for kind, loss in zip(KINDS, (1.3 * squares, 0.3 * squares)):
        layer = quantizer(book, kind, commitment_cost=0.3)
        quantized, indices, found = layer(inputs)
        np.testing.assert_array_equal(indices, expected)
        assert indices.dtype == tf.int32 and quantized.shape == inputs.shape
        np.testing.assert_allclose(quantized, book[expected], atol=1e-6)
        assert found.shape == () and found.dtype == tf.float32
        np.testing.assert_allclose(found, loss, rtol=1e-5)
        np.testing.assert_array_equal(layer.decode(indices), book[expected])


def test_any_number_of_axes():
    book, inputs = random_case()
    expected = nearest_by_numpy(inputs, book)
    layer = quantizer(book)
    for shape in ((24,), (3, 8), (3, 2, 2, 2)):
        quantized, indices, _ = layer(inputs.reshape(*shape, 5))
        np.testing.assert_array_equal(indices, expected.reshape(shape))
        assert quantized.shape == (*shape, 5)


def test_ties_go_to_the_lowest_index():
    layer = quantizer(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]], "float32"))
    _, indices, _ = layer(np.array([[[0.0, 0.0], [0.5, 0.5], [0.0, 5.0], [3.0, 0.0]]], "float32"))
    np.testing.assert_array_equal(indices, [[0, 0, 1, 0]])


def test_the_gradient_passes_straight_through():
    book, inputs = random_case()
    layer, inputs = quantizer(book), tf.constant(inputs)
    arriving = tf.constant(np.random.default_rng(1).normal(size=inputs.shape).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        quantized, _, _ = layer(inputs, training=True)
        total = tf.reduce_sum(quantized * arriving)
    by_inputs, by_book = tape.gradient(total, (inputs, layer.embeddings.value))
    np.testing.assert_array_equal(by_inputs, arriving)
    assert by_book is None  # the decoder's loss moves no code


def test_gradients_of_the_loss_against_numpy():
    book, inputs = random_case()
    nearest = nearest_by_numpy(inputs, book)
    layer, tensor = quantizer(book, commitment_cost=0.3), tf.constant(inputs)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        _, _, loss = layer(tensor, training=True)
    by_inputs, by_book = tape.gradient(loss, (tensor, layer.embeddings.value))
    # Commitment: beta d/dz mean (z - sg[e])^2 = 2 beta (z - e) / size.
    np.testing.assert_allclose(
        by_inputs, 2 * 0.3 * (inputs - book[nearest]) / inputs.size, atol=1e-7
    )
    # Codebook: sum over its vectors of 2 (e - z) / size = 2 n (e - mean z) / size.
    expected = np.zeros_like(book)
    for code in range(len(book)):
        mine = inputs[nearest == code]
        if len(mine):
            expected[code] = 2 * len(mine) * (book[code] - mine.mean(0)) / inputs.size
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(tf.convert_to_tensor(by_book), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_without_training_nothing_moves(kind):
    book, inputs = random_case()
    layer = quantizer(book, kind, dead_code_threshold=100.0)
    before = [np.array(variable) for variable in layer.variables]
    layer(inputs)
    layer(inputs, training=False)
    for variable, value in zip(layer.variables, before):
        np.testing.assert_array_equal(variable, value)


# Next to BOOK: two vectors per code, and a fourth code that none is near.
FAR = np.concatenate([BOOK, [[1e3, 1e3]]]).astype("float32")
AROUND = np.array([[0.1, 0], [0, 0.2], [2.3, 0], [2, 0.4], [0.5, 4], [0, 4.6]], "float32")


def test_dead_codes_of_a_codebook_learned_by_gradient():
    layer = quantizer(FAR, dead_code_threshold=0.991, seed=1)  # 0.99 after a batch without use
    layer(AROUND, training=True)
    found = np.array(layer.embeddings)
    assert (AROUND == found[3]).all(1).any()
    np.testing.assert_array_equal(found[:3], BOOK)


def test_a_threshold_above_one_leaves_living_codes_alone():
    """64 codes and 4 vectors around each in every batch: none falls below 2 uses."""
    rng = np.random.default_rng(0)
    book = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1).reshape(64, 2)
    for kind in KINDS:
        layer = quantizer(book.astype("float32"), kind, dead_code_threshold=2.0, seed=0)
        np.testing.assert_array_equal(layer.cluster_size, np.full(64, 2.0))
        for _ in range(5):
            vectors = np.repeat(book, 4, axis=0) + rng.uniform(-0.1, 0.1, (256, 2))
            layer(vectors.astype("float32"), training=True)
        np.testing.assert_allclose(layer.embeddings, book, atol=0.01)
        assert (np.array(layer.cluster_size) > 2).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_replaced_code_starts_with_as_many_uses_as_the_threshold(kind):
    layer = quantizer(FAR, kind, dead_code_threshold=3.0, seed=1)
    layer(np.repeat(AROUND, 5, axis=0), training=True)  # ten uses per code, none of the fourth
    found = np.array(layer.embeddings)
    assert (AROUND == found[3]).all(1).any()
    np.testing.assert_allclose(layer.cluster_size, [3.07, 3.07, 3.07, 3.0], rtol=1e-6)
    if kind is VectorQuantizerEMA:
        np.testing.assert_allclose(layer.embedding_sums[3], 3 * found[3], rtol=1e-6)
        layer(np.repeat(AROUND, 5, axis=0), training=True)
    assert (np.array(layer.cluster_size) > 2.9).all()


def test_a_high_threshold_costs_no_more_than_it_does_in_vector_quantize_pytorch():
    """Normal vectors in the plane, 64 codes, 256 vectors per step; 0.070 there, 0.136 in 0.1."""
    rng = np.random.default_rng(0)
    layer = VectorQuantizerEMA(64, 2, dead_code_threshold=2.0, seed=0)
    layer.start_from(rng.normal(size=(256, 2)))
    step = tf.function(lambda vectors: layer(vectors, training=True)[1])
    for _ in range(100):
        step(rng.normal(size=(256, 2)).astype("float32"))
    vectors = rng.normal(size=(4000, 2)).astype("float32")
    errors = np.sum((vectors - layer(vectors)[0]) ** 2, -1)
    assert errors.mean() < 0.08


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_images_weight_the_loss_by_hand(kind):
    book, inputs = random_case()  # three images
    weights = np.array([0.0, 1.0, 3.0], "float32")
    errors = ((inputs - book[nearest_by_numpy(inputs, book)]) ** 2).mean(axis=(1, 2, 3))
    layer = quantizer(book, kind, commitment_cost=0.3)
    expected = (0.3 if kind is VectorQuantizerEMA else 1.3) * np.mean(weights * errors)
    for training in (False, True):
        _, _, loss = layer(inputs, training=training, sample_weight=weights)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_weight_zero_is_not_there(kind):
    """A codebook after images and others of weight zero is the one after the images alone."""
    inputs = np.random.default_rng(0).normal(size=(6, 4, 2)).astype("float32")
    weights = np.array([1, 0, 1, 0, 0, 1], "float32")
    layers = [quantizer(FAR[:3], kind, dead_code_threshold=1e-3) for _ in range(2)]
    grads = []
    for layer, images, given in zip(layers, (inputs, inputs[weights > 0]), (weights, None)):
        with tf.GradientTape() as tape:
            loss = layer(images, training=True, sample_weight=given)[2] * len(images)
        grads += tape.gradient(loss, layer.trainable_variables)
    for one, other in zip(layers[0].variables[:-1], layers[1].variables[:-1]):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    if grads:
        np.testing.assert_allclose(*map(tf.convert_to_tensor, grads), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_dead_codes_become_no_vector_of_an_image_of_weight_zero(kind):
    book = np.full((16, 2), 1e3, "float32")
    inputs = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    layer = quantizer(book, kind, dead_code_threshold=2.0, seed=0)
    for _ in range(4):
        layer(inputs, training=True, sample_weight=np.array([0, 0, 0, 1], "float32"))
    found = np.array(layer.embeddings)
    replaced = found[np.abs(found).max(1) < 100]
    assert len(replaced) > 4
    assert np.abs(replaced[:, None] - inputs[3]).max(-1).min(1).max() < 0.01
    layer = quantizer(book, kind, dead_code_threshold=2.0, seed=0)
    layer(inputs, training=True, sample_weight=np.zeros(4, "float32"))
    np.testing.assert_allclose(layer.embeddings, book, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_codebook_does_not_move(kind):
    book, inputs = random_case()
    layer = quantizer(book, kind, dead_code_threshold=100.0)
    layer.trainable = False
    layer(inputs, training=True)
    np.testing.assert_array_equal(layer.embeddings, book)


def test_what_is_trained_by_gradient():
    assert [v.name for v in quantizer().trainable_variables] == ["embeddings"]
    assert quantizer(kind=VectorQuantizerEMA).trainable_variables == []


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_inputs_keep_exact_distances(kind):
    book = np.array([[1.0, 0.0], [1.001, 0.0]], "float32")  # one number in bfloat16
    layer = quantizer(book, kind, dtype="mixed_bfloat16")
    quantized, indices, loss = layer(tf.constant([[[1.0, 0.0], [1.5, 0.0]]], tf.bfloat16))
    np.testing.assert_array_equal(indices, [[0, 1]])
    assert quantized.dtype == tf.bfloat16 and loss.dtype == tf.float32


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"num_embeddings": 0}, "num_embeddings"),
        ({"num_embeddings": 2.5}, "num_embeddings"),
        ({"embedding_dim": -1}, "embedding_dim"),
        ({"commitment_cost": -0.1}, "commitment_cost"),
        ({"commitment_cost": float("inf")}, "commitment_cost"),
        ({"commitment_cost": float("nan")}, "commitment_cost"),
        ({"dead_code_threshold": float("nan")}, "dead_code_threshold"),
        ({"dead_code_threshold": -1.0}, "dead_code_threshold"),
        ({"gradient": "reflection"}, "gradient"),
    ],
)
def test_bad_arguments(arguments, name):
    for kind in KINDS:
        with pytest.raises(InputError) as caught:
            kind(**{"num_embeddings": 4, "embedding_dim": 2, **arguments})
        assert f"{name} must be" in str(caught.value)
        assert f"Received: {name}={arguments[name]!r}" in str(caught.value)


def test_inputs_of_another_width():
    with pytest.raises(InputError, match=r"embedding_dim=2.*\(1, 4, 3\)"):
        quantizer()(np.zeros((1, 4, 3), "float32"))


def test_rotation_gives_the_code_and_the_gradient_of_a_rotated_vector():
    rng = np.random.default_rng(0)
    layer = VectorQuantizer(6, 3, gradient="rotation", seed=0)
    layer.embeddings.assign(rng.normal(size=(6, 3)).astype("float32"))
    vectors = rng.normal(size=(5, 3)).astype("float32")
    upstream = rng.normal(size=(5, 3)).astype("float32")
    inputs = tf.constant(vectors)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        quantized, indices, _ = layer(inputs)
        total = tf.reduce_sum(quantized * upstream)
    codes = layer.embeddings.numpy()[indices]
    np.testing.assert_allclose(quantized, codes, atol=1e-6)

    # By axis and angle (Rodrigues), where the layer has two reflections.
    expected = []
    for vector, code, gradient in zip(vectors.astype("float64"), codes, upstream):
        e, q = vector / np.linalg.norm(vector), code / np.linalg.norm(code)
        axis, cosine = np.cross(e, q), e @ q
        cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
        rotation = np.eye(3) + cross + cross @ cross / (1 + cosine)
        np.testing.assert_allclose(rotation @ e, q, atol=1e-6)
        expected.append(np.linalg.norm(code) / np.linalg.norm(vector) * rotation.T @ gradient)
    found = tape.gradient(total, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(found - upstream).max() > 0.1  # straight through it would be this


@pytest.mark.parametrize("vector", [[0.0, 0.0], [-1.0, 0.0]], ids=["zero", "opposite"])
def test_rotation_of_a_vector_without_or_against_direction_is_finite(vector):
    layer = VectorQuantizer(1, 2, gradient="rotation")
    layer.embeddings.assign([[2.0, 0.0]])
    inputs = tf.constant([vector])
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        quantized = layer(inputs)[0]
    found = tape.gradient(quantized, inputs)
    assert np.isfinite(found).all() and np.linalg.norm(found) < 1.001e6 * 2.0 * np.sqrt(2)
    np.testing.assert_allclose(quantized, [[2.0, 0.0]])


def test_k_means_needs_as_many_vectors_as_codes():
    with pytest.raises(InputError, match="start_from takes at least 4 vectors of length 2"):
        VectorQuantizer(4, 2).start_from(np.zeros((3, 2)))


def test_the_fourth_argument_of_version_0_1_is_not_taken_for_another():
    with pytest.raises(TypeError, match="positional"):
        VectorQuantizer(4, 2, 0.25, 0.99)
