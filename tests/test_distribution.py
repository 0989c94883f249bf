"""The same global batch gives the same weights on one replica, two replicas, two workers.

Training is compared in float64, where ways of summing differ by 1e-12 and defects by 1e-3.
"""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, SHAPE, smooth_pictures, train
from matrix import Lazy, default_or_slow, group_of
from ports import free_ports

import keras_genimg
from keras_genimg import InputError, distribution
from keras_genimg.core import dtype_policy

HERE = pathlib.Path(__file__).parent
TOLERANCE = 1e-8
IMAGES = smooth_pictures(59)  # in batches of 16 the last one gives replicas unequal shares


@pytest.fixture(scope="module")
def one_replica():
    return Lazy(lambda name: train(name, IMAGES))


def run_workers(folder, names):
    """What each of two worker processes on loopback ended with."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = {
            **os.environ,
            "TF_CONFIG": json.dumps(config),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        }
        command = [sys.executable, str(HERE / "worker.py"), str(folder / f"{index}.npz"), *names]
        processes.append(
            subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        )
    try:
        for process in processes:
            _, errors = process.communicate(timeout=900)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in processes:
            process.kill()
    return [dict(np.load(folder / f"{index}.npz")) for index in range(2)]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """Names that are trained by one pair of processes -> folder, and what the two ended with."""

    def run(names):
        folder = tmp_path_factory.mktemp("workers")
        return folder, run_workers(folder, names)

    return Lazy(run)


def assert_same(weights, history, other_weights, other_history):
    assert len(weights) == len(other_weights)
    for weight, other in zip(weights, other_weights):
        assert weight.dtype == other.dtype and weight.dtype != np.float32
        np.testing.assert_allclose(other, weight, atol=TOLERANCE, rtol=0)
    assert any(weight.dtype == np.float64 for weight in weights)
    assert set(history) == set(other_history)
    for name in history:  # means over an epoch are float32
        np.testing.assert_allclose(other_history[name], history[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("name", default_or_slow(MODELS, ["gan", "vae"], fifth=1))
def test_two_replicas_equal_one(name, one_replica, mirrored):
    assert_same(*one_replica[name], *train(name, IMAGES, mirrored))


@pytest.mark.parametrize("name", default_or_slow(MODELS, [], fifth=1))
def test_two_workers_equal_one_replica(name, one_replica, two_workers):
    _, results = two_workers[group_of(name, [], fifth=1)]
    for arrays in results:
        weights = [arrays[key] for key in sorted(arrays) if key.startswith(f"{name}/weight_")]
        logs = {
            key.split("/log_")[1]: arrays[key] for key in arrays if key.startswith(f"{name}/log_")
        }
        assert_same(*one_replica[name], weights, logs)


@pytest.mark.parametrize("name", default_or_slow(MODELS, [], fifth=2))
def test_two_replicas_equal_one_in_the_precision_of_everyday(name, mirrored):
    one, two = (train(name, IMAGES[:27], s, epochs=1, policy="float32") for s in (None, mirrored))
    for weight, other in zip(one[0], two[0], strict=True):
        np.testing.assert_allclose(other, weight, atol=2e-4)


def test_workers_go_by_the_values_of_the_chief(two_workers):
    folder, results = two_workers[("gan",)]
    chief, other = [arrays["values"] for arrays in results]
    assert chief.shape == (1, 2) and (chief > 0).all()  # one value in each of two epochs
    np.testing.assert_array_equal(other, chief)  # its own would be four times as large
    assert [path.name for path in folder.glob("*.best.keras")] == ["0.npz.1.best.keras"]


@pytest.mark.parametrize("name", default_or_slow(MODELS, ["gan", "vae"], fifth=1))
def test_the_training_that_is_compared_moves_the_weights(name, one_replica):
    # Otherwise equal weights would show nothing.
    keras.utils.set_random_seed(1)
    with dtype_policy("float64"):
        start = MODELS[name]().get_weights()
    moved = [np.abs(a - b).max() for a, b in zip(one_replica[name][0], start)]
    assert max(moved) > 1e5 * TOLERANCE


class SameNoise(keras_genimg.GAN):
    """A defect: every replica draws the noise of the first, as Keras's own generators do."""

    def sample_latents(self, batch):
        return super().sample_latents(batch._replace(first=0, global_size=batch.size))


class UnequalWeights(keras_genimg.GAN):
    """A defect: every replica's mean counts as much, whatever its number of images."""

    def unpack(self, data):
        images, labels, batch = super().unpack(data)
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return images, labels, batch._replace(share=tf.constant(1.0 / replicas, tf.float64))


class OwnMoments(keras_genimg.GAN):
    """A defect: batch normalisation that takes each replica's moments for those of the batch."""

    def __init__(self, *args, **kwargs):
        generator = keras.Sequential(
            [keras.Input((4,)), keras.layers.Dense(256), keras.layers.BatchNormalization(),
             keras.layers.Reshape(SHAPE)]
        )
        super().__init__(*args, generator=generator, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("defect", [SameNoise, UnequalWeights, OwnMoments])
def test_the_comparison_sees_a_defect(defect, mirrored):
    def make():
        return defect(SHAPE, 4, networks="mlp", seed=3)

    one, two = train(make, IMAGES, epochs=1), train(make, IMAGES, mirrored, epochs=1)
    with pytest.raises(AssertionError, match="Not equal to tolerance rtol=0, atol=1e-08"):
        assert_same(*one, *two)


def test_noise_of_a_replica_is_its_rows_of_the_global_noise(mirrored):
    seed = tf.constant([5, 0], tf.int64)
    whole = distribution.random_normal(distribution.whole_batch(6), (3,), seed)
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(tf.range(6)).batch(6)
    )

    @tf.function
    def draw(rows):
        return mirrored.run(
            lambda x: distribution.random_normal(distribution.global_batch(x), (3,), seed), (rows,)
        )

    parts = mirrored.experimental_local_results(draw(next(iter(data))))
    np.testing.assert_array_equal(tf.concat(parts, 0), whole)
    assert np.abs(parts[0] - parts[1]).min() > 0  # not the same noise twice


