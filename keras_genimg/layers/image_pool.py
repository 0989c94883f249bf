"""A history of generated images, mixed into the inputs of a discriminator."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_count
from keras_genimg.distribution import global_batch, random_uniform, sum_over_replicas, whole_batch
from keras_genimg.precision import at_least_float32

__all__ = ["ImagePool"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class ImagePool(keras.layers.Layer):
    """Stores generated images and returns some of them instead of new ones.

    A discriminator that sees only the newest images forgets the artefacts of earlier
    ones, to which the generator may then return. Until the pool is full, every image is
    stored and passed on. After that each image is, with probability 1/2, exchanged for a
    random one in the pool, which is passed on instead.

    The draws are those of the global batch, no two of its images take the same slot, and
    the pool holds the images of all replicas, the same on each: the number of replicas
    changes nothing. If a batch is larger than the pool, the images without a slot are
    passed on.

    Args:
        pool_size: int. Number of images in the pool.

    Call arguments:
        images: float tensor `(batch, height, width, channels)`.
        seed: int tensor of shape `(2,)`, the same on every replica, for the draws.

    Returns:
        float32 tensor of the same shape; float64 under that policy.

    Raises:
        InputError: a size that is not a positive integer.

    Example:
    >>> ImagePool(50)(keras.ops.ones((8, 28, 28, 1)), seed=tf.constant([1, 2])).shape
    TensorShape([8, 28, 28, 1])

    Reference: Shrivastava et al. (2017), section 2.3, https://arxiv.org/abs/1612.07828, with
        the draws of Zhu et al.'s code
    """

    def __init__(self, pool_size: int, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.pool_size = check_count("pool_size", pool_size)

    def build(self, input_shape):
        shape, dtype = (self.pool_size, *input_shape[1:]), at_least_float32(self.dtype_policy)
        state = {"initializer": "zeros", "autocast": False, "trainable": False}
        self.images = self.add_weight(name="images", shape=shape, dtype=dtype, **state)
        self.filled = self.add_weight(name="filled", shape=(), dtype="int32", **state)

    def call(self, images, seed):
        pool, filled = tf.convert_to_tensor(self.images), tf.convert_to_tensor(self.filled)
        images = tf.cast(images, pool.dtype)
        batch = global_batch(images)
        slots, returns = self._slots(batch.global_size, filled, seed)  # (N,), (N,)

        # 1. What this replica's images are replaced by.
        rows = slice(batch.first, batch.first + batch.size)
        slot, earlier = slots[rows], returns[rows][:, None, None, None]
        shown = tf.where(earlier, tf.gather(pool, tf.maximum(slot, 0)), images)

        # 2. The pool with the images of all replicas in their slots.
        taken = tf.math.unsorted_segment_max(tf.ones_like(slots), slots, self.pool_size) > 0
        fresh = tf.math.unsorted_segment_sum(images, slot, self.pool_size)  # (P, h, w, c)
        fresh = tf.where(taken[:, None, None, None], sum_over_replicas(fresh), pool)
        self.images.assign(fresh)
        self.filled.assign(tf.minimum(filled + batch.global_size, self.pool_size))
        return shown

    def _slots(self, count, filled, seed):
        """The slot that each image of the global batch takes, and whether it is exchanged.

        Args:
            count: int or int32 scalar. Images in the global batch (N).
            filled: int32 scalar. Images in the pool.
            seed: int tensor of shape `(2,)`.

        Returns:
            int32 `(N,)`, each slot at most once and -1 for none; bool `(N,)`.
        """
        longest = tf.maximum(count, self.pool_size)
        draws = random_uniform(whole_batch(longest), (2,), seed)  # (max(N, P), 2) in [0, 1)
        order = tf.argsort(draws[:, 0], stable=True)[:count]  # N distinct numbers
        next_free = filled + tf.range(count)
        fills = next_free < self.pool_size
        returns = ~fills & (order < filled) & (draws[:count, 1] < 0.5)
        return tf.where(fills, next_free, tf.where(returns, order, -1)), returns

    def compute_output_shape(self, input_shape):
        return input_shape

    def load_own_variables(self, store):
        # Keras stores a model's layers by class name, and version 0.1 called this PicturePool.
        path = getattr(store, "_h5_entry_path", None)
        if path and not store.keys():
            store = store.get(path.replace("image_pool", "picture_pool"))
        super().load_own_variables(store)

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size}


# The name in configurations of version 0.1.
keras.saving.get_custom_objects()["keras_genimg>PicturePool"] = ImagePool
