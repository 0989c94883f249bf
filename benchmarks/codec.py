"""A trained VQ model as a codec: bits per image and reconstruction quality, against PNG and WebP.

    TFDS_DATA_DIR=... python benchmarks/codec.py runs/vq_vae_fashion --data fashion_mnist

Test images are encoded, their codes packed into bytes, the bytes read back and decoded. The table
has the size of those bytes, and what better coders of the same codes could reach: log2 K per code,
the entropy of the code frequencies, and the likelihood of the model's prior. For a run without a
prior, --prior-epochs fits one; the run folder is not changed.
"""

import argparse
import io
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from PIL import Image
from shared import codebook_sizes

from keras_genimg.data import load, pack_codes, unpack_codes
from keras_genimg.metrics import (
    as_stored,
    codebook_perplexity,
    peak_signal_to_noise_ratio,
    structural_similarity,
)
from keras_genimg.plotting import to_uint8
from keras_genimg.runs import load_run
from keras_genimg.runs.likelihood import in_memory

OTHERS = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP, quality 50": {"format": "WEBP", "quality": 50, "method": 6},
    "WebP, quality 0": {"format": "WEBP", "quality": 0, "method": 6},
}


def batches(name, split, model, count=None):
    """Images of the model's shape, with labels if its prior is class-conditional."""
    height, width, channels = model.image_shape
    return load(name, split, batch_size=500, image_size=(height, width), channels=channels,
                num_images=count, with_labels=model.generates_by_label)


def stored_in(images, **options):
    """Mean bits per image as a file, and the images read back from the files."""
    sizes, opened = [], []
    for image in to_uint8(images):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, **options)
        sizes.append(8 * file.tell())
        back = Image.open(file).convert("L" if image.shape[2] == 1 else "RGB")
        opened.append(np.asarray(back).reshape(image.shape))
    return np.mean(sizes), np.stack(opened).astype("float32") / 127.5 - 1.0


def packed_and_read(grids, sizes):
    """Grids packed into bytes and unpacked again: one stream per image, and one for all images.

    Returns:
        `(grids, bits per image in its own stream, bits per image in the common stream)`.
    """
    count, read, alone, together = len(grids[0]), [], 0, 0
    for grid, size in zip(grids, sizes):
        streams = [pack_codes(codes, size) for codes in grid]
        read.append(np.stack([unpack_codes(stream, grid.shape[1:], size) for stream in streams]))
        alone += 8 * sum(map(len, streams)) / count
        together += 8 * len(pack_codes(grid, size)) / count
    return read, alone, together


def likeness(images, others):
    """`(PSNR, SSIM)`, each the mean over the images."""
    psnr = peak_signal_to_noise_ratio(images, others)
    return psnr.mean(), structural_similarity(images, others).mean()


def prior_bits(model, grids, labels):
    """Mean -log2 p(codes) per image under the prior or priors of a model, or None."""

    def nats(prior, codes, **condition):
        labels_of_prior = labels if prior.generates_by_label else None
        return prior.log_likelihood(codes, labels_of_prior, **condition)

    if getattr(model, "prior", None) is not None:
        found = nats(model.prior, grids[0])
    elif getattr(model, "top_prior", None) is not None:
        found = nats(model.top_prior, grids[0])
        found = found + nats(model.bottom_prior, grids[1], condition=grids[0])
    else:
        return None
    # A decoder of codes given a class needs the class too, once per image.
    of_class = math.log2(model.num_classes) if model.generates_by_label else 0.0
    return of_class - found.mean() / math.log(2)


def rows_of(model, images, labels=None):
    """Rows `(name, bits per image, PSNR, SSIM)` of the table."""
    began = time.perf_counter()
    codes = model.encode(images)
    encoded = time.perf_counter()
    grids = list(codes) if isinstance(codes, (tuple, list)) else [codes]
    sizes = codebook_sizes(model, len(grids))
    read, alone, together = packed_and_read(grids, sizes)
    packed = time.perf_counter()
    decoded = as_stored(model.decode(read[0] if len(read) == 1 else tuple(read)))
    print(f"{len(images)} images encoded in {encoded - began:.1f} s, packed and unpacked in "
          f"{packed - encoded:.1f} s, decoded in {time.perf_counter() - packed:.1f} s; both sides "
          f"hold the model, of {model.count_params():,} weights")

    rows = []
    for name, options in OTHERS.items():
        bits, opened = stored_in(images, **options)
        rows.append((name, bits, *likeness(images, opened)))
    places = [math.prod(grid.shape[1:]) for grid in grids]  # codes per image
    text = " + ".join(f"{'x'.join(map(str, g.shape[1:]))} of {s}" for g, s in zip(grids, sizes))
    bits_of_codes = {
        f"codes ({text}) in bytes, one stream per image": alone,
        "codes in bytes, one stream for all": together,
        "log2 K per code": sum(n * math.log2(size) for n, size in zip(places, sizes)),
        "entropy of the code frequencies": sum(
            n * math.log2(codebook_perplexity(grid, size))
            for n, grid, size in zip(places, grids, sizes)
        ),
        "-log2 p of the prior": prior_bits(model, grids, labels),
    }
    like = likeness(images, decoded)
    return rows + [(name, bits, *like) for name, bits in bits_of_codes.items() if bits is not None]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of keras-genimg train vq_vae")
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--count", type=int, help="number of test images (all)")
    parser.add_argument("--prior-epochs", type=int, default=0,
                        help="epochs of fitting a prior to the codes of the training images")
    options = parser.parse_args()
    model = load_run(options.run)
    if options.prior_epochs:
        keras.utils.set_random_seed(0)
        began = time.perf_counter()
        training = batches(options.data, "train", model)
        model.fit_prior(training, epochs=options.prior_epochs, verbose=0)
        seconds = time.perf_counter() - began
        print(f"prior: fitted for {options.prior_epochs} epochs in {seconds:.0f} s, seed 0")
    rows = rows_of(model, *in_memory(batches(options.data, "test", model, options.count)))
    print("| stored as | bits per image | bits per dimension | PSNR | SSIM |")
    print("|---|---|---|---|---|")
    for name, bits, psnr, ssim in rows:
        rate = bits / math.prod(model.image_shape)
        psnr = "exact" if np.isinf(psnr) else f"{psnr:.2f}"
        print(f"| {name} | {bits:.1f} | {rate:.3f} | {psnr} | {ssim:.3f} |")


if __name__ == "__main__":
    main()
