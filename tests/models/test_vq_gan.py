"""VQGAN: one step against plain tapes, the adaptive weight, a discriminator that starts late."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures, train
from plain import assert_same_weights, copy_of, descend, formulas, moved, sgd

from keras_genimg import VQGAN, InputError, PixelCNN
from keras_genimg.layers import VectorQuantizerEMA
from keras_genimg.metrics import codebook_perplexity
from keras_genimg.models.vq_gan import adaptive_weight
from keras_genimg.placement import on_devices

CODES, DIM, RATE = 8, 4, 0.05
SMALL = {"filters": 8, "residual_filters": 4, "blocks": 1}
LOGS = {
    "loss", "reconstruction_loss", "vq_loss", "g_loss", "adaptive_weight", "d_loss", "real_score",
    "fake_score", "perplexity", "codes_used",
}  # fmt: skip
IMAGES = smooth_pictures(8)


def small_discriminator(shape=SHAPE, channels=1):
    layers = [
        keras.layers.Conv2D(6, 4, 2, activation="tanh"), keras.layers.Conv2D(channels, 3)
    ]
    return keras.Sequential([keras.Input(shape), *layers])


def seen_by():
    """A content network with two feature maps, the second at other positions."""
    images = keras.Input(SHAPE)
    x = keras.layers.Conv2D(3, 3, activation="tanh")(images)
    x = keras.layers.BatchNormalization()(x)
    return keras.Model(images, [x, keras.layers.Conv2D(2, 5, 3)(x)])


def small(**arguments):
    defaults = {"dead_code_threshold": None, "adversarial_start_step": 0, "seed": 3}
    if "discriminator" not in arguments:
        defaults["discriminator"] = small_discriminator()
    if "encoder" not in arguments:
        defaults["network_options"] = SMALL
    return VQGAN(SHAPE, CODES, DIM, **{**defaults, **arguments})


def spread_codebook(model, images=IMAGES):
    """A codebook of the encoder's vectors, so that several codes are in use."""
    vectors = model.encoder(images).numpy().reshape(-1, DIM)
    rows = vectors[np.random.default_rng(0).choice(len(vectors), CODES, replace=False)]
    model.quantizer.embeddings.assign(rows)
    if isinstance(model.quantizer, VectorQuantizerEMA):
        model.quantizer.embedding_sums.assign(rows)


def fit(model, images=IMAGES, **arguments):
    arguments = {"batch_size": len(images), "shuffle": False, "verbose": 0, **arguments}
    return model.fit(images, **arguments).history


def directions(features):
    return features / tf.sqrt(tf.reduce_sum(features**2, axis=-1, keepdims=True) + 1e-10)


