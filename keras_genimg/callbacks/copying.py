"""What the callbacks share: copies of them."""

import copy

import keras

__all__ = ["CopiedCallback"]


class CopiedCallback(keras.callbacks.Callback):
    """Base of the callbacks here: `copy.deepcopy` shares the model and copies their own state.

    KerasTuner trains each of its models with a copy of the callbacks.
    """

    shared = ()  # other attributes that belong to the model, or that nothing changes

    def __deepcopy__(self, memo):
        for name in ("_model", *self.shared):
            value = vars(self).get(name)
            memo[id(value)] = value
        copied = memo[id(self)] = type(self).__new__(type(self))
        vars(copied).update(copy.deepcopy(vars(self), memo))
        return copied
