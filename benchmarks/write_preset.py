"""Makes a preset of a run: keras_genimg/presets/NAME.keras, and its card in cards.json.

The weights are kept, in float32 layers and without the states of optimizers; of a generator and its
moving average only those of the average, from which further training starts. They are rounded to 11
significant bits, as those of a float16, or more where a byte of a sample would change by more than
1. A discriminator's are rounded to 5 bits; those of a prior over codes are not rounded. The metrics
of the card are those of the rounded model.

    keras-genimg train conditional_gan --data mnist --output runs/conditional_gan_mnist
    python benchmarks/write_preset.py runs/conditional_gan_mnist conditional_gan_mnist
    python benchmarks/write_preset.py runs/emoji conditional_gan_emoji --licence "Apache-2.0" \\
        --metrics frechet_distance sliced_wasserstein_distance --features cifar10_rotation
"""

import argparse
import hashlib
import json
import os
import pathlib
import shlex
import shutil
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from small_files import rounded, write_small

from keras_genimg.errors import InputError
from keras_genimg.plotting import to_uint8
from keras_genimg.recipes import read_recipe
from keras_genimg.runs import evaluate, load_run
from keras_genimg.runs.card import SETS
from keras_genimg.runs.folder import read_record
from keras_genimg.runs.settings import DEFAULTS
from keras_genimg.shipped import PRESETS, read_cards

BITS = (11, 12, 13, 14, 17, 20, 24)  # significant bits of the stored weights; the last are all
TRAINING_BITS = 5  # of a discriminator, which no sample depends on
COMPARED = 1000  # samples whose bytes are compared
COUNTS = (1000, 10_000)  # samples of the metrics: a quick test uses the first
LICENCES = {
    "glyphs": "drawn by keras_genimg; that of the fonts: DejaVu, STIX, BaKoMa (Computer Modern)",
    "cifar10": "none stated by its authors",
    "mnist": "CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
    "fashion_mnist": "MIT, Copyright 2017 Zalando SE",
}
LOCAL = ("recipe", "data_dir", "strategy")  # settings that say nothing about the model


def without_optimizer(model):
    """The same model in float32, not compiled; zeros instead of a generator with an average."""
    config = {**model.get_config(), "dtype": "float32"}
    copy = type(model).from_config(config)
    copy.set_weights(model.get_weights())
    if getattr(copy, "ema_generator", None):  # load_preset copies it
        copy.generator.set_weights([0 * weight for weight in copy.generator.get_weights()])
    return copy


def write_model(model, path):
    """Writes a model with as few bits as keep its samples: the bits, and what a byte changes by."""
    if getattr(model, "discriminator", None):  # has no part in samples
        few = [rounded(weight, TRAINING_BITS) for weight in model.discriminator.get_weights()]
        model.discriminator.set_weights(few)
    weights = model.get_weights()
    exact = samples(model)
    for bits in BITS:
        model.set_weights(weights)
        write_small(model, path, bits, model.held_priors() if hasattr(model, "held_priors") else ())
        found = samples(keras.saving.load_model(path))
        change = int(np.abs(found.astype(int) - exact).max())
        if change <= 1:
            return bits, change
    raise InputError(f"A model must generate the same from its file. Received: {change} of 255.")


def samples(model):
    return to_uint8(model.generate(COMPARED, seed=0, verbose=0))


