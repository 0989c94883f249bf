"""The public Python API with arguments that are wrong: type, rank, range, NaN, length, size.

    python benchmarks/robustness/python_api.py --seed 0 --count 600

Each case takes a call that works and replaces one or two of its arguments. It is handled if it
works, with finite results, or raises a `ValueError` or `TypeError` of one sentence that names the
argument or what was called. Prints a table, and exits with 1 if something was not handled.
"""

import inspect
import math
import os
import random
import re
import resource
import signal
import sys
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf
from shared import Outcomes, parser_of

import keras_genimg as kg
from keras_genimg import callbacks, data, latents, layers, losses, metrics, optimizers, plotting

SHAPE = (16, 16, 1)
TIMEOUT = 40  # seconds per case
MEMORY = 12 * 2**30
IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, *SHAPE)).astype("float32")
LABELS = np.arange(4)
CODES = np.arange(64).reshape(4, 4, 4) % 8
FEATURES = np.random.default_rng(1).normal(size=(40, 3))
Z = np.random.default_rng(3).normal(size=(4, 4)).astype("float32")
LOGITS = np.random.default_rng(2).normal(size=(4, 1)).astype("float32")
NAN = float("nan")

# Arguments that have no default, and small ones in place of large defaults.
GOOD = {
    "image_shape": SHAPE, "latent_dim": 4, "num_classes": 4, "num_embeddings": 8,
    "embedding_dim": 4, "num_heads": 2, "height": 4, "width": 4, "levels": 4, "rate": 0.1,
    "num_components": 2, "dim": 3, "pool_size": 4, "filters": 4, "kernel_size": 3,
    "layer": keras.layers.Dense(2), "policy": "color", "features": 8, "num_frames": 3,
    "content_dim": 5, "motion_dim": 4, "images": IMAGES, "real_images": IMAGES,
    "fake_images": IMAGES[::-1], "logits": LOGITS, "real_logits": LOGITS, "fake_logits": LOGITS,
    "mean": IMAGES, "log_scale": IMAGES, "log_var": IMAGES, "z_mean": LOGITS, "z_log_var": LOGITS,
    "log_weights": LOGITS, "real_features": FEATURES, "fake_features": FEATURES + 1,
    "codes": CODES, "indices": CODES, "kind": "noise", "seed": 0, "num_images": 4,
    "num_steps": 2, "start": LOGITS[0], "end": LOGITS[1], "latents": FEATURES,
    "has_attribute": np.arange(40) % 2 == 0, "initial_learning_rate": 0.1, "constant_steps": 1,
    "decay_steps": 2, "target_sparsity": 0.5, "begin_step": 0, "end_step": 2, "name": "glyphs",
    "batch_size": 4, "metrics": "sliced_wasserstein_distance", "data_variance": 1.0,
    "stream": b"\0" * 24,
    "shape": (4, 4, 4), "frames": IMAGES, "samples": IMAGES, "training": IMAGES, "num_samples": 2,
    "num_subsets": 2, "subset_size": 10, "k": 3, "verbose": 0, "num_splits": 2, "num_patches": 4,
    "num_projections": 4, "patches_per_image": 4, "block_size": 2, "mean_1": FEATURES[0],
    "mean_2": FEATURES[1], "cov_1": np.eye(3), "cov_2": np.eye(3),
}  # fmt: skip
# For some calls, other ones.
ALSO = {
    "Pix2Pix": {"image_shape": SHAPE}, "PixelCNN": {"levels": 2, "layers": 1},
    "CodeTransformer": {"code_shape": (4, 4), "layers": 1}, "VQVAE": {"levels": None},
    "VQGAN": {"levels": None}, "CNNClassifier": {"filters": (2,)},
    "ProjectedGAN": {"features": "classifier"}, "FiniteScalarQuantizer": {"levels": (3, 4)},
    "codebook_perplexity": {"indices": CODES}, "ImagePool": {}, "SuperResolutionGAN": {},
    "InceptionScore": {"features": "mnist"}, "inception_score": {"logits": FEATURES},
    "traverse": {"dimension": 0, "values": [0.0, 1.0], "latents": Z[0]},
    "interpolate": {"start": Z[0], "end": Z[1]}, "latents.decode": {"latents": Z},
    "invert": {"num_steps": 1, "num_starts": 1}, "binarize": {"kind": "dynamic", "seed": (0, 1)},
    "binarized": {"kind": "dynamic"}, "check_binarize": {"kind": "dynamic"},
    "corrupt": {"seed": (0, 1)}, "features_for": {"data": "mnist"},
    "update_metrics": {"metrics": []}, "BestCheckpoint": {"path": "a.keras"},
    "EvaluateSamples": {"metrics": "sliced_wasserstein_distance"},
    "generate": {"num_images": 4}, "get_metrics": {"features": "glyphs"},
}  # fmt: skip
NUMBERS = [
    None, True, -1, 0, 1.5, NAN, math.inf, -math.inf, 10**12, 2**70, 1j, "x", "", "é\n\0", b"x", [],
    (), {}, [1, 2], (1, 2, 3, 4), ["a"], np.array([1, 2]), np.float32(NAN), np.zeros((0, 3)),
    object(), print, int, {"a": 1}, tf.constant([1.0]), "a" * 300,
]  # fmt: skip
ARRAYS = [
    None, "x", 3, [], {}, np.zeros(()), np.zeros((0, *SHAPE), "float32"), IMAGES[0],
    IMAGES.astype("float64"), IMAGES * NAN, IMAGES + math.inf, IMAGES * 300, IMAGES[:3],
    IMAGES[..., 0], IMAGES[:, :15], np.zeros((4, *SHAPE), "uint8"), np.zeros((4, *SHAPE), "int64"),
    np.zeros((4, *SHAPE), "complex64"), np.zeros((4, 8, 8, 3), "float32"), np.array(["a"] * 4),
    np.array([None] * 4), [[1], [2, 3]], np.arange(4), np.arange(4) - 1, np.arange(4) + 0.5,
    np.arange(5), np.eye(4), np.full(4, NAN), CODES, CODES + 9, -CODES, CODES[:, :3], CODES[0],
    CODES.astype("float32"), FEATURES, FEATURES * NAN, FEATURES[:1], FEATURES[:, :2], LOGITS,
    10**12 * np.ones((4, 3)), tf.ragged.constant([[1.0], [2.0, 3.0]]), object(), iter([]),
    tf.data.Dataset.from_tensors(3), ("a", "b"), [1, 2, 3, 4], np.zeros((2,) * 20, "float32"),
]  # fmt: skip


