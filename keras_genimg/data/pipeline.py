"""From the name of an image set to batches for `fit`."""

import operator

import numpy as np
import tensorflow as tf

from keras_genimg.data.datasets import open_set
from keras_genimg.data.passes import Passes
from keras_genimg.data.tuning import without_autotuning
from keras_genimg.errors import InputError

__all__ = ["data_info", "load"]


def load(
    name,
    split="train",
    *,
    batch_size,
    image_size=None,
    with_labels=False,
    shuffle_seed=None,
    data_dir=None,
    channels=None,
    drop_remainder=False,
    num_images=None,
    num_frames=None,
    epochs=1,
    first_epoch=0,
):
    """Loads an image set by name as batches in [-1, 1].

    Args:
        name: str. "glyphs" (digits drawn on the spot), an image set of
            tensorflow-datasets (`"mnist"`, `"cifar10"`, `"lsun/church"`, ...), or the
            path of a folder of pictures: without labels, or one sub-folder a class.
            A folder in the working directory that is called like a set is `"./mnist"`.
            Or a set of clips, in which a digit moves over a larger canvas and bounces off its
            borders: "moving_glyphs", or "moving_mnist", made here of MNIST's digits of the
            split (it is not the set of that name in tensorflow-datasets, which has two digits
            a clip and a test split alone).
        split: str. For a set of tensorflow-datasets also a part: "train[:80%]".
        batch_size: int. The last batch of a pass may be smaller.
        image_size: int or tuple `(height, width)`. Pictures are cut around the centre
            to this shape and resized. Default: as stored; 28 for "glyphs" and the
            canvas of clips.
        with_labels: bool. Whether to give `(images, labels)` instead of images.
        shuffle_seed: int, optional. Pass number e over the set is in an order that
            depends on this seed and e alone. Default: the stored order in each pass.
        data_dir: str, optional. Where tensorflow-datasets keeps its sets. Default:
            the environment variable `TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
        channels: 1 or 3, optional. Converts between grey and colour.
        drop_remainder: bool. Whether to leave out a last, smaller batch of a pass.
        num_images: int, optional. Uses only so many: the first ones, or evenly spread
            ones of a folder. "glyphs" and "moving_glyphs" draw any number.
        num_frames: int, optional. Frames of a clip, 16 by default; for sets of clips alone.
        epochs: int, or None for endless. Passes in one iteration of the dataset, each
            batched by itself. Iterating again goes on with the passes that follow
            once an iteration has come to its end; an endless one always starts anew.
        first_epoch: int. Number of the first pass, for a training that is resumed.

    Returns:
        `tf.data.Dataset` of float32 images `(batch, height, width, channels)`, clips
        `(batch, frames, height, width, channels)`, or pairs of them and int32 labels
        `(batch,)`. Strategies shard it by its images.

    Raises:
        InputError: if an argument cannot be used with this set.

    Example:
    >>> images = next(iter(load("glyphs", batch_size=64, shuffle_seed=0)))
    >>> images.shape
    TensorShape([64, 28, 28, 1])
    """
    batch_size = _integer("batch_size", batch_size, least=1)
    epochs = epochs if epochs is None else _integer("epochs", epochs, least=1)
    first_epoch = _integer("first_epoch", first_epoch, least=0)
    if shuffle_seed is not None:
        shuffle_seed = _integer("shuffle_seed", shuffle_seed, least=-(2**63))
    info, open_reader = _open_checked(
        name, split, image_size, data_dir, channels, num_images, num_frames
    )
    if with_labels and info.num_classes is None:
        raise InputError(
            f"with_labels needs a set with labels. Received: with_labels={with_labels} for "
            f"{name!r}, which has none"
        )
    reader = open_reader()
    if drop_remainder and batch_size > reader.num_images:
        raise InputError(
            "With drop_remainder, batch_size must not exceed the number of images, or no batch "
            f"is left. Received: batch_size={batch_size} for {reader.num_images} images"
        )

    def one_pass(number):
        seed = None if shuffle_seed is None else tf.stack([np.int64(shuffle_seed), number])
        return reader.order(seed).batch(batch_size, drop_remainder)

    def read_batch(*batch):
        images, labels = reader.read(*batch)
        images = tf.cast(images, tf.float32) / 127.5 - 1
        return (images, labels) if with_labels else images

    round_up = 0 if drop_remainder else batch_size - 1
    batches_per_pass = (reader.num_images + round_up) // batch_size
    if epochs is None:
        total = tf.data.INFINITE_CARDINALITY
        dataset = tf.data.Dataset.counter(first_epoch).flat_map(one_pass)
    else:
        total = epochs * batches_per_pass
        passes = Passes(first_epoch, epochs)
        dataset = passes.numbers().flat_map(one_pass)
    dataset = dataset.map(read_batch, tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    if epochs is not None and shuffle_seed is not None:
        dataset = passes.count(dataset, total)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(total))
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return without_autotuning(dataset.with_options(options))


def data_info(
    name,
    split="train",
    *,
    image_size=None,
    data_dir=None,
    channels=None,
    num_images=None,
    num_frames=None,
):
    """Tells what `load` with the same arguments would give, without decoding images.

    Args:
        name, split, image_size, data_dir, channels, num_images, num_frames: as in `load`.

    Returns:
        `DataInfo(image_shape, num_images, num_classes)`; of a set of clips the shape of a
        frame and the number of clips. Of a folder, the images are counted by their headers:
        one that breaks off further on is counted still.

    Raises:
        InputError: if an argument cannot be used with this set.

    Example:
    >>> data_info("glyphs", "test", image_size=32, channels=3)
    DataInfo(image_shape=(32, 32, 3), num_images=5000, num_classes=10)
    """
    return _open_checked(name, split, image_size, data_dir, channels, num_images, num_frames)[0]


def _open_checked(name, split, image_size, data_dir, channels, num_images, num_frames):
    if image_size is not None:
        image_size = image_size if isinstance(image_size, (tuple, list)) else (image_size,) * 2
        if len(image_size) != 2:
            raise InputError(
                f"image_size must be an integer or (height, width). Received: {image_size!r}"
            )
        image_size = tuple(_integer("image_size", side, least=1) for side in image_size)
    if channels not in (None, 1, 3):
        raise InputError(f"channels must be 1 or 3. Received: channels={channels!r}")
    if num_images is not None:
        num_images = _integer("num_images", num_images, least=1)
    if num_frames is not None:
        num_frames = _integer("num_frames", num_frames, least=1)
    return open_set(
        name,
        split,
        image_size=image_size,
        channels=channels,
        num_images=num_images,
        data_dir=data_dir,
        num_frames=num_frames,
    )


def _integer(argument, value, least):
    try:
        if isinstance(value, bool) or operator.index(value) < least:
            raise TypeError
    except TypeError:
        rule = {1: "a positive integer", 0: "an integer of at least 0"}.get(least, "an integer")
        raise InputError(f"{argument} must be {rule}. Received: {argument}={value!r}") from None
    return operator.index(value)
