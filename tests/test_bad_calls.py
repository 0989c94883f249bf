"""Arguments of a wrong type: one test per kind that `benchmarks/robustness/python_api.py` found."""

import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import VAE, InputError, callbacks, layers, load, losses, plotting
from keras_genimg.checks import check_count, check_labels, check_latents
from keras_genimg.data import binarize, binarized, check_corruption, corrupted_pairs, data_info
from keras_genimg.metrics import (
    CodesUsed,
    codebook_perplexity,
    features_for,
    get_features,
    update_metrics,
)

LOGITS = np.zeros((4, 1), "float32")
IMAGES = tf.zeros((2, 8, 8, 1))


@pytest.mark.parametrize("call, said", [
    (lambda: losses.hinge_generator_loss(None), "fake_logits must be a float tensor"),
    (lambda: losses.hinge_generator_loss([[1], [2, 3]]), "fake_logits must be a float tensor"),
    (lambda: losses.hinge_generator_loss(LOGITS.astype("int32")), "int32 of shape (4, 1)"),
    (lambda: losses.hinge_generator_loss(LOGITS[:0]), "with values. Received: fake_logits float32"),
    (lambda: losses.gaussian_kl(LOGITS, np.zeros((3, 2), "float32")), "shapes that fit"),
    (lambda: losses.r1_penalty(7, IMAGES), "discriminator must be a function"),
    (lambda: losses.gradient_penalty(None, IMAGES, IMAGES, alpha=LOGITS), "critic must be a func"),
    (lambda: binarize(object(), "threshold"), "images must be numbers"),
    (lambda: binarize(IMAGES, "dynamic", seed=3), "seed must be two integers"),
    (lambda: binarized(5, "dynamic", 0), "dataset must be a tf.data.Dataset. Received: int"),
    (lambda: corrupted_pairs(5, "mask", 0), "dataset must be a tf.data.Dataset of images"),
    (lambda: check_corruption(np.zeros(2), (8, 8, 1)), "kind of corruption"),
    (lambda: data_info("glyphs", None), "split must be a string"),
    (lambda: load("glyphs", batch_size=4, drop_remainder="x"), "drop_remainder must be a bool"),
    (lambda: callbacks.Resume(7), "folder must be a path"),
    (lambda: callbacks.latest_checkpoint([]), "folder must be a path"),
    (lambda: callbacks.sparsity_of(1j), "network must be a keras.Layer"),
    (lambda: codebook_perplexity(["a"], 4), "indices must be integers"),
    (lambda: codebook_perplexity([0], 0), "num_embeddings must be a positive integer"),
    (lambda: CodesUsed([1, 2]), "num_embeddings must be a positive integer"),
    (lambda: features_for("mnist", [1, 2]), "image_shape must be (height, width, channels)"),
    (lambda: get_features(len, print), "image_shape must be (height, width, channels)"),
    (lambda: update_metrics([5]), "metrics must be a list"),
    (lambda: update_metrics([], real_images=3), "real_images must be images"),
    (lambda: layers.ConditionalBatchNormalization(4, momentum=(1,)), "momentum must be"),
    (lambda: layers.DiffAugment(seed="x\n"), "seed must be"),
    (lambda: plotting.plot_losses(None), "logs must be a dict or a path"),
    (lambda: plotting.save_png("a.png", IMAGES[0], metadata=[1]), "metadata must be a dict"),
    (lambda: plotting.show_images(IMAGES, axes=b"x"), "axes must be Matplotlib's"),
    (lambda: check_count("blocks", 10**12), "blocks must be a positive integer below 2**31"),
    (lambda: check_labels(np.zeros((2,) * 20), 4, None), "Received: shape=(2, 2,"),
    (lambda: check_latents("GAN", [[1], [2, 3]], (4,)), "GAN decodes floats"),
])  # fmt: skip
def test_functions(call, said):
    with pytest.raises(InputError) as caught:
        call()
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_methods():
    model = VAE((16, 16, 1), 2, networks="mlp", seed=0)
    images = np.zeros((2, 16, 16, 1), "float32")
    for batch_size in (0, "x", None, float("nan"), [1]):
        for call in (model.encode, model.reconstruct):
            with pytest.raises(InputError, match="batch_size must be a positive integer"):
                call(images, batch_size=batch_size)
        with pytest.raises(InputError, match="batch_size must be a positive integer"):
            model.decode(np.zeros((2, 2), "float32"), batch_size=batch_size)
    for name, value in (("callbacks", 5), ("callbacks", [int]), ("epochs", "x"),
                        ("initial_epoch", [1]), ("validation_split", np.zeros(2))):  # fmt: skip
        with pytest.raises(InputError, match=f"{name} must be"):
            model.fit(images, verbose=0, **{name: value})
    with pytest.raises(InputError, match="steps must be a positive integer"):
        model.evaluate(images, steps="x", verbose=0)
    for path in (5, [], True):
        with pytest.raises(InputError, match="filepath must be a path"):
            model.save(path)
