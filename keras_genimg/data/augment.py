"""Random changes of pictures that gradients pass through."""

import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError

__all__ = ["check_policy", "diff_augment"]

LARGEST_SHIFT = 0.125  # share of the side
CUTOUT_SIDE = 0.5  # share of the side


def diff_augment(images, batch, seed, policy="color,translation,cutout"):
    """Differentiable augmentation: the same kinds of change for real and generated pictures.

    What a discriminator sees is changed at random, in both of its updates and in
    that of the generator, which learns through the change. So few real pictures
    are not soon known by heart, and the changes do not leak into what is generated.

    - `color`: brightness moves by up to half of the unit, then saturation is multiplied
      by a number from 0 to 2 (one channel has none) and contrast by one from 0.5
      to 1.5. Nothing is clipped: values may leave [-1, 1].
    - `translation`: by whole pixels, up to an eighth of each side.
    - `cutout`: a box of half of each side around a random pixel.

    What moves in or is cut out is 0, the middle grey of [-1, 1], as in the paper's code.

    Args:
        images: float tensor `(n, h, w, c)` in [-1, 1]; n may be unknown.
        batch: `GlobalBatch` of these n pictures. The draws of a picture do not
            depend on the number of replicas.
        seed: int tensor of shape `(2,)`, the same on every replica.
        policy: string. What is done and in which order, with commas between.

    Returns:
        float tensor of the shape and type of `images`.

    Raises:
        InputError: a policy with other words, or with one of them twice.

    Example:
    >>> batch = distribution.whole_batch(8)
    >>> diff_augment(tf.zeros((8, 32, 32, 3)), batch, seed=(1, 2)).shape
    TensorShape([8, 32, 32, 3])

    Reference: Zhao et al. (2020), https://arxiv.org/abs/2006.10738
    """
    check_policy(policy)
    # All numbers in one draw: what one change does is the same with and without the others.
    draws = distribution.random_uniform(batch, (7,), seed)  # (n, 7) in [0, 1)
    draws = {"color": draws[:, :3], "translation": draws[:, 3:5], "cutout": draws[:, 5:]}
    for name in policy.split(","):
        images = CHANGES[name](images, draws[name])
    return images


def check_policy(policy):
    """Checks a policy of augmentation.

    Args:
        policy: string: `color`, `translation`, `cutout`, or several with commas between.

    Returns:
        `policy`, unchanged.

    Raises:
        InputError: other words, or one of them twice.
    """
    names = policy.split(",") if isinstance(policy, str) else []
    if not names or not set(names) <= set(CHANGES) or len(set(names)) < len(names):
        raise InputError(
            f"policy must be {', '.join(CHANGES)}, or several of them with commas between, each "
            f"once. Received: policy={policy!r}."
        )
    return policy


def _color(images, uniform):
    """Brightness, saturation and contrast by the draws `(n, 3)`."""
    uniform = tf.cast(uniform, images.dtype)[:, None, None, :]  # (n, 3) -> (n, 1, 1, 3)
    brightness, saturation, contrast = tf.split(uniform, 3, axis=-1)  # (n, 1, 1, 1) each
    images += brightness - 0.5
    grey = tf.reduce_mean(images, axis=3, keepdims=True)  # (n, h, w, 1)
    images = grey + (images - grey) * 2.0 * saturation
    mean = tf.reduce_mean(images, axis=(1, 2, 3), keepdims=True)  # (n, 1, 1, 1)
    return mean + (images - mean) * (contrast + 0.5)


def _translation(images, uniform):
    """Moves down and right by -s ... s pixels, s = side / 8, by the draws `(n, 2)`."""
    shape = tf.shape(images)
    sides = shape[1:3]
    largest = _rounded_share(sides, LARGEST_SHIFT)
    moves = _integers_below(2 * largest + 1, uniform) - largest  # (n, 2)
    rows = tf.range(sides[0]) - moves[:, :1]  # (n, h): where each row comes from
    columns = tf.range(sides[1]) - moves[:, 1:]  # (n, w)
    inside = ((rows >= 0) & (rows < sides[0]))[:, :, None]
    inside &= ((columns >= 0) & (columns < sides[1]))[:, None, :]  # (n, h, w)
    rows = tf.clip_by_value(rows, 0, sides[0] - 1)[:, :, None]
    columns = tf.clip_by_value(columns, 0, sides[1] - 1)[:, None, :]
    places = tf.reshape(rows * sides[1] + columns, (shape[0], -1))  # (n, h, w) -> (n, h*w)
    pixels = tf.reshape(images, (shape[0], -1, shape[3]))  # (n, h, w, c) -> (n, h*w, c)
    moved = tf.reshape(tf.gather(pixels, places, batch_dims=1), shape)  # (n, h, w, c)
    moved *= tf.cast(inside, images.dtype)[..., None]
    return tf.ensure_shape(moved, images.shape)


def _cutout(images, uniform):
    """Zeros a box around a pixel given by the draws `(n, 2)`; a part may lie outside."""
    sides = tf.shape(images)[1:3]
    box = _rounded_share(sides, CUTOUT_SIDE)
    # An even box has its middle between two pixels: one more place for it.
    first = _integers_below(sides + 1 - box % 2, uniform) - box // 2  # (n, 2)
    rows = tf.range(sides[0]) - first[:, :1]  # (n, h): counted from the box's edge
    columns = tf.range(sides[1]) - first[:, 1:]  # (n, w)
    cut = ((rows >= 0) & (rows < box[0]))[:, :, None]
    cut &= ((columns >= 0) & (columns < box[1]))[:, None, :]  # (n, h, w)
    return images * tf.cast(~cut, images.dtype)[..., None]


def _rounded_share(sides, share):
    return tf.cast(tf.cast(sides, tf.float32) * share + 0.5, tf.int32)


def _integers_below(limits, uniform):
    """Integers in [0, limit) of draws in [0, 1)."""
    return tf.cast(tf.floor(uniform * tf.cast(limits, uniform.dtype)), tf.int32)


CHANGES = {"color": _color, "translation": _translation, "cutout": _cutout}
