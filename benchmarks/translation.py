"""Does CycleGAN keep the class of a digit, and how well does Pix2Pix restore corrupted images?

    TFDS_DATA_DIR=... python benchmarks/translation.py cyclegan --usps FOLDER
    TFDS_DATA_DIR=... python benchmarks/translation.py cyclegan   # glyphs
    TFDS_DATA_DIR=... python benchmarks/translation.py pix2pix

`cyclegan`: `CycleGAN` between MNIST and USPS, both at 28x28. FOLDER holds zip.train.gz and
zip.test.gz, one digit per line: its class, then 16x16 values from -1 to 1. Without FOLDER the sets
are two styles of the built-in glyphs, upright sans-serif fonts and italic serif fonts. A classifier
of the target set, trained only on that set's training images, classifies the test digits: the table
has its accuracy on their translations, on the untranslated digits, and on the target set's test
digits. A second classifier distinguishes the sets: the table has the share of translations, and of
the untranslated, that it assigns to the target set.

`pix2pix`: `Pix2Pix` on Fashion-MNIST and CIFAR-10 for each corruption of `data.corrupt`: PSNR and
SSIM of its output on the test images, of its input, and of the output of the same network trained
by regression only (`adversarial_weight=0`), at equal steps; and frechet_distance of all outputs to
the true images. A grid of the first images is saved beside the models.
"""

import argparse
import gzip
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from shared import Rows, add_policy, distance, distance_to_test, train

import keras_genimg as kg
from keras_genimg.data import corrupt, corrupted_pairs
from keras_genimg.data.sets import glyphs
from keras_genimg.metrics import as_stored, peak_signal_to_noise_ratio, structural_similarity

KINDS = {"fashion_mnist": ("mask", "noise"), "cifar10": ("mask", "noise", "grey")}
SHAPE = (28, 28, 1)
SHARES = ("translated", "untranslated", "target", "taken_for_target", "untranslated_taken")
STYLES = {
    "upright": ("DejaVuSans", "DejaVuSans-Bold", "cmss10"),
    "italic": ("STIXGeneralItalic", "cmti10"),
}


def whole_set(name, split, **arguments):
    """All images and labels of a split as two arrays."""
    batches = kg.load(name, split, batch_size=1000, with_labels=True, **arguments)
    arrays = ((images.numpy(), labels.numpy()) for images, labels in batches)
    return tuple(np.concatenate(part) for part in zip(*arrays))


def usps(folder, split, layout):
    """USPS digits `(n, 28, 28, 1)` and labels: resized, or at 20x20 with a border as in MNIST."""
    with gzip.open(Path(folder) / f"zip.{split}.gz", "rt") as file:
        table = np.loadtxt(file, dtype="float32")
    images = tf.reshape(table[:, 1:], (-1, 16, 16, 1))  # (n, 256) -> (n, 16, 16, 1)
    if layout == "resized":
        images = tf.image.resize(images, SHAPE[:2], "bicubic")
    else:
        images = tf.image.resize(images, (20, 20), "bicubic")
        images = tf.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)), constant_values=-1.0)
    return np.clip(images, -1.0, 1.0), table[:, 0].astype("int32")


def style(fonts, split, count):
    """Glyphs of some of the fonts, and their labels; the first random number decides the font."""
    indices = np.arange(count, dtype="int64")
    places = [glyphs.FONTS.index(font) for font in fonts]
    draws = glyphs.uniform_numbers(indices, glyphs.NUM_DRAWS, glyphs.DATA_SEED[split])[:, 0]
    indices = indices[np.isin((draws.numpy() * len(glyphs.FONTS)).astype("int32"), places)]
    images, labels = glyphs.draw_glyphs(tf.constant(indices), split, SHAPE[:2], SHAPE[2])
    return images.numpy().astype("float32") / 127.5 - 1.0, labels.numpy()


