"""What every model makes: images, codes, reconstructions, translations."""

import keras
import numpy as np
import pytest
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

from keras_genimg import InputError
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
        ({"num_images": 2, "seed": 1.5}, "seed must be an integer or None. Received: seed=1.5."),
        ({"num_images": 2, "seed": "1"}, "seed must be an integer or None. Received: seed='1'."),
        ({"num_images": 2, "seed": 2**64}, f"Received: seed={2**64}."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_generate_refuses(name, arguments, words, fresh):
    with pytest.raises(InputError) as caught:
        fresh[name].generate(**labels_in_turn(fresh[name], 2), **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", of("images", labels=False))
def test_generate_refuses_labels(name, fresh):
    with pytest.raises(InputError, match="generates without labels. Received: 2 labels"):
        fresh[name].generate(2, labels=[0, 1])


@pytest.mark.parametrize("name", of("images", labels=True))
@pytest.mark.parametrize(
    "labels, words",
    [
        (None, "labels must be integers from 0 to 3, of shape (n,). Received: None."),
        ([0, 4], "labels must be integers from 0 to 3, of shape (n,). Received: 0 to 4."),
        ([-1, 0], "Received: -1 to 0."),
        ([0.5, 1], "Received: 0.5 to 1."),
        ([[0, 1]], "Received: [[0, 1]]."),
        (["a", "b"], "Received: ['a', 'b']."),
        ([0, 1, 2], "There must be one label per image. Received: 3 labels for 2 images."),
        ([1], "There must be one label per image. Received: 1 labels for 2 images."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_generate_refuses_these_labels(name, labels, words, fresh):
    with pytest.raises(InputError) as caught:
        fresh[name].generate(2, labels=labels)
    assert words in str(caught.value)


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
