"""A prior over the codes of a VQ model: held beside it, fitted to codes, never trained with it."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.models.base import ImageModel
from keras_genimg.models.checks import first_two
from keras_genimg.networks import check_count

__all__ = ["adopt_prior", "codes_and_labels", "fit_frozen", "prior_wanted", "shuffled_batches"]

# Arguments of `fit` that go with arrays, not with a dataset, or mean another thing there.
FOR_ARRAYS = {"validation_split", "shuffle", "sample_weight", "steps_per_epoch"}


def adopt_prior(prior, code_shape, num_codes, condition=(None, None), name="prior"):
    """Returns a prior if it is one of such codes, frozen.

    Args:
        prior: `PixelCNN`, `CodeTransformer`, or the configuration of one.
        code_shape: (height, width) of the codes.
        num_codes: int.
        condition: (shape, number) of the codes that it has to be conditioned on, if any.
        name: string. What it is called in messages.

    Raises:
        InputError: anything else.
    """
    if isinstance(prior, dict):  # from the configuration of a saved model
        # It was saved frozen. Made so, it would have an optimizer of nothing, and freezing what
        # counts as frozen would not reach its layers.
        config = {**prior["config"], "trainable": True}
        prior = keras.saving.deserialize_keras_object({**prior, "config": config})
    if not isinstance(prior, ImageModel) or prior.num_codes is None:
        raise InputError(
            f"{name} must be a model of codes, such as PixelCNN(code_shape=, num_embeddings=). "
            f"Received: {prior!r}."
        )
    wanted, made = (tuple(code_shape), num_codes), (tuple(prior.code_shape), prior.num_codes)
    if made != wanted:
        raise InputError(
            f"{name} must be of codes of shape {wanted[0]}, {wanted[1]} of them. Received: one of "
            f"{made[0]}, {made[1]} of them."
        )
    made = prior.condition_shape, prior.condition_embeddings
    if made != condition:
        raise InputError(
            f"{name} must have condition_shape={condition[0]} and condition_embeddings="
            f"{condition[1]}. Received: condition_shape={made[0]}, condition_embeddings={made[1]}."
        )
    prior.trainable = False
    return prior


def fit_frozen(prior, codes, given=None, *, batch_size, **fit):
    """Fits a held prior, which is frozen before and after.

    Args:
        prior: model of codes.
        codes: int array `(n, h, w)`.
        given: what they hang on: None, labels, a condition, or a pair of both.
        batch_size: int. Grids a step.
        **fit: as `fit` of the prior takes them.

    Returns:
        `keras.callbacks.History`.

    Raises:
        InputError: codes or what they hang on that do not fit; a batch size that is not positive.
    """
    check_count("batch_size", batch_size)
    if FOR_ARRAYS & set(fit):
        data = {"x": codes, "y": given, "batch_size": batch_size}
    else:
        prior._check_data(codes, given)  # all of it; of a dataset `fit` looks at the first batch
        arrays = codes if given is None else (codes, given)
        data = {"x": shuffled_batches(arrays, batch_size, prior.seed)}
    prior.trainable = True
    try:
        if not prior.compiled:
            prior.compile()
        return prior.fit(**data, **fit)
    finally:
        prior.trainable = False  # no optimizer of the model that holds it may move it


def shuffled_batches(arrays, batch_size, seed=None):
    """Batches of arrays, in another order each pass.

    `fit` reads a dataset without the thread of TensorFlow that tunes it, for which a pass over
    the arrays themselves may wait as long as it computes.

    Args:
        arrays: array, or tuple of arrays with as many rows, or of such tuples.
        batch_size: int. Rows a batch; the last one may have fewer.
        seed: int, optional. Of the orders.

    Returns:
        `tf.data.Dataset`, each element of the structure of `arrays`.
    """
    arrays = keras.tree.map_structure(tf.constant, arrays)
    count = len(keras.tree.flatten(arrays)[0])

    def rows_of(places):
        return keras.tree.map_structure(lambda array: tf.gather(array, places), arrays)

    return tf.data.Dataset.range(count).shuffle(count, seed).batch(batch_size).map(rows_of)


def codes_and_labels(encode, images, labels, wants_labels):
    """Codes of pictures, and their labels or None.

    Args:
        encode: function from images to codes, an array or several.
        images: array, or a `tf.data.Dataset` of batches of images or of `(images, labels)`.
        labels: integers `(n,)` or None, with an array.
        wants_labels: bool.

    Raises:
        InputError: labels that are wanted and missing.
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


def prior_wanted(model):
    """What `generate` raises as long as there is no prior."""
    return InputError(
        f"{type(model).__name__} reconstructs but does not generate before it has a prior over "
        "its codes: call fit_prior(images) first, or use reconstruct(images) or decode(codes)."
    )
