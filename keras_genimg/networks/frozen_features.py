"""Frozen features of images at several scales, of networks that are trained already."""

import os
import sys

import keras
import numpy as np
from keras import layers, ops

from keras_genimg.checks import check_path, first_reason
from keras_genimg.errors import InputError
from keras_genimg.metrics.features import classifier_names, open_application, open_classifier
from keras_genimg.networks.blocks import float_input

__all__ = ["application_network", "feature_maps"]

MOST_MAPS = 4  # below the size of the image: scales in the paper of ProjectedGAN
SMALLEST_MAP = 4  # a side; ProjectedGAN's logits are on grids of this size
PREFIX = "features_"  # of the names of copied layers
RECTIFIERS = (layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU)
# Its functions that make networks, by their names in small letters.
APPLICATIONS = {
    name.lower(): make for name, make in vars(keras.applications).items() if name[0].isupper()
}


def feature_maps(
    features, image_shape: tuple, full_size: bool = False, name: str = "features"
) -> keras.Model:
    """A network of the feature maps of images at several scales, a copy in the current policy.

    The maps are the outputs of the network if it has several. Otherwise they are the last
    activations at each size below that of the image and of at least 4x4, the four coarsest.

    Args:
        features: name of a classifier of the package, see `metrics.get_features`; name of a network
            of `keras.applications`, see `application_network`; path of a `.keras` file; or a
            functional or sequential `keras.Model`, of images in [-1, 1]. It is not changed.
            Convolutions take images of other sizes than they were trained on.
        image_shape: (height, width, channels).
        full_size: bool. Whether the last activation at the size of the image is a map too. In
            "vgg16" the five maps are then those of LPIPS (Zhang et al., 2018).
        name: string. The argument's name in messages.

    Returns:
        `keras.Model` from `(batch, *image_shape)` to a list of maps `(batch, h, w, c)`, the
        finest first.

    Raises:
        InputError: an unknown name, a file that cannot be loaded, a network that does not take
            such images, has no maps, or has them within another network.

    Example:
    >>> [each.shape for each in feature_maps("cifar10", (32, 32, 3)).outputs]
    [(None, 16, 16, 64), (None, 8, 8, 192), (None, 4, 4, 128)]
    """
    network = _opened(features, name)
    given = len(network.outputs) > 1
    maps = network.outputs if given else _activations(network, name)
    if maps and all(len(each.shape) == 4 for each in maps):
        network = _copy(keras.Model(network.inputs[0], maps), image_shape, name)
        maps = network.outputs if given else _last_of_each_size(network, full_size)
        if maps:
            maps = sorted(maps, key=lambda each: -each.shape[1] * each.shape[2])
            return keras.Model(network.input, maps, name="features")
    raise InputError(
        f"{name} must have maps (batch, height, width, channels) of at least "
        f"{SMALLEST_MAP}x{SMALLEST_MAP}, as its outputs or after activations. Received: "
        f"{features!r}, with outputs {network.output_shape}, for images {tuple(image_shape)}."
    )


def application_network(name: str, weights: str = "imagenet") -> keras.Model:
    """A network of `keras.applications` without its classifier, of images in [-1, 1].

    What the network was trained on, such as pixels minus ImageNet's mean, is computed from them.

    Args:
        name: string, such as "vgg16", "resnet50" or "mobilenet_v2".
        weights: path of a file of weights, or "imagenet", which Keras downloads once.

    Returns:
        functional `keras.Model`, float32 `(batch, height, width, 3)` to a map.

    Raises:
        InputError: an unknown name, weights that do not fit or cannot be downloaded.

    Example:
    >>> network = application_network("vgg16", weights="vgg16_notop.weights.h5")
    >>> [each.shape for each in feature_maps(network, (64, 64, 3)).outputs]
    [(None, 32, 32, 128), (None, 16, 16, 256), (None, 8, 8, 512), (None, 4, 4, 512)]

    Reference: https://keras.io/api/applications/
    """
    make = APPLICATIONS.get(_plain(name))
    if make is None:
        names = ", ".join(each.__name__ for each in APPLICATIONS.values())
        raise InputError(f"name must be one of keras.applications: {names}. Received: {name!r}.")
    if weights != "imagenet" and not os.path.isfile(check_path("weights", weights)):
        raise InputError(
            f'weights must be "imagenet" or a file that exists. Received: weights={weights!r}.'
        )
    images = keras.Input((None, None, 3), dtype="float32", name="images")
    # Every application has a scale and an offset per channel; some have the channels reversed.
    preprocess = sys.modules[make.__module__].preprocess_input
    colours = np.concatenate([np.zeros((1, 3)), np.eye(3)])  # black is -1, and grey 0
    pixels = 127.5 * (colours.reshape(4, 1, 1, 3) + 1.0)
    offset, *rows = preprocess(pixels.astype("float32")).reshape(4, 3).astype("float64")
    matrix = np.array(rows) - offset  # (channel of the image, channel of the input)
    x = images
    if not matrix[0, 0]:
        x = ops.flip(images, axis=-1)
    scale, offset = matrix.sum(axis=0).tolist(), offset.tolist()
    x = layers.Rescaling(scale, offset, dtype="float32", name="preprocessing")(x)
    network = open_application(make, include_top=False, weights=weights, input_tensor=x)
    return keras.Model(images, network.output, name=network.name)


