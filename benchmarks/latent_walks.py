"""Interpolation, attribute directions and inversion in the latent spaces of a GAN and a VAE.

    TFDS_DATA_DIR=... python benchmarks/latent_walks.py runs/gan_fashion --vae runs/vae_fashion

Four tables and five images, on Fashion-MNIST by default:

- midpoints of linear and spherical interpolations between random latents: mean length, and
  frechet_distance[set] of 5,000 such images, compared with 5,000 random ones;
- the direction of a class, from 10,000 samples labelled by the package's classifier: the share of
  1,000 other samples classified as that class after moving along it;
- inversion: PSNR of the images found for test images, compared with the VAE's reconstructions;
- completion: PSNR within the masked part, compared with the mean training image there.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from shared import distance, distance_to_test

import keras_genimg as kg
from keras_genimg import latents, plotting
from keras_genimg.metrics import as_stored, get_features
from keras_genimg.runs import load_run

SEED = 0


def midpoints(model, metric, count):
    """Prints the table of interpolations."""
    starts, ends = np.split(model.draw_latents(2 * count, SEED).numpy(), 2)
    print("| latents | mean length | distance |\n|---|---|---|")

    def row(name, z):
        length = np.linalg.norm(z, axis=1).mean()
        found = distance(metric, as_stored(latents.decode(model, z)))
        print(f"| {name} | {length:.2f} | {found:.2f} |")

    row("random", starts)
    for method in ("linear", "spherical"):
        row(f"halfway, {method}", latents.interpolate(model, starts, ends, 3, method)[:, 1])


def direction_of(model, features, label):
    """The direction of a class, and a table of its effect by distance."""
    drawn = model.draw_latents(10_000, SEED + 1).numpy()

    def classified(z):
        return features.logits(as_stored(latents.decode(model, z))).argmax(axis=1)

    direction = latents.attribute_direction(drawn, classified(drawn) == label)
    others = model.draw_latents(1000, SEED + 2).numpy()
    print(f"\n| steps along class {label} | classified as it |\n|---|---|")
    for far in (-3, 0, 1, 2, 3, 4):
        share = (classified(others + far * direction) == label).mean()
        print(f"| {far} | {100 * share:.1f} % |")
    return direction


def psnr(images, targets, where=True):
    errors = np.square(np.asarray(images) - np.asarray(targets))
    mean = np.array([error[np.broadcast_to(where, error.shape)].mean() for error in errors])
    return (10 * np.log10(4 / mean)).mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of keras-genimg train gan")
    parser.add_argument("--vae", required=True, help="run folder of keras-genimg train vae")
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--label", type=int, default=8, help="the class whose direction is used")
    parser.add_argument("--count", type=int, default=100, help="images to invert")
    parser.add_argument("--output", type=Path, default=Path("latent_walks"))
    options = parser.parse_args()
    gan, vae = load_run(options.run), load_run(options.vae)

    def show(name, rows):
        notes = {"generated": "yes", "seed": SEED}
        plotting.save_png(options.output / f"{name}.png", plotting.image_grid(rows), notes, scale=2)

    metric, features = distance_to_test(options.data), get_features(options.data)
    midpoints(gan, metric, 5000)
    direction = direction_of(gan, features, options.label)

    ends = gan.draw_latents(12, SEED).numpy()
    for method in ("linear", "spherical"):
        walks = latents.interpolate(gan, ends[:6], ends[6:], 10, method)
        show(f"walk_{method}", latents.decode(gan, walks))
    ways = ends[:6, None] + np.linspace(-3, 4, 10, dtype="float32")[:, None] * direction
    show("direction", latents.decode(gan, ways))
    test = next(iter(kg.load(options.data, "test", batch_size=options.count))).numpy()
    busiest = vae.encode(test).std(axis=0).argsort()[::-1][:6]
    start = vae.encode(test[:1])[0]
    rows = [latents.traverse(vae, start, int(d), np.linspace(-3, 3, 10)) for d in busiest]
    show("traversal", latents.decode(vae, np.stack(rows)))

    found = latents.invert(gan, test, seed=SEED)
    print("\n| test images | PSNR, dB |\n|---|---|")
    print(f"| inverted by search in the GAN | {psnr(found.images, test):.2f} |")
    print(f"| reconstructed by the VAE | {psnr(vae.reconstruct(test), test):.2f} |")
    mean = next(iter(kg.load(options.data, "train", batch_size=10_000))).numpy().mean(axis=0)
    half = np.repeat(np.arange(test.shape[1])[:, None] < test.shape[1] // 2, test.shape[2], axis=1)
    completed = latents.invert(gan, test, mask=half, seed=SEED)
    missing = ~half[..., None]
    print("\n| the masked lower half | PSNR, dB |\n|---|---|")
    print(f"| completed by search | {psnr(completed.images, test, missing):.2f} |")
    mean = np.broadcast_to(mean, test.shape)
    print(f"| the mean training image | {psnr(mean, test, missing):.2f} |")
    given, whole = test * half[..., None], np.where(missing, completed.images, test)
    shown = [test, found.images, given, completed.images, whole]
    show("inversion", np.stack([images[:10] for images in shown]))


if __name__ == "__main__":
    main()
