"""Random changes of the batches of a dataset, reproducible from one run to the next."""

from collections.abc import Callable

import tensorflow as tf

from keras_genimg.checks import is_integer
from keras_genimg.data.passes import Passes, map_batches
from keras_genimg.errors import InputError

__all__ = ["map_with_draws"]


def map_with_draws(
    dataset: tf.data.Dataset, change: Callable, seed: int, first_batch: int = 0,
    name: str = "map_with_draws",
) -> tf.data.Dataset:  # fmt: skip
    """Maps batches by a random function, with new draws in each pass.

    The draws for a batch depend only on the seed, the number of the pass and the index of
    the batch in it: they differ between passes, and repeat when the program runs again.
    (An endless dataset is one pass.) They are made for the global batch, so the number of
    replicas changes nothing.

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
