"""Trains the small networks whose features the package uses for its metrics.

Writes NAME.keras and its card (in cards.json) into keras_genimg/metrics/classifiers, or
into another folder. Networks of another seed show whether a ranking depends on the seed.

    python benchmarks/train_classifiers.py fashion_mnist mnist glyphs cifar10_small
    python benchmarks/train_classifiers.py cifar10 cifar10_rotation --policy mixed_bfloat16
    python benchmarks/train_classifiers.py emoji --data emoji   # of benchmarks/emoji.py
    python benchmarks/train_classifiers.py cifar10 --seed 1 --output classifiers_of_seed_1

Settings are chosen with `--holdout 5000`: the last images are not trained on, but measured on.
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import time
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from small_files import write_small

from keras_genimg.callbacks import Resume
from keras_genimg.data import data_info, load

layers = keras.layers
DIMENSION = 128
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "keras_genimg/metrics/classifiers"


class Recipe(NamedTuple):
    """How a network is trained.

    Attributes:
        data: str. The set of images.
        network: "small" or "wide".
        width: int. Filters of the middle of a wide network.
        epochs: int.
        batch_size: int.
        shift: int. Pixels that an image is shifted by at most; None for images as they are.
        flip: bool. Whether images are mirrored.
        predicts: "class", or "rotation", for which no label is used.
        bits: int. Significant bits of the stored weights; a float32 has 24.
    """

    data: str
    network: str = "small"
    width: int = 192
    epochs: int = 8
    batch_size: int = 128
    shift: int | None = None
    flip: bool = False
    predicts: str = "class"
    bits: int = 11


RECIPES = {
    "fashion_mnist": Recipe("fashion_mnist", epochs=10),
    "mnist": Recipe("mnist", epochs=4),
    "glyphs": Recipe("glyphs"),
    "cifar10_small": Recipe("cifar10", shift=4, flip=True),
    "cifar10": Recipe(
        "cifar10", "wide", epochs=10, batch_size=500, shift=2, flip=True, bits=9
    ),
    "cifar10_rotation": Recipe(
        "cifar10", "wide", width=128, epochs=6, batch_size=500, shift=2, flip=True,
        predicts="rotation", bits=9,
    ),
    "emoji": Recipe("emoji", "wide", width=128, epochs=40, shift=6, flip=True, bits=9),
}


def small_network(image_shape, outputs):
    """Convolutions at decreasing sizes, the feature layer, and logits."""
    widths = [(32, True), (64, True), (96, False), (96, True)]  # whether the size is halved
    if image_shape[2] == 3:  # colour images of objects need one more
        widths.insert(1, (64, False))
    inputs = keras.Input(image_shape)
    x = inputs
    for width, halve in widths:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(x) if halve else x
        x = layers.BatchNormalization(momentum=0.95)(x)
        x = layers.ReLU()(x)
    x = layers.Flatten()(x)  # (n, h, w, 96) -> (n, h * w * 96)
    x = layers.Dropout(0.3)(x)
    x = layers.Dense(DIMENSION, activation="relu", name="features")(x)
    return keras.Model(inputs, layers.Dense(outputs, name="logits")(x))


def wide_network(image_shape, outputs, width, patches):
    """Whitened patches, pairs of convolutions at decreasing sizes, the largest of each feature.

    After Jordan, 2024, "94% on CIFAR-10 in 3.29 seconds", https://arxiv.org/abs/2404.00498.
    """
    inputs = keras.Input(image_shape)
    kernel = whitening_kernel(patches)
    whitening = layers.Conv2D(
        kernel.shape[-1], 2, padding="same", name="whitening", trainable=False
    )
    x = whitening(inputs)
    whitening.set_weights([kernel, np.zeros(kernel.shape[-1])])
    x = layers.Activation("gelu")(x)
    widths = [(64, 64), (width, width), (width, DIMENSION)]
    if image_shape[0] > 32:
        widths.insert(0, (32, 32))
    for pair in widths:
        for filters, halve in zip(pair, (True, False)):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.MaxPooling2D()(x) if halve else x
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, scale=False)(x)
            x = layers.Activation("gelu")(x)
    x = layers.GlobalMaxPooling2D(name="features", dtype="float32")(x)
    return keras.Model(inputs, layers.Dense(outputs, name="logits", dtype="float32")(x))


def whitening_kernel(patches):
    """Filters `(height, width, channels, 2 n)` whose responses are uncorrelated, of both signs.

    Args:
        patches: array `(count, height, width, channels)`.
    """
    shape = patches.shape[1:]
    flat = patches.reshape(len(patches), -1)
    values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
    filters = (vectors / np.sqrt(values + 5e-4)).T[::-1].reshape(-1, *shape)
    return np.concatenate([filters, -filters]).transpose(1, 2, 3, 0)


def patches_of(images, size=2):
    """All patches `(count, size, size, channels)` of images."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size, size, images.shape[-1])


