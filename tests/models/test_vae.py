"""VAE: one step against a plain GradientTape, its likelihoods, beta and warm-up."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures, train

from keras_genimg import VAE, ConditionalVAE, distribution
from keras_genimg.errors import InputError

LATENT_DIM = 4
RATE = 1e-3
LOGS = {"loss", "reconstruction_loss", "kl_loss", "elbo"}
LIKELIHOODS = ("bernoulli", "gaussian", "discretized_logistic")


def small(**arguments):
    return VAE(SHAPE, LATENT_DIM, **{"networks": "mlp", "seed": 3, **arguments})


def fit(model, images, **arguments):
    arguments = {"batch_size": len(images), "shuffle": False, "verbose": 0, **arguments}
    return model.fit(images, **arguments).history


def log_likelihood(kind, images, outputs, log_scale):
    """In other words than the package's: `(batch,)`."""
    if kind == "bernoulli":
        terms = -tf.nn.sigmoid_cross_entropy_with_logits(labels=(images + 1) / 2, logits=outputs)
    elif kind == "gaussian":
        scale = tf.exp(log_scale)
        terms = -(((images - outputs) / scale) ** 2) / 2 - tf.math.log(scale * np.sqrt(2 * np.pi))
    else:
        scale = tf.exp(log_scale)
        upper = tf.sigmoid((images + 1 / 255 - outputs) / scale)
        lower = tf.sigmoid((images - 1 / 255 - outputs) / scale)
        upper = tf.where(images > 0.999, tf.ones_like(upper), upper)
        lower = tf.where(images < -0.999, tf.zeros_like(lower), lower)
        terms = tf.math.log(upper - lower)
    return tf.reduce_sum(terms, [1, 2, 3])


def in_levels(images):
    return (np.round((images + 1) * 127.5) / 127.5 - 1).astype("float32")


@pytest.mark.parametrize(
    "likelihood, networks, beta",
    [
        ("bernoulli", "conv", 1.0),
        ("gaussian", "mlp", 4.0),
        ("discretized_logistic", "conv", 0.5),
    ],
)
def test_a_step_is_that_of_a_plain_tape(likelihood, networks, beta):
    keras.utils.set_random_seed(0)
    vae = small(likelihood=likelihood, networks=networks, beta=beta)
    rate = {"bernoulli": 1e-3, "gaussian": 1e-4, "discretized_logistic": 1e-5}[likelihood]
    vae.compile(keras.optimizers.SGD(rate))
    encoder, decoder = (keras.models.clone_model(n) for n in (vae.encoder, vae.decoder))
    encoder.set_weights(vae.encoder.get_weights())
    decoder.set_weights(vae.decoder.get_weights())
    start = decoder.get_weights() + encoder.get_weights()
    log_scale = tf.Variable([-2.0])
    images = in_levels(smooth_pictures(8))
    logs = fit(vae, images)

    seed = keras.random.SeedGenerator(3).next()
    epsilon = distribution.random_normal(distribution.whole_batch(8), (LATENT_DIM,), seed)
    with tf.GradientTape() as tape:
        mean, log_var = encoder(images, training=True)
        outputs = decoder(mean + tf.sqrt(tf.exp(log_var)) * epsilon, training=True)
        reconstruction = -tf.reduce_mean(log_likelihood(likelihood, images, outputs, log_scale))
        variance = tf.exp(log_var)
        kl = tf.reduce_mean(
            tf.reduce_sum(0.5 * (mean**2 + variance - 1 - tf.math.log(variance)), axis=1)
        )
        loss = reconstruction + beta * kl
    weights = [w.value for w in (*encoder.trainable_weights, *decoder.trainable_weights)]
    gradients = tape.gradient(loss, [*weights, log_scale], unconnected_gradients="zero")
    for weight, gradient in zip([*weights, log_scale], gradients):
        weight.assign_sub(rate * gradient)

    mine = (*vae.encoder.weights, *vae.decoder.weights, vae.log_scale)
    theirs = (*encoder.weights, *decoder.weights, log_scale)
    moved = max(
        np.abs(a - b).max()
        for a, b in zip(decoder.get_weights() + encoder.get_weights(), start)
    )
    assert moved > 3e-4
    for weight, other in zip(mine, theirs):
        np.testing.assert_allclose(weight, other, atol=1e-5 + 2e-3 * moved, err_msg=weight.path)
    assert (float(log_scale[0]) != -2.0) == (likelihood != "bernoulli")
    assert logs["reconstruction_loss"] == pytest.approx([float(reconstruction)], rel=1e-4)
    assert logs["kl_loss"] == pytest.approx([float(kl)], rel=1e-3)
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-4)
    assert logs["elbo"] == pytest.approx([float(-reconstruction - kl)], rel=1e-4)
    if likelihood == "discretized_logistic":
        bits = float(reconstruction + kl) / (16 * 16 * np.log(2))
        assert logs["bits_per_dim"] == pytest.approx([bits], rel=1e-4)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_what_is_logged_and_that_it_learns(likelihood):
    keras.utils.set_random_seed(0)
    vae = small(likelihood=likelihood)
    vae.compile()
    history = fit(vae, smooth_pictures(64), batch_size=16, epochs=12)
    bits = {"bits_per_dim"} if likelihood == "discretized_logistic" else set()
    assert set(history) == LOGS | bits
    assert history["loss"][-1] < history["loss"][0] - 20
    assert all(kl >= 0 for kl in history["kl_loss"])


