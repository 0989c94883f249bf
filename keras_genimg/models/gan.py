"""GAN: the adversarial objective of Goodfellow et al. (2014)."""

import functools

import keras
import tensorflow as tf

from keras_genimg.checks import check_choice, check_count, check_number
from keras_genimg.core import (
    VERSION,
    LatentGAN,
    adam_pair,
    check_no_batch_normalization,
    given_options,
    mean_scores,
    update_ema,
)
from keras_genimg.losses import RELATIVISTIC_LOSSES, get_adversarial_loss, r1_penalty
from keras_genimg.networks import (
    dcgan5_discriminator,
    dcgan5_generator,
    dcgan_discriminator,
    dcgan_generator,
    fastgan_generator,
    mlp_discriminator,
    mlp_generator,
    resnet_discriminator,
    resnet_generator,
)

__all__ = ["GAN"]

NETWORKS = {
    "dcgan": (dcgan_generator, dcgan_discriminator),
    "fastgan": (fastgan_generator, dcgan_discriminator),
    "mlp": (mlp_generator, mlp_discriminator),
    "dense_conv": (
        functools.partial(mlp_generator, units=(128, 128)),
        functools.partial(
            dcgan_discriminator, filters=64, widest=512, kernel_size=5, levels=4,
            normalization=False,
        ),
    ),
    "dcgan5": (dcgan5_generator, dcgan5_discriminator),
    "resnet": (resnet_generator, resnet_discriminator),
}
NORMALIZED = ("fastgan", "dcgan", "dcgan5")  # with batch normalisation in the discriminator


