"""Where commands write, and values of options that are refused in a sentence."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from cases import SHAPE
from test_cli import refused

from keras_genimg import VAE
from keras_genimg.cli import main
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.runs.outputs import Output

FILES = ("model.keras", "run.json", "best.keras", "logs.csv", "losses.png", "samples.png",
         "README.md", "progress.gif", "tensorboard/events",
         "checkpoints/epoch-0001.keras", "samples/epoch-0001.png", "notes.txt")  # fmt: skip
COMMANDS = {
    "generate": ["--count", 1], "interpolate": ["--count", 1, "--steps", 2],
    "invert": ["--data", "glyphs", "--count", 1], "export": ["--format", "litert"],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with an untrained model, and files of which nothing may be lost."""
    folder = tmp_path_factory.mktemp("runs") / "gan"
    VAE(SHAPE, 3, networks="mlp", network_options={"units": (4,)}).save(folder / "model.keras")
    for name in FILES[1:]:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_over_a_file_of_a_run(command, run, tmp_path, capfd):
    link = tmp_path / "link.png"
    link.symlink_to(run / "samples.png")
    before = {name: (run / name).read_bytes() for name in FILES}
    places = [*(run / name for name in FILES), link, run / "SAMPLES.PNG", run / "prior_samples.png",
              run / "checkpoints", run / "saved_model" / "x.png"]  # fmt: skip
    for place in places:
        for more in ([], ["--overwrite"]):
            refused(capfd, command, run, *COMMANDS[command], "--output", place, *more)
    assert before == {name: (run / name).read_bytes() for name in FILES}
    assert not (run / "prior_samples.png").exists() and not (run / "saved_model").exists()


def test_export_writes_the_saved_model_of_its_own_run_alone(run, tmp_path, capfd):
    other = tmp_path / "other"
    (other / "saved_model").mkdir(parents=True)
    for name in ("run.json", "saved_model/saved_model.pb"):
        (other / name).write_text("mine")
    (tmp_path / "link").symlink_to(other / "saved_model")
    for place in (other / "saved_model", tmp_path / "link"):
        words = refused(capfd, "export", run, "--output", place, "--overwrite")
        assert "saved_model of the run" in words
    assert (other / "saved_model" / "saved_model.pb").read_text() == "mine"
    own = (other / "saved_model",)
    assert Output(tmp_path / "link", made=os.path.isdir, overwrite=True, own=own).path
    with pytest.raises(InputError, match="saved_model of the run"):
        Output(tmp_path / "link", made=os.path.isdir, overwrite=True, own=(tmp_path / "link",))


@pytest.mark.parametrize("appears", [True, False])
def test_an_export_replaces_nothing_that_appears(appears, run, tmp_path, capfd, monkeypatch):
    path = tmp_path / "x.tflite"

    def export(model, filepath, **options):
        if not appears:
            raise InputError(f"{filepath} could not be written.")
        pathlib.Path(filepath).write_text("new")
        path.write_text("mine")

    monkeypatch.setattr(VAE, "export", export)
    words = refused(capfd, "export", run, "--format", "litert", "--output", path)
    assert f"{path} {'exists' if appears else 'could not be written'}" in words
    assert os.listdir(tmp_path) == ["x.tflite"] * appears
    assert not appears or path.read_text() == "mine"


def test_the_files_of_a_run_are_named(run, tmp_path, capfd):
    words = refused(capfd, "generate", run, "--output", run / "losses.png", "--overwrite")
    assert "never writes over the files of a run" in words and "losses.png of the run" in words
    with pytest.raises(InputError, match="files of a run"):
        Output(run / "checkpoints" / "x.npz", (".npz",), overwrite=True)