def test_only_the_learned_scale_is_trained():
    assert small().log_scale.trainable is False
    for likelihood in LIKELIHOODS[1:]:
        vae = small(likelihood=likelihood)
        assert any(w is vae.log_scale for w in vae.trainable_variables)
        assert vae.log_scale.shape == (1,)
    assert VAE((16, 16, 3), 4, networks="mlp").log_scale.shape == (3,)


def test_kl_weight_rises_over_the_steps():
    vae = small(beta=3.0, kl_warmup_steps=4)
    vae.compile(keras.optimizers.SGD(1e-6))
    images = smooth_pictures(4)
    for step in range(7):
        assert float(vae.kl_weight()) == pytest.approx(3.0 * min(1, step / 4))
        logs = fit(vae, images)
        weight = 3.0 * min(1, step / 4)
        expected = logs["reconstruction_loss"][0] + weight * logs["kl_loss"][0]
        assert logs["loss"][0] == pytest.approx(expected, rel=1e-5)
        # The bound itself has no weight.
        assert logs["elbo"][0] == pytest.approx(
            -logs["reconstruction_loss"][0] - logs["kl_loss"][0], rel=1e-5
        )
    assert small(beta=3.0).kl_weight() == 3.0


def test_the_first_step_of_the_warm_up_has_no_kl_gradient():
    """With the KL term at weight zero, beta has no effect."""
    results = []
    for beta in (1.0, 100.0):
        keras.utils.set_random_seed(0)
        vae = small(beta=beta, kl_warmup_steps=10)
        vae.compile(keras.optimizers.SGD(RATE))
        fit(vae, smooth_pictures(4))
        results.append(vae.get_weights())
        fit(vae, smooth_pictures(4))
        results.append(vae.get_weights())
    for first, second in zip(results[0], results[2]):
        np.testing.assert_array_equal(first, second)
    assert any((a != b).any() for a, b in zip(results[1], results[3]))


@pytest.mark.parametrize("step", [0, 4, 20])
def test_the_loss_of_evaluation_has_the_weight_of_training(step):
    vae = small(beta=3.0, kl_warmup_steps=10)
    vae.compile()
    vae.optimizer.iterations.assign(step)
    logs = vae.evaluate(smooth_pictures(8), verbose=0, return_dict=True)
    expected = logs["reconstruction_loss"] + min(0.3 * step, 3.0) * logs["kl_loss"]
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)
    assert logs["elbo"] == pytest.approx(-logs["reconstruction_loss"] - logs["kl_loss"], rel=1e-5)


def test_the_loss_of_evaluation_has_the_free_bits_of_training():
    vae = small(free_bits=9.0)  # more than any dimension has
    vae.compile()
    logs = vae.evaluate(smooth_pictures(8), verbose=0, return_dict=True)
    assert logs["kl_loss"] < 9.0
    expected = logs["reconstruction_loss"] + 9.0 * LATENT_DIM
    assert logs["loss"] == pytest.approx(expected, rel=1e-5)


