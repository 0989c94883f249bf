"""The optimizer of a model, and how it is fitted to the model's steps."""

import functools
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, check_number, first_reason
from keras_genimg.core.layer_states import check_layers, weights_by_name
from keras_genimg.errors import InputError
from keras_genimg.optimizers import Adam, LinearDecay
from keras_genimg.placement import in_scope, scope
from keras_genimg.quiet import report_failed_fusion

__all__ = ["OneOptimizer", "check_learning_rate", "resolve_optimizer"]

# Keras sets the weights to their averages at the end of `fit`, which fails for a part of them.
EMA = " or, with use_ema, frozen"
EXECUTION = {"run_eagerly": False, "steps_per_execution": 1, "jit_compile": False}


class OneOptimizer:
    """Mixin of a `keras.Model`: `compile` without arguments uses the paper's optimizer."""

    def compile(self, optimizer=None, *, learning_rate=None, **execution):
        """Sets the optimizer and how steps are executed.

        What is trained are the weights that are not frozen (`layer.trainable = False`). Options of
        Keras's optimizers act as in Keras, over all replicas: clipping, `weight_decay`, `use_ema`,
        and on one device `gradient_accumulation_steps` and `ema_overwrite_frequency`.
        `loss_scale_factor` is set to None: it is for `mixed_float16` and changes no result here.

        Args:
            optimizer: Keras optimizer, its name, or None for the paper's.
            learning_rate: float, `keras.optimizers.schedules.LearningRateSchedule` or its
                serialised dict, optional. Rate of the paper's optimizer.
            run_eagerly: bool. Runs steps line by line, for debugging.
            steps_per_execution: int. Steps per call of TensorFlow; more than one
                reduces the overhead of Python for small models.
            jit_compile: bool, or "auto". Whether to use XLA. It changes no result; on a CPU it is
                slower.

        Raises:
            InputError: an unknown optimizer, or one that cannot be used here; a rate that is not
                finite, a rate together with a custom optimizer, an invalid option of execution,
                losses or metrics, layers with LoRA or quantized ones.
        """
        self._compile({"optimizer": optimizer}, learning_rate, execution)

    def _compile(self, optimizers, learning_rate, execution):
        unknown = set(execution) - set(EXECUTION)
        if unknown:
            raise InputError(
                f"compile of {type(self).__name__} takes {', '.join(optimizers)}, learning_rate, "
                f"{', '.join(EXECUTION)}; losses and logs are written in its train_step. "
                f"Received: {', '.join(sorted(unknown))}."
            )
        check_layers(self)
        self._execution = {**EXECUTION, **execution}
        _check_execution(**self._execution)
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
                optimizer = (
                    defaults[name] if optimizer is None else resolve_optimizer(name, optimizer)
                )
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
        """Checks an optimizer and creates its slots, on the device that is set for it.

        The slots are created now, because a step traced under a strategy may not create them.
        """
        _check_usable(name, optimizer)
        device = self.optimizer_devices().get(name)
        if not optimizer.built:
            with scope(device):
                optimizer.build(weights)
        elif not _knows(optimizer, weights):
            raise InputError(
                "An optimizer keeps a state for each weight that it was built for: pass a new one. "
                f"Received: {name}, {type(optimizer).__name__} built for other weights."
            )
        fit_to_steps(optimizer, self.distribute_strategy.num_replicas_in_sync)
        if device is not None:
            optimizer.apply = in_scope(device, optimizer.apply)

    def make_train_function(self, force: bool = False) -> Callable:
        """Keras's, which is called at the start of `fit`; layers frozen since are noticed.

        Args:
            force: bool. Whether to trace the step again in any case.

        Returns:
            function that runs steps.

        Raises:
            InputError: no weight is left to train, layers unfrozen since `compile`, layers with
                LoRA or quantized ones.
        """
        check_layers(self)
        trained = self.optimized_weights()
        if not any(trained.values()):
            raise InputError(
                "A model needs weights that are trained: unfreeze a layer, by trainable = True, "
                f"and call compile(). Received: {type(self).__name__}, all of it frozen."
            )
        for name, weights in trained.items():
            optimizer = getattr(self, name, None)
            if not getattr(optimizer, "built", False):
                continue
            fewer = len(weights) < len(optimizer._trainable_variables)
            if not _knows(optimizer, weights) or (optimizer.use_ema and fewer):
                raise InputError(
                    f"{name} has a state for the weights that were trained at compile(): call "
                    f"compile() again after layers have been unfrozen{EMA * optimizer.use_ema}. "
                    f"Received: {type(self).__name__}, in which they have changed."
                )
        traced = tuple(id(weight) for weights in trained.values() for weight in weights)
        force = force or traced != getattr(self, "_traced_weights", traced)
        self._traced_weights = traced
        report_failed_fusion()
        return super().make_train_function(force)

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
        return {**self._execution, **optimizers, **self._frozen_since()}

    def _frozen_since(self):
        """{"trained_weights": {optimizer: names}}, of optimizers with a state for others too."""
        found = {}
        for name, weights in self.optimized_weights().items():
            built_for = getattr(self, name)._trainable_variables
            frozen = len(built_for) > len(weights)
            if frozen and _knows(getattr(self, name), weights):
                names = {id(weight): key for key, weight in weights_by_name(self).items()}
                found[name] = [names.get(id(weight)) for weight in built_for]
        return {"trained_weights": found} if found else {}

    def compile_from_config(self, config: dict) -> None:
        """Compiles with the arguments that `get_compile_config` returned."""
        config = keras.saving.deserialize_keras_object(config)
        for name, keys in config.pop("trained_weights", {}).items():
            found = weights_by_name(self)
            weights = {id(found[key]): found[key] for key in keys if key in found}
            now = {id(weight) for weight in self.optimized_weights()[name]}
            if len(weights) == len(keys) and now <= set(weights):
                device = self.optimizer_devices().get(name)
                with self.distribute_strategy.scope(), scope(device):
                    config[name].build([*weights.values()])
        self.compile(**config)


