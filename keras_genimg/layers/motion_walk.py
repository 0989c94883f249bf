"""A walk in the space of motions: from noise to a vector a frame that follows on."""

import keras
from keras import ops

__all__ = ["MotionWalk"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class MotionWalk(keras.layers.Layer):
    """A gated recurrent unit that turns noise into a motion vector for each frame.

    z_m^(t) = h^(t) = GRU(eps^(t), h^(t-1)), R_M in the paper. The walk starts from noise of its
    own, h^(0), so that where a motion begins need not come out of the first step.

    Under every dtype policy it computes in 32 bits: a walk of many steps would add up what
    each rounds off.

    Call arguments:
        noise: float tensor `(batch, 1 + frames, motion_dim)`: h^(0), then eps^(1), eps^(2), ...
            The number of frames must be known when the layer is called; it may be another
            one each time.

    Returns:
        float32 tensor `(batch, frames, motion_dim)` in (-1, 1) but for what is left of h^(0).

    Example:
    >>> MotionWalk()(keras.random.normal((8, 17, 10))).shape
    (8, 16, 10)

    Reference: Tulyakov et al. (2018), section 3, https://arxiv.org/abs/1707.04993; the unit:
        Cho et al. (2014), https://arxiv.org/abs/1406.1078
    """

    def __init__(self, **kwargs):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.cell = None

    def build(self, input_shape):
        units = input_shape[-1]  # eps and h have one size
        self.cell = keras.layers.GRUCell(units, dtype="float32")
        self.cell.build((None, units))

    def call(self, noise):
        state, *noises = ops.unstack(noise, axis=1)  # (B, 1 + T, d) -> 1 + T times (B, d)
        path = []
        for step in noises:
            state, _ = self.cell(step, [state])
            path.append(state)
        return ops.stack(path, axis=1)  # T times (B, d) -> (B, T, d)

    def compute_output_spec(self, noise):
        batch, points, units = noise.shape
        return keras.KerasTensor((batch, points and points - 1, units), "float32")
