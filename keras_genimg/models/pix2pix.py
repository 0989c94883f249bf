"""Pix2Pix: paired image-to-image translation of Isola et al. (2017)."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_number
from keras_genimg.core import Pairs, TranslationModel, adam_pair, mean_scores
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.networks import patchgan_discriminator, unet

__all__ = ["Pix2Pix"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class Pix2Pix(TranslationModel):
    """Paired translation by a conditional GAN (Isola et al., 2017).

    A generator G maps an image x to an estimate of its target y. A discriminator D takes x
    and an image, and classifies each patch of the image as from y or from G(x). The model is
    trained on `(inputs, targets)`, such as corrupted and original images, see
    `data.corrupted_pairs`, or two drawings of the same things, see `data.load_pairs`.

    Args:
        image_shape: tuple (height, width, channels) of the targets; with the default
            networks height and width are multiples of 4 from 16 to 256.
        source_shape: tuple (height, width, channels) of the inputs, `image_shape` by
            default; the default networks need the same height and width.
        l1_weight: float. Weight of the mean absolute error (lambda in Eq. 4).
        adversarial_weight: float. Weight of the adversarial loss; 0 trains G on the mean
            absolute error alone and leaves D unchanged.
        generator: custom `keras.Model`, inputs to images in [-1, 1].
        discriminator: custom `keras.Model`, `[inputs, images]` to logits
            `(batch, h', w', 1)`, one per patch.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Makes the dropout in training reproducible.

    Logs: `g_loss` (the whole loss of G) and `l1_loss` (the mean absolute error); with an
    adversarial loss also `d_loss` and the mean of sigmoid(logit) on targets and on
    translations, `real_score` and `fake_score`.

    Differences: `translate` uses the moving moments of batch normalisation and no dropout, so that
    a translation does not depend on its batch or on chance. The paper runs G at test time as in
    training: `model(images, training=True)`, which also updates the moving moments. The default
    networks are smaller, with one layer of dropout instead of three.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> model = Pix2Pix(image_shape=(32, 32, 3), source_shape=(32, 32, 1))
    >>> model.compile()
    >>> model.translate(np.zeros((4, 32, 32, 1), "float32")).shape
    (4, 32, 32, 3)

    Reference: https://arxiv.org/abs/1611.07004
    """

    data = Pairs("inputs", "targets", "source_shape", "image_shape", aligned=True)
    about = "paired translation, restoration"
    paper = "Isola et al., 2017"

    def __init__(
        self, image_shape=(32, 32, 3), source_shape=None, *, l1_weight: float = 100.0,
        adversarial_weight: float = 1.0, generator=None, discriminator=None,
        loss="non_saturating", seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, source_shape, seed, **kwargs)
        self.l1_weight = check_number("l1_weight", l1_weight)
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight)
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.generator = self.make_network(
            "generator", generator, lambda: unet(self.source_shape, self.image_shape, seed=seed),
            takes=self.source_shape, makes=self.image_shape,
        )
        self.discriminator = self.make_network(
            "discriminator", discriminator,
            lambda: patchgan_discriminator(self.image_shape, self.source_shape),
            takes=[self.source_shape, self.image_shape], makes=("rows", "columns", 1),
        )
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Section 3.3: Adam, 2e-4, beta_1 of 0.5. The paper also halves the objective of D;
        # Adam's updates do not depend on such a factor.
        return adam_pair(2e-4 if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Section 3.3 of Isola et al. (2017): an update of D, then one of G, on pairs (x, y)."""
        inputs, targets, batch = self.unpack(data)  # x: (B, h, w, d), y: (B, h, w, c)

        # 1. Translations G(x), with dropout as the noise.
        with tf.GradientTape() as generator_tape:
            outputs = self.generator(inputs, training=True)  # (B, h, w, c)
            l1_loss = tf.reduce_mean(tf.abs(targets - outputs))

        # 2. Discriminator, conditioned on x (Eq. 1): descend -log D(x, y) - log(1 - D(x, G(x))),
        #    or another `loss`.
        d_logs = {}
        if self.adversarial_weight:
            with tf.GradientTape() as tape:
                real_logits = self.discriminator([inputs, targets], training=True)  # (B, h', w', 1)
                fake_logits = self.discriminator([inputs, outputs], training=True)
                d_loss = self.discriminator_loss(real_logits, fake_logits)
            weights = self.discriminator.trainable_variables
            gradients = tape.gradient(d_loss, weights, batch.share)
            self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
            d_logs = {"d_loss": d_loss, **mean_scores(real_logits, fake_logits)}

        # 3. Generator, through the updated D (Eq. 4 in its non-saturating form):
        #    descend -log D(x, G(x)) + lambda E||y - G(x)||_1.
        with generator_tape:
            g_loss = self.l1_weight * l1_loss
            if self.adversarial_weight:
                fake_logits = self.discriminator([inputs, outputs], training=True)
                g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
        weights = self.generator.trainable_variables
        gradients = generator_tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        return self.log(batch, g_loss=g_loss, l1_loss=l1_loss, **d_logs)

    def test_step(self, data):
        """The losses on held-out pairs, without an update."""
        inputs, targets, batch = self.unpack(data)
        outputs = self.generator(inputs, training=False)
        l1_loss = tf.reduce_mean(tf.abs(targets - outputs))
        g_loss, d_logs = self.l1_weight * l1_loss, {}
        if self.adversarial_weight:
            real_logits = self.discriminator([inputs, targets], training=False)
            fake_logits = self.discriminator([inputs, outputs], training=False)
            g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            d_logs = {"d_loss": d_loss, **mean_scores(real_logits, fake_logits)}
        return self.log(batch, g_loss=g_loss, l1_loss=l1_loss, **d_logs)

    def signatures(self) -> dict:
        def discriminate(images, targets):
            return {"logits": self.discriminator([images, targets], training=False)}

        targets = tf.TensorSpec((None, *self.image_shape), tf.float32, name="targets")
        specs = [self.source_spec(), targets]
        return {**super().signatures(), "discriminate": (discriminate, specs)}