def resolve_optimizer(name: str, optimizer) -> keras.optimizers.Optimizer:
    """The Keras optimizer that a user gives, by name or as an object.

    Args:
        name: string. Its argument's name in messages.
        optimizer: Keras optimizer, its name or its serialised dict.

    Returns:
        Keras optimizer.

    Raises:
        InputError: something else.

    Example:
    >>> resolve_optimizer("optimizer", "sgd").name
    'SGD'
    """
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} must be a Keras optimizer or the name of one, such as 'adam' or 'sgd'. "
            f"Received: {name}={optimizer!r}."
        ) from error


def _check_execution(run_eagerly, steps_per_execution, jit_compile):
    check_count("steps_per_execution", steps_per_execution)
    for name, value, other in (("run_eagerly", run_eagerly, False),
                               ("jit_compile", jit_compile, jit_compile == "auto")):  # fmt: skip
        if not isinstance(value, (bool, np.bool_)) and not other:
            raise InputError(f"{name} must be True or False. Received: {name}={value!r}.")


def _check_usable(name, optimizer):
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        raise InputError(
            "LossScaleOptimizer is for mixed_float16, which is not supported: pass the optimizer "
            f"inside it. Received: {name}={optimizer.name}."
        )
    rate = optimizer._learning_rate
    if not callable(rate):
        check_number(f"learning rate of {name}", float(keras.ops.convert_to_numpy(rate)))
    strategy = tf.distribute.get_strategy()
    many = tf.distribute.has_strategy() and not isinstance(
        strategy, tf.distribute.OneDeviceStrategy
    )
    for option in ("gradient_accumulation_steps", "ema_overwrite_frequency") if many else ():
        values = [getattr(each, option, None) for each in _with_inner(optimizer)]
        if any(values):
            raise InputError(
                f"{option} needs a model on one device, because weights cannot be updated under a "
                f"condition in a {type(strategy).__name__}. "
                f"Received: {name} with {option}={max(filter(None, values))}."
            )


def fit_to_steps(optimizer: keras.optimizers.Optimizer, replicas: int) -> None:
    """Fits an optimizer to steps that are written like the algorithm box of a paper.

    Such a step does not scale its loss, hands over no gradients for a frozen network, and expects
    that the gradients of the global batch are clipped, not those of each replica, as Keras does.

    Args:
        optimizer: Keras optimizer. Methods of this one object are replaced.
        replicas: int. Number of replicas.
    """
    optimizer.loss_scale_factor = None
    optimizer.apply_gradients = functools.partial(_apply_gradients, optimizer)
    for each in _with_inner(optimizer) if replicas > 1 else ():
        if each.clipnorm or each.global_clipnorm or each.clipvalue:
            each._clip_gradients = functools.partial(_clip_global, each)


def _with_inner(optimizer):
    return [optimizer, *getattr(optimizer, "optimizers", ())]  # of a MultiOptimizer


def _apply_gradients(optimizer, grads_and_vars):
    pairs = list(grads_and_vars)
    if pairs:
        return type(optimizer).apply_gradients(optimizer, pairs)
    return optimizer._iterations.assign_add(1)  # of a frozen network; steps count all the same


def _clip_global(optimizer, gradients):
    context = tf.distribute.get_replica_context()
    gradients = context.all_reduce("sum", [tf.convert_to_tensor(each) for each in gradients])
    clipped = type(optimizer)._clip_gradients(optimizer, gradients)
    # Keras adds the gradients of replicas up after this.
    return [gradient / context.num_replicas_in_sync for gradient in clipped]


def _knows(optimizer, weights):
    """Whether a built optimizer has a state for each of the weights."""
    return set(map(id, weights)) <= set(map(id, optimizer._trainable_variables))


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
    known = {name: getattr(schedules, name) for name in dir(schedules) if name[0].isupper()}
    del known["LearningRateSchedule"]  # the base class
    known["LinearDecay"] = LinearDecay
    name, arguments = config.get("class_name"), config.get("config")
    if not isinstance(name, str) or name not in known or not isinstance(arguments, dict):
        raise InputError(
            "learning_rate as a dict must be {'class_name': ..., 'config': {...}} of one of "
            f"{', '.join(known)}. Received: learning_rate={config!r}."
        )
    try:
        return known[name].from_config(arguments)
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The config of learning_rate must be the arguments of {name}. "
            f"Received: {arguments!r}, for which Keras reports: {first_reason(error)}"
        ) from error
