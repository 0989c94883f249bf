"""A check of a custom `train_step`: does it keep what the package promises of its own models?"""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import workers
from keras_genimg.callbacks import Resume
from keras_genimg.checks import first_reason
from keras_genimg.core import ImageModel, dtype_policy
from keras_genimg.errors import InputError

__all__ = ["check_train_step"]

BATCH, BATCHES, EPOCHS = 16, 3, 2
# The momentum of plain gradient descent keeps the gradients, in which a defect shows. Adam would
# hide a wrong factor, and a large rate would let the errors of one step grow in the next.
RATE, MOMENTUM = 1e-5, 0.5
# Relative to the largest value. Sums in another order differ by less; defects by 1e-3 and more.
TOLERANCES = {"float64": 1e-5, "float32": 2e-5}
EXPORT_TOLERANCE = 1e-2  # an 8-bit level is 4e-3
CPU = "CPU:0"

PROMISES = {
    "resume": "Resume must end like an uninterrupted run",
    "save": "A loaded model must continue like the saved one",
    "replicas": "Two replicas must end like one",
    "export": "The SavedModel must compute what the model computes",
}
CAUSES = {
    "resume": (
        "noise that is not drawn with self.seed_generator.next() (tf.random.normal, np.random); "
        "a Python attribute or a tf.Variable that the step changes (self.add_weight is saved)"
    ),
    "save": (
        "an attribute that is no argument of the constructor; a layer or network without "
        "register_keras_serializable"
    ),
    "replicas": (
        "noise drawn with tf.random instead of kg.distribution.random_normal(batch, ...); a mean "
        "over the replica's images without batch.share in tape.gradient; statistics of the "
        "replica's images alone (kg.distribution.sum_over_replicas and kg.layers have those of "
        "all); logs that are not returned by self.log(batch, ...)"
    ),
    "export": "tf.py_function or other Python that no graph can hold",
}


def check_train_step(model: keras.Model | Callable, data) -> dict[str, float]:
    """Checks that a model with a custom `train_step` keeps the promises of this package.

    Copies of the model are trained for two epochs of a few batches by gradient descent, on the
    CPU, and in float64 if the step allows it: there rounding hides no defect. The promises:

    - resume: a run that is resumed after the first epoch ends like an uninterrupted one;
    - save: so does a model that is loaded from the file of that epoch;
    - replicas: two replicas end with the weights and logs of one;
    - export: the SavedModel computes what the model computes.

    Two replicas need two logical devices. The check configures them if TensorFlow has run
    nothing yet; otherwise its message says what to call first. It sets the seeds of Python,
    NumPy and TensorFlow.

    Args:
        model: a model, of which copies are made by its configuration; or a function (or class)
            without arguments that makes a new one at each call.
        data: what `fit` takes: an array, a tuple `(x, y)` of arrays, or a `tf.data.Dataset` of
            batches. The first few batches are used.

    Returns:
        dict from each promise to the largest difference found, relative to the largest value.

    Raises:
        AssertionError: a broken promise. The message has the difference and the usual causes.
        InputError: not a model of this package, no data, or a single device.

    Example:
        >>> check_train_step(NoisyGAN, images)
        {'resume': 0.0, 'save': 0.0, 'replicas': 2.1e-13, 'export': 0.0}
    """
    strategy = _two_replicas()
    make = _maker(model)
    original = model if isinstance(model, ImageModel) else make(None)
    batches = _batches(data, original.n_critic)
    with tempfile.TemporaryDirectory() as folder:
        try:
            runs = _Runs(make, "float64", batches, folder)
        except Exception as error:  # whatever the step has against 64 bits
            runs = _Runs(make, "float32", batches, folder, first_reason(error))
        return {
            "resume": runs.check_resumed(),
            "save": runs.check_loaded(_attributes(original)),
            "replicas": runs.check_replicas(strategy),
            "export": _check_exported(original, os.path.join(folder, "exported")),
        }


