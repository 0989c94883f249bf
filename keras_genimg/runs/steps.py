"""Checkpoints within an epoch: a training that stops at a signal, and goes on at that step."""

import os

from keras_genimg.callbacks import Resume
from keras_genimg.callbacks.resume import remove_partial_files, restore_metrics, save_step
from keras_genimg.distribution import is_chief
from keras_genimg.errors import InputError, tell
from keras_genimg.signals import Held

__all__ = ["Checkpoints", "check_position"]


class Checkpoints(Resume):
    """Writes a checkpoint every epoch, and at the end of the running step after a signal.

    The command restores the model and opens the data at the right step; this callback restores
    the metrics, and ends the first epoch after the steps that it lacks.

    Args:
        folder: path of the checkpoints.
        steps: int. Steps of an epoch.
        held: `signals.Held`. It waits from the first step on.
        start: path of the checkpoint that the training starts from, or None.
        done: int. Steps of the first epoch that are done.
    """

    def __init__(
        self, folder: str | os.PathLike, steps: int, held: Held, start: str | os.PathLike | None,
        done: int,
    ):  # fmt: skip
        super().__init__(folder)
        self.steps, self.held, self.start = steps, held, start
        self.first_steps = self.done = done

    def on_train_begin(self, logs=None):
        if is_chief(self.model.distribute_strategy):
            remove_partial_files(self.folder, "epoch-*.keras")
        self.held.waits = True

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        self.epoch = epoch
        self.done = self.model.steps_before = self.first_steps
        if self.done:
            restore_metrics(self.model, self.start)

    def on_train_batch_end(self, batch, logs=None):
        self.done += self.model.steps_per_execution
        if self.done < self.steps and self.held.number is not None:
            self._save()
            self.held.stop()
        if self.done >= self.steps and self.first_steps:
            self.model.stop_training = True  # Keras counts the steps of a whole epoch

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.first_steps = 0
        # A signal that came since the last step ends the training here.
        self.model.stop_training = self.held.number is not None

    def _save(self):
        try:
            self._check_finite(self.epoch + 1)
            save_step(self.model, self.folder, self.epoch, self.done)
        except InputError as error:  # a full disk, or NaN: earlier checkpoints stay
            tell(f"there is no checkpoint of this step: {error}")


def check_position(path: str | os.PathLike, done: int, steps: int) -> None:
    """Checks that an epoch has more steps than a checkpoint within it.

    Args:
        path: path of the checkpoint.
        done: int. Its steps.
        steps: int. Steps of an epoch.

    Raises:
        InputError: it has not, because the data have changed.
    """
    if done and done >= steps:
        raise InputError(
            f"The epochs of a resumed run must be as long as before; without {path} it resumes "
            f"after the last whole epoch. Received: {steps} steps in an epoch, of which {done} "
            "are done."
        )