def small(name, **more):
    """A compiled model for the methods, made when first needed."""
    if name not in _MODELS:
        model_class = getattr(kg, name)
        _MODELS[name] = model_class(**{**arguments_of(model_class), "seed": 0, **more})
        _MODELS[name].compile()
    return _MODELS[name]


_MODELS = {}
METHODS = {
    "GAN": ["compile", "fit", "generate", "decode", "evaluate", "train_on_batch", "save"],
    "VAE": ["compile", "fit", "generate", "encode", "decode", "reconstruct", "log_likelihood",
            "fit_prior", "adapt"],
    "ConditionalGAN": ["fit", "generate", "decode"],
    "ConditionalVAE": ["fit", "encode", "decode", "log_likelihood"],
    "VQVAE": ["fit", "encode", "decode", "reconstruct", "start_codebook", "fit_prior"],
    "PixelCNN": ["fit", "generate", "log_likelihood"],
    "CodeTransformer": ["fit", "generate", "log_likelihood"],
    "CNNClassifier": ["fit", "evaluate", "features", "classify"],
    "Pix2Pix": ["fit", "translate"], "CycleGAN": ["translate", "reconstruct"],
    "SequenceGAN": ["fit", "generate"], "SuperResolutionGAN": ["translate"],
}  # fmt: skip
NOT_CALLED = {  # BatchNormalization: the constructor is Keras's own
    "BatchNormalization", "Centering", "DataInfo", "FeatureExtractor", "Inversion", "MotionWalk",
    "RunningMoments", "SampleMetric", "VectorQuantizer",
}  # fmt: skip


def methods():
    for name, those in METHODS.items():
        for method in those:
            yield f"{name}.{method}", name, method


def members(module):
    names = getattr(module, "__all__", None) or [n for n in dir(module) if n[0].isupper()]
    for name in names:
        if callable(getattr(module, name)) and name not in NOT_CALLED and name[0] != "_":
            yield name, getattr(module, name), None


def targets():
    """Row of the table -> list of (name, callable or name of a model, method or None)."""
    models = [(name, getattr(kg, name), None) for name in kg._MODELS]
    return {
        "constructors of models": models, "methods of models": list(methods()),
        "layers": [each for each in members(layers) if each[0][0].isupper()],
        "losses": [each for each in members(losses) if callable(each[1])],
        "metrics": list(members(metrics)), "callbacks": list(members(callbacks)),
        "data": list(members(data)), "latents": list(members(latents)),
        "plotting, optimizers": [*members(plotting), ("LinearDecay", optimizers.LinearDecay, None)],
    }  # fmt: skip


def arguments_of(function, name=None, model=None):
    """Arguments with which a call works: those without a default, and small ones."""
    name = name or function.__name__
    if function is latents.decode:
        name = "latents.decode"
    if "features" in inspect.signature(function).parameters and name not in kg._MODELS:
        more = {"features": _critic}
    else:
        more = {}
    own = {"x": batch(model), "images": batch(model), "data": batch(model), "critic": _critic,
           "network": _critic, "discriminator": _critic, "function": _critic, "path": "a.png",
           "folder": "run", "filepath": "a.keras",
           "dataset": tf.data.Dataset.from_tensors(IMAGES), "alpha": np.zeros((4, 1, 1, 1)),
           "image_or_grid": IMAGES[0], "logs": {"loss": [1.0, 2.0]}, "values": [0.0]}
    if model is not None:
        own["latents"] = CODES if model.makes == "codes" or "VQ" in name else LOGITS
        own["labels"] = own["y"] = LABELS if model.num_classes else None
        if getattr(model, "latent_dim", None):
            own["latents"] = np.zeros((4, model.latent_dim), "float32")
    signature = inspect.signature(function)
    good = {**GOOD, **more, **own, **ALSO.get(name, {})}
    skipped = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    found = {}
    for parameter in signature.parameters.values():
        if parameter.kind in skipped or parameter.name == "self":
            continue
        if parameter.name == "model":
            found["model"] = small("GAN")
        elif parameter.name in good and (
            parameter.default is parameter.empty or parameter.name in ALSO.get(name, {})
            or parameter.name in own and model is not None
            or isinstance(parameter.default, (int, tuple))
        ):  # fmt: skip
            found[parameter.name] = good[parameter.name]
    return found


