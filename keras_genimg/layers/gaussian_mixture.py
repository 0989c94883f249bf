"""A mixture of Gaussians: fitted once, then sampled."""

import math

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg import distribution
from keras_genimg.checks import check_count
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["GaussianMixture"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class GaussianMixture(keras.layers.Layer):
    """p(z) = sum_k w_k N(z; m_k, C_k), with full covariances, fitted by expectation maximisation.

    Args:
        num_components: int. Number of Gaussians (k).
        dim: int. Length of z.

    Call arguments:
        z: float tensor `(n, dim)`.

    Returns:
        float tensor `(n,)`: log p(z), nats; float32 also under a 16-bit policy.

    Raises:
        InputError: sizes that are not positive integers.

    Example:
    >>> mixture = GaussianMixture(num_components=3, dim=2)
    >>> mixture.fit(np.random.default_rng(0).normal(size=(200, 2)))
    >>> mixture.sample(5, seed=(1, 0)).shape
    TensorShape([5, 2])

    Reference: Bishop (2006), Pattern Recognition and Machine Learning, section 9.2.2; fitted
        after an autoencoder is trained: Ghosh et al. (2020), https://arxiv.org/abs/1903.12436
    """

    def __init__(self, num_components: int, dim: int, **kwargs):
        super().__init__(**kwargs)
        self.dtype_policy = at_least_float32(self.dtype_policy)
        self.num_components = check_count("num_components", num_components)
        self.dim = check_count("dim", dim)
        equal = keras.initializers.Constant(1.0 / num_components)
        self.shares = self.add_weight((num_components,), equal, trainable=False, name="shares")
        self.means = self.add_weight((num_components, dim), "zeros", trainable=False, name="means")
        shape = (num_components, dim, dim)  # C_k = L_k L_k^T, L_k triangular
        self.factors = self.add_weight(shape, _identity, trainable=False, name="factors")
        self.built = True

    def call(self, z: tf.Tensor) -> tf.Tensor:
        factors = tf.convert_to_tensor(self.factors)
        offsets = z[None] - tf.convert_to_tensor(self.means)[:, None]  # (k, n, d)
        offsets = tf.linalg.matrix_transpose(offsets)  # (k, n, d) -> (k, d, n)
        whitened = tf.linalg.triangular_solve(factors, offsets)  # (k, d, n)
        log_volumes = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(factors)), axis=-1)  # (k,)
        constants = tf.math.log(tf.convert_to_tensor(self.shares)) - log_volumes
        constants -= 0.5 * self.dim * math.log(2.0 * math.pi)
        return tf.reduce_logsumexp(
            constants[:, None] - 0.5 * tf.reduce_sum(whitened**2, axis=1), axis=0
        )

    def sample(self, count: int | tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws z ~ p(z).

        Args:
            count: int or int32 scalar.
            seed: int tensor of shape `(2,)`.

        Returns:
            float tensor `(count, dim)`, the same for the same count and seed.
        """
        batch, seed = distribution.whole_batch(count), tf.cast(seed, tf.int64)
        dtype = self.compute_dtype
        uniform = distribution.random_uniform(batch, (1,), seed, dtype=dtype)  # (n, 1)
        ends = tf.cumsum(tf.convert_to_tensor(self.shares))[:-1]
        component = tf.reduce_sum(tf.cast(uniform >= ends, tf.int32), axis=-1)  # (n,)
        noise = distribution.random_normal(batch, (self.dim,), seed + [0, 1], dtype)
        turned = tf.linalg.matvec(tf.gather(tf.convert_to_tensor(self.factors), component), noise)
        return tf.gather(tf.convert_to_tensor(self.means), component) + turned

    def fit(
        self, z: ArrayLike, *, iterations: int = 100, tolerance: float = 1e-4, seed: int = 0
    ) -> list:
        """Fits the mixture by expectation maximisation, from the centres of k-means++.

        Args:
            z: float array `(n, dim)`, n above num_components.
            iterations: int. Maximum number of iterations.
            tolerance: float. Stops when an iteration adds less to the mean log-likelihood, in
                nats.
            seed: int. Seed of the initial centres.

        Returns:
            list of floats: the mean log p(z) before each iteration.

        Raises:
            InputError: vectors that are of the wrong length, too few, or not finite.
        """
        z = np.asarray(z, "float64")
        if z.ndim != 2 or z.shape[1] != self.dim or len(z) <= self.num_components:
            raise InputError(
                f"fit takes more than {self.num_components} vectors of length {self.dim}. "
                f"Received: an array of shape {z.shape}."
            )
        if not np.isfinite(z).all():
            raise InputError("fit takes finite vectors. Received: some that are not.")
        floor = 1e-6 * z.var(axis=0).mean() + 1e-12  # no Gaussian may collapse onto one vector
        shares, means, factors = _start(z, self.num_components, floor, np.random.default_rng(seed))
        history = []
        for _ in range(iterations):
            # 1. Expectation: the responsibility of each Gaussian for each vector.
            log_joint = np.log(shares) + _log_normal(z, means, factors)  # (n, k)
            log_p = np.logaddexp.reduce(log_joint, axis=1)
            history.append(float(log_p.mean()))
            if len(history) > 1 and history[-1] - history[-2] < tolerance:
                break
            weights = np.exp(log_joint - log_p[:, None])

            # 2. Maximisation: the weighted moments.
            totals = weights.sum(axis=0) + 1e-10
            shares, means = totals / totals.sum(), weights.T @ z / totals[:, None]
            for k in range(self.num_components):
                offsets = z - means[k]
                covariance = (weights[:, k, None] * offsets).T @ offsets / totals[k]
                factors[k] = np.linalg.cholesky(covariance + floor * np.eye(self.dim))
        self.shares.assign(shares)
        self.means.assign(means)
        self.factors.assign(factors)
        return history

    def get_config(self) -> dict:
        return {**super().get_config(), "num_components": self.num_components, "dim": self.dim}


def _identity(shape, dtype=None):
    return tf.eye(shape[1], batch_shape=shape[:1], dtype=dtype or "float32")


def _start(z, count, floor, rng):
    """Equal shares, centres by k-means++, the covariance of all vectors."""
    centres = [z[rng.integers(len(z))]]
    distances = ((z - centres[0]) ** 2).sum(axis=1)
    for _ in range(count - 1):
        total = distances.sum()
        chances = distances / total if total > 0 else None
        centres.append(z[rng.choice(len(z), p=chances)])
        distances = np.minimum(distances, ((z - centres[-1]) ** 2).sum(axis=1))
    covariance = np.atleast_2d(np.cov(z.T)) + floor * np.eye(z.shape[1])
    factors = np.repeat(np.linalg.cholesky(covariance)[None], count, axis=0)
    return np.full(count, 1.0 / count), np.stack(centres), factors


def _log_normal(z, means, factors):
    """log N(z; m_k, L_k L_k^T): `(n, k)`."""
    columns = []
    for mean, factor in zip(means, factors):
        whitened = np.linalg.solve(factor, (z - mean).T)
        constant = np.log(np.diag(factor)).sum() + 0.5 * len(mean) * math.log(2.0 * math.pi)
        columns.append(-0.5 * (whitened**2).sum(axis=0) - constant)
    return np.stack(columns, axis=1)
