"""The learned codebook of a vector quantiser: look-up, gradient, k-means, dead codes."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_choice, check_count, check_number
from keras_genimg.distribution import global_batch, sum_over_replicas, weighted
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["Codebook", "Quantizer", "rotated"]

GRADIENTS = ("straight_through", "rotation")


def rotated(vectors: tf.Tensor, onto: tf.Tensor) -> tf.Tensor:
    """The value of `onto` with the gradient of `vectors` rotated and scaled onto it.

    R x = x - 2 r r^T x + 2 q e^T x, with e and q the unit vectors along `vectors` and `onto` and
    r the unit vector along e + q, is the rotation in their plane that takes e to q (Fifty et al.,
    section 4). Divisors are lengths plus 1e-6, as in the authors' code: the gradient of a vector
    of length zero is at most 1e6 |onto| times the arriving one.

    Args:
        vectors, onto: float tensors `(..., D)`.

    Returns:
        float tensor `(..., D)`.
    """
    onto = tf.stop_gradient(onto)
    constant = tf.stop_gradient(vectors)

    def length(values):
        return tf.norm(values, axis=-1, keepdims=True)

    e, q = (each / (length(each) + 1e-6) for each in (constant, onto))
    r = (e + q) / (length(e + q) + 1e-6)

    def times(direction):  # direction^T x
        return tf.reduce_sum(direction * vectors, axis=-1, keepdims=True)

    factor = length(onto) / (length(constant) + 1e-6)
    turned = factor * (vectors - 2.0 * r * times(r) + 2.0 * q * times(e))
    return turned + tf.stop_gradient(onto - turned)


class Quantizer(keras.layers.Layer):
    """A layer from vectors `(B, h, w, D)` to `(quantized, indices, loss)`.

    Subclasses have `num_embeddings` and `embedding_dim`, and `decode` from indices to vectors.
    """

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return tuple(input_shape), tuple(input_shape[:-1]), ()

    def compute_output_spec(
        self, inputs: tf.Tensor, training: bool = False, sample_weight: tf.Tensor | None = None
    ) -> tuple:
        quantized, indices, loss = self.compute_output_shape(inputs.shape)
        return (
            keras.KerasTensor(quantized, dtype=self.compute_dtype),
            keras.KerasTensor(indices, dtype="int32"),
            keras.KerasTensor(loss, dtype=at_least_float32(self.dtype_policy)),
        )


class Codebook(Quantizer):
    """What `VectorQuantizer` and `VectorQuantizerEMA` share, which differ in how they learn.

    Args:
        num_embeddings, embedding_dim, commitment_cost, dead_code_threshold, gradient, seed: see
            `VectorQuantizer`.
        trainable_embeddings: bool. Whether an optimizer updates the codebook.

    Attributes:
        embeddings: variable `(K, D)`, the codebook.
        cluster_size: variable `(K,)`, moving average of the uses of each code per batch.
        start_count: float, the count of a new code: at least the threshold, or every code would be
            replaced at every step.

    Raises:
        InputError: invalid arguments.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float,
        dead_code_threshold: float | None, gradient: str, seed: int | None,
        trainable_embeddings: bool, **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_embeddings = check_count("num_embeddings", num_embeddings)
        self.embedding_dim = check_count("embedding_dim", embedding_dim)
        self.commitment_cost = check_number("commitment_cost", commitment_cost)
        if dead_code_threshold is not None:
            check_number("dead_code_threshold", dead_code_threshold)
        self.dead_code_threshold = dead_code_threshold
        self.gradient = check_choice("gradient", gradient, GRADIENTS)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        limit = 1.0 / num_embeddings
        uniform = keras.initializers.RandomUniform(-limit, limit, seed=seed)
        shape = (num_embeddings, embedding_dim)
        self.embeddings = self._table("embeddings", shape, uniform, trainable_embeddings)
        # Counts start at one, never at zero: the first division must be harmless.
        self.start_count = float(max(1.0, dead_code_threshold or 0.0))
        counts = keras.initializers.Constant(self.start_count)
        self.cluster_size = self._table("cluster_size", (num_embeddings,), counts)
        self.built = True

    def _table(self, name, shape, initializer, trainable=False):
        # Without autocast: under a 16-bit policy the codebook is still read in 32 bits.
        return self.add_weight(
            name=name, shape=shape, initializer=initializer, trainable=trainable, autocast=False,
            dtype=at_least_float32(self.dtype_policy),
        )  # fmt: skip

    def look_up(self, inputs: tf.Tensor) -> tuple:
        """The nearest codes: k = argmin_j ||z_e - e_j||.

        Args:
            inputs: float tensor `(B, h, w, D)`.

        Returns:
            vectors: `inputs` in the type of the codebook, z_e(x).
            indices: int32 tensor `(B, h, w)`, k; on a tie the lowest index.
            quantized: tensor `(B, h, w, D)`, z_q(x) = e_k.

        Raises:
            InputError: a last axis that is not `embedding_dim`.
        """
        if inputs.shape[-1] != self.embedding_dim:
            raise InputError(
                f"The last axis of the inputs must be embedding_dim={self.embedding_dim}. "
                f"Received: inputs of shape {tuple(inputs.shape)}."
            )
        # Distances in 16 bits would confuse codes that are close to each other.
        vectors = tf.cast(inputs, self.embeddings.dtype)
        flat = tf.reshape(vectors, (-1, self.embedding_dim))  # (B, h, w, D) -> (B*h*w, D)
        nearest = self._nearest(flat, tf.convert_to_tensor(self.embeddings))  # (B*h*w,)
        indices = tf.reshape(nearest, tf.shape(inputs)[:-1])  # (B*h*w,) -> (B, h, w)
        return vectors, indices, self.decode(indices)

    def commitment_loss(
        self, vectors: tf.Tensor, quantized: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """beta ||z_e - sg[z_q]||^2, the mean over all elements.

        Args:
            vectors, quantized: float tensors `(B, h, w, D)`.
            sample_weight: float tensor `(B,)`, or None.

        Returns:
            Scalar tensor.
        """
        squares = (vectors - tf.stop_gradient(quantized)) ** 2
        return self.commitment_cost * tf.reduce_mean(weighted(squares, sample_weight))

    def pass_gradient(self, vectors: tf.Tensor, quantized: tf.Tensor) -> tf.Tensor:
        """z_q in value, with a gradient that reaches z_e.

        Args:
            vectors, quantized: float tensors `(B, h, w, D)`.

        Returns:
            float tensor `(B, h, w, D)` in the type that the layer computes in.
        """
        if self.gradient == "rotation":
            outputs = rotated(vectors, onto=quantized)
        else:
            outputs = vectors + tf.stop_gradient(quantized - vectors)
        return tf.cast(outputs, self.compute_dtype)

    def decode(self, indices: tf.Tensor) -> tf.Tensor:
        """Decodes codes to vectors.

        Args:
            indices: int tensor `(B, h, w)`, from 0 to num_embeddings - 1.

        Returns:
            float tensor `(B, h, w, D)`, rows of the codebook.
        """
        return tf.gather(tf.convert_to_tensor(self.embeddings), indices)

    def start_from(self, vectors: ArrayLike, iterations: int = 10) -> None:
        """Sets the codebook to the centres that k-means finds among vectors.

        Codes then start among the outputs of the encoder. The same vectors and seed give the
        same codebook, on every worker.

        Args:
            vectors: float array `(n, D)`, n at least the number of codes.
            iterations: int. Iterations of Lloyd's algorithm, from vectors drawn at random.

        Raises:
            InputError: vectors of the wrong length, or fewer vectors than codes.
        """
        dtype, count = self.embeddings.dtype, self.num_embeddings
        vectors = np.asarray(vectors, dtype)
        if vectors.ndim != 2 or vectors.shape[1] != self.embedding_dim or len(vectors) < count:
            raise InputError(
                f"start_from takes at least {count} vectors of length {self.embedding_dim}. "
                f"Received: an array of shape {vectors.shape}."
            )
        rng = np.random.default_rng(self.seed)
        centres = vectors[rng.choice(len(vectors), count, replace=False)]
        for _ in range(iterations):
            parts = np.array_split(vectors, -(-len(vectors) // 65_536))
            nearest = np.concatenate([self._nearest(part, centres) for part in parts])
            sums, counts = np.zeros_like(centres), np.bincount(nearest, minlength=count)
            np.add.at(sums, nearest, vectors)
            centres = (sums / np.maximum(counts, 1)[:, None]).astype(dtype)
            lost = counts == 0  # centres without a vector are drawn again
            centres[lost] = vectors[rng.choice(len(vectors), lost.sum(), replace=False)]
        self.embeddings.assign(centres)
        self.cluster_size.assign(np.full(count, self.start_count, dtype))

    @staticmethod
    def _nearest(flat, embeddings):
        # ||x - e||^2 = ||x||^2 - 2 x.e + ||e||^2, and ||x||^2 is the same for every code.
        distances = tf.reduce_sum(embeddings**2, -1) - 2.0 * tf.matmul(
            flat, embeddings, transpose_b=True
        )  # (B*h*w, K)
        return tf.argmin(distances, axis=-1, output_type=tf.int32)

    def _one_hot(self, indices, sample_weight):
        """The codes of vectors, times the weights of their images: (B, h, w) -> (B*h*w, K)."""
        one_hot = tf.one_hot(indices, self.num_embeddings, dtype=self.embeddings.dtype)
        return tf.reshape(weighted(one_hot, sample_weight), (-1, self.num_embeddings))

    def _revive(self, sizes, vectors, sample_weight):
        """Finds rare codes: new counts (K,), which codes (K, 1), vectors of the batch (K, D)."""
        ones = weighted(tf.ones_like(vectors[..., :1]), sample_weight)
        columns = tf.reshape(tf.concat([vectors, ones], -1), (-1, self.embedding_dim + 1))
        drawn = self._draw_rows(columns)
        # A code whose draw is of an image of weight 0 waits for the next batch.
        dead = (sizes < self.dead_code_threshold) & (drawn[:, -1] > 0)
        counts = tf.where(dead, self.start_count * tf.ones_like(sizes), sizes)
        return counts, dead[:, None], drawn[:, :-1]

    def _draw_rows(self, flat):
        """K rows of the global batch, the same on every replica: (B*h*w, d) -> (K, d)."""
        batch = global_batch(flat)
        seed = self.seed_generator.next()
        rows = tf.random.stateless_uniform(
            (self.num_embeddings,), seed, 0, batch.global_size, dtype=tf.int32, alg="philox"
        )
        local = rows - batch.first
        mine = (local >= 0) & (local < batch.size)
        drawn = tf.gather(flat, tf.where(mine, local, 0))
        return sum_over_replicas(drawn * tf.cast(mine, flat.dtype)[:, None])

    def get_config(self) -> dict:
        return {
            **super().get_config(), "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim, "commitment_cost": self.commitment_cost,
            "dead_code_threshold": self.dead_code_threshold, "gradient": self.gradient,
            "seed": self.seed,
        }
