"""Reads recipes by name."""

import difflib
import json
import pathlib

from keras_genimg.errors import InputError

__all__ = ["SETTINGS", "read_recipe", "recipe_names"]

FOLDER = pathlib.Path(__file__).parent
# What describes a recipe to a reader; everything else in it is a setting of `train`, or of `prior`
# if it names no data: the codes are those of a run.
ABOUT = ("about", "published", "differs", "measure", "model")
SETTINGS = (
    "start_from", "data", "binarize", "image_size", "channels", "corruption", "data_b",
    "batch_size", "epochs", "steps_per_epoch", "seed", "policy", "by_class", "set",
)  # fmt: skip


def recipe_names() -> list:
    """The names of all recipes, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read_recipe(name: str) -> dict:
    """Reads a recipe of this package.

    Args:
        name: string, one of `recipe_names()`.

    Returns:
        dict. `about`: one sentence. `published`: list of dicts with `value`, `what` and
        `source`. `differs`: differences from the publication. `measure`: the command that
        measures the same quantity. `model`: name of the model on the command line.
        `settings`: dict of settings of `train`, or of `prior` if there is no `data` among them.

    Raises:
        InputError: an unknown name.

    Example:
    >>> read_recipe("vae_mnist")["model"]
    'vae'
    """
    names = recipe_names()
    if name not in names:
        near = difflib.get_close_matches(name, names)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(f"recipe must be one of {', '.join(names)}. Received: {name!r}{hint}.")
    content = json.loads((FOLDER / f"{name}.json").read_text())
    recipe = {key: content.pop(key) for key in ABOUT}
    unknown = sorted(set(content) - set(SETTINGS))
    if unknown:
        raise InputError(
            f"A recipe takes {', '.join(ABOUT)} and the settings {', '.join(SETTINGS)}. "
            f"Received: {', '.join(unknown)} in {name}."
        )
    return {**recipe, "settings": content}
