"""Gradual magnitude pruning: sets the smallest weights of a network to zero."""

import keras
import numpy as np

from keras_genimg.callbacks.copying import CopiedCallback
from keras_genimg.checks import check_count, is_number
from keras_genimg.errors import InputError

__all__ = ["Prune", "sparsity_of"]


def sparsity_of(network: keras.Layer) -> float:
    """Share of zeros in the kernels of a network (weights with at least two axes).

    Args:
        network: built `keras.Layer`.

    Returns:
        float from 0 to 1.

    Raises:
        InputError: no layer.
    """
    if not isinstance(network, keras.Layer):
        raise InputError(f"network must be a keras.Layer. Received: {type(network).__name__}.")
    kernels = [np.asarray(weight) for weight in _kernels(network)]
    zeros = sum(np.sum(kernel == 0) for kernel in kernels)
    return float(zeros / sum(kernel.size for kernel in kernels))


def _kernels(network):
    """Weights with at least two axes: kernels and embeddings, not biases, scales and moments."""
    return [weight for weight in network.weights if len(weight.shape) > 1]


class Prune(CopiedCallback):
    """Gradual magnitude pruning during training (Zhu and Gupta, 2017).

    From step `begin_step` to step `end_step` the sparsity of each kernel rises to
    `target_sparsity`, steeply at first (Eq. 1):

        s(t) = s_f (1 - (1 - (t - begin) / (end - begin))^3)

    Every `every` steps the weights of smallest magnitude are selected again. In
    between, and after `end_step`, zeros stay zero while the other weights are trained.
    The EMA generator, if there is one, is pruned in the same places.

    The zeros are ordinary weights: they are saved, exported and resumed with the
    model. They save space in compressed files, and time only with kernels that use
    sparsity.

    Args:
        target_sparsity: float above 0 and below 1. Sparsity of each kernel.
        begin_step: int. Training steps before the first weights are pruned.
        end_step: int. Step at which the target is reached; train for some steps after it.
        every: int. Steps from one selection to the next.
        network: string. Attribute of the model: `"generator"`, `"decoder"`, ...

    Logs: `sparsity`, at the end of an epoch.

    Raises:
        InputError: invalid arguments; when training begins, a model without this
            network.

    Example:
    >>> gan.fit(data, epochs=15, callbacks=[Prune(0.8, begin_step=2000, end_step=10_000)])

    Reference: https://arxiv.org/abs/1710.01878
    """

    shared = ("optimizer", "kernels", "ema_kernels")

    def __init__(
        self, target_sparsity: float, begin_step: int, end_step: int, every: int = 100,
        network: str = "generator",
    ):
        super().__init__()
        if not is_number(target_sparsity) or not 0 < target_sparsity < 1:
            raise InputError(
                "target_sparsity must be a number above 0 and below 1. "
                f"Received: target_sparsity={target_sparsity!r}."
            )
        self.begin_step = check_count("begin_step", begin_step, 0)
        self.end_step = check_count("end_step", end_step, 0)
        self.every = check_count("every", every)
        if end_step <= begin_step:
            raise InputError(
                "end_step must come after begin_step. "
                f"Received: begin_step={begin_step}, end_step={end_step}."
            )
        self.target_sparsity, self.network = target_sparsity, network

    def on_train_begin(self, logs=None):
        pruned = getattr(self.model, self.network, None)
        if not isinstance(pruned, keras.Layer) or not _kernels(pruned):
            raise InputError(
                f"Prune needs a model with a network named {self.network!r}. "
                f"Received: {type(self.model).__name__}."
            )
        self.kernels = _kernels(pruned)
        optimizers = [
            name for name, weights in self.model.optimized_weights().items()
            if any(weight is kernel for weight in weights for kernel in self.kernels)
        ]
        # Its step count is saved with the model, so the schedule of a resumed run continues.
        self.optimizer = getattr(self.model, optimizers[0])
        ema = getattr(self.model, f"ema_{self.network}", None)
        self.ema_kernels = [] if ema is None else _kernels(ema)  # in the same order
        # Zeros of a resumed run stay zero until the next selection.
        step = int(np.asarray(self.optimizer.iterations))
        self.turn = self._turn(step)
        self.masks = [(np.asarray(kernel) != 0) for kernel in self.kernels] if step else None

    def _turn(self, step):
        """Index of the selection that holds at a step; the last is made at `end_step`."""
        return step // self.every if step < self.end_step else self.end_step // self.every + 1

    def sparsity_at(self, step: int) -> float:
        """s(t) of Eq. 1.

        Args:
            step: int. Training steps so far.

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
            for weights in (self.kernels, self.ema_kernels):
                for weight, mask in zip(weights, self.masks):
                    weight.assign(np.asarray(weight) * mask)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["sparsity"] = sparsity_of(getattr(self.model, self.network))


def _largest(kernel, share):
    """True for the `share` of a kernel that is largest in magnitude."""
    number = kernel.size - round(share * kernel.size)  # of weights to prune
    kept = np.ones(kernel.size, bool)
    if number:
        kept[np.argpartition(np.abs(kernel).ravel(), number - 1)[:number]] = False
    return kept.reshape(kernel.shape)
