"""A transformer over a grid of codes: logits in one pass, samples from cached keys and values."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_genimg.layers import CausalSelfAttention, Dropout
from keras_genimg.networks.initializers import normal
from keras_genimg.precision import policy_dtype

__all__ = ["CausalTransformer"]


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GPT-2's form of GELU, by tanh (ONNX has no counterpart of the exact one)."""
    return keras.activations.gelu(x, approximate=True)


class TransformerBlock(keras.layers.Layer):
    """x + attention(norm(x)), then x + mlp(norm(x)), see GPT-2.

    Args:
        width: int. Features of a position.
        num_heads: int.
        dropout: float. Rate at the end of both parts.
        seed: int or None. Seed of the dropout.
    """

    def __init__(self, width: int, num_heads: int, dropout: float, seed: int | None, **kwargs):
        super().__init__(**kwargs)
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-5) for _ in range(2)]
        self.attention = CausalSelfAttention(num_heads)
        self.expand = keras.layers.Dense(4 * width, activation=gelu)
        self.contract = keras.layers.Dense(width)
        self.dropouts = [Dropout(dropout, None if seed is None else seed + i) for i in range(2)]

    def build(self, input_shape):
        for layer in (*self.norms, self.attention, self.expand):
            layer.build(input_shape)
        self.contract.build((*input_shape[:-1], 4 * input_shape[-1]))
        self.built = True

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        attended = self.attention(self.norms[0](x))  # (B, T, width)
        x = x + self.dropouts[0](attended, training=training)
        return x + self.dropouts[1](self.mlp(x), training=training)

    def step(self, x: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, position) -> tuple:
        """One position `(B, 1, width)`, see `CausalSelfAttention.step`."""
        attended, keys, values = self.attention.step(self.norms[0](x), keys, values, position)
        x = x + attended
        return x + self.mlp(x), keys, values

    def mlp(self, x: tf.Tensor) -> tf.Tensor:
        return self.contract(self.expand(self.norms[1](x)))


