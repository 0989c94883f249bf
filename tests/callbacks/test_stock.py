"""Keras's own callbacks do on every kind of model what they do in Keras: docs/callbacks.md."""

import csv
import http.server
import json
import pathlib
import re
import threading
import urllib.parse

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, dataset, smooth_pictures
from matrix import Lazy, state_of

from keras_genimg.errors import InputError

DOCS = (pathlib.Path(__file__).parents[2] / "docs" / "callbacks.md").read_text()
SMALL = {"gan": {"networks": "mlp"}, "vae": {"networks": "mlp"}}
COLUMNS = {"`VAE`": "vae", "`GAN`": "gan", "`VQVAE`": "vq_vae"}
MORE = ("conditional_gan", "wgan_gp", "cyclegan", "vq_gan", "cnn_classifier", "code_transformer")
RATE = 1e-3


class Fitting:
    """A compiled model on its data, whose step is traced once for all callbacks."""

    def __init__(self, name):
        keras.utils.set_random_seed(1)
        self.make = lambda: MODELS[name](**SMALL.get(name, {}))
        self.model = self.make()
        self.model.compile(learning_rate=RATE)
        self.data = dataset(smooth_pictures(16), self.model, 8)
        names = self.fit(1)
        self.log = next(name for name in ("loss", "g_loss") if name in names)

    def fit(self, epochs, *callbacks, **options):
        fitted = self.model.fit(
            self.data, epochs=epochs, callbacks=[*callbacks], **{"verbose": 0, **options}
        )
        return fitted.history

    def optimizers(self):
        return [getattr(self.model, name) for name in self.model.default_optimizers()]

    def rates(self):
        return [float(optimizer.learning_rate) for optimizer in self.optimizers()]


@pytest.fixture(scope="module")
def fittings():
    return Lazy(Fitting)


@pytest.fixture
def restored_rates(fittings):
    yield
    for fitting in fittings.values():
        for optimizer in fitting.optimizers():
            optimizer.learning_rate = RATE


def backup_and_restore(fitting, folder):
    model, path = fitting.model, folder / "backup"
    backup = keras.callbacks.BackupAndRestore(path, delete_checkpoint=False)
    fitting.fit(1, backup)
    fitting.fit(2, initial_epoch=1)
    uninterrupted = state_of(model)
    variables = [*model.variables, *(v for each in fitting.optimizers() for v in each.variables)]
    for variable in variables:
        variable.assign(np.zeros(variable.shape))
    assert len(fitting.fit(2, backup)[fitting.log]) == 1
    model._initial_epoch = None  # Keras leaves it set, and a further fit would begin there
    for (name, value), found in zip(uninterrupted.items(), state_of(model).values()):
        np.testing.assert_allclose(found, value, atol=1e-5, err_msg=name)


def model_checkpoint(fitting, folder):
    path = folder / "best.keras"
    best = keras.callbacks.ModelCheckpoint(path, fitting.log, mode="min", save_best_only=True)
    weights = keras.callbacks.ModelCheckpoint(folder / "x.weights.h5", save_weights_only=True)
    fitting.fit(1, best, weights)
    state = state_of(fitting.model)
    found = state_of(keras.saving.load_model(path))
    assert all((a == b).all() for a, b in zip(state.values(), found.values()))
    other = fitting.make()
    other.compile()
    other.load_weights(folder / "x.weights.h5")
    assert all((a == b).all() for a, b in zip(fitting.model.get_weights(), other.get_weights()))


def early_stopping(fitting, folder):
    after = []
    record = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: after.append(fitting.model.get_weights())
    )
    stop = keras.callbacks.EarlyStopping(
        fitting.log, mode="min", min_delta=1e9, patience=1, restore_best_weights=True
    )
    assert len(fitting.fit(9, record, stop)[fitting.log]) == 2
    assert all((a == b).all() for a, b in zip(fitting.model.get_weights(), after[0]))
    assert any((a != b).any() for a, b in zip(*after))


def tensorboard(fitting, folder):
    pytest.importorskip("tensorboard")
    history = fitting.fit(2, keras.callbacks.TensorBoard(folder, histogram_freq=1, update_freq=1))
    tags = set()
    for file in folder.glob("train/*.v2"):
        for record in tf.data.TFRecordDataset(str(file)):
            event = tf.compat.v1.Event.FromString(record.numpy())
            tags |= {value.tag for value in event.summary.value}
    assert {f"{when}_{name}" for name in history for when in ("epoch", "batch")} <= tags
    assert any("kernel" in tag for tag in tags)  # histograms


