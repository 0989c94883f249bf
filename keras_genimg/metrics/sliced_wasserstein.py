"""Sliced Wasserstein distance of patches of images, without a network."""

import keras
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count
from keras_genimg.errors import InputError
from keras_genimg.metrics.features import FeatureExtractor
from keras_genimg.metrics.sample_metrics import SampleMetric

__all__ = ["SlicedWassersteinDistance", "sliced_wasserstein_distance"]

PATCH = 7  # height and width of a patch
SMALLEST_LEVEL = 8  # a grid of 7x7 has one patch
MOST_IMAGES = 16_384  # same as the paper
AT_ONCE = 32  # directions whose projections are in memory together
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # in each direction


def sliced_wasserstein_distance(
    real_images: ArrayLike, fake_images: ArrayLike, *, patches_per_image: int = 128,
    num_projections: int = 512, seed: int | None = 0,
) -> dict[int, float]:
    """Distances of the patches of two sets of images, at each level of a Laplacian pyramid.

    The finest level holds the details of the full resolution, each next one those of half the
    resolution, the last one the rest; levels end above 7 pixels. At every level 7x7 patches are
    drawn at random, and each set of patches is normalised by the mean and the standard deviation
    of each channel. The distance is the mean of |a - b| over the sorted projections of both
    sets on random directions, times 1000. It needs no network, and sees what features of a
    classifier miss: the texture of details at the fine levels, shapes and colours at the
    coarse ones. The normalisation removes differences in brightness and contrast of whole sets.

    Both sets have the same number of images, at most 16,384: larger ones are thinned at random.
    The value depends on that number, as for any distance of finite samples.

    Args:
        real_images: array `(n, height, width, channels)` in [-1, 1], of at least 7x7 pixels.
        fake_images: array `(m, height, width, channels)`.
        patches_per_image: int. Patches per image and level.
        num_projections: int. Random directions per level.
        seed: int of at least 0, or None for other patches and directions at every call. The
            i-th images of both sets have their patches at the same places.

    Returns:
        dict from the height of a level, such as 32, 16 and 8, to its distance, a float.

    Raises:
        InputError: arrays that are not images in [-1, 1], or images of different shapes.

    Example:
        >>> sliced_wasserstein_distance(real, fake)  # (10000, 32, 32, 3) each
        {32: 69.2, 16: 74.4, 8: 64.1}

    Reference: Karras et al. (2018), section 5, https://arxiv.org/abs/1710.10196
    """
    check_count("patches_per_image", patches_per_image)
    check_count("num_projections", num_projections)
    seeds = np.random.SeedSequence(None if seed is None else check_count("seed", seed, 0))
    real, fake = (IMAGES(images) for images in (real_images, fake_images))
    if real.shape[1:] != fake.shape[1:] or not min(len(real), len(fake)):
        raise InputError(
            "real_images and fake_images must be images of one shape, at least one of each. "
            f"Received: {real.shape} and {fake.shape}."
        )
    count = min(len(real), len(fake), MOST_IMAGES)
    pyramids = [_laplacian_pyramid(_thinned(images, count, seeds)) for images in (real, fake)]
    distances = {}
    for levels, level_seed in zip(zip(*pyramids), seeds.spawn(len(pyramids[0]))):
        place_seed, direction_seed = level_seed.spawn(2)
        patches = [_patches(level, patches_per_image, place_seed) for level in levels]
        directions = _directions(num_projections, patches[0].shape[1], direction_seed)
        distances[levels[0].shape[1]] = 1e3 * _distance(*patches, directions)
    return distances


def _thinned(images, count, seed):
    if len(images) == count:
        return images
    return images[np.random.default_rng(seed).choice(len(images), count, replace=False)]


