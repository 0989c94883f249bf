"""The metrics of samples as Keras metrics: fed in batches, asked for the figure at the end."""

import keras
import numpy as np

from keras_genimg.errors import InputError
from keras_genimg.metrics.features import get_features
from keras_genimg.metrics.frechet_distance import RunningMoments, frechet_distance
from keras_genimg.metrics.inception_score import inception_score
from keras_genimg.metrics.kernel_distance import kernel_distance
from keras_genimg.metrics.precision_recall import precision_recall_density_coverage
from keras_genimg.plotting import to_uint8

__all__ = [
    "FrechetDistance",
    "InceptionScore",
    "KernelDistance",
    "PrecisionRecallDensityCoverage",
    "SampleMetric",
    "as_stored",
    "get_metrics",
    "update_metrics",
]

PICTURES_AT_ONCE = 1024  # of an array that holds them all


class SampleMetric(keras.metrics.Metric):
    """Base of the metrics that compare generated pictures with real ones.

    They run outside TensorFlow's graphs, in a loop of one's own or in the callback
    `EvaluateSamples`, not inside `train_step`. Real pictures are fed once and stay when
    `reset_fake_state` makes room for the next samples.

    Args:
        features: what the figures are taken in: see `get_features`.
        name: string, by default that of the metric with the features in brackets.
    """

    base_name = None
    figures = ()  # what the result holds, before the features are added to the names
    needs_real = True
    needs_logits = False
    larger_is_better = False

    def __init__(self, features, name=None):
        self.features = features
        self.extractor = get_features(features)
        super().__init__(name=name or self.extractor.metric_name(self.base_name))
        self.reset_state()

    def update_state(self, real_images=None, fake_images=None):
        """Adds pictures.

        Args:
            real_images: float array or eager tensor `(n, height, width, channels)` in
                [-1, 1], or None.
            fake_images: the same.

        Raises:
            InputError: pictures that the features do not take.
        """
        update_metrics([self], real_images=real_images, fake_images=fake_images)

    def add(self, kind, features, logits):
        """Adds what the extractor made of pictures.

        Args:
            kind: `"real"` or `"fake"`.
            features: float32 array `(n, dimensions)`.
            logits: float32 array `(n, classes)`, or None where `needs_logits` is false.
        """
        self._kept[kind].append(features)

    def result(self):
        """The figures so far, by name.

        Returns:
            dict of floats by `figure_names`, the one to select by first.

        Raises:
            InputError: too few pictures.
        """
        values = self._compute(*(self._joined(kind) for kind in ("real", "fake")))
        return dict(zip(self.figure_names, map(float, values)))

    @property
    def figure_names(self):
        """list of strings: the keys of `result()`, known before it."""
        names = [self.extractor.metric_name(figure) for figure in self.figures]
        return [self.name if figure == self.base_name else name
                for figure, name in zip(self.figures, names)]

    def reset_state(self):
        """Forgets all pictures."""
        self._kept = {"real": _Batches(), "fake": _Batches()}

    def reset_fake_state(self):
        """Forgets the generated pictures and keeps what is known of the real ones."""
        self._kept["fake"] = _Batches()

    def get_config(self):
        if not isinstance(self.features, str):
            raise InputError(
                f"{type(self).__name__} can be saved with features known by name only. "
                f"Received: features={self.features!r}."
            )
        return {"features": self.features, "name": self.name}

    def _compute(self, real, fake):
        raise NotImplementedError

    def _joined(self, kind):
        if kind == "real" and not self.needs_real:
            return None
        return self._kept[kind].joined(f"{kind}_images")


class _Batches:
    """Rows that came in batches. (A plain list would be wrapped by Keras.)"""

    def __init__(self):
        self.batches = ()

    def append(self, batch):
        self.batches = (*self.batches, batch)

    def joined(self, name):
        if not self.batches:
            raise InputError(f"A metric of samples needs {name} before its result. Received: none.")
        if len(self.batches) > 1:
            self.batches = (np.concatenate(self.batches),)
        return self.batches[0]


