"""`load` and `data_info`: orders, passes, batches, arguments, distribution."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.data import data_info, load
from keras_genimg.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def small(**options):
    return load("glyphs", **{"batch_size": 16, "num_images": 100, "image_size": 16, **options})


def batches(dataset, count=None):
    return [batch.numpy() for batch in (dataset if count is None else dataset.take(count))]


def numbers(images):
    """Which image of the unshuffled set each of these is."""
    stored = np.concatenate(batches(small())).reshape(100, -1)
    where = {image.tobytes(): i for i, image in enumerate(stored)}
    return [where[image.tobytes()] for image in images.reshape(len(images), -1)]


def passes(dataset, count):
    """The orders of `count` passes of 100 images in batches of 16."""
    order = numbers(np.concatenate(batches(dataset, count * 7)))
    return [order[i : i + 100] for i in range(0, len(order), 100)]


def test_values_shapes_and_types():
    (images, labels), *_ = load("glyphs", batch_size=64, with_labels=True)
    assert images.shape == (64, 28, 28, 1) and images.dtype == tf.float32
    assert labels.shape == (64,) and labels.dtype == tf.int32
    assert float(tf.reduce_min(images)) == -1 and float(tf.reduce_max(images)) == 1
    np.testing.assert_array_equal(labels, np.arange(64) % 10)
    spec = load("glyphs", batch_size=8, image_size=(16, 20), channels=3).element_spec
    assert spec.shape.as_list() == [None, 16, 20, 3]
    spec = load("glyphs", batch_size=8, drop_remainder=True).element_spec
    assert spec.shape.as_list() == [8, 28, 28, 1]


def test_data_info():
    assert data_info("glyphs") == ((28, 28, 1), 20_000, 10)
    assert data_info("glyphs", "test", image_size=32, channels=3) == ((32, 32, 3), 5_000, 10)
    assert data_info("glyphs", num_images=10**7).num_images == 10**7


def test_batches_do_not_cross_passes():
    assert [len(batch) for batch in batches(small(epochs=2))] == ([16] * 6 + [4]) * 2
    assert len(small(epochs=2)) == 14
    dropped = small(epochs=2, drop_remainder=True)
    assert [len(batch) for batch in batches(dropped)] == [16] * 12
    assert len(dropped) == 12
    assert small(epochs=None).cardinality() == tf.data.INFINITE_CARDINALITY
    assert [len(batch) for batch in batches(small(batch_size=128))] == [100]


@pytest.mark.parametrize("epochs", [3, None])
def test_each_pass_is_a_permutation_of_its_own(epochs):
    orders = passes(small(shuffle_seed=1, epochs=epochs), 3)
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != list(range(100))


def test_strategies_shard_by_images():
    options = small().options()
    expected = tf.data.experimental.AutoShardPolicy.DATA
    assert options.experimental_distribute.auto_shard_policy == expected
    assert options.deterministic


def test_no_seed_keeps_the_stored_order():
    assert passes(small(epochs=None), 2) == [list(range(100))] * 2


def test_resumed_passes_are_those_of_an_unbroken_run():
    unbroken = passes(small(shuffle_seed=1, epochs=None), 5)
    assert passes(small(shuffle_seed=1, epochs=None, first_epoch=3), 2) == unbroken[3:]
    assert passes(small(shuffle_seed=1, epochs=2, first_epoch=1), 2) == unbroken[1:3]
    assert passes(small(shuffle_seed=2, epochs=None), 1)[0] not in unbroken
    within = batches(small(shuffle_seed=1, epochs=None, first_epoch=3, first_batch=4).take(3))
    assert numbers(np.concatenate(within)) == unbroken[3][64:]


def test_iterating_again_goes_on_with_the_next_passes():
    unbroken = passes(small(shuffle_seed=1, epochs=None), 4)
    dataset = small(shuffle_seed=1)
    assert [numbers(np.concatenate(batches(dataset))) for _ in range(4)] == unbroken
    dataset = small(shuffle_seed=1, epochs=2)
    assert [passes(dataset, 2), passes(dataset, 2)] == [unbroken[:2], unbroken[2:]]


def test_looking_at_a_batch_does_not_use_up_a_pass():
    dataset = small(shuffle_seed=1)
    first = next(iter(dataset)).numpy()
    np.testing.assert_array_equal(batches(dataset)[0], first)


def test_the_seed_of_the_program_has_no_say():
    tf.random.set_seed(1)
    first = passes(small(shuffle_seed=1), 1)
    tf.random.set_seed(2)
    assert passes(small(shuffle_seed=1), 1) == first


def test_fit_counts_its_steps():
    class CountSteps(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1

    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    count = CountSteps()
    model.fit(small(with_labels=True, shuffle_seed=0), epochs=2, shuffle=False, verbose=0,
              callbacks=[count])  # fmt: skip
    assert count.steps == 14


SECOND_PROCESS = """
import hashlib, sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
import keras
from keras_genimg.data import load


