"""Seconds of sampling from a prior with what it caches, against recomputing all for each code.

Prints one line per sampler, their ratio, and whether both gave the same codes: see README.md in
this folder.

    python benchmarks/sampling.py
    python benchmarks/sampling.py --model code_transformer
    python benchmarks/sampling.py --size 32 --codes 128 --batch-size 4
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_genimg

MODELS = {
    "pixel_cnn": keras_genimg.PixelCNN,
    "code_transformer": keras_genimg.CodeTransformer,
}


def naive_sampler(model):
    """A function of latents that computes the logits of all positions for each code."""
    height, width, _ = model.network.shape

    @tf.function
    def next_code(codes, noise, row, column):
        logits = model(codes)[:, row, column]  # (B, h, w, K) -> (B, K)
        return tf.argmax(logits + noise[:, column, 0], axis=-1, output_type=tf.int32)

    noise_of_row = tf.function(model.gumbel_noise)

    def sample(latents):
        codes = np.zeros((len(latents), height, width), "int32")
        for row in range(height):
            noise = noise_of_row(latents, tf.constant(row))
            for column in range(width):
                place = tf.constant(row), tf.constant(column)
                codes[:, row, column] = next_code(tf.constant(codes), noise, *place)
        return codes

    return sample


def timed(sample, latents):
    """The codes, and the seconds and the processor seconds that they took."""
    clocks = time.perf_counter, time.process_time
    starts = [clock() for clock in clocks]
    codes = np.asarray(sample(latents))
    return codes, [clock() - start for clock, start in zip(clocks, starts)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=MODELS, default="pixel_cnn")
    parser.add_argument("--size", type=int, default=16, help="codes per side (16)")
    parser.add_argument("--codes", type=int, default=512, help="in the codebook (512)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns")
    options = parser.parse_args()

    keras.utils.set_random_seed(0)
    model = MODELS[options.model](
        code_shape=(options.size, options.size), num_embeddings=options.codes
    )
    # Distributions far from uniform, like those of a trained model.
    for index, weight in enumerate(model.trainable_variables):
        weight.assign_add(0.1 * tf.random.stateless_normal(weight.shape, (index, 0)))

    samplers = {
        "cached": tf.function(model.codes_from_latents, autograph=False),
        "recomputed": naive_sampler(model),
    }
    seconds = {name: [] for name in samplers}
    for sample in samplers.values():  # traces, and warms up
        sample(model.draw_latents(options.batch_size, 99))
    same = []
    for turn in range(options.rounds):
        latents = model.draw_latents(options.batch_size, turn)
        made = {}
        for name, sample in samplers.items():
            made[name], took = timed(sample, latents)
            seconds[name].append(took)
        same.append((made["cached"] == made["recomputed"]).all())
    positions = options.size**2
    for number, clock in enumerate(("seconds", "CPU seconds")):
        values = {name: np.array(each)[:, number] for name, each in seconds.items()}
        for name, each in values.items():
            median = np.median(each)
            print(f"{name:12}{median:9.3f} {clock}, {1e6 * median / positions:6.0f} us a position")
        low, ratio, high = np.quantile(values["recomputed"] / values["cached"], (0, 0.5, 1))
        print(f"ratio       {ratio:9.1f} (from {low:.1f} to {high:.1f})")
    print(f"equal codes {sum(same)} of {len(same)} batches of {options.batch_size}")
    raise SystemExit(0 if all(same) else 1)


if __name__ == "__main__":
    main()
