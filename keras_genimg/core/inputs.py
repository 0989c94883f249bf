"""What `fit` and `evaluate` take, of any kind: checked, and as batches of one step.

Arrays are checked whole. Of everything else each batch is checked, on the host and before it is
split over replicas: a bad one stops training before a weight moves, on all replicas alike.
"""

import contextlib
import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, is_number
from keras_genimg.core.batch_checks import BatchChecks, packed, unpacked, warn_of_unit_range
from keras_genimg.data.passes import map_batches, without_autotuning
from keras_genimg.distribution import from_chief
from keras_genimg.errors import InputError

__all__ = ["after_its_batch", "batches_of", "cut", "naming_the_step"]

UPDATE_BATCH = 32  # images per update by default, same as in Keras


def batches_of(
    model, x, y=None, weights=None, class_weight=None, *, batch_size: int | None = None,
    steps: int | None = None, shuffle: bool = False, updates: int = 1, in_training: bool = False,
) -> tf.data.Dataset | keras.utils.PyDataset:  # fmt: skip
    """What `fit` or `evaluate` was given, as batches that Keras takes and that are checked.

    Args:
        model: `ImageModel`.
        x, y, weights, class_weight: see `keras.Model.fit`.
        batch_size: int. Images of one update, for arrays.
        steps: int. Steps of an epoch, from which Keras derives the batch size of arrays.
        shuffle: bool. Whether arrays are read in a new order in each epoch.
        updates: int. Consecutive batches that make one batch of a step.
        in_training: bool. See `BatchChecks.first`.

    Returns:
        `tf.data.Dataset`; or `keras.utils.PyDataset`, if `x` is one.

    Raises:
        InputError: invalid data.
    """
    checks = BatchChecks(model, class_weight)
    if x is None:
        wanted = model.data.parts[0].name
        raise InputError(f"{type(model).__name__} needs {wanted}. Received: None.")
    if isinstance(x, tf.distribute.DistributedDataset):
        return x  # its batches are split already, and are not checked
    if _in_memory(x):
        arrays = checks((x, y, weights))
        _check_rows(model, *arrays[:2])
        if in_training:
            warn_of_unit_range(model, *arrays[:2])
        if batch_size is None:
            number = len(arrays[0])
            batch_size = math.ceil(number / (steps * updates)) if steps else UPDATE_BATCH
        size = updates * check_count("batch_size", batch_size)
        return _batches_of_arrays(arrays, size, shuffle and _seed(model))
    if y is not None or weights is not None:
        raise InputError(
            f"y and sample_weight go with arrays; a {type(x).__name__} yields (x, y) or "
            "(x, y, sample_weight)."
        )
    if isinstance(x, keras.utils.PyDataset):
        checks.first(x[0] if x.num_batches != 0 else None, in_training)
        return CheckedBatches(x, checks, updates)
    if isinstance(x, tf.data.Dataset):
        checks.structure(x.element_spec)
        first = next(iter(without_autotuning(x.take(1))), None)
    else:
        first, x = _from_iterable(model, x)
    checks.first(first, in_training)
    return without_autotuning(_grouped(checks.of_each(x), updates))


def cut(model, x, y, weights, share: float) -> tuple:
    """`(x, y, weights)` for training, and their last part for validation.

    Args:
        model: `ImageModel`.
        x, y, weights: arrays, the last two or None.
        share: float. The `validation_split` of `fit`.

    Raises:
        InputError: data other than arrays, or a part without images.
    """
    if not _in_memory(x):
        raise InputError(
            "validation_split is for arrays; give validation_data instead. "
            f"Received: {type(x).__name__}."
        )
    x, y = model.data.as_arrays(model, x, y)
    count = len(x)
    place = math.floor(count * (1.0 - share)) if is_number(share) else 0
    if not 0 < place < count:
        raise InputError(
            "validation_split must leave images for training and for validation. "
            f"Received: validation_split={share!r} of {count} images."
        )

    def part(value, rows):
        if isinstance(value, tuple):  # several arrays
            return tuple(part(each, rows) for each in value)
        return None if value is None else value[rows]

    return tuple(
        tuple(part(each, rows) for each in (x, y, weights))
        for rows in (slice(place), slice(place, None))
    )


@contextlib.contextmanager
def naming_the_step(position) -> Iterator[None]:
    """Names the step in the `InputError` of a batch that came late.

    Args:
        position: `core.logs.Position` among the callbacks.
    """
    try:
        yield
    except tf.errors.OpError as error:
        found = re.search(r"InputError: (.+)", str(error))
        if found is None:
            raise
        raise InputError(f"{found[1].rstrip('. ')}, {position.place}.") from None


