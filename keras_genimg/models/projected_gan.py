"""ProjectedGAN: discriminators that see images through the features of a frozen network."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_count
from keras_genimg.core import Images, Labels, LatentGAN, adam_pair, mean_scores, update_ema
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.networks import (
    conditional_fastgan_generator,
    fastgan_generator,
    feature_maps,
    projected_discriminator,
    random_projector,
)

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
            (see `metrics.get_features`) or of a network of `keras.applications`, such as
            "efficientnetv2b0"; the path of a `.keras` file; or a functional `keras.Model`.
            Its outputs are the feature maps if there are several, otherwise its last activations
            at each size. The model holds a copy, which is saved with it. By default
            "cifar10_rotation" for colour images, which never saw a label, and "fashion_mnist" for
            greyscale.
        num_classes: int, optional. Makes the model conditional: it is trained on
            `(images, labels)`, labels being integers from 0 to num_classes - 1.
        generator: custom `keras.Model`, `(batch, latent_dim)` to images; with classes from
            `[(batch, latent_dim), int32 (batch,)]`.
        discriminator: custom `keras.Model`, a list of the mixed maps, the finest first, of
            the images and, with classes, of int32 labels `(batch,)`, to a list of logits
            `(batch, h, w, 1)`, one D_l for each map and for the images.
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
    are small, in the paper EfficientNets trained on ImageNet. Images are augmented by translation
    alone, in the paper by colour and cutout too; that leaves the samples' colours unlearned for
    long. Scales are mixed with repeated pixels, in the paper with bilinear interpolation. Both
    updates of a step use the same generated images. Adam has a rate of 5e-4, in the paper 2e-4.

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
        self, image_shape=(32, 32, 3), latent_dim: int = 128, *, features=None,
        num_classes: int | None = None, generator=None, discriminator=None, loss="hinge",
        augment: str | None = "translation", noise: str = "normal",
        ema_decay: float | None = 0.998, seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, latent_dim, noise, ema_decay, seed, **kwargs)
        if num_classes is not None:
            self.num_classes = check_count("num_classes", num_classes, minimum=2)
            self.data = Images() + Labels()
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.augment = self.make_augmentation(augment, seed)

        self.generator = self.make_network(
            "generator", generator, self._make_generator,
            takes=self.with_labels([(latent_dim,)], ()), makes=self.image_shape,
        )
        self.projector = self.make_network(
            "projector", None, lambda: self._make_projector(features),
            takes=self.image_shape, side="discriminator",
        )
        self.projector.trainable = False
        shapes = [each.shape[1:] for each in self.projector.outputs] + [self.image_shape]
        self.discriminator = self.make_network(
            "discriminator", discriminator,
            lambda: projected_discriminator(shapes, num_classes=num_classes),
            takes=self.with_labels(shapes, ()),
            makes=[(f"rows {i}", f"columns {i}", 1) for i in range(len(shapes))],
        )
        self.ema_generator = self.make_ema(self.generator)
        self.built = True

    def _make_generator(self):
        if self.num_classes is None:
            return fastgan_generator(self.image_shape, self.latent_dim)
        return conditional_fastgan_generator(self.image_shape, self.latent_dim, self.num_classes)

    def _make_projector(self, features):
        if features is None:
            features = "cifar10_rotation" if self.image_shape[2] == 3 else "fashion_mnist"
        # Recorded as a network, so that a saved model depends on no other file.
        return random_projector(self.record("features", feature_maps(features, self.image_shape)))

    def default_optimizers(self, learning_rate=None):
        # Betas of the authors' code. The smaller default networks learn at 2.5 times its rate.
        return adam_pair(5e-4 if learning_rate is None else learning_rate, 0.0, 0.99)

    def train_step(self, data):
        """Eq. 2, min over G and max over the D_l, summed over l: an update of the D_l, one of G.

        All see T(x) and T(G(z)) for random differentiable T.
        """
        images, labels, batch = self.unpack(data)  # x ~ p_data: (B, h, w, c)
        real_maps = self.projected(images, training=True)  # P_l(x): [(B, h_l, w_l, c_l)]

        # 1. G(z), z ~ p_z, and its projections, for both updates.
        with tf.GradientTape() as tape_of_generator:
            latents = self.with_labels([self.sample_latents(batch)], labels)
            fake_images = self.generator(latents, training=True)  # (B, h, w, c)
            fake_maps = self.projected(fake_images, training=True)  # P_l(G(z))

        # 2. Discriminators: descend the sum of the losses of D_l(P_l(x)) and D_l(P_l(G(z))).
        with tf.GradientTape() as tape:
            real_logits = self.judged(real_maps, labels, training=True)  # [(B, h', w', 1)]
            fake_logits = self.judged(fake_maps, labels, training=True)
            d_loss = sum(map(self.discriminator_loss, real_logits, fake_logits))
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Generator, through the updated D_l and the frozen P_l.
        with tape_of_generator:
            g_loss = sum(map(self.generator_loss, self.judged(fake_maps, labels, training=True)))
        weights = self.generator.trainable_variables
        gradients = tape_of_generator.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 4. Logs.
        scores = mean_scores(joined(real_logits), joined(fake_logits))
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, **scores)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, labels, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch), labels)
        real_logits = self.judged(self.projected(images), labels)
        fake_logits = self.judged(self.projected(fake_images), labels)
        return self.log(
            batch,
            d_loss=sum(map(self.discriminator_loss, real_logits, fake_logits)),
            g_loss=sum(map(self.generator_loss, fake_logits)),
            **mean_scores(joined(real_logits), joined(fake_logits)),
        )

    def with_labels(self, inputs: list, labels) -> tf.Tensor | tuple | list:
        """The inputs of a network: with classes the labels follow.

        Args:
            inputs: list of tensors, or of their shapes.
            labels: int32 tensor `(n,)`, or its shape; has no effect without classes.

        Returns:
            list, or the input itself if it is only one.
        """
        inputs = inputs if self.num_classes is None else [*inputs, labels]
        return inputs if len(inputs) > 1 else inputs[0]

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

    def judged(self, maps, labels, training: bool = False) -> list:
        """The logits of all D_l.

        Args:
            maps: list, see `projected`.
            labels: int32 tensor `(n,)`; has no effect without classes.
            training: bool. Passed to the network.

        Returns:
            list of float tensors `(n, h', w', 1)`.
        """
        return self.discriminator(self.with_labels(maps, labels), training=training)

    def discriminate(self, images, labels=None) -> tf.Tensor:
        """The discriminators' logits of images.

        Args:
            images: float array or tensor `(n, *image_shape)` in [-1, 1].
            labels: integers `(n,)`, of a model with classes.

        Returns:
            float tensor `(n, discriminators)`, for each D_l the mean over its map.
        """
        if labels is not None:  # Keras refuses arrays beside the tensors of the maps
            labels = tf.cast(labels, tf.int32)
        logits = self.judged(self.projected(images), labels)
        return tf.stack([tf.reduce_mean(each, axis=(1, 2, 3)) for each in logits], axis=1)

    def images_from_latents(self, latents, labels=None) -> tf.Tensor:
        latents = self.with_labels([latents], labels)
        return (self.ema_generator or self.generator)(latents, training=False)

    def signatures(self) -> dict:
        def discriminate(images, labels=None):
            return {"logits": self.discriminate(images, labels)}

        specs = [self.images_spec(), *([] if self.num_classes is None else [self.labels_spec()])]
        return {**super().signatures(), "discriminate": (discriminate, specs)}


def joined(maps) -> tf.Tensor:
    """The values of several tensors in one vector."""
    return tf.concat([tf.reshape(each, [-1]) for each in maps], axis=0)
