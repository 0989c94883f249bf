"""The two optimizers of an adversarial model, and the object that stands for both."""

import keras
import tensorflow as tf

from keras_genimg.core.optimizers import check_learning_rate, resolve_optimizer
from keras_genimg.errors import InputError
from keras_genimg.optimizers import Adam

__all__ = ["BothOptimizers", "OptimizerPair", "adam_pair"]


class OptimizerPair:
    """Mixin that precedes `OneOptimizer`: an optimizer for each side of an adversarial model."""

    # The networks that each optimizer updates, by their attributes.
    optimized_networks = {
        "generator_optimizer": ("generator",),
        "discriminator_optimizer": ("discriminator",),
    }

    def compile(
        self, optimizer=None, discriminator_optimizer=None, *, generator_optimizer=None,
        learning_rate=None, **execution,
    ):
        """Sets the two optimizers and how steps are executed.

        `compile("adam")` sets both, `compile(a, b)` that of the generator and that of the
        discriminator, `compile(generator_optimizer=a)` the one and leaves the other as in the
        paper. Afterwards `optimizer` stands for both, see `BothOptimizers`.

        Args:
            optimizer: Keras optimizer or its name, for each side without its own: the
                generator's is this object, the discriminator's a copy. None for the paper's.
            discriminator_optimizer, generator_optimizer: likewise, for one side.
            learning_rate: float or schedule, see `ImageModel.compile`, optional. Rate of
                the paper's optimizers; a pair (rate of the generator, rate of the
                discriminator) for two time scales (Heusel et al., 2017,
                https://arxiv.org/abs/1706.08500).
            **execution: `run_eagerly`, `steps_per_execution`, `jit_compile`, see
                `ImageModel.compile`.

        Raises:
            InputError: see `ImageModel.compile`; one optimizer as both, three optimizers, a pair
                of rates with a custom optimizer.
        """
        optimizers = {
            "generator_optimizer": generator_optimizer,
            "discriminator_optimizer": discriminator_optimizer,
        }
        with self.distribute_strategy.scope():
            if optimizer is not None:
                optimizers |= _shared(optimizer, optimizers)
            if isinstance(learning_rate, (tuple, list)):
                if len(learning_rate) != 2 or any(optimizers.values()):
                    raise InputError(
                        "learning_rate may be a pair, (generator's, discriminator's), with the "
                        f"default optimizers only. Received: learning_rate={learning_rate!r}."
                    )
                for name, rate in zip(optimizers, learning_rate):
                    optimizers[name] = self.default_optimizers(check_learning_rate(rate))[name]
                learning_rate = None
        self._compile(optimizers, learning_rate, execution)
        self.optimizer = BothOptimizers(self.generator_optimizer, self.discriminator_optimizer)

    def fit(self, *args, **kwargs) -> keras.callbacks.History:
        """Trains, see `ImageModel.fit`; the end of `use_ema` is Keras's, for both optimizers.

        Args:
            *args, **kwargs: see `ImageModel.fit`.

        Returns:
            `keras.callbacks.History`.
        """
        history = super().fit(*args, **kwargs)
        if history.epoch:
            for name, weights in self.optimized_weights().items():
                getattr(self, name).finalize_variable_values(weights)
        return history

    def optimized_weights(self) -> dict:
        """See `ImageModel.optimized_weights`.

        Returns:
            dict of the trainable variables of `generator` and `discriminator`.
        """
        return {
            optimizer: [w for name in names for w in getattr(self, name).trainable_variables]
            for optimizer, names in self.optimized_networks.items()
        }


def _shared(optimizer, optimizers):
    """One optimizer for each side that has none of its own: the first gets it, others a copy."""
    names = [name for name, given in optimizers.items() if given is None]
    if not names:
        raise InputError(
            "optimizer is for networks without a separate optimizer. "
            f"Received: optimizer={optimizer!r} with {' and '.join(optimizers)}."
        )
    first = resolve_optimizer(names[0], optimizer)
    shared = {}
    for name in names:
        # Of another name: Keras's `get_state_tree` goes by the paths of variables.
        config = first.get_config() | {"name": name}
        shared[name] = type(first).from_config(config) if shared else first
    return shared


