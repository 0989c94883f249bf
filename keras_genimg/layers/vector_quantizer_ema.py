"""Vector quantisation with a codebook of exponential moving averages."""

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_number, is_number
from keras_genimg.distribution import sum_over_replicas
from keras_genimg.errors import InputError
from keras_genimg.layers.codebook import Codebook

__all__ = ["EarlierVectorQuantizerEMA", "VectorQuantizerEMA"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class VectorQuantizerEMA(Codebook):
    """Replaces each vector by the nearest of a set that follows moving averages (VQ-VAE).

    For z_e(x) `(B, h, w, D)`: the index k = argmin_j ||z_e - e_j||, the vector z_q = e_k, and the
    loss `beta * ||z_e - sg[z_q]||^2` (commitment). The output is z_e + sg[z_q - z_e]: z_q in
    value, with the gradient of z_e (straight-through), or another one (see `VectorQuantizer`).

    The codebook has no loss. With `decay` (gamma) it follows
    N_j = gamma N_j + (1 - gamma) n_j, m_j = gamma m_j + (1 - gamma) sum z_e, e_j = m_j / N_j,
    where n_j and the sums are taken over the vectors of the global batch nearest to e_j.

    Args:
        num_embeddings: int. Vectors in the codebook (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment term (beta).
        decay: float in (0, 1). Decay of the moving averages (gamma).
        epsilon: float. Laplace smoothing of the counts in the division.
        dead_code_threshold: float, or None for never. If the moving average of a code's uses
            per batch falls below it, the code is set to a vector of the current batch, the same
            on every replica, its count to the larger of 1 and the threshold, and its sum alike.
        gradient: `"straight_through"` or `"rotation"`.
        seed: int, optional. Makes the initial codebook and the replacement draws reproducible.

    Call arguments:
        inputs: float tensor `(B, h, w, D)` (any number of axes before the last).
        training: bool. Whether the averages are updated and dead codes are replaced.
        sample_weight: float tensor `(B,)`, or None. Weights of the images, in the loss and in the
            averages; a code is never set to a vector of an image of weight 0.

    Returns:
        quantized: float tensor `(B, h, w, D)`.
        indices: int32 tensor `(B, h, w)`; on a tie the lowest index.
        loss: float scalar, the mean over all elements, before the straight-through step; float32
            also under a 16-bit policy.

    Raises:
        InputError: sizes that are not positive, a decay outside (0, 1), inputs whose last axis is
            not `embedding_dim`.

    Example:
    >>> layer = VectorQuantizerEMA(num_embeddings=512, embedding_dim=64, decay=0.99)
    >>> quantized, indices, loss = layer(keras.ops.zeros((2, 7, 7, 64)), training=True)
    >>> indices.shape
    (2, 7, 7)

    Reference: van den Oord et al. (2017), appendix A.1, https://arxiv.org/abs/1711.00937
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25,
        decay: float = 0.99, epsilon: float = 1e-5, *, dead_code_threshold: float | None = None,
        gradient: str = "straight_through", seed: int | None = None, **kwargs,
    ):
        if not is_number(decay) or not 0 < decay < 1:
            raise InputError(f"decay must be a number between 0 and 1. Received: decay={decay!r}.")
        super().__init__(
            num_embeddings, embedding_dim, commitment_cost, dead_code_threshold, gradient, seed,
            trainable_embeddings=False, **kwargs,
        )  # fmt: skip
        self.decay = decay
        self.epsilon = check_number("epsilon", epsilon, above=True)
        self.embedding_sums = self._table("embedding_sums", self.embeddings.shape, "zeros")
        self.embedding_sums.assign(self.start_count * self.embeddings)

    def call(
        self, inputs: tf.Tensor, training: bool = False, sample_weight: tf.Tensor | None = None
    ) -> tuple:
        # 1. k = argmin_j ||z_e - e_j|| and z_q = e_k (Eq. 1 and 2), before the codebook moves.
        vectors, indices, quantized = self.look_up(inputs)

        # 2. beta ||z_e - sg[e]||^2, the last term of Eq. 3.
        loss = self.commitment_loss(vectors, quantized, sample_weight)

        # 3. Moving averages take the place of the codebook's term.
        if training and self.trainable:
            self._update_averages(tf.stop_gradient(vectors), indices, sample_weight)
        return self.pass_gradient(vectors, quantized), indices, loss

    def _update_averages(self, vectors, indices, sample_weight):
        """Appendix A.1, on the global batch."""
        flat = tf.reshape(vectors, (-1, self.embedding_dim))  # (B, h, w, D) -> (B*h*w, D)
        one_hot = self._one_hot(indices, sample_weight)
        counts = tf.reduce_sum(one_hot, axis=0)  # n: (B*h*w, K) -> (K,)
        sums = tf.matmul(one_hot, flat, transpose_a=True)  # (K, D)
        counts, sums = sum_over_replicas([counts, sums])

        sizes = self.decay * self.cluster_size + (1.0 - self.decay) * counts  # N
        sums = self.decay * self.embedding_sums + (1.0 - self.decay) * sums  # m
        # Smoothing a copy: the counts themselves stay exact.
        total = tf.reduce_sum(sizes)
        smooth = (sizes + self.epsilon) / (total + self.num_embeddings * self.epsilon) * total
        embeddings = sums / smooth[:, None]  # e = m / N

        if self.dead_code_threshold is not None:
            sizes, dead, fresh = self._revive(sizes, vectors, sample_weight)
            sums = tf.where(dead, self.start_count * fresh, sums)
            embeddings = tf.where(dead, fresh, embeddings)
        self.cluster_size.assign(sizes)
        self.embedding_sums.assign(sums)
        self.embeddings.assign(embeddings)

    def start_from(self, vectors: ArrayLike, iterations: int = 10) -> None:
        super().start_from(vectors, iterations)
        self.embedding_sums.assign(self.start_count * self.embeddings)

    def get_config(self) -> dict:
        return {**super().get_config(), "decay": self.decay, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable(package="keras_genimg", name="EarlierVectorQuantizerEMA")
class EarlierVectorQuantizerEMA(VectorQuantizerEMA):
    """The layer that `VectorQuantizer(ema_decay=...)` gives.

    Keras stores a layer of a functional model under the name of its class. Files of version 0.1
    have the averages under "vector_quantizer".
    """


EarlierVectorQuantizerEMA.__name__ = "VectorQuantizer"