def test_images_are_the_means_of_the_likelihood():
    latents = np.random.default_rng(0).normal(size=(3, LATENT_DIM)).astype("float32") * 5
    vae = small()
    outputs = vae.decoder(latents).numpy()
    np.testing.assert_allclose(vae.decode(latents), 2 / (1 + np.exp(-outputs)) - 1, atol=1e-5)
    vae = small(likelihood="gaussian")
    vae.decoder.set_weights([4 * w for w in vae.decoder.get_weights()])
    outputs = vae.decoder(latents).numpy()
    assert np.abs(outputs).max() > 1
    np.testing.assert_allclose(vae.decode(latents), np.clip(outputs, -1, 1), atol=1e-6)


def test_encode_gives_the_means_and_reconstruct_decodes_them():
    vae, images = small(), smooth_pictures(5)
    means = vae.encode(images)
    np.testing.assert_allclose(means, vae.encoder(images)[0], atol=1e-5)
    np.testing.assert_allclose(vae.reconstruct(images), vae.decode(means), atol=1e-5)


def test_generate_decodes_standard_normal_latents():
    vae = small()
    latents = vae.draw_latents(5000, 1).numpy()
    assert latents.mean() == pytest.approx(0, abs=0.03)
    assert latents.std() == pytest.approx(1, abs=0.03)
    images = vae.decode(vae.draw_latents(4, 1))
    np.testing.assert_allclose(vae.generate(4, seed=1), images, atol=1e-5)


# ------------------------------------------------------------------- custom networks


@keras.saving.register_keras_serializable(package="test_vae")
class CustomEncoder(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten()
        self.mean, self.log_var = keras.layers.Dense(LATENT_DIM), keras.layers.Dense(LATENT_DIM)

    def call(self, images, training=False):
        x = self.flatten(images)
        return self.mean(x), self.log_var(x)


def custom_decoder(kind):
    layers = [keras.layers.Dense(256), keras.layers.Reshape(SHAPE)]
    return keras.Sequential([keras.Input((LATENT_DIM,)), *layers] if kind == "input" else layers)


@pytest.mark.parametrize("kind", ["input", "no_input"])
def test_custom_networks(kind, tmp_path):
    vae = small(encoder=CustomEncoder(), decoder=custom_decoder(kind))
    vae.compile()
    before = vae.encoder.get_weights()
    fit(vae, smooth_pictures(4))
    assert all((a != b).any() for a, b in zip(vae.encoder.get_weights(), before))
    vae.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert type(again.encoder) is CustomEncoder
    images = smooth_pictures(3, seed=1)
    np.testing.assert_array_equal(again.reconstruct(images), vae.reconstruct(images))


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"encoder": keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(4)])},
            "encoder must map ('batch', 16, 16, 1) to ('batch', 4) and ('batch', 4). "
            "Received: a network that returns ('batch', 4).",
        ),
        (
            {"encoder": custom_decoder("no_input")},
            "encoder must take inputs of shape ('batch', 16, 16, 1). Keras reports: The total size",
        ),
        (
            {"decoder": keras.Sequential([keras.layers.Dense(5)])},
            "decoder must map ('batch', 4) to ('batch', 16, 16, 1). "
            "Received: a network that returns ('batch', 5).",
        ),
        ({"likelihood": "laplace"}, "likelihood must be one of bernoulli, gaussian, discretized_"),
        ({"networks": "dcgan"}, "must be one of conv, mlp, residual. Received: networks='dcgan'."),
        ({"beta": float("inf")}, "beta must be a finite number of at least 0. Received: beta=inf."),
        ({"beta": -1.0}, "beta must be a finite number of at least 0. Received: beta=-1.0."),
        ({"kl_warmup_steps": -1}, "kl_warmup_steps must be an integer of at least 0."),
        ({"kl_warmup_steps": 1.5}, "kl_warmup_steps must be an integer of at least 0."),
        ({"free_bits": -1}, "free_bits must be a finite number of at least 0."),
    ],
    ids=range(10),
)
def test_invalid_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        small(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "latents, found",
    [
        (np.zeros((2, 5), "float32"), "float32 of shape (2, 5)"),
        (np.zeros((2, 4), "int32"), "int32 of shape (2, 4)"),
        (np.zeros((0, 4), "float32"), "float32 of shape (0, 4)"),
    ],
)
def test_invalid_latents(latents, found):
    with pytest.raises(InputError, match="VAE decodes floats of shape .'n', 4.") as caught:
        small().decode(latents)
    assert found in str(caught.value)


