"""The metrics of samples as Keras metrics: updated in batches, computed at the end."""

import copy

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count
from keras_genimg.errors import InputError
from keras_genimg.metrics.features import Features, get_features
from keras_genimg.metrics.frechet_distance import RunningMoments, frechet_distance
from keras_genimg.metrics.inception_score import inception_score
from keras_genimg.metrics.kernel_distance import kernel_distance
from keras_genimg.metrics.precision_recall import precision_recall_density_coverage
from keras_genimg.plotting import to_uint8

__all__ = [
    "FrechetDistance", "InceptionScore", "KernelDistance", "PrecisionRecallDensityCoverage",
    "SampleMetric", "as_stored", "update_metrics",
]

IMAGES_AT_ONCE = 1024  # of an array that holds them all


class _Batches:
    """Rows that arrive in batches. (Keras would wrap a plain list.)"""

    def __init__(self):
        self.batches = ()

    def update(self, batch):
        self.batches = (*self.batches, batch)

    def joined(self, name):
        if not self.batches:
            raise InputError(f"A metric of samples needs {name} before its result. Received: none.")
        if len(self.batches) > 1:
            self.batches = (np.concatenate(self.batches),)
        return self.batches[0]


class SampleMetric(keras.metrics.Metric):
    """Base of the metrics that compare generated images with real ones.

    They run outside TensorFlow's graphs, in a custom loop or in the callback
    `EvaluateSamples`, not inside `train_step`. Real images are added once; they stay when
    `reset_fake_state` clears the generated ones.

    Args:
        features: see `get_features`.
        name: string, by default the metric's name with the features in brackets.

    Raises:
        InputError: invalid arguments, or features without the logits that the metric needs.
    """

    base_name = None
    base_names = ()  # names of the results, without the features
    needs_features = True  # otherwise the constructor takes none
    needs_real = True
    needs_logits = False
    larger_is_better = False
    options = {}  # arguments of the metric's function
    limiting_option = None  # the one of them that a small number of images limits
    _storage = _Batches

    def __init__(self, features: Features, name: str | None = None):
        self.features = features
        self.extractor = get_features(features)
        if self.needs_logits:
            self.extractor.check_has_logits()
        super().__init__(name=name or self.extractor.metric_name(self.base_name))
        self.reset_state()

    def update_state(self, real_images=None, fake_images=None) -> None:
        """Adds images.

        Args:
            real_images: float array or eager tensor `(n, height, width, channels)` in
                [-1, 1], or None.
            fake_images: the same.

        Raises:
            InputError: images that the features do not accept.
        """
        update_metrics([self], real_images=real_images, fake_images=fake_images)

    def add(self, kind: str, features: np.ndarray, logits: np.ndarray | None) -> None:
        """Adds features and logits of images.

        Args:
            kind: `"real"` or `"fake"`.
            features: float32 array `(n, dimensions)`.
            logits: float32 array `(n, classes)`, or None if `needs_logits` is False.
        """
        self._kept[kind].update(features)

    def result(self) -> dict[str, float]:
        """The results so far, by name.

        Returns:
            dict of floats with the keys `result_names`; the first is the one to select by.

        Raises:
            InputError: too few images.
        """
        values = self._compute(*(self._joined(kind) for kind in ("real", "fake")))
        return dict(zip(self.result_names, map(float, values)))

    @property
    def result_names(self) -> list[str]:
        """list of strings: the keys of `result()`."""
        return [
            self.name if base == self.base_name else self.extractor.metric_name(base)
            for base in self.base_names
        ]

    def reset_state(self) -> None:
        """Forgets all images."""
        self._kept = {"real": self._storage(), "fake": self._storage()}

    def reset_fake_state(self) -> None:
        """Forgets the generated images and keeps the real ones."""
        self._kept["fake"] = self._storage()

    @property
    def least_images(self) -> int:
        """int, the smallest number of real images, and of generated ones, for a result."""
        return 2

    def check_counts(self, real_count: int, fake_count: int) -> None:
        """Checks that there are enough images for a result, before they are generated.

        Args:
            real_count, fake_count: ints. Numbers of real and of generated images.

        Raises:
            InputError: too few; the message says which argument needs fewer.
        """
        if min(fake_count, real_count if self.needs_real else fake_count) >= self.least_images:
            return
        name, option, hint = type(self).__name__, self.limiting_option, ""
        if option:
            hint = (
                f" with {option}={self.options[option]}; a smaller one, as in "
                f"metrics={name}(features, {option}=...), needs fewer"
            )
        kinds = "real and as many generated images" if self.needs_real else "generated images"
        raise InputError(
            f"{name} needs at least {self.least_images} {kinds}{hint}. "
            f"Received: {real_count} real and {fake_count} generated images."
        )

    def __deepcopy__(self, memo):
        """A metric with the same images so far. The features are shared: they have no state."""
        given = [self.extractor] if self.needs_features else []
        copied = type(self)(*given, name=self.name, **self.options)
        copied.features = self.features
        copied._kept = {kind: copy.deepcopy(kept, memo) for kind, kept in self._kept.items()}
        return copied

    def get_config(self) -> dict:
        if not self.needs_features:
            return {"name": self.name, **self.options}
        if not isinstance(self.features, str):
            raise InputError(
                f"{type(self).__name__} can be saved only with features given by name. "
                f"Received: features={self.features!r}."
            )
        return {"features": self.features, "name": self.name, **self.options}

    def _compute(self, real, fake):
        raise NotImplementedError

    def _joined(self, kind):
        if kind == "real" and not self.needs_real:
            return None
        return self._kept[kind].joined(f"{kind}_images")


