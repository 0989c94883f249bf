"""What workers compare before they train: two threads stand for two workers."""

import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_genimg import workers
from keras_genimg.cluster import Cluster
from keras_genimg.data import data_info
from keras_genimg.errors import InputError
from keras_genimg.workers import check_agreement, fingerprint

SAME = {"settings": "{}", "data": "glyphs", "start": "epoch 2, step 0", "weights": "0a"}


class Strategy(tf.distribute.MultiWorkerMirroredStrategy):
    """Of several workers, but without a cluster."""

    def __init__(self):
        pass


@pytest.fixture
def agreed(monkeypatch):
    """What `check_agreement` says on each of some workers: a message, or None."""
    here, tables = threading.local(), {}

    def run(*texts):
        barrier = threading.Barrier(len(texts))
        addresses = tuple(f"host{index + 1}:1" for index in range(len(texts)))
        said = [None] * len(texts)

        def read_cluster():
            return Cluster(addresses, here.index)

        def sum_over_workers(values, strategy):
            tables[here.index] = values
            barrier.wait(10)
            return np.sum([tables[index] for index in range(len(texts))], axis=0).tolist()

        monkeypatch.setattr(workers, "read_cluster", read_cluster)
        monkeypatch.setattr(workers, "_sum_over_workers", sum_over_workers)

        def worker(index):
            here.index = index
            try:
                check_agreement(Strategy(), **texts[index])
            except InputError as error:
                said[index] = str(error)

        threads = [threading.Thread(target=worker, args=(index,)) for index in range(len(texts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return said

    return run


def test_workers_that_agree_go_on(agreed):
    assert agreed(SAME, SAME, SAME) == [None] * 3
    check_agreement(tf.distribute.get_strategy(), data="alone")


@pytest.mark.parametrize("name", SAME)
def test_all_workers_hear_what_differs_and_where(agreed, name):
    said = agreed(SAME, SAME, {**SAME, name: "other"})
    for here, message in zip([SAME[name], SAME[name], "other"], said):
        assert message == (
            f"All workers must have the same {name}. Received: other {name} on host3:1 than on "
            f"host1:1; here {here}."
        )


def test_fingerprints_of_weights():
    weights = [np.arange(3.0), np.ones((2, 2))]
    assert fingerprint(weights) == fingerprint([tf.Variable(each) for each in weights])
    weights[1][1, 1] += 1e-12
    assert fingerprint(weights) != fingerprint([np.arange(3.0), np.ones((2, 2))])


def test_folders_of_as_many_images_have_another_content(tmp_path):
    rng, found = np.random.default_rng(0), []
    for name, files in [("one", "ab"), ("copy", "ab"), ("named", "ac"), ("sized", "ab")]:
        (tmp_path / name).mkdir()
        for file in files:
            high = 200 if name == "sized" else 1
            pixels = rng.integers(0, high, (16, 16), "uint8")
            Image.fromarray(pixels).save(tmp_path / name / f"{file}.png")
        info = data_info(tmp_path / name)
        assert info == ((16, 16, 1), 2, None)
        found.append(info.content)
    assert found[0] == found[1] and len(set(found)) == 3


def test_sets_have_the_content_of_their_version(real_data):
    assert data_info("mnist", data_dir=real_data).content == "mnist/3.0.1"
    assert data_info("moving_mnist", data_dir=real_data).content == "mnist/3.0.1"
    assert data_info("glyphs").content == ""
