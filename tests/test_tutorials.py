"""Each tutorial runs from top to bottom at reduced size, and its notebook holds the same cells."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import nbformat
import numpy as np
import pytest
import tensorflow as tf

TUTORIALS = pathlib.Path(__file__).resolve().parent.parent / "tutorials"
sys.path.insert(0, str(TUTORIALS))
import build  # noqa: E402

NAMES = sorted(path.stem for path in TUTORIALS.glob("[0-9]*.py"))
SHORT = ("00", "01", "04")  # the others take a minute or two, at reduced size too
TWICE = ("00", "04", "05", "08")  # run a second time in the same process, as "Run all" does
# Words of text in a notebook. From 01 on it is what they have now: they may only become shorter.
MOST_WORDS = {
    "00": 2_200, "01": 2_990, "02": 3_132, "03": 3_443, "04": 2_200, "05": 2_200, "06": 3_237,
    "07": 2_283, "08": 2_048,
}  # fmt: skip
DESCRIBED = ("00", "04", "05")  # every image has an alternative text
LINKS = (
    "https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/",
    "https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/",
)


def notebook_of(name):
    return nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)


def script_of(name):
    return build.read_script(TUTORIALS / f"{name}.py")


def test_every_tutorial_is_listed_and_executed():
    assert NAMES == sorted(path.stem for path in TUTORIALS.glob("*.ipynb"))
    index = (TUTORIALS / "README.md").read_text()
    assert all(f"({name}.ipynb)" in index for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_is_the_script_executed(name):
    notebook = notebook_of(name)
    made = build.read_script(TUTORIALS / f"{name}.py")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in made.cells
    ]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]  # a red box
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert (TUTORIALS / f"{name}.ipynb").stat().st_size < build.MAX_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_the_time_at_the_top_is_the_measured_one(name):
    notebook = notebook_of(name)
    stated = re.search(r"Measured: ([\d.]+) minutes", notebook.cells[0].source)
    seconds = notebook.metadata["keras_genimg"]["seconds"]
    assert float(stated[1]) == pytest.approx(seconds / 60, abs=0.06)
    assert seconds <= 15 * 60


@pytest.mark.parametrize("name", NAMES)
def test_its_text_is_not_longer_than_allowed(name):
    assert 0 < build.words(notebook_of(name)) <= MOST_WORDS[name[:2]]


@pytest.mark.parametrize("name", NAMES)
def test_its_first_cell_links_to_where_it_can_be_run_and_read(name):
    first = script_of(name).cells[0].source
    assert all(f"({link}{name}.ipynb)" in first for link in LINKS)


@pytest.mark.parametrize("name", NAMES)
def test_all_share_the_setup_cell(name):
    cells = [cell for cell in script_of(name).cells if "setup" in build.tags(cell)]
    assert cells[0].source == (TUTORIALS / "setup_cell.py").read_text().strip()
    assert cells[0].metadata["jupyter"]["source_hidden"]
    assert [cell.source for cell in cells[1:]] in ([], ["DATA = or_glyphs(DATA)"])
    sources = [cell.source for cell in script_of(name).cells if cell.cell_type == "code"]
    reads_a_set = any(re.search(r"^DATA = ", source, re.MULTILINE) for source in sources)
    assert len(cells) == 1 + reads_a_set


@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] in DESCRIBED])
def test_every_picture_is_described(name):
    cells = notebook_of(name).cells
    outputs = [output for cell in cells for output in build.images(cell)]
    described = [output.metadata.get("image/png", {}).get("alt", "") for output in outputs]
    linked = [text for cell in cells if cell.cell_type == "markdown"
              for text in re.findall(r"!\[(.*?)\]", cell.source)]  # fmt: skip
    assert outputs and all(len(text) > 20 for text in described + linked)


@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] in DESCRIBED])
def test_its_contents_are_its_headings(name):
    text = [cell.source for cell in notebook_of(name).cells if cell.cell_type == "markdown"]
    headings = re.findall(r"^## (.*)$", "\n".join(text), re.MULTILINE)
    linked = re.findall(r"\]\(#(.*?)\)", text[0].replace("\n", " "))
    assert linked == [heading.replace(" ", "-") for heading in headings if "next" not in heading]


@pytest.mark.parametrize("name", NAMES)
def test_it_has_three_exercises_with_answers(name):
    cells = build.read_script(TUTORIALS / f"{name}.py").cells
    questions = [cell for cell in cells if cell.source.startswith("### Exercise")]
    answers = [cell for cell in cells if "answer" in build.tags(cell)]
    assert len(questions) == 3 and len(answers) >= 3
    assert all("assert" in cell.source for cell in answers)
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in answers)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name[:2] in SHORT else pytest.mark.full)
     for name in NAMES],
)  # fmt: skip
def test_it_runs_at_reduced_size(name, tmp_path):
    """As a script, in a new process. It leaves no file behind, and writes nothing to stderr."""
    cells = build.reduce(script_of(name)).cells
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    script = tmp_path / f"{name}.py"
    script.write_text("\n\n".join(sources * (2 if name[:2] in TWICE else 1)))
    folder, temporary = tmp_path / "folder", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    environment = {
        **os.environ,
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([str(TUTORIALS.parent), *sys.path]),
        "PYTHONWARNINGS": "ignore:FigureCanvasAgg",
        "TMPDIR": str(temporary),
    }
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)  # of the tests: a student has not set it
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    assert not list(folder.iterdir()) and not list(temporary.iterdir())


def namespace_of_setup(monkeypatch, tmp_path):
    """What the setup cell defines, run in this process; its folder is left after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    names = {}
    exec((TUTORIALS / "setup_cell.py").read_text(), names)
    return names


