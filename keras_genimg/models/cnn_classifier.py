"""CNN classifier: a class per image, and features for the metrics."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from keras_genimg.checks import check_count, check_image_shape, check_number
from keras_genimg.core import ImageModel, Images, Labels, dtype_policy
from keras_genimg.errors import InputError
from keras_genimg.layers import Dropout
from keras_genimg.precision import at_least_float32

__all__ = ["CNNClassifier"]


def _check_counts(name, values):
    if not isinstance(values, (tuple, list)):
        raise InputError(f"{name} must be a tuple of integers. Received: {name}={values!r}.")
    return tuple(check_count(name, value) for value in values)


def _cross_entropy(labels, logits):
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _accuracy(labels, logits):
    predictions = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.reduce_mean(tf.cast(predictions == labels, logits.dtype))


@keras.saving.register_keras_serializable(package="keras_genimg")
class CNNClassifier(ImageModel):
    """Convolutional classifier: convolutions with pooling, then dense layers.

    The default is the smallest useful one: a 3x3 convolution of 32 filters, 2x2
    max pooling, and a dense layer of one logit per class.

    Args:
        image_shape: tuple (height, width, channels); height and width are multiples of 4
            from 16 to 256.
        num_classes: int of at least 2. Labels are integers from 0 to num_classes - 1.
        filters: tuple of int. Filters of each 3x3 convolution (ReLU, then 2x2
            max pooling).
        units: tuple of int. Widths of the hidden dense layers (ReLU).
        dropout: float from 0 to 0.99. Rate before the logits.
        seed: int, optional. Makes the dropout in training reproducible.

    Logs: `loss` (cross-entropy, nats) and `accuracy`.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> classifier = CNNClassifier(image_shape=(28, 28, 1), num_classes=10)
    >>> classifier.compile()
    >>> classifier.features(np.zeros((2, 28, 28, 1), "float32")).shape
    (2, 5408)

    Reference: LeCun et al. (1998), Proceedings of the IEEE 86, for the design,
        https://doi.org/10.1109/5.726791
    """

    data = Images() + Labels()
    makes = "labels"
    about = "convolutional classifier"
    paper = "LeCun et al., 1998"
    weighs_images = True

    def __init__(
        self, image_shape=(28, 28, 1), num_classes: int = 10, *, filters: tuple = (32,),
        units: tuple = (), dropout: float = 0.0, seed: int | None = None, **kwargs,
    ):
        image_shape = check_image_shape(image_shape)
        super().__init__(image_shape, seed=seed, **kwargs)
        self.num_classes = check_count("num_classes", num_classes, minimum=2)
        self.filters = _check_counts("filters", filters)
        self.units = _check_counts("units", units)
        self.dropout = check_number("dropout", dropout, 0.0, 0.99)
        with dtype_policy(self.dtype_policy):
            self.backbone, self.head = self._networks()
        self.built = True

    def _networks(self):
        dtype = at_least_float32(self.dtype_policy)
        images = keras.Input(self.image_shape)
        x = images
        for width in self.filters:
            if min(x.shape[1:3]) < 3:
                raise InputError(
                    "Each entry of filters halves the image, and a 3x3 convolution needs a side "
                    "of 3. "
                    f"Received: filters={self.filters!r} for image_shape={self.image_shape!r}."
                )
            x = layers.Conv2D(width, 3, activation="relu")(x)  # (B, h, w, c) -> (B, h-2, w-2, f)
            x = layers.MaxPooling2D(2, padding="same")(x)
        x = layers.Flatten()(x)  # (B, h, w, f) -> (B, h*w*f)
        for width in self.units:
            x = layers.Dense(width, activation="relu")(x)
        features = layers.Activation("linear", dtype=dtype)(x)
        head = keras.Sequential(
            [
                keras.Input(features.shape[1:]),
                Dropout(self.dropout, seed=self.seed),
                layers.Dense(self.num_classes, dtype=dtype),
            ],
            name="head",
        )
        return keras.Model(images, features, name="backbone"), head

    def train_step(self, data):
        """One update on the cross-entropy -log p(label | image)."""
        images, labels, batch = self.unpack(data)  # (B, h, w, c), (B,)
        with tf.GradientTape() as tape:
            logits = self.call(images, training=True)  # (B, num_classes)
            loss = batch.mean(_cross_entropy(labels, logits))
        weights = self.trainable_variables
        gradients = tape.gradient(loss, weights, batch.share)  # adds up to the global mean
        self.optimizer.apply_gradients(zip(gradients, weights))
        return self.log(batch, loss=loss, accuracy=_accuracy(labels, logits))

    def test_step(self, data):
        """Cross-entropy and accuracy on held-out images."""
        images, labels, batch = self.unpack(data)
        logits = self.call(images)
        loss = batch.mean(_cross_entropy(labels, logits))
        return self.log(batch, loss=loss, accuracy=_accuracy(labels, logits))

    def call(self, images, training: bool = False):
        """Logits of images.

        Args:
            images: float tensor `(batch, height, width, channels)` in [-1, 1].
            training: bool. Whether dropout is applied.

        Returns:
            float32 tensor `(batch, num_classes)`.
        """
        return self.head(self.backbone(images, training=training), training=training)

    def features(self, images, *, batch_size: int = 256) -> np.ndarray:
        """Inputs of the last layer, in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, d)`.

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        return self._run_in_batches("_features", self.checked_images(images), batch_size)

    def classify(self, images, *, batch_size: int = 256) -> np.ndarray:
        """The most likely class of each image, in batches.

        Args:
            images: float array `(n, height, width, channels)` in [-1, 1].
            batch_size: int. Images per batch.

        Returns:
            NumPy int32 array `(n,)`, from 0 to num_classes - 1.

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        logits = self._run_in_batches("call", self.checked_images(images), batch_size)
        return logits.argmax(-1).astype("int32")

    def _features(self, images):
        return self.backbone(images, training=False)

    def signatures(self) -> dict:
        spec = [self.images_spec()]

        def classify(images):
            logits = self.call(images)
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

        return {
            "serving_default": (classify, spec),
            "classify": (classify, spec),
            "features": (lambda images: {"features": self._features(images)}, spec),
        }

    def deterministic_signature(self) -> tuple:
        return (lambda images: {"logits": self.call(images)}), [self.images_spec()]
