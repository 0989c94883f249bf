"""Deep convolutional networks of conditional GANs."""

import keras
from keras import layers, ops

from keras_genimg.checks import check_choice, check_image_shape
from keras_genimg.errors import InputError
from keras_genimg.layers import ConditionalBatchNormalization
from keras_genimg.networks.blocks import float_input
from keras_genimg.networks.dcgan import dcgan_discriminator, dcgan_generator, images_from
from keras_genimg.networks.initializers import normal
from keras_genimg.precision import policy_dtype

__all__ = ["conditional_dcgan_discriminator", "conditional_dcgan_generator"]

CONDITIONINGS = ("projection", "concatenation")


def conditional_dcgan_generator(
    image_shape: tuple, latent_dim: int, num_classes: int, conditioning: str = "projection",
    filters: int = 32, widest: int = 256, kernel_size: int = 4, momentum: float = 0.9,
    name: str = "generator",
) -> keras.Model:
    """Noise and a class to an image: `dcgan_generator` conditioned on the class.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        latent_dim: int. Length of the noise vector z.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        conditioning: `"projection"`: all batch normalisation has a scale and an
            offset for each class, as in the paper of the projection
            discriminator; `"concatenation"`: z and the one-hot class are one vector.
        filters, widest, kernel_size, momentum, name: see `dcgan_generator`.

    Returns:
        `keras.Model` from `[(batch, latent_dim), int32 (batch,)]` to float32
        `(batch, height, width, channels)` in [-1, 1].

    Raises:
        InputError: an invalid image shape or conditioning.

    Example:
    >>> conditional_dcgan_generator((28, 28, 1), 64, num_classes=10).output_shape
    (None, 28, 28, 1)

    Reference: Miyato and Koyama (2018), https://arxiv.org/abs/1802.05637 (projection);
        Mirza and Osindero (2014), https://arxiv.org/abs/1411.1784 (concatenation)
    """
    check_choice("conditioning", conditioning, CONDITIONINGS)
    image_shape = check_image_shape(image_shape)
    latents = float_input((latent_dim,), name="latents")
    labels = keras.Input((), dtype="int32", name="labels")
    if conditioning == "concatenation":
        x = layers.Concatenate()([latents, ops.one_hot(labels, num_classes)])  # (B, z + classes)
        network = dcgan_generator(
            image_shape, latent_dim + num_classes, filters, widest, kernel_size, momentum
        )
        return keras.Model([latents, labels], network(x), name=name)

    images = images_from(
        latents, image_shape, filters, widest, kernel_size,
        lambda x: layers.ReLU()(ConditionalBatchNormalization(num_classes, momentum)([x, labels])),
    )  # fmt: skip
    return keras.Model([latents, labels], images, name=name)


def conditional_dcgan_discriminator(
    image_shape: tuple, num_classes: int, conditioning: str = "projection",
    classifies: bool = False, name: str = "discriminator", **arguments,
) -> keras.Model:
    """Image and class to a logit: `dcgan_discriminator` conditioned on the class.

    Args:
        image_shape: (height, width, channels), multiples of 4 from 16 to 256.
        num_classes: int. Labels are integers from 0 to num_classes - 1.
        conditioning: `"projection"`: logit = psi(phi(x)) + <e_y, phi(x)>, phi(x) being
            the flat features that the last layer psi sees and e_y a learned vector
            per class (Eq. 3); `"concatenation"`: the one-hot class is appended to the
            image as constant planes.
        classifies: bool. Whether a second output predicts the class from phi(x), which
            with `"projection"` does not depend on it (Odena et al., 2017).
        name: string.
        **arguments: see `dcgan_discriminator`.

    Returns:
        `keras.Model` from `[(batch, height, width, channels), int32 (batch,)]` to
        float32 logits `(batch, 1)`, with `classifies` also to class logits
        `(batch, num_classes)`.

    Raises:
        InputError: an invalid image shape, policy or conditioning; `classifies` with
            `"concatenation"`, where the features depend on the class.

    Example:
    >>> conditional_dcgan_discriminator((28, 28, 1), num_classes=10).output_shape
    (None, 1)

    Reference: Miyato and Koyama (2018), Eq. 3, https://arxiv.org/abs/1802.05637
        (projection); Mirza and Osindero (2014), https://arxiv.org/abs/1411.1784
        (concatenation); Odena et al. (2017), https://arxiv.org/abs/1610.09585 (classifies)
    """
    check_choice("conditioning", conditioning, CONDITIONINGS)
    height, width, channels = image_shape = check_image_shape(image_shape)
    labels = keras.Input((), dtype="int32", name="labels")
    if classifies and conditioning != "projection":
        raise InputError(
            'An auxiliary classifier needs conditioning="projection"; otherwise its features '
            f"depend on the class that it predicts. Received: conditioning={conditioning!r}."
        )
    if conditioning == "concatenation":
        images = float_input(image_shape, name="images")
        planes = layers.Reshape((1, 1, num_classes))(ops.one_hot(labels, num_classes))
        planes = layers.UpSampling2D((height, width))(planes)  # (B, 1, 1, K) -> (B, h, w, K)
        x = layers.Concatenate()([images, planes])  # (B, h, w, c + K)
        logits = dcgan_discriminator((height, width, channels + num_classes), **arguments)(x)
        return keras.Model([images, labels], logits, name=name)

    network = dcgan_discriminator(image_shape, **arguments)
    images, unconditional = network.input, network.output  # psi(phi(x)): (B, 1)
    features = network.layers[-1].input  # phi(x): (B, h*w*c)
    directions = layers.Embedding(
        num_classes, features.shape[-1], normal(), dtype=policy_dtype(), name="class_directions"
    )(labels)  # e_y: (B, h*w*c)
    agreement = layers.Dot(axes=1, dtype=policy_dtype())([directions, features])  # <e_y, phi(x)>
    logits = layers.Add(dtype=policy_dtype())([unconditional, agreement])  # (B, 1)
    if not classifies:
        return keras.Model([images, labels], logits, name=name)
    classes = layers.Dense(
        num_classes, kernel_initializer=normal(), dtype=policy_dtype(), name="classes"
    )(features)  # (B, h*w*c) -> (B, K)
    return keras.Model([images, labels], [logits, classes], name=name)
