"""Run folders: what the command line trains into, resumes and reads from.

A run folder holds `README.md` (the model card), `run.json`, `logs.csv`, `samples.png`,
`progress.gif`, `losses.png`, `model.keras`, `saved_model/`, `checkpoints/` and `samples/` (one
grid per epoch).
"""

from keras_genimg.runs.folder import load_run
from keras_genimg.runs.latents import interpolate, invert
from keras_genimg.runs.prior import prior
from keras_genimg.runs.registry import trainable_models
from keras_genimg.runs.training import train
from keras_genimg.runs.using import evaluate, export, generate

__all__ = [
    "evaluate", "export", "generate", "interpolate", "invert", "load_run", "prior", "train",
    "trainable_models",
]  # fmt: skip
