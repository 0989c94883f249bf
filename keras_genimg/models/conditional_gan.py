"""ConditionalGAN: the adversarial objective with both networks conditioned on the class."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_choice, check_count, check_number
from keras_genimg.core import (
    VERSION,
    Images,
    Labels,
    LatentGAN,
    adam_pair,
    mean_scores,
    update_ema,
)
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.networks import (
    conditional_dcgan_discriminator,
    conditional_dcgan_generator,
    conditional_fastgan_generator,
)

__all__ = ["ConditionalGAN"]

GENERATORS = {"fastgan": conditional_fastgan_generator, "dcgan": conditional_dcgan_generator}


@keras.saving.register_keras_serializable(package="keras_genimg")
class ConditionalGAN(LatentGAN):
    """Conditional generative adversarial network (Mirza and Osindero, 2014).

    A generator G turns noise z and a class y into an image of that class; a
    discriminator D distinguishes real pairs (image, class) from generated ones. The
    model is trained on `(images, labels)` and generates by label.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        latent_dim: int. Length of the noise vector z.
        networks: the default generator: `"fastgan"` (gated 3x3 convolutions) or `"dcgan"`
            (transposed convolutions). The default discriminator is that of `"dcgan"` in both.
        conditioning: how the default networks are conditioned on the class:
            `"projection"` (Miyato and Koyama, 2018: conditional batch
            normalisation in G, an inner product with the features in D) or
            `"concatenation"` (Mirza and Osindero: the class is appended to the input).
        generator: custom `keras.Model`, `[(batch, latent_dim), int32 (batch,)]` to
            images.
        discriminator: custom `keras.Model`, `[images, int32 (batch,)]` to logits
            `(batch, 1)`; with `classifier_weight` above 0 also to class
            logits `(batch, num_classes)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        classifier_weight: float. Weight of an auxiliary classifier (L_C of Odena et al.,
            2017): D also learns to classify real images, and G to have its images classified
            as their target class. 0 for none. By default 1 with the default discriminator
            of `"projection"`, and 0 with others.
        augment: policy of `layers.DiffAugment`: real and generated images are augmented at random
            before the discriminator, which then overfits small training sets later. None for no
            augmentation.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `g_loss`, `d_loss` and the mean of sigmoid(logit) on real and generated
    images, `real_score` and `fake_score`; with a classifier also `class_accuracy`, the
    share of generated images that it classifies as their target class.

    Differences: in Odena et al. D learns the classes of generated images too, here of real images
    alone, because it would otherwise learn to take unclear images for their target class. They
    have no projection, and Miyato and Koyama no classifier: the default discriminator has both.
    Both updates of a step use the same G(z, y). `generate` uses an EMA generator, which the papers
    do not have, unless `ema_decay` is None.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> gan = ConditionalGAN(image_shape=(28, 28, 1), num_classes=10, latent_dim=64)
    >>> gan.compile()
    >>> gan.generate(4, labels=[0, 0, 7, 9], seed=1).shape
    (4, 28, 28, 1)

    Reference: https://arxiv.org/abs/1411.1784; "projection": Miyato and Koyama
        (2018), https://arxiv.org/abs/1802.05637; `classifier_weight`: Odena et al.
        (2017), https://arxiv.org/abs/1610.09585; sizes of the networks and optimizer:
        Radford et al. (2016), https://arxiv.org/abs/1511.06434
    """

    data = Images() + Labels()
    about = "GAN conditioned on the class"
    paper = "Mirza and Osindero, 2014"

    def __init__(
        self, image_shape: tuple = (28, 28, 1), num_classes: int = 10, latent_dim: int = 64, *,
        networks: str = "fastgan", conditioning: str = "projection",
        generator: keras.Model | None = None, discriminator: keras.Model | None = None,
        loss: str | tuple = "non_saturating", classifier_weight: float | None = None,
        augment: str | None = None, noise: str = "normal", ema_decay: float | None = 0.999,
        seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, latent_dim, noise, ema_decay, seed, **kwargs)
        self.num_classes = check_count("num_classes", num_classes, minimum=2)
        make_generator = GENERATORS[check_choice("networks", networks, GENERATORS)]
        check_choice("conditioning", conditioning, ("projection", "concatenation"))
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        if classifier_weight is None:
            classifier_weight = float(conditioning == "projection" and discriminator is None)
        self.classifier_weight = check_number("classifier_weight", classifier_weight)

        self.augment = self.make_augmentation(augment, seed)

        classifies = self.classifier_weight > 0
        self.generator = self.make_network(
            "generator", generator,
            lambda: make_generator(self.image_shape, latent_dim, num_classes, conditioning),
            takes=[(latent_dim,), ()], makes=self.image_shape,
        )
        self.discriminator = self.make_network(
            "discriminator", discriminator,
            lambda: conditional_dcgan_discriminator(
                self.image_shape, num_classes, conditioning, classifies
            ),
            takes=[self.image_shape, ()], makes=[(1,), (num_classes,)] if classifies else (1,),
        )
        self.ema_generator = self.make_ema(self.generator)
        self.built = True

    @classmethod
    def upgraded(cls, config: dict) -> dict:
        return config if VERSION in config else {"networks": "dcgan", **config}

    def default_optimizers(self, learning_rate=None):
        # Radford et al. (2016), section 3: Adam, 2e-4, beta_1 of 0.5. The smaller default networks
        # train faster at five times that rate, see `GAN`.
        rate = 2e-4 if self.is_custom("generator", "discriminator") else 1e-3
        return adam_pair(rate if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Eq. 2 of Mirza and Osindero (2014), on one batch (x, y) ~ p_data.

        G is conditioned on the classes y of the batch itself, which follow the data's p(y). With
        `augment`, D sees T(x) and T(G(z, y)) for a random differentiable T.
        """
        images, labels, batch = self.unpack(data)  # (B, h, w, c), (B,)
        real_images = self.augment(images, training=True)

        # 1. G(z, y), z ~ p_z, for both updates.
        with tf.GradientTape() as tape_of_generator:
            fake_images = self.generator([self.sample_latents(batch), labels], training=True)
            fake_images = self.augment(fake_images, training=True)

        # 2. Discriminator, on real pairs and (G(z, y), y): descend
        #    -log D(x, y) - log(1 - D(G(z, y), y)), and with a classifier C also -log C(y | x).
        with tf.GradientTape() as tape:
            # logits (B, 1), class logits (B, K)
            real_logits, real_classes = self.discriminate(real_images, labels, training=True)
            fake_logits, _ = self.discriminate(fake_images, labels, training=True)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            d_loss += self.class_loss(real_classes, labels)
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Generator, through the updated D: descend the non-saturating -log D(G(z, y), y), and
        #    with a classifier also -log C(y | G(z, y)).
        with tape_of_generator:
            logits, fake_classes = self.discriminate(fake_images, labels, training=True)
            g_loss = self.generator_loss(logits) + self.class_loss(fake_classes, labels)
        weights = self.generator.trainable_variables
        gradients = tape_of_generator.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 4. Logs.
        scores = mean_scores(real_logits, fake_logits) | self.class_accuracy(fake_classes, labels)
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, **scores)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, labels, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch), labels)
        real_logits, real_classes = self.discriminate(images, labels)
        fake_logits, fake_classes = self.discriminate(fake_images, labels)
        d_loss = self.discriminator_loss(real_logits, fake_logits)
        return self.log(
            batch,
            d_loss=d_loss + self.class_loss(real_classes, labels),
            g_loss=self.generator_loss(fake_logits) + self.class_loss(fake_classes, labels),
            **mean_scores(real_logits, fake_logits),
            **self.class_accuracy(fake_classes, labels),
        )

    def discriminate(self, images: tf.Tensor, labels: tf.Tensor, training: bool = False) -> tuple:
        """The outputs of D for pairs (image, class).

        Args:
            images: float tensor `(n, height, width, channels)` in [-1, 1].
            labels: int32 tensor `(n,)`.
            training: bool. Passed to the network.

        Returns:
            logits: float `(n, 1)`.
            class_logits: float `(n, num_classes)`; None without a classifier.
        """
        outputs = self.discriminator([images, labels], training=training)
        return outputs if self.classifier_weight else (outputs, None)

    def class_loss(self, class_logits: tf.Tensor | None, labels: tf.Tensor) -> tf.Tensor | float:
        """The weighted mean of -log C(y | x), nats.

        Args:
            class_logits: float tensor `(n, num_classes)`, or None without a classifier.
            labels: int32 tensor `(n,)`.

        Returns:
            float scalar; 0 without a classifier.
        """
        if class_logits is None:
            return 0.0
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, class_logits)  # (n,)
        return self.classifier_weight * tf.reduce_mean(losses)

    def class_accuracy(self, class_logits: tf.Tensor | None, labels: tf.Tensor) -> dict:
        """The logged share of images that are classified as their label.

        Args:
            class_logits: float tensor `(n, num_classes)`, or None without a classifier.
            labels: int32 tensor `(n,)`.

        Returns:
            dict of the float32 scalar `class_accuracy` in [0, 1]; `{}` without a classifier.
        """
        if class_logits is None:
            return {}
        predicted = tf.argmax(class_logits, axis=1, output_type=labels.dtype)
        return {"class_accuracy": tf.reduce_mean(tf.cast(predicted == labels, tf.float32))}

    def images_from_latents(self, latents, labels) -> tf.Tensor:
        return (self.ema_generator or self.generator)([latents, labels], training=False)

    def signatures(self) -> dict:
        def discriminate(images, labels):
            logits, class_logits = self.discriminate(images, labels)
            classes = {} if class_logits is None else {"class_logits": class_logits}
            return {"logits": logits, **classes}

        specs = [self.images_spec(), self.labels_spec()]
        return {**super().signatures(), "discriminate": (discriminate, specs)}