def shift_and_flip(images, seed, shift, flip):
    """Shifts every image by up to some pixels, at random, and mirrors half of them."""
    count, width = tf.shape(images)[0], images.shape[2]
    moves = tf.random.stateless_uniform(
        (count, 2), tf.stack([seed, 0]), -shift, shift + 1, tf.int32
    )
    mirrored = tf.random.stateless_uniform((count,), tf.stack([seed, 1])) < 0.5 * flip
    zero, one = tf.zeros(count), tf.ones(count)
    move_x, move_y = tf.unstack(tf.cast(moves, tf.float32), axis=1)
    sign = tf.where(mirrored, -one, one)
    start = tf.where(mirrored, width - 1.0 - move_x, move_x)
    # Output (x, y) takes input (sign * x + start, y + move_y).
    transforms = tf.stack([sign, zero, start, zero, one, move_y, zero, zero], axis=1)  # (n, 8)
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="NEAREST",
        fill_mode="REFLECT",
    )


def rotate(images, seed):
    """Images turned by 0, 1, 2 or 3 right angles, at random, and the number of these.

    Gidaris et al., 2018, https://arxiv.org/abs/1803.07728: what a network learns without labels.
    """
    turns = tf.random.stateless_uniform(tf.shape(images)[:1], tf.stack([seed, 2]), 0, 4, tf.int32)
    all_turns = tf.stack([tf.image.rot90(images, k) for k in range(4)], axis=1)  # (n, 4, h, w, c)
    return tf.gather(all_turns, turns, batch_dims=1), turns


def of_step(recipe, outputs):
    """The function from the number of a step and its images and labels to what it trains on."""

    def prepare(step, batch):
        images, labels = batch
        if recipe.shift is not None:
            images = shift_and_flip(images, step, recipe.shift, recipe.flip)
        if recipe.predicts == "rotation":
            images, labels = rotate(images, step)
        return images, tf.one_hot(labels, outputs)

    return prepare


