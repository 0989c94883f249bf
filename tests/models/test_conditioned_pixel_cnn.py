"""PixelCNN of codes that hang on the codes of a coarser grid."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg import PixelCNN
from keras_genimg.errors import InputError

RNG = np.random.default_rng(0)
SHAPE, CODES, COARSE, NAMES = (5, 4), 7, (3, 2), 6


def lively(**arguments):
    """A small model whose distributions are far from even, as if it had learned."""
    keras.utils.set_random_seed(0)
    condition = {"condition_shape": COARSE, "condition_embeddings": NAMES}
    small = {"filters": 6, "layers": 2, "first_kernel_size": 3}
    model = PixelCNN(code_shape=SHAPE, num_embeddings=CODES, **{**condition, **small, **arguments})
    for index, weight in enumerate(model.trainable_variables):
        weight.assign_add(0.4 * tf.random.stateless_normal(weight.shape, (index, 0)))
    return model


def some(count):
    """Codes, labels of three classes, and a condition."""
    return (
        RNG.integers(0, CODES, (count, *SHAPE)),
        np.arange(count) % 3,
        RNG.integers(0, NAMES, (count, *COARSE)),
    )


def lying_over(row, column):
    """The positions of the grid that lie over a place of the condition."""
    rows = np.arange(SHAPE[0]) * COARSE[0] // SHAPE[0] == row  # 0 0 1 1 2
    columns = np.arange(SHAPE[1]) * COARSE[1] // SHAPE[1] == column  # 0 0 1 1
    return rows[:, None] & columns


def test_every_code_of_the_condition_matters_to_the_positions_over_it():
    model = lively()
    codes, _, condition = some(20)
    logits = model(codes, condition=condition).numpy()
    assert logits.shape == (20, *SHAPE, CODES)
    for place in np.ndindex(*COARSE):
        other = condition.copy()
        other[(slice(None), *place)] = (condition[(slice(None), *place)] + 1) % NAMES
        moved = np.abs(model(codes, condition=other).numpy() - logits).max(axis=(0, 3)) > 1e-6
        assert moved[lying_over(*place)].all(), place  # above all the first position of all


def test_no_position_sees_itself_or_what_follows_it():
    model = lively(layers=3)
    _, _, condition = some(6)
    places = list(np.ndindex(*SHAPE))
    data = tf.constant(RNG.normal(size=(6, *SHAPE, 6)).astype("float32"))
    data = tf.repeat(data, len(places), axis=0)
    condition = tf.repeat(tf.constant(condition), len(places), axis=0)
    with tf.GradientTape() as tape:
        tape.watch(data)
        logits = model.network.logits_of(data, condition=condition)[..., 0, 1]
        loss = tf.reduce_sum(tf.gather_nd(logits, [[i, *p] for i, p in enumerate(6 * places)]))
    gradients = tape.gradient(loss, data).numpy().reshape(6, len(places), len(places), 6)
    seen = (gradients != 0).any(axis=(0, 3))  # (position, what it may see)
    assert not np.triu(seen).any() and seen[-1, -2] and seen[-1, 0]


def naive_codes(model, labels, condition, seed):
    """All logits computed again for each code."""
    count = len(condition)
    latents = model.draw_latents(count, seed)
    noise_of = tf.function(model.gumbel_noise)
    noise = np.stack([noise_of(latents, tf.constant(row)) for row in range(SHAPE[0])], axis=1)
    logits_of = tf.function(lambda codes: model(codes, labels, condition))
    codes = np.zeros((count, *SHAPE), "int32")
    for place in np.ndindex(*SHAPE):
        here = (slice(None), *place)
        logits = logits_of(tf.constant(codes)).numpy()[here] + noise[..., 0, :][here]
        codes[here] = np.argmax(logits, axis=-1)
    return codes


@pytest.mark.parametrize("num_classes", [None, 3])
def test_codes_drawn_once_are_those_of_all_logits_computed_again(num_classes):
    model = lively(num_classes=num_classes)
    _, labels, condition = some(4)
    labels = labels if num_classes else None
    made = model.generate_codes(4, labels, seed=5, condition=condition)
    given = None if labels is None else tf.constant(labels)
    np.testing.assert_array_equal(made, naive_codes(model, given, tf.constant(condition), 5))
    again = model.generate_codes(4, labels, seed=5, condition=condition, batch_size=3)
    np.testing.assert_array_equal(again, made)
    others = model.generate_codes(4, labels, seed=5, condition=(condition + 1) % NAMES)
    assert (others != made).any() and len(np.unique(made)) > 3
    if num_classes:
        others = model.generate_codes(4, (labels + 1) % 3, seed=5, condition=condition)
        assert (others != made).any()


def test_a_step_is_that_of_a_plain_tape():
    codes, labels, condition = some(8)
    model, other = lively(num_classes=3), lively(num_classes=3)
    start = model.get_weights()
    model.compile(keras.optimizers.SGD(0.01))
    given = (labels, condition)
    logs = model.fit(codes, given, batch_size=8, shuffle=False, verbose=0).history

    with tf.GradientTape() as tape:
        log_shares = tf.nn.log_softmax(other(codes, labels, condition))
        loss = -tf.reduce_sum(tf.one_hot(codes, CODES) * log_shares) / 8
    weights = [weight.value for weight in other.trainable_variables]
    for weight, gradient in zip(weights, tape.gradient(loss, weights)):
        weight.assign_sub(0.01 * tf.convert_to_tensor(gradient))
    assert logs["loss"] == pytest.approx([float(loss)], rel=1e-5)
    for weight, plain, old in zip(model.trainable_variables, weights, start):
        np.testing.assert_allclose(weight, plain, atol=1e-5, err_msg=weight.path)
        assert np.abs(weight - old).max() > 1e-5, weight.path  # those of the condition too
    for together in ([codes, labels, condition], (codes, (labels, condition))):
        np.testing.assert_allclose(model(together), model(codes, labels, condition), atol=1e-6)
    nats = -model.log_likelihood(codes, labels, condition=condition, batch_size=5)
    logs = model.evaluate(codes, given, verbose=0, return_dict=True)
    assert logs["nll"] == pytest.approx(nats.mean(), rel=1e-5)


@pytest.mark.slow
def test_it_learns_to_repeat_the_condition():
    rows, columns = (np.arange(n) * m // n for n, m in zip(SHAPE, COARSE))
    condition = RNG.integers(0, NAMES, (512, *COARSE))
    codes = condition[:, rows][:, :, columns]
    keras.utils.set_random_seed(0)
    model = PixelCNN(
        code_shape=SHAPE, num_embeddings=NAMES, condition_shape=COARSE, condition_embeddings=NAMES,
        filters=16, layers=2, first_kernel_size=3,
    )  # fmt: skip
    model.compile(learning_rate=0.01)
    data = tf.data.Dataset.from_tensor_slices((codes, condition)).batch(64)
    history = model.fit(data, epochs=8, verbose=0).history
    assert history["nll"][-1] < 0.1 * history["nll"][0]
    made = model.generate_codes(64, seed=1, condition=condition[:64])
    assert (made == codes[:64]).mean() > 0.95


@pytest.mark.slow
def test_two_replicas_equal_one(mirrored):
    codes, labels, condition = some(12)
    data = tf.data.Dataset.from_tensor_slices((codes, (labels, condition))).batch(8)
    ends = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with strategy.scope():
            model = lively(num_classes=3, layers=1, dropout=0.2, seed=1)
            model.compile(keras.optimizers.SGD(0.01))
        history = model.fit(data, verbose=0).history
        ends.append((model.get_weights(), history["nll"]))
    np.testing.assert_allclose(ends[1][1], ends[0][1], rtol=1e-4)
    for one, two in zip(ends[0][0], ends[1][0]):
        np.testing.assert_allclose(two, one, atol=2e-5)


@pytest.mark.slow
def test_saved_and_served(tmp_path):
    model = lively(num_classes=3, layers=1)
    codes, labels, condition = some(4)
    made = model.generate_codes(4, labels, seed=2, condition=condition)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    np.testing.assert_array_equal(
        again.generate_codes(4, labels, seed=2, condition=condition), made
    )
    model.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures
    assert set(served) == {"serving_default", "generate_codes", "sample_codes", "log_likelihood"}
    given = {"labels": tf.constant(labels, tf.int32), "condition": tf.constant(condition, tf.int32)}
    for name in ("serving_default", "generate_codes"):
        found = served[name](**given, seed=tf.constant(2, tf.int64))["codes"]
        np.testing.assert_array_equal(found, made)
    found = served["log_likelihood"](**given, codes=tf.constant(codes, tf.int32))["log_likelihood"]
    expected = model.log_likelihood(codes, labels, condition=condition)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            {"condition_shape": (6, 4)},
            "in neither more than code_shape. Received: condition_shape=(6, 4)",
        ),
        ({"condition_shape": (0, 2)}, "Received: condition_shape=(0, 2), code_shape=(5, 4)."),
        ({"condition_shape": None}, "Received: condition_shape=None"),
        ({"condition_embeddings": None}, "condition_embeddings must be a positive integer."),
    ],
    ids=range(4),
)
def test_bad_arguments(arguments, words):
    with pytest.raises(InputError) as caught:
        lively(**arguments)
    assert words in str(caught.value)


def test_pictures_have_no_condition():
    with pytest.raises(InputError, match="condition_shape=.*code_shape=None"):
        PixelCNN((4, 4, 1), 2, condition_shape=(2, 2), condition_embeddings=3)


@pytest.fixture(scope="module")
def models():
    made = {None: lively(), 3: lively(num_classes=3)}
    for model in made.values():
        model.compile()
    return made


@pytest.mark.parametrize(
    "condition, words",
    [
        (None, "Received: None."),
        (
            np.zeros((2, *COARSE)),
            "from 0 to 5 of shape (2, 3, 2). Received: float64 of shape (2, 3, 2).",
        ),
        (np.zeros((2, 2, 2), int), "Received: int64 of shape (2, 2, 2)."),
        (np.zeros((3, *COARSE), int), "Received: int64 of shape (3, 3, 2)."),
        (np.full((2, *COARSE), NAMES), "Received: int64 of shape (2, 3, 2) from 6 to 6."),
        ([[1, 2], [1]], "condition must be codes"),
    ],
    ids=["none", "floats", "shape", "number", "above", "ragged"],
)
def test_conditions_that_do_not_fit(models, condition, words):
    codes = np.zeros((2, *SHAPE), int)
    uses = [
        lambda: models[None].log_likelihood(codes, condition=condition),
        lambda: models[None].generate_codes(2, condition=condition),
        lambda: models[3].generate_codes(2, [0, 1], condition=condition),
    ]
    for use in uses:
        with pytest.raises(InputError) as caught:
            use()
        assert words in str(caught.value) and "\n" not in str(caught.value)
    if isinstance(condition, np.ndarray):
        for use in (
            lambda: models[None].fit(codes, condition, verbose=0),
            lambda: models[3].fit(codes, (np.array([0, 1]), condition), verbose=0),
            lambda: models[None].evaluate(codes, condition, verbose=0),
        ):
            with pytest.raises(InputError):
                use()


def test_what_fit_is_not_given(models):
    codes, labels, condition = some(4)
    cases = [
        (None, None, "trained on (codes, condition), condition being codes of shape "
         "('batch', 3, 2). Received: codes alone."),
        (3, None, "trained on (codes, (labels, condition))"),
        (3, labels, "Received: codes and a ndarray."),
        (3, (None, condition), "trained on (codes, (labels, condition)), labels being integers"),
        (3, (labels + 1, condition), "labels must be integers from 0 to 2"),
    ]  # fmt: skip
    for classes, given, words in cases:
        with pytest.raises(InputError) as caught:
            models[classes].fit(codes, given, verbose=0)
        assert words in str(caught.value)
    data = tf.data.Dataset.from_tensor_slices(codes).batch(2)
    with pytest.raises(InputError, match="codes alone"):
        models[None].fit(data, verbose=0)
    plain = PixelCNN(code_shape=SHAPE, num_embeddings=CODES, filters=6, layers=1)
    with pytest.raises(InputError, match="This PixelCNN has no condition"):
        plain.generate_codes(4, condition=condition)
