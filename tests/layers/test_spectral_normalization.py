"""sigma against NumPy's SVD, the gradient against its closed form, and what a wrapper must keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.core import dtype_policy
from keras_genimg.errors import InputError
from keras_genimg.layers import SpectralNormalization
from keras_genimg.precision import policy_dtype

CASES = {
    "dense": (lambda: keras.layers.Dense(4, bias_initializer="ones"), (5, 6)),
    "conv": (lambda: keras.layers.Conv2D(4, 3, strides=2, padding="same"), (2, 6, 6, 3)),
    "conv_3d": (lambda: keras.layers.Conv3D(4, 2, padding="same"), (2, 3, 5, 5, 2)),
    "conv_transpose": (lambda: keras.layers.Conv2DTranspose(4, 3, strides=2), (2, 5, 5, 3)),
    "embedding": (lambda: keras.layers.Embedding(7, 4), (5,)),
}


def inputs_of(name):
    rng = np.random.default_rng(1)
    if name == "embedding":
        return rng.integers(0, 7, CASES[name][1]).astype("int32")
    return rng.normal(size=CASES[name][1]).astype("float32")


def wrapped(name, **arguments):
    keras.utils.set_random_seed(0)
    layer = SpectralNormalization(CASES[name][0](), **arguments)
    layer.build(inputs_of(name).shape)
    return layer


def matrix_of(name, kernel):
    """W with a row for each of the 4 output channels."""
    kernel = np.asarray(kernel, "float64")
    if name == "conv_transpose":
        kernel = kernel.transpose(0, 1, 3, 2)  # (h, w, out, in) -> (h, w, in, out)
    return kernel.reshape(-1, 4).T


def kernel_shaped(name, matrix, shape):
    if name != "conv_transpose":
        return matrix.T.reshape(shape)
    h, w, c_out, c_in = shape
    return matrix.T.reshape(h, w, c_in, c_out).transpose(0, 1, 3, 2)


def power_iteration(matrix, u, count):
    for _ in range(count):
        v = matrix.T @ u
        v /= np.linalg.norm(v)
        u = matrix @ v
        u /= np.linalg.norm(u)
    return u, v, u @ matrix @ v


def plain_outputs(name, layer, inputs, sigma):
    """The same kind of layer without a wrapper, whose kernel is W / sigma."""
    plain = CASES[name][0]()
    plain.build(inputs.shape)
    kernel, *bias = layer.layer.get_weights()
    plain.set_weights([kernel / sigma, *bias])
    return plain(inputs)


@pytest.mark.parametrize("name", CASES)
def test_sigma_is_the_largest_singular_value_after_many_iterations(name):
    layer, inputs = wrapped(name, power_iterations=20), inputs_of(name)
    for _ in range(5):
        outputs = layer(inputs, training=True)
    matrix = matrix_of(name, layer.kernel)
    left, values, _ = np.linalg.svd(matrix)
    expected = plain_outputs(name, layer, inputs, values[0])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
    assert abs(left[:, 0] @ np.asarray(layer.u)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_call_is_so_many_power_iterations(name, count):
    layer, inputs = wrapped(name, power_iterations=count), inputs_of(name)
    start = np.asarray(layer.u, "float64")
    u, _, sigma = power_iteration(matrix_of(name, layer.kernel), start, count)
    expected = plain_outputs(name, layer, inputs, sigma)
    np.testing.assert_allclose(layer(inputs), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(layer.u, start.astype("float32"))  # kept by training alone
    np.testing.assert_allclose(layer(inputs, training=True), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.u, u, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_gradient_has_the_closed_form(name):
    layer, inputs = wrapped(name), inputs_of(name)
    matrix = matrix_of(name, layer.kernel)
    u, v, sigma = power_iteration(matrix, np.asarray(layer.u, "float64"), 1)

    # G, the gradient of the same loss at the kernel W / sigma of a plain layer.
    plain = CASES[name][0]()
    plain.build(inputs.shape)
    plain.set_weights([layer.kernel / sigma, *layer.layer.get_weights()[1:]])
    arriving = np.random.default_rng(2).normal(size=plain(inputs).shape).astype("float32")
    results = []
    for each in (plain, layer):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(each(inputs) * arriving)
        gradients = tape.gradient(loss, [weight.value for weight in each.trainable_variables])
        results.append([tf.convert_to_tensor(gradient).numpy() for gradient in gradients])
    (outer, *biases), (found, *found_biases) = results
    outer = matrix_of(name, outer)

    expected = (outer - np.sum(outer * matrix / sigma) * np.outer(u, v)) / sigma
    expected = kernel_shaped(name, expected, found.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    for bias, found_bias in zip(biases, found_biases):
        np.testing.assert_allclose(found_bias, bias, rtol=1e-4)
    # The term through sigma is not small: without it this test would not pass.
    assert np.abs(matrix_of(name, found) - outer / sigma).max() > 1e-2


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_stays_raw_and_alone_is_trained(name):
    layer, inputs = wrapped(name), inputs_of(name)
    before = [np.array(weight) for weight in layer.layer.weights]
    layer(inputs, training=True)
    layer(inputs)
    for weight, value in zip(layer.layer.weights, before):
        np.testing.assert_array_equal(weight, value)
    assert [id(w) for w in layer.trainable_weights] == [id(w) for w in layer.layer.weights]
    assert [weight.name for weight in layer.non_trainable_weights] == ["u"]


def test_the_norm_of_what_is_used_is_one_whatever_the_scale():
    layer = wrapped("dense", power_iterations=100)
    eye = np.eye(6, dtype="float32")
    for scale in (1e-6, 1.0, 1e6):
        layer.kernel.assign(scale * np.random.default_rng(3).normal(size=(6, 4)))
        used = layer(eye).numpy() - 1  # the bias is one
        assert np.linalg.norm(used, 2) == pytest.approx(1, rel=1e-4)


def test_a_kernel_of_zeros_stays_and_can_leave():
    layer, inputs = wrapped("dense"), inputs_of("dense")
    start = np.array(layer.u)
    layer.kernel.assign(np.zeros((6, 4)))
    with tf.GradientTape() as tape:
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(outputs)
    np.testing.assert_array_equal(outputs, np.ones((5, 4)))
    np.testing.assert_array_equal(layer.u, start)
    gradient = tape.gradient(loss, layer.kernel.value)
    np.testing.assert_allclose(gradient, np.tile(inputs.sum(0)[:, None], (1, 4)), rtol=1e-5)


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in_a_model"])
@pytest.mark.parametrize("name", CASES)
def test_mixed_bfloat16_takes_sigma_in_32_bits(name, inside):
    keras.utils.set_random_seed(0)
    inputs = inputs_of(name)
    plain = CASES[name][0]()
    layer = SpectralNormalization(
        type(plain).from_config({**plain.get_config(), "dtype": "mixed_bfloat16"})
    )
    layer.build(inputs.shape)
    u, _, sigma = power_iteration(matrix_of(name, layer.kernel), np.asarray(layer.u, "float64"), 1)
    model = layer
    if inside:  # a model, whose scope would cast the variables that layers read
        model = keras.Sequential([layer])
        model.dtype_policy = "mixed_bfloat16"
    outputs = model(inputs, training=True)
    assert outputs.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    np.testing.assert_allclose(layer.u, u, rtol=1e-5, atol=1e-6)  # 16 bits are good to 4e-3
    expected = plain_outputs(name, layer, inputs, sigma)
    np.testing.assert_allclose(tf.cast(outputs, "float32"), expected, rtol=0.05, atol=0.05)


def test_a_32_bit_layer_among_16_bit_ones():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        inputs = keras.Input((6,))
        hidden = SpectralNormalization(keras.layers.Dense(4))(inputs)
        outputs = SpectralNormalization(keras.layers.Dense(1, dtype="float32"))(hidden)
        model = keras.Model(inputs, outputs)
    finally:
        keras.config.set_dtype_policy("float32")
    assert (hidden.dtype, outputs.dtype) == ("bfloat16", "float32")
    assert model(inputs_of("dense")).dtype == tf.float32


def network():
    keras.utils.set_random_seed(4)
    return keras.Sequential(
        [
            keras.Input((6, 6, 3), dtype=policy_dtype()),
            SpectralNormalization(keras.layers.Conv2D(4, 3), power_iterations=2),
            SpectralNormalization(keras.layers.Conv2DTranspose(2, 3)),
            keras.layers.Flatten(),
            SpectralNormalization(keras.layers.Dense(1)),
        ]
    )


def train(model, images, strategy=None):
    """Three steps of SGD on the images, in shards over the replicas."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        optimizer = keras.optimizers.SGD(0.05)
        optimizer.build(model.trainable_variables)
    data = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(images).batch(len(images))
    )

    def step(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(batch, training=True) ** 2) / len(images)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    run = tf.function(lambda batch: strategy.run(step, (batch,)))
    for _ in range(3):
        run(next(iter(data)))
    return model


