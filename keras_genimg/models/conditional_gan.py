"""ConditionalGAN: the two-player game where both players are told the class."""

import keras
import tensorflow as tf

from keras_genimg.losses import get_adversarial_loss
from keras_genimg.models.adversarial import AdversarialModel
from keras_genimg.models.checks import check_number
from keras_genimg.models.two_players import adam_pair, serialized_loss
from keras_genimg.networks import (
    check_conditioning,
    check_count,
    check_image_shape,
    conditional_dcgan_discriminator,
    conditional_dcgan_generator,
)

__all__ = ["ConditionalGAN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class ConditionalGAN(AdversarialModel):
    """Conditional generative adversarial network (Mirza and Osindero, 2014).

    A generator G turns noise z and a class y into a picture of that class; a
    discriminator D is shown a picture with its class and tells real pairs from
    G's. It is trained on `(images, labels)` and generates by label.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        latent_dim: int. Length of the noise vector z.
        conditioning: how the default networks are told the class:
            `"projection"` (Miyato and Koyama, 2018: conditional batch
            normalisation in G, an inner product with the features in D) or
            `"concatenation"` (Mirza and Osindero: the class joins the input).
        generator: `keras.Model` of one's own, `[(batch, latent_dim), int32
            (batch,)]` to images.
        discriminator: `keras.Model` of one's own, `[images, int32 (batch,)]` to
            logits `(batch, 1)`; with `classifier_weight` above 0 to those and the
            logits of the classes, `(batch, num_classes)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        classifier_weight: float. Weight of an auxiliary classifier (L_C of Odena et al.,
            2017): D also reads the class of real pictures, and G's pictures must read
            as the class that was asked for. 0 for none. By default 1 with the default
            discriminator of `"projection"`, and 0 with others.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the noise of training repeatable.

    Logs: `g_loss`, `d_loss` and the mean of sigmoid(logit) on real and generated
    pictures, `real_score` and `fake_score`; with a classifier also `class_accuracy`, the
    share of G's pictures that it reads as the class asked for.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

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

    needs_labels = True

    def __init__(
        self,
        image_shape=(28, 28, 1),
        num_classes=10,
        latent_dim=64,
        *,
        conditioning="projection",
        generator=None,
        discriminator=None,
        loss="non_saturating",
        classifier_weight=None,
        noise="normal",
        ema_decay=0.999,
        seed=None,
        **kwargs,
    ):
        own_networks = generator is not None and discriminator is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        super().__init__(image_shape, latent_dim, noise=noise, seed=seed, **kwargs)
        self.num_classes = check_count("num_classes", num_classes, minimum=2)
        self.conditioning = check_conditioning(conditioning)
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        if classifier_weight is None:
            classifier_weight = float(conditioning == "projection" and discriminator is None)
        self.classifier_weight = check_number("classifier_weight", classifier_weight)
        classifies = self.classifier_weight > 0
        self.adopt_networks(
            (generator, discriminator),
            (
                lambda: conditional_dcgan_generator(
                    image_shape, latent_dim, num_classes, conditioning
                ),
                lambda: conditional_dcgan_discriminator(
                    image_shape, num_classes, conditioning, classifies
                ),
            ),
            ema_decay,
            discriminator_outputs=[(1,), (num_classes,)] if classifies else [(1,)],
        )

    def default_optimizers(self, learning_rate=None):
        # Radford et al. (2016), section 3: Adam, 2e-4, beta_1 of 0.5. Our own smaller networks
        # come further with five times that rate, as those of `GAN` do.
        rate = 2e-4 if any(self.own_networks) else 1e-3
        return adam_pair(rate if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Eq. 2 of Mirza and Osindero (2014), on one batch (x, y) ~ p_data.

        G is asked for the classes y of the batch itself: they have the
        distribution of the data's classes, p(y), without a draw of their own.
        """
        images, labels, batch = self.unpack(data)  # (B, h, w, c), (B,)

        # 1. One step of D on real pairs and on (G(z, y), y), with fresh noise z ~ p_z:
        #    descend -log D(x, y) - log(1 - D(G(z, y), y)), and with a classifier C also -log C(y | x).
        latents = self.sample_latents(batch)  # (B, latent_dim)
        fake_images = self.generator([latents, labels], training=True)  # (B, h, w, c)
        with tf.GradientTape() as tape:
            real_logits, real_classes = self.judge(images, labels, training=True)  # (B, 1), (B, K)
            fake_logits, _ = self.judge(fake_images, labels, training=True)  # (B, 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            d_loss += self.class_loss(real_classes, labels)
            shared_loss = d_loss * batch.share
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. One step of G through the updated D, with fresh noise:
        #    descend -log D(G(z, y), y), the form that does not saturate, and -log C(y | G(z, y)).
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            fake_images = self.generator([latents, labels], training=True)
            logits, fake_classes = self.judge(fake_images, labels, training=True)
            g_loss = self.generator_loss(logits) + self.class_loss(fake_classes, labels)
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
            **self.class_accuracy(fake_classes, labels),
        )

    def judge(self, images, labels, training=False):
        """What D makes of pictures with their classes.

        Args:
            images: float tensor `(n, height, width, channels)` in [-1, 1].
            labels: int32 tensor `(n,)`.
            training: bool. How the network is called.

        Returns:
            logits: float32 `(n, 1)`.
            class_logits: float32 `(n, num_classes)`; None without a classifier.
        """
        outputs = self.discriminator([images, labels], training=training)
        return outputs if self.classifier_weight else (outputs, None)

    def class_loss(self, class_logits, labels):
        """The weighted mean of -log C(y | x), nats.

        Args:
            class_logits: float tensor `(n, num_classes)`, or None without a classifier.
            labels: int32 tensor `(n,)`.

        Returns:
            float scalar; 0 without a classifier.
        """
        if class_logits is None:
            return 0.0
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, class_logits)
        return self.classifier_weight * tf.reduce_mean(losses)

    def class_accuracy(self, class_logits, labels):
        """A log: the share of pictures whose class is read right.

        Args:
            class_logits: float tensor `(n, num_classes)`, or None without a classifier.
            labels: int32 tensor `(n,)`.

        Returns:
            dict of the float32 scalar `class_accuracy` in [0, 1]; `{}` without a classifier.
        """
        if class_logits is None:
            return {}
        read = tf.argmax(class_logits, axis=1, output_type=labels.dtype)
        return {"class_accuracy": tf.reduce_mean(tf.cast(read == labels, tf.float32))}

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update."""
        images, labels, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch), labels)
        real_logits, real_classes = self.judge(images, labels)
        fake_logits, fake_classes = self.judge(fake_images, labels)
        d_loss = self.discriminator_loss(real_logits, fake_logits)
        return self.log(
            batch,
            d_loss=d_loss + self.class_loss(real_classes, labels),
            g_loss=self.generator_loss(fake_logits) + self.class_loss(fake_classes, labels),
            real_score=tf.reduce_mean(tf.sigmoid(real_logits)),
            fake_score=tf.reduce_mean(tf.sigmoid(fake_logits)),
            **self.class_accuracy(fake_classes, labels),
        )

    def images_from_latents(self, latents, labels):
        return (self.ema_generator or self.generator)([latents, labels], training=False)

    def call(self, inputs, training=False):
        """Pictures of latents and classes, by the EMA generator where there is one.

        Args:
            inputs: list of latents, float `(n, latent_dim)`, and labels, int32 `(n,)`.
            training: bool. Changes nothing; `train_step` calls `generator` itself.

        Returns:
            float32 tensor `(n, height, width, channels)` in [-1, 1].
        """
        return self.images_from_latents(*inputs)

    def signatures(self):
        def discriminate(images, labels):
            logits, class_logits = self.judge(images, labels)
            classes = {} if class_logits is None else {"class_logits": class_logits}
            return {"logits": logits, **classes}

        specs = [self.images_spec(), self.labels_spec()]
        return {**super().signatures(), "discriminate": (discriminate, specs)}

    def deterministic_signature(self):
        _, [latents] = super().deterministic_signature()

        def generate(latents, labels):
            return {"images": self.images_from_latents(latents, labels)}

        return generate, [latents, self.labels_spec()]

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "conditioning": self.conditioning,
            "loss": serialized_loss(self.loss_name),
            "classifier_weight": self.classifier_weight,
        }
