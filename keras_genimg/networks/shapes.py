"""How the default networks halve the sizes of images."""

from keras_genimg.checks import check_image_shape
from keras_genimg.errors import InputError

__all__ = ["check_same_size", "downsampled", "halvings", "strides_between", "widths_of"]


def check_same_size(source_shape: tuple, image_shape: tuple) -> tuple:
    """Checks that the default networks can translate between two shapes.

    Args:
        source_shape: (height, width, channels) of the inputs.
        image_shape: (height, width, channels) of the outputs.

    Returns:
        `source_shape` as a tuple of ints.

    Raises:
        InputError: an invalid shape, or another height or width than the outputs'.
    """
    source_shape = check_image_shape(source_shape, name="source_shape")
    if source_shape[:2] != tuple(image_shape[:2]):
        raise InputError(
            "The default networks translate images into images of the same height and width. "
            f"Received: {source_shape[0]}x{source_shape[1]} and {image_shape[0]}x{image_shape[1]}."
        )
    return source_shape


def halvings(image_shape: tuple, smallest: int = 7, levels: int | None = None) -> list:
    """The sizes from the image down to a grid of at most `smallest` a side.

    Args:
        image_shape: (height, width, ...).
        smallest: int. A side that is already this small is not halved again.
        levels: int, optional. Halves this many times instead, down to a side of one.

    Returns:
        List of (height, width), the image first; odd sides round up, as
        strided convolutions with padding "same" do: (28, 28), (14, 14), (7, 7).
    """
    sides = tuple(image_shape[:2])
    if levels is not None:
        return [tuple(-(-side // 2**level) for side in sides) for level in range(levels + 1)]
    sizes = [sides]
    while max(sizes[-1]) > smallest:
        sizes.append(tuple(-(-side // 2) if side > smallest else side for side in sizes[-1]))
    return sizes


def downsampled(image_shape: tuple, downsampling: int) -> list:
    """The sizes from the image down to the grid of an autoencoder's vectors.

    Args:
        image_shape: (height, width, ...).
        downsampling: 4, 8 or 16. Sides of the image relative to those of the grid.

    Returns:
        List of (height, width), see `halvings`: the image first.

    Raises:
        InputError: another downsampling.
    """
    if downsampling not in (4, 8, 16):
        raise InputError(f"downsampling must be 4, 8 or 16. Received: {downsampling!r}.")
    return halvings(image_shape, levels=int(downsampling).bit_length() - 1)


def strides_between(large: tuple, small: tuple) -> tuple:
    """The strides from one grid to another.

    Args:
        large, small: sizes of the grids.

    Returns:
        tuple of int, 1 where a side stays the same and 2 elsewhere.
    """
    return tuple(2 if a != b else 1 for a, b in zip(large, small))


def widths_of(levels: int, filters: int, widest: int) -> list:
    """Numbers of filters that double from level to level.

    Args:
        levels: int.
        filters: int. Of the first level.
        widest: int. The largest number.

    Returns:
        List of int.
    """
    return [min(filters * 2**level, widest) for level in range(levels)]
