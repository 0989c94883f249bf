"""WGAN: one step against plain tapes, clipping, and the images of each update."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures
from plain import assert_same_weights, copy_of, descend, moved, sgd

from keras_genimg import WGAN, WGANGP, distribution
from keras_genimg.core import images_of_update
from keras_genimg.errors import InputError
from keras_genimg.layers import BatchNormalization

LATENT_DIM = 6
RATE = 0.05
LOGS = {"g_loss", "d_loss", "real_score", "fake_score"}


def small_generator():
    return keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            keras.layers.Dense(12, activation="relu"),
            keras.layers.Dense(256, activation="tanh"),
            keras.layers.Reshape(SHAPE),
        ]
    )


def small_critic(normalization=False):
    layers = [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(8)]
    layers += [BatchNormalization()] if normalization else []
    return keras.Sequential([*layers, keras.layers.LeakyReLU(0.2), keras.layers.Dense(1)])


def small(model_class=WGAN, **arguments):
    networks = {"generator": small_generator(), "discriminator": small_critic()}
    return model_class(SHAPE, LATENT_DIM, **{**networks, "n_critic": 3, "seed": 3, **arguments})


@pytest.mark.parametrize("networks", ["small", pytest.param("default", marks=pytest.mark.slow)])
def test_a_step_is_that_of_plain_tapes(networks):
    keras.utils.set_random_seed(0)
    clip = 0.1 if networks == "small" else 0.02
    own = {"generator": None, "discriminator": None} if networks == "default" else {}
    wgan = small(clip_value=clip, **own)
    wgan.compile(**sgd(RATE))
    g, f = copy_of(wgan.generator), copy_of(wgan.discriminator)
    start = [g.get_weights(), f.get_weights()]
    images = smooth_pictures(12)
    logs = wgan.fit(images, batch_size=4, shuffle=False, verbose=0).history

    seeds = keras.random.SeedGenerator(3)
    batch = distribution.whole_batch(4)
    noise = [distribution.random_normal(batch, (LATENT_DIM,), seeds.next()) for _ in range(4)]
    clipped = 0
    # 1. Three updates of the critic: on images 0, 3, 6, 9; on 1, 4, 7, 10; on 2, 5, 8, 11.
    for update in range(3):
        fakes = g(noise[update], training=True)
        with tf.GradientTape() as tape:
            real = f(images[[update, update + 3, update + 6, update + 9]], training=True)
            fake = f(fakes, training=True)
            f_loss = tf.reduce_mean(fake) - tf.reduce_mean(real)
        descend(f, f_loss, tape, RATE)
        for weight in f.trainable_weights:
            clipped += int((np.abs(weight) > clip).sum())
            weight.assign(np.clip(weight, -clip, clip))
    # 2. One generator update, on the fourth noise.
    with tf.GradientTape() as tape:
        g_loss = -tf.reduce_mean(f(g(noise[3], training=True), training=True))
    descend(g, g_loss, tape, RATE)

    assert clipped > 10  # the comparison is of a step that clips
    assert_same_weights(wgan.discriminator, f)
    assert_same_weights(wgan.generator, g)
    assert moved(g, start[0]) > 1e-4 and moved(f, start[1]) > 1e-3
    assert set(logs) == LOGS
    assert logs["d_loss"] == pytest.approx([float(f_loss)], rel=1e-4, abs=1e-6)
    assert logs["g_loss"] == pytest.approx([float(g_loss)], rel=1e-4, abs=1e-6)
    assert logs["real_score"] == pytest.approx([float(tf.reduce_mean(real))], rel=1e-4, abs=1e-6)
    assert logs["fake_score"] == pytest.approx([float(tf.reduce_mean(fake))], rel=1e-4, abs=1e-6)


def test_clipping_reaches_the_trainable_weights_of_the_critic_and_no_others():
    keras.utils.set_random_seed(0)
    wgan = small(discriminator=small_critic(normalization=True), clip_value=0.03)
    frozen = wgan.discriminator.layers[1]
    assert isinstance(frozen, keras.layers.Dense)
    frozen.trainable = False
    wgan.compile(**sgd(1.0))
    wgan.fit(smooth_pictures(6), batch_size=2, verbose=0)
    trainable = {id(weight) for weight in wgan.discriminator.trainable_weights}
    assert len(trainable) == 4  # gamma, beta; kernel, bias
    for weight in wgan.discriminator.weights:
        if id(weight) in trainable:
            assert np.abs(weight).max() <= np.float32(0.03), weight.path
        elif "bias" not in weight.path:  # the frozen kernel, the moving moments
            assert np.abs(weight).max() > 0.03, weight.path
    assert np.abs(wgan.discriminator.layers[2].gamma).max() == np.float32(0.03)  # started at 1
    assert max(np.abs(weight).max() for weight in wgan.generator.weights) > 0.1


def test_the_test_step_is_the_losses_of_fixed_networks():
    wgan = small(ema_decay=None)
    wgan.compile(**sgd(RATE))
    images = smooth_pictures(8)  # not a multiple of n_critic, and need not be
    logs = wgan.evaluate(images, batch_size=8, verbose=0, return_dict=True)
    seed = keras.random.SeedGenerator(3).next()
    fakes = wgan.generator(
        distribution.random_normal(distribution.whole_batch(8), (LATENT_DIM,), seed)
    )
    real, fake = [float(tf.reduce_mean(wgan.discriminator(x))) for x in (images, fakes)]
    assert set(logs) == LOGS
    assert logs["real_score"] == pytest.approx(real, rel=1e-5)
    assert logs["fake_score"] == pytest.approx(fake, rel=1e-5)
    assert logs["d_loss"] == pytest.approx(fake - real, rel=1e-4)
    assert logs["g_loss"] == pytest.approx(-fake, rel=1e-5)


def test_the_papers_optimizers():
    wgan = small()
    wgan.compile()
    for optimizer in (wgan.generator_optimizer, wgan.discriminator_optimizer):
        assert type(optimizer) is keras.optimizers.RMSprop
        assert float(optimizer.learning_rate) == pytest.approx(5e-5) and optimizer.momentum == 0
    # The default networks have higher rates.
    default = small(generator=None, discriminator=None)
    default.compile()
    assert float(default.generator_optimizer.learning_rate) == pytest.approx(1e-3)
    assert float(default.discriminator_optimizer.learning_rate) == pytest.approx(2e-4)
    assert default.generator_optimizer.epsilon < 1e-12  # it stands under a root
    wgan.compile(learning_rate=1e-3)
    assert float(wgan.discriminator_optimizer.learning_rate) == pytest.approx(1e-3)
    wgan.fit(smooth_pictures(6), batch_size=2, verbose=0)
    assert int(wgan.discriminator_optimizer.iterations) == 3
    assert int(wgan.generator_optimizer.iterations) == 1


def test_a_clipped_default_critic_still_sees_shapes():
    """Batch normalisation keeps the differences between images, even at its clipped scale."""
    wgan = small(generator=None, discriminator=None)
    for weight in wgan.discriminator.trainable_variables:
        weight.assign(tf.clip_by_value(weight, -0.01, 0.01))
    images = tf.constant(smooth_pictures(32))
    critic = keras.Model(
        wgan.discriminator.input,
        [x.output for x in wgan.discriminator.layers if isinstance(x, BatchNormalization)],
    )
    outputs = critic(images, training=True)
    assert len(outputs) >= 1
    for values in outputs:  # of the scale: by Keras's epsilon less than a tenth of it
        assert 0.005 < float(tf.math.reduce_std(values)) <= 0.011


# ------------------------------------------------------ n_critic updates of one batch


def seen_by_updates(model, count, **arguments):
    """The first pixel of each image, and the noise, of each call of a traced fit, in order."""
    seen = {"images": [], "noise": []}
    critic, sample = model.discriminator, model.sample_latents

    def watched(images, **kwargs):
        tf.py_function(lambda x: seen["images"].append(x.numpy()), [images[:, 0, 0, 0]], [])
        return critic(images, **kwargs)

    def sampled(batch):
        latents = sample(batch)
        tf.py_function(lambda x: seen["noise"].append(x.numpy()), [latents], [])
        return latents

    # Past Keras's tracking of attributes.
    object.__setattr__(model, "sample_latents", sampled)
    model.compile(**sgd(0.0))
    numbers = np.linspace(-1, 1, count, dtype="float32")
    images = np.broadcast_to(numbers[:, None, None, None], (count, *SHAPE)).copy()
    watched.trainable_variables = critic.trainable_variables
    object.__setattr__(model, "discriminator", watched)
    model.fit(images, shuffle=False, verbose=0, **arguments)
    rows = [np.searchsorted(numbers, x - 1e-6).tolist() for x in seen["images"]]
    return rows, seen["noise"]


@pytest.mark.parametrize("model_class", [WGAN, WGANGP])
def test_each_update_sees_its_own_images_and_fresh_noise(model_class):
    model = small(model_class)
    rows, noise = seen_by_updates(model, 12, batch_size=4)
    own = [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert [row for row in rows if row in own] == own  # each once and in this order
    assert [draw.shape for draw in noise] == [(4, LATENT_DIM)] * 4
    values = np.concatenate(noise).ravel()
    assert len(np.unique(values)) == len(values)


def test_the_last_batch_of_a_pass_need_not_divide():
    rows, noise = seen_by_updates(small(), 14, batch_size=3)
    first, last = [[0, 3, 6], [1, 4, 7], [2, 5, 8]], [[9, 12], [10, 13], [11]]
    assert [row for row in rows if row in first + last] == first + last
    assert [len(draw) for draw in noise] == [3, 3, 3, 3, 2, 2, 1, 1]


def test_fewer_images_than_updates_are_used_again():
    rows, _ = seen_by_updates(small(), 8, batch_size=2)
    assert [row for row in rows if row in ([6], [7])] == [[6], [7], [6]]


@pytest.mark.parametrize("sizes", [(8, 8), (6, 5), (7, 7, 6), (3, 4), (5,)])
def test_parts_of_replicas_add_up_to_the_same_images(sizes, monkeypatch):
    monkeypatch.setattr(
        distribution, "global_batch", lambda images: distribution.whole_batch(len(images))
    )
    total, n_critic = sum(sizes), 3
    starts = np.cumsum([0, *sizes])
    for update in range(n_critic):
        parts = []
        for size, start in zip(sizes, starts):
            rows = tf.range(int(start), int(start) + size)
            batch = distribution.GlobalBatch(size, int(start), total, size / total, weights=rows)
            images, of_update = images_of_update(rows, batch, update, n_critic)
            np.testing.assert_array_equal(of_update.weights, images)
            parts += images.numpy().tolist()
        assert parts == list(range(update, total, n_critic))


@pytest.mark.slow
def test_two_replicas_with_fewer_images_each_than_updates(mirrored):
    with mirrored.scope():
        model = small()
        model.compile(**sgd(RATE))
    history = model.fit(smooth_pictures(10), batch_size=2, shuffle=False, verbose=0).history
    assert np.isfinite([*history.values()]).all()


# ---------------------------------------------------------------------- bad input


def message_of(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_batch_sizes_that_are_none():
    model = small()
    model.compile(**sgd(RATE))
    images = smooth_pictures(6)
    for size in (0, -3, 1.5):
        message = message_of(lambda: model.fit(images, batch_size=size))
        assert message == f"batch_size must be a positive integer. Received: batch_size={size}."
    assert "needs images" in message_of(lambda: model.fit())


def test_the_batch_of_an_array_without_a_size_is_32_per_update():
    model = small()
    model.compile(**sgd(0.0))
    steps = []
    counter = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: steps.append(1))
    model.fit(np.zeros((97, *SHAPE), "float32"), verbose=0, callbacks=[counter])
    assert len(steps) == 2  # 96 and 1


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"n_critic": 0}, "n_critic must be a positive integer. Received: n_critic=0."),
        ({"n_critic": 2.0}, "n_critic must be a positive integer. Received: n_critic=2.0."),
        ({"clip_value": 0}, "clip_value must be a finite number above 0. Received: clip_value=0."),
        ({"clip_value": -0.1}, "clip_value must be a finite number above 0."),
        ({"clip_value": float("nan")}, "Received: clip_value=nan."),
        ({"clip_value": "0.1"}, "Received: clip_value='0.1'."),
        ({"noise": "pink"}, "noise must be one of normal, uniform, truncated_normal."),
        ({"discriminator": small_generator()}, "discriminator must take inputs of shape"),
        ({"generator": small_critic()}, "generator must take inputs of shape ('batch', 6)."),
    ],
    ids=range(9),
)
def test_invalid_arguments(arguments, words):
    assert words in message_of(lambda: small(**arguments))


def test_settings_come_back_from_a_file(tmp_path):
    model = small(n_critic=4, clip_value=0.5, noise="uniform", ema_decay=None)
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert (again.n_critic, again.clip_value, again.noise) == (4, 0.5, "uniform")
    assert again.ema_generator is None and len(again.generator.layers) == 3
