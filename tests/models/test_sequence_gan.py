"""SequenceGAN: one step against a plain GradientTape, paths, frames, clips of any length."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, clips_of, smooth_pictures
from plain import assert_same_weights, copy_of, descend, formulas, moved, sgd

from keras_genimg import InputError, SequenceGAN, distribution
from keras_genimg.layers import MotionWalk, Shift
from keras_genimg.networks import dcgan_generator
from keras_genimg.placement import on_devices

FRAMES, CONTENT, MOTION, RATE = 3, 5, 4, 0.05
LOGS = {"g_loss", "d_loss", "image_d_loss", "real_score", "fake_score"}
CLIPS = clips_of(smooth_pictures(8), FRAMES)


def small(**arguments):
    return SequenceGAN(SHAPE, FRAMES, CONTENT, MOTION, **{"seed": 3, **arguments})


def one_fit_step(model, clips=CLIPS):
    return model.fit(clips, batch_size=len(clips), shuffle=False, verbose=0).history


def walk_of(model):
    """A copy of the model's recurrent cell."""
    copy = MotionWalk()
    copy.build((None, None, model.motion_dim))
    copy.set_weights(model.walk.get_weights())
    return copy


class Noise:
    """The model's draws, in their order."""

    def __init__(self, count):
        self.seeds, self.batch = keras.random.SeedGenerator(3), distribution.whole_batch(count)

    def paths(self, walk):
        content = distribution.random_normal(self.batch, (CONTENT,), self.seeds.next())
        noise = distribution.random_normal(self.batch, (1 + FRAMES, MOTION), self.seeds.next())
        motion = walk(noise)
        return [tf.concat([content, motion[:, frame]], axis=1) for frame in range(FRAMES)]

    def frames_of(self, clips):
        uniform = distribution.random_uniform(self.batch, (), self.seeds.next()).numpy()
        return tf.stack([clips[row, int(u * FRAMES)] for row, u in enumerate(uniform)])


def rendered(generator, path):
    """The clips of a path, all frames in one batch: batch normalisation depends on it."""
    frames = tf.stack(path, axis=1)  # (B, T, d)
    made = generator(tf.reshape(frames, (-1, frames.shape[2])), training=True)
    return tf.stack([made[row * FRAMES : (row + 1) * FRAMES] for row in range(frames.shape[0])])


@pytest.mark.parametrize("loss", ["non_saturating", pytest.param("hinge", marks=pytest.mark.slow)])
def test_a_step_is_that_of_a_plain_tape(loss):
    keras.utils.set_random_seed(0)
    gan = small(loss=loss)
    gan.compile(**sgd(RATE))
    copies = [copy_of(n) for n in (gan.generator, gan.image_discriminator, gan.clip_discriminator)]
    g, d_image, d_clip, walk = *copies, walk_of(gan)
    start = [network.get_weights() for network in (*copies, walk)]
    logs = one_fit_step(gan)

    generator_loss, discriminator_loss = formulas(loss)
    noise = Noise(len(CLIPS))
    # 1. The clips of both updates.
    with tf.GradientTape(persistent=True) as tape_of_generator:
        fakes = rendered(g, noise.paths(walk))
    # 2. Both discriminators, on one frame of each clip and on the clips.
    real_frames, fake_frames = noise.frames_of(CLIPS), noise.frames_of(fakes)
    with tf.GradientTape(persistent=True) as tape:
        image_loss = discriminator_loss(
            d_image(real_frames, training=True), d_image(fake_frames, training=True)
        )
        real_logits, fake_logits = d_clip(CLIPS, training=True), d_clip(fakes, training=True)
        clip_loss = discriminator_loss(real_logits, fake_logits)
    descend(d_image, image_loss, tape, RATE)
    descend(d_clip, clip_loss, tape, RATE)
    # 3. The generator and the recurrent cell, through the discriminators that have moved.
    with tape_of_generator:
        g_loss = generator_loss(d_image(noise.frames_of(fakes), training=True))
        g_loss += generator_loss(d_clip(fakes, training=True))
    descend(g, g_loss, tape_of_generator, RATE)
    descend(walk, g_loss, tape_of_generator, RATE)

    pairs = (gan.generator, g), (gan.image_discriminator, d_image), (gan.clip_discriminator, d_clip)
    for (mine, plain), old in zip((*pairs, (gan.walk, walk)), start):
        assert_same_weights(mine, plain)
        assert moved(plain, old) > (1e-5 if plain is walk else 3e-4)
    expected = {
        "d_loss": image_loss + clip_loss,
        "image_d_loss": image_loss,
        "g_loss": g_loss,
        "real_score": tf.reduce_mean(tf.sigmoid(real_logits)),
        "fake_score": tf.reduce_mean(tf.sigmoid(fake_logits)),
    }
    assert set(logs) == LOGS
    for name, value in expected.items():
        assert logs[name] == pytest.approx([float(value)], rel=1e-4)