@pytest.mark.parametrize("bits", [0, 2**31 - 1, -(2**31), -1])
def test_noise_is_finite_for_the_most_extreme_bits(bits, monkeypatch):
    # One draw in 2^24 has them: an epoch or two of training.
    monkeypatch.setattr(
        tf.random, "stateless_uniform", lambda shape, *_, **__: tf.fill(shape, tf.constant(bits))
    )
    batch, seed = distribution.whole_batch(2), tf.constant([1, 0], tf.int64)
    for draw in (
        distribution.random_normal,
        distribution.random_truncated_normal,
        distribution.random_uniform,
    ):
        values = draw(batch, (3,), seed).numpy()
        assert np.isfinite(values).all() and np.abs(values).max() < 6


@pytest.mark.parametrize("limit", [0.1, 2.0, 5.4, 5.5, 8.0, 100.0])
def test_a_truncated_normal_stays_within_its_limit_for_the_most_extreme_bits(limit, monkeypatch):
    batch, seed = distribution.whole_batch(2), tf.constant([1, 0], tf.int64)
    for bits in (tf.constant(0), tf.constant(-1)):
        monkeypatch.setattr(
            tf.random, "stateless_uniform", lambda shape, *_, **__: tf.fill(shape, bits)
        )
        values = distribution.random_truncated_normal(batch, (3,), seed, limit).numpy()
        assert np.isfinite(values).all() and np.abs(values).max() <= np.float32(limit)


def test_truncated_normal_numbers_stay_as_they_are():
    # What models have been trained and published with.
    batch, seed = distribution.whole_batch(2), tf.constant([9, 0], tf.int64)
    values = distribution.random_truncated_normal(batch, (3,), seed)
    expected = [[-1.4044648, 1.0355659, -0.4488871], [1.4340202, -0.7099945, -1.0103952]]
    np.testing.assert_allclose(values, expected, rtol=2e-7)
    again = distribution.random_truncated_normal(batch, (3,), seed, limit=2.0)
    np.testing.assert_array_equal(again, values)


def test_noise_has_the_moments_it_should():
    batch, seed = distribution.whole_batch(200_000), tf.constant([9, 0], tf.int64)
    normal = distribution.random_normal(batch, (2,), seed).numpy().astype("float64")
    moments = [np.mean(normal**power) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.05)
    assert abs(np.corrcoef(normal.T)[0, 1]) < 0.01
    truncated = distribution.random_truncated_normal(batch, (2,), seed).numpy()
    assert np.abs(truncated).max() <= 2.0
    # 1 - 2 a phi(a) / (Phi(a) - Phi(-a)) at a = 2
    assert np.var(truncated) == pytest.approx(0.7737, abs=0.01)
    narrow = distribution.random_truncated_normal(batch, (2,), seed, limit=0.5).numpy()
    assert 0.4999 < np.abs(narrow).max() <= 0.5
    assert np.var(narrow) == pytest.approx(0.08059, abs=0.0005)  # the same at a = 0.5
    wide = distribution.random_truncated_normal(batch, (2,), seed, limit=8.0).numpy()
    assert np.var(wide) == pytest.approx(1, abs=0.01) and np.abs(wide).max() > 4
    uniform = distribution.random_uniform(batch, (2,), seed, -1.0, 1.0).numpy()
    assert -1 <= uniform.min() and uniform.max() < 1
    assert np.var(uniform) == pytest.approx(1 / 3, abs=0.01)


def test_shares_of_the_global_batch_add_up(mirrored):
    data = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(tf.range(9)).batch(6)
    )

    @tf.function
    def places(rows):
        return mirrored.run(lambda x: distribution.global_batch(x)._asdict(), (rows,))

    results = [
        {k: [int(v) if k != "share" else float(v) for v in mirrored.experimental_local_results(r)]
         for k, r in places(rows).items() if k != "weights"}
        for rows in data
    ]
    assert results[0] == {
        "size": [3, 3], "first": [0, 3], "global_size": [6, 6], "share": [0.5, 0.5]
    }
    assert sum(results[1]["size"]) == 3 and results[1]["global_size"] == [3, 3]
    assert results[1]["first"][1] == results[1]["size"][0]
    assert sum(results[1]["share"]) == pytest.approx(1.0)


def test_a_weighted_mean_is_divided_by_the_number_of_images():
    batch = distribution.whole_batch(3)
    values = tf.constant([[1.0, 3.0], [5.0, 7.0], [0.0, 2.0]])
    assert float(batch.mean(values)) == 3.0
    weighted = batch._replace(weights=tf.constant([2.0, 0.0, 1.0], tf.float64))
    assert float(weighted.mean(values)) == pytest.approx((2 * 2 + 0 + 1) / 3)  # sum(w * l) / n
    assert float(weighted.mean(values[:, 0])) == pytest.approx(2 / 3)


def test_strategy_names(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert distribution.get_strategy("auto").num_replicas_in_sync == 1
    assert distribution.get_strategy("mirrored").num_replicas_in_sync == 2
    with pytest.raises(InputError, match="strategy must be one of auto, mirrored, multi_worker"):
        distribution.get_strategy("horovod")
    with pytest.raises(InputError, match="TF_CONFIG"):
        distribution.get_strategy("multi_worker")
    monkeypatch.setenv("TF_CONFIG", "not json")
    with pytest.raises(InputError, match="not json"):
        distribution.get_strategy("multi_worker")
