"""SuperResolutionGAN: high-resolution pictures of low-resolution ones (Ledig et al., 2017)."""

import keras
import tensorflow as tf

from keras_genimg.layers import BicubicResize
from keras_genimg.losses import content_loss, get_adversarial_loss
from keras_genimg.models.checks import adopt_network, check_number
from keras_genimg.models.translation import TranslationModel, scores
from keras_genimg.models.two_players import adam_pair, serialized_loss
from keras_genimg.networks import (
    check_image_shape,
    check_scale,
    dcgan_discriminator,
    super_resolution_generator,
)

__all__ = ["SuperResolutionGAN"]


def mean_psnr(real_images, fake_images):
    """Mean of the pictures' peak signal-to-noise ratios in dB, each at most 100.

    A picture made without any error has an infinite ratio, and so had the mean of all.
    """
    ratios = tf.image.psnr(real_images, fake_images, max_val=2.0)  # (B,)
    return tf.reduce_mean(tf.minimum(ratios, 100.0))


@keras.saving.register_keras_serializable(package="keras_genimg")
class SuperResolutionGAN(TranslationModel):
    """Super-resolution generative adversarial network (Ledig et al., 2017).

    A generator G makes a picture of one that is `scale` times lower and narrower; it is to
    be near the true one (content), and a discriminator D is not to tell it from true ones
    (adversarial). `fit` takes high-resolution pictures alone: low resolution is made of them
    in the step by bicubic downsampling with antialiasing, as in the paper.

    Args:
        image_shape: tuple (height, width, channels) of the high-resolution pictures; with the
            default networks height and width are multiples of 4 from 16 to 256.
        scale: 2 or 4. Low resolution is (height / scale, width / scale, channels).
        adversarial_weight: float. Weight of the adversarial loss beside the content loss
            (10^-3 in Eq. 3). 0 trains the same generator by content alone and leaves D as it
            is: the highest PSNR, and pictures that are too smooth.
        content_network: `keras.Model` of one's own, pictures in [-1, 1] to a feature map or a
            list of them, in whose features content is compared (Eq. 5, VGG in the paper); it
            is frozen and saved along. None compares pixels (Eq. 4).
        generator: `keras.Model` of one's own, low-resolution pictures to pictures in [-1, 1].
        discriminator: `keras.Model` of one's own, pictures to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Of what own networks draw at random; the model itself draws
            nothing.

    Logs: `g_loss`, `content_loss` and `psnr`, the mean peak signal-to-noise ratio in dB;
    with an adversarial loss also `d_loss` and the mean of sigmoid(logit) on real and
    generated pictures, `real_score` and `fake_score`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> model = SuperResolutionGAN(image_shape=(32, 32, 3), scale=4)
    >>> model.compile()
    >>> model.translate(np.zeros((16, 8, 8, 3), "float32")).shape
    (16, 32, 32, 3)

    Reference: https://arxiv.org/abs/1609.04802
    """

    def __init__(
        self,
        image_shape=(32, 32, 3),
        scale=2,
        *,
        adversarial_weight=1e-3,
        content_network=None,
        generator=None,
        discriminator=None,
        loss="non_saturating",
        seed=None,
        **kwargs,
    ):
        own_networks = generator is not None and discriminator is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        low_shape = check_scale(image_shape, scale)
        super().__init__(image_shape, low_shape, seed=seed, **kwargs)
        self.scale = scale
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight)
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.own_networks = (generator is not None, discriminator is not None)
        self.adopt(
            "generator", generator, lambda: super_resolution_generator(image_shape, scale),
            low_shape, [image_shape],
        )
        self.adopt(
            "discriminator", discriminator, lambda: dcgan_discriminator(image_shape),
            image_shape, [(1,)],
        )
        self.content_network = None
        if content_network is not None:
            self.content_network = adopt_network("content_network", content_network, image_shape, None)
            self.content_network.trainable = False
        self.downsampling = BicubicResize(*low_shape[:2])
        self.built = True

    @property
    def element_shape(self):
        return self.image_shape

    def default_optimizers(self, learning_rate=None):
        # Ledig et al. (2017), section 3.2: Adam, 1e-4, beta_1 of 0.9. Our own smaller networks
        # come further with five times that rate in the epochs that they are trained for.
        rate = 1e-4 if any(self.own_networks) else 5e-4
        return adam_pair(rate if learning_rate is None else learning_rate, 0.9)

    def train_step(self, data):
        """One update of G and one of D on a batch x ~ p_data (section 3.2: k = 1)."""
        images, _, batch = self.unpack(data)  # (B, h, w, c)
        low = self.downsampling(images)  # (B, h, w, c) -> (B, h / scale, w / scale, c)

        # 1. One step of G: descend the perceptual loss (Eq. 3), the content loss of x and
        #    G(low) plus adversarial_weight times -log D(G(low)).
        with tf.GradientTape() as tape:
            made = self.generator(low, training=True)  # (B, h, w, c)
            content = self.content_loss_of(images, made)
            g_loss = content
            if self.adversarial_weight:
                fake_logits = self.discriminator(made, training=True)  # (B, 1)
                g_loss += self.adversarial_weight * self.generator_loss(fake_logits)
            shared_loss = g_loss * batch.share
        weights = self.generator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        logs = {"g_loss": g_loss, "content_loss": content, "psnr": mean_psnr(images, made)}
        if not self.adversarial_weight:
            return self.log(batch, **logs)

        # 2. One step of D on x and on those G(low), which nothing random went into (Eq. 2):
        #    descend -log D(x) - log(1 - D(G(low))).
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, 1)
            fake_logits = self.discriminator(made, training=True)  # (B, 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            shared_loss = d_loss * batch.share
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Logs.
        return self.log(batch, **logs, **scores(d_loss, real_logits, fake_logits))

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update."""
        images, _, batch = self.unpack(data)
        made = self.call(self.downsampling(images))
        content = self.content_loss_of(images, made)
        logs = {"g_loss": content, "content_loss": content, "psnr": mean_psnr(images, made)}
        if self.adversarial_weight:
            real_logits = self.discriminator(images, training=False)
            fake_logits = self.discriminator(made, training=False)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            logs["g_loss"] += self.adversarial_weight * self.generator_loss(fake_logits)
            logs.update(scores(d_loss, real_logits, fake_logits))
        return self.log(batch, **logs)

    def content_loss_of(self, images, made):
        """The content loss: Eq. 4, or Eq. 5 in the features of `content_network`.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1], the true ones.
            made: float tensor of the same shape, what G made of them in low resolution.

        Returns:
            float scalar, a mean of squares.
        """
        if self.content_network is None:
            return content_loss(images, made)
        return content_loss(images, made, lambda x: self.content_network(x, training=False))

    def downsample(self, images, *, batch_size=256):
        """Low-resolution pictures, as training makes them: what `translate` takes.

        Args:
            images: float array `(n, *image_shape)` in [-1, 1].
            batch_size: int. Pictures at once.

        Returns:
            NumPy float32 array `(n, height / scale, width / scale, channels)` in [-1, 1].

        Raises:
            InputError: pictures of another shape, type or range.
        """
        return self._run_in_batches("_downsample", self.checked_images(images), batch_size)

    def _downsample(self, images):
        return self.downsampling(images)

    def signatures(self):
        def discriminate(images):
            return {"logits": self.discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        own_generator, own_discriminator = self.own_networks
        content = self.content_network
        return {
            **super().get_config(),
            "scale": self.scale,
            "adversarial_weight": self.adversarial_weight,
            "content_network": None if content is None else serialize(content),
            "generator": serialize(self.generator) if own_generator else None,
            "discriminator": serialize(self.discriminator) if own_discriminator else None,
            "loss": serialized_loss(self.loss_name),
        }
