"""Evaluates generated images during training and keeps the best model."""

import os

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.callbacks.best_checkpoint import BestCheckpoint
from keras_genimg.callbacks.checks import check_generates, check_one_label_per_image
from keras_genimg.callbacks.copying import CopiedCallback
from keras_genimg.callbacks.summaries import SummaryWriter
from keras_genimg.checks import check_count
from keras_genimg.distribution import from_chief, is_chief
from keras_genimg.errors import InputError
from keras_genimg.metrics import as_stored, get_metrics, update_metrics
from keras_genimg.metrics.checks import check_dimensions
from keras_genimg.metrics.features import Features

__all__ = ["EvaluateSamples"]


class EvaluateSamples(CopiedCallback):
    """Computes metrics of generated images at the end of an epoch and adds them to its logs.

    Every `every` epochs, and after the last, it generates images with
    `model.generate_batches` and computes their features once for all metrics. The results in
    the logs reach the printed line, `History`, `CSVLogger` and all callbacks listed after this
    one. In all other epochs they are NaN.

    All evaluations use the same latents, so that results differ only through the model.
    Features of the real images are computed once, when training begins. Results depend on
    `num_images` and on the real images: report both. Under a multi-worker strategy every
    worker evaluates, and the chief's results count.

    Args:
        real_images: a float array `(N, height, width, channels)` in [-1, 1], or a finite
            `tf.data.Dataset` of batches of images or of `(images, labels)`.
        metrics: names or objects, see `get_metrics`. The first is the one to select by.
        features: for metrics given by name, see `get_features`.
        num_images: int. Samples per evaluation.
        every: int. Epochs from one evaluation to the next.
        keep_best: path ending in `.keras`, to which the best model is saved. GANs get worse
            late in training.
        monitor: string. The result to select by; by default the first of the first metric.
        labels: see `ImageModel.generate`, for models that generate by label.
        seed: int. Seed of the latents.
        batch_size: int. Images per batch.
        log_dir: path. Also writes the results to TensorBoard.
        verbose: "auto" (a progress bar if `fit` shows one), 0 or 1.

    Attributes:
        history: list of dicts, one per evaluation: `epoch` and the results.

    Raises:
        InputError: invalid arguments; when training begins, a model that does not generate
            images, images that the features do not accept, or too few for a metric.

    Example:
        >>> test = load("fashion_mnist", "test", batch_size=500)
        >>> evaluate = EvaluateSamples(test, "frechet_distance", features="fashion_mnist",
        ...                            every=5, keep_best="best.keras")
        >>> history = gan.fit(data, epochs=30, callbacks=[evaluate])
        >>> history.history["frechet_distance[fashion_mnist]"][-1]
        11.3
    """

    shared = ("real_images",)

    def __init__(
        self, real_images, metrics="frechet_distance", *, features: Features | None = None,
        num_images: int = 10_000, every: int = 1, keep_best: str | os.PathLike | None = None,
        monitor: str | None = None, labels: ArrayLike | None = None, seed: int = 0,
        batch_size: int = 256, log_dir: str | os.PathLike | None = None,
        verbose: str | int = "auto",
    ):
        super().__init__()
        self.num_images = check_count("num_images", num_images, 2)
        self.every = check_count("every", every)
        self.batch_size = check_count("batch_size", batch_size)
        check_one_label_per_image(labels, num_images)
        self.real_images = real_images
        self.metrics = get_metrics(metrics, features)
        self.labels = labels
        self.seed = seed
        self.verbose = verbose
        self.history = []
        self.summaries = SummaryWriter(log_dir)
        if monitor is not None and monitor not in self._names:
            raise InputError(
                f"monitor must be one of {', '.join(self._names)}. Received: {monitor!r}."
            )
        self._best = None
        if keep_best is not None:
            monitor = monitor or self._names[0]
            metric = next(metric for metric in self.metrics if monitor in metric.result_names)
            mode = "max" if metric.larger_is_better else "min"
            self._best = BestCheckpoint(keep_best, monitor, mode)
        self._real_added = False

    @property
    def _names(self):
        # Not stored: some metrics know all of their results only once they have images.
        return [name for metric in self.metrics for name in metric.result_names]

    @property
    def best(self) -> float | None:
        """float, the best result so far; None without `keep_best` or before the first."""
        return self._best.best if self._best else None

    def on_train_begin(self, logs=None):
        check_generates(
            self.model, "EvaluateSamples", self.num_images, self.labels, self.seed
        )
        shape = self.model.data.parts[0].shape(self.model)
        for metric in self.metrics:
            metric.extractor.check_image_shape(shape)
        if self._best:
            self._best.set_model(self.model)
            self._best.on_train_begin()
        if not self._real_added:
            for metric in self.metrics:
                metric.reset_state()  # an earlier attempt may have been interrupted
            self._add_real_images(shape)
            self._real_added = True

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        is_last = epoch + 1 == self.params.get("epochs")
        if (epoch + 1) % self.every and not is_last:
            logs.update(dict.fromkeys(self._names, float("nan")))
            return
        values = self.evaluate()
        logs.update(values)
        self.history.append({"epoch": epoch + 1, **values})
        if is_chief(self.model.distribute_strategy):
            for name, value in values.items():
                self.summaries.scalar(name, value, epoch + 1)
        if self._best:
            self._best.on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        self.summaries.close()

    def evaluate(self) -> dict[str, float]:
        """Computes the metrics of the model.

        Returns:
            dict of floats, the results by name.
        """
        for metric in self.metrics:
            metric.reset_fake_state()
        bar = self._progress_bar()
        for images in self.model.generate_batches(
            self.num_images, self.labels, self.seed, batch_size=self.batch_size
        ):
            update_metrics(self.metrics, fake_images=as_stored(images))
            if bar:
                bar.add(len(images))
        values = {name: value for metric in self.metrics for name, value in metric.result().items()}
        numbers = from_chief(list(values.values()), self.model.distribute_strategy)
        return dict(zip(values, numbers))

    def _add_real_images(self, shape):
        count = 0
        for images in self._real_batches():
            if not count and images.shape[1:] != shape:  # features of any size, such as Inception's
                blank = np.zeros((1, *shape), "float32")
                for metric in self.metrics:
                    sizes = [metric.extractor(each).size for each in (images[:1], blank)]
                    check_dimensions(*sizes)
            update_metrics(self.metrics, real_images=images)
            count += len(images)
        for metric in self.metrics:
            metric.check_counts(count, self.num_images)

    def _real_batches(self):
        if isinstance(self.real_images, tf.data.Dataset):
            if self.real_images.cardinality() == tf.data.INFINITE_CARDINALITY:
                raise InputError("real_images must be finite. Received: an infinite dataset.")
            for element in self.real_images:
                yield (element[0] if isinstance(element, (tuple, list)) else element).numpy()
        else:
            yield np.asarray(self.real_images)

    def _progress_bar(self):
        in_fit = (self.params or {}).get("verbose", 0) in (1, "auto")
        chief = is_chief(self.model.distribute_strategy)
        if chief and (self.verbose == 1 or (self.verbose == "auto" and in_fit)):
            print(f"\nevaluating {self.num_images} samples")
            return keras.utils.Progbar(self.num_images, unit_name="image")
        return None
