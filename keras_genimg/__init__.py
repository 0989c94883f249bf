"""Image generators for Keras 3: GANs, VAEs and VQ-VAEs that train with `model.fit`."""

import importlib
import os
import sys

from keras_genimg.backend import check_backend
from keras_genimg.errors import InputError
from keras_genimg.signals import end_at_once
from keras_genimg.version import __version__

_MODELS = (
    "CNNClassifier", "CodeTransformer", "ConditionalGAN", "ConditionalVAE", "CycleGAN", "GAN",
    "IWAE", "Pix2Pix", "PixelCNN", "ProjectedGAN", "SequenceGAN", "SuperResolutionGAN", "VAE",
    "VQGAN", "VQVAE", "VQVAE2", "WGAN", "WGANGP",
)
# Name -> the module that defines it.
_EXPORTS = {
    **dict.fromkeys(_MODELS, "keras_genimg.models"), "load": "keras_genimg.data",
    **dict.fromkeys(("load_preset", "presets"), "keras_genimg.shipped"),
}
_SUBPACKAGES = (
    "callbacks", "data", "distribution", "export", "latents", "layers", "losses", "metrics",
    "models", "networks", "optimizers", "placement", "plotting", "testing",
)

__all__ = ["InputError", "__version__", *_EXPORTS, *_SUBPACKAGES]


def __getattr__(name):
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    if name in _SUBPACKAGES:
        return importlib.import_module(f"keras_genimg.{name}")
    raise AttributeError(f"module 'keras_genimg' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)


# Importing the models registers them with Keras, so that keras.saving.load_model finds them.
# Only the command line defers this: it answers --help and --version without TensorFlow, and
# reports a wrong backend as a one-line error. During `python -m keras_genimg` the package is
# imported with an argv[0] of "-m".
_COMMAND_LINE = os.path.basename(sys.argv[0]).startswith("keras-genimg") or (
    sys.argv[0] == "-m" and "keras_genimg" in sys.orig_argv
)
if _COMMAND_LINE:
    end_at_once()  # at a signal, until `main` handles them
else:
    check_backend()
    importlib.import_module("keras_genimg.models")
