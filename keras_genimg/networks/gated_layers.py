"""Layers of a gated PixelCNN: the two stacks, and their condition on a coarser grid."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.layers import Dropout, MaskedConv2D
from keras_genimg.precision import at_least_float32

__all__ = ["ConditionStack", "GatedLayer"]


def gate(x: tf.Tensor) -> tf.Tensor:
    """tanh(a) * sigmoid(b) of the halves a, b of the last axis (Eq. 2)."""
    # At least in float32: CPUs compute these functions slower in 16 bits.
    a, b = tf.split(tf.cast(x, at_least_float32(x.dtype)), 2, axis=-1)
    return tf.cast(tf.tanh(a) * tf.sigmoid(b), x.dtype)


class GatedLayer(keras.layers.Layer):
    """One layer of both stacks (Figure 2 of the paper).

    The vertical stack at a row sees the rows above; the horizontal one sees the positions to the
    left and the features of the vertical one. Together they see everything before a position,
    without a blind spot. The first layer hides the position itself and has no residual connection.

    Args:
        filters: int. Features of each stack, a multiple of `channels`.
        kernel_size: odd int of at least 3.
        first: bool. Whether it is the layer on the data.
        channels: int. Values of a position, each of which sees the earlier ones.
        num_classes: int, or None without classes.
        conditioned: bool. Whether there are features of a condition.
        dropout: float. Rate of the horizontal features before they are mixed.
        seed: int or None. Seed of the dropout.
    """

    def __init__(
        self, filters: int, kernel_size: int, first: bool, channels: int, num_classes: int | None,
        conditioned: bool, dropout: float, seed: int | None, **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters, self.reach, self.first = filters, kernel_size // 2, first
        width = 2 * filters  # what a gate takes; the halves have the same groups of channels
        self.vertical = keras.layers.Conv2D(width, (self.reach + 1, kernel_size))
        self.link = keras.layers.Conv2D(width, 1, use_bias=False)
        self.horizontal = MaskedConv2D(
            width, (1, kernel_size), "A" if first else "B", groups=channels
        )
        self.mix = MaskedConv2D(filters, 1, "B", groups=channels)
        self.classes = keras.layers.Embedding(num_classes, 2 * width) if num_classes else None
        self.place = keras.layers.Conv2D(2 * width, 1, use_bias=False) if conditioned else None
        self.dropout = Dropout(dropout, seed=seed)

    def build(self, input_shape):
        grid = tuple(input_shape[:-1])
        self.vertical.build((None, None, None, input_shape[-1]))  # of what `call` pads
        self.link.build((*grid, 2 * self.filters))
        self.horizontal.build(input_shape)
        self.mix.build((*grid, self.filters))
        if self.classes is not None:
            self.classes.build()
        if self.place is not None:
            self.place.build((*grid, self.filters))
        self.built = True

    def call(
        self, above: tf.Tensor, before: tf.Tensor, labels: tf.Tensor | None = None,
        condition: tf.Tensor | None = None, training: bool = False,
    ) -> tuple:
        """Features of both stacks, `(B, h, w, F)` each -> `(B, h, w, filters)` each."""
        above_bias, before_bias = self.biases(labels, condition)
        sides = [self.reach, self.reach]
        padded = tf.pad(above, [[0, 0], [self.reach, 0], sides, [0, 0]])
        vertical = self.vertical(padded) + above_bias  # (B, h, w, 2 * filters)
        horizontal = self.horizontal(before) + self.link(vertical) + before_bias
        mixed = self.mix(self.dropout(gate(horizontal), training=training))  # (B, h, w, filters)
        return gate(vertical), mixed if self.first else mixed + before

    def biases(self, labels: tf.Tensor | None, condition: tf.Tensor | None) -> tuple:
        """What a class and a condition, `(B, h, w, filters)`, add inside the gates of the stacks.

        Returns:
            Two tensors `(B, 1, 1, 2 * filters)`, with a condition `(B, h, w, 2 * filters)`; or
            twice 0.
        """
        total = 0.0
        if self.classes is not None:
            total = self.classes(labels)[:, None, None]
        if self.place is not None:
            total += self.place(condition)
        return (0.0, 0.0) if isinstance(total, float) else tf.split(total, 2, axis=-1)

    # The same numbers for one row, and for one position.

    def row(self, rows: tf.Tensor, biases: tuple) -> tuple:
        """One row of the vertical stack, from `(B, reach + 1, w, F)`, the row and those above it.

        Returns:
            `(B, 1, w, filters)`, its features; `(B, w, 2 * filters)`, their part of the
            horizontal stack's gates.
        """
        above_bias, before_bias = biases
        padded = tf.pad(rows, [[0, 0], [0, 0], [self.reach] * 2, [0, 0]])
        vertical = self.vertical(padded) + above_bias
        return gate(vertical), tf.squeeze(self.link(vertical) + before_bias, 1)

    def position_weights(self) -> list:
        """The horizontal stack's masked weights as matrices with their biases, for `position`."""
        weights = []
        for layer in (self.horizontal, self.mix):
            kernel, bias = layer.masked_weights()
            # (1, n, F, f) -> (n*F, f)
            weights += [tf.reshape(kernel, (-1, kernel.shape[-1])), bias]
        return weights

    def position(self, window: tf.Tensor, vertical: tf.Tensor, weights: list) -> tf.Tensor:
        """One position of the horizontal stack, from `(B, reach + 1, F)`: `(B, filters)`."""
        kernel, bias, mix_kernel, mix_bias = weights
        flat = tf.reshape(window, (-1, kernel.shape[0]))  # (B, n, F) -> (B, n*F)
        mixed = gate(flat @ kernel + bias + vertical) @ mix_kernel + mix_bias
        return mixed if self.first else mixed + window[:, -1]


class ConditionStack(keras.layers.Layer):
    """Codes of a coarser grid as features of each position of a finer one.

    Residual convolutions mix the learned vectors of neighbouring codes; each position of the
    finer grid takes the features of the code that covers it.

    Args:
        shape: tuple (height, width) of the finer grid.
        condition_shape: tuple (height, width) of the coarser grid, no larger than `shape`.
        embeddings: int. Codes of the coarser grid.
        filters: int. Features of a position.
        blocks: int. Residual convolutions.
    """

    def __init__(
        self, shape: tuple, condition_shape: tuple, embeddings: int, filters: int, blocks: int = 2,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.embedding = keras.layers.Embedding(embeddings, filters)
        self.blocks = [keras.layers.Conv2D(filters, 3, padding="same") for _ in range(blocks)]
        self.smooth = keras.layers.Conv2D(filters, 3, padding="same")
        # The row and the column of the code that covers a position: 0, 0, 1, 1, ... of halves.
        self.rows, self.columns = (
            np.arange(size, dtype="int32") * coarse // size
            for size, coarse in zip(shape, condition_shape)
        )
        self.embedding.build()
        for layer in (*self.blocks, self.smooth):
            layer.build((None, None, None, filters))
        self.built = True

    def call(self, codes: tf.Tensor) -> tf.Tensor:
        """int `(B, height, width)` of the coarser grid -> `(B, h, w, filters)`."""
        x = self.embedding(codes)
        for block in self.blocks:
            x = x + block(tf.nn.relu(x))
        x = tf.gather(tf.gather(x, self.rows, axis=1), self.columns, axis=2)  # -> (B, h, w, f)
        return self.smooth(tf.nn.relu(x))
