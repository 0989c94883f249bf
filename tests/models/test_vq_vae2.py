"""VQ-VAE-2: one step against a plain GradientTape, two levels of codes, and priors over them."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures

from keras_genimg import VQVAE2, CodeTransformer, PixelCNN
from keras_genimg.errors import InputError
from keras_genimg.metrics import codebook_perplexity

CODES, DIM = 8, 4
RATE = 0.05
LEVELS = ("top", "bottom")
LOGS = {"loss", "reconstruction_loss", "vq_loss"} | {
    f"{name}_{level}" for name in ("perplexity", "codes_used") for level in LEVELS
}
NETWORKS = {"filters": 8, "residual_filters": 4, "blocks": 1}


def small(**arguments):
    defaults = {"dead_code_threshold": None, "seed": 3, "network_options": NETWORKS}
    return VQVAE2(SHAPE, CODES, DIM, **{**defaults, **arguments})


def fit(model, images, **arguments):
    arguments = {"batch_size": len(images), "shuffle": False, "verbose": 0, **arguments}
    return model.fit(images, **arguments).history


def lively(images, **arguments):
    """A model whose codebooks hold vectors of the images, so that several codes are in use."""
    keras.utils.set_random_seed(0)
    model = small(**arguments)
    model.start_codebook(images)
    return model


def copies_of(model):
    networks = [keras.models.clone_model(n) for n in (model.encoder, model.join, model.decoder)]
    for copy, network in zip(networks, (model.encoder, model.join, model.decoder)):
        copy.set_weights(network.get_weights())
    return networks


def nearest(vectors, book):
    """Codes of vectors, by differences one by one, where the layer multiplies matrices."""
    return np.argmin(((vectors[..., None, :] - book) ** 2).sum(-1), axis=-1)


@pytest.mark.parametrize("ema_decay", [None, pytest.param(0.9, marks=pytest.mark.slow)])
def test_a_step_is_that_of_a_plain_tape(ema_decay):
    images = smooth_pictures(8)
    model = lively(images, ema_decay=ema_decay, commitment_cost=0.4, data_variance=0.3)
    for quantizer in (model.top_quantizer, model.bottom_quantizer):  # off the means of the vectors
        quantizer.embeddings.assign(0.8 * quantizer.embeddings)
        if ema_decay is not None:
            quantizer.embedding_sums.assign(quantizer.embeddings)
    model.compile(keras.optimizers.SGD(RATE))
    networks = copies_of(model)
    encoder, join, decoder = networks
    start = [network.get_weights() for network in networks]
    books = [tf.Variable(q.embeddings.value) for q in (model.top_quantizer, model.bottom_quantizer)]
    old_books = [book.numpy() for book in books]
    logs = fit(model, images)

    def quantized(vectors, book):
        codes = nearest(vectors.numpy(), book.numpy())
        chosen = tf.gather(book, codes)
        commitment = tf.reduce_mean((vectors - tf.stop_gradient(chosen)) ** 2)
        codebook = tf.reduce_mean((tf.stop_gradient(vectors) - chosen) ** 2)
        loss = 0.4 * commitment + (codebook if ema_decay is None else 0.0)
        return vectors + tf.stop_gradient(chosen - vectors), codes, loss

    with tf.GradientTape() as tape:
        h_top, features = encoder(images, training=True)
        top, top_codes, top_loss = quantized(h_top, books[0])
        h_bottom = join([top, features], training=True)
        bottom, bottom_codes, bottom_loss = quantized(h_bottom, books[1])
        outputs = decoder([top, bottom], training=True)
        reconstruction = tf.reduce_mean(tf.math.squared_difference(images, outputs)) / 0.3
        loss = reconstruction + top_loss + bottom_loss
    weights = [w.value for network in networks for w in network.trainable_weights]
    weights += books if ema_decay is None else []
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        weight.assign_sub(RATE * tf.convert_to_tensor(gradient))

    for network, copy, old in zip((model.encoder, model.join, model.decoder), networks, start):
        for weight, expected in zip(network.weights, copy.weights):
            np.testing.assert_allclose(weight, expected, atol=1e-5, err_msg=weight.path)
        assert max(np.abs(w - o).max() for w, o in zip(network.weights, old)) > 1e-4
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-4)
    assert logs["reconstruction_loss"] == pytest.approx([float(reconstruction)], rel=1e-4)
    assert logs["vq_loss"] == pytest.approx([float(top_loss + bottom_loss)], rel=1e-4)
    quantizers = (model.top_quantizer, model.bottom_quantizer)
    made = zip(LEVELS, quantizers, books, old_books, (h_top, h_bottom), (top_codes, bottom_codes))
    for level, quantizer, book, old, vectors, codes in made:
        codes, flat = codes.ravel(), vectors.numpy().reshape(-1, DIM)
        counts = np.bincount(codes, minlength=CODES)
        assert (counts > 0).sum() > 3
        expected = book.numpy()
        if ema_decay is not None:
            sums = np.stack([flat[codes == k].sum(0) for k in range(CODES)])
            sizes = 0.9 + 0.1 * counts
            smooth = (sizes + 1e-5) / (sizes.sum() + CODES * 1e-5) * sizes.sum()
            expected = (0.9 * old + 0.1 * sums) / smooth[:, None]
        assert np.abs(expected - old).max() > 1e-5
        np.testing.assert_allclose(quantizer.embeddings, expected, atol=1e-5)
        perplexity = codebook_perplexity(codes, CODES)
        assert logs[f"perplexity_{level}"] == pytest.approx([perplexity], rel=1e-4)
        assert logs[f"codes_used_{level}"] == [(counts > 0).sum()]


@pytest.mark.slow
def test_what_is_logged_and_that_it_learns():
    images = smooth_pictures(32)
    model = lively(images, dead_code_threshold=0.1, data_variance=0.2)
    model.compile(learning_rate=5e-3)
    history = fit(model, images, batch_size=8, epochs=15, validation_data=images[:4])
    assert set(history) == LOGS | {f"val_{name}" for name in LOGS}
    assert history["reconstruction_loss"][-1] < 0.7 * history["reconstruction_loss"][0]


def test_the_bottom_depends_on_the_top_and_the_decoder_sees_both():
    images = smooth_pictures(6)
    model = lively(images)
    top, bottom = model.encode(images)
    assert top.dtype == bottom.dtype == np.int32
    assert top.shape == (6, 2, 2) and bottom.shape == (6, 4, 4)
    encoder, join, decoder = copies_of(model)
    books = [q.embeddings.numpy() for q in (model.top_quantizer, model.bottom_quantizer)]
    h_top, features = (output.numpy() for output in encoder(images))
    np.testing.assert_array_equal(top, nearest(h_top, books[0]))
    h_bottom = join([books[0][top], features]).numpy()
    np.testing.assert_array_equal(bottom, nearest(h_bottom, books[1]))
    assert np.abs(join([0.0 * h_top, features]) - h_bottom).max() > 1e-3
    decoded = np.clip(decoder([books[0][top], books[1][bottom]]), -1, 1)
    np.testing.assert_allclose(model.decode((top, bottom)), decoded, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(images), decoded, atol=1e-5)
    np.testing.assert_allclose(model(images), decoded, atol=1e-5)
    for others in (((top + 1) % CODES, bottom), (top, (bottom + 1) % CODES)):
        assert np.abs(model.decode(others) - decoded).max() > 1e-4
    for found, expected in zip(model.encode(images, batch_size=4), (top, bottom)):
        np.testing.assert_array_equal(found, expected)


def test_k_means_starts_both_codebooks_where_the_vectors_are():
    images = smooth_pictures(32)
    keras.utils.set_random_seed(0)
    model = small()
    before = float(model.quantized(images)[2])
    model.start_codebook(images)
    assert float(model.quantized(images)[2]) < 0.3 * before
    top, bottom = model.encode(images)
    assert len(np.unique(top)) > 4 and len(np.unique(bottom)) > 4
    assert (model.top_quantizer.embeddings != model.bottom_quantizer.embeddings).numpy().any()


@pytest.mark.parametrize("size, top, bottom", [(28, 4, 7), (32, 4, 8), (20, 3, 5)])
def test_sides_that_do_not_halve_evenly(size, top, bottom):
    model = VQVAE2((size, size, 3), CODES, DIM, network_options=NETWORKS)
    assert model.code_shapes == ((top, top), (bottom, bottom))
    codes = model.encode(np.zeros((2, size, size, 3), "float32"))
    assert model.decode(codes).shape == (2, size, size, 3)


# --------------------------------------------------------------------- priors, generating


def priors(top=PixelCNN, **classes):
    more = {"filters": 8, "layers": 1, "seed": 1, **classes}
    of_top = (
        PixelCNN(code_shape=(2, 2), num_embeddings=CODES, **more)
        if top is PixelCNN
        else CodeTransformer((2, 2), CODES, features=8, layers=1, num_heads=2, seed=1, **classes)
    )
    of_bottom = PixelCNN(
        code_shape=(4, 4), num_embeddings=CODES, condition_shape=(2, 2), condition_embeddings=CODES,
        **more,
    )  # fmt: skip
    return {"top_prior": of_top, "bottom_prior": of_bottom}


@pytest.fixture(scope="module")
def fitted():
    """A model with priors, and what it was before it had them."""
    images = np.concatenate([smooth_pictures(16), -smooth_pictures(16)])
    model = lively(images)
    model.compile()
    fit(model, images)
    before = model.get_weights()
    with pytest.raises(InputError, match="does not generate before it has a prior over its codes"):
        model.generate(2)
    assert "generate" not in model.signatures()
    history = model.fit_prior(images, **priors(), batch_size=16, epochs=2, verbose=0)
    return model, images, before, history


@pytest.mark.slow
def test_both_priors_learn_and_leave_the_model_alone(fitted, tmp_path):
    model, images, before, history = fitted
    assert isinstance(history, keras.callbacks.History) and history.epoch == [0, 1]
    for level in ("top", "bottom"):
        first, second = history.history[f"nll_{level}"]
        assert second < first
    for mine, other in zip(model.get_weights(), before):  # its own come first
        np.testing.assert_array_equal(mine, other)
    held = [prior.get_weights() for prior in (model.top_prior, model.bottom_prior)]
    assert not model.top_prior.trainable_variables and not model.bottom_prior.trainable_variables
    fit(model, images)
    for prior, weights in zip((model.top_prior, model.bottom_prior), held):
        for mine, other in zip(prior.get_weights(), weights):
            np.testing.assert_array_equal(mine, other)
    model.fit_prior(images, batch_size=16, verbose=0)  # those that it holds go on
    assert all(
        any((a != b).any() for a, b in zip(prior.get_weights(), weights))
        for prior, weights in zip((model.top_prior, model.bottom_prior), held)
    )
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for mine, other in zip(model.weights, again.weights, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.full
def test_what_is_generated_are_decoded_draws_of_the_bottom_given_the_top(fitted, tmp_path):
    model = fitted[0]
    made = model.generate(5, seed=1)
    top = model.top_prior.generate_codes(5, seed=1)
    latents = model.draw_latents(5, 1)
    others = latents + tf.constant([0, 2**40], tf.int64)
    bottom = model.bottom_prior.codes_from_latents(others, condition=tf.constant(top))
    np.testing.assert_allclose(made, model.decode((top, bottom)), atol=1e-5)
    np.testing.assert_allclose(model.generate(5, seed=1, batch_size=2), made, atol=1e-5)
    assert np.abs(model.generate(5, seed=2) - made).max() > 1e-4
    # At a temperature of 0 the likeliest codes, whatever the seed.
    top = model.top_prior.generate_codes(2, temperature=0.0)
    bottom = model.bottom_prior.generate_codes(2, condition=top, temperature=0.0)
    likeliest = model.decode((top, bottom))
    for seed in (1, 2):
        found = model.generate(2, seed=seed, temperature=0.0)
        np.testing.assert_allclose(found, likeliest, atol=1e-5)
    # No noise twice: neither at one place of the two levels nor at any other.
    noise_of = [tf.function(p.gumbel_noise) for p in (model.top_prior, model.bottom_prior)]
    noise = [
        np.concatenate([np.ravel(draw(given, tf.constant(row))) for row in range(rows)])
        for draw, given, rows in zip(noise_of, (latents, others), (2, 4))
    ]
    assert len(np.intersect1d(*noise)) < 0.01 * len(noise[0])

    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_allclose(again.generate(5, seed=1), made, atol=1e-5)
    model.export(tmp_path / "served")
    signatures = tf.saved_model.load(tmp_path / "served").signatures
    assert set(signatures) == {
        "serving_default", "serving_png", "generate", "sample", "encode", "decode", "reconstruct"
    }  # fmt: skip
    given = {"num_images": tf.constant(5), "seed": tf.constant(1, tf.int64)}
    np.testing.assert_allclose(signatures["generate"](**given)["images"], made, atol=1e-4)
    served = signatures["serving_default"](images=tf.constant(fitted[1]))["images"]
    np.testing.assert_allclose(served, model.reconstruct(fitted[1]), atol=1e-4)


@pytest.mark.full
def test_conditional_priors_generate_the_target_class():
    """Two classes of images, bright bars and dark ones."""
    images, labels = smooth_pictures(32), np.arange(32) % 2
    images[labels == 1] *= -1
    model = lively(images, dead_code_threshold=0.1)
    model.compile(learning_rate=5e-3)
    fit(model, images, batch_size=8, epochs=15)
    held = priors(CodeTransformer, num_classes=2)
    for prior in held.values():
        prior.compile(learning_rate=2e-2)
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    model.fit_prior(data, **held, batch_size=16, epochs=20, verbose=0)
    made = model.generate(16, labels=np.arange(16) % 2, seed=1)
    real = [model.reconstruct(images)[labels == k].mean() for k in (0, 1)]
    means = [made[np.arange(16) % 2 == k].mean() for k in (0, 1)]
    assert abs(real[1] - real[0]) > 0.3
    assert abs(means[0] - real[0]) < 0.4 * abs(real[1] - real[0])
    assert abs(means[1] - real[1]) < 0.4 * abs(real[1] - real[0])
    assert model.generates_by_label and model.num_classes == 2
    with pytest.raises(InputError, match="A conditional prior is fitted to"):
        model.fit_prior(images, verbose=0)


@pytest.mark.slow
def test_priors_of_default():
    images = smooth_pictures(8)
    model = small()
    top = priors(num_classes=3)["top_prior"]
    model.fit_prior(images, np.arange(8) % 3, top_prior=top, batch_size=8, verbose=0)
    assert model.top_prior is top and model.bottom_prior.num_classes == 3
    assert model.bottom_prior.condition_shape == (2, 2)
    again = VQVAE2.from_config(model.get_config())
    assert again.bottom_prior.condition_embeddings == CODES and again.num_classes == 3
    model.class_names = ["a", "b", "c"]
    assert model.bottom_prior.class_names == ("a", "b", "c")
    assert VQVAE2.from_config(model.get_config()).class_names == ("a", "b", "c")


# -------------------------------------------------------------------------------- bad input


def of_codes(shape, number=CODES, **more):
    return PixelCNN(code_shape=shape, num_embeddings=number, filters=4, layers=1, **more)


GIVEN = {"condition_shape": (2, 2), "condition_embeddings": CODES}


@pytest.mark.parametrize(
    "top, bottom, words",
    [
        (lambda: of_codes((3, 2)), None, "top_prior must have code_shape=(2, 2) and num_"),
        (lambda: of_codes((2, 2), 9), None, "Received: code_shape=(2, 2), num_embeddings=9."),
        (lambda: "pixel_cnn", None, "top_prior must be a model of codes"),
        (None, lambda: of_codes((2, 2)), "bottom_prior must have code_shape=(4, 4)"),
        (None, lambda: of_codes((4, 4)), "bottom_prior must have condition_shape=(2, 2) and "
         "condition_embeddings=8. Received: condition_shape=None, condition_embeddings=None."),
        (lambda: of_codes((2, 2), **GIVEN), None, "top_prior must have condition_shape=None"),
        (lambda: of_codes((2, 2), num_classes=2), lambda: of_codes((4, 4), num_classes=3, **GIVEN),
         "equal numbers of classes, if any. Received: num_classes=2 and 3."),
    ],
    ids=range(7),
)  # fmt: skip
def test_invalid_priors(top, bottom, words):
    with pytest.raises(InputError) as caught:
        small().fit_prior(
            smooth_pictures(2), top_prior=top and top(), bottom_prior=bottom and bottom(), verbose=0
        )
    assert words in str(caught.value)


TOP, BOTTOM = np.zeros((2, 2, 2), int), np.zeros((2, 4, 4), int)


@pytest.mark.parametrize(
    "codes, words",
    [
        (TOP, "decodes a pair, (top codes, bottom codes). Received: ndarray."),
        ((TOP, TOP), "codes of shape ('n', 4, 4). Received: int64 of shape (2, 2, 2)."),
        ((TOP[:1], BOTTOM), "as many grids of bottom codes as of top codes. Received: 2 and 1."),
        ((TOP + CODES, BOTTOM), "Codes are integers from 0 to 7. Received: 8 to 8."),
        ((TOP, BOTTOM.astype("float32")), "Received: float32"),
    ],
    ids=range(5),
)
def test_invalid_codes(codes, words):
    with pytest.raises(InputError) as caught:
        small().decode(codes)
    assert words in str(caught.value)


def custom_encoder(stride):
    images = keras.Input(SHAPE)
    features = keras.layers.Conv2D(5, 3, 4, padding="same")(images)
    vectors = keras.layers.Conv2D(DIM, 3, stride, padding="same")(features)
    return keras.Model(images, [vectors, features])


def custom_decoder():
    top, bottom = keras.Input((2, 2, DIM)), keras.Input((4, 4, DIM))
    x = keras.layers.Concatenate()([keras.layers.UpSampling2D()(top), bottom])
    return keras.Model([top, bottom], keras.layers.Conv2DTranspose(1, 3, 4, padding="same")(x))


def test_custom_networks(tmp_path):
    model = small(encoder=custom_encoder(2), decoder=custom_decoder())
    model.compile()
    images = smooth_pictures(4)
    fit(model, images)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))
    assert again.network_options == NETWORKS


@pytest.mark.parametrize(
    "arguments, words",
    [
        (lambda: {"encoder": custom_encoder(1)}, "encoder must return a top with half the height "
         "and width of the bottom, rounded up. Received: a top of 4x4 and a bottom of 4x4."),
        (lambda: {"encoder": keras.Sequential([keras.layers.Conv2D(DIM, 3, 4)])},
         "encoder must map"),
        (lambda: {"decoder": custom_encoder(1)},
         "decoder must take inputs of shape ('batch', 2, 2, 4) and"),
        (lambda: {"data_variance": 0.0}, "data_variance must be a finite number"),
        (lambda: {"ema_decay": 2}, "ema_decay must be a number between 0 and 1"),
        (lambda: {"network_options": {"widest": 8}},
         "network_options must be a dict of some of blocks, filters, residual_filters."),
        (lambda: {"top_prior": of_codes((2, 2))}, "must be given together."),
    ],
    ids=range(7),
)  # fmt: skip
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments())
    assert words in str(caught.value) and "\n" not in str(caught.value)