def classifier_of(images, labels, epochs, seed):
    """A classifier trained on these images only."""
    keras.utils.set_random_seed(seed)
    classifier = kg.CNNClassifier(
        SHAPE, 10, filters=(32, 64), units=(128,), dropout=0.5, seed=seed
    )
    classifier.compile()
    # As many steps for a small set as for a large one.
    epochs = max(epochs, round(epochs * 20_000 / len(images)))
    classifier.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return classifier


def kept(classifier, images, labels):
    return float((classifier.classify(images) == labels).mean())


def endless(images, batch_size, seed):
    data = tf.data.Dataset.from_tensor_slices(images)
    return data.shuffle(len(images), seed=seed).repeat().batch(batch_size)


def unpaired(options):
    if options.usps:
        sets = {
            "MNIST": [whole_set("mnist", split) for split in ("train", "test")],
            "USPS": [usps(options.usps, split, options.layout) for split in ("train", "test")],
        }
    else:
        counts = {"train": 60_000, "test": 20_000}
        sets = {
            name: [style(fonts, split, count) for split, count in counts.items()]
            for name, fonts in STYLES.items()
        }
    training = [splits[0] for splits in sets.values()]
    readers = {
        name: classifier_of(*splits[0], options.classifier_epochs, options.seed)
        for name, splits in sets.items()
    }
    # Distinguishes the two sets, trained on equally many images of each.
    fewest = min(len(images) for images, _ in training)
    telling = classifier_of(
        np.concatenate([images[:fewest] for images, _ in training]),
        np.repeat([0, 1], fewest), options.classifier_epochs, options.seed,
    )
    keras.config.set_dtype_policy(options.policy)
    keras.utils.set_random_seed(options.seed)
    model = kg.CycleGAN(SHAPE, seed=options.seed)
    model.compile(learning_rate=options.rate)
    batches = iter(
        tf.data.Dataset.zip(
            *(endless(images, options.batch_size, options.seed) for images, _ in training)
        ).prefetch(4)
    )
    names = list(sets)
    run = f"cyclegan_{options.layout if options.usps else 'glyphs'}_{options.seed}"
    table = Rows(options.output / run)
    seconds, steps = 0.0, options.steps // options.measurements
    for measurement in range(1, options.measurements + 1):
        seconds += train(model, batches, steps)
        for reverse in (False, True):
            source, target = names[::-1] if reverse else names
            images, labels = sets[source][1]
            translated, side = model.translate(images, reverse=reverse), names.index(target)
            table.append({
                "direction": f"{source} to {target}",
                "step": measurement * steps,
                "seconds": seconds,
                "translated": kept(readers[target], translated, labels),
                "untranslated": kept(readers[target], images, labels),
                "target": kept(readers[target], *sets[target][1]),
                "taken_for_target": kept(telling, translated, side),
                "untranslated_taken": kept(telling, images, side),
            })
            print(table.rows[-1], flush=True)
    model.save(options.output / run / "model.keras")
    for reverse in (False, True):  # columns: digits 0 to 9 before and after, twice
        images, labels = sets[names[reverse]][1]
        first = [np.flatnonzero(labels == digit)[:2] for digit in range(10)]
        chosen = images[np.concatenate(first)]
        rows = np.stack([chosen, model.translate(chosen, reverse=reverse)])
        kg.plotting.save_png(
            options.output / run / f"{names[reverse]}.png",
            kg.plotting.image_grid(rows.reshape(-1, *SHAPE), columns=len(chosen)), scale=2,
        )
    print("\n| direction | steps | seconds | class kept | untranslated | real digits of the target "
          "| classified as the target set | untranslated |")
    print("|---|---|---|---|---|---|---|---|")
    for row in table.rows[-2 * options.measurements :]:
        shares = " | ".join(f"{100 * row[key]:.1f} %" for key in SHARES)
        print(f"| {row['direction']} | {row['step']} | {row['seconds']:.0f} | {shares} |")


