"""What a VAE makes of images: reconstructions, samples and traversals.

    python benchmarks/vae_images.py runs/vae_emoji --data emoji --features emoji

Prints the mean PSNR of the reconstructions of all test images, how many latent dimensions are
active (the variance of their mean over these images is above 0.01), and frechet_distance of as many
samples, with latents from N(0, I) and from a mixture of Gaussians that is fitted to the latents of
training images (`VAE.fit_prior`). Writes three grids into RUN/images:

- reconstructions.png: rows of test images, evenly spaced, each above their reconstructions;
- samples.png: five rows from N(0, I), then five from the mixture, with the same seed;
- traversals.png: the active dimensions with the largest variance, each from -3 to 3 around the
  latents of test image number `--image`.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from shared import distance, samples

import keras_genimg as kg
from keras_genimg import latents, plotting
from keras_genimg.data import data_info
from keras_genimg.metrics import FrechetDistance, peak_signal_to_noise_ratio
from keras_genimg.runs import load_run

COLUMNS = 12
TRAINING_IMAGES = 10_000  # whose latents the mixture is fitted to, at most


def images_of(data, split, shape, most=None):
    """Images of a split as one array, evenly spaced or the first ones, see `load`."""
    options = {"image_size": shape[:2], "channels": shape[2]}
    count = data_info(data, split, **options).num_images
    count = count if most is None else min(count, most)
    batches = kg.load(data, split, batch_size=500, num_images=count, **options)
    return np.concatenate(list(batches.as_numpy_iterator()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of keras-genimg train vae")
    parser.add_argument("--data", required=True)
    parser.add_argument("--features", required=True, help="of frechet_distance")
    parser.add_argument("--image", type=int, default=0, help="the test image to traverse around")
    parser.add_argument("--components", type=int, default=20, help="Gaussians in the mixture")
    options = parser.parse_args()
    vae = load_run(options.run)
    test = images_of(options.data, "test", vae.image_shape)

    def show(name, images, columns):
        notes = {"generated": "yes", "seed": 0}
        plotting.save_png(options.run / "images" / f"{name}.png",
                          plotting.image_grid(images, columns=columns), notes, scale=2)

    found = vae.reconstruct(test)
    means = vae.encode(test)
    variances = means.var(axis=0)
    active = int((variances > 0.01).sum())
    print(f"PSNR of reconstructions: {peak_signal_to_noise_ratio(test, found).mean():.2f} dB")
    print(f"active dimensions: {active} of {vae.latent_dim}")
    shown = np.linspace(0, len(test) - 1, 4 * COLUMNS).astype(int)
    rows = np.stack([each[shown].reshape(4, COLUMNS, *vae.image_shape) for each in (test, found)])
    show("reconstructions", rows.swapaxes(0, 1).reshape(-1, *vae.image_shape), COLUMNS)

    steps = np.linspace(-3, 3, COLUMNS)
    busiest = variances.argsort()[::-1][: min(active, 8)]
    if active:
        walks = [latents.traverse(vae, means[options.image], int(one), steps) for one in busiest]
        show("traversals", latents.decode(vae, np.concatenate(walks)), COLUMNS)

    metric = FrechetDistance(options.features)
    metric.update_state(real_images=test)
    grids = []
    training = images_of(options.data, "train", vae.image_shape, TRAINING_IMAGES)
    for prior in ("N(0, I)", f"{options.components} Gaussians"):
        if grids:
            vae.fit_prior(training, num_components=options.components, seed=0)
        drawn = samples(vae, len(test))
        print(f"{metric.name} of {len(test)} samples, latents from {prior}: "
              f"{distance(metric, drawn):.2f}")
        grids.append(drawn[: 5 * COLUMNS])
    show("samples", np.concatenate(grids), COLUMNS)


if __name__ == "__main__":
    main()
