"""Do samples of a conditional model belong to their target class? An independent classifier says.

    TFDS_DATA_DIR=... python benchmarks/target_class.py runs/conditional_gan --data fashion_mnist
    python benchmarks/target_class.py runs/emoji --data emoji --features emoji

Prints, for each class, the share of samples (1,000 per class) and of the real test images that the
package's classifier of that set assigns to their class.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_genimg.data import load
from keras_genimg.metrics import as_stored, get_features
from keras_genimg.runs import load_run


def shares(features, images, labels):
    """Share of `images` that are classified as their label, for each label: `(classes,)`."""
    predicted = features.logits(images).argmax(axis=1)
    return np.array([(predicted[labels == label] == label).mean() for label in np.unique(labels)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of keras-genimg train")
    parser.add_argument("--data", default="fashion_mnist", help="the data set, or a folder")
    parser.add_argument("--features", help="the classifier, by default that of the set")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model, features = load_run(options.run), get_features(options.features or options.data)
    labels = np.arange(options.count) % model.num_classes
    made = model.generate(options.count, labels=labels, seed=options.seed, verbose=0)
    of_samples = shares(features, as_stored(made), labels)
    real = [(images.numpy(), y.numpy())
            for images, y in load(options.data, "test", batch_size=1000, with_labels=True)]
    of_real = shares(features, *(np.concatenate(parts) for parts in zip(*real)))
    print("| class | samples | real test images |\n|---|---|---|")
    for label, (sample, image) in enumerate(zip(of_samples, of_real)):
        print(f"| {label} | {100 * sample:.1f} % | {100 * image:.1f} % |")
    print(f"| all | {100 * of_samples.mean():.1f} % | {100 * of_real.mean():.1f} % |")


if __name__ == "__main__":
    main()
