"""The networks of one model on several devices.

If one device cannot hold both networks of a model, each can have its own, with
its weights, computation, gradients and optimizer state. This is not data
parallelism (for that see `distribution`), and it changes no result.

TensorFlow computes gradients on the device that is current when they are
requested. A device scope around a network's call alone therefore leaves the
larger half of the work elsewhere. Here a separate tape takes the gradient of a
placed network, in the same scope.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from keras_genimg.errors import InputError

__all__ = ["device_of", "in_scope", "on_devices", "run_on", "scope"]

ROLES = ("generator", "discriminator")
_places = contextvars.ContextVar("places", default=None)


@contextlib.contextmanager
def on_devices(**devices: str):
    """Scope in which models place each network on its own device.

    Models that are built, or loaded, and compiled inside the scope keep their placement
    after it. Their exports name no device. Custom networks, passed to a model as
    `generator=` or `discriminator=`, stay where they were created: create them in the scope
    and under `tf.device`.

    Args:
        **devices: role=device: `generator` and `discriminator`, each the name of a
            logical device such as `"GPU:1"`. TensorFlow places a role that is left out.

    Yields:
        None.

    Raises:
        InputError: an unknown role, an unavailable device, or a strategy with several
            replicas.

    Example:
    >>> with keras_genimg.placement.on_devices(generator="CPU:0", discriminator="CPU:0"):
    ...     gan = keras_genimg.GAN()
    ...     gan.compile()
    """
    unknown = sorted(set(devices) - set(ROLES))
    if unknown or not devices:
        raise InputError(
            f"on_devices takes {' and '.join(ROLES)}. Received: {', '.join(unknown) or 'nothing'}."
        )
    if tf.distribute.get_strategy().num_replicas_in_sync > 1:
        raise InputError(
            "on_devices gives each network one device, but a strategy with several replicas gives "
            "each device all networks: use one of the two. "
            f"Received: {tf.distribute.get_strategy().num_replicas_in_sync} replicas."
        )
    known = {_short(device.name): device.name for device in tf.config.list_logical_devices()}
    for role, device in devices.items():
        if not isinstance(device, str) or _short(device) not in known:
            raise InputError(
                f"{role} must be placed on one of {', '.join(known)}. Received: {device!r}."
            )
    token = _places.set({role: known[_short(device)] for role, device in devices.items()})
    try:
        yield
    finally:
        _places.reset(token)


def _short(name):
    """`"/job:localhost/replica:0/task:0/device:GPU:1"`, `"/gpu:1"` -> `"GPU:1"`."""
    return ":".join(name.replace("/", ":").split(":")[-2:]).upper()


def device_of(role: str) -> str | None:
    """The device of a role in the current `on_devices`.

    Args:
        role: `"generator"` or `"discriminator"`.

    Returns:
        string such as `"/device:GPU:1"`; None outside a scope, or for a role left out.
    """
    return (_places.get() or {}).get(role)


def scope(device: str | None) -> contextlib.AbstractContextManager:
    """`tf.device(device)`; for None a scope that changes nothing.

    Args:
        device: string or None, see `device_of`.

    Returns:
        context manager.
    """
    return contextlib.nullcontext() if device is None else tf.device(device)


def in_scope(device: str, function: Callable) -> Callable:
    """Wraps a function so that it runs on a device.

    Args:
        device: string.
        function: callable.

    Returns:
        callable of the same arguments and outputs, run in `tf.device(device)`.
    """

    @functools.wraps(function)
    def placed(*args, **kwargs):
        with tf.device(device):
            return function(*args, **kwargs)

    return placed


def run_on(device: str | None, network: keras.Layer) -> None:
    """Places the computation of a network during training on a device.

    The caller creates its weights in `scope(device)`.

    Args:
        device: string, or None to leave the network as it is.
        network: built `keras.Layer`; its `call` is replaced.
    """
    if device is None:
        return
    call = network.call

    @functools.wraps(call)
    def placed_call(inputs, **kwargs):
        if not kwargs.get("training", True):  # exports name no device
            return call(inputs, **kwargs)

        @tf.custom_gradient
        def compute(*tensors):
            with tf.device(device), tf.GradientTape(persistent=True) as tape:
                tape.watch([tensor for tensor in tensors if tensor.dtype.is_floating])
                outputs = call(tf.nest.pack_sequence_as(inputs, tensors), **kwargs)

            def backward(*upstream, variables=()):
                with tf.device(device):
                    gradients = tape.gradient(outputs, [*tensors, *variables], [*upstream])
                return gradients[: len(tensors)], gradients[len(tensors) :]

            return outputs, backward

        return compute(*tf.nest.flatten(inputs))

    network.call = placed_call
