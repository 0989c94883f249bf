"""A walk in motion space: from noise to one motion vector per frame."""

import keras
import tensorflow as tf
from keras import ops

from keras_genimg.precision import at_least_float32

__all__ = ["MotionWalk"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class MotionWalk(keras.layers.Layer):
    """A gated recurrent unit that turns noise into a motion vector for each frame.

    z_m^(t) = h^(t) = GRU(eps^(t), h^(t-1)), R_M in the paper. The walk starts from separate
    noise, h^(0), so that the start of a motion does not depend on the first step alone.

    It computes in at least 32 bits under every dtype policy: a walk of many steps would
    accumulate rounding errors.

    Call arguments:
        noise: float tensor `(batch, 1 + frames, motion_dim)`: h^(0), then eps^(1), eps^(2), ...
            The number of frames must be static; it may differ between calls.

    Returns:
        float tensor `(batch, frames, motion_dim)`, in (-1, 1) apart from the remainder of h^(0);
        float32 also under a 16-bit policy.

    Example:
    >>> MotionWalk()(keras.random.normal((8, 17, 10))).shape
    (8, 16, 10)

    Reference: Tulyakov et al. (2018), section 3, https://arxiv.org/abs/1707.04993; the unit:
        Cho et al. (2014), https://arxiv.org/abs/1406.1078
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dtype_policy = at_least_float32(self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        units = input_shape[-1]  # eps and h have the same size
        self.cell = keras.layers.GRUCell(units, dtype=self.dtype_policy)
        self.cell.build((None, units))

    def call(self, noise: tf.Tensor) -> tf.Tensor:
        state, *noises = ops.unstack(noise, axis=1)  # (B, 1 + T, d) -> 1 + T times (B, d)
        path = []
        for step in noises:
            state, _ = self.cell(step, [state])
            path.append(state)
        return ops.stack(path, axis=1)  # T times (B, d) -> (B, T, d)

    def compute_output_spec(self, noise: keras.KerasTensor) -> keras.KerasTensor:
        batch, points, units = noise.shape
        return keras.KerasTensor((batch, points and points - 1, units), self.compute_dtype)
