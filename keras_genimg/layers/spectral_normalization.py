"""Weights divided by their largest singular value, with the gradient through it."""

import keras
import tensorflow as tf
from keras import ops

from keras_genimg.checks import check_count
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["SpectralNormalization"]

# Kind of layer -> axis of its kernel that holds the outputs.
OUTPUT_AXES = {
    keras.layers.Dense: 1,  # (in, out)
    keras.layers.Conv2D: 3,  # (h, w, in, out)
    keras.layers.Conv3D: 4,  # (t, h, w, in, out)
    keras.layers.Conv2DTranspose: 2,  # (h, w, out, in)
    keras.layers.Embedding: 1,  # (in, out)
}


def _output_axis(layer):
    return next((axis for kind, axis in OUTPUT_AXES.items() if isinstance(layer, kind)), None)


def _unit(vector, otherwise):
    """`vector` at length 1, or `otherwise` where its length is 0."""
    length = ops.norm(vector)
    return ops.where(length > 0, vector / ops.where(length > 0, length, 1.0), otherwise)


@keras.saving.register_keras_serializable(package="keras_genimg")
class SpectralNormalization(keras.layers.Wrapper):
    """Runs a layer with W / sigma(W) in place of its kernel W.

    sigma is the largest singular value of W, reshaped to one row per output
    channel, and follows from power iteration: v = W^T u / |W^T u|, then u = W v / |W v|,
    sigma = u^T W v. Each call does `power_iterations` of them, from the u of the
    last training call.

    u and v are constants, but W in sigma is not: the gradient with respect to W is
    (G - <G, W / sigma> u v^T) / sigma, with G the gradient with respect to W / sigma
    (Eq. 12). Keras's layer of this name overwrites the kernel with its normalised
    value and passes no gradient through sigma; here the kernel stays W.

    Args:
        layer: `Dense`, `Conv2D`, `Conv3D`, `Conv2DTranspose` or `Embedding`. Its dtype policy
            applies; sigma is computed in at least float32.
        power_iterations: int. Power iterations per call.

    Call arguments:
        inputs: inputs of `layer`.
        training: bool. Whether to keep u for the next call, unless the layer is frozen.

    Returns:
        outputs of `layer`.

    Raises:
        InputError: another kind of layer; `power_iterations` below 1.

    Example:
    >>> layer = SpectralNormalization(keras.layers.Conv2D(16, 3, padding="same"))
    >>> layer(keras.ops.ones((8, 7, 7, 3)), training=True).shape
    (8, 7, 7, 16)

    Reference: Miyato et al. (2018), Algorithm 1, https://arxiv.org/abs/1802.05957
    """

    def __init__(self, layer: keras.Layer, power_iterations: int = 1, **kwargs):
        if _output_axis(layer) is None:
            kinds = ", ".join(kind.__name__ for kind in OUTPUT_AXES)
            raise InputError(
                f"SpectralNormalization wraps one of {kinds}. Received: layer={layer!r}."
            )
        # Under a 16-bit policy W is still read in 32 bits, here and by a model around this. The
        # wrapped layer casts its inputs and its normalised kernel by itself.
        dtype = at_least_float32(layer.dtype_policy)
        super().__init__(layer, autocast=False, **{**kwargs, "dtype": dtype})
        self.power_iterations = check_count("power_iterations", power_iterations)

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        self.u = self.add_weight(
            name="u",
            shape=(self.kernel.shape[_output_axis(self.layer)],),
            initializer=keras.initializers.RandomNormal(stddev=1.0),  # each layer draws its own
            trainable=False,
            # Every replica computes the same u, from the same W.
            aggregation="only_first_replica",
        )

    @property
    def kernel(self) -> keras.Variable:
        """The variable W of the wrapped layer."""
        embedding = isinstance(self.layer, keras.layers.Embedding)
        return self.layer.embeddings if embedding else self.layer.kernel

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        kernel = ops.convert_to_tensor(self.kernel, dtype=self.u.dtype)
        matrix = ops.moveaxis(kernel, _output_axis(self.layer), 0)
        matrix = ops.reshape(matrix, (self.u.shape[0], -1))  # (out, h, w, in) -> (out, h*w*in)

        # 1. u and v by power iteration, constants to the gradient.
        constant = ops.stop_gradient(matrix)
        u, v = ops.convert_to_tensor(self.u), ops.zeros((matrix.shape[1],), kernel.dtype)
        for _ in range(self.power_iterations):
            v = _unit(ops.matmul(u, constant), otherwise=v)  # (h*w*in,)
            u = _unit(ops.matmul(constant, v), otherwise=u)  # (out,)
        if training and self.trainable:
            self.u.assign(u)

        # 2. sigma = u^T W v; a kernel of zeros stays as it is.
        sigma = ops.sum(u * ops.matmul(matrix, v))
        sigma = ops.where(sigma > 0, sigma, 1.0)

        # 3. The wrapped layer's call, which in this scope reads W / sigma for W.
        values = [(variable, variable.value) for variable in self.layer.variables]
        with keras.StatelessScope([*values, (self.kernel, kernel / sigma)]):
            return self.layer(inputs)

    def compute_output_spec(
        self, inputs: keras.KerasTensor, training: bool = False
    ) -> keras.KerasTensor:
        return self.layer.compute_output_spec(inputs)

    def get_config(self) -> dict:
        return {**super().get_config(), "power_iterations": self.power_iterations}
