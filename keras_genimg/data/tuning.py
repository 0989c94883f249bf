"""Datasets without the autotuning of `tf.data`."""

import tensorflow as tf

__all__ = ["without_autotuning"]


def without_autotuning(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset without the thread that measures and tunes it.

    That thread sleeps for 10 ms, then 20, 40 and so on, up to a minute. An iterator
    that ends often waits until it wakes up (seen with TensorFlow 2.21), so a pass over
    the data can take up to twice as long. Without it, a stage with `tf.data.AUTOTUNE`
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
