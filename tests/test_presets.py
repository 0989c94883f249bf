"""Presets: their files and cards, and what takes their names in Python and at the command line."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import smooth_pictures
from PIL import Image

import keras_genimg as kg
from keras_genimg import shipped
from keras_genimg.cli import main
from keras_genimg.errors import InputError
from keras_genimg.runs import load_run
from keras_genimg.runs.folder import find_run, start_from

CARDS = kg.presets()
NAMES = list(CARDS)
NAME = "conditional_gan_glyphs"


def marks_of(result):
    """Few samples of the set that is drawn in seconds in every run, 10,000 once a week."""
    if result["count"] > 1000:
        return pytest.mark.full
    return () if result["data"] == "glyphs" else pytest.mark.slow


RESULTS = [
    pytest.param(name, result, id=f"{name}-{result['count']}", marks=marks_of(result))
    for name, card in CARDS.items()
    for result in card["metrics"]
]


def refused(capfd, *arguments):
    assert main([str(argument) for argument in arguments]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("keras-genimg: error: "), lines
    return lines[-1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lay_out_emoji(archives, folder):
    """The folder `emoji` that the preset was trained on, or a skip."""
    archives = [archives / "emoji" / f"{drawing}.zip" for drawing in ("noto", "twemoji")]
    if not all(archive.is_file() for archive in archives):
        pytest.skip(f"{archives[0].parent} does not hold noto.zip and twemoji.zip")
    script = pathlib.Path(__file__).parent.parent / "benchmarks" / "emoji.py"
    command = [sys.executable, script, *archives, "--output", folder / "emoji"]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_matches_its_card(name):
    card, path = CARDS[name], shipped.PRESETS / f"{name}.keras"
    assert path.stat().st_size == card["bytes"]
    model = kg.load_preset(name)
    assert type(model).__name__ == card["class"] and model.count_params() == card["parameters"]
    assert list(model.image_shape) == card["image_shape"]
    assert list(model.class_names or ()) == list(card["class_names"] or ())
    assert not model.compiled and model.dtype_policy.name == "float32"
    assert card["command"].startswith("keras-genimg train ") and card["data"]["licence"]
    assert card["largest_change_of_a_byte"] <= 1 and 11 <= card["significant_bits"] <= 24
    assert {"keras", "tensorflow", "keras_genimg"} <= set(card["versions"])


def test_only_files_with_a_card_are_shipped_and_they_are_small():
    files = {path.name: path.stat().st_size for path in shipped.PRESETS.iterdir()}
    assert set(files) == {"cards.json", *(f"{name}.keras" for name in NAMES)}
    assert sum(files.values()) <= 12_000_000


@pytest.mark.parametrize("name, result", RESULTS)
def test_the_metrics_are_those_of_the_card(name, result, request, here):
    data_dir = None
    if result["data"] == "emoji":
        lay_out_emoji(pathlib.Path(request.getfixturevalue("real_data")).parent / "data", here)
    elif result["data"] != "glyphs":
        data_dir = request.getfixturevalue("real_data")
        if not pathlib.Path(data_dir, result["data"]).is_dir():
            pytest.skip(f"{result['data']} is not prepared in {data_dir}")
    names = {re.sub(r"\[.*\]$|_\d+$", "", metric) for metric in result["metrics"]}
    command = ["evaluate", name, "--metrics", *sorted(names), "--count", str(result["count"])]
    command += ["--split", result["split"], "--seed", str(result["seed"])]
    command += ["--features", result["features"]] if result["features"] else []
    assert main(command + (["--data-dir", data_dir] if data_dir else [])) == 0
    found = json.loads((here / "presets" / name / "metrics.json").read_text())
    assert found["real_count"] == result["real_count"]
    assert found["metrics"] == pytest.approx(result["metrics"], rel=0.05)


def test_a_preset_can_be_trained_further():
    gan = kg.ConditionalGAN.from_preset(NAME)
    before = gan.generator.get_weights()
    gan.compile()
    gan.fit(np.zeros((4, 28, 28, 1), "float32"), np.arange(4), batch_size=4, verbose=0)
    assert any(np.any(old != new) for old, new in zip(before, gan.generator.get_weights()))


def test_the_discriminator_is_a_trained_one():
    gan, untrained = kg.load_preset(NAME), kg.ConditionalGAN()
    images, labels = next(iter(kg.load("glyphs", "test", batch_size=100, with_labels=True)))
    accuracy = [
        np.mean(np.argmax(model.discriminate(images, labels)[1], axis=1) == labels)
        for model in (gan, untrained)
    ]
    assert accuracy[0] > 0.9 > 0.5 > accuracy[1]


@pytest.mark.parametrize("name", [name for name in NAMES if "gan" in CARDS[name]["model"]])
def test_training_starts_from_the_averaged_generator(name):
    model = kg.load_preset(name)
    pairs = zip(model.generator.get_weights(), model.ema_generator.get_weights(), strict=True)
    assert all(np.array_equal(own, average) for own, average in pairs)
    assert any(np.any(weight) for weight in model.generator.get_weights())


@pytest.mark.parametrize("name", NAMES)
def test_a_new_model_takes_the_weights_of_any_preset(name):
    preset = kg.load_preset(name)
    new = type(preset).from_config({**preset.get_config(), "prior": None} if "vq" in name
                                   else preset.get_config())  # fmt: skip
    start_from(new, name)
    assert getattr(new, "prior", None) is None
    for mine, theirs in zip(new.weights, preset.weights):  # those of a prior come last
        np.testing.assert_array_equal(mine, theirs)


def test_a_preset_of_another_class_is_refused():
    with pytest.raises(InputError, match="GAN.from_preset takes .* Received: .*a ConditionalGAN."):
        kg.GAN.from_preset(NAME)
    assert isinstance(kg.core.ImageModel.from_preset(NAME), kg.ConditionalGAN)


@pytest.mark.parametrize("name", ["conditional_gan", "", None, 7, "../cards", ["glyphs"]])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(InputError, match=f"must be one of {', '.join(NAMES)}. Received: "):
        kg.load_preset(name)


def test_a_corrupt_or_missing_file_is_refused(tmp_path, monkeypatch):
    shutil.copytree(shipped.PRESETS, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(shipped, "PRESETS", tmp_path)
    path = tmp_path / f"{NAME}.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"{NAME}.keras must be the file shipped with"):
        kg.load_preset(NAME)
    path.unlink()
    with pytest.raises(InputError, match="Received: no file"):
        kg.load_preset(NAME)


def test_generate_takes_a_preset_and_the_name_of_a_class(here, capfd):
    assert main(["generate", NAME, "--labels", "7", "--count", "3", "--seed", "1"]) == 0
    printed = capfd.readouterr()
    assert printed.err == f"keras-genimg: {NAME} is the preset that comes with the package.\n"
    assert printed.out.strip() == os.path.join("presets", NAME, "generated")
    image = Image.open(here / printed.out.strip() / "000002.png")
    expected = kg.plotting.to_uint8(kg.load_preset(NAME).generate(3, labels="7", seed=1)[2])
    assert image.text["class"] == "7"
    assert np.abs(np.asarray(image).astype(int) - expected[:, :, 0]).max() <= 1
    assert "exists; --overwrite replaces it" in refused(capfd, "generate", NAME)


@pytest.mark.parametrize(
    "command, options, written",
    [
        ("interpolate", ["--count", "2", "--steps", "3"], "interpolation.png"),
        ("export", ["--format", "litert"], "model.tflite"),
        pytest.param("invert", ["--data", "glyphs", "--count", "1"], "inversion.png",
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_other_commands_take_a_preset(here, command, options, written):
    assert main([command, NAME, *options]) == 0
    assert (here / "presets" / NAME / written).stat().st_size > 1000
    assert os.listdir(here) == ["presets"]


def test_a_training_starts_from_a_preset(here, capfd):
    given = ["--batch-size", "8", "--steps-per-epoch", "1", "--epochs", "1", "--start-from", NAME]
    assert main(["train", "conditional_gan", *given, "--output", "run"]) == 0
    assert f"{NAME} is the preset" in capfd.readouterr().err
    preset, trained = kg.load_preset(NAME), load_run("run")
    for old, new in zip(preset.generator.trainable_weights, trained.generator.trainable_weights):
        assert np.abs(old - new).max() < 0.01  # Adam's first step is the learning rate, 0.001
    message = refused(capfd, "train", "gan", *given, "--output", "other")
    assert "--start-from takes a run or a preset of the same model" in message
    assert f"Received: {NAME}, ConditionalGAN" in message
    set_to = json.loads(pathlib.Path("run", "run.json").read_text())["settings"]["set"]
    assert set_to == CARDS[NAME]["settings"]["set"] == {"latent_dim": 16}
    message = refused(
        capfd, "train", "conditional_gan", *given, "--set", "latent_dim=8", "--output", "other"
    )
    assert "Received: conditional_gan_glyphs, ConditionalGAN with 612,109." in message


def test_a_folder_of_that_name_takes_precedence(here, capfd):
    gan = kg.GAN((16, 16, 1), 4)
    os.mkdir(NAME)
    message = refused(capfd, "generate", NAME)
    assert f"Received: {NAME}, which has none and hides the preset of that name." in message
    gan.save(f"{NAME}/model.keras")
    pathlib.Path(NAME, "run.json").write_text("{}")
    assert isinstance(load_run(NAME), kg.GAN) and find_run(NAME) == NAME
    assert f"{NAME} is the run folder here, not the preset" in capfd.readouterr().err
    assert isinstance(kg.load_preset(NAME), kg.ConditionalGAN)


def test_an_unknown_run_lists_the_presets(here, capfd):
    message = refused(capfd, "generate", "conditional_gan_glyph")
    assert f"or a preset ({', '.join(NAMES)}). Received: conditional_gan_glyph, " in message


def test_a_prior_is_for_runs(here, capfd):
    assert "train --start-from NAME makes from a preset" in refused(capfd, "prior", NAME)


def test_list_shows_the_presets(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.split("\n\n")[2].splitlines()
    assert [line.split()[0] for line in lines[1:]] == NAMES


def test_names_of_classes_are_found_in_another_case():
    gan = kg.ConditionalGAN((16, 16, 1), 4)
    gan.class_names = ["Sneaker", "Ankle boot", "us", "US"]
    assert gan.class_numbers(["sneaker", "ANKLE BOOT", "US"]).tolist() == [0, 1, 3]
    with pytest.raises(InputError, match="names of the model's classes"):
        gan.class_numbers("Us")  # of two


def test_an_accent_may_be_written_in_two_ways():
    gan = kg.ConditionalGAN((16, 16, 1), 3)
    gan.class_names = ["e\u0301te\u0301", "\u00e9tude", "ete"]  # as folders of two systems
    assert gan.class_numbers(["\u00e9t\u00e9", "E\u0301tude", "ete"]).tolist() == [0, 1, 2]


def test_evaluate_says_that_the_data_of_the_training_are_not_here(here, capfd):
    line = refused(capfd, "evaluate", "conditional_gan_emoji", "--metrics", "frechet_distance")
    assert "conditional_gan_emoji was trained on emoji, which was not found" in line
    assert "name a data set with --data" in line


class Hub:
    """What Keras calls of huggingface_hub; repositories are folders, and hold files alone."""

    def __init__(self, folder):
        self.folder = folder

    def HfApi(self, library_name, library_version):
        assert library_name == "keras" and library_version == keras.__version__
        return self

    def create_repo(self, repo_id, exist_ok):
        assert exist_ok
        (self.folder / repo_id).mkdir(parents=True, exist_ok=True)
        return type("RepoUrl", (), {"repo_id": repo_id})()

    def upload_folder(self, repo_id, folder_path, commit_message):
        for path in pathlib.Path(folder_path).iterdir():
            if path.is_file():
                shutil.copy(path, self.folder / repo_id)

    def snapshot_download(self, repo_id, library_name, library_version):
        return str(self.folder / repo_id)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr("keras.src.saving.saving_lib.huggingface_hub", Hub(tmp_path))
    return tmp_path


def test_a_model_is_saved_to_the_hub_and_loaded(hub):
    gan = kg.GAN((16, 16, 1), 4)
    gan.compile()
    gan.fit(smooth_pictures(8), batch_size=4, verbose=0)
    gan.save("hf://somebody/gan")
    assert {"config.json", "model.weights.h5"} <= set(os.listdir(hub / "somebody" / "gan"))
    again = keras.saving.load_model("hf://somebody/gan")
    assert type(again) is kg.GAN and again.get_config() == gan.get_config()
    np.testing.assert_array_equal(again.generate(5, seed=1), gan.generate(5, seed=1))
    slots = zip(gan.generator_optimizer.variables, again.generator_optimizer.variables)
    for before, after in slots:
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("address", ["hf://gan", "hf://somebody/gans/gan"])
def test_an_address_that_is_none_is_refused(hub, address):
    with pytest.raises(InputError, match="hf://USER/NAME. Received: hf://"):
        kg.GAN((16, 16, 1), 4).save(address)
    assert not list(hub.iterdir())


def test_the_hub_needs_its_package(monkeypatch):
    monkeypatch.setattr("keras.src.saving.saving_lib.huggingface_hub", None)
    with pytest.raises(InputError, match="must install the `huggingface_hub` package. Received"):
        kg.GAN((16, 16, 1), 4).save("hf://somebody/gan")
