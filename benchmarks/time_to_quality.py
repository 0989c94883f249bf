"""Distance over training seconds: the default `GAN` and the public DCGAN tutorial, in one run.

    TFDS_DATA_DIR=... python benchmarks/time_to_quality.py --output /tmp/time_to_quality
    TFDS_DATA_DIR=... python benchmarks/time_to_quality.py cifar10 --policy mixed_bfloat16

The two take turns, an epoch of the tutorial and then 1/20 of ours, so that other load on the
machine affects both alike. The clock of each counts its own steps, tracing included, without
measurements. The distance is that of 10,000 samples to the 10,000 test images, which no network
here was trained on, in the features of the set's classifier. For 32x32 the tutorial's generator
starts from 8x8 instead of 7x7, and its images have three channels; nothing else changes.
"""

import argparse
import csv
import math
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from shared import add_policy, distance_to_test

import keras_genimg as kg
from keras_genimg.metrics import as_stored

TURNS = 20  # epochs of the tutorial
SAMPLES, SEED = 10_000, 0
AIMS = {"fashion_mnist": 30, "cifar10": 20}  # times fewer seconds


class Tutorial:
    """Networks and settings of the tutorial "Deep Convolutional GAN" on tensorflow.org."""

    name = "tutorial"
    batch_size, latent_dim = 256, 100

    def __init__(self, image_shape):
        height, width, channels = image_shape
        start = (height // 4, width // 4, 256)
        self.generator = keras.Sequential([
            keras.Input((self.latent_dim,)),
            layers.Dense(math.prod(start), use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Reshape(start),
            layers.Conv2DTranspose(128, 5, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(64, 5, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(),
            layers.Conv2DTranspose(
                channels, 5, strides=2, padding="same", use_bias=False, activation="tanh",
                dtype="float32",
            ),
        ])
        self.discriminator = keras.Sequential([
            keras.Input(image_shape),
            layers.Conv2D(64, 5, strides=2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Conv2D(128, 5, strides=2, padding="same"),
            layers.LeakyReLU(),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(1, dtype="float32"),
        ])
        self.generator_optimizer = keras.optimizers.Adam(1e-4)
        self.discriminator_optimizer = keras.optimizers.Adam(1e-4)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self._step = tf.function(self._train_step, reduce_retracing=True)

    def step(self, iterator):
        self._step(next(iterator))

    def _train_step(self, images):
        noise = tf.random.normal((self.batch_size, self.latent_dim))
        with tf.GradientTape() as g_tape, tf.GradientTape() as d_tape:
            fake_images = self.generator(noise, training=True)
            real_logits = self.discriminator(images, training=True)
            fake_logits = self.discriminator(fake_images, training=True)
            g_loss = self.cross_entropy(tf.ones_like(fake_logits), fake_logits)
            d_loss = self.cross_entropy(tf.ones_like(real_logits), real_logits)
            d_loss += self.cross_entropy(tf.zeros_like(fake_logits), fake_logits)
        for tape, loss, network, optimizer in (
            (g_tape, g_loss, self.generator, self.generator_optimizer),
            (d_tape, d_loss, self.discriminator, self.discriminator_optimizer),
        ):
            weights = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))

    def generate(self, count):
        noise = np.random.default_rng(SEED).standard_normal((count, self.latent_dim), "float32")
        return self.generator.predict(noise, batch_size=250, verbose=0)


class Ours:
    """`GAN(image_shape)` with its defaults."""

    name = "GAN()"
    batch_size = 64

    def __init__(self, image_shape):
        self.model = kg.GAN(image_shape, seed=SEED)
        self.model.compile()
        self.model.make_train_function()

    def step(self, iterator):
        self.model.train_function(iterator)

    def generate(self, count):
        return self.model.generate(count, seed=SEED, verbose=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="?", choices=AIMS, default="fashion_mnist")
    parser.add_argument("--output", type=Path, default=Path("time_to_quality"))
    parser.add_argument("--turns", type=int, default=TURNS, help="epochs of the tutorial")
    parser.add_argument("--steps", type=int, help="steps of both per turn, for a trial")
    add_policy(parser)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(SEED)
    keras.config.set_dtype_policy(options.policy)

    info, metric = kg.data.data_info(options.data), distance_to_test(options.data)

    # An epoch of the tutorial, whose last batch is smaller; ours: the command line's 15 epochs
    # of 937 steps, in as many turns.
    epoch = -(-info.num_images // Tutorial.batch_size)
    contestants = [
        (Tutorial(info.image_shape), options.steps or epoch),
        (Ours(info.image_shape), options.steps or 15 * 937 // TURNS),
    ]
    iterators = {
        contestant.name: iter(
            kg.load(options.data, batch_size=contestant.batch_size, shuffle_seed=SEED, epochs=None)
        )
        for contestant, _ in contestants
    }
    rows = []
    for turn in range(1, options.turns + 1):
        for contestant, steps in contestants:
            before = next((row for row in reversed(rows) if row["who"] == contestant.name), None)
            began = time.perf_counter()
            for _ in range(steps):
                contestant.step(iterators[contestant.name])
            seconds = time.perf_counter() - began + (before["seconds"] if before else 0.0)
            images = contestant.generate(SAMPLES)
            metric.reset_fake_state()
            metric.update_state(fake_images=as_stored(images))
            rows.append({
                "who": contestant.name,
                "steps": turn * steps,
                "seconds": seconds,
                metric.name: metric.result()[metric.name],
            })
            print("{who:<10}{steps:>7} steps{seconds:>9.1f} s   ".format(**rows[-1])
                  + f"{rows[-1][metric.name]:9.2f}", flush=True)
            write(options.output, rows, contestant, images)
    report([row for row in rows if row["who"] == Tutorial.name],
           [row for row in rows if row["who"] == Ours.name], metric.name, AIMS[options.data])


def write(folder, rows, contestant, images):
    """Writes the table so far, and 64 samples of the contestant."""
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    grid = kg.plotting.image_grid(images[:64])
    kg.plotting.save_png(folder / f"{contestant.name.strip('()').lower()}.png", grid, scale=2)


def report(tutorial, ours, name, aim):
    last = tutorial[-1]
    print(f"\n{name} of the tutorial after {last['steps']} steps: {last[name]:.2f}, "
          f"{last['seconds']:.0f} s")
    reached = next((row for row in ours if row[name] <= last[name]), None)
    if reached is None:
        print(f"not reached by GAN() within {ours[-1]['seconds']:.0f} s")
    else:
        print(f"GAN() was below that after {reached['seconds']:.1f} s or sooner: "
              f"1/{last['seconds'] / reached['seconds']:.0f} of the seconds (aim: 1/{aim})")
    in_time = [row for row in ours if row["seconds"] <= 300]
    if in_time:
        print(f"GAN() after {in_time[-1]['seconds']:.0f} s: {in_time[-1][name]:.2f}, "
              f"1/{last[name] / in_time[-1][name]:.1f} of that distance (aim: 1/20 in 300 s)")
    print(f"GAN() after {ours[-1]['seconds']:.0f} s: {ours[-1][name]:.2f}, "
          f"1/{last[name] / ours[-1][name]:.1f} of that distance")


if __name__ == "__main__":
    main()
