"""Which networks and settings reach the lowest distance on CIFAR-10 in a given time: one table.

Every trial is trained for the same time on the first 45,000 training images; the distances are of
5,000 samples to the last 5,000, so that no test image has a say. `projected` is trained on the
features of the classifier "cifar10": judge it by others. Each trial has one seed; close ranks may
change places with another.

`rows.csv` and a grid of samples of each row are written during the run; a trial that has been
trained as long, in the same policy and for the same judges, is left out.

    TFDS_DATA_DIR=... python benchmarks/colour.py --minutes 5 --output /tmp/colour
    TFDS_DATA_DIR=... python benchmarks/colour.py default projected --policy mixed_bfloat16
"""

import argparse
import functools
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from shared import Rows, add_policy, distance, samples

import keras_genimg as kg
from keras_genimg import networks
from keras_genimg.core import update_ema
from keras_genimg.losses import r1_penalty
from keras_genimg.metrics import FrechetDistance, sliced_wasserstein_distance

SHAPE, SAMPLES, LATENTS = (32, 32, 3), 5_000, 128
AUGMENT = "color,translation,cutout"


class SharedFakes(kg.GAN):
    """A `GAN` whose two updates share the generated images; R1 is applied every 16th step only."""

    r1_every = 16

    def train_step(self, data):
        images, _, batch = self.unpack(data)
        real_images = self.augment(images, training=True)
        with tf.GradientTape() as tape_of_generator:
            fake_images = self.generator(self.sample_latents(batch), training=True)
            fake_images = self.augment(fake_images, training=True)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(real_images, training=True)
            fake_logits = self.discriminator(fake_images, training=True)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            if self.r1_weight:
                critic = functools.partial(self.discriminator, training=True)
                d_loss += (
                    self.r1_every
                    * self.r1_weight
                    * tf.cond(
                        self.discriminator_optimizer.iterations % self.r1_every == 0,
                        lambda: r1_penalty(critic, real_images),
                        lambda: tf.zeros_like(d_loss),
                    )
                )
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
        with tape_of_generator:
            g_loss = self.generator_loss(self.discriminator(fake_images, training=True))
        weights = self.generator.trainable_variables
        gradients = tape_of_generator.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())
        return self.log(batch, d_loss=d_loss, g_loss=g_loss)


def gan(
    of_model=kg.GAN, rates=5e-4, betas=(0.0, 0.99), batch_size=64, generator="dcgan",
    filters=32, kernel_size=4, discriminator="spectral", d_filters=64, **options,
):  # fmt: skip
    """A trial: the compiled model and its batch size."""
    options = {"loss": "hinge", "ema_decay": 0.998, "augment": AUGMENT, **options}
    make = {
        "dcgan": functools.partial(networks.dcgan_generator, kernel_size=kernel_size),
        "fastgan": networks.fastgan_generator,
        "resnet": lambda shape, latents, filters: networks.resnet_generator(shape, latents),
    }[generator]
    if discriminator == "resnet":
        judge = networks.resnet_discriminator(SHAPE)
    else:
        judge = networks.dcgan_discriminator(
            SHAPE,
            filters=d_filters,
            kernel_size=kernel_size,
            normalization=False,
            spectral_normalization=discriminator == "spectral",
        )
    model = of_model(
        SHAPE,
        LATENTS,
        generator=make(SHAPE, LATENTS, filters=filters),
        discriminator=judge,
        seed=0,
        **options,
    )
    rates = rates if isinstance(rates, tuple) else (rates, rates)
    model.compile(*(keras.optimizers.Adam(rate, *betas) for rate in rates))
    return model, batch_size


def packaged(of_model, batch_size=64, **options):
    """A model of the package with its own settings."""
    model = of_model(image_shape=SHAPE, seed=0, **options)
    model.compile()
    return model, batch_size


