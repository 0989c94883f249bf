"""VQ-VAE: one step against a plain GradientTape, codes, and what is logged."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures

from keras_genimg import VQVAE
from keras_genimg.errors import InputError
from keras_genimg.layers import VectorQuantizerEMA
from keras_genimg.metrics import codebook_perplexity
from keras_genimg.networks import attention_encoder, vq_decoder, vq_encoder

CODES, DIM = 8, 4
RATE = 0.05
LOGS = {"loss", "reconstruction_loss", "vq_loss", "perplexity", "codes_used"}


def small(**arguments):
    networks = {
        "encoder": vq_encoder(SHAPE, DIM, filters=8, residual_filters=4, blocks=1),
        "decoder": vq_decoder(SHAPE, DIM, filters=8, residual_filters=4, blocks=1),
    }
    defaults = {"dead_code_threshold": None, "seed": 3, **networks}
    return VQVAE(SHAPE, CODES, DIM, **{**defaults, **arguments})


def fit(model, images, **arguments):
    arguments = {"batch_size": len(images), "shuffle": False, "verbose": 0, **arguments}
    return model.fit(images, **arguments).history


def spread_codebook(model, images):
    """A codebook of the encoder's vectors, so that several codes are in use."""
    vectors = model.encoder(images).numpy().reshape(-1, DIM)
    rows = vectors[np.random.default_rng(0).choice(len(vectors), CODES, replace=False)]
    model.quantizer.embeddings.assign(rows)
    if isinstance(model.quantizer, VectorQuantizerEMA):
        model.quantizer.embedding_sums.assign(rows)


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_a_step_is_that_of_a_plain_tape(ema_decay):
    keras.utils.set_random_seed(0)
    model = small(ema_decay=ema_decay, commitment_cost=0.4, data_variance=0.3)
    images = smooth_pictures(8)
    spread_codebook(model, images)
    model.compile(keras.optimizers.SGD(RATE))
    encoder, decoder = (keras.models.clone_model(n) for n in (model.encoder, model.decoder))
    encoder.set_weights(model.encoder.get_weights())
    decoder.set_weights(model.decoder.get_weights())
    start = encoder.get_weights() + decoder.get_weights()
    book = tf.Variable(model.quantizer.embeddings.value)
    logs = fit(model, images)

    with tf.GradientTape() as tape:
        vectors = encoder(images, training=True)  # (B, 4, 4, D)
        # Differences one by one, where the layer multiplies matrices.
        distances = tf.reduce_sum((vectors[..., None, :] - book) ** 2, -1)  # (B, 4, 4, K)
        codes = tf.argmin(distances, -1)
        chosen = tf.gather(book, codes)
        commitment = tf.reduce_mean((vectors - tf.stop_gradient(chosen)) ** 2)
        codebook = tf.reduce_mean((tf.stop_gradient(vectors) - chosen) ** 2)
        vq_loss = 0.4 * commitment + (codebook if ema_decay is None else 0.0)
        outputs = decoder(vectors + tf.stop_gradient(chosen - vectors), training=True)
        reconstruction = tf.reduce_mean(tf.math.squared_difference(images, outputs)) / 0.3
        loss = reconstruction + vq_loss
    weights = [w.value for w in (*encoder.trainable_weights, *decoder.trainable_weights)]
    weights += [book] if ema_decay is None else []
    old_book = book.numpy()
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        weight.assign_sub(RATE * tf.convert_to_tensor(gradient))
    codes, flat = codes.numpy().ravel(), vectors.numpy().reshape(-1, DIM)
    counts = np.bincount(codes, minlength=CODES)
    assert (counts > 0).sum() > 3
    new_book = book.numpy()
    if ema_decay is not None:
        sums = np.stack([flat[codes == k].sum(0) for k in range(CODES)])
        sizes = 0.9 + 0.1 * counts
        smooth = (sizes + 1e-5) / (sizes.sum() + CODES * 1e-5) * sizes.sum()
        new_book = (0.9 * old_book + 0.1 * sums) / smooth[:, None]

    assert max(
        np.abs(a - b).max()
        for a, b in zip(encoder.get_weights() + decoder.get_weights(), start)
    ) > 1e-3  # fmt: skip
    assert np.abs(new_book - old_book).max() > 3e-4
    for network, other in ((model.encoder, encoder), (model.decoder, decoder)):
        for weight, expected in zip(network.weights, other.weights):
            np.testing.assert_allclose(weight, expected, atol=1e-5, err_msg=weight.path)
    np.testing.assert_allclose(model.quantizer.embeddings, new_book, atol=1e-5)
    assert logs["reconstruction_loss"] == pytest.approx([float(reconstruction)], rel=1e-4)
    assert logs["vq_loss"] == pytest.approx([float(vq_loss)], rel=1e-4)
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-4)
    assert logs["perplexity"] == pytest.approx([codebook_perplexity(codes, CODES)], rel=1e-4)
    assert logs["codes_used"] == [(counts > 0).sum()]


def test_what_is_logged():
    model = small()
    model.compile()
    history = fit(model, smooth_pictures(8), batch_size=4, validation_data=smooth_pictures(4))
    assert set(history) == LOGS | {f"val_{name}" for name in LOGS}


