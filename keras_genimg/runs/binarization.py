"""Binarised images for runs that are trained on them."""

import tensorflow as tf

from keras_genimg.core import Pairs
from keras_genimg.data import binarize, check_binarize
from keras_genimg.errors import InputError

__all__ = ["check_binarization", "binarized_as_trained"]


def check_binarization(model_class: type, settings: dict) -> None:
    """Raises `InputError` for an unknown kind of `--binarize`, or if the model takes pairs."""
    kind = settings["binarize"]
    if kind is None:
        return
    check_binarize(kind)
    if isinstance(model_class.data, Pairs):
        raise InputError(
            "--binarize is for models that are trained on one set of images; "
            f"{model_class.__name__} is not. Received: --binarize {kind}."
        )


def binarized_as_trained(dataset, settings: dict, seed: int = 0) -> tf.data.Dataset:
    """Images to evaluate a run on, binarised like its training images.

    The binarisation of image i depends on the seed and i alone, so it is the same for every
    batch size and in every epoch.

    Args:
        dataset: `tf.data.Dataset` of batches of images, or of images and labels, in the stored
            order.
        settings: dict, of the run. Without `binarize` the dataset is returned unchanged.
        seed: int.
    """
    kind = settings.get("binarize")
    if kind is None:
        return dataset

    def number(start, element):
        size = tf.shape(tf.nest.flatten(element)[0], tf.int64)[0]
        return start + size, (start, element)

    def draw(start, element):
        images = element[0] if isinstance(element, tuple) else element

        def draw_one(numbered):
            of_image = tf.stack([tf.constant(seed, tf.int64), numbered[0]])
            return binarize(numbered[1][None], kind, of_image)[0]

        numbers = start + tf.range(tf.shape(images, tf.int64)[0])
        made = tf.map_fn(draw_one, (numbers, images), fn_output_signature=images.dtype)
        made = tf.ensure_shape(made, images.shape)
        return (made, *element[1:]) if isinstance(element, tuple) else made

    numbered = dataset.scan(tf.zeros((), tf.int64), number)
    made = numbered.map(draw, tf.data.AUTOTUNE, deterministic=True)
    return made.apply(tf.data.experimental.assert_cardinality(int(dataset.cardinality())))
