"""Which modes does an objective find? 25 Gaussians on a grid, and 1000 numbers of stacked MNIST.

    python benchmarks/mode_coverage.py gaussians                          # minutes
    TFDS_DATA_DIR=... python benchmarks/mode_coverage.py stacked_mnist    # a quarter of an hour

gaussians: points around a 5x5 grid with a standard deviation of 1/40 of the spacing, as images
of one pixel with two channels; dense networks. A sample of the 2,500 is high-quality if it is
within three standard deviations of a centre; a centre with a high-quality sample is covered.
stacked_mnist: three MNIST digits as the channels of a colour image; the default networks. The
package's MNIST classifier labels 25,600 samples; of 1000 numbers those that occur are covered. The
divergence is KL(labels || uniform) in nats, at best about 0.02 as samples are finitely many.

Both as in Srivastava et al. (2017), https://arxiv.org/abs/1705.07761, and Lin et al. (2018),
https://arxiv.org/abs/1712.04086, with our networks and numbers of steps.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from shared import Rows, samples, train

import keras_genimg as kg
from keras_genimg.metrics import get_features

POINT, SIDE, SPACING, DEVIATION = (1, 1, 2), 5, 0.4, 0.01
CENTRES = SPACING * (np.stack(np.meshgrid(range(SIDE), range(SIDE)), -1).reshape(-1, 2) - SIDE // 2)
STACKED = (28, 28, 3)


def dense_networks(latent_dim):
    """A generator of points and a discriminator, of two hidden layers of 128."""

    def hidden():
        return [layers.Dense(128, activation="relu") for _ in range(2)]

    return {
        "generator": keras.Sequential(
            [keras.Input((latent_dim,)), *hidden(), layers.Dense(2), layers.Reshape(POINT)]
        ),
        "discriminator": keras.Sequential(
            [keras.Input(POINT), layers.Flatten(), *hidden(), layers.Dense(1)]
        ),
    }


def gaussians(make, steps, seed):
    """Trains on the grid: columns of a row."""
    # 0.1 is the weight for the toy data in the code of WGAN-GP's authors.
    options = {"gp_weight": 0.1} if make is kg.WGANGP else {}
    model = make(POINT, 2, seed=seed, **dense_networks(2), **options)
    model.compile(learning_rate=1e-3)
    size = 256 * model.n_critic

    def points(step_seed):
        draws = tf.random.stateless_uniform((size,), step_seed, 0, len(CENTRES), tf.int32)
        offsets = tf.random.stateless_normal((size, 2), step_seed, stddev=DEVIATION)
        return tf.reshape(tf.gather(CENTRES.astype("float32"), draws) + offsets, (size, *POINT))

    batches = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2).map(points)
    seconds = train(model, iter(batches.prefetch(8)), steps)
    made = model.generate(2500, seed=0, verbose=0).reshape(-1, 2)
    distances = np.linalg.norm(made[:, None] - CENTRES, axis=2)
    good = distances.min(axis=1) < 3 * DEVIATION
    covered = np.unique(distances.argmin(axis=1)[good])
    return {"modes": len(covered), "high_quality": good.mean(), "seconds": seconds}


def stacked_mnist(make, steps, seed):
    """Trains on stacked digits: columns of a row."""
    model = make(STACKED, 64, seed=seed)
    model.compile()
    digits = kg.load(
        "mnist", batch_size=3 * 64 * model.n_critic, shuffle_seed=seed, epochs=None,
        drop_remainder=True,
    )
    batches = digits.map(lambda images: tf.concat(tf.split(images, 3), axis=-1))
    seconds = train(model, iter(batches), steps)
    classifier, numbers = get_features("mnist"), 0
    made = samples(model, 25_600)
    for channel in range(3):
        numbers = 10 * numbers + classifier.logits(made[..., channel : channel + 1]).argmax(axis=1)
    shares = np.bincount(numbers, minlength=1000) / len(numbers)
    seen = shares[shares > 0]
    divergence = (seen * np.log(1000 * seen)).sum()
    return {"modes": len(seen), "divergence": divergence, "seconds": seconds}


def gan(**options):
    return lambda *shape, **networks: kg.GAN(*shape, **networks, **options)


SETS = {"gaussians": (gaussians, 12_000), "stacked_mnist": (stacked_mnist, 1500)}
OBJECTIVES = {
    "minimax": gan(loss="minimax"),
    "non_saturating": gan(),
    "least_squares": gan(loss="least_squares"),
    "hinge": gan(loss="hinge"),
    "relativistic": gan(loss="relativistic_average"),
    "r1": gan(r1_weight=1.0, r1_interval=1),
    "wgan": kg.WGAN,
    "wgan_gp": kg.WGANGP,
    # For images only: options that use the batch, or the kernels.
    "minibatch_deviation": gan(minibatch_standard_deviation=True),
    "hinge_spectral": gan(loss="hinge", spectral_normalization=True),
}


def summary(rows, objectives):
    """A Markdown table: for each objective the values of its seeds."""
    columns = [name for name in rows[0] if name not in ("objective", "seed", "steps")]
    lines = [f"| objective | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for objective in objectives:
        of_objective = [row for row in rows if row["objective"] == objective]
        cells = [", ".join(f"{row[name]:.3g}" for row in of_objective) for name in columns]
        lines.append(f"| {objective} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=SETS)
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, help="generator updates")
    parser.add_argument("--output", type=Path, default=Path("mode_coverage"))
    options = parser.parse_args()
    measure, steps = SETS[options.data]
    steps = options.steps or steps
    objectives = options.objectives
    if objectives is None:
        objectives = list(OBJECTIVES)[: 8 if options.data == "gaussians" else None]
    table = Rows(options.output / options.data)
    for seed in options.seeds:
        for objective in objectives:
            if not table.has(objective=objective, seed=seed, steps=steps):
                keras.utils.set_random_seed(seed)
                values = measure(OBJECTIVES[objective], steps, seed)
                table.append({"objective": objective, "seed": seed, "steps": steps, **values})
                print(table.rows[-1], flush=True)
    print(f"\n{summary(table.rows, objectives)}")


if __name__ == "__main__":
    main()
