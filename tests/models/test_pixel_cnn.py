"""PixelCNN: what each position sees, exact likelihoods, and samples drawn once or again."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import PixelCNN
from keras_genimg.errors import InputError

RNG = np.random.default_rng(0)
TINY = {"filters": 6, "layers": 2, "first_kernel_size": 3}


def lively(**arguments):
    """A small model whose distributions are far from even, as if it had learned."""
    keras.utils.set_random_seed(0)
    model = PixelCNN(**{**TINY, **arguments})
    for index, weight in enumerate(model.trainable_variables):
        weight.assign_add(0.4 * tf.random.stateless_normal(weight.shape, (index, 0)))
    return model


# --------------------------------------------------------------------------- what it sees


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kernel_size, first, num_layers", [(3, 3, 3), (3, 7, 1), (5, 3, 2)])
def test_a_position_sees_all_that_is_before_it_and_nothing_else(
    kernel_size, first, num_layers, channels
):
    height, width = 8, 9
    model = lively(
        image_shape=(height, width, channels), levels=2, kernel_size=kernel_size,
        first_kernel_size=first, layers=num_layers, filters=24,
    )  # fmt: skip
    model.network.hidden.bias.assign_add(2.0 * np.ones(24))  # not all of them silent anywhere
    places = list(np.ndindex(height, width, channels))
    # Some pictures, as a ReLU may be silent in one; the gradient of each position by itself.
    data = tf.constant(RNG.normal(size=(6, height, width, channels)).astype("float32"))
    data = tf.repeat(data, len(places), axis=0)
    with tf.GradientTape() as tape:
        tape.watch(data)
        logits = model.network.logits_of(data)
        loss = tf.reduce_sum(
            tf.gather_nd(logits[..., 1], [[i, *p] for i, p in enumerate(6 * places)])
        )
    gradients = tape.gradient(loss, data).numpy().reshape(6, len(places), height, width, channels)
    seen = (gradients != 0).any(axis=0)

    reach = first // 2 + (num_layers - 1) * (kernel_size // 2)
    for (row, column, channel), found in zip(places, seen):
        expected = np.zeros((height, width, channels), bool)
        sides = slice(max(column - reach, 0), column + reach + 1)
        expected[max(row - 1 - reach, 0) : row, sides] = True  # above: all, without a blind spot
        expected[row, max(column - reach, 0) : column] = True
        expected[row, column, :channel] = True  # the earlier channels of the same pixel
        np.testing.assert_array_equal(found, expected, err_msg=f"{row} {column} {channel}")


def test_logits_of_codes_and_of_pictures_hang_on_earlier_values_alone():
    model = lively(code_shape=(4, 5), num_embeddings=7, num_classes=3)
    codes = RNG.integers(0, 7, (1, 4, 5))
    classes = np.array([[1], [2]])
    logits = model(codes, classes[0]).numpy()
    assert logits.shape == (1, 4, 5, 7) and logits.dtype == np.float32
    changed = codes.copy()
    changed[0, 2, 1] = (codes[0, 2, 1] + 1) % 7
    moved = np.abs(model(changed, classes[0]).numpy() - logits).max(axis=(0, 3)).ravel() > 0
    assert not moved[: 2 * 5 + 1 + 1].any() and moved[2 * 5 + 1 + 1]
    assert (
        np.abs(model(codes, classes[1]).numpy() - logits).max(axis=(0, 3)).min() > 0
    )  # a class, all
    assert PixelCNN((5, 4, 3), 8, **TINY)(np.zeros((2, 5, 4, 3), "float32")).shape == (
        2,
        5,
        4,
        3,
        8,
    )


# ------------------------------------------------------------------------------- learning


def plain_logits(model, codes, labels):
    """The paper's formulas with kernels of full size, zero where hidden."""

    def convolve(x, layer, rows, columns):
        kernel = layer.kernel.value
        kernel = tf.pad(
            kernel, [[0, rows - kernel.shape[0]], [0, columns - kernel.shape[1]], [0, 0], [0, 0]]
        )
        return tf.nn.conv2d(x, kernel, 1, "SAME") + layer.bias.value

    def gated(x):
        half = x.shape[-1] // 2
        return tf.tanh(x[..., :half]) * tf.sigmoid(x[..., half:])

    network = model.network
    before = tf.gather(network.embedding.embeddings.value, codes)  # (B, h, w, f)
    above = tf.concat([tf.zeros_like(before[:, :1]), before[:, :-1]], axis=1)
    for index, layer in enumerate(network.stack):
        by_class = tf.gather(layer.classes.embeddings.value, labels)[:, None, None]
        width = by_class.shape[-1] // 2
        told = convolve(above, layer.vertical, 3, 3) + by_class[..., :width]
        seen = convolve(before, layer.horizontal, 1, 3) + by_class[..., width:]
        if index == 0:  # without the position itself
            itself = layer.horizontal.kernel.value[0, 1]
            seen -= before @ itself
        seen += told @ layer.link.kernel.value[0, 0]
        mixed = convolve(gated(seen), layer.mix, 1, 1)
        above, before = gated(told), mixed if index == 0 else mixed + before
    x = tf.nn.relu(convolve(tf.nn.relu(before), network.hidden, 1, 1))
    return convolve(x, network.last, 1, 1)


