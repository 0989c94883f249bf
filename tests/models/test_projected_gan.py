"""ProjectedGAN: one step against plain tapes, and the frozen projections that images go through."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, small_features, smooth_pictures
from plain import assert_same_weights, copy_of, descend, formulas, moved, sgd

from keras_genimg import InputError, ProjectedGAN, distribution
from keras_genimg.networks import feature_maps, projected_discriminator, random_projector

LATENT_DIM = 6
RATE = 0.01


def small(**arguments):
    arguments = {"features": small_features(), "augment": None, "seed": 3, **arguments}
    return ProjectedGAN(SHAPE, LATENT_DIM, **arguments)


@pytest.fixture(scope="module")
def gan():
    return small()


# ------------------------------------------------------------------- the step


@pytest.mark.parametrize("num_classes", [None, 3])
def test_a_step_is_that_of_plain_tapes(num_classes):
    """Sums over three discriminators of two mixed maps and the image; one batch of fakes."""
    keras.utils.set_random_seed(0)
    model = small(num_classes=num_classes)
    model.compile(**sgd(RATE))
    labels = [] if num_classes is None else [tf.range(8) % num_classes]
    g, d = copy_of(model.generator), copy_of(model.discriminator)
    start, projector = [g.get_weights(), d.get_weights()], model.projector.get_weights()
    images = smooth_pictures(8)
    logs = model.fit(images, *map(np.array, labels), batch_size=8, shuffle=False, verbose=0).history

    generator_loss, discriminator_loss = formulas("hinge")
    noise = distribution.random_normal(
        distribution.whole_batch(8), (LATENT_DIM,), keras.random.SeedGenerator(3).next()
    )
    inputs = [noise, *labels] if labels else noise
    fakes = g(inputs, training=True)
    with tf.GradientTape() as tape:
        real = d([*model.projector(images), tf.constant(images), *labels], training=True)
        fake = d([*model.projector(fakes), fakes, *labels], training=True)
        d_loss = sum(discriminator_loss(*pair) for pair in zip(real, fake, strict=True))
    descend(d, d_loss, tape, RATE)
    with tf.GradientTape() as tape:
        fakes = g(inputs, training=True)
        logits = d([*model.projector(fakes), fakes, *labels], training=True)
        g_loss = sum(map(generator_loss, logits))
    descend(g, g_loss, tape, RATE)

    assert_same_weights(model.discriminator, d)
    trained = [(a, b) for a, b in zip(model.generator.weights, g.weights) if a.trainable]
    for mine, theirs in trained:  # this test ran the generator twice: its moments moved twice
        np.testing.assert_allclose(mine, theirs, atol=1e-5, err_msg=mine.path)
    assert moved(g, start[0]) > 1e-4 and moved(d, start[1]) > 1e-3
    for weight, before in zip(model.projector.get_weights(), projector, strict=True):
        np.testing.assert_array_equal(weight, before)
    assert logs["d_loss"] == pytest.approx([float(d_loss)], rel=1e-4)
    assert logs["g_loss"] == pytest.approx([float(g_loss)], rel=1e-4)
    for name, maps in (("real_score", real), ("fake_score", fake)):
        values = np.concatenate([np.ravel(each) for each in maps])
        assert logs[name] == pytest.approx([np.mean(1 / (1 + np.exp(-values)))], rel=1e-4)


def test_images_are_augmented_before_the_projections():
    images = smooth_pictures(4)
    model = small(augment="translation,cutout")
    plain = model.projected(images)
    for maps in (model.projected(images, training=True), model.projected(images, training=True)):
        changed = maps[-1]
        assert (np.array(changed) != images).any()
        for found, expected in zip(maps, model.projector(changed)):
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(plain[-1], images)


def test_what_discriminate_gives(gan):
    images = tf.constant(smooth_pictures(5))
    logits = gan.discriminate(images)
    assert logits.shape == (5, 3)
    maps = gan.discriminator([*gan.projector(images), images])
    np.testing.assert_allclose(logits[:, 1], np.mean(maps[1], axis=(1, 2, 3)), rtol=1e-5)


def test_the_logits_of_a_class():
    """psi(phi) + <e_y, phi>: the logits of two classes differ by <e_a - e_b, phi>."""
    judges = projected_discriminator([(8, 8, 3), (4, 4, 2)], filters=5, num_classes=3)
    maps = [tf.random.stateless_normal((2, 8, 8, 3), (0, 1)), tf.zeros((2, 4, 4, 2))]
    by_class = [judges([*maps, tf.fill((2,), label)])[0] for label in range(3)]
    phi = next(each for each in judges.layers if isinstance(each, keras.layers.LeakyReLU))
    phi = keras.Model(judges.inputs[:2], phi.output)(maps)  # (2, 4, 4, 5)
    tables = [each for each in judges.layers if each.name.startswith("spectral")]
    directions = [each for each in tables if isinstance(each.layer, keras.layers.Dense)][0]
    e = directions(tf.eye(3))  # (3, 5)
    for a, b in ((0, 1), (1, 2)):
        expected = tf.einsum("nhwc,c->nhw", phi, e[a] - e[b])
        np.testing.assert_allclose((by_class[a] - by_class[b])[..., 0], expected, atol=1e-5)
    assert np.abs(by_class[0] - by_class[1]).max() > 1e-3


def test_a_model_with_classes():
    model = small(num_classes=3, ema_decay=None)
    model.compile(learning_rate=0.01)
    images, labels = smooth_pictures(6), np.arange(6) % 3
    model.fit(images, labels, batch_size=3, verbose=0)
    of_one, of_another = (model.generate(2, labels=label, seed=0) for label in (0, 1))
    assert np.abs(of_one - of_another).max() > 1e-4
    logits = model.discriminate(images, labels)
    assert logits.shape == (6, 3)
    tensors = tf.constant(images), tf.constant(labels, tf.int32)
    np.testing.assert_array_equal(model.discriminate(*tensors), logits)
    with pytest.raises(InputError, match="is trained on"):
        model.fit(smooth_pictures(4), verbose=0)


# ------------------------------------------------------------------- projections


def test_mixing_across_channels_and_scales():
    """Each mixed channel sees every channel; fine maps see coarse ones, not the reverse."""
    features = feature_maps(small_features(), SHAPE)
    projector = random_projector(features, filters=5)
    assert [each.shape[1:] for each in projector.outputs] == [(8, 8, 5), (4, 4, 5)]
    mix = keras.Model(features.outputs, projector.outputs)
    maps = [tf.random.stateless_uniform((1, *each.shape[1:]), (1, 2)) for each in features.outputs]
    for output, sees in ((0, (True, True)), (1, (False, True))):
        with tf.GradientTape() as tape:
            tape.watch(maps)
            channel = tf.reduce_sum(mix(maps)[output][..., 2])
        for gradient, seen in zip(tape.gradient(channel, maps), sees, strict=True):
            if seen:
                assert (np.abs(gradient).sum(axis=(0, 1, 2)) > 0).all()
            else:
                assert gradient is None


def test_maps_of_named_networks():
    assert [each.shape[1:] for each in feature_maps("cifar10", (32, 32, 3)).outputs] == [
        (16, 16, 64), (8, 8, 192), (4, 4, 128),
    ]  # fmt: skip
    larger = feature_maps("cifar10", (64, 64, 3)).outputs
    assert [each.shape[1] for each in larger] == [32, 16, 8]


@pytest.mark.parametrize(
    "name, sides",
    [("EfficientNetV2B0", [32, 16, 8, 4]), ("MobileNetV3Small", [32, 16, 8, 4])]
    + [pytest.param("VGG16", [32, 16, 8, 4], marks=pytest.mark.slow)],
)
def test_networks_of_keras_applications(name, sides):
    """With the preprocessing in front that turns [-1, 1] into what they were trained on."""
    images = keras.Input((64, 64, 3))
    pixels = keras.layers.Rescaling(127.5, 127.5)(images)
    make = getattr(keras.applications, name)
    network = make(include_top=False, weights=None, input_tensor=pixels)
    maps = feature_maps(network, (64, 64, 3))
    assert [each.shape[1] for each in maps.outputs] == sides
    white = np.ones((1, 64, 64, 3), "float32")
    np.testing.assert_allclose(
        maps(white)[-1],
        keras.Model(network.input, network.get_layer(maps.layers[-1].name[9:]).output)(white),
        atol=1e-5,
    )


def test_features_may_have_the_names_that_new_layers_get():
    """A file of another session has them; in one functional model names must differ."""
    number = int(f"{keras.layers.Conv2D(1, 1).name}_0".split("_")[1])
    inputs = x = keras.Input(SHAPE)
    for i in range(1, 5):
        x = keras.layers.Conv2D(
            2, 3, 2 if i < 3 else 1, "same", activation="relu", name=f"conv2d_{number + i}"
        )(x)
    maps = feature_maps(keras.Model(inputs, x), SHAPE)
    assert [each.shape[1] for each in random_projector(maps).outputs] == [8, 4]


def test_a_copy_is_held_and_a_file_is_read(tmp_path):
    features = small_features()
    features.save(tmp_path / "features.keras")
    images = smooth_pictures(2)
    expected = [features.layers[1](images), features(images)]
    path = tmp_path / "features.keras"
    for given in (features, path, str(path)):
        found = feature_maps(given, SHAPE)(images)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, atol=1e-6)
    model = small(features=features)
    before = model.projector.get_weights()
    for weight in features.weights:
        weight.assign(weight + 1.0)
    for weight, old in zip(model.projector.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)


def test_a_saved_model_needs_no_other_file_and_stays_frozen(gan, tmp_path):
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    assert not again.projector.trainable_weights
    images = smooth_pictures(3)
    np.testing.assert_array_equal(again.discriminate(images), gan.discriminate(images))


def test_networks_that_cannot_be_projected_on(tmp_path):
    inputs = keras.Input(SHAPE)
    flat = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    (tmp_path / "bad.keras").write_text("no model")
    for features, words in (
        ("cifar11", 'features must be "fashion_mnist"'),
        (str(tmp_path / "none.keras"), "features must be a file that exists"),
        (str(tmp_path / "bad.keras"), "features must be a file of a keras.Model"),
        (flat, "features must have maps"),
        (keras.Sequential([keras.Input(SHAPE), small_features()]),
         "features must have all layers in one network"),
        (keras.layers.Dense(3), "features must be a functional or sequential keras.Model"),
        (3, "features must be"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            small(features=features)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="features must be a network of images"):
        ProjectedGAN((16, 16, 3), features=small_features())


def test_custom_discriminators(gan):
    shapes = [each.shape[1:] for each in gan.projector.outputs] + [SHAPE]
    maps = [keras.Input(shape) for shape in shapes]
    one_by_one = keras.Model(maps, [keras.layers.Conv2D(1, 1)(each) for each in maps])
    model = small(discriminator=one_by_one)
    model.compile()
    model.fit(smooth_pictures(4), batch_size=4, verbose=0)
    with pytest.raises(InputError, match="discriminator must"):
        small(discriminator=keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(1, 3)]))