@keras.saving.register_keras_serializable(package="keras_genimg")
class CausalTransformer(keras.layers.Layer):
    """p(code | the codes before it) at every position of a grid, in raster order.

    Position i is conditioned on the code at i - 1 (the first one on a start, or the class), and
    on the learned vectors of its row and its column.

    Args:
        shape: tuple (height, width, 1) of the grid.
        levels: int. Number of codes (K).
        features: int. Width of the blocks.
        num_layers: int. Blocks.
        num_heads: int. A divisor of `features`.
        num_classes: int, or None without classes.
        dropout: float. Rate in each block and after the embedding.
        seed: int or None. Seed of the dropout.
        label_dropout: float. Share of the labels that are replaced by "no class" in training.
        guidance_scale: float. Other than 1, `sample` draws from l + (scale - 1) (l - l'), where l
            are the logits and l' those without a class. Needs `label_dropout`.

    Call arguments:
        values: int tensor `(B, height, width, 1)` in [0, levels).
        labels: int tensor `(B,)`, if there are classes.
        training: bool. Whether dropout is applied.

    Returns:
        float32 logits `(B, height, width, 1, levels)`.

    Example:
    >>> network = CausalTransformer((7, 7, 1), levels=128)
    >>> network(keras.ops.zeros((2, 7, 7, 1), "int32")).shape
    (2, 7, 7, 1, 128)

    Reference: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners",
        section 2.3; over the codes of images: Esser et al. (2021), section 3.2,
        https://arxiv.org/abs/2012.09841; guidance: Gafni et al. (2022),
        https://arxiv.org/abs/2203.13131
    """

    def __init__(
        self, shape: tuple, levels: int, features: int = 128, num_layers: int = 4,
        num_heads: int = 4, num_classes: int | None = None, dropout: float = 0.0,
        seed: int | None = None, label_dropout: float = 0.0,
        guidance_scale: float = 1.0, **kwargs,
    ):
        super().__init__(**kwargs)
        self.shape, self.levels, self.num_classes = tuple(shape), levels, num_classes
        self.features, self.num_heads = features, num_heads
        self.label_dropout, self.guidance_scale = None, guidance_scale
        self.length = shape[0] * shape[1]
        self.embedding = keras.layers.Embedding(levels, features, normal())
        # Before the first code: one start for all, or one per class, and one for no class.
        starts = (num_classes or 1) + bool(label_dropout)
        self.start = keras.layers.Embedding(starts, features, normal())
        self.rows, self.columns = (
            keras.layers.Embedding(size, features, normal()) for size in shape[:2]
        )
        self.dropout = Dropout(dropout, seed)
        self.blocks = [
            TransformerBlock(
                features, num_heads, dropout, None if seed is None else seed + 1 + 2 * index
            )
            for index in range(num_layers)
        ]
        if label_dropout:
            label_seed = None if seed is None else seed + 1 + 2 * num_layers
            self.label_dropout = Dropout(label_dropout, label_seed)
        self.norm = keras.layers.LayerNormalization(epsilon=1e-5)
        self.head = keras.layers.Dense(levels, dtype=policy_dtype())

        for layer in (self.embedding, self.start, self.rows, self.columns):
            layer.build()
        for layer in (*self.blocks, self.norm, self.head):
            layer.build((None, self.length, features))
        self.built = True

    def call(
        self, values: tf.Tensor, labels: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        codes = tf.reshape(values, (-1, self.length))  # (B, h, w, 1) -> (B, h*w)
        if self.label_dropout and training:
            kept = self.label_dropout(tf.ones(tf.shape(labels)), training=True) > 0.0  # (B,)
            labels = tf.where(kept, labels, self.num_classes)
        before = self.embedding(codes[:, :-1])  # (B, h*w - 1, features)
        x = tf.concat([self._start(tf.shape(codes)[0], labels), before], axis=1) + self._places()
        x = self.dropout(x, training=training)
        for block in self.blocks:
            x = block(x, training=training)
        logits = self.head(self.norm(x))  # (B, h*w, levels)
        return tf.reshape(logits, (-1, *self.shape, self.levels))

    def _start(self, count, labels):
        """`(B, 1, features)`: the input of the first position."""
        return self.start(tf.zeros((count,), tf.int32) if labels is None else labels)[:, None]

    def _places(self):
        """`(h*w, features)`: the vector of each row and of each column, added up."""
        height, width, _ = self.shape
        places = self.rows(tf.range(height))[:, None] + self.columns(tf.range(width))
        return tf.reshape(places, (self.length, self.features))

    def sample(
        self, noise_of_row: Callable, count: int | tf.Tensor, allowed: Callable = tf.identity,
        labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Draws each code given those before it, with cached keys and values.

        The largest of logits + noise is taken, which with Gumbel noise is a draw.

        Args:
            noise_of_row: function from an int32 scalar, the row, to float32 `(count, width,
                1, levels)`.
            count: int or int32 scalar.
            allowed: function from logits `(count, levels)` to those with -inf in place of what is
                not to be drawn.
            labels: int tensor `(count,)`, if there are classes.

        Returns:
            int32 tensor `(count, height, width, 1)`.
        """
        height, width, _ = self.shape
        places, guided = self._places(), self.guidance_scale != 1.0
        passes = 2 if guided else 1  # the second half of the rows: the same codes, without a class
        if guided:
            labels = tf.cast(labels, tf.int32)
            labels = tf.concat([labels, tf.fill((count,), self.num_classes)], axis=0)
        size = (passes * count, self.num_heads, self.length, self.features // self.num_heads)
        empty = tf.zeros(size, self.compute_dtype)

        def position(column, row, x, cache, noise, made):
            """Draws one code from the features before it, `(passes * B, 1, features)`."""
            number = row * width + column
            x, kept = x + places[number], []
            for block, (keys, values) in zip(self.blocks, cache):
                x, keys, values = block.step(x, keys, values, number)
                kept.append((keys, values))
            logits = self.head(self.norm(x))[:, 0]  # (passes * B, levels)
            if guided:
                logits, without = tf.split(logits, 2)
                logits += (self.guidance_scale - 1.0) * (logits - without)
            logits = allowed(logits)  # (B, levels)
            scores = logits + tf.cast(noise[:, column, 0], logits.dtype)
            code = tf.argmax(scores, axis=-1, output_type=tf.int32)  # (B,)
            made = made.write(number, code)
            x = self.embedding(tf.tile(code, [passes]))[:, None]
            return column + 1, row, x, kept, noise, made

        def draw_row(row, x, cache, made):
            state = (0, row, x, cache, noise_of_row(row), made)
            *_, x, cache, _, made = tf.while_loop(
                lambda column, *_: column < width, position, state, parallel_iterations=1
            )
            return row + 1, x, cache, made

        made = tf.TensorArray(tf.int32, self.length, element_shape=(None,))
        cache = [(empty, empty) for _ in self.blocks]
        state = (0, self._start(passes * count, labels), cache, made)
        made = tf.while_loop(
            lambda row, *_: row < height, draw_row, state, parallel_iterations=1
        )[-1]
        return tf.reshape(tf.transpose(made.stack()), (-1, *self.shape))  # (h*w, B) -> (B, h, w, 1)
