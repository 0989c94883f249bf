"""Weights of images: the loss is sum(w * l) / n, as in Keras, by loops over the images."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, SHAPE, codes_of, dtype_policy, smooth_pictures

from keras_genimg import IWAE, VAE, VQVAE, CNNClassifier, CodeTransformer, PixelCNN, distribution
from keras_genimg.layers import VectorQuantizerEMA
from keras_genimg.networks import vq_decoder, vq_encoder

IMAGES = smooth_pictures(6)
LABELS = np.array([0, 1, 2, 0, 1, 2])
WEIGHTS = np.array([0.0, 2.0, 0.5, 1.0, 0.0, 4.0], "float32")
RATE = 1e-3


def classifier():
    return CNNClassifier(SHAPE, 3, filters=(4,), seed=3)


def loss_of_classifier(model, index):
    logits = model(IMAGES[index : index + 1], training=True)
    return -tf.nn.log_softmax(logits)[0, LABELS[index]]


def vae():
    return VAE(SHAPE, 4, networks="mlp", beta=2.0, likelihood="gaussian", seed=3)


def iwae():
    return IWAE(SHAPE, 4, networks="mlp", importance_samples=3, seed=3)


def draws(model, index, number):
    """z of one image, and the log of p(x|z) p(z) / q(z|x), under the noise of its row."""
    image = IMAGES[index : index + 1]
    mean, log_var = model.encoder(image, training=True)
    seed = keras.random.SeedGenerator(3).next()
    shape = (number, 4) if number > 1 else (4,)
    noise = distribution.random_normal(distribution.whole_batch(6), shape, seed)[index]
    z = mean + tf.exp(log_var / 2) * tf.reshape(noise, (number, 4))
    outputs = model.decoder(z, training=True)
    likelihoods = model.log_likelihood_of(tf.repeat(image, number, axis=0), outputs)
    return mean, log_var, z, likelihoods


def loss_of_vae(model, index):
    mean, log_var, _, likelihoods = draws(model, index, 1)
    kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - 1 - log_var)
    return 2.0 * kl - likelihoods[0]


def loss_of_iwae(model, index):
    mean, log_var, z, likelihoods = draws(model, index, 3)
    log_q = -tf.reduce_sum((z - mean) ** 2 * tf.exp(-log_var) + log_var, 1) / 2
    return -tf.reduce_logsumexp(likelihoods - tf.reduce_sum(z**2, 1) / 2 - log_q) + np.log(3)


def vq_vae(ema_decay=None):
    options = {"filters": 8, "residual_filters": 4, "blocks": 1}
    model = VQVAE(
        SHAPE, 8, 4, ema_decay=ema_decay, dead_code_threshold=None, data_variance=0.3, seed=3,
        encoder=vq_encoder(SHAPE, 4, **options), decoder=vq_decoder(SHAPE, 4, **options),
    )
    model.start_codebook(IMAGES)
    return model


def loss_of_vq_vae(model, index):
    image, book = IMAGES[index : index + 1], model.quantizer.embeddings
    z_e = model.encoder(image, training=True)
    codes = tf.argmin(tf.reduce_sum((z_e[..., None, :] - book) ** 2, -1), -1)
    z_q = tf.gather(tf.convert_to_tensor(book), codes)
    loss = 0.25 * tf.reduce_mean((z_e - tf.stop_gradient(z_q)) ** 2)
    if not isinstance(model.quantizer, VectorQuantizerEMA):
        loss += tf.reduce_mean((tf.stop_gradient(z_e) - z_q) ** 2)
    outputs = model.decoder(z_e + tf.stop_gradient(z_q - z_e), training=True)
    return loss + tf.reduce_mean((image - outputs) ** 2) / 0.3


def pixel_cnn():
    return PixelCNN(SHAPE, 2, filters=4, layers=1, seed=3)


def transformer():
    return CodeTransformer((4, 4), 8, features=8, layers=1, num_heads=2, seed=3)


def loss_of_values(model, index):
    values = model.values_of(images_of(model)[index : index + 1])
    shares = tf.nn.log_softmax(model.network(values, training=True))
    return -tf.reduce_sum(tf.one_hot(values, model.levels) * shares)


def images_of(model):
    return codes_of(IMAGES, model) if model.makes == "codes" else IMAGES


def labels_of(model):
    return LABELS if isinstance(model, CNNClassifier) else None


def fit(model, **arguments):
    arguments = {"batch_size": 6, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(images_of(model), labels_of(model), **arguments).history


@pytest.mark.parametrize(
    "make, loss_of",
    [
        (classifier, loss_of_classifier),
        (vae, loss_of_vae),
        pytest.param(iwae, loss_of_iwae, marks=pytest.mark.slow),
        (vq_vae, loss_of_vq_vae),
        pytest.param(pixel_cnn, loss_of_values, marks=pytest.mark.slow),
        (transformer, loss_of_values),
    ],
    ids=["classifier", "vae", "iwae", "vq_vae", "pixel_cnn", "code_transformer"],
)
def test_a_step_is_that_of_a_loop_over_the_images(make, loss_of):
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.SGD(RATE), run_eagerly=True)
    weights = [weight.value for weight in model.trainable_variables]
    expected = [weight.numpy().astype("float64") for weight in weights]
    losses = []
    for index, given in enumerate(WEIGHTS):
        with tf.GradientTape() as tape:
            loss = loss_of(model, index)
        losses.append(float(loss))
        for total, gradient in zip(expected, tape.gradient(loss, weights)):
            total -= RATE * given / 6 * tf.convert_to_tensor(gradient).numpy()

    tested = model.evaluate(
        images_of(model), labels_of(model), batch_size=6, sample_weight=WEIGHTS, verbose=0,
        return_dict=True,
    )
    model.seed_generator.state.assign(make().seed_generator.state)  # the noise of the first step
    for layer in model._flatten_layers():
        if hasattr(layer, "seed_generator"):
            layer.seed_generator.state.assign(keras.random.SeedGenerator(3).state)
    start = [weight.numpy() for weight in weights]
    logs = fit(model, sample_weight=WEIGHTS)
    assert max(np.abs(a - b).max() for a, b in zip(start, expected)) > 1e-5
    for weight, total in zip(model.trainable_variables, expected):
        np.testing.assert_allclose(weight, total, atol=2e-6, rtol=1e-4, err_msg=weight.path)
    assert logs["loss"] == pytest.approx([np.mean(WEIGHTS * losses)], rel=1e-4)
    assert tested["loss"] == pytest.approx(np.mean(WEIGHTS * losses), rel=1e-4)


def test_weights_of_classes_are_those_of_their_images():
    results = []
    for given in ({"class_weight": {0: 3.0, 1: 0.0, 2: 0.5}},
                  {"sample_weight": np.array([3.0, 0.0, 0.5] * 2)}):
        keras.utils.set_random_seed(0)
        model = classifier()
        model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        logs = fit(model, epochs=2, **given)
        results.append([*model.get_weights(), np.array(logs["loss"]), np.array(logs["accuracy"])])
    for one, other in zip(*results):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_accuracy_and_codes_count_every_image():
    model = classifier()
    model.compile(run_eagerly=True)
    right = model.classify(IMAGES) == LABELS
    logs = model.evaluate(
        IMAGES, LABELS, sample_weight=right.astype("float32"), verbose=0, return_dict=True
    )
    assert logs["accuracy"] == pytest.approx(right.mean())
    model = vq_vae()
    model.compile(run_eagerly=True)
    plain = model.evaluate(IMAGES, verbose=0, return_dict=True)
    none = model.evaluate(IMAGES, sample_weight=np.zeros(6), verbose=0, return_dict=True)
    assert none["loss"] == none["reconstruction_loss"] == none["vq_loss"] == 0 < plain["loss"]
    assert none["perplexity"] == plain["perplexity"] > 1
    assert none["codes_used"] == plain["codes_used"] > 1


WEIGHED = [name for name, case in MODELS.items() if case.model_class.weighs_images]


def test_which_models_weigh_images():
    assert set(WEIGHED) == {
        "vae", "iwae", "conditional_vae", "vq_vae", "vq_vae2", "vq_vae_gradient",
        "cnn_classifier", "code_transformer", "pixel_cnn", "pixel_cnn_of_codes",
    }


@pytest.mark.parametrize("ema_decay", [pytest.param(None, marks=pytest.mark.slow), 0.9])
def test_nothing_is_learnt_from_images_of_weight_zero(ema_decay):
    """With the batch's other images alone the step is the same, but for the divisor."""
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        models.append(vq_vae(ema_decay))
    kept = WEIGHTS > 0
    models[0].compile(keras.optimizers.SGD(0.06), run_eagerly=True)
    models[0].fit(IMAGES, sample_weight=kept.astype("float32"), batch_size=6, verbose=0)
    models[1].compile(keras.optimizers.SGD(0.04), run_eagerly=True)
    models[1].fit(IMAGES[kept], batch_size=4, verbose=0)
    for one, other in zip(*(model.quantizer.weights for model in models)):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)
    for one, other in zip(*(model.trainable_variables for model in models)):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)


@pytest.mark.parametrize(
    "name",
    [
        name if name == "cnn_classifier"
        else pytest.param(name, marks=pytest.mark.slow if name == "vae" else pytest.mark.full)
        for name in WEIGHED
    ],
)
def test_two_replicas_weigh_images_like_one(name, mirrored):
    images, weights = smooth_pictures(11), np.linspace(0.0, 2.0, 11)[::-1].copy()
    arguments = {"free_bits": 0.1} if name == "vae" else {}
    results = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        keras.utils.set_random_seed(1)
        with dtype_policy("float64"), strategy.scope():
            model = MODELS[name](**arguments)
            model.compile(keras.optimizers.SGD(1e-4))
        x = codes_of(images, model) if model.makes == "codes" else images
        y = np.arange(11) % model.num_classes if model.num_classes else None
        history = model.fit(x, y, sample_weight=weights, batch_size=6, shuffle=False, verbose=0)
        results.append([*model.get_weights(), *map(np.array, history.history.values())])
    for one, two in zip(*results):
        np.testing.assert_allclose(two, one, rtol=1e-6, atol=1e-8)