@keras.saving.register_keras_serializable(package="keras_genimg")
class GAN(LatentGAN):
    """Generative adversarial network (Goodfellow et al., 2014).

    A generator G turns noise z into images, and a discriminator D distinguishes
    real images from generated ones. Each is trained against the other.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        networks: the default networks: `"dcgan"` (both convolutional; by default for greyscale),
            `"fastgan"` (a generator of gated 3x3 convolutions, the discriminator of `"dcgan"`; by
            default for colour: see docs/colour.md), `"mlp"` (both dense),
            `"dense_conv"` (a dense generator of widths 128-128, a discriminator of 5x5 stride-2
            convolutions 64-128-256-512), `"dcgan5"` (five convolutions each, 512 to 64 filters,
            for 32x32 and 64x64), `"resnet"` (residual blocks, spectral normalisation in the
            discriminator).
        generator: custom `keras.Model`, `(batch, latent_dim)` to images.
        discriminator: custom `keras.Model`, images to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"relativistic_average"`, `"wasserstein"`, or a pair of functions
            `(generator_loss(fake_logits), discriminator_loss(real_logits, fake_logits))`.
        r1_weight: float. Weight of the gradient penalty `r1_penalty` on real images
            (gamma of Mescheder et al., 2018); 0 for none. The discriminator must then have
            no batch normalisation. By default 0.1 with the default discriminator of "fastgan",
            and 0 with others.
        r1_interval: int. The penalty is computed in every so many steps, and is as many times as
            strong then (lazy regularisation: Karras et al., 2020); 1 for all steps.
        augment: policy of `layers.DiffAugment`, such as `"color,translation,cutout"`: real
            and generated images are augmented at random before the discriminator, which then
            overfits small training sets later. None for no augmentation.
        normalization: bool, or None for the default of the networks. Whether the default
            discriminator has batch normalisation; by default not beside `r1_weight`.
        spectral_normalization: bool, or None for the default of the networks.
            Kernels of the default discriminator are divided by their largest singular
            value, which replaces batch normalisation.
        minibatch_standard_deviation: bool. Shows the default discriminator how much
            the images of a batch differ.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `g_loss`, `d_loss` and the mean of sigmoid(logit) on real and generated
    images, `real_score` and `fake_score`.

    Differences: both updates of a step use the same G(z), in Goodfellow et al. each has its own;
    that saves a pass through G. `generate` uses an EMA
    generator, which they do not have, unless `ema_decay` is None. With "resnet" too, D is updated
    once per update of G; Miyato et al. (2018) update it five times (n_dis), on the hinge loss.
    docs/papers.md lists the differences of all adversarial models.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> gan = GAN(image_shape=(28, 28, 1), latent_dim=64)
    >>> gan.compile()
    >>> gan.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1406.2661; networks "dcgan" and its optimizer:
        Radford et al. (2016), https://arxiv.org/abs/1511.06434; "fastgan": Liu et al. (2021),
        https://arxiv.org/abs/2101.04775; `r1_weight`: Mescheder et al.
        (2018), https://arxiv.org/abs/1801.04406; `r1_interval`: Karras et al. (2020),
        https://arxiv.org/abs/1912.04958; "resnet": Miyato et al. (2018),
        https://arxiv.org/abs/1802.05957
    """

    about = "generative adversarial network"
    paper = "Goodfellow et al., 2014"

    def __init__(
        self, image_shape=(28, 28, 1), latent_dim: int = 64, *, networks: str | None = None,
        generator=None, discriminator=None, loss="non_saturating",
        r1_weight: float | None = None, r1_interval: int = 16,
        augment: str | None = None, normalization: bool | None = None,
        spectral_normalization: bool | None = None, minibatch_standard_deviation: bool = False,
        noise: str = "normal", ema_decay: float | None = 0.999, seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, latent_dim, noise, ema_decay, seed, **kwargs)
        if networks is None:
            networks = self.record("networks", "fastgan" if self.image_shape[2] == 3 else "dcgan")
        self.networks = check_choice("networks", networks, NETWORKS)
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss, relativistic=True)
        self.relativistic = isinstance(loss, str) and loss in RELATIVISTIC_LOSSES
        if r1_weight is None:
            plain = discriminator is None and not (normalization or spectral_normalization)
            r1_weight = self.record("r1_weight", 0.1 * (networks == "fastgan" and plain))
        self.r1_weight = check_number("r1_weight", r1_weight)
        self.r1_interval = check_count("r1_interval", r1_interval)
        self.augment = self.make_augmentation(augment, seed)

        make_generator, make_discriminator = NETWORKS[networks]
        if r1_weight and normalization is None and networks in NORMALIZED and discriminator is None:
            # Recorded, because `r1_weight` may be set anew.
            normalization = self.record("normalization", False)
        options = given_options(
            "discriminator", discriminator, networks,
            {kind: make for kind, (_, make) in NETWORKS.items()}, normalization=normalization,
            spectral_normalization=spectral_normalization,
            minibatch_standard_deviation=minibatch_standard_deviation or None,
        )
        self.generator = self.make_network(
            "generator", generator, lambda: make_generator(self.image_shape, latent_dim),
            takes=(latent_dim,), makes=self.image_shape,
        )
        self.discriminator = self.make_network(
            "discriminator", discriminator, lambda: make_discriminator(self.image_shape, **options),
            takes=self.image_shape, makes=(1,),
        )
        if self.r1_weight:
            check_no_batch_normalization(self.discriminator, "a GAN with r1_weight")
        self.ema_generator = self.make_ema(self.generator)
        self.built = True

    @classmethod
    def upgraded(cls, config: dict) -> dict:
        return config if VERSION in config else {"r1_interval": 1, **config}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Also takes what version 0.1 could save and the constructor now refuses."""
        config, r1_weight = dict(config), config.get("r1_weight")
        if config.get("discriminator") is not None:  # beside which these had no effect
            for name in ("spectral_normalization", "minibatch_standard_deviation"):
                config.pop(name, None)
        if r1_weight:  # beside batch normalisation
            config["r1_weight"] = 0.0
        gan = super().from_config(config, custom_objects)
        if r1_weight:
            gan.r1_weight = gan.arguments["r1_weight"] = r1_weight
        return gan

    def default_optimizers(self, learning_rate=None):
        if self.networks == "resnet":  # Miyato et al. (2018), section 4
            return adam_pair(2e-4 if learning_rate is None else learning_rate, 0.0, 0.9)
        # Radford et al. (2016), section 3: Adam, 2e-4, beta_1 of 0.5. The smaller default networks
        # reach better results at five times that rate (benchmarks/search.py).
        custom = self.is_custom("generator", "discriminator")
        rate = 1e-3 if self.networks in ("dcgan", "fastgan") and not custom else 2e-4
        return adam_pair(rate if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Algorithm 1 of Goodfellow et al. (2014) with k = 1.

        With `augment`, D sees T(x) and T(G(z)) for a random differentiable T.
        """
        images, _, batch = self.unpack(data)  # x ~ p_data: (B, h, w, c)
        real_images = self.augment(images, training=True)

        # 1. G(z), z ~ p_z, for both updates.
        with tf.GradientTape() as tape_of_generator:
            fake_images = self.generator(self.sample_latents(batch), training=True)  # (B, h, w, c)
            fake_images = self.augment(fake_images, training=True)

        # 2. Discriminator: descend -log D(x) - log(1 - D(G(z))), or another `loss`, with R1 also
        #    gamma E||grad D(x)||^2 / 2.
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(real_images, training=True)  # (B, 1)
            fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            if self.r1_weight:
                d_loss += self.weighted_r1(real_images)
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Generator, through the updated D: descend -log D(G(z)), the non-saturating form of
        #    section 3.
        with tape_of_generator:
            logits = self.discriminator(fake_images, training=True)
            # A relativistic loss also depends on D(x).
            others = self.discriminator(real_images, training=True) if self.relativistic else None
            g_loss = self.generator_loss(logits, others)
        weights = self.generator.trainable_variables
        gradients = tape_of_generator.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 4. Logs.
        scores = mean_scores(real_logits, fake_logits)
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, **scores)

    def weighted_r1(self, images: tf.Tensor) -> tf.Tensor:
        """R1 in every `r1_interval`-th step, as many times as strong; 0 in the others.

        Args:
            images: float tensor `(n, *image_shape)`, what the discriminator sees of real images.

        Returns:
            float scalar, on average over the steps gamma E||grad D(x)||^2 / 2.
        """

        def penalty():  # changes no state of a layer, which replicas cannot do in a `tf.cond`
            critic = functools.partial(self.discriminator, training=False)
            return self.r1_interval * self.r1_weight * r1_penalty(critic, images)

        due = self.discriminator_optimizer.iterations % self.r1_interval == 0
        return tf.cond(due, penalty, lambda: tf.zeros((), images.dtype))

    def test_step(self, data):
        """The losses on held-out images, without an update; `d_loss` without R1."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        real_logits = self.discriminator(images, training=False)
        fake_logits = self.discriminator(fake_images, training=False)
        return self.log(
            batch,
            d_loss=self.discriminator_loss(real_logits, fake_logits),
            g_loss=self.generator_loss(fake_logits, real_logits),
            **mean_scores(real_logits, fake_logits),
        )
