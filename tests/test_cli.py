"""The command line: what a newcomer types, and what they mistype."""

import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import smooth_pictures
from PIL import Image

import keras_genimg
from keras_genimg import plotting
from keras_genimg.cli import main

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = ["--image-size", "16", "--batch-size", "8", "--steps-per-epoch", "3"]
# As the installed script starts: by its name, in a process of its own.
SCRIPT = (
    "import sys; sys.argv[0] = 'keras-genimg'; from keras_genimg.cli import main; sys.exit(main())"
)


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "TF_DETERMINISTIC_OPS": "1", **more}


def start(*arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def refused(capfd, *arguments):
    """Runs a command that must be refused; returns its one sentence."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capfd.readouterr()
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("keras-genimg: error: "), captured.err
    return lines[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of GAN, two epochs of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "gan"
    assert main(["train", "gan", *SMALL, "--epochs", "2", "--output", str(folder)]) == 0
    return folder


def test_help_and_version_do_without_tensorflow():
    code = (
        "import sys; sys.argv = ['keras-genimg', '{}']; from keras_genimg.cli import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        "assert not {{'tensorflow', 'keras', 'numpy', 'matplotlib'}} & set(sys.modules)"
    )
    for option in ("--help", "--version"):
        subprocess.run([sys.executable, "-c", code.format(option)], env=environment(), check=True)


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-X", "importtime", "-m", "keras_genimg", "--version"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.startswith("keras")
    assert "keras_genimg.cli" in done.stderr and "tensorflow" not in done.stderr


def test_list_names_every_model(capsys):
    import keras_genimg

    assert main(["list"]) == 0
    of_models = capsys.readouterr().out.split("\n\n")[0]  # then come the recipes
    listed = {line.split()[1] for line in of_models.splitlines()}
    # CodeTransformer is trained on the codes of another model, by `VQVAE.fit_prior`.
    assert listed == set(keras_genimg.models.__all__) - {"CodeTransformer"}


@pytest.mark.parametrize(
    "model",
    [
        "gan", "cnn_classifier",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("vae", "vq_vae")),
        *(pytest.param(name, marks=pytest.mark.full)
          for name in ("conditional_gan", "vq_vae2", "vq_gan")),
    ],
)  # fmt: skip
def test_train_fills_the_run_folder(model, tmp_path, capsys):
    folder = tmp_path / model
    assert main(["train", model, *SMALL, "--epochs", "2", "--output", str(folder)]) == 0

    printed = capsys.readouterr().out
    wanted = {"samples.png", "losses.png", "logs.csv", "model.keras", "saved_model", "run.json",
              "README.md"} | ({"progress.gif"} if model != "cnn_classifier" else set())  # fmt: skip
    assert wanted <= {path.name for path in folder.iterdir()}
    for name in wanted:
        assert str(folder / name) in printed
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "complete" and record["epochs_done"] == 2
    assert record["settings"]["seed"] == 0 and record["seconds"] > 0
    assert {"tensorflow", "keras", "keras_genimg"} <= set(record["versions"])
    assert all(np.isfinite(value) for value in record["final_logs"].values())
    with open(folder / "logs.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    log = "g_loss" if "gan" in model else "loss"
    assert float(rows[-1][log]) == pytest.approx(record["final_logs"][log], rel=1e-5)
    Image.open(folder / "samples.png").verify()
    if model != "cnn_classifier":
        assert len(list((folder / "samples").glob("*.png"))) == 2
    assert "serving_default" in tf.saved_model.load(str(folder / "saved_model")).signatures


def test_tensorboard_shows_logs_and_grids(tmp_path, capfd, monkeypatch):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "gan"
    command = ["train", "gan", *SMALL, "--epochs", "2", "--output", str(folder), "--tensorboard"]
    assert main(command) == 0
    logs = {}
    for name in ("train", "samples"):
        logs[name] = EventAccumulator(str(folder / "tensorboard" / name), {"tensors": 0}).Reload()
    losses = [tf.make_ndarray(e.tensor_proto) for e in logs["train"].Tensors("epoch_g_loss")]
    with open(folder / "logs.csv") as file:
        rows = [float(row["g_loss"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(losses, rows, rtol=1e-5)
    assert [event.step for event in logs["samples"].Tensors("samples")] == [1, 2]

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    command = [*command[:-2], str(tmp_path / "other"), "--tensorboard"]
    assert "pip install tensorboard" in refused(capfd, *command)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_policy_is_that_of_the_networks_and_of_the_resumed_run_alone(tmp_path):
    folder = tmp_path / "gan"
    given = [*SMALL, "--policy", "mixed_bfloat16", "--output", str(folder)]
    assert main(["train", "gan", *given, "--epochs", "1"]) == 0
    assert main(["train", "gan", "--output", str(folder), "--resume", "--epochs", "2"]) == 0
    assert json.loads((folder / "run.json").read_text())["settings"]["policy"] == "mixed_bfloat16"
    assert keras.config.dtype_policy().name == "float32"
    model = keras.saving.load_model(folder / "model.keras")
    for network in (model.generator, model.discriminator):
        policies = {layer.dtype_policy.name for layer in network.layers if "conv" in layer.name}
        assert policies == {"mixed_bfloat16"}
    assert keras.config.dtype_policy().name == "float32"


def test_a_run_is_never_overwritten_by_accident(run, capfd):
    before = (run / "model.keras").read_bytes()
    message = refused(capfd, "train", "gan", *SMALL, "--output", run)
    assert "--overwrite" in message and "--resume" in message and str(run) in message
    assert (run / "model.keras").read_bytes() == before


def test_overwrite_replaces_only_run_folders(tmp_path, capfd):
    (tmp_path / "thesis.txt").write_text("years of work")
    message = refused(capfd, "train", "gan", *SMALL, "--output", tmp_path, "--overwrite")
    assert "run.json" in message
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_resume_keeps_settings_and_goes_on(tmp_path, capfd):
    folder = tmp_path / "vae"
    assert main(["train", "vae", *SMALL, "--epochs", "1", "--output", str(folder)]) == 0
    capfd.readouterr()
    message = refused(capfd, "train", "vae", "--output", folder, "--resume", "--batch-size", "9")
    assert "batch_size=9 (was 8)" in message
    assert "run of vae" in refused(capfd, "train", "gan", "--output", folder, "--resume")
    assert main(["train", "vae", "--output", str(folder), "--resume", "--epochs", "3"]) == 0
    with open(folder / "logs.csv") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]
    record = json.loads((folder / "run.json").read_text())
    assert record["epochs_done"] == 3
    # A run that is done already is told again, not trained again.
    assert main(["train", "vae", "--output", str(folder), "--resume"]) == 0
    again = json.loads((folder / "run.json").read_text())
    for name in ("status", "seconds", "epochs_done", "final_logs", "settings"):
        assert again[name] == record[name]


@pytest.mark.slow
def test_a_run_killed_twice_ends_as_if_it_never_was(tmp_path):
    arguments = ["train", "gan", *SMALL, "--epochs", "6", "--set", "networks=dcgan"]
    unbroken = start(*arguments, "--output", tmp_path / "unbroken")
    _, errors = unbroken.communicate(timeout=300)
    assert unbroken.returncode == 0, errors

    folder = tmp_path / "killed"
    for checkpoint, more in (("epoch-0001", []), ("epoch-0003", ["--resume"])):
        victim = start(*arguments, "--output", folder, *more)
        deadline = time.time() + 200
        while not (folder / "checkpoints" / f"{checkpoint}.keras").exists():
            assert victim.poll() is None and time.time() < deadline, victim.communicate()
            time.sleep(0.01)
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
        assert not (folder / "model.keras").exists()  # it did not finish
    last = start(*arguments, "--output", folder, "--resume")
    _, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors

    models = [
        keras.saving.load_model(tmp_path / name / "model.keras") for name in ("unbroken", "killed")
    ]
    for one, other in zip(*(model.variables for model in models)):
        np.testing.assert_array_equal(one.numpy(), other.numpy(), err_msg=one.path)
    for name in ("generator_optimizer", "discriminator_optimizer"):
        slots = [[v.numpy() for v in getattr(model, name).variables] for model in models]
        assert all((a == b).all() for a, b in zip(*slots))
    rows = [(tmp_path / name / "logs.csv").read_text() for name in ("unbroken", "killed")]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_train_is_quiet_about_missing_gpus(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    process = start("train", "vae", *SMALL, "--epochs", "1", "--output", tmp_path / "run")
    out, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert "3/3" in out and "loss" in out
    for word in ("cuda", "GPU", "oneDNN", "InitializeLog", "Warning"):
        assert word.lower() not in errors.lower(), errors


@pytest.mark.slow
def test_two_workers_train_one_run(tmp_path):
    from test_distribution import free_ports

    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = []
    for index in range(2):
        cluster = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        processes.append(
            start(
                "train",
                "vae",
                *SMALL,
                "--epochs",
                "2",
                "--strategy",
                "multi_worker",
                "--output",
                tmp_path / "run",
                TF_CONFIG=json.dumps(cluster),
            )
        )
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["status"] == "complete" and record["replicas"] == 2
    assert "samples.png" in outputs[0][0] and "samples.png" not in outputs[1][0]

    alone = start("train", "vae", *SMALL, "--epochs", "2", "--output", tmp_path / "alone")
    assert alone.communicate(timeout=200) and alone.returncode == 0
    losses = [
        json.loads((tmp_path / name / "run.json").read_text())["final_logs"]["loss"]
        for name in ("run", "alone")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.slow
def test_mirrored_strategy_by_name_and_a_start_from_another_run(run, tmp_path):
    folder = tmp_path / "run"
    command = ["train", "gan", *SMALL, "--epochs", "1", "--strategy", "mirrored"]
    command += ["--start-from", str(run), "--set", "learning_rate=0.0"]
    assert main([*command, "--output", str(folder)]) == 0
    assert json.loads((folder / "run.json").read_text())["replicas"] == 2
    before, after = (keras.saving.load_model(each / "model.keras") for each in (run, folder))
    for old, new in zip(before.trainable_weights, after.trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_set_reaches_constructor_and_compile(tmp_path):
    folder = tmp_path / "run"
    settings = ["latent_dim=5", "loss=hinge", "learning_rate=1e-3", "ema_decay=None"]
    command = ["train", "gan", *SMALL, "--epochs", "1", "--output", str(folder)]
    assert main([*command, *(word for s in settings for word in ("--set", s))]) == 0
    model = keras.saving.load_model(folder / "model.keras")
    assert (
        model.latent_dim == 5 and model.arguments["loss"] == "hinge" and model.ema_generator is None
    )
    assert float(model.generator_optimizer.learning_rate) == pytest.approx(1e-3)


@pytest.mark.full
def test_a_run_starts_with_the_weights_of_another(run, tmp_path, capfd):
    mine, still = tmp_path / "mine", ["--set", "learning_rate=0.0"]
    command = ["train", "gan", *SMALL, "--epochs", "1", "--start-from", str(run)]
    assert main([*command, *still, "--set", "loss=hinge", "--output", str(mine)]) == 0
    before, after = (keras.saving.load_model(folder / "model.keras") for folder in (run, mine))
    assert (before.arguments["loss"], after.arguments["loss"]) == ("non_saturating", "hinge")
    for old, new in zip(
        before.generator.trainable_weights, after.generator.trainable_weights, strict=True
    ):
        np.testing.assert_array_equal(old, new)
    assert json.loads((mine / "run.json").read_text())["settings"]["start_from"] == str(run)

    # Resumed, it goes on from its own weights, even when the other run is gone.
    elsewhere = tmp_path / "copy"
    shutil.copytree(run, elsewhere)
    folder = tmp_path / "resumed"
    command = [*command[:-1], str(elsewhere), "--output", str(folder)]
    assert main(command) == 0
    trained = keras.saving.load_model(folder / "model.keras").generator.trainable_weights
    shutil.rmtree(elsewhere)
    assert main(["train", "gan", "--output", str(folder), "--resume"]) == 0
    kept = keras.saving.load_model(folder / "model.keras").generator.trainable_weights
    for old, new in zip(trained, kept, strict=True):
        np.testing.assert_array_equal(old, new)

    for model, settings, words in [
        ("gan", ["--set", "latent_dim=5"], "the same networks: GAN with"),
        ("wgan", [], f"Received: {run}, GAN with"),
        ("gan", ["--start-from", str(tmp_path / "none")], "none, which does not exist"),
    ]:
        other = [
            "train",
            model,
            *SMALL,
            "--start-from",
            run,
            *settings,
            "--output",
            tmp_path / "new",
        ]
        assert words in refused(capfd, *other)
        assert not (tmp_path / "new").exists()


def test_generate_in_each_format(run, tmp_path, capsys):
    assert (
        main(
            [
                "generate",
                str(run),
                "--count",
                "5",
                "--seed",
                "7",
                "--output",
                str(tmp_path / "a.npz"),
            ]
        )
        == 0
    )
    stored = np.load(tmp_path / "a.npz")
    images = keras.saving.load_model(run / "model.keras").generate(5, seed=7)
    assert stored["images"].dtype == np.uint8 and int(stored["seed"]) == 7
    np.testing.assert_allclose(stored["images"], (images + 1) * 127.5, atol=0.51)

    assert (
        main(
            [
                "generate",
                str(run),
                "--count",
                "5",
                "--seed",
                "7",
                "--output",
                str(tmp_path / "each"),
            ]
        )
        == 0
    )
    files = sorted((tmp_path / "each").iterdir())
    assert len(files) == 5
    with Image.open(files[2]) as picture:
        np.testing.assert_array_equal(np.asarray(picture), stored["images"][2, ..., 0])
        assert picture.text["generated"] == "yes" and picture.text["seed"] == "7"
        assert picture.text["model"] == "GAN"

    assert main(["generate", str(run), "--count", "5", "--output", str(tmp_path / "grid.png")]) == 0
    Image.open(tmp_path / "grid.png").verify()
    for ending in ("webp", "gif"):
        path = tmp_path / f"a.{ending}"
        assert main(["generate", str(run), "--count", "5", "--output", str(path)]) == 0
        with Image.open(path) as animation:
            assert animation.n_frames == 5 and animation.format == ending.upper()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "a.gif")


@pytest.mark.slow
def test_a_conditional_run_is_asked_for_classes(tmp_path, capfd):
    folder = tmp_path / "run"
    command = ["train", "conditional_gan", *SMALL, "--epochs", "1", "--output", str(folder)]
    assert main([*command, "--set", "latent_dim=5"]) == 0
    model = keras.saving.load_model(folder / "model.keras")
    assert model.num_classes == 10  # of the glyphs
    # The grid that training writes has a class a column.
    grid = plotting.image_grid(model.generate(100, [*range(10)] * 10, seed=0), columns=10)
    with Image.open(folder / "samples.png") as picture:
        scale = picture.size[0] // grid.shape[1]
        np.testing.assert_array_equal(np.asarray(picture)[::scale, ::scale], grid[..., 0])

    generate = ["generate", str(folder), "--count", "5", "--seed", "7", "--output"]
    for given, labels in (([], [0, 1, 2, 3, 4]), (["--labels", "3,0"], [3, 0, 3, 0, 3])):
        assert main([*generate, str(tmp_path / "a.npz"), "--overwrite", *given]) == 0
        stored = np.load(tmp_path / "a.npz")
        np.testing.assert_array_equal(stored["labels"], labels)
        images = model.generate(5, labels, seed=7)
        np.testing.assert_allclose(stored["images"], (images + 1) * 127.5, atol=0.51)
    capfd.readouterr()
    message = refused(capfd, "generate", folder, "--labels", "10")
    assert "labels must be integers from 0 to 9" in message and "Received: 10 to 10" in message


@pytest.mark.slow
def test_classes_by_their_names(tmp_path, capfd):
    """From the sub-folders of the data to `run.json`, the model, its SavedModel and --labels."""
    for name in ("beach", "city"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index, image in enumerate(smooth_pictures(8)):
            plotting.save_png(tmp_path / "photos" / name / f"{index}.png", image)
    folder = tmp_path / "run"
    command = ["train", "conditional_gan", "--data", tmp_path / "photos", "--batch-size", "8"]
    command += ["--epochs", "1", "--output", folder, "--set", "latent_dim=5"]
    assert main([*map(str, command)]) == 0
    record = json.loads((folder / "run.json").read_text())
    assert record["arguments"]["class_names"] == ["beach", "city"]
    model = keras.saving.load_model(folder / "model.keras")
    assert model.class_names == ("beach", "city")
    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    assert signatures["class_names"]()["class_names"].numpy().tolist() == [b"beach", b"city"]

    generate = ["generate", str(folder), "--count", "3", "--seed", "7", "--output"]
    assert main([*generate, str(tmp_path / "a.npz"), "--labels", "city, 0"]) == 0
    stored = np.load(tmp_path / "a.npz")
    assert stored["labels"].tolist() == [1, 0, 1]
    assert stored["class_names"].tolist() == ["beach", "city"]
    expected = plotting.to_uint8(model.generate(3, ["city", "beach", "city"], seed=7))
    np.testing.assert_array_equal(stored["images"], expected)
    assert main([*generate, str(tmp_path / "images")]) == 0
    files = sorted((tmp_path / "images").iterdir())
    assert [Image.open(path).text["class"] for path in files] == ["beach", "city", "beach"]
    capfd.readouterr()
    message = refused(capfd, "generate", folder, "--labels", "house")
    assert "names of the model's classes (beach, city). Received: 'house'." in message


@pytest.mark.parametrize("classes, side", [(2, 10), (3, 9), (7, 7), (10, 10), (100, 10)])
def test_the_grid_of_a_conditional_run_has_a_class_a_column(classes, side):
    from keras_genimg.runs.training import _grid_labels

    labels = _grid_labels(classes)
    shown = min(classes, 10)
    rows = labels.reshape(side, side)  # a square grid, as image_grid lays it out
    assert plotting.image_grid(np.zeros((len(labels), 8, 8, 1)), padding=0).shape[1] == 8 * side
    np.testing.assert_array_equal(rows, np.tile(rows[0], (side, 1)))
    assert set(rows[0]) == set(range(shown))


def test_generate_refusals(run, tmp_path, capfd):
    assert "--count must be from 1" in refused(capfd, "generate", run, "--count", "-3")
    assert "GAN has no classes" in refused(capfd, "generate", run, "--labels", "0,beach")
    for labels in ("", "0,,1"):
        message = refused(capfd, "generate", run, "--labels", labels)
        assert "--labels takes numbers or names of classes separated by commas" in message
    assert "--seed must be from 0" in refused(capfd, "generate", run, "--seed", 2**32)
    (tmp_path / "mine.txt").write_text("keep")
    assert "must be new, empty" in refused(capfd, "generate", run, "--output", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_evaluate_writes_what_the_model_measures(run, capsys):
    assert main(["evaluate", str(run), "--data", "glyphs", "--count", "50"]) == 0
    results = json.loads((run / "metrics.json").read_text())
    assert results["count"] == 50 and results["split"] == "test"
    assert set(results["metrics"]) == {"d_loss", "g_loss", "real_score", "fake_score"}
    assert f"{results['metrics']['d_loss']:.4f}" in capsys.readouterr().out


def test_export_in_each_format(run, tmp_path, capsys):
    for format, name in (
        ("saved_model", "saved_model"),
        ("litert", "model.tflite"),
        ("onnx", "model.onnx"),
    ):
        if format == "onnx":
            pytest.importorskip("tf2onnx")
        again = ["--overwrite"] if format == "saved_model" else []  # which train has written
        assert main(["export", str(run), "--format", format, *again]) == 0
        assert capsys.readouterr().out.strip() == str(run / name)
        assert (run / name).exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["gann"], ["gann", "did you mean gan"]),
        (["transformer"], ["transformer", "gan, vae, vq_gan, vq_vae"]),
        (["gan", "--data", "fashion_mnits"], ["fashion_mnits", "fashion_mnist"]),
        (["gan", "--set", "latent_dim=0"], ["latent_dim", "positive", "0"]),
        (["gan", "--set", "latent_dim"], ["ARGUMENT=VALUE", "latent_dim"]),
        (["gan", "--set", "colour=red"], ["colour", "latent_dim"]),
        (["gan", "--set", "loss=l2"], ["l2", "non_saturating"]),
        (["gan", "--set", "learning_rate=nan"], ["learning_rate", "nan", "finite"]),
        (["vae", "--set", "beta=inf"], ["beta", "inf", "finite"]),
        (["gan", "--batch-size", "0"], ["--batch-size", "0", "from 1"]),
        (["gan", *SMALL, "--set", "steps_per_execution=2"], ["multiple of steps_per_execution=2"]),
        (["gan", "--epochs", "-1"], ["--epochs", "-1", "from 1"]),
        (["gan", "--image-size", "30"], ["30x30", "32x32"]),
        (["gan", "--image-size", "300"], ["300", "256"]),
        (["gan", "--channels", "2"], ["channels", "2"]),
        (["gan", "--strategy", "horovod"], ["horovod", "mirrored"]),
        (["gan", "--strategy", "multi_worker"], ["TF_CONFIG"]),
    ],
)
def test_train_refusals_write_nothing(arguments, words, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    message = refused(capfd, "train", *arguments)
    for word in words:
        assert word in message, message
    assert list(tmp_path.iterdir()) == []


def test_another_backend_is_told_in_one_line(tmp_path):
    process = start("train", "gan", "--output", tmp_path / "run", KERAS_BACKEND="jax")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.count("\n") == 1 and "'jax'" in errors and "KERAS_BACKEND=tensorflow" in errors
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_had_is_told_in_one_line(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("keras_genimg.data.sets.tfds._probe", _no_network)
    message = refused(
        capfd,
        "train",
        "gan",
        "--data",
        "celeb_a",
        "--data-dir",
        tmp_path / "data",
        "--output",
        tmp_path / "run",
    )
    assert "celeb_a" in message and "TFDS_DATA_DIR" in message and str(tmp_path / "data") in message
    assert list(tmp_path.iterdir()) == []


def _no_network(url):
    raise OSError(f"{url} cannot be reached")


def test_empty_folder_as_data(tmp_path, capfd):
    (tmp_path / "photos").mkdir()
    message = refused(
        capfd, "train", "gan", "--data", tmp_path / "photos", "--output", tmp_path / "run"
    )
    assert str(tmp_path / "photos") in message
    assert not (tmp_path / "run").exists()


def test_a_folder_of_pictures_trains_and_names_the_corrupt_one(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(12):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(
            folder / f"{index}.png"
        )
    (folder / "broken.png").write_bytes(b"no picture at all")
    with pytest.warns(UserWarning, match="broken.png"):
        code = main(
            [
                "train",
                "vae",
                "--data",
                str(folder),
                "--batch-size",
                "4",
                "--epochs",
                "1",
                "--output",
                str(tmp_path / "run"),
            ]
        )
    assert code == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["arguments"]["image_shape"] == [
        16,
        16,
        3,
    ]


def test_not_a_run_folder(run, tmp_path, capfd):
    for command in ("generate", "export"):
        message = refused(capfd, command, run / "saved_model")
        assert "SavedModel" in message and "run.json" in message
    assert "does not exist" in refused(capfd, "generate", tmp_path / "nowhere")
    assert "run.json" in refused(capfd, "train", "gan", "--resume", "--output", tmp_path)


def test_nan_from_the_start_leaves_nothing(tmp_path, capfd):
    message = refused(
        capfd,
        "train",
        "gan",
        *SMALL,
        "--epochs",
        "3",
        "--set",
        "learning_rate=1e30",
        "--output",
        tmp_path / "run",
    )
    assert "step 1 of epoch 1" in message and "nan" in message
    assert not (tmp_path / "run").exists()


def test_a_replacement_that_fails_gives_the_old_run_back(run, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    explosive = ["--epochs", "1", "--set", "learning_rate=1e30", "--output", folder, "--overwrite"]
    assert main([str(each) for each in ["train", "gan", *SMALL, *explosive]]) == 2
    aside, back, error = capfd.readouterr().err.splitlines()
    assert f"the earlier run is kept in {folder}.replaced-1 until this one is complete." in aside
    assert f"{folder} holds the earlier run again" in back
    assert error.startswith("keras-genimg: error: ") and "nan" in error
    assert (folder / "model.keras").read_bytes() == (run / "model.keras").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]

    command = ["train", "gan", *SMALL, "--epochs", "1", "--output", str(folder), "--overwrite"]
    assert main(command) == 0
    assert json.loads((folder / "run.json").read_text())["epochs_done"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_nan_later_leaves_the_last_good_checkpoint(tmp_path):
    import keras_genimg
    from keras_genimg.callbacks import Resume, latest_checkpoint

    vae = keras_genimg.VAE((16, 16, 1), latent_dim=4)
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([3], [1e-5, 1e30])
    vae.compile(keras.optimizers.SGD(rate))
    images = np.zeros((24, 16, 16, 1), "float32")  # three steps an epoch
    with pytest.raises(ValueError, match="became nan at step 3 of epoch 2"):
        vae.fit(images, batch_size=8, epochs=4, verbose=0, callbacks=[Resume(tmp_path)])
    path, epoch = latest_checkpoint(tmp_path)
    assert epoch == 1
    good = keras.saving.load_model(path)
    assert all(np.isfinite(weight).all() for weight in good.get_weights())
    assert np.isfinite(good.generate(4, seed=1)).all()


def test_full_disk(tmp_path, capfd):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True
    ).returncode:
        pytest.skip("a small disk can only be mounted by root")
    try:
        message = refused(capfd, "train", "gan", *SMALL, "--epochs", "1", "--output", disk / "run")
        assert "No space left on device" in message
        assert not list(disk.rglob("*.partial*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.full
def test_train_measures_its_samples_and_keeps_the_best(tmp_path, capsys, monkeypatch):
    from keras_genimg.runs import training

    monkeypatch.setattr(training, "SAMPLES", 60)
    folder = tmp_path / "run"
    arguments = ["train", "gan", "--batch-size", "8", "--steps-per-epoch", "2", "--output", folder]
    assert main([*map(str, arguments), "--epochs", "3", "--evaluate-every", "2"]) == 0
    assert f"best        {folder / 'best.keras'}" in capsys.readouterr().out
    assert keras.saving.load_model(folder / "best.keras").image_shape == (28, 28, 1)
    with open(folder / "logs.csv") as file:
        figures = [row["frechet_distance[glyphs]"] for row in csv.DictReader(file)]
    assert figures[0] == "nan" and all(float(figure) > 0 for figure in figures[1:])

    # The same samples, measured by the other command: with the last model's weights.
    monkeypatch.setattr("keras_genimg.runs.training._held_out", lambda *_: 1 / 0)
    assert (
        main(
            [
                "evaluate",
                str(folder),
                "--data",
                "glyphs",
                "--count",
                "60",
                "--metrics",
                "frechet_distance",
                "inception_score",
            ]
        )
        == 0
    )
    printed = capsys.readouterr().out
    record = json.loads((folder / "metrics.json").read_text())
    assert record["count"] == 60 and record["features"] == "glyphs" and record["seed"] == 0
    assert set(record["metrics"]) == {
        "frechet_distance[glyphs]",
        "inception_score[glyphs]",
        "inception_score_std[glyphs]",
    }
    for name, value in record["metrics"].items():
        assert f"{name} " in printed and f"{value:.4f}" in printed
    assert f"against the {record['real_count']} images of glyphs/test" in printed

    from keras_genimg import load
    from keras_genimg.metrics import as_stored, frechet_distance, get_features

    features = get_features("glyphs")
    real = (features(images) for images in load("glyphs", "test", batch_size=500))
    made = keras.saving.load_model(folder / "model.keras").generate(60, seed=0)
    wanted = frechet_distance(real, features(as_stored(made)))
    assert record["metrics"]["frechet_distance[glyphs]"] == pytest.approx(wanted, rel=1e-6)


def test_features_that_do_not_fit_are_refused(run, tmp_path, capfd):
    evaluate = ["evaluate", run, "--data", "glyphs", "--metrics", "frechet_distance"]
    assert "name one of fashion_mnist" in refused(capfd, *evaluate)  # 16x16 images
    assert "height 28" in refused(capfd, *evaluate, "--features", "glyphs")
    assert "metrics must be" in refused(capfd, *evaluate[:-1], "fid", "--features", "glyphs")
    train = ["train", "gan", *SMALL, "--epochs", "1", "--evaluate-every", "1"]
    assert "name one of fashion_mnist" in refused(capfd, *train, "--output", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_batch_size_is_that_of_one_update(tmp_path, monkeypatch):
    from keras_genimg.runs import training

    asked = []

    def load(*arguments, batch_size, **options):
        asked.append(batch_size)
        return real_load(*arguments, batch_size=batch_size, **options)

    real_load = training.load
    monkeypatch.setattr(training, "load", load)
    assert (
        main(
            [
                "train",
                "wgan_gp",
                *SMALL,
                "--epochs",
                "1",
                "--output",
                str(tmp_path / "run"),
                "--set",
                "n_critic=2",
            ]
        )
        == 0
    )
    assert asked[0] == 8  # `fit` takes two of these for a step of two updates


class Fitted(Exception):
    """Instead of training."""


@pytest.fixture
def fitted(monkeypatch):
    """What `fit` is called with by the command: the model and its arguments."""
    seen = {}

    def fit(self, data, **arguments):
        seen.update(arguments, model=self, data=data)
        raise Fitted

    monkeypatch.setattr(keras_genimg.core.ImageModel, "fit", fit)
    return seen


def test_an_epoch_is_whole_executions(tmp_path, fitted):
    command = ["train", "vae", "--image-size", "16", "--set", "steps_per_execution=7"]
    with pytest.raises(Fitted):
        main([*command, "--set", "networks=mlp", "--output", str(tmp_path / "run")])
    assert fitted["steps_per_epoch"] == 308  # of the 312 batches of 64 in 20,000 images


@pytest.mark.parametrize(
    "name, settings",
    [pytest.param("vq_vae", {}, marks=pytest.mark.slow), ("vae", {"networks": "mlp"})],
)
def test_python_makes_the_same_model(name, settings, tmp_path, fitted):
    command = ["train", name, "--image-size", "16", "--seed", "3"]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    with pytest.raises(Fitted):
        main([*command, "--output", str(tmp_path / "run")])

    keras.utils.set_random_seed(3)
    model = type(fitted["model"])((16, 16, 1), seed=3, **settings)
    model.compile()
    start = model.get_weights()
    model.adapt(next(iter(keras_genimg.load("glyphs", batch_size=1000, image_size=16))))
    for one, other in zip(model.get_weights(), fitted["model"].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    if name == "vq_vae":
        assert model.data_variance == fitted["model"].data_variance != 1.0
    else:
        assert any((one != other).any() for one, other in zip(start, model.get_weights()))


@pytest.mark.parametrize(
    "model, options",
    [pytest.param("wgan", ["n_critic=2"], marks=pytest.mark.full),
     pytest.param("vae", ["networks=mlp"], marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_resumed_run_reads_on_where_it_stopped(model, options, tmp_path):
    """With several steps in one execution, and several batches in one step."""
    command = ["train", model, *SMALL[:4], "--steps-per-epoch", "4"]
    for setting in ("steps_per_execution=2", *options):
        command += ["--set", setting]
    assert main([*command, "--epochs", "2", "--output", str(tmp_path / "unbroken")]) == 0
    resumed = ["--output", str(tmp_path / "resumed")]
    assert main([*command, "--epochs", "1", *resumed]) == 0
    assert main(["train", model, "--resume", "--epochs", "2", *resumed]) == 0
    one, other = (
        keras.saving.load_model(tmp_path / folder / "model.keras")
        for folder in ("unbroken", "resumed")
    )
    for weight, found in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(found, weight, atol=1e-5)
