"""Which networks and settings reach the lowest distance in a given time: one table.

Every trial is trained for the same time on all training images but the last 5,000: for the steps
that fill it at the speed of its fastest hundred, so that other work beside has no say. The
distances are of 5,000 samples to these, so that no test image has a say. `projected` is trained on
features of a classifier of the package: judge it by others. Each trial has one seed; close ranks
may change places with another.

`rows.csv` and a grid of samples of each row are written during the run; a trial that has been
trained as long, in the same policy and for the same judges, is left out.

    TFDS_DATA_DIR=... python benchmarks/search.py --minutes 5 --output /tmp/colour
    TFDS_DATA_DIR=... python benchmarks/search.py default projected --policy mixed_bfloat16
    python benchmarks/search.py --data emoji --holdout 0 --features emoji  # emoji.py --validation
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
from keras_genimg.metrics import FrechetDistance, get_features, sliced_wasserstein_distance

SAMPLES, LATENTS = 5_000, 128


class PenalisedConditionalGAN(kg.ConditionalGAN):
    """With the R1 of `GAN`: in every 16th step, 16 times as strong."""

    def __init__(self, *args, r1_weight=0.0, **kwargs):
        super().__init__(*args, **kwargs)
        loss = self.discriminator_loss
        if r1_weight:
            self.discriminator_loss = lambda *logits: loss(*logits) + 16 * r1_weight * self.r1()

    def unpack(self, data):
        images, labels, batch = super().unpack(data)
        self.real = images, labels
        return images, labels, batch

    def r1(self):
        images, labels = self.real
        due = self.discriminator_optimizer.iterations % 16 == 0
        return tf.cond(
            due,
            lambda: r1_penalty(lambda images: self.discriminate(images, labels)[0], images),
            lambda: tf.constant(0.0),
        )


class TwoPassGAN(kg.GAN):
    """`GAN` with other fakes for each update, as in most published loops."""

    def train_step(self, data):
        images, _, batch = self.unpack(data)
        fakes = self.generator(self.sample_latents(batch), training=True)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)
            fake_logits = self.discriminator(fakes, training=True)
            d_loss = self.discriminator_loss(real_logits, fake_logits) + self.weighted_r1(images)
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))
        with tf.GradientTape() as tape:
            fakes = self.generator(self.sample_latents(batch), training=True)
            g_loss = self.generator_loss(self.discriminator(fakes, training=True))
        weights = self.generator.trainable_variables
        gradients = tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())
        return self.log(batch, d_loss=d_loss, g_loss=g_loss)


def gan(
    shape, classes, rates=1e-3, betas=(0.5, 0.999), batch_size=64, generator="fastgan", filters=16,
    kernel_size=4, discriminator="batch", d_filters=32, r1=0.0, by_class=False, passes=1, **options,
):  # fmt: skip
    """A trial: the compiled model and its batch size."""
    options = {"seed": 0, **options}
    judge = {"filters": d_filters, "kernel_size": kernel_size}
    judge |= {"normalization": discriminator == "batch"}
    judge |= {"spectral_normalization": discriminator == "spectral"}
    if by_class:
        weight = options.setdefault("classifier_weight", 1.0)
        make_generator = getattr(networks, f"conditional_{generator}_generator")
        make = {"num_classes": classes, "filters": filters}
        options["generator"] = make_generator(shape, LATENTS, **make)
        options["discriminator"] = networks.conditional_dcgan_discriminator(
            shape, classes, classifies=weight > 0, **judge
        )
        model = PenalisedConditionalGAN(shape, classes, LATENTS, r1_weight=r1, **options)
    else:
        make_generator = getattr(networks, f"{generator}_generator")
        options["generator"] = make_generator(shape, LATENTS, filters=filters)
        options["discriminator"] = (
            networks.resnet_discriminator(shape, d_filters)
            if discriminator == "resnet"
            else networks.dcgan_discriminator(shape, **judge)
        )
        kind = TwoPassGAN if passes == 2 else kg.GAN
        model = kind(shape, LATENTS, r1_weight=r1, **options)
    rates = rates if isinstance(rates, tuple) else (rates, rates)
    model.compile(*(keras.optimizers.Adam(rate, *betas) for rate in rates))
    return model, batch_size


def packaged(shape, classes, kind, rate=None, batch_size=64, by_class=False, **options):
    """A model of the package with its own settings."""
    options = {"num_classes": classes, **options} if by_class else options
    model = kind(image_shape=shape, seed=0, **options)
    model.compile(learning_rate=rate)
    return model, batch_size


def trials():
    """By name: a function of the shape of the images and the number of classes."""
    given = functools.partial
    penalised = {"discriminator": "plain", "r1": 0.1}
    changes = {
        "fastgan": {},
        "fastgan, 32 filters": {"filters": 32},
        "dcgan": {"generator": "dcgan", "filters": 32},
        "dcgan, wider both": {"generator": "dcgan", "filters": 64, "d_filters": 64},
        "narrower discriminator": {"d_filters": 16},
        "wider discriminator": {"d_filters": 64},
        "kernel 3": {"kernel_size": 3},
        "hinge": {"loss": "hinge"},
        "spectral": {"discriminator": "spectral"},
        "spectral, hinge": {"discriminator": "spectral", "loss": "hinge"},
        "R1": penalised,
        "R1 of 0.01": {**penalised, "r1": 0.01},
        "translation": {"augment": "translation"},
        "color, translation, cutout": {"augment": "color,translation,cutout"},
        "batch 32": {"batch_size": 32},
        "batch 128": {"batch_size": 128},
        "rate 5e-4": {"rates": 5e-4},
        "rate 2e-3": {"rates": 2e-3},
        "rates 5e-4, 1e-3": {"rates": (5e-4, 1e-3)},
        "beta 0": {"betas": (0.0, 0.99)},
        "EMA 0.9995": {"ema_decay": 0.9995},
    }
    changes |= {f"R1, {name}": {**penalised, **change} for name, change in changes.items()
                if change and not {"discriminator", "r1"} & set(change)}  # fmt: skip
    return {
        # As they are.
        "default": given(packaged, kind=kg.GAN),
        "default, R1": given(packaged, kind=kg.GAN, r1_weight=0.1),
        "default, translation": given(packaged, kind=kg.GAN, augment="translation"),
        "default, R1, translation": given(
            packaged, kind=kg.GAN, r1_weight=0.1, augment="translation"
        ),
        "default, batch 32": given(packaged, kind=kg.GAN, batch_size=32),
        "default by class": given(packaged, kind=kg.ConditionalGAN, by_class=True),
        "dcgan5": given(packaged, kind=kg.GAN, networks="dcgan5"),
        "dcgan5, rate 5e-4": given(packaged, kind=kg.GAN, networks="dcgan5", rate=5e-4),
        "dcgan5, rate 1e-3": given(packaged, kind=kg.GAN, networks="dcgan5", rate=1e-3),
        "resnet": given(packaged, kind=kg.GAN, networks="resnet"),
        "projected": given(packaged, kind=kg.ProjectedGAN),
        "projected on a classifier": given(packaged, kind=kg.ProjectedGAN, features="cifar10"),
        "projected, by class": given(packaged, kind=kg.ProjectedGAN, by_class=True),
        "projected, color, translation, cutout": given(
            packaged, kind=kg.ProjectedGAN, augment="color,translation,cutout"
        ),
        # The generator "fastgan"; and one change each.
        **{name: given(gan, **change) for name, change in changes.items()},
        "R1, two passes": given(gan, **penalised, passes=2),
        **{f"{name}, by class": given(gan, by_class=True, **x) for name, x in changes.items()},
        "no classifier, by class": given(gan, by_class=True, classifier_weight=0.0),
    }


class Judges:
    """Distances of samples to held-out images, in several features and in patches."""

    def __init__(self, names, data, split):
        batches = kg.load(data, split, batch_size=500)
        self.images = np.concatenate([images.numpy() for images in batches])
        self.metrics = [FrechetDistance(name) for name in names]
        for metric in self.metrics:
            metric.update_state(real_images=self.images)

    def __call__(self, images):
        found = {metric.name: distance(metric, images) for metric in self.metrics}
        patches = sliced_wasserstein_distance(self.images, images)
        return {**found, **{f"sliced {level}": value for level, value in patches.items()}}


def read_as_their_class(images, name, classes):
    """The share of images whose class, i % classes of image i, a packaged classifier reads."""
    logits = get_features(name).logits(images)
    return {"class read": np.mean(np.argmax(logits, axis=1) == np.arange(len(images)) % classes)}


def run(name, options, info, split, judges, rows, **settings):
    """Trains a trial, and measures it after a half and all of the time.

    One whose values are no longer finite gets a row without distances, its last.
    """
    keras.utils.set_random_seed(0)
    model, batch_size = trials()[name](info.image_shape, info.num_classes)
    batches = kg.load(
        options.data, split, batch_size=batch_size, with_labels=model.generates_by_label,
        shuffle_seed=0, epochs=None, drop_remainder=True,
    )  # fmt: skip
    batches = iter(batches)
    model.make_train_function()
    for _ in range(10):  # traced: these seconds do not count
        model.train_function(batches)
    steps, fastest = 10, np.inf
    for share in (0.5, 1.0):
        while steps * fastest < 60 * options.minutes * share or steps < 310:
            began = time.perf_counter()
            for _ in range(100):
                model.train_function(batches)
            fastest = min(fastest, (time.perf_counter() - began) / 100)
            steps += 100
        row = {"trial": name, **settings, "minutes": options.minutes * share, "steps": steps}
        try:
            images = samples(model, SAMPLES)  # by class: the classes in turn
        except kg.InputError as error:
            rows.append({**row, "minutes": options.minutes, "error": str(error)[:100]})
            print(f"{name}: {error}", flush=True)
            return
        found = judges(images)
        if model.generates_by_label:
            found |= read_as_their_class(images, options.features[0], info.num_classes)
        row |= {key: round(float(value), 3) for key, value in found.items()}
        rows.append(row)
        print(*(f"{key} {value}" for key, value in row.items()), sep=", ", flush=True)
        grid = kg.plotting.image_grid(images[:64])
        kg.plotting.save_png(options.output / f"{name}-{share}.png", grid, scale=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = trials()
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=", ".join(names))
    parser.add_argument("--data", default="cifar10", help="a data set, or a folder of images")
    parser.add_argument(
        "--holdout", type=int, default=5_000,
        help="training images to judge by; 0 for those of the split test, of a folder",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument(
        "--features", nargs="+", default=["cifar10"],
        help="the judges, a classifier of the data first",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("colour"))
    add_policy(parser)
    options = parser.parse_args()
    unknown = set(options.trials) - set(names)
    if unknown:
        parser.error(f"unknown trials: {', '.join(sorted(unknown))}")
    keras.config.set_dtype_policy(options.policy)
    info = kg.data.data_info(options.data)
    rest = info.num_images - options.holdout
    split, held_out = ("train", "test")
    if options.holdout:
        split, held_out = f"train[:{rest}]", f"train[{rest}:]"
    judges = Judges(options.features, options.data, held_out)
    settings = {"data": options.data, "of": options.minutes, "policy": options.policy}
    settings["features"] = " ".join(options.features)
    rows = Rows(options.output)
    for name in options.trials or names:
        if not rows.has(trial=name, minutes=options.minutes, **settings):
            rows.remove(trial=name, **settings)  # of a trial that was stopped
            run(name, options, info, split, judges, rows, **settings)


if __name__ == "__main__":
    main()
