"""From what `compile` was given to optimizers that are ready to step."""

import keras

from keras_genimg.errors import InputError
from keras_genimg.models.checks import check_number
from keras_genimg.placement import in_scope, scope

__all__ = ["prepare_optimizers"]


def prepare_optimizers(given, defaults, weights, learning_rate=None, devices=None):
    """Fills in the defaults, checks the rates and makes the slots.

    Call it in the scope of the model's strategy. The slots are made now, because a
    step that is traced under a strategy may not make them.

    Args:
        given: dict attribute name -> Keras optimizer, its name, or None.
        defaults: dict attribute name -> the paper's optimizer.
        weights: dict attribute name -> the variables it trains.
        learning_rate: float or None, as `compile` was given it.
        devices: dict attribute name -> device or None, of `placement.on_devices`.

    Returns:
        dict attribute name -> built optimizer.

    Raises:
        InputError: an unknown name, a rate that is not finite, one optimizer for
            two networks, or a `learning_rate` beside an optimizer of one's own.
    """
    own = [name for name, optimizer in given.items() if optimizer is not None]
    if learning_rate is not None:
        if own:
            raise InputError(
                "learning_rate sets the rate of the default optimizers and goes with no other. "
                f"Received: learning_rate={learning_rate} and {' and '.join(own)}."
            )
    prepared = {}
    for name, optimizer in given.items():
        optimizer = defaults[name] if optimizer is None else _get(name, optimizer)
        if any(optimizer is other for other in prepared.values()):
            raise InputError(
                "Each network needs an optimizer of its own, since an optimizer keeps a state for "
                f"each weight. Received: the same {type(optimizer).__name__} as {' and '.join(own)}."
            )
        rate = optimizer._learning_rate
        if not callable(rate):
            check_number(f"learning rate of {name}", float(keras.ops.convert_to_numpy(rate)))
        device = (devices or {}).get(name)
        with scope(device):
            optimizer.build(weights[name])
        if device is not None:
            optimizer.apply = in_scope(device, optimizer.apply)
        prepared[name] = optimizer
    return prepared


def _get(name, optimizer):
    try:
        return keras.optimizers.get(optimizer)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} must be a Keras optimizer or the name of one, such as 'adam' or 'sgd'. "
            f"Received: {name}={optimizer!r}."
        ) from error
