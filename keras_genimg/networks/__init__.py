"""Functions that build the networks of the models, as functional `keras.Model`s.

Images and logits are float32 under every dtype policy but `"float64"`, under which the whole
network computes in float64.
"""

from keras_genimg.networks.attention_autoencoder import attention_decoder, attention_encoder
from keras_genimg.networks.autoencoder import (
    conv_decoder,
    conv_encoder,
    two_level_decoder,
    two_level_encoder,
    two_level_join,
    vq_decoder,
    vq_encoder,
)
from keras_genimg.networks.code_transformer import CausalTransformer
from keras_genimg.networks.conditional_autoencoder import conditional_decoder, conditional_encoder
from keras_genimg.networks.conditional_dcgan import (
    conditional_dcgan_discriminator,
    conditional_dcgan_generator,
)
from keras_genimg.networks.dcgan import dcgan_discriminator, dcgan_generator
from keras_genimg.networks.dcgan5 import dcgan5_discriminator, dcgan5_generator
from keras_genimg.networks.fastgan import conditional_fastgan_generator, fastgan_generator
from keras_genimg.networks.frozen_features import application_network, feature_maps
from keras_genimg.networks.mlp import mlp_decoder, mlp_discriminator, mlp_encoder, mlp_generator
from keras_genimg.networks.patchgan import patchgan_discriminator
from keras_genimg.networks.pixel_cnn import GatedPixelCNN
from keras_genimg.networks.projection import projected_discriminator, random_projector
from keras_genimg.networks.residual_autoencoder import residual_decoder, residual_encoder
from keras_genimg.networks.resnet import resnet_discriminator, resnet_generator
from keras_genimg.networks.super_resolution import check_scale, super_resolution_generator
from keras_genimg.networks.translation import residual_translator
from keras_genimg.networks.unet import unet
from keras_genimg.networks.video import shift_generator, video_discriminator

__all__ = [
    "CausalTransformer", "GatedPixelCNN", "application_network", "attention_decoder",
    "attention_encoder", "check_scale", "conditional_dcgan_discriminator",
    "conditional_dcgan_generator", "conditional_decoder", "conditional_encoder",
    "conditional_fastgan_generator", "conv_decoder", "conv_encoder", "dcgan5_discriminator",
    "dcgan5_generator", "dcgan_discriminator", "dcgan_generator", "fastgan_generator",
    "feature_maps", "mlp_decoder", "mlp_discriminator", "mlp_encoder", "mlp_generator",
    "patchgan_discriminator", "projected_discriminator", "random_projector", "residual_decoder",
    "residual_encoder", "residual_translator", "resnet_discriminator", "resnet_generator",
    "shift_generator", "super_resolution_generator", "two_level_decoder", "two_level_encoder",
    "two_level_join", "unet", "video_discriminator", "vq_decoder", "vq_encoder",
]  # fmt: skip
