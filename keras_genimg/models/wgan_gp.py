"""WGANGP: the Wasserstein GAN with the gradient penalty of Gulrajani et al. (2017)."""

import functools

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_count, check_number
from keras_genimg.core import (
    LatentGAN,
    adam_pair,
    check_no_batch_normalization,
    images_of_update,
    mean_scores,
    update_ema,
)
from keras_genimg.losses import (
    gradient_penalty,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from keras_genimg.networks import dcgan_discriminator, dcgan_generator

__all__ = ["WGANGP"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class WGANGP(LatentGAN):
    """Wasserstein GAN with gradient penalty (Gulrajani et al., 2017).

    A critic estimates the Wasserstein distance between the distributions of real
    and generated images, and the generator minimises it, as in `WGAN`. A penalty on
    the norm of the critic's gradient keeps it Lipschitz, instead of weight clipping.

    One step of `fit` is n_critic updates of the critic and one of the generator. It
    takes n_critic batches, one for each update of the critic, so that each sees fresh
    images; `batch_size` and the batches of a dataset are those of one update.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        generator: custom `keras.Model`, `(batch, latent_dim)` to images.
        discriminator: custom `keras.Model`, the critic: images to `(batch, 1)`,
            without batch normalisation.
        n_critic: int. Critic updates per generator update (n_critic in Algorithm 1).
        gp_weight: float. Weight of the penalty (lambda in Eq. 3).
        noise: `"normal"`, `"uniform"` or `"truncated_normal"`.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the
            generator's weights, which `generate` uses.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `g_loss`, `d_loss` (with the weighted penalty), `gradient_penalty` (without
    its weight), and the mean of the critic on real and generated images,
    `real_score` and `fake_score`. Critic values are from its last update in the step.
    `real_score - fake_score` is the estimate of the Wasserstein distance.

    Differences: `generate` uses an EMA generator, which the paper does not have, unless `ema_decay`
    is None. The default critic has no normalisation at all; the paper recommends layer
    normalisation where others have batch normalisation.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> wgan_gp = WGANGP(image_shape=(28, 28, 1), latent_dim=64)
    >>> wgan_gp.compile()
    >>> wgan_gp.generate(16, seed=1).shape
    (16, 28, 28, 1)

    Reference: https://arxiv.org/abs/1704.00028; networks: Radford et al. (2016),
        https://arxiv.org/abs/1511.06434
    """

    about = "Wasserstein GAN with gradient penalty"
    paper = "Gulrajani et al., 2017"

    def __init__(
        self, image_shape: tuple = (28, 28, 1), latent_dim: int = 64, *,
        generator: keras.Model | None = None, discriminator: keras.Model | None = None,
        n_critic: int = 5, gp_weight: float = 10.0, noise: str = "normal",
        ema_decay: float | None = 0.999, seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, latent_dim, noise, ema_decay, seed, **kwargs)
        self.n_critic = check_count("n_critic", n_critic)
        self.gp_weight = check_number("gp_weight", gp_weight)
        self.generator = self.make_network(
            "generator", generator, lambda: dcgan_generator(self.image_shape, latent_dim),
            takes=(latent_dim,), makes=self.image_shape,
        )
        self.discriminator = self.make_network(
            "discriminator", discriminator,
            lambda: dcgan_discriminator(self.image_shape, normalization=False),
            takes=self.image_shape, makes=(1,),
        )
        check_no_batch_normalization(self.discriminator, "WGANGP")
        self.ema_generator = self.make_ema(self.generator)
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Algorithm 1: Adam, 1e-4, beta_1 of 0, beta_2 of 0.9. The smaller default networks train
        # faster at five times that rate.
        rate = 1e-4 if self.is_custom("generator", "discriminator") else 5e-4
        return adam_pair(rate if learning_rate is None else learning_rate, 0.0, 0.9)

    def sample_alpha(self, batch: distribution.GlobalBatch) -> tf.Tensor:
        """Positions on the lines between real and generated images.

        Args:
            batch: `GlobalBatch` of the n images of this replica.

        Returns:
            float tensor `(n, 1, 1, 1)`, uniform in [0, 1), new at every call.
        """
        return distribution.random_uniform(batch, (1, 1, 1), self.seed_generator.next())

    def train_step(self, data):
        """Algorithm 1 of Gulrajani et al. (2017), one iteration of its outer loop."""
        step_images, _, step_batch = self.unpack(data)  # (n_critic * B, h, w, c)
        critic = functools.partial(self.discriminator, training=True)

        # 1. n_critic updates of the critic D, each on fresh images x ~ P_r, noise z ~ p(z) and
        #    alpha ~ U[0, 1): descend E[D(G(z))] - E[D(x)] + lambda E[(||grad D(x_hat)|| - 1)^2],
        #    x_hat = alpha x + (1 - alpha) G(z).
        for update in range(self.n_critic):
            images, batch = images_of_update(step_images, step_batch, update, self.n_critic)
            fake_images = self.generator(self.sample_latents(batch), training=True)  # (B, h, w, c)
            alpha = self.sample_alpha(batch)  # (B, 1, 1, 1)
            with tf.GradientTape() as tape:
                real_logits, fake_logits = critic(images), critic(fake_images)  # (B, 1) each
                penalty = gradient_penalty(critic, images, fake_images, alpha=alpha)
                d_loss = wasserstein_discriminator_loss(real_logits, fake_logits)
                d_loss += self.gp_weight * penalty
            weights = self.discriminator.trainable_variables
            gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
            self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. One update of G through the critic, with fresh noise: descend -E[D(G(z))].
        with tf.GradientTape() as tape:
            fake_images = self.generator(self.sample_latents(batch), training=True)
            g_loss = wasserstein_generator_loss(critic(fake_images))
        weights = self.generator.trainable_variables
        gradients = tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 3. Logs.
        scores = mean_scores(real_logits, fake_logits, tf.identity)
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, **scores, gradient_penalty=penalty)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, _, batch = self.unpack(data)
        fake_images = self.images_from_latents(self.sample_latents(batch))
        critic = functools.partial(self.discriminator, training=False)
        real_logits, fake_logits = critic(images), critic(fake_images)
        alpha = self.sample_alpha(batch)
        penalty = gradient_penalty(critic, images, fake_images, alpha=alpha)
        d_loss = wasserstein_discriminator_loss(real_logits, fake_logits)
        return self.log(
            batch,
            d_loss=d_loss + self.gp_weight * penalty,
            g_loss=wasserstein_generator_loss(fake_logits),
            **mean_scores(real_logits, fake_logits, tf.identity),
            gradient_penalty=penalty,
        )
