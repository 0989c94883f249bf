"""The same global batch gives the same weights on one replica, two replicas, two workers."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, ONE_OF_A_CLASS, smooth_pictures, train

from keras_genimg import InputError, distribution

HERE = pathlib.Path(__file__).parent
TOLERANCE = 2e-4


@pytest.fixture(scope="module")
def one_replica():
    return {name: train(name, smooth_pictures(64)) for name in MODELS}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def worker_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def two_workers(worker_folder):
    """What each of two worker processes on loopback ended with."""
    folder = worker_folder
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        config = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        environment = {
            **os.environ,
            "TF_CONFIG": json.dumps(config),
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]),
        }
        command = [sys.executable, str(HERE / "worker.py"), str(folder / f"{index}.npz")]
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


def assert_same(weights, history, other_weights, other_history):
    assert len(weights) == len(other_weights)
    for weight, other in zip(weights, other_weights):
        np.testing.assert_allclose(other, weight, atol=TOLERANCE, rtol=0)
    assert set(history) == set(other_history)
    for name in history:
        np.testing.assert_allclose(other_history[name], history[name], rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_two_replicas_equal_one(name, one_replica, mirrored, pictures):
    weights, history = one_replica[name]
    assert_same(weights, history, *train(name, pictures, mirrored))


@pytest.mark.parametrize("name", ONE_OF_A_CLASS)
def test_two_workers_equal_one_replica(name, one_replica, two_workers):
    weights, history = one_replica[name]
    for arrays in two_workers:
        own = [arrays[key] for key in sorted(arrays) if key.startswith(f"{name}/weight_")]
        logs = {
            key.split("/log_")[1]: arrays[key] for key in arrays if key.startswith(f"{name}/log_")
        }
        assert_same(weights, history, own, logs)


def test_workers_go_by_the_figures_of_the_chief(two_workers, worker_folder):
    chief, other = [arrays["figures"] for arrays in two_workers]
    assert chief.shape == (1, 2) and (chief > 0).all()  # one figure in each of two epochs
    np.testing.assert_array_equal(other, chief)  # its own would be four times as large
    assert [path.name for path in worker_folder.glob("*.best.keras")] == ["0.npz.1.best.keras"]


@pytest.mark.parametrize("name", MODELS)
def test_the_training_that_is_compared_moves_the_weights(name, one_replica, pictures):
    # Otherwise equal weights would show nothing.
    import keras

    keras.utils.set_random_seed(1)
    start = MODELS[name]().get_weights()
    moved = [np.abs(a - b).max() for a, b in zip(one_replica[name][0], start)]
    assert max(moved) > 10 * TOLERANCE


@pytest.mark.parametrize("name", ONE_OF_A_CLASS)
def test_an_uneven_last_batch_is_exact_too(name, mirrored, pictures):
    # 22 pictures in batches of 16: the last batch gives the two replicas different shares.
    one = train(name, pictures[:27], batch_size=16, epochs=1)
    two = train(name, pictures[:27], mirrored, batch_size=16, epochs=1)
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
         for k, r in places(rows).items()}
        for rows in data
    ]
    assert results[0] == {
        "size": [3, 3], "first": [0, 3], "global_size": [6, 6], "share": [0.5, 0.5]
    }
    assert sum(results[1]["size"]) == 3 and results[1]["global_size"] == [3, 3]
    assert results[1]["first"][1] == results[1]["size"][0]
    assert sum(results[1]["share"]) == pytest.approx(1.0)


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
