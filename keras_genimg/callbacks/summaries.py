"""Pictures and numbers for TensorBoard, without TensorBoard being installed."""

import tensorflow as tf

__all__ = ["SummaryWriter"]


class SummaryWriter:
    """What tf.summary.image and tf.summary.scalar do, which ask for TensorBoard to be installed.

    Args:
        log_dir: path, or None to write nothing.
    """

    def __init__(self, log_dir):
        self.log_dir = log_dir
        self._writer = None

    def image(self, name, image, step):
        """Writes a uint8 array `(height, width, channels)`."""
        height, width, _ = image.shape
        content = [str(width).encode(), str(height).encode(), tf.io.encode_png(image).numpy()]
        self._write(name, content, step, plugin_data={"plugin_name": "images"})

    def scalar(self, name, value, step):
        """Writes a float."""
        kind = {"plugin_data": {"plugin_name": "scalars"}, "data_class": "DATA_CLASS_SCALAR"}
        self._write(name, tf.constant(value, tf.float32), step, **kind)

    def close(self):
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
