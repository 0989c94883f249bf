"""Resume: a run that is stopped, killed or corrupted ends like an uninterrupted one.

Equality bit for bit needs deterministic operations, a setting of the whole
process: those runs take place in separate processes, which execute this file.
"""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_genimg.callbacks import Resume, checkpoint_files, latest_checkpoint, resume
from keras_genimg.callbacks.checkpoint_files import save_checkpoint
from keras_genimg.callbacks.resume import latest_position, restore_metrics, save_step
from keras_genimg.errors import InputError


@keras.saving.register_keras_serializable(package="resume_tests")
class TinyGAN(keras.Model):
    """Two networks, two optimizers, an EMA of weights, two seed generators."""

    def __init__(self, width=8, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.generator = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(width, "tanh"), keras.layers.Dense(4)]
        )
        self.discriminator = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(width, "tanh"),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(1),
            ]
        )
        self.ema_generator = keras.models.clone_model(self.generator)
        self.ema_generator.trainable = False
        self.noise = keras.random.SeedGenerator(7)
        self.g_loss = keras.metrics.Mean("g_loss")
        self.built = True

    def compile(self):
        super().compile(optimizer=None)
        self.generator_optimizer = keras.optimizers.Adam(0.05)
        self.discriminator_optimizer = keras.optimizers.SGD(0.05, momentum=0.9)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def get_config(self):
        return {"width": self.width}

    def get_compile_config(self):
        return {}

    def compile_from_config(self, config):
        self.compile()

    def train_step(self, images):
        latents = keras.random.normal((images.shape[0], 3), seed=self.noise)
        with tf.GradientTape(persistent=True) as tape:
            fakes = self.generator(latents, training=True)
            real_logits = self.discriminator(images, training=True)
            fake_logits = self.discriminator(fakes, training=True)
            d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))
            g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits))
        for loss, network, optimizer in (
            (d_loss, self.discriminator, self.discriminator_optimizer),
            (g_loss, self.generator, self.generator_optimizer),
        ):
            variables = network.trainable_variables
            optimizer.apply(tape.gradient(loss, variables), variables)
        for mean, value in zip(self.ema_generator.variables, self.generator.variables):
            mean.assign(0.9 * mean + 0.1 * value)
        self.g_loss.update_state(g_loss)
        return {"g_loss": self.g_loss.result()}


DATA = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")


