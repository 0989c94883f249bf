"""From the name of a recipe to its content."""

import difflib
import json
import pathlib

from keras_genimg.errors import InputError

__all__ = ["SETTINGS", "read_recipe", "recipe_names"]

FOLDER = pathlib.Path(__file__).parent
# What tells a reader about a recipe; everything else in it is a setting of `train`.
ABOUT = ("about", "published", "differs", "measure", "model")
SETTINGS = (
    "start_from", "data", "binarize", "image_size", "channels", "damage", "data_b", "batch_size", "epochs",
    "steps_per_epoch", "seed", "policy", "set",
)  # fmt: skip


def recipe_names():
    """The names of all recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_recipe(name):
    """Reads a recipe of this package.

    Args:
        name: string, one of `recipe_names()`.

    Returns:
        dict. `about`: one sentence. `published`: list of dicts with `value`, `what` and
        `source`. `differs`: what is done otherwise than there. `measure`: the command that
        measures the same. `model`: name of the model on the command line. `settings`: dict
        of settings of `train`.

    Raises:
        InputError: another name.

    Example:
    >>> read_recipe("vae_mnist")["model"]
    'vae'
    """
    names = recipe_names()
    if name not in names:
        near = difflib.get_close_matches(name, names)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(
            f"A recipe must be one of {', '.join(names)}. Received: {name!r}{hint}."
        )
    content = json.loads((FOLDER / f"{name}.json").read_text())
    recipe = {key: content.pop(key) for key in ABOUT}
    unknown = sorted(set(content) - set(SETTINGS))
    if unknown:
        raise InputError(
            f"A recipe holds {', '.join(ABOUT)} and some of the settings {', '.join(SETTINGS)}. "
            f"Received: {', '.join(unknown)} in {name}."
        )
    return {**recipe, "settings": content}
