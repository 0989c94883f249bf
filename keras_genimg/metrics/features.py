"""Features of images: from a classifier of the package, from Inception, or from any function."""

import pathlib
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.checks import check_count, check_image_shape, first_reason
from keras_genimg.errors import InputError
from keras_genimg.metrics.checks import to_float_array
from keras_genimg.shipped import open_shipped, read_cards

__all__ = [
    "FeatureExtractor", "classifier_names", "features_for", "get_features", "open_application",
    "open_classifier",
]  # fmt: skip

CLASSIFIERS = pathlib.Path(__file__).parent / "classifiers"
INCEPTION_SIZE = 299  # height and width that the network was trained on
RANGE_TOLERANCE = 0.01  # beyond [-1, 1], for rounding


class FeatureExtractor:
    """Features of images, with the name that metrics in them carry.

    Args:
        name: string.
        function: maps a float32 array of images `(n, height, width, channels)` to features
            `(n, dimensions)`; with `has_logits` to a pair of features and logits
            `(n, classes)`.
        image_shape: tuple `(height, width, channels)` of its images; None for any, also for
            single entries.
        dimension: int, or None if it is known only after the first call.
        has_logits: bool. Whether the function is a classifier and returns logits too.
        batch_size: int. Images per call of the function.

    Raises:
        InputError: a batch_size that is not positive.

    Example:
        >>> extractor = get_features("fashion_mnist")
        >>> extractor(images).shape, extractor.metric_name("frechet_distance")
        ((1000, 128), 'frechet_distance[fashion_mnist]')
    """

    def __init__(
        self, name: str, function: Callable, *, image_shape: tuple | None = None,
        dimension: int | None = None, has_logits: bool = False, batch_size: int = 256,
    ):
        self.name = name
        self.image_shape = tuple(image_shape or (None, None, None))
        self.dimension = dimension
        self.has_logits = has_logits
        self.batch_size = check_count("batch_size", batch_size)
        self._function = function

    def __call__(self, images) -> np.ndarray:
        """Features of images in [-1, 1].

        Args:
            images: float array or tensor `(n, height, width, channels)`, any n.

        Returns:
            float32 array `(n, dimension)`.

        Raises:
            InputError: images of the wrong shape or range.
        """
        return self._run(images)[0]

    def logits(self, images) -> np.ndarray:
        """The classifier's logits, for the Inception Score.

        Args:
            images: see `__call__`.

        Returns:
            float32 array `(n, classes)`.

        Raises:
            InputError: see `__call__`; also an extractor that is not a classifier.
        """
        return self.features_and_logits(images)[1]

    def features_and_logits(self, images) -> list[np.ndarray]:
        """Features and logits in one forward pass.

        Args:
            images: see `__call__`.

        Returns:
            float32 arrays `(n, dimension)` and `(n, classes)`.

        Raises:
            InputError: see `logits`.
        """
        self.check_has_logits()
        return self._run(images)

    def check_has_logits(self) -> None:
        """Checks that the extractor is a classifier.

        Raises:
            InputError: another extractor.
        """
        if not self.has_logits:
            raise InputError(
                "Logits need the features of a classifier, such as "
                f'"inception_v3". Received: features={self.name!r}.'
            )

    def metric_name(self, base: str) -> str:
        """The name of a metric in these features.

        Only a distance in features of the 2015 Inception graph is the FID.

        Args:
            base: string, such as "frechet_distance".

        Returns:
            string: "frechet_distance[fashion_mnist]".
        """
        return f"{base}[{self.name}]"

    def check_image_shape(self, image_shape: tuple) -> None:
        """Checks that images of a shape are accepted.

        Args:
            image_shape: tuple `(height, width, channels)`.

        Raises:
            InputError: a shape that the extractor does not accept.
        """
        shape = tuple(image_shape)
        sides = zip(self.image_shape, shape)
        if len(shape) == 3 and all(mine in (None, given) for mine, given in sides):
            return
        height, width, channels = ("any" if side is None else side for side in self.image_shape)
        advice = ""
        if len(shape) == 3 and shape[2] != channels and {shape[2], channels} == {1, 3}:
            advice = "; greyscale and colour are not converted into each other"
        raise InputError(
            f"Features {self.name!r} take images of height {height}, width {width} and "
            f"channels {channels}{advice}. Received: shape={shape}."
        )

    def _run(self, images):
        """[features], or [features, logits] of a classifier."""
        if not hasattr(images, "shape"):
            images = np.asarray(images)
        self.check_image_shape(images.shape[1:])
        if len(images) == 0:  # not every network accepts an empty batch
            one = np.zeros((1, *images.shape[1:]), "float32")
            return [values[:0] for values in self._batch(one)]
        found = []
        for start in range(0, len(images), self.batch_size):
            batch = to_float_array(images[start : start + self.batch_size], "images")
            if max(-batch.min(), batch.max()) > 1.0 + RANGE_TOLERANCE:
                raise InputError(
                    "images must be in [-1, 1]. "
                    f"Received: values from {batch.min():g} to {batch.max():g}."
                )
            found.append(self._batch(batch.astype("float32", copy=False)))
        return [np.concatenate(parts) for parts in zip(*found)]

    def _batch(self, images):
        outputs = self._function(images)
        outputs = [np.asarray(values) for values in (outputs if self.has_logits else [outputs])]
        for values in outputs:
            if values.ndim != 2 or len(values) != len(images):
                raise InputError(
                    f"Features {self.name!r} must be (images, dimensions), one row per image. "
                    f"Received: shape={values.shape} for {len(images)} images."
                )
        self.dimension = outputs[0].shape[1]
        return [values.astype("float32", copy=False) for values in outputs]


Features = str | Callable | FeatureExtractor  # see `get_features`


