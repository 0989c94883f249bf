"""Binary images, for models of a Bernoulli likelihood."""

import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.data.passes import map_with_draws
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["binarize", "binarized", "check_binarize"]

KINDS = ("dynamic", "threshold")
STREAM = 0x62696E  # folded into seeds, so that other draws of the same seed are independent


def binarize(images: tf.Tensor, kind: str, seed: tf.Tensor = (0, 0)) -> tf.Tensor:
    """Sets every pixel to -1 or 1.

    - `"dynamic"`: 1 with probability (x + 1) / 2, the brightness of the pixel.
    - `"threshold"`: 1 where x >= 0.

    Args:
        images: float tensor `(n, ...)` in [-1, 1]; n may be unknown.
        kind: string, see above.
        seed: int tensor of shape `(2,)`, for the draws of `"dynamic"`.

    Returns:
        float tensor of the same shape and dtype.

    Raises:
        InputError: an unknown kind.

    Example:
    >>> binarize(tf.constant([[-1.0, -0.2, 0.2, 1.0]]), "threshold").numpy()
    array([[-1., -1.,  1.,  1.]], dtype=float32)

    Reference: Burda et al. (2016), section 5, https://arxiv.org/abs/1509.00519
    """
    check_binarize(kind)
    images, seed = images_and_seed(images, seed)
    if kind == "threshold":
        white = images >= 0.0
    else:
        whole = distribution.whole_batch(tf.shape(images)[0])
        seed = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int64), STREAM)
        dtype = at_least_float32(images.dtype)
        draws = tf.cast(distribution.random_uniform(whole, images.shape[1:], seed), dtype)
        white = draws < (tf.cast(images, dtype) + 1.0) * 0.5
    return tf.where(white, tf.ones((), images.dtype), -tf.ones((), images.dtype))


def binarized(
    dataset: tf.data.Dataset, kind: str, seed: int, first_batch: int = 0
) -> tf.data.Dataset:
    """Binarises the images of a dataset.

    `"dynamic"` makes new draws in each iteration of the dataset, so that the model learns the
    grey values and not one draw of them. The draws for a batch depend only on the seed, the
    number of the iteration and the index of the batch in it, for any number of replicas. (An
    endless dataset has one iteration.)

    Args:
        dataset: `tf.data.Dataset` of known length, such as those of `load`: batches of
            images `(n, h, w, c)` in [-1, 1], with or without labels.
        kind: `"dynamic"` or `"threshold"`, see `binarize`.
        seed: int, for the draws.
        first_batch: int. Index of the first batch, to resume training.

    Returns:
        `tf.data.Dataset` of the same number of batches, with the labels if there are any.

    Raises:
        InputError: an unknown kind, a seed that is not an integer, or a dataset of unknown
            length.

    Example:
    >>> images = binarized(load("mnist", batch_size=64), "dynamic", seed=0)
    >>> next(iter(images)).shape
    TensorShape([64, 28, 28, 1])
    """
    check_binarize(kind)

    def draw(element, seed):
        if isinstance(element, tuple):
            return (binarize(element[0], kind, seed), *element[1:])
        return binarize(element, kind, seed)

    return map_with_draws(dataset, draw, seed, first_batch, name="binarized")


def images_and_seed(images, seed) -> tuple:
    """The tensors that a random change of images takes, checked.

    Args:
        images: floats `(n, ...)`.
        seed: two integers.

    Returns:
        float tensor, int64 tensor `(2,)`.

    Raises:
        InputError: other values.
    """
    found = {}
    for name, value in (("images", images), ("seed", seed)):
        try:
            found[name] = tf.convert_to_tensor(value)
        except (TypeError, ValueError):
            raise InputError(
                f"{name} must be numbers. Received: {name} of type {type(value).__name__}."
            ) from None
    images, seed = found["images"], found["seed"]
    if not images.dtype.is_floating or images.shape.rank == 0:
        raise InputError(
            "images must be floats (n, ...). "
            f"Received: {images.dtype.name} of shape {images.shape}."
        )
    if not seed.dtype.is_integer or seed.shape.rank != 1 or seed.shape[0] != 2:
        raise InputError(
            f"seed must be two integers. Received: {seed.dtype.name} of shape {seed.shape}."
        )
    return images, tf.cast(seed, tf.int64)


def check_binarize(kind: str) -> None:
    """Checks a kind of binarisation.

    Args:
        kind: `"dynamic"` or `"threshold"`.

    Raises:
        InputError: an unknown kind.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(
            f"kind of binarisation must be one of {', '.join(KINDS)}. Received: {kind!r}."
        )
