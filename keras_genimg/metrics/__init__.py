"""Metrics: how good the pictures are, and how much of a model is in use."""

from keras_genimg.metrics.codebook_usage import CodesUsed, codebook_perplexity
from keras_genimg.metrics.features import FeatureExtractor, get_features
from keras_genimg.metrics.frechet_distance import (
    RunningMoments,
    frechet_distance,
    frechet_distance_from_moments,
)
from keras_genimg.metrics.inception_score import inception_score
from keras_genimg.metrics.kernel_distance import kernel_distance
from keras_genimg.metrics.memorization import nearest_training_images
from keras_genimg.metrics.precision_recall import precision_recall_density_coverage

__all__ = [
    "CodesUsed",
    "FeatureExtractor",
    "RunningMoments",
    "codebook_perplexity",
    "frechet_distance",
    "frechet_distance_from_moments",
    "get_features",
    "inception_score",
    "kernel_distance",
    "nearest_training_images",
    "precision_recall_density_coverage",
]
