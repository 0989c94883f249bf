"""What every model shares and no paper describes: Keras plumbing.

Nothing here is a learning rule. A model file holds its `train_step`; this file
holds seeds, checks of input, averaged logs, two optimizers, generating in
batches, saving and exporting.
"""

import contextlib
import functools
import os

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import distribution, export
from keras_genimg.data.tuning import without_autotuning
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.models.checks import (
    check_array,
    check_element,
    check_images,
    check_labels,
    check_seed,
    first_two,
)
from keras_genimg.models.logs import LogMeans, StopOnNonFiniteLogs
from keras_genimg.models.optimizers import prepare_optimizers
from keras_genimg.models.options import check_learning_rate
from keras_genimg.networks import check_count
from keras_genimg.optimizers import Adam

__all__ = ["ImageModel", "dtype_policy", "latent_seed"]


def latent_seed(seed):
    """The pair of numbers that TensorFlow's stateless draws take: `(2,)` int64."""
    return tf.stack([tf.cast(seed, tf.int64), tf.zeros((), tf.int64)])


@contextlib.contextmanager
def dtype_policy(name):
    """Scope in which layers are made with a dtype policy.

    Args:
        name: string such as `"mixed_bfloat16"`, a policy or its configuration, or None
            for that of the process.
    """
    before = keras.config.dtype_policy()
    if name is not None:
        keras.config.set_dtype_policy(keras.dtype_policies.get(name))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class ImageModel(keras.Model):
    """Base of all models. Subclasses write `train_step` and `test_step`.

    Args:
        image_shape: tuple (height, width, channels) of the pictures.
        seed: int, optional. Makes the noise of training repeatable (weights are
            seeded by `keras.utils.set_random_seed`).
    """

    # Whether `fit` needs labels, and how many classes there are.
    needs_labels = False
    num_classes = None
    # Batches of one update that a batch of `fit` holds.
    n_critic = 1
    # Names of the two batches of pictures that `fit` takes, where it takes two.
    pair = None
    # How many codes there are, where `fit` takes grids of integer codes instead of pictures.
    num_codes = None

    def __init__(self, image_shape, seed=None, **kwargs):
        super().__init__(**kwargs)
        if "float16" in self.dtype_policy.name.replace("bfloat16", ""):
            raise InputError(
                "mixed_float16 is not supported, because Keras scales the loss of one optimizer "
                "only and small gradients of the others would vanish; use mixed_bfloat16, which "
                f"needs no scaling. Received: dtype policy {self.dtype_policy.name!r}."
            )
        self.image_shape = tuple(image_shape)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise InputError(f"seed must be an integer or None. Received: seed={seed!r}.")
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.log_means = LogMeans()

    @property
    def element_shape(self):
        """Shape of one element of what `fit` takes: a picture, or a sequence of them."""
        return self.image_shape

    @property
    def pair_shape(self):
        """Shape of one of the second pictures, in a model that has a `pair`."""
        return self.image_shape

    @property
    def generates_by_label(self):
        """Whether `generate` needs labels."""
        return self.needs_labels

    # ------------------------------------------------------------------ training

    def compile(
        self,
        optimizer=None,
        *,
        learning_rate=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile=False,
    ):
        """Sets the optimizer and how steps are executed.

        Args:
            optimizer: Keras optimizer, its name, or None for the paper's.
            learning_rate: float, `keras.optimizers.schedules.LearningRateSchedule` or its
                serialised dict, optional. Rate of the paper's optimizer.
            run_eagerly: bool. Runs steps line by line, for debugging.
            steps_per_execution: int. Steps in one call of TensorFlow; more than
                one spares small models the overhead of Python.
            jit_compile: bool. XLA. It changes no result; on a CPU it is slower.

        Raises:
            InputError: an unknown optimizer, a rate that is not finite or goes with an
                optimizer of one's own, steps_per_execution that is not positive.
        """
        self._compile(
            {"optimizer": optimizer},
            learning_rate,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )

    def _compile(self, optimizers, learning_rate, **execution):
        self._execution = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}
        unknown = set(execution) - set(self._execution)
        if unknown:
            raise InputError(
                f"compile of {type(self).__name__} takes {', '.join(optimizers)}, learning_rate, "
                f"{', '.join(self._execution)}. Received: {', '.join(sorted(unknown))}."
            )
        self._execution.update(execution)
        check_count("steps_per_execution", self._execution["steps_per_execution"])
        super().compile(optimizer=None, **self._execution)
        if learning_rate is not None:
            learning_rate = check_learning_rate(learning_rate)
        with self.distribute_strategy.scope():
            prepared = prepare_optimizers(
                optimizers,
                self.default_optimizers(learning_rate),
                self.optimized_weights(),
                learning_rate,
                self.optimizer_devices(),
            )
        for name, prepared_optimizer in prepared.items():
            setattr(self, name, prepared_optimizer)
        self._optimizer_names = list(prepared)

    def default_optimizers(self, learning_rate=None):
        """The paper's optimizers, which `compile` takes where it is given none.

        Args:
            learning_rate: float or `LearningRateSchedule` in place of the paper's; None for that.

        Returns:
            dict of Keras optimizers by attribute name: `optimizer`, or `generator_optimizer` and
            `discriminator_optimizer`.
        """
        return {"optimizer": Adam(1e-3 if learning_rate is None else learning_rate)}

    def optimized_weights(self):
        """What each optimizer trains.

        Returns:
            dict from an optimizer's attribute name to the list of its variables.
        """
        return {"optimizer": self.trainable_variables}

    def optimizer_devices(self):
        """Where each optimizer that `placement.on_devices` gave a place keeps its state and works.

        Returns:
            dict from an optimizer's attribute name to a device's name or None.
        """
        return {}

    def get_compile_config(self):
        if not self.compiled:
            return None
        optimizers = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in self._optimizer_names
        }
        return {**self._execution, **optimizers}

    def compile_from_config(self, config):
        self.compile(**keras.saving.deserialize_keras_object(config))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Models here are built when they are made. Keras would first average a batch over
        # workers, which fails on a batch of several tensors (keras-team/keras#20585).
        pass

    @property
    def metrics(self):
        # One vector of running means instead of a Keras metric a name.
        return [self.log_means]

    def unpack(self, data):
        """Takes apart what `fit` hands to a step, and finds the batch's place.

        Args:
            data: `images`, or `(images, labels)`.

        Returns:
            images: float32 `(n, height, width, channels)` in [-1, 1].
            labels: int32 `(n,)`, or the other pictures of a model that has a `pair`, or None.
            batch: `keras_genimg.distribution.GlobalBatch`.

        Raises:
            InputError: pictures of another shape or type; labels missing.
        """
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(data)
        check_element(self, images, labels)
        if labels is not None and not self.pair:
            labels = tf.cast(labels, tf.int32)
        return images, labels, distribution.global_batch(images)

    def log(self, batch, **values):
        """Adds a step's scalars to the running means of the epoch and returns those.

        Args:
            batch: the step's `GlobalBatch`.
            **values: name=scalar, each a mean over this replica's pictures.

        Returns:
            dict of float32 scalars: means over replicas and over the steps since
            the epoch began, weighted by the number of pictures.
        """
        self.log_means.update_state(values, batch)
        return self.log_means.result(values)

    def fit(self, x=None, y=None, *args, callbacks=None, validation_data=None, **kwargs):
        """Trains as `keras.Model.fit` does, on checked input.

        Args:
            x: pictures as a NumPy array or tensor `(N, height, width, channels)`
                of floats in [-1, 1], or a `tf.data.Dataset` of batches: of
                pictures, or of `(pictures, labels)`. Integer codes in place of pictures for a
                model that has `num_codes`.
            y: integer labels `(N,)`, with an array of pictures.
            *args, callbacks, validation_data, **kwargs: as Keras has them.

        Returns:
            `keras.callbacks.History`.

        Raises:
            InputError: input that cannot be used; a loss that is not finite
                (training stops at that step, and the message names it).
        """
        self._check_data(x, y)
        if validation_data is not None:
            pair = validation_data if isinstance(validation_data, (tuple, list)) else (validation_data,)
            self._check_data(*pair[:2])
            if isinstance(validation_data, tf.data.Dataset):
                validation_data = without_autotuning(validation_data)
        if isinstance(x, tf.data.Dataset):
            kwargs["shuffle"] = False  # a dataset shuffles itself; Keras warns otherwise
            x = without_autotuning(x)
        guard = StopOnNonFiniteLogs()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(guard)
        else:
            # First: what is not finite must stop training before anything is saved.
            callbacks = [guard, *keras.tree.flatten(callbacks or [])]
        return super().fit(
            x, y, *args, callbacks=callbacks, validation_data=validation_data, **kwargs
        )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.evaluate`, on input checked as `fit` checks it.

        Args:
            x, y: as for `fit`.
            *args, **kwargs: as `keras.Model.evaluate` has them, such as `return_dict`.

        Returns:
            floats, the logs of `test_step`: with `return_dict` a dict by name, else their values.

        Raises:
            InputError: input that cannot be used.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            self._check_data(x, y)
        if isinstance(x, tf.data.Dataset):
            x = without_autotuning(x)
        return super().evaluate(x, y, *args, **kwargs)

    def _check_data(self, x, y=None):
        """Looks at all of an array, or at the first batch of a dataset or `PyDataset`."""
        if x is None:
            raise InputError(f"{type(self).__name__} needs pictures. Received: None.")
        if isinstance(x, tf.data.Dataset):
            check_element(self, *first_two(x.element_spec))
            for element in x.take(1):
                images, labels = first_two(element)
                check_array(self, np.asarray(images), None if labels is None else np.asarray(labels))
        elif isinstance(x, keras.utils.PyDataset):
            self._check_data(*first_two(x[0]))
        elif isinstance(x, (np.ndarray, tf.Tensor)):
            labels = None if y is None else np.asarray(y)
            check_element(self, x, labels)
            check_array(self, np.asarray(x), labels)

    # ---------------------------------------------------------------- generating

    def generate(
        self, num_images, labels=None, seed=None, *, batch_size=256, verbose="auto", **latents
    ):
        """Makes pictures, in batches.

        Args:
            num_images: int of at least 1. Pictures to make.
            labels: integers `(num_images,)`, for conditional models.
            seed: int, optional. The same seed gives the same pictures, whatever
                the batch size; None gives new ones each time.
            batch_size: int. Pictures made at once.
            verbose: "auto" (a progress bar when there are many batches), 0 or 1.
            **latents: what else the model's `draw_latents` takes, such as `truncation` of
                the adversarial ones.

        Returns:
            NumPy float32 array `(num_images, height, width, channels)` in [-1, 1].

        Raises:
            InputError: a number that is not positive, a seed that is no integer,
                labels that do not fit.
        """
        batches = self.generate_batches(
            num_images, labels, seed, batch_size=batch_size, **latents
        )
        steps = -(-num_images // batch_size)
        bar = keras.utils.Progbar(steps) if verbose == 1 or (verbose == "auto" and steps > 20) else None
        images = None
        for step, batch in enumerate(batches):
            if images is None:  # what is made may be sequences, of any length
                images = np.empty((num_images, *batch.shape[1:]), "float32")
            images[step * batch_size : step * batch_size + len(batch)] = batch
            if bar:
                bar.update(step + 1)
        return images

    def generate_batches(
        self, num_images, labels=None, seed=None, *, batch_size=256, **latents
    ):
        """The pictures of `generate` in batches, for more of them than memory holds.

        Args:
            num_images, labels, seed, batch_size, **latents: as for `generate`.

        Returns:
            iterator over NumPy float32 arrays `(n, height, width, channels)` in [-1, 1], n
            being `batch_size` but for the last.

        Raises:
            InputError: as `generate`, before the first batch.
        """
        method = "images_from_latents"
        return self._make_in_batches(method, (), num_images, labels, seed, batch_size, **latents)

    def _make_in_batches(self, method, first, num_images, labels, seed, batch_size, **latents):
        """What a method makes of `first`, latents and labels, in batches."""
        check_count("num_images", num_images)
        check_count("batch_size", batch_size)
        seed = check_seed(seed)
        # All at once: no batch size in the numbers.
        latents = self.draw_latents(num_images, seed, **latents)
        if labels is not None and not self.generates_by_label:
            raise InputError(
                f"{type(self).__name__} generates without labels. Received: {len(labels)} labels."
            )
        if self.generates_by_label:
            labels = check_labels(labels, self.num_classes, num_images)
        decode = self._compiled(method)

        def make(start):
            rows = slice(start, start + batch_size)
            given = (latents[rows],) if labels is None else (latents[rows], labels[rows])
            return decode(*first, *given).numpy()

        return map(make, range(0, num_images, batch_size))

    def draw_latents(self, num_images, seed):
        """What `num_images` pictures are made of, by a seed.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.

        Returns:
            tensor `(num_images, ...)`: float32 `(num_images, latent_dim)` where z is one vector;
            int64 `(num_images, 2)` where a prior or an autoregressive model draws by numbers.

        Raises:
            InputError: a model that does not generate, or has no prior over its codes yet.
        """
        raise InputError(f"{type(self).__name__} does not generate pictures.")

    def images_from_latents(self, latents, *labels):
        """Pictures of latents, whatever else is in the batch.

        Args:
            latents: tensor `(n, ...)`, as `draw_latents` makes it.
            labels: int32 tensor `(n,)`, of a model that generates by label.

        Returns:
            float32 tensor `(n, height, width, channels)` in [-1, 1].

        Raises:
            InputError: a model that does not generate pictures.
        """
        raise InputError(f"{type(self).__name__} does not generate pictures.")

    def _compiled(self, name):
        """The method `name` as a TensorFlow function, traced once a model."""
        functions = self.__dict__.setdefault("_compiled_methods", {})
        if name not in functions:
            # As a partial each model is counted by itself: TensorFlow warns of frequent
            # tracing by the code of a function, which all models of a class share.
            method = functools.partial(getattr(self, name))
            functions[name] = tf.function(method, reduce_retracing=True, autograph=False)
        return functions[name]

    def checked_images(self, images, shape=None):
        """Images as a NumPy array, if they fit this model.

        Args:
            images: array-like `(n, *shape)`, floats in [-1, 1].
            shape: tuple, `image_shape` by default.

        Returns:
            float32 array `(n, *shape)`.

        Raises:
            InputError: images of another shape, type or range, or none.
        """
        images = np.asarray(images)
        check_images(self, images, shape)
        return images.astype("float32", copy=False)

    def checked_labels(self, labels, count):
        """Labels as a list of arguments, if they fit this model.

        Args:
            labels: integers `(count,)` from 0 to num_classes - 1; None of a model without classes.
            count: int. Pictures that there are.

        Returns:
            `[int32 (count,)]` of a conditional model, `[]` of another.

        Raises:
            InputError: labels of another number or range, missing, or of a model without classes.
        """
        if self.needs_labels:
            return [check_labels(labels, self.num_classes, count)]
        if labels is not None:
            raise InputError(f"{type(self).__name__} has no classes. Received: {len(labels)} labels.")
        return []

    def _run_in_batches(self, method, array, batch_size, *others):
        """A method's outputs for all of an array, and of others of its length, joined."""
        function = self._compiled(method)
        arrays = [np.asarray(each) for each in (array, *others)]
        outputs = [
            function(*(tf.constant(each[start : start + batch_size]) for each in arrays))
            for start in range(0, len(arrays[0]), batch_size)
        ]
        return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *outputs)

    # --------------------------------------------------------- saving, exporting

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves the whole state of training as one `.keras` file, or nothing.

        The file is written beside its place and moved there when it is complete:
        a full disk or a kill leaves an earlier file as it was.

        Args:
            filepath: path ending in `.keras`.
            overwrite: bool. Whether an earlier file is replaced.
            **kwargs: as `keras.Model.save` has them.

        Raises:
            InputError: another ending, a file that exists, a disk that is full.
        """
        filepath = os.fspath(filepath)
        if not filepath.endswith(".keras"):
            raise InputError(f"A model is saved to a path ending in .keras. Received: {filepath!r}.")
        if os.path.exists(filepath) and not overwrite:
            raise InputError(f"{filepath} exists; save(..., overwrite=True) replaces it.")
        with replace_when_complete(filepath) as temporary:
            super().save(temporary, **kwargs)

    def save_own_variables(self, store):
        # Keras keeps no state of seed generators; without it training could not go on
        # as if it had never stopped.
        super().save_own_variables(store)
        for index, generator in enumerate(self._all_seed_generators()):
            store[f"seed_generator_{index}"] = generator.state

    def load_own_variables(self, store):
        names = [name for name in store.keys() if name.startswith("seed_generator_")]
        own = {name: store[name] for name in store.keys() if name not in names}
        super().load_own_variables(own)
        for index, generator in enumerate(self._all_seed_generators()):
            name = f"seed_generator_{index}"
            if name in names:
                generator.state.assign(np.asarray(store[name]))

    def _all_seed_generators(self):
        found = {}
        for layer in self._flatten_layers():
            for generator in layer._seed_generators:
                found.setdefault(id(generator), generator)
        return list(found.values())

    def export(self, folder, format="saved_model", precision=None, **kwargs):
        """Writes the trained model for use without this package.

        Args:
            folder: path. A folder for `"saved_model"`, a file for the others.
            format: `"saved_model"` (all signatures), `"litert"` or `"onnx"` (the
                deterministic part: latents to images, or images to images).
            precision: of LiteRT's weights: `"float32"` (the default), `"float16"` or
                `"int8"`, a half and a quarter of the file.

        Returns:
            The path.

        Raises:
            InputError: an unknown format or precision, a place that holds something
                else, a disk that is full, an extra that is not installed.
        """
        writers = {"litert": export.write_litert, "onnx": export.write_onnx}
        if kwargs:  # what Keras's own export takes
            raise InputError(
                f"export takes folder, format and precision. Received: {', '.join(kwargs)}."
            )
        if format not in ("saved_model", *writers):
            raise InputError(
                f"format must be one of saved_model, {', '.join(writers)}. Received: {format!r}."
            )
        if precision is not None and format != "litert":
            raise InputError(
                f"precision goes with format='litert'. Received: precision={precision!r} with "
                f"format={format!r}."
            )
        if format == "saved_model":
            return export.write_saved_model(
                os.fspath(folder), self.signatures(), networks=[self]
            )
        options = {} if precision is None else {"precision": precision}
        return writers[format](os.fspath(folder), *self.deterministic_signature(), **options)

    def signatures(self):
        """The SavedModel's signatures, as `export` writes them.

        Returns:
            dict from a name to (function of tensors, list of `tf.TensorSpec`); functions return
            dicts of tensors. `serving_default` makes uint8 images `(num_images, height, width,
            channels)` of `num_images` (int32) and `seed` (int64), `generate` float32 ones in
            [-1, 1]; a model that does not generate has another `serving_default`.
        """
        count = tf.TensorSpec((), tf.int32, name="num_images")
        seed = tf.TensorSpec((), tf.int64, name="seed")

        def generate(num_images, seed):
            return {"images": self.images_from_latents(self.draw_latents(num_images, seed))}

        def generate_by_label(labels, seed):
            latents = self.draw_latents(tf.shape(labels)[0], seed)
            return {"images": self.images_from_latents(latents, labels)}

        def serving_default(num_images, seed):
            if self.generates_by_label:  # the classes in turn: 0, 1, ...
                made = generate_by_label(tf.range(num_images) % self.num_classes, seed)
            else:
                made = generate(num_images, seed)
            levels = tf.clip_by_value(tf.round((made["images"] + 1.0) * 127.5), 0.0, 255.0)
            return {"images": tf.cast(levels, tf.uint8)}

        by_label = (generate_by_label, [self.labels_spec(), seed])
        return {
            "serving_default": (serving_default, [count, seed]),
            "generate": by_label if self.generates_by_label else (generate, [count, seed]),
        }

    def get_config(self):
        return {**super().get_config(), "image_shape": list(self.image_shape), "seed": self.seed}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        # The default networks take the policy that is set while they are made: it must be
        # that of the saved model, not that of the process which loads it.
        with dtype_policy(config.get("dtype")):
            return super().from_config(config, custom_objects=custom_objects)

    def images_spec(self):
        """What a signature takes as this model's pictures.

        Returns:
            `tf.TensorSpec` `(None, height, width, channels)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.image_shape), tf.float32, name="images")

    def labels_spec(self):
        """What a signature takes as labels.

        Returns:
            `tf.TensorSpec` `(None,)`, int32, named `labels`.
        """
        return tf.TensorSpec((None,), tf.int32, name="labels")

    def deterministic_signature(self):
        """The part without random numbers, which LiteRT and ONNX files hold.

        Returns:
            (function of tensors, list of `tf.TensorSpec`): latents to images, or images to images.

        Raises:
            InputError: a model that has no such part.
        """
        raise InputError(f"{type(self).__name__} has no deterministic part to export.")