def csv_logger(fitting, folder):
    history = fitting.fit(2, keras.callbacks.CSVLogger(folder / "logs.csv"))
    with open(folder / "logs.csv") as file:
        rows = list(csv.DictReader(file))
    for name, values in history.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-6)


def reduce_lr_on_plateau(fitting, folder):
    reduce = keras.callbacks.ReduceLROnPlateau(
        fitting.log, mode="min", min_delta=1e9, patience=1, factor=0.5
    )
    history = fitting.fit(3, reduce)
    np.testing.assert_allclose(fitting.rates(), RATE / 4, rtol=1e-6)
    np.testing.assert_allclose(history["learning_rate"], RATE / np.array([1, 1, 2]), rtol=1e-6)


def learning_rate_scheduler(fitting, folder):
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    history = fitting.fit(2, halve)
    np.testing.assert_allclose(fitting.rates(), RATE / 4, rtol=1e-6)
    np.testing.assert_allclose(history["learning_rate"], RATE / np.array([2, 4]), rtol=1e-6)


def swap_ema_weights(fitting, folder):
    """Evaluates with the averages of the weights; afterwards the weights are back."""
    model = fitting.make()
    optimizers = {
        name: keras.optimizers.SGD(1e-4, use_ema=True, ema_momentum=0.5)
        for name in model.default_optimizers()
    }
    model.compile(**optimizers)
    model.fit(fitting.data, verbose=0, callbacks=keras.callbacks.SwapEMAWeights(swap_on_epoch=True))
    seen = []
    record = keras.callbacks.LambdaCallback(
        on_test_batch_end=lambda batch, logs: seen.append(model.get_weights())
    )
    for optimizer in optimizers.values():
        for average in optimizer._model_variables_moving_average:
            average.assign(average + 1.0)
    before = model.get_weights()
    model.evaluate(fitting.data, verbose=0, callbacks=[keras.callbacks.SwapEMAWeights(), record])
    for weight, value in zip(model.get_weights(), before):
        np.testing.assert_allclose(weight, value, atol=1e-5)
    moved = [np.abs(a - b).min() for a, b in zip(seen[0], before)]
    trained = sum(map(len, model.optimized_weights().values()))
    assert sum(change > 0.5 for change in moved) == trained


def terminate_on_nan(fitting, folder):
    assert len(fitting.fit(2, keras.callbacks.TerminateOnNaN())[fitting.log]) == 2


def lambda_callback(fitting, folder):
    seen = []
    hooks = ("train_begin", "epoch_begin", "train_batch_end", "epoch_end", "train_end")
    functions = {
        f"on_{hook}": lambda *given, hook=hook, **logs: seen.append(hook) for hook in hooks
    }
    fitting.fit(1, keras.callbacks.LambdaCallback(**functions))
    assert seen == [*hooks[:3], *hooks[2:]]


