"""A prior over the codes of a VQ model: fitted, held, saved, served."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures

from keras_genimg import VQVAE, CodeTransformer, PixelCNN
from keras_genimg.errors import InputError

CODES = 8
PRIORS = {
    "pixel_cnn": lambda **more: PixelCNN(
        code_shape=(4, 4), num_embeddings=CODES, filters=8, layers=2, seed=1, **more
    ),
    "code_transformer": lambda **more: CodeTransformer(
        (4, 4), CODES, features=16, layers=1, num_heads=2, seed=1, **more
    ),
}


def vq_vae():
    keras.utils.set_random_seed(0)
    model = VQVAE(SHAPE, CODES, 4, seed=3)
    model.compile(learning_rate=1e-3)
    images = smooth_pictures(32)
    # Dark images and bright ones, and a codebook of some of their vectors: several are in use.
    images = np.concatenate([images, -images])
    vectors = model.encoder(images).numpy().reshape(-1, 4)
    rows = vectors[np.random.default_rng(0).choice(len(vectors), CODES, replace=False)]
    model.quantizer.embeddings.assign(rows)
    model.quantizer.embedding_sums.assign(rows)
    model.fit(images, batch_size=16, epochs=3, verbose=0)
    assert len(np.unique(model.encode(images))) > 3
    return model


@pytest.mark.parametrize("kind", PRIORS)
def test_it_learns_the_codes_and_leaves_the_model_alone(kind):
    model, images = vq_vae(), smooth_pictures(32)
    before, codes = model.get_weights(), model.encode(images)
    with pytest.raises(InputError, match="does not generate before it has a prior"):
        model.generate(2)
    prior = PRIORS[kind]()
    prior.compile(learning_rate=1e-2)
    first = -prior.log_likelihood(codes).mean()
    history = model.fit_prior(images, prior=prior, batch_size=16, epochs=8, verbose=0).history
    assert len(history["nll"]) == 8 and -prior.log_likelihood(codes).mean() < 0.9 * first
    assert model.prior is prior and not prior.trainable_variables
    for mine, other in zip(model.get_weights(), before):  # its own come first
        np.testing.assert_array_equal(mine, other)
    # It is no part of what the model trains; both can go on.
    prior_weights = prior.get_weights()
    model.fit(images, batch_size=16, verbose=0)
    for mine, other in zip(prior.get_weights(), prior_weights):
        np.testing.assert_array_equal(mine, other)
    model.fit_prior(images, batch_size=16, verbose=0)
    assert model.prior is prior
    assert any((a != b).any() for a, b in zip(prior.get_weights(), prior_weights))


def test_another_prior_takes_the_place_of_the_first(tmp_path):
    model, images = vq_vae(), smooth_pictures(32)
    model.fit_prior(images, prior=PRIORS["pixel_cnn"](), batch_size=16, verbose=0)
    priors = [PRIORS[kind]() for kind in ("code_transformer", "code_transformer", "pixel_cnn")]
    for epochs, prior in enumerate([*priors, priors[-1], priors[0]], start=1):  # some once more
        model.fit_prior(images, prior=prior, batch_size=16, epochs=epochs, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        assert len(again.weights) == len(model.weights) == len(vq_vae().weights) + len(
            model.prior.weights
        )
        for mine, other in zip(model.prior.get_weights(), again.prior.get_weights()):
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(again.generate(9, seed=1), model.generate(9, seed=1))


def test_a_trained_prior_takes_another_guidance_scale():
    model, images = vq_vae(), smooth_pictures(32)
    prior = PRIORS["code_transformer"](num_classes=4, label_dropout=0.1, guidance_scale=2.0)
    model.fit_prior(images, np.arange(32) % 4, prior=prior, batch_size=16, epochs=9, verbose=0)
    before = model.generate(40, seed=1)
    with pytest.raises(AttributeError):
        prior.guidance_scale = 9.0
    stronger = CodeTransformer.from_config({**prior.get_config(), "guidance_scale": 9.0})
    stronger.set_weights(prior.get_weights())
    model.hold_priors(prior=stronger)
    assert model.prior.guidance_scale == 9.0 and not model.prior.trainable_variables
    assert (model.generate(40, seed=1) != before).any()
    model.hold_priors(prior=prior)
    np.testing.assert_array_equal(model.generate(40, seed=1), before)


def test_a_prior_reads_its_codes_without_the_tuning_thread_and_takes_what_fit_takes(monkeypatch):
    seen = []
    fit = keras.Model.fit

    def note(self, x=None, y=None, **arguments):
        seen.append(x)
        return fit(self, x, y, **arguments)

    model, images = vq_vae(), smooth_pictures(32)
    monkeypatch.setattr(keras.Model, "fit", note)
    prior = PRIORS["pixel_cnn"](num_classes=3)
    labels = np.arange(32) % 3
    model.fit_prior(images, labels, prior=prior, batch_size=8, verbose=0)
    assert seen[-1].options().autotune.enabled is False and int(seen[-1].cardinality()) == 4
    history = model.fit_prior(images, labels, batch_size=8, validation_split=0.25, verbose=0)
    assert "val_nll" in history.history and int(seen[-1].cardinality()) == 3  # of 24 grids

    labels[-1] = 3  # in the last batch
    with pytest.raises(InputError, match="3"):
        model.fit_prior(images, labels, batch_size=8, verbose=0)
    with pytest.raises(InputError, match="batch_size must be"):
        model.fit_prior(images, labels % 3, batch_size=0, verbose=0)
    assert len(seen) == 2 and not prior.trainable_variables


@pytest.mark.full
@pytest.mark.parametrize("kind", PRIORS)
def test_what_is_generated_are_decoded_draws_of_the_prior(kind, tmp_path):
    model, images = vq_vae(), smooth_pictures(32)
    model.fit_prior(images, prior=PRIORS[kind](), batch_size=16, epochs=2, verbose=0)
    made = model.generate(5, seed=1)
    expected = model.decode(model.prior.generate_codes(5, seed=1))
    np.testing.assert_allclose(made, expected, atol=1e-5)
    np.testing.assert_allclose(model.generate(5, seed=1, batch_size=2), made, atol=1e-5)
    some = {"temperature": 3.0, "top_k": 4, "top_p": 0.5}
    for options in ({"temperature": 0.0}, {"temperature": 0.05}, some):
        codes = model.prior.generate_codes(5, seed=1, **options)
        other = model.generate(5, seed=1, **options)
        np.testing.assert_allclose(other, model.decode(codes), atol=1e-5)
        assert (other != made).any()
    with pytest.raises(InputError, match="temperature must be a finite number.*-1"):
        model.generate(2, temperature=-1.0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.generate(5, seed=1), made, atol=1e-5)
    # Training resumes: optimizers keep their state, and the model's own has nothing of the prior.
    for mine, other in ((model, again), (model.prior, again.prior)):
        assert len(mine.optimizer.variables) == len(other.optimizer.variables) > 2
        for slot, found in zip(mine.optimizer.variables, other.optimizer.variables):
            np.testing.assert_array_equal(slot, found)
    assert len(again.trainable_variables) == len(model.trainable_variables)

    model.export(tmp_path / "served")
    signatures = tf.saved_model.load(tmp_path / "served").signatures
    assert set(signatures) == {
        "serving_default", "serving_png", "generate", "sample", "encode", "decode", "reconstruct"
    }  # fmt: skip
    served = signatures["generate"](num_images=tf.constant(5), seed=tf.constant(1, tf.int64))
    np.testing.assert_allclose(served["images"], made, atol=1e-4)
    given = {key: tf.constant(value) for key, value in some.items()}
    found = signatures["sample"](num_images=tf.constant(5), seed=tf.constant(1, tf.int64), **given)
    np.testing.assert_allclose(found["images"], model.generate(5, seed=1, **some), atol=1e-4)
    # What clients were served by before there was a prior.
    served = signatures["serving_default"](images=tf.constant(images))["images"]
    np.testing.assert_allclose(served, model.reconstruct(images), atol=1e-4)


def test_a_prior_adds_signatures_and_changes_none():
    model = vq_vae()
    before = {name: specs for name, (_, specs) in model.signatures().items()}
    model.hold_priors(prior=PRIORS["pixel_cnn"](num_classes=3))
    after = {name: specs for name, (_, specs) in model.signatures().items()}
    for name in ("generate", "serving_png"):
        assert [spec.name for spec in after.pop(name)] == ["labels", "seed"]
    options = ["temperature", "top_k", "top_p"]
    assert [spec.name for spec in after.pop("sample")] == ["labels", "seed", *options]
    assert after == before and [spec.name for spec in after["serving_default"]] == ["images"]


@pytest.mark.slow
def test_the_classes_of_a_prior_are_those_of_the_model(tmp_path):
    model = vq_vae()
    with pytest.raises(InputError, match="VQVAE has no classes. Received: class_names"):
        model.class_names = ["a", "b", "c"]
    prior = PRIORS["pixel_cnn"](num_classes=3)
    model.hold_priors(prior=prior)
    assert model.class_names is None
    model.class_names = ["beach", "city", "dog"]
    assert prior.class_names == model.class_names == ("beach", "city", "dog")
    expected = model.generate(4, [0, 1, 2, 0], seed=1)
    np.testing.assert_array_equal(model.generate(4, seed=1), expected)
    np.testing.assert_array_equal(
        model.generate(labels=["beach", "city", "dog", "beach"], seed=1), expected
    )
    np.testing.assert_array_equal(model.generate(2, 2, seed=1), model.generate(2, [2, 2], seed=1))
    model.save(tmp_path / "x.keras")
    assert keras.saving.load_model(tmp_path / "x.keras").class_names == model.class_names
    model.export(tmp_path / "served")
    signatures = tf.saved_model.load(tmp_path / "served").signatures
    names = signatures["class_names"]()["class_names"].numpy()
    assert [name.decode() for name in names] == ["beach", "city", "dog"]
    model.hold_priors(prior=PRIORS["pixel_cnn"]())  # without classes
    assert model.class_names is None and model.num_classes is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", PRIORS)
def test_a_conditional_prior_generates_the_target_class(kind):
    """Two classes of images, of which the codes of one never occur in the other."""
    model = vq_vae()
    images, labels = smooth_pictures(32), np.arange(32) % 2
    images[labels == 1] *= -1
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    prior = PRIORS[kind](num_classes=2)
    prior.compile(learning_rate=1e-2)
    model.fit_prior(data, prior=prior, batch_size=16, epochs=30, verbose=0)
    made = model.generate(12, labels=np.arange(12) % 2, seed=1)
    real = [model.reconstruct(images)[labels == k].mean() for k in (0, 1)]
    means = [made[np.arange(12) % 2 == k].mean() for k in (0, 1)]
    assert abs(means[0] - real[0]) < 0.5 * abs(real[1] - real[0])
    assert abs(means[1] - real[1]) < 0.5 * abs(real[1] - real[0])
    with pytest.raises(InputError, match="A conditional prior is fitted to"):
        model.fit_prior(data.map(lambda x, y: x), verbose=0)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: PixelCNN(code_shape=(3, 4), num_embeddings=8), "must have code_shape=(4, 4)"),
        (lambda: PixelCNN(code_shape=(4, 4), num_embeddings=9), "num_embeddings=9."),
        (lambda: PixelCNN(SHAPE, 2), "prior must be a model of codes"),
        (lambda: "pixel_cnn", "prior must be a model of codes"),
    ],
    ids=range(4),
)
def test_invalid_priors(make, words):
    with pytest.raises(InputError) as caught:
        VQVAE(SHAPE, CODES, 4, prior=make())
    assert words in str(caught.value)
