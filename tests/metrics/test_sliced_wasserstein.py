"""The sliced Wasserstein distance against an independent program, and a ladder of damage."""

import numpy as np
import pytest

from keras_genimg import InputError
from keras_genimg.metrics import (
    SlicedWassersteinDistance,
    get_metrics,
    sliced_wasserstein_distance,
)
from keras_genimg.metrics.sliced_wasserstein import _directions, _laplacian_pyramid, _patches


def images_of(count, size=(16, 16, 3), seed=0):
    """Blobs of colour with some texture, in [-1, 1]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    images = np.zeros((count, *size), "float32")
    for image in images:
        y, x, spread = rng.uniform(3, 13, 2).tolist() + [rng.uniform(2, 5)]
        blob = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread**2))
        image[:] = blob[..., None] * rng.uniform(0.3, 0.8, size[2]) - 0.4
    return np.clip(images + 0.05 * rng.normal(size=images.shape), -1, 1).astype("float32")


def by_hand(real, fake, patches_per_image, directions, places):
    """One level: patches cut one by one, normalised by channel, sorted along each direction."""
    sets = []
    for images in (real, fake):
        rows, columns = places
        patches = np.array(
            [images[i, y : y + 7, x : x + 7].transpose(2, 0, 1)
             for i in range(len(images)) for y, x in zip(rows[i], columns[i])], "float64"
        )  # fmt: skip
        for channel in range(patches.shape[1]):
            values = patches[:, channel]
            patches[:, channel] = (values - values.mean()) / values.std()
        assert len(patches) == len(images) * patches_per_image
        sets.append(patches.reshape(len(patches), -1))
    distances = []
    for direction in directions.astype("float64"):
        a, b = (np.sort(patches @ direction) for patches in sets)
        distances.append(np.abs(a - b).mean())
    return 1e3 * np.mean(distances)


def test_a_level_against_loops():
    """Images below 16 pixels have one level, so that the pyramid is the images themselves."""
    real, fake = images_of(6, (13, 11, 2)), images_of(6, (13, 11, 2), seed=1)
    found = sliced_wasserstein_distance(
        real, fake, patches_per_image=5, num_projections=33, seed=4
    )
    assert list(found) == [13]
    place_seed, direction_seed = np.random.SeedSequence(4).spawn(1)[0].spawn(2)
    rng = np.random.default_rng(place_seed)
    places = rng.integers(0, 13 - 6, (6, 5)), rng.integers(0, 11 - 6, (6, 5))
    directions = _directions(33, 49 * 2, direction_seed)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-6)
    assert found[13] == pytest.approx(by_hand(real, fake, 5, directions, places), rel=1e-4)


def test_the_pyramid_adds_up_and_separates_scales():
    images = images_of(3, (32, 24, 3)).astype("float64")
    levels = _laplacian_pyramid(images)
    assert [level.shape[1:3] for level in levels] == [(32, 24), (16, 12)]
    flat = _laplacian_pyramid(np.full((1, 32, 32, 1), 0.5))
    assert [level.shape[1] for level in flat] == [32, 16, 8]
    for level in flat[:2]:  # nothing but what the coarsest level holds
        np.testing.assert_allclose(level, 0, atol=1e-6)
    np.testing.assert_allclose(flat[2], 0.5, atol=1e-6)
    checkers = np.indices((32, 32)).sum(0) % 2 * 2.0 - 1.0
    fine, *coarse = _laplacian_pyramid(checkers[None, ..., None])
    assert np.abs(fine).mean() > 0.9 and max(np.abs(level).max() for level in coarse) < 1e-6


def test_patches_are_normalised_by_channel():
    patches = _patches(images_of(8) * [1.0, 0.1, 3.0] + [0.0, 0.5, 0.0], 9, 0)
    by_channel = patches.reshape(72, 3, 49)
    np.testing.assert_allclose(by_channel.mean(axis=(0, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(by_channel.std(axis=(0, 2)), 1, atol=1e-5)


def test_equal_sets_have_none_and_damage_is_seen_at_its_scale():
    real, other = images_of(64, (32, 32, 3)), images_of(64, (32, 32, 3), seed=1)

    def distance(images):
        images = np.clip(images, -1, 1).astype("float32")
        return sliced_wasserstein_distance(real, images, patches_per_image=32, num_projections=64)

    assert set(distance(real).values()) == {0.0}
    floor = distance(other)
    rng = np.random.default_rng(2)
    noisy = [distance(other + scale * rng.normal(size=other.shape)) for scale in (0.1, 0.3)]
    shifted = [np.roll(other, by, (1, 2)) for by in ((0, 0), (0, 1), (1, 0), (1, 1))]
    blurred = np.mean(shifted, axis=0)
    pattern = other + 0.1 * (np.indices((32, 32)).sum(0) % 2)[..., None]
    assert floor[8] < noisy[0][8] < noisy[1][8]
    for damaged in (blurred, pattern):
        assert distance(damaged)[32] > 2 * floor[32]
    assert distance(pattern)[8] == pytest.approx(floor[8], rel=0.5)  # it is no coarse pattern


def test_the_metric_is_the_function():
    real, fake = images_of(12), images_of(12, seed=1)
    metric = SlicedWassersteinDistance(patches_per_image=8, num_projections=16)
    for half in (slice(0, 5), slice(5, 12)):
        metric.update_state(real_images=real[half], fake_images=fake[half])
    expected = sliced_wasserstein_distance(real, fake, patches_per_image=8, num_projections=16)
    found = metric.result()
    assert list(found) == metric.result_names
    for height, distance in expected.items():
        value = found[f"sliced_wasserstein_distance_{height}"]
        assert value == pytest.approx(distance, rel=1e-5)
    mean = np.mean(list(expected.values()))
    assert found["sliced_wasserstein_distance"] == pytest.approx(mean, rel=1e-5)
    again = SlicedWassersteinDistance.from_config(metric.get_config())
    assert again.get_config() == metric.get_config()
    (named,) = get_metrics("sliced_wasserstein_distance")  # without features
    assert isinstance(named, SlicedWassersteinDistance)


def test_invalid_arguments():
    real = images_of(2)
    for arguments, words in (
        ((real, real[:, :6]), "at least 7x7 pixels"),
        ((real, images_of(2, (12, 16, 3))), "images of one shape"),
        ((real, real + np.float32(3)), "-1"),
    ):
        with pytest.raises(InputError, match=words):
            sliced_wasserstein_distance(*arguments)
    for options in ({"patches_per_image": 0}, {"num_projections": 2.5}, {"seed": -1}):
        with pytest.raises(InputError, match=next(iter(options))):
            sliced_wasserstein_distance(real, real, **options)
        with pytest.raises(InputError, match=next(iter(options))):
            SlicedWassersteinDistance(**options)