shared = functools.partial(gan, of_model=SharedFakes)
TRIALS = {
    # As they are.
    "default": lambda: packaged(kg.GAN),
    "default conditional": lambda: packaged(kg.ConditionalGAN, num_classes=10),
    "dcgan5": lambda: packaged(kg.GAN, networks="dcgan5"),
    "resnet": lambda: packaged(kg.GAN, networks="resnet"),
    "projected": lambda: packaged(kg.ProjectedGAN),
    # Generators, before the same discriminator.
    "dcgan, spectral": gan,
    "shared fakes": shared,
    "fastgan": lambda: shared(generator="fastgan"),
    "resnet generator": lambda: shared(generator="resnet"),
    "resnet both": lambda: shared(generator="resnet", discriminator="resnet"),
    # One change to "fastgan" each.
    "plain": lambda: shared(generator="fastgan", discriminator="plain"),
    "kernel 3": lambda: shared(generator="fastgan", kernel_size=3),
    "wider generator": lambda: shared(generator="fastgan", filters=64),
    "wider discriminator": lambda: shared(generator="fastgan", d_filters=128),
    "not augmented": lambda: shared(generator="fastgan", augment=None),
    "batch 32": lambda: shared(generator="fastgan", batch_size=32),
    "batch 128": lambda: shared(generator="fastgan", batch_size=128),
    "rate 2e-4": lambda: shared(generator="fastgan", rates=2e-4),
    "rate 1e-3": lambda: shared(generator="fastgan", rates=1e-3),
    "two rates": lambda: shared(generator="fastgan", rates=(2e-4, 8e-4)),
    "beta 0.5": lambda: shared(generator="fastgan", betas=(0.5, 0.999)),
    "EMA 0.9995": lambda: shared(generator="fastgan", ema_decay=0.9995),
    # Changes to "plain".
    "R1": lambda: shared(generator="fastgan", discriminator="plain", r1_weight=0.1),
    "non-saturating, R1": lambda: shared(
        generator="fastgan", discriminator="plain", r1_weight=0.1, loss="non_saturating"
    ),
}


class Judges:
    """Distances of samples to held-out images, in several features and in patches."""

    def __init__(self, names):
        batches = kg.load("cifar10", "train[45000:]", batch_size=500)
        self.images = np.concatenate([images.numpy() for images in batches])
        self.metrics = [FrechetDistance(name) for name in names]
        for metric in self.metrics:
            metric.update_state(real_images=self.images)

    def __call__(self, images):
        found = {metric.name: distance(metric, images) for metric in self.metrics}
        patches = sliced_wasserstein_distance(self.images, images)
        return {**found, **{f"sliced {level}": value for level, value in patches.items()}}


def generated(model):
    """5,000 samples; of every class as many."""
    if isinstance(model, kg.ConditionalGAN):
        return samples(model, SAMPLES, labels=np.arange(SAMPLES) % 10)
    return samples(model, SAMPLES)


def run(name, judges, minutes, rows, folder, **settings):
    """Trains a trial, and measures it after a quarter, a half and all of the time.

    One whose values are no longer finite gets a row without distances, its last.
    """
    keras.utils.set_random_seed(0)
    model, batch_size = TRIALS[name]()
    labels = isinstance(model, kg.ConditionalGAN)
    batches = kg.load(
        "cifar10", "train[:45000]", batch_size=batch_size, with_labels=labels, shuffle_seed=0,
        epochs=None, drop_remainder=True,
    )  # fmt: skip
    batches = iter(batches)
    model.make_train_function()
    model.train_function(batches)  # traced: its seconds do not count
    steps, seconds = 1, 0.0
    for share in (0.25, 0.5, 1.0):
        began = time.perf_counter()
        while seconds + time.perf_counter() - began < 60 * minutes * share:
            model.train_function(batches)
            steps += 1
        seconds += time.perf_counter() - began
        row = {"trial": name, **settings, "minutes": minutes * share, "steps": steps}
        try:
            images = generated(model)
        except kg.InputError as error:
            rows.append({**row, "minutes": minutes, "error": str(error)[:100]})
            print(f"{name}: {error}", flush=True)
            return
        row |= {key: round(float(value), 2) for key, value in judges(images).items()}
        rows.append(row)
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        grid = kg.plotting.image_grid(images[:64])
        kg.plotting.save_png(folder / f"{name}-{share}.png", grid, scale=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(TRIALS))
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--features", nargs="+", default=["cifar10"], help="the judges")
    parser.add_argument("--output", type=Path, default=Path("colour"))
    add_policy(parser)
    options = parser.parse_args()
    unknown = set(options.trials) - set(TRIALS)
    if unknown:
        parser.error(f"unknown trials: {', '.join(sorted(unknown))}")
    keras.config.set_dtype_policy(options.policy)
    rows, judges = Rows(options.output), Judges(options.features)
    settings = {"of": options.minutes, "policy": options.policy}
    settings["features"] = " ".join(options.features)
    for name in options.trials or TRIALS:
        if not rows.has(trial=name, minutes=options.minutes, **settings):
            rows.remove(trial=name, **settings)  # of a trial that was stopped
            run(name, judges, options.minutes, rows, options.output, **settings)


if __name__ == "__main__":
    main()
