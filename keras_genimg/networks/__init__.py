"""Functions that build the networks of the models, as functional `keras.Model`s."""

from keras_genimg.networks.autoencoder import conv_decoder, conv_encoder, vq_decoder, vq_encoder
from keras_genimg.networks.conditional_dcgan import (
    check_conditioning,
    conditional_dcgan_discriminator,
    conditional_dcgan_generator,
)
from keras_genimg.networks.dcgan import dcgan_discriminator, dcgan_generator
from keras_genimg.networks.dcgan5 import dcgan5_discriminator, dcgan5_generator
from keras_genimg.networks.mlp import mlp_decoder, mlp_discriminator, mlp_encoder, mlp_generator
from keras_genimg.networks.resnet import resnet_discriminator, resnet_generator
from keras_genimg.networks.shapes import check_count, check_image_shape

__all__ = [
    "check_conditioning",
    "check_count",
    "check_image_shape",
    "conditional_dcgan_discriminator",
    "conditional_dcgan_generator",
    "conv_decoder",
    "conv_encoder",
    "dcgan5_discriminator",
    "dcgan5_generator",
    "dcgan_discriminator",
    "dcgan_generator",
    "mlp_decoder",
    "mlp_discriminator",
    "mlp_encoder",
    "mlp_generator",
    "resnet_discriminator",
    "resnet_generator",
    "vq_decoder",
    "vq_encoder",
]
