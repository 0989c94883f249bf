"""Two batches a step, for the models that are trained so: damaged pictures, or a second set."""

import tensorflow as tf

from keras_genimg.data import damage, damaged_pairs, damaged_shape, data_info, load
from keras_genimg.errors import InputError

__all__ = ["check_pair", "damaged", "in_pairs", "pair_arguments", "evaluation_pairs"]

# What a model's `pair` is called -> the setting that says where it comes from.
SETTING_OF = {("inputs", "targets"): "damage", ("images_a", "images_b"): "data_b"}


def check_pair(model_class, settings):
    """Raises `InputError` where a setting is for other models, or missing."""
    wanted = SETTING_OF.get(model_class.pair)
    for name in SETTING_OF.values():
        option = f"--{name.replace('_', '-')}"
        if settings[name] is not None and name != wanted:
            raise InputError(
                f"{option} is for models that are trained on pairs, "
                f"{model_class.__name__} is not. Received: {option} {settings[name]}."
                if wanted is None
                else f"{option} is not for {model_class.__name__}, which takes "
                f"--{wanted.replace('_', '-')}. Received: {option} {settings[name]}."
            )
        if settings[name] is None and name == wanted:
            raise InputError(
                f"{model_class.__name__} is trained on two sets: {option} names the second. "
                f"Received: --data {settings['data']} alone."
            )


def pair_arguments(settings, image_shape):
    """Arguments of the model that follow from what it is given beside pictures of `image_shape`."""
    if settings["damage"]:
        return {"source_shape": damaged_shape(settings["damage"], image_shape)}
    if settings["data_b"]:
        return {"image_shape_b": data_info(settings["data_b"], **_source_b(settings, image_shape)).image_shape}
    return {}


def in_pairs(data, settings, image_shape, batch_size, first_step, first_batch):
    """What `fit` is given: `data` itself, or its pictures with those that go with them.

    Args:
        data: endless `tf.data.Dataset` of batches of pictures, whose first batch is number
            `first_batch`, counted from the start of an unbroken run.
        settings: dict, of the run.
        image_shape: tuple (height, width, channels) of these pictures.
        batch_size: int.
        first_step: int. Number of the step with which training starts.
        first_batch: int.

    Returns:
        `tf.data.Dataset`, which starts with step `first_step`.
    """
    if settings["damage"]:
        data = damaged_pairs(data, settings["damage"], settings["seed"], first_batch)
    data = data.skip(first_step - first_batch)
    if not settings["data_b"]:
        return data
    source = _source_b(settings, image_shape)
    full_pass = max(1, data_info(settings["data_b"], **source).num_images // batch_size)
    first_pass, done = divmod(first_step, full_pass)
    others = load(
        settings["data_b"],
        batch_size=batch_size,
        shuffle_seed=settings["seed"] + 1,  # in an order of its own
        drop_remainder=True,
        epochs=None,
        first_epoch=first_pass,
        **source,
    )
    return tf.data.Dataset.zip(data, others.skip(done))


def evaluation_pairs(data, settings, split, image_shape, batch_size, count, seed):
    """As `in_pairs`, for one pass over `data`, pictures of the split `split`."""
    if settings.get("damage"):
        return damaged_pairs(data, settings["damage"], seed)
    if not settings.get("data_b"):
        return data
    others = load(
        settings["data_b"], split, batch_size=batch_size, num_images=count,
        drop_remainder=True, **_source_b(settings, image_shape),
    )
    return tf.data.Dataset.zip(data, others)


def damaged(images, settings):
    """The same damage to the same pictures each time, for grids: a NumPy array."""
    seed = tf.stack([tf.cast(settings["seed"], tf.int64), tf.constant(-1, tf.int64)])
    return damage(images, settings["damage"], seed).numpy()


def _source_b(settings, image_shape):
    """Pictures of the second set are cut and resized to the size of those of the first."""
    source = {key: settings[key] for key in ("data_dir", "channels")}
    return {**source, "image_size": tuple(image_shape[:2])}
