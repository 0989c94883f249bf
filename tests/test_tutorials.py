"""Each tutorial runs from top to bottom at reduced size, and its notebook holds the same cells."""

import os
import pathlib
import re
import subprocess
import sys

import nbformat
import pytest

TUTORIALS = pathlib.Path(__file__).resolve().parent.parent / "tutorials"
sys.path.insert(0, str(TUTORIALS))
import build  # noqa: E402

NAMES = sorted(path.stem for path in TUTORIALS.glob("[0-9]*.py"))
SHORT = ("01", "04")  # the others take a minute or two, at reduced size too


def notebook_of(name):
    return nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)


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
def test_it_has_three_exercises_with_answers(name):
    cells = build.read_script(TUTORIALS / f"{name}.py").cells
    questions = [cell for cell in cells if cell.source.startswith("### Exercise")]
    answers = [cell for cell in cells if "answer" in build.tags(cell)]
    assert len(questions) == 3 and len(answers) >= 3
    assert all("assert" in cell.source for cell in answers)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name[:2] in SHORT else pytest.mark.full)
     for name in NAMES],
)  # fmt: skip
def test_it_runs_at_reduced_size(name, tmp_path):
    """As a script, in a new process and an empty folder."""
    cells = build.reduce(build.read_script(TUTORIALS / f"{name}.py")).cells
    script = tmp_path / f"{name}.py"
    script.write_text("\n\n".join(cell.source for cell in cells if cell.cell_type == "code"))
    root = str(TUTORIALS.parent)
    environment = {
        **os.environ,
        "MPLBACKEND": "agg",
        "PYTHONPATH": os.pathsep.join([root, *sys.path]),
        "PYTHONWARNINGS": "ignore:FigureCanvasAgg",
    }
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


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
