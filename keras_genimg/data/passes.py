"""Passes over a set: which one an iteration starts with, and how its batches are mapped."""

from collections.abc import Callable

import tensorflow as tf

from keras_genimg.data.python_calls import call_python
from keras_genimg.data.tuning import without_autotuning

__all__ = ["Passes", "map_batches"]


class Passes:
    """Remembers which pass the next iteration of a dataset starts with.

    An iteration counts once its last batch has been delivered. Under a strategy Keras
    draws one batch before training and drops it: if the start were counted, one replica
    and several would see different orders. (They still may for a set of only a few
    batches, which a strategy prefetches whole at that point.)

    Args:
        first: int. Number of the first pass.
        epochs: int. Passes per iteration.
    """

    def __init__(self, first: int, epochs: int):
        self.next = first
        self.epochs = epochs

    def numbers(self) -> tf.data.Dataset:
        """The numbers of the passes of one iteration."""
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