def test_codes_used_counts_over_the_epoch_not_over_the_batch():
    """A rate of zero and no averages: the codes of each batch are known beforehand."""
    model = small(ema_decay=None)
    images = smooth_pictures(24)
    spread_codebook(model, images)
    model.compile(keras.optimizers.SGD(0.0))
    codes = model.encode(images)
    in_epoch = len(np.unique(codes))
    in_batches = [len(np.unique(codes[i : i + 1])) for i in range(24)]
    assert np.mean(in_batches) < in_epoch and in_batches[0] < in_epoch
    history = fit(model, images, batch_size=1, epochs=2)
    assert history["codes_used"] == [in_epoch, in_epoch]
    perplexities = [codebook_perplexity(codes[i], CODES) for i in range(24)]
    assert history["perplexity"] == pytest.approx([np.mean(perplexities)] * 2, rel=1e-4)
    # The evaluation counts on its own.
    logs = model.evaluate(images[:1], verbose=0, return_dict=True)
    assert logs["codes_used"] == in_batches[0]


@pytest.mark.parametrize("ema_decay", [None, pytest.param(0.9, marks=pytest.mark.slow)])
def test_it_learns(ema_decay):
    keras.utils.set_random_seed(0)
    model = small(ema_decay=ema_decay, dead_code_threshold=0.1)
    model.compile(learning_rate=3e-3)
    history = fit(model, smooth_pictures(64), batch_size=16, epochs=15)
    assert history["reconstruction_loss"][-1] < 0.7 * history["reconstruction_loss"][0]
    assert history["codes_used"][-1] > 1


def test_dead_codes_come_back_to_use():
    used = []
    for threshold in (None, 0.9):
        keras.utils.set_random_seed(0)
        model = small(ema_decay=0.9, dead_code_threshold=threshold)
        model.quantizer.embeddings.assign(np.full((CODES, DIM), 1e3))
        model.quantizer.embedding_sums.assign(np.full((CODES, DIM), 1e3))
        model.compile(keras.optimizers.SGD(0.0))
        used.append(fit(model, smooth_pictures(16), batch_size=8, epochs=8)["codes_used"][-1])
    assert used[0] == 1 and used[1] > 2


def test_encode_decode_reconstruct():
    model, images = small(), smooth_pictures(6)
    spread_codebook(model, images)
    codes = model.encode(images)
    assert codes.dtype == np.int32 and codes.shape == (6, 4, 4)
    book = np.array(model.quantizer.embeddings)
    vectors = model.encoder(images).numpy()
    np.testing.assert_array_equal(
        codes, np.argmin(((vectors[..., None, :] - book) ** 2).sum(-1), axis=-1)
    )
    decoded = np.clip(model.decoder(book[codes]), -1, 1)
    np.testing.assert_allclose(model.decode(codes), decoded, atol=1e-5)
    np.testing.assert_allclose(model.reconstruct(images), decoded, atol=1e-5)
    assert decoded.std() > 1e-3
    np.testing.assert_array_equal(model.encode(images, batch_size=4), codes)


def test_generate_raises_without_a_prior():
    for call in (lambda: small().generate(4), lambda: small().generate(4, seed=1, batch_size=2)):
        with pytest.raises(InputError) as caught:
            call()
        assert "before it has a prior over its codes" in str(caught.value)
        assert "reconstruct(images)" in str(caught.value) and len(str(caught.value)) <= 400
    assert "generate" not in small().signatures()


@pytest.mark.parametrize(
    "codes, found",
    [
        (np.zeros((2, 4, 5), "int32"), "int32 of shape (2, 4, 5)"),
        (np.zeros((2, 4, 4), "float32"), "float32 of shape (2, 4, 4)"),
        (np.full((2, 4, 4), CODES), f"{CODES} to {CODES}"),
        (np.full((2, 4, 4), -1), "-1 to -1"),
    ],
)
def test_invalid_codes(codes, found):
    with pytest.raises(InputError) as caught:
        small().decode(codes)
    assert found in str(caught.value)


# -------------------------------------------------------------------- custom networks


def custom_encoder(stride):
    return keras.Sequential([keras.layers.Conv2D(DIM, 3, strides=stride, padding="same")])


def custom_decoder(stride):
    return keras.Sequential([keras.layers.Conv2DTranspose(1, 3, strides=stride, padding="same")])


def test_custom_networks(tmp_path):
    model = small(encoder=custom_encoder(4), decoder=custom_decoder(4))
    model.compile()
    fit(model, smooth_pictures(4))
    images = smooth_pictures(3, seed=1)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))


