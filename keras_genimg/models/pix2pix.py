"""Pix2Pix: pictures into the pictures that belong to them, learned from pairs."""

import keras
import tensorflow as tf

from keras_genimg.losses import get_adversarial_loss
from keras_genimg.models.checks import check_number
from keras_genimg.models.translation import TranslationModel, scores
from keras_genimg.models.two_players import adam_pair, serialized_loss
from keras_genimg.networks import check_image_shape, patchgan_discriminator, unet

__all__ = ["Pix2Pix"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class Pix2Pix(TranslationModel):
    """Paired translation by a conditional GAN (Isola et al., 2017).

    A generator G turns a picture x into a picture like its target y; a discriminator D
    is shown x with a picture and tells y from G(x), patch by patch. It is trained on
    `(inputs, targets)`: damaged pictures and whole ones, grey ones and those in colour.

    Args:
        image_shape: tuple (height, width, channels) of the targets; with the default
            networks height and width are multiples of 4 from 16 to 256.
        source_shape: tuple (height, width, channels) of the inputs, `image_shape` by
            default; with the default networks of the same height and width.
        l1_weight: float. Weight of the mean absolute error (lambda in Eq. 4).
        adversarial_weight: float. Weight of the game with D; 0 trains G by the error alone
            and leaves D as it is.
        generator: `keras.Model` of one's own, inputs to pictures in [-1, 1].
        discriminator: `keras.Model` of one's own, `[inputs, pictures]` to logits
            `(batch, h', w', 1)`, one a patch.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Makes the dropout of training repeatable.

    Logs: `g_loss` (all that G descends), `l1_loss` (its mean absolute error) and, with D in
    the game, `d_loss` and the mean of sigmoid(logit) on targets and on translations,
    `real_score` and `fake_score`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> model = Pix2Pix(image_shape=(32, 32, 3), source_shape=(32, 32, 1))
    >>> model.compile()
    >>> model.translate(np.zeros((4, 32, 32, 1), "float32")).shape
    (4, 32, 32, 3)

    Reference: https://arxiv.org/abs/1611.07004
    """

    pair = ("inputs", "targets")

    def __init__(
        self,
        image_shape=(32, 32, 3),
        source_shape=None,
        *,
        l1_weight=100.0,
        adversarial_weight=1.0,
        generator=None,
        discriminator=None,
        loss="non_saturating",
        seed=None,
        **kwargs,
    ):
        default = generator is None or discriminator is None
        image_shape = check_image_shape(image_shape, default)
        source_shape = image_shape if source_shape is None else source_shape
        source_shape = check_image_shape(source_shape, default, name="source_shape")
        super().__init__(image_shape, source_shape, seed=seed, **kwargs)
        self.l1_weight = check_number("l1_weight", l1_weight)
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight)
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)

        self.own_networks = {
            "generator": generator is not None, "discriminator": discriminator is not None
        }
        self.adopt(
            "generator", generator, lambda: unet(source_shape, image_shape, seed=seed),
            source_shape, [image_shape],
        )
        self.adopt(
            "discriminator", discriminator,
            lambda: patchgan_discriminator(image_shape, source_shape),
            [keras.KerasTensor((None, *shape)) for shape in (source_shape, image_shape)],
            [("rows", "columns", 1)],
        )
        self.built = True

    @property
    def pair_shape(self):
        return self.image_shape

    def default_optimizers(self, learning_rate=None):
        # Section 3.3: Adam, 2e-4, beta_1 of 0.5. (That the paper halves D's objective is no
        # matter to Adam, whose steps do not depend on a factor.)
        return adam_pair(2e-4 if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Section 3.3 of Isola et al. (2017): a step of D, then a step of G, on pairs (x, y)."""
        inputs, targets, batch = self.unpack(data)  # x (B, h, w, d), y (B, h, w, c)

        # 1. G(x), with dropout for noise.
        with tf.GradientTape() as generator_tape:
            outputs = self.generator(inputs, training=True)  # (B, h, w, c)
            l1_loss = tf.reduce_mean(tf.abs(targets - outputs))

        # 2. One step of D, which sees x as well (Eq. 1):
        #    descend -log D(x, y) - log(1 - D(x, G(x))), or what `loss` has in its place.
        judged = {}
        if self.adversarial_weight:
            with tf.GradientTape() as tape:
                real_logits = self.discriminator([inputs, targets], training=True)  # (B, h', w', 1)
                fake_logits = self.discriminator([inputs, outputs], training=True)
                d_loss = self.discriminator_loss(real_logits, fake_logits)
                shared_loss = d_loss * batch.share
            weights = self.discriminator.trainable_variables
            gradients = tape.gradient(shared_loss, weights)
            self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
            judged = scores(d_loss, real_logits, fake_logits)

        # 3. One step of G through the updated D (Eq. 4, in the form that does not saturate):
        #    descend -log D(x, G(x)) + lambda E||y - G(x)||_1.
        with generator_tape:
            g_loss = self.l1_weight * l1_loss
            if self.adversarial_weight:
                fake_logits = self.discriminator([inputs, outputs], training=True)
                g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
            shared_loss = g_loss * batch.share
        weights = self.generator.trainable_variables
        gradients = generator_tape.gradient(shared_loss, weights)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))

        # 4. Logs.
        return self.log(batch, g_loss=g_loss, l1_loss=l1_loss, **judged)

    def test_step(self, data):
        """The losses on pairs that were not trained on, without an update."""
        inputs, targets, batch = self.unpack(data)
        outputs = self.generator(inputs, training=False)
        l1_loss = tf.reduce_mean(tf.abs(targets - outputs))
        g_loss, judged = self.l1_weight * l1_loss, {}
        if self.adversarial_weight:
            real_logits = self.discriminator([inputs, targets], training=False)
            fake_logits = self.discriminator([inputs, outputs], training=False)
            g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            judged = scores(d_loss, real_logits, fake_logits)
        return self.log(batch, g_loss=g_loss, l1_loss=l1_loss, **judged)

    def signatures(self):
        def discriminate(images, targets):
            return {"logits": self.discriminator([images, targets], training=False)}

        targets = tf.TensorSpec((None, *self.image_shape), tf.float32, name="targets")
        specs = [self.source_spec(), targets]
        return {**super().signatures(), "discriminate": (discriminate, specs)}

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "source_shape": list(self.source_shape),
            "l1_weight": self.l1_weight,
            "adversarial_weight": self.adversarial_weight,
            "loss": serialized_loss(self.loss_name),
            **{
                name: serialize(getattr(self, name)) if own else None
                for name, own in self.own_networks.items()
            },
        }
