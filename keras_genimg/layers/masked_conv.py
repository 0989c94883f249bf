"""Convolution that sees what comes before in raster order."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError

__all__ = ["MaskedConv2D"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class MaskedConv2D(keras.layers.Layer):
    """Convolution whose output at a position sees no later position in raster order.

    Rows above are seen in full, the row of the position as far as the position itself, and the
    position by the type of the mask. The grid keeps its size. Of the kernel only the rows (and,
    where it has one row, the columns) that hold anything visible are stored and computed.

    With `groups` the features of a position have an order too, as the colours of a pixel have
    in PixelRNN: feature i belongs to group i mod groups, and at the position itself an output
    sees the inputs of earlier groups (mask A), or of earlier groups and its own (mask B).

    Args:
        filters: int. Features of the output.
        kernel_size: odd int, or a pair of them (height, width).
        mask_type: `"A"`, which hides the position itself, for the first layer on data, or
            `"B"`, which shows it, for the layers after it.
        groups: int. Groups of the features, such as the channels of a picture.
        use_bias: bool. Whether a number is added to each feature.
        kernel_initializer: of the kernel, as Keras has them.

    Call arguments:
        inputs: float tensor `(batch, height, width, channels)`.

    Returns:
        float tensor `(batch, height, width, filters)`.

    Raises:
        InputError: sizes that are even or not positive, another mask.

    Example:
    >>> MaskedConv2D(64, 7, mask_type="A")(keras.ops.zeros((8, 28, 28, 1))).shape
    (8, 28, 28, 64)

    Reference: van den Oord et al. (2016), "Pixel Recurrent Neural Networks", section 3.4,
        https://arxiv.org/abs/1601.06759
    """

    def __init__(
        self,
        filters,
        kernel_size,
        mask_type="B",
        *,
        groups=1,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("filters", filters), ("groups", groups)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a positive integer. Received: {name}={value!r}.")
        pair = tuple(kernel_size) if isinstance(kernel_size, (tuple, list)) else (kernel_size,) * 2
        if len(pair) != 2 or not all(type(side) is int and side > 0 and side % 2 for side in pair):
            raise InputError(
                "kernel_size must be an odd positive integer or a pair of them. "
                f"Received: kernel_size={kernel_size!r}."
            )
        if mask_type not in ("A", "B"):
            raise InputError(f"mask_type must be 'A' or 'B'. Received: mask_type={mask_type!r}.")
        self.filters = filters
        self.kernel_size = pair
        self.mask_type = mask_type
        self.groups = groups
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        channels = input_shape[-1]
        above, left = (side // 2 for side in self.kernel_size)
        right = left if above else 0  # in one row nothing to the right is ever seen
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

    def call(self, inputs):
        inputs = tf.convert_to_tensor(inputs)
        kernel, bias = self.masked_weights()
        outputs = tf.nn.conv2d(tf.pad(inputs, self.padding), kernel, strides=1, padding="VALID")
        return outputs if bias is None else outputs + bias

    def masked_weights(self):
        """What `call` convolves with, in the type that the layer computes in.

        Returns:
            kernel: float tensor `(rows, columns, channels, filters)`, zero where hidden.
            bias: float tensor `(filters,)`, or None.
        """
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), self.compute_dtype)
        if not self.visible.all():
            kernel *= tf.constant(self.visible, self.compute_dtype)
        if self.bias is None:
            return kernel, None
        return kernel, tf.cast(tf.convert_to_tensor(self.bias), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "mask_type": self.mask_type,
            "groups": self.groups,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