def _critic(images, training=False):
    return tf.reduce_mean(images, axis=(1, 2, 3), keepdims=False)[:, None]


def batch(model):
    if model is not None and model.makes == "codes":
        return CODES
    if isinstance(model, kg.SequenceGAN):
        return np.repeat(IMAGES[:, None], 3, axis=1)
    return IMAGES


def wrong(rng, name, arguments, parameters):
    """A copy of the arguments in which one or two are replaced."""
    changed = rng.sample(parameters, min(len(parameters), rng.choice((1, 1, 1, 2))))
    result = dict(arguments)
    for each in changed:
        is_array = isinstance(arguments.get(each), (np.ndarray, tf.Tensor)) or each in (
            "x", "y", "labels", "sample_weight", "mask", "condition", "validation_data"
        )  # fmt: skip
        pool = ARRAYS if is_array and rng.random() < 0.85 else NUMBERS
        result[each] = rng.choice(pool)
    return result, changed


def outcome(call, arguments, changed, called):
    """What is wrong with a call, or None."""
    signal.alarm(TIMEOUT)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            result = call(**arguments)
    except (ValueError, TypeError) as error:
        message = str(error)
        if isinstance(error, tf.errors.OpError) or "\n" in message or len(message) > 500:
            return f"{type(error).__name__}, not one sentence: {message[:600]}"
        words = re.findall(r"\w+", message.lower())
        names = [*changed, *called.split(".")]
        for each in changed:
            names += [part for part in each.split("_") if len(part) > 4]
            names += SAID.get(each, ())
        said = any(each.lower() in message.lower() or each.rstrip("s") in words for each in names)
        return None if said else f"{type(error).__name__} names no argument: {message}"
    except TimeoutError:
        return f"more than {TIMEOUT} seconds"
    except OSError as error:  # of the system, on a path
        return None if error.filename else f"{type(error).__name__}: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:600]}"
    finally:
        signal.alarm(0)
    return "silent NaN" if has_nan(result) and not has_nan(list(arguments.values())) else None


# What a message may call the data.
OF_DATA = ("images", "labels", "codes", "clips", "label", "data", "latents", "floats")
SAID = {
    **dict.fromkeys(("x", "y", *OF_DATA, "validation_data", "frames", "image_or_grid"), OF_DATA),
    "augment": ("policy",),
}


def has_nan(result):
    parts = result if isinstance(result, (list, tuple)) else [result]
    for part in parts:
        if isinstance(part, (np.ndarray, tf.Tensor, float, np.floating)):
            values = np.asarray(part)
            if values.dtype.kind in "fc" and not np.isfinite(values).all():
                return True
    return False


def short(value):
    if isinstance(value, (np.ndarray, tf.Tensor)):
        array = np.asarray(value)
        return f"{array.dtype}{list(array.shape)} from {array.flat[0] if array.size else None}"
    return repr(value)[:60]


def main():
    parser = parser_of(__doc__, 600)
    parser.add_argument("--only", help="a row of the table")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGALRM, _too_long)
    outcomes, everything = Outcomes(), targets()
    for number in range(options.count):
        rng = random.Random(f"{options.seed} {number}")
        kind = rng.choices(list(everything), [5, 6, 3, 1.5, 2.5, 1.5, 3, 1.5, 1.5])[0]
        name, target, method = rng.choice(everything[kind])
        if options.only not in (None, kind):
            continue
        model = small(target) if method else None
        function = getattr(model, method) if method else target
        signature = inspect.signature(function)
        arguments = arguments_of(function, method or name, model)
        parameters = [p.name for p in signature.parameters.values() if p.kind.name[:3] != "VAR"]
        arguments, changed = wrong(rng, name, arguments, parameters)
        call = function if method or kind != "layers" else _layer(function)
        told = ", ".join(f"{each}={short(arguments[each])}" for each in changed)
        problem = outcome(call, arguments, changed, name)
        outcomes.add(kind, f"{number} {name}({told})", problem)
    sys.exit(outcomes.report())


def _layer(function):
    """Makes a layer and calls it, where its arguments are right."""

    def call(**arguments):
        layer = function(**arguments)
        layer.get_config()
        return None

    return call


def _too_long(*arguments):
    raise TimeoutError


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
