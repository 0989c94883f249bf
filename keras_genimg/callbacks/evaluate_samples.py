"""Measure the pictures while the model learns, and keep the model that made the best."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.callbacks.best_checkpoint import BestCheckpoint
from keras_genimg.callbacks.summaries import SummaryWriter
from keras_genimg.distribution import from_chief, is_chief
from keras_genimg.errors import InputError
from keras_genimg.metrics import as_stored, get_metrics, update_metrics

__all__ = ["EvaluateSamples"]


class EvaluateSamples(keras.callbacks.Callback):
    """Takes metrics of generated pictures after an epoch, into the logs of that epoch.

    Every so many epochs, and after the last, it makes pictures with
    `model.generate_batches`, takes their features once for all metrics, and puts the figures
    into the logs: from there they reach the printed line, `History`, `CSVLogger` and every
    other callback that is listed after this one. In the epochs between, the figures are NaN.

    The pictures of every evaluation come from the same latents, so that the figures differ by
    the model alone. Features of the real pictures are taken once, when training begins.
    Figures depend on `num_images` and on the real pictures: quote them with both. Under a
    multi-worker strategy every worker computes, and the chief's figures count.

    Args:
        real_images: what the samples are compared with: a float array `(N, height, width,
            channels)` in [-1, 1], or a finite `tf.data.Dataset` of batches of images or of
            `(images, labels)`.
        metrics: names or objects: see `get_metrics`. The first is the one to select by.
        features: for metrics given by name: see `get_features`.
        num_images: int. Samples an evaluation.
        every: int. Epochs from one evaluation to the next.
        keep_best: path ending in `.keras`, where the model with the best figure is kept. GANs
            get worse late in training.
        monitor: string. The figure that selects; by default the first metric's first.
        labels: int array `(num_images,)` for models that generate by label; by default the
            classes in turn.
        seed: int. Of the latents.
        batch_size: int. Pictures made at once.
        log_dir: path. Also writes the figures to TensorBoard.
        verbose: "auto" (a progress bar where `fit` shows one), 0 or 1.

    Attributes:
        history: list of dicts, one an evaluation: `epoch` and the figures.

    Raises:
        InputError: an argument that does not fit; when training begins, a model that does not
            generate, or pictures that the features do not take.

    Example:
        >>> test = load("fashion_mnist", "test", batch_size=500)
        >>> evaluate = EvaluateSamples(test, "frechet_distance", features="fashion_mnist",
        ...                            every=5, keep_best="best.keras")
        >>> history = gan.fit(data, epochs=30, callbacks=[evaluate])
        >>> history.history["frechet_distance[fashion_mnist]"][-1]
        11.3
    """

    def __init__(
        self,
        real_images,
        metrics="frechet_distance",
        *,
        features=None,
        num_images=10_000,
        every=1,
        keep_best=None,
        monitor=None,
        labels=None,
        seed=0,
        batch_size=256,
        log_dir=None,
        verbose="auto",
    ):
        super().__init__()
        if num_images < 2 or every < 1 or batch_size < 1:
            raise InputError(
                "num_images must be at least 2, every and batch_size at least 1. Received: "
                f"num_images={num_images}, every={every}, batch_size={batch_size}."
            )
        if labels is not None and len(labels) != num_images:
            raise InputError(
                "labels must hold one label an image. "
                f"Received: {len(labels)} labels for num_images={num_images}."
            )
        self.real_images = real_images
        self.metrics = get_metrics(metrics, features)
        self.num_images = num_images
        self.every = every
        self.labels = labels
        self.seed = seed
        self.batch_size = batch_size
        self.verbose = verbose
        self.history = []
        self.summaries = SummaryWriter(log_dir)
        self._names = [name for metric in self.metrics for name in metric.figure_names]
        if monitor is not None and monitor not in self._names:
            raise InputError(
                f"monitor must be one of {', '.join(self._names)}. Received: {monitor!r}."
            )
        self._best = None
        if keep_best is not None:
            monitor = monitor or self._names[0]
            metric = next(metric for metric in self.metrics if monitor in metric.figure_names)
            mode = "max" if metric.larger_is_better else "min"
            self._best = BestCheckpoint(keep_best, monitor, mode)
        self._knows_real = False

    @property
    def best(self):
        """float, the best figure so far; None without `keep_best` or before the first."""
        return self._best.best if self._best else None

    def on_train_begin(self, logs=None):
        self.model.draw_latents(1, self.seed)  # raises where a model does not generate
        for metric in self.metrics:
            metric.extractor.check_image_shape(self.model.image_shape)
        if self._best:
            self._best.set_model(self.model)
            self._best.on_train_begin()
        if not self._knows_real:
            for metric in self.metrics:
                metric.reset_state()  # of an earlier attempt that ended half-way
            for images in self._real_batches():
                update_metrics(self.metrics, real_images=images)
            self._knows_real = True

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

    def evaluate(self):
        """Takes the metrics of the model as it is.

        Returns:
            dict of floats by the figures' names.
        """
        for metric in self.metrics:
            metric.reset_fake_state()
        bar, done = self._progress_bar(), 0
        labels = self.labels
        if labels is None and self.model.generates_by_label:
            labels = np.arange(self.num_images) % self.model.num_classes
        for images in self.model.generate_batches(
            self.num_images, labels, self.seed, batch_size=self.batch_size
        ):
            update_metrics(self.metrics, fake_images=as_stored(images))
            done += len(images)
            if bar:
                bar.update(done)
        values = {}
        for metric in self.metrics:
            values.update(metric.result())
        numbers = from_chief(list(values.values()), self.model.distribute_strategy)
        return dict(zip(values, numbers))

    def _real_batches(self):
        if isinstance(self.real_images, tf.data.Dataset):
            if self.real_images.cardinality() == tf.data.INFINITE_CARDINALITY:
                raise InputError("real_images must come to an end. Received: an endless dataset.")
            for element in self.real_images:
                yield (element[0] if isinstance(element, (tuple, list)) else element).numpy()
        else:
            yield self.real_images

    def _progress_bar(self):
        fit_shows_one = (self.params or {}).get("verbose", 0) in (1, "auto")
        chief = is_chief(self.model.distribute_strategy)
        if chief and (self.verbose == 1 or (self.verbose == "auto" and fit_shows_one)):
            print(f"\nevaluating {self.num_images} samples")
            return keras.utils.Progbar(self.num_images, unit_name="image")
        return None
