"""invert finds the latents of generated images, and of parts of them."""

import math

import keras
import numpy as np
import pytest
from cases import SHAPE, small_conditional_gan, small_gan, small_vae, small_vq_vae, smooth_pictures

from keras_genimg import InputError, latents

EXACT = {"prior_weight": 0.0, "num_steps": 300, "num_starts": 2, "seed": 0}


def custom_generator():
    """Each pixel is a tanh of a weighted sum of the latent: every image has one latent."""
    kernel = keras.initializers.RandomNormal(stddev=0.3, seed=1)
    pixels = keras.layers.Dense(math.prod(SHAPE), "tanh", kernel_initializer=kernel)
    return keras.Sequential([keras.Input((8,)), pixels, keras.layers.Reshape(SHAPE)])


@pytest.fixture(scope="module")
def gan():
    return small_gan(generator=custom_generator(), ema_decay=None)


def test_it_finds_the_latent_of_a_generated_image(gan):
    images = gan.generate(5, seed=11)
    before = gan.get_weights()
    found = latents.invert(gan, images, **EXACT)
    assert found.latents.shape == (5, 8) and found.images.shape == images.shape
    assert found.errors.shape == (5,) and found.errors.dtype == np.float32
    assert found.errors.max() < 1e-5 < 1e-4 * np.var(images)
    np.testing.assert_allclose(found.latents, gan.draw_latents(5, 11), atol=0.02)
    np.testing.assert_allclose(found.images, latents.decode(gan, found.latents), atol=1e-5)
    expected = np.mean((found.images - images) ** 2, axis=(1, 2, 3))
    np.testing.assert_allclose(found.errors, expected, rtol=1e-2, atol=1e-9)
    for weight, old in zip(gan.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


@pytest.mark.parametrize("per_image", [False, True])
def test_masked_pixels_are_ignored_and_completed(per_image, gan):
    images = gan.generate(4, seed=12)
    mask = np.repeat(np.arange(16)[:, None] < 8, 16, axis=1)  # the lower half is missing
    masked = np.where(mask[..., None], images, 0.7)
    if per_image:  # the last image is complete
        mask = np.stack([mask] * 3 + [np.ones_like(mask)])
        masked[3] = images[3]
    found = latents.invert(gan, masked, mask=mask, **EXACT)
    assert found.errors.max() < 1e-5
    np.testing.assert_allclose(found.images, images, atol=0.02)  # the missing half too
    # Without a mask the search matches the wrong values as well.
    assert latents.invert(gan, masked[:3], **EXACT).errors.min() > 0.01


def test_errors_are_means_over_the_known_pixels(gan):
    images = smooth_pictures(2)
    mask = np.zeros((2, 16, 16), bool)
    mask[0, 3, 4] = mask[1, 5:9, 2:7] = True
    found = latents.invert(gan, images, mask=mask, num_steps=2, num_starts=1, seed=0)
    squares = (found.images - images) ** 2
    expected = [squares[i][mask[i]].mean() for i in range(2)]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-4)


def test_the_prior_moves_latents_towards_0(gan):
    images = gan.generate(3, seed=13)
    norms = []
    for weight in (0.0, 0.1, 1e4):
        found = latents.invert(gan, images, **{**EXACT, "prior_weight": weight})
        norms.append(np.linalg.norm(found.latents, axis=1).mean())
    assert norms[0] > norms[1] + 0.05 and norms[2] < 0.05


def test_the_best_start_is_kept_for_each_image(gan):
    """After a single step the starts still differ: the best of more starts is better."""
    images = gan.generate(6, seed=14)
    short = {"num_steps": 1, "learning_rate": 1e-3, "prior_weight": 0.0, "seed": 5}
    one, many = (latents.invert(gan, images, num_starts=number, **short) for number in (1, 8))
    starts = gan.draw_latents(48, 5).numpy().reshape(8, 6, 8)
    errors = np.mean((latents.decode(gan, starts) - images) ** 2, axis=(2, 3, 4))  # (8, 6)
    np.testing.assert_allclose(many.errors, errors.min(axis=0), atol=5e-3)
    nearest = starts[errors.argmin(axis=0), np.arange(6)]
    np.testing.assert_allclose(many.latents, nearest, atol=2e-3)
    assert many.errors.mean() < 0.9 * one.errors.mean()


