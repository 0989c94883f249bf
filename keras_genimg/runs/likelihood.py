"""The likelihood of a data set under a run's model."""

import inspect
import math
import time

import numpy as np

from keras_genimg.errors import InputError

__all__ = ["in_memory", "measure_likelihood"]

AT_ONCE = 512  # images between progress checks; a multiple of the batch size, 16
PATIENCE = 20  # seconds without output


def measure_likelihood(model, batches, num_samples: int | None = None, seed: int = 0) -> tuple:
    """The mean of -log p(x) over images; prints its progress if it takes long.

    Args:
        model: model with `log_likelihood`.
        batches: `tf.data.Dataset` of batches of images, or of images and labels for a
            conditional model, binarised if the run is.
        num_samples: int, optional. Importance samples per image, 5,000 by default, for models
            that estimate the likelihood.
        seed: int. Seed of these samples.

    Returns:
        dict of `nll`, nats per image, `nll_standard_error` over images, and `bits_per_dim`, which
        a density and a Bernoulli likelihood do not have; dict of the settings of the
        measurement: `images`, and `importance_samples` if any.

    Raises:
        InputError: a model without a likelihood, importance samples for a model that needs none,
            grey images for a Bernoulli likelihood.
    """
    if not hasattr(model, "log_likelihood"):
        raise InputError(
            "log_likelihood is a metric of models that have log p(x), such as VAE and PixelCNN. "
            f"Received: a run of {type(model).__name__}."
        )
    sampled = "num_samples" in inspect.signature(model.log_likelihood).parameters
    if num_samples is not None and not sampled:
        raise InputError(
            f"{type(model).__name__} computes log p(x) without importance samples. "
            f"Received: {num_samples} of them."
        )
    images, *labels = in_memory(batches)
    if getattr(model, "likelihood", None) == "bernoulli" and np.any(np.abs(images) != 1):
        raise InputError(
            "A Bernoulli likelihood needs binarised images, see train --binarize. "
            "Received: grey images."
        )
    options = {"num_samples": num_samples or 5000} if sampled else {}
    found, began = [], time.monotonic()
    last_report = began
    for start in range(0, len(images), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        if labels:
            options["labels"] = labels[0][part]
        if sampled:
            options["seed"] = seed + start  # independent draws for each part
        found.append(model.log_likelihood(images[part], **options))
        now, done = time.monotonic(), min(start + AT_ONCE, len(images))
        if now - last_report > PATIENCE and done < len(images):
            last_report, so_far = now, -np.mean(np.concatenate(found))
            seconds = round(now - began)
            print(f"{done} of {len(images)} images, {seconds} s: {so_far:.2f}", flush=True)
    nats = -np.concatenate(found).astype("float64")
    error = np.std(nats, ddof=1) / len(nats) ** 0.5 if len(nats) > 1 else 0.0
    values = {"nll": float(np.mean(nats)), "nll_standard_error": float(error)}
    if getattr(model, "likelihood", "of levels") not in ("bernoulli", "gaussian"):
        values["bits_per_dim"] = values["nll"] / (math.prod(images.shape[1:]) * math.log(2.0))
    how = {"images": len(nats)}
    if sampled:
        how["importance_samples"] = options["num_samples"]
    return values, how


def in_memory(batches) -> list:
    """What a dataset of images, or of images and labels, holds: a list of NumPy arrays."""
    parts = [element if isinstance(element, tuple) else (element,) for element in batches]
    return [np.concatenate([each.numpy() for each in column]) for column in zip(*parts)]
