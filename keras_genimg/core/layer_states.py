"""What a user changes in the layers of a model: frozen layers are recorded, others refused."""

import keras

from keras_genimg.errors import InputError

__all__ = ["check_layers", "freeze_layers", "frozen_layers", "weights_by_name"]

# Attributes in which Keras and TensorFlow hold all layers of a model once more.
LISTS_OF_KERAS = ("_layers", "_self_unconditional_dependency_names")


def _parts(model):
    """{attribute: [its layers, outer ones first]}, the same in every process.

    Keras numbers the names of layers on, so that they differ from process to process; the order
    of layers does not. (It is also by order that Keras finds the weights in a file again.)
    """
    parts = {}
    for name, value in vars(model).items():
        value = list(value.values()) if isinstance(value, dict) else value
        values = value if isinstance(value, (list, tuple)) else [value]
        outer = [each for each in values if isinstance(each, keras.Layer)]
        if outer and name not in LISTS_OF_KERAS:
            layers = [layer for each in outer for layer in each._flatten_layers()]
            parts[name] = list(dict.fromkeys(layers))
    return parts


def frozen_layers(model: keras.Model) -> dict:
    """The layers that the user has frozen, by `layer.trainable = False`.

    Networks that no optimizer updates (EMA copies, priors, networks of features) are frozen by the
    constructors, and left out.

    Args:
        model: `keras.Model`.

    Returns:
        dict from an attribute's name, such as `"generator"`, to the indices of its frozen layers,
        for JSON; empty if the whole model is frozen, which Keras records.

    Example:
    >>> gan = keras_genimg.GAN(networks="mlp")
    >>> gan.generator.layers[1].trainable = False
    >>> frozen_layers(gan)
    {'generator': [2]}
    """
    if not model.trainable:
        return {}
    updated = getattr(model, "optimized_networks", None)  # of adversarial models
    if updated is not None:
        updated = {name for names in updated.values() for name in names}
    found = {}
    for name, layers in _parts(model).items():
        frozen = [index for index, layer in enumerate(layers) if not layer.trainable]
        by_constructor = len(frozen) == len(layers) and (
            hasattr(layers[0], "is_custom") if updated is None else name not in updated
        )
        if frozen and not by_constructor:
            found[name] = frozen
    return found


def freeze_layers(model: keras.Model, frozen: dict) -> None:
    """Freezes the layers that `frozen_layers` found in a model of the same configuration.

    Args:
        model: `keras.Model`.
        frozen: dict, see `frozen_layers`.
    """
    parts = _parts(model)
    for name, indices in frozen.items():
        # Outer layers first: freezing one freezes those inside, of which some may be trained.
        for index, layer in enumerate(parts.get(name, ())):
            if layer.trainable == (index in indices):
                layer.trainable = index not in indices


def weights_by_name(model: keras.Model) -> dict:
    """The weights of a model by names that are the same in every process.

    Args:
        model: `keras.Model`.

    Returns:
        dict from names such as `"generator/3"` to variables.
    """
    found = {k: v for k, v in vars(model).items() if isinstance(v, keras.Variable)}
    for name, layers in _parts(model).items():
        weights = {id(weight): weight for layer in layers for weight in layer.weights}
        found |= {f"{name}/{index}": weight for index, weight in enumerate(weights.values())}
    return found


def check_layers(model: keras.Model) -> None:
    """Checks that a model's layers are such that it can be trained, and saved as they are.

    Args:
        model: `keras.Model`.

    Raises:
        InputError: layers with LoRA, or quantized ones.
    """
    layers = model._flatten_layers()
    changed = [layer.name for layer in layers if getattr(layer, "lora_enabled", False)]
    if changed:
        raise InputError(
            "A model is trained and saved without LoRA, because Keras merges its kernels into the "
            "others in a file and sets them to zeros at loading, where they no longer learn; "
            "freeze layers by trainable = False instead. "
            f"Received: {type(model).__name__} with LoRA in {_count(changed)}."
        )
    changed = [layer.name for layer in layers if layer.quantization_mode is not None]
    if changed:
        raise InputError(
            "A model with quantized layers can be neither trained nor saved; "
            'export(format="litert", precision="int8") writes a quantized file of the model as it '
            f"was. Received: {type(model).__name__} with quantized kernels in {_count(changed)}."
        )


def _count(names):
    return f"{names[0]}" + (f" and {len(names) - 1} more layers" if names[1:] else "")
