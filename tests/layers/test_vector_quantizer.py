"""The vector quantiser against NumPy and hand values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import VectorQuantizer

BOOK = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0]], "float32")


def quantizer(book=BOOK, **arguments):
    layer = VectorQuantizer(*book.shape, **arguments)
    layer.embeddings.assign(book)
    if layer.ema_decay is not None:
        layer.embedding_sums.assign(book)
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
    for decay, loss in ((None, 1.3 * squares), (0.9, 0.3 * squares)):
        layer = quantizer(book, commitment_cost=0.3, ema_decay=decay)
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


def test_moving_averages_by_hand():
    layer = quantizer(ema_decay=0.75, epsilon=0.1)
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
    layer = quantizer(ema_decay=0.99)
    layer(np.zeros((1, 4, 2), "float32"), training=True)
    np.testing.assert_allclose(layer.embeddings, BOOK, atol=1e-3)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_without_training_nothing_moves(decay):
    book, inputs = random_case()
    layer = quantizer(book, ema_decay=decay, dead_code_threshold=100.0)
    before = [np.array(variable) for variable in layer.variables]
    layer(inputs)
    layer(inputs, training=False)
    for variable, value in zip(layer.variables, before):
        np.testing.assert_array_equal(variable, value)


# Next to BOOK: two vectors a code, and a fourth code that none is near.
FAR = np.concatenate([BOOK, [[1e3, 1e3]]]).astype("float32")
AROUND = np.array([[0.1, 0], [0, 0.2], [2.3, 0], [2, 0.4], [0.5, 4], [0, 4.6]], "float32")


def test_dead_codes_become_vectors_of_the_batch():
    layer = quantizer(FAR, ema_decay=0.5, dead_code_threshold=0.6, seed=1)
    layer(AROUND, training=True)
    embedding, total = np.array(layer.embeddings)[3], np.array(layer.embedding_sums)[3]
    assert (AROUND == embedding).all(1).any()
    np.testing.assert_array_equal(total, embedding)
    # 0.5 + 0.5 * 2 uses; the code that came back starts at one again.
    np.testing.assert_allclose(layer.cluster_size, [1.5, 1.5, 1.5, 1.0])
    sums = 0.5 * BOOK + 0.5 * AROUND.reshape(3, 2, 2).sum(1)
    np.testing.assert_allclose(layer.embedding_sums[:3], sums, rtol=1e-6)
    np.testing.assert_allclose(layer.embeddings[:3], sums / 1.5, rtol=1e-4)


def test_dead_codes_of_a_codebook_learned_by_gradient():
    layer = quantizer(FAR, dead_code_threshold=0.991, seed=1)  # 0.99 after a batch without use
    layer(AROUND, training=True)
    found = np.array(layer.embeddings)
    assert (AROUND == found[3]).all(1).any()
    np.testing.assert_array_equal(found[:3], BOOK)


def test_replacements_differ_between_codes_and_repeat_by_seed():
    _, inputs = random_case()
    book = np.full((8, 5), 1e3, "float32")
    results = []
    for seed in (1, 1, 2):
        layer = quantizer(book, ema_decay=0.5, dead_code_threshold=0.9, seed=seed)
        layer(inputs, training=True)
        results.append(np.array(layer.embeddings)[1:])
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    assert len(np.unique(results[0], axis=0)) > 3


def test_repeated_training_finds_the_clusters():
    """Four tight clusters and four codes: each code ends in one of the centres."""
    rng = np.random.default_rng(0)
    centres = np.array([[5, 5], [-5, 5], [5, -5], [-5, -5]], "float32")
    layer = VectorQuantizer(4, 2, ema_decay=0.8, dead_code_threshold=0.5, seed=0)
    for _ in range(60):
        inputs = centres[rng.permutation(np.repeat(np.arange(4), 8))]
        inputs = (inputs + 0.01 * rng.normal(size=inputs.shape)).astype("float32")
        layer(inputs[None], training=True)
    found = np.array(layer.embeddings)
    distances = np.linalg.norm(found[:, None] - centres, axis=-1)
    assert sorted(distances.argmin(1)) == [0, 1, 2, 3] and distances.min(1).max() < 0.1


def test_what_is_trained_by_gradient():
    assert [v.name for v in quantizer().trainable_variables] == ["embeddings"]
    assert quantizer(ema_decay=0.9).trainable_variables == []


def test_bfloat16_inputs_keep_exact_distances():
    book = np.array([[1.0, 0.0], [1.001, 0.0]], "float32")  # one number in bfloat16
    layer = quantizer(book, dtype="mixed_bfloat16")
    quantized, indices, loss = layer(tf.constant([[[1.0, 0.0], [1.5, 0.0]]], tf.bfloat16))
    np.testing.assert_array_equal(indices, [[0, 1]])
    assert quantized.dtype == tf.bfloat16 and loss.dtype == tf.float32


def test_configuration_and_symbolic_shapes():
    layer = VectorQuantizer(7, 3, 0.5, ema_decay=0.9, epsilon=1e-3, dead_code_threshold=0.2, seed=4)
    again = VectorQuantizer.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again.embeddings, layer.embeddings)  # by its seed
    quantized, indices, loss = layer(keras.Input((6, 4, 3)))
    assert quantized.shape == (None, 6, 4, 3) and indices.shape == (None, 6, 4)
    assert indices.dtype == "int32" and loss.shape == ()


def test_a_functional_model_saves_and_loads(tmp_path):
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, VectorQuantizer(7, 3, ema_decay=0.9)(inputs))
    data = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    model(data, training=True)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    for found, expected in zip(again(data), model(data)):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "arguments, name",
    [
        ({"num_embeddings": 0}, "num_embeddings"),
        ({"num_embeddings": 2.5}, "num_embeddings"),
        ({"embedding_dim": -1}, "embedding_dim"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"ema_decay": 0.0}, "ema_decay"),
        ({"ema_decay": float("nan")}, "ema_decay"),
        ({"ema_decay": "0.9"}, "ema_decay"),
        ({"commitment_cost": -0.1}, "commitment_cost"),
        ({"commitment_cost": float("inf")}, "commitment_cost"),
        ({"commitment_cost": float("nan")}, "commitment_cost"),
        ({"dead_code_threshold": float("nan")}, "dead_code_threshold"),
        ({"dead_code_threshold": -1.0}, "dead_code_threshold"),
        ({"epsilon": 0.0}, "epsilon"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(InputError) as caught:
        VectorQuantizer(**{"num_embeddings": 4, "embedding_dim": 2, **arguments})
    assert f"{name} must" in str(caught.value)
    assert f"Received: {name}={arguments[name]!r}" in str(caught.value)


def test_inputs_of_another_width():
    with pytest.raises(InputError, match=r"embedding_dim=2.*\(1, 4, 3\)"):
        quantizer()(np.zeros((1, 4, 3), "float32"))


# --------------------------------------------------------------- the rotation trick


def test_rotation_gives_the_code_and_the_gradient_of_a_turned_vector():
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
    assert np.isfinite(tape.gradient(quantized, inputs)).all()
    np.testing.assert_allclose(quantized, [[2.0, 0.0]])


def test_an_unknown_gradient():
    with pytest.raises(InputError, match="gradient must be one of straight_through, rotation."):
        VectorQuantizer(4, 2, gradient="reflection")


# -------------------------------------------------------------------------- k-means


def test_k_means_finds_clusters_and_starts_averages_there():
    rng = np.random.default_rng(0)
    corners = np.array([[5, 5], [-5, 5], [5, -5], [-5, -5]], "float32")
    vectors = np.repeat(corners, 50, axis=0) + 0.1 * rng.normal(size=(200, 2)).astype("float32")
    layer = VectorQuantizer(4, 2, ema_decay=0.9, seed=2)
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


def test_k_means_needs_as_many_vectors_as_codes():
    with pytest.raises(InputError, match="start_from takes at least 4 vectors of length 2"):
        VectorQuantizer(4, 2).start_from(np.zeros((3, 2)))