def fit(model, epochs, *callbacks):
    """Three steps per epoch, always in the same order."""
    return model.fit(
        DATA, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def new_gan(seed=1, **arguments):
    keras.utils.set_random_seed(seed)
    gan = TinyGAN(**arguments)
    gan.compile()
    return gan


def state(gan):
    """The whole state of training, as one list of arrays."""
    variables = [
        *gan.weights,
        *gan.generator_optimizer.variables,
        *gan.discriminator_optimizer.variables,
        gan.noise.state,
        gan.discriminator.layers[1].seed_generator.state,
    ]
    return [np.array(variable) for variable in variables]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(one, other)


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


class Slow(keras.callbacks.Callback):
    """Gives the other process time to kill this one within an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(0.3)


class StopsInTheThirdWrite(TinyGAN):
    """Stops in the middle of the third checkpoint."""

    def save(self, path):
        super().save(path)
        if "epoch-0003" in str(path):
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) // 2)
            time.sleep(600)


def main(task, folder, output):
    """The task of a separate process: train, and write the state."""
    tf.config.experimental.enable_op_determinism()
    folder = Path(folder)
    if task == "compare":
        uninterrupted = new_gan()
        fit(uninterrupted, 4)
        fit(new_gan(), 2, Resume(folder))
        # Another seed: the initial state must not matter.
        resumed = new_gan(seed=2)
        fit(resumed, 4, Resume(folder))
        np.savez(output, *state(uninterrupted), *state(resumed))
    elif task == "killed in an epoch":
        fit(new_gan(), 4, Resume(folder), Slow())
    elif task == "killed in a write":
        keras.utils.set_random_seed(1)
        gan = StopsInTheThirdWrite()
        gan.compile()
        fit(gan, 4, Resume(folder))
    elif task == "resume":
        gan = new_gan(seed=3)
        fit(gan, 4, Resume(folder))
        np.savez(output, *state(gan))


def start(*arguments):
    root = str(Path(checkpoint_files.__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    printed, _ = process.communicate(timeout=300)
    assert process.returncode == 0, printed


def arrays(path):
    with np.load(path) as file:
        return [file[f"arr_{i}"] for i in range(len(file.files))]


@pytest.fixture(scope="module")
def uninterrupted_and_resumed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    finish(start("compare", folder / "checkpoints", folder / "state.npz"))
    both = arrays(folder / "state.npz")
    return both[: len(both) // 2], both[len(both) // 2 :]


def test_two_and_two_epochs_are_four(uninterrupted_and_resumed):
    uninterrupted, resumed = uninterrupted_and_resumed
    assert_same(uninterrupted, resumed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "task, waited_for, left",
    [
        ("killed in an epoch", "epoch-0002.keras", 0),
        ("killed in a write", ".partial-*.epoch-0003.keras", 1),
    ],
)
def test_a_killed_run_resumes(tmp_path, uninterrupted_and_resumed, task, waited_for, left):
    folder = tmp_path / "checkpoints"
    process = start(task, folder, tmp_path / "never.npz")
    deadline = time.monotonic() + 240
    while not list(folder.glob(waited_for)) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if left:
        time.sleep(0.5)  # into the write, well before its end
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert len(list(folder.glob(".partial-*"))) == left
    assert latest_checkpoint(folder) == (folder / "epoch-0002.keras", 2)

    finish(start("resume", folder, tmp_path / "state.npz"))
    assert_same(arrays(tmp_path / "state.npz"), uninterrupted_and_resumed[0])
    assert names(folder) == ["epoch-0003.keras", "epoch-0004.keras"]


def test_restores_every_variable_and_the_epoch(tmp_path):
    first = new_gan()
    fit(first, 2, Resume(tmp_path))
    second = new_gan(seed=2)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: seen.append((epoch, state(second)))
    )
    history = fit(second, 3, Resume(tmp_path), watch)
    assert history.epoch == [2]
    assert seen[0][0] == 2
    assert_same(seen[0][1], state(first))
    # A later `fit` starts at epoch 0 again.
    assert fit(second, 1).epoch == [0]


def test_finished_run_trains_no_further(tmp_path):
    first = new_gan()
    fit(first, 2, Resume(tmp_path))
    second = new_gan(seed=2)
    assert fit(second, 2, Resume(tmp_path)).epoch == []
    assert_same(state(second), state(first))
    assert fit(second, 1).epoch == [0]


@pytest.mark.slow
def test_executions_of_several_steps_that_do_not_divide_the_epoch(tmp_path):
    """Five batches, two steps in an execution: each epoch still has five."""
    from cases import SHAPE, smooth_pictures

    from keras_genimg import VAE

    data = tf.data.Dataset.from_tensor_slices(smooth_pictures(20)).batch(4)

    def trained(epochs, *callbacks):
        keras.utils.set_random_seed(1)
        model = VAE(SHAPE, 2, networks="mlp", seed=0)
        model.compile(keras.optimizers.SGD(1e-4), steps_per_execution=2)
        model.fit(data, epochs=epochs, verbose=0, callbacks=list(callbacks))
        assert int(model.optimizer.iterations) == 5 * epochs
        return model.get_weights()

    unbroken = trained(3)
    trained(1, Resume(tmp_path))
    for weight, expected in zip(trained(3, Resume(tmp_path)), unbroken):
        np.testing.assert_allclose(weight, expected, atol=1e-6)


def test_builds_the_optimizer_of_a_plain_model(tmp_path):
    def plain():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)])
        model.compile("adam", "mse", metrics=["mae"])
        return model

    def fit_plain(model, epochs):
        model.fit(
            DATA, DATA, epochs=epochs, shuffle=False, verbose=0, callbacks=[Resume(tmp_path)]
        )
        return [np.array(variable) for variable in model.optimizer.variables]

    first = fit_plain(plain(), 2)
    assert_same(fit_plain(plain(), 2), first)


def test_checkpoint_is_an_ordinary_keras_file(tmp_path):
    gan = new_gan()
    fit(gan, 1, Resume(tmp_path))
    loaded = keras.saving.load_model(tmp_path / "epoch-0001.keras")
    assert_same([np.array(v) for v in loaded.weights], [np.array(v) for v in gan.weights])


def test_every_and_keep(tmp_path):
    fit(new_gan(), 7, Resume(tmp_path, every=2, keep=2))
    assert names(tmp_path) == ["epoch-0004.keras", "epoch-0006.keras"]
    assert latest_checkpoint(tmp_path) == (tmp_path / "epoch-0006.keras", 6)


def test_order_is_by_number(tmp_path):
    gan = new_gan()
    for epoch in (1, 9999, 10000):
        save_checkpoint(gan, tmp_path / f"epoch-{epoch:04d}.keras", {"epoch": epoch})
    for name in ("epoch-10001.keras.txt", "my.keras"):
        (tmp_path / name).write_bytes((tmp_path / "epoch-0001.keras").read_bytes())
    assert latest_checkpoint(tmp_path)[1] == 10000


def test_no_checkpoint(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None


def truncated(data):
    return data[: len(data) // 2]


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("corrupt", [truncated, flipped, lambda data: b""])
def test_corrupt_newest_file_costs_one_epoch(tmp_path, corrupt):
    fit(new_gan(), 3, Resume(tmp_path))
    newest = tmp_path / "epoch-0003.keras"
    newest.write_bytes(corrupt(newest.read_bytes()))
    with pytest.warns(UserWarning, match="epoch-0003.keras"):
        assert latest_checkpoint(tmp_path) == (tmp_path / "epoch-0002.keras", 2)
    with pytest.warns(UserWarning, match="epoch-0003.keras"):
        assert fit(new_gan(), 4, Resume(tmp_path)).epoch == [2, 3]
    assert names(tmp_path) == ["epoch-0003.keras", "epoch-0004.keras"]
    assert latest_checkpoint(tmp_path)[1] == 4


def test_corrupt_later_file_does_not_count_as_kept(tmp_path):
    gan = new_gan()
    fit(gan, 2, Resume(tmp_path))
    (tmp_path / "epoch-0009.keras").write_bytes(b"corrupt")
    with pytest.warns(UserWarning, match="epoch-0009.keras"):
        fit(gan, 3, Resume(tmp_path, keep=1))
    assert names(tmp_path) == ["epoch-0003.keras", "epoch-0009.keras"]


def test_checkpoints_within_epochs(tmp_path):
    """`latest_position` finds them; `Resume` goes on after whole epochs, and removes them."""
    gan = new_gan()
    fit(gan, 1, Resume(tmp_path))
    for step in (2, 10):
        save_step(gan, tmp_path, 1, step)
    newest = tmp_path / "epoch-0001-step-000010.keras"
    assert names(tmp_path) == [newest.name, "epoch-0001.keras"]
    assert latest_position(tmp_path) == (newest, 1, 10)
    assert latest_checkpoint(tmp_path) == (tmp_path / "epoch-0001.keras", 1)

    variable = gan.metrics_variables[0]
    before = np.array(variable)
    variable.assign(before + 1)
    restore_metrics(gan, newest)
    np.testing.assert_array_equal(variable, before)
    keras.saving.load_model(newest)  # an ordinary file

    newest.write_bytes(flipped(newest.read_bytes()))
    with pytest.warns(UserWarning, match="step-000010"):
        assert latest_position(tmp_path) == (tmp_path / "epoch-0001.keras", 1, 0)
    assert fit(new_gan(), 3, Resume(tmp_path)).epoch == [1, 2]
    assert names(tmp_path) == ["epoch-0002.keras", "epoch-0003.keras"]


def test_non_finite_weights_are_never_written(tmp_path):
    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.generator_optimizer.iterations == 8:  # in epoch 3
                kernel = self.model.generator.layers[0].kernel
                kernel.assign(kernel * np.nan)

    with pytest.raises(InputError) as caught:
        fit(new_gan(), 5, Resume(tmp_path), Break())
    message = str(caught.value)
    assert "epoch 3 (step 9)" in message
    assert str(tmp_path / "epoch-0002.keras") in message
    assert names(tmp_path) == ["epoch-0001.keras", "epoch-0002.keras"]


def test_under_a_strategy(tmp_path):
    """Variables of a strategy are saved, restored and checked too."""
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        first, second = new_gan(), new_gan(seed=2)
    assert "Mirrored" in type(first.generator_optimizer.iterations.value).__name__
    for model in (first, second):
        callback = Resume(tmp_path)
        callback.set_model(model)
        callback.on_train_begin()
        if model is first:
            callback.on_epoch_end(0)
            callback.on_epoch_end(1)
    assert second._initial_epoch == 2
    assert_same(state(second), state(first))
    kernel = second.generator.layers[0].kernel
    kernel.assign(kernel * np.nan)
    with pytest.raises(InputError, match="epoch 3 .step 0.*kernel"):
        callback.on_epoch_end(2)


def test_non_finite_optimizer_is_found_between_checkpoints(tmp_path):
    def spoil(epoch, logs):
        gan.generator_optimizer.variables[-1].assign([np.inf] * 4)

    gan = new_gan()
    callback = keras.callbacks.LambdaCallback(on_epoch_end=spoil)
    with pytest.raises(InputError, match="none yet.*epoch 1"):
        fit(gan, 4, callback, Resume(tmp_path, every=3))
    assert names(tmp_path) == []


def test_another_width_is_refused(tmp_path):
    fit(new_gan(), 1, Resume(tmp_path))
    other = new_gan(width=6)
    before = state(other)
    with pytest.raises(InputError, match=r"\(4, 8\).*Received: TinyGAN.*\(4, 6\)"):
        fit(other, 2, Resume(tmp_path))
    assert_same(state(other), before)
    assert names(tmp_path) == ["epoch-0001.keras"]


@pytest.mark.parametrize("saved, live", [(2, 3), (3, 2)])
def test_another_depth_is_refused(tmp_path, saved, live):
    """Keras alone loads the file of a deep model into a shallower one without an error."""

    def fit_depth(depth):
        model = keras.Sequential([keras.Input((4,))])
        for _ in range(depth):
            model.add(keras.layers.Dense(4))
        model.compile("sgd", "mse")
        model.fit(DATA, DATA, epochs=2, verbose=0, callbacks=[Resume(tmp_path, keep=1)])

    fit_depth(saved)
    with pytest.raises(InputError, match="does not exist"):
        fit_depth(live)


def test_unbuilt_model_and_unbuilt_optimizer_are_refused(tmp_path):
    fit(new_gan(), 1, Resume(tmp_path))
    gan = new_gan()
    gan.generator_optimizer = keras.optimizers.Adam(0.05)
    with pytest.raises(InputError, match="generator_optimizer"):
        fit(gan, 2, Resume(tmp_path))
    model = keras.Sequential([keras.layers.Dense(4)])
    model.compile("sgd", "mse")
    with pytest.raises(InputError, match="build"):
        model.fit(DATA, DATA, epochs=2, verbose=0, callbacks=[Resume(tmp_path)])


def test_partial_files_are_removed_and_others_kept(tmp_path):
    for name in (".partial-12.epoch-0001.keras", ".partial-7.other.keras", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    fit(new_gan(), 1, Resume(tmp_path))
    assert names(tmp_path) == [".partial-7.other.keras", "epoch-0001.keras", "notes.txt"]


def test_workers_that_are_not_chief_save_and_keep_nothing(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(checkpoint_files, "is_chief", lambda strategy: False)
    monkeypatch.setattr(TinyGAN, "save", lambda self, path: saved.append(Path(path)))
    fit(new_gan(), 2, Resume(tmp_path / "checkpoints"))
    assert [path.name for path in saved] == ["epoch-0001.keras", "epoch-0002.keras"]
    assert names(tmp_path) == []
    assert not any(path.parent.exists() for path in saved)


@pytest.mark.parametrize("arguments", [{"every": 0}, {"keep": 0}])
def test_arguments_are_checked(tmp_path, arguments):
    with pytest.raises(InputError, match="must be a positive integer"):
        Resume(tmp_path, **arguments)


def test_note_is_the_archive_comment(tmp_path):
    gan = new_gan()
    fit(gan, 1, Resume(tmp_path))
    with zipfile.ZipFile(tmp_path / "epoch-0001.keras") as archive:
        assert sorted(archive.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
    note = checkpoint_files.read_note(tmp_path / "epoch-0001.keras")
    assert note["epoch"] == 1
    assert np.array(gan.noise.state).tolist() in note["seed_generators"]


def with_note(path, change):
    """Writes the note of a file anew, as if it had been written so."""
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = change(archive.comment)


def test_the_note_has_a_checksum(tmp_path):
    path = tmp_path / "epoch-0001.keras"
    save_checkpoint(new_gan(), path, {"epoch": 1})
    note = checkpoint_files.read_note(path)
    digit = str(note["seed_generators"][0][0]).encode()
    other = digit[:-1] + (b"1" if digit[-1:] == b"0" else b"0")
    with_note(path, lambda comment: comment.replace(digit, other, 1))
    with pytest.raises(InputError, match="epoch-0001.keras .its note is damaged"):
        checkpoint_files.read_note(path)
    with_note(path, lambda comment: json.dumps(note).encode())  # of an earlier version
    assert checkpoint_files.read_note(path) == note


def test_states_of_seed_generators_are_checked(tmp_path):
    gan, path = new_gan(), tmp_path / "my.keras"
    save_checkpoint(gan, path, {})
    note, before = checkpoint_files.read_note(path), state(gan)
    for seed in ([1], [[1, 2]], 7, "ab", None, [1.5, 2.0], [2**70, 0], [[1], 2]):
        note["seed_generators"][-1] = seed
        with_note(path, lambda comment: json.dumps(note).encode())
        with pytest.raises(InputError, match="must have states like those of the model"):
            checkpoint_files.restore_checkpoint(gan, path)
    assert_same(state(gan), before)


def test_the_step_of_a_name_is_that_of_the_file(tmp_path):
    gan = new_gan()
    save_step(gan, tmp_path, 1, 2)
    save_checkpoint(gan, tmp_path / "epoch-0001.keras", {"epoch": 1})
    whole, within = tmp_path / "epoch-0001.keras", tmp_path / "epoch-0001-step-000002.keras"
    for name, other in (("epoch-0002-step-000003", whole), ("epoch-0002", within),
                        ("epoch-0003", whole)):  # fmt: skip
        (tmp_path / f"{name}.keras").write_bytes(other.read_bytes())
        with pytest.raises(InputError, match=f"{name}.keras .its note is that of another"):
            checkpoint_files.read_note(tmp_path / f"{name}.keras")
    with pytest.warns(UserWarning, match="skipped"):
        assert latest_position(tmp_path) == (within, 1, 2)
    with zipfile.ZipFile(within) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        comment = archive.comment
    for metrics in (None, b"", b"x"):
        with zipfile.ZipFile(within, "w") as archive:
            for name, content in {**members, "metrics.npz": metrics}.items():
                if content is not None:
                    archive.writestr(name, content)
            archive.comment = comment
        with pytest.raises(InputError, match="A checkpoint must be intact"):
            checkpoint_files.read_note(within)


def test_the_metrics_of_another_model_are_refused(tmp_path):
    gan = new_gan()
    save_step(gan, tmp_path, 1, 2)
    monitored = new_gan()
    monitored.more = keras.metrics.Mean("more")
    with pytest.raises(InputError, match="Only the same model can resume a run.*metrics"):
        restore_metrics(monitored, tmp_path / "epoch-0001-step-000002.keras")


def test_a_checkpoint_that_is_removed_meanwhile_is_no_damage(tmp_path, monkeypatch, recwarn):
    gan, read = new_gan(), resume.read_note
    for epoch in (2, 3):
        save_checkpoint(gan, tmp_path / f"epoch-000{epoch}.keras", {"epoch": epoch})

    def removed(path):
        if path.name == "epoch-0003.keras":
            path.unlink()
            save_checkpoint(gan, path.with_name("epoch-0004.keras"), {"epoch": 4})
        return read(path)

    monkeypatch.setattr(resume, "read_note", removed)
    assert latest_checkpoint(tmp_path) == (tmp_path / "epoch-0004.keras", 4)
    assert not [each for each in recwarn if "skipped" in str(each.message)]


if __name__ == "__main__":
    main(*sys.argv[1:])
