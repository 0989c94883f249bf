"""Gated PixelCNN: logits of every position in one pass, and samples position by position."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_genimg.layers import MaskedConv2D
from keras_genimg.networks.gated_layers import ConditionStack, GatedLayer
from keras_genimg.precision import at_least_float32, policy_dtype

__all__ = ["GatedPixelCNN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class GatedPixelCNN(keras.layers.Layer):
    """p(x_i | what is before i) at every position i of a grid, in raster order.

    Args:
        shape: tuple (height, width, channels) of the grid; codes have 1 channel.
        levels: int. Number of values of a channel (K).
        embedded: bool. Whether values are categories without an order, embedded as learned
            vectors (codes, of one channel), rather than brightnesses from -1 to 1.
        filters: int. Features of each stack, a multiple of the channels.
        num_layers: int. Gated layers.
        kernel_size: odd int of at least 3, for the layers after the first.
        first_kernel_size: odd int of at least 3, for the first layer.
        num_classes: int, or None without classes.
        dropout: float. Rate in each layer.
        seed: int or None. Seed of the dropout.
        condition_shape: tuple (height, width), or None. Shape of a coarser grid of codes that
            every position is conditioned on.
        condition_embeddings: int. Number of codes of that grid.

    Call arguments:
        values: int tensor `(B, height, width, channels)` in [0, levels).
        labels: int tensor `(B,)`, if there are classes.
        condition: int tensor `(B, *condition_shape)`, if there is a condition.
        training: bool. Whether dropout is applied.

    Returns:
        float32 logits `(B, height, width, channels, levels)`.

    Example:
    >>> network = GatedPixelCNN((7, 7, 1), levels=128, embedded=True)
    >>> network(keras.ops.zeros((2, 7, 7, 1), "int32")).shape
    (2, 7, 7, 1, 128)

    Reference: van den Oord et al. (2016), "Conditional Image Generation with PixelCNN
        Decoders", section 2 (a condition: 2.3), https://arxiv.org/abs/1606.05328; the order of
        channels: "Pixel Recurrent Neural Networks", section 3.4, https://arxiv.org/abs/1601.06759
    """

    def __init__(
        self, shape: tuple, levels: int, embedded: bool = False, filters: int = 48,
        num_layers: int = 5, kernel_size: int = 3, first_kernel_size: int = 7,
        num_classes: int | None = None, dropout: float = 0.0, seed: int | None = None,
        condition_shape: tuple | None = None, condition_embeddings: int | None = None, **kwargs,
    ):
        super().__init__(**kwargs)
        self.shape, self.levels = tuple(shape), levels
        channels = self.shape[2]
        self.embedding = keras.layers.Embedding(levels, filters) if embedded else None
        self.features = filters if embedded else channels  # of a position of the data
        self.stack = [
            GatedLayer(
                filters, kernel_size if index else first_kernel_size, index == 0, channels,
                num_classes, condition_shape is not None, dropout,
                None if seed is None else seed + index,  # else all layers would drop the same
            )
            for index in range(num_layers)
        ]
        self.hidden = MaskedConv2D(filters, 1, "B", groups=channels)
        self.last = MaskedConv2D(levels * channels, 1, "B", groups=channels, dtype=policy_dtype())
        self.condition = None
        if condition_shape is not None:
            self.condition = ConditionStack(
                self.shape[:2], condition_shape, condition_embeddings, filters
            )

        grid = (None, *self.shape[:2])
        if embedded:
            self.embedding.build()
        for index, layer in enumerate(self.stack):
            layer.build((*grid, filters if index else self.features))
        self.hidden.build((*grid, filters))
        self.last.build((*grid, filters))
        self.built = True

    def call(
        self, values: tf.Tensor, labels: tf.Tensor | None = None,
        condition: tf.Tensor | None = None, training: bool = False,
    ) -> tf.Tensor:
        return self.logits_of(self.embed(values), labels, condition, training)

    def embed(self, values: tf.Tensor) -> tf.Tensor:
        """The input of the stacks.

        Args:
            values: int tensor `(..., channels)` in [0, levels).

        Returns:
            float tensor `(..., channels)` in [-1, 1]; for codes their vectors `(..., filters)`.
        """
        if self.embedding is not None:
            return self.embedding(values[..., 0])
        values = tf.cast(values, at_least_float32(self.compute_dtype))
        return tf.cast(values * (2.0 / (self.levels - 1)) - 1.0, self.compute_dtype)

    def logits_of(
        self, data: tf.Tensor, labels: tf.Tensor | None = None, condition: tf.Tensor | None = None,
        training: bool = False,
    ) -> tf.Tensor:
        """Logits of embedded data: `call` without its first step.

        Args:
            data: float tensor `(B, height, width, features)`, see `embed`.
            labels, condition, training: see the call arguments.

        Returns:
            float32 logits `(B, height, width, channels, levels)`.
        """
        # Each row sees the one above.
        above, before = tf.pad(data, [[0, 0], [1, 0], [0, 0], [0, 0]])[:, :-1], data
        features = None if self.condition is None else self.condition(condition)
        for layer in self.stack:
            above, before = layer(above, before, labels, features, training=training)
        x = self.hidden(tf.nn.relu(before))
        logits = self.last(tf.nn.relu(x))  # (B, h, w, levels * channels), channels fastest
        height, width, channels = self.shape
        logits = tf.reshape(logits, (-1, height, width, self.levels, channels))
        return tf.transpose(logits, (0, 1, 2, 4, 3))  # -> (B, h, w, channels, levels)

    def sample(
        self, noise_of_row: Callable, count: int | tf.Tensor, allowed: Callable = tf.identity,
        labels: tf.Tensor | None = None, condition: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws x_i ~ p(x_i | what was drawn before), each position computed once.

        The vertical stack is computed row by row from the last rows of the layer below, and the
        horizontal one position by position from the last positions, so that the cost is linear
        in the number of positions. The largest of logits + noise is taken, which with Gumbel
        noise is a draw.

        Args:
            noise_of_row: function from an int32 scalar, the row, to float32 `(count, width,
                channels, levels)`.
            count: int or int32 scalar.
            allowed: function from logits `(count, levels)` to those with -inf in place of what is
                not to be drawn.
            labels: int tensor `(count,)`, if there are classes.
            condition: int tensor `(count, *condition_shape)`, if there is a condition.

        Returns:
            int32 tensor `(count, height, width, channels)`.
        """
        height, width, channels = self.shape
        features = None if self.condition is None else self.condition(condition)
        biases = [layer.biases(labels, features) for layer in self.stack]
        weights = [layer.position_weights() for layer in self.stack]
        head = self._head_weights()

        def zeros(*shape):
            return tf.zeros((count, *shape), self.compute_dtype)

        def position(column, windows, noise, context, made):
            """Draws the channels of a position, from the features to its left in each layer."""
            values = [tf.zeros((count,), tf.int32)] * channels
            here = tf.unstack(context[column])  # (B, 2 * filters) per layer
            data = zeros(self.features)  # hidden by the first layer's mask as long as it is unknown
            for channel in range(channels):
                x, seen = data, []
                for layer, window, of_row, own in zip(self.stack, windows, here, weights):
                    seen.append(tf.concat([window, x[:, None]], axis=1))  # (B, reach + 1, F)
                    x = layer.position(seen[-1], of_row, own)
                kernel, bias, last, last_bias = head[channel]
                x = tf.nn.relu(tf.nn.relu(x) @ kernel + bias)
                logits = allowed(tf.cast(x, last.dtype) @ last + last_bias)  # (B, levels)
                scores = logits + tf.cast(noise[:, column, channel], logits.dtype)
                values[channel] = tf.argmax(scores, axis=-1, output_type=tf.int32)
                data = self.embed(tf.stack(values, axis=-1))  # (B, channels) -> (B, features)
            seen[0] = tf.concat([windows[0], data[:, None]], axis=1)  # now that it is known
            windows = [tf.ensure_shape(s[:, 1:], w.shape) for s, w in zip(seen, windows)]
            made = made.write(column, tf.stack(values, axis=-1))
            return column + 1, windows, noise, context, made

        def bias_of_row(number, bias):
            return bias if self.condition is None else bias[:, number][:, None]  # (B, 1, w, 2f)

        def row(number, data, above, made):
            """Draws a row, from the data of the row above and rows of each layer above that."""
            x, rows, context = data, [], []
            for layer, kept, bias in zip(self.stack, above, biases):
                window = tf.concat([kept, x], axis=1)  # (B, reach + 1, w, F)
                rows.append(tf.ensure_shape(window[:, 1:], kept.shape))
                x, of_row = layer.row(window, [bias_of_row(number, part) for part in bias])
                context.append(of_row)
            # (layers, B, w, 2f) -> (w, layers, B, 2f)
            context = tf.transpose(tf.stack(context), (2, 0, 1, 3))
            windows = [zeros(layer.reach, kept.shape[-1]) for layer, kept in zip(self.stack, above)]
            cells = tf.TensorArray(tf.int32, width, element_shape=(None, channels))
            state = (0, windows, noise_of_row(number), context, cells)
            cells = tf.while_loop(
                lambda column, *_: column < width, position, state, parallel_iterations=1
            )[-1]
            values = tf.transpose(cells.stack(), (1, 0, 2))  # (w, B, c) -> (B, w, c)
            data = tf.ensure_shape(self.embed(values)[:, None], data.shape)  # (B, 1, w, features)
            return number + 1, data, rows, made.write(number, values)

        features = [self.features, *(layer.filters for layer in self.stack[:-1])]
        above = [zeros(layer.reach, width, f) for layer, f in zip(self.stack, features)]
        made = tf.TensorArray(tf.int32, height, element_shape=(None, width, channels))
        state = (0, zeros(1, width, self.features), above, made)
        made = tf.while_loop(
            lambda number, *_: number < height, row, state, parallel_iterations=1
        )[-1]
        return tf.transpose(made.stack(), (1, 0, 2, 3))  # (h, B, w, c) -> (B, h, w, c)

    def _head_weights(self):
        """The last two layers' masked weights as matrices, a list for each channel's logits."""
        kernel, bias = self.hidden.masked_weights()
        last, last_bias = self.last.masked_weights()
        channels = self.shape[2]
        return [
            [kernel[0, 0], bias, last[0, 0, :, channel::channels], last_bias[channel::channels]]
            for channel in range(channels)
        ]