def metrics_of(path, run, names, features):
    """The metrics of a model's file: a list of dicts for the card."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copyfile(pathlib.Path(run, "run.json"), pathlib.Path(folder, "run.json"))
        shutil.copyfile(path, pathlib.Path(folder, "model.keras"))
        for count in COUNTS:
            evaluate(folder, metrics=names, features=features, count=count)
            result = json.loads(pathlib.Path(folder, "metrics.json").read_text())
            values = {name: float(f"{value:.5g}") for name, value in result["metrics"].items()}
            data = public(read_record(run))["settings"]["data"]
            found.append({**result, "data": data, "metrics": values})
    return found


def command_of(record):
    """The command that trains such a run."""
    settings = record["settings"]
    recipe = settings.get("recipe")
    known = {**DEFAULTS, **(read_recipe(recipe)["settings"] if recipe else {})}
    words = ["keras-genimg train", f"--recipe {recipe}" if recipe else record["model"]]
    for name, value in settings.items():
        if name == "set":
            changed = {key: each for key, each in value.items() if each != known["set"].get(key)}
            words += [f"--set {_assigned(key, each)}" for key, each in changed.items()]
        elif name not in LOCAL and value != known.get(name):
            words.append(f"--{name.replace('_', '-')} {shlex.quote(str(value))}")
    return " ".join(words)


def prior_command(run):
    """The command that trains the prior of such a run, or None."""
    path = pathlib.Path(run, "prior.json")
    if not path.is_file():
        return None
    record = json.loads(path.read_text(encoding="utf-8"))
    words = ["keras-genimg prior RUN"]
    for name in ("kind", "epochs", "batch_size", "policy", "seed"):
        if record[name] is not None:
            words.append(f"--{name.replace('_', '-')} {record[name]}")
    words += ["--by-class"] if record["by_class"] else []
    words += [f"--set {_assigned(*each)}" for each in record["settings"].items()]
    return " ".join(words)


def _assigned(name, value):
    return shlex.quote(f"{name}={value if isinstance(value, str) else json.dumps(value)}")


def public(record):
    """The record of a run, with folders named without where they were."""
    paths = {key: record["settings"].get(key) or "" for key in ("data", "data_b", "start_from")}
    names = {key: os.path.basename(os.path.normpath(path))
             for key, path in paths.items() if os.path.isabs(path)}  # fmt: skip
    return {**record, "settings": {**record["settings"], **names}}


def card_of(path, run, model, licence):
    """The card of a written file, without its metrics."""
    record = public(read_record(run))
    settings = {key: each for key, each in record["settings"].items() if key not in LOCAL}
    data, cls = settings["data"], type(model)
    prior = prior_command(run)
    return {
        "about": f"{cls.about}, trained on {data}",
        "class": cls.__name__,
        "image_shape": list(model.image_shape),
        "class_names": model.class_names,
        "command": command_of(record) + (f" --output RUN && {prior}" if prior else ""),
        "data": {"name": data, "licence": licence, "images": record["num_images"]},
        "seconds": round(record["seconds"]),
        "model": record["model"],
        "settings": settings,
        "parameters": model.count_params(),
        "versions": record["versions"],
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--licence", help="that of the training images, by default of a known set")
    parser.add_argument("--metrics", nargs="+", default=["frechet_distance"], metavar="NAME")
    parser.add_argument("--features", metavar="NAME", help="by default those of the data set")
    parser.add_argument("--output", type=pathlib.Path, default=PRESETS, metavar="FOLDER")
    options = parser.parse_args()
    data = read_record(options.run)["settings"]["data"]
    licence = options.licence or LICENCES.get(data) or SETS.get(data, (None, None))[1]
    if licence is None:
        parser.error(f"--licence names the licence of the images of {data}")
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{options.name}.keras"
    with tempfile.TemporaryDirectory() as folder:
        written = pathlib.Path(folder, path.name)
        model = without_optimizer(load_run(options.run))
        bits, change = write_model(model, written)
        card = card_of(written, options.run, model, licence)
        card |= {"significant_bits": bits, "largest_change_of_a_byte": change}
        card["metrics"] = metrics_of(written, options.run, options.metrics, options.features)
        shutil.copyfile(written, path)
    cards = read_cards(options.output) if (options.output / "cards.json").is_file() else {}
    cards = dict(sorted({**cards, options.name: card}.items()))
    text = json.dumps(cards, indent=2)
    (options.output / "cards.json").write_text(text + "\n", encoding="utf-8")
    print(f"{path}: {card['bytes'] / 1e6:.2f} MB, {bits} bits, bytes change by {change} at most")


if __name__ == "__main__":
    main()
