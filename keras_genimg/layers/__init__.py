"""Layers of the networks and models."""

from keras_genimg.layers.attention import CausalSelfAttention
from keras_genimg.layers.batch_normalization import BatchNormalization
from keras_genimg.layers.bicubic_resize import BicubicResize
from keras_genimg.layers.centering import Centering
from keras_genimg.layers.conditional_batch_normalization import ConditionalBatchNormalization
from keras_genimg.layers.diff_augment import DiffAugment, check_policy, diff_augment
from keras_genimg.layers.dropout import Dropout
from keras_genimg.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from keras_genimg.layers.gaussian_mixture import GaussianMixture
from keras_genimg.layers.image_pool import ImagePool
from keras_genimg.layers.instance_normalization import InstanceNormalization
from keras_genimg.layers.masked_conv import MaskedConv2D
from keras_genimg.layers.minibatch_standard_deviation import MinibatchStandardDeviation
from keras_genimg.layers.motion_walk import MotionWalk
from keras_genimg.layers.sampling import Sampling
from keras_genimg.layers.shift import Shift
from keras_genimg.layers.spectral_normalization import SpectralNormalization
from keras_genimg.layers.vector_quantizer import VectorQuantizer
from keras_genimg.layers.vector_quantizer_ema import VectorQuantizerEMA

__all__ = [
    "BatchNormalization", "BicubicResize", "CausalSelfAttention", "Centering",
    "ConditionalBatchNormalization", "DiffAugment", "Dropout", "FiniteScalarQuantizer",
    "GaussianMixture", "ImagePool", "InstanceNormalization", "MaskedConv2D",
    "MinibatchStandardDeviation", "MotionWalk", "Sampling", "Shift", "SpectralNormalization",
    "VectorQuantizer", "VectorQuantizerEMA", "check_policy", "diff_augment",
]  # fmt: skip

PicturePool = ImagePool  # its name up to version 0.1