@pytest.mark.parametrize(
    "loss, features, ema_decay, weight",
    [("hinge", False, None, 0.8), ("non_saturating", True, 0.9, 0.3), ("hinge", True, None, 0.0)],
)
def test_a_step_is_that_of_plain_tapes(loss, features, ema_decay, weight):
    keras.utils.set_random_seed(0)
    network = seen_by() if features else None
    model = small(
        loss=loss, ema_decay=ema_decay, adversarial_weight=weight, commitment_cost=0.4,
        content_network=network, perceptual_weight=0.7,
    )
    spread_codebook(model)
    model.compile(**sgd(RATE))
    encoder, decoder, d = map(copy_of, (model.encoder, model.decoder, model.discriminator))
    start = [each.get_weights() for each in (encoder, decoder, d)]
    book = tf.Variable(model.quantizer.embeddings.value)
    old_book = book.numpy()
    logs = fit(model)

    generator_loss, discriminator_loss = formulas(loss)
    with tf.GradientTape(persistent=True) as tape:
        vectors = encoder(IMAGES, training=True)  # (B, 4, 4, D)
        distances = tf.reduce_sum((vectors[..., None, :] - book) ** 2, -1)  # (B, 4, 4, K)
        codes = tf.argmin(distances, -1)
        chosen = tf.gather(book, codes)
        vq_loss = 0.4 * tf.reduce_mean((vectors - tf.stop_gradient(chosen)) ** 2)
        if ema_decay is None:
            vq_loss += tf.reduce_mean((tf.stop_gradient(vectors) - chosen) ** 2)
        made = decoder(vectors + tf.stop_gradient(chosen - vectors), training=True)
        pixels = tf.reduce_mean(tf.abs(made - IMAGES))
        content = tf.constant(0.0)
        if features:
            for a, b in zip(network(IMAGES, training=False), network(made, training=False)):
                distance = tf.reduce_sum((directions(a) - directions(b)) ** 2, -1)
                content += tf.reduce_mean(distance)
        errors = pixels + 0.7 * content
        g_loss = generator_loss(d(made, training=True))
    # The last layer is the convolution whose outputs are the image: its kernel, not its bias.
    kernel = decoder.layers[-1].kernel
    lengths = [np.linalg.norm(np.array(tape.gradient(term, kernel))) for term in (errors, g_loss)]
    ratio = lengths[0] / (lengths[1] + 1e-6) if weight else 0.0
    with tape:
        total = errors + vq_loss + weight * ratio * g_loss
    before = [w.value for w in encoder.trainable_weights]
    gradients = tape.gradient(total, [before, book])
    descend(decoder, total, tape, RATE)
    for w, gradient in zip(encoder.trainable_weights, gradients[0]):
        w.assign_sub(RATE * tf.convert_to_tensor(gradient))
    if ema_decay is None:
        book.assign_sub(RATE * tf.convert_to_tensor(gradients[1]))
    # The discriminator, on the reconstructions that were made before that update.
    with tf.GradientTape() as tape:
        real_logits, fake_logits = d(IMAGES, training=True), d(made, training=True)
        d_loss = discriminator_loss(real_logits, fake_logits)
    if weight:
        descend(d, d_loss, tape, RATE)

    assert_same_weights(model.encoder, encoder)
    assert_same_weights(model.decoder, decoder)
    assert_same_weights(model.discriminator, d)
    assert min(moved(encoder, start[0]), moved(decoder, start[1])) > 1e-3
    assert (moved(d, start[2]) > 1e-3) == bool(weight)  # without the weight it stays as it was
    if ema_decay is None:
        np.testing.assert_allclose(model.quantizer.embeddings, book, atol=1e-5)
    assert np.abs(model.quantizer.embeddings - old_book).max() > 1e-4
    expected = {
        "loss": total, "reconstruction_loss": pixels, "vq_loss": vq_loss, "g_loss": g_loss,
        "adaptive_weight": ratio, "d_loss": d_loss,
        "real_score": tf.reduce_mean(tf.sigmoid(real_logits)),
        "fake_score": tf.reduce_mean(tf.sigmoid(fake_logits)),
        "perplexity": codebook_perplexity(codes.numpy(), CODES),
        "codes_used": len(np.unique(codes)), **({"perceptual_loss": content} if features else {}),
    }
    assert set(logs) == set(expected) and len(np.unique(codes)) > 3
    for name in logs:
        assert logs[name] == pytest.approx([float(expected[name])], rel=1e-3), name


def test_the_adaptive_weight_by_hand():
    # |(3, 4)| / |(0, 0.5)| = 10; at most 10^4, and 0 without an error.
    assert float(adaptive_weight(tf.constant([3.0, 4.0]), tf.constant([0.0, 0.5]))) == (
        pytest.approx(10.0, rel=1e-5)
    )
    assert float(adaptive_weight(tf.ones((2, 2)), tf.zeros((2, 2)))) == 1e4
    assert float(adaptive_weight(tf.constant([3e-9]), tf.constant([0.0]))) == pytest.approx(3e-3)
    assert float(adaptive_weight(tf.zeros(3), tf.ones(3))) == 0.0
    pulls = [tf.constant([3.0, 4.0]), tf.constant([1.0, 2.0])]
    with tf.GradientTape() as tape:
        tape.watch(pulls)
        weight = adaptive_weight(*pulls)
    assert tape.gradient(weight, pulls) == [None, None]


def test_the_discriminator_starts_late():
    """Adam throughout: zeros for gradients must not move a weight."""
    model = small(adversarial_start_step=3)
    model.compile(learning_rate=1e-2, run_eagerly=True)
    spread_codebook(model)
    first = model.discriminator.get_weights()
    alone = small(adversarial_weight=0.0)
    alone.set_weights(model.get_weights())
    alone.compile(learning_rate=1e-2, run_eagerly=True)
    histories = [fit(each, epochs=3) for each in (model, alone)]
    for weight, old in zip(model.discriminator.get_weights(), first):
        np.testing.assert_array_equal(weight, old)
    # Until then as without a discriminator; from then on both sides are updated.
    for mine, other in zip(model.decoder.get_weights(), alone.decoder.get_weights()):
        np.testing.assert_allclose(mine, other, atol=1e-6)
    assert histories[0]["adaptive_weight"] == [0.0] * 3
    histories = [fit(each) for each in (model, alone)]
    assert histories[0]["adaptive_weight"][0] > 0 and histories[1]["adaptive_weight"] == [0.0]
    assert moved(model.discriminator, first) > 1e-3
    assert moved(alone.discriminator, first) == 0.0
    assert moved(model.decoder, alone.decoder.get_weights()) > 1e-4


