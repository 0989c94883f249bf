"""Cost of the checks of batches per training step, as a ratio.

Prints ratios that were measured side by side in one run: see README.md in this folder.

    python benchmarks/checks.py
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_genimg as kg
from keras_genimg.core.batch_checks import BatchChecks
from keras_genimg.data.passes import without_autotuning

SHAPE = (28, 28, 1)
MODELS = {
    "GAN": lambda: kg.GAN(SHAPE, seed=0),
    "GAN, mlp": lambda: kg.GAN(SHAPE, networks="mlp", seed=0),
    "VAE, mlp": lambda: kg.VAE(SHAPE, networks="mlp", seed=0),
    "VAE, mlp, 32 units": lambda: kg.VAE(
        SHAPE, latent_dim=4, networks="mlp", network_options={"units": (32,)}, seed=0
    ),
}


def seconds(step, batches, steps):
    """Seconds and CPU seconds per step."""
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step(batches)
    return (time.perf_counter() - began) / steps, (time.process_time() - cpu) / steps


def measure(make, batch_size, rounds, turn):
    """`(rounds, 2, 2)` seconds and CPU seconds per step, without and with checks."""
    keras.utils.set_random_seed(0)
    model = make()
    model.compile()
    model.make_train_function()
    images = np.random.default_rng(0).uniform(-1, 1, (batch_size, *SHAPE)).astype("float32")
    plain = tf.data.Dataset.from_tensors(images).repeat()
    datasets = plain, BatchChecks(model).of_each(plain)
    batches = [iter(without_autotuning(dataset)) for dataset in datasets]
    for each in batches:
        seconds(model.train_function, each, 5)  # traces, and warms up
    steps = max(2, round(turn / seconds(model.train_function, batches[0], 5)[0]))
    seen = np.zeros((rounds, 2, 2))
    for number in range(rounds):
        for kind in (0, 1) if number % 2 else (1, 0):
            seen[number, kind] = seconds(model.train_function, batches[kind], steps)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--turn", type=float, default=0.4, help="seconds of each turn")
    arguments = parser.parse_args()
    print("model                 ms per step   ratio   ratio of CPU seconds")
    for name in arguments.models:
        seen = measure(MODELS[name], arguments.batch_size, arguments.rounds, arguments.turn)
        ratios = np.median(seen[:, 1] / seen[:, 0], axis=0)
        step = 1e3 * np.median(seen[:, 0, 0])
        print(f"{name:20}{step:13.2f}{ratios[0]:8.3f}{ratios[1]:12.3f}", flush=True)


if __name__ == "__main__":
    main()
