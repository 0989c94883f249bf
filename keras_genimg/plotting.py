"""Image grids, PNGs, animations and loss curves.

NumPy, Pillow and Matplotlib only. Matplotlib is imported where it is used. Files are drawn on a
separate canvas, so the caller's figures, backend and settings stay as they are. Only
`show_images`, and `plot_losses` without a path, draw where a notebook shows it.
"""

import csv
import math
import os

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from keras_genimg.checks import check_count, check_number
from keras_genimg.errors import InputError
from keras_genimg.video import check_animation, write_mp4

__all__ = ["image_grid", "plot_losses", "save_animation", "save_png", "show_images", "to_uint8"]

BACKGROUND = 255
COLORS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#db2777", "#4b5563")


def to_uint8(images: ArrayLike) -> np.ndarray:
    """Converts pixel values in [-1, 1] to bytes.

    Args:
        images: float array in [-1, 1] of any shape, or a uint8 array, which is
            returned unchanged.

    Returns:
        uint8 array of the same shape: -1 becomes 0, 1 becomes 255; rounded to the
        nearest integer and clipped.

    Raises:
        InputError: another type, NaN or infinity.

    Example:
        >>> to_uint8([-1.0, 0.0, 1.0])
        array([  0, 128, 255], dtype=uint8)
    """
    images = np.asarray(images)
    if images.dtype == np.uint8:
        return images
    # bfloat16 is not np.floating: its kind is "V", and its arithmetic is coarse.
    if not (np.issubdtype(images.dtype, np.floating) or images.dtype.name == "bfloat16"):
        raise InputError(
            f"Images must be float in [-1, 1] or uint8. Received: dtype={images.dtype}."
        )
    images = images.astype("float32", copy=False)
    if not np.isfinite(images).all():
        raise InputError(
            "Images must be finite numbers in [-1, 1]. Received: an array with NaN or infinity "
            f"in {np.size(images) - np.isfinite(images).sum()} of {images.size} values."
        )
    return np.clip(np.rint((images + 1.0) * 127.5), 0, 255).astype("uint8")


