"""How near translations are to their targets, beside the untranslated inputs."""

import numpy as np
import tensorflow as tf

from keras_genimg.core import ImageModel, Pairs
from keras_genimg.errors import InputError
from keras_genimg.metrics import (
    as_stored,
    get_metrics,
    peak_signal_to_noise_ratio,
    structural_similarity,
    update_metrics,
)

__all__ = ["PER_PAIR", "check_per_pair", "measure_translations"]

PER_PAIR = {"psnr": peak_signal_to_noise_ratio, "ssim": structural_similarity}


def check_per_pair(model: ImageModel, metrics: list) -> None:
    """Raises `InputError` if a metric of pairs is named for a model of single images."""
    named = [name for name in metrics if name in PER_PAIR]
    if named and not isinstance(model.data, Pairs):
        raise InputError(
            f"{' and '.join(PER_PAIR)} are metrics of models that are trained on pairs. "
            f"Received: --metrics {named[0]} for a run of {type(model).__name__}."
        )


def measure_translations(
    model: ImageModel, pairs: tf.data.Dataset, metrics: list, features: str | None
) -> dict:
    """Metrics of the translations of pairs.

    Args:
        model: `Pix2Pix`, or a `CycleGAN`, which is measured in both directions.
        pairs: dataset of `(inputs, targets)`, float batches in [-1, 1].
        metrics: list of `"psnr"` (dB) and `"ssim"`, means over the pairs, and of names of
            `get_metrics`, which compare all translations with all targets.
        features: string, for `get_metrics`.

    Returns:
        dict of floats by name; those of the untranslated inputs start with `input_`, and those of
        translations from B to A with `reverse_`.
    """
    found = {}
    for inputs, targets in pairs.as_numpy_iterator():
        images = {"": (model.translate(inputs), targets), "input_": (inputs, targets)}
        if not model.data.aligned:
            back = model.translate(targets, reverse=True)
            images.update({"reverse_": (back, inputs), "reverse_input_": (targets, inputs)})
        for prefix, (some, wanted) in images.items():
            if wanted.shape[-1] % some.shape[-1] == 0:  # colour is not compared with grey targets
                some = np.repeat(some, wanted.shape[-1] // some.shape[-1], axis=-1)
                found.setdefault(prefix, _Likeness(metrics, features)).add(some, wanted)
    return {
        f"{prefix}{name}": value
        for prefix, likeness in found.items()
        for name, value in likeness.result().items()
    }


class _Likeness:
    """Metrics of images beside their targets, batch by batch."""

    def __init__(self, metrics, features):
        self.per_pair = {name: [] for name in metrics if name in PER_PAIR}
        of_sets = [name for name in metrics if name not in PER_PAIR]
        self.of_sets = get_metrics(of_sets, features) if of_sets else []

    def add(self, images, targets):
        for name, values in self.per_pair.items():
            values.append(PER_PAIR[name](targets, images))
        update_metrics(self.of_sets, real_images=targets, fake_images=as_stored(images))

    def result(self):
        values = {name: float(np.mean(np.concatenate(v))) for name, v in self.per_pair.items()}
        for metric in self.of_sets:
            values.update(metric.result())
        return values
