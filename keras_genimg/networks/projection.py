"""Frozen features of images at several scales, mixed at random, and discriminators on them."""

import os

import keras
from keras import layers, ops

from keras_genimg.checks import first_reason
from keras_genimg.errors import InputError
from keras_genimg.layers import SpectralNormalization
from keras_genimg.metrics.features import open_classifier
from keras_genimg.networks.blocks import downsample, float_input, repeat_pixels
from keras_genimg.networks.initializers import he_normal, normal
from keras_genimg.networks.shapes import halvings
from keras_genimg.precision import policy_dtype

__all__ = ["feature_maps", "projected_discriminator", "random_projector"]

MOST_MAPS = 4  # scales in the paper
SMALLEST_MAP = 4  # a side; logits are on grids of this size
PREFIX = "features_"  # of the names of copied layers
RECTIFIERS = (layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU)


def feature_maps(features, image_shape: tuple) -> keras.Model:
    """A network of the feature maps of images at several scales, a copy in the current policy.

    The maps are the outputs of the network if it has several. Otherwise they are the last
    activations at each size below that of the image and of at least 4x4, the four coarsest.

    Args:
        features: name of a classifier of the package, see `metrics.get_features`; path of a
            `.keras` file; or a functional or sequential `keras.Model`, of images in [-1, 1]. It is
            not changed. Convolutions take images of other sizes than they were trained on.
        image_shape: (height, width, channels).

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
    network = _opened(features)
    given = len(network.outputs) > 1
    maps = network.outputs if given else _activations(network)
    if maps and all(len(each.shape) == 4 for each in maps):
        network = _copy(keras.Model(network.inputs[0], maps), image_shape)
        maps = network.outputs if given else _last_of_each_size(network)
        if maps:
            maps = sorted(maps, key=lambda each: -each.shape[1] * each.shape[2])
            return keras.Model(network.input, maps, name="features")
    raise InputError(
        "features must have maps (batch, height, width, channels) of at least "
        f"{SMALLEST_MAP}x{SMALLEST_MAP}, as its outputs or after activations. Received: "
        f"{features!r}, with outputs {network.output_shape}, for images {tuple(image_shape)}."
    )


def _opened(features):
    if isinstance(features, str) and features.endswith(".keras"):
        if not os.path.isfile(features):
            raise InputError(f"features must be a file that exists. Received: {features}.")
        try:
            features = keras.models.load_model(features, compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise InputError(
                f"features must be a file of a keras.Model. Received: {features}, for which Keras "
                f"reports: {first_reason(error)}"
            ) from error
    elif not isinstance(features, keras.Layer):
        return open_classifier(features)
    network = features
    if not hasattr(network, "layers") or len(getattr(network, "inputs", None) or ()) != 1:
        raise InputError(
            "features must be a functional or sequential keras.Model with one input, the images. "
            f"Received: {features!r}."
        )
    return network


def _activations(network):
    """The maps after activations; all maps of a network without any."""
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            raise InputError(
                "features must have all layers in one network, because maps within a network that "
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


def _last_of_each_size(network):
    """The last maps of each size below that of the image, the coarsest few."""
    maps = {each.shape[1:3]: each for each in network.outputs}
    largest = min(network.input.shape[1:3])
    return [each for size, each in maps.items() if SMALLEST_MAP <= min(size) < largest][-MOST_MAPS:]


def _copy(network, image_shape):
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
            f"features must be a network of images {tuple(image_shape)}. Keras reports: "
            f"{first_reason(error)}"
        ) from error
    return copy


def random_projector(features: keras.Model, filters: int = 64) -> keras.Model:
    """Mixes feature maps across channels and scales by convolutions that are never trained.

    A discriminator of one map could rely on a few of its channels. After a random 1x1
    convolution each channel holds something of all; from the coarsest scale on, random 3x3
    convolutions and upsampling add what the coarser scales show to the finer ones.

    Args:
        features: see `feature_maps`.
        filters: int. Channels of each mixed map.

    Returns:
        `keras.Model` from images to a list of maps `(batch, h, w, filters)` of the sizes of
        those of `features`.

    Example:
    >>> projector = random_projector(feature_maps("cifar10", (32, 32, 3)))
    >>> [each.shape for each in projector.outputs]
    [(None, 16, 16, 64), (None, 8, 8, 64), (None, 4, 4, 64)]

    Reference: Sauer et al. (2021), section 3.2, https://arxiv.org/abs/2111.01007
    """
    mixed = []
    for x in reversed(features.outputs):
        x = layers.Conv2D(filters, 1, kernel_initializer=he_normal())(x)
        if mixed:
            x = layers.Add()([x, repeat_pixels(mixed[0], x.shape[1:3])])
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=he_normal())(x)
        mixed.insert(0, x)
    return keras.Model(features.input, mixed, name="projector")


def projected_discriminator(
    map_shapes: list, filters: int = 64, num_classes: int | None = None, name: str = "discriminator"
) -> keras.Model:
    """A discriminator for each of several maps, each ending in a map of logits.

    4x4 convolutions of stride 2 with spectral normalisation and LeakyReLU(0.2) until no side is
    above 4, at least one: phi; and a convolution to one channel: psi(phi). With classes a logit is
    psi(phi) + <e_y, phi>, e_y being a vector of class y, as in a projection discriminator.

    Args:
        map_shapes: list of (height, width, channels).
        filters: int. Filters of the convolutions.
        num_classes: int, or None without classes.
        name: string.

    Returns:
        `keras.Model` from a list of maps, with classes followed by labels, int32 `(batch,)`, to a
        list of float32 logits `(batch, h', w', 1)`.

    Example:
    >>> projected_discriminator([(8, 8, 64), (32, 32, 3)]).output_shape
    [(None, 4, 4, 1), (None, 4, 4, 1)]

    Reference: Sauer et al. (2021), section 3.3, https://arxiv.org/abs/2111.01007; Miyato and
        Koyama (2018), Eq. 3, https://arxiv.org/abs/1802.05637 (classes)
    """
    maps = [float_input(shape) for shape in map_shapes]
    labels = [] if num_classes is None else [keras.Input((), dtype="int32", name="labels")]
    logits = []
    for x, shape in zip(maps, map_shapes):
        sizes = halvings(shape, smallest=SMALLEST_MAP)
        sizes = sizes if len(sizes) > 1 else [*sizes, *sizes]
        widths = [filters] * (len(sizes) - 1)
        x = downsample(x, sizes, widths, 4, wrapper=SpectralNormalization)[-1]  # (B, h', w', c)
        exact = {"kernel_initializer": normal(), "dtype": policy_dtype()}
        logit = SpectralNormalization(layers.Conv2D(1, 4, padding="same", **exact))(x)
        for each in labels:
            direction = layers.Dense(filters, use_bias=False, **exact)
            direction = SpectralNormalization(direction)(ops.one_hot(each, num_classes))  # (B, c)
            direction = layers.Reshape((1, 1, filters))(direction)
            agreement = layers.Multiply(dtype=policy_dtype())([x, direction])
            agreement = ops.sum(agreement, axis=-1, keepdims=True)  # (B, h', w', 1)
            logit = layers.Add(dtype=policy_dtype())([logit, agreement])
        logits.append(logit)
    return keras.Model([*maps, *labels], logits, name=name)