@pytest.mark.parametrize("built", [True, False])
def test_an_encoder_of_another_stride_sets_the_grid_of_codes(built, tmp_path):
    encoder = custom_encoder(2)
    if built:
        encoder.build((None, *SHAPE))
    model = small(encoder=encoder, decoder=custom_decoder(2))
    assert model.code_shape == (8, 8)
    assert model.encode(smooth_pictures(2)).shape == (2, 8, 8)
    model.save(tmp_path / "x.keras")
    assert keras.saving.load_model(tmp_path / "x.keras").code_shape == (8, 8)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"encoder": keras.Sequential([keras.layers.Conv2D(5, 3, 4, padding="same")])},
            "encoder must map ('batch', 16, 16, 1) to ('batch', 'height', 'width', 4). "
            "Received: a network that returns ('batch', 4, 4, 5).",
        ),
        (
            {"decoder": custom_decoder(2)},
            "decoder must map ('batch', 4, 4, 4) to ('batch', 16, 16, 1). "
            "Received: a network that returns ('batch', 8, 8, 1).",
        ),
        (
            {"encoder": keras.Sequential([keras.layers.Flatten()])},
            "encoder must map ('batch', 16, 16, 1) to ('batch', 'height', 'width', 4).",
        ),
        ({"data_variance": 0.0}, "data_variance must be a finite number"),
        ({"data_variance": float("nan")}, "data_variance must be a finite number"),
        (
            {"ema_decay": 2},
            "ema_decay must be a number between 0 and 1, or None. Received: ema_decay=2.",
        ),
        ({"dead_code_threshold": float("nan")}, "dead_code_threshold must be a finite number"),
    ],
    ids=range(7),
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.slow
def test_levels_take_the_place_of_the_codebook():
    keras.utils.set_random_seed(0)
    model = VQVAE(SHAPE, levels=(4, 3, 3), seed=3)
    model.compile(learning_rate=5e-3)
    images = smooth_pictures(16)
    history = fit(model, images, batch_size=8, epochs=30)
    assert set(history) == LOGS and history["vq_loss"] == [0.0] * 30
    assert history["reconstruction_loss"][-1] < 0.7 * history["reconstruction_loss"][0]
    codes = model.encode(images)
    assert codes.min() >= 0 and codes.max() < 36 and len(np.unique(codes)) > 3
    np.testing.assert_allclose(model.decode(codes), model.reconstruct(images), atol=1e-5)
    again = VQVAE.from_config(model.get_config())
    assert again.quantizer.levels == (4, 3, 3)


def test_the_rotation_gradient_reaches_the_encoder():
    images, moved = smooth_pictures(8), []
    for gradient in ("straight_through", "rotation"):
        keras.utils.set_random_seed(0)
        model = small(gradient=gradient, commitment_cost=0.0)
        spread_codebook(model, images)
        model.compile(keras.optimizers.SGD(RATE))
        fit(model, images)
        moved.append(model.encoder.get_weights())
    assert max(np.abs(a - b).max() for a, b in zip(*moved)) > 1e-6


def test_k_means_starts_the_codebook_where_the_encoder_s_vectors_are():
    keras.utils.set_random_seed(0)
    model, images = small(ema_decay=0.9), smooth_pictures(32)
    vectors = model.encoder(images)
    before = float(model.quantizer(vectors)[2])
    model.start_codebook(images)
    assert float(model.quantizer(vectors)[2]) < 0.3 * before
    assert len(np.unique(model.encode(images))) == CODES
    with pytest.raises(InputError, match="has no codebook to initialise"):
        VQVAE(SHAPE, levels=(3, 3)).start_codebook(images)


# ---------------------------------------------------------------- sizes of the grid


@pytest.mark.parametrize("networks", ["residual", "local", "attention"])
@pytest.mark.parametrize("downsampling, side", [(4, 7), (8, 4), (16, 2)])
def test_downsampling(networks, downsampling, side):
    """28 / 8 and 28 / 16 are rounded up; the decoder cuts what is too much."""
    model = VQVAE(
        (28, 28, 1), CODES, DIM, networks=networks, downsampling=downsampling,
        network_options={"filters": 8, "blocks": 1},
    )  # fmt: skip
    assert model.code_shape == (side, side)
    images = np.zeros((1, 28, 28, 1), "float32")
    assert model.decoder(model.encoder(images)).shape == images.shape
    assert VQVAE.from_config(model.get_config()).code_shape == (side, side)


def test_other_downsamplings_are_refused():
    for downsampling in (2, 5, 32, 4.5, "8", None):
        with pytest.raises(InputError, match="downsampling must be 4, 8 or 16"):
            VQVAE((28, 28, 1), CODES, DIM, downsampling=downsampling)
    with pytest.raises(InputError, match="some of blocks, filters, residual_filters"):
        VQVAE((28, 28, 1), CODES, DIM, network_options={"downsampling": 8})


def test_the_networks_of_the_paper():
    """Table 7 of Esser et al. (2021) at f = 16: widths, and attention at 16x16 alone."""
    encoder = attention_encoder((256, 256, 3), 256, filters=128, downsampling=16)
    attention = [x for x in encoder.layers if isinstance(x, keras.layers.MultiHeadAttention)]
    assert [x.output.shape[1:] for x in attention] == 3 * [(256, 512)]
    strided = [x for x in encoder.layers if getattr(x, "strides", None) == (2, 2)]
    assert [x.output.shape[1:] for x in strided] == [
        (128, 128, 128), (64, 64, 128), (32, 32, 256), (16, 16, 256),
    ]  # fmt: skip
    assert encoder.output_shape == (None, 16, 16, 256)
