"""Functions that build the networks of the models, as functional `keras.Model`s."""

from keras_genimg.networks.autoencoder import conv_decoder, conv_encoder, vq_decoder, vq_encoder
from keras_genimg.networks.dcgan import dcgan_discriminator, dcgan_generator
from keras_genimg.networks.mlp import mlp_decoder, mlp_discriminator, mlp_encoder, mlp_generator
from keras_genimg.networks.shapes import check_count, check_image_shape

__all__ = [
    "check_count",
    "check_image_shape",
    "conv_decoder",
    "conv_encoder",
    "dcgan_discriminator",
    "dcgan_generator",
    "mlp_decoder",
    "mlp_discriminator",
    "mlp_encoder",
    "mlp_generator",
    "vq_decoder",
    "vq_encoder",
]
