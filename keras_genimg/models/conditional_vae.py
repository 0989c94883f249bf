"""ConditionalVAE: a variational autoencoder that is told the class (Kingma et al., 2014)."""

import functools

import keras

from keras_genimg.models.vae import VAE
from keras_genimg.networks import check_count, conditional_decoder, conditional_encoder

__all__ = ["ConditionalVAE"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class ConditionalVAE(VAE):
    """VAE whose networks both know the class y (model M2 of Kingma et al., 2014, with all labels).

    Encoder q(z|x, y), decoder p(x|z, y), prior N(0, I) for every class: what the class tells need
    not be in z, which then holds the style. The bound is that of `VAE`, of log p(x|y); so are
    all its options and logs. It is trained on `(images, labels)`.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        latent_dim: int. Length of z.
        encoder: `keras.Model` of one's own, `[images, labels]` to `[z_mean, z_log_var]`.
        decoder: `keras.Model` of one's own, `[z, labels]` to one unbounded value a pixel.
        networks, network_options, beta, likelihood, kl_warmup_steps, free_bits,
            importance_samples, prior, seed: as `VAE` has them.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> vae = ConditionalVAE(image_shape=(28, 28, 1), num_classes=10)
    >>> vae.compile()
    >>> vae.generate(10, labels=range(10), seed=1).shape
    (10, 28, 28, 1)

    Reference: https://arxiv.org/abs/1406.5298, section 2; Sohn et al. (2015), "Learning
        Structured Output Representation using Deep Conditional Generative Models"
    """

    needs_labels = True

    def __init__(
        self,
        image_shape=(28, 28, 1),
        num_classes=10,
        latent_dim=32,
        *,
        networks="conv",
        network_options=None,
        encoder=None,
        decoder=None,
        beta=1.0,
        likelihood="bernoulli",
        kl_warmup_steps=0,
        free_bits=0.0,
        importance_samples=1,
        prior=None,
        seed=None,
        **kwargs,
    ):
        self.num_classes = check_count("num_classes", num_classes, minimum=2)
        super().__init__(
            image_shape, latent_dim, networks=networks, network_options=network_options,
            encoder=encoder, decoder=decoder, beta=beta, likelihood=likelihood,
            kl_warmup_steps=kl_warmup_steps, free_bits=free_bits,
            importance_samples=importance_samples, prior=prior, seed=seed, **kwargs,
        )

    def default_networks(self, name):
        return [
            functools.partial(make, build, num_classes=self.num_classes)
            for make, build in zip((conditional_encoder, conditional_decoder), super().default_networks(name))
        ]

    def get_config(self):
        return {**super().get_config(), "num_classes": self.num_classes}