def as_colour(images, targets):
    """Greyscale images with as many channels as their targets."""
    return np.repeat(images, targets.shape[-1] // images.shape[-1], axis=-1)


def likeness(images, targets):
    """Mean PSNR (dB) and SSIM over the images."""
    images = as_colour(images, targets)
    psnr = peak_signal_to_noise_ratio(targets, images)
    return float(psnr.mean()), float(structural_similarity(targets, images).mean())


def pix2pix(path, image_shape, source_shape, adversarial_weight, options, name, kind):
    """The model of a row and the seconds of its training; saved for the next start."""
    if path.exists():
        return keras.saving.load_model(path), float("nan")
    keras.utils.set_random_seed(options.seed)
    model = kg.Pix2Pix(
        image_shape, source_shape, adversarial_weight=adversarial_weight, seed=options.seed
    )
    model.compile(learning_rate=options.rate)
    stream = kg.load(
        name, batch_size=options.batch_size, shuffle_seed=options.seed, epochs=None,
        drop_remainder=True,
    )
    seconds = train(model, iter(corrupted_pairs(stream, kind, options.seed)), options.steps)
    model.save(path)
    return model, seconds


def paired(options):
    table = Rows(options.output / "pix2pix")
    keras.config.set_dtype_policy(options.policy)
    for name in options.sets:
        targets, _ = whole_set(name, "test")
        metric = distance_to_test(name)
        for kind in KINDS[name]:
            inputs = corrupt(targets, kind, (options.seed, -1)).numpy()
            strips = [inputs[:10], targets[:10]]
            for method, weight in (("regression", 0.0), ("Pix2Pix", 1.0)):
                keys = {"set": name, "corruption": kind, "method": method, "steps": options.steps,
                        "seed": options.seed}  # fmt: skip
                if table.has(**keys):
                    continue
                path = options.output / "pix2pix" / f"{name}_{kind}_{method}_{options.steps}.keras"
                model, seconds = pix2pix(path, targets.shape[1:], inputs.shape[1:], weight, options,
                                         name, kind)
                made = model.translate(inputs)
                strips.append(made[:10])
                before, after = likeness(inputs, targets), likeness(made, targets)
                values = zip(("input_psnr", "input_ssim", "psnr", "ssim"), (*before, *after))
                distances = {
                    "input_distance": distance(metric, as_stored(as_colour(inputs, targets))),
                    "distance": distance(metric, as_stored(made)),
                }
                table.append({**keys, "seconds": seconds, **dict(values), **distances})
                print(table.rows[-1], flush=True)
            rows = np.concatenate([as_colour(strip, targets) for strip in strips])
            kg.plotting.save_png(options.output / "pix2pix" / f"{name}_{kind}.png",
                                 kg.plotting.image_grid(rows, columns=10), scale=2)
    print("\n| set | corruption | | PSNR, dB | SSIM | distance | seconds |")
    print("|---|---|---|---|---|---|---|")
    for name in options.sets:
        for kind in KINDS[name]:
            rows = [row for row in table.rows if (row["set"], row["corruption"]) == (name, kind)]
            first = rows[0]
            print(f"| {name} | {kind} | input | {first['input_psnr']:.2f} | "
                  f"{first['input_ssim']:.3f} | {first['input_distance']:.1f} | |")
            for row in rows:
                print(f"| {name} | {kind} | {row['method']} | {row['psnr']:.2f} | "
                      f"{row['ssim']:.3f} | {row['distance']:.1f} | {row['seconds']:.0f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run, rate in (("cyclegan", unpaired, 2e-4), ("pix2pix", paired, 2e-4)):
        command = commands.add_parser(name)
        command.add_argument("--steps", type=int, default=4000)
        command.add_argument("--rate", type=float, default=rate, help="learning rate")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--output", type=Path, default=Path("translation"))
        add_policy(command)
        command.set_defaults(run=run)
        if run is unpaired:
            command.add_argument("--usps", type=Path, metavar="FOLDER")
            command.add_argument("--layout", choices=("resized", "padded"), default="resized")
            command.add_argument("--batch-size", type=int, default=16)
            command.add_argument("--classifier-epochs", type=int, default=3)
            command.add_argument("--measurements", type=int, default=4)
        else:
            command.add_argument("--batch-size", type=int, default=64)
            command.add_argument("--sets", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