def _plain(name):
    """mobilenet_v2 and MobileNetV2 -> mobilenetv2."""
    return name.replace("_", "").lower() if isinstance(name, str) else None


def _opened(features, name):
    if isinstance(features, os.PathLike):
        features = os.fspath(features)
    if isinstance(features, str) and features.endswith(".keras"):
        if not os.path.isfile(features):
            raise InputError(f"{name} must be a file that exists. Received: {features}.")
        try:
            features = keras.models.load_model(features, compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise InputError(
                f"{name} must be a file of a keras.Model. Received: {features}, for which Keras "
                f"reports: {first_reason(error)}"
            ) from error
    elif _plain(features) in APPLICATIONS:
        return application_network(features)
    elif not isinstance(features, keras.Layer):
        return _classifier(features, name)
    network = features
    if not hasattr(network, "layers") or len(getattr(network, "inputs", None) or ()) != 1:
        raise InputError(
            f"{name} must be a functional or sequential keras.Model with one input, the images. "
            f"Received: {features!r}."
        )
    return network


def _classifier(features, name):
    known = classifier_names()
    if features not in known:
        known = ", ".join(f'"{each}"' for each in known)
        raise InputError(
            f"{name} must be {known}, a network of keras.applications such as "
            f'"vgg16", a .keras file or a keras.Model. Received: {features!r}.'
        )
    return open_classifier(features)


def _activations(network, name):
    """The maps after activations; all maps of a network without any."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            raise InputError(
                f"{name} must have all layers in one network, because maps within a network that "
                "is itself a layer cannot be reached. Build it on what comes before, by "
                f"`input_tensor` in keras.applications. Received: {network.name} with the network "
                f"{layer.name} as a layer."
            )
    computed = [each for each in network.layers if not isinstance(each, layers.InputLayer)]
    maps = [(each, each.output) for each in computed if len(_shape(each)) == 4]
    return [output for layer, output in maps if _activates(layer)] or [output for _, output in maps]


def _shape(layer):
    return getattr(getattr(layer, "output", None), "shape", ())  # some layers have several outputs


def _activates(layer):
    linear = keras.activations.linear
    return isinstance(layer, RECTIFIERS) or getattr(layer, "activation", linear) is not linear


def _last_of_each_size(network, full_size):
    """The last maps of each size, the coarsest few, of those not larger than the image."""
    maps = {each.shape[1:3]: each for each in network.outputs}
    largest = min(network.input.shape[1:3]) - (not full_size)
    maps = [each for size, each in maps.items() if SMALLEST_MAP <= min(size) <= largest]
    return maps[-(MOST_MAPS + full_size) :]


def _copy(network, image_shape, name):
    """The network with the same weights for images of another shape, in the current policy."""
    policy = keras.config.dtype_policy().name

    def copied(layer):
        # Names that layers which are made later will not get by themselves.
        changed = {"name": PREFIX + layer.name.removeprefix(PREFIX)}
        if isinstance(layer, keras.Layer):  # not an operation, such as that of x + 3
            changed["dtype"] = policy
        return type(layer).from_config({**layer.get_config(), **changed})

    images = float_input(image_shape, name=network.input.name)
    try:
        copy = keras.models.clone_model(network, input_tensors=images, clone_function=copied)
        copy.set_weights(network.get_weights())
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name} must be a network of images {tuple(image_shape)}. Keras reports: "
            f"{first_reason(error)}"
        ) from error
    return copy
