"""Networks by name and by path, whose feature maps VQGAN, SuperResolutionGAN and others compare."""

import keras
import numpy as np
import pytest
from cases import SHAPE, small_features, smooth_pictures
from keras.applications import densenet, efficientnet_v2, mobilenet_v2, vgg16

from keras_genimg import VQGAN, InputError, SuperResolutionGAN
from keras_genimg.networks import application_network, feature_maps

COLOUR = (32, 32, 3)
SMALL = {"filters": 8, "residual_filters": 4, "blocks": 1}
RNG = np.random.default_rng(0)


def vq_gan(content_network, image_shape=SHAPE):
    return VQGAN(
        image_shape, 8, 4, network_options=SMALL, content_network=content_network, seed=3
    )  # fmt: skip


def weights_file(folder, make):
    """Weights as a user has them, of a network that is trained elsewhere."""
    keras.utils.set_random_seed(0)
    network = make(include_top=False, weights=None, input_shape=(64, 64, 3))
    network.save_weights(folder / "own.weights.h5")
    return network, str(folder / "own.weights.h5")


@pytest.mark.parametrize("name, sides", [("cifar10", [32, 16, 8, 4]), ("emoji", [32, 16, 8, 4])])
def test_the_perceptual_loss_is_that_of_a_few_lines_of_numpy(name, sides):
    """Zhang et al. (2018), Eq. 1, all weights 1, in the classifier's last activations."""
    model = vq_gan(name, COLOUR)
    real, fake = RNG.uniform(-1, 1, (2, 5, *COLOUR)).astype("float32")
    maps = feature_maps(name, COLOUR, full_size=True)
    assert [each.shape[1] for each in maps.outputs] == sides
    expected = 0.0
    for a, b in zip(maps(real), maps(fake)):
        a, b = (np.array(x) / np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
        expected += ((a - b) ** 2).sum(-1).mean()
    pixels, content = model.errors_of(real, fake)
    assert float(content) == pytest.approx(expected, rel=1e-4) and expected > 0.1
    assert float(pixels) == pytest.approx(np.abs(real - fake).mean(), rel=1e-5)


def super_resolution_gan(content_network):
    return SuperResolutionGAN(SHAPE, 2, content_network=content_network, seed=3)


@pytest.mark.parametrize("make", [vq_gan, super_resolution_gan])
def test_by_path_by_model_and_after_loading_it_is_the_same_network(make, tmp_path):
    """A classifier is cut at its activations; the file is not needed once the model is there."""
    features = small_features()
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(features.output))
    classifier = keras.Model(features.input, logits)
    path = tmp_path / "classifier.keras"
    classifier.save(path)
    keras.utils.set_random_seed(0)
    model = make(path)  # a pathlib.Path, or a string
    path.unlink()
    images = smooth_pictures(4)
    maps = model.content_network(images)
    for found, layer in zip(maps, features.layers[1:], strict=True):
        expected = keras.Model(features.input, layer.output)(images)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert not model.content_network.trainable_weights and classifier.trainable_weights
    by_model = make(feature_maps(classifier, SHAPE, full_size=True))
    for found, expected in zip(by_model.content_network(images), maps, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)

    model.compile(run_eagerly=True)
    before = model.content_network.get_weights()
    model.fit(images, batch_size=4, verbose=0)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    for weight, old in zip(again.content_network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    logs = [m.evaluate(images, verbose=0, return_dict=True) for m in (model, again)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    assert {"perceptual_loss", "content_loss"} & set(logs[0])


@pytest.mark.parametrize(
    "name, make, module",
    [("vgg16", vgg16.VGG16, vgg16), ("mobilenet_v2", mobilenet_v2.MobileNetV2, mobilenet_v2)]
    + [
        pytest.param(name, make, module, marks=pytest.mark.slow)
        for name, make, module in (
            ("DenseNet121", densenet.DenseNet121, densenet),
            ("efficientnet_v2_b0", efficientnet_v2.EfficientNetV2B0, efficientnet_v2),
        )
    ],
)
def test_applications_see_what_they_were_trained_on(name, make, module, tmp_path):
    """One's own weights, behind Keras's preprocessing of 8-bit images."""
    network, path = weights_file(tmp_path, make)
    images = RNG.integers(0, 256, (2, 64, 64, 3))
    expected = network(module.preprocess_input(images.astype("float32")))
    found = application_network(name, weights=path)(images / np.float32(127.5) - 1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, atol=1e-4)


def test_the_layers_of_lpips(tmp_path):
    """The last activation before each halving of VGG16: relu1_2, 2_2, 3_3, 4_3 and 5_3."""
    _, path = weights_file(tmp_path, vgg16.VGG16)
    maps = feature_maps(application_network("vgg16", path), (64, 64, 3), full_size=True)
    names = [each._keras_history.operation.name.removeprefix("features_") for each in maps.outputs]
    assert names == ["block1_conv2", "block2_conv2", "block3_conv3", "block4_conv3", "block5_conv3"]
    model = vq_gan(maps, (64, 64, 3))
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    images = smooth_pictures(1, 64, 3)
    for found, expected in zip(again.content_network(images), maps(images), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_networks_that_cannot_be_compared_in(tmp_path, monkeypatch):
    (tmp_path / "bad.weights.h5").write_text("no weights")
    greyscale = keras.Model((images := keras.Input((16, 16, 1))),
                            keras.layers.Conv2D(2, 3, activation="relu")(images))  # fmt: skip
    for make, words in (
        (lambda: vq_gan("vgg17"), 'content_network must be "fashion_mnist", "mnist"'),
        (lambda: vq_gan("no.keras"), "content_network must be a file that exists"),
        (lambda: vq_gan("cifar10", SHAPE), "content_network must be a network of images"),
        (lambda: vq_gan(greyscale, COLOUR), "content_network must take inputs of shape"),
        (lambda: vq_gan(3), "content_network must be a keras.Model or layer"),
        (lambda: application_network("vgg17"), "name must be one of keras.applications"),
        (lambda: application_network("vgg16", "no.h5"), 'weights must be "imagenet" or a file'),
        (
            lambda: application_network("vgg16", str(tmp_path / "bad.weights.h5")),
            "VGG16 needs weights in .*bad.weights.h5",
        ),
    ):
        with pytest.raises(InputError, match=words) as caught:
            make()
        assert "\n" not in str(caught.value)

    def offline(*arguments, **options):
        raise Exception("URL fetch failure on https://...: None")

    monkeypatch.setattr("keras.src.applications.vgg16.file_utils.get_file", offline)
    with pytest.raises(InputError, match="VGG16 needs the ImageNet weights of keras.applications"):
        application_network("vgg16")
