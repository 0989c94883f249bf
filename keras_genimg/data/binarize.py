"""Pictures of black and white pixels alone, for models whose likelihood is that of such."""

import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.data.draws import map_with_draws
from keras_genimg.errors import InputError

__all__ = ["binarize", "binarized", "check_binarize"]

KINDS = ("dynamic", "threshold")
OWN_STREAM = 0x62696E  # folded into seeds, so that other draws of the same seed are others


def binarize(images, kind, seed=(0, 0)):
    """Makes every pixel -1 or 1.

    - `"dynamic"`: 1 with the probability (x + 1) / 2, the pixel's brightness.
    - `"threshold"`: 1 from 0 on, where x is nearer to 1 than to -1.

    Args:
        images: float tensor `(n, ...)` in [-1, 1]; n may be unknown.
        kind: string, as above.
        seed: int tensor of shape `(2,)`, of the draws of `"dynamic"`.

    Returns:
        float tensor of the same shape.

    Raises:
        InputError: another kind.

    Example:
    >>> binarize(tf.constant([[-1.0, -0.2, 0.2, 1.0]]), "threshold").numpy()
    array([[-1., -1.,  1.,  1.]], dtype=float32)

    Reference: Burda et al. (2016), section 5, https://arxiv.org/abs/1509.00519
    """
    check_binarize(kind)
    images = tf.convert_to_tensor(images)
    if kind == "threshold":
        white = images >= 0.0
    else:
        whole = distribution.whole_batch(tf.shape(images)[0])
        seed = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int64), OWN_STREAM)
        draws = distribution.random_uniform(whole, images.shape[1:], seed)
        white = draws < (tf.cast(images, tf.float32) + 1.0) * 0.5
    return tf.where(white, tf.ones((), images.dtype), -tf.ones((), images.dtype))


def binarized(dataset, kind, seed, first_batch=0):
    """A dataset of pictures, each pixel of which is -1 or 1.

    `"dynamic"` draws anew in each pass, for it is the grey values' brightness that is learned,
    not one draw of it: the draws of a batch depend on the seed, the number of the pass and the
    number of the batch in it alone, and are those of the global batch whatever the number of
    replicas. (An endless dataset is one pass.)

    Args:
        dataset: `tf.data.Dataset` of batches of images `(n, h, w, c)` in [-1, 1], or of such
            batches with labels. It knows how many batches it has, as that of `load` does.
        kind: `"dynamic"` or `"threshold"`, as `binarize` has them.
        seed: int. Of the draws.
        first_batch: int. Number of the first batch, for a training that is resumed.

    Returns:
        `tf.data.Dataset` of as many batches, with the labels if there are any.

    Raises:
        InputError: another kind, a seed that is no integer, a dataset of unknown length.

    Example:
    >>> images = binarized(load("mnist", batch_size=64), "dynamic", seed=0)
    >>> next(iter(images)).shape
    TensorShape([64, 28, 28, 1])
    """
    check_binarize(kind)

    def draw(element, draw_seed):
        if isinstance(element, tuple):
            return (binarize(element[0], kind, draw_seed), *element[1:])
        return binarize(element, kind, draw_seed)

    return map_with_draws(dataset, draw, seed, first_batch, name="binarized")


def check_binarize(kind):
    """Checks that there is a kind of binarisation.

    Args:
        kind: `"dynamic"` or `"threshold"`.

    Raises:
        InputError: another kind.
    """
    if kind not in KINDS:
        raise InputError(
            f"kind of binarisation must be one of {', '.join(KINDS)}. Received: {kind!r}."
        )
