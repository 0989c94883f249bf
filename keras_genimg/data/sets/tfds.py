"""The image sets of tensorflow-datasets."""

import contextlib
import functools
import io
import os
import shutil

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_genimg.data.images import (
    DataInfo,
    Reader,
    UnknownSplit,
    checked_count,
    fit_image,
    fits_in_memory,
    read_from_memory,
)
from keras_genimg.data.python_calls import call_python
from keras_genimg.errors import InputError
from keras_genimg.quiet import no_logs

__all__ = ["is_tfds_name", "open_tfds", "tfds_names"]

SHUFFLE_BUFFER = 16_384  # encoded images, for sets that are streamed
PROBE_SECONDS = 10
# Where TFDS hosts its files, for sets that do not declare their download URLs.
TFDS_SITE = "https://storage.googleapis.com/tfds-data"


def _import_tfds():
    """Imports TFDS, which is slow and verbose: only when needed, and quietly."""
    with _quiet():
        import tensorflow_datasets

    return tensorflow_datasets


@contextlib.contextmanager
def _quiet():
    """Keeps warnings, log messages and progress bars off the terminal."""
    sink = io.StringIO()
    with no_logs(), contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield


@functools.lru_cache(maxsize=1)
def tfds_names() -> tuple:
    """The names of the sets that tensorflow-datasets itself provides."""
    tfds = _import_tfds()
    with _quiet():
        return tuple(tfds.list_builders(with_community_datasets=False))  # which need the network


def is_tfds_name(name: str, data_dir: str | os.PathLike | None) -> bool:
    """Whether a name is a set of tensorflow-datasets, or a custom set prepared in `data_dir`."""
    first = name.split("/")[0].split(":")[0]
    if not first or first.startswith((".", "~")):
        return False
    return os.path.isdir(os.path.join(_data_dir(data_dir), first)) or first in tfds_names()


def _data_dir(data_dir):
    # Read here because TFDS reads the variable only once, when it is imported.
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return os.path.expanduser(os.fspath(data_dir))


def open_tfds(
    name: str, split: str, data_dir: str | os.PathLike | None, *,
    image_size: tuple | None, channels: int | None, num_images: int | None,
) -> tuple:  # fmt: skip
    """Describes a set of tensorflow-datasets and how to read it; see `open_set`."""
    tfds = _import_tfds()
    builder = _prepared_builder(tfds, name, _data_dir(data_dir))
    image_key, label_key = _feature_keys(tfds, name, builder.info)
    available = _split_size(name, builder.info.splits, split)
    stored_shape = builder.info.features[image_key].shape
    if image_size is None and None in stored_shape[:2]:
        raise InputError(
            "Images of several sizes need image_size, to which they are cropped and resized. "
            f"Received: {name!r} without image_size."
        )
    channels = channels or (1 if stored_shape[2] == 1 else 3)
    label = label_key and builder.info.features[label_key]
    info = DataInfo(
        (*(image_size or stored_shape[:2]), channels),
        checked_count(num_images, available, name),
        label and label.num_classes,
        tuple(label.names) if label and label.num_classes else None,
        builder.info.full_name,
    )

    def open_reader():
        keys = (image_key, label_key)
        if fits_in_memory(info):
            where = str(builder.data_path)
            return read_from_memory(*_decode_all(where, split, *keys, info))
        return _read_as_stream(tfds, builder, split, *keys, info)

    return info, open_reader


def _prepared_builder(tfds, name, data_dir):
    """The builder of a set that is prepared on disk, downloaded first if necessary."""
    with _quiet():
        try:
            builder = tfds.builder(name, data_dir=data_dir)
        except Exception as error:
            raise InputError(
                "name must be a set, configuration and version known to tensorflow-datasets. "
                f"Received: name={name!r}, which raises: {_first_line(error)}"
            ) from error
        if not builder.info.splits:
            try:
                _probe(next(iter(builder.url_infos or ()), TFDS_SITE))
                with _clean_up_on_failure(data_dir, builder.name):
                    builder.download_and_prepare()
            except Exception as error:
                raise InputError(
                    "A set of tensorflow-datasets must be prepared on disk or downloadable: "
                    "set data_dir or TFDS_DATA_DIR to the folder with a prepared copy, or "
                    "prepare it on a machine with network access and copy it. Received: "
                    f"name={name!r}, which is not in {str(builder.data_path)!r} and cannot be "
                    f"downloaded: {_first_line(error)}"
                ) from error
    return builder


def _first_line(error):
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _probe(url):
    """Fails within seconds without a network; TFDS itself retries for minutes."""
    import requests

    try:
        requests.get(url, stream=True, timeout=PROBE_SECONDS).close()
    except requests.exceptions.InvalidSchema:
        pass  # ftp, which TFDS supports
    except requests.exceptions.RequestException as error:
        raise OSError(f"{url} cannot be reached") from error