@keras.saving.register_keras_serializable(package="keras_genimg")
class FrechetDistance(SampleMetric):
    """`frechet_distance` of real and generated images; it stores moments, not features.

    Args:
        features: see `get_features`. Only in features of the 2015 Inception graph would it be
            the FID.
        name: string, "frechet_distance[fashion_mnist]" by default.

    Raises:
        InputError: invalid features.

    Example:
        >>> metric = FrechetDistance("fashion_mnist")
        >>> for images in load("fashion_mnist", "test", batch_size=500):
        ...     metric.update_state(real_images=images)
        >>> metric.update_state(fake_images=gan.generate(10_000))
        >>> metric.result()
        {'frechet_distance[fashion_mnist]': 36.3}

    Reference: Heusel et al. (2017), https://arxiv.org/abs/1706.08500
    """

    base_name = "frechet_distance"
    base_names = ("frechet_distance",)
    _storage = RunningMoments

    def _joined(self, kind):
        return self._kept[kind]

    def _compute(self, real, fake):
        return [frechet_distance(real, fake)]


@keras.saving.register_keras_serializable(package="keras_genimg")
class KernelDistance(SampleMetric):
    """`kernel_distance` of real and generated images, and its standard deviation.

    Args:
        features: see `get_features`.
        subset_size, num_subsets, seed: see `kernel_distance`.
        name: string, "kernel_distance[fashion_mnist]" by default.

    Raises:
        InputError: invalid arguments.

    Reference: Bińkowski et al. (2018), https://arxiv.org/abs/1801.01401
    """

    base_name = "kernel_distance"
    base_names = ("kernel_distance", "kernel_distance_std")
    limiting_option = "subset_size"

    def __init__(
        self, features: Features, subset_size: int = 1000, num_subsets: int = 100,
        seed: int | None = 0, name: str | None = None,
    ):
        super().__init__(features, name=name)
        self.options = {
            "subset_size": check_count("subset_size", subset_size, 2),
            "num_subsets": check_count("num_subsets", num_subsets),
            "seed": None if seed is None else check_count("seed", seed, 0),
        }

    @property
    def least_images(self) -> int:
        return self.options["subset_size"]

    def _compute(self, real, fake):
        return kernel_distance(real, fake, **self.options)


