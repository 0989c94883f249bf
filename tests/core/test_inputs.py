"""Every kind of data that `fit` takes is checked, in every batch, and grouped to steps."""

import os
import subprocess
import sys
import types
import warnings

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures

from keras_genimg import GAN, VAE, WGAN, ConditionalVAE, InputError
from keras_genimg.core.inputs import batches_of
from keras_genimg.core.logs import StopOnNonFinite

IMAGES = smooth_pictures(20)
LABELS = np.arange(20) % 4
NAN = IMAGES.copy()
NAN[13, 3, 3] = np.nan  # in the fourth batch of four


class Loader:
    """As torch's `DataLoader`: each pass over it yields lists of arrays of a library of its own."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return 5

    def __iter__(self):
        for first in range(0, 20, 4):
            yield [Foreign(array[first : first + 4]) for array in self.arrays]


class Foreign:
    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


class Batches(keras.utils.PyDataset):
    def __init__(self, *arrays, **options):
        super().__init__(**options)
        self.arrays, self.epochs = arrays, []

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return tuple(array[4 * index : 4 * index + 4] for array in self.arrays)

    def on_epoch_begin(self):
        self.epochs.append("begin")

    def on_epoch_end(self):
        self.epochs.append("end")


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(4)


def generator(*arrays):
    return (tuple(array[i : i + 4] for array in arrays) for i in range(0, 20, 4))


def of_unknown_rank(*arrays):
    specs = tuple(tf.TensorSpec(None, array.dtype) for array in arrays)
    source = tf.data.Dataset.from_generator(lambda: generator(*arrays), output_signature=specs)
    return source.apply(tf.data.experimental.assert_cardinality(5))


KINDS = {
    "dataset": dataset, "of_unknown_rank": of_unknown_rank, "generator": generator,
    "loader": Loader, "py_dataset": Batches,
    "py_dataset_of_threads": lambda *arrays: Batches(*arrays, workers=2),
}  # fmt: skip


@pytest.fixture(scope="module")
def vae():
    model = ConditionalVAE(SHAPE, num_classes=4, latent_dim=2, networks="mlp", seed=0)
    model.compile()
    return model


@pytest.fixture(scope="module")
def wgan():
    generator = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(256, "tanh"), keras.layers.Reshape(SHAPE)]
    )
    critic = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model = WGAN(SHAPE, 2, generator=generator, discriminator=critic, n_critic=2, seed=0)
    model.compile()
    return model


def message_of(call):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message and len(message) <= 400, message
    return message


# ------------------------------------------------------------------- every kind, every batch


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_batch_stops_training_before_its_step(kind, vae):
    make, steps = KINDS[kind], int(vae.optimizer.iterations)
    arguments = {"shuffle": False, "verbose": 0}
    vae.fit(make(IMAGES, LABELS), steps_per_epoch=5, **arguments)
    assert int(vae.optimizer.iterations) == steps + 5
    message = message_of(lambda: vae.fit(make(NAN, LABELS), epochs=2, **arguments))
    assert message == (
        "ConditionalVAE takes images in [-1, 1]. Received: NaN or infinity in 1 of 1024 values, "
        "in step 4 of epoch 1; training stopped before it."
    )
    assert int(vae.optimizer.iterations) == steps + 8
    assert all(np.isfinite(weight).all() for weight in vae.get_weights())
    labels = np.where(np.arange(20) == 17, 4, LABELS)
    message = message_of(lambda: vae.fit(make(IMAGES, labels), **arguments))
    assert "labels must be integers from 0 to 3" in message and "in step 5 of epoch 1" in message
    message = message_of(lambda: vae.evaluate(make(NAN, LABELS), verbose=0))
    assert message.endswith("in 1 of 1024 values, in step 4 of the evaluation.")
    # The first batch is refused before anything begins.
    message = message_of(lambda: vae.fit(make(IMAGES * 127.5, LABELS), **arguments))
    assert "takes images in [-1, 1]. Received: values from" in message and "step" not in message
    assert "16, 16, 1)" in message_of(lambda: vae.fit(make(IMAGES[:, :8], LABELS), **arguments))


def test_arrays_of_other_libraries(tmp_path, vae):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        good, bad = file.create_dataset("good", data=IMAGES), file.create_dataset("bad", data=NAN)
        for x, y in ((good, LABELS), (Foreign(IMAGES), Foreign(LABELS)), (IMAGES, list(LABELS))):
            assert np.isfinite(vae.fit(x, y, verbose=0).history["loss"]).all()
        assert "NaN" in message_of(lambda: vae.fit(bad, LABELS, verbose=0))
    assert "NaN" in message_of(lambda: vae.fit(Foreign(NAN), LABELS, verbose=0))


def test_validation_data_of_every_kind(vae):
    fit = {"x": IMAGES, "y": LABELS, "batch_size": 20, "verbose": 0}
    for data in ((IMAGES, list(LABELS)), dataset(IMAGES, LABELS), Batches(IMAGES, LABELS)):
        assert "val_loss" in vae.fit(validation_data=data, **fit).history
    for make in (dataset, Loader, Batches):
        message = message_of(lambda: vae.fit(validation_data=make(NAN, LABELS), **fit))
        assert "NaN" in message and message.endswith("in step 4 of the evaluation.")
    assert "NaN" in message_of(lambda: vae.fit(validation_data=(NAN, LABELS), **fit))


def test_on_batches(vae):
    for call in (vae.train_on_batch, vae.test_on_batch):
        values = call(IMAGES[:4], list(LABELS[:4]))
        assert len(values) == len(vae.metrics_names) > 1
        logs = call(IMAGES[:4], LABELS[:4], return_dict=True)
        assert list(logs) == vae.metrics_names
        assert "[-1, 1]" in message_of(lambda: call(IMAGES[:4] * 127.5, LABELS[:4]))
        assert "labels" in message_of(lambda: call(IMAGES[:4], LABELS[:4] + 1))


def test_nothing_to_train_on(vae):
    empty = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(64, drop_remainder=True)
    none = Batches(IMAGES, LABELS)
    none.__class__ = type("None_", (Batches,), {"__len__": lambda self: 0})
    for data in (empty, iter([]), none):
        for call in (vae.fit, vae.evaluate):
            assert "needs at least one batch of images" in message_of(lambda: call(data))
    assert "takes (images, labels) as arrays" in message_of(lambda: vae.fit(5))
    assert "Received: 4 parts" in message_of(lambda: vae.fit(iter([(1, 2, 3, 4)])))
    message = message_of(lambda: vae.fit(dataset(IMAGES, LABELS), LABELS))
    assert message.startswith("y and sample_weight go with arrays; a _BatchDataset yields")


@pytest.mark.slow
def test_two_replicas_stop_alike(mirrored):
    with mirrored.scope():
        model = VAE(SHAPE, 2, networks="mlp")
        model.compile()
    message = message_of(lambda: model.fit(dataset(NAN), verbose=0))
    assert "NaN" in message and "in step 4 of epoch 1" in message
    assert int(keras.ops.convert_to_numpy(model.optimizer.iterations)) == 3


def test_several_steps_in_one_execution(vae):
    vae.steps_per_execution = 2
    try:
        vae.make_train_function(force=True)
        message = message_of(lambda: vae.fit(dataset(NAN, LABELS), verbose=0))
        assert "in one of the steps 3 to 4 of epoch 1" in message
        # Keras would run 4 steps, and the next epoch start with the fifth batch.
        endless = dataset(IMAGES, LABELS).repeat()
        message = message_of(lambda: vae.fit(endless, steps_per_epoch=3, verbose=0))
        assert message == (
            "steps_per_epoch must be a multiple of steps_per_execution=2. "
            "Received: steps_per_epoch=3."
        )
        steps = int(vae.optimizer.iterations)
        vae.fit(dataset(IMAGES, LABELS), steps_per_epoch=5, epochs=2, verbose=0)
        assert int(vae.optimizer.iterations) == steps + 10
    finally:
        vae.steps_per_execution = 1
        vae.make_train_function(force=True)


def test_the_data_are_blamed_only_where_they_were_not_checked():
    for checked, words in ((True, "usual remedy."), (False, "which were not checked.")):
        callback = StopOnNonFinite(checked=checked)
        callback.set_model(types.SimpleNamespace(steps_before=0))
        callback.on_epoch_begin(1)
        message = message_of(lambda: callback.on_train_batch_end(2, {"loss": float("nan")}))
        assert message.startswith("loss became nan at step 3 of epoch 2;")
        assert message.endswith(words)


def test_weights_that_are_not_finite_stop_an_epoch_whose_losses_are():
    callback = StopOnNonFinite()
    weights = [keras.Variable([0.0, value], name=f"of_{value}") for value in (1, np.nan, np.inf)]
    callback.set_model(types.SimpleNamespace(trainable_weights=weights[:1]))
    callback.on_epoch_end(0)
    callback.set_model(types.SimpleNamespace(trainable_weights=weights))
    message = message_of(lambda: callback.on_epoch_end(1))
    assert message.startswith("Weights must stay finite: at the end of epoch 2 of_nan and 1 other")


# -------------------------------------------------------------------------- [0, 1]


def test_images_in_the_unit_range_draw_one_warning(vae):
    unit = (IMAGES + 1) / 2
    for x, y in ((unit, LABELS), (dataset(unit, LABELS), None), (Batches(unit, LABELS), None)):
        with pytest.warns(UserWarning, match=r"below 0: if they are in \[0, 1\]"):
            vae.fit(x, y, validation_data=(unit, LABELS), verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae.evaluate(unit, LABELS, verbose=0)
        vae.fit(IMAGES, LABELS, validation_data=(unit, LABELS), verbose=0)
        some = np.where(np.arange(20).reshape(-1, 1, 1, 1) == 19, IMAGES, unit)
        vae.fit(some, LABELS, verbose=0)


# ------------------------------------------------------------------- arrays as batches


def numbered(count):
    """Images that are their numbers, from -1 to 1."""
    return np.broadcast_to(np.linspace(-1, 1, count).reshape(-1, 1, 1, 1), (count, *SHAPE))


def rows_of(batches, count):
    """The numbers of the images in each batch of a pass."""
    first = [batch[0] if isinstance(batch, tuple) else batch for batch in batches]
    numbers = [np.asarray(images)[:, 0, 0, 0] for images in first]
    return [np.rint((each + 1) / 2 * (count - 1)).astype(int).tolist() for each in numbers]


def test_arrays_are_read_once_an_epoch_in_another_order(vae):
    labels = np.arange(11) % 4

    def passes():
        keras.utils.set_random_seed(3)
        data = batches_of(vae, numbered(11), labels, batch_size=4, shuffle=True)
        assert int(data.cardinality()) == 3
        return [list(data.as_numpy_iterator()) for _ in range(2)]

    orders = []
    for batches in passes():
        rows = rows_of(batches, 11)
        assert [len(each) for each in rows] == [4, 4, 3]
        orders.append(sum(rows, []))
        assert sorted(orders[-1]) == list(range(11))
        np.testing.assert_array_equal(np.concatenate([y for _, y in batches]), labels[orders[-1]])
    assert orders[0] != orders[1]
    assert [sum(rows_of(batches, 11), []) for batches in passes()] == orders
    data = batches_of(vae, numbered(11), labels, batch_size=4)
    assert sum(rows_of(data, 11), []) == list(range(11))


def test_the_batch_size_of_arrays(vae, wgan):
    for model, options, expected in (
        (vae, {}, 2), (vae, {"batch_size": 20}, 2), (vae, {"steps": 4}, 4),
        (wgan, {"updates": 2}, 1), (wgan, {"updates": 2, "steps": 5}, 5),
    ):  # fmt: skip
        y = np.zeros(40, int) if model is vae else None
        assert len(list(batches_of(model, numbered(40), y, **options))) == expected


def test_a_split_for_validation_is_the_last_part(vae, monkeypatch):
    seen = {}

    def note(self, x, validation_data=None, **arguments):
        seen.update(x=rows_of(x, 20), validation=rows_of(validation_data, 20))
        return keras.callbacks.History()

    monkeypatch.setattr(keras.Model, "fit", note)
    vae.fit(numbered(20), list(LABELS), 4, validation_split=0.3, shuffle=False)
    assert sum(seen["x"], []) == list(range(14)) and sum(seen["validation"], []) == [*range(14, 20)]
    for data, split, words in (
        (dataset(IMAGES, LABELS), 0.3, "is for arrays"), (IMAGES, 1.5, "number from 0 to 1"),
        (IMAGES, 0.99, "must leave images"),
    ):  # fmt: skip
        y = LABELS if data is IMAGES else None
        assert words in message_of(lambda: vae.fit(data, y, validation_split=split))


@pytest.mark.slow
def test_deterministic_operations_need_no_global_seed():
    code = (
        "import numpy as np, keras_genimg as kg\n"
        "model = kg.VAE((16, 16, 1), 2, networks='mlp', seed=0)\n"
        "model.compile()\n"
        "model.fit(np.zeros((40, 16, 16, 1), 'float32'), epochs=2, verbose=0)\n"
    )
    environment = {**os.environ, "TF_DETERMINISTIC_OPS": "1"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


# ------------------------------------------------------------------- batches of a step


@pytest.mark.parametrize("kind", ["dataset", "loader", "generator", "py_dataset"])
def test_a_step_takes_consecutive_batches(kind, wgan):
    """Five batches of four make three steps of 8, 8 and 4 images."""
    data = batches_of(wgan, KINDS[kind](numbered(20).astype("float32")), updates=2)
    expected = [list(range(8)), list(range(8, 16)), list(range(16, 20))]
    if kind == "py_dataset":
        assert data.num_batches == 3
        assert rows_of([data[i] for i in range(3)], 20) == expected
    else:
        assert int(data.cardinality()) == (-2 if kind == "generator" else 3)
        assert rows_of(data, 20) == expected
    endless = batches_of(wgan, dataset(numbered(20)).repeat(), updates=2)
    assert int(endless.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert rows_of(endless.take(4), 20)[2:] == [[*range(16, 20), *range(4)], list(range(4, 12))]


def test_the_steps_of_an_epoch_are_those_of_the_generator(wgan):
    steps = []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(1))
    fit = {"verbose": 0, "callbacks": [count]}
    before = int(wgan.discriminator_optimizer.iterations)
    for data, options in (
        (IMAGES, {"batch_size": 4}), (dataset(IMAGES), {}), (Batches(IMAGES), {"shuffle": False}),
        (dataset(IMAGES).repeat(), {"steps_per_epoch": 3}),
    ):  # fmt: skip
        assert len(wgan.fit(data, **options, **fit).history["g_loss"]) == 1
    assert len(steps) == int(wgan.generator_optimizer.iterations) == 12
    assert int(wgan.discriminator_optimizer.iterations) - before == 24
    message = message_of(lambda: wgan.fit(dataset(NAN), verbose=0))
    assert "NaN" in message and "in step 2 of epoch 1" in message


def test_a_py_dataset_keeps_its_hooks_and_workers(wgan):
    data = Batches(IMAGES, workers=2, max_queue_size=3)
    wrapped = batches_of(wgan, data, updates=2)
    assert (wrapped.workers, wrapped.use_multiprocessing, wrapped.max_queue_size) == (2, False, 3)
    wgan.fit(data, epochs=2, verbose=0)
    assert data.epochs.count("begin") == 2 and data.epochs[-1] == "end"


# ------------------------------------------------------------------- weights


def test_weights_reach_the_step(vae):
    weights = np.arange(20, dtype="float32")
    cases = {
        "array": batches_of(vae, IMAGES, LABELS, weights, batch_size=4),
        "dataset": batches_of(vae, dataset(IMAGES, LABELS, weights)),
        "py_dataset": batches_of(vae, Batches(IMAGES, LABELS, weights)),
    }
    for data in cases.values():
        np.testing.assert_array_equal(np.concatenate([w for _, _, w in data]), weights)
    by_class, expected = {0: 5.0, 2: 0.5}, np.tile([5.0, 1.0, 0.5, 1.0], 5)
    for data in (IMAGES, dataset(IMAGES, LABELS), Batches(IMAGES, LABELS), Loader(IMAGES, LABELS)):
        y = LABELS if data is IMAGES else None
        made = batches_of(vae, data, y, class_weight=by_class, batch_size=4)
        np.testing.assert_array_equal(np.concatenate([w for _, _, w in made]), expected)


def test_weights_without_labels_reach_the_step():
    model = VAE(SHAPE, 2, networks="mlp", seed=0)
    model.compile(keras.optimizers.SGD(1e-4))
    zeros = np.zeros(20, "float32")
    for make in (dataset, Batches):
        data = batches_of(model, make(IMAGES, np.zeros(20), zeros))
        assert len(next(iter(data))) == 3
    before = model.get_weights()
    assert model.fit(IMAGES, sample_weight=zeros, verbose=0).history["loss"] == [0.0]
    assert model.evaluate(IMAGES, sample_weight=zeros, verbose=0, return_dict=True)["loss"] == 0.0
    assert model.train_on_batch(IMAGES[:4], sample_weight=zeros[:4], return_dict=True)["loss"] == 0
    for weight, old in zip(model.get_weights(), before):
        np.testing.assert_array_equal(weight, old)


def test_weights_that_cannot_be_used(vae, wgan):
    weights = np.ones(20)
    refused = "WGAN has no loss that weights images (weighs_images is False)"
    for call in (
        lambda: wgan.fit(IMAGES, sample_weight=weights),
        lambda: wgan.fit(dataset(IMAGES, LABELS, weights)),
        lambda: wgan.fit(IMAGES, validation_data=(IMAGES, None, weights)),
        lambda: wgan.evaluate(IMAGES, sample_weight=weights),
        lambda: wgan.train_on_batch(IMAGES, sample_weight=weights),
    ):
        assert refused in message_of(call)
    message = message_of(lambda: wgan.fit(IMAGES, class_weight={0: 1.0}))
    assert message.startswith("class_weight needs labels, and WGAN is trained on images.")
    for bad in ({4: 1.0}, {0: -1.0}, {0: np.nan}, [1.0]):
        assert "class_weight must be a dict" in message_of(
            lambda: vae.fit(IMAGES, LABELS, class_weight=bad)
        )
    for bad in (-weights, weights * np.nan, weights[:7], np.ones((20, 2))):
        message = message_of(lambda: vae.fit(IMAGES, LABELS, sample_weight=bad))
        assert "takes sample_weight" in message
    late = np.where(np.arange(20) == 13, np.inf, 1.0)
    message = message_of(lambda: vae.fit(dataset(IMAGES, LABELS, late), verbose=0))
    assert "takes sample_weight" in message and "in step 4 of epoch 1" in message
    both = {"class_weight": {0: 2.0}, "sample_weight": weights}
    assert "not both" in message_of(lambda: vae.fit(IMAGES, LABELS, **both))


def test_a_step_of_ones_own_says_whether_it_weights_images():
    class Own(VAE):
        def train_step(self, data):
            return super().train_step(self.unpack(data)[0])

    class Weighs(Own):
        weighs_images = True

    for cls, weighs in ((Own, False), (Weighs, True)):
        model = cls(SHAPE, 2, networks="mlp")
        if weighs:
            model.check_weighs("sample_weight")
        else:
            assert "has no loss that weights" in message_of(lambda: model.check_weighs("x"))


def test_a_gan_takes_what_it_is_given_beside_images():
    """Labels that a model does not take are passed through to a step that may use them."""
    model = GAN(SHAPE, 2, networks="mlp")
    x, y = next(iter(batches_of(model, dataset(IMAGES, LABELS))))
    np.testing.assert_array_equal(y, LABELS[:4])
    x, y = next(iter(batches_of(model, IMAGES, list(LABELS), batch_size=4)))
    np.testing.assert_array_equal(y, LABELS[:4])
    for y in (LABELS[:5], np.append(LABELS, 0), 3, (LABELS, LABELS[:5])):
        message = message_of(lambda: batches_of(model, IMAGES, y, batch_size=4))
        assert message.startswith("GAN takes as many rows of y as images. Received: 20 images and")
