"""Deep convolutional networks of conditional GANs: they are told the picture's class."""

import keras
from keras import layers, ops

from keras_genimg.errors import InputError
from keras_genimg.layers import ConditionalBatchNormalization
from keras_genimg.networks.dcgan import (
    _initializer,
    _widths,
    dcgan_discriminator,
    dcgan_generator,
    upsample,
)
from keras_genimg.networks.shapes import halvings

__all__ = ["check_conditioning", "conditional_dcgan_discriminator", "conditional_dcgan_generator"]

CONDITIONINGS = ("projection", "concatenation")


def check_conditioning(conditioning):
    """Checks how the conditional networks are to be told the class.

    Args:
        conditioning: `"projection"` or `"concatenation"`.

    Returns:
        `conditioning`, unchanged.

    Raises:
        InputError: anything else.
    """
    if not isinstance(conditioning, str) or conditioning not in CONDITIONINGS:
        raise InputError(
            f"conditioning must be one of {', '.join(CONDITIONINGS)}. Received: {conditioning!r}."
        )
    return conditioning


def conditional_dcgan_generator(
    image_shape,
    latent_dim,
    num_classes,
    conditioning="projection",
    filters=32,
    widest=256,
    kernel_size=4,
    momentum=0.9,
    name="generator",
):
    """Noise and a class to a picture: `dcgan_generator` that is told the class.

    Args:
        image_shape: (height, width, channels).
        latent_dim: int. Length of the noise vector z.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        conditioning: `"projection"`: all batch normalisation has a scale and an
            offset for each class, the generator that goes with the projection
            discriminator; `"concatenation"`: z and the one-hot class are one vector.
        filters, widest, kernel_size, momentum, name: as `dcgan_generator` has them.

    Returns:
        `keras.Model` from `[(batch, latent_dim), int32 (batch,)]` to float32
        `(batch, height, width, channels)` in [-1, 1].

    Raises:
        InputError: an unknown conditioning.

    Example:
    >>> conditional_dcgan_generator((28, 28, 1), 64, num_classes=10).output_shape
    (None, 28, 28, 1)

    Reference: Miyato and Koyama (2018), https://arxiv.org/abs/1802.05637 (projection);
        Mirza and Osindero (2014), https://arxiv.org/abs/1411.1784 (concatenation)
    """
    check_conditioning(conditioning)
    latents = keras.Input((latent_dim,), name="latents")
    labels = keras.Input((), dtype="int32", name="labels")
    if conditioning == "concatenation":
        x = layers.Concatenate()([latents, ops.one_hot(labels, num_classes)])  # (B, z + classes)
        images = dcgan_generator(
            image_shape, latent_dim + num_classes, filters, widest, kernel_size, momentum
        )(x)
        return keras.Model([latents, labels], images, name=name)

    def normalize(x):
        return layers.ReLU()(ConditionalBatchNormalization(num_classes, momentum)([x, labels]))

    sizes = halvings(image_shape)  # picture first
    widths = _widths(len(sizes) - 1, filters, widest)
    start = min(2 * widths[-1], widest)

    # 1. z -> the smallest grid.
    smallest = sizes[-1]
    x = layers.Dense(
        smallest[0] * smallest[1] * start, kernel_initializer=_initializer(), use_bias=False
    )(latents)
    x = normalize(layers.Reshape((*smallest, start))(x))  # (B, h*w*c) -> (B, h, w, c)

    # 2. Double the grid until the next is the picture: 7x7 -> 14x14.
    for level in range(len(sizes) - 2, 0, -1):
        x = upsample(
            x,
            sizes[level + 1],
            sizes[level],
            widths[level],
            kernel_size,
            kernel_initializer=_initializer(),
            use_bias=False,
        )
        x = normalize(x)

    # 3. The picture: 14x14 -> 28x28.
    x = upsample(
        x, sizes[1], sizes[0], image_shape[2], kernel_size, kernel_initializer=_initializer()
    )
    images = layers.Activation("tanh", dtype="float32")(x)
    return keras.Model([latents, labels], images, name=name)


def conditional_dcgan_discriminator(
    image_shape,
    num_classes,
    conditioning="projection",
    classifies=False,
    name="discriminator",
    **arguments,
):
    """Picture and class to a logit: `dcgan_discriminator` that is told the class.

    Args:
        image_shape: (height, width, channels).
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        conditioning: `"projection"`: logit = psi(phi(x)) + <e_y, phi(x)>, phi(x) being
            the flat features that the last layer psi sees and e_y a learned vector
            a class (Eq. 3); `"concatenation"`: the one-hot class joins the picture
            as constant planes.
        classifies: bool. Whether a second output reads the class from phi(x), which
            with `"projection"` has not been told it (Odena et al., 2017).
        name: string.
        **arguments: as `dcgan_discriminator` has them.

    Returns:
        `keras.Model` from `[(batch, height, width, channels), int32 (batch,)]` to
        float32 logits `(batch, 1)`, with `classifies` to those and the logits of the
        classes, `(batch, num_classes)`.

    Raises:
        InputError: an unknown conditioning; `classifies` with `"concatenation"`, where
            the features have been told the class.

    Example:
    >>> conditional_dcgan_discriminator((28, 28, 1), num_classes=10).output_shape
    (None, 1)

    Reference: Miyato and Koyama (2018), Eq. 3, https://arxiv.org/abs/1802.05637
        (projection); Mirza and Osindero (2014), https://arxiv.org/abs/1411.1784
        (concatenation); Odena et al. (2017), https://arxiv.org/abs/1610.09585 (classifies)
    """
    check_conditioning(conditioning)
    labels = keras.Input((), dtype="int32", name="labels")
    if classifies and conditioning != "projection":
        raise InputError(
            'An auxiliary classifier goes with conditioning="projection"; otherwise its features '
            f"have been told the class that it is to read. Received: conditioning={conditioning!r}."
        )
    if conditioning == "concatenation":
        height, width, channels = image_shape
        images = keras.Input(image_shape, name="images")
        planes = layers.Reshape((1, 1, num_classes))(ops.one_hot(labels, num_classes))
        planes = layers.UpSampling2D((height, width))(planes)  # (B, 1, 1, K) -> (B, h, w, K)
        x = layers.Concatenate()([images, planes])  # (B, h, w, c + K)
        logits = dcgan_discriminator((height, width, channels + num_classes), **arguments)(x)
        return keras.Model([images, labels], logits, name=name)

    network = dcgan_discriminator(image_shape, **arguments)
    images, unconditional = network.input, network.output  # psi(phi(x)): (B, 1)
    features = network.layers[-1].input  # phi(x): (B, h*w*c)
    directions = layers.Embedding(
        num_classes, features.shape[-1], _initializer(), dtype="float32", name="class_directions"
    )(labels)  # e_y: (B, h*w*c)
    agreement = layers.Dot(axes=1, dtype="float32")([directions, features])  # <e_y, phi(x)>: (B, 1)
    logits = layers.Add(dtype="float32")([unconditional, agreement])
    if not classifies:
        return keras.Model([images, labels], logits, name=name)
    classes = layers.Dense(
        num_classes, kernel_initializer=_initializer(), dtype="float32", name="classes"
    )(features)  # (B, h*w*c) -> (B, K)
    return keras.Model([images, labels], [logits, classes], name=name)
