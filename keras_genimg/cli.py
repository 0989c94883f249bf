"""The command line: keras-genimg train | generate | interpolate | invert | evaluate | ...

TensorFlow is imported only when a command needs it, so that --help, --version
and mistakes in the arguments answer at once.
"""

import argparse
import ast
import difflib
import errno
import json
import os
import sys
import tempfile

from keras_genimg.backend import check_backend
from keras_genimg.errors import InputError
from keras_genimg.recipes import read_recipe, recipe_names
from keras_genimg.version import __version__

__all__ = ["main"]

# Snake-case name -> (class, what it is, the paper).
MODELS = {
    "cnn_classifier": ("CNNClassifier", "convolutional classifier", "LeCun et al., 1998"),
    "conditional_vae": ("ConditionalVAE", "VAE that is told the class", "Kingma et al., 2014"),
    "conditional_gan": ("ConditionalGAN", "GAN that is told the class", "Mirza and Osindero, 2014"),
    "cyclegan": ("CycleGAN", "unpaired translation, both ways", "Zhu et al., 2017"),
    "gan": ("GAN", "generative adversarial network", "Goodfellow et al., 2014"),
    "pix2pix": ("Pix2Pix", "paired translation, restoration", "Isola et al., 2017"),
    "pixel_cnn": ("PixelCNN", "gated, value after value", "van den Oord et al., 2016"),
    "sequence_gan": ("SequenceGAN", "GAN of image sequences (MoCoGAN)", "Tulyakov et al., 2018"),
    "super_resolution_gan": ("SuperResolutionGAN", "low resolution to high", "Ledig et al., 2017"),
    "vae": ("VAE", "variational autoencoder", "Kingma and Welling, 2014"),
    "vq_gan": ("VQGAN", "VQ-VAE against a discriminator", "Esser et al., 2021"),
    "vq_vae": ("VQVAE", "vector-quantised autoencoder", "van den Oord et al., 2017"),
    "vq_vae2": ("VQVAE2", "VQ-VAE with two levels of codes", "Razavi et al., 2019"),
    "wgan": ("WGAN", "Wasserstein GAN, weights clipped", "Arjovsky et al., 2017"),
    "wgan_gp": ("WGANGP", "Wasserstein GAN with gradient penalty", "Gulrajani et al., 2017"),
}