def _heights(size):
    """Heights of the levels of images of this height and width, the finest first."""
    heights = [size[0]]
    while -(-min(size) // 2) >= SMALLEST_LEVEL:
        size = [-(-side // 2) for side in size]
        heights.append(size[0])
    return heights


def _laplacian_pyramid(images):
    """What each halving of the resolution loses, and what is left in the end."""
    levels = []
    for _ in _heights(images.shape[1:3])[1:]:
        smaller = _smoothed(images)[:, ::2, ::2]
        larger = np.zeros_like(images)
        larger[:, ::2, ::2] = 4.0 * smaller  # three of four pixels are zeros
        levels.append(images - _smoothed(larger))
        images = smaller
    return [*levels, images]


def _smoothed(images):
    """Convolution with a 5x5 binomial filter, the borders mirrored."""
    for axis in (1, 2):
        padding = [(0, 0)] * 4
        padding[axis] = (2, 2)
        padded, side = np.pad(images, padding, mode="reflect"), images.shape[axis]
        images = sum(
            np.float32(weight) * padded.take(range(start, start + side), axis)
            for start, weight in enumerate(BINOMIAL)
        )
    return images


def _patches(images, number, seed):
    """Patches at random places, normalised over the set: `(images * number, 49 * channels)`."""
    windows = sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))  # (n, h', w', c, 7, 7)
    rng = np.random.default_rng(seed)
    rows, columns = (rng.integers(0, side, (len(images), number)) for side in windows.shape[1:3])
    patches = windows[np.arange(len(images))[:, None], rows, columns]  # (n, number, c, 7, 7)
    means = patches.mean(axis=(0, 1, 3, 4), keepdims=True, dtype="float64").astype("float32")
    patches -= means
    deviations = np.sqrt(np.square(patches).mean(axis=(0, 1, 3, 4), keepdims=True, dtype="float64"))
    patches /= np.where(deviations > 0, deviations, 1.0).astype("float32")
    return patches.reshape(len(images) * number, -1)


def _directions(number, dimensions, seed):
    """Random vectors of length 1: `(number, dimensions)`."""
    vectors = np.random.default_rng(seed).normal(size=(number, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def _distance(real, fake, directions):
    """Mean Wasserstein-1 distance of two sets of vectors along the directions."""
    total = 0.0
    for start in range(0, len(directions), AT_ONCE):
        some = directions[start : start + AT_ONCE]
        real_sorted, fake_sorted = (np.sort(some @ vectors.T, axis=1) for vectors in (real, fake))
        total += np.abs(real_sorted - fake_sorted).mean(axis=1, dtype="float64").sum()
    return float(total / len(directions))


class _Images(FeatureExtractor):
    """Images themselves, where other metrics have features of them."""

    def __init__(self):
        super().__init__("images", None)

    def metric_name(self, base: str) -> str:
        return base

    def check_image_shape(self, image_shape: tuple) -> None:
        if len(image_shape) != 3 or min(image_shape[:2]) < PATCH:
            raise InputError(
                "The sliced Wasserstein distance is that of images (height, width, channels) of "
                f"at least {PATCH}x{PATCH} pixels, the size of its patches. "
                f"Received: shape={tuple(image_shape)}."
            )

    def _batch(self, images):
        return [images]


IMAGES = _Images()


@keras.saving.register_keras_serializable(package="keras_genimg")
class SlicedWassersteinDistance(SampleMetric):
    """`sliced_wasserstein_distance` of real and generated images; it stores the images.

    Its results are `sliced_wasserstein_distance`, the mean over the levels, and the distance of
    each level, such as `sliced_wasserstein_distance_32`, once it has images.

    Args:
        patches_per_image, num_projections, seed: see `sliced_wasserstein_distance`.
        name: string, "sliced_wasserstein_distance" by default.

    Raises:
        InputError: invalid arguments.

    Example:
        >>> metric = SlicedWassersteinDistance()
        >>> metric.update_state(real_images=test_images, fake_images=gan.generate(10_000))
        >>> metric.result()["sliced_wasserstein_distance"]
        69.2

    Reference: Karras et al. (2018), https://arxiv.org/abs/1710.10196
    """

    base_name = "sliced_wasserstein_distance"
    base_names = ("sliced_wasserstein_distance",)
    needs_features = False

    def __init__(
        self, patches_per_image: int = 128, num_projections: int = 512, seed: int | None = 0,
        name: str | None = None,
    ):
        super().__init__(IMAGES, name=name)
        self.options = {
            "patches_per_image": check_count("patches_per_image", patches_per_image),
            "num_projections": check_count("num_projections", num_projections),
            "seed": None if seed is None else check_count("seed", seed, 0),
        }

    @property
    def result_names(self) -> list[str]:
        """list of strings: the keys of `result()`; those of levels once there are images."""
        added = self._kept["real"].batches or self._kept["fake"].batches
        heights = _heights(added[0].shape[1:3]) if added else []
        return [self.name, *(f"{self.name}_{height}" for height in heights)]

    def _compute(self, real, fake):
        distances = [*sliced_wasserstein_distance(real, fake, **self.options).values()]
        return [np.mean(distances), *distances]