@keras.saving.register_keras_serializable(package="keras_genimg")
class FrechetDistance(SampleMetric):
    """`frechet_distance` of real and generated pictures; it keeps moments, not features.

    Args:
        features: see `get_features`. Called by their name; only in the features of the 2015
            Inception graph would it be the FID.
        name: string, "frechet_distance[fashion_mnist]" by default.

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
    figures = ("frechet_distance",)

    def add(self, kind, features, logits):
        self._kept[kind].update(features)

    def reset_state(self):
        self._kept = {"real": RunningMoments(), "fake": RunningMoments()}

    def reset_fake_state(self):
        self._kept["fake"] = RunningMoments()

    def _joined(self, kind):
        return self._kept[kind]

    def _compute(self, real, fake):
        return [frechet_distance(real, fake)]


@keras.saving.register_keras_serializable(package="keras_genimg")
class KernelDistance(SampleMetric):
    """`kernel_distance` of real and generated pictures, and its standard deviation.

    Args:
        features: see `get_features`.
        subset_size, num_subsets, seed: as for `kernel_distance`.
        name: string, "kernel_distance[fashion_mnist]" by default.

    Reference: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401
    """

    base_name = "kernel_distance"
    figures = ("kernel_distance", "kernel_distance_std")

    def __init__(self, features, subset_size=1000, num_subsets=100, seed=0, name=None):
        super().__init__(features, name=name)
        self.options = {"subset_size": subset_size, "num_subsets": num_subsets, "seed": seed}

    def _compute(self, real, fake):
        return kernel_distance(real, fake, **self.options)

    def get_config(self):
        return {**super().get_config(), **self.options}


@keras.saving.register_keras_serializable(package="keras_genimg")
class InceptionScore(SampleMetric):
    """`inception_score` of generated pictures, by any classifier; it needs no real ones.

    Args:
        features: see `get_features`; those of a classifier.
        num_splits: int, as for `inception_score`.
        name: string, "inception_score[fashion_mnist]" by default.

    Reference: Salimans et al. (2016), https://arxiv.org/abs/1606.03498
    """

    base_name = "inception_score"
    figures = ("inception_score", "inception_score_std")
    needs_real = False
    needs_logits = True
    larger_is_better = True

    def __init__(self, features, num_splits=10, name=None):
        super().__init__(features, name=name)
        self.num_splits = num_splits

    def add(self, kind, features, logits):
        self._kept[kind].append(logits)

    def _compute(self, real, fake):
        return inception_score(fake, num_splits=self.num_splits)

    def get_config(self):
        return {**super().get_config(), "num_splits": self.num_splits}


@keras.saving.register_keras_serializable(package="keras_genimg")
class PrecisionRecallDensityCoverage(SampleMetric):
    """`precision_recall_density_coverage` of real and generated pictures.

    Args:
        features: see `get_features`.
        k: int. Neighbours.
        name: string, by default that of the function with the features in brackets.

    Reference: Kynkaanniemi et al. (2019), https://arxiv.org/abs/1904.06991; Naeem et al.
        (2020), https://arxiv.org/abs/2002.09797
    """

    base_name = "precision_recall_density_coverage"
    figures = ("precision", "recall", "density", "coverage")
    larger_is_better = True

    def __init__(self, features, k=5, name=None):
        super().__init__(features, name=name)
        self.k = k

    def _compute(self, real, fake):
        values = precision_recall_density_coverage(
            real_features=real, fake_features=fake, k=self.k
        )
        return [values[figure] for figure in self.figures]

    def get_config(self):
        return {**super().get_config(), "k": self.k}


METRICS = {
    metric.base_name: metric
    for metric in (FrechetDistance, KernelDistance, InceptionScore, PrecisionRecallDensityCoverage)
}


def get_metrics(metrics, features=None):
    """Metric objects, from names or objects.

    Args:
        metrics: a name ("frechet_distance", "kernel_distance", "inception_score",
            "precision_recall_density_coverage"), a `SampleMetric`, or a list of them.
        features: what the named ones are taken in: see `get_features`.

    Returns:
        list of `SampleMetric`.

    Raises:
        InputError: an unknown name, a name without features, or two metrics of one name.
    """
    metrics = [metrics] if isinstance(metrics, (str, SampleMetric)) else list(metrics)
    found = []
    for metric in metrics:
        if not isinstance(metric, SampleMetric):
            if not isinstance(metric, str) or metric not in METRICS:
                names = ", ".join(f'"{name}"' for name in METRICS)
                raise InputError(f"metrics must be {names} or metric objects. Received: {metric!r}.")
            if features is None:
                raise InputError(
                    f"{metric} is taken in features, which must be named: features="
                    '"fashion_mnist" for example. Received: features=None.'
                )
            features = get_features(features)  # opened once for all
            metric = METRICS[metric](features)
        found.append(metric)
    names = [metric.name for metric in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not found:
        raise InputError(
            "metrics must be at least one, each of a name of its own. "
            f"Received: {', '.join(twice) + ' twice' if twice else 'none'}."
        )
    return found


def as_stored(images):
    """Images as an 8-bit file gives them back, which is how real ones come.

    A figure of generated pictures is then that of the files written from them.

    Args:
        images: float array of any shape in [-1, 1].

    Returns:
        float32 array of the same shape: of 256 levels from -1 to 1 the nearest.

    Raises:
        InputError: NaN or infinity.

    Example:
        >>> as_stored([-1.0, 0.0, 2.0])
        array([-1.        ,  0.00392163,  1.        ], dtype=float32)
    """
    return to_uint8(images).astype("float32") / 127.5 - 1.0


def update_metrics(metrics, *, real_images=None, fake_images=None):
    """Feeds pictures to several metrics; metrics of the same features share one pass.

    Args:
        metrics: list of `SampleMetric`.
        real_images: float array `(n, height, width, channels)` in [-1, 1], or None.
        fake_images: the same.

    Raises:
        InputError: pictures that the features do not take.
    """
    groups = {}
    for metric in metrics:
        key = metric.features if isinstance(metric.features, str) else id(metric.features)
        groups.setdefault(key, []).append(metric)
    for kind, images in (("real", real_images), ("fake", fake_images)):
        for start in range(0, 0 if images is None else len(images), PICTURES_AT_ONCE):
            some = images[start : start + PICTURES_AT_ONCE]
            for group in groups.values():
                interested = [m for m in group if m.needs_real or kind == "fake"]
                if not interested:
                    continue
                extractor = interested[0].extractor
                if any(metric.needs_logits for metric in interested):
                    features, logits = extractor.features_and_logits(some)
                else:
                    features, logits = extractor(some), None
                for metric in interested:
                    metric.add(kind, features, logits)
