"""Arguments that say how an optimizer goes and what the default networks are like."""

import inspect
import math

import keras

from keras_genimg.errors import InputError
from keras_genimg.models.checks import check_number, first_reason

__all__ = ["build_network", "check_learning_rate", "check_network_options"]


def check_learning_rate(rate):
    """Returns a learning rate as optimizers take it: a finite number, or a schedule.

    Args:
        rate: float, `keras.optimizers.schedules.LearningRateSchedule`, or the dict that
            `keras.optimizers.schedules.serialize` makes of one, of which `class_name` and
            `config` are enough.

    Raises:
        InputError: anything else, or a schedule that does not start with such a number.

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
            f"Received: {arguments!r}, of which Keras says: {first_reason(error)}"
        ) from error


def check_network_options(options, functions, default_networks=True):
    """Returns `network_options` as a dict, `{}` for None.

    Args:
        options: dict or None, keyword arguments for each of `functions`.
        functions: list of functions that make the default networks. What they have no default
            for, and `name`, is not for options.
        default_networks: bool. Whether there is a default network at all.

    Raises:
        InputError: no dict, names that not every one of the functions takes, or options without
            a default network.

    Example:
    >>> from keras_genimg.networks import mlp_decoder, mlp_encoder
    >>> check_network_options({"activation": "tanh"}, [mlp_encoder, mlp_decoder])
    {'activation': 'tanh'}
    """
    if options is None:
        return {}
    if not default_networks:
        raise InputError(
            "network_options are for the default networks, not for networks of one's own. "
            f"Received: network_options={options!r} beside both networks."
        )
    names = sorted(set.intersection(*map(_with_default, functions)) - {"name"})
    if not isinstance(options, dict) or set(options) - set(names):
        raise InputError(
            f"network_options must be a dict of some of {', '.join(names)}. "
            f"Received: network_options={options!r}."
        )
    return dict(options)


def _with_default(function):
    parameters = inspect.signature(function).parameters.items()
    return {name for name, parameter in parameters if parameter.default is not parameter.empty}


def build_network(make, *arguments, **options):
    """The network `make(*arguments, **options)`; raises `InputError` if the options do not fit."""
    try:
        return make(*arguments, **options)
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError) or not options:
            raise
        raise InputError(
            "network_options must be what the layers of the default networks take. "
            f"Received: {options!r}, of which Keras says: {first_reason(error)}"
        ) from error
