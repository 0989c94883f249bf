"""What differentiable augmentation gains with few training images.

    TFDS_DATA_DIR=... python benchmarks/few_images.py --output /tmp/few_images

The default `GAN` on the first 1,000 Fashion-MNIST images, without `augment` and with policies of
`layers.DiffAugment`, at equal steps: frechet_distance[fashion_mnist] of 5,000 samples against the
10,000 test images during training, and the mean score of the discriminator on its 1,000 training
images and on 1,000 test images. The difference between the two scores shows overfitting.
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

DATA, IMAGES, SAMPLES, BATCH = "fashion_mnist", 1000, 5000, 64
POLICIES = ("none", "translation", "translation,cutout", "color,translation,cutout")


def score(model, images):
    """Mean of sigmoid(logit) of D on `images`."""
    return float(tf.reduce_mean(tf.sigmoid(model.discriminator(images, training=False))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=list(POLICIES))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--measurements", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("few_images"))
    add_policy(parser)
    options = parser.parse_args()
    keras.config.set_dtype_policy(options.policy)
    metric, table = distance_to_test(DATA), Rows(options.output)
    images, held_out = (next(iter(kg.load(DATA, split, batch_size=IMAGES)))
                        for split in ("train", "test"))
    for policy in options.policies:
        if table.has(policy=policy, seed=options.seed, step=options.steps):
            continue
        keras.utils.set_random_seed(options.seed)
        model = kg.GAN(augment=None if policy == "none" else policy, seed=options.seed)
        model.compile()
        batches = iter(kg.load(
            DATA, batch_size=BATCH, num_images=IMAGES, shuffle_seed=options.seed, epochs=None,
            drop_remainder=True,
        ))
        seconds = 0.0
        for step in np.linspace(0, options.steps, options.measurements + 1, dtype=int)[1:]:
            seconds += train(model, batches, options.steps // options.measurements)
            table.append({
                "policy": policy,
                "seed": options.seed,
                "step": int(step),
                "distance": distance(metric, samples(model, SAMPLES)),
                "training_score": score(model, images),
                "test_score": score(model, held_out),
                "seconds": seconds,
            })
            print(table.rows[-1], flush=True)
    print("\n| policy | distance during training | D on training images | on test images |")
    print("|---|---|---|---|")
    for policy in options.policies:
        rows = [row for row in table.rows if row["policy"] == policy]
        distances = ", ".join(f"{row['distance']:.1f}" for row in rows)
        print(f"| {policy} | {distances} | {rows[-1]['training_score']:.2f} "
              f"| {rows[-1]['test_score']:.2f} |")


if __name__ == "__main__":
    main()
