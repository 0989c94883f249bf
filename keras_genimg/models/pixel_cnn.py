"""PixelCNN: pictures or grids of codes, one value after the other (van den Oord et al., 2016)."""

import keras
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.models.autoregressive import AutoregressiveModel
from keras_genimg.models.checks import check_number
from keras_genimg.networks import GatedPixelCNN, check_code_shape, check_count, check_image_shape
from keras_genimg.optimizers import Adam

__all__ = ["PixelCNN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class PixelCNN(AutoregressiveModel):
    """Gated PixelCNN (van den Oord et al., 2016).

    A picture is read in raster order, and a network of masked convolutions tells at every
    position the distribution of its value from all values before it: log p(x) is exact, the sum
    of what the positions cost. It learns pictures, or grids of codes such as a VQ-VAE makes,
    whose prior it then is.

    Args:
        image_shape: tuple (height, width, channels), of any size, to learn pictures.
        levels: int. Values that a channel of a picture can take, evenly from -1 to 1: 256 for
            8-bit pictures; 2 for black and white, with a threshold at 0.
        code_shape: tuple (height, width), to learn codes instead of pictures.
        num_embeddings: int. Codes are integers from 0 to num_embeddings - 1.
        filters: int. Features of each stack, a multiple of the picture's channels.
        layers: int. Gated layers.
        kernel_size: odd int of at least 3. Of the layers after the first.
        first_kernel_size: odd int of at least 3. Of the first layer. A position sees
            first_kernel_size // 2 + (layers - 1) * (kernel_size // 2) positions to each side,
            and one row more upwards.
        num_classes: int, optional. Makes it conditional: it is trained on `(images, labels)`
            or `(codes, labels)`, and generates by label.
        condition_shape: tuple (height, width), optional, of a grid no larger than the codes'. Codes
            of such a grid are then given to all positions of the codes, those that lie over a
            position above all (section 2.3). It is trained on `(codes, condition)`, with classes
            on `(codes, (labels, condition))`, and generates by condition.
        condition_embeddings: int. The condition's codes are integers from 0 to
            condition_embeddings - 1.
        dropout: float in [0, 1). Rate in each gated layer.
        seed: int, optional. Makes the dropout of training repeatable.

    `generate` (of pictures) and `generate_codes` also take `temperature`, by which logits are
    divided: 1 by default, less for likelier pictures.

    Logs: `loss` and `nll`, the same number: -log p(x) in nats, a sum over the picture's values
    and a mean over the batch. For codes also `nats_per_code`, for pictures `bits_per_dim`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> pixel_cnn = PixelCNN(image_shape=(28, 28, 1), levels=2)
    >>> pixel_cnn.compile()
    >>> pixel_cnn.log_likelihood(-np.ones((4, 28, 28, 1), "float32")).shape
    (4,)
    >>> prior = PixelCNN(code_shape=(7, 7), num_embeddings=128)
    >>> prior.generate_codes(4, seed=1).shape
    (4, 7, 7)

    Reference: https://arxiv.org/abs/1606.05328
    """

    def __init__(
        self,
        image_shape=None,
        levels=None,
        *,
        code_shape=None,
        num_embeddings=None,
        filters=48,
        layers=5,
        kernel_size=3,
        first_kernel_size=7,
        num_classes=None,
        condition_shape=None,
        condition_embeddings=None,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        of_codes = code_shape is not None or num_embeddings is not None
        if of_codes and (image_shape is not None or levels is not None):
            raise InputError(
                "PixelCNN takes image_shape and levels, or code_shape and num_embeddings. "
                f"Received: image_shape={image_shape!r}, levels={levels!r}, "
                f"code_shape={code_shape!r}, num_embeddings={num_embeddings!r}."
            )
        if of_codes:
            shape = check_code_shape(code_shape)
            num_levels = check_count("num_embeddings", num_embeddings)
        else:
            shape = (28, 28, 1) if image_shape is None else image_shape
            shape = check_image_shape(shape, default_networks=False)
            num_levels = check_count("levels", 256 if levels is None else levels, minimum=2)
        super().__init__(
            () if of_codes else shape, num_levels, shape[:2] if of_codes else None, num_classes, seed,
            **kwargs,
        )
        self._take_condition(condition_shape, condition_embeddings)
        self.filters = check_count("filters", filters)
        if filters % shape[2]:
            raise InputError(
                "filters must be a multiple of the channels of a picture. "
                f"Received: filters={filters} for {shape[2]} channels."
            )
        self.num_layers = check_count("layers", layers)  # Keras has a property `layers`
        for name, size in (("kernel_size", kernel_size), ("first_kernel_size", first_kernel_size)):
            if type(size) is not int or size < 3 or size % 2 == 0:
                raise InputError(
                    f"{name} must be an odd integer of at least 3. Received: {name}={size!r}."
                )
        self.kernel_size, self.first_kernel_size = kernel_size, first_kernel_size
        self.dropout = check_number("dropout", dropout, 0.0, 0.99)
        self.network = GatedPixelCNN(
            shape,
            num_levels,
            of_codes,
            filters,
            layers,
            kernel_size,
            first_kernel_size,
            num_classes,
            dropout,
            seed,
            self.condition_shape,
            self.condition_embeddings,
        )
        self.built = True

    def _take_condition(self, shape, embeddings):
        if shape is None and embeddings is None:
            return
        try:
            shape = check_code_shape(shape)[:2]
            fits = shape[0] <= self.code_shape[0] and shape[1] <= self.code_shape[1]
        except (InputError, TypeError):  # a shape that is none; or pictures instead of codes
            fits = False
        if not fits:
            raise InputError(
                "condition_shape must be (height, width), in neither more than code_shape. "
                f"Received: condition_shape={shape!r}, code_shape={self.code_shape!r}."
            )
        self.condition_shape = shape
        self.condition_embeddings = check_count("condition_embeddings", embeddings)

    def default_optimizers(self, learning_rate=None):
        # Adam in place of the paper's RMSProp, whose rate it does not tell.
        return {"optimizer": Adam(1e-3 if learning_rate is None else learning_rate)}

    def train_step(self, data):
        """One step on -log p(x) = -sum_i log p(x_i | x_1, ..., x_(i-1)) (Eq. 1)."""
        values, given, batch = self.unpack(data)  # (B, h, w, c); {}, or labels, a condition
        with tf.GradientTape() as tape:
            # 1. p(x_i | x_<i) of all positions at once: the masks hide x_i and what follows.
            logits = self.network(values, **given, training=True)  # (B, h, w, c, levels)

            # 2. Descend the cross-entropy, in nats a picture.
            loss = tf.reduce_mean(self.nats(values, logits))
            shared_loss = loss * batch.share
        weights = self.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 3. Logs.
        return self.log_terms(batch, loss)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "layers": self.num_layers,
            "kernel_size": self.kernel_size,
            "first_kernel_size": self.first_kernel_size,
            "condition_shape": self.condition_shape and list(self.condition_shape),
            "condition_embeddings": self.condition_embeddings,
            "dropout": self.dropout,
        }
