"""Images and scalars for TensorBoard, which does not have to be installed."""

import os

import numpy as np
import tensorflow as tf

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """Like `tf.summary.image` and `tf.summary.scalar`, but without the TensorBoard package.

    Args:
        log_dir: path, or None to write nothing.
    """

    def __init__(self, log_dir: str | os.PathLike | None):
        self.log_dir = log_dir
        self._writer = None

    def __getstate__(self):
        return {**vars(self), "_writer": None}  # a copy opens its own file

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Writes a uint8 array `(height, width, channels)`."""
        height, width, _ = image.shape
        content = [str(width).encode(), str(height).encode(), tf.io.encode_png(image).numpy()]
        self._write(name, content, step, plugin_data={"plugin_name": "images"})

    def scalar(self, name: str, value: float, step: int) -> None:
        """Writes a float."""
        kind = {"plugin_data": {"plugin_name": "scalars"}, "data_class": "DATA_CLASS_SCALAR"}
        self._write(name, tf.constant(value, tf.float32), step, **kind)

    def close(self) -> None:
        """Closes the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, name, content, step, **metadata):
        if self.log_dir is None:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        metadata = tf.compat.v1.SummaryMetadata(**metadata)
        with self._writer.as_default():
            tf.summary.write(name, content, step=step, metadata=metadata)
        self._writer.flush()
