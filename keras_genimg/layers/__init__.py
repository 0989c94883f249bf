"""Layers that the networks and models are built of."""

from keras_genimg.layers.batch_normalization import BatchNormalization
from keras_genimg.layers.dropout import Dropout
from keras_genimg.layers.sampling import Sampling
from keras_genimg.layers.vector_quantizer import VectorQuantizer

__all__ = ["BatchNormalization", "Dropout", "Sampling", "VectorQuantizer"]
