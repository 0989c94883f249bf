"""GAN: the two-player game of Goodfellow et al. (2014)."""

import keras
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.models.adversarial import AdversarialModel
from keras_genimg.models.checks import adopt_network
from keras_genimg.networks import (
    check_image_shape,
    dcgan_discriminator,
    dcgan_generator,
    mlp_discriminator,
    mlp_generator,
)
from keras_genimg.optimizers import Adam

__all__ = ["GAN"]

NETWORKS = ("dcgan", "mlp", "dense_conv")


@keras.saving.register_keras_serializable(package="keras_genimg")
class GAN(AdversarialModel):
    """Generative adversarial network (Goodfellow et al., 2014).

    A generator G turns noise z into pictures; a discriminator D tells real
    pictures from G's; each learns against the other.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        networks: the default networks: `"dcgan"` (convolutions both), `"mlp"`
            (dense layers both), `"dense_conv"` (a dense generator of widths
            128-128, a discriminator of 5x5 stride-2 convolutions 64-128-256-512).
        generator: `keras.Model` of one's own, `(batch, latent_dim)` to images.
        discriminator: `keras.Model` of one's own, images to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the noise of training repeatable.

    Logs: `g_loss`, `d_loss` and the mean of sigmoid(logit) on real and generated
    pictures, `real_score` and `fake_score`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> gan = GAN(image_shape=(28, 28, 1), latent_dim=64)
    >>> gan.compile()
    >>> gan.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1406.2661; networks "dcgan" and its optimizer:
        Radford et al. (2016), https://arxiv.org/abs/1511.06434
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        latent_dim=64,
        *,
        networks="dcgan",
        generator=None,
        discriminator=None,
        loss="non_saturating",
        noise="normal",
        ema_decay=0.999,
        seed=None,
        **kwargs,
    ):
        own_networks = generator is not None and discriminator is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        super().__init__(image_shape, latent_dim, noise=noise, seed=seed, **kwargs)
        if networks not in NETWORKS:
            raise InputError(f"networks must be one of {', '.join(NETWORKS)}. Received: {networks!r}.")
        self.networks = networks
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.generator = adopt_network(
            "generator", generator or self._default_generator(), (latent_dim,), [image_shape]
        )
        self.discriminator = adopt_network(
            "discriminator", discriminator or self._default_discriminator(), image_shape, [(1,)]
        )
        self.start_ema_generator(ema_decay)
        self._own_networks = [generator is not None, discriminator is not None]
        self.built = True

    def _default_generator(self):
        if self.networks == "dcgan":
            return dcgan_generator(self.image_shape, self.latent_dim)
        if self.networks == "mlp":
            return mlp_generator(self.image_shape, self.latent_dim)
        return mlp_generator(self.image_shape, self.latent_dim, units=(128, 128))

    def _default_discriminator(self):
        if self.networks == "mlp":
            return mlp_discriminator(self.image_shape)
        if self.networks == "dcgan":
            return dcgan_discriminator(self.image_shape)
        return dcgan_discriminator(
            self.image_shape, filters=64, widest=512, kernel_size=5, normalization=False, levels=4
        )

    def default_optimizers(self, learning_rate=None):
        # Radford et al. (2016), section 3: Adam, 2e-4, beta_1 of 0.5.
        rate = 2e-4 if learning_rate is None else learning_rate
        return {
            "generator_optimizer": Adam(rate, beta_1=0.5),
            "discriminator_optimizer": Adam(rate, beta_1=0.5),
        }

    def train_step(self, data):
        """Algorithm 1 of Goodfellow et al. (2014) with k = 1, on one batch x ~ p_data."""
        images, _, batch = self.unpack(data)  # (B, h, w, c)

        # 1. One step of D on real pictures and on G(z), with fresh noise z ~ p_z:
        #    descend -log D(x) - log(1 - D(G(z))).
        latents = self.sample_latents(batch)  # (B, latent_dim)
        fake_images = self.generator(latents, training=True)  # (B, h, w, c)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, 1)
            fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            shared_loss = d_loss * batch.share
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. One step of G through the updated D, with fresh noise:
        #    descend -log D(G(z)), the form of section 3 that does not saturate.
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            fake_images = self.generator(latents, training=True)
            logits = self.discriminator(fake_images, training=True)
            g_loss = self.generator_loss(logits)
            shared_loss = g_loss * batch.share
        weights = self.generator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        self.update_ema_generator()

        # 3. Logs.
        return self.log(
            batch,
            d_loss=d_loss,
            g_loss=g_loss,
            real_score=tf.reduce_mean(tf.sigmoid(real_logits)),
            fake_score=tf.reduce_mean(tf.sigmoid(fake_logits)),
        )

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        real_logits = self.discriminator(images, training=False)
        fake_logits = self.discriminator(fake_images, training=False)
        return self.log(
            batch,
            d_loss=self.discriminator_loss(real_logits, fake_logits),
            g_loss=self.generator_loss(fake_logits),
            real_score=tf.reduce_mean(tf.sigmoid(real_logits)),
            fake_score=tf.reduce_mean(tf.sigmoid(fake_logits)),
        )

    def get_config(self):
        own_generator, own_discriminator = self._own_networks
        serialize = keras.saving.serialize_keras_object
        loss = self.loss_name
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "networks": self.networks,
            "generator": serialize(self.generator) if own_generator else None,
            "discriminator": serialize(self.discriminator) if own_discriminator else None,
            "loss": loss if isinstance(loss, str) else [serialize(function) for function in loss],
            "noise": self.noise,
            "ema_decay": self.ema_decay,
        }
