"""Optimizers of a model: one, or a pair."""

import math

import keras

from keras_genimg.checks import check_count, check_number, first_reason
from keras_genimg.errors import InputError
from keras_genimg.optimizers import Adam
from keras_genimg.placement import in_scope, scope

__all__ = ["OneOptimizer", "OptimizerPair", "adam_pair", "check_learning_rate"]

EXECUTION = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}


class OneOptimizer:
    """Mixin of a `keras.Model`: `compile` without arguments uses the paper's optimizer."""

    def compile(self, optimizer=None, *, learning_rate=None, **execution):
        """Sets the optimizer and how steps are executed.

        Args:
            optimizer: Keras optimizer, its name, or None for the paper's.
            learning_rate: float, `keras.optimizers.schedules.LearningRateSchedule` or its
                serialised dict, optional. Rate of the paper's optimizer.
            run_eagerly: bool. Runs steps line by line, for debugging.
            steps_per_execution: int. Steps per call of TensorFlow; more than one
                reduces the overhead of Python for small models.
            jit_compile: bool. Whether to use XLA. It changes no result; on a CPU it is slower.

        Raises:
            InputError: an unknown optimizer, a rate that is not finite, a rate together with a
                custom optimizer, steps_per_execution that is not positive.
        """
        self._compile({"optimizer": optimizer}, learning_rate, execution)

    def _compile(self, optimizers, learning_rate, execution):
        unknown = set(execution) - set(EXECUTION)
        if unknown:
            raise InputError(
                f"compile of {type(self).__name__} takes {', '.join(optimizers)}, learning_rate, "
                f"{', '.join(EXECUTION)}. Received: {', '.join(sorted(unknown))}."
            )
        self._execution = {**EXECUTION, **execution}
        check_count("steps_per_execution", self._execution["steps_per_execution"])
        super().compile(optimizer=None, **self._execution)
        custom = [name for name, optimizer in optimizers.items() if optimizer is not None]
        if learning_rate is not None:
            learning_rate = check_learning_rate(learning_rate)
            if custom:
                raise InputError(
                    "learning_rate sets the rate of the default optimizers only. "
                    f"Received: learning_rate={learning_rate} and {' and '.join(custom)}."
                )
        with self.distribute_strategy.scope():
            defaults, weights = self.default_optimizers(learning_rate), self.optimized_weights()
            prepared = {}
            for name, optimizer in optimizers.items():
                optimizer = defaults[name] if optimizer is None else _get(name, optimizer)
                if any(optimizer is other for other in prepared.values()):
                    raise InputError(
                        "Each network needs a separate optimizer, because an optimizer keeps a "
                        f"state for each weight. Received: one {type(optimizer).__name__} as "
                        f"{' and '.join(custom)}."
                    )
                self._prepare(name, optimizer, weights[name])
                prepared[name] = optimizer
        for name, optimizer in prepared.items():
            setattr(self, name, optimizer)
        self._optimizer_names = list(prepared)

    def _prepare(self, name, optimizer, weights):
        """Checks an optimizer's rate and creates its slots, on the device that is set for it.

        The slots are created now, because a step traced under a strategy may not create them.
        """
        rate = optimizer._learning_rate
        if not callable(rate):
            check_number(f"learning rate of {name}", float(keras.ops.convert_to_numpy(rate)))
        device = self.optimizer_devices().get(name)
        with scope(device):
            optimizer.build(weights)
        if device is not None:
            optimizer.apply = in_scope(device, optimizer.apply)

    def default_optimizers(self, learning_rate=None) -> dict:
        """The paper's optimizers, the defaults of `compile`.

        Args:
            learning_rate: float or `LearningRateSchedule` instead of the paper's, or None.

        Returns:
            dict of Keras optimizers by attribute name: `optimizer`, or `generator_optimizer` and
            `discriminator_optimizer`.
        """
        return {"optimizer": Adam(1e-3 if learning_rate is None else learning_rate)}

    def optimized_weights(self) -> dict:
        """What each optimizer trains.

        Returns:
            dict from an optimizer's attribute name to the list of its variables.
        """
        return {"optimizer": self.trainable_variables}

    def optimizer_devices(self) -> dict:
        """The device on which each optimizer keeps its state, see `placement.on_devices`.

        Returns:
            dict from an optimizer's attribute name to a device's name or None.
        """
        return {}

    def get_compile_config(self) -> dict | None:
        """The arguments of `compile`, serialised; None if it was not called."""
        if not self.compiled:
            return None
        optimizers = {
            name: keras.saving.serialize_keras_object(getattr(self, name))
            for name in self._optimizer_names
        }
        return {**self._execution, **optimizers}

    def compile_from_config(self, config: dict) -> None:
        """Compiles with the arguments that `get_compile_config` returned."""
        self.compile(**keras.saving.deserialize_keras_object(config))


