"""Custom networks, and options of the default ones."""

import inspect

import keras

from keras_genimg.checks import first_reason
from keras_genimg.errors import InputError

__all__ = [
    "build_network", "check_network_options", "check_no_batch_normalization", "given_options",
    "resolve_network",
]


def resolve_network(role: str, network, takes, makes=None) -> keras.Layer:
    """Checks a network's shapes, and builds it if it is not built.

    Args:
        role: string. The network's name in messages.
        network: `keras.Model` or layer.
        takes: tuple, the shape of its input without the batch axis; a list of such
            tuples for several inputs, `()` being integer labels.
        makes: shape of its output without the batch axis, or a list of shapes; a string in a
            shape names a size that the network chooses. None for any output.

    Returns:
        The network, built.

    Raises:
        InputError: not a Keras layer, or one with other input or output shapes.

    Example:
    >>> resolve_network("decoder", keras.layers.Dense(4), (8,), (4,)).name
    'dense'
    """
    if not isinstance(network, keras.Layer):
        raise InputError(f"{role} must be a keras.Model or layer. Received: {network!r}.")
    inputs = [
        keras.KerasTensor((None, *shape), "int32" if shape == () else None)
        for shape in (takes if isinstance(takes, list) else [takes])
    ]
    described = " and ".join(str(("batch", *tensor.shape[1:])) for tensor in inputs)
    try:
        outputs = network(inputs if isinstance(takes, list) else inputs[0])
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{role} must take inputs of shape {described}. Keras reports: {first_reason(error)}"
        ) from error
    if makes is None:
        return network
    made = [("batch", *output.shape[1:]) for output in keras.tree.flatten(outputs)]
    wanted = [("batch", *shape) for shape in (makes if isinstance(makes, list) else [makes])]
    if len(made) != len(wanted) or not all(map(_fits, made, wanted)):
        raise InputError(
            f"{role} must map {described} to {' and '.join(map(str, wanted))}. "
            f"Received: a network that returns {' and '.join(map(str, made))}."
        )
    return network


def _fits(made, wanted):
    return len(made) == len(wanted) and all(
        size == found or (isinstance(size, str) and isinstance(found, int))
        for found, size in zip(made, wanted)
    )


def check_network_options(
    options, functions, default_networks: bool = True, arguments: tuple = ()
) -> dict:
    """Checks `network_options`, keyword arguments of the functions that make default networks.

    Args:
        options: dict or None.
        functions: functions that make the default networks. Their parameters without a
            default, and `name`, are not options.
        default_networks: bool. Whether the model has a default network.
        arguments: strings. Parameters that are arguments of the model itself.

    Returns:
        dict, `{}` for None.

    Raises:
        InputError: not a dict, a name that one of the functions does not take, or options
            without a default network.

    Example:
    >>> from keras_genimg.networks import mlp_decoder, mlp_encoder
    >>> check_network_options({"activation": "tanh"}, [mlp_encoder, mlp_decoder])
    {'activation': 'tanh'}
    """
    if options is None:
        return {}
    if not default_networks:
        raise InputError(
            "network_options are for the default networks, not for custom ones. "
            f"Received: network_options={options!r} with custom networks."
        )
    names = sorted(set.intersection(*map(_with_default, functions)) - {"name", *arguments})
    if not isinstance(options, dict) or set(options) - set(names):
        raise InputError(
            f"network_options must be a dict of some of {', '.join(names)}. "
            f"Received: network_options={options!r}."
        )
    return dict(options)


def given_options(role: str, custom, networks: str, functions: dict, **options) -> dict:
    """The options of a default network that were given, each checked to have an effect.

    Args:
        role: string. The network's name in messages.
        custom: the custom network, or None.
        networks: string. The kind of the default networks.
        functions: dict of the functions that make the default network, by kind.
        **options: keyword arguments of these functions; None if not given.

    Returns:
        dict of those that are not None.

    Raises:
        InputError: an option beside a custom network, or one that this kind does not have.

    Example:
    >>> from keras_genimg.networks import dcgan_generator
    >>> makers = {"dcgan": dcgan_generator}
    >>> given_options("generator", None, "dcgan", makers, filters=16, widest=None)
    {'filters': 16}
    """
    options = {name: value for name, value in options.items() if value is not None}
    for name, value in options.items():
        kinds = [kind for kind, make in functions.items() if name in _with_default(make)]
        if custom is not None or networks not in kinds:
            given = f"networks={networks!r}" if custom is None else f"a custom {role}"
            raise InputError(
                f"{name} is an option of the default {role} of networks {', '.join(kinds)}. "
                f"Received: {name}={value!r} with {given}."
            )
    return options


def check_no_batch_normalization(discriminator, owner: str) -> None:
    """Checks that a discriminator does not mix images, for a penalty on its gradient.

    Args:
        discriminator: `keras.Model` or layer.
        owner: string. Whose discriminator it is, in messages.

    Raises:
        InputError: a network with a layer of batch normalisation.
    """
    for layer in discriminator._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            raise InputError(
                f"The discriminator of {owner} must have no batch normalisation, because the "
                "penalty takes the gradient of each image; LayerNormalization is allowed. "
                f"Received: a network with the layer {layer.name!r}."
            )


def _with_default(function):
    parameters = inspect.signature(function).parameters.items()
    return {name for name, parameter in parameters if parameter.default is not parameter.empty}


def build_network(make, *arguments, **options) -> keras.Layer:
    """The network `make(*arguments, **options)`; raises `InputError` for invalid options."""
    try:
        return make(*arguments, **options)
    except (ValueError, TypeError) as error:
        if isinstance(error, InputError) or not options:
            raise
        raise InputError(
            "network_options must be valid for the layers of the default networks. "
            f"Received: {options!r}, for which Keras reports: {first_reason(error)}"
        ) from error
