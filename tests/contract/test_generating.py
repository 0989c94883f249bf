"""What every model makes: images, codes, reconstructions, translations."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, ONE_OF_A_RULE, dataset, labels_in_turn, smooth_pictures
from matrix import (
    Lazy,
    assert_same_state,
    default_or_slow,
    fitted,
    generated,
    generated_codes,
    grids_of,
    sources_of,
    state_of,
)

from keras_genimg import InputError, latents
from keras_genimg.core import Labels


def of(*products, labels=None):
    """Names of the models that make these products, with labels, without or both."""
    return [
        name for name, case in MODELS.items()
        if case.makes in products and labels in (None, case.data.part(Labels) is not None)
    ]


GENERATORS = of("images")
AUTOENCODERS = [name for name in MODELS if MODELS[name].has("encode")]


@pytest.fixture(scope="module")
def fresh():
    """Models as their constructors leave them. Tests leave them so."""
    return Lazy(lambda name: MODELS[name]())


def fresh_or_slow(names):
    """Fresh models of all names, and trained ones, of which a default run has one of a rule."""
    slow = [
        pytest.param("trained", name, marks=pytest.mark.slow)
        for name in names if name not in ONE_OF_A_RULE
    ]
    default = [("trained", name) for name in names if name in ONE_OF_A_RULE]
    return [*(("fresh", name) for name in names), *default, *slow]


@pytest.mark.parametrize("state, name", fresh_or_slow(GENERATORS))
def test_generate(state, name, fresh, trained):
    model = {"fresh": fresh, "trained": trained}[state][name]
    images, shape = generated(model, 7, seed=5), model.data.parts[0].shape(model)
    assert images.shape == (7, *shape) and images.dtype == np.float32
    assert np.abs(images).max() <= 1 and np.isfinite(images).all()
    np.testing.assert_allclose(generated(model, 7, seed=5, batch_size=3), images, atol=1e-5)
    np.testing.assert_allclose(generated(model, 7, seed=5, batch_size=1), images, atol=1e-5)
    assert np.abs(generated(model, 7, seed=6) - images).max() > 1e-4
    assert np.abs(generated(model, 7) - generated(model, 7)).max() > 1e-4
    assert generated(model, 1, seed=np.int64(5)).shape == (1, *shape)
    assert np.ptp(images, axis=0).max() > 1e-4  # different images


@pytest.mark.parametrize("name", of("codes"))
def test_generate_codes(name, fresh):
    model = fresh[name]
    codes = generated_codes(model, 7, seed=5)
    assert codes.shape == (7, *model.code_shape) and codes.dtype == np.int32
    assert codes.min() >= 0 and codes.max() < model.num_embeddings
    np.testing.assert_array_equal(generated_codes(model, 7, seed=5, batch_size=3), codes)
    assert (generated_codes(model, 7, seed=6) != codes).any()
    assert (np.ptp(codes, axis=0) > 0).any()


@pytest.mark.parametrize("name", default_or_slow(GENERATORS))
def test_generate_changes_nothing_and_is_changed_by_training_alone(name):
    model = fitted(name)
    before = state_of(model)
    first = generated(model, 2, seed=1)  # traces the function that makes images
    np.testing.assert_array_equal(generated(model, 2, seed=1), first)
    assert_same_state(before, state_of(model))
    model.fit(dataset(smooth_pictures(16), model, 8), verbose=0)
    assert np.abs(generated(model, 2, seed=1) - first).max() > 0


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_images": 0}, "num_images must be a positive integer. Received: num_images=0."),
        ({"num_images": -3}, "Received: num_images=-3."),
        ({"num_images": 2.5}, "Received: num_images=2.5."),
        ({"num_images": 2, "batch_size": 0}, "batch_size must be a positive integer."),
        ({"num_images": 2, "seed": 1.5}, "seed must be a 64-bit integer or None. Received: "),
        ({"num_images": 2, "seed": "1"}, "Received: seed='1'."),
        ({"num_images": 2, "seed": 2**64}, f"64-bit integer or None. Received: seed={2**64}."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_generate_refuses(name, arguments, words, fresh):
    with pytest.raises(InputError) as caught:
        fresh[name].generate(**labels_in_turn(fresh[name], 2), **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", of("images", labels=False))
def test_generate_refuses_labels(name, fresh):
    for labels in ([0, 1], 1, "beach"):
        with pytest.raises(InputError) as caught:
            fresh[name].generate(2, labels=labels)
        assert f"has no classes. Received: labels={labels}." in str(caught.value)


@pytest.mark.parametrize("name", of("images", labels=True))
@pytest.mark.parametrize(
    "labels, words",
    [
        ([0, 4], "labels must be integers from 0 to 3, of shape (n,). Received: 0 to 4."),
        ([-1, 0], "Received: -1 to 0."),
        ([0.5, 1], "Received: 0.5 to 1."),
        ([[0, 1]], "Received: [[0, 1]]."),
        (["a", "b"], "names of the model's classes (class_names is not set). Received: 'a'."),
        (4, "labels must be integers from 0 to 3, of shape (n,). Received: 4 to 4."),
        (1.5, "Received: 1.5."),
        ([0, 1, 2], "There must be one label per image. Received: 3 labels for 2 images."),
        ([1], "There must be one label per image. Received: 1 labels for 2 images."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_generate_refuses_these_labels(name, labels, words, fresh):
    with pytest.raises(InputError) as caught:
        fresh[name].generate(2, labels=labels)
    assert words in str(caught.value)


def making(model):
    """The method that makes what a model makes."""
    return model.generate_codes if model.makes == "codes" else model.generate


def sensitive_to_labels(name):
    """A model whose outputs depend on the class, as those of no new one do."""
    model, rng = MODELS[name](), np.random.default_rng(0)
    for weight in model.weights:
        if "float" in weight.dtype and "variance" not in weight.path:
            weight.assign_add(rng.normal(0, 0.2, weight.shape))
    return model


BY_LABEL = default_or_slow(
    of("images", "codes", labels=True), ("conditional_gan", "conditional_vae", "code_transformer")
)


@pytest.mark.parametrize("name", BY_LABEL)
def test_labels_of_every_kind(name):
    """All classes in turn by default, one for all, integers or names."""
    model = sensitive_to_labels(name)
    make, expected = making(model), making(model)(6, [0, 1, 2, 3, 0, 1], seed=5)
    np.testing.assert_array_equal(make(6, seed=5), expected)
    np.testing.assert_array_equal(make(labels=[0, 1, 2, 3, 0, 1], seed=5), expected)
    of_three = make(4, [3] * 4, seed=5)
    for one in (3, np.int64(3), np.array(3), tf.constant(3)):
        np.testing.assert_array_equal(make(4, one, seed=5), of_three)
    assert (of_three != expected[:4]).any()
    model.class_names = np.array(["beach", "city", "dog", "elk"])
    named = ["beach", "city", "dog", "elk", "beach", 1]
    np.testing.assert_array_equal(make(labels=named, seed=5), expected)
    np.testing.assert_array_equal(make(4, "elk", seed=5), of_three)
    assert len(make(labels="elk")) == 1
    with pytest.raises(InputError) as caught:
        make(2, labels=["dog", "house"])
    assert str(caught.value) == (
        "labels must be integers from 0 to 3 or names of the model's classes "
        "(beach, city, dog, elk). Received: 'house'."
    )
    with pytest.raises(InputError, match="num_images must be a positive integer. Received: .*None"):
        make()


def test_names_of_digits_come_before_numbers():
    """Folders named 1 to 4 are the classes 0 to 3: who asks for "2" means the folder."""
    model = MODELS["conditional_gan"]()
    assert model.class_numbers(["2", "0"]).tolist() == [2, 0]
    model.class_names = ["1", "2", "3", "4"]
    assert model.class_numbers(["2", "0", 2]).tolist() == [1, 0, 2]


def test_class_names_are_checked():
    model = MODELS["conditional_gan"]()
    assert model.class_names is None
    model.class_names = ["a", "b", "c", "d"]
    for names in (["a", "b"], ["a", "b", "b", "d"], ["a", "b", "c", "d", "d"], "abcd", range(4), 4):
        with pytest.raises(InputError, match="must be 4 different strings, one per class. Receiv"):
            model.class_names = names
    assert model.class_names == ("a", "b", "c", "d")
    model.class_names = None
    assert model.class_names is None and "class_names" not in model.get_config()
    with pytest.raises(InputError, match="GAN has no classes. Received: class_names"):
        MODELS["gan"]().class_names = ["a"]


@pytest.mark.parametrize("name", [*BY_LABEL, "gan", "vae", "pixel_cnn"])
def test_a_model_is_called_on_one_tensor_or_on_a_list(name):
    """`model([x, labels])`, `model((x, labels))`, `model(x, labels)` and `predict` agree."""
    model = sensitive_to_labels(name)
    if hasattr(model, "ema_generator"):
        x = model.draw_latents(2, 5).numpy()
    else:
        x = next(iter(dataset(smooth_pictures(2), model, 2)))
        x = np.asarray(x[0] if isinstance(x, tuple) else x)
    labels = np.array([3, 1])
    if not model.data.part(Labels):
        with pytest.raises(InputError, match=r"called as model\(x\). Received: 2 inputs"):
            model([x, labels])
        return
    outputs = np.asarray(model([x, labels]))
    assert np.abs(outputs - model([x, labels[::-1].copy()])).max() > 1e-5
    for found in (
        model((x, labels)), model(x, labels), model(x, labels=tf.constant(labels, tf.int32)),
        model.predict([x, labels], verbose=0),
    ):
        np.testing.assert_allclose(found, outputs, atol=1e-5)
    with pytest.raises(InputError, match=r"as model\(\[x, labels\]\). Received: 1 inputs"):
        model(x)


@pytest.mark.parametrize("name", [name for name in GENERATORS if MODELS[name].has("decode")])
def test_decode_gives_the_images_of_latents(name, fresh):
    model = fresh[name]
    given = labels_in_turn(model, 3)
    z, images = model.draw_latents(3, 5).numpy(), model.generate(3, seed=5)
    decoded = model.decode(z, **given)
    assert decoded.dtype == np.float32 and decoded.shape == images.shape
    np.testing.assert_allclose(decoded, images, atol=1e-5)
    in_parts = model.decode(z, *given.values(), batch_size=2)
    np.testing.assert_allclose(in_parts, images, atol=1e-5)
    with pytest.raises(InputError, match="decodes floats of shape"):
        model.decode(z[..., :2], **given)
    if given:
        np.testing.assert_array_equal(model.decode(z, 2), model.decode(z, [2, 2, 2]))
        with pytest.raises(InputError, match="labels must be integers from 0 to 3"):
            model.decode(z)


def test_every_generator_of_latents_decodes():
    assert {name for name in GENERATORS if not MODELS[name].has("decode")} == {"pixel_cnn"}


def test_labels_come_second_in_every_method():
    methods = "encode decode reconstruct log_likelihood fit_prior generate generate_codes".split()
    for name, case in MODELS.items():
        for method in filter(case.has, methods):
            names = list(inspect.signature(getattr(case.model_class, method)).parameters)[1:]
            assert "labels" not in names or names[1] == "labels", f"{name}.{method}"
    for function in (latents.decode, latents.invert):
        assert list(inspect.signature(function).parameters)[2] == "labels"


@pytest.mark.parametrize("name", of("reconstructions", "translations", "labels", "codes"))
def test_what_does_not_generate_says_so(name, fresh):
    translates = MODELS[name].makes == "translations"
    words = "instead of generate" if translates else "does not generate"
    with pytest.raises(InputError, match=words):
        fresh[name].generate(3)


@pytest.mark.parametrize("state, name", fresh_or_slow(AUTOENCODERS))
def test_autoencoders(state, name, fresh, trained):
    model, images = {"fresh": fresh, "trained": trained}[state][name], smooth_pictures(5, seed=4)
    given = {"labels": [3, 0, 0, 2, 1]} if model.data.part(Labels) else {}
    codes = model.encode(images, **given)
    if model.makes == "images":
        assert codes.shape == (5, model.latent_dim) and codes.dtype == np.float32
    else:
        for level, grid in zip(keras.tree.flatten(codes), grids_of(model).values(), strict=True):
            assert (level.shape[1:], level.dtype, len(level)) == (grid[0], np.int32, 5)
            assert level.min() >= 0 and level.max() < grid[1]
    decoded, reconstructed = model.decode(codes, **given), model.reconstruct(images, **given)
    for outputs in (decoded, reconstructed):
        assert outputs.shape == images.shape and outputs.dtype == np.float32
        assert np.abs(outputs).max() <= 1
    np.testing.assert_allclose(decoded, reconstructed, atol=1e-5)
    for method, inputs in (("encode", images), ("decode", codes), ("reconstruct", images)):
        run = getattr(model, method)
        in_parts, at_once = run(inputs, **given, batch_size=2), run(inputs, **given)
        pairs = zip(keras.tree.flatten(in_parts), keras.tree.flatten(at_once), strict=True)
        for found, expected in pairs:
            np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("state, name", fresh_or_slow(of("translations")))
def test_translators(state, name, fresh, trained):
    model = {"fresh": fresh, "trained": trained}[state][name]
    sources = sources_of(model)
    made = model.translate(sources)
    assert made.shape == (5, *model.image_shape) and made.dtype == np.float32
    assert np.abs(made).max() <= 1 and np.ptp(made, axis=0).max() > 1e-2
    np.testing.assert_allclose(model.translate(sources, batch_size=2), made, atol=1e-5)
    np.testing.assert_allclose(model(sources), made, atol=1e-5)
    with pytest.raises(InputError, match="was made for images of shape"):
        model.translate(sources[:, :4])
