"""What differentiable augmentation is worth where training pictures are few.

    TFDS_DATA_DIR=... python benchmarks/few_pictures.py --output /tmp/few_pictures

The default `GAN` on the first 1,000 Fashion-MNIST pictures, without `augment` and with policies of
`data.diff_augment`, equal steps; frechet_distance[fashion_mnist] of 5,000 samples against the
10,000 test pictures as training goes on, and how real the discriminator takes its 1,000 training
pictures and 1,000 test pictures to be: what sets the two apart, it has learned by heart.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from shared import Rows, add_policy, distance, distance_to_test, samples, train

import keras_genimg as kg

DATA, PICTURES, SAMPLES, BATCH = "fashion_mnist", 1000, 5000, 64
POLICIES = ("none", "translation", "translation,cutout", "color,translation,cutout")


def score(model, images):
    """Mean of sigmoid(logit): how real D takes `images` to be."""
    return float(tf.reduce_mean(tf.sigmoid(model.discriminator(images, training=False))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--measurements", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("few_pictures"))
    add_policy(parser)
    options = parser.parse_args()
    keras.config.set_dtype_policy(options.policy)
    metric, table = distance_to_test(DATA), Rows(options.output)
    images, held_out = (next(iter(kg.load(DATA, split, batch_size=PICTURES)))
                        for split in ("train", "test"))
    for policy in options.policies:
        if table.has(policy=policy, seed=options.seed, step=options.steps):
            continue
        keras.utils.set_random_seed(options.seed)
        model = kg.GAN(augment=None if policy == "none" else policy, seed=options.seed)
        model.compile()
        batches = iter(kg.load(
            DATA, batch_size=BATCH, num_images=PICTURES, shuffle_seed=options.seed, epochs=None,
            drop_remainder=True,
        ))
        seconds = 0.0
        for step in np.linspace(0, options.steps, options.measurements + 1, dtype=int)[1:]:
            seconds += train(model, batches, options.steps // options.measurements)
            made = samples(model, SAMPLES)
            table.append({
                "policy": policy,
                "seed": options.seed,
                "step": int(step),
                "distance": distance(metric, made),
                "training_score": score(model, images),
                "test_score": score(model, held_out),
                "seconds": seconds,
            })
            print(table.rows[-1], flush=True)
    print("\n| policy | distance as training goes on | D on training pictures | on test pictures |")
    print("|---|---|---|---|")
    for policy in options.policies:
        rows = [row for row in table.rows if row["policy"] == policy]
        distances = ", ".join(f"{row['distance']:.1f}" for row in rows)
        print(f"| {policy} | {distances} | {rows[-1]['training_score']:.2f} "
              f"| {rows[-1]['test_score']:.2f} |")


if __name__ == "__main__":
    main()
