"""The command line: keras-genimg train | generate | interpolate | invert | evaluate | ...

TensorFlow is imported only when a command needs it, so that --help, --version
and invalid arguments respond at once.
"""

import ast
import difflib
import errno
import functools
import json
import os
import pathlib
import sys
import tempfile

from keras_genimg import signals
from keras_genimg.backend import check_backend
from keras_genimg.errors import InputError, tell
from keras_genimg.options import check_option, parser
from keras_genimg.recipes import read_recipe, recipe_names
from keras_genimg.streams import standard_streams, told_warnings

__all__ = ["main", "model_names"]

OF_TRAIN = ("resume", "overwrite", "connect_timeout", "tensorboard")  # no settings of a run
# Names of options that differ from those of arguments.
NAMES = {"num_samples": "importance_samples", "num_frames": "frames", "settings": "set"}


def main(arguments: list | None = None) -> int:
    """Runs one command.

    Args:
        arguments: list of strings; by default the arguments of the process.

    Returns:
        The exit code: 0, 2 for invalid input or a file that could not be written, 130 for
        SIGINT or 143 for SIGTERM.
    """
    with standard_streams():
        options = vars(parser().parse_args(arguments))
        return _run(options.pop("command"), options)


def _run(command, options):
    """Runs a command, and says how it ended; returns the exit code."""
    try:
        with signals.handled(), told_warnings():
            _check_values(options)
            OTHERS.get(command, functools.partial(_use, command))(options)
            sys.stdout.flush()
    except InputError as error:
        return _refuse(error)
    except OSError as error:
        full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        if error.errno not in (*full, errno.EACCES, errno.EROFS):
            raise
        reason = os.strerror(error.errno)  # h5py puts a paragraph in place of it
        return _refuse(f"{error.filename or 'A file'} could not be written: {reason}.")
    except Exception as error:
        if not (isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"):
            raise
        return _refuse(
            "The command must fit into memory. Received: one that needs more than is available; "
            "fewer or smaller images, smaller batches or a smaller model need less."
        )
    except KeyboardInterrupt as error:
        tell(str(error) or "stopped.")  # a run says where
        return getattr(error, "code", 130)
    return 0


def model_names() -> list:
    """Names of all models: the names of the files in `keras_genimg/models`."""
    folder = pathlib.Path(__file__).parent / "models"
    return sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")


def _import_runs():
    """Imports `keras_genimg.runs`, and TensorFlow without its messages about missing GPUs."""
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as messages, signals.ending(saved):
        os.dup2(messages.fileno(), 2)  # TensorFlow's C++ code bypasses sys.stderr
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            messages.seek(0)
            os.write(saved, messages.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    with signals.ending():
        from keras_genimg import runs

    return runs


def _refuse(message):
    tell(f"error: {message}")
    return 2


def _use(command, options):
    """Passes the options to the function of `keras_genimg.runs` that is called like the command."""
    if "labels" in options:
        options["labels"] = _labels(options["labels"])
    getattr(_import_runs(), command)(**options)


def _train(options):
    model = options.pop("model")
    recipe = None if options["recipe"] is None else read_recipe(options["recipe"])
    model = _model(model, options["recipe"], recipe)
    folder = options.pop("output") or os.path.join("runs", options["recipe"] or model)
    own = {key: options.pop(key) for key in OF_TRAIN}
    options["set"] = _settings(options["set"]) or None
    _import_runs().train(model, options, folder, recipe=recipe and recipe["settings"], **own)


def _prior(options):
    name = options.pop("recipe")
    options = {key: value for key, value in options.items() if value is not None}
    recipe = {} if name is None else _recipe_of_prior(name, options)
    settings = {**recipe.pop("set", {}), **_settings(options["settings"])}
    _import_runs().prior(**{**recipe, **options, "settings": settings})


def _recipe_of_prior(name, options):
    """The settings of a recipe of a prior, which names no data, with its kind."""
    recipe = read_recipe(name)
    if "data" in recipe["settings"]:
        raise InputError(
            f"prior takes a recipe of a prior; the recipe {name} is for keras-genimg train. "
            f"Received: --recipe {name}."
        )
    kind = options.get("kind", recipe["model"])
    if kind != recipe["model"]:
        raise InputError(
            f"The recipe {name} is of {recipe['model']}; --kind can be left out. Received: {kind}."
        )
    return {**recipe["settings"], "kind": kind}


def _model(name, recipe_name, recipe):
    """The name of the model to train: the given one, or the recipe's."""
    if recipe is None and name is None:
        raise InputError("train takes MODEL, a name from keras-genimg list, or --recipe NAME.")
    names = model_names()
    if name is not None and name not in names:
        near = difflib.get_close_matches(name, names)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(f"MODEL must be one of {', '.join(names)}. Received: {name!r}{hint}.")
    if recipe is not None and name not in (None, recipe["model"]):
        raise InputError(
            f"The recipe {recipe_name} trains {recipe['model']}; MODEL can be left out. "
            f"Received: {name}."
        )
    return name or recipe["model"]


def _check_values(options):
    """Checks the numbers and the strings of all commands."""
    for name, value in options.items():
        option = "--" + NAMES.get(name, name).replace("_", "-")
        check_option(name, value, option)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "\0" in text:
                raise InputError(f"Text must be free of null bytes. Received: {option} {text!r}.")


def _settings(pairs):
    """["beta=4", "loss=hinge"] -> {"beta": 4, "loss": "hinge"}."""
    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise InputError(f"--set takes ARGUMENT=VALUE. Received: {pair!r}.")
        settings[name] = _value(text)
    return settings


def _value(text):
    """The value of a Python or JSON literal; any other text as a string."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            pass
    return {"true": True, "false": False, "none": None, "null": None,
            "nan": float("nan"), "inf": float("inf")}.get(text.lower(), text)


def _labels(text):
    """The classes in a text such as "0,beach", by name or by number; None for None."""
    if text is None:
        return None
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise InputError(
            "--labels takes numbers or names of classes separated by commas. "
            f"Received: {text!r}."
        )
    return labels


def _list(options):
    models = _import_runs().trainable_models()
    from keras_genimg.shipped import presets

    _print_columns(
        (name, model.__name__, f"{model.about} ({model.paper})") for name, model in models.items()
    )
    print("\nRecipes, for keras-genimg train --recipe NAME, or prior RUN --recipe NAME:")
    _print_columns((name, read_recipe(name)["about"]) for name in recipe_names())
    print("\nPresets (trained models), for keras-genimg generate NAME:")
    _print_columns((name, card["about"]) for name, card in presets().items())


def _print_columns(rows):
    rows = list(rows)
    widths = [2 + max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("".join(f"{text:<{width}}" for text, width in zip(row, widths)).rstrip())


OTHERS = {"train": _train, "prior": _prior, "list": _list}  # those with other kinds of options
