"""The model card of a run: what it says, and whose it is."""

import json

import numpy as np
import pytest

from keras_genimg import plotting
from keras_genimg.runs.card import MARK, write_card
from keras_genimg.runs.results import FRAMES, PAUSE, _write_progress

yaml = pytest.importorskip("yaml")


def record(**settings):
    return {
        "model": "conditional_gan",
        "settings": {"data": "mnist", "batch_size": 64, "epochs": 15, "seed": 3, **settings},
        "arguments": {"image_shape": [28, 28, 1], "class_names": ["a|b", "<i>c</i>", "*d*"]},
        "parameters": 1234567, "num_images": 60000, "epochs_done": 15, "seconds": 1234.5,
        "versions": {"keras_genimg": "0.1.0"},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def card_of(folder, content, **files):
    """(front matter, text) of the card."""
    for name, values in {"run": content, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    write_card(folder)
    text = (folder / "README.md").read_text()
    _, matter, text = text.split("---\n", 2)
    return yaml.safe_load(matter), text


def test_it_says_what_the_run_is(folder):
    (folder / "samples.png").touch()
    matter, text = card_of(folder, record())
    assert matter["pipeline_tag"] == "unconditional-image-generation"
    assert matter["datasets"] == ["ylecun/mnist"] and "conditional-gan" in matter["tags"]
    assert "model-index" not in matter and "## Results" not in text
    assert "(samples.png)" in text and "progress.gif" not in text
    for words in ("# photos", "`ConditionalGAN`", "Mirza and Osindero, 2014", "CC BY-SA 3.0",
                  "60,000 of 28x28x1", "1,234,567", "15 epochs, batches of 64, seed 3",
                  "1,234 seconds", "model.generate("):  # fmt: skip
        assert words in text, words
    # Names of classes are text, and not part of the table or its markup.
    assert r"a\|b, \<i\>c\</i\>, \*d\*" in text


def test_results_are_those_of_the_last_evaluation(folder):
    values = {"frechet_distance[mnist]": 12.34567, "coverage[mnist]": 0.5}
    metrics = {"data": "mnist", "split": "test", "count": 1000, "real_count": 9,
               "metrics": values}  # fmt: skip
    matter, text = card_of(folder, record(), metrics=metrics)
    (index,) = matter["model-index"]
    (result,) = index["results"]
    assert index["name"] == "photos" and result["dataset"]["type"] == "ylecun/mnist"
    assert result["task"]["type"] == matter["pipeline_tag"]
    assert {each["type"]: each["value"] for each in result["metrics"]} == values
    assert r"| frechet\_distance\[mnist\] | 12.3457 |" in text and "1,000 samples" in text
    del metrics["real_count"]
    assert "1,000 images" in card_of(folder, record(), metrics=metrics)[1]


def test_it_tells_nobody_where_the_data_lie(folder):
    content = record(data="/home/somebody/secret/my photos/", data_dir="/home/somebody/tfds")
    matter, text = card_of(folder, content)
    assert "my photos (licence not known: add it here)" in text and "datasets" not in matter
    assert "somebody" not in (folder / "README.md").read_text()


def test_a_record_may_say_less(folder):
    """As those of earlier versions, or of which a part was removed."""
    _, text = card_of(folder, {"model": "gan", "settings": {"data": "glyphs"}})
    assert "glyphs, drawn by" in text and "None" not in text and "| training |" not in text


@pytest.mark.parametrize(
    "model, prior, task, use",
    [
        ("pix2pix", None, "image-to-image", "translate"),
        ("cnn_classifier", None, "image-classification", "classify"),
        ("vq_vae", None, "image-to-image", "reconstruct"),
        ("vq_vae", {"kind": "pixel_cnn"}, "unconditional-image-generation", "generate"),
    ],
)
def test_its_use_is_that_of_the_model(model, prior, task, use, folder):
    files = {} if prior is None else {"prior": prior}
    matter, text = card_of(folder, {**record(), "model": model}, **files)
    assert matter["pipeline_tag"] == task and f"model.{use}(" in text


def test_an_edited_card_stays(folder):
    card_of(folder, record())
    path = folder / "README.md"
    assert MARK in path.read_text()
    card_of(folder, record(seed=4))
    assert "seed 4" in path.read_text()
    mine = path.read_text().replace(MARK, "") + "My words.\n"
    path.write_text(mine)
    (folder / "run.json").write_text(json.dumps(record(seed=5)))
    write_card(folder)
    assert path.read_text() == mine
    path.write_bytes(b"\xff\xfe")  # no text at all
    write_card(folder)
    assert path.read_bytes() == b"\xff\xfe"


def test_progress_shows_the_epochs_and_stays_on_the_last(tmp_path):
    from PIL import Image

    paths = []
    for epoch in range(2 * FRAMES):
        paths.append(str(tmp_path / f"epoch-{epoch:04d}.png"))
        plotting.save_png(paths[-1], np.full((8, 8, 1), 4 * epoch, np.uint8))
    (tmp_path / "epoch-0000.png").write_bytes(b"damaged")
    plotting.save_png(paths[10], np.zeros((9, 8, 1), np.uint8))  # of another size
    _write_progress(paths, tmp_path / "progress.gif")
    shown, durations = [], []
    with Image.open(tmp_path / "progress.gif") as image:
        for index in range(image.n_frames):
            image.seek(index)
            shown.append(np.asarray(image.convert("L"), int)[0, 0])
            durations.append(image.info["duration"])
    assert FRAMES - 2 <= len(shown) <= FRAMES and shown == sorted(shown)
    assert shown[-1] == 4 * (2 * FRAMES - 1) and shown[0] < 20
    assert durations[0] == 100 and durations[-1] == 100 * (1 + PAUSE)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_grids_are_no_animation(count, tmp_path):
    path = tmp_path / "epoch-0001.png"
    plotting.save_png(path, np.zeros((8, 8, 1), np.uint8))
    _write_progress([str(path)] * count, tmp_path / "progress.gif")
    assert not (tmp_path / "progress.gif").exists()
