"""The settings of a run: the defaults, a recipe's, and the given ones."""

import os

from keras_genimg.core import Clips, Pairs
from keras_genimg.errors import InputError
from keras_genimg.runs.folder import check_run, read_record
from keras_genimg.runs.store import RunFolder

__all__ = ["DEFAULTS", "check_used", "complete_settings"]

DEFAULTS = {
    "recipe": None,
    "start_from": None,
    "data": "glyphs",
    "data_dir": None,
    "image_size": None,
    "channels": None,
    "binarize": None,
    "corruption": None,
    "data_b": None,
    "holdout": None,
    "batch_size": 64,
    "epochs": 15,
    "steps_per_epoch": None,
    "seed": 0,
    "strategy": "auto",
    "policy": None,
    "evaluate_every": None,
    "features": None,
    "set": {},
}
# Settings that may change when a run is resumed, as they do not affect what an epoch computes.
FREE_WHEN_RESUMED = ("epochs", "strategy", "data_dir")


def _defaults_of(data, two_sets):
    """Other defaults for some models, by the data that they take, and whether from two sets."""
    if data.part(Clips):  # a clip is many images
        return {"data": "moving_glyphs", "batch_size": 32}
    if isinstance(data, Pairs):  # unaligned: four networks, three calls of a generator per step
        if data.aligned:
            return {} if two_sets else {"corruption": "mask"}
        return {"batch_size": 16}
    return {}


def complete_settings(
    name: str, data, given: dict, recipe: dict, folder: str, resume: bool, overwrite: bool
) -> dict:
    """Complete settings, checked against the contents of the run folder.

    Args:
        name: string, the model's name.
        data: `core.DataSpec` of its class.
        given: dict of the settings named in `DEFAULTS`; None if not given.
        recipe: dict. Settings of a recipe; given settings take precedence.
        folder: path of the run folder.
        resume, overwrite: bools, see `train`.

    Raises:
        InputError: a folder that exists and neither `resume` nor `overwrite`; other settings
            than those of the run to resume.
    """
    given = {key: value for key, value in given.items() if value is not None}
    if resume:
        check_run(folder)
    RunFolder(folder).check(resume, overwrite)
    if not resume:
        named = {**recipe, **given}
        settings = {**DEFAULTS, **_defaults_of(data, "data_b" in named), **named}
        return {**settings, "set": {**recipe.get("set", {}), **given.get("set", {})}}
    record = read_record(folder)
    if record["model"] != name:
        raise InputError(f"{folder} holds a run of {record['model']}. Received: {name}.")
    before = {**DEFAULTS, **record["settings"]}
    if "set" in given:  # added to what the run, or its recipe, has set
        given["set"] = {**before["set"], **given["set"]}
    changed = [
        f"{key}={given[key]!r} (was {before[key]!r})"
        for key in given
        if key not in FREE_WHEN_RESUMED and given[key] != before[key]
    ]
    if changed:
        raise InputError(
            f"A resumed run keeps its settings; only {', '.join(FREE_WHEN_RESUMED)} may change. "
            f"Received: {', '.join(changed)}."
        )
    return {**before, **given}


def check_used(settings: dict, connect_timeout: float | None) -> None:
    """Checks that no option is given that would have no effect.

    Args:
        settings: dict, of the run.
        connect_timeout: float, or None if it is not given.

    Raises:
        InputError: features without an evaluation, a timeout without other workers.
    """
    if settings["features"] is not None and settings["evaluate_every"] is None:
        raise InputError(
            "--features is for the evaluations of --evaluate-every. "
            f"Received: --features {settings['features']} without it."
        )
    if connect_timeout is None:
        return
    if settings["strategy"] != "multi_worker" and "TF_CONFIG" not in os.environ:
        raise InputError(
            "--connect-timeout is for several workers, see --strategy multi_worker. "
            f"Received: --connect-timeout {connect_timeout:g} for one."
        )
    if not 0 < connect_timeout < float("inf"):
        raise InputError(
            f"--connect-timeout must be positive and finite. Received: {connect_timeout:g}."
        )
