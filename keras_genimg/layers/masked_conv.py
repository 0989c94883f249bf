"""Convolution that is causal in raster order."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, is_integer
from keras_genimg.errors import InputError

__all__ = ["MaskedConv2D"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class MaskedConv2D(keras.layers.Layer):
    """Convolution whose output at a position depends on no later position in raster order.

    The rows above are visible in full, the row of the position up to the position, and the
    position itself by the type of the mask. The grid keeps its size. Only the rows of the kernel
    (and, if it has one row, the columns) with visible entries are stored and computed.

    With `groups` the features of a position are ordered too, like the colours of a pixel in
    PixelRNN: feature i belongs to group i mod groups, and at the position itself an output
    depends on the inputs of earlier groups (mask A), or of earlier groups and its own (mask B).

    Args:
        filters: int. Features of the output.
        kernel_size: odd int, or a pair of them (height, width).
        mask_type: `"A"`, which hides the position itself, for the first layer on data, or
            `"B"`, which shows it, for the layers after it.
        groups: int. Groups of the features, such as the channels of an image.
        use_bias: bool. Whether to add a bias to each feature.
        kernel_initializer: a Keras initializer, or its name.

    Call arguments:
        inputs: float tensor `(batch, height, width, channels)`.

    Returns:
        float tensor `(batch, height, width, filters)`.

    Raises:
        InputError: sizes that are even or not positive, an unknown mask type.

    Example:
    >>> MaskedConv2D(64, 7, mask_type="A")(keras.ops.zeros((8, 28, 28, 1))).shape
    (8, 28, 28, 64)

    Reference: van den Oord et al. (2016), "Pixel Recurrent Neural Networks", section 3.4,
        https://arxiv.org/abs/1601.06759
    """

    def __init__(
        self, filters: int, kernel_size: int | tuple | list, mask_type: str = "B", *,
        groups: int = 1, use_bias: bool = True,
        kernel_initializer: str | dict | keras.Initializer = "glorot_uniform", **kwargs,
    ):
        super().__init__(**kwargs)
        pair = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * 2
        if len(pair) != 2 or not all(is_integer(n) and n > 0 and n % 2 for n in pair):
            raise InputError(
                "kernel_size must be an odd positive integer or a pair of them. "
                f"Received: kernel_size={kernel_size!r}."
            )
        if mask_type not in ("A", "B"):
            raise InputError(f"mask_type must be 'A' or 'B'. Received: mask_type={mask_type!r}.")
        self.filters = check_count("filters", filters)
        self.kernel_size = tuple(int(side) for side in pair)
        self.mask_type = mask_type
        self.groups = check_count("groups", groups)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape: tuple) -> None:
        channels = input_shape[-1]
        above, left = (side // 2 for side in self.kernel_size)
        right = left if above else 0  # in one row nothing to the right is visible
        self.padding = [[0, 0], [above, 0], [left, right], [0, 0]]
        visible = np.ones((above + 1, left + 1 + right, channels, self.filters), "float32")
        visible[above, left + 1 :] = 0.0
        seeing, seen = np.arange(self.filters) % self.groups, np.arange(channels) % self.groups
        earlier = np.less if self.mask_type == "A" else np.less_equal
        visible[above, left] = earlier(seen[:, None], seeing)
        self.visible = visible
        self.kernel = self.add_weight(
            name="kernel", shape=visible.shape, initializer=self.kernel_initializer
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        inputs = tf.convert_to_tensor(inputs)
        kernel, bias = self.masked_weights()
        outputs = tf.nn.conv2d(tf.pad(inputs, self.padding), kernel, strides=1, padding="VALID")
        return outputs if bias is None else outputs + bias

    def masked_weights(self) -> tuple:
        """The masked kernel and the bias, in the compute type of the layer.

        Returns:
            kernel: float tensor `(rows, columns, channels, filters)`, zero where hidden.
            bias: float tensor `(filters,)`, or None.
        """
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), self.compute_dtype)
        if not self.visible.all():
            kernel *= tf.constant(self.visible, self.compute_dtype)
        bias = None if self.bias is None else tf.cast(self.bias, self.compute_dtype)
        return kernel, bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict:
        return {
            **super().get_config(), "filters": self.filters,
            "kernel_size": list(self.kernel_size), "mask_type": self.mask_type,
            "groups": self.groups, "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
