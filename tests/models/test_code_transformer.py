"""CodeTransformer: causality, one step against a plain tape, exact likelihoods, cached samples."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from plain import warped

from keras_genimg import CodeTransformer
from keras_genimg.errors import InputError

RNG = np.random.default_rng(0)
TINY = {"features": 8, "layers": 2, "num_heads": 2}


def lively(code_shape=(3, 4), num_embeddings=5, **arguments):
    """A small model whose distributions are far from even, as if it had learned."""
    keras.utils.set_random_seed(0)
    model = CodeTransformer(code_shape, num_embeddings, **{**TINY, **arguments})
    for index, weight in enumerate(model.trainable_variables):
        weight.assign_add(0.4 * tf.random.stateless_normal(weight.shape, (index, 0)))
    return model


def test_logits_hang_on_all_earlier_codes_and_on_no_other():
    model = lively(num_classes=3)
    codes = RNG.integers(0, 5, (1, 3, 4))
    logits = model(codes, np.array([1])).numpy()
    assert logits.shape == (1, 3, 4, 5) and logits.dtype == np.float32
    for place in range(12):
        changed = codes.copy()
        changed.reshape(-1)[place] = (changed.reshape(-1)[place] + 1) % 5
        moved = np.abs(model(changed, np.array([1])).numpy() - logits).max(axis=(0, 3)).ravel()
        np.testing.assert_array_equal(moved > 1e-6, np.arange(12) > place)
    assert np.abs(model(codes, np.array([2])).numpy() - logits).max(axis=(0, 3)).min() > 1e-6


def test_a_step_is_that_of_a_plain_tape():
    codes, labels = RNG.integers(0, 5, (8, 3, 4)), np.arange(8) % 3
    model, other = lively(num_classes=3), lively(num_classes=3)
    start = model.get_weights()
    model.compile(keras.optimizers.SGD(0.01))
    logs = model.fit(codes, labels, batch_size=8, shuffle=False, verbose=0).history
    with tf.GradientTape() as tape:
        shares = tf.nn.log_softmax(other(codes, labels, training=True))
        loss = -tf.reduce_mean(tf.reduce_sum(tf.one_hot(codes, 5) * shares, axis=(1, 2, 3)))
    weights = other.trainable_variables
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights])):
        weight.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    assert max(np.abs(a - b).max() for a, b in zip(model.get_weights(), start)) > 1e-3
    for mine, wanted in zip(model.trainable_variables, weights):
        np.testing.assert_allclose(mine, wanted, atol=1e-5, err_msg=mine.path)
    assert logs["loss"] == logs["nll"] == pytest.approx([float(loss)], rel=1e-5)
    assert logs["nats_per_code"] == pytest.approx([float(loss) / 12], rel=1e-5)


def test_likelihoods_of_all_grids_sum_to_one():
    model = lively((2, 2), 3)
    grids = np.array(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2)
    likelihoods = np.exp(model.log_likelihood(grids, batch_size=50).astype("float64"))
    assert likelihoods.sum() == pytest.approx(1.0, abs=1e-5) and likelihoods.max() > 2 / 81


@pytest.mark.parametrize("options", [{}, {"temperature": 1.3, "top_k": 3, "top_p": 0.8}])
@pytest.mark.parametrize("num_classes", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_cached_samples_are_those_of_whole_passes(num_classes, options):
    model = lively(num_classes=num_classes)
    labels = None if num_classes is None else np.array([2, 0, 1, 1, 0])
    made = model.generate_codes(5, labels, seed=7, **options)
    latents = model.draw_latents(5, 7)
    codes = np.zeros((5, 3, 4), "int32")
    for row, column in np.ndindex(3, 4):
        logits = model(codes, labels).numpy()[:, row, column]
        noise = model.gumbel_noise(latents, row).numpy()[:, column, 0]
        if options:
            logits = warped(logits, **options)
        codes[:, row, column] = (logits + options.get("temperature", 1.0) * noise).argmax(-1)
    np.testing.assert_array_equal(made, codes)
    assert len(np.unique(made)) > 2
    again = model.generate_codes(5, labels, seed=7, batch_size=2, **options)
    np.testing.assert_array_equal(again, made)
    assert not options or (model.generate_codes(5, labels, seed=7) != made).any()


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.3, "top_k": 3, "top_p": 0.8}])
def test_guidance_moves_the_logits_away_from_those_without_a_class(sampling):
    model = lively(num_classes=3, label_dropout=0.1, guidance_scale=2.5)
    labels = np.array([2, 0, 1, 1, 0])
    made = model.generate_codes(5, labels, seed=7, **sampling)
    latents = model.draw_latents(5, 7)
    codes = np.zeros((5, 3, 4), "int32")
    for row, column in np.ndindex(3, 4):
        logits = model(codes, labels).numpy()[:, row, column]
        without = model.network(codes[..., None], np.full(5, 3)).numpy()[:, row, column, 0]
        logits = without + 2.5 * (logits - without)
        noise = model.gumbel_noise(latents, row).numpy()[:, column, 0]
        if sampling:
            logits = warped(logits, **sampling)
        codes[:, row, column] = (logits + sampling.get("temperature", 1.0) * noise).argmax(-1)
    np.testing.assert_array_equal(made, codes)
    again = model.generate_codes(5, labels, seed=7, batch_size=2, **sampling)
    np.testing.assert_array_equal(again, made)
    plain = lively(num_classes=3, label_dropout=0.1)
    assert (plain.generate_codes(5, labels, seed=7, **sampling) != made).any()


def test_a_share_of_the_labels_is_left_out_in_training():
    model = lively(num_classes=3, label_dropout=0.4, seed=0)
    codes = np.zeros((2000, 3, 4), "int32")
    labels = np.arange(2000) % 3
    first = model(codes, labels, training=True).numpy()[:, 0, 0]
    of = [model.network(codes[:1, ..., None], tf.constant([k]))[0, 0, 0, 0] for k in range(4)]
    left_out = np.abs(first - of[3]).max(axis=1) < 1e-6
    kept = np.abs(first - np.array(of)[labels]).max(axis=1) < 1e-6
    assert (kept ^ left_out).all() and 0.35 < left_out.mean() < 0.45
    assert np.abs(model(codes, labels).numpy()[:, 0, 0] - np.array(of)[labels]).max() < 1e-6


@pytest.mark.slow
def test_it_learns_which_code_follows_which():
    codes = (RNG.integers(0, 4, (64, 1, 1)) + np.arange(12).reshape(1, 3, 4)) % 4
    keras.utils.set_random_seed(0)
    model = CodeTransformer((3, 4), 4, **{**TINY, "features": 16})
    model.compile(learning_rate=1e-2)
    model.fit(codes, batch_size=32, epochs=40, verbose=0)
    assert -model.log_likelihood(codes).mean() < 2.5  # one free choice of four: 1.39
    made = model.generate_codes(20, seed=1)
    follows = np.diff(made.reshape(20, -1), axis=1) % 4 == 1
    assert follows.mean() > 0.9


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: CodeTransformer((3,), 5), "code_shape must be (height, width)"),
        (lambda: CodeTransformer((3, 4), 0), "num_embeddings must be a positive integer"),
        (lambda: CodeTransformer((3, 4), 5, features=10, num_heads=4), "multiple of num_heads"),
        (lambda: lively(label_dropout=0.1), "label_dropout needs num_classes"),
        (lambda: lively(num_classes=3, guidance_scale=2.0), "guidance_scale needs a label_dropout"),
        (lambda: lively(num_classes=3, guidance_scale=0.5), "guidance_scale must be a finite"),
        (lambda: lively().log_likelihood(np.full((1, 3, 4), 5)), "integers from 0 to 4"),
        (lambda: lively().generate(2), "of codes does not generate images"),
        (lambda: lively(num_classes=3).generate_codes(2, 3), "labels"),
    ],
    ids=range(9),
)
def test_what_does_not_fit(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert words in str(caught.value)
