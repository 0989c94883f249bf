"""Which modes does a game find? 25 Gaussians on a grid, and the 1000 numbers of stacked MNIST.

    python benchmarks/mode_coverage.py gaussians                          # minutes
    TFDS_DATA_DIR=... python benchmarks/mode_coverage.py stacked_mnist    # a quarter of an hour

gaussians: points around a 5x5 grid with a standard deviation of 1/40 of the spacing, as pictures
of one pixel with two channels; dense networks. Of 2,500 samples those within three deviations of
a centre are good; a centre with a good sample is covered. stacked_mnist: three MNIST digits as the
channels of a colour picture; the default networks. The package's MNIST classifier reads 25,600
samples; of 1000 numbers those that are read at all are covered, and the divergence is KL(read ||
uniform) in nats, at best about 0.02 because of the finite number of samples.

Both as in Srivastava et al. (2017), https://arxiv.org/abs/1705.07761, and Lin et al. (2018),
https://arxiv.org/abs/1712.04086, with our networks and steps.
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
    options = {"gp_weight": 0.1} if make is kg.WGANGP else {}  # as the toys of its authors' code
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
    ways = np.linalg.norm(made[:, None] - CENTRES, axis=2)
    good = ways.min(axis=1) < 3 * DEVIATION
    covered = np.unique(ways.argmin(axis=1)[good])
    return {"modes": len(covered), "good": good.mean(), "seconds": seconds}


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
    return {"modes": len(seen), "divergence": (seen * np.log(1000 * seen)).sum(), "seconds": seconds}


def gan(**options):
    return lambda *shape, **networks: kg.GAN(*shape, **networks, **options)


SETS = {"gaussians": (gaussians, 12_000), "stacked_mnist": (stacked_mnist, 1500)}
GAMES = {
    "minimax": gan(loss="minimax"),
    "non_saturating": gan(),
    "least_squares": gan(loss="least_squares"),
    "hinge": gan(loss="hinge"),
    "relativistic": gan(loss="relativistic_average"),
    "r1": gan(r1_weight=1.0),
    "wgan": kg.WGAN,
    "wgan_gp": kg.WGANGP,
    # Of pictures alone: what looks at the batch, and at the kernels.
    "minibatch_deviation": gan(minibatch_standard_deviation=True),
    "hinge_spectral": gan(loss="hinge", spectral_normalization=True),
}


def summary(rows, games):
    """A Markdown table: for each game the figures of its seeds."""
    columns = [name for name in rows[0] if name not in ("game", "seed", "steps")]
    lines = [f"| game | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for game in games:
        cells = [
            ", ".join(f"{row[name]:.3g}" for row in rows if row["game"] == game) for name in columns
        ]
        lines.append(f"| {game} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=SETS)
    parser.add_argument("--games", nargs="+", choices=GAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, help="of the generator")
    parser.add_argument("--output", type=Path, default=Path("mode_coverage"))
    options = parser.parse_args()
    play, steps = SETS[options.data]
    steps = options.steps or steps
    games = options.games or list(GAMES)[: 8 if options.data == "gaussians" else None]
    table = Rows(options.output / options.data)
    for seed in options.seeds:
        for game in games:
            if not table.has(game=game, seed=seed, steps=steps):
                keras.utils.set_random_seed(seed)
                figures = play(GAMES[game], steps, seed)
                table.append({"game": game, "seed": seed, "steps": steps, **figures})
                print(table.rows[-1], flush=True)
    print(f"\n{summary(table.rows, games)}")


if __name__ == "__main__":
    main()