@keras.saving.register_keras_serializable(package="keras_genimg")
class InceptionScore(SampleMetric):
    """`inception_score` of generated images by any classifier; it needs no real images.

    Args:
        features: see `get_features`; they must be those of a classifier.
        num_splits: int, see `inception_score`.
        name: string, "inception_score[fashion_mnist]" by default.

    Raises:
        InputError: invalid arguments, or features that are not those of a classifier.

    Reference: Salimans et al. (2016), https://arxiv.org/abs/1606.03498
    """

    base_name = "inception_score"
    base_names = ("inception_score", "inception_score_std")
    needs_real = False
    needs_logits = True
    larger_is_better = True
    limiting_option = "num_splits"

    def __init__(self, features: Features, num_splits: int = 10, name: str | None = None):
        super().__init__(features, name=name)
        self.options = {"num_splits": check_count("num_splits", num_splits)}

    @property
    def least_images(self) -> int:
        return max(2, self.options["num_splits"])

    def add(self, kind: str, features: np.ndarray, logits: np.ndarray | None) -> None:
        self._kept[kind].update(logits)

    def _compute(self, real, fake):
        return inception_score(fake, **self.options)


@keras.saving.register_keras_serializable(package="keras_genimg")
class PrecisionRecallDensityCoverage(SampleMetric):
    """`precision_recall_density_coverage` of real and generated images.

    Args:
        features: see `get_features`.
        k: int, see `precision_recall_density_coverage`.
        name: string, by default the name of the function with the features in brackets.

    Raises:
        InputError: invalid arguments.

    Reference: Kynkäänniemi et al. (2019), https://arxiv.org/abs/1904.06991; Naeem et al.
        (2020), https://arxiv.org/abs/2002.09797
    """

    base_name = "precision_recall_density_coverage"
    base_names = ("precision", "recall", "density", "coverage")
    larger_is_better = True
    limiting_option = "k"

    def __init__(self, features: Features, k: int = 5, name: str | None = None):
        super().__init__(features, name=name)
        self.options = {"k": check_count("k", k)}

    @property
    def least_images(self) -> int:
        return self.options["k"] + 1

    def _compute(self, real, fake):
        return precision_recall_density_coverage(
            real_features=real, fake_features=fake, **self.options
        ).values()


def as_stored(images: ArrayLike) -> np.ndarray:
    """Images as an 8-bit file stores them, like real images.

    Metrics of generated images then equal those of the files written from them.

    Args:
        images: float array of any shape in [-1, 1].

    Returns:
        float32 array of the same shape, rounded to the nearest of 256 levels from -1 to 1.

    Raises:
        InputError: NaN or infinity.

    Example:
        >>> as_stored([-1.0, 0.0, 2.0])
        array([-1.        ,  0.00392163,  1.        ], dtype=float32)
    """
    return to_uint8(images).astype("float32") / 127.5 - 1.0


def update_metrics(metrics: list[SampleMetric], *, real_images=None, fake_images=None) -> None:
    """Adds images to several metrics; metrics with the same features share one forward pass.

    Args:
        metrics: list of `SampleMetric`.
        real_images: float array `(n, height, width, channels)` in [-1, 1], or None.
        fake_images: the same.

    Raises:
        InputError: images that the features do not accept.
    """
    metrics = list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]
    for metric in metrics:
        if not isinstance(metric, SampleMetric):
            raise InputError(
                "metrics must be a list of SampleMetric objects, see get_metrics. "
                f"Received: {type(metric).__name__}."
            )
    for name, images in (("real_images", real_images), ("fake_images", fake_images)):
        if images is not None and not hasattr(images, "__len__"):
            raise InputError(f"{name} must be images. Received: {type(images).__name__}.")
    groups = {}
    for metric in metrics:
        key = metric.features if isinstance(metric.features, str) else id(metric.features)
        groups.setdefault(key, []).append(metric)
    for kind, images in (("real", real_images), ("fake", fake_images)):
        for start in range(0, 0 if images is None else len(images), IMAGES_AT_ONCE):
            some = images[start : start + IMAGES_AT_ONCE]
            for group in groups.values():
                active = [m for m in group if m.needs_real or kind == "fake"]
                if not active:
                    continue
                extractor = active[0].extractor
                if any(metric.needs_logits for metric in active):
                    features, logits = extractor.features_and_logits(some)
                else:
                    features, logits = extractor(some), None
                for metric in active:
                    metric.add(kind, features, logits)
