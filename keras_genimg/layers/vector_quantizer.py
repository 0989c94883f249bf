"""Vector quantisation with a codebook learned by gradient descent."""

import keras
import tensorflow as tf

from keras_genimg.distribution import sum_over_replicas, weighted
from keras_genimg.layers.codebook import Codebook
from keras_genimg.layers.vector_quantizer_ema import EarlierVectorQuantizerEMA

__all__ = ["VectorQuantizer"]

USAGE_DECAY = 0.99  # of the moving average by which dead codes are found


@keras.saving.register_keras_serializable(package="keras_genimg")
class VectorQuantizer(Codebook):
    """Replaces each vector by the nearest of a learned set (VQ-VAE).

    For z_e(x) `(B, h, w, D)`: the index k = argmin_j ||z_e - e_j||, the vector z_q = e_k, and the
    loss `||sg[z_e] - z_q||^2 + beta * ||z_e - sg[z_q]||^2` (codebook and commitment). The output
    is z_e + sg[z_q - z_e]: z_q in value, with the gradient of z_e (straight-through).

    `gradient="rotation"` gives the same values another gradient: that of z_e rotated and scaled
    onto z_q, R z_e |z_q| / |z_e| with R and the factor constant, so that gradients keep their
    angle to the vector.

    `VectorQuantizerEMA` learns the codebook by moving averages instead.

    Args:
        num_embeddings: int. Vectors in the codebook (K).
        embedding_dim: int. Length of a vector (D).
        commitment_cost: float. Weight of the commitment term (beta).
        dead_code_threshold: float, or None for never. If the moving average of a code's uses
            per batch falls below it, the code is set to a vector of the current batch, the
            same on every replica, and its average to the larger of 1 and the threshold.
        gradient: `"straight_through"` or `"rotation"`.
        seed: int, optional. Makes the initial codebook and the replacement draws reproducible.

    Call arguments:
        inputs: float tensor `(B, h, w, D)` (any number of axes before the last).
        training: bool. Whether uses are counted and dead codes are replaced.
        sample_weight: float tensor `(B,)`, or None. Weights of the images, in the loss and in the
            counts; a code is never set to a vector of an image of weight 0.

    Returns:
        quantized: float tensor `(B, h, w, D)`.
        indices: int32 tensor `(B, h, w)`; on a tie the lowest index.
        loss: float scalar, the mean over all elements, before the straight-through step; float32
            also under a 16-bit policy.

    Raises:
        InputError: sizes that are not positive, inputs whose last axis is not `embedding_dim`.

    Example:
    >>> layer = VectorQuantizer(num_embeddings=512, embedding_dim=64)
    >>> quantized, indices, loss = layer(keras.ops.zeros((2, 7, 7, 64)))
    >>> indices.shape
    (2, 7, 7)

    Reference: van den Oord et al. (2017), Eq. 1-3, https://arxiv.org/abs/1711.00937; rotation:
        Fifty et al. (2024), https://arxiv.org/abs/2410.06424
    """

    def __new__(cls, *args, ema_decay=None, **kwargs):
        """Up to version 0.1 this class had both codebooks, and `ema_decay` chose."""
        if ema_decay is None:
            return super().__new__(cls, *args, **kwargs)
        return EarlierVectorQuantizerEMA(*args, decay=ema_decay, **kwargs)

    def __init__(
        self, num_embeddings: int, embedding_dim: int, commitment_cost: float = 0.25, *,
        dead_code_threshold: float | None = None, gradient: str = "straight_through",
        seed: int | None = None, **kwargs,
    ):
        for name in ("ema_decay", "epsilon"):  # None, and unused, in configurations of version 0.1
            kwargs.pop(name, None)
        super().__init__(
            num_embeddings, embedding_dim, commitment_cost, dead_code_threshold, gradient, seed,
            trainable_embeddings=True, **kwargs,
        )  # fmt: skip

    def call(
        self, inputs: tf.Tensor, training: bool = False, sample_weight: tf.Tensor | None = None
    ) -> tuple:
        # 1. k = argmin_j ||z_e - e_j|| and z_q = e_k (Eq. 1 and 2).
        vectors, indices, quantized = self.look_up(inputs)

        # 2. beta ||z_e - sg[e]||^2 + ||sg[z_e] - e||^2 (Eq. 3).
        loss = self.commitment_loss(vectors, quantized, sample_weight)
        squares = (tf.stop_gradient(vectors) - quantized) ** 2
        loss += tf.reduce_mean(weighted(squares, sample_weight))

        # 3. Codes that have not been used for long.
        if training and self.trainable and self.dead_code_threshold is not None:
            self._replace_dead_codes(tf.stop_gradient(vectors), indices, sample_weight)
        return self.pass_gradient(vectors, quantized), indices, loss

    def _replace_dead_codes(self, vectors, indices, sample_weight):
        one_hot = self._one_hot(indices, sample_weight)
        counts = sum_over_replicas(tf.reduce_sum(one_hot, axis=0))  # (B*h*w, K) -> (K,)
        sizes = USAGE_DECAY * self.cluster_size + (1.0 - USAGE_DECAY) * counts
        sizes, dead, fresh = self._revive(sizes, vectors, sample_weight)
        self.cluster_size.assign(sizes)
        self.embeddings.assign(tf.where(dead, fresh, tf.convert_to_tensor(self.embeddings)))
