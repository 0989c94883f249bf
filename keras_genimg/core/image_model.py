"""The base of all models: `keras.Model` with checked data, over replicas."""

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_image_shape, check_seed
from keras_genimg.core.arguments import RecordsArguments
from keras_genimg.core.custom_networks import resolve_network
from keras_genimg.core.data_specs import Images, first_two
from keras_genimg.core.exporting import Exports
from keras_genimg.core.generating import Generates
from keras_genimg.core.logs import LogMeans, StopOnNonFiniteLogs
from keras_genimg.core.optimizers import OneOptimizer
from keras_genimg.data.passes import without_autotuning
from keras_genimg.errors import InputError
from keras_genimg.precision import at_least_float32

__all__ = ["ImageModel"]


class ImageModel(RecordsArguments, OneOptimizer, Generates, Exports, keras.Model):
    """Base of all models. Subclasses write `train_step` and `test_step`.

    It holds no learning rule. It feeds data to the steps and averages their logs; its mixins
    record arguments, hold optimizers, generate, save and export.

    Args:
        image_shape: tuple (height, width, channels).
        seed: int, optional. Makes the training noise reproducible (weights are
            seeded by `keras.utils.set_random_seed`).
    """

    # What `fit` takes, and what the model outputs: images, reconstructions (if `generate` needs a
    # prior first), translations, labels or codes.
    data = Images()
    makes = "images"
    # What the model is and where it is described, for `keras-genimg list`.
    summary = ""
    paper = ""
    num_classes = None
    # Number of update batches in one batch of `fit`.
    n_critic = 1

    def __init__(self, image_shape, seed=None, **kwargs):
        super().__init__(**kwargs)
        if "float16" in self.dtype_policy.name.replace("bfloat16", ""):
            raise InputError(
                "mixed_float16 is not supported, because Keras scales the loss of one optimizer "
                "only and small gradients of the others would vanish; use mixed_bfloat16, which "
                f"needs no scaling. Received: dtype policy {self.dtype_policy.name!r}."
            )
        if image_shape is not None:  # None in a model of codes
            image_shape = check_image_shape(image_shape, default_networks=False)
        self.image_shape = image_shape
        self.seed = check_seed(seed, draw=False)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.log_means = LogMeans()

    def make_network(self, role: str, custom, default, takes, makes=None) -> keras.Layer:
        """The custom network, or the default one, with its shapes checked.

        Args:
            role: string. Its name in messages.
            custom: `keras.Model` or layer, or None for the default one.
            default: function without arguments that makes the default one.
            takes, makes: its shapes, see `core.custom_networks.resolve_network`.

        Returns:
            The network, built.

        Raises:
            InputError: a network with other input or output shapes.
        """
        if custom is not None:
            self._custom_networks.add(role)
        return resolve_network(role, default() if custom is None else custom, takes, makes)

    def adapt(self, images) -> None:
        """Sets what depends on the data, before `fit`. The base class sets nothing.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1]; a thousand are enough.

        Raises:
            InputError: invalid images.
        """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Models are built in their constructors. Keras would average a batch over workers here,
        # which fails on a batch of several tensors (keras-team/keras#20585).
        pass

    @property
    def metrics(self) -> list:
        # One vector of running means instead of one Keras metric per name.
        return [self.log_means]

    @tf.autograph.experimental.do_not_convert
    def unpack(self, data) -> tuple:
        """Unpacks, checks and casts the data of a step, and locates its batch.

        Args:
            data: `x`, or `(x, y)`, as the attribute `data` describes them.

        Returns:
            x: images `(n, height, width, channels)` in [-1, 1], or the model's other first part.
            y: int32 labels `(n,)`, the second images of a pair, ..., or None.
            batch: `keras_genimg.distribution.GlobalBatch`.

        Raises:
            InputError: data of the wrong shape or type; missing labels.
        """
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.data.check_structure(self, x, y)
        x, y = self.data.cast(self, x, y)
        return x, y, distribution.global_batch(x, at_least_float32(self.dtype_policy))

    def log(self, batch: distribution.GlobalBatch, **values) -> dict:
        """Adds a step's scalars to the running means of the epoch, and returns the means.

        Args:
            batch: the step's `GlobalBatch`.
            **values: name=scalar, each a mean over this replica's images.

        Returns:
            dict of float32 scalars: means over replicas and over the steps since
            the epoch began, weighted by the number of images.
        """
        self.log_means.update_state(values, batch)
        return self.log_means.result(values)

    def fit(self, x=None, y=None, *args, callbacks=None, validation_data=None, **kwargs):
        """Trains like `keras.Model.fit`, on checked data.

        Args:
            x: images as a NumPy array or tensor `(N, height, width, channels)`
                of floats in [-1, 1], or a `tf.data.Dataset` of batches: of
                images, or of `(images, labels)`. The attribute `data` describes what other
                models take.
            y: integer labels `(N,)`, if `x` is an array.
            *args, callbacks, validation_data, **kwargs: see `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            InputError: invalid data; a loss that is not finite (training stops at that
                step, and the message names it).
        """
        self.check_data(x, y)
        if validation_data is not None:
            self.check_data(*first_two(validation_data))
            if isinstance(validation_data, tf.data.Dataset):
                validation_data = without_autotuning(validation_data)
        if isinstance(x, tf.data.Dataset):
            kwargs["shuffle"] = False  # a dataset shuffles itself; Keras warns otherwise
            x = without_autotuning(x)
        guard = StopOnNonFiniteLogs()
        if isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks.append(guard)
        else:
            # First, so that values that are not finite stop training before anything is saved.
            callbacks = [guard, *keras.tree.flatten(callbacks or [])]
        return super().fit(
            x, y, *args, callbacks=callbacks, validation_data=validation_data, **kwargs
        )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """Evaluates like `keras.Model.evaluate`, on data that are checked as in `fit`.

        Args:
            x, y: see `fit`.
            *args, **kwargs: see `keras.Model.evaluate`, such as `return_dict`.

        Returns:
            floats, the logs of `test_step`: with `return_dict` a dict by name, otherwise a list.

        Raises:
            InputError: invalid data.
        """
        if not kwargs.get("_use_cached_eval_dataset"):
            self.check_data(x, y)
        if isinstance(x, tf.data.Dataset):
            x = without_autotuning(x)
        return super().evaluate(x, y, *args, **kwargs)

    def check_data(self, x, y=None) -> None:
        """Checks all of an array, or the first batch of a dataset or `PyDataset`.

        Args:
            x, y: see `fit`. Other types, such as generators, are not checked.

        Raises:
            InputError: invalid data.
        """
        if x is None:
            wanted = self.data.parts[0].name
            raise InputError(f"{type(self).__name__} needs {wanted}. Received: None.")
        if isinstance(x, tf.data.Dataset):
            self.data.check_structure(self, *first_two(x.element_spec))
            for element in x.take(1):
                self.data.check_values(self, *first_two(element))
        elif isinstance(x, keras.utils.PyDataset):
            self.check_data(*first_two(x[0]))
        elif hasattr(x, "dtype") and hasattr(x, "shape"):
            self.data.check_values(self, x, y)
