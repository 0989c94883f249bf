"""One optimizer or two: how they are given, what callbacks see of them, and Keras's options."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import SHAPE, smooth_pictures

from keras_genimg import GAN, VAE, CNNClassifier, InputError
from keras_genimg.core import dtype_policy
from keras_genimg.optimizers import Adam

IMAGES = smooth_pictures(16)
NAMES = ("generator_optimizer", "discriminator_optimizer")
FIT = {"batch_size": 8, "verbose": 0}


def dense(inputs, outputs, **options):
    """A network of one layer."""
    return keras.Sequential([
        keras.Input(inputs), keras.layers.Flatten(),
        keras.layers.Dense(int(np.prod(outputs)), **options), keras.layers.Reshape(outputs),
    ])  # fmt: skip


def make_gan(**arguments):
    keras.utils.set_random_seed(1)
    networks = {"generator": dense((4,), SHAPE), "discriminator": dense(SHAPE, (1,))}
    return GAN(SHAPE, latent_dim=4, seed=1, **{**networks, **arguments})


def make_vae():
    keras.utils.set_random_seed(1)
    return VAE(SHAPE, 2, networks="mlp", network_options={"units": (8,)}, seed=1)


def compiled_gan(*args, run_eagerly=True, **arguments):
    gan = make_gan()
    gan.compile(*args, run_eagerly=run_eagerly, **arguments)
    return gan


def rates(gan):
    return [float(getattr(gan, name).learning_rate) for name in NAMES]


def largest_difference(one, other):
    return max(np.abs(a - b).max() for a, b in zip(one, other))


# ------------------------------------------------------------------ how two optimizers are given


@pytest.mark.parametrize("kind", ["name", "object", "keyword"])
def test_one_optimizer_is_for_both(kind):
    given = "rmsprop" if kind == "name" else keras.optimizers.RMSprop(0.25, name="mine")
    gan = compiled_gan(optimizer=given) if kind == "keyword" else compiled_gan(given)
    both = [getattr(gan, name) for name in NAMES]
    assert [type(each) for each in both] == [keras.optimizers.RMSprop] * 2
    assert both[0] is not both[1] and both[0].name != both[1].name
    if kind != "name":
        assert both[0].name == "mine" and rates(gan) == [0.25, 0.25]
    gan.fit(IMAGES, **FIT)
    assert [int(each.iterations) for each in both] == [2, 2]


def test_a_side_has_its_own():
    sgd, lion = keras.optimizers.SGD(0.5), keras.optimizers.Lion(0.125)
    gan = compiled_gan(sgd, lion)
    assert gan.generator_optimizer is sgd and gan.discriminator_optimizer is lion
    gan = compiled_gan(generator_optimizer="lion")
    assert type(gan.generator_optimizer) is keras.optimizers.Lion
    assert type(gan.discriminator_optimizer) is Adam  # the paper's
    gan = compiled_gan("sgd", generator_optimizer="lion")
    assert [type(getattr(gan, name)).__name__ for name in NAMES] == ["Lion", "SGD"]
    with pytest.raises(InputError, match="optimizer is for networks without a separate optimizer"):
        gan.compile("sgd", "sgd", generator_optimizer="sgd")
    with pytest.raises(InputError, match="losses and logs are .*train_step.*: loss, metrics"):
        gan.compile("adam", loss="mse", metrics=["mae"])


# ----------------------------------------------------------------------- what callbacks see of two


@pytest.mark.parametrize("kind", ["LearningRateScheduler", "ReduceLROnPlateau"])
def test_callbacks_move_both_rates(kind):
    callback = {
        "LearningRateScheduler": keras.callbacks.LearningRateScheduler(
            lambda epoch, rate: rate / 2
        ),
        "ReduceLROnPlateau": keras.callbacks.ReduceLROnPlateau(
            monitor="g_loss", mode="min", patience=0, min_delta=1e9, factor=0.5
        ),
    }[kind]
    gan = compiled_gan(learning_rate=(1e-3, 4e-3))
    history = gan.fit(IMAGES, epochs=3, callbacks=[callback], **FIT).history
    halved = 3 if kind == "LearningRateScheduler" else 2  # the first epoch is the best so far
    np.testing.assert_allclose(rates(gan), [1e-3 / 2**halved, 4e-3 / 2**halved], rtol=1e-6)
    assert len(history["learning_rate"]) == 3


def test_the_rate_of_two(tmp_path):
    gan = compiled_gan(learning_rate=(1e-3, 4e-3))
    # As wandb's WandbMetricsLogger reads it.
    assert gan.optimizer.learning_rate.shape == ()
    assert gan.optimizer.learning_rate.numpy().item() == pytest.approx(1e-3)
    gan.optimizer.learning_rate = 0.0  # as a schedule with a warm-up begins
    assert rates(gan) == [0.0, 0.0]
    gan.optimizer.learning_rate = np.float32(0.5)
    np.testing.assert_allclose(rates(gan), [0.5, 2.0], rtol=1e-6)
    with pytest.raises(InputError, match="schedule is set at compile"):
        gan.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)
    for rates_given in ((0.5, schedule), (schedule, 0.5)):
        gan = compiled_gan(learning_rate=rates_given)
        with pytest.raises(TypeError, match="LearningRateSchedule"):  # Keras's
            gan.optimizer.learning_rate = 0.25
        assert 0.5 in rates(gan)
    assert compiled_gan(learning_rate=schedule).optimizer.learning_rate.numpy() == 1.0


def test_what_else_keras_asks_of_an_optimizer(tmp_path, capsys):
    gan = compiled_gan("adam")
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "logs", write_steps_per_second=True),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    gan.fit(IMAGES, validation_data=IMAGES, callbacks=callbacks, **FIT)
    assert int(gan.optimizer.iterations) == 2 and gan.optimizer.built
    assert set(gan.optimizer.get_config()) == set(NAMES)
    gan.summary()
    slots = sum(int(np.prod(v.shape)) for name in NAMES for v in getattr(gan, name).variables)
    assert f"Optimizer params: {slots:,}" in capsys.readouterr().out
    assert len(keras.tree.flatten(gan.get_state_tree()["optimizer_variables"])) == len(
        gan.optimizer.variables
    )
    gan.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert type(again.optimizer) is type(gan.optimizer)
    for one, other in zip(gan.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_swapped_with_their_averages_and_back():
    def weights_of(networks=("generator", "discriminator")):
        return [w.numpy() for name in networks for w in getattr(gan, name).trainable_weights]

    gan = compiled_gan(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5))
    gan.fit(IMAGES, epochs=2, **FIT)
    seen, swap = [], keras.callbacks.SwapEMAWeights()
    look = keras.callbacks.LambdaCallback(on_test_begin=lambda logs: seen.append(weights_of()))
    before, averages = weights_of(), gan.optimizer._model_variables_moving_average
    averages = [each.numpy() for each in averages]
    assert largest_difference(before, averages) == 0  # the end of `fit` sets them, as in Keras
    gan.train_on_batch(IMAGES)
    before = weights_of()
    averages = [each.numpy() for each in gan.optimizer._model_variables_moving_average]
    assert largest_difference(before, averages) > 1e-3
    gan.evaluate(IMAGES, callbacks=[swap, look], **FIT)
    assert largest_difference(seen[0], averages) < 1e-6  # swapped by additions
    assert largest_difference(weights_of(), before) < 1e-6
    gan.fit(IMAGES, epochs=2, validation_data=IMAGES, callbacks=[swap], **FIT)
    assert largest_difference(weights_of(), before) > 1e-3 and np.isfinite(weights_of()[0]).all()

    one = keras.optimizers.SGD(0.01, use_ema=True)
    gan = compiled_gan(generator_optimizer=one)
    gan.fit(IMAGES, validation_data=IMAGES, callbacks=[swap], **FIT)
    assert len(gan.optimizer._model_variables_moving_average) == 2
    gan.compile(run_eagerly=True)
    with pytest.raises(ValueError, match="use_ema=True"):  # Keras's
        gan.evaluate(IMAGES, callbacks=[swap], **FIT)


# ---------------------------------------------------------------------- the options of optimizers


@pytest.mark.parametrize("make", [make_gan, make_vae])
def test_the_scale_of_a_loss_changes_nothing(make):
    results = []
    for scale in (None, 128.0):
        model = make()
        model.compile(keras.optimizers.SGD(0.01, loss_scale_factor=scale), run_eagerly=True)
        model.fit(IMAGES, **FIT)
        results.append(model.get_weights())
    assert largest_difference(*results) == 0


@pytest.mark.parametrize(
    "optimizer",
    [
        pytest.param(keras.optimizers.SGD, marks=pytest.mark.slow),
        pytest.param(keras.optimizers.Adam, marks=pytest.mark.slow),
        Adam,
    ],
)
def test_four_batches_accumulated_are_one(optimizer):
    images, labels = smooth_pictures(32), np.arange(32) % 3
    results = []
    for steps, size in ((4, 8), (None, 32)):
        keras.utils.set_random_seed(0)
        model = CNNClassifier(SHAPE, 3)
        model.compile(optimizer(0.1, gradient_accumulation_steps=steps))
        model.fit(images, labels, epochs=2, batch_size=size, shuffle=False, verbose=0)
        assert int(model.optimizer.iterations) == 2
        results.append(model.get_weights())
    assert largest_difference(*results) < 1e-5


def test_gans_accumulate_too():
    gan = compiled_gan(Adam(1e-3, gradient_accumulation_steps=2), run_eagerly=False)
    start = gan.get_weights()
    gan.fit(IMAGES[:8], **FIT)
    assert int(gan.generator_optimizer.iterations) == 0
    assert all((a == b).all() for a, b in zip(start, gan.get_weights()))
    gan.fit(IMAGES[:8], **FIT)
    assert int(gan.generator_optimizer.iterations) == 1
    expected = 2 / 11 * start[4] + 9 / 11 * gan.get_weights()[0]  # one step of the EMA generator
    np.testing.assert_allclose(gan.ema_generator.get_weights()[0], expected, rtol=1e-5)
    assert any((a != b).any() for a, b in zip(start, gan.get_weights()))


@pytest.mark.parametrize(
    "options", [{"gradient_accumulation_steps": 2}, {"use_ema": True, "ema_overwrite_frequency": 2}]
)
def test_what_replicas_cannot_do_is_refused(options, mirrored):
    with mirrored.scope():
        gan = make_gan()
        with pytest.raises(InputError, match=f"{[*options][-1]} needs a model on one device"):
            gan.compile(keras.optimizers.Adam(**options))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"clipnorm": 0.5}, marks=pytest.mark.slow),
        pytest.param({"global_clipnorm": 0.5}, marks=pytest.mark.slow),
        pytest.param({"clipvalue": 0.01}, marks=pytest.mark.slow),
        pytest.param({"weight_decay": 0.1}, marks=pytest.mark.slow),
        pytest.param({"use_ema": True}, marks=pytest.mark.slow),
        pytest.param({"loss_scale_factor": 128.0}, marks=pytest.mark.slow),
    ],
)
def test_one_and_two_replicas_agree(options, mirrored):
    """Keras by itself clips what each replica contributes."""
    results = []
    for strategy in (tf.distribute.get_strategy(), mirrored):
        with dtype_policy("float64"), strategy.scope():
            vae, sgd = make_vae(), keras.optimizers.SGD(1e-4, **options)
            for _ in range(2):  # the second changes nothing
                vae.compile(sgd)
        vae.fit(tf.data.Dataset.from_tensor_slices(IMAGES).batch(8), verbose=0)
        results.append(vae.get_weights())
    assert largest_difference(*results) < 1e-12


OTHERS = ("AdamW", "Lion", "Lamb", "Nadam", "Ftrl", "RMSprop")


@pytest.mark.parametrize("make", [make_gan, make_vae])
@pytest.mark.parametrize(
    "name", ["Muon", *[pytest.param(name, marks=pytest.mark.slow) for name in OTHERS]]
)
def test_every_optimizer_of_keras_trains_and_is_loaded(name, make, tmp_path):
    model = make()
    model.compile(getattr(keras.optimizers, name)(1e-3), run_eagerly=True)
    start = model.get_weights()
    model.fit(IMAGES, **FIT)
    assert any((a != b).any() for a, b in zip(start, model.get_weights()))
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras")
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_optimizers_that_cannot_be_used():
    inside = keras.optimizers.Adam()
    with pytest.raises(InputError, match="LossScaleOptimizer is for mixed_float16"):
        make_gan().compile(keras.optimizers.LossScaleOptimizer(inside))
    foreign = keras.optimizers.Adam()
    foreign.build([keras.Variable([1.0])])
    with pytest.raises(InputError, match="pass a new one.*Adam built for other weights"):
        make_vae().compile(foreign)


@pytest.mark.parametrize("option, value", [
    ("jit_compile", "maybe"), ("jit_compile", 1), ("run_eagerly", 5), ("run_eagerly", None),
    ("steps_per_execution", "x"), ("steps_per_execution", 0), ("steps_per_execution", True),
])  # fmt: skip
def test_options_of_execution_that_are_refused(option, value):
    with pytest.raises(InputError, match=f"{option} must be .* Received: {option}={value!r}"):
        make_vae().compile(**{option: value})


def test_the_optimizer_of_before_keeps_its_state():
    vae = make_vae()
    vae.compile("adam", run_eagerly=True)
    vae.fit(IMAGES, **FIT)
    variables = len(vae.optimizer.variables)
    vae.encoder.trainable = False
    vae.compile(vae.optimizer, run_eagerly=True)
    vae.fit(IMAGES, **FIT)
    assert int(vae.optimizer.iterations) == 4 and len(vae.optimizer.variables) == variables
