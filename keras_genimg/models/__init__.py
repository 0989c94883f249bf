"""Models: one file, one class, one paper."""

from keras_genimg.models.cnn_classifier import CNNClassifier
from keras_genimg.models.code_transformer import CodeTransformer
from keras_genimg.models.conditional_gan import ConditionalGAN
from keras_genimg.models.conditional_vae import ConditionalVAE
from keras_genimg.models.cyclegan import CycleGAN
from keras_genimg.models.gan import GAN
from keras_genimg.models.iwae import IWAE
from keras_genimg.models.pix2pix import Pix2Pix
from keras_genimg.models.pixel_cnn import PixelCNN
from keras_genimg.models.projected_gan import ProjectedGAN
from keras_genimg.models.sequence_gan import SequenceGAN
from keras_genimg.models.super_resolution_gan import SuperResolutionGAN
from keras_genimg.models.vae import VAE
from keras_genimg.models.vq_gan import VQGAN
from keras_genimg.models.vq_vae import VQVAE
from keras_genimg.models.vq_vae2 import VQVAE2
from keras_genimg.models.wgan import WGAN
from keras_genimg.models.wgan_gp import WGANGP

__all__ = [
    "CNNClassifier", "CodeTransformer", "ConditionalGAN", "ConditionalVAE", "CycleGAN", "GAN",
    "IWAE", "Pix2Pix", "PixelCNN", "ProjectedGAN", "SequenceGAN", "SuperResolutionGAN", "VAE",
    "VQGAN", "VQVAE", "VQVAE2", "WGAN", "WGANGP",
]  # fmt: skip
