"""U-Net: image to image, with skip connections between grids of one size."""

import keras
from keras import layers

from keras_genimg.checks import check_image_shape
from keras_genimg.layers import BatchNormalization, Dropout
from keras_genimg.networks.blocks import downsample, float_input, upsample
from keras_genimg.networks.initializers import normal
from keras_genimg.networks.shapes import check_same_size, halvings, widths_of
from keras_genimg.precision import policy_dtype

__all__ = ["unet"]


def unet(
    source_shape: tuple, image_shape: tuple, filters: int = 32, widest: int = 256,
    kernel_size: int = 4, momentum: float = 0.9, dropout: float = 0.5, seed: int | None = None,
    name: str = "generator",
) -> keras.Model:
    """Image to image: convolutions that halve, then double, with skips across.

    Down: strided convolutions with batch normalisation (but for the first) and
    LeakyReLU(0.2), to a grid of at most 4 a side. Up: transposed convolutions with batch
    normalisation and ReLU; each grid is joined with that of the same size on the way
    down. The paper's noise is dropout: here after the first grid on the way up, and while
    training only.

    Args:
        source_shape: (height, width, channels) of the inputs, multiples of 4 from 16
            to 256.
        image_shape: (height, width, channels) of the outputs, of the same height and width.
        filters: int. Filters of the first layer (64 in the paper); they double with each
            halving of the grid, up to `widest`.
        widest: int. Most filters in a layer (512 in the paper).
        kernel_size: int. A multiple of the stride of 2 avoids checkerboard artefacts.
        momentum: float. Momentum of the batch normalisation.
        dropout: float in [0, 1). Rate of the dropout.
        seed: int, optional. Seed of the dropout.
        name: string.

    Returns:
        `keras.Model` from `(batch, *source_shape)` to float32 `(batch, *image_shape)` in
        [-1, 1].

    Raises:
        InputError: invalid shapes.

    Example:
    >>> unet((28, 28, 1), (28, 28, 3)).output_shape
    (None, 28, 28, 3)

    Reference: Isola et al. (2017), sections 3.2.1 and 6.1.1,
        https://arxiv.org/abs/1611.07004; Ronneberger et al. (2015),
        https://arxiv.org/abs/1505.04597
    """
    image_shape = check_image_shape(image_shape)
    source_shape = check_same_size(source_shape, image_shape)
    sizes = halvings(image_shape, smallest=4)  # image first
    widths = widths_of(len(sizes) - 1, filters, widest)

    # 1. Down: 28x28 -> 14x14 -> 7x7 -> 4x4.
    sources = float_input(source_shape)
    _, *grids = downsample(
        sources, sizes, widths, kernel_size, lambda: BatchNormalization(momentum=momentum)
    )

    # 2. Up, and across: 4x4 -> 7x7, joined with the 7x7 on the way down -> 14x14, likewise.
    x = grids[-1]
    for level in range(len(widths) - 1, 0, -1):
        x = upsample(
            x, sizes[level + 1], sizes[level], widths[level - 1], kernel_size,
            kernel_initializer=normal(), use_bias=False,
        )
        x = BatchNormalization(momentum=momentum)(x)
        if dropout and level == len(widths) - 1:
            x = Dropout(dropout, seed=seed)(x)
        x = layers.Concatenate()([layers.ReLU()(x), grids[level - 1]])  # -> (B, h, w, 2 f)

    # 3. The image: 14x14 -> 28x28.
    x = upsample(x, sizes[1], sizes[0], image_shape[2], kernel_size, kernel_initializer=normal())
    images = layers.Activation("tanh", dtype=policy_dtype())(x)
    return keras.Model(sources, images, name=name)
