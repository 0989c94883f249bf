"""CodeTransformer: a causal transformer over grids of codes."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_code_shape, check_count, check_number
from keras_genimg.core import AutoregressiveModel, Codes, dtype_policy
from keras_genimg.errors import InputError
from keras_genimg.networks import CausalTransformer
from keras_genimg.optimizers import Adam

__all__ = ["CodeTransformer"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class CodeTransformer(AutoregressiveModel):
    """Transformer over the codes of a VQ model (Esser et al., 2021).

    A grid of codes is read in raster order. Attention to all earlier codes gives the
    distribution of each code, so log p is exact: the sum over the positions.

    Args:
        code_shape: tuple (height, width) of the grid.
        num_embeddings: int. Codes are integers from 0 to num_embeddings - 1.
        features: int. Width of a position, a multiple of `num_heads`.
        layers: int. Blocks of attention and dense layers.
        num_heads: int. Heads of the attention.
        num_classes: int, optional. Makes the model conditional: it is trained on `(codes, labels)`,
            and generates by label.
        dropout: float in [0, 1). Rate in each block.
        label_dropout: float in [0, 1). Share of the labels that are left out in training, so that
            the model also learns the unconditional distribution; guidance usually has 0.1.
        guidance_scale: float of at least 1. Above 1, generated codes follow their class more
            (classifier-free guidance): the logits are l + (scale - 1) (l - l'), where l' are those
            without a class. Needs `label_dropout`; each code then takes two forward passes.
            Likelihoods are those without guidance.
        seed: int, optional. Makes the dropout in training reproducible.

    `generate_codes`, and `generate` of the model that holds this one as its prior, also take
    `temperature`, `top_k` and `top_p`, see `PixelCNN`. Keys and values of earlier codes are cached,
    so that each code costs one position.

    Logs: `loss` and `nll`, both -log p(codes) in nats, summed over the grid and averaged over the
    batch; `nats_per_code`.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> prior = CodeTransformer(code_shape=(7, 7), num_embeddings=128)
    >>> prior.generate_codes(4, seed=1).shape
    (4, 7, 7)

    Reference: https://arxiv.org/abs/2012.09841, section 3.2; guidance: Gafni et al. (2022),
        https://arxiv.org/abs/2203.13131
    """

    data = Codes()
    makes = "codes"
    about = "causal transformer over codes"
    paper = "Esser et al., 2021"
    weighs_images = True

    def __init__(
        self, code_shape=(7, 7), num_embeddings: int = 128, *, features: int = 128,
        layers: int = 4, num_heads: int = 4, num_classes: int | None = None, dropout: float = 0.0,
        label_dropout: float = 0.0, guidance_scale: float = 1.0, seed: int | None = None, **kwargs,
    ):
        shape = check_code_shape(code_shape)
        levels = check_count("num_embeddings", num_embeddings)
        super().__init__(None, levels, shape, num_classes, seed=seed, **kwargs)
        check_number("label_dropout", label_dropout, 0.0, 0.99)
        check_number("guidance_scale", guidance_scale, low=1.0)
        if label_dropout and num_classes is None:
            raise InputError(
                "label_dropout needs num_classes (keras-genimg prior --by-class). "
                f"Received: label_dropout={label_dropout}."
            )
        if guidance_scale != 1.0 and not label_dropout:
            raise InputError(
                "guidance_scale needs a label_dropout above 0. "
                f"Received: guidance_scale={guidance_scale}, label_dropout=0."
            )
        with dtype_policy(self.dtype_policy):
            self.network = CausalTransformer(
                (*shape, 1),
                levels,
                check_count("features", features),
                check_count("layers", layers),
                check_count("num_heads", num_heads),
                num_classes,
                check_number("dropout", dropout, 0.0, 0.99),
                seed,
                label_dropout,
                guidance_scale,
            )
        self.built = True

    @property
    def guidance_scale(self) -> float:
        """The scale of the guidance, as constructed."""
        return self.network.guidance_scale

    def default_optimizers(self, learning_rate=None):
        # At the size of GPT-2 Adam needs 6e-4 or less; these models are smaller.
        return {"optimizer": Adam(1e-3 if learning_rate is None else learning_rate, beta_2=0.95)}

    def train_step(self, data):
        """One update on -log p(s) = -sum_i log p(s_i | s_<i) (Esser et al., Eq. 9)."""
        values, given, batch = self.unpack(data)  # (B, h, w, 1); {}, or labels (B,)
        with tf.GradientTape() as tape:
            # 1. p(s_i | s_<i) of all positions at once: none attends to later ones.
            logits = self.network(values, **given, training=True)  # (B, h, w, 1, K)

            # 2. Descend the cross-entropy, in nats per grid.
            loss = batch.mean(self.nats(values, logits))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)
        self.optimizer.apply_gradients(zip(gradients, weights))

        # 3. Logs.
        return self.log_terms(batch, loss)
