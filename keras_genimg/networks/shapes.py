"""Sizes that the default networks fit, and how they halve them."""

from keras_genimg.errors import InputError

__all__ = ["check_code_shape", "check_count", "check_image_shape", "check_same_size", "halvings"]

SMALLEST, LARGEST, STEP = 16, 256, 4


def check_count(name, value, minimum=1):
    """Checks an argument that counts something.

    Args:
        name: string. What it is called in the message.
        value: what was given.
        minimum: int. The least that it may be.

    Returns:
        `value`, an int.

    Raises:
        InputError: no int, or one below `minimum`.

    Example:
    >>> check_count("latent_dim", 64)
    64
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        wanted = "a positive integer" if minimum == 1 else f"an integer of at least {minimum}"
        raise InputError(f"{name} must be {wanted}. Received: {name}={value!r}.")
    return value


def check_image_shape(image_shape, default_networks=True, name="image_shape"):
    """Checks an image shape and returns it as a tuple of ints.

    Args:
        image_shape: (height, width, channels).
        default_networks: bool. Whether the shape must also fit the networks of
            this package: height and width multiples of 4 from 16 to 256.
        name: string. What the shape is called in messages.

    Returns:
        tuple (height, width, channels).

    Raises:
        InputError: not three positive integers, or a size that does not fit; the
            message names the nearest that does.
    """
    try:
        shape = tuple(int(size) for size in image_shape)
        right = len(shape) == 3 and all(s == r for s, r in zip(shape, image_shape)) and min(shape) > 0
    except (TypeError, ValueError):
        right = False
    if not right:
        raise InputError(
            f"{name} must be (height, width, channels), three positive integers. "
            f"Received: {name}={image_shape!r}."
        )
    if default_networks:
        nearest = tuple(
            min(max(STEP * round(size / STEP), SMALLEST), LARGEST) for size in shape[:2]
        )
        if nearest != shape[:2]:
            raise InputError(
                f"The default networks take heights and widths that are multiples of {STEP} from "
                f"{SMALLEST} to {LARGEST}; the nearest that fits is {nearest[0]}x{nearest[1]} "
                f"(load(..., image_size={nearest}) resizes). "
                f"Received: {shape[0]}x{shape[1]}."
            )
    return shape


def check_same_size(source_shape, image_shape):
    """Returns `source_shape` as a tuple if the default networks can make pictures of
    `image_shape` of it: of the same height and width.

    Raises:
        InputError: a shape that is none, or of another height or width.
    """
    source_shape = check_image_shape(source_shape, name="source_shape")
    if source_shape[:2] != tuple(image_shape[:2]):
        raise InputError(
            "The default networks translate pictures into pictures of the same height and width. "
            f"Received: {source_shape[0]}x{source_shape[1]} and {image_shape[0]}x{image_shape[1]}."
        )
    return source_shape


def halvings(image_shape, smallest=7, levels=None):
    """The sizes from the picture down to a grid of at most `smallest` a side.

    Args:
        image_shape: (height, width, ...).
        smallest: int. A side that is already this small is not halved again.
        levels: int, optional. Halves this many times instead, down to a side of one.

    Returns:
        List of (height, width), the picture first; odd sides round up, as
        strided convolutions with padding "same" do: (28, 28), (14, 14), (7, 7).
    """
    sizes = [tuple(image_shape[:2])]
    if levels is not None:
        for _ in range(levels):
            sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
        return sizes
    while max(sizes[-1]) > smallest:
        sizes.append(tuple(-(-side // 2) if side > smallest else side for side in sizes[-1]))
    return sizes


def strides_between(large, small):
    """The strides that take a grid of size `large` to `small`: each 1 or 2."""
    return tuple(2 if a != b else 1 for a, b in zip(large, small))


def check_code_shape(code_shape):
    """Checks the shape of a grid of codes.

    Args:
        code_shape: (height, width).

    Returns:
        tuple (height, width, 1) of ints.

    Raises:
        InputError: not two positive integers.
    """
    try:
        return check_image_shape((*code_shape, 1), default_networks=False)
    except (InputError, TypeError):
        raise InputError(
            "code_shape must be (height, width), two positive integers. "
            f"Received: code_shape={code_shape!r}."
        ) from None
