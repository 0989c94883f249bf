"""Damaged pictures, for models that learn to make them whole."""

import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.data.draws import map_with_draws
from keras_genimg.errors import InputError

__all__ = ["check_damage", "damage", "damaged_pairs", "damaged_shape"]

MASK_SIDE = 0.5  # share of the side
NOISE_DEVIATION = 0.5  # a quarter of the range
GREY_WEIGHTS = (0.299, 0.587, 0.114)  # of red, green, blue: the luma of ITU-R BT.601


def damage(images, kind, seed):
    """Takes something away from pictures.

    - `"mask"`: a box of half of each side, at a random place inside, is 0, the middle
      grey of [-1, 1].
    - `"noise"`: Gaussian noise of deviation 0.5 is added, and the sum cut off at -1 and 1.
    - `"grey"`: of a picture in colour, the brightness alone: one channel.

    Args:
        images: float tensor `(n, h, w, c)` in [-1, 1]; n may be unknown.
        kind: string, as above.
        seed: int tensor of shape `(2,)`. The same seed does the same damage.

    Returns:
        float tensor `(n, h, w, c)`, of `"grey"` `(n, h, w, 1)`.

    Raises:
        InputError: another kind, or `"grey"` of pictures that are not in colour.

    Example:
    >>> damage(tf.zeros((8, 32, 32, 3)), "grey", seed=(1, 2)).shape
    TensorShape([8, 32, 32, 1])
    """
    images = tf.convert_to_tensor(images)
    check_damage(kind, images.shape[1:])
    return KINDS[kind](images, seed)


def damaged_pairs(dataset, kind, seed, first_batch=0):
    """Pairs of damaged pictures and whole ones, as `Pix2Pix` is trained on.

    The damage of a batch depends on the seed, the number of the pass and the number of
    the batch in it alone: each pass does other damage, and the same one again when the
    program is run again. (An endless dataset is one pass.) It is done to the global batch,
    so that the number of replicas changes nothing.

    Args:
        dataset: `tf.data.Dataset` of batches of images `(n, h, w, c)` in [-1, 1], or of
            such batches with labels, which are left out. It knows how many batches it
            has, as that of `load` does.
        kind: `"mask"`, `"noise"` or `"grey"`, as `damage` has them.
        seed: int. Of the draws.
        first_batch: int. Number of the first batch, for a training that is resumed.

    Returns:
        `tf.data.Dataset` of `(inputs, targets)`, as many batches.

    Raises:
        InputError: another kind, a seed that is no integer, a dataset of unknown length.

    Example:
    >>> pairs = damaged_pairs(load("cifar10", batch_size=64), "mask", seed=0)
    >>> [part.shape for part in next(iter(pairs))]
    [TensorShape([64, 32, 32, 3]), TensorShape([64, 32, 32, 3])]
    """
    spec = dataset.element_spec
    spec = spec[0] if isinstance(spec, tuple) else spec
    check_damage(kind, spec.shape[1:])

    def take_damage(element, draw):
        images = element[0] if isinstance(element, tuple) else element
        return damage(images, kind, draw), images

    return map_with_draws(dataset, take_damage, seed, first_batch, name="damaged_pairs")


def check_damage(kind, image_shape):
    """Checks that pictures of a shape can take a kind of damage.

    Args:
        kind: `"mask"`, `"noise"` or `"grey"`.
        image_shape: tuple (height, width, channels).

    Raises:
        InputError: another kind, or `"grey"` of pictures without 3 channels.
    """
    if kind not in KINDS:
        raise InputError(f"kind of damage must be one of {', '.join(KINDS)}. Received: {kind!r}.")
    if kind == "grey" and image_shape[-1] != 3:
        raise InputError(
            'Damage of the kind "grey" is for pictures in colour, of 3 channels. '
            f"Received: pictures of shape {tuple(image_shape)}."
        )


def damaged_shape(kind, image_shape):
    """The shape that damage leaves of a picture.

    Args:
        kind, image_shape: as `check_damage` has them.

    Returns:
        tuple (height, width, channels), of `"grey"` with 1 channel.

    Raises:
        InputError: damage that such pictures cannot take.

    Example:
    >>> damaged_shape("grey", (32, 32, 3))
    (32, 32, 1)
    """
    check_damage(kind, image_shape)
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
    # The weights add up to 1, but for a rounding that may leave [-1, 1].
    return tf.clip_by_value(tf.reduce_sum(images * weights, -1, keepdims=True), -1.0, 1.0)


KINDS = {"mask": _mask, "noise": _noise, "grey": _grey}