def test_an_mp4_without_its_extra_is_refused(run, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for given in (["--output", tmp_path / "a.mp4"], ["--format", "mp4"]):
        words = refused(capfd, "generate", run, "--count", 1, *given)
        assert "pip install 'keras-genimg[video]'" in words
    assert not os.listdir(tmp_path) and not (run / "generated.mp4").exists()


@pytest.mark.parametrize(
    "command, ending", [("generate", ".npz"), ("interpolate", ".gif"), ("export", ".tflite")]
)
def test_an_existing_file_is_replaced_only_if_told_to(command, ending, run, tmp_path, capfd):
    path = tmp_path / f"out{ending}"
    path.write_text("mine")
    given = [command, run, *COMMANDS[command], "--output", path]
    assert "exists; --overwrite replaces it" in refused(capfd, *given)
    assert path.read_text() == "mine"
    assert main([*map(str, given), "--overwrite"]) == 0
    assert path.stat().st_size > 10
    path.unlink()
    assert main([*map(str, given)]) == 0


def test_a_folder_of_images_is_replaced_only_if_it_holds_nothing_else(run, capfd):
    generated = run / "generated"
    command = ["generate", str(run), "--count", "2"]
    assert main(command) == 0
    assert "exists; --overwrite replaces it" in refused(capfd, *command)
    assert main([*command[:-1], "1", "--overwrite"]) == 0
    assert os.listdir(generated) == ["000000.png"]
    (generated / "notes.txt").write_text("mine")
    assert "anything else in it would be lost" in refused(capfd, *command, "--overwrite")
    assert (generated / "notes.txt").read_text() == "mine"
    shutil.rmtree(generated)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    output = Output(tmp_path / "a.npz", (".npz",))
    with pytest.raises(InputError, match="exists"), output.written() as partial:
        np.savez(partial, 1)
        (tmp_path / "a.npz").write_text("mine")
    assert (tmp_path / "a.npz").read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_writing_through_a_link_keeps_the_suffix(tmp_path):
    (tmp_path / "model.keras").symlink_to(tmp_path / "blob")
    with replace_when_complete(tmp_path / "model.keras") as partial:
        assert partial.endswith(".keras")
        with open(partial, "w") as file:
            file.write("new")
    assert (tmp_path / "blob").read_text() == "new" and (tmp_path / "model.keras").is_symlink()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["generate", "--format", "npz", "--output", "q.png"], "ending .npz"),
        (["generate", "--format", "npz", "--output", "q"], "ending .npz"),
        (["generate", "--output", "q.txt"], "ends in .png, .npz, .gif, .webp or .mp4, or a folder"),
        (["generate", "--format", "png", "--output", "q.npz"], "ends in .png (--format png), or a"),
        (["interpolate", "--output", "q.txt"], ".png or .gif or .npz"),
        (["export", "--output", "q.onnx"], "--format onnx writes .onnx files"),
        (["export", "--format", "onnx", "--precision", "int8"], "--precision is for"),
        (["generate", "--output", "a" * 300 + ".png"], "name too long"),
        (["generate", "--output", "a" * 250 + ".png"], "name too long"),
        (["generate", "--output", "x\0.png"], "free of null bytes"),
        (["generate", "--output", "{run}/notes.txt/x.png"], "could not be written"),
        (["generate", "--count", "1" + 20 * "0"], "--count must be from 1 to"),
        (["generate", "--frames", "1" + 20 * "0"], "--frames must be from 1 to"),
        (["interpolate", "--steps", "1" + 20 * "0"], "--steps must be from 2 to"),
        (["evaluate", "--features", "mnist"], "--features is for --metrics"),
        (["invert", "--images", "x.png", "--split", "test"], "--split is for --data"),
        *(([command, "--seed=-1"], "--seed must be from 0") for command in
          ("prior", "generate", "interpolate", "evaluate")),
        (["invert", "--data", "glyphs", "--seed=-1"], "--seed must be from 0"),
    ],
)
def test_values_that_are_refused(arguments, words, run, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command, *given = (each.format(run=run) for each in arguments)
    assert words in refused(capfd, command, run, *given)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--seed=-1"], "--seed must be from 0"),
        (["--batch-size", "1" + 20 * "0"], "--batch-size must be from 1 to"),
        (["--image-size", "1" + 20 * "0"], "--image-size must be from 1 to"),
        (["--channels", "2"], "--channels must be 1 or 3"),
        (["--holdout", "nan"], "--holdout must be between 0 and 1"),
        (["--features", "mnist"], "--features is for the evaluations of --evaluate-every"),
        (["--connect-timeout", "5"], "--connect-timeout is for several workers"),
        (["--set", f"latent_dim={'[' * 3000}"], "latent_dim"),
        (["--start-from", "a\nb"], r"a\nb, which does not exist"),
    ],
)
def test_values_that_train_refuses(arguments, words, capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert words in refused(capfd, "train", "gan", *arguments)
    assert not os.listdir(tmp_path)


def test_what_does_not_fit_into_memory_is_a_sentence(run, tmp_path, capfd, monkeypatch):
    many = ["--count", 10_000_000, "--output", tmp_path / "a.npz"]
    words = "must fit into memory"
    assert words in refused(capfd, "interpolate", run, *many, "--steps", 10_000)
    monkeypatch.setattr(os, "sysconf", lambda name: 2**15)  # a machine of 1 GiB
    assert words in refused(capfd, "generate", run, *many)
    from keras_genimg import runs

    def generate(**options):
        raise MemoryError

    monkeypatch.setattr(runs, "generate", generate)
    assert words in refused(capfd, "generate", run)