# ------------------------------------------------------------ free bits, log p(x), a prior


def test_free_bits_count_a_dimension_by_its_mean_over_the_batch():
    vae = small(free_bits=0.3)
    vae.compile(keras.optimizers.SGD(1e-9))
    images = smooth_pictures(8)
    mean, log_var = vae.encoder(images)
    terms = 0.5 * (mean**2 + tf.exp(log_var) - 1 - log_var).numpy()
    counted = np.maximum(terms.mean(axis=0), 0.3).sum()
    assert counted != pytest.approx(terms.mean(axis=0).sum()) != pytest.approx(4 * 0.3)
    logs = fit(vae, images)
    assert logs["loss"][0] == pytest.approx(logs["reconstruction_loss"][0] + counted, rel=1e-5)
    assert logs["kl_loss"][0] == pytest.approx(terms.sum(axis=1).mean(), rel=1e-4)


def test_two_replicas_equal_one_with_free_bits(mirrored):
    def make():
        return small(free_bits=0.2)

    one, two = (
        train(make, smooth_pictures(27), strategy, epochs=1, rate=1e-4)
        for strategy in (None, mirrored)
    )
    for weight, other in zip(one[0], two[0]):
        np.testing.assert_allclose(other, weight, atol=2e-5)
    for name, values in one[1].items():
        np.testing.assert_allclose(two[1][name], values, rtol=1e-4)


def linear_gaussian(noise_in_q):
    """x = W z + b + noise: a model whose p(x) is known, and an encoder that is not far off."""
    rng = np.random.default_rng(0)
    pixels, scale = 16 * 16, 0.4
    weights = 0.02 * rng.normal(size=(LATENT_DIM, pixels))
    offset = 0.1 * rng.normal(size=pixels)
    z = keras.Input((LATENT_DIM,))
    decoder = keras.Model(
        z, keras.layers.Reshape(SHAPE)(keras.layers.Dense(pixels, name="decode")(z))
    )
    decoder.get_layer("decode").set_weights([weights, offset])
    # The true posterior: N(S W (x - b) / s^2, S) with S^-1 = I + W W^T / s^2.
    covariance = np.linalg.inv(np.eye(LATENT_DIM) + weights @ weights.T / scale**2)
    gain = covariance @ weights / scale**2
    x = keras.Input(SHAPE)
    flat = keras.layers.Flatten()(x)
    mean = keras.layers.Dense(LATENT_DIM, name="mean")(flat)
    log_var = keras.layers.Dense(LATENT_DIM, kernel_initializer="zeros", name="log_var")(flat)
    encoder = keras.Model(x, [mean, log_var])
    encoder.get_layer("mean").set_weights([gain.T, -gain @ offset])
    spread = np.log(np.diag(covariance)) + noise_in_q
    encoder.get_layer("log_var").set_weights([np.zeros((pixels, LATENT_DIM)), spread])
    vae = VAE(SHAPE, LATENT_DIM, encoder=encoder, decoder=decoder, likelihood="gaussian", seed=1)
    vae.log_scale.assign([np.log(scale)])
    images = rng.normal(size=(5, LATENT_DIM)) @ weights + offset
    images = np.clip(images + scale * rng.normal(size=images.shape), -1, 1)
    total = weights.T @ weights + scale**2 * np.eye(pixels)
    errors = images - offset
    exact = -0.5 * (
        np.einsum("ij,ij->i", errors @ np.linalg.inv(total), errors)
        + np.linalg.slogdet(total)[1]
        + pixels * np.log(2 * np.pi)
    )
    return vae, images.reshape(5, *SHAPE).astype("float32"), exact


