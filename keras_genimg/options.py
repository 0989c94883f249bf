"""The options of the command line, and the values that they may have.

Nothing here imports NumPy or TensorFlow, so that --help responds at once.
"""

import argparse

from keras_genimg.cluster import CONNECT_TIMEOUT
from keras_genimg.errors import InputError
from keras_genimg.version import __version__

__all__ = ["RANGES", "check_option", "parser"]

# The smallest and the largest values of numbers. The largest are more than anyone needs, and less
# than what takes all memory or days; NumPy takes no other seeds for training.
RANGES = {
    "batch_size": (1, 1_000_000), "count": (1, 10_000_000), "epochs": (1, 1_000_000),
    "evaluate_every": (1, 1_000_000), "image_size": (1, 4096), "num_frames": (1, 10_000),
    "num_samples": (1, 10_000_000), "seed": (0, 2**32 - 1), "steps": (2, 10_000),
    "steps_per_epoch": (1, 1_000_000_000), "top_k": (1, 1_000_000),
}  # fmt: skip
RUN = "a run folder, or a preset from keras-genimg list"
CHOICES = {"channels": (1, 3), "policy": ("float32", "mixed_bfloat16")}


def check_option(name: str, value, shown: str | None = None) -> None:
    """Checks the value of an option, which `run.json` repeats.

    Args:
        name: string, such as `"batch_size"`.
        value: of the right type, or None.
        shown: string. The name in the message, such as `"--batch-size"`; by default `name`.

    Raises:
        InputError: a number outside its range, or another word than those that are known.
    """
    shown = shown or name
    if value is None:
        return
    if name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]:
        low, high = RANGES[name]
        raise InputError(f"{shown} must be from {low:,} to {high:,}. Received: {value}.")
    if name == "holdout" and not 0 < value < 1:
        raise InputError(f"{shown} must be between 0 and 1. Received: {value:g}.")
    if name in CHOICES and value not in CHOICES[name]:
        known = " or ".join(map(str, CHOICES[name]))
        raise InputError(f"{shown} must be {known}. Received: {value}.")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line; it sets `command` to the name of a command.

    Returns:
        `argparse.ArgumentParser`.
    """
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
            help = "a run folder" if name == "prior" else RUN
            command.add_argument("folder", metavar="RUN", help=help)
        add_options(command)
        command.set_defaults(command=name)
    listing = commands.add_parser("list", help="list the models, presets and recipes")
    listing.set_defaults(command="list")
    return parser


def _add_train(train):
    add = train.add_argument
    add("model", metavar="MODEL", nargs="?", help="a name from keras-genimg list; not needed "
        "with --recipe")
    add("--recipe", metavar="NAME", help="settings that reproduce a published number, from "
        "keras-genimg list; other options take precedence")
    add("--start-from", metavar="RUN", help="start from the weights, and the --set "
        "arguments, of another run or a preset of the same model; --set takes precedence")
    add("--data", metavar="NAME", help="glyphs (built in, the default; moving_glyphs for "
        "sequence_gan), a tensorflow-datasets set (mnist, fashion_mnist, cifar10), or a folder of "
        "images")
    add("--data-dir", metavar="DIR", help="the folder of prepared data sets")
    add("--binarize", metavar="KIND", help="binarise pixels: dynamic (brightness is the "
        "probability of a 1, drawn anew each epoch) or threshold")
    add("--corruption", "--damage", metavar="KIND", help="the corruption that pix2pix learns to "
        "undo: mask (the default), noise, or grey")
    add("--data-b", metavar="NAME", help="the second set of cyclegan, resized like the first; for "
        "pix2pix a folder of targets, with the same file names as the inputs in the folder --data")
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
        "fashion_mnist, mnist, glyphs, cifar10, cifar10_small, cifar10_rotation, emoji, "
        "inception_v3 (default: those of the data set)")
    add("--tensorboard", action="store_true", help="write logs and grids for TensorBoard into "
        "RUN/tensorboard")
    again = train.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="resume a run")
    again.add_argument("--overwrite", action="store_true", help="replace a run")
    add("--strategy", metavar="NAME", help="auto (default), mirrored, multi_worker")
    add("--connect-timeout", type=float, metavar="SECONDS", help="how long a worker waits "
        f"for the others ({CONNECT_TIMEOUT:g})")
    add("--policy", choices=CHOICES["policy"], help="the dtype policy of the layers; "
        "mixed_bfloat16 is faster on processors that support it")
    add("--set", action="append", default=[], metavar="ARGUMENT=VALUE",
        help="any argument of the model or of its compile()")


def _add_prior(prior):
    add = prior.add_argument
    add("--recipe", metavar="NAME", help="settings from keras-genimg list; other options take "
        "precedence")
    add("--kind", choices=("pixel_cnn", "code_transformer"), help="the prior (pixel_cnn)")
    add("--epochs", type=int, metavar="N", help="number of epochs (15)")
    add("--batch-size", type=int, metavar="N", help="grids of codes per step (64)")
    add("--by-class", action="store_true", default=None, help="condition the prior on the class")
    add("--seed", type=int, metavar="N", help="seed of weights, order and samples (0)")
    add("--policy", choices=CHOICES["policy"], help="see train")
    add("--set", action="append", default=[], metavar="ARGUMENT=VALUE", dest="settings",
        help="any argument of the prior, or its learning_rate")


def _add_generate(generate):
    add = generate.add_argument
    add("--count", type=int, default=64, metavar="N")
    add("--seed", type=int, metavar="N")
    add("--labels", metavar="0,1,...", help="classes to generate, in turn, by number or by name")
    add("--output", metavar="PATH", help="FILE.png for one grid, FILE.npz, FILE.gif, FILE.webp, "
        "FILE.mp4, or a folder for one PNG per image (RUN/generated, or presets/NAME/generated)")
    add("--format", choices=("png", "npz", "gif", "mp4", "webp"), help="mp4 needs pip install "
        "'keras-genimg[video]'")
    add("--frames", type=int, metavar="N", dest="num_frames", help="frames per clip")
    add("--temperature", type=float, metavar="X", help="for autoregressive models "
        "and priors: divides the logits; below 1 for likelier images (1)")
    add("--top-k", type=int, metavar="N", help="for the same models: sample from the N "
        "likeliest values")
    add("--top-p", type=float, metavar="P", help="for the same models: sample from the "
        "likeliest values whose probabilities add up to P")
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
        "sliced_wasserstein_distance; for models trained on pairs also psnr ssim; for "
        "models with a likelihood: log_likelihood (default: the model's losses)")
    add("--importance-samples", type=int, metavar="N", dest="num_samples", help="importance "
        "samples per image for the log_likelihood of a VAE (5000)")
    add("--features", metavar="NAME", help="the features for these metrics: fashion_mnist, mnist, "
        "glyphs, cifar10, cifar10_small, cifar10_rotation, emoji, inception_v3 (default: those of "
        "the data set)")
    add("--count", type=int, metavar="N", help="samples to generate (10000); for losses and "
        "log_likelihood, images to use (all)")
    add("--seed", type=int, default=0, metavar="N", help="seed of the samples (0)")


def _add_export(export):
    add = export.add_argument
    add("--format", default="saved_model", choices=("saved_model", "litert", "onnx", "web"),
        help="web is a page that runs the model in a browser")
    add("--precision", choices=("float32", "float16", "int8"), help="precision of the weights "
        "in a LiteRT file (float32)")
    add("--runtime", metavar="DIR", help="the folder dist of the npm package onnxruntime-web, to "
        "copy into the page (default: the page loads it from a content delivery network)")
    add("--output", metavar="PATH")
    add("--overwrite", action="store_true", help="replace an earlier export at the same place")