def test_a_step_is_that_of_a_plain_tape():
    codes, labels = RNG.integers(0, 5, (8, 3, 4)), np.arange(8) % 3
    model = lively(code_shape=(3, 4), num_embeddings=5, num_classes=3)
    other = lively(code_shape=(3, 4), num_embeddings=5, num_classes=3)
    start = model.get_weights()
    model.compile(keras.optimizers.SGD(0.01))
    logs = model.fit(codes, labels, batch_size=8, verbose=0).history

    with tf.GradientTape() as tape:
        log_shares = tf.nn.log_softmax(plain_logits(other, codes, labels))
        nats = -tf.reduce_sum(tf.one_hot(codes, 5) * log_shares, axis=(1, 2, 3))
        loss = tf.reduce_mean(nats)
    weights = [weight.value for weight in other.trainable_variables]
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        weight.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    assert set(logs) == {"loss", "nll", "nats_per_code"}
    assert logs["loss"][0] == logs["nll"][0] == pytest.approx(float(loss), rel=1e-5)
    assert logs["nats_per_code"][0] == pytest.approx(float(loss) / 12, rel=1e-5)
    for weight, plain, old in zip(model.trainable_variables, weights, start):
        np.testing.assert_allclose(weight, plain, atol=1e-5, err_msg=weight.path)
        assert np.abs(weight - old).max() > 1e-4, weight.path


def test_bits_per_dim_are_nats_over_values():
    model = lively(image_shape=(4, 3, 3), levels=256)
    model.compile()
    images = RNG.uniform(-1, 1, (6, 4, 3, 3)).astype("float32")
    logs = model.evaluate(images, verbose=0, return_dict=True)
    nats = -model.log_likelihood(images, batch_size=4)
    assert logs["nll"] == logs["loss"] == pytest.approx(nats.mean(), rel=1e-5)
    assert logs["bits_per_dim"] == pytest.approx(nats.mean() / 36 / np.log(2), rel=1e-5)
    assert set(logs) == {"loss", "nll", "bits_per_dim"}


def test_it_learns_rows_of_one_code():
    codes = np.repeat(RNG.integers(0, 4, (512, 4, 1)), 4, axis=2)  # 4 log 4 = 5.5 nats of 22.2
    keras.utils.set_random_seed(0)
    model = PixelCNN(code_shape=(4, 4), num_embeddings=4, **{**TINY, "filters": 16})
    model.compile(learning_rate=0.01)
    history = model.fit(codes, batch_size=64, epochs=12, verbose=0).history
    assert history["nll"][0] > 10 and history["nll"][-1] < 6.2
    made = model.generate_codes(40, seed=1)
    assert (made == made[..., :1]).mean() > 0.95 and len(np.unique(made)) == 4


def test_dropout_is_of_training_alone():
    images = RNG.choice([-1.0, 1.0], (4, 5, 5, 1)).astype("float32")
    model = lively(image_shape=(5, 5, 1), levels=2, dropout=0.5, seed=1)
    np.testing.assert_array_equal(model(images), model(images))
    assert np.abs(model(images, training=True) - model(images, training=True)).max() > 0.01
    masks = [layer.dropout(tf.ones((1, 5, 5, 6)), training=True) for layer in model.network.stack]
    assert (masks[0] != masks[1]).numpy().any()


# ----------------------------------------------------------------- likelihoods and samples


