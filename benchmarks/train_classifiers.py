"""Trains the small classifiers whose features the package uses for its metrics.

Writes NAME.keras and its card (in cards.json) into keras_genimg/metrics/classifiers, or
into another folder. Classifiers of another seed show whether a ranking depends on the seed.

    python benchmarks/train_classifiers.py
    python benchmarks/train_classifiers.py cifar10 --seed 1 --output classifiers_of_seed_1
"""

import argparse
import hashlib
import json
import os
import pathlib
import platform
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.data import data_info, load

EPOCHS = {"fashion_mnist": 10, "mnist": 4, "glyphs": 8, "cifar10": 8}
AUGMENTED = {"cifar10"}
BATCH_SIZE = 128
LEARNING_RATE = 3e-3  # the maximum; the rate rises over the first tenth and decays to 0
WEIGHT_DECAY = 0.05
DIMENSION = 128
MOST_SHIFT = 4  # pixels, of an augmented image
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "keras_genimg/metrics/classifiers"


def build_classifier(image_shape, num_classes):
    """Convolutions at decreasing sizes, the feature layer, and logits."""
    widths = [(32, True), (64, True), (96, False), (96, True)]  # whether the size is halved
    if image_shape[2] == 3:  # colour images of objects need one more
        widths.insert(1, (64, False))
    inputs = keras.Input(image_shape)
    x = inputs
    for width, halve in widths:
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.MaxPooling2D()(x) if halve else x
        x = keras.layers.BatchNormalization(momentum=0.95)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.Flatten()(x)  # (n, h, w, 96) -> (n, h * w * 96)
    x = keras.layers.Dropout(0.3)(x)
    x = keras.layers.Dense(DIMENSION, activation="relu", name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(num_classes, name="logits")(x))


def shift_and_flip(images, seed):
    """Shifts every image by up to four pixels and flips half of them, at random."""
    count, width = tf.shape(images)[0], images.shape[2]
    moves = tf.random.stateless_uniform(
        (count, 2), tf.stack([seed, 0]), -MOST_SHIFT, MOST_SHIFT + 1, tf.int32
    )
    mirrored = tf.random.stateless_uniform((count,), tf.stack([seed, 1])) < 0.5
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


def train(name, seed, epochs):
    """A classifier of the set `name`, and the seconds of its training."""
    keras.utils.set_random_seed(seed)
    info = data_info(name)
    steps = info.num_images // BATCH_SIZE
    images = load(
        name,
        batch_size=BATCH_SIZE,
        with_labels=True,
        shuffle_seed=seed,
        drop_remainder=True,
        epochs=epochs,
    )
    if name in AUGMENTED:
        images = images.enumerate().map(
            lambda step, batch: (shift_and_flip(batch[0], step), batch[1]), tf.data.AUTOTUNE
        )
    warmup = epochs * steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, epochs * steps - warmup, warmup_target=LEARNING_RATE, warmup_steps=warmup
    )
    model = build_classifier(info.image_shape, info.num_classes)
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=WEIGHT_DECAY),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,  # compiling convolutions with XLA makes them slower on CPUs
    )
    started = time.perf_counter()
    model.fit(images, epochs=epochs, steps_per_epoch=steps, shuffle=False, verbose=2)
    return model, time.perf_counter() - started


def test_accuracy(model, name):
    """Accuracy on the test split, and the number of its images."""
    right = [
        np.argmax(model.predict_on_batch(images), axis=1) == labels.numpy()
        for images, labels in load(name, "test", batch_size=500, with_labels=True)
    ]
    right = np.concatenate(right)
    return float(right.mean()), len(right)


def write(model, name, folder, seed, epochs, seconds):
    """Saves the classifier without its optimizer, and its card."""
    path = folder / f"{name}.keras"
    keras.Model(model.input, model.output, name=name).save(path)
    saved = keras.models.load_model(path)
    accuracy, count = test_accuracy(saved, name)
    command = f"python benchmarks/train_classifiers.py {name} --seed {seed} --epochs {epochs}"
    card = {
        "test_accuracy": round(accuracy, 4),
        "test_pictures": count,
        "layer": "features",
        "dimension": DIMENSION,
        "input_range": [-1, 1],
        "input_shape": list(saved.input.shape[1:]),
        "parameters": saved.count_params(),
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "seed": seed,
        "epochs": epochs,
        "seconds": round(seconds),
        "versions": {
            "python": platform.python_version(),
            "keras": keras.__version__,
            "tensorflow": tf.__version__,
        },
        "command": command,
    }
    cards_path = folder / "cards.json"
    cards = json.loads(cards_path.read_text(encoding="utf-8")) if cards_path.is_file() else {}
    cards = {**cards, name: card}
    text = json.dumps({key: cards[key] for key in EPOCHS if key in cards}, indent=2)
    cards_path.write_text(text + "\n", encoding="utf-8")
    print(
        f"{path.name}: {100 * accuracy:.2f} % of {count} test images, "
        f"{card['bytes'] / 1e6:.2f} MB, {seconds:.0f} s of training"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(EPOCHS)}; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="by default those of the packaged classifiers")
    parser.add_argument("--output", type=pathlib.Path, default=FOLDER)
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(EPOCHS)
    if unknown:
        parser.error(f"unknown set: {', '.join(sorted(unknown))}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or EPOCHS:
        epochs = arguments.epochs or EPOCHS[name]
        model, seconds = train(name, arguments.seed, epochs)
        write(model, name, arguments.output, arguments.seed, epochs, seconds)


if __name__ == "__main__":
    main()
