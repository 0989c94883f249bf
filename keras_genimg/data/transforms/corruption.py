"""Corrupted images, for models that learn to restore them."""

import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.data.passes import map_with_draws
from keras_genimg.data.transforms.binarize import images_and_seed
from keras_genimg.errors import InputError

__all__ = ["check_corruption", "corrupt", "corrupted_pairs", "corrupted_shape"]

MASK_SIDE = 0.5  # of the side of the image
NOISE_DEVIATION = 0.5  # a quarter of the range
GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green, blue: the luma of ITU-R BT.601


def corrupt(images: tf.Tensor, kind: str, seed: tf.Tensor) -> tf.Tensor:
    """Removes information from images.

    - `"mask"`: sets a box at a random place, half as high and wide as the image, to 0, the
      middle grey of [-1, 1].
    - `"noise"`: adds Gaussian noise of standard deviation 0.5 and clips to [-1, 1].
    - `"grey"`: converts RGB to luma, one channel.

    Args:
        images: float tensor `(n, h, w, c)` in [-1, 1]; n may be unknown.
        kind: string, see above.
        seed: int tensor of shape `(2,)`. The same seed gives the same corruption.

    Returns:
        float tensor `(n, h, w, c)` of the same dtype; `(n, h, w, 1)` for `"grey"`.

    Raises:
        InputError: an unknown kind, or `"grey"` for images that are not RGB.

    Example:
    >>> corrupt(tf.zeros((8, 32, 32, 3)), "grey", seed=(1, 2)).shape
    TensorShape([8, 32, 32, 1])
    """
    images, seed = images_and_seed(images, seed)
    check_corruption(kind, images.shape[1:])
    return KINDS[kind](images, seed)


def corrupted_pairs(
    dataset: tf.data.Dataset, kind: str, seed: int, first_batch: int = 0
) -> tf.data.Dataset:
    """Pairs of corrupted and original images, the training data of `Pix2Pix`.

    The corruption of a batch depends only on the seed, the number of the iteration of the
    dataset and the index of the batch in it: it differs between iterations, and repeats when
    the program runs again. (An endless dataset has one iteration.) It is drawn for the global
    batch, so it does not depend on the number of replicas.

    Args:
        dataset: `tf.data.Dataset` of known length, such as those of `load`: batches of
            images `(n, h, w, c)` in [-1, 1]. Labels are dropped.
        kind: `"mask"`, `"noise"` or `"grey"`, see `corrupt`.
        seed: int, for the draws.
        first_batch: int. Index of the first batch, to resume training.

    Returns:
        `tf.data.Dataset` of `(inputs, targets)`, the same number of batches.

    Raises:
        InputError: an unknown kind, a seed that is not an integer, or a dataset of unknown
            length.

    Example:
    >>> pairs = corrupted_pairs(load("cifar10", batch_size=64), "mask", seed=0)
    >>> [part.shape for part in next(iter(pairs))]
    [TensorShape([64, 32, 32, 3]), TensorShape([64, 32, 32, 3])]
    """
    spec = getattr(dataset, "element_spec", None)
    if not isinstance(spec[0] if isinstance(spec, tuple) else spec, tf.TensorSpec):
        raise InputError(
            f"dataset must be a tf.data.Dataset of images. Received: {type(dataset).__name__}."
        )
    check_corruption(kind, (spec[0] if isinstance(spec, tuple) else spec).shape[1:])

    def pair(element, seed):
        images = element[0] if isinstance(element, tuple) else element
        return corrupt(images, kind, seed), images

    return map_with_draws(dataset, pair, seed, first_batch, name="corrupted_pairs")


def check_corruption(kind: str, image_shape: tuple) -> None:
    """Checks that a kind of corruption exists and fits an image shape.

    Args:
        kind: `"mask"`, `"noise"` or `"grey"`.
        image_shape: tuple (height, width, channels).

    Raises:
        InputError: an unknown kind, or `"grey"` for images without 3 channels.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(
            f"kind of corruption must be one of {', '.join(KINDS)}. Received: {kind!r}."
        )
    if kind == "grey" and image_shape[-1] != 3:
        raise InputError(
            'The corruption "grey" needs RGB images, with 3 channels. '
            f"Received: images of shape {tuple(image_shape)}."
        )


def corrupted_shape(kind: str, image_shape: tuple) -> tuple:
    """The shape of a corrupted image.

    Args:
        kind, image_shape: see `check_corruption`.

    Returns:
        tuple (height, width, channels), with 1 channel for `"grey"`.

    Raises:
        InputError: a kind that does not fit such images.

    Example:
    >>> corrupted_shape("grey", (32, 32, 3))
    (32, 32, 1)
    """
    check_corruption(kind, image_shape)
    return (*image_shape[:2], 1) if kind == "grey" else tuple(image_shape)


def _mask(images, seed):
    shape = tf.shape(images)
    sides = shape[1:3]
    box = tf.cast(tf.cast(sides, tf.float32) * MASK_SIDE + 0.5, tf.int32)
    draws = distribution.random_uniform(distribution.whole_batch(shape[0]), (2,), seed)  # (n, 2)
    first = tf.cast(tf.floor(draws * tf.cast(sides - box + 1, tf.float32)), tf.int32)
    rows = tf.range(sides[0]) - first[:, :1]  # (n, h): counted from the box's edge
    columns = tf.range(sides[1]) - first[:, 1:]  # (n, w)
    inside = ((rows >= 0) & (rows < box[0]))[:, :, None]
    inside &= ((columns >= 0) & (columns < box[1]))[:, None, :]  # (n, h, w)
    return images * tf.cast(~inside, images.dtype)[..., None]


def _noise(images, seed):
    whole = distribution.whole_batch(tf.shape(images)[0])
    noise = distribution.random_normal(whole, images.shape[1:], seed)
    return tf.clip_by_value(images + NOISE_DEVIATION * tf.cast(noise, images.dtype), -1.0, 1.0)


def _grey(images, seed):
    weights = tf.constant(GREY_WEIGHTS, images.dtype)
    # The weights add up to 1, but a rounding error may leave [-1, 1].
    return tf.clip_by_value(tf.reduce_sum(images * weights, -1, keepdims=True), -1.0, 1.0)


KINDS = {"mask": _mask, "noise": _noise, "grey": _grey}