@pytest.mark.parametrize(
    "shape, levels", [((2, 2, 1), 2), ((1, 2, 2), 3)], ids=["black and white", "two channels"]
)
def test_likelihoods_of_all_pictures_sum_to_one_and_samples_have_them(shape, levels):
    model = lively(image_shape=shape, levels=levels)
    size = np.prod(shape)
    values = np.array([*itertools.product(range(levels), repeat=size)])
    images = (2 * values / (levels - 1) - 1).astype("float32").reshape(-1, *shape)
    shares = np.exp(model.log_likelihood(images).astype("float64"))
    assert shares.sum() == pytest.approx(1.0, abs=1e-5)
    assert shares.max() > 2 / len(shares)  # not all alike

    made = model.values_of(model.generate(3000, seed=2, batch_size=3000)).numpy()
    numbers = made.reshape(3000, size) @ levels ** np.arange(size)[::-1]
    seen = np.bincount(numbers, minlength=len(shares)) / 3000
    # Four standard deviations of each, of a binomial.
    assert (np.abs(seen - shares) < 4 * np.sqrt(shares / 3000) + 1e-3).all()


def test_a_picture_has_the_likelihood_of_its_nearest_levels():
    model = lively(image_shape=(3, 3, 1), levels=2)
    images = np.where(RNG.uniform(-1, 1, (4, 3, 3, 1)) < 0, -0.3, 0.0).astype("float32")
    black_and_white = np.where(images < 0, -1.0, 1.0).astype("float32")
    np.testing.assert_array_equal(
        model.log_likelihood(images), model.log_likelihood(black_and_white)
    )
    bytes_ = np.arange(256).reshape(1, 16, 16, 1)
    values = PixelCNN((16, 16, 1), **TINY).values_of((bytes_ / 127.5 - 1).astype("float32"))
    np.testing.assert_array_equal(values, bytes_)


def naive_samples(model, count, seed, labels=None):
    """Everything computed again for each value."""
    height, width, channels = model.network.shape
    latents = model.draw_latents(count, seed)
    noise_of = tf.function(model.gumbel_noise)
    noise = np.stack([noise_of(latents, tf.constant(row)) for row in range(height)], axis=1)
    logits_of = tf.function(lambda values: model.network(values, labels))
    values = np.zeros((count, height, width, channels), "int32")
    for place in np.ndindex(height, width, channels):
        here = (slice(None), *place)
        values[here] = np.argmax(
            logits_of(tf.constant(values)).numpy()[here] + noise[here], axis=-1
        )
    return values


@pytest.mark.parametrize(
    "arguments, classes",
    [
        ({"code_shape": (5, 4), "num_embeddings": 9, "layers": 3}, None),
        ({"image_shape": (4, 5, 1), "levels": 2, "first_kernel_size": 5}, None),
        ({"image_shape": (3, 4, 3), "levels": 4, "kernel_size": 5, "num_classes": 3}, [0, 2, 1, 2]),
    ],
    ids=["codes", "grey", "colour with classes"],
)
def test_samples_computed_once_are_those_computed_again(arguments, classes):
    model = lively(**arguments)

    def made(count, **options):
        given = classes and classes[:count]
        if model.code_shape:
            return model.generate_codes(count, given, seed=5, **options)[..., None]
        images = model.generate(count, given, seed=5, **options)
        assert images.dtype == np.float32 and np.abs(images).max() <= 1
        return model.values_of(images).numpy()

    values = made(4)
    labels = None if classes is None else tf.constant(classes)
    np.testing.assert_array_equal(values, naive_samples(model, 4, 5, labels))
    assert len(np.unique(values)) == model.levels and (values[0] != values[1]).any()
    np.testing.assert_array_equal(made(4, batch_size=3), values)
    np.testing.assert_array_equal(made(2), values[:2])
    if classes:
        assert (model.generate(4, [2, 2, 2, 2], seed=5) != model.generate(4, classes, seed=5)).any()
        return
    # At a temperature of 0 the likeliest value at each position, without noise.
    likeliest = made(2, temperature=0.0)
    np.testing.assert_array_equal(likeliest[0], likeliest[1])
    again = model.network(tf.constant(likeliest)).numpy().argmax(-1)
    np.testing.assert_array_equal(again, likeliest)