def after_its_batch(step: Callable) -> Callable:
    """A step that begins when its batch is there.

    Otherwise TensorFlow runs what needs no images, such as weight decay and the counters of
    optimizers, although the batch turns out to be refused.

    Args:
        step: `train_step` of a model.

    Returns:
        The step, a function of the batch.
    """

    @functools.wraps(step)
    def run(data):
        tensors = [part for part in tf.nest.flatten(data) if tf.is_tensor(part)]
        with tf.control_dependencies(tensors):
            return step(data)

    return run


class CheckedBatches(keras.utils.PyDataset):
    """A `PyDataset` whose batches are checked, and joined to batches of one step.

    Args:
        source: `keras.utils.PyDataset`.
        checks: `BatchChecks`.
        updates: int. Consecutive batches that make one.
    """

    def __init__(self, source, checks, updates):
        super().__init__(source.workers, source.use_multiprocessing, source.max_queue_size)
        self.source, self.checks, self.updates = source, checks, updates

    @property
    def num_batches(self) -> int | None:
        number = self.source.num_batches
        return None if number is None else math.ceil(number / self.updates)

    def __getitem__(self, index):
        numbers = range(index * self.updates, (index + 1) * self.updates)
        last = self.source.num_batches or numbers.stop
        batches = [packed(*self.checks(self.source[i])) for i in numbers if i < last]
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)

    def on_epoch_begin(self):
        self.source.on_epoch_begin()

    def on_epoch_end(self):
        self.source.on_epoch_end()


def _in_memory(x):
    """Whether x is an array of any library, or a list, and not something that yields batches."""
    return isinstance(x, (list, tuple, dict)) or hasattr(x, "shape") or hasattr(x, "__array__")


def _check_rows(model, x, y):
    """What a model does not take is passed on to its step, in batches like the images."""
    for array in [] if y is None else tf.nest.flatten(y):
        if np.shape(array)[:1] != (len(x),):
            name = model.data.parts[0].name
            raise InputError(
                f"{type(model).__name__} takes as many rows of y as {name}. "
                f"Received: {len(x)} {name} and y of shape {tuple(np.shape(array))}."
            )


def _seed(model):
    """A seed of the orders of arrays, equal on all workers; `set_random_seed` reproduces it."""
    return int(from_chief([float(np.random.randint(2**31))], model.distribute_strategy)[0])


def _batches_of_arrays(arrays, batch_size, seed):
    """Batches of arrays in memory; `seed` of a new order in each epoch, or False for theirs.

    Keras's own need a global seed where operations are deterministic, and wait for the autotuning
    thread.
    """
    count = len(arrays[0])
    order = tf.data.Dataset.range(count)
    if seed is not False:
        order = order.shuffle(count, seed)
    with tf.device("CPU"):
        # Elements of a dataset, not constants of `gather`: these would be copied with its graph.
        arrays = tf.data.Dataset.from_tensors(packed(*arrays)).repeat()

    def gather(rows, arrays):
        return tf.nest.map_structure(lambda array: tf.gather(array, rows), arrays)

    batches = tf.data.Dataset.zip(order.batch(batch_size), arrays)
    return map_batches(batches, gather, math.ceil(count / batch_size))


def _from_iterable(model, x):
    """The first element of a generator, `DataLoader` or other iterable, and a dataset of all."""
    try:
        iterator = iter(x)
    except TypeError:
        raise InputError(
            f"{type(model).__name__} takes {model.data} as arrays, or as a tf.data.Dataset, "
            f"PyDataset, DataLoader or generator of batches. Received: {type(x).__name__}."
        ) from None
    first = next(iterator, None)
    if first is None:
        return None, None
    once = iterator is x
    rest = itertools.chain([first], iterator)  # a generator yields each batch once

    def arrays(element):
        x, y, weights = unpacked(element)
        x, y = model.data.as_arrays(model, x, y)
        return packed(x, y, None if weights is None else np.asarray(weights))

    first = arrays(first)
    dataset = tf.data.Dataset.from_generator(
        lambda: map(arrays, rest if once else x),
        # Of any shape: the checks say in words what is wrong with it.
        output_signature=tf.nest.map_structure(lambda a: tf.TensorSpec(None, a.dtype), first),
    )
    with contextlib.suppress(TypeError):  # no length
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(len(x)))
    return first, dataset


def _grouped(dataset, number):
    """Every `number` consecutive batches joined to one; the last may be fewer."""
    if number == 1:
        return dataset

    def joined(*windows):
        parts = windows[0] if len(windows) == 1 else tf.data.Dataset.zip(windows)
        return parts.rebatch(2**31)  # more images than any window holds

    total = int(dataset.cardinality())
    dataset = dataset.window(number).flat_map(joined)
    if total == tf.data.UNKNOWN_CARDINALITY:
        return dataset
    total = math.ceil(total / number) if total > 0 else total
    return dataset.apply(tf.data.experimental.assert_cardinality(total))