def _two_replicas():
    """A strategy of at least two logical CPUs."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or ()) < 2:
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        try:
            tf.config.set_logical_device_configuration(cpu, two)
        except RuntimeError:  # TensorFlow has already begun
            raise InputError(
                "check_train_step needs two logical devices, which TensorFlow creates only before "
                "its first operation: begin the program with tf.config."
                "set_logical_device_configuration(tf.config.list_physical_devices('CPU')[0], "
                "[tf.config.LogicalDeviceConfiguration()] * 2). Received: one device."
            ) from None
    devices = tf.config.list_logical_devices("CPU")
    return workers.mirrored(tuple(device.name for device in devices))


def _maker(model):
    """A function that makes new models, of a dtype policy or (None) of the current one."""
    if isinstance(model, ImageModel):
        config = model.get_config()
        return lambda policy: type(model).from_config(_with_policy(config, policy))
    if isinstance(model, keras.Model) or not callable(model):
        raise InputError(
            "check_train_step takes a model of this package, a subclass, or a function without "
            f"arguments that makes one. Received: {model!r}."
        )
    made = []

    def make(policy):
        with dtype_policy(policy):
            new = model()
        if not isinstance(new, ImageModel) or any(new is other for other in made):
            raise InputError(
                "The function must make a new model of this package, or a subclass, at each call. "
                f"Received: {type(new).__name__}{' a second time' if made else ''}."
            )
        made.append(new)
        return new

    return make


def _with_policy(config, policy):
    """A configuration in which all floating-point policies are replaced, those of layers too."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": policy}}
        config = {key: _with_policy(value, policy) for key, value in config.items()}
        if "float" in str(config.get("dtype", "")) and isinstance(config["dtype"], str):
            config["dtype"] = policy
        return config
    if isinstance(config, (list, tuple)):
        return [_with_policy(each, policy) for each in config]
    return config


def _batches(data, n_critic):
    """A dataset of few batches, of which two replicas share the last unequally."""
    size = BATCH
    if isinstance(data, tf.data.Dataset):
        elements = list(data.take(BATCHES * n_critic)) or [np.zeros(0)]
        size = len(keras.tree.flatten(elements[0])[0])
        data = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *elements)
    arrays = keras.tree.map_structure(np.asarray, data)
    found = len(keras.tree.flatten(arrays)[0])
    if size < 2 or found < 3:
        raise InputError(
            "check_train_step needs three images or more, in batches of at least two. "
            f"Received: {found} in batches of {size}."
        )
    count = min(found, BATCHES * n_critic * size)
    count -= 1 - count % 2  # odd
    count -= 2 * (count % size == 1)  # every replica needs an image
    arrays = keras.tree.map_structure(lambda array: array[:count], arrays)
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


class _Runs:
    """Copies of one model, trained on the same batches in different ways.

    Args:
        make: function of a dtype policy.
        policy: `"float64"` or `"float32"`.
        batches: dataset.
        folder: path, for checkpoints.
        reason: string. Why they are not trained in float64, or "".
    """

    def __init__(self, make, policy, batches, folder, reason=""):
        self.make, self.policy, self.batches, self.folder = make, policy, batches, folder
        self.note = reason and f" (In float32, because in float64 it raises: {reason})"
        self.tolerance = TOLERANCES[policy]
        self.seed = 0
        model, self.logs = self._trained(self._new(), Resume(folder))
        self.model_class, self.expected = type(model), _numbers(model)
        os.remove(os.path.join(folder, f"epoch-{EPOCHS:04d}.keras"))

    def check_resumed(self):
        with _promise("resume", self.note):
            return self._difference(*self._trained(self._new(), Resume(self.folder)))

    def check_loaded(self, attributes):
        with _promise("save", self.note):
            path = os.path.join(self.folder, "epoch-0001.keras")
            known = {self.model_class.__name__: self.model_class}
            model = keras.saving.load_model(path, custom_objects=known)
            for name, value in attributes.items():
                if vars(model).get(name) != value:
                    now = vars(model).get(name, "missing")
                    raise AssertionError(f"the attribute {name} is {value!r}, and {now!r} in it")
            return self._difference(*self._trained(model, initial_epoch=1))

    def check_replicas(self, strategy):
        with _promise("replicas", self.note):
            return self._difference(*self._trained(self._new(strategy), scope=None))

    def _new(self, strategy=None):
        """A model with the same weights and noise each time."""
        keras.utils.set_random_seed(0)
        with strategy.scope() if strategy else tf.device(CPU):
            model = self.make(self.policy)
            names = model.default_optimizers()
            model.compile(**{name: keras.optimizers.SGD(RATE, momentum=MOMENTUM) for name in names})
        return model

    def _trained(self, model, *callbacks, scope=CPU, **options):
        """The model after the last epoch, and its logs."""
        self.seed += 1  # what the model does not seed differs from run to run
        keras.utils.set_random_seed(self.seed)
        with dtype_policy(self.policy), tf.device(scope):
            history = model.fit(
                self.batches, epochs=EPOCHS, callbacks=callbacks, verbose=0, **options
            )
        return model, {name: values[-1] for name, values in history.history.items()}

    def _difference(self, model, logs):
        """The largest difference from the uninterrupted run on one replica, if it is rounding."""
        largest, where = 0.0, ""
        for (group, values), others in zip(self.expected.items(), _numbers(model).values()):
            scale = max([np.abs(value).max() for _, value in values], default=0.0) or 1.0
            for (name, value), (_, other) in zip(values, others, strict=True):
                difference = np.abs(value - other).max() / scale
                if not difference <= largest:  # also NaN
                    largest, where = difference, f"{group}, {name}"
        if not largest <= self.tolerance:
            raise AssertionError(
                f"a difference of {largest:.1e} of the largest value (rounding is below "
                f"{self.tolerance:.0e}) in {where}"
            )
        for name, value in self.logs.items():
            if not np.isclose(logs.get(name, np.nan), value, rtol=10 * self.tolerance, atol=1e-6):
                raise AssertionError(f"the log {name} is {logs.get(name)} instead of {value}")
        return float(largest)


