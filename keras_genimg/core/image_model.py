"""The base of all models: `keras.Model` with checked data, over replicas."""

import warnings
import weakref

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_count, check_image_shape, check_number, check_seed
from keras_genimg.core.arguments import RecordsArguments, dtype_policy
from keras_genimg.core.batch_checks import BatchChecks, unpacked
from keras_genimg.core.custom_networks import resolve_network
from keras_genimg.core.data_specs import Images
from keras_genimg.core.exporting import Exports
from keras_genimg.core.generating import Generates
from keras_genimg.core.inputs import after_its_batch, batches_of, cut, naming_the_step
from keras_genimg.core.logs import LogMeans, Position, StopOnNonFinite
from keras_genimg.core.optimizers import OneOptimizer
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
        **kwargs: `name`, and `dtype`, the policy of the model and of its default networks.
    """

    # What `fit` takes, and what the model outputs: images, reconstructions (if `generate` needs a
    # prior first), translations, labels or codes.
    data = Images()
    makes = "images"
    # What the model is and where it is described, for `keras-genimg list`.
    about = ""
    paper = ""
    num_classes = None
    # Updates of the discriminator in one step, each on a batch.
    n_critic = 1
    # Whether the losses of the steps are `batch.mean(...)`, which weights images.
    weighs_images = False
    # Steps that an epoch had before `fit`, where a run goes on within it; for messages.
    steps_before = 0

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
        self._log_names = []

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
            return resolve_network(role, custom, takes, makes)
        with dtype_policy(self.dtype_policy):  # that of `dtype=`, which may not be the global one
            return resolve_network(role, default(), takes, makes)

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

    @property
    def metrics_names(self) -> list:
        """Names of what `fit` or `evaluate` logged last, in the order of `evaluate`'s values."""
        return list(self._log_names)

    @tf.autograph.experimental.do_not_convert
    def unpack(self, data) -> tuple:
        """Unpacks, checks and casts the data of a step, and locates its batch.

        Args:
            data: `x`, or `(x, y)`, as the attribute `data` describes them; or these with
                `sample_weight`.

        Returns:
            x: images `(n, height, width, channels)` in [-1, 1], or the model's other first part.
            y: int32 labels `(n,)`, the second images of a pair, ..., or None.
            batch: `keras_genimg.distribution.GlobalBatch`.

        Raises:
            InputError: data of the wrong shape or type; missing labels; weights that the model
                does not use.
        """
        BatchChecks(self).structure(data)
        x, y, weights = unpacked(data)
        x, y = self.data.cast(self, x, y)
        batch = distribution.global_batch(x, at_least_float32(self.dtype_policy))
        return x, y, batch._replace(weights=weights)

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

    def fit(
        self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None,
        validation_split=0.0, validation_data=None, shuffle=True, class_weight=None,
        sample_weight=None, initial_epoch=0, steps_per_epoch=None, validation_steps=None,
        validation_batch_size=None, validation_freq=1,
    ):  # fmt: skip
        """Trains like `keras.Model.fit`, on checked data.

        A batch is that of one update. Where a step has n_critic updates of the discriminator, it
        takes n_critic consecutive batches, and the steps of an epoch are fewer accordingly.

        Args:
            x: images as an array of any library `(N, height, width, channels)` of floats in
                [-1, 1]; or batches of images, or of `(images, labels)`, as a `tf.data.Dataset`,
                `PyDataset`, `DataLoader` or generator. The attribute `data` describes what other
                models take.
            y: integer labels `(N,)`, if `x` is an array.
            batch_size: int. Images of one update, if `x` is an array; 32 by default.
            class_weight, sample_weight: of models that have `weighs_images`. They weight the loss
                and its terms, as in Keras; `accuracy`, `perplexity` and `codes_used` count every
                image alike.
            epochs, verbose, callbacks, validation_split, validation_data, shuffle, initial_epoch,
                steps_per_epoch, validation_steps, validation_batch_size, validation_freq: see
                `keras.Model.fit`.

        Returns:
            `keras.callbacks.History`.

        Raises:
            InputError: invalid data, of a later batch before the step that would take it; a loss
                that is not finite. Training stops at that step, and the message names it.
        """
        check_number("validation_split", validation_split, 0.0, 1.0)
        check_count("epochs", epochs, minimum=0)
        check_count("initial_epoch", initial_epoch, minimum=0)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = cut(
                self, x, y, sample_weight, validation_split
            )
        data = batches_of(
            self, x, y, sample_weight, class_weight, batch_size=batch_size, shuffle=shuffle,
            steps=steps_per_epoch, updates=self.n_critic, in_training=True,
        )  # fmt: skip
        self.check_steps(steps_per_epoch, _length(data))
        if validation_data is not None:
            self._tell_of_test_step()
            validation_data = batches_of(
                self, *unpacked(validation_data), steps=validation_steps,
                batch_size=validation_batch_size or batch_size,
            )  # fmt: skip
        guard = StopOnNonFinite(self.steps_per_execution, checked=data is not x)
        with naming_the_step(guard):
            history = super().fit(
                data, epochs=epochs, verbose=verbose, callbacks=_with(guard, callbacks),
                validation_data=validation_data, initial_epoch=initial_epoch,
                shuffle=shuffle and isinstance(data, keras.utils.PyDataset),
                steps_per_epoch=steps_per_epoch, validation_steps=validation_steps,
                validation_freq=validation_freq,
            )  # fmt: skip
        self._log_names = guard.names
        return history

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None,
        callbacks=None, return_dict=False, **kwargs,
    ):  # fmt: skip
        """Evaluates like `keras.Model.evaluate`, on data that are checked as in `fit`.

        Args:
            x, y, batch_size, sample_weight: see `fit`.
            verbose, steps, callbacks, return_dict, **kwargs: see `keras.Model.evaluate`.

        Returns:
            floats, the logs of `test_step`: with `return_dict` a dict by name, otherwise a list in
            the order of `metrics_names`, or the only one.

        Raises:
            InputError: invalid data.
        """
        if kwargs.get("_use_cached_eval_dataset"):  # `fit` validates
            return super().evaluate(callbacks=callbacks, return_dict=return_dict, **kwargs)
        self._tell_of_test_step()
        if steps is not None:
            check_count("steps", steps)
        data = batches_of(self, x, y, sample_weight, batch_size=batch_size, steps=steps)
        position = Position(self.steps_per_execution)
        with naming_the_step(position):
            logs = super().evaluate(
                data, verbose=verbose, steps=steps, callbacks=_with(position, callbacks),
                return_dict=True, **kwargs,
            )  # fmt: skip
        return self._named(logs, return_dict)

    def make_train_function(self, force: bool = False) -> None:
        """Makes the function that `fit` calls, in which a refused batch changes nothing.

        Args:
            force: bool. See `keras.Model.make_train_function`.
        """
        own = vars(self).get("train_step")  # None: that of the class
        self.train_step = after_its_batch(self.train_step)
        try:
            super().make_train_function(force)
        finally:
            del self.train_step
            if own is not None:
                self.train_step = own

    def train_on_batch(
        self, x, y=None, sample_weight=None, class_weight=None, return_dict: bool = False
    ) -> list | dict | float:  # fmt: skip
        """A step of training like `keras.Model.train_on_batch`, on checked data.

        Args:
            x, y: the batch of a step, n_critic times that of an update.
            sample_weight, class_weight: see `fit`.
            return_dict: bool. See `evaluate`.

        Returns:
            floats, the logs of `train_step`, see `evaluate`.

        Raises:
            InputError: invalid data.
        """
        batch = BatchChecks(self, class_weight)((x, y, sample_weight))
        return self._named(super().train_on_batch(*batch, return_dict=True), return_dict)

    def test_on_batch(
        self, x, y=None, sample_weight=None, return_dict: bool = False
    ) -> list | dict | float:  # fmt: skip
        """Evaluates one batch like `keras.Model.test_on_batch`, on checked data.

        Args:
            x, y, sample_weight: see `fit`.
            return_dict: bool. See `evaluate`.

        Returns:
            floats, the logs of `test_step`, see `evaluate`.

        Raises:
            InputError: invalid data.
        """
        batch = BatchChecks(self)((x, y, sample_weight))
        return self._named(super().test_on_batch(*batch, return_dict=True), return_dict)

    def check_weighs(self, argument: str) -> None:
        """Checks that the step weights images.

        Args:
            argument: string. What was given, for the message.

        Raises:
            InputError: it does not.
        """
        # A subclass that writes another step says itself whether it does.
        if not self.weighs_images or _is_newer(type(self), "train_step", "weighs_images"):
            raise InputError(
                f"{type(self).__name__} has no loss that weights images (weighs_images is False): "
                f"leave out the weights. Received: {argument}."
            )

    def check_steps(self, steps: int | None, length: int | None = None) -> None:
        """Checks that Keras does not run more steps in an epoch than it is told.

        It runs whole executions: the next epoch would begin later in the data, and a resumed run
        would read other batches.

        Args:
            steps: int. `steps_per_epoch` of `fit`, or None.
            length: int. Steps after which the data end, if they do.

        Raises:
            InputError: steps that are not whole executions.
        """
        several = self.steps_per_execution
        if steps and steps % several and steps != length:
            raise InputError(
                f"steps_per_epoch must be a multiple of steps_per_execution={several}. "
                f"Received: steps_per_epoch={steps}."
            )

    def _tell_of_test_step(self):
        cls = type(self)
        if not _is_newer(cls, "train_step", "test_step") or cls in _TOLD:
            return
        _TOLD.add(cls)
        warnings.warn(
            f"{cls.__name__} has its own train_step but not its own test_step: evaluate and "
            f"validation report the losses of {_owner(cls, 'test_step').__name__}.",
            stacklevel=3,
        )

    def _named(self, logs, return_dict):
        """Logs as `evaluate` returns them."""
        self._log_names = list(logs)
        values = list(logs.values())
        return logs if return_dict else values if len(values) != 1 else values[0]


_TOLD = weakref.WeakSet()  # classes about whose test_step a warning was given


def _owner(cls, name):
    """The class that defines an attribute for `cls`."""
    return next(each for each in cls.__mro__ if name in vars(each))


def _is_newer(cls, name, other):
    """Whether a class outside the package defines `name` and leaves `other` to a parent."""
    owner = _owner(cls, name)
    ours = owner.__module__.startswith(__name__.partition(".")[0] + ".")
    return not ours and owner is not _owner(cls, other) and issubclass(owner, _owner(cls, other))


def _with(callback, callbacks):
    """The callbacks, and one of ours."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks.append(callback)
        return callbacks
    # First, so that values that are not finite stop training before anything is saved.
    others = keras.tree.flatten([] if callbacks is None else callbacks)
    wrong = [each for each in others if not isinstance(each, keras.callbacks.Callback)]
    if wrong:
        raise InputError(
            f"callbacks must be objects of keras.callbacks.Callback. Received: {str(wrong)[:60]}."
        )
    return [callback, *others]


def _length(data):
    """Batches in an epoch of what `batches_of` returned."""
    if isinstance(data, keras.utils.PyDataset):
        return data.num_batches
    return int(data.cardinality()) if callable(data.cardinality) else int(data.cardinality)
