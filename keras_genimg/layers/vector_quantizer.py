"""Vector quantisation with a codebook learned by gradient or by moving averages."""

import math

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.distribution import global_batch, sum_over_replicas
from keras_genimg.errors import InputError
from keras_genimg.layers.quantizer import Quantizer

__all__ = ["VectorQuantizer"]


GRADIENTS = ("straight_through", "rotation")


def rotated(vectors, onto):
    """`onto` in value; its gradient is that of `vectors` turned and scaled onto it.

    R x = x - 2 r r^T x + 2 q e^T x, with e and q of length 1 along `vectors` and `onto` and r along
    e + q, is the rotation in the plane of the two that takes e to q (Fifty et al., section 4).

    Args:
        vectors, onto: float tensors `(..., D)`.

    Returns:
        float tensor `(..., D)`.
    """
    onto = tf.stop_gradient(onto)
    constant = tf.stop_gradient(vectors)

    def length(values):
        return tf.maximum(tf.norm(values, axis=-1, keepdims=True), 1e-12)

    e, q = constant / length(constant), onto / length(onto)
    r = (e + q) / length(e + q)

    def times(direction):  # direction^T x
        return tf.reduce_sum(direction * vectors, axis=-1, keepdims=True)

    turned = length(onto) / length(constant) * (vectors - 2.0 * r * times(r) + 2.0 * q * times(e))
    return turned + tf.stop_gradient(onto - turned)


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@keras.saving.register_keras_serializable(package="keras_genimg")
class VectorQuantizer(Quantizer):
    """Replaces each vector by the nearest of a learned set (VQ-VAE).

    For z_e(x) `(B, h, w, D)`: the index k = argmin_j ||z_e - e_j||, the vector
    z_q = e_k, and the loss `beta * ||z_e - sg[z_q]||^2` (commitment), to which a
    codebook learned by gradient adds `||sg[z_e] - z_q||^2`. What is handed on is
    z_e + sg[z_q - z_e]: z_q in value, with the gradient of z_e (straight-through).

    With `ema_decay` (gamma) the codebook follows moving averages instead:
    N_j = gamma N_j + (1 - gamma) n_j, m_j = gamma m_j + (1 - gamma) sum z_e,
    e_j = m_j / N_j, with n_j and the sums taken over the global batch.

    `gradient="rotation"` hands on the same values with another gradient: that of
    z_e turned and scaled onto z_q, R z_e |z_q| / |z_e| with R and the factor constant, so
    that gradients keep their angle to the vector they arrive at.

    Args:
        num_embeddings: int. Vectors in the codebook (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment term (beta).
        ema_decay: float in (0, 1), or None to learn the codebook by gradient.
        epsilon: float. Laplace smoothing of the counts when they divide.
        dead_code_threshold: float, or None for never. A code whose moving count
            of uses a batch falls below it is set to a vector of the current
            batch, with its count and sum, the same on every replica.
        gradient: `"straight_through"` or `"rotation"`.
        seed: int, optional. Makes the initial codebook and the replacement
            draws repeatable.

    Call arguments:
        inputs: float tensor `(B, h, w, D)` (any number of axes before the last).
        training: bool. Whether the averages move and dead codes are replaced.

    Returns:
        quantized: float tensor `(B, h, w, D)`.
        indices: int32 tensor `(B, h, w)`; on a tie the lowest index.
        loss: float32 scalar, the mean over all elements, before the
            straight-through step.

    Raises:
        InputError: sizes that are not positive, a decay outside (0, 1), inputs
            whose last axis is not `embedding_dim`.

    Example:
    >>> layer = VectorQuantizer(num_embeddings=512, embedding_dim=64)
    >>> quantized, indices, loss = layer(keras.ops.zeros((2, 7, 7, 64)))
    >>> indices.shape
    (2, 7, 7)

    Reference: van den Oord et al. (2017), Eq. 1-3 and appendix A.1,
        https://arxiv.org/abs/1711.00937; rotation: Fifty et al. (2024),
        https://arxiv.org/abs/2410.06424
    """

    def __init__(
        self,
        num_embeddings,
        embedding_dim,
        commitment_cost=0.25,
        ema_decay=None,
        epsilon=1e-5,
        dead_code_threshold=None,
        gradient="straight_through",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("num_embeddings", num_embeddings), ("embedding_dim", embedding_dim)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name} must be a positive integer. Received: {name}={value!r}.")
        if ema_decay is not None and not (_is_number(ema_decay) and 0 < ema_decay < 1):
            raise InputError(
                f"ema_decay must lie between 0 and 1, or be None. Received: ema_decay={ema_decay!r}."
            )
        if not (_is_number(commitment_cost) and commitment_cost >= 0):
            raise InputError(
                "commitment_cost must be a finite number, 0 or more. "
                f"Received: commitment_cost={commitment_cost!r}."
            )
        if not (_is_number(epsilon) and epsilon > 0):
            raise InputError(
                f"epsilon must be a finite number above 0. Received: epsilon={epsilon!r}."
            )
        threshold = dead_code_threshold
        if threshold is not None and not (_is_number(threshold) and threshold >= 0):
            raise InputError(
                "dead_code_threshold must be a finite number, 0 or more, or be None. "
                f"Received: dead_code_threshold={threshold!r}."
            )
        if gradient not in GRADIENTS:
            raise InputError(
                f"gradient must be one of {', '.join(GRADIENTS)}. Received: gradient={gradient!r}."
            )
        self.gradient = gradient
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.commitment_cost = commitment_cost
        self.ema_decay = ema_decay
        self.epsilon = epsilon
        self.dead_code_threshold = dead_code_threshold
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        shape = (num_embeddings, embedding_dim)
        limit = 1.0 / num_embeddings
        # Without autocast: under a 16-bit policy the codebook is still read in 32 bits.
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=shape,
            initializer=keras.initializers.RandomUniform(-limit, limit, seed=seed),
            dtype="float32",
            autocast=False,
            trainable=ema_decay is None,
        )
        # Counts start at one, never at zero: the first division must be harmless.
        self.cluster_size = self.add_weight(
            name="cluster_size", shape=(num_embeddings,), initializer="ones", dtype="float32",
            autocast=False, trainable=False,
        )
        if ema_decay is not None:
            self.embedding_sums = self.add_weight(
                name="embedding_sums", shape=shape, initializer="zeros", dtype="float32",
                autocast=False, trainable=False,
            )
            self.embedding_sums.assign(self.embeddings)
        self.built = True

    def call(self, inputs, training=False):
        if inputs.shape[-1] != self.embedding_dim:
            raise InputError(
                f"The last axis of the inputs must be embedding_dim={self.embedding_dim}. "
                f"Received: inputs of shape {tuple(inputs.shape)}."
            )
        inputs = tf.convert_to_tensor(inputs)
        vectors = tf.cast(inputs, tf.float32)  # distances in 16 bits would mix up near codes
        flat = tf.reshape(vectors, (-1, self.embedding_dim))  # (B, h, w, D) -> (B*h*w, D)
        embeddings = tf.convert_to_tensor(self.embeddings)

        nearest = self._nearest(flat, embeddings)  # (B*h*w,)
        indices = tf.reshape(nearest, tf.shape(inputs)[:-1])  # (B*h*w,) -> (B, h, w)
        quantized = tf.gather(embeddings, indices)  # (B, h, w, D)

        stop = tf.stop_gradient
        loss = self.commitment_cost * tf.reduce_mean((vectors - stop(quantized)) ** 2)
        if self.ema_decay is None:
            loss += tf.reduce_mean((stop(vectors) - quantized) ** 2)

        if training:
            self._update(stop(flat), nearest)
        if self.gradient == "rotation":
            quantized = rotated(vectors, onto=quantized)
        else:
            quantized = vectors + stop(quantized - vectors)
        return tf.cast(quantized, inputs.dtype), indices, loss

    def decode(self, indices):
        """Vectors of codes.

        Args:
            indices: int tensor `(B, h, w)`, from 0 to num_embeddings - 1.

        Returns:
            float32 tensor `(B, h, w, D)`, rows of the codebook.
        """
        return tf.gather(tf.convert_to_tensor(self.embeddings), indices)

    def start_from(self, vectors, iterations=10):
        """Sets the codebook to the centres that k-means finds among vectors.

        Codes then start where the encoder's vectors are. The same vectors and seed give the
        same codebook, on every worker.

        Args:
            vectors: float array `(n, D)`, n at least the number of codes.
            iterations: int. Rounds of Lloyd's algorithm, from vectors drawn at random.

        Raises:
            InputError: vectors of another length, or fewer of them than codes.
        """
        vectors = np.asarray(vectors, "float32")
        count = self.num_embeddings
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
            centres = (sums / np.maximum(counts, 1)[:, None]).astype("float32")
            lost = counts == 0  # centres without a vector are drawn again
            centres[lost] = vectors[rng.choice(len(vectors), lost.sum(), replace=False)]
        self.embeddings.assign(centres)
        self.cluster_size.assign(np.ones(count, "float32"))
        if self.ema_decay is not None:
            self.embedding_sums.assign(centres)

    @staticmethod
    def _nearest(flat, embeddings):
        # ||x - e||^2 = ||x||^2 - 2 x.e + ||e||^2, and ||x||^2 is the same for every code.
        distances = tf.reduce_sum(embeddings**2, -1) - 2.0 * tf.matmul(
            flat, embeddings, transpose_b=True
        )  # (B*h*w, K)
        return tf.argmin(distances, axis=-1, output_type=tf.int32)

    def _update(self, flat, nearest):
        """Moves the averages and replaces dead codes, by the global batch."""
        if self.ema_decay is None and self.dead_code_threshold is None:
            return
        one_hot = tf.one_hot(nearest, self.num_embeddings)  # (B*h*w, K)
        counts = tf.reduce_sum(one_hot, axis=0)  # (K,)
        decay = self.ema_decay if self.ema_decay is not None else 0.99
        if self.ema_decay is None:
            counts = sum_over_replicas(counts)
        else:
            sums = tf.matmul(one_hot, flat, transpose_a=True)  # (K, D)
            counts, sums = sum_over_replicas([counts, sums])
            sums = decay * self.embedding_sums + (1.0 - decay) * sums
        sizes = decay * self.cluster_size + (1.0 - decay) * counts

        if self.ema_decay is not None:
            # Smoothing a copy: the counts themselves stay exact.
            total = tf.reduce_sum(sizes)
            smooth = (sizes + self.epsilon) / (total + self.num_embeddings * self.epsilon) * total
            embeddings = sums / smooth[:, None]
        else:
            embeddings = tf.convert_to_tensor(self.embeddings)

        if self.dead_code_threshold is not None:
            dead = sizes < self.dead_code_threshold
            fresh = self._draw_vectors(flat)
            embeddings = tf.where(dead[:, None], fresh, embeddings)
            sizes = tf.where(dead, tf.ones_like(sizes), sizes)
            if self.ema_decay is not None:
                sums = tf.where(dead[:, None], fresh, sums)

        self.cluster_size.assign(sizes)
        self.embeddings.assign(embeddings)
        if self.ema_decay is not None:
            self.embedding_sums.assign(sums)

    def _draw_vectors(self, flat):
        """K rows of the global batch, drawn alike on every replica: (K, D)."""
        batch = global_batch(flat)
        seed = self.seed_generator.next()
        rows = tf.random.stateless_uniform(
            (self.num_embeddings,), seed, 0, batch.global_size, dtype=tf.int32, alg="philox"
        )
        local = rows - batch.first
        mine = (local >= 0) & (local < batch.size)
        drawn = tf.gather(flat, tf.where(mine, local, 0))
        return sum_over_replicas(drawn * tf.cast(mine, flat.dtype)[:, None])

    def get_config(self):
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "commitment_cost": self.commitment_cost,
            "ema_decay": self.ema_decay,
            "epsilon": self.epsilon,
            "dead_code_threshold": self.dead_code_threshold,
            "gradient": self.gradient,
            "seed": self.seed,
        }
