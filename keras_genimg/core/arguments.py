"""The arguments of a model, recorded at construction and serialised by one `get_config`."""

import collections
import contextlib
import inspect
from collections.abc import Iterator

import keras
import numpy as np

from keras_genimg.checks import is_number
from keras_genimg.core.layer_states import check_layers, freeze_layers, frozen_layers
from keras_genimg.version import __version__

__all__ = ["VERSION", "RecordsArguments", "argument_names", "dtype_policy"]

VERSION = "keras_genimg_version"  # in a configuration: of the package that wrote it


@contextlib.contextmanager
def dtype_policy(name) -> Iterator[None]:
    """Scope in which layers are created with a dtype policy.

    Args:
        name: string such as `"mixed_bfloat16"`, a policy or its configuration, or None
            for the current policy.
    """
    before = keras.config.dtype_policy()
    if name is not None:
        keras.config.set_dtype_policy(keras.dtype_policies.get(name))
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _constructors(cls):
    """The constructors that share out a call's arguments.

    Those of a user's subclasses pass on what they do not name, by `*args` or `**kwargs`. The last
    one is that of the first class with `about`, as all of `keras_genimg.models` have.
    """
    for base in cls.__mro__:
        if "__init__" in vars(base):
            signature = inspect.signature(vars(base)["__init__"])
            yield signature
            kinds = {parameter.kind for parameter in signature.parameters.values()}
            if inspect.Parameter.VAR_POSITIONAL in kinds:
                continue
            if "about" in vars(base) or inspect.Parameter.VAR_KEYWORD not in kinds:
                return


def argument_names(cls) -> set:
    """Names of the constructor arguments of a class, without those of Keras."""
    return {
        parameter.name
        for signature in _constructors(cls)
        for parameter in list(signature.parameters.values())[1:]  # without self
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _recorded(cls, args, kwargs):
    """The arguments of one call by name; the defaults of the first constructor included."""
    recorded = {}
    for number, signature in enumerate(_constructors(cls)):
        try:
            bound = signature.bind_partial(None, *args, **kwargs)
        except TypeError:  # the constructor itself reports what is wrong
            return recorded
        if not number:
            bound.apply_defaults()
        args, kwargs = (), {}
        for name, value in list(bound.arguments.items())[1:]:  # without self
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                args = value
            elif kind is inspect.Parameter.VAR_KEYWORD:
                kwargs = value
            else:
                recorded.setdefault(name, value)
    return recorded


def _serialized(value):
    """An argument in JSON-compatible form; Keras serialises networks, losses and priors."""
    if isinstance(value, (tuple, list, range)):
        return [_serialized(each) for each in value]
    if isinstance(value, dict):
        return {key: _serialized(each) for key, each in value.items()}
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    return keras.saving.serialize_keras_object(value)


class RecordsArguments:
    """Mixin of a `keras.Model` that records its constructor arguments, by name, in `arguments`.

    Subclasses write no `get_config`. Arguments that their constructor passes on as `*args` and
    `**kwargs` are recorded under the names of the constructor that takes them. A network that is
    set later, such as a prior, is recorded too: `self.hold("prior", prior)`.
    """

    def __new__(cls, *args, **kwargs):
        model = super().__new__(cls, *args, **kwargs)
        # Bypasses `__setattr__`, or Keras would track the networks in it a second time. Not a
        # dict, or Keras would save and load them under "arguments" instead of their own names.
        vars(model)["arguments"] = collections.UserDict(_recorded(cls, args, kwargs))
        vars(model)["_custom_networks"] = set()  # see `ImageModel.make_network`
        return model

    def record(self, name: str, value) -> object:
        """Records what a default came to be, unless a subclass has fixed that argument.

        Args:
            name: str. An argument of the constructor.
            value: what it is recorded as.

        Returns:
            value.
        """
        if name in argument_names(type(self)):
            self.arguments[name] = value
        return value

    def hold(self, name: str, network: keras.layers.Layer) -> None:
        """Sets an attribute, and the argument of that name, to a network.

        Keras would go on saving the weights of the network that it replaces, and load those.

        Args:
            name: str.
            network: layer or model.
        """
        held = getattr(self, name)
        if held is not None and held is not network:
            self._tracker.untrack(held)
        setattr(self, name, network)
        self.arguments[name] = network

    def is_custom(self, *names: str) -> bool:
        """Whether any of these networks was given to the constructor.

        Args:
            *names: strings, such as `"generator"`.

        Returns:
            bool.
        """
        return not self._custom_networks.isdisjoint(names)

    def get_config(self) -> dict:
        """The arguments, and which layers are frozen, serialised to a JSON-compatible dict."""
        check_layers(self)
        arguments = {name: self._current(name, value) for name, value in self.arguments.items()}
        frozen = frozen_layers(self)
        state = {"frozen_layers": frozen} if frozen else {}
        return {**super().get_config(), **_serialized(arguments), **state, VERSION: __version__}

    def _current(self, name, value):
        """An argument's value now: a number may have been set anew, as in `vae.beta = 4.0`."""
        current = getattr(self, name, value)
        return current if is_number(value) and is_number(current) else value

    @classmethod
    def upgraded(cls, config: dict) -> dict:
        """Translates a configuration of an earlier version to the arguments of this one.

        Args:
            config: dict, as `get_config` of that version returned it; without `VERSION` if that
                version did not write it yet.

        Returns:
            dict of constructor arguments, serialised.
        """
        return config

    @classmethod
    def from_config(cls, config: dict, custom_objects=None):
        """The model that a configuration describes, of this version or an earlier one."""
        # Default networks take the policy that is current when they are created. It must be the
        # policy of the saved model, not that of the process that loads it.
        with dtype_policy(config.get("dtype")):
            upgraded = cls.upgraded(dict(config))
            known = argument_names(cls)  # a subclass may fix what its parent has as an argument
            config = {key: each for key, each in upgraded.items() if key in config or key in known}
            config.pop(VERSION, None)
            frozen, trainable = config.pop("frozen_layers", {}), config.get("trainable", True)
            if not trainable:  # set below, with the layers that the constructor makes
                config["trainable"] = True
            names = config.get("class_names")
            if "class_names" not in argument_names(cls):  # no argument, see `NamesClasses`
                config.pop("class_names", None)
            model = cls(**keras.saving.deserialize_keras_object(config, custom_objects))
            if names is not None:
                model.class_names = names
            freeze_layers(model, frozen)
            model.trainable = trainable
            return model