def main(arguments=None):
    """Runs one command.

    Args:
        arguments: list of strings, those of the process by default.

    Returns:
        The exit code: 0, or 2 for input that its giver can put right.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except InputError as error:
        return _refuse(error)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        return _refuse(f"{error.filename or 'A file'} could not be written: {error.strerror}.")
    except KeyboardInterrupt:
        print("\nkeras-genimg: stopped; --resume goes on from the last epoch.", file=sys.stderr)
        return 130
    return 0


def _import_runs():
    """Imports `keras_genimg.runs`, and TensorFlow without its words about missing GPUs."""
    check_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as words:
        os.dup2(words.fileno(), 2)  # TensorFlow's C++ writes past sys.stderr
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            words.seek(0)
            os.write(saved, words.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
    from keras_genimg import runs

    return runs


def _refuse(message):
    print(f"keras-genimg: error: {message}", file=sys.stderr)
    return 2


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-genimg", description="Train image generators and use what they learned."
    )
    parser.add_argument("--version", action="version", version=f"keras-genimg {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a model into a run folder")
    train.add_argument("model", metavar="MODEL", nargs="?", help="a name from keras-genimg list; "
                       "with --recipe not needed")
    train.add_argument("--recipe", metavar="NAME", help="settings that reproduce a published "
                       "number, from keras-genimg list; other options go before them")
    train.add_argument("--start-from", metavar="RUN", help="start with the weights of another run "
                       "of the same model and networks")
    train.add_argument("--data", metavar="NAME", help="glyphs (built in, the default), a "
                       "tensorflow-datasets set (mnist, fashion_mnist, cifar10), or a folder")
    train.add_argument("--data-dir", metavar="DIR", help="where prepared data sets are")
    train.add_argument("--binarize", metavar="KIND", help="make pixels black or white: dynamic, at "
                       "random by their brightness and anew each pass, or threshold")
    train.add_argument("--damage", metavar="KIND", help="what pix2pix learns to undo: mask (the "
                       "default), noise, or grey")
    train.add_argument("--data-b", metavar="NAME", help="the second set of cyclegan, resized "
                       "like the first")
    train.add_argument("--image-size", type=int, metavar="N", help="resize pictures to N x N")
    train.add_argument("--channels", type=int, metavar="N", help="1 for grey, 3 for colour")
    train.add_argument("--batch-size", type=int, metavar="N", help="pictures an update (64)")
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the data (15)")
    train.add_argument("--steps-per-epoch", type=int, metavar="N", help="end each pass early")
    train.add_argument("--seed", type=int, metavar="N", help="of weights, noise and order (0)")
    train.add_argument("--output", metavar="RUN", help="the run folder (runs/MODEL, or runs/NAME "
                       "of the recipe)")
    train.add_argument("--evaluate-every", type=int, metavar="N", help="measure 10000 samples "
                       "every N epochs and keep the best model as RUN/best.keras")
    train.add_argument("--features", metavar="NAME", help="what --evaluate-every measures in: "
                       "fashion_mnist, mnist, glyphs, cifar10, inception_v3 (by the data)")
    again = train.add_mutually_exclusive_group()
    again.add_argument("--resume", action="store_true", help="go on with a run")
    again.add_argument("--overwrite", action="store_true", help="replace a run")
    train.add_argument("--strategy", metavar="NAME", help="auto (default), mirrored, multi_worker")
    train.add_argument("--policy", choices=("float32", "mixed_bfloat16"), help="in what layers "
                       "compute; mixed_bfloat16 is faster where the processor has it")
    train.add_argument("--set", action="append", default=[], metavar="ARGUMENT=VALUE",
                       help="any argument of the model or of its compile()")
    train.set_defaults(run=_train)

    prior = commands.add_parser("prior", help="fit a prior to the codes of a run, to generate")
    prior.add_argument("run_folder", metavar="RUN")
    prior.add_argument("--kind", default="pixel_cnn", choices=("pixel_cnn", "code_transformer"))
    prior.add_argument("--epochs", type=int, default=15, metavar="N", help="passes over the codes (15)")
    prior.add_argument("--batch-size", type=int, default=64, metavar="N", help="grids a step (64)")
    prior.add_argument("--by-class", action="store_true", help="tell it the class")
    prior.add_argument("--seed", type=int, default=0, metavar="N")
    prior.add_argument("--policy", choices=("float32", "mixed_bfloat16"), help="as train has it")
    prior.add_argument("--set", action="append", default=[], metavar="ARGUMENT=VALUE",
                       help="any argument of the prior, or its learning_rate")
    prior.set_defaults(run=_prior)

    generate = commands.add_parser("generate", help="make pictures with a trained model")
    generate.add_argument("run_folder", metavar="RUN")
    generate.add_argument("--count", type=int, default=64, metavar="N")
    generate.add_argument("--seed", type=int, metavar="N")
    generate.add_argument("--labels", metavar="0,1,...", help="classes to make, in turn")
    generate.add_argument("--output", metavar="PATH", help="FILE.png for one grid, FILE.npz, "
                          "FILE.gif, or a folder for one PNG a picture (RUN/generated)")
    generate.add_argument("--format", choices=("png", "npz", "gif"))
    generate.add_argument("--frames", type=int, metavar="N", help="frames a clip, of sequence_gan")
    generate.set_defaults(run=_generate)

    interpolate = commands.add_parser("interpolate", help="walk from one latent to another")
    interpolate.add_argument("run_folder", metavar="RUN")
    interpolate.add_argument("--count", type=int, default=8, metavar="N", help="walks, a row each (8)")
    interpolate.add_argument("--steps", type=int, default=10, metavar="N", help="pictures a walk (10)")
    interpolate.add_argument("--method", default="linear", choices=("linear", "spherical"))
    interpolate.add_argument("--seed", type=int, metavar="N")
    interpolate.add_argument("--labels", metavar="0,1,...", help="classes of the walks, in turn")
    interpolate.add_argument("--output", metavar="FILE", help="FILE.png for a grid, FILE.gif, "
                             "FILE.npz (RUN/interpolation.png)")
    interpolate.set_defaults(run=_interpolate)

    invert = commands.add_parser("invert", help="find the latents of given pictures")
    invert.add_argument("run_folder", metavar="RUN")
    given = invert.add_mutually_exclusive_group(required=True)
    given.add_argument("--images", metavar="PATH", help="a picture or a folder of them")
    given.add_argument("--data", metavar="NAME", help="pictures of a data set")
    invert.add_argument("--data-dir", metavar="DIR")
    invert.add_argument("--split", default="test", metavar="NAME", help="of the data set (test)")
    invert.add_argument("--count", type=int, default=8, metavar="N", help="pictures to use (8)")
    invert.add_argument("--mask", default="none", choices=("none", "half", "box"),
                        help="what is missing, to be completed: the lower half, or the middle")
    invert.add_argument("--labels", metavar="0,1,...", help="classes of the pictures, in turn")
    invert.add_argument("--seed", type=int, metavar="N", help="of where the search starts")
    invert.add_argument("--output", metavar="FILE", help="FILE.png for a grid, FILE.npz for "
                        "latents, pictures and errors (RUN/inversion.png)")
    invert.set_defaults(run=_invert)

    evaluate = commands.add_parser("evaluate", help="measure a trained model on a data set")
    evaluate.add_argument("run_folder", metavar="RUN")
    evaluate.add_argument("--data", required=True, metavar="NAME")
    evaluate.add_argument("--data-dir", metavar="DIR")
    evaluate.add_argument("--split", default="test", metavar="NAME")
    evaluate.add_argument("--metrics", nargs="+", metavar="NAME", help="of samples: "
                          "frechet_distance kernel_distance inception_score "
                          "precision_recall_density_coverage; of models that have one: "
                          "log_likelihood (default: the model's own losses)")
    evaluate.add_argument("--importance-samples", type=int, metavar="N", help="draws a picture by "
                          "which log_likelihood of a VAE is estimated (5000)")
    evaluate.add_argument("--features", metavar="NAME", help="what they are taken in: fashion_mnist"
                          ", mnist, glyphs, cifar10, inception_v3 (default: by the data)")
    evaluate.add_argument("--count", type=int, metavar="N",
                          help="samples to make (10000); for losses and log_likelihood, "
                          "pictures to use (all)")
    evaluate.add_argument("--seed", type=int, default=0, metavar="N", help="of the samples (0)")
    evaluate.set_defaults(run=_evaluate)

    export = commands.add_parser("export", help="write a trained model for other programs")
    export.add_argument("run_folder", metavar="RUN")
    export.add_argument("--format", default="saved_model", choices=("saved_model", "litert", "onnx"))
    export.add_argument("--precision", choices=("float32", "float16", "int8"),
                        help="what a LiteRT file stores weights in (float32)")
    export.add_argument("--output", metavar="PATH")
    export.set_defaults(run=_export)

    commands.add_parser("list", help="name the models and recipes").set_defaults(run=_list)
    return parser


def _train(options):
    recipe = None if options.recipe is None else read_recipe(options.recipe)
    model = _model(options.model, options.recipe, recipe)
    for name in ("image_size", "batch_size", "epochs", "steps_per_epoch", "evaluate_every"):
        _check_positive(name, getattr(options, name))
    settings = _settings(options.set)
    _import_runs().train(
        model,
        MODELS[model][0],
        {
            "recipe": options.recipe,
            "start_from": options.start_from,
            "data": options.data,
            "data_dir": options.data_dir,
            "binarize": options.binarize,
            "damage": options.damage,
            "data_b": options.data_b,
            "image_size": options.image_size,
            "channels": options.channels,
            "batch_size": options.batch_size,
            "epochs": options.epochs,
            "steps_per_epoch": options.steps_per_epoch,
            "seed": options.seed,
            "strategy": options.strategy,
            "policy": options.policy,
            "evaluate_every": options.evaluate_every,
            "features": options.features,
            "set": settings or None,
        },
        folder=options.output or os.path.join("runs", options.recipe or model),
        resume=options.resume,
        overwrite=options.overwrite,
        recipe=recipe and recipe["settings"],
    )


def _model(name, recipe_name, recipe):
    """The name of the model to train, that of the recipe or the one that is given."""
    if recipe is None and name is None:
        raise InputError("train takes MODEL, a name from keras-genimg list, or --recipe NAME.")
    if name is not None and name not in MODELS:
        near = difflib.get_close_matches(name, MODELS)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise InputError(f"MODEL must be one of {', '.join(MODELS)}. Received: {name!r}{hint}.")
    if recipe is not None and name not in (None, recipe["model"]):
        raise InputError(
            f"The recipe {recipe_name} trains {recipe['model']}, and MODEL need not be given. "
            f"Received: {name}."
        )
    return name or recipe["model"]


def _check_positive(name, value):
    if value is not None and value < 1:
        raise InputError(f"--{name.replace('_', '-')} must be positive. Received: {value}.")


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
    """A value as Python or JSON writes it; what is neither is text."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError):
            pass
    return {"true": True, "false": False, "none": None, "null": None,
            "nan": float("nan"), "inf": float("inf")}.get(text.lower(), text)