def get_features(features: Features, image_shape: tuple | None = None) -> FeatureExtractor:
    """The feature extractor of a name, a function or a model.

    Args:
        features: "fashion_mnist", "mnist", "glyphs" (28x28 greyscale), "cifar10",
            "cifar10_small" (32x32 colour) or "emoji" (64x64 colour): the penultimate layer of a
            small classifier of that set, shipped with the package; "cifar10_rotation": that of
            a network that learned without labels how an image was turned; "inception_v3": that
            of Keras's ImageNet classifier, for colour images of any size, whose weights are
            downloaded once; a function or model from images in [-1, 1] to
            `(images, dimensions)`; or a `FeatureExtractor`.
        image_shape: tuple `(height, width, channels)`, to check at once whether the extractor
            accepts such images.

    Returns:
        `FeatureExtractor`.

    Raises:
        InputError: an unknown name, a shape that is not accepted, a corrupt file of the
            package, or weights that cannot be downloaded.

    Example:
        >>> extractor = get_features("fashion_mnist", image_shape=(28, 28, 1))
        >>> extractor(images).shape
        (1000, 128)
        >>> frechet_distance(extractor(training), extractor(images))  # float, ()

    Reference: Szegedy et al. (2015), https://arxiv.org/abs/1512.00567, for "inception_v3".
    """
    if isinstance(features, FeatureExtractor):
        extractor = features
    elif callable(features):
        name = getattr(features, "__name__", None) or getattr(features, "name", None)
        extractor = FeatureExtractor(str(name or type(features).__name__), features)
    elif isinstance(features, str) and features == "inception_v3":
        extractor = _open_inception()
    else:
        extractor = _of_classifier(features)
    if image_shape is not None:
        if not isinstance(image_shape, (tuple, list)):
            raise InputError(
                "image_shape must be (height, width, channels). "
                f"Received: image_shape={image_shape!r}."
            )
        extractor.check_image_shape(image_shape)
    return extractor


def features_for(data: str, image_shape: tuple) -> str:
    """The default features for the images of a data set.

    Args:
        data: string. Name of a data set.
        image_shape: tuple `(height, width, channels)`.

    Returns:
        string: the classifier of that set if the package has one for this shape,
        "inception_v3" for other colour images.

    Raises:
        InputError: other greyscale images, for which there is no default.
    """
    image_shape = check_image_shape(image_shape, default_networks=False)
    cards = read_cards(CLASSIFIERS)
    if data in cards and list(image_shape) == cards[data]["input_shape"]:
        return data
    if image_shape[2] == 3:
        return "inception_v3"
    names = ", ".join(cards)
    raise InputError(
        f"There are no default features for this data; name one of {names} or inception_v3. "
        f"Received: none for {data!r} with images {tuple(image_shape)}."
    )


def classifier_names() -> list:
    """Names of the classifiers that are shipped with the package, see `get_features`."""
    return list(read_cards(CLASSIFIERS))


def open_classifier(name: str) -> keras.Model:
    """A classifier that is shipped with the package.

    Args:
        name: string, see `get_features`.

    Returns:
        functional `keras.Model`, images in [-1, 1] to logits.

    Raises:
        InputError: an unknown name, or a corrupt file of the package.
    """
    cards = read_cards(CLASSIFIERS)
    if not isinstance(name, str) or name not in cards:
        names = ", ".join(f'"{each}"' for each in [*cards, "inception_v3"])
        raise InputError(
            f"features must be {names}, or a function of images. Received: features={name!r}."
        )
    return open_shipped(CLASSIFIERS, name, cards[name])


def _of_classifier(name):
    model, card = open_classifier(name), read_cards(CLASSIFIERS)[name]
    run = _compiled(model, card["layer"])
    # The outputs of a network that was trained without labels are not classes.
    of_classes = card.get("predicts", "class") == "class"
    return FeatureExtractor(
        name, run if of_classes else lambda images: run(images)[0],
        image_shape=card["input_shape"], dimension=card["dimension"], has_logits=of_classes,
    )


def open_application(make: Callable, **arguments) -> keras.Model:
    """A network of `keras.applications` in float32.

    Args:
        make: function of `keras.applications`.
        **arguments: of that function.

    Returns:
        functional `keras.Model`.

    Raises:
        InputError: weights that cannot be downloaded or do not fit.
    """
    # The features must not depend on the dtype policy of training.
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return make(**arguments)
    except Exception as error:  # Keras raises a plain Exception if a download fails
        needed = f"weights in {arguments.get('weights')}"
        if arguments.get("weights", "imagenet") == "imagenet":
            needed = "the ImageNet weights of keras.applications, which are downloaded the first "
            needed += "time and kept in ~/.keras/models"
        raise InputError(
            f"{make.__name__} needs {needed}. Received: {first_reason(error)}"
        ) from error
    finally:
        keras.config.set_dtype_policy(policy)


def _open_inception():
    model = open_application(keras.applications.InceptionV3, classifier_activation=None)
    run = _compiled(model, "avg_pool")

    def resize_and_run(images):
        # (n, h, w, 3) -> (n, 299, 299, 3)
        return run(tf.image.resize(images, (INCEPTION_SIZE, INCEPTION_SIZE), antialias=True))

    return FeatureExtractor(
        "inception_v3", resize_and_run, image_shape=(None, None, 3),
        dimension=model.get_layer("avg_pool").output.shape[-1], has_logits=True, batch_size=32,
    )


def _compiled(model, layer):
    """The outputs of a layer and of the model, as one graph for batches of any size."""
    model = keras.Model(model.input, [model.get_layer(layer).output, model.output])
    signature = tf.TensorSpec((None, *model.input.shape[1:]), "float32")
    return tf.function(lambda images: model(images, training=False), input_signature=[signature])
