"""The added feature map against NumPy, on any number of replicas."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.layers import MinibatchStandardDeviation


def inputs_of(*shape):
    return np.random.default_rng(0).normal(1.0, 2.0, size=shape).astype("float32")


def test_against_numpy():
    inputs = inputs_of(5, 3, 4, 2)
    outputs = MinibatchStandardDeviation()(inputs).numpy()
    assert outputs.shape == (5, 3, 4, 3)
    np.testing.assert_array_equal(outputs[..., :2], inputs)
    deviation = inputs.astype("float64").std(axis=0).mean()
    np.testing.assert_allclose(outputs[..., 2], np.full((5, 3, 4), deviation), rtol=1e-5)


def test_by_hand():
    inputs = np.array([1.0, 1.0, 4.0, 4.0], "float32").reshape(4, 1, 1, 1)
    outputs = MinibatchStandardDeviation(epsilon=1.75)(inputs).numpy()
    # Variance 2.25 of the batch, and 1.75 more inside the root.
    np.testing.assert_allclose(outputs[..., 1].ravel(), [2.0] * 4)


def test_digits_survive_a_large_mean():
    inputs = 1000.0 + inputs_of(16, 2, 2, 3)
    outputs = MinibatchStandardDeviation()(inputs).numpy()
    expected = inputs.std(0, dtype="float64").mean()
    np.testing.assert_allclose(outputs[0, 0, 0, 3], expected, rtol=1e-4)


def test_gradient():
    inputs = tf.constant(inputs_of(4, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(MinibatchStandardDeviation()(inputs)[..., 3])
    # 4 * 2 * 2 places hold the mean of 12 standard deviations, d std / dx = (x - mean) / (B std).
    values = inputs.numpy().astype("float64")
    expected = 16 / 12 * (values - values.mean(0)) / (4 * values.std(0))
    np.testing.assert_allclose(tape.gradient(total, inputs), expected, rtol=1e-3, atol=1e-5)


def test_gradient_of_identical_images_is_finite():
    inputs = tf.ones((4, 2, 2, 3))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = MinibatchStandardDeviation()(inputs)
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), np.ones((4, 2, 2, 3)))
    np.testing.assert_allclose(outputs[..., 3], np.full((4, 2, 2), 1e-4), rtol=1e-5)


def on_two(mirrored, inputs):
    """Outputs and gradients of the batch cut into two replicas' parts."""
    layer = MinibatchStandardDeviation()
    weights = tf.constant(inputs_of(*inputs.shape[:-1], inputs.shape[-1] + 1))
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices((inputs, weights)).batch(len(inputs))
    )

    def step(images, weights):
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images)
            loss = tf.reduce_sum(outputs * weights)
        return outputs, tape.gradient(loss, images)

    run = tf.function(lambda *parts: mirrored.run(step, parts))
    results = run(*next(iter(data)))
    one = step(tf.constant(inputs), weights)
    two = [tf.concat(mirrored.experimental_local_results(part), 0) for part in results]
    return one, two


def test_two_replicas_equal_one(mirrored):
    for count in (6, 5):  # in equal parts and in unequal ones
        one, two = on_two(mirrored, inputs_of(count, 2, 2, 3))
        for expected, found in zip(one, two):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_bfloat16():
    inputs = inputs_of(64, 2, 2, 3)
    outputs = MinibatchStandardDeviation(dtype="mixed_bfloat16")(inputs)
    assert outputs.dtype == tf.bfloat16
    expected = inputs.std(0).mean()
    np.testing.assert_allclose(tf.cast(outputs[..., 3], "float32"), expected, rtol=1e-2)


def test_in_a_functional_model_of_any_batch_that_saves_and_loads(tmp_path):
    model = keras.Sequential([keras.Input((4, 4, 2)), MinibatchStandardDeviation(epsilon=0.5)])
    assert model.output_shape == (None, 4, 4, 3)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    for count in (1, 3):
        inputs = inputs_of(count, 4, 4, 2)
        np.testing.assert_array_equal(again.predict(inputs, verbose=0), model(inputs))
