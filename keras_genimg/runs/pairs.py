"""Two batches per step, for models of pairs: corrupted images, or a second set."""

import numpy as np
import tensorflow as tf

from keras_genimg.core import DataSpec, Pairs
from keras_genimg.data import (
    DataInfo,
    corrupt,
    corrupted_pairs,
    corrupted_shape,
    data_info,
    load,
    load_pairs,
)
from keras_genimg.data.pairs import open_pairs
from keras_genimg.errors import InputError
from keras_genimg.runs.splits import held_out_split, readable_images, training_split

__all__ = [
    "check_pairs", "corrupted", "evaluation_pairs", "held_out_pairs", "images_of_second_set",
    "in_pairs", "info_of_second_set", "named_pairs", "number_of_pairs", "pair_arguments",
    "paired_by_name",
]  # fmt: skip


def check_pairs(model_class: type, settings: dict) -> None:
    """Raises `InputError` if a setting is for other models, is missing, or is one too many."""
    takes = ()
    if isinstance(model_class.data, Pairs):
        takes = ("corruption", "data_b") if model_class.data.aligned else ("data_b",)
    given = [name for name in ("corruption", "data_b") if settings[name] is not None]
    for name in given:
        option = f"--{name.replace('_', '-')}"
        if name not in takes:
            raise InputError(
                f"{option} is not for {model_class.__name__}, which takes "
                f"--{takes[0].replace('_', '-')}. Received: {option} {settings[name]}."
                if takes
                else f"{option} is for models that are trained on pairs; "
                f"{model_class.__name__} is not. Received: {option} {settings[name]}."
            )
    if len(given) > 1:
        raise InputError(
            "The pairs have either corrupted images as inputs (--corruption) or those of --data, "
            f"with --data-b as targets. Received: --corruption {settings['corruption']} and "
            f"--data-b {settings['data_b']}."
        )
    if takes and not given:
        raise InputError(
            f"{model_class.__name__} is trained on two sets: --data-b names the second. "
            f"Received: --data {settings['data']} alone."
        )


def paired_by_name(data: DataSpec, settings: dict) -> bool:
    """Whether the images of `--data` and `--data-b` are inputs and targets of one name each."""
    return isinstance(data, Pairs) and data.aligned and settings.get("data_b") is not None


def pair_arguments(
    data: DataSpec, settings: dict, info: DataInfo, info_b: DataInfo | None
) -> dict:
    """Arguments of the model that depend on both images of the pairs.

    Args:
        data: `DataSpec` of the model.
        settings: dict, of the run.
        info, info_b: `DataInfo`s of `--data` and of `--data-b`, None without it.
    """
    if settings["corruption"]:
        return {"source_shape": corrupted_shape(settings["corruption"], info.image_shape)}
    if info_b is None:
        return {}
    if data.aligned:
        return {"source_shape": info.image_shape, "image_shape": info_b.image_shape}
    return {"image_shape_b": info_b.image_shape}


def info_of_second_set(settings: dict, image_shape: tuple) -> DataInfo | None:
    """The `DataInfo` of `--data-b`, or None without it."""
    if not settings["data_b"]:
        return None
    return data_info(settings["data_b"], **_source_b(settings, image_shape))


def images_of_second_set(
    settings: dict, image_shape: tuple, split: str | None = None, count: int | None = None
) -> int:
    """The number of readable images of `--data-b`, by default those to train on."""
    source = _source_b(settings, image_shape)
    split = split or training_split(settings["data_b"], settings.get("holdout"), **source)
    return readable_images(settings["data_b"], split, num_images=count, **source)[0]


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
        **_source_b(settings, image_shape),
    )
    # Batches of as many images of both sets, whose last ones may differ.
    return tf.data.Dataset.zip(data.unbatch(), others.unbatch()).batch(batch_size)


def named_pairs(settings: dict, split: str, **options) -> tf.data.Dataset:
    """The pairs of one name in `--data` and `--data-b`; `options` are those of `load_pairs`."""
    source = {key: settings[key] for key in ("image_size", "channels")}
    return load_pairs(settings["data"], settings["data_b"], split, **{**source, **options})


def number_of_pairs(settings: dict, split: str, count: int | None = None) -> int:
    """The number of these pairs, or of `count` of them, of which both images can be read."""
    source = settings["image_size"], settings["channels"]
    opened = open_pairs(settings["data"], settings["data_b"], split, *source, count)
    return opened[-1]().num_images


def held_out_pairs(settings: dict, count: int) -> list:
    """At most `count` held-out pairs, evenly spaced: two arrays."""
    source = {key: settings[key] for key in ("data_dir", "image_size", "channels")}
    split = held_out_split(settings["data"], settings["holdout"], **source)
    count = min(count, number_of_pairs(settings, split))
    pairs = named_pairs(settings, split, batch_size=count, num_images=count)
    return [part.numpy() for part in next(iter(pairs))]


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
