"""What losses are called with, checked: one sentence instead of an error of an operation."""

import functools
import inspect
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_genimg.errors import InputError

__all__ = ["of_tensors"]


def of_tensors(loss: Callable) -> Callable:
    """Decorates a loss, whose arguments annotated as tensors must be floats of fitting shapes.

    Args:
        loss: function of tensors and of functions.

    Returns:
        The same function, which raises `InputError` for other arguments.
    """
    signature = inspect.signature(loss)
    tensors = [name for name, each in signature.parameters.items() if each.annotation is tf.Tensor]
    others = signature.parameters.keys() - set(tensors)

    @functools.wraps(loss)
    @tf.autograph.experimental.do_not_convert
    def checked(*args, **kwargs):
        given = signature.bind(*args, **kwargs).arguments
        for name in others & given.keys():
            optional = signature.parameters[name].default is None and given[name] is None
            if not optional and not callable(given[name]):
                raise InputError(f"{name} must be a function. Received: {name}={given[name]!r}.")
        for name in tensors:
            given[name] = _floats(name, given[name])
        try:
            return loss(**given)
        except (tf.errors.InvalidArgumentError, IndexError) as error:  # wrong shapes
            found = ", ".join(f"{name} {given[name].dtype.name}{given[name].shape}"
                              for name in tensors)  # fmt: skip
            raise InputError(
                f"{loss.__name__} takes tensors of one dtype and of shapes that fit. "
                f"Received: {found}."
            ) from error

    return checked


def _floats(name, value):
    if isinstance(value, keras.KerasTensor):
        return value
    try:
        tensor = tf.convert_to_tensor(value)
    except (TypeError, ValueError):
        found = f"{name} of type {type(value).__name__}"
    else:
        if tensor.dtype.is_floating and tensor.shape.num_elements() != 0:
            return tensor
        found = f"{name} {tensor.dtype.name} of shape {tensor.shape}"
    raise InputError(f"{name} must be a float tensor with values. Received: {found}.")