def test_two_replicas_equal_one(mirrored):
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 3))
    with dtype_policy("float64"):  # where rounding cannot be taken for a defect
        start = network().get_weights()
        one = train(network(), images).get_weights()
        with mirrored.scope():
            model = network()
        two = train(model, images, mirrored)
    for weight, other, before in zip(one, two.get_weights(), start):
        assert weight.dtype == np.float64
        np.testing.assert_allclose(other, weight, rtol=0, atol=1e-8)
        assert np.abs(weight - before).max() > 1e-4  # kernels, biases and every u have moved
    for layer in two.layers:
        if isinstance(layer, SpectralNormalization):
            copies = mirrored.experimental_local_results(layer.u.value)
            assert len(copies) == 2
            np.testing.assert_array_equal(*copies)


def test_saves_and_loads_in_safe_mode(tmp_path):
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 3)).astype("float32")
    model = train(network(), images)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    assert again.layers[0].power_iterations == 2
    assert len(again.weights) == len(model.weights) == 9
    for weight, other in zip(model.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(other, weight)
    np.testing.assert_array_equal(again(images), model(images))
    # And training resumes in the same way.
    for weight, other in zip(train(model, images).weights, train(again, images).weights):
        np.testing.assert_array_equal(other, weight)


def test_clones():
    model = network()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(copy(images), model(images))
    copy(images, training=True)
    assert (np.asarray(copy.layers[0].u) != np.asarray(model.layers[0].u)).all()


def test_exports(tmp_path):
    images = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    model = train(network(), images)
    model.export(tmp_path / "exported", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "exported"))
    np.testing.assert_allclose(loaded.serve(images), model(images), rtol=1e-5, atol=1e-6)


