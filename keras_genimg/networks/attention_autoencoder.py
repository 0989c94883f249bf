"""The encoder and decoder of VQGAN: residual blocks, group normalisation, attention."""

import keras
from keras import layers

from keras_genimg.checks import check_image_shape
from keras_genimg.networks.blocks import code_vectors, float_input, repeat_pixels
from keras_genimg.networks.shapes import downsampled
from keras_genimg.precision import policy_dtype

__all__ = ["attention_decoder", "attention_encoder"]

# Width of each grid relative to `filters`, the image's first; those of 4 and 8 from Rombach et
# al. (2022), Table 8.
WIDTHS = {4: (1, 2, 4), 8: (1, 2, 2, 4), 16: (1, 1, 2, 2, 4)}
GROUPS, CHANNELS_IN_GROUP = 32, 4  # most groups; and with 128 channels or fewer


def attention_encoder(
    image_shape: tuple, embedding_dim: int, filters: int = 32, blocks: int = 2,
    downsampling: int = 16, normalized: bool = False, name: str = "encoder",
) -> keras.Model:
    """Image to a grid of vectors, by residual blocks, with attention on the smallest grid.

    On every grid a few residual blocks, then a 3x3 convolution of stride 2 to the next; on the
    smallest each block is followed by attention. Then a block, attention, a block, and a 1x1
    convolution to the vectors.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        embedding_dim: int. Length of a vector (D).
        filters: int. Filters on the full grid, 128 in the paper; up to 4 times as many later.
        blocks: int. Residual blocks on each grid.
        downsampling: 4, 8 or 16. Sides of the image relative to those of the grid (f).
        normalized: bool. See `vq_encoder`.
        name: string.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to
        `(batch, height / f, width / f, embedding_dim)`, sides rounded up.

    Raises:
        InputError: an invalid image shape or downsampling.

    Example:
    >>> attention_encoder((64, 64, 3), 32, downsampling=8, filters=16).output_shape
    (None, 8, 8, 32)

    Reference: Esser et al. (2021), appendix A, Table 7, https://arxiv.org/abs/2012.09841
    """
    _, widths = _grids(image_shape, downsampling, filters)
    images = float_input(image_shape)
    x = _convolution(filters)(images)
    for level, width in enumerate(widths):
        last = level == len(widths) - 1
        for _ in range(blocks):
            x = _residual(x, width)
            x = _attention(x) if last else x
        if not last:
            # "same" pads at the right and the bottom, as in the authors' code.
            x = layers.Conv2D(width, 3, 2, padding="same")(x)
    x = _middle(x)
    vectors = code_vectors(_normalized(x), embedding_dim, normalized)
    return keras.Model(images, vectors, name=name)


def attention_decoder(
    image_shape: tuple, embedding_dim: int, filters: int = 32, blocks: int = 2,
    downsampling: int = 16, name: str = "decoder",
) -> keras.Model:
    """A grid of vectors to the image: the encoder's grids in reverse, one block more on each.

    Repeated pixels and a 3x3 convolution lead from a grid to the next.

    Args:
        image_shape, embedding_dim, filters, blocks, downsampling, name: see `attention_encoder`.

    Returns:
        `keras.Model` from `(batch, height / f, width / f, embedding_dim)` to float32
        `(batch, height, width, channels)`, unbounded.

    Raises:
        InputError: an invalid image shape or downsampling.

    Example:
    >>> attention_decoder((64, 64, 3), 32, downsampling=8, filters=16).output_shape
    (None, 64, 64, 3)

    Reference: Esser et al. (2021), appendix A, Table 7, https://arxiv.org/abs/2012.09841
    """
    sizes, widths = _grids(image_shape, downsampling, filters)
    vectors = float_input((*sizes[-1], embedding_dim))
    x = _middle(_convolution(widths[-1])(vectors))
    for level in reversed(range(len(widths))):
        for _ in range(blocks + 1):
            x = _residual(x, widths[level])
            x = _attention(x) if level == len(widths) - 1 else x
        if level:
            x = _convolution(widths[level])(repeat_pixels(x, sizes[level - 1]))
    images = layers.Conv2D(image_shape[2], 3, padding="same", dtype=policy_dtype())(_normalized(x))
    return keras.Model(vectors, images, name=name)


def _grids(image_shape, downsampling, filters):
    """The sizes of the grids, the image's first, and their widths."""
    sizes = downsampled(check_image_shape(image_shape), downsampling)
    return sizes, [filters * factor for factor in WIDTHS[downsampling]]


def _middle(x):
    width = x.shape[-1]
    return _residual(_attention(_residual(x, width)), width)


def _convolution(filters):
    return layers.Conv2D(filters, 3, padding="same")


def _group_normalization(x):
    groups = min(GROUPS, max(x.shape[-1] // CHANNELS_IN_GROUP, 1))
    # Moments of 16-bit activations need 32 bits.
    return layers.GroupNormalization(groups, epsilon=1e-6, dtype=policy_dtype())(x)


def _normalized(x):
    """Group normalisation and swish."""
    return layers.Activation("swish")(_group_normalization(x))


def _residual(x, filters):
    """Twice group normalisation, swish and a 3x3 convolution; plus the shortcut."""
    y = _convolution(filters)(_normalized(x))
    y = _convolution(filters)(_normalized(y))
    return layers.Add()([y, x if x.shape[-1] == filters else layers.Conv2D(filters, 1)(x)])


def _attention(x):
    """Every position looks at all others, by one head; plus the shortcut."""
    height, width, channels = x.shape[1:]
    y = layers.Reshape((height * width, channels))(_group_normalization(x))
    y = layers.MultiHeadAttention(1, channels)(y, y)
    return layers.Add()([x, layers.Reshape((height, width, channels))(y)])
