"""WGAN: the Wasserstein GAN of Arjovsky et al. (2017), with weight clipping in the critic."""

import keras
import tensorflow as tf

from keras_genimg.checks import check_count, check_number
from keras_genimg.core import LatentGAN, images_of_update, mean_scores, update_ema
from keras_genimg.losses import wasserstein_discriminator_loss, wasserstein_generator_loss
from keras_genimg.networks import dcgan_discriminator, dcgan_generator

__all__ = ["WGAN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class WGAN(LatentGAN):
    """Wasserstein generative adversarial network (Arjovsky et al., 2017).

    A critic f, kept Lipschitz by clipping its weights, estimates the Wasserstein
    distance between the distributions of real and generated images; a generator g
    turns noise z into images and minimises that distance.

    One step of `fit` is n_critic updates of the critic and one of the generator. It
    takes n_critic batches, one for each update of the critic, so that each sees fresh
    images; `batch_size` and the batches of a dataset are those of one update.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        generator: custom `keras.Model`, `(batch, latent_dim)` to images.
        discriminator: custom `keras.Model`, the critic: images to `(batch, 1)`.
        n_critic: int. Critic updates per generator update (n_critic in Algorithm 1).
        clip_value: float above 0. The critic's trainable weights are clipped to
            [-clip_value, clip_value] (c in Algorithm 1): kernels, biases, and the
            scales and offsets of batch normalisation, as in the authors' code; its
            moving moments are not.
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `g_loss`, `d_loss`, and the mean of the critic on real and generated
    images, `real_score` and `fake_score`. Critic values are from its last update in the
    step. `-d_loss` is the estimate of the distance, up to a factor that
    depends on `clip_value`.

    Differences: `generate` uses an EMA generator, which the paper does not have, unless `ema_decay`
    is None. The authors' code makes 100 critic updates instead of n_critic before each of the
    first 25 generator updates and each 500th one; here there are always n_critic, as in
    Algorithm 1.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> wgan = WGAN(image_shape=(28, 28, 1), latent_dim=64)
    >>> wgan.compile()
    >>> wgan.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1701.07875; networks: Radford et al. (2016),
        https://arxiv.org/abs/1511.06434
    """

    about = "Wasserstein GAN with weight clipping"
    paper = "Arjovsky et al., 2017"

    def __init__(
        self, image_shape: tuple = (28, 28, 1), latent_dim: int = 64, *,
        generator: keras.Model | None = None, discriminator: keras.Model | None = None,
        n_critic: int = 5, clip_value: float = 0.01, noise: str = "normal",
        ema_decay: float | None = 0.999, seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, latent_dim, noise, ema_decay, seed, **kwargs)
        self.n_critic = check_count("n_critic", n_critic)
        self.clip_value = check_number("clip_value", clip_value, above=True)
        self.generator = self.make_network(
            "generator", generator, lambda: dcgan_generator(self.image_shape, latent_dim),
            takes=(latent_dim,), makes=self.image_shape,
        )
        # Clipping the scale of batch normalisation from 1 to 0.01 leaves activations with
        # variances of 1e-5, far below Keras's epsilon of 1e-3: the critic would then measure
        # little but brightness. 1.01e-5 is the smallest epsilon of TensorFlow's fused kernel.
        self.discriminator = self.make_network(
            "discriminator", discriminator,
            lambda: dcgan_discriminator(self.image_shape, epsilon=1.01e-5),
            takes=self.image_shape, makes=(1,),
        )
        self.ema_generator = self.make_ema(self.generator)
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Algorithm 1: RMSprop, 5e-5; momentum makes the critic unstable (section 4). Our own
        # smaller networks train faster at higher rates, the generator's above the critic's, whose
        # weights cross all of [-c, c] in 100 steps at 2e-4.
        custom = self.is_custom("generator", "discriminator")
        rates = (5e-5, 5e-5) if custom else (1e-3, 2e-4)
        if learning_rate is not None:
            rates = learning_rate, learning_rate
        # Gradients through a clipped critic are as small as 1e-6; Keras's epsilon, 1e-7 under the
        # root, would exceed their squares.
        return {
            name: keras.optimizers.RMSprop(rate, epsilon=1e-14)
            for name, rate in zip(("generator_optimizer", "discriminator_optimizer"), rates)
        }

    def train_step(self, data):
        """Algorithm 1 of Arjovsky et al. (2017), one iteration of its outer loop."""
        step_images, _, step_batch = self.unpack(data)  # (n_critic * B, h, w, c)

        # 1. n_critic updates of the critic, each on fresh images x ~ P_r and noise z ~ p(z):
        #    ascend E[f(x)] - E[f(g(z))], then clip the weights to [-c, c].
        for update in range(self.n_critic):
            images, batch = images_of_update(step_images, step_batch, update, self.n_critic)
            fake_images = self.generator(self.sample_latents(batch), training=True)  # (B, h, w, c)
            with tf.GradientTape() as tape:
                real_logits = self.discriminator(images, training=True)  # (B, 1)
                fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
                d_loss = wasserstein_discriminator_loss(real_logits, fake_logits)
            weights = self.discriminator.trainable_variables
            gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
            self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
            for weight in weights:
                weight.assign(tf.clip_by_value(weight, -self.clip_value, self.clip_value))

        # 2. One update of g through the critic, with fresh noise: descend -E[f(g(z))].
        with tf.GradientTape() as tape:
            fake_images = self.generator(self.sample_latents(batch), training=True)
            g_loss = wasserstein_generator_loss(self.discriminator(fake_images, training=True))
        weights = self.generator.trainable_variables
        gradients = tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 3. Logs.
        scores = mean_scores(real_logits, fake_logits, tf.identity)
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, **scores)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        real_logits = self.discriminator(images, training=False)
        fake_logits = self.discriminator(fake_images, training=False)
        return self.log(
            batch,
            d_loss=wasserstein_discriminator_loss(real_logits, fake_logits),
            g_loss=wasserstein_generator_loss(fake_logits),
            **mean_scores(real_logits, fake_logits, tf.identity),
        )
