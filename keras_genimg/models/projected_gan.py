"""ProjectedGAN: discriminators that see images through the features of a frozen network."""

import keras
import tensorflow as tf

from keras_genimg.core import LatentGAN, adam_pair, mean_scores, update_ema
from keras_genimg.layers import DiffAugment
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.networks import (
    fastgan_generator,
    feature_maps,
    projected_discriminator,
    random_projector,
)
from keras_genimg.precision import at_least_float32

__all__ = ["ProjectedGAN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class ProjectedGAN(LatentGAN):
    """Projected generative adversarial network (Sauer et al., 2021).

    Discriminators D_l do not see images x but projections P_l(x): features of a network that was
    trained on other images or another task, at several scales, mixed across channels and scales
    by convolutions with random weights. Neither the network nor the mixing is ever trained. What
    the features already tell apart, the D_l need not learn, so that G improves in far fewer steps.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        features: the frozen network, of images in [-1, 1]: the name of a classifier of the package
            (see `metrics.get_features`); the path of a `.keras` file; or a functional
            `keras.Model`, such as one of `keras.applications` with its preprocessing in front.
            Its outputs are the feature maps if there are several, otherwise its last activations
            at each size. The model holds a copy, which is saved with it. By default "cifar10" for
            colour images and "fashion_mnist" for greyscale.
        generator: custom `keras.Model`, `(batch, latent_dim)` to images.
        discriminator: custom `keras.Model`, a list of the mixed maps, the finest first, and of
            the images, to a list of logits `(batch, h, w, 1)`, one D_l for each.
        loss: `"hinge"`, `"non_saturating"`, `"minimax"`, `"least_squares"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        augment: policy of `layers.DiffAugment`: real and generated images are augmented at random
            before the projections. None for no augmentation.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `g_loss` and `d_loss`, the sums over the D_l, and the mean of sigmoid(logit) on real and
    generated images, `real_score` and `fake_score`.

    Differences: one more discriminator sees the images themselves. The default feature networks
    are small classifiers, in the paper EfficientNets trained on ImageNet. Scales are mixed with
    repeated pixels, in the paper with bilinear interpolation. Both updates of a step use the same
    generated images. Adam has a rate of 5e-4, in the paper 2e-4.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> gan = ProjectedGAN(image_shape=(32, 32, 3), features="cifar10")
    >>> gan.compile()
    >>> gan.generate(16, seed=1).shape
    (16, 32, 32, 3)

    Reference: https://arxiv.org/abs/2111.01007; default generator: Liu et al. (2021),
        https://arxiv.org/abs/2101.04775; `augment`: Zhao et al. (2020),
        https://arxiv.org/abs/2006.10738
    """

    about = "GAN on the features of a frozen network"
    paper = "Sauer et al., 2021"

    def __init__(
        self, image_shape=(32, 32, 3), latent_dim: int = 128, *, features=None, generator=None,
        discriminator=None, loss="hinge", augment: str | None = "color,translation,cutout",
        noise: str = "normal", ema_decay: float | None = 0.998, seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, latent_dim, noise, ema_decay, seed, **kwargs)
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.augment = keras.layers.Identity(dtype=at_least_float32(self.dtype_policy))
        if augment is not None:
            augment_seed = None if seed is None else seed + 1
            self.augment = DiffAugment(augment, augment_seed, dtype=self.dtype_policy)

        self.generator = self.make_network(
            "generator", generator, lambda: fastgan_generator(self.image_shape, latent_dim),
            takes=(latent_dim,), makes=self.image_shape,
        )
        self.projector = self.make_network(
            "projector", None, lambda: self._make_projector(features),
            takes=self.image_shape, side="discriminator",
        )
        self.projector.trainable = False
        shapes = [each.shape[1:] for each in self.projector.outputs] + [self.image_shape]
        self.discriminator = self.make_network(
            "discriminator", discriminator, lambda: projected_discriminator(shapes),
            takes=shapes, makes=[(f"rows {i}", f"columns {i}", 1) for i in range(len(shapes))],
        )
        self.ema_generator = self.make_ema(self.generator)
        self.built = True

    def _make_projector(self, features):
        if features is None:
            features = "cifar10" if self.image_shape[2] == 3 else "fashion_mnist"
        # Recorded as a network, so that a saved model depends on no other file.
        self.arguments["features"] = network = feature_maps(features, self.image_shape)
        return random_projector(network)

    def default_optimizers(self, learning_rate=None):
        # Betas of the authors' code. The smaller default networks learn at 2.5 times its rate.
        return adam_pair(5e-4 if learning_rate is None else learning_rate, 0.0, 0.99)

    def train_step(self, data):
        """Eq. 2, min over G and max over the D_l, summed over l: an update of the D_l, one of G.

        All see T(x) and T(G(z)) for random differentiable T.
        """
        images, _, batch = self.unpack(data)  # x ~ p_data: (B, h, w, c)
        real_maps = self.projected(images, training=True)  # P_l(x): [(B, h_l, w_l, c_l)]

        # 1. G(z), z ~ p_z, and its projections, for both updates.
        with tf.GradientTape() as tape_of_generator:
            fake_images = self.generator(self.sample_latents(batch), training=True)  # (B, h, w, c)
            fake_maps = self.projected(fake_images, training=True)  # P_l(G(z))

        # 2. Discriminators: descend the sum of the losses of D_l(P_l(x)) and D_l(P_l(G(z))).
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(real_maps, training=True)  # [(B, h', w', 1)]
            fake_logits = self.discriminator(fake_maps, training=True)
            d_loss = sum(map(self.discriminator_loss, real_logits, fake_logits))
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Generator, through the updated D_l and the frozen P_l.
        with tape_of_generator:
            g_loss = sum(map(self.generator_loss, self.discriminator(fake_maps, training=True)))
        weights = self.generator.trainable_variables
        gradients = tape_of_generator.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 4. Logs.
        scores = mean_scores(joined(real_logits), joined(fake_logits))
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, **scores)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        real_logits = self.discriminator(self.projected(images), training=False)
        fake_logits = self.discriminator(self.projected(fake_images), training=False)
        return self.log(
            batch,
            d_loss=sum(map(self.discriminator_loss, real_logits, fake_logits)),
            g_loss=sum(map(self.generator_loss, fake_logits)),
            **mean_scores(joined(real_logits), joined(fake_logits)),
        )

    def projected(self, images, training: bool = False) -> list:
        """What the discriminators see of images.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1].
            training: bool. Whether the images are augmented.

        Returns:
            list of float tensors `(n, h, w, c)`: the mixed maps, the finest first, and the images.
        """
        images = self.augment(images, training=training)
        return [*keras.tree.flatten(self.projector(images, training=False)), images]

    def discriminate(self, images) -> tf.Tensor:
        """The discriminators' logits of images.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1].

        Returns:
            float tensor `(n, discriminators)`, for each D_l the mean over its map.
        """
        logits = self.discriminator(self.projected(images), training=False)
        return tf.stack([tf.reduce_mean(each, axis=(1, 2, 3)) for each in logits], axis=1)

    def signatures(self) -> dict:
        discriminate = (lambda images: {"logits": self.discriminate(images)}, [self.images_spec()])
        return {**super().signatures(), "discriminate": discriminate}


def joined(maps) -> tf.Tensor:
    """The values of several tensors in one vector."""
    return tf.concat([tf.reshape(each, [-1]) for each in maps], axis=0)
