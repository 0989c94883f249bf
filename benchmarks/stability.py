"""Which loss to start with: distances and classes of the same networks under each loss, by seed.

    TFDS_DATA_DIR=... python benchmarks/stability.py                     # all, three seeds
    TFDS_DATA_DIR=... python benchmarks/stability.py --objectives hinge r1 --seeds 0 --steps 500

Every objective has the default networks of `GAN` on Fashion-MNIST, batches of 64, and equally many
generator updates. WGAN and WGAN-GP make five critic updates for each of them, which explains their
longer times. Distances are frechet_distance[fashion_mnist] of 5,000 samples against the 10,000 test
images, measured five times per run. A class counts as produced if the classifier finds it in at
least 1 % of the last samples. Rows are written to rows.csv as they are measured, and a second start
resumes after them.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from shared import Rows, distance, distance_to_test, samples, train

import keras_genimg as kg

DATA, SAMPLES, MEASUREMENTS, BATCH = "fashion_mnist", 5000, 5, 64
OBJECTIVES = {
    "minimax": lambda seed: kg.GAN(loss="minimax", seed=seed),
    "non_saturating": lambda seed: kg.GAN(loss="non_saturating", seed=seed),
    "least_squares": lambda seed: kg.GAN(loss="least_squares", seed=seed),
    "hinge": lambda seed: kg.GAN(loss="hinge", seed=seed),
    "relativistic": lambda seed: kg.GAN(loss="relativistic_average", seed=seed),
    "r1": lambda seed: kg.GAN(loss="non_saturating", r1_weight=1.0, r1_interval=1, seed=seed),
    "wgan": lambda seed: kg.WGAN(seed=seed),
    "wgan_gp": lambda seed: kg.WGANGP(seed=seed),
}


def run(name, seed, steps, metric):
    """One run: a row of the table."""
    keras.utils.set_random_seed(seed)
    model = OBJECTIVES[name](seed)
    model.compile()
    batches = iter(kg.load(
        DATA, batch_size=BATCH * model.n_critic, shuffle_seed=seed, epochs=None,
        drop_remainder=True,
    ))
    distances, seconds = [], 0.0
    for _ in range(MEASUREMENTS):
        seconds += train(model, batches, steps // MEASUREMENTS)
        images = samples(model, SAMPLES)
        distances.append(distance(metric, images))
        if not np.isfinite(distances[-1]):
            break
    classes = np.bincount(metric.extractor.logits(images).argmax(axis=1), minlength=10)
    return {
        "objective": name,
        "seed": seed,
        "steps": steps,
        "best": min(distances),
        "last": distances[-1],
        "classes": int((classes >= SAMPLES / 100).sum()),
        "seconds": seconds,
    }


def summary(rows):
    """A Markdown table: for each objective the values of its seeds, best first."""
    lines = ["| objective | best distance | last distance | classes of 10 | seconds |",
             "|---|---|---|---|---|"]
    objectives = {row["objective"] for row in rows}

    def of(objective, column):
        return [row[column] for row in rows if row["objective"] == objective]

    for objective in sorted(objectives, key=lambda objective: np.median(of(objective, "last"))):
        best, last = (
            ", ".join(f"{value:.1f}" for value in of(objective, name)) for name in ("best", "last")
        )
        classes = ", ".join(map(str, of(objective, "classes")))
        seconds = np.median(of(objective, "seconds"))
        lines.append(f"| {objective} | {best} | {last} | {classes} | {seconds:.0f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objectives", nargs="+", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1500, help="generator updates")
    parser.add_argument("--output", type=Path, default=Path("stability"))
    options = parser.parse_args()
    metric = distance_to_test(DATA)
    table = Rows(options.output)
    for seed in options.seeds:  # outside, so that a stopped run has compared all
        for objective in options.objectives:
            if table.has(objective=objective, seed=seed, steps=options.steps):
                continue
            row = run(objective, seed, options.steps, metric)
            table.append(row)
            print("{objective:<16}seed {seed}  best {best:8.2f}  last {last:8.2f}  "
                  "classes {classes:2d}  {seconds:6.1f} s".format(**row), flush=True)
    print(f"\n{summary(table.rows)}")


if __name__ == "__main__":
    main()