def test_noise_is_gumbel_noise_of_its_own_everywhere():
    model = PixelCNN(code_shape=(3, 4), num_embeddings=50, **TINY)
    latents = model.draw_latents(100, 1)
    noise_of = tf.function(model.gumbel_noise)
    noise = np.stack(
        [noise_of(latents, tf.constant(row)) for row in range(3)]
    )  # (3, 100, 4, 1, 50)
    assert len(np.unique(noise)) > 0.99 * noise.size
    # Mean 0.5772 and variance pi^2 / 6; 60,000 draws have standard errors of 0.005 and 0.015.
    assert noise.mean() == pytest.approx(0.5772, abs=0.02)
    assert noise.var() == pytest.approx(np.pi**2 / 6, abs=0.06)


# ------------------------------------------------------------------------------- bad input


@pytest.fixture(scope="module")
def of_codes():
    model = PixelCNN(code_shape=(4, 4), num_embeddings=8, num_classes=3, **TINY)
    model.compile()
    return model


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"code_shape": (4, 4), "image_shape": (4, 4, 1), "num_embeddings": 8},
            "image_shape=(4, 4, 1)",
        ),
        ({"code_shape": (4, 4), "num_embeddings": 8, "levels": 2}, "levels=2"),
        (
            {"code_shape": (4, 4)},
            "num_embeddings must be a positive integer. Received: num_embeddings=None.",
        ),
        ({"num_embeddings": 8}, "code_shape must be (height, width), two positive integers."),
        ({"code_shape": 4, "num_embeddings": 8}, "Received: code_shape=4."),
        ({"code_shape": (4, 4, 1), "num_embeddings": 8}, "Received: code_shape=(4, 4, 1)."),
        ({"levels": 1}, "levels must be an integer of at least 2. Received: levels=1."),
        ({"image_shape": (4, 4, 3), "filters": 32}, "filters=32 for 3 channels"),
        ({"layers": 0}, "layers must be a positive integer. Received: layers=0."),
        (
            {"kernel_size": 4},
            "kernel_size must be an odd integer of at least 3. Received: kernel_size=4.",
        ),
        ({"first_kernel_size": 1}, "Received: first_kernel_size=1."),
        ({"num_classes": 1}, "num_classes must be an integer of at least 2"),
        ({"dropout": 1.0}, "dropout must be a finite number from 0 to 0.99"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        PixelCNN(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


GOOD = np.zeros((2, 4, 4), "int32")


@pytest.mark.parametrize(
    "codes, labels, words",
    [
        (GOOD.astype("float32"), [0, 1], "takes codes, integers from 0 to 7. Received: float32."),
        (GOOD + 8, [0, 1], "takes codes, integers from 0 to 7. Received: 8 to 8."),
        (GOOD - 1, [0, 1], "Received: -1 to -1."),
        (GOOD[:, :3], [0, 1], "codes of shape ('batch', 4, 4). Received: ('batch', 3, 4)."),
        (GOOD[:0], [], "Received: none."),
        (GOOD, None, "labels"),
        (GOOD, [0, 3], "labels must be integers from 0 to 2"),
    ],
    ids=["floats", "above", "below", "shape", "none", "no labels", "labels"],
)
def test_bad_codes(of_codes, codes, labels, words):
    labels = None if labels is None else np.array(labels, "int32")
    uses = [lambda: of_codes.log_likelihood(codes, labels), lambda: of_codes.fit(codes, labels)]
    for use in uses:
        with pytest.raises(InputError) as caught:
            use()
        assert words in str(caught.value) and "\n" not in str(caught.value)
    data = codes if labels is None else (codes, labels)
    with pytest.raises(InputError) as caught:
        of_codes.fit(tf.data.Dataset.from_tensors(data))
    assert words in str(caught.value)


def test_what_cannot_be_generated(of_codes):
    with pytest.raises(InputError, match="does not generate images; generate_codes"):
        of_codes.generate(2, labels=[0, 1])
    for count, labels in ((2, [0, 3]), (2, [0])):
        with pytest.raises(InputError, match="label"):
            of_codes.generate_codes(count, labels)
    pictures = PixelCNN((4, 4, 1), 2, **TINY)
    with pytest.raises(InputError, match="generate_codes needs a model of codes"):
        pictures.generate_codes(2)
    with pytest.raises(InputError, match="temperature must be a finite number.*-1"):
        pictures.generate(2, temperature=-1.0)
    with pytest.raises(InputError, match="has no classes. Received: labels="):
        pictures.log_likelihood(np.zeros((2, 4, 4, 1), "float32"), [0, 1])
