"""The README is a test: its commands exist and its Python runs."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
FILES = "https://github.com/keras-genimg/keras-genimg/blob/main/"
IMAGES = "https://raw.githubusercontent.com/keras-genimg/keras-genimg/main/"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_it_has_the_two_commands():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    assert lines[0] == "python -m pip install . && keras-genimg train gan"
    assert lines[1] == "python -m pip install '.[test]' && python -m pytest"


def test_it_is_short():
    assert len(README.splitlines()) <= 220


def test_every_image_exists_and_is_small():
    images = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert len(images) >= 2
    for image in images:
        path = ROOT / image.removeprefix(IMAGES)
        assert path.stat().st_size < 300_000
        Image.open(path).verify()
    total = sum(path.stat().st_size for path in (ROOT / "docs" / "images").iterdir())
    assert total < 10_000_000


def test_its_links_work_where_its_files_are_not():
    """PyPI shows the README alone: links are absolute, and those to our files name real ones."""
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", README, flags=re.S))
    relative = [link for link in links if not link.startswith(("https://", "#"))]
    assert not relative, f"write {FILES}... for files, {IMAGES}... for images"
    assert not re.search(r"<(a|img)\b", README)
    ours = [link for link in links if link.startswith((FILES, IMAGES))]
    assert len(ours) > 20
    for link in ours:
        assert link.startswith(IMAGES) == link.endswith(".png"), link
        path = link.removeprefix(FILES).removeprefix(IMAGES).split("#")[0]
        assert (ROOT / path).is_file(), link


def test_its_table_has_every_model():
    folder = ROOT / "keras_genimg" / "models"
    rows = [line for line in README.splitlines() if re.match(r"\| `\w+` \| `", line)]
    for path in folder.glob("[!_]*.py"):
        assert any(re.search(rf"\b{path.stem}`", row) for row in rows), path.stem


def test_the_options_it_names_exist(capsys):
    from keras_genimg.options import parser

    synopsis = (ROOT / "docs" / "cli.md").read_text()
    text = (synopsis + "\n".join(blocks("bash"))).replace("\n    ", " ")  # a command, a line
    helps = []
    for command in ("train", "prior", "generate", "interpolate", "invert", "evaluate", "export"):
        try:
            parser().parse_args([command, "--help"])
        except SystemExit:
            helps.append(capsys.readouterr().out)
    known = set(re.findall(r"--[a-z-]+", " ".join(helps)))
    for line in text.splitlines():
        if "keras-genimg" in line:
            assert set(re.findall(r"--[a-z-]+", line)) <= known, line


CHECKS = """
import os
assert 0 <= history.history["coverage[fashion_mnist]"][-1] <= 1 and os.path.exists("best.keras")
assert images.shape == (4, 28, 28, 1) and images.dtype == tf.uint8
assert {"grid.png", "gan.keras", "saved_model", "samples", "checkpoints"} <= set(os.listdir())
noisy = NoisyGAN(image_shape=(28, 28, 1))
noisy.compile()
assert all(value == value for value in noisy.fit(data, verbose=0).history["g_loss"])
print("every block ran")
"""


@pytest.mark.slow
def test_its_custom_step_keeps_the_promises():
    code = "import keras\nimport keras_genimg as kg\n"
    code += "\n".join(block for block in blocks("python") if "NoisyGAN" in block)
    names = {}
    exec(code, names)
    names["test_noisy_gan"]()


@pytest.mark.slow
def test_its_python_runs(tmp_path, real_data):
    """Every block in order, in one new process, on fewer images and epochs."""
    (tmp_path / "photos").mkdir()
    for index in range(3):
        pixels = np.full((70, 64, 3), 60 * index, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{index}.png")
    code = "import keras\n" + "\n".join(blocks("python")) + CHECKS
    reductions = {
        '"fashion_mnist", batch_size=64': '"glyphs", batch_size=8, num_images=16',
        "epochs=15": "epochs=1",
        '"test", batch_size=500': '"test", batch_size=100, num_images=200',
        "every=5,": "every=5, num_images=50,",
    }
    for long, short in reductions.items():
        assert long in code
        code = code.replace(long, short)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TFDS_DATA_DIR": real_data}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "every block ran" in process.stdout
