"""The command line: keras-genimg train | generate | interpolate | invert | evaluate | ...

TensorFlow is imported only when a command needs it, so that --help, --version
and invalid arguments respond at once.
"""

import argparse
import ast
import contextlib
import difflib
import errno
import json
import os
import pathlib
import sys
import tempfile
import warnings

from keras_genimg import signals
from keras_genimg.backend import check_backend
from keras_genimg.cluster import CONNECT_TIMEOUT
from keras_genimg.errors import InputError, as_told, tell
from keras_genimg.recipes import read_recipe, recipe_names
from keras_genimg.version import __version__

__all__ = ["main", "model_names"]

POSITIVE = (
    "batch_size", "epochs", "evaluate_every", "image_size", "num_samples", "steps_per_epoch",
)  # fmt: skip
NAMES = {"num_samples": "importance_samples", "num_frames": "frames", "settings": "set"}
# The largest values of numbers; more than anyone needs, less than what takes all memory or days.
HIGHEST = {
    "batch_size": 1_000_000, "count": 10_000_000, "epochs": 1_000_000, "evaluate_every": 1_000_000,
    "image_size": 4096, "num_frames": 10_000, "num_samples": 10_000_000, "steps": 10_000,
    "steps_per_epoch": 1_000_000_000,
}  # fmt: skip


