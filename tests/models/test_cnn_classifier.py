"""CNN classifier: one step against a plain GradientTape, and that it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE

from keras_genimg import CNNClassifier
from keras_genimg.errors import InputError

RATE = 0.1


def four_quadrants(count, seed=0):
    """A bright square in one of the four quadrants, and which."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    images = np.full((count, *SHAPE), -1, "float32")
    for image, label in zip(images, labels):
        top, left = 8 * (label // 2) + rng.integers(0, 4), 8 * (label % 2) + rng.integers(0, 4)
        image[top : top + 4, left : left + 4] = 1
    return images, labels


def test_a_step_is_that_of_a_plain_tape():
    keras.utils.set_random_seed(0)
    model = CNNClassifier(SHAPE, num_classes=4, filters=(4, 6), units=(8,))
    model.compile(keras.optimizers.SGD(RATE))
    networks = [keras.models.clone_model(n) for n in (model.backbone, model.head)]
    for network, own in zip(networks, (model.backbone, model.head)):
        network.set_weights(own.get_weights())
    start = model.get_weights()
    images, labels = four_quadrants(12)
    logs = model.fit(images, labels, batch_size=12, shuffle=False, verbose=0).history
    with tf.GradientTape() as tape:
        logits = networks[1](networks[0](images))
        probabilities = tf.nn.softmax(logits)
        picked = tf.gather(probabilities, labels, batch_dims=1)
        loss = -tf.reduce_mean(tf.math.log(picked))
    weights = [w.value for n in networks for w in n.trainable_weights]
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        weight.assign_sub(RATE * gradient)
    mine = [*model.backbone.weights, *model.head.trainable_weights]
    assert len(mine) == len(weights) == 8
    for weight, expected in zip(mine, weights):
        np.testing.assert_allclose(weight, expected, atol=1e-5)
    assert max(np.abs(a - b).max() for a, b in zip(model.get_weights(), start)) > 1e-3
    assert set(logs) == {"loss", "accuracy"}
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-4)
    guesses = logits.numpy().argmax(1)
    assert logs["accuracy"] == pytest.approx([np.mean(guesses == labels)])


def test_it_learns_four_classes():
    keras.utils.set_random_seed(0)
    model = CNNClassifier(SHAPE, num_classes=4, filters=(8,), seed=0)
    model.compile(learning_rate=3e-3)
    images, labels = four_quadrants(256)
    history = model.fit(images, labels, batch_size=32, epochs=6, verbose=0).history
    test_images, test_labels = four_quadrants(100, seed=1)
    logs = model.evaluate(test_images, test_labels, verbose=0, return_dict=True)
    assert logs["accuracy"] > 0.95 and history["accuracy"][0] < logs["accuracy"]
    classes = model.classify(test_images, batch_size=32)
    assert classes.dtype == np.int32 and classes.shape == (100,)
    assert np.mean(classes == test_labels) == pytest.approx(logs["accuracy"], abs=1e-6)


def test_features_are_the_inputs_of_the_last_layer():
    model = CNNClassifier(SHAPE, num_classes=4, filters=(4,), units=(8,), dropout=0.5)
    images, _ = four_quadrants(10)
    features = model.features(images, batch_size=4)
    assert features.shape == (10, 8) and features.dtype == np.float32
    kernel, bias = (np.array(w) for w in model.head.trainable_weights)
    np.testing.assert_allclose(features @ kernel + bias, model(images), atol=1e-5)


def test_dropout_while_training_alone():
    model = CNNClassifier(SHAPE, num_classes=4, filters=(4,), dropout=0.5)
    images, _ = four_quadrants(3)
    np.testing.assert_array_equal(model(images), model(images))
    assert np.abs(model(images, training=True) - model(images, training=True)).max() > 0


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32])
def test_labels_of_any_numeric_type(kind):
    model = CNNClassifier(SHAPE, num_classes=4, filters=(2,))
    model.compile()
    images, labels = four_quadrants(8)
    model.fit(images, labels.astype(kind), verbose=0)
    model.fit(tf.data.Dataset.from_tensor_slices((images, labels.astype(kind))).batch(4), verbose=0)


def test_it_does_not_generate():
    with pytest.raises(InputError, match="CNNClassifier does not generate images"):
        CNNClassifier(SHAPE, filters=(2,)).generate(3)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_classes": 1}, "num_classes must be an integer of at least 2. Received: num_cl"),
        ({"filters": (8, 0)}, "filters must be a positive integer. Received: filters=0."),
        ({"units": (-3,)}, "units must be a positive integer. Received: units=-3."),
        ({"dropout": 1.5}, "must be a finite number from 0 to 0.99. Received: dropout=1.5."),
        ({"filters": 32}, "filters must be a tuple of integers. Received: filters=32."),
        ({"filters": (4,) * 5}, "Received: filters=(4, 4, 4, 4, 4) for image_shape=(16, 16, 1)."),
    ],
    ids=range(6),
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        CNNClassifier(SHAPE, **arguments)
    assert words in str(caught.value)