def image_grid(images: ArrayLike, columns: int | None = None, padding: int = 2) -> np.ndarray:
    """Arranges images in rows and columns.

    Args:
        images: array `(batch, height, width, channels)`, channels 1 or 3, float
            in [-1, 1] or uint8; or sequences `(batch, frames, height, width,
            channels)`, each of which becomes one row.
        columns: int. Images per row; by default the grid is nearly square and, if
            the number of images allows it, has no incomplete last row.
        padding: int. White pixels around and between the images.

    Returns:
        uint8 array `(H, W, channels)`. Empty places of an incomplete last row
        are white.

    Raises:
        InputError: another shape, no image, or invalid `columns` or `padding`.

    Example:
        >>> image_grid(np.zeros((64, 28, 28, 1), "float32")).shape
        (242, 242, 1)
    """
    images = to_uint8(images)
    if images.ndim not in (4, 5) or images.shape[-1] not in (1, 3) or images.size == 0:
        raise InputError(
            "A grid needs at least one image in an array (batch, height, width, channels) or "
            "(batch, frames, height, width, channels) with 1 or 3 channels. "
            f"Received: shape={images.shape}."
        )
    if images.ndim == 5:
        columns = columns or images.shape[1]
        images = images.reshape(-1, *images.shape[2:])  # (B, T, h, w, c) -> (B*T, h, w, c)
    number, height, width, channels = images.shape
    columns = _near_square(number) if columns is None else columns
    check_count("columns", columns)
    check_count("padding", padding, 0)
    rows = -(-number // columns)
    # Each image gets its upper and left margin, and the grid the lower and right one.
    margins = ((0, rows * columns - number), (padding, 0), (padding, 0), (0, 0))
    images = np.pad(images, margins, constant_values=BACKGROUND)  # (rows * columns, h, w, c)
    grid = images.reshape(rows, columns, height + padding, width + padding, channels)
    grid = grid.swapaxes(1, 2).reshape(rows * (height + padding), -1, channels)
    return np.pad(grid, ((0, padding), (0, padding), (0, 0)), constant_values=BACKGROUND)


def show_images(
    images: ArrayLike, title: str | None = None, columns: int | None = None, scale: float = 2,
    axes=None,
) -> None:
    """Shows a grid of images in a notebook, or on given axes.

    Args:
        images: see `image_grid`.
        title: str, optional. A line above the grid.
        columns: int, optional. Images per row, see `image_grid`.
        scale: int or float. Screen pixels per image pixel, for a new figure.
        axes: Matplotlib `Axes` to draw on, optional; by default a new figure.

    Raises:
        InputError: see `image_grid`.

    Example:
        >>> show_images(model.generate(16, seed=0), "16 samples")
    """
    import matplotlib.pyplot as plt

    grid = image_grid(images, columns)
    if axes is None:
        height, width = grid.shape[:2]
        inches = (max(width * scale, 160) / 100, (height * scale + (30 if title else 0)) / 100)
        axes = plt.figure(figsize=inches, dpi=100, layout="constrained").add_subplot()
    elif not hasattr(axes, "imshow"):
        raise InputError(f"axes must be Matplotlib's. Received: {type(axes).__name__}.")
    axes.imshow(grid, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(title, fontsize=10, loc="left")


def _near_square(number):
    """Columns of a grid of `number` images: wider than high, by at most 5 to 2."""
    square = math.isqrt(number - 1) + 1  # ceiling of the root
    widest = math.isqrt(5 * number // 2)
    return next((c for c in range(square, widest + 1) if number % c == 0), square)


def _to_pillow(image, scale):
    """(H, W, C) or (H, W) array -> Pillow image, each pixel `scale` wide."""
    image = to_uint8(image)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]  # (H, W, 1) -> (H, W), which Pillow calls mode L
    if image.ndim != 2 and (image.ndim != 3 or image.shape[-1] != 3):
        raise InputError(
            "One image must have the shape (height, width, channels) with 1 or 3 channels. "
            f"Received: shape={image.shape}."
        )
    scale = check_count("scale", scale)
    image = image.repeat(scale, axis=0).repeat(scale, axis=1)  # nearest neighbour
    return Image.fromarray(image)


def save_png(
    path: str | os.PathLike, image_or_grid: ArrayLike, metadata: dict | None = None, scale: int = 1
) -> str | os.PathLike:
    """Writes a PNG, with metadata on the origin of the image.

    Args:
        path: path ending in `.png`.
        image_or_grid: array `(height, width, channels)`, or a batch, whose
            `image_grid` is drawn. One channel is written as greyscale (mode L).
        metadata: dict. Written as text fields, names and values as strings; Pillow
            returns them as `Image.open(path).text`.
        scale: int. Width of a pixel in the file, to enlarge small images.

    Returns:
        The path.

    Raises:
        InputError: an array that is not an image, or an invalid scale.

    Example:
        >>> save_png("samples.png", images, {"model": "GAN", "generated": "yes"}, scale=2)
        'samples.png'
        >>> Image.open("samples.png").text["model"]
        'GAN'
    """
    image = np.asarray(image_or_grid)
    if image.ndim > 3:
        image = image_grid(image)
    notes = PngInfo()
    if metadata is not None and not hasattr(metadata, "items"):
        raise InputError(f"metadata must be a dict. Received: {type(metadata).__name__}.")
    for name, value in (metadata or {}).items():
        notes.add_text(str(name), str(value))
    # The format is named because the path may be a temporary one.
    _make_parent(path)
    _to_pillow(image, scale).save(path, format="PNG", pnginfo=notes, optimize=True)
    return path


def save_animation(
    path: str | os.PathLike, frames, duration_ms: float = 100, scale: int = 1
) -> str | os.PathLike:
    """Writes an animation: a GIF or a lossless WebP that repeats forever, or an MP4 (H.264).

    Args:
        path: path ending in `.gif`, `.webp` or `.mp4`.
        frames: array `(frames, height, width, channels)`, a list of images or
            grids of one size, or a batch of sequences `(batch, frames, height,
            width, channels)`, which play side by side.
        duration_ms: int. Milliseconds per frame (a GIF rounds to tens).
        scale: int. Width of a pixel.

    Returns:
        The path.

    Raises:
        InputError: no frames, frames of different sizes, a duration below 10, another ending,
            or an `.mp4` without imageio-ffmpeg.

    Example:
        >>> save_animation("moving.gif", sequences, duration_ms=80)    # (16, 20, 32, 32, 1)
        'moving.gif'
    """
    if len(frames) == 0 or len({np.shape(frame) for frame in frames}) != 1:
        raise InputError(
            "An animation needs at least one frame and all frames of one shape. "
            f"Received: shapes {sorted({np.shape(frame) for frame in frames})}."
        )
    check_number("duration_ms", duration_ms, 10)
    ending = check_animation(path)
    if np.ndim(frames) == 5:
        steps = np.moveaxis(np.asarray(frames), 1, 0)  # (B, T, h, w, c) -> (T, B, h, w, c)
        frames = [image_grid(step) for step in steps]
    images = [_to_pillow(frame, scale) for frame in frames]
    _make_parent(path)
    if ending == ".mp4":
        write_mp4(path, images, duration_ms)
        return path
    options = {"lossless": True} if ending == ".webp" else {}
    images[0].save(
        path, format=ending[1:].upper(), save_all=True, append_images=images[1:],
        duration=int(duration_ms), loop=0, **options,
    )  # fmt: skip
    return path


save_gif = save_animation  # the name of version 0.1


def _make_parent(path):
    os.makedirs(os.path.dirname(os.fspath(path)) or ".", exist_ok=True)


def _read_csv(path):
    """A logs.csv -> (epochs, {name: values}); a cell that is not a number is NaN."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, restval="")
        if "epoch" not in (reader.fieldnames or []):
            raise InputError(
                "A log file must have a column named epoch. "
                f"Received: {path} with the columns {reader.fieldnames}."
            )
        # A resumed run may have an epoch twice: the later row counts.
        rows = {_number(row["epoch"]): row for row in reader}
    epochs = sorted(filter(math.isfinite, rows))
    names = [name for name in reader.fieldnames if name and name != "epoch"]
    return epochs, {name: [_number(rows[epoch][name]) for epoch in epochs] for name in names}


def _number(cell):
    try:
        return float(cell)
    except (TypeError, ValueError):
        return math.nan


def _panels(names):
    """Groups log names (without val_) that share a scale: [(title, names), ...]."""
    losses = [name for name in names if name.endswith("loss")]
    scores = [name for name in names if name.endswith("score")]
    others = [name for name in names if name not in losses and name not in scores]
    groups = [("losses", losses), ("scores", scores)] + [(name, [name]) for name in others]
    # The title of a panel with one curve is its name; then it needs no legend.
    return [(group[0] if len(group) == 1 else title, group) for title, group in groups if group]


def plot_losses(
    logs: dict | str | os.PathLike, path: str | os.PathLike | None = None
) -> str | os.PathLike | None:
    """Draws the logs of `fit` over epochs.

    Losses share one panel and scores another; every other name has a separate
    panel, because scales differ. A `val_` curve is dashed and has the colour of
    its training curve. Positive losses that span more than two decades get a
    logarithmic axis.

    Args:
        logs: dict from name to a list over epochs (`history.history`), or the
            path of a CSV file with a column `epoch`. Curves omit NaN, None and
            missing cells.
        path: path of the file to write, `.png`, `.svg` or `.pdf`; None shows the
            plot in a notebook.

    Returns:
        The path, or None.

    Raises:
        InputError: nothing to draw, or a file without a column `epoch`.

    Example:
        >>> history = model.fit(dataset, epochs=20)
        >>> plot_losses(history.history, "losses.png")
        'losses.png'
    """
    if isinstance(logs, (str, os.PathLike)):
        epochs, logs = _read_csv(logs)
    elif not hasattr(logs, "items"):
        raise InputError(f"logs must be a dict or a path. Received: {type(logs).__name__}.")
    else:
        epochs = range(1, 1 + max((len(values) for values in logs.values()), default=0))
    curves = {}
    for name, values in logs.items():
        values = np.array([_number(value) for value in values])
        if np.isfinite(values).any():
            curves[name] = (np.array(epochs)[: len(values)], values)
    if not curves:
        raise InputError(
            "A plot needs at least one logged value that is a finite number. "
            f"Received: {', '.join(logs) or 'no names'}."
        )
    names = list(dict.fromkeys(name.removeprefix("val_") for name in curves))
    return _draw(path, _panels(names), curves)


def _draw(path, panels, curves):
    """Draws `panels` of `curves` (name -> (epochs, values)) and writes the figure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(panels)) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    settings = {"figsize": (4.6 * columns, 3.1 * rows), "layout": "constrained"}
    if path is None:
        import matplotlib.pyplot as plt

        figure = plt.figure(dpi=75, **settings)
    else:
        figure = Figure(dpi=110, **settings)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1)
    epochs = np.concatenate([x for x, _ in curves.values()])
    margin = 0.03 * np.ptp(epochs) or 0.5  # a single epoch still needs an axis
    for i, (title, names) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, i + 1)
        color = {name: COLORS[j % len(COLORS)] for j, name in enumerate(names)}
        drawn = [name for pair in names for name in (pair, f"val_{pair}") if name in curves]
        for name in drawn:
            x, y = curves[name]
            seen = np.isfinite(y)  # a metric computed every few epochs is still one curve
            axes.plot(
                x[seen], y[seen], label=name,
                color=color[name.removeprefix("val_") if name not in color else name],
                linestyle="--" if name not in color else "-", linewidth=1.6,
                marker="o" if seen.sum() < 12 else None, markersize=3,
            )
        shown = np.concatenate([y[np.isfinite(y)] for y in (curves[name][1] for name in drawn)])
        if title != "scores" and shown.min() > 0 and shown.max() > 100 * shown.min():
            axes.set_yscale("log")
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel("epoch", fontsize=9)
        axes.set_xlim(epochs.min() - margin, epochs.max() + margin)  # the same in every panel
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, nbins=7))
        axes.tick_params(labelsize=8)
        axes.grid(True, color="#e5e7eb", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        if len(drawn) > 1:
            axes.legend(fontsize=8, frameon=False)
    if path is not None:
        _make_parent(path)
        figure.savefig(path)
    return path
