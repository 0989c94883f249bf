"""SuperResolutionGAN: single-image super-resolution of Ledig et al. (2017)."""

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_number
from keras_genimg.core import Images, TranslationModel, adam_pair, mean_scores
from keras_genimg.layers import BicubicResize
from keras_genimg.losses import content_loss, get_adversarial_loss
from keras_genimg.networks import check_scale, dcgan_discriminator, super_resolution_generator

__all__ = ["SuperResolutionGAN"]


def mean_psnr(real_images, fake_images) -> tf.Tensor:
    """Mean of the images' peak signal-to-noise ratios in dB, each at most 100.

    The limit keeps the mean finite: an image without any error has an infinite ratio.
    """
    ratios = tf.image.psnr(real_images, fake_images, max_val=2.0)  # (B,)
    return tf.reduce_mean(tf.minimum(ratios, 100.0))


@keras.saving.register_keras_serializable(package="keras_genimg")
class SuperResolutionGAN(TranslationModel):
    """Super-resolution generative adversarial network (Ledig et al., 2017).

    A generator G maps a low-resolution image to one with `scale` times the height and
    width. A content loss pulls it towards the true image, and an adversarial loss towards
    images that a discriminator D classifies as real. `fit` takes high-resolution images
    alone: the step downsamples them by bicubic interpolation with antialiasing, as in the
    paper.

    Args:
        image_shape: tuple (height, width, channels) of the high-resolution images, whose
            height and width are multiples of `scale`; with the default networks they are
            multiples of 4 from 16 to 256.
        scale: 2 or 4. Low resolution is (height / scale, width / scale, channels).
        adversarial_weight: float. Weight of the adversarial loss relative to the content loss
            (10^-3 in Eq. 3). 0 trains the same generator on the content loss alone and
            leaves D unchanged: the PSNR is highest, but the images are too smooth.
        content_network: the network in whose features content is compared (Eq. 5, one layer of
            VGG in the paper), see `VQGAN`. None compares pixels (Eq. 4).
        generator: custom `keras.Model`, low-resolution images to images in [-1, 1].
        discriminator: custom `keras.Model`, images to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Seeds random draws in custom networks; the model itself
            draws nothing.

    Logs: `g_loss`, `content_loss` and `psnr`, the mean peak signal-to-noise ratio in dB;
    with an adversarial loss also `d_loss` and the mean of sigmoid(logit) on real and
    generated images, `real_score` and `fake_score`.

    Differences: both losses train G from the start; the paper first trains it on the content loss
    alone, and lowers the learning rate to a tenth halfway. Content is compared in pixels unless
    there is a `content_network`. The default G has no batch normalisation and adds its output to
    the bicubic interpolation; the default D is that of DCGAN.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> model = SuperResolutionGAN(image_shape=(32, 32, 3), scale=4)
    >>> model.compile()
    >>> model.translate(np.zeros((16, 8, 8, 3), "float32")).shape
    (16, 32, 32, 3)

    Reference: https://arxiv.org/abs/1609.04802
    """

    data = Images()
    about = "low resolution to high"
    paper = "Ledig et al., 2017"

    def __init__(
        self, image_shape=(32, 32, 3), scale: int = 2, *, adversarial_weight: float = 1e-3,
        content_network=None, generator=None, discriminator=None, loss="non_saturating",
        seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.scale, self.source_shape = scale, check_scale(self.image_shape, scale)
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight)
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.generator = self.make_network(
            "generator", generator, lambda: super_resolution_generator(self.image_shape, scale),
            takes=self.source_shape, makes=self.image_shape,
        )
        self.discriminator = self.make_network(
            "discriminator", discriminator, lambda: dcgan_discriminator(self.image_shape),
            takes=self.image_shape, makes=(1,),
        )
        self.content_network = self.make_frozen(
            "content_network", content_network, takes=self.image_shape
        )
        self.downsampling = BicubicResize(*self.source_shape[:2], dtype=self.dtype_policy)
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Section 3.2: Adam, 1e-4, beta_1 of 0.9. The smaller default networks
        # reach better results at five times that rate in the same epochs.
        rate = 1e-4 if self.is_custom("generator", "discriminator") else 5e-4
        return adam_pair(rate if learning_rate is None else learning_rate, 0.9)

    def train_step(self, data):
        """One update of G and one of D on a batch x ~ p_data (section 3.2: k = 1)."""
        images, _, batch = self.unpack(data)  # x: (B, h, w, c)
        low_images = self.downsampling(images)  # (B, h, w, c) -> (B, h / scale, w / scale, c)

        # 1. Generator: descend the perceptual loss (Eq. 3), the content loss between x and
        #    G(low) plus adversarial_weight times -log D(G(low)).
        with tf.GradientTape() as tape:
            fake_images = self.generator(low_images, training=True)  # (B, h, w, c)
            g_loss = content = self.content_loss_of(images, fake_images)
            if self.adversarial_weight:
                fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
                g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
        weights = self.generator.trainable_variables
        gradients = tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. Discriminator, on x and the same G(low), as G takes no noise (Eq. 2):
        #    descend -log D(x) - log(1 - D(G(low))).
        d_logs = {}
        if self.adversarial_weight:
            with tf.GradientTape() as tape:
                real_logits = self.discriminator(images, training=True)  # (B, 1)
                fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
                d_loss = self.discriminator_loss(real_logits, fake_logits)
            weights = self.discriminator.trainable_variables
            gradients = tape.gradient(d_loss, weights, batch.share)
            self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
            d_logs = {"d_loss": d_loss, **mean_scores(real_logits, fake_logits)}

        # 3. Logs.
        psnr = mean_psnr(images, fake_images)
        return self.log(batch, g_loss=g_loss, content_loss=content, psnr=psnr, **d_logs)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.call(self.downsampling(images))
        g_loss = content = self.content_loss_of(images, fake_images)
        d_logs = {}
        if self.adversarial_weight:
            real_logits = self.discriminator(images, training=False)
            fake_logits = self.discriminator(fake_images, training=False)
            g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            d_logs = {"d_loss": d_loss, **mean_scores(real_logits, fake_logits)}
        psnr = mean_psnr(images, fake_images)
        return self.log(batch, g_loss=g_loss, content_loss=content, psnr=psnr, **d_logs)

    def content_loss_of(self, images, fake_images) -> tf.Tensor:
        """The content loss: Eq. 4, or Eq. 5 in the features of `content_network`.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1], the targets.
            fake_images: float tensor of the same shape, outputs of G for their low resolution.

        Returns:
            float scalar, a mean of squares.
        """
        if self.content_network is None:
            return content_loss(images, fake_images)
        return content_loss(images, fake_images, lambda x: self.content_network(x, training=False))

    def downsample(self, images: ArrayLike, *, batch_size: int = 256) -> np.ndarray:
        """Low-resolution images as in training, the inputs of `translate`.

        Args:
            images: float array `(n, *image_shape)` in [-1, 1].
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, height / scale, width / scale, channels)` in [-1, 1].

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        return self._run_in_batches("_downsample", self.checked_images(images), batch_size)

    def _downsample(self, images):
        return self.downsampling(images)

    def sources_of(self, images: ArrayLike) -> np.ndarray:
        return self.downsample(images)

    def signatures(self) -> dict:
        def discriminate(images):
            return {"logits": self.discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}