def main(arguments: list | None = None) -> int:
    """Runs one command.

    Args:
        arguments: list of strings; by default the arguments of the process.

    Returns:
        The exit code: 0, 2 for invalid input or a file that could not be written, 130 for
        SIGINT or 143 for SIGTERM.
    """
    options = vars(_parser().parse_args(arguments))
    run = options.pop("run")
    try:
        with signals.handled(), _told_warnings():
            _check_values(options)
            run(options)
    except InputError as error:
        return _refuse(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        return _refuse(f"{error.filename or 'A file'} could not be written: {error.strerror}.")
    except Exception as error:
        if not (isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"):
            raise
        return _refuse(
            "The command must fit into memory. Received: one that needs more than there is; fewer "
            "or smaller images, smaller batches or a smaller model need less."
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


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-genimg", description="Train image generators and use the trained models."
    )
    parser.add_argument("--version", action="version", version=f"keras-genimg {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary, add_options in (
        ("train", "train a model into a run folder", _add_train),
        ("prior", "fit a prior over the codes of a run, to generate images", _add_prior),
        ("generate", "generate images with a trained model", _add_generate),
        ("interpolate", "interpolate between latents", _add_interpolate),
        ("invert", "find the latents of given images", _add_invert),
        ("evaluate", "measure a trained model on a data set", _add_evaluate),
        ("export", "write a trained model for other programs", _add_export),
    ):
        command = commands.add_parser(name, help=summary)
        if name != "train":
            command.add_argument("folder", metavar="RUN")
        add_options(command)
        command.set_defaults(run=_train if name == "train" else _command(name))
    commands.add_parser("list", help="list the models and recipes").set_defaults(run=_list)
    return parser


def _add_train(train):
    add = train.add_argument
    add("model", metavar="MODEL", nargs="?", help="a name from keras-genimg list; not needed "
        "with --recipe")
    add("--recipe", metavar="NAME", help="settings that reproduce a published number, from "
        "keras-genimg list; other options take precedence")
    add("--start-from", metavar="RUN", help="start from the weights of another run of the same "
        "model and networks")
    add("--data", metavar="NAME", help="glyphs (built in, the default; moving_glyphs for "
        "sequence_gan), a tensorflow-datasets set (mnist, fashion_mnist, cifar10), or a folder of "
        "images")
    add("--data-dir", metavar="DIR", help="the folder of prepared data sets")
    add("--binarize", metavar="KIND", help="binarise pixels: dynamic (brightness is the "
        "probability of a 1, drawn anew each epoch) or threshold")
    add("--corruption", "--damage", metavar="KIND", help="the corruption that pix2pix learns to "
        "undo: mask (the default), noise, or grey")
    add("--data-b", metavar="NAME", help="the second set of cyclegan, resized like the first")
    add("--holdout", type=float, metavar="SHARE", help="hold out this share of the training "
        "images, such as 0.1; evaluate uses them")
    add("--image-size", type=int, metavar="N", help="resize images to N x N")
    add("--channels", type=int, metavar="N", help="1 for greyscale, 3 for colour")
    add("--batch-size", type=int, metavar="N", help="images per update (64; "
        "sequence_gan 32, cyclegan 16)")
    add("--epochs", type=int, metavar="N", help="number of epochs (15)")
    add("--steps-per-epoch", type=int, metavar="N", help="steps per epoch (default: all "
        "the data once)")
    add("--seed", type=int, metavar="N", help="seed of weights, noise and data order "
        "(0)")
    add("--output", metavar="RUN", help="the run folder (runs/MODEL, or runs/NAME of the recipe)")
    add("--evaluate-every", type=int, metavar="N", help="evaluate 10000 samples every N epochs and "
        "keep the best model as RUN/best.keras")
    add("--features", metavar="NAME", help="the features that --evaluate-every uses: "
        "fashion_mnist, mnist, glyphs, cifar10, inception_v3 (default: those of the data set)")
    again = train.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="resume a run")
    again.add_argument("--overwrite", action="store_true", help="replace a run")
    add("--strategy", metavar="NAME", help="auto (default), mirrored, multi_worker")
    add("--connect-timeout", type=float, metavar="SECONDS", help="how long a worker waits "
        f"for the others ({CONNECT_TIMEOUT:g})")
    add("--policy", choices=("float32", "mixed_bfloat16"), help="the dtype policy of the layers; "
        "mixed_bfloat16 is faster on processors that support it")
    add("--set", action="append", default=[], metavar="ARGUMENT=VALUE",
        help="any argument of the model or of its compile()")


def _add_prior(prior):
    add = prior.add_argument
    add("--kind", default="pixel_cnn", choices=("pixel_cnn", "code_transformer"))
    add("--epochs", type=int, default=15, metavar="N", help="number of epochs (15)")
    add("--batch-size", type=int, default=64, metavar="N", help="grids of codes per step (64)")
    add("--by-class", action="store_true", help="condition the prior on the class")
    add("--seed", type=int, default=0, metavar="N")
    add("--policy", choices=("float32", "mixed_bfloat16"), help="see train")
    add("--set", action="append", default=[], metavar="ARGUMENT=VALUE", dest="settings",
        help="any argument of the prior, or its learning_rate")


def _add_generate(generate):
    add = generate.add_argument
    add("--count", type=int, default=64, metavar="N")
    add("--seed", type=int, metavar="N")
    add("--labels", metavar="0,1,...", help="classes to generate, in turn, by number or by name")
    add("--output", metavar="PATH", help="FILE.png for one grid, FILE.npz, FILE.gif, or a folder "
        "for one PNG per image (RUN/generated)")
    add("--format", choices=("png", "npz", "gif"))
    add("--frames", type=int, metavar="N", dest="num_frames", help="frames per clip")
    add("--overwrite", action="store_true", help="replace earlier images at the same place")


def _add_interpolate(interpolate):
    add = interpolate.add_argument
    add("--count", type=int, default=8, metavar="N", help="interpolations, one per row (8)")
    add("--steps", type=int, default=10, metavar="N", help="images per interpolation (10)")
    add("--method", default="linear", choices=("linear", "spherical"))
    add("--seed", type=int, metavar="N")
    add("--labels", metavar="0,1,...", help="classes of the interpolations, in turn, by number or "
        "by name")
    add("--output", metavar="FILE", help="FILE.png for a grid, FILE.gif, FILE.npz "
        "(RUN/interpolation.png)")
    add("--overwrite", action="store_true", help="replace an earlier file at the same place")


def _add_invert(invert):
    add = invert.add_argument
    given = invert.add_mutually_exclusive_group(required=True)
    given.add_argument("--images", metavar="PATH", help="an image or a folder of images")
    given.add_argument("--data", metavar="NAME", help="images of a data set")
    add("--data-dir", metavar="DIR")
    add("--split", metavar="NAME", help="split of the data set (test, if it has one)")
    add("--count", type=int, default=8, metavar="N", help="images to use (8)")
    add("--mask", default="none", choices=("none", "half", "box"), help="the region to mask "
        "and complete: the lower half, or the middle")
    add("--labels", metavar="0,1,...", help="classes of the images, in turn, by number or by name")
    add("--seed", type=int, metavar="N", help="seed of the starting points of the search")
    add("--output", metavar="FILE", help="FILE.png for a grid, FILE.npz for latents, images and "
        "errors (RUN/inversion.png)")
    add("--overwrite", action="store_true", help="replace an earlier file at the same place")


def _add_evaluate(evaluate):
    add = evaluate.add_argument
    add("--data", metavar="NAME", help="a data set (default: that of the run)")
    add("--data-dir", metavar="DIR")
    add("--split", metavar="NAME", help="a split, or a slice such as train[90%%:] (default: what "
        "the run has held out, or else the test split)")
    add("--metrics", nargs="+", metavar="NAME", help="for samples: frechet_distance "
        "kernel_distance inception_score precision_recall_density_coverage "
        "sliced_wasserstein_distance; for models with a "
        "likelihood: log_likelihood (default: the model's losses)")
    add("--importance-samples", type=int, metavar="N", dest="num_samples", help="importance "
        "samples per image for the log_likelihood of a VAE (5000)")
    add("--features", metavar="NAME", help="the features for these metrics: fashion_mnist, mnist, "
        "glyphs, cifar10, inception_v3 (default: those of the data set)")
    add("--count", type=int, metavar="N", help="samples to generate (10000); for losses and "
        "log_likelihood, images to use (all)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the samples (0)")


def _add_export(export):
    add = export.add_argument
    add("--format", default="saved_model", choices=("saved_model", "litert", "onnx"))
    add("--precision", choices=("float32", "float16", "int8"), help="precision of the weights "
        "in a LiteRT file (float32)")
    add("--output", metavar="PATH")
    add("--overwrite", action="store_true", help="replace an earlier export at the same place")


def _command(name):
    """The command `name`, which passes its options to that function of `keras_genimg.runs`."""

    def run(options):
        if name == "prior":
            _check_seed(options["seed"])
        if "labels" in options:
            options["labels"] = _labels(options["labels"])
        if "settings" in options:
            options["settings"] = _settings(options["settings"])
        getattr(_import_runs(), name)(**options)

    return run


def _train(options):
    model = options.pop("model")
    recipe = None if options["recipe"] is None else read_recipe(options["recipe"])
    model = _model(model, options["recipe"], recipe)
    if options["holdout"] is not None and not 0 < options["holdout"] < 1:
        raise InputError(
            f"--holdout must be between 0 and 1. Received: {options['holdout']:g}."
        )
    folder = options.pop("output") or os.path.join("runs", options["recipe"] or model)
    own = {key: options.pop(key) for key in ("resume", "overwrite", "connect_timeout")}
    _check_seed(options["seed"])
    options["set"] = _settings(options["set"]) or None
    _import_runs().train(
        model, options, folder, recipe=recipe and recipe["settings"], **own
    )


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
        if name in POSITIVE and value is not None and value < 1:
            raise InputError(f"{option} must be positive. Received: {value}.")
        if name in HIGHEST and value is not None and value > HIGHEST[name]:
            raise InputError(f"{option} must be at most {HIGHEST[name]:,}. Received: {value}.")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and "\0" in text:
                raise InputError(f"Text must be free of null bytes. Received: {option} {text!r}.")


def _check_seed(seed):
    """NumPy takes no other seeds for training."""
    if seed is not None and not 0 <= seed < 2**32:
        raise InputError(f"--seed must be from 0 to {2**32 - 1}. Received: {seed}.")


@contextlib.contextmanager
def _told_warnings():
    """Within the block, a warning prints as a sentence, without the line of code that gave it."""
    usual = warnings.formatwarning

    def sentence(message, category, *where, **line):
        ours = category is UserWarning
        return f"{as_told(str(message))}\n" if ours else usual(message, category, *where, **line)

    warnings.formatwarning = sentence
    try:
        yield
    finally:
        warnings.formatwarning = usual


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
    _print_columns(
        (name, model.__name__, f"{model.about} ({model.paper})")
        for name, model in _import_runs().trainable_models().items()
    )
    print("\nRecipes, for keras-genimg train --recipe NAME:")
    _print_columns((name, read_recipe(name)["about"]) for name in recipe_names())


def _print_columns(rows):
    rows = list(rows)
    widths = [2 + max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("".join(f"{text:<{width}}" for text, width in zip(row, widths)).rstrip())