class OptimizerPair:
    """Mixin that precedes `OneOptimizer`: an optimizer for each side of an adversarial model."""

    # The networks that each optimizer updates, by their attributes.
    optimized_networks = {
        "generator_optimizer": ("generator",),
        "discriminator_optimizer": ("discriminator",),
    }

    def compile(
        self, generator_optimizer=None, discriminator_optimizer=None, *, learning_rate=None,
        **execution,
    ):
        """Sets the two optimizers and how steps are executed.

        Args:
            generator_optimizer: Keras optimizer, its name, or None for the paper's.
            discriminator_optimizer: likewise.
            learning_rate: float or schedule, see `ImageModel.compile`, optional. Rate of
                the paper's optimizers; a pair (rate of the generator, rate of the
                discriminator) for two time scales (Heusel et al., 2017,
                https://arxiv.org/abs/1706.08500).
            **execution: `run_eagerly`, `steps_per_execution`, `jit_compile`, see
                `ImageModel.compile`.

        Raises:
            InputError: see `ImageModel.compile`; one optimizer for both, a pair of rates with a
                custom optimizer.
        """
        optimizers = {
            "generator_optimizer": generator_optimizer,
            "discriminator_optimizer": discriminator_optimizer,
        }
        if isinstance(learning_rate, (tuple, list)):
            if len(learning_rate) != 2 or any(optimizers.values()):
                raise InputError(
                    "learning_rate may be a pair, (generator's, discriminator's), with the default "
                    f"optimizers only. Received: learning_rate={learning_rate!r}."
                )
            for name, rate in zip(optimizers, learning_rate):
                optimizers[name] = self.default_optimizers(check_learning_rate(rate))[name]
            learning_rate = None
        self._compile(optimizers, learning_rate, execution)

    def optimized_weights(self) -> dict:
        """See `ImageModel.optimized_weights`.

        Returns:
            dict of the trainable variables of `generator` and `discriminator`.
        """
        return {
            optimizer: [w for name in names for w in getattr(self, name).trainable_variables]
            for optimizer, names in self.optimized_networks.items()
        }


def adam_pair(learning_rate, beta_1: float, beta_2: float = 0.999) -> dict:
    """An Adam for each network: a dict of optimizers by attribute name."""
    return {
        name: Adam(learning_rate, beta_1=beta_1, beta_2=beta_2)
        for name in ("generator_optimizer", "discriminator_optimizer")
    }


def _get(name, optimizer):
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} must be a Keras optimizer or the name of one, such as 'adam' or 'sgd'. "
            f"Received: {name}={optimizer!r}."
        ) from error


def check_learning_rate(rate) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """Checks a learning rate, and returns it as a finite number or a schedule.

    Args:
        rate: float, `keras.optimizers.schedules.LearningRateSchedule`, or the dict from
            `keras.optimizers.schedules.serialize`, of which `class_name` and `config` are
            enough.

    Raises:
        InputError: any other value, or a schedule that does not start with a finite number.

    Example:
    >>> config = {"initial_learning_rate": 1e-3, "decay_steps": 1000}
    >>> round(float(check_learning_rate({"class_name": "CosineDecay", "config": config})(500)), 6)
    0.0005
    """
    schedules = keras.optimizers.schedules
    if isinstance(rate, dict):
        rate = _schedule_of(rate)
    if not isinstance(rate, schedules.LearningRateSchedule):
        return check_number("learning_rate", rate)
    first = float(keras.ops.convert_to_numpy(rate(0)))
    if not math.isfinite(first) or first < 0:
        raise InputError(
            "learning_rate must start with a finite number of at least 0. "
            f"Received: a {type(rate).__name__} that starts with {first}."
        )
    return rate


def _schedule_of(config):
    schedules = keras.optimizers.schedules
    known = [name for name in dir(schedules) if name[0].isupper()]
    known.remove("LearningRateSchedule")
    name, arguments = config.get("class_name"), config.get("config")
    if name not in known or not isinstance(arguments, dict):
        raise InputError(
            "learning_rate as a dict must be {'class_name': ..., 'config': {...}} of one of "
            f"{', '.join(known)}. Received: learning_rate={config!r}."
        )
    try:
        return getattr(schedules, name).from_config(arguments)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The config of learning_rate must be the arguments of {name}. "
            f"Received: {arguments!r}, for which Keras reports: {first_reason(error)}"
        ) from error
