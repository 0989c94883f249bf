"""Under the dtype policy "float64" layers and losses compute in 64 bits, and the same numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import distribution, layers, losses

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (4, 8, 8, 3))
LABELS = np.array([0, 2, 1, 2], "int32")
SEED = tf.constant([1, 2], tf.int64)

# name -> the function that makes the layer, its inputs, and the arguments of a call
CASES = {
    "BatchNormalization": (layers.BatchNormalization, IMAGES, {"training": True}),
    "BicubicResize": (lambda: layers.BicubicResize(4, 5), IMAGES, {}),
    "CausalSelfAttention": (lambda: layers.CausalSelfAttention(2), IMAGES[:, 0, :, :2], {}),
    "Centering": (layers.Centering, IMAGES, {}),
    "ConditionalBatchNormalization": (
        lambda: layers.ConditionalBatchNormalization(3), [IMAGES, LABELS], {"training": True}
    ),
    "DiffAugment": (lambda: layers.DiffAugment(seed=1), IMAGES, {"training": True}),
    "Dropout": (lambda: layers.Dropout(0.4, seed=1), IMAGES, {"training": True}),
    "FiniteScalarQuantizer": (lambda: layers.FiniteScalarQuantizer((8, 5, 4)), IMAGES, {}),
    "GaussianMixture": (lambda: layers.GaussianMixture(2, 3), IMAGES[0, 0], {}),
    "ImagePool": (lambda: layers.ImagePool(2), IMAGES, {"seed": SEED}),
    "InstanceNormalization": (layers.InstanceNormalization, IMAGES, {"training": True}),
    "MaskedConv2D": (lambda: layers.MaskedConv2D(5, 3, "A", groups=3), IMAGES, {}),
    "MinibatchStandardDeviation": (layers.MinibatchStandardDeviation, IMAGES, {}),
    "MotionWalk": (layers.MotionWalk, IMAGES[:, 0], {}),
    "Sampling": (lambda: layers.Sampling(seed=1), [IMAGES, IMAGES], {}),
    "Shift": (layers.Shift, [IMAGES, 3 * IMAGES[:, 0, 0, :2]], {}),
    "SpectralNormalization": (
        lambda: layers.SpectralNormalization(keras.layers.Conv2D(4, 3)), IMAGES, {"training": True}
    ),
    "VectorQuantizer": (
        lambda: layers.VectorQuantizer(8, 3, gradient="rotation", dead_code_threshold=1, seed=1),
        IMAGES, {"training": True},
    ),
    "VectorQuantizerEMA": (
        lambda: layers.VectorQuantizerEMA(8, 3, dead_code_threshold=1.0, seed=1),
        IMAGES, {"training": True},
    ),
}  # fmt: skip


DRAWS = ("DiffAugment", "Dropout", "ImagePool", "Sampling")  # of float32 numbers, then cast


@pytest.fixture
def set_policy():
    policy = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(policy)


def floating(tensors):
    tensors = [tf.convert_to_tensor(tensor) for tensor in keras.tree.flatten(tensors)]
    return [tensor for tensor in tensors if tensor.dtype.is_floating]


def variables_of(layer):
    return [v for v in layer.variables if "seed_generator" not in v.path]


def called(layer, inputs, arguments):
    """Outputs, the gradients that reach the inputs, and the variables after the call."""
    inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
    watched = floating(inputs)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        outputs = layer(inputs, **arguments)
        total = sum(tf.reduce_sum(tf.cast(x, tf.float64) ** 2) for x in floating(outputs))
    return floating(outputs), tape.gradient(total, watched), variables_of(layer)


def single_precision(function, *inputs):
    """Types of the operations in a function's graph that give 32 or 16 bits."""
    specs = keras.tree.map_structure(lambda x: tf.TensorSpec(x.shape, x.dtype), inputs)
    graph = tf.function(function).get_concrete_function(*specs).graph
    return {
        operation.type
        for operation in graph.get_operations()
        if any(tensor.dtype in (tf.float32, tf.bfloat16) for tensor in operation.outputs)
    }


def test_every_public_layer_has_a_case():
    public = [getattr(layers, name) for name in layers.__all__]
    assert {thing.__name__ for thing in public if isinstance(thing, type)} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_in_float64_what_it_computes_in_float32(name, set_policy):
    make, inputs, arguments = CASES[name]
    keras.utils.set_random_seed(0)
    single = make()
    single_inputs = keras.tree.map_structure(
        lambda x: x.astype("float32") if x.dtype == "float64" else x, inputs
    )
    single.build(keras.tree.map_structure(lambda x: x.shape, single_inputs))
    set_policy("float64")
    double = make()
    double.build(keras.tree.map_structure(lambda x: x.shape, inputs))
    for variable, value in zip(variables_of(double), variables_of(single)):
        variable.assign(tf.cast(value, variable.dtype))
    found = called(double, inputs, arguments)
    set_policy("float32")
    expected = called(single, single_inputs, arguments)
    for part, wanted in zip(found, expected):
        assert len(part) == len(wanted)
        for value, other in zip(part, wanted):
            value, other = np.array(value), np.array(other)
            assert value.dtype == ("float64" if other.dtype == "float32" else other.dtype)
            np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-4)
    if name not in DRAWS:
        assert single_precision(lambda x: double(x, **arguments), inputs) == set()


