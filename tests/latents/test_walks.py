"""Interpolations against hand-computed values, and their images against the model's."""

import numpy as np
import pytest
from cases import small_classifier, small_conditional_gan, small_gan, small_vae, small_vq_vae

from keras_genimg import InputError, latents

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def gan():
    return small_gan(networks="mlp")  # latent_dim 8


@pytest.fixture(scope="module")
def conditional():
    return small_conditional_gan()  # latent_dim 8, 4 classes


# --------------------------------------------------------------------- interpolation


def test_a_line_by_hand(gan):
    start, end = np.zeros(8), np.array([4.0, -8.0, 0, 0, 0, 0, 0, 2.0])
    walk = latents.interpolate(gan, start, end, 5)
    assert walk.shape == (5, 8) and walk.dtype == np.float32
    for step, share in enumerate((0, 0.25, 0.5, 0.75, 1)):
        np.testing.assert_allclose(walk[step], share * end, atol=1e-6)


def test_a_quarter_of_a_circle_by_hand(gan):
    start, end = 2 * np.eye(8)[0], 2 * np.eye(8)[3]
    walk = latents.interpolate(gan, start, end, 4, method="spherical")
    angles = np.deg2rad([0, 30, 60, 90])
    np.testing.assert_allclose(walk[:, 0], 2 * np.cos(angles), atol=1e-6)
    np.testing.assert_allclose(walk[:, 3], 2 * np.sin(angles), atol=1e-6)
    assert np.abs(walk[:, [1, 2, 4, 5, 6, 7]]).max() == 0


def test_the_norm_is_linear_on_the_sphere_and_smaller_on_the_line(gan):
    start, end = RNG.normal(size=(2, 3, 8))
    start *= 3 / np.linalg.norm(start, axis=1, keepdims=True)
    end *= 3 / np.linalg.norm(end, axis=1, keepdims=True)
    walks = latents.interpolate(gan, start, end, 7, method="spherical")
    assert walks.shape == (3, 7, 8)
    np.testing.assert_allclose(np.linalg.norm(walks, axis=2), 3.0, rtol=1e-5)
    lines = np.linalg.norm(latents.interpolate(gan, start, end, 7), axis=2)
    assert (lines[:, 3] < 2.9).all()
    # Equal angles between neighbours, whatever the lengths of the ends.
    walks = latents.interpolate(gan, start, 2 * end, 7, method="spherical")
    np.testing.assert_allclose(np.linalg.norm(walks, axis=2), [np.linspace(3, 6, 7)] * 3, rtol=1e-5)
    units = walks / np.linalg.norm(walks, axis=2, keepdims=True)
    cosines = np.sum(units[:, 1:] * units[:, :-1], axis=2)
    np.testing.assert_allclose(cosines, cosines[:, :1] * np.ones(6), atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_both_ends_are_included_and_interpolations_are_independent(method, gan):
    start, end = RNG.normal(size=(2, 4, 8)).astype("float32")
    walks = latents.interpolate(gan, start, end, 3, method=method)
    np.testing.assert_allclose(walks[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(walks[:, -1], end, atol=1e-5)
    for index in range(4):
        one = latents.interpolate(gan, start[index], end[index], 3, method=method)
        np.testing.assert_allclose(walks[index], one, atol=1e-6)


def test_ends_of_the_same_direction(gan):
    start = RNG.normal(size=8)
    for end in (start, 3 * start):
        walk = latents.interpolate(gan, start, end, 3, method="spherical")
        np.testing.assert_allclose(walk, [start, (start + end) / 2, end], rtol=1e-4)


@pytest.mark.parametrize(
    "change, words",
    [
        ({"start": np.zeros(7)}, "start must be latents of GAN, of shape (..., 8). Received"),
        ({"end": np.ones((2, 8))}, "must have the same shape, (latent_dim,) or (n, latent_dim)."),
        ({"end": np.full(8, np.nan)}, "end must be finite numbers."),
        ({"end": ["a"] * 8}, "end must be numbers."),
        ({"num_steps": 1}, "num_steps must be an integer of at least 2. Received: num_steps=1."),
        ({"method": "cubic"}, "method must be one of linear, spherical. Received: method='cubic'."),
        ({"start": np.zeros(8)}, "needs ends other than 0."),
        ({"start": -2 * np.ones(8)}, "needs ends that are not opposite"),
    ],
    ids=range(8),
)
def test_interpolate_refuses(change, words, gan):
    given = {"start": np.eye(8)[0], "end": np.ones(8), "num_steps": 3, "method": "spherical"}
    with pytest.raises(InputError) as caught:
        latents.interpolate(gan, **{**given, **change})
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [small_vq_vae, small_classifier])
def test_models_without_latents_say_so(make):
    with pytest.raises(InputError, match="need a model that generates images from latents"):
        latents.interpolate(make(), np.zeros(8), np.ones(8), 3)


# ---------------------------------------------------------------- traversal, attributes


def test_traverse(gan):
    start = RNG.normal(size=(2, 8)).astype("float32")
    walks = latents.traverse(gan, start, 5, [-3.0, 0.0, 3.0])
    assert walks.shape == (2, 3, 8)
    np.testing.assert_array_equal(walks[:, :, 5], [[-3, 0, 3]] * 2)
    others = np.delete(np.arange(8), 5)
    for step in range(3):
        np.testing.assert_array_equal(walks[:, step, others], start[:, others])
    np.testing.assert_array_equal(latents.traverse(gan, start[1], 5, [-3.0, 0.0, 3.0]), walks[1])


@pytest.mark.parametrize(
    "dimension, values, words",
    [
        (8, [0.0], "dimension must be an integer from 0 to 7. Received: dimension=8."),
        (-1, [0.0], "Received: dimension=-1."),
        (1.0, [0.0], "Received: dimension=1.0."),
        (True, [0.0], "Received: dimension=True."),
        (0, [], "values (k,)"),
        (0, 3.0, "values (k,)"),
    ],
)
def test_traverse_refuses(dimension, values, words, gan):
    with pytest.raises(InputError) as caught:
        latents.traverse(gan, np.zeros((2, 8)), dimension, values)
    assert words in str(caught.value)


def test_the_direction_of_an_attribute():
    drawn = RNG.normal(size=(20_000, 8))
    true = np.array([2.0, -1.0, 0, 0, 0, 0, 0, 2.0]) / 3
    found = latents.attribute_direction(drawn, drawn @ true > 0.5)
    assert found.shape == (8,) and found.dtype == np.float32
    assert np.linalg.norm(found) == pytest.approx(1.0, rel=1e-5)
    assert found @ true > 0.999
    # By hand: means (0, 1) and (4, -2).
    four = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, -3.0], [4.0, -1.0]])
    found = latents.attribute_direction(four, [0, 0, 1, 1])
    np.testing.assert_allclose(found, [0.8, -0.6], atol=1e-6)


