"""A VQGAN at 256x256 with 16x16 codes: seconds and memory of a training step, and of one image.

Prints one line per quantity; images are random, since no quantity depends on them. See README.md
in this folder.

    python benchmarks/vq_gan.py
    python benchmarks/vq_gan.py --policy mixed_bfloat16 --filters 64
"""

import argparse
import os
import resource
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from shared import add_policy, train

import keras_genimg as kg

SHAPE, DOWNSAMPLING, CODES, DIMENSION = (256, 256, 3), 16, 1024, 256
# The f = 16 model of Esser et al. (2021), by the configuration of their code.
PAPER = {"filters": 128, "blocks": 2}


def convolution(inputs, outputs, size=3):
    return size * size * inputs * outputs + outputs


def residual(inputs, outputs):
    """Two group normalisations, two convolutions, and a shortcut where the width changes."""
    shortcut = 0 if inputs == outputs else convolution(inputs, outputs, 1)
    own = 2 * inputs + convolution(inputs, outputs) + 2 * outputs + convolution(outputs, outputs)
    return own + shortcut


def attention(width):
    return 2 * width + 4 * convolution(width, width, 1)


def paper_parameters():
    """Encoder, codebook and decoder of the paper, counted by its Table 7: no code of ours."""
    filters, blocks = PAPER["filters"], PAPER["blocks"]
    widths = [filters * factor for factor in (1, 1, 2, 2, 4)]
    last = widths[-1]
    middle = 2 * residual(last, last) + attention(last)
    encoder = convolution(3, filters) + middle + 2 * last + convolution(last, DIMENSION)
    decoder = convolution(DIMENSION, last) + middle + 2 * filters + convolution(filters, 3)
    before = filters
    for level, width in enumerate(widths):
        encoder += residual(before, width) + (blocks - 1) * residual(width, width)
        encoder += convolution(width, width) if level < 4 else blocks * attention(width)
        before = width
    for level, width in reversed(list(enumerate(widths))):
        decoder += residual(before, width) + blocks * residual(width, width)
        decoder += convolution(width, width) if level else 0
        decoder += (blocks + 1) * attention(width) if level == 4 else 0
        before = width
    return encoder + decoder + 2 * convolution(DIMENSION, DIMENSION, 1) + CODES * DIMENSION


def make(**options):
    return kg.VQGAN(
        SHAPE, CODES, DIMENSION, downsampling=DOWNSAMPLING, networks="attention",
        network_options=options, adversarial_start_step=0, seed=0,
    )  # fmt: skip


def parameters(model):
    """Of encoder, codebook and decoder."""
    return sum(net.count_params() for net in (model.encoder, model.decoder)) + CODES * DIMENSION


def peak_memory():
    """The largest resident set so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def timed(function, *arguments, rounds=3, **options):
    """The shortest time of several, after one that traces."""
    function(*arguments, **options)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        function(*arguments, **options)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filters", type=int, default=32, help="on the full grid (32)")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    add_policy(parser)
    arguments = parser.parse_args()
    keras.config.set_dtype_policy(arguments.policy)
    print(f"{'memory before':28}{peak_memory():8.2f} GB")

    model = make(filters=arguments.filters)
    model.compile()
    count = 2 * arguments.batch_size
    images = np.random.default_rng(0).uniform(-1, 1, (count, *SHAPE)).astype("float32")
    data = tf.data.Dataset.from_tensor_slices(images).repeat().batch(arguments.batch_size)
    batches = iter(data)
    train(model, batches, 1)  # traces
    before = time.process_time()
    seconds = [train(model, batches, 1) for _ in range(arguments.steps)]
    of_processors = (time.process_time() - before) / arguments.steps
    print(f"{'training step':28}{np.median(seconds):8.2f} s, of {arguments.batch_size} images, "
          f"{arguments.policy}")  # fmt: skip
    print(f"{'':28}{of_processors:8.2f} processor seconds")
    print(f"{'peak memory':28}{peak_memory():8.2f} GB")

    codes = model.encode(images[:1])
    print(f"{'one image encoded':28}{timed(model.encode, images[:1]):8.3f} s")
    print(f"{'one image decoded':28}{timed(model.decode, codes):8.3f} s")
    model.hold_priors(prior=kg.CodeTransformer(model.code_shape, CODES))
    print(f"{'one image generated':28}{timed(model.generate, 1, seed=0):8.3f} s")

    print(f"{'parameters':28}{parameters(model):12,} with {arguments.filters} filters")
    print(f"{'':28}{model.discriminator.count_params():12,} of the discriminator")
    print(f"{'':28}{model.prior.count_params():12,} of the CodeTransformer")
    print(f"{'':28}{parameters(make(**PAPER)):12,} with the paper's 128 filters")
    print(f"{'':28}{paper_parameters():12,} in the paper, counted by its table of layers")


if __name__ == "__main__":
    main()