def test_a_resumed_training_knows_when_the_discriminator_starts(tmp_path):
    weights = []
    for parts in ((4,), (2, 2)):
        keras.utils.set_random_seed(0)
        model = small(adversarial_start_step=3)
        model.compile(learning_rate=1e-2, run_eagerly=True)
        for number, steps in enumerate(parts):
            if number:
                model.save(tmp_path / "x.keras")
                model = keras.saving.load_model(tmp_path / "x.keras")
            history = fit(model, epochs=steps)
        weights.append(model.get_weights())
        assert (np.array(history["adaptive_weight"]) > 0).tolist() == [False] * (steps - 1) + [True]
    for one, other in zip(*weights):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.slow
def test_replicas_weigh_by_the_gradients_of_the_global_batch(mirrored):
    """The halves of a batch differ, so that neither replica's own lengths are those of both."""
    images = np.concatenate([smooth_pictures(8), np.full((5, *SHAPE), -1.0, "float32")])

    def make():
        return small(content_network=seen_by())

    alone = train(make, images, batch_size=13, epochs=1)
    both = train(make, images, mirrored, batch_size=13, epochs=1)
    for name in LOGS | {"perceptual_loss"}:
        np.testing.assert_allclose(both[1][name], alone[1][name], rtol=2e-3, atol=1e-4)
    for weight, other in zip(alone[0], both[0]):
        np.testing.assert_allclose(other, weight, atol=1e-4)
    assert alone[1]["adaptive_weight"][0] > 0


def test_the_test_step_is_the_losses_of_fixed_networks():
    model = small(adversarial_start_step=0, adversarial_weight=0.5, content_network=seen_by())
    spread_codebook(model)
    model.compile(**sgd(RATE))
    logs = model.evaluate(IMAGES, batch_size=8, verbose=0, return_dict=True)
    generator_loss, discriminator_loss = formulas("hinge")
    vectors = model.encoder(IMAGES)
    quantized = model.quantizer.decode(model.encode(IMAGES))
    made = model.decoder(quantized)
    real_logits, fake_logits = model.discriminator(IMAGES), model.discriminator(made)
    expected = {
        "reconstruction_loss": np.abs(made - IMAGES).mean(),
        "vq_loss": 0.25 * np.mean((vectors - quantized) ** 2),
        "g_loss": float(generator_loss(fake_logits)),
        "d_loss": float(discriminator_loss(real_logits, fake_logits)),
    }
    for name, value in expected.items():
        assert logs[name] == pytest.approx(value, rel=1e-4), name
    assert set(logs) == LOGS | {"perceptual_loss"} and logs["adaptive_weight"] > 0
    total = expected["reconstruction_loss"] + expected["vq_loss"] + logs["perceptual_loss"]
    total += 0.5 * logs["adaptive_weight"] * expected["g_loss"]
    assert logs["loss"] == pytest.approx(total, rel=1e-4)


def test_the_content_network_is_frozen_saved_and_unchanged(tmp_path):
    network = seen_by()
    before = network.get_weights()
    model = small(content_network=network, perceptual_weight=2.0)
    model.compile(run_eagerly=True)
    fit(model, epochs=2)
    for weight, old in zip(network.get_weights(), before):  # the moments of its normalisation too
        np.testing.assert_array_equal(weight, old)
    assert network.trainable_weights == []
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    for weight, old in zip(again.content_network.get_weights(), before):
        np.testing.assert_array_equal(weight, old)
    logs = [m.evaluate(IMAGES, verbose=0, return_dict=True) for m in (model, again)]
    assert logs[0] == pytest.approx(logs[1], rel=1e-5) and logs[0]["perceptual_loss"] > 1e-3
    assert type(again.content_network) is type(network)


@pytest.mark.slow
def test_it_learns_with_a_discriminator():
    keras.utils.set_random_seed(0)
    images = smooth_pictures(64)
    model = small(adversarial_start_step=20, dead_code_threshold=0.1, content_network=seen_by())
    model.compile(learning_rate=1e-2)
    model.start_codebook(images)
    history = fit(model, images, batch_size=16, epochs=15)
    assert history["reconstruction_loss"][-1] < 0.7 * history["reconstruction_loss"][0]
    assert history["perceptual_loss"][-1] < 0.7 * history["perceptual_loss"][0]
    assert history["adaptive_weight"][-1] > 0 and history["codes_used"][-1] > 2
    assert history["real_score"][-1] > history["fake_score"][-1]  # it tells them apart


def test_it_generates_once_it_holds_a_prior(tmp_path):
    model = small()
    spread_codebook(model)
    model.compile(run_eagerly=True)
    with pytest.raises(InputError, match="VQGAN reconstructs but does not generate before"):
        model.generate(2)
    prior = PixelCNN(code_shape=(4, 4), num_embeddings=CODES, filters=4, layers=1, seed=1)
    model.fit_prior(IMAGES, prior=prior, epochs=1, verbose=0)
    made, known = model.generate(3, seed=1), prior.get_weights()
    assert made.shape == (3, *SHAPE) and np.isfinite(made).all()
    fit(model)
    for weight, old in zip(prior.get_weights(), known):
        np.testing.assert_array_equal(weight, old)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.generate(3, seed=1), model.generate(3, seed=1))
    assert {"generate", "discriminate"} <= set(again.signatures())