def test_the_test_step_is_the_losses_of_fixed_networks():
    gan = small(ema_decay=None)
    gan.compile(**sgd(RATE))
    logs = gan.evaluate(CLIPS, batch_size=8, verbose=0, return_dict=True)
    noise = Noise(8)
    made = tf.stack([gan.generator(points) for points in noise.paths(gan.walk)], axis=1)
    generator_loss, discriminator_loss = formulas("non_saturating")
    real_frames, fake_frames = noise.frames_of(CLIPS), noise.frames_of(made)
    image_logits = gan.image_discriminator(real_frames), gan.image_discriminator(fake_frames)
    clip_logits = gan.clip_discriminator(CLIPS), gan.clip_discriminator(made)
    d_losses = [float(discriminator_loss(*logits)) for logits in (image_logits, clip_logits)]
    g_loss = generator_loss(image_logits[1]) + generator_loss(clip_logits[1])
    assert set(logs) == LOGS
    assert logs["image_d_loss"] == pytest.approx(d_losses[0], rel=1e-5)
    assert logs["d_loss"] == pytest.approx(sum(d_losses), rel=1e-5)
    assert logs["g_loss"] == pytest.approx(float(g_loss), rel=1e-5)
    assert logs["real_score"] == pytest.approx(float(tf.reduce_mean(tf.sigmoid(clip_logits[0]))))


def showing_latents(**arguments):
    """A model whose frames are their points in latent space: z_c above, z_m below."""
    networks = {
        "generator": keras.Sequential([keras.layers.Reshape((2, 4, 1))]),
        "image_discriminator": keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)]),
        "clip_discriminator": keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)]),
    }
    return SequenceGAN((2, 4, 1), FRAMES, 4, 4, **{"seed": 3, **networks, **arguments})


def test_a_clip_has_one_content_and_a_motion_that_walks():
    gan = showing_latents()
    clips = gan.generate(200, seed=5, num_frames=30)[..., 0]  # (200, 30, 2, 4)
    content, motion = clips[:, :, 0], clips[:, :, 1]
    np.testing.assert_array_equal(content, np.repeat(content[:, :1], 30, axis=1))
    assert content.mean() == pytest.approx(0, abs=0.15)
    assert content.std() == pytest.approx(1, abs=0.1)
    # The walk is a chain: each point follows from the last one and the noise of its frame alone.
    latents = gan.draw_latents(200, 5, num_frames=30).numpy()
    np.testing.assert_array_equal(latents, np.concatenate([content, motion], axis=-1))
    near, far = (np.abs(motion[:, step:] - motion[:, :-step]).mean() for step in (1, 15))
    assert 0 < near < 0.8 * far
    correlation = np.corrcoef(content[:, 0, 0], motion[:, 0, 0])[0, 1]
    assert abs(correlation) < 0.25  # 3.5 deviations


