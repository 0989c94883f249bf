"""Feature extractors: the files that come with the package, Inception, and functions."""

import functools
import hashlib
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest

from keras_genimg.data import load
from keras_genimg.errors import InputError
from keras_genimg.metrics import FeatureExtractor, frechet_distance, get_features
from keras_genimg.metrics import features as features_module

FOLDER = pathlib.Path(features_module.__file__).parent / "classifiers"
CARDS = json.loads((FOLDER / "cards.json").read_text(encoding="utf-8"))
NAMES = list(CARDS)
SET_OF = {"fashion_mnist": "fashion_mnist", "mnist": "mnist", "glyphs": "glyphs"}
SET_OF |= {"cifar10_small": "cifar10", "cifar10": "cifar10"}  # those that tell its classes apart
open_once = functools.lru_cache(get_features)


@functools.lru_cache
def first_images(name, split, data_dir):
    data = load(
        name, split, batch_size=1000, num_images=1000, with_labels=True, data_dir=data_dir
    )
    images, labels = next(iter(data))
    return images.numpy(), labels.numpy()


def prepared(request, data):
    """The folder of a prepared set; the test is skipped without it."""
    data_dir = request.getfixturevalue("real_data")
    if not (pathlib.Path(data_dir) / data).is_dir():
        pytest.skip(f"{data} is not prepared in {data_dir}")
    return data_dir


@pytest.fixture(params=SET_OF)
def case(request):
    """Name, extractor, and a function from a split to 1,000 images and labels of the set."""
    data = SET_OF[request.param]
    data_dir = None if data == "glyphs" else prepared(request, data)
    return request.param, open_once(request.param), lambda part: first_images(data, part, data_dir)


def noise(extractor, count):
    shape = (count, *extractor.image_shape)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_small_and_matches_its_card(name):
    data, card = (FOLDER / f"{name}.keras").read_bytes(), CARDS[name]
    assert len(data) == card["bytes"] < 2_000_000
    assert hashlib.sha256(data).hexdigest() == card["sha256"]
    model = keras.models.load_model(FOLDER / f"{name}.keras")
    assert model.count_params() == card["parameters"]
    assert not model.compiled  # no optimizer state in the file
    assert list(model.input.shape[1:]) == card["input_shape"]
    assert model.get_layer(card["layer"]).output.shape == (None, card["dimension"])
    assert card["dimension"] == 128
    assert f"train_classifiers.py {name} --seed {card['seed']}" in card["command"]


def test_only_files_with_a_card_are_shipped():
    assert NAMES == [*SET_OF, "cifar10_rotation", "emoji"]
    assert {path.name for path in FOLDER.iterdir()} == {
        "cards.json",
        *(f"{name}.keras" for name in NAMES),
    }


def test_the_card_states_the_accuracy(case):
    name, extractor, images_of = case
    images, labels = images_of("test")
    accuracy = np.mean(np.argmax(extractor.logits(images), axis=1) == labels)
    assert accuracy == pytest.approx(CARDS[name]["test_accuracy"], abs=0.03)


def test_images_of_the_set_are_near_each_other_and_far_from_noise(case):
    _, extractor, images_of = case
    train = extractor(images_of("train")[0])
    near = frechet_distance(train, extractor(images_of("test")[0]))
    assert near < 0.05 * frechet_distance(train, extractor(noise(extractor, 1000)))


@pytest.mark.parametrize("name", ["cifar10", "cifar10_rotation"])
def test_no_feature_is_constant(request, name):
    images, _ = first_images("cifar10", "test", prepared(request, "cifar10"))
    assert CARDS[name]["constant_features"] == 0
    assert open_once(name)(images).std(axis=0).min() > 1e-3