def test_the_values_of_an_outer_scope_reach_the_layer():
    layer, inputs = wrapped("dense"), inputs_of("dense")
    trainable = [2 * np.asarray(w) + 1 for w in layer.trainable_variables]
    others = [np.ones(4, "float32")]
    outputs, (u,) = layer.stateless_call(trainable, others, inputs, training=True)
    expected_u, _, sigma = power_iteration(matrix_of("dense", trainable[0]), np.ones(4), 1)
    np.testing.assert_allclose(outputs, inputs @ trainable[0] / sigma + trainable[1], rtol=1e-4)
    np.testing.assert_allclose(u, expected_u, rtol=1e-5)


def test_bad_arguments():
    for layer in (keras.layers.ReLU(), keras.layers.DepthwiseConv2D(3), "dense"):
        with pytest.raises(InputError, match="wraps one of Dense, Conv2D, .* Received: layer="):
            SpectralNormalization(layer)
    for count in (0, -1, 1.5, True, None):
        with pytest.raises(InputError, match="power_iterations must be a positive") as caught:
            SpectralNormalization(keras.layers.Dense(1), power_iterations=count)
        assert f"power_iterations={count!r}" in str(caught.value)


def test_a_frozen_layer_keeps_its_u():
    layer = SpectralNormalization(keras.layers.Dense(3))
    layer(np.ones((2, 4), "float32"), training=True)
    before = layer.u.numpy()
    layer.trainable = False
    layer(np.ones((2, 4), "float32"), training=True)
    np.testing.assert_array_equal(layer.u, before)
    layer.trainable = True
    layer(np.ones((2, 4), "float32"), training=True)
    assert (layer.u.numpy() != before).any()
