"""Averaged logs, and callbacks that know the step and stop diverged training."""

import math

import keras
import tensorflow as tf

from keras_genimg.distribution import sum_over_replicas
from keras_genimg.errors import InputError

__all__ = ["LogMeans", "Position", "StopOnNonFinite", "nonfinite"]


class LogMeans(keras.metrics.Metric):
    """Running means of everything a step logs, over replicas and over an epoch.

    One vector holds all of them, so that a step costs one sum over replicas and
    two additions for any number of names. A name takes its place when it first
    appears, so a custom `train_step` may log any name.
    """

    PLACES = 32

    def __init__(self, name="log_means", **kwargs):
        super().__init__(name=name, **kwargs)
        self.names = []
        places = dict(shape=(self.PLACES,), initializer="zeros", dtype="float32")
        self.sums = self.add_variable(name="sums", **places)
        self.weights = self.add_variable(name="weights", **places)

    def update_state(self, values, batch):
        """Adds a step.

        Args:
            values: dict name -> scalar, means over this replica's images.
            batch: `keras_genimg.distribution.GlobalBatch` of the step.
        """
        places = [[self._place(name)] for name in values]
        local = tf.stack([tf.cast(value, tf.float32) for value in values.values()])
        means = sum_over_replicas(local * tf.cast(batch.share, tf.float32))  # (names,)
        weight = tf.cast(batch.global_size, tf.float32)
        self.sums.assign_add(tf.scatter_nd(places, means * weight, (self.PLACES,)))
        self.weights.assign_add(tf.scatter_nd(places, tf.ones_like(means) * weight, (self.PLACES,)))

    def result(self, names=None):
        """dict name -> float32 scalar, for `names` or for all names so far."""
        sums, weights = tf.convert_to_tensor(self.sums), tf.convert_to_tensor(self.weights)
        means = tf.math.divide_no_nan(sums, weights)
        return {
            name: self.shaped(means[self._place(name)])
            for name in (self.names if names is None else names)
        }

    @staticmethod
    def shaped(value) -> tf.Tensor:
        """A log in the shape that Keras can average over replicas.

        Keras 3.15 reduces logs with `axis=0` under MultiWorkerMirroredStrategy
        (keras-team/keras#20585), which fails for a scalar: there the shape is `(1,)`.
        """
        strategy = tf.distribute.get_strategy()
        several_workers = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        in_replica = not tf.distribute.in_cross_replica_context()
        return tf.reshape(value, (1,)) if several_workers and in_replica else value

    def _place(self, name):
        if name not in self.names:
            if len(self.names) == self.PLACES:
                raise InputError(
                    f"A model logs at most {self.PLACES} names. Received: one more, {name!r}."
                )
            self.names = [*self.names, name]
        return self.names.index(name)


class Position(keras.callbacks.Callback):
    """Knows which step `fit` or `evaluate` is at, for messages.

    Args:
        steps_per_execution: int. Steps from one call to the next.
    """

    def __init__(self, steps_per_execution: int = 1):
        super().__init__()
        self.several = steps_per_execution
        self.place = "before the first step"

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_begin(self, batch, logs=None):
        steps = self._steps(batch + self.model.steps_before)
        self.place = f"in {steps} of epoch {self.epoch}; training stopped before it"

    def on_test_batch_begin(self, batch, logs=None):
        self.place = f"in {self._steps(batch)} of the evaluation"

    def _steps(self, first):
        if self.several == 1:
            return f"step {first + 1}"
        return f"one of the steps {first + 1} to {first + self.several}"


class StopOnNonFinite(Position):
    """Ends training with an `InputError` at the step whose logs are not finite.

    At the end of an epoch weights are looked at too: behind a ReLU a NaN may reach no loss.

    Args:
        steps_per_execution: see `Position`.
        checked: bool. Whether the data have been checked.
    """

    def __init__(self, steps_per_execution: int = 1, checked: bool = True):
        super().__init__(steps_per_execution)
        self.checked = checked
        self.names = []

    def on_train_batch_end(self, batch, logs=None):
        self.names = list(logs or {})
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                data = "" if self.checked else " Exclude NaN in the data, which were not checked."
                raise InputError(
                    f"{name} became {float(value)} at step {batch + 1 + self.model.steps_before} "
                    f"of epoch {self.epoch}; training stopped, and files saved earlier are "
                    f"unchanged. A lower learning rate is the usual remedy.{data}"
                )

    def on_epoch_end(self, epoch, logs=None):
        bad = nonfinite(self.model.trainable_weights)
        if bad:
            raise InputError(
                f"Weights must stay finite: at the end of epoch {epoch + 1} {bad[0]} and "
                f"{len(bad) - 1} other variables hold NaN or infinity, though the losses do not; "
                "training stopped, and files saved earlier are unchanged. A lower learning rate "
                "or another optimizer is the usual remedy."
            )


def nonfinite(variables: list) -> list:
    """Paths of the variables that hold NaN or infinity.

    Args:
        variables: list of Keras variables, of which those of integers are left out.

    Returns:
        list of strings.
    """
    return [
        variable.path
        for variable in variables
        if keras.backend.is_float_dtype(variable.dtype)
        and not keras.ops.all(keras.ops.isfinite(variable))
    ]
