"""Keras callbacks: sample grids, the best checkpoint, and resuming a stopped run."""

from keras_genimg.callbacks.best_checkpoint import BestCheckpoint
from keras_genimg.callbacks.image_grid import ImageGrid
from keras_genimg.callbacks.resume import Resume, latest_checkpoint

__all__ = ["BestCheckpoint", "ImageGrid", "Resume", "latest_checkpoint"]
