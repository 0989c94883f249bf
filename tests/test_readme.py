"""The README is a test: its commands are the promised ones and its Python runs."""

import os
import pathlib
import re

import numpy as np
from PIL import Image

README = (pathlib.Path(__file__).resolve().parent.parent / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_the_two_commands_stand_there_to_the_letter():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert lines[0] == "python -m pip install . && keras-genimg train gan"
    assert lines[1] == "python -m pip install '.[test]' && python -m pytest"


def test_every_picture_is_there_and_small():
    root = pathlib.Path(__file__).resolve().parent.parent
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(pictures) >= 4
    for picture in pictures:
        assert (root / picture).stat().st_size < 300_000
        Image.open(root / picture).verify()
    total = sum(path.stat().st_size for path in (root / "docs" / "images").iterdir())
    assert total < 10_000_000


def test_the_options_it_names_exist(capsys):
    from keras_genimg.cli import _parser

    text = "\n".join(blocks("text") + blocks("bash"))
    helps = []
    for command in ("train", "generate", "evaluate", "export"):
        try:
            _parser().parse_args([command, "--help"])
        except SystemExit:
            helps.append(capsys.readouterr().out)
    known = set(re.findall(r"--[a-z-]+", " ".join(helps)))
    for line in text.splitlines():
        if "keras-genimg" in line:
            assert set(re.findall(r"--[a-z-]+", line)) <= known, line


def test_its_python_runs(tmp_path, monkeypatch, real_data):
    """Every block in order, in one namespace, on fewer pictures and epochs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", real_data)
    os.mkdir("photos")
    for index in range(3):
        picture = np.full((70, 64, 3), 60 * index, np.uint8)
        Image.fromarray(picture).save(f"photos/{index}.png")
    reductions = {
        '"fashion_mnist", batch_size=64': '"glyphs", batch_size=8, num_images=16',
        "epochs=15": "epochs=1",
    }
    code = "import keras\n" + "\n".join(blocks("python"))
    for long, short in reductions.items():
        assert long in code
        code = code.replace(long, short)
    namespace = {}
    exec(compile(code, "README.md", "exec"), namespace)

    assert namespace["images"].shape == (4, 28, 28, 1) and namespace["images"].dtype == np.uint8
    assert {"grid.png", "gan.keras", "saved_model", "samples", "checkpoints"} <= set(os.listdir())
    noisy = namespace["NoisyGAN"](image_shape=(28, 28, 1))
    noisy.compile()
    history = noisy.fit(namespace["data"], verbose=0)
    assert np.isfinite(history.history["g_loss"]).all()
