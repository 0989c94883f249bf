"""The Keras metrics of samples: the results of the functions, one pass of the features."""

import copy

import keras
import numpy as np
import pytest

from keras_genimg.errors import InputError
from keras_genimg.metrics import (
    FeatureExtractor,
    FrechetDistance,
    InceptionScore,
    KernelDistance,
    PrecisionRecallDensityCoverage,
    as_stored,
    frechet_distance,
    get_features,
    get_metrics,
    inception_score,
    kernel_distance,
    precision_recall_density_coverage,
    update_metrics,
)
from keras_genimg.metrics.named_metrics import METRICS
from keras_genimg.plotting import to_uint8

ALL = [
    "frechet_distance", "kernel_distance", "inception_score", "precision_recall_density_coverage",
]


def images_of(count, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, 28, 28, 1)).astype("float32") * rng.uniform()


class Counting:
    """Three features and two logits of each image, counting the images."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        flat = np.asarray(images).reshape(len(images), -1)
        features = np.stack([flat.mean(1), flat.std(1), flat[:, 0]], axis=1)
        return features, features[:, :2]


def counting_extractor():
    function = Counting()
    return function, FeatureExtractor("three", function, has_logits=True)


def test_results_are_those_of_the_functions():
    real, fake = images_of(60, 0), images_of(50, 1)
    extractor = get_features("fashion_mnist")
    metrics = [
        FrechetDistance("fashion_mnist"),
        KernelDistance("fashion_mnist", subset_size=20, num_subsets=5, seed=3),
        InceptionScore("fashion_mnist", num_splits=2),
        PrecisionRecallDensityCoverage("fashion_mnist", k=3),
    ]
    for start in range(0, 60, 16):  # uneven batches
        update_metrics(
            metrics, real_images=real[start : start + 16], fake_images=fake[start : start + 16]
        )
    found = {name: value for metric in metrics for name, value in metric.result().items()}

    features = {"real_features": extractor(real), "fake_features": extractor(fake)}
    score = inception_score(extractor.logits(fake), num_splits=2)
    kernel = kernel_distance(**features, subset_size=20, num_subsets=5, seed=3)
    wanted = {
        "frechet_distance": frechet_distance(**features),
        "kernel_distance": kernel[0],
        "kernel_distance_std": kernel[1],
        "inception_score": score[0],
        "inception_score_std": score[1],
        **precision_recall_density_coverage(**features, k=3),
    }
    assert set(found) == {f"{name}[fashion_mnist]" for name in wanted}
    for name, value in wanted.items():
        assert found[f"{name}[fashion_mnist]"] == pytest.approx(value, rel=1e-5), name
    assert [name for metric in metrics for name in metric.result_names] == list(found)


def test_metrics_of_the_same_features_share_one_pass():
    function, extractor = counting_extractor()
    metrics = get_metrics(ALL, extractor)
    update_metrics(metrics, real_images=images_of(30, 0), fake_images=images_of(20, 1))
    assert function.seen == 50


def test_other_features_have_a_separate_pass():
    (first, one), (second, two) = counting_extractor(), counting_extractor()
    two.name = "other"
    update_metrics([FrechetDistance(one), FrechetDistance(two)], fake_images=images_of(20, 1))
    assert first.seen == second.seen == 20


def test_the_next_samples_meet_the_same_real_images():
    function, extractor = counting_extractor()
    for metric in [
        FrechetDistance(extractor),
        KernelDistance(extractor, subset_size=20),
        PrecisionRecallDensityCoverage(extractor),
    ]:
        metric.update_state(real_images=images_of(30, 0), fake_images=images_of(30, 1))
        first = metric.result()
        metric.reset_fake_state()
        metric.update_state(fake_images=images_of(30, 2))
        assert metric.result() != first
        metric.reset_fake_state()
        metric.update_state(fake_images=images_of(30, 1))
        assert metric.result() == pytest.approx(first)
        metric.reset_state()
        with pytest.raises(InputError, match="Received: (none|0)"):
            metric.result()


def test_is_a_keras_metric_that_can_be_saved():
    metric = KernelDistance("mnist", subset_size=17, name="mine")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert isinstance(again, keras.metrics.Metric)
    assert again.get_config() == metric.get_config()
    assert again.result_names == ["mine", "kernel_distance_std[mnist]"]
    with pytest.raises(InputError, match="only with features given by name"):
        FrechetDistance(lambda images: images).get_config()


def test_a_copy_has_the_same_images_and_shares_the_features():
    function, extractor = counting_extractor()
    options = {"kernel_distance": {"subset_size": 20}}
    for name, metric_class in METRICS.items():
        features = [extractor] if metric_class.needs_features else []
        metric = metric_class(*features, **options.get(name, {}))
        metric.update_state(real_images=images_of(30, 0), fake_images=images_of(30, 1))
        again = copy.deepcopy(metric)
        assert type(again) is type(metric) and again.extractor is metric.extractor
        assert again.result() == metric.result()
        again.reset_fake_state()
        again.update_state(fake_images=images_of(30, 2))
        assert again.result() != metric.result()


def test_as_stored_is_what_a_file_stores():
    images = images_of(5, 0)
    stored = as_stored(images)
    np.testing.assert_array_equal(to_uint8(stored), to_uint8(images))
    assert 0 < np.abs(stored - images).max() <= 0.5 / 127.5 + 1e-6
    np.testing.assert_array_equal(as_stored(stored), stored)


def test_invalid_arguments_are_refused():
    with pytest.raises(InputError, match='metrics must be "frechet_distance".*Received: .fid.'):
        get_metrics(["fid"], "mnist")
    with pytest.raises(InputError, match="frechet_distance needs features"):
        get_metrics("frechet_distance")
    with pytest.raises(InputError, match=r"Received: frechet_distance\[mnist\] twice"):
        get_metrics(["frechet_distance", FrechetDistance("mnist")], "mnist")
    with pytest.raises(InputError, match="Received: none"):
        get_metrics([])
    for make, words in [
        (lambda: KernelDistance("mnist", subset_size=1), "subset_size must be an integer of at"),
        (lambda: KernelDistance("mnist", num_subsets=0), "num_subsets must be a positive integer"),
        (lambda: KernelDistance("mnist", seed=0.5), "seed must be an integer of at least 0"),
        (lambda: InceptionScore("mnist", num_splits=0), "num_splits must be a positive integer"),
        (lambda: InceptionScore(np.zeros_like), "Logits need the features of a classifier"),
        (lambda: PrecisionRecallDensityCoverage("mnist", k=2.5), "k must be a positive integer"),
    ]:
        with pytest.raises(InputError, match=words):
            make()
    with pytest.raises(InputError, match="height 28"):
        FrechetDistance("mnist").update_state(fake_images=np.zeros((3, 32, 32, 1)))
