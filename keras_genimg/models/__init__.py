"""Models: one file a training algorithm."""

from keras_genimg.models.cnn_classifier import CNNClassifier
from keras_genimg.models.gan import GAN
from keras_genimg.models.vae import VAE
from keras_genimg.models.vq_vae import VQVAE

__all__ = ["CNNClassifier", "GAN", "VAE", "VQVAE"]