@contextlib.contextmanager
def _clean_up_on_failure(data_dir, name):
    """Removes what a failed download has added for its own set, and nothing else."""
    downloads = os.path.join(data_dir, "downloads")
    own = [os.path.join(downloads, name), os.path.join(data_dir, name)]
    shared = [os.path.join(downloads, "extracted"), downloads, data_dir]
    before = {folder: set(os.listdir(folder)) for folder in own if os.path.isdir(folder)}
    new = [folder for folder in (*own, *shared) if not os.path.isdir(folder)]
    try:
        yield
    except BaseException:
        for folder in filter(os.path.isdir, own):
            for entry in set(os.listdir(folder)) - before.get(folder, set()):
                shutil.rmtree(os.path.join(folder, entry), ignore_errors=True)
        for folder in new:
            with contextlib.suppress(OSError):  # another set may be in it by now
                os.rmdir(folder)
        raise


def _feature_keys(tfds, name, info):
    """The names of the image and of the label (None if it has none) among the features."""
    features = dict(info.features.items()) if hasattr(info.features, "items") else {}
    images = [
        key
        for key, feature in features.items()
        if type(feature) is tfds.features.Image and feature.np_dtype == np.uint8
    ]
    labels = [
        key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)
    ]
    if not images:
        raise InputError(
            "A set of tensorflow-datasets must have a feature of 8-bit images. Received: "
            f"name={name!r}, with the features {sorted(features) or info.features}."
        )
    image = "image" if "image" in images else images[0]
    label = "label" if "label" in labels else labels[0] if len(labels) == 1 else None
    return image, label


def _split_size(name, splits, split):
    """The number of images in a split, which may be a slice such as "train[:80%]"."""
    try:
        size = splits[split].num_examples
    except Exception as error:
        raise UnknownSplit(
            f"split must be one of {sorted(splits)} for {name!r}, or a slice of one such as "
            f'"{sorted(splits)[-1]}[:80%]". Received: split={split!r}.'
        ) from error
    if not size:
        raise InputError(f"split must not be empty. Received: split={split!r}.")
    return size


def _stored(tfds, builder, split, image_key, label_key, info):
    """The images as they are stored, encoded, with int32 labels (0 where there are none)."""
    features = {key: builder.info.features[key] for key in (image_key, label_key) if key}
    undecoded = {image_key: tfds.decode.SkipDecoding()}
    decoders = tfds.decode.PartialDecoding(features, decoders=undecoded)
    config = tfds.ReadConfig(try_autocache=False)  # read once, or too large to cache
    with _quiet():
        dataset = builder.as_dataset(
            split=split, decoders=decoders, shuffle_files=False, read_config=config
        )

    def image_and_label(example):
        label = tf.cast(example[label_key], tf.int32) if label_key else tf.constant(0, tf.int32)
        return example[image_key], label

    return dataset.take(info.num_images).map(image_and_label)


def _decoder(feature, image_shape):
    """Makes the function from an encoded image to uint8 `image_shape`."""

    def fit(pixels):
        pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        return fit_image(Image.fromarray(pixels), image_shape[:2], image_shape[2])

    def decode(encoded, label):
        image = feature.decode_example(encoded)
        if tuple(feature.shape) != tuple(image_shape):
            image = call_python(fit, [image], tf.uint8)
        return tf.ensure_shape(image, image_shape), label

    return decode


@functools.lru_cache(maxsize=4)
def _decode_all(where, split, image_key, label_key, info):
    """Decodes a prepared set once: uint8 images `(n, h, w, c)` and int32 labels `(n,)`."""
    tfds = _import_tfds()
    with _quiet():
        builder = tfds.builder_from_directory(where)
    stored = _stored(tfds, builder, split, image_key, label_key, info)
    decode = _decoder(builder.info.features[image_key], info.image_shape)
    images = np.empty((info.num_images, *info.image_shape), "uint8")
    labels = np.empty(info.num_images, "int32")
    start = 0
    for batch, batch_labels in stored.map(decode, tf.data.AUTOTUNE).batch(512).prefetch(2):
        stop = start + len(batch_labels)
        images[start:stop], labels[start:stop] = batch.numpy(), batch_labels.numpy()
        start = stop
    return images, labels


def _read_as_stream(tfds, builder, split, image_key, label_key, info):
    """The `Reader` of a prepared set that is decoded again in each epoch.

    TFDS shuffles a set when it prepares it, so a shuffle buffer suffices. It holds
    encoded images, which take less memory.
    """
    stored = _stored(tfds, builder, split, image_key, label_key, info)
    decode = _decoder(builder.info.features[image_key], info.image_shape)

    def order(seed):
        dataset = stored
        if seed is not None:
            tf.random.set_seed(1)  # of the graph being traced: only `seed` must decide
            number = tf.random.stateless_uniform((), seed, None, None, tf.int64, alg="philox")
            dataset = stored.shuffle(SHUFFLE_BUFFER, number, reshuffle_each_iteration=False)
        return dataset.map(decode, tf.data.AUTOTUNE, deterministic=True)

    return Reader(info.num_images, order, lambda images, labels: (images, labels))