@contextlib.contextmanager
def _promise(name, note="") -> Iterator[None]:
    """Says of every error inside which promise it breaks, and why that usually is."""
    try:
        yield
    except Exception as error:
        raise AssertionError(
            f"{PROMISES[name]}. Received: {first_reason(error)}.{note} "
            f"The usual causes: {CAUSES[name]}."
        ) from error


def _numbers(model):
    """{group: [(name, float64 array)]}: the weights, and what each optimizer got as gradients."""
    groups = {"the weights": [(weight.path, weight) for weight in model.weights]}
    for name, weights in model.optimized_weights().items():
        momentums = getattr(model, name).momentums
        groups[f"gradients of {name}"] = [(w.path, each) for w, each in zip(weights, momentums)]
    return {
        group: [(name, keras.ops.convert_to_numpy(each).astype("float64")) for name, each in pairs]
        for group, pairs in groups.items()
    }


def _attributes(model):
    """Public attributes that are plain values, without those of every Keras model."""
    known = vars(keras.Model())
    return {
        name: value for name, value in vars(model).items()
        if isinstance(value, (bool, int, float, str)) and name not in known and name[0] != "_"
    }


def _check_exported(model, folder):
    """The largest difference between outputs of the signatures of a SavedModel and of Python."""
    with _promise("export"):
        model.export(folder)
        if b"PyFunc" in pathlib.Path(folder, "saved_model.pb").read_bytes():
            raise AssertionError("its graph calls Python")
        loaded = tf.saved_model.load(folder).signatures
        largest = 0.0
        for name, (function, specs) in model.signatures().items():
            inputs = {spec.name: _example(spec) for spec in specs}
            outputs = tf.function(function, autograph=False)(*inputs.values())
            for key, found in loaded[name](**inputs).items():
                expected = outputs[key] if isinstance(outputs, dict) else outputs
                if found.dtype == tf.string:  # names
                    continue
                found, expected = (np.asarray(each, "float64") for each in (found, expected))
                scale = max(1.0, np.abs(expected).max())
                largest = max(largest, np.abs(found - expected).max() / scale)
                if not largest <= EXPORT_TOLERANCE:
                    raise AssertionError(f"a difference of {largest:.1e} in {key} of {name}")
        return float(largest)


def _example(spec):
    """An input of a signature: four images in [-1, 1], codes or labels 0, a number 4."""
    known = spec.shape.rank is not None  # `num_images` and `seed` may be scalars or vectors
    shape = [size or 4 for size in spec.shape] if known else []
    if spec.dtype.is_floating:
        return tf.random.stateless_uniform(shape, (0, 0), -1.0, 1.0, spec.dtype)
    return tf.zeros(shape, spec.dtype) if shape else tf.constant(4, spec.dtype)
