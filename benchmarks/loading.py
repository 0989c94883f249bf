"""Images per second from a folder too large for memory, beside a plain tf.data pipeline.

    python benchmarks/loading.py                        # 5,000 JPEGs of 256x256 to 64x64
    python benchmarks/loading.py --side 512 --target 128 --images 1000

The JPEGs are made here, in a temporary folder: smooth noise of four scales, about the bytes of
photographs. The plain pipeline is what one would write: `tf.io.decode_jpeg`, `tf.image.resize` with
antialiasing, batches, everything in parallel. The two take turns, so that other load on the
machine affects both; the ratios are those of the same round.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

import keras_genimg as kg
from keras_genimg.data import images as sets


def write_images(folder, count, side, quality):
    """Writes JPEGs; the mean of their bytes."""
    generator = np.random.default_rng(0)

    def noise(scale):
        small = generator.integers(0, 256, (scale, scale, 3), "uint8")
        return np.asarray(Image.fromarray(small).resize((side, side), 3), "float32")

    for i in range(count):
        layers = 0.45 * noise(4) + 0.3 * noise(16) + 0.17 * noise(64) + 0.05 * noise(256)
        pixels = np.clip(1.6 * (layers - 124) + 128, 0, 255).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{i:05d}.jpg", quality=quality)
    return sum(path.stat().st_size for path in folder.iterdir()) / count


def plain(folder, target, batch_size):
    """A plain pipeline of float32 batches in [-1, 1], of all images once, shuffled."""

    def read(path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        return tf.image.resize(image, (target, target), antialias=True) / 127.5 - 1.0

    paths = sorted(str(path) for path in folder.iterdir())
    dataset = tf.data.Dataset.from_tensor_slices(paths).shuffle(len(paths), seed=0)
    return dataset.map(read, tf.data.AUTOTUNE).batch(batch_size).prefetch(tf.data.AUTOTUNE)


def rate(dataset, count):
    """Images per second of wall clock, and per second of all processors' time."""
    began, used = time.perf_counter(), time.process_time()
    seen = sum(len(batch) for batch in dataset)
    assert seen == count, seen
    return count / (time.perf_counter() - began), count / (time.process_time() - used)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--target", type=int, default=64)
    parser.add_argument("--quality", type=int, default=85)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sets.MEMORY_LIMIT = 0  # as if the folder were larger than memory
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        size = write_images(folder, options.images, options.side, options.quality)
        print(f"{options.images} JPEGs of {size:.0f} bytes, {options.side}x{options.side} to "
              f"{options.target}x{options.target}, {os.cpu_count()} cores")
        ours = kg.load(folder, batch_size=options.batch_size, image_size=options.target,
                       shuffle_seed=0)
        other = plain(folder, options.target, options.batch_size)
        print("\n| round | load, images/s | plain, images/s | ratio | ratio of processor time |")
        print("|---|---|---|---|---|")
        ratios = []
        for number in range(options.rounds):
            turns = [ours, other] if number % 2 else [other, ours]
            rates = {id(turn): rate(turn, options.images) for turn in turns}
            (wall, processor), (plain_wall, plain_processor) = rates[id(ours)], rates[id(other)]
            ratios.append((wall / plain_wall, processor / plain_processor))
            print(f"| {number + 1} | {wall:.0f} | {plain_wall:.0f} | {ratios[-1][0]:.2f} "
                  f"| {ratios[-1][1]:.2f} |", flush=True)
        wall, processor = (statistics.median(column) for column in zip(*ratios))
        print(f"| median | | | {wall:.2f} | {processor:.2f} |")


if __name__ == "__main__":
    main()
