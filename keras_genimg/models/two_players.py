"""Keras plumbing of models whose networks play against each other."""

import keras

from keras_genimg.errors import InputError
from keras_genimg.models.base import ImageModel
from keras_genimg.models.checks import adopt_network
from keras_genimg.models.options import check_learning_rate
from keras_genimg.optimizers import Adam
from keras_genimg.placement import device_of, run_on, scope

__all__ = ["TwoPlayerModel", "adam_pair", "serialized_loss"]


def adam_pair(learning_rate, beta_1, beta_2=0.999):
    """An Adam for each network: a dict of optimizers by attribute name."""
    return {
        name: Adam(learning_rate, beta_1=beta_1, beta_2=beta_2)
        for name in ("generator_optimizer", "discriminator_optimizer")
    }


def serialized_loss(loss):
    """The argument `loss` of a model for its configuration: its name, or two functions."""
    if isinstance(loss, str):
        return loss
    return [keras.saving.serialize_keras_object(function) for function in loss]


class TwoPlayerModel(ImageModel):
    """A generating and a judging side, an optimizer for each, and a device where one is asked for.

    Subclasses take their networks in with `adopt`; those with more than `generator` and
    `discriminator` say in `optimized_weights` which weights each optimizer moves.

    Args:
        image_shape: tuple (height, width, channels).
        seed: int, optional. Makes the noise of training repeatable.
    """

    def __init__(self, image_shape, seed=None, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.devices = {}  # "generator" and "discriminator" -> device or None

    def adopt(self, name, network, make, takes, makes, side=None):
        """Sets the attribute `name` to a network, checked, on the device of its side.

        Args:
            name: string.
            network: `keras.Model` or layer of the user's, or None for the default.
            make: function without arguments that makes the default one.
            takes, makes: its shapes, as `adopt_network` has them.
            side: `"generator"` or `"discriminator"`, by default the name.

        Raises:
            InputError: a network that takes or returns other shapes than it must.
        """
        side = side or name
        self.devices[side] = device_of(side)  # None outside `placement.on_devices`
        with scope(self.devices[side]):
            network = adopt_network(name, make() if network is None else network, takes, makes)
        run_on(self.devices[side], network)
        setattr(self, name, network)

    def compile(
        self, generator_optimizer=None, discriminator_optimizer=None, *, learning_rate=None, **kwargs
    ):
        """Sets the two optimizers and how steps are executed.

        Args:
            generator_optimizer: Keras optimizer, its name, or None for the paper's.
            discriminator_optimizer: likewise.
            learning_rate: float or schedule, as `ImageModel.compile` has it, optional. Rate of
                the paper's optimizers; a pair (rate of the generator, rate of the
                discriminator) for two time scales (Heusel et al., 2017,
                https://arxiv.org/abs/1706.08500).
            **kwargs: `run_eagerly`, `steps_per_execution`, `jit_compile`, as
                `ImageModel.compile` has them.

        Raises:
            InputError: as `ImageModel.compile`; one optimizer for both, a pair of rates beside an
                optimizer of one's own.
        """
        optimizers = {
            "generator_optimizer": generator_optimizer,
            "discriminator_optimizer": discriminator_optimizer,
        }
        if isinstance(learning_rate, (tuple, list)):
            if len(learning_rate) != 2 or any(optimizers.values()):
                raise InputError(
                    "learning_rate may be a pair, the generator's and the discriminator's, of the "
                    f"default optimizers. Received: learning_rate={learning_rate!r}."
                )
            for name, rate in zip(optimizers, learning_rate):
                optimizers[name] = self.default_optimizers(check_learning_rate(rate))[name]
            learning_rate = None
        self._compile(optimizers, learning_rate, **kwargs)

    def optimized_weights(self):
        return {
            "generator_optimizer": self.generator.trainable_variables,
            "discriminator_optimizer": self.discriminator.trainable_variables,
        }

    def optimizer_devices(self):
        return {f"{role}_optimizer": device for role, device in self.devices.items()}
