"""Which pass over a set an iteration of a dataset starts with."""

import tensorflow as tf

from keras_genimg.data.python_calls import call_python

__all__ = ["Passes"]


class Passes:
    """Remembers which pass an iteration of the dataset starts with.

    An iteration counts when its last batch has been handed over. Keras looks at one
    batch ahead of training under a strategy, and drops it: were the start counted,
    one replica and several would see different orders. (They still may in a set of
    only a few batches, which a strategy fetches whole for that look.)
    """

    def __init__(self, first, epochs):
        self.next = first
        self.epochs = epochs

    def numbers(self):
        start = tf.data.Dataset.range(1).map(
            lambda _: tf.ensure_shape(call_python(lambda: self.next, [], tf.int64, True), ())
        )
        return start.flat_map(lambda first: tf.data.Dataset.range(first, first + self.epochs))

    def count(self, dataset, total):
        def advance():
            self.next += self.epochs
            return self.next

        def hand_over(number, batch):
            tf.cond(
                tf.equal(number, total - 1),
                lambda: call_python(advance, [], tf.int64, stateful=True),
                lambda: tf.constant(0, tf.int64),
            )
            return batch

        return dataset.enumerate().map(hand_over)