def test_symbolic_outputs_are_float64(set_policy):
    set_policy("float64")
    vectors = keras.Input((8, 8, 3))
    for quantizer in (layers.VectorQuantizerEMA(8, 3), layers.FiniteScalarQuantizer((3, 3, 3))):
        assert [output.dtype for output in quantizer(vectors)] == ["float64", "int32", "float64"]
    assert layers.MotionWalk()(keras.Input((5, 3))).dtype == "float64"
    assert layers.BicubicResize(4, 4)(vectors).dtype == "float64"


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_other_policies_keep_images_and_codebooks_in_float32(policy, set_policy):
    set_policy(policy)
    kinds = (layers.BicubicResize(4, 4), layers.DiffAugment(), layers.MotionWalk(),
             layers.GaussianMixture(2, 3))  # fmt: skip
    assert {layer.compute_dtype for layer in kinds} == {"float32"}
    for quantizer in (layers.VectorQuantizer(8, 3), layers.VectorQuantizerEMA(8, 3)):
        assert {v.dtype for v in variables_of(quantizer)} == {"float32"}
        assert quantizer(tf.zeros((2, 3)))[2].dtype == tf.float32


def test_a_mixture_in_float64(set_policy):
    single = layers.GaussianMixture(2, 3)
    set_policy("float64")
    double = layers.GaussianMixture(2, 3)
    for mixture in (single, double):
        mixture.fit(IMAGES.reshape(-1, 3))
    samples = double.sample(6, SEED)
    assert samples.dtype == tf.float64
    np.testing.assert_allclose(samples, single.sample(6, SEED), rtol=1e-4, atol=1e-5)


def test_attention_step_by_step_in_float64(set_policy):
    set_policy("float64")
    layer, x = layers.CausalSelfAttention(2), tf.constant(IMAGES[:, 0, :, :2])
    expected = layer(x)
    keys = values = tf.zeros((4, 2, 8, 1), tf.float64)
    for position in range(8):
        output, keys, values = layer.step(x[:, position : position + 1], keys, values, position)
        np.testing.assert_allclose(output[:, 0], expected[:, position], rtol=1e-12)


def linear(images):
    return tf.reduce_sum(images, axis=(1, 2))


LOSSES = {
    **{
        name: lambda x, y, pair=name: [
            losses.get_adversarial_loss(pair, True)[0](x, y),
            losses.get_adversarial_loss(pair, True)[1](x, y),
        ]
        for name in (*losses.ADVERSARIAL_LOSSES, *losses.RELATIVISTIC_LOSSES)
    },
    "gaussian_kl": losses.gaussian_kl,
    "gradient_penalty": lambda x, y: losses.gradient_penalty(linear, x, y, alpha=np.ones(4) / 3),
    "r1_penalty": lambda x, y: losses.r1_penalty(lambda z: linear(z) ** 2, x),
    "bernoulli_log_likelihood": losses.bernoulli_log_likelihood,
    "gaussian_log_likelihood": lambda x, y: losses.gaussian_log_likelihood(x, y, y),
    "discretized_logistic_log_likelihood": lambda x, y: losses.discretized_logistic_log_likelihood(
        x, y, y
    ),
    "importance_weighted_bound": lambda x, y: losses.importance_weighted_bound(x[:, :, 0, 0]),
    "content_loss": lambda x, y: losses.content_loss(x, y, lambda z: [z, z[:, 0]]),
    "perceptual_loss": lambda x, y: losses.perceptual_loss(x, y, lambda z: z),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_keeps_float64(name):
    others = IMAGES[::-1].copy()
    assert single_precision(LOSSES[name], IMAGES, others) == set()
    found = keras.tree.flatten(LOSSES[name](tf.constant(IMAGES), tf.constant(others)))
    expected = LOSSES[name](tf.constant(IMAGES, tf.float32), tf.constant(others, tf.float32))
    for value, other in zip(found, keras.tree.flatten(expected)):
        assert (value.dtype, other.dtype) == (tf.float64, tf.float32)
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-4)


def test_noise_of_another_type_is_the_same_noise():
    batch = distribution.whole_batch(5)
    for draw in (
        distribution.random_normal,
        distribution.random_truncated_normal,
        distribution.random_uniform,
    ):
        single, double = draw(batch, (3,), SEED), draw(batch, (3,), SEED, dtype="float64")
        assert (single.dtype, double.dtype) == (tf.float32, tf.float64)
        np.testing.assert_array_equal(single, double)


def test_the_share_of_a_batch_has_the_type_of_its_losses(mirrored):
    shares = {}
    for dtype in ("float64", "float32", "bfloat16", "int32"):
        shares[dtype] = distribution.global_batch(tf.zeros((3, 2), dtype)).share.dtype.name
    assert shares == {
        "float64": "float64", "float32": "float32", "bfloat16": "float32", "int32": "float32"
    }  # fmt: skip
    # Codes are integers: their model says in what it computes.
    codes = tf.zeros((3, 2), tf.int32)
    assert distribution.global_batch(codes, "float64").share.dtype == tf.float64
    parts = mirrored.run(lambda: distribution.global_batch(tf.zeros((3, 2), tf.float64)).share)
    for share in mirrored.experimental_local_results(parts):
        assert share.dtype == tf.float64 and float(share) == 0.5
