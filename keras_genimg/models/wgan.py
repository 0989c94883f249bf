"""WGAN: the Wasserstein GAN of Arjovsky et al. (2017), its critic's weights clipped."""

import keras
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.losses import wasserstein_discriminator_loss, wasserstein_generator_loss
from keras_genimg.models.adversarial import AdversarialModel
from keras_genimg.models.checks import check_number
from keras_genimg.models.critic_updates import images_of_update
from keras_genimg.networks import (
    check_count,
    check_image_shape,
    dcgan_discriminator,
    dcgan_generator,
)

__all__ = ["WGAN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class WGAN(AdversarialModel):
    """Wasserstein generative adversarial network (Arjovsky et al., 2017).

    A critic f, kept Lipschitz by clipping its weights, estimates the distance
    between the distributions of real pictures and of those that a generator g
    makes of noise z; g descends that distance.

    One step of `fit` is n_critic updates of the critic and one of the generator:
    its batch is n_critic times the batch of one update, so that each update sees
    fresh pictures.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        generator: `keras.Model` of one's own, `(batch, latent_dim)` to images.
        discriminator: `keras.Model` of one's own, the critic: images to `(batch, 1)`.
        n_critic: int. Critic updates per generator update (n_critic in Algorithm 1).
        clip_value: float above 0. The critic's trainable weights are held in
            [-clip_value, clip_value] (c in Algorithm 1): kernels and biases, and of
            batch normalisation, if there is any, the scale and the offset, as in
            the authors' code; not its moving moments.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the noise of training repeatable.

    Logs: `g_loss`, `d_loss`, and the mean of the critic on real and generated
    pictures, `real_score` and `fake_score`; those of the critic from the last of
    its updates. `-d_loss` is the estimate of the distance, up to a factor that
    `clip_value` sets.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> wgan = WGAN(image_shape=(28, 28, 1), latent_dim=64)
    >>> wgan.compile()
    >>> wgan.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1701.07875; networks: Radford et al. (2016),
        https://arxiv.org/abs/1511.06434
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        latent_dim=64,
        *,
        generator=None,
        discriminator=None,
        n_critic=5,
        clip_value=0.01,
        noise="normal",
        ema_decay=0.999,
        seed=None,
        **kwargs,
    ):
        own_networks = generator is not None and discriminator is not None
        image_shape = check_image_shape(image_shape, default_networks=not own_networks)
        super().__init__(image_shape, latent_dim, noise=noise, seed=seed, **kwargs)
        self.n_critic = check_count("n_critic", n_critic)
        self.clip_value = check_number("clip_value", clip_value)
        if clip_value == 0:
            raise InputError(
                "clip_value must be above 0, or the critic is 0 everywhere. "
                f"Received: clip_value={clip_value!r}."
            )
        # The critic has batch normalisation. With its scale clipped from 1 to 0.01, activations
        # have variances of 1e-5, which Keras's epsilon of 1e-3 would drown: the smallest that
        # TensorFlow's fused kernel takes. Without it, the clipped critic sees hardly more than
        # how bright a picture is.
        self.adopt_networks(
            (generator, discriminator),
            (
                lambda: dcgan_generator(image_shape, latent_dim),
                lambda: dcgan_discriminator(image_shape, epsilon=1.01e-5),
            ),
            ema_decay,
        )

    def default_optimizers(self, learning_rate=None):
        # Algorithm 1: RMSprop, 5e-5; a momentum makes the critic unstable (section 4). Our own
        # smaller networks come further with higher rates, the generator's above the critic's,
        # whose weights cross all of [-c, c] in a hundred steps as it is.
        rates = (5e-5, 5e-5) if any(self.own_networks) else (1e-3, 2e-4)
        if learning_rate is not None:
            rates = learning_rate, learning_rate
        # Gradients through a clipped critic are as small as 1e-6: Keras's epsilon, 1e-7 under the
        # root, would stop them.
        return {
            name: keras.optimizers.RMSprop(rate, epsilon=1e-14)
            for name, rate in zip(("generator_optimizer", "discriminator_optimizer"), rates)
        }

    def train_step(self, data):
        """Algorithm 1 of Arjovsky et al. (2017), one turn of its outer loop."""
        step_images, _, step_batch = self.unpack(data)  # (n_critic * B, h, w, c)

        # 1. n_critic updates of the critic, each on fresh pictures x ~ P_r and noise z ~ p(z):
        #    ascend E[f(x)] - E[f(g(z))], then clip the weights to [-c, c].
        for update in range(self.n_critic):
            images, batch = images_of_update(step_images, step_batch, update, self.n_critic)
            latents = self.sample_latents(batch)  # (B, latent_dim)
            fake_images = self.generator(latents, training=True)  # (B, h, w, c)
            with tf.GradientTape() as tape:
                real_logits = self.discriminator(images, training=True)  # (B, 1)
                fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
                d_loss = wasserstein_discriminator_loss(real_logits, fake_logits)
                shared_loss = d_loss * batch.share
            weights = self.discriminator.trainable_variables
            gradients = tape.gradient(shared_loss, weights)
            self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
            for weight in weights:
                weight.assign(tf.clip_by_value(weight, -self.clip_value, self.clip_value))

        # 2. One update of g through the critic, with fresh noise: descend -E[f(g(z))].
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            fake_images = self.generator(latents, training=True)
            logits = self.discriminator(fake_images, training=True)
            g_loss = wasserstein_generator_loss(logits)
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
            real_score=tf.reduce_mean(real_logits),
            fake_score=tf.reduce_mean(fake_logits),
        )

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        real_logits = self.discriminator(images, training=False)
        fake_logits = self.discriminator(fake_images, training=False)
        return self.log(
            batch,
            d_loss=wasserstein_discriminator_loss(real_logits, fake_logits),
            g_loss=wasserstein_generator_loss(fake_logits),
            real_score=tf.reduce_mean(real_logits),
            fake_score=tf.reduce_mean(fake_logits),
        )

    def get_config(self):
        return {**super().get_config(), "n_critic": self.n_critic, "clip_value": self.clip_value}