def test_longer_clips_begin_as_shorter_ones():
    gan = small()
    clips = gan.generate(5, seed=7, num_frames=6)
    assert clips.shape == (5, 6, *SHAPE) and clips.dtype == np.float32
    for frames, batch_size in ((1, 5), (2, 2), (FRAMES, 32), (6, 1)):
        shorter = gan.generate(5, seed=7, num_frames=frames, batch_size=batch_size)
        np.testing.assert_allclose(shorter, clips[:, :frames], atol=1e-6)
    np.testing.assert_allclose(gan.generate(5, seed=7), clips[:, :FRAMES], atol=1e-6)
    assert np.abs(gan.generate(5, seed=8, num_frames=6) - clips).max() > 1e-5
    assert np.ptp(clips, axis=1).max() > 1e-6  # frames differ
    batches = list(gan.generate_batches(5, seed=7, num_frames=6, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 1]
    np.testing.assert_allclose(np.concatenate(batches), clips, atol=1e-6)
    np.testing.assert_allclose(gan(gan.draw_latents(5, 7)), clips[:, :FRAMES], atol=1e-6)


def test_random_frames_are_uniform_and_each_of_its_own_clip():
    gan = small()
    numbers = np.arange(900 * FRAMES).reshape(900, FRAMES, 1, 1, 1)
    batch = distribution.whole_batch(900)
    chosen = [gan.random_frames(tf.constant(numbers), batch).numpy().ravel() for _ in range(2)]
    np.testing.assert_array_equal(chosen[0] // FRAMES, np.arange(900))
    counts = np.bincount(chosen[0] % FRAMES, minlength=FRAMES)
    assert counts.min() > 250 and counts.max() < 350  # 300 and 3.5 deviations of 14
    assert 0.55 < (chosen[0] != chosen[1]).mean() < 0.78  # drawn afresh: two in three differ


def test_motion_moves_what_the_content_shows():
    keras.utils.set_random_seed(0)
    gan = SequenceGAN((28, 28, 1), 16, ema_decay=None)
    first = [layer for layer in gan.generator.layers if isinstance(layer, Shift)][0]
    maps, shift = keras.Model(gan.generator.input, first.input)(gan.draw_latents(4, 1)[0])
    np.testing.assert_array_equal(maps, np.repeat(maps[:1], 16, axis=0))  # those of all frames
    assert np.abs(maps).max() > 0 and np.ptp(shift, axis=0).min() > 0.1  # pixels
    frames = gan.generate(1, seed=1)[0]
    assert np.ptp(frames, axis=0).max() > 1e-4


def test_the_networks_of_the_paper_and_of_version_0_1():
    keras.utils.set_random_seed(0)
    gan = small(networks="dcgan")
    assert not [layer for layer in gan.generator.layers if isinstance(layer, Shift)]
    assert gan.generator.count_params() == dcgan_generator(SHAPE, CONTENT + MOTION).count_params()
    config = {**gan.get_config()}
    del config["keras_genimg_version"], config["networks"]
    old = SequenceGAN.from_config(config)
    assert old.arguments["networks"] == "dcgan"
    assert [w.shape for w in old.weights] == [w.shape for w in gan.weights]
    assert SequenceGAN.from_config(small().get_config()).arguments["networks"] == "shift"


@pytest.mark.slow
def test_the_ema_of_generator_and_walk():
    keras.utils.set_random_seed(0)
    gan = small(ema_decay=0.3)
    gan.compile(**sgd(0.5))
    networks = gan.generator, gan.walk
    averages = [network.get_weights() for network in networks]
    for step in (1, 2, 3):
        one_fit_step(gan)
        decay = min(0.3, (1 + step) / (10 + step))
        averages = [
            [decay * a + (1 - decay) * w for a, w in zip(average, network.get_weights())]
            for average, network in zip(averages, networks)
        ]
    for found, expected in zip((gan.ema_generator, gan.ema_walk), averages):
        for weight, value in zip(found.get_weights(), expected, strict=True):
            np.testing.assert_allclose(weight, value, atol=1e-5)
    assert not gan.ema_walk.trainable_weights and not gan.ema_generator.trainable_weights
    paths = gan.walk_paths(*gan.sample_latents(distribution.whole_batch(2)))
    shown = gan.ema_generator(tf.reshape(paths, (-1, CONTENT + MOTION)), training=False)
    np.testing.assert_allclose(gan(paths), tf.reshape(shown, (2, FRAMES, *SHAPE)), atol=1e-6)
    # Generated clips depend on the averages of both.
    seen = gan.draw_latents(2, 1).numpy()
    gan.walk.set_weights([0 * weight for weight in gan.walk.get_weights()])
    np.testing.assert_array_equal(gan.draw_latents(2, 1), seen)
    gan.ema_walk.set_weights([0 * weight for weight in gan.ema_walk.get_weights()])
    assert np.abs(gan.draw_latents(2, 1).numpy() - seen).max() > 1e-3
    assert small(ema_decay=None).ema_walk is None


def test_the_optimizers_and_what_they_train():
    gan = small()
    gan.compile()
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)
        assert float(optimizer.learning_rate) == pytest.approx(1e-3) and optimizer.beta_1 == 0.5
    trained = {
        "generator": len(gan.generator.trainable_weights) + 3,  # and the three of the cell
        "discriminator": len(gan.image_discriminator.trainable_weights)
        + len(gan.clip_discriminator.trainable_weights),
    }
    for name, number in trained.items():  # Adam: iteration, learning rate, two moments per weight
        assert len(getattr(gan, f"{name}_optimizer").variables) == 2 + 2 * number
    custom = small(generator=gan.generator)  # any network: the authors' rate
    custom.compile()
    assert float(custom.generator_optimizer.learning_rate) == pytest.approx(2e-4)


def dense_networks(width=32):
    """For clips of 4x4 frames: small enough to train in seconds."""
    dense, flatten, leaky = keras.layers.Dense, keras.layers.Flatten, keras.layers.LeakyReLU
    return {
        "generator": keras.Sequential(
            [dense(width, "relu"), dense(16, "tanh"), keras.layers.Reshape((4, 4, 1))]
        ),
        "image_discriminator": keras.Sequential([flatten(), dense(width), leaky(0.2), dense(1)]),
        "clip_discriminator": keras.Sequential([flatten(), dense(width), leaky(0.2), dense(1)]),
    }


@pytest.mark.slow
def test_it_learns_that_frames_follow_on():
    """Frames of one brightness that changes its sign with every frame."""
    keras.utils.set_random_seed(0)
    gan = SequenceGAN((4, 4, 1), 4, 4, 8, seed=3, ema_decay=None, **dense_networks())
    gan.compile(learning_rate=5e-3)
    signs = np.array([1, -1, 1, -1])[None] * np.random.default_rng(0).choice([-1, 1], (256, 1))
    clips = np.broadcast_to(0.8 * signs[..., None, None, None], (256, 4, 4, 4, 1)).astype("float32")

    def products():
        brightness = gan.generate(200, seed=1).mean((2, 3, 4))  # (200, 4)
        return (brightness[:, 1:] * brightness[:, :-1]).mean(), brightness

    assert products()[0] > -0.1
    gan.fit(clips, batch_size=64, epochs=100, verbose=0)
    product, brightness = products()
    assert product < -0.4  # -0.64 of the real ones
    assert 0.2 < (brightness[:, 0] > 0).mean() < 0.8  # both kinds of clips
    longer = gan.generate(200, seed=1, num_frames=8).mean((2, 3, 4))
    np.testing.assert_allclose(longer[:, :4], brightness, atol=1e-5)


def test_custom_networks_are_saved(tmp_path):
    gan = showing_latents(loss="least_squares")
    gan.compile()
    gan.fit(np.zeros((4, FRAMES, 2, 4, 1), "float32"), verbose=0)
    gan.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", safe_mode=True)
    assert again.arguments["loss"] == "least_squares"
    assert again.data.shape(again) == (FRAMES, 2, 4, 1)
    np.testing.assert_array_equal(again.generate(2, seed=1), gan.generate(2, seed=1))
    for name in ("image_discriminator", "clip_discriminator", "walk", "ema_walk"):
        assert_same_weights(getattr(again, name), getattr(gan, name), atol=0)


@pytest.mark.full
def test_networks_on_separate_devices():
    def trained():
        keras.utils.set_random_seed(0)
        gan = small()
        gan.compile()
        one_fit_step(gan)
        return gan

    alone = trained()
    with on_devices(generator="CPU:0", discriminator="CPU:1"):
        placed = trained()
    for mine, other in zip(placed.weights, alone.weights, strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-5, err_msg=mine.path)
    for networks, device in (
        ((placed.generator, placed.walk, placed.ema_walk), "CPU:0"),
        ((placed.image_discriminator, placed.clip_discriminator), "CPU:1"),
    ):
        found = {weight.value.device[-5:] for network in networks for weight in network.weights}
        assert found == {device}


def flat(*units):
    return keras.Sequential([keras.layers.Flatten(), *(keras.layers.Dense(n) for n in units)])


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_frames": 1}, "num_frames must be an integer of at least 2. Received: num_frames=1."),
        ({"content_dim": 0}, "content_dim must be a positive integer. Received: content_dim=0."),
        ({"motion_dim": 2.0}, "motion_dim must be a positive integer. Received: motion_dim=2.0."),
        ({"image_shape": (15, 16, 1)}, "the nearest that fits is 16x16"),
        ({"networks": "mlp"}, "networks must be one of shift, dcgan. Received: networks='mlp'."),
        ({"loss": "relativistic_average"}, "loss must be one of minimax, "),
        ({"ema_decay": 1.5}, "ema_decay must be a number of at least 0 and below 1, or None."),
        (
            {"generator": flat(7)},
            "generator must map ('batch', 9) to ('batch', 16, 16, 1). "
            "Received: a network that returns ('batch', 7).",
        ),
        (
            {"image_discriminator": flat(2)},
            "image_discriminator must map ('batch', 16, 16, 1) to ('batch', 1). "
            "Received: a network that returns ('batch', 2).",
        ),
        (
            {"clip_discriminator": flat(2)},
            "clip_discriminator must map ('batch', 3, 16, 16, 1) to ('batch', 1). "
            "Received: a network that returns ('batch', 2).",
        ),
        ({"clip_discriminator": "c3d"}, "clip_discriminator must be a keras.Model or layer."),
    ],
    ids=range(11),
)
def test_invalid_arguments(arguments, words):
    arguments = {
        "image_shape": SHAPE, "num_frames": FRAMES, "content_dim": 5, "motion_dim": 4, **arguments
    }
    with pytest.raises(InputError) as caught:
        SequenceGAN(**arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_invalid_clips():
    gan = small()
    gan.compile()
    wrong = {
        "Received: ('batch', 16, 16, 1).": CLIPS[:, 0],
        "was made for images of shape ('batch', 3, 16, 16, 1)": clips_of(smooth_pictures(8), 4),
        "Received: uint8.": np.zeros(CLIPS.shape, "uint8"),
        "Received: values from 2 to 2.": np.full(CLIPS.shape, 2.0, "float32"),
    }
    for words, clips in wrong.items():
        for given in (clips, tf.data.Dataset.from_tensor_slices(clips).batch(4)):
            with pytest.raises(InputError) as caught:
                gan.fit(given, verbose=0)
            assert words in str(caught.value)
    for number in (0, -1, 2.5):
        with pytest.raises(InputError, match="num_frames must be a positive integer"):
            gan.generate(2, num_frames=number)
