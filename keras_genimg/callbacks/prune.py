"""Sets the smallest weights of a network to zero, more and more of them."""

import keras
import numpy as np

from keras_genimg.errors import InputError

__all__ = ["Prune", "sparsity_of"]


def sparsity_of(network):
    """Share of zeros in the kernels of a network, weights of two axes or more.

    Args:
        network: built `keras.Layer`.

    Returns:
        float from 0 to 1.
    """
    kernels = [np.asarray(weight) for weight in _kernels(network)]
    zeros = sum(np.sum(kernel == 0) for kernel in kernels)
    return float(zeros / sum(kernel.size for kernel in kernels))


def _kernels(network):
    """Weights of two or more axes: kernels and embeddings, not biases, scales and moments."""
    return [weight for weight in network.weights if len(weight.shape) > 1]


class Prune(keras.callbacks.Callback):
    """Gradual magnitude pruning while a model trains (Zhu and Gupta, 2017).

    From step `begin_step` to step `end_step` the share of zeros in each kernel rises
    to `target_sparsity`, steeply at first (Eq. 1):

        s(t) = s_f (1 - (1 - (t - begin) / (end - begin))^3)

    Every `every` steps the weights of smallest magnitude are chosen anew; between,
    and after `end_step`, what is zero stays zero, and the others learn on to make
    up for it. The averaged copy of the generator, if there is one, is pruned alike.

    The zeros are weights like others: they are saved, exported and resumed with the
    model; they spare space where files are compressed, and time only where a
    kernel makes use of them.

    Args:
        target_sparsity: float above 0 and below 1. Share of zeros in each kernel.
        begin_step: int. Steps of training before the first weights go.
        end_step: int. Step at which the target is reached; leave some to train after it.
        every: int. Steps from one choice to the next.
        network: string. Attribute of the model: `"generator"`, `"decoder"`, ...

    Logs: `sparsity`, at the end of an epoch.

    Raises:
        InputError: arguments that do not fit; when training begins, a model without
            this network.

    Example:
    >>> gan.fit(data, epochs=15, callbacks=[Prune(0.8, begin_step=2000, end_step=10_000)])

    Reference: https://arxiv.org/abs/1710.01878
    """

    def __init__(self, target_sparsity, begin_step, end_step, every=100, network="generator"):
        super().__init__()
        number = isinstance(target_sparsity, (int, float)) and not isinstance(target_sparsity, bool)
        if not (number and 0 < target_sparsity < 1):
            raise InputError(
                "target_sparsity must be a number above 0 and below 1. "
                f"Received: target_sparsity={target_sparsity!r}."
            )
        steps = {"begin_step": begin_step, "end_step": end_step, "every": every}
        for name, value in steps.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < (name == "every"):
                wanted = "a positive integer" if name == "every" else "an integer of at least 0"
                raise InputError(f"{name} must be {wanted}. Received: {name}={value!r}.")
        if end_step <= begin_step:
            raise InputError(
                "end_step must come after begin_step. "
                f"Received: begin_step={begin_step}, end_step={end_step}."
            )
        self.target_sparsity, self.network = target_sparsity, network
        self.begin_step, self.end_step, self.every = begin_step, end_step, every

    def on_train_begin(self, logs=None):
        pruned = getattr(self.model, self.network, None)
        if not isinstance(pruned, keras.Layer) or not _kernels(pruned):
            raise InputError(
                f"{type(self.model).__name__} has no network to prune that is called "
                f"{self.network!r}."
            )
        optimizers = [
            name for name, weights in self.model.optimized_weights().items()
            if any(weight is kernel for weight in weights for kernel in _kernels(pruned))
        ]
        # Its count of steps is saved with the model, so that a resumed run goes on here.
        self.optimizer = getattr(self.model, optimizers[0])
        self.kernels = _kernels(pruned)
        copy = getattr(self.model, f"ema_{self.network}", None)
        self.copies = []
        if copy is not None:  # it is frozen: its kernels are found by the places of the network's
            places = {id(weight): place for place, weight in enumerate(pruned.weights)}
            self.copies = [copy.weights[places[id(kernel)]] for kernel in self.kernels]
        # What a resumed run has as zeros stays so until weights are chosen anew.
        step = int(np.asarray(self.optimizer.iterations))
        self.turn = self._turn(step)
        self.masks = [(np.asarray(kernel) != 0) for kernel in self.kernels] if step else None

    def _turn(self, step):
        """Number of the choice that holds at a step; the last is made at `end_step`."""
        return step // self.every if step < self.end_step else self.end_step // self.every + 1

    def sparsity_at(self, step):
        """s(t) of Eq. 1.

        Args:
            step: int. Steps of training so far.

        Returns:
            float: 0 up to `begin_step`, `target_sparsity` from `end_step` on.
        """
        progress = (step - self.begin_step) / (self.end_step - self.begin_step)
        return self.target_sparsity * (1.0 - (1.0 - min(max(progress, 0.0), 1.0)) ** 3)

    def on_train_batch_end(self, batch, logs=None):
        step = int(np.asarray(self.optimizer.iterations))
        if step <= self.begin_step:
            return
        if self._turn(step) != self.turn:
            self.turn = self._turn(step)
            sparsity = self.sparsity_at(step)
            self.masks = [_largest(np.asarray(kernel), 1.0 - sparsity) for kernel in self.kernels]
        if self.masks is not None:
            for weights in (self.kernels, self.copies):
                for weight, mask in zip(weights, self.masks):
                    weight.assign(np.asarray(weight) * mask)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["sparsity"] = sparsity_of(getattr(self.model, self.network))


def _largest(kernel, share):
    """True where a kernel is among its `share` of largest magnitude."""
    number = kernel.size - round(share * kernel.size)  # of those that go
    kept = np.ones(kernel.size, bool)
    if number:
        kept[np.argpartition(np.abs(kernel).ravel(), number - 1)[:number]] = False
    return kept.reshape(kernel.shape)