@pytest.mark.parametrize(
    "given, has, words",
    [
        (np.zeros((4, 2)), [True] * 4, "true of some latents and false of others."),
        (np.zeros((4, 2)), [True, False, True], "one bool per latent, (n,)."),
        (np.zeros((4, 2)), [0, 1, 2, 0], "one bool per latent, (n,)."),
        (np.zeros(4), [True, False, True, True], "takes latents (n, latent_dim)"),
        (np.ones((4, 2)), [True, False, True, True], "Received: equal means."),
        (np.full((2, 2), np.inf), [True, False], "latents must be finite numbers."),
    ],
    ids=range(6),
)
def test_attribute_direction_refuses(given, has, words):
    with pytest.raises(InputError) as caught:
        latents.attribute_direction(given, has)
    assert words in str(caught.value)


# ------------------------------------------------------------------------------ images


def test_decode_generates_the_images_of_the_model(gan):
    drawn = gan.draw_latents(6, 3).numpy()
    images = gan.generate(6, seed=3)
    np.testing.assert_allclose(latents.decode(gan, drawn), images, atol=1e-5)
    walks = latents.decode(gan, drawn.reshape(2, 3, 8), batch_size=4)
    assert walks.shape == (2, 3, 16, 16, 1) and walks.dtype == np.float32
    np.testing.assert_allclose(walks.reshape(images.shape), images, atol=1e-5)
    np.testing.assert_allclose(latents.decode(gan, drawn[2]), images[2], atol=1e-5)
    vae = small_vae()
    drawn = vae.draw_latents(3, 1).numpy()
    np.testing.assert_allclose(latents.decode(vae, drawn), vae.decode(drawn), atol=1e-6)


def test_decode_by_label(conditional):
    drawn = conditional.draw_latents(6, 3).numpy()
    labels = np.array([3, 0, 2, 1, 1, 3])
    expected = conditional.generate(6, labels, seed=3)
    np.testing.assert_allclose(latents.decode(conditional, drawn, labels), expected, atol=1e-5)
    # One class per interpolation, or one for all.
    walks = drawn.reshape(2, 3, 8)
    found = latents.decode(conditional, walks, [1, 2])
    expected = conditional.generate(6, [1, 1, 1, 2, 2, 2], seed=3)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-5)
    np.testing.assert_allclose(
        latents.decode(conditional, walks, 2)[1], expected[3:], atol=1e-5
    )


def test_decode_refuses(gan, conditional):
    drawn = np.zeros((3, 8))
    for model, labels, words in (
        (gan, [0, 1, 2], "GAN has no classes. Received: labels="),
        (gan, 2, "GAN has no classes"),
        (conditional, None, "labels must be integers from 0 to 3"),
        (conditional, [0, 1], r"first axes of the latents, \(3,\). Received: shape \(2,\)"),
        (conditional, [0, 1, 4], "Received: 0 to 4"),
    ):
        with pytest.raises(InputError, match=words):
            latents.decode(model, drawn, labels)
    with pytest.raises(InputError, match="batch_size must be a positive integer"):
        latents.decode(gan, drawn, batch_size=0)
