"""The models by their names on the command line, which are the names of their files."""

import importlib
import inspect
import pkgutil

import keras_genimg.models as models
from keras_genimg.core import Codes
from keras_genimg.errors import InputError

__all__ = ["model_class", "name_classes", "parameters_of", "trainable_models"]


def model_class(name: str) -> type:
    """The class that `keras_genimg/models/NAME.py` exports.

    Raises:
        InputError: a model of codes, which is trained on the codes of another model.
    """
    module = importlib.import_module(f"{models.__name__}.{name}")
    found = getattr(module, module.__all__[0])
    if found.data.part(Codes):
        raise InputError(
            f"{name} is trained on the codes of a model: keras-genimg prior RUN --kind {name}."
        )
    return found


def trainable_models() -> dict:
    """Every model that `train` takes: name -> class."""
    found = {}
    for module in pkgutil.iter_modules(models.__path__):
        try:
            found[module.name] = model_class(module.name)
        except InputError:
            continue
    return found


def parameters_of(function) -> set:
    """Names of a function's arguments, without `self`, `*args` and `**kwargs`."""
    found = inspect.signature(function).parameters.values()
    return {p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)} - {"self"}


def name_classes(model, info) -> None:
    """Sets a model's `class_names` to those of a data set, if it has as many classes.

    Args:
        model: image model.
        info: `keras_genimg.data.DataInfo`.
    """
    names = info.class_names or ()
    if len(names) == model.num_classes:
        model.class_names = names
