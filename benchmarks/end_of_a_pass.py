"""Seconds per epoch over a data set with and without TensorFlow's autotuning of it.

Prints one line per length of the epoch, with the ratio: see README.md in this folder.

    python benchmarks/end_of_a_pass.py
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

import keras_genimg as kg


def dataset(images, batch_size, autotune):
    """Batches of images; `autotune` True is the default of TensorFlow."""
    options = tf.data.Options()
    options.autotune.enabled = autotune  # `fit` leaves a set that says so unchanged
    batches = tf.data.Dataset.from_tensor_slices(images).batch(batch_size).prefetch(2)
    return batches.with_options(options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 200, 400, 800])
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--passes", type=int, default=3)
    arguments = parser.parse_args()
    model = kg.VAE(image_shape=(28, 28, 1), latent_dim=16, networks="mlp", seed=0)
    model.compile()
    shape = (max(arguments.steps) * arguments.batch_size, 28, 28, 1)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    model.fit(dataset(images, arguments.batch_size, False), steps_per_epoch=2, verbose=0)
    print("steps per pass   with tuning (s)   without (s)   ratio")
    for steps in arguments.steps:
        seconds = {}
        for autotune in (True, False):
            data = dataset(images[: steps * arguments.batch_size], arguments.batch_size, autotune)
            start = time.perf_counter()
            model.fit(data, epochs=arguments.passes, verbose=0)
            seconds[autotune] = (time.perf_counter() - start) / arguments.passes
        ratio = seconds[True] / seconds[False]
        print(f"{steps:12}{seconds[True]:18.2f}{seconds[False]:14.2f}{ratio:8.2f}", flush=True)


if __name__ == "__main__":
    main()
