"""Metrics of generated images, of image pairs and of codebook usage."""

from keras_genimg.metrics.codebook_usage import CodesUsed, codebook_perplexity
from keras_genimg.metrics.features import FeatureExtractor, features_for, get_features
from keras_genimg.metrics.frechet_distance import (
    RunningMoments,
    frechet_distance,
    frechet_distance_from_moments,
)
from keras_genimg.metrics.inception_score import inception_score
from keras_genimg.metrics.kernel_distance import kernel_distance
from keras_genimg.metrics.memorization import nearest_training_images
from keras_genimg.metrics.named_metrics import get_metrics
from keras_genimg.metrics.precision_recall import precision_recall_density_coverage
from keras_genimg.metrics.sample_metrics import (
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    PrecisionRecallDensityCoverage,
    SampleMetric,
    as_stored,
    update_metrics,
)
from keras_genimg.metrics.similarity import peak_signal_to_noise_ratio, structural_similarity
from keras_genimg.metrics.sliced_wasserstein import (
    SlicedWassersteinDistance,
    sliced_wasserstein_distance,
)

__all__ = [
    "CodesUsed", "FeatureExtractor", "FrechetDistance", "InceptionScore", "KernelDistance",
    "PrecisionRecallDensityCoverage", "RunningMoments", "SampleMetric",
    "SlicedWassersteinDistance", "as_stored", "codebook_perplexity", "features_for",
    "frechet_distance", "frechet_distance_from_moments", "get_features", "get_metrics",
    "inception_score", "kernel_distance", "nearest_training_images", "peak_signal_to_noise_ratio",
    "precision_recall_density_coverage", "sliced_wasserstein_distance", "structural_similarity",
    "update_metrics",
]
