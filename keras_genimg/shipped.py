"""Trained models that come with the package: their files and their cards."""

import hashlib
import json
import os
import pathlib

import keras

from keras_genimg.errors import InputError

__all__ = ["load_preset", "open_shipped", "presets", "read_cards"]

PRESETS = pathlib.Path(__file__).parent / "presets"


def presets() -> dict:
    """The presets: small trained models that come with the package.

    Returns:
        dict from a name to its card, a dict: `about`, `class`, `image_shape` and `class_names`; the
        `command` that trained it, its `data` with their licence, and the `metrics` of its samples;
        docs/presets.md lists the rest.

    Example:
    >>> presets()["conditional_gan_glyphs"]["class"]
    'ConditionalGAN'
    """
    return read_cards(PRESETS)


def load_preset(name: str) -> keras.Model:
    """A small trained model that comes with the package.

    It generates at once. To train it further, `compile` it first.

    Args:
        name: string, one of `presets()`.

    Returns:
        a model of `keras_genimg.models`, not compiled.

    Raises:
        InputError: an unknown name, or a corrupt file of the package.

    Example:
    >>> load_preset("conditional_gan_glyphs").generate(16, labels="7").shape
    (16, 28, 28, 1)
    """
    known = presets()
    if not isinstance(name, str) or name not in known:
        raise InputError(f"A preset must be one of {', '.join(known)}. Received: {name!r}.")
    model = open_shipped(PRESETS, name, known[name])
    if getattr(model, "ema_generator", None):  # the only one of the two that the file holds
        model.generator.set_weights(model.ema_generator.get_weights())
    return model


def read_cards(folder: str | os.PathLike) -> dict:
    """The cards of the models in a folder of the package.

    Args:
        folder: path.

    Returns:
        dict from the name of a model to its card, a dict.
    """
    return json.loads(pathlib.Path(folder, "cards.json").read_text(encoding="utf-8"))


def open_shipped(folder: str | os.PathLike, name: str, card: dict) -> keras.Model:
    """A model in a folder of the package, whose file is compared with its card.

    Args:
        folder: path.
        name: string. The file is NAME.keras.
        card: dict with its `sha256`.

    Returns:
        `keras.Model`, not compiled.

    Raises:
        InputError: a corrupt or missing file.
    """
    path = pathlib.Path(folder, f"{name}.keras")
    found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if found != card["sha256"]:
        raise InputError(
            f"The model {path} must be the file shipped with the package; reinstalling the "
            f"package restores it. Received: {found} instead of sha256 {card['sha256']}."
        )
    return keras.models.load_model(path, compile=False)
