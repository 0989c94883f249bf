"""Two batches per step, for models of pairs: corrupted images, or a second set."""

import numpy as np
import tensorflow as tf

from keras_genimg.core import Pairs
from keras_genimg.data import (
    DataInfo,
    corrupt,
    corrupted_pairs,
    corrupted_shape,
    data_info,
    load,
)
from keras_genimg.errors import InputError
from keras_genimg.runs.splits import readable_images, training_split

__all__ = [
    "check_pairs", "corrupted", "evaluation_pairs", "images_of_second_set", "in_pairs",
    "info_of_second_set", "pair_arguments",
]  # fmt: skip


def check_pairs(model_class: type, settings: dict) -> None:
    """Raises `InputError` if a setting is for other models, or is missing."""
    wanted = None
    if isinstance(model_class.data, Pairs):
        wanted = "corruption" if model_class.data.aligned else "data_b"
    for name in ("corruption", "data_b"):
        option = f"--{name.replace('_', '-')}"
        if settings[name] is not None and name != wanted:
            raise InputError(
                f"{option} is for models that are trained on pairs; "
                f"{model_class.__name__} is not. Received: {option} {settings[name]}."
                if wanted is None
                else f"{option} is not for {model_class.__name__}, which takes "
                f"--{wanted.replace('_', '-')}. Received: {option} {settings[name]}."
            )
        if settings[name] is None and name == wanted:
            raise InputError(
                f"{model_class.__name__} is trained on two sets: {option} names the second. "
                f"Received: --data {settings['data']} alone."
            )


def pair_arguments(settings: dict, image_shape: tuple) -> dict:
    """Arguments of the model that depend on the other images of the pairs."""
    if settings["corruption"]:
        return {"source_shape": corrupted_shape(settings["corruption"], image_shape)}
    if settings["data_b"]:
        return {"image_shape_b": info_of_second_set(settings, image_shape).image_shape}
    return {}


def info_of_second_set(settings: dict, image_shape: tuple) -> DataInfo | None:
    """The `DataInfo` of `--data-b`, or None without it."""
    if not settings["data_b"]:
        return None
    return data_info(settings["data_b"], **_source_b(settings, image_shape))


def images_of_second_set(settings: dict, image_shape: tuple) -> int:
    """The number of readable training images of `--data-b`."""
    source = _source_b(settings, image_shape)
    split = training_split(settings["data_b"], settings.get("holdout"), **source)
    return readable_images(settings["data_b"], split, **source)[0]


def in_pairs(data, settings, image_shape, batch_size, first_batch) -> tf.data.Dataset:
    """The data for `fit`: `data` itself, or its images paired with others.

    Args:
        data: endless `tf.data.Dataset` of batches of images, whose first batch is number
            `first_batch`, counted from the start of an unbroken run.
        settings: dict, of the run.
        image_shape: tuple (height, width, channels) of these images.
        batch_size: int.
        first_batch: int.

    Returns:
        `tf.data.Dataset`, which starts with batch `first_batch` too.
    """
    if settings["corruption"]:
        data = corrupted_pairs(data, settings["corruption"], settings["seed"], first_batch)
    if not settings["data_b"]:
        return data
    source = _source_b(settings, image_shape)
    split = training_split(settings["data_b"], settings.get("holdout"), **source)
    full_pass = images_of_second_set(settings, image_shape) // batch_size
    first_pass, done = divmod(first_batch, full_pass)
    others = load(
        settings["data_b"],
        split,
        batch_size=batch_size,
        shuffle_seed=settings["seed"] + 1,  # a separate order
        drop_remainder=True,
        epochs=None,
        first_epoch=first_pass,
        first_batch=done,
        **source,
    )
    return tf.data.Dataset.zip(data, others)


def evaluation_pairs(
    data, settings, split, image_shape, batch_size, count, seed
) -> tf.data.Dataset:
    """See `in_pairs`; one epoch of `data`. `split` is that of the second set."""
    if settings.get("corruption"):
        return corrupted_pairs(data, settings["corruption"], seed)
    if not settings.get("data_b"):
        return data
    others = load(
        settings["data_b"], split, batch_size=batch_size, num_images=count,
        drop_remainder=True, **_source_b(settings, image_shape),
    )
    return tf.data.Dataset.zip(data, others)


def corrupted(images, settings: dict) -> np.ndarray:
    """Corrupted images for grids, the same each time; without a corruption the images."""
    if not settings["corruption"]:
        return images
    seed = tf.stack([tf.cast(settings["seed"], tf.int64), tf.constant(-1, tf.int64)])
    return corrupt(images, settings["corruption"], seed).numpy()


def _source_b(settings, image_shape):
    """Images of the second set are cropped and resized to the size of those of the first."""
    source = {key: settings[key] for key in ("data_dir", "channels")}
    return {**source, "image_size": tuple(image_shape[:2])}
