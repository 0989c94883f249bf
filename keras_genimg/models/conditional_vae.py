"""ConditionalVAE: a variational autoencoder conditioned on the class (Kingma et al., 2014)."""

import functools
import warnings

import keras

from keras_genimg.checks import check_count
from keras_genimg.core import Images, Labels
from keras_genimg.layers import GaussianMixture
from keras_genimg.models.vae import VAE
from keras_genimg.networks import conditional_decoder, conditional_encoder

__all__ = ["ConditionalVAE"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class ConditionalVAE(VAE):
    """VAE conditioned on the class y (model M2 of Kingma et al., 2014, with all labels).

    Encoder q(z|x, y), decoder p(x|z, y), prior N(0, I) for every class: z need not encode the
    class, and encodes the style instead. The bound is that of `VAE`, on log p(x|y); options and
    logs are the same. The model is trained on `(images, labels)`.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        latent_dim: int. Length of z.
        encoder: custom `keras.Model`, `[images, labels]` to `[z_mean, z_log_var]`.
        decoder: custom `keras.Model`, `[z, labels]` to one unbounded value per pixel.
        networks, network_options, beta, likelihood, kl_warmup_steps, free_bits, prior, seed:
            see `VAE`.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> vae = ConditionalVAE(image_shape=(28, 28, 1), num_classes=10)
    >>> vae.compile()
    >>> vae.generate(10, labels=range(10), seed=1).shape
    (10, 28, 28, 1)

    Reference: https://arxiv.org/abs/1406.5298, section 2; Sohn et al. (2015), "Learning
        Structured Output Representation using Deep Conditional Generative Models"
    """

    data = Images() + Labels()
    about = "VAE conditioned on the class"
    paper = "Kingma et al., 2014"

    def __init__(
        self, image_shape=(28, 28, 1), num_classes: int = 10, latent_dim: int = 32, *,
        networks: str = "conv", network_options: dict | None = None, encoder=None, decoder=None,
        beta: float = 1.0, likelihood: str = "bernoulli", kl_warmup_steps: int = 0,
        free_bits: float = 0.0, prior: GaussianMixture | None = None, seed: int | None = None,
        **kwargs,
    ):
        self.num_classes = check_count("num_classes", num_classes, minimum=2)
        super().__init__(
            image_shape, latent_dim, networks=networks, network_options=network_options,
            encoder=encoder, decoder=decoder, beta=beta, likelihood=likelihood,
            kl_warmup_steps=kl_warmup_steps, free_bits=free_bits, prior=prior, seed=seed, **kwargs,
        )

    @classmethod
    def upgraded(cls, config: dict) -> dict:
        draws = config.pop("importance_samples", 1)
        if draws > 1:
            warnings.warn(
                f"This model was trained with version 0.1 on the bound with {draws} importance "
                "samples; further training descends the bound with one.",
                stacklevel=2,
            )
        return config

    def conditioned(self, inputs, labels) -> list:
        return [inputs, labels]

    def default_networks(self, networks) -> tuple:
        classes = {"num_classes": self.num_classes}
        make_encoder, make_decoder = super().default_networks(networks)
        return (
            functools.partial(conditional_encoder, make_encoder, **classes),
            functools.partial(conditional_decoder, make_decoder, **classes),
        )
