"""Losses: functions of logits or images that return a scalar or one value per image."""

from keras_genimg.losses.adversarial import (
    ADVERSARIAL_LOSSES,
    RELATIVISTIC_LOSSES,
    get_adversarial_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_discriminator_loss,
    non_saturating_generator_loss,
    relativistic_average_discriminator_loss,
    relativistic_average_generator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from keras_genimg.losses.gradient_penalty import gradient_penalty, r1_penalty
from keras_genimg.losses.likelihood import (
    bernoulli_log_likelihood,
    discretized_logistic_log_likelihood,
    gaussian_kl,
    gaussian_log_likelihood,
    importance_weighted_bound,
)
from keras_genimg.losses.perceptual import content_loss, perceptual_loss

__all__ = [
    "ADVERSARIAL_LOSSES", "RELATIVISTIC_LOSSES", "bernoulli_log_likelihood", "content_loss",
    "discretized_logistic_log_likelihood", "gaussian_kl", "gaussian_log_likelihood",
    "get_adversarial_loss", "gradient_penalty", "hinge_discriminator_loss", "hinge_generator_loss",
    "importance_weighted_bound", "least_squares_discriminator_loss", "least_squares_generator_loss",
    "minimax_discriminator_loss", "minimax_generator_loss", "non_saturating_discriminator_loss",
    "non_saturating_generator_loss", "perceptual_loss", "r1_penalty",
    "relativistic_average_discriminator_loss", "relativistic_average_generator_loss",
    "wasserstein_discriminator_loss", "wasserstein_generator_loss",
]  # fmt: skip
