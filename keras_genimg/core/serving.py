"""What the signatures for servers share: rows of a request, and images as bytes."""

from collections.abc import Callable

import tensorflow as tf

__all__ = [
    "as_rows", "count_spec", "decode_bytes", "draw_per_label", "draw_rows", "png_signature",
    "seed_spec", "to_bytes",
]  # fmt: skip


def count_spec() -> tf.TensorSpec:
    """The spec `num_images`: int32, a scalar or one number per row of a request."""
    return tf.TensorSpec(None, tf.int32, name="num_images")


def seed_spec() -> tf.TensorSpec:
    """The spec `seed`: int64, a scalar or one seed per row of a request."""
    return tf.TensorSpec(None, tf.int64, name="seed")


def as_rows(counts, seeds) -> tuple:
    """A request as rows: scalars are one row, and one count is that of all rows.

    Args:
        counts: int32 tensor, a scalar or `(rows,)`.
        seeds: int64 tensor, a scalar or `(rows,)`.

    Returns:
        (counts `(rows,)`, seeds `(rows,)`).
    """
    seeds = tf.reshape(seeds, [-1])
    return tf.broadcast_to(tf.reshape(counts, [-1]), tf.shape(seeds)), seeds


def draw_rows(draw: Callable, counts, seeds) -> tf.Tensor:
    """Latents of all rows of a request, each drawn from a separate seed.

    A row has the same latents whichever other rows are in the request: those of
    `draw(counts[i], seeds[i])`.

    Args:
        draw: function from an int32 and an int64 scalar to latents, such as `draw_latents`.
        counts, seeds: see `as_rows`.

    Returns:
        tensor `(sum of counts, ...)`.
    """
    counts, seeds = as_rows(counts, seeds)
    first = draw(counts[0], seeds[0])

    def add_row(row, latents):
        return row + 1, tf.concat([latents, draw(counts[row], seeds[row])], axis=0)

    shapes = tf.TensorShape([]), tf.TensorShape([None, *first.shape[1:]])
    _, latents = tf.while_loop(
        lambda row, _: row < tf.size(seeds), add_row, (tf.constant(1), first),
        shape_invariants=shapes,
    )  # fmt: skip
    return latents


def draw_per_label(draw: Callable, labels, seeds) -> tf.Tensor:
    """Latents for labels: one draw of them all, or one draw per label.

    Args:
        draw: see `draw_rows`.
        labels: tensor `(n, ...)`.
        seeds: int64 tensor, a scalar or `(n,)`.

    Returns:
        tensor `(n, ...)`.
    """
    count, rows = tf.shape(labels)[0], tf.size(seeds)
    rule = "seed must be one number, or one per row."
    tf.debugging.assert_equal(tf.logical_or(rows == 1, rows == count), True, message=rule)
    return draw_rows(draw, count // rows, seeds)


def png_signature(images_of: Callable, specs: list) -> tuple:
    """The signature `serving_png`: one PNG per row of a request.

    Args:
        images_of: function of tensors `(n, ...)`; returns images `(n, height, width, channels)` or
            clips `(n, frames, height, width, channels)` in [-1, 1], which become rows of frames.
        specs: list of `tf.TensorSpec`, one per tensor.

    Returns:
        (function that returns `{"png_bytes": string tensor (n,)}`, specs). TensorFlow Serving
        writes outputs whose names end in `_bytes` as base64.
    """

    def serving_png(*given):
        images = to_bytes(images_of(*given))
        if images.shape.rank == 5:  # (n, T, h, w, c) -> (n, h, T*w, c)
            _, frames, height, width, channels = tf.unstack(tf.shape(images))
            images = tf.transpose(images, [0, 2, 1, 3, 4])
            images = tf.reshape(images, [-1, height, frames * width, channels])
        pngs = tf.map_fn(
            tf.io.encode_png, images, fn_output_signature=tf.TensorSpec([], tf.string)
        )
        return {"png_bytes": pngs}

    return serving_png, specs


def to_bytes(images) -> tf.Tensor:
    """Images in [-1, 1] as uint8, see `plotting.to_uint8`."""
    levels = tf.clip_by_value(tf.round((images + 1.0) * 127.5), 0.0, 255.0)
    return tf.cast(levels, tf.uint8)


def decode_bytes(image_bytes, image_shape: tuple) -> tf.Tensor:
    """Images of a request, cropped around their centres and resized as `load` does.

    Args:
        image_bytes: string tensor `(n,)`: files in JPEG, PNG, GIF or BMP.
        image_shape: tuple `(height, width, channels)`.

    Returns:
        float32 tensor `(n, height, width, channels)` in [-1, 1].
    """
    height, width, channels = image_shape

    def decode(data):
        image = tf.io.decode_image(data, channels=channels, expand_animations=False)
        sides = tf.shape(image)[:2]
        scale = tf.reduce_min(sides / [height, width])
        crop = tf.cast(tf.round(scale * [height, width]), tf.int32)
        image = tf.image.resize_with_crop_or_pad(image, crop[0], crop[1])
        image = tf.image.resize(image, [height, width], "bicubic", antialias=True)
        return tf.clip_by_value(image / 127.5 - 1.0, -1.0, 1.0)

    spec = tf.TensorSpec(image_shape, tf.float32)
    return tf.map_fn(decode, image_bytes, fn_output_signature=spec)