def small(**options):
    return load("glyphs", batch_size=16, num_images=100, image_size=16, shuffle_seed=1, **options)


digest = hashlib.sha256(b"".join(batch.numpy().tobytes() for batch in small())).hexdigest()
print("digest", digest)

for options in ({"epochs": 2}, {"epochs": None}):
    single = [batch.numpy() for batch in small(**options).take(14)]
    shared = strategy.experimental_distribute_dataset(small(**options))
    for batch, (_, parts) in zip(single, zip(range(14), shared)):
        sizes = [len(part) for part in parts.values]
        assert max(sizes) - min(sizes) <= 1, sizes
        together = np.concatenate([part.numpy() for part in parts.values])
        np.testing.assert_array_equal(batch, together)


class Regression(keras.Model):
    def __init__(self):
        super().__init__()
        self.layer = keras.layers.Dense(1)

    def call(self, images):
        return self.layer(keras.ops.mean(images, axis=1)[..., 0])


def trained():
    keras.utils.set_random_seed(0)
    model = Regression()
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(small(drop_remainder=True, with_labels=True), epochs=3, shuffle=False, verbose=0)
    return [weight.numpy() for weight in model.layer.weights]


alone = trained()
with strategy.scope():
    together = trained()
for one, other in zip(alone, together):
    np.testing.assert_allclose(one, other, rtol=1e-5)
print("done")
"""


@pytest.mark.full
def test_another_process_and_a_strategy_see_the_same_images():
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run(
        [sys.executable, "-c", SECOND_PROCESS], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    here = hashlib.sha256(b"".join(b.tobytes() for b in batches(small(shuffle_seed=1)))).hexdigest()
    assert result.stdout.split() == ["digest", here, "done"]


def test_unknown_name():
    with pytest.raises(InputError, match="closest names are .*fashion_mnist") as error:
        load("fashion-mnist", batch_size=8)
    assert "name='fashion-mnist'" in str(error.value)
    with pytest.raises(InputError, match="closest names are glyphs"):
        load("glyph", batch_size=8)
    with pytest.raises(InputError, match="name must be a string or a path"):
        load(None, batch_size=8)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"split": "validation"}, r"one of \['test', 'train'\].*split='validation'"),
        ({"batch_size": 0}, "batch_size must be a positive integer.*batch_size=0"),
        ({"batch_size": -1}, "batch_size=-1"),
        ({"batch_size": 8.0}, "batch_size=8.0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": None}, "batch_size=None"),
        ({"batch_size": 101, "drop_remainder": True}, "batch_size=101 for 100 images"),
        ({"image_size": 0}, "image_size must be a positive integer.*image_size=0"),
        ({"image_size": (28, -1)}, "image_size=-1"),
        ({"image_size": (28, 28, 1)}, r"\(height, width\).*\(28, 28, 1\)"),
        ({"image_size": "28"}, "image_size='28'"),
        ({"image_size": 15}, r"from 16 to 256.*\(15, 15\)"),
        ({"image_size": (28, 257)}, r"from 16 to 256.*\(28, 257\)"),
        ({"channels": 2}, "channels must be 1 or 3.*channels=2"),
        ({"num_images": 0}, "num_images must be a positive integer.*num_images=0"),
        ({"epochs": 0}, "epochs must be a positive integer.*epochs=0"),
        ({"first_epoch": -1}, "first_epoch must be an integer of at least 0.*first_epoch=-1"),
        ({"first_batch": -1, "epochs": None}, "first_batch must be an integer of at least 0"),
        ({"first_batch": 1}, "endless dataset.*first_batch=1 and epochs=1"),
        ({"shuffle_seed": 1.5}, "shuffle_seed must be an integer.*shuffle_seed=1.5"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        small(**options)


def test_numpy_integers_are_integers():
    assert len(small(batch_size=np.int64(50), shuffle_seed=np.int32(1))) == 2
