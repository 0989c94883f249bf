"""Priors over the codes of a model: held by it, fitted to its codes, never trained with it."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.core.data_specs import Codes, Labels, first_two
from keras_genimg.core.image_model import ImageModel
from keras_genimg.errors import InputError

__all__ = ["HoldsPriors", "codes_and_labels", "fit_frozen", "history_of"]

# Arguments under which models of codes hold their priors.
PRIORS = ("prior", "top_prior", "bottom_prior")


class HoldsPriors(ImageModel):
    """A model of codes that holds priors over them, one attribute each.

    Subclasses set these attributes to None, and write `prior_grids`.

    Args:
        image_shape: tuple (height, width, channels).
        seed: int, optional.

    Raises:
        InputError: an invalid image shape or seed.
    """

    def prior_grids(self) -> dict:
        """The grid that each prior must model, by the prior's attribute name.

        Returns:
            dict of `(code_shape, num_embeddings, condition_shape, condition_embeddings)`.
        """
        raise NotImplementedError

    def check_prior(self, name: str, prior) -> ImageModel:
        """Checks that a model is a prior over the codes of this one.

        Args:
            name: string. The attribute that will hold it.
            prior: `PixelCNN`, `CodeTransformer` or another model of codes.

        Returns:
            `prior`.

        Raises:
            InputError: a model of different codes, or not a model of codes.
        """
        if not isinstance(prior, ImageModel) or not isinstance(prior.data.parts[0], Codes):
            raise InputError(
                f"{name} must be a model of codes, such as PixelCNN(code_shape=, num_embeddings=). "
                f"Received: {prior!r}."
            )
        *wanted, shape, number = self.prior_grids()[name]
        found = [tuple(prior.code_shape), prior.num_embeddings]
        if found != wanted:
            raise InputError(
                f"{name} must have code_shape={wanted[0]} and num_embeddings={wanted[1]}. "
                f"Received: code_shape={found[0]}, num_embeddings={found[1]}."
            )
        found = prior.condition_shape, prior.condition_embeddings
        if found != (shape, number):
            raise InputError(
                f"{name} must have condition_shape={shape} and condition_embeddings={number}. "
                f"Received: condition_shape={found[0]}, condition_embeddings={found[1]}."
            )
        return prior

    def hold_priors(self, **priors) -> None:
        """Holds the priors, frozen: no optimizer of this model may update them.

        Args:
            **priors: attribute=model, all of `prior_grids`.

        Raises:
            InputError: priors over different codes, or with different numbers of classes.
        """
        for name, prior in priors.items():
            self.check_prior(name, prior)
        classes = {p.num_classes for p in priors.values() if p.data.part(Labels)}
        if len(classes) > 1:
            raise InputError(
                f"{' and '.join(priors)} must have equal numbers of classes, if any. Received: "
                f"num_classes={' and '.join(str(p.num_classes) for p in priors.values())}."
            )
        for name, prior in priors.items():
            prior.trainable = False
            self.hold(name, prior)
        self.num_classes = classes.pop() if classes else None
        self.__dict__.pop("_compiled_methods", None)  # may have been traced with other priors

    def held_priors(self) -> list:
        """The priors that have been fitted or given.

        Returns:
            list of models in the order of `prior_grids`, all of them or none.
        """
        priors = [getattr(self, name) for name in self.prior_grids()]
        return [prior for prior in priors if prior is not None]

    @classmethod
    def upgraded(cls, config: dict) -> dict:
        # Priors are saved frozen. A prior created frozen would have an optimizer without slots,
        # and `hold_priors` would not freeze its layers, since it already counts as frozen.
        for name in PRIORS:
            if isinstance(config.get(name), dict):
                inner = {**config[name]["config"], "trainable": True}
                config[name] = {**config[name], "config": inner}
        return config

    @property
    def class_names(self) -> tuple | None:
        """Names of the classes that the priors are conditioned on, see `PixelCNN.class_names`."""
        return next((each.class_names for each in self._labelled_priors()), None)

    @class_names.setter
    def class_names(self, names) -> None:
        if names is not None:
            self._check_has_classes("class_names")
        for prior in self._labelled_priors():
            prior.class_names = names

    def _labelled_priors(self):
        return [prior for prior in self.held_priors() if prior.data.part(Labels)]

    @property
    def generates_by_label(self) -> bool:
        return bool(self._labelled_priors())

    def draw_latents(self, num_images, seed) -> tf.Tensor:
        priors = self.held_priors()
        if not priors:
            raise InputError(
                f"{type(self).__name__} reconstructs but does not generate before it has a prior "
                "over its codes: call fit_prior(images) first, or use reconstruct(images) or "
                "decode(codes)."
            )
        return priors[0].draw_latents(num_images, seed)


def history_of(model, values: dict) -> keras.callbacks.History:
    """Values per epoch or iteration that are not the logs of one `fit`, as `fit` returns them.

    Args:
        model: what was fitted.
        values: dict of lists of numbers, by name.

    Returns:
        `keras.callbacks.History`, with `values` as its attribute `history`.
    """
    history = keras.callbacks.History()
    history.set_model(model)
    history.history = dict(values)
    history.epoch = list(range(max(map(len, values.values()), default=0)))
    return history


def fit_frozen(prior, codes, given=None, *, batch_size: int, **fit) -> keras.callbacks.History:
    """Fits a held prior, which is frozen before and after.

    Args:
        prior: model of codes.
        codes: int array `(n, h, w)`.
        given: what the codes are conditioned on: None, labels, a condition, or a pair of both.
        batch_size: int. Grids per step.
        **fit: arguments of the prior's `fit`.

    Returns:
        `keras.callbacks.History`.

    Raises:
        InputError: invalid codes, labels or condition; a batch size that is not positive.
    """
    prior.trainable = True
    try:
        if not prior.compiled:
            prior.compile()
        return prior.fit(codes, given, batch_size=batch_size, **fit)
    finally:
        prior.trainable = False


def codes_and_labels(encode: Callable, images, labels, wants_labels: bool) -> tuple:
    """Codes of images, and their labels or None.

    Args:
        encode: function from images to codes, an array or several.
        images: array, or a `tf.data.Dataset` of batches of images or of `(images, labels)`.
        labels: integers `(n,)` or None, with an array.
        wants_labels: bool. Whether labels are required.

    Returns:
        The codes, in the structure that `encode` returns, and the labels or None: NumPy arrays.

    Raises:
        InputError: missing labels.
    """
    is_dataset = isinstance(images, tf.data.Dataset)
    codes, found = [], []
    for element in images if is_dataset else [(images, labels)]:
        batch, batch_labels = first_two(element)
        if wants_labels and batch_labels is None:
            raise InputError(
                "A conditional prior is fitted to (images, labels). Received: images alone."
            )
        codes.append(encode(batch))
        found.append(batch_labels)
    codes = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *codes)
    return codes, np.concatenate(found) if wants_labels else None
