"""Random changes of the batches of a dataset, that are the same in every program."""

import tensorflow as tf

from keras_genimg.data.passes import Passes
from keras_genimg.data.tuning import without_autotuning
from keras_genimg.errors import InputError

__all__ = ["map_with_draws"]


def map_with_draws(dataset, change, seed, first_batch=0, name="map_with_draws"):
    """Maps batches by a function that draws, anew in each pass.

    What is drawn for a batch depends on the seed, the number of the pass and the number of
    the batch in it alone: each pass draws others, and the same ones again when the program is
    run again. (An endless dataset is one pass.) It is drawn for the global batch, so that the
    number of replicas changes nothing.

    Args:
        dataset: `tf.data.Dataset` that knows how many batches it has, as that of `load` does.
        change: function of an element of the dataset, as one argument, and of a seed, int64
            `(2,)`.
        seed: int.
        first_batch: int. Number of the first batch, for a training that is resumed.
        name: string. Who asks, for messages.

    Returns:
        `tf.data.Dataset` of what `change` returns, as many batches.

    Raises:
        InputError: a seed that is no integer, a dataset of unknown length.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InputError(f"seed must be an integer. Received: seed={seed!r}.")
    total = int(dataset.cardinality())
    if total == tf.data.UNKNOWN_CARDINALITY:
        raise InputError(
            f"{name} takes a dataset that knows how many batches it has; "
            "dataset.apply(tf.data.experimental.assert_cardinality(n)) tells it. "
            "Received: one of unknown length."
        )

    def change_by_seed(number, indexed):
        index, element = indexed
        of_pass = tf.stack([tf.constant(seed, tf.int64), number])
        return change(element, tf.random.experimental.stateless_fold_in(of_pass, index))

    passes = Passes(0, 1)
    endless = tf.data.Dataset.from_tensors(tf.zeros((), tf.int64))
    number = passes.numbers() if total >= 0 else endless
    numbers = number.flat_map(lambda n: tf.data.Dataset.from_tensors(n).repeat())
    changed = tf.data.Dataset.zip(numbers, dataset.enumerate(start=first_batch))
    changed = changed.map(change_by_seed, tf.data.AUTOTUNE, deterministic=True)
    changed = changed.prefetch(tf.data.AUTOTUNE)
    if total >= 0:
        changed = passes.count(changed, total)
    changed = changed.apply(tf.data.experimental.assert_cardinality(total))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return without_autotuning(changed.with_options(options))
