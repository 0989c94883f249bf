"""GAN: the two-player game of Goodfellow et al. (2014)."""

import functools

import keras
import tensorflow as tf

from keras_genimg.data import check_policy, diff_augment
from keras_genimg.distribution import batch_mean
from keras_genimg.errors import InputError
from keras_genimg.losses import (
    RELATIVISTIC_LOSSES,
    get_adversarial_loss,
    r1_penalty,
)
from keras_genimg.models.adversarial import AdversarialModel
from keras_genimg.models.checks import check_number
from keras_genimg.models.two_players import adam_pair, serialized_loss
from keras_genimg.networks import (
    check_image_shape,
    dcgan5_discriminator,
    dcgan5_generator,
    dcgan_discriminator,
    dcgan_generator,
    mlp_discriminator,
    mlp_generator,
    resnet_discriminator,
    resnet_generator,
)

__all__ = ["GAN"]

NETWORKS = ("dcgan", "mlp", "dense_conv", "dcgan5", "resnet")


def means(real_logits, fake_logits, batch):
    """The averages of a relativistic loss, over the global batch."""
    return {
        "real_mean": batch_mean(real_logits, batch),
        "fake_mean": batch_mean(fake_logits, batch),
    }


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
            128-128, a discriminator of 5x5 stride-2 convolutions 64-128-256-512),
            `"dcgan5"` (five convolutions each, 512 to 64 filters, for 32x32 and 64x64),
            `"resnet"` (residual blocks, spectral normalisation in the discriminator).
        generator: `keras.Model` of one's own, `(batch, latent_dim)` to images.
        discriminator: `keras.Model` of one's own, images to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"relativistic_average"`, `"wasserstein"`, or a pair of functions
            `(generator_loss(fake_logits), discriminator_loss(real_logits, fake_logits))`.
        r1_weight: float. Weight of the gradient penalty `r1_penalty` on real pictures
            (gamma of Mescheder et al.); 0 for none.
        augment: policy of `data.diff_augment`, such as `"color,translation,cutout"`: what
            the discriminator sees, real and generated, is changed at random and
            differentiably, so that few training pictures last longer. None for none.
        spectral_normalization: bool, or None for what the networks have by default.
            Kernels of the default discriminator are divided by their largest singular
            value, and it has no batch normalisation.
        minibatch_standard_deviation: bool. Lets the default discriminator see how much
            the pictures of a batch differ.
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
        r1_weight=0.0,
        augment=None,
        spectral_normalization=None,
        minibatch_standard_deviation=False,
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
        self.relativistic = isinstance(loss, str) and loss in RELATIVISTIC_LOSSES
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(
            loss, relativistic=True
        )
        self.r1_weight = check_number("r1_weight", r1_weight)
        self.augment = None if augment is None else check_policy(augment)
        self.spectral_normalization = spectral_normalization
        self.minibatch_standard_deviation = minibatch_standard_deviation
        self.adopt_networks(
            (generator, discriminator),
            (self._default_generator, self._default_discriminator),
            ema_decay,
        )

    def _default_generator(self):
        make = {
            "dcgan": dcgan_generator,
            "mlp": mlp_generator,
            "dense_conv": functools.partial(mlp_generator, units=(128, 128)),
            "dcgan5": dcgan5_generator,
            "resnet": resnet_generator,
        }[self.networks]
        return make(self.image_shape, self.latent_dim)

    def _default_discriminator(self):
        options = {}
        if self.spectral_normalization is not None:
            options["spectral_normalization"] = self.spectral_normalization
        if self.minibatch_standard_deviation:
            options["minibatch_standard_deviation"] = True
        if self.networks == "mlp":
            if any(options.values()):
                raise InputError(
                    "spectral_normalization and minibatch_standard_deviation are for "
                    f"discriminators of convolutions. Received: {', '.join(options)} with "
                    'networks="mlp".'
                )
            return mlp_discriminator(self.image_shape)
        if self.networks == "dense_conv":
            options.update(filters=64, widest=512, kernel_size=5, normalization=False, levels=4)
        make = {"dcgan5": dcgan5_discriminator, "resnet": resnet_discriminator}
        return make.get(self.networks, dcgan_discriminator)(self.image_shape, **options)

    def default_optimizers(self, learning_rate=None):
        if self.networks == "resnet":  # Miyato et al. (2018), section 4
            return adam_pair(2e-4 if learning_rate is None else learning_rate, 0.0, 0.9)
        # Radford et al. (2016), section 3: Adam, 2e-4, beta_1 of 0.5. Our own smaller networks
        # come further with five times that rate (benchmarks/time_to_quality.py).
        rate = 1e-3 if self.networks == "dcgan" and not any(self.own_networks) else 2e-4
        return adam_pair(rate if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Algorithm 1 of Goodfellow et al. (2014) with k = 1, on one batch x ~ p_data."""
        images, _, batch = self.unpack(data)  # (B, h, w, c)

        # 1. One step of D on real pictures and on G(z), with fresh noise z ~ p_z:
        #    descend -log D(x) - log(1 - D(G(z))), or what `loss` has in its place, and
        #    with R1 also gamma E||grad D(x)||^2 / 2. Where `augment` is set, D sees T(x) and
        #    T(G(z)) for a random differentiable T.
        latents = self.sample_latents(batch)  # (B, latent_dim)
        fake_images = self._augmented(self.generator(latents, training=True), batch)  # (B, h, w, c)
        real_images = self._augmented(images, batch)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(real_images, training=True)  # (B, 1)
            fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
            d_loss = self._discriminator_loss(real_logits, fake_logits, batch)
            if self.r1_weight:
                d_loss += self.r1_weight * r1_penalty(
                    functools.partial(self.discriminator, training=True), real_images
                )
            shared_loss = d_loss * batch.share
        real_score = tf.reduce_mean(tf.sigmoid(real_logits))
        fake_score = tf.reduce_mean(tf.sigmoid(fake_logits))
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. One step of G through the updated D, with fresh noise:
        #    descend -log D(G(z)), the form of section 3 that does not saturate.
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            fake_images = self._augmented(self.generator(latents, training=True), batch)
            fake_logits = self.discriminator(fake_images, training=True)
            if self.relativistic:  # G too is judged beside the real pictures
                real_logits = self.discriminator(real_images, training=True)
            g_loss = self._generator_loss(real_logits, fake_logits, batch)
            shared_loss = g_loss * batch.share
        weights = self.generator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        self.update_ema_generator()

        # 3. Logs.
        return self.log(
            batch, d_loss=d_loss, g_loss=g_loss, real_score=real_score, fake_score=fake_score
        )

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        real_logits = self.discriminator(images, training=False)
        fake_logits = self.discriminator(fake_images, training=False)
        return self.log(
            batch,
            d_loss=self._discriminator_loss(real_logits, fake_logits, batch),
            g_loss=self._generator_loss(real_logits, fake_logits, batch),
            real_score=tf.reduce_mean(tf.sigmoid(real_logits)),
            fake_score=tf.reduce_mean(tf.sigmoid(fake_logits)),
        )

    def _discriminator_loss(self, real_logits, fake_logits, batch):
        if not self.relativistic:
            return self.discriminator_loss(real_logits, fake_logits)
        averages = means(real_logits, fake_logits, batch)
        return self.discriminator_loss(real_logits, fake_logits, **averages)

    def _generator_loss(self, real_logits, fake_logits, batch):
        if not self.relativistic:
            return self.generator_loss(fake_logits)
        averages = means(real_logits, fake_logits, batch)
        return self.generator_loss(real_logits, fake_logits, **averages)

    def _augmented(self, images, batch):
        if self.augment is None:
            return images
        return diff_augment(images, batch, self.seed_generator.next(), self.augment)

    def get_config(self):
        return {
            **super().get_config(),
            "networks": self.networks,
            "loss": serialized_loss(self.loss_name),
            "r1_weight": self.r1_weight,
            "augment": self.augment,
            "spectral_normalization": self.spectral_normalization,
            "minibatch_standard_deviation": self.minibatch_standard_deviation,
        }
