"""Callbacks that keep the record and the logs of a run up to date."""

import math
import os
import time

import keras

__all__ = ["LogRows", "RunProgress"]


class RunProgress(keras.callbacks.Callback):
    """Keeps `run.json` up to date: seconds, epochs done and the logs of the last one."""

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.began = time.perf_counter() - run.record.get("seconds", 0.0)  # of the resumed run

    def on_epoch_end(self, epoch, logs=None):
        numbers = {name: float(value) for name, value in (logs or {}).items()}
        # An epoch without an evaluation logs NaN, which JSON does not support.
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        seconds = round(time.perf_counter() - self.began, 1)
        self.run.update(seconds=seconds, epochs_done=epoch + 1, final_logs=finite)


class LogRows(keras.callbacks.Callback):
    """Adds a row per epoch to `logs.csv`, as `keras.callbacks.CSVLogger` does, in one write."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        row = {name: float(value) for name, value in (logs or {}).items()}
        columns, lines = ["epoch", *sorted(row)], ""
        if os.path.exists(self.path):
            with open(self.path) as file:
                columns = file.readline().rstrip("\n").split(",")
        else:
            lines = ",".join(columns) + "\n"
        lines += ",".join(str({"epoch": epoch, **row}.get(name, "NA")) for name in columns) + "\n"
        with open(self.path, "a", newline="") as file:
            file.write(lines)
