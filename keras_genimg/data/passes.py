"""Epochs of a set: which one an iteration starts with, and how its batches are mapped.

Random changes of batches are reproducible from one run to the next.
"""

from collections.abc import Callable

import tensorflow as tf

from keras_genimg.checks import check_count, is_integer
from keras_genimg.data.python_calls import call_python
from keras_genimg.errors import InputError

__all__ = ["Passes", "map_batches", "map_with_draws", "without_autotuning"]


class Passes:
    """Remembers which epoch the next iteration of a dataset starts with.

    An iteration counts once its last batch has been delivered. Under a strategy Keras
    draws one batch before training and drops it: if the start were counted, one replica
    and several would see different orders. (They still may for a set of only a few
    batches, which a strategy prefetches whole at that point.)

    Args:
        first: int. Number of the first epoch.
        epochs: int. Epochs per iteration.
    """

    def __init__(self, first: int, epochs: int):
        self.next = first
        self.epochs = epochs

    def numbers(self) -> tf.data.Dataset:
        """The numbers of the epochs of one iteration."""
        start = tf.data.Dataset.range(1).map(
            lambda _: tf.ensure_shape(call_python(lambda: self.next, [], tf.int64, True), ())
        )
        return start.flat_map(lambda first: tf.data.Dataset.range(first, first + self.epochs))

    def count(self, dataset: tf.data.Dataset, total: int) -> tf.data.Dataset:
        """The same dataset; delivering its last batch, number `total - 1`, ends an iteration."""

        def advance():
            self.next += self.epochs
            return self.next

        def deliver(number, batch):
            tf.cond(
                tf.equal(number, total - 1),
                lambda: call_python(advance, [], tf.int64, stateful=True),
                lambda: tf.constant(0, tf.int64),
            )
            return batch

        return dataset.enumerate().map(deliver)


def map_batches(
    dataset: tf.data.Dataset, function: Callable, total: int, passes: Passes | None = None
) -> tf.data.Dataset:
    """Maps batches in parallel, in order, and prefetches the results.

    Args:
        dataset: `tf.data.Dataset`.
        function: function of an element of the dataset.
        total: int. Number of batches in one iteration, or `tf.data.INFINITE_CARDINALITY`.
        passes: `Passes`, optional. Counts the iterations.

    Returns:
        `tf.data.Dataset` of known length. Strategies shard it by its images.
    """
    dataset = dataset.map(function, tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    if passes is not None:
        dataset = passes.count(dataset, total)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(total))
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return without_autotuning(dataset.with_options(options))


def map_with_draws(
    dataset: tf.data.Dataset, change: Callable, seed: int, first_batch: int = 0,
    name: str = "map_with_draws",
) -> tf.data.Dataset:  # fmt: skip
    """Maps batches by a random function, with new draws in each iteration of the dataset.

    The draws for a batch depend only on the seed, the number of the iteration and the index of
    the batch in it: they differ between iterations, and repeat when the program runs again.
    (An endless dataset has one iteration.) They are made for the global batch, so they do not
    depend on the number of replicas.

    Args:
        dataset: `tf.data.Dataset` of known length, such as those of `load`.
        change: function of an element of the dataset, passed as one argument, and of a
            seed, int64 `(2,)`.
        seed: int.
        first_batch: int. Index of the first batch, to resume training.
        name: string. The caller's name in messages.

    Returns:
        `tf.data.Dataset` of the results, with the same number of batches.

    Raises:
        InputError: a seed that is not an integer, or a dataset of unknown length.
    """
    if not isinstance(dataset, tf.data.Dataset):
        raise InputError(
            f"dataset must be a tf.data.Dataset. Received: {type(dataset).__name__}."
        )
    first_batch = check_count("first_batch", first_batch, minimum=0)
    if not is_integer(seed):
        raise InputError(f"seed must be an integer. Received: seed={seed!r}.")
    total = int(dataset.cardinality())
    if total == tf.data.UNKNOWN_CARDINALITY:
        raise InputError(
            f"{name} needs a dataset of known length; set it with "
            "dataset.apply(tf.data.experimental.assert_cardinality(n)). "
            "Received: a dataset of unknown length."
        )

    def change_by_seed(number, indexed):
        index, element = indexed
        pass_seed = tf.stack([tf.constant(seed, tf.int64), number])
        return change(element, tf.random.experimental.stateless_fold_in(pass_seed, index))

    passes = Passes(0, 1) if total >= 0 else None  # None: endless
    number = passes.numbers() if passes else tf.data.Dataset.from_tensors(tf.zeros((), tf.int64))
    numbers = number.flat_map(lambda n: tf.data.Dataset.from_tensors(n).repeat())
    indexed = tf.data.Dataset.zip(numbers, dataset.enumerate(start=first_batch))
    return map_batches(indexed, change_by_seed, total, passes)


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset without the thread that measures and tunes it.

    That thread sleeps for 10 ms, then 20, 40 and so on, up to a minute. An iterator
    that ends often waits until it wakes up (seen with TensorFlow 2.21), so an
    epoch can take up to twice as long. Without it, a stage with `tf.data.AUTOTUNE`
    uses all processor cores.

    Args:
        dataset: `tf.data.Dataset`. It is returned unchanged if its
            `options().autotune.enabled` is set.

    Returns:
        `tf.data.Dataset` of the same elements.
    """
    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
