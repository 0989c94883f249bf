"""The metrics of samples by their names."""

from keras_genimg.errors import InputError
from keras_genimg.metrics.features import Features, get_features
from keras_genimg.metrics.sample_metrics import (
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    PrecisionRecallDensityCoverage,
    SampleMetric,
)
from keras_genimg.metrics.sliced_wasserstein import SlicedWassersteinDistance

__all__ = ["METRICS", "get_metrics", "needs_features"]

METRICS = {
    metric.base_name: metric
    for metric in (
        FrechetDistance, KernelDistance, InceptionScore, PrecisionRecallDensityCoverage,
        SlicedWassersteinDistance,
    )
}


def get_metrics(metrics, features: Features | None = None) -> list[SampleMetric]:
    """Metric objects of names or objects.

    Args:
        metrics: a name ("frechet_distance", "kernel_distance", "inception_score",
            "precision_recall_density_coverage", "sliced_wasserstein_distance"), a
            `SampleMetric`, or a list of them.
        features: for metrics given by name, see `get_features`; the last one needs none.

    Returns:
        list of `SampleMetric`.

    Raises:
        InputError: an unknown name, a name without features, no metric, or two of the same
            name.
    """
    metrics = [metrics] if isinstance(metrics, (str, SampleMetric)) else list(metrics)
    found = []
    for metric in metrics:
        if not isinstance(metric, SampleMetric):
            if not isinstance(metric, str) or metric not in METRICS:
                names = ", ".join(f'"{name}"' for name in METRICS)
                raise InputError(
                    f"metrics must be {names} or metric objects. Received: {metric!r}."
                )
            given = []
            if METRICS[metric].needs_features:
                if features is None:
                    raise InputError(
                        f"{metric} needs features, for example features="
                        '"fashion_mnist". Received: features=None.'
                    )
                given = [features := get_features(features)]  # loaded once for all
            metric = METRICS[metric](*given)
        found.append(metric)
    names = [metric.name for metric in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not found:
        raise InputError(
            "metrics must be at least one, with distinct names. "
            f"Received: {', '.join(twice) + ' twice' if twice else 'none'}."
        )
    return found


def needs_features(name: str) -> bool:
    """Whether a metric of this name is one in features; also True for an unknown name."""
    return name not in METRICS or METRICS[name].needs_features
