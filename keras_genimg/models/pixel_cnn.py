"""PixelCNN: images or grids of codes, value by value (van den Oord et al., 2016)."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_code_shape, check_count, check_number, is_integer
from keras_genimg.core import AutoregressiveModel, dtype_policy
from keras_genimg.errors import InputError
from keras_genimg.networks import GatedPixelCNN
from keras_genimg.optimizers import Adam

__all__ = ["PixelCNN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class PixelCNN(AutoregressiveModel):
    """Gated PixelCNN (van den Oord et al., 2016).

    An image is read in raster order. A network of masked convolutions gives the distribution of
    each value given all earlier ones, so log p(x) is exact: the sum over the positions. It
    models images, or grids of codes such as those of a VQ-VAE, as a prior for it.

    Args:
        image_shape: tuple (height, width, channels), of any size, to model images.
        levels: int. Number of values of an image's channel, evenly spaced from -1 to 1: 256 for
            8-bit images; 2 for binarised ones, with a threshold at 0.
        code_shape: tuple (height, width), to model codes instead of images.
        num_embeddings: int. Codes are integers from 0 to num_embeddings - 1.
        filters: int. Features of each stack, a multiple of the image's channels.
        layers: int. Gated layers.
        kernel_size: odd int of at least 3, for the layers after the first.
        first_kernel_size: odd int of at least 3, for the first layer. The receptive field reaches
            first_kernel_size // 2 + (layers - 1) * (kernel_size // 2) positions to each side,
            and one more row upwards.
        num_classes: int, optional. Makes the model conditional: it is trained on `(images, labels)`
            or `(codes, labels)`, and generates by label.
        condition_shape: tuple (height, width), optional. Shape of a grid of codes, no larger than
            `code_shape`, that each position is conditioned on, most directly on the code that
            covers it (section 2.3). The model is trained on `(codes, condition)`, with classes on
            `(codes, (labels, condition))`, and generates by condition.
        condition_embeddings: int. The condition's codes are integers from 0 to
            condition_embeddings - 1.
        dropout: float in [0, 1). Rate in each gated layer.
        seed: int, optional. Makes the dropout in training reproducible.

    `generate` (of images) and `generate_codes` also take `temperature`, by which logits are
    divided (1 by default, below 1 for likelier images), `top_k` and `top_p`, which exclude unlikely
    values (None by default).

    Logs: `loss` and `nll`, both -log p(x) in nats, summed over the image's values and averaged
    over the batch. For codes also `nats_per_code`, for images `bits_per_dim`.

    Raises:
        InputError: invalid arguments.

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

    about = "gated autoregressive CNN"
    paper = "van den Oord et al., 2016"
    weighs_images = True

    def __init__(
        self, image_shape=None, levels: int | None = None, *, code_shape=None,
        num_embeddings: int | None = None, filters: int = 48, layers: int = 5,
        kernel_size: int = 3, first_kernel_size: int = 7, num_classes: int | None = None,
        condition_shape=None, condition_embeddings: int | None = None, dropout: float = 0.0,
        seed: int | None = None, **kwargs,
    ):
        of_codes = code_shape is not None or num_embeddings is not None
        if of_codes and (image_shape is not None or levels is not None):
            raise InputError(
                "PixelCNN takes image_shape and levels, or code_shape and num_embeddings. "
                f"Received: image_shape={image_shape!r}, levels={levels!r}, "
                f"code_shape={code_shape!r}, num_embeddings={num_embeddings!r}."
            )
        if of_codes:
            code_shape = check_code_shape(code_shape)
            levels = check_count("num_embeddings", num_embeddings)
        else:
            image_shape = (28, 28, 1) if image_shape is None else image_shape
            levels = check_count("levels", 256 if levels is None else levels, minimum=2)
        super().__init__(
            image_shape, levels, code_shape, num_classes, condition_shape, condition_embeddings,
            seed, **kwargs,
        )
        shape = (*code_shape, 1) if of_codes else self.image_shape
        check_count("filters", filters)
        if filters % shape[2]:
            raise InputError(
                "filters must be a multiple of the channels of an image. "
                f"Received: filters={filters} for {shape[2]} channels."
            )
        for name, size in (("kernel_size", kernel_size), ("first_kernel_size", first_kernel_size)):
            if not is_integer(size) or size < 3 or size % 2 == 0:
                raise InputError(
                    f"{name} must be an odd integer of at least 3. Received: {name}={size!r}."
                )
        with dtype_policy(self.dtype_policy):
            self.network = GatedPixelCNN(
                shape,
                levels,
                of_codes,
                filters,
                check_count("layers", layers),
                kernel_size,
                first_kernel_size,
                num_classes,
                check_number("dropout", dropout, 0.0, 0.99),
                seed,
                self.condition_shape,
                self.condition_embeddings,
            )
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Adam instead of the paper's RMSProp, whose rate is not given.
        return {"optimizer": Adam(1e-3 if learning_rate is None else learning_rate)}

    def train_step(self, data):
        """One update on -log p(x) = -sum_i log p(x_i | x_1, ..., x_(i-1)) (Eq. 1)."""
        values, given, batch = self.unpack(data)  # (B, h, w, c); {}, or labels, a condition
        with tf.GradientTape() as tape:
            # 1. p(x_i | x_<i) of all positions at once: the masks hide x_i and all later values.
            logits = self.network(values, **given, training=True)  # (B, h, w, c, levels)

            # 2. Descend the cross-entropy, in nats per image.
            loss = batch.mean(self.nats(values, logits))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 3. Logs.
        return self.log_terms(batch, loss)