def test_turned_images_are_told_apart(request):
    images, _ = first_images("cifar10", "test", prepared(request, "cifar10"))
    network = keras.models.load_model(FOLDER / "cifar10_rotation.keras")
    right = [
        np.argmax(network.predict(np.rot90(images, turns, axes=(1, 2)), verbose=0), axis=1) == turns
        for turns in range(4)
    ]
    assert np.mean(right) == pytest.approx(CARDS["cifar10_rotation"]["test_accuracy"], abs=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_features_are_the_penultimate_layer(name):
    extractor, images = open_once(name), noise(open_once(name), 7)
    found = extractor(images)
    assert found.shape == (7, 128) and found.dtype == np.float32 and isinstance(found, np.ndarray)
    assert extractor.dimension == 128 and extractor.name == name
    if not extractor.has_logits:
        return
    head = keras.models.load_model(FOLDER / f"{name}.keras").get_layer("logits")
    kernel, bias = (np.asarray(weight) for weight in head.get_weights())
    np.testing.assert_allclose(extractor.logits(images), found @ kernel + bias, atol=1e-3)


def test_any_number_in_any_batches():
    images = noise(open_once("glyphs"), 130)
    whole = get_features("glyphs")
    whole.batch_size = 1000
    parts = get_features("glyphs")
    parts.batch_size = 64  # 64 + 64 + 2
    np.testing.assert_allclose(whole(images), parts(images), rtol=1e-4, atol=1e-4)
    one_by_one = np.concatenate([whole(images[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(whole(images[:3]), one_by_one, rtol=1e-4, atol=1e-4)
    as_tensor = parts(keras.ops.convert_to_tensor(images))
    np.testing.assert_array_equal(as_tensor, parts(images))
    assert parts(images[:0]).shape == (0, 128)
    assert parts.logits(images[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    "name, shape, says",
    [
        ("fashion_mnist", (32, 32, 1), "height 28, width 28 and channels 1"),
        ("mnist", (28, 28, 3), "greyscale and colour are not converted"),
        ("cifar10", (32, 32, 1), "greyscale and colour are not converted"),
        ("cifar10", (28, 28, 3), "height 32, width 32 and channels 3"),
        ("glyphs", (28, 28), "Received: shape="),
    ],
)
def test_other_sizes_are_refused(name, shape, says):
    with pytest.raises(InputError, match=says):
        open_once(name)(np.zeros((4, *shape), "float32"))
    with pytest.raises(InputError, match=says):
        get_features(name, image_shape=shape)


@pytest.mark.parametrize("images", [np.full((2, 28, 28, 1), 255, "uint8"), [[["a"]]], 3.0])
def test_other_types_are_refused(images):
    with pytest.raises(InputError):
        open_once("glyphs")(images)


def test_values_out_of_range_and_nan_are_refused():
    images = np.zeros((300, 28, 28, 1), "float32")
    images[299, 0, 0, 0] = 1.5
    with pytest.raises(InputError, match=r"in \[-1, 1\]. Received: values from 0 to 1.5"):
        open_once("glyphs")(images)
    images[299, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="NaN"):
        open_once("glyphs")(images)


def test_a_corrupt_or_missing_file_is_refused(tmp_path, monkeypatch):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(features_module, "CLASSIFIERS", tmp_path)
    get_features("mnist")
    data = bytearray((tmp_path / "mnist.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "mnist.keras").write_bytes(data)
    with pytest.raises(InputError, match="mnist.keras must be the file shipped with"):
        get_features("mnist")
    (tmp_path / "glyphs.keras").unlink()
    with pytest.raises(InputError, match="Received: no file"):
        get_features("glyphs")


def test_a_network_trained_without_labels_has_no_logits(tmp_path, monkeypatch):
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    cards = {"mnist": {**CARDS["mnist"], "predicts": "rotation"}}
    (tmp_path / "cards.json").write_text(json.dumps(cards))
    monkeypatch.setattr(features_module, "CLASSIFIERS", tmp_path)
    extractor, images = get_features("mnist"), noise(open_once("mnist"), 5)
    np.testing.assert_array_equal(extractor(images), open_once("mnist")(images))
    with pytest.raises(InputError, match="Logits need the features of a classifier"):
        extractor.logits(images)


@pytest.mark.parametrize("features", ["imagenet", "", None, 7, "../mnist"])
def test_an_unknown_name_lists_the_known_ones(features):
    with pytest.raises(InputError, match=', '.join(f'"{name}"' for name in NAMES) + ', "inc'):
        get_features(features)


def test_a_function_is_called_in_batches_and_names_the_metric():
    sizes = []

    def mean_and_spread(images):
        sizes.append(len(images))
        assert images.dtype == np.float32
        return np.stack([images.mean(axis=(1, 2, 3)), images.std(axis=(1, 2, 3))], axis=1)

    extractor = get_features(mean_and_spread, image_shape=(5, 9, 2))
    assert extractor.dimension is None
    images = np.random.default_rng(1).uniform(-1, 1, (300, 5, 9, 2))
    found = extractor(images)
    np.testing.assert_allclose(found[299], [images[299].mean(), images[299].std()], rtol=1e-5)
    assert sizes == [256, 44] and found.shape == (300, 2) and extractor.dimension == 2
    assert extractor.metric_name("frechet_distance") == "frechet_distance[mean_and_spread]"
    assert get_features(extractor) is extractor
    with pytest.raises(InputError, match="Logits need the features of a classifier"):
        extractor.logits(images)


def test_a_model_is_accepted_and_names_the_metric():
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()], name="pixels")
    images = np.random.default_rng(2).uniform(-1, 1, (3, 4, 4, 1)).astype("float32")
    extractor = get_features(model)
    np.testing.assert_array_equal(extractor(images), images.reshape(3, 16))
    assert extractor.name == "pixels"


def test_features_without_one_row_per_image_are_refused():
    images = np.zeros((4, 8, 8, 1))
    for function in (lambda images: images, lambda images: np.zeros((1, 3))):
        with pytest.raises(InputError, match="one row per image"):
            get_features(function)(images)


def test_inception_without_its_weights_gives_one_sentence(monkeypatch):
    def no_network(**arguments):
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", no_network)
    with pytest.raises(InputError, match="downloaded the first time.*URL fetch failure"):
        get_features("inception_v3")


@pytest.mark.slow
def test_inception_takes_colour_of_any_size(monkeypatch):
    real = keras.applications.InceptionV3
    # No values are compared here; the network is built once.
    without_weights = functools.lru_cache(functools.partial(real, weights=None))
    monkeypatch.setattr(keras.applications, "InceptionV3", without_weights)
    with pytest.raises(InputError, match="greyscale and colour are not converted"):
        get_features("inception_v3", image_shape=(32, 32, 1))
    extractor = get_features("inception_v3", image_shape=(32, 48, 3))
    images = np.random.default_rng(3).uniform(-1, 1, (1, 32, 48, 3))
    assert isinstance(extractor, FeatureExtractor)
    assert extractor(images).shape == (1, 2048) and extractor.dimension == 2048
    logits = extractor.logits(images)
    assert logits.shape == (1, 1000)
    assert abs(logits.sum() - 1) > 1e-3 or logits.min() < 0  # not probabilities
