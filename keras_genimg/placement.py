"""The networks of one model on several devices.

Where one device does not hold both networks of a model, each can have its own:
its weights, what it computes, its gradients and the state of its optimizer. It
is no data parallelism (for that see `distribution`), and it changes no result.

TensorFlow computes gradients on whatever device is current where they are asked
for, so that a device scope around a network's call alone leaves the larger half
of its work elsewhere. Here the gradient of a placed network is taken by a tape
of its own, in the same scope.
"""

import contextlib
import contextvars
import functools

import tensorflow as tf

from keras_genimg.errors import InputError

__all__ = ["device_of", "in_scope", "on_devices", "run_on", "scope"]

ROLES = ("generator", "discriminator")
_places = contextvars.ContextVar("places", default={})


@contextlib.contextmanager
def on_devices(**devices):
    """Scope in which models put their networks on devices of their own.

    Models that are built, or loaded, and compiled in the scope keep their places
    after it. What they export names no device. Networks of one's own, handed to a model
    as `generator=` or `discriminator=`, stay where they were made: make them in the scope
    and under `tf.device`.

    Args:
        **devices: role=device: `generator` and `discriminator`, each the name of a
            logical device such as `"GPU:1"`. A role that is left out stays where
            TensorFlow puts it.

    Yields:
        None.

    Raises:
        InputError: an unknown role, a device that is not there, or a strategy with
            several replicas.

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
            "on_devices gives each network one device, a strategy with several replicas gives each "
            "device all networks: use one of the two. "
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


def device_of(role):
    """The device of a role in the current `on_devices`.

    Args:
        role: `"generator"` or `"discriminator"`.

    Returns:
        string such as `"/device:GPU:1"`; None outside a scope, or of a role left out.
    """
    return _places.get().get(role)


def scope(device):
    """`tf.device(device)`; for None a scope that leaves those around it as they are.

    Args:
        device: string or None, as `device_of` gives it.

    Returns:
        context manager.
    """
    return contextlib.nullcontext() if device is None else tf.device(device)


def in_scope(device, function):
    """A function that runs on a device.

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


def run_on(device, network):
    """Puts what a network computes while it is trained on a device.

    Its weights are made in `scope(device)` by whoever makes it.

    Args:
        device: string, or None to leave the network as it is.
        network: built `keras.Layer`; its `call` is replaced.
    """
    if device is None:
        return
    call = network.call

    @functools.wraps(call)
    def placed_call(inputs, **kwargs):
        if not kwargs.get("training", True):  # what is exported names no device
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
