"""Models: one file a training algorithm."""

from keras_genimg.models.cnn_classifier import CNNClassifier
from keras_genimg.models.conditional_gan import ConditionalGAN
from keras_genimg.models.gan import GAN
from keras_genimg.models.vae import VAE
from keras_genimg.models.vq_vae import VQVAE
from keras_genimg.models.wgan import WGAN
from keras_genimg.models.wgan_gp import WGANGP

__all__ = ["CNNClassifier", "ConditionalGAN", "GAN", "VAE", "VQVAE", "WGAN", "WGANGP"]