@keras.saving.register_keras_serializable(package="benchmarks")
class Triangle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from a fifth of the peak over the first fifth of the steps, then falls to 0."""

    def __init__(self, peak, steps):
        self.peak, self.steps = peak, steps

    def __call__(self, step):
        done = tf.cast(step, tf.float32) / self.steps
        return self.peak * tf.minimum(0.2 + 4.0 * done, 1.25 * (1.0 - done))

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps}


def training_of(recipe, steps):
    """Optimizer, label smoothing and scale of the logits that go with a network."""
    if recipe.network == "small":
        warmup = steps // 10
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, steps - warmup, warmup_target=3e-3, warmup_steps=warmup
        )
        return keras.optimizers.AdamW(rate, weight_decay=0.05), 0.0, 1.0
    peak = 0.4 * recipe.batch_size / 500
    optimizer = keras.optimizers.SGD(Triangle(peak, steps), 0.9, True, weight_decay=5e-3)
    optimizer.exclude_from_weight_decay(var_names=["beta", "bias"])
    return optimizer, 0.1, 0.2


def epochs_done(backup):
    """The epochs of which `backup` has a checkpoint."""
    checkpoints = sorted(pathlib.Path(backup).glob("epoch-*.keras")) if backup else []
    return int(checkpoints[-1].stem.removeprefix("epoch-")) if checkpoints else 0


def train(recipe, source, holdout, seed, policy, backup):
    """A network, and the seconds of its training, of the last part if it was continued."""
    keras.utils.set_random_seed(seed)
    info = data_info(source)
    split = f"train[:{info.num_images - holdout}]"
    per_epoch = (info.num_images - holdout) // recipe.batch_size
    steps = recipe.epochs * per_epoch
    done = epochs_done(backup)
    batches = load(
        source, split, batch_size=recipe.batch_size, with_labels=True, shuffle_seed=seed,
        drop_remainder=True, epochs=recipe.epochs - done, first_epoch=done,
    )  # fmt: skip
    outputs = 4 if recipe.predicts == "rotation" else info.num_classes
    batches = batches.enumerate(done * per_epoch)
    batches = batches.map(of_step(recipe, outputs), tf.data.AUTOTUNE).prefetch(4)
    some, _ = next(iter(load(source, split, batch_size=1000, with_labels=True, shuffle_seed=seed)))

    def build(policy):
        keras.config.set_dtype_policy(policy)
        if recipe.network == "small":
            return small_network(info.image_shape, outputs)
        return wide_network(info.image_shape, outputs, recipe.width, patches_of(some.numpy()))

    network = build(policy)
    optimizer, smoothing, scale = training_of(recipe, steps)
    model = keras.Model(network.input, layers.Rescaling(scale, dtype="float32")(network.output))
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing),
        metrics=["accuracy"],
        jit_compile=False,  # compiling convolutions with XLA makes them slower on CPUs
    )
    started = time.perf_counter()
    model.fit(
        batches, epochs=recipe.epochs, steps_per_epoch=per_epoch, shuffle=False, verbose=2,
        callbacks=[Resume(backup)] if backup else [],
    )  # fmt: skip
    trained = network.get_weights()
    network = build("float32")  # its features are float32, whatever it was trained in
    network.set_weights(trained)
    head = network.get_layer("logits")
    head.set_weights([scale * weight for weight in head.get_weights()])
    return network, time.perf_counter() - started


def judge(network, recipe, source, split):
    """Accuracy on images that it has not seen, their number, and that of constant features."""
    both = keras.Model(network.input, [network.output, network.get_layer("features").output])
    right, features = [], []
    for step, (images, labels) in enumerate(load(source, split, batch_size=500, with_labels=True)):
        if recipe.predicts == "rotation":
            images, labels = rotate(images, step)
        logits, found = both(images, training=False)
        right.append(np.argmax(logits, axis=1) == labels.numpy())
        features.append(found)
    right, spread = np.concatenate(right), np.std(np.concatenate(features), axis=0)
    return float(right.mean()), len(right), int(np.sum(spread < 1e-6))


def write(network, name, recipe, arguments, seconds):
    """Saves the network and its card."""
    path = arguments.output / f"{name}.keras"
    write_small(keras.Model(network.input, network.output, name=name), path, recipe.bits)
    saved = keras.models.load_model(path)
    source = arguments.data or recipe.data
    accuracy, count, constant = judge(saved, recipe, source, "test")
    card = {
        "predicts": recipe.predicts,
        "test_accuracy": round(accuracy, 4),
        "test_pictures": count,
        "constant_features": constant,
        "layer": "features",
        "dimension": DIMENSION,
        "input_range": [-1, 1],
        "input_shape": list(saved.input.shape[1:]),
        "parameters": saved.count_params(),
        "significant_bits": recipe.bits,
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "seed": arguments.seed,
        "epochs": recipe.epochs,
        "policy": arguments.policy,
        "seconds": round(seconds),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
        "command": command_of(name, arguments),
    }
    cards_path = arguments.output / "cards.json"
    cards = json.loads(cards_path.read_text(encoding="utf-8")) if cards_path.is_file() else {}
    cards = {**cards, name: card}
    text = json.dumps({key: cards[key] for key in RECIPES if key in cards}, indent=2)
    cards_path.write_text(text + "\n", encoding="utf-8")
    print(
        f"{path.name}: {100 * accuracy:.2f} % of {count} test images, {constant} features that "
        f"never differ, {card['bytes'] / 1e6:.2f} MB, {seconds:.0f} s of training"
    )


def command_of(name, arguments):
    """What trains it again."""
    command = f"python benchmarks/train_classifiers.py {name} --seed {arguments.seed}"
    if arguments.epochs:
        command += f" --epochs {arguments.epochs}"
    if arguments.policy != "float32":
        command += f" --policy {arguments.policy}"
    return command + (" --data FOLDER" if arguments.data else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=RECIPES, metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="by default those of the packaged networks")
    parser.add_argument("--policy", default="float32", help="the dtype policy of training")
    parser.add_argument("--data", help="a folder with the splits train and test, for emoji")
    parser.add_argument(
        "--holdout", type=int, help="training images to measure on; nothing is written"
    )
    parser.add_argument("--backup", help="a folder of checkpoints, from which it is continued")
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        recipe = RECIPES[name]
        recipe = recipe._replace(epochs=arguments.epochs or recipe.epochs)
        source, held_out = arguments.data or recipe.data, arguments.holdout or 0
        if held_out and (arguments.data or held_out >= data_info(source).num_images):
            parser.error("--holdout is a part of the training images of a set with one order")
        backup = arguments.backup and os.path.join(arguments.backup, f"{name}-{arguments.seed}")
        network, seconds = train(recipe, source, held_out, arguments.seed, arguments.policy, backup)
        if held_out:
            accuracy, _, constant = judge(network, recipe, source, f"train[-{held_out}:]")
            print(f"{name}: {100 * accuracy:.2f} % held out, {constant} features never differ")
        else:
            write(network, name, recipe, arguments, seconds)


if __name__ == "__main__":
    main()
