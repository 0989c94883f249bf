"""Earlier pictures of a generator, shown to its discriminator among the newest."""

import keras
import tensorflow as tf

from keras_genimg.distribution import global_batch, random_uniform, sum_over_replicas, whole_batch
from keras_genimg.errors import InputError

__all__ = ["PicturePool"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class PicturePool(keras.layers.Layer):
    """Keeps generated pictures and gives some of them back in place of new ones.

    A discriminator that sees only the newest pictures forgets the faults of earlier
    ones, to which the generator may then return. While there is room in the pool a
    picture is kept and handed on. Then half of the pictures, by the toss of a coin,
    take the place of a random one in the pool, which is handed on instead.

    The tosses are those of the global batch, each picture has a place of its own in
    the pool, and the pool holds pictures of all replicas, the same on each: replicas
    change nothing. In a batch of more pictures than the pool has places, those
    without a place are handed on.

    Args:
        pool_size: int. Pictures in the pool.

    Call arguments:
        images: float tensor `(batch, height, width, channels)`.
        seed: int tensor of shape `(2,)`, the same on every replica. Of the tosses.

    Returns:
        float32 tensor of the same shape.

    Raises:
        InputError: a size that is no positive integer.

    Example:
    >>> PicturePool(50)(keras.ops.ones((8, 28, 28, 1)), seed=tf.constant([1, 2])).shape
    TensorShape([8, 28, 28, 1])

    Reference: Shrivastava et al. (2017), section 2.3, https://arxiv.org/abs/1612.07828, with
        the tosses of Zhu et al.'s code
    """

    def __init__(self, pool_size, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if isinstance(pool_size, bool) or not isinstance(pool_size, int) or pool_size < 1:
            raise InputError(
                f"pool_size must be a positive integer. Received: pool_size={pool_size!r}."
            )
        self.pool_size = pool_size

    def build(self, input_shape):
        self.pictures = self.add_weight(
            name="pictures", shape=(self.pool_size, *input_shape[1:]), initializer="zeros",
            dtype="float32", autocast=False, trainable=False,
        )
        self.filled = self.add_weight(
            name="filled", shape=(), initializer="zeros", dtype="int32", autocast=False,
            trainable=False,
        )

    def call(self, images, seed):
        images = tf.cast(images, tf.float32)
        pictures, filled = tf.convert_to_tensor(self.pictures), tf.convert_to_tensor(self.filled)
        batch = global_batch(images)
        places, returns = self._places(batch.global_size, filled, seed)  # (N,), (N,)

        # 1. What the rows of this replica's pictures are given back.
        rows = slice(batch.first, batch.first + batch.size)
        place, earlier = places[rows], returns[rows][:, None, None, None]
        shown = tf.where(earlier, tf.gather(pictures, tf.maximum(place, 0)), images)

        # 2. The pool with the pictures of all replicas in their places.
        taken = tf.math.unsorted_segment_max(tf.ones_like(places), places, self.pool_size) > 0
        fresh = tf.math.unsorted_segment_sum(images, place, self.pool_size)  # (P, h, w, c)
        fresh = sum_over_replicas(fresh)
        self.pictures.assign(tf.where(taken[:, None, None, None], fresh, pictures))
        self.filled.assign(tf.minimum(filled + batch.global_size, self.pool_size))
        return shown

    def _places(self, count, filled, seed):
        """The place that each picture of the global batch takes, and who gets one back.

        Args:
            count: int or int32 scalar. Pictures of the global batch (N).
            filled: int32 scalar. Pictures in the pool.
            seed: int tensor of shape `(2,)`.

        Returns:
            int32 `(N,)`, no place twice and -1 for none; bool `(N,)`.
        """
        longest = tf.maximum(count, self.pool_size)
        draws = random_uniform(whole_batch(longest), (2,), seed)  # (max(N, P), 2) in [0, 1)
        order = tf.argsort(draws[:, 0], stable=True)[:count]  # N different numbers
        next_free = filled + tf.range(count)
        fills = next_free < self.pool_size
        returns = ~fills & (order < filled) & (draws[:count, 1] < 0.5)
        return tf.where(fills, next_free, tf.where(returns, order, -1)), returns

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size}
