"""Differentiable augmentation: random transformations of images that gradients pass through."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_seed
from keras_genimg.distribution import GlobalBatch, global_batch, random_uniform
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["DiffAugment", "check_policy", "diff_augment"]

LARGEST_SHIFT = 0.125  # fraction of the side
CUTOUT_SIDE = 0.5  # fraction of the side


@keras.saving.register_keras_serializable(package="keras_genimg")
class DiffAugment(keras.layers.Layer):
    """Augments all inputs of a discriminator, real and generated images alike.

    The discriminator is trained on T(x) and T(G(z)) for a random differentiable T, and the
    generator learns through T. A discriminator then takes longer to memorise a small data set,
    and the augmentations do not leak into the generated images.

    - `color`: adds a brightness of up to half of the unit, then multiplies the saturation by a
      number from 0 to 2 (one channel has none) and the contrast by one from 0.5 to 1.5. Nothing
      is clipped: values may leave [-1, 1].
    - `translation`: by whole pixels, up to an eighth of each side.
    - `cutout`: a box of half of each side around a random pixel.

    Pixels that move in or are cut out are 0, the middle grey of [-1, 1], as in the paper's code.

    Args:
        policy: string. The augmentations in order, separated by commas.
        seed: int, optional. Makes the draws reproducible.

    Call arguments:
        images: float tensor `(batch, h, w, c)` in [-1, 1].
        training: bool. Otherwise the layer is the identity.

    Returns:
        float tensor of the same shape, float32 also under a 16-bit policy. The draws of an image
        do not depend on the number of replicas.

    Raises:
        InputError: a policy with unknown or repeated augmentations.

    Example:
    >>> DiffAugment("color,translation")(keras.ops.ones((8, 32, 32, 3)), training=True).shape
    (8, 32, 32, 3)

    Reference: Zhao et al. (2020), https://arxiv.org/abs/2006.10738
    """

    def __init__(self, policy: str = "color,translation,cutout", seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.dtype_policy = at_least_float32(self.dtype_policy)  # these are images
        self.policy = check_policy(policy)
        self.seed = check_seed(seed, draw=False)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        if not training:
            return images
        return diff_augment(images, global_batch(images), self.seed_generator.next(), self.policy)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {**super().get_config(), "policy": self.policy, "seed": self.seed}


def diff_augment(
    images: tf.Tensor, batch: GlobalBatch, seed: tf.Tensor, policy: str = "color,translation,cutout"
) -> tf.Tensor:
    """The augmentations of `DiffAugment`, with a given seed.

    Args:
        images: float tensor `(n, h, w, c)` in [-1, 1]; n may be unknown.
        batch: `GlobalBatch` of these n images. The draws of an image do not
            depend on the number of replicas.
        seed: int tensor of shape `(2,)`, the same on every replica.
        policy: string. The augmentations in order, separated by commas.

    Returns:
        float tensor of the shape and type of `images`.

    Raises:
        InputError: a policy with unknown or repeated augmentations.

    Example:
    >>> batch = keras_genimg.distribution.whole_batch(8)
    >>> diff_augment(tf.zeros((8, 32, 32, 3)), batch, seed=(1, 2)).shape
    TensorShape([8, 32, 32, 3])

    Reference: Zhao et al. (2020), https://arxiv.org/abs/2006.10738
    """
    check_policy(policy)
    # All numbers in one draw: each augmentation is the same with and without the others.
    draws = random_uniform(batch, (7,), seed)  # (n, 7) in [0, 1)
    draws = {"color": draws[:, :3], "translation": draws[:, 3:5], "cutout": draws[:, 5:]}
    for name in policy.split(","):
        images = AUGMENTATIONS[name](images, draws[name])
    return images


def check_policy(policy: str) -> str:
    """Checks a policy of augmentation.

    Args:
        policy: string: `color`, `translation`, `cutout`, or several separated by commas.

    Returns:
        `policy`, unchanged.

    Raises:
        InputError: unknown or repeated augmentations.
    """
    names = policy.split(",") if isinstance(policy, str) else []
    if not names or not set(names) <= set(AUGMENTATIONS) or len(set(names)) < len(names):
        raise InputError(
            f"policy must be {', '.join(AUGMENTATIONS)}, or several of them separated by commas, "
            f"each once. Received: policy={policy!r}."
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
    """Zeros a box around a pixel given by the draws `(n, 2)`; part of it may lie outside."""
    sides = tf.shape(images)[1:3]
    box = _rounded_share(sides, CUTOUT_SIDE)
    # The centre of an even box lies between two pixels: one more position.
    first = _integers_below(sides + 1 - box % 2, uniform) - box // 2  # (n, 2)
    rows = tf.range(sides[0]) - first[:, :1]  # (n, h): from the edge of the box
    columns = tf.range(sides[1]) - first[:, 1:]  # (n, w)
    cut = ((rows >= 0) & (rows < box[0]))[:, :, None]
    cut &= ((columns >= 0) & (columns < box[1]))[:, None, :]  # (n, h, w)
    return images * tf.cast(~cut, images.dtype)[..., None]


def _rounded_share(sides, share):
    return tf.cast(tf.cast(sides, tf.float32) * share + 0.5, tf.int32)


def _integers_below(limits, uniform):
    """Integers in [0, limit) of draws in [0, 1)."""
    return tf.cast(tf.floor(uniform * tf.cast(limits, uniform.dtype)), tf.int32)


AUGMENTATIONS = {"color": _color, "translation": _translation, "cutout": _cutout}