def _labels(text):
    """The integers of a text such as 0,1; None for None."""
    if text is None:
        return None
    try:
        return [int(label) for label in text.split(",")]
    except ValueError:
        raise InputError(
            f"--labels takes integers with commas between. Received: {text!r}."
        ) from None


def _prior(options):
    for name in ("epochs", "batch_size"):
        _check_positive(name, getattr(options, name))
    _import_runs().prior(
        options.run_folder, options.kind, options.epochs, options.batch_size, options.by_class,
        _settings(options.set), options.policy, options.seed,
    )


def _generate(options):
    labels = _labels(options.labels)
    _import_runs().generate(options.run_folder, options.count, options.seed, labels, options.output,
                  options.format, options.frames)


def _interpolate(options):
    labels = _labels(options.labels)
    _import_runs().interpolate(
        options.run_folder, options.count, options.steps, options.method, options.seed, labels,
        options.output,
    )


def _invert(options):
    labels = _labels(options.labels)
    _import_runs().invert(
        options.run_folder, options.images, options.data, options.data_dir, options.split,
        options.count, options.mask, labels, options.seed, options.output,
    )


def _evaluate(options):
    _check_positive("importance_samples", options.importance_samples)
    _import_runs().evaluate(
        options.run_folder, options.data, options.data_dir, options.split, options.count,
        options.metrics, options.features, options.seed, options.importance_samples,
    )


def _export(options):
    _import_runs().export(
        options.run_folder, options.format, options.output, options.precision
    )


def _list(options):
    for name, (class_name, what, paper) in MODELS.items():
        print(f"{name:<22}{class_name:<20}{what} ({paper})")
    print("\nRecipes, for keras-genimg train --recipe NAME:")
    names = recipe_names()
    width = 2 + max(map(len, names))
    for name in names:
        print(f"{name:<{width}}{read_recipe(name)['about']}")


if __name__ == "__main__":
    sys.exit(main())
