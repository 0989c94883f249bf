"""Is the motion of generated clips coherent, and do they keep their digit? Against real clips.

    TFDS_DATA_DIR=... python benchmarks/clips.py runs/sequence_gan --data moving_glyphs

Prints for the clips of a trained model, real test clips, the same with their frames shuffled in
time, and the same with each frame from another clip:

- the mean change from frame to frame: of the pixels, in levels of 255, and of the centre of
  brightness, in pixels;
- identity: the share of frames that the package's classifier of still digits assigns to the most
  frequent class of the clip;
- classes: their effective number, the exponential of the entropy of the clips' most frequent
  classes. If all clips are alike it is 1, and identity says nothing.

The classifier sees a crop around the centre, enlarged and with twice the contrast, which undoes
some of the blur: it then classifies 99 % of real frames correctly, without it half.
"""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from keras_genimg.data import load
from keras_genimg.data.sets.moving import box_side
from keras_genimg.metrics import as_stored, get_features
from keras_genimg.runs import load_run

SETS = {"moving_glyphs": "glyphs", "moving_mnist": "mnist"}  # data -> features
READ_SIDE = 28  # of the classifiers' input images


def centres(clips):
    """Centres of brightness `(clips, frames, 2)`, in pixels from the top left."""
    ink = (clips[..., 0] + 1.0) / 2.0 + 1e-6  # (n, T, h, w); a black frame gets its middle
    total = ink.sum((2, 3))
    rows, columns = np.arange(ink.shape[2]), np.arange(ink.shape[3])
    return np.stack([ink.sum(3) @ rows / total, ink.sum(2) @ columns / total], axis=-1)


def around(clips, places):
    """Crops around `places` at the classifiers' size: `(clips*frames, 28, 28, 1)`."""
    height, width = clips.shape[2:4]
    side = box_side((height, width))
    frames, places = clips.reshape(-1, height, width, 1), places.reshape(-1, 2)
    first, last = places - (side - 1) / 2, places + (side - 1) / 2
    boxes = np.concatenate([first, last], axis=1) / (np.array([height, width] * 2) - 1)
    made = tf.image.crop_and_resize(
        frames, boxes, np.arange(len(frames)), (READ_SIDE, READ_SIDE), extrapolation_value=-1.0
    )
    ink = (made.numpy() + 1.0) / 2.0
    ink /= np.maximum(ink.max((1, 2, 3), keepdims=True), 1e-6)
    return np.clip(4.0 * ink - 2.0, -1.0, 1.0)  # half brightness stays in the middle of the range


def statistics(clips, features):
    """`(change of pixels, motion of the centre, share of frames that keep the class, classes)`."""
    places = centres(clips)
    steps = np.linalg.norm(np.diff(places, axis=1), axis=-1)  # (n, T - 1)
    predicted = features.logits(around(clips, places)).argmax(1)  # (n*T,)
    predicted = predicted.reshape(clips.shape[:2])  # (n*T,) -> (n, T)
    votes = (predicted[..., None] == np.arange(10)).sum(1)  # (n, 10)
    pixels = 127.5 * np.abs(np.diff(clips, axis=1)).mean()
    shares = np.bincount(votes.argmax(1), minlength=10) / len(votes)
    classes = np.exp(-np.sum(shares * np.log(np.maximum(shares, 1e-9))))
    return pixels, steps.mean(), votes.max(1).mean() / clips.shape[1], classes


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of train sequence_gan, on greyscale clips")
    parser.add_argument("--data", default="moving_glyphs", choices=SETS)
    parser.add_argument("--count", type=int, default=1000, help="clips of each kind")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model, features = load_run(options.run), get_features(SETS[options.data])
    frames, size = model.num_frames, model.image_shape[:2]
    batch = load(
        options.data, "test", batch_size=options.count, num_images=options.count, image_size=size,
        num_frames=frames,
    )
    real = np.concatenate([clips.numpy() for clips in batch])
    rng = np.random.default_rng(options.seed)
    began = time.perf_counter()
    made, longer = (
        as_stored(model.generate(options.count, seed=options.seed, num_frames=number, verbose=0))
        for number in (frames, 2 * frames)
    )
    seconds = time.perf_counter() - began
    kinds = {
        "generated": made,
        f"generated, {2 * frames} frames": longer,
        "real": real,
    }
    for name, axis in (("real, frames shuffled in time", 1), ("real, frames of mixed clips", 0)):
        order = rng.permuted(np.indices(real.shape[:2])[axis], axis=axis)[..., None, None, None]
        kinds[name] = np.take_along_axis(real, order, axis=axis)
    print("| clips | pixel change per frame, of 255 | motion of the centre, pixels | identity kept "
          "| classes |")
    print("|---|---|---|---|---|")
    for name, clips in kinds.items():
        pixels, centre, kept, classes = statistics(clips, features)
        print(f"| {name} | {pixels:.2f} | {centre:.2f} | {100 * kept:.1f} % | {classes:.1f} |")
    print(f"\n{options.count} clips each; generating took {seconds:.0f} s.")


if __name__ == "__main__":
    main()
