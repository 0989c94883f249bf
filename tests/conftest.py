"""Two logical CPUs for every test, so that strategies have two replicas to run on."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # the tests run in two processes

import inspect
import pathlib

import pytest
import tensorflow as tf

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def real_data():
    """The folder of prepared tensorflow-datasets sets, or a skip."""
    folder = os.environ.get("TFDS_DATA_DIR") or ROOT.parent / "shared" / "tensorflow_datasets"
    if not pathlib.Path(folder).is_dir():
        pytest.skip("no prepared data sets: set TFDS_DATA_DIR to run this test")
    return str(folder)


@pytest.fixture(scope="session")
def mirrored():
    """Two replicas on two logical CPUs; one strategy for all tests, see `get_strategy`."""
    from keras_genimg.distribution import get_strategy

    return get_strategy("mirrored")


@pytest.fixture
def pictures():
    """64 smooth random pictures, float32 (64, 16, 16, 1) in [-1, 1]."""
    from cases import smooth_pictures

    return smooth_pictures(64)


def pytest_collection_modifyitems(items):
    """Leaves out bfloat16 where ONEDNN_MAX_CPU_ISA holds oneDNN below AVX-512.

    TensorFlow 2.21 goes by the processor alone: it asks for kernels in bfloat16 that oneDNN then
    refuses, and a plain `tf.matmul` ends the process.
    """
    below = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")
    if os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() not in below:
        return
    skip = pytest.mark.skip(reason="oneDNN is held below what bfloat16 needs")
    for item in items:
        if "bfloat16" in item.name + inspect.getsource(item.function):
            item.add_marker(skip)