def remote_monitor(fitting, folder):
    pytest.importorskip("requests")
    received = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            received.append(json.loads(urllib.parse.parse_qs(body)["data"][0]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}"
        history = fitting.fit(2, keras.callbacks.RemoteMonitor(root))
        server.shutdown()
    assert received == [
        {"epoch": epoch, **{name: values[epoch] for name, values in history.items()}}
        for epoch in range(2)
    ]


def progbar_logger(fitting, folder):
    history = fitting.fit(2, keras.callbacks.ProgbarLogger(), keras.callbacks.History())
    assert len(history[fitting.log]) == 2


def wandb_metrics_logger(fitting, folder):
    """What wandb.integration.keras.WandbMetricsLogger reads of a model."""
    logged = []

    class Logger(keras.callbacks.Callback):
        def _rate(self):
            rate = self.model.optimizer.learning_rate
            if isinstance(rate, (tf.Variable, tf.Tensor)) or getattr(rate, "shape", None) == ():
                return float(rate.numpy().item())
            return float(rate(step=0).numpy().item())

        def on_batch_end(self, batch, logs=None):
            logged.append(self._rate())

        def on_epoch_end(self, epoch, logs=None):
            logged.append({**logs, "learning_rate": self._rate()})

    history = fitting.fit(1, Logger())
    assert logged[:2] == [pytest.approx(RATE)] * 2
    assert set(logged[2]) == {*history, "learning_rate"}


def keras_tuner(fitting, folder):
    kt = pytest.importorskip("keras_tuner")
    pytest.importorskip("tensorboard")  # which it imports

    def build(choices):
        model = fitting.make()
        model.compile(learning_rate=choices.Choice("learning_rate", [1e-9, 1e-3]))
        return model

    goal = kt.Objective(fitting.log, "min")
    tuner = kt.GridSearch(build, goal, directory=folder, project_name="tuned")
    tuner.search(fitting.data, epochs=2, verbose=0)
    best, worst = tuner.oracle.get_best_trials(2)
    assert best.score < worst.score and best.hyperparameters["learning_rate"] == 1e-3
    assert isinstance(tuner.get_best_models(1)[0], type(fitting.model))


CHECKS = {
    "BackupAndRestore": backup_and_restore,
    "ModelCheckpoint": model_checkpoint,
    "EarlyStopping": early_stopping,
    "ReduceLROnPlateau": reduce_lr_on_plateau,
    "LearningRateScheduler": learning_rate_scheduler,
    "SwapEMAWeights": swap_ema_weights,
    "TensorBoard": tensorboard,
    "CSVLogger": csv_logger,
    "RemoteMonitor": remote_monitor,
    "ProgbarLogger": progbar_logger,
    "LambdaCallback": lambda_callback,
    "TerminateOnNaN": terminate_on_nan,
    "WandbMetricsLogger": wandb_metrics_logger,
    "KerasTuner": keras_tuner,
}


def table():
    """Callback -> {column: cell} of the table in the documentation."""
    rows = re.findall(r"^\| `(\w+)`.*? \|(.*)\|$", DOCS, flags=re.M)
    return {name: dict(zip(COLUMNS, map(str.strip, cells.split("|")))) for name, cells in rows}


def test_the_table_has_every_callback_of_keras():
    found = {
        name for name, each in vars(keras.callbacks).items()
        if isinstance(each, type) and issubclass(each, keras.callbacks.Callback)
    } - {"Callback", "CallbackList", "History", "OrbaxCheckpoint"}
    assert found <= set(CHECKS) and list(table()) == list(CHECKS)
    assert re.search(r"^\|.*\|$", DOCS, flags=re.M)[0] == f"| | {' | '.join(COLUMNS)} |"
    assert "`OrbaxCheckpoint` is not tested" in DOCS


def cases():
    """Every callback on a GAN, most with -m slow on those of the table, with -m full on more."""
    for callback in CHECKS:
        for name in (*COLUMNS.values(), *(MORE if callback != "KerasTuner" else ())):
            seldom = name in MORE or (callback == "KerasTuner" and name != "gan")
            mark = [pytest.mark.full] if seldom else [pytest.mark.slow]
            by_default = name == "gan" and callback != "KerasTuner"
            yield pytest.param(callback, name, marks=[] if by_default else mark)


@pytest.mark.filterwarnings("ignore:Can save best model only")
@pytest.mark.parametrize("callback, name", cases())
def test_a_stock_callback_works(callback, name, fittings, restored_rates, tmp_path):
    for column, of_column in COLUMNS.items():
        assert table()[callback][column] == "yes" or of_column != name
    CHECKS[callback](fittings[name], tmp_path)


def test_fit_stops_before_terminate_on_nan(fittings):
    fitting = fittings["gan"]
    spoil = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: fitting.model.set_weights(
            [np.full_like(weight, np.nan) for weight in state]
        )
    )
    state = fitting.model.get_weights()
    with pytest.raises(InputError, match="became nan at step 1 of epoch 1"):
        fitting.fit(1, spoil, keras.callbacks.TerminateOnNaN())
    fitting.model.set_weights(state)


@pytest.mark.full
def test_keras_tuner_tunes_a_rate_by_the_distance(tmp_path, monkeypatch):
    """The example in the documentation, on fewer images."""
    pytest.importorskip("keras_tuner")
    pytest.importorskip("tensorboard")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, flags=re.S)
    for long, short in {
        '"fashion_mnist", batch_size=64': '"glyphs", batch_size=8, num_images=32',
        '"fashion_mnist", "test", batch_size=500': '"glyphs", "test", batch_size=50, num_images=60',
        'features="fashion_mnist"': 'features="glyphs", num_images=50',
        "distance[fashion_mnist]": "distance[glyphs]",
        "kg.GAN()": 'kg.GAN(latent_dim=8, networks="mlp")',
        "epochs=10": "epochs=2",
    }.items():
        assert long in code
        code = code.replace(long, short)
    names = {}
    exec(code, names)
    trials = names["tuner"].oracle.get_best_trials(9)
    assert len(trials) == 4 and len({trial.score for trial in trials}) == 4
    assert trials[0].score == min(trial.score for trial in trials)
    assert names["best"].generate(2).shape == (2, 28, 28, 1)
    assert not names["evaluate"].history  # each trial has had a copy