class BothOptimizers:
    """What `optimizer` is in a model with two: their view for Keras's callbacks.

    It is no optimizer, and not saved: the two are, as `generator_optimizer` and
    `discriminator_optimizer`.

    Args:
        generator_optimizer, discriminator_optimizer: built Keras optimizers.

    Attributes:
        learning_rate: the generator's. Setting it also sets the discriminator's, in the ratio
            that the two had.
        iterations: the generator's, int scalar.
        use_ema: bool. Whether one of them keeps moving averages of weights.
        variables: list of the variables of both.
        built: bool.

    Raises:
        TypeError: a rate for an optimizer with a schedule, same as in Keras.

    Example:
    >>> gan = keras_genimg.GAN(networks="mlp")
    >>> gan.compile(learning_rate=(1e-4, 4e-4))
    >>> gan.optimizer.learning_rate = 5e-5
    >>> round(float(gan.discriminator_optimizer.learning_rate), 6)
    0.0002
    """

    name = "generator_and_discriminator_optimizer"

    def __init__(self, generator_optimizer, discriminator_optimizer):
        self._optimizers = generator_optimizer, discriminator_optimizer
        self._ratio = 1.0
        if all(isinstance(rate, keras.Variable) for rate in self._rates()):
            self._set_ratio()

    def _rates(self):
        return [getattr(optimizer, "learning_rate", None) for optimizer in self._optimizers]

    def _set_ratio(self):
        generator, discriminator = (float(keras.ops.convert_to_numpy(r)) for r in self._rates())
        if generator > 0:  # after a rate of 0, as before a warm-up, the ratio of before counts
            self._ratio = discriminator / generator

    @property
    def learning_rate(self) -> keras.Variable | tf.Tensor:
        return self._optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, rate) -> None:
        for optimizer in self._optimizers:
            if not isinstance(optimizer.learning_rate, keras.Variable):
                optimizer.learning_rate = rate  # Keras refuses it, before one of them has moved
        if callable(rate):
            raise InputError(
                "A schedule is set at compile, as learning_rate or in each of the two optimizers. "
                f"Received: learning_rate={rate!r}."
            )
        self._set_ratio()
        rate = float(keras.ops.convert_to_numpy(rate))
        for optimizer, factor in zip(self._optimizers, (1.0, self._ratio)):
            optimizer.learning_rate = factor * rate

    @property
    def iterations(self) -> keras.Variable | tf.Tensor:
        return self._optimizers[0].iterations

    @property
    def use_ema(self) -> bool:
        return any(optimizer.use_ema for optimizer in self._optimizers)

    @property
    def variables(self) -> list:
        return [variable for optimizer in self._optimizers for variable in optimizer.variables]

    @property
    def built(self) -> bool:
        return all(optimizer.built for optimizer in self._optimizers)

    def get_config(self) -> dict:
        """The configurations of the two, by their names in the model."""
        names = ("generator_optimizer", "discriminator_optimizer")
        return {name: each.get_config() for name, each in zip(names, self._optimizers)}

    # What `keras.callbacks.SwapEMAWeights` swaps, of those that keep averages.

    @property
    def _distribution_strategy(self):
        return self._optimizers[0]._distribution_strategy

    @property
    def _trainable_variables(self):
        return self._of_averaging("_trainable_variables")

    @property
    def _model_variables_moving_average(self):
        if not self.use_ema:
            raise AttributeError("None of the two optimizers has use_ema=True.")
        return self._of_averaging("_model_variables_moving_average")

    def _of_averaging(self, attribute):
        averaging = [optimizer for optimizer in self._optimizers if optimizer.use_ema]
        return [each for optimizer in averaging for each in getattr(optimizer, attribute)]


def adam_pair(learning_rate, beta_1: float, beta_2: float = 0.999) -> dict:
    """An Adam for each network: a dict of optimizers by attribute name."""
    return {
        name: Adam(learning_rate, beta_1=beta_1, beta_2=beta_2, name=name)
        for name in ("generator_optimizer", "discriminator_optimizer")
    }
