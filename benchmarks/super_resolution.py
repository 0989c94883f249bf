"""Super-resolution of CIFAR-10 by 2 and by 4: what the adversarial loss costs and gains.

    TFDS_DATA_DIR=... python benchmarks/super_resolution.py --output /tmp/super_resolution

`SuperResolutionGAN`, the same network with the content loss only, and interpolation, on the 10,000
test images after bicubic downsampling: mean PSNR and SSIM to the true images, and
frechet_distance[cifar10] to them. The first two reward the blurred mean of all plausible images;
the last measures how realistic the images are as a set.

With --vq-vae RUN the small images are reconstructed by a VQ-VAE first. RUN is a run on 16x16 images
(for x2) or 8x8 images (for x4): keras-genimg train vq_vae --data cifar10 --image-size 16. Only that
scale is measured then.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from shared import Rows, add_policy, distance, distance_to_test, train

import keras_genimg as kg
from keras_genimg.layers import BicubicResize
from keras_genimg.metrics import (
    as_stored,
    peak_signal_to_noise_ratio,
    structural_similarity,
)
from keras_genimg.runs import load_run

DATA, SIDE, BATCH = "cifar10", 32, 64
SCALES = (2, 4)
WEIGHTS = {"gan": 1e-3, "content": 0.0}


def bicubic(images, side=SIDE):
    parts = np.array_split(images, -(-len(images) // 500))
    return np.concatenate([BicubicResize(side, side)(part) for part in parts])


def nearest(low):
    scale = SIDE // low.shape[1]
    return low.repeat(scale, axis=1).repeat(scale, axis=2)


def trained(name, scale, options):
    """The network of a row and the seconds that its training took; saved for the next start."""
    path = options.output / f"{name}_x{scale}_{options.steps}_{options.seed}.keras"
    if path.exists():
        return keras.saving.load_model(path), float("nan")
    keras.utils.set_random_seed(options.seed)
    model = kg.SuperResolutionGAN(
        scale=scale, adversarial_weight=WEIGHTS[name], seed=options.seed
    )
    model.compile()
    batches = kg.load(
        DATA, batch_size=BATCH, shuffle_seed=options.seed, epochs=None, drop_remainder=True
    )
    seconds = train(model, iter(batches), options.steps)
    model.save(path)
    return model, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scales", nargs="+", type=int, choices=SCALES, default=list(SCALES))
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--count", type=int, default=10_000, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vq-vae", metavar="RUN", help="run folder of the VQ-VAE that comes first")
    parser.add_argument("--output", type=Path, default=Path("super_resolution"))
    add_policy(parser)
    options = parser.parse_args()
    keras.config.set_dtype_policy(options.policy)
    images = next(iter(kg.load(DATA, "test", batch_size=options.count, num_images=options.count)))
    images = images.numpy()
    metric, table = distance_to_test(DATA), Rows(options.output)
    scales, before, decoder = options.scales, "none", None
    if options.vq_vae:
        decoder, before = load_run(options.vq_vae), options.vq_vae
        scales = [SIDE // decoder.image_shape[0]]
    keys = {"steps": options.steps, "seed": options.seed, "images": options.count, "before": before}
    for scale in scales:
        for name in (*WEIGHTS, "bicubic", "nearest"):
            if table.has(scale=scale, upscaling=name, **keys):
                continue
            seconds, enlarge = 0.0, {"bicubic": bicubic, "nearest": nearest}.get(name)
            if enlarge is None:
                model, seconds = trained(name, scale, options)
                enlarge = model.translate
            low = bicubic(images, SIDE // scale)
            if decoder is not None:
                low = decoder.reconstruct(low)
            made = enlarge(low)
            table.append({
                "scale": scale,
                "upscaling": name,
                "psnr": float(np.mean(peak_signal_to_noise_ratio(images, made))),
                "ssim": float(np.mean(structural_similarity(images, made))),
                "distance": distance(metric, as_stored(made)),
                "seconds": seconds,
                **keys,
            })
            print(table.rows[-1], flush=True)
    print(f"\n| scale | upscaling | PSNR | SSIM | frechet_distance[{DATA}] | seconds |")
    print("|---|---|---|---|---|---|")
    for row in table.rows:
        if row["scale"] in scales and all(row[name] == value for name, value in keys.items()):
            print(f"| x{row['scale']} | {row['upscaling']} | {row['psnr']:.2f} | {row['ssim']:.3f} "
                  f"| {row['distance']:.2f} | {row['seconds']:.0f} |")


if __name__ == "__main__":
    main()