def test_results_depend_on_the_seed_but_not_on_batches(gan):
    images = smooth_pictures(5)
    options = {"num_steps": 5, "num_starts": 2, "seed": 7}
    whole = latents.invert(gan, images, **options)
    parts = latents.invert(gan, images, batch_size=2, **options)
    for one, other in zip(whole, parts):
        np.testing.assert_allclose(other, one, atol=1e-4)
    other = latents.invert(gan, images, **{**options, "seed": 8})
    assert np.abs(other.latents - whole.latents).max() > 0.1


@pytest.mark.parametrize("noise, limit", [("uniform", 1.0), ("truncated_normal", 2.0)])
def test_no_latent_leaves_the_range_of_its_noise(noise, limit):
    gan = small_gan(generator=custom_generator(), noise=noise)
    images = np.sign(gan.generate(3, seed=1))  # out of reach for any latent
    found = latents.invert(gan, images, prior_weight=0.0, num_steps=60, num_starts=1, seed=0)
    assert np.abs(found.latents).max() == pytest.approx(limit)


def test_a_vae_and_a_conditional_gan():
    vae = small_vae(networks="mlp")
    images = vae.generate(2, seed=1)
    assert latents.invert(vae, images, **{**EXACT, "num_steps": 150}).errors.max() < 1e-4
    model = small_conditional_gan()
    labels = [3, 1]
    images = model.generate(2, labels, seed=1)
    found = latents.invert(model, images, labels=labels, **{**EXACT, "num_steps": 3})
    expected = latents.decode(model, found.latents, labels)
    np.testing.assert_allclose(found.images, expected, atol=1e-5)


def test_it_computes_in_float64_under_that_policy():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model = small_gan(networks="mlp")
    finally:
        keras.config.set_dtype_policy(policy)
    found = latents.invert(model, smooth_pictures(2), num_steps=2, num_starts=1, seed=0)
    assert {array.dtype for array in found} == {np.dtype("float32")}
    np.testing.assert_allclose(found.images, latents.decode(model, found.latents), atol=1e-6)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"images": np.zeros((2, 8, 8, 1), "float32")}, "for images of shape ('batch', 16, 16, 1)"),
        ({"images": np.full((2, *SHAPE), 3.0)}, "images in [-1, 1]. Received: values from 3 to 3."),
        ({"mask": np.ones((8, 8), bool)}, "mask must be a bool array (16, 16) or (2, 16, 16)."),
        ({"mask": np.ones((16, 16))}, "Received: float64 of shape (16, 16)."),
        ({"mask": np.zeros((16, 16), bool)}, "mask must keep at least one pixel per image."),
        ({"labels": [0, 1]}, "GAN has no classes. Received: labels=[0 1]."),
        ({"num_steps": 0}, "num_steps must be a positive integer."),
        ({"num_starts": 1.5}, "num_starts must be a positive integer."),
        ({"batch_size": 0}, "batch_size must be a positive integer."),
        ({"learning_rate": math.nan}, "learning_rate must be a finite number"),
        ({"prior_weight": -1}, "prior_weight must be a finite number of at least 0."),
        ({"seed": "1"}, "seed must be a 64-bit integer or None."),
    ],
    ids=range(12),
)
def test_invalid_arguments_are_refused(change, words, gan):
    with pytest.raises(InputError) as caught:
        latents.invert(gan, **{"images": np.zeros((2, *SHAPE), "float32"), **change})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_without_latents_is_refused():
    with pytest.raises(InputError, match="need a model that generates images from latents.*VQVAE"):
        latents.invert(small_vq_vae(), smooth_pictures(2))
