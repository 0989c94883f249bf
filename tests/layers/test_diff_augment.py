"""Differentiable augmentation against plain NumPy loops on the same draws, and its layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.layers import DiffAugment, check_policy, diff_augment

SEED = tf.constant([3, 8], tf.int64)
ALL = "color,translation,cutout"


def images_of(count, height=12, width=16, channels=3):
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, (count, height, width, channels)).astype("float32")


def augmented(images, policy, seed=SEED):
    batch = distribution.whole_batch(len(images))
    return diff_augment(tf.constant(images), batch, seed, policy).numpy()


def draws(count, seed=SEED):
    return distribution.random_uniform(distribution.whole_batch(count), (7,), seed).numpy()


def by_loop(images, policy):
    """The augmentations written out, one image and one pixel at a time."""
    images = images.astype("float64")
    _, height, width, _ = images.shape
    for index, uniform in enumerate(draws(len(images)).astype("float64")):
        image = images[index]
        for name in policy.split(","):
            if name == "color":
                image = image + uniform[0] - 0.5
                grey = image.mean(axis=2, keepdims=True)
                image = grey + (image - grey) * 2 * uniform[1]
                image = image.mean() + (image - image.mean()) * (0.5 + uniform[2])
            elif name == "translation":
                down, right = [
                    int(u * (2 * int(side / 8 + 0.5) + 1)) - int(side / 8 + 0.5)
                    for u, side in zip(uniform[3:5], (height, width))
                ]
                moved = np.zeros_like(image)
                for row in range(height):
                    for column in range(width):
                        if 0 <= row - down < height and 0 <= column - right < width:
                            moved[row, column] = image[row - down, column - right]
                image = moved
            else:
                top, left = [
                    int(u * (side + 1 - int(side / 2 + 0.5) % 2)) - int(side / 2 + 0.5) // 2
                    for u, side in zip(uniform[5:], (height, width))
                ]
                image = image.copy()
                image[max(top, 0) : max(top + int(height / 2 + 0.5), 0),
                      max(left, 0) : max(left + int(width / 2 + 0.5), 0)] = 0  # fmt: skip
        images[index] = image
    return images


@pytest.mark.parametrize("shape", [(12, 16, 3), (28, 28, 1), (15, 10, 4)], ids=str)
@pytest.mark.parametrize(
    "policy", ["color", "translation", "cutout", ALL, "cutout,color", "translation,color"]
)
def test_against_a_loop(policy, shape):
    images = images_of(20, *shape)
    found = augmented(images, policy)
    assert found.shape == images.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, by_loop(images, policy), atol=2e-6)
    assert all((a != b).any() for a, b in zip(found, images)) or policy == "translation"


def test_the_colors_of_one_channel_have_no_saturation():
    images = images_of(50, channels=1)
    uniform = draws(50).astype("float64")[:, :, None, None, None]
    brighter = images + uniform[:, 0] - 0.5
    mean = brighter.mean(axis=(1, 2, 3), keepdims=True)
    expected = mean + (brighter - mean) * (uniform[:, 2] + 0.5)
    np.testing.assert_allclose(augmented(images, "color"), expected, atol=1e-6)


def test_ranges_of_the_colors():
    flat = np.zeros((2000, 2, 2, 3), "float32")
    brightness = augmented(flat, "color")[:, 0, 0, 0]
    assert -0.5 <= brightness.min() < -0.49 and 0.49 < brightness.max() < 0.5
    assert np.var(brightness) == pytest.approx(1 / 12, rel=0.1)


def test_translation_moves_by_whole_pixels_in_all_directions_and_fills_with_zero():
    images = np.ones((2000, 16, 24, 1), "float32")
    moved = augmented(images, "translation")[..., 0]
    assert set(np.unique(moved)) == {0.0, 1.0}
    rows, columns = moved.any(axis=2), moved.any(axis=1)  # (n, 16), (n, 24)
    for lines, largest in ((rows, 2), (columns, 3)):
        first = np.argmax(lines, axis=1)
        last = np.argmax(lines[:, ::-1], axis=1)
        shifts = first - last  # to the right or down: the first lines are empty
        assert (np.minimum(first, last) == 0).all()
        values, counts = np.unique(shifts, return_counts=True)
        np.testing.assert_array_equal(values, np.arange(-largest, largest + 1))
        assert counts.min() > 0.7 * 2000 / len(values)  # alike, give or take
    # A pixel keeps its value on the way.
    image = np.arange(1, 16 * 24 + 1, dtype="float32").reshape(1, 16, 24, 1)
    moved = augmented(np.repeat(image, 20, 0), "translation")
    assert all(set(np.unique(one)) <= set(np.arange(16 * 24 + 1)) for one in moved)


def test_cutout_is_a_box_of_half_the_side():
    images = np.ones((2000, 16, 24, 1), "float32")
    holes = augmented(images, "cutout")[..., 0] == 0
    heights, widths = holes.any(axis=2).sum(1), holes.any(axis=1).sum(1)
    np.testing.assert_array_equal(holes.sum((1, 2)), heights * widths)  # a full rectangle
    assert (heights.min(), heights.max(), widths.min(), widths.max()) == (4, 8, 6, 12)
    # Wholly inside for 9 of 17 rows of its middle and 13 of 25 columns.
    inside = np.mean((heights == 8) & (widths == 12))
    assert inside == pytest.approx(9 / 17 * 13 / 25, abs=0.05)
    assert holes.any(axis=0).all()  # anywhere


def test_gradient_of_the_sum():
    images = tf.constant(images_of(10))
    batch = distribution.whole_batch(10)

    def gradient(policy):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(diff_augment(images, batch, SEED, policy))
        return tape.gradient(total, images).numpy()

    ones = np.ones(images.shape, "float32")
    # Saturation and contrast turn around means, which they keep.
    np.testing.assert_allclose(gradient("color"), ones, rtol=1e-5)
    np.testing.assert_array_equal(gradient("cutout"), augmented(ones, "cutout"))
    # Pixels that have left the image have none: those of a move the other way.
    moved = augmented(ones, "translation")
    np.testing.assert_array_equal(gradient("translation"), moved[:, ::-1, ::-1])


def test_gradient_by_differences():
    images = images_of(4)
    arriving = np.random.default_rng(1).normal(size=images.shape).astype("float32")
    direction = np.random.default_rng(2).normal(size=images.shape).astype("float32")
    tensor, batch = tf.constant(images), distribution.whole_batch(4)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        total = tf.reduce_sum(diff_augment(tensor, batch, SEED) * arriving)
    found = np.sum(tape.gradient(total, tensor).numpy() * direction)
    # Every augmentation is linear in the image, except for the brightness: differences are exact.
    ahead, behind = [by_loop(images + step * direction, ALL) for step in (1, -1)]
    assert found == pytest.approx(np.sum((ahead - behind) / 2 * arriving), rel=1e-4)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_in_a_graph_with_an_unknown_batch(jit_compile):
    @tf.function(
        input_signature=[tf.TensorSpec((None, 12, 16, 3)), tf.TensorSpec((2,), tf.int64)],
        jit_compile=jit_compile,
    )
    def augment(images, seed):
        with tf.GradientTape() as tape:
            tape.watch(images)
            changed = diff_augment(images, distribution.global_batch(images), seed)
            total = tf.reduce_sum(changed**2)
        assert changed.shape[1:] == images.shape[1:]
        return changed, tape.gradient(total, images)

    for count in (3, 5):
        images = images_of(count)
        changed, gradient = augment(images, SEED)
        np.testing.assert_allclose(changed, augmented(images, ALL), atol=1e-5)
        assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_the_gradient_has_a_gradient():
    # A gradient penalty differentiates through the augmentations.
    images = tf.constant(images_of(4))
    batch = distribution.whole_batch(4)
    with tf.GradientTape() as outer:
        outer.watch(images)
        with tf.GradientTape() as inner:
            inner.watch(images)
            total = tf.reduce_sum(diff_augment(images, batch, SEED) ** 3)
        gradient = inner.gradient(total, images)
    second = outer.gradient(gradient, images)
    assert np.isfinite(second).all() and np.abs(second).max() > 0


def test_seeds():
    images = images_of(6)
    np.testing.assert_array_equal(augmented(images, ALL), augmented(images, ALL))
    other = augmented(images, ALL, tf.constant([3, 9], tf.int64))
    assert (other != augmented(images, ALL)).any(axis=(1, 2, 3)).all()
    same = np.repeat(images[:1], 6, axis=0)
    assert np.ptp(augmented(same, ALL), axis=0).max() > 0.1  # each image in its own way


def test_replicas_augment_their_rows_of_the_global_batch(mirrored):
    images = images_of(5)
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(images).batch(5)
    )

    def step(part):
        return diff_augment(part, distribution.global_batch(part), SEED)

    run = tf.function(lambda part: mirrored.run(step, (part,)))
    parts = mirrored.experimental_local_results(run(next(iter(data))))
    assert len(parts) == 2
    np.testing.assert_allclose(tf.concat(parts, 0), augmented(images, ALL), atol=1e-6)


def test_policies():
    assert check_policy("cutout,color") == "cutout,color"
    for policy in ("", "colour", "color, cutout", "color,color", "color,", None, ["color"], 3):
        for refuses in (check_policy, lambda policy: augmented(images_of(2), policy)):
            with pytest.raises(InputError, match="policy must be color, translation") as caught:
                refuses(policy)
            assert f"policy={policy!r}" in str(caught.value)


# The layer.


def test_the_layer_draws_one_seed_per_call():
    images, layer, seeds = images_of(6), DiffAugment(seed=4), keras.random.SeedGenerator(4)
    for _ in range(2):
        found = layer(images, training=True)
        np.testing.assert_array_equal(found, augmented(images, ALL, seeds.next()))
    again, other = DiffAugment(seed=4), DiffAugment(seed=5)
    again(images, training=True)
    np.testing.assert_array_equal(again(images, training=True), found)
    assert (other(images, training=True) != found).numpy().any()


def test_the_layer_is_the_identity_at_inference():
    images, layer = images_of(4), DiffAugment(seed=4)
    before = np.array(layer.seed_generator.state)
    np.testing.assert_array_equal(layer(images), images)
    np.testing.assert_array_equal(layer(images, training=False), images)
    np.testing.assert_array_equal(layer.seed_generator.state, before)  # no draw


def test_replicas_of_the_layer_augment_the_rows_of_one(mirrored):
    images = images_of(5)
    expected = DiffAugment(seed=4)(images, training=True)
    with mirrored.scope():
        layer = DiffAugment(seed=4)
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(images).batch(5)
    )
    run = tf.function(lambda part: mirrored.run(lambda x: layer(x, training=True), (part,)))
    parts = mirrored.experimental_local_results(run(next(iter(data))))
    assert len(parts) == 2
    np.testing.assert_allclose(tf.concat(parts, 0), expected, atol=1e-6)


def test_gradients_flow_through_the_layer():
    images = tf.constant(images_of(4))
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(DiffAugment("translation,cutout", seed=4)(images, training=True))
    gradient = tape.gradient(total, images).numpy()
    assert set(np.unique(gradient)) == {0.0, 1.0}  # where nothing moved out or was cut out


def test_a_functional_model_saves_and_loads_the_layer(tmp_path):
    model = keras.Sequential([keras.Input((12, 16, 3)), DiffAugment("color,cutout", seed=4)])
    images = images_of(3)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    assert again.layers[0].policy == "color,cutout" and again.layers[0].seed == 4
    np.testing.assert_array_equal(again(images, training=True), model(images, training=True))


def test_images_stay_float32_under_a_16_bit_policy():
    images = images_of(3)
    outputs = DiffAugment(seed=4, dtype="mixed_bfloat16")(images, training=True)
    np.testing.assert_array_equal(outputs, DiffAugment(seed=4)(images, training=True))


def test_the_layer_checks_its_policy():
    with pytest.raises(InputError, match="policy must be color, translation, cutout, or several"):
        DiffAugment("colour")