def test_levels_take_the_place_of_the_codebook():
    model = small(levels=(4, 3, 3))
    model.compile(run_eagerly=True)
    logs = fit(model)
    assert logs["vq_loss"] == [0.0] and logs["adaptive_weight"][0] > 0
    assert VQGAN.from_config(model.get_config()).quantizer.levels == (4, 3, 3)


def test_defaults():
    model = VQGAN()
    assert model.image_shape == (32, 32, 3) and model.code_shape == (8, 8)
    assert (model.adversarial_weight, model.perceptual_weight) == (0.8, 1.0)
    assert model.arguments["loss"] == "hinge" and model.content_network is None
    # The logits of an image do not depend on the rest of the batch.
    assert not any("batch_norm" in layer.name for layer in model.discriminator.layers)
    model.compile()
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert (optimizer.beta_1, optimizer.beta_2) == (0.5, 0.9)
        assert float(optimizer.learning_rate) == pytest.approx(2.88e-4)
    model.compile(learning_rate=(1e-3, 2e-3))
    assert float(model.discriminator_optimizer.learning_rate) == pytest.approx(2e-3)


def test_custom_networks_and_losses_are_saved(tmp_path):
    convolution = keras.layers.Conv2DTranspose(1, 3, strides=4, padding="same")
    model = small(
        encoder=keras.Sequential([keras.layers.Conv2D(DIM, 3, strides=4, padding="same")]),
        decoder=keras.Sequential([convolution, keras.layers.LayerNormalization()]),
        loss="least_squares", adversarial_start_step=7, perceptual_weight=0.5,
    )
    assert model.last_kernel is convolution.kernel  # not the scale that comes after it
    model.compile(run_eagerly=True)
    fit(model)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(again.reconstruct(IMAGES), model.reconstruct(IMAGES))
    np.testing.assert_array_equal(again.discriminator(IMAGES), model.discriminator(IMAGES))
    assert (again.arguments["loss"], again.adversarial_start_step) == ("least_squares", 7)
    assert again.perceptual_weight == 0.5


@pytest.mark.slow
def test_networks_on_separate_devices():
    def trained():
        keras.utils.set_random_seed(0)
        model = small(content_network=seen_by(), discriminator=None)
        model.compile(**sgd(RATE))
        fit(model, batch_size=4)
        return model

    alone = trained()
    with on_devices(generator="CPU:0", discriminator="CPU:1"):
        placed = trained()
    for mine, other in zip(placed.weights, alone.weights):
        np.testing.assert_allclose(mine, other, atol=2e-5, err_msg=mine.path)
    for network, device in (
        (placed.encoder, "CPU:0"), (placed.quantizer, "CPU:0"), (placed.decoder, "CPU:0"),
        (placed.discriminator, "CPU:1"),
    ):  # fmt: skip
        assert {weight.value.device[-5:] for weight in network.weights} == {device}


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"adversarial_weight": -1}, "adversarial_weight must be a finite number of at least 0."),
        ({"perceptual_weight": "1"}, "perceptual_weight must be a finite number of at least 0."),
        (
            {"adversarial_start_step": 1.5},
            "adversarial_start_step must be an integer of at least 0. "
            "Received: adversarial_start_step=1.5.",
        ),
        ({"loss": "relativistic_average"}, "loss must be one of minimax, non_saturating"),
        (
            {"discriminator": small_discriminator(channels=2)},
            "discriminator must map ('batch', 16, 16, 1) to ('batch', 'rows', 'columns', 1).",
        ),
        ({"content_network": len}, "content_network must be a keras.Model or layer."),
        (
            {"content_network": keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])},
            "content_network must take inputs of shape ('batch', 16, 16, 1).",
        ),
        (
            {"decoder": keras.Sequential([
                keras.Input((4, 4, 4)), keras.layers.Reshape((8, 8, 1)), keras.layers.UpSampling2D()
            ])},
            "decoder must have trainable weights with two axes or more",
        ),
        ({"num_embeddings": 0}, "num_embeddings must be a positive integer."),
        ({"seed": 1.5}, "seed must be a 64-bit integer or None."),
    ],
    ids=range(10),
)  # fmt: skip
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        VQGAN(**{"image_shape": SHAPE, "num_embeddings": CODES, "embedding_dim": DIM, **arguments})
    assert words in str(caught.value) and "\n" not in str(caught.value)