def test_glyphs_stand_in_for_a_set_that_is_neither_here_nor_downloadable(
    monkeypatch, tmp_path, capsys
):
    names = namespace_of_setup(monkeypatch, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "no sets"))
    for proxy in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nobody answers: no network
    assert names["or_glyphs"]("fashion_mnist") == "glyphs"
    assert "fashion_mnist" in capsys.readouterr().out


def test_a_set_that_is_there_is_used_and_a_wrong_name_is_not_hidden(
    monkeypatch, tmp_path, capsys, real_data
):
    names = namespace_of_setup(monkeypatch, tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", real_data)
    assert names["or_glyphs"]("fashion_mnist") == "fashion_mnist"
    assert names["or_glyphs"]("glyphs") == "glyphs"
    with pytest.raises(ValueError, match="fashion_minst"):
        names["or_glyphs"]("fashion_minst")
    assert capsys.readouterr().out == ""


def test_files_of_a_tutorial_go_to_a_folder_of_its_own(monkeypatch, tmp_path):
    names = namespace_of_setup(monkeypatch, tmp_path)
    pathlib.Path("gan.keras").write_text("weights")
    (own,) = tmp_path.iterdir()
    assert [path.name for path in own.iterdir()] == ["gan.keras"]
    names["scratch"].cleanup()  # as at the end of the kernel
    assert not list(tmp_path.iterdir())


def minimax(logits):
    return -tf.reduce_mean(tf.nn.softplus(logits))


@pytest.mark.parametrize(
    "check, name, empty, right, wrong",
    [
        ("loss_is_right", "minimax_generator_loss", lambda logits: ..., minimax,
         lambda logits: -minimax(-logits)),
        ("walk_is_right", "between", lambda a, b, t: ..., lambda a, b, t: a + t * (b - a),
         lambda a, b, t: t * a + (1 - t) * b),
    ],
)  # fmt: skip
def test_what_a_student_fills_in_is_checked(check, name, empty, right, wrong, capsys):
    (cell,) = [c for c in script_of("00_fifteen_minutes").cells if f"def {check}" in c.source]

    def told(function):
        exec(cell.source, {"np": np, "tf": tf, name: function})
        return capsys.readouterr().out

    assert "Nothing here yet" in told(empty)
    assert told(right).startswith("Right")
    with pytest.raises(AssertionError, match="should be"):
        told(wrong)


def nearest(vectors, codebook):
    distances = np.square(np.asarray(vectors)[..., None, :] - np.asarray(codebook)).sum(axis=-1)
    return distances.argmin(axis=-1)


def through(z_e, z_q, beta=0.25):
    to_codes, to_vectors = (tf.reduce_mean((tf.stop_gradient(a) - b) ** 2)
                            for a, b in ((z_e, z_q), (z_q, z_e)))  # fmt: skip
    return z_e + tf.stop_gradient(z_q - z_e), to_codes + beta * to_vectors


def balanced(rec_loss, gan_loss, rec_gradient, gan_gradient):
    return rec_loss + 0.8 * tf.norm(rec_gradient) / (tf.norm(gan_gradient) + 1e-6) * gan_loss


def enlarging(images, fakes, logits):
    return np.mean((images - fakes) ** 2) + 1e-3 * np.mean(np.log1p(np.exp(-logits)))


@pytest.mark.parametrize(
    "tutorial, check, names, empty, right, wrong",
    [
        ("04_vq_vae", "codes_are_right", "nearest_codes", lambda *_: ..., nearest,
         lambda vectors, codebook: nearest(-vectors, codebook)),
        ("04_vq_vae", "quantiser_is_right", "quantised", lambda *_: (..., ...), through,
         lambda z_e, z_q: through(z_e, z_q, beta=1.0)),
        ("04_vq_vae", "quantiser_is_right", "quantised", lambda *_: (..., 0.0), through,
         lambda z_e, z_q: (z_q, through(z_e, z_q)[1])),  # a gradient to the codebook
        ("05_vq_vae_meets_gan", "balance_is_right", "balanced_loss", lambda *_: ..., balanced,
         lambda rec, gan, a, b: balanced(rec, gan, b, a)),
        ("05_vq_vae_meets_gan", "enlarging_is_right", "enlarging_loss", lambda *_: ..., enlarging,
         lambda images, fakes, logits: enlarging(images, fakes, -logits)),
    ],
)  # fmt: skip
def test_what_a_student_fills_in_about_codes_is_checked(
    tutorial, check, names, empty, right, wrong, capsys
):
    (cell,) = [c for c in script_of(tutorial).cells if f"def {check}" in c.source]

    def told(function):
        exec(cell.source, {"np": np, "tf": tf, names: function})
        return capsys.readouterr().out

    assert "Nothing here yet" in told(empty)
    assert told(right).startswith("Right")
    with pytest.raises(AssertionError, match="should be"):
        told(wrong)


def test_reduced_values_must_be_parameters():
    notebook = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("EPOCHS = 5")
    cell.metadata = nbformat.from_dict({"tags": ["parameters"], "reduced": {"EPOCH": 1}})
    notebook.cells = [cell]
    with pytest.raises(ValueError, match="EPOCH"):
        build.reduce(notebook)
    cell.metadata["reduced"] = {"EPOCHS": 1}
    assert [c.source for c in build.reduce(notebook).cells] == ["EPOCHS = 5", "EPOCHS = 1"]


def test_outputs_are_kept_only_for_the_same_code(tmp_path):
    def made(*sources):
        notebook = nbformat.v4.new_notebook()
        notebook.cells = [nbformat.v4.new_code_cell(source) for source in sources]
        return notebook

    old = made("1 + 1")
    old.cells[0].outputs = [nbformat.v4.new_output("stream", text="2")]
    old.metadata["keras_genimg"] = {"seconds": 3}
    nbformat.write(old, tmp_path / "a.ipynb")
    new = made("1 + 1")
    build.keep_outputs(new, tmp_path / "a.ipynb")
    assert new.cells[0].outputs[0].text == "2"
    assert new.metadata["keras_genimg"]["seconds"] == 3
    with pytest.raises(ValueError, match="run again"):
        build.keep_outputs(made("1 + 2"), tmp_path / "a.ipynb")
    setup = nbformat.v4.new_code_cell("1 + 3", metadata={"tags": ["setup"]})
    new.cells.insert(0, setup)  # which shows nothing
    new.cells[1].outputs = []
    build.keep_outputs(new, tmp_path / "a.ipynb")
    assert new.cells[1].outputs[0].text == "2"
    assert [cell.execution_count for cell in new.cells] == [1, 2]


def test_every_picture_of_a_cell_needs_its_description():
    image = nbformat.v4.new_output("display_data", data={"image/png": "aGk="})
    cell = nbformat.v4.new_code_cell("draw()", outputs=[image], metadata={"alt": ["a digit"]})
    notebook = nbformat.v4.new_notebook(cells=[cell])
    build.describe_images(notebook)
    assert image.metadata["image/png"]["alt"] == "a digit"
    cell.metadata["alt"] = ["a digit", "another"]
    with pytest.raises(ValueError, match="every image"):
        build.describe_images(notebook)
