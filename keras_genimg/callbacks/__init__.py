"""Keras callbacks: sample grids, metrics of samples, checkpoints, pruning."""

from keras_genimg.callbacks.best_checkpoint import BestCheckpoint
from keras_genimg.callbacks.evaluate_samples import EvaluateSamples
from keras_genimg.callbacks.image_grid import ImageGrid
from keras_genimg.callbacks.prune import Prune, sparsity_of
from keras_genimg.callbacks.resume import Resume, latest_checkpoint

__all__ = [
    "BestCheckpoint", "EvaluateSamples", "ImageGrid", "Prune", "Resume", "latest_checkpoint",
    "sparsity_of",
]