def test_log_likelihood_of_a_model_whose_likelihood_is_known():
    vae, images, exact = linear_gaussian(noise_in_q=0.5)
    found = vae.log_likelihood(images, num_samples=3000)
    np.testing.assert_allclose(found, exact, atol=0.05)
    few = vae.log_likelihood(images, num_samples=1)
    assert (few < exact - 0.02).any()  # one draw is the ELBO, which lies below
    # Blocks and batches are a matter of memory; the last block may be a part of one.
    parts = vae.log_likelihood(images, num_samples=3000, batch_size=2, block_size=700)
    np.testing.assert_allclose(parts, exact, atol=0.05)
    assert np.abs(parts - found).max() > 0
    seven, again, other = (
        vae.log_likelihood(images, num_samples=7, seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(seven, again)
    assert np.abs(seven - other).min() > 0


def test_the_bound_rises_with_the_number_of_draws():
    vae, images, exact = linear_gaussian(noise_in_q=1.5)
    images = np.repeat(images, 200, axis=0)  # 1000 estimates
    means = [vae.log_likelihood(images, num_samples=k).mean() for k in (1, 5, 50)]
    assert means[0] < means[1] - 0.05 < means[2] - 0.1 and means[2] < exact.mean() + 0.02


def test_log_likelihood_refuses():
    vae = small()
    with pytest.raises(InputError, match="num_samples must be a positive integer"):
        vae.log_likelihood(smooth_pictures(2), num_samples=0)
    with pytest.raises(InputError, match="floating-point"):
        vae.log_likelihood(np.zeros((2, *SHAPE), "uint8"))


def test_a_mixture_prior_draws_latents_like_those_of_the_images(tmp_path):
    keras.utils.set_random_seed(0)
    vae, images = VAE(SHAPE, latent_dim=2, networks="mlp", seed=3), smooth_pictures(40)
    vae.compile()
    before = vae.generate(4, seed=1)
    # An encoder whose latents are far from N(0, I).
    vae.encoder.get_layer("z_mean").bias.assign([6.0, -3.0])
    vae.encoder.get_layer("z_log_var").bias.assign([-6.0, -6.0])
    history = vae.fit_prior(images, num_components=2)
    assert isinstance(history, keras.callbacks.History)
    values = history.history["log_likelihood"]
    assert values[-1] >= values[0] and history.epoch == list(range(len(values)))
    z = vae.draw_latents(500, 1).numpy()
    np.testing.assert_allclose(z.mean(0), vae.encode(images).mean(0), atol=0.2)
    made = vae.generate(4, seed=1)
    assert np.abs(made - before).max() > 1e-3
    np.testing.assert_allclose(made, vae.decode(vae.draw_latents(4, 1)), atol=1e-5)
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.generate(4, seed=1), made)
    vae.fit(images, batch_size=20, verbose=0)  # and training resumes
    vae.fit_prior(images, num_components=2, seed=1)  # another in the place of the first
    made = vae.generate(4, seed=1)
    vae.save(tmp_path / "vae.keras")
    again = keras.saving.load_model(tmp_path / "vae.keras")
    np.testing.assert_array_equal(again.generate(4, seed=1), made)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("conditional", [False, True])
def test_it_starts_at_the_mean_image(likelihood, conditional):
    options = {"latent_dim": 2, "networks": "mlp", "likelihood": likelihood, "seed": 0}
    if conditional:
        model = ConditionalVAE((16, 16, 1), num_classes=3, **options)
    else:
        model = VAE((16, 16, 1), **options)
    images = smooth_pictures(50)
    mean = images.mean(axis=0)
    model.start_at_mean(images)
    for layer in model.decoder._flatten_layers():
        if layer.name == "pixels":  # without what comes before, the mean image is left
            layer.kernel.assign(np.zeros(layer.kernel.shape))
    labels = {"labels": [0, 1, 2]} if conditional else {}
    lowest = -0.998 if likelihood == "bernoulli" else -1.0  # probabilities from 0.001 to 0.999
    expected = np.broadcast_to(np.clip(mean, lowest, -lowest), (3, 16, 16, 1))
    np.testing.assert_allclose(model.generate(3, seed=0, **labels), expected, atol=1e-5)
    [centering] = [layer for layer in model.encoder._flatten_layers() if hasattr(layer, "mean")]
    np.testing.assert_allclose(centering.mean[..., :1], mean, atol=1e-6)
    assert not np.any(centering.mean[..., 1:])


def test_other_networks_do_not_start_at_the_mean_image():
    with pytest.raises(InputError, match='is for the default networks of networks="mlp"'):
        VAE((16, 16, 1), 2).start_at_mean(smooth_pictures(4))
