"""CodeTransformer: grids of codes, one after the other, by causal attention."""

import keras
import tensorflow as tf

from keras_genimg.models.autoregressive import AutoregressiveModel
from keras_genimg.models.checks import check_number
from keras_genimg.networks import CausalTransformer, check_code_shape, check_count
from keras_genimg.optimizers import Adam

__all__ = ["CodeTransformer"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class CodeTransformer(AutoregressiveModel):
    """Transformer over the codes of a VQ model (Esser et al., 2021).

    A grid of codes is read in raster order, and attention to all codes before a position tells
    the distribution of the code there: log p is exact, the sum of what the positions cost.

    Args:
        code_shape: tuple (height, width) of the grid.
        num_embeddings: int. Codes are integers from 0 to num_embeddings - 1.
        features: int. Width of a position, a multiple of `num_heads`.
        layers: int. Blocks of attention and dense layers.
        num_heads: int. Heads of the attention.
        num_classes: int, optional. Makes it conditional: it is trained on `(codes, labels)`,
            and generates by label.
        dropout: float in [0, 1). Rate in each block.
        seed: int, optional. Makes the dropout of training repeatable.

    Logs: `loss` and `nll`, the same number: -log p(codes) in nats, a sum over the grid and a mean
    over the batch; `nats_per_code`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> prior = CodeTransformer(code_shape=(7, 7), num_embeddings=128)
    >>> prior.generate_codes(4, seed=1).shape
    (4, 7, 7)

    Reference: https://arxiv.org/abs/2012.09841, section 3.2
    """

    def __init__(
        self,
        code_shape=(7, 7),
        num_embeddings=128,
        *,
        features=128,
        layers=4,
        num_heads=4,
        num_classes=None,
        dropout=0.0,
        seed=None,
        **kwargs,
    ):
        shape = check_code_shape(code_shape)
        levels = check_count("num_embeddings", num_embeddings)
        super().__init__((), levels, code_shape=shape[:2], num_classes=num_classes, seed=seed, **kwargs)
        self.features = check_count("features", features)
        self.num_layers = check_count("layers", layers)  # Keras has a property `layers`
        self.num_heads = check_count("num_heads", num_heads)
        self.dropout = check_number("dropout", dropout, 0.0, 0.99)
        self.network = CausalTransformer(
            shape, levels, features, layers, num_heads, num_classes, dropout, seed
        )
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Of GPT-2's size Adam takes 6e-4 or less; these are smaller.
        return {"optimizer": Adam(1e-3 if learning_rate is None else learning_rate, beta_2=0.95)}

    def train_step(self, data):
        """One step on -log p(s) = -sum_i log p(s_i | s_<i) (Esser et al., Eq. 9)."""
        values, given, batch = self.unpack(data)  # (B, h, w, 1); {}, or labels (B,)
        with tf.GradientTape() as tape:
            # 1. p(s_i | s_<i) of all positions at once: none attends to what follows it.
            logits = self.network(values, **given, training=True)  # (B, h, w, 1, K)

            # 2. Descend the cross-entropy, in nats a grid.
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
            "features": self.features,
            "layers": self.num_layers,
            "num_heads": self.num_heads,
            "dropout": self.dropout,
        }
