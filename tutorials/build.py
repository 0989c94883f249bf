"""Makes the executed notebooks of this folder from the scripts beside them.

    python -m pip install '.[notebooks]'
    python tutorials/build.py                      # all of them
    python tutorials/build.py 01_gan_to_vq_vae     # one
    python tutorials/build.py --text               # after a change of text: outputs stay
    python tutorials/build.py --reduced            # in a minute each; writes nothing

The scripts are the only files that are edited by hand. A notebook holds the same
cells, what they printed and drew, and the seconds that they took. Two things are shared:
setup_cell.py is the first cell tagged `setup` of each script (a build copies it there), and
answers are collapsed.

A cell describes its images for those who do not see them: `# %% alt=["Digits, one epoch per row"]`.
"""

import argparse
import pathlib
import re
import sys
import tempfile
import time

import jupytext
import nbformat

FOLDER = pathlib.Path(__file__).resolve().parent
MAX_BYTES = 1_000_000
SETUP = re.compile(r'(?ms)^(# %% tags=\["setup"\] jupyter=[^\n]*\n).*?(?=^# %%)')


def read_script(path):
    """A notebook without outputs: the cells of a script in percent format."""
    notebook = jupytext.read(path, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # not at random, so that a second build changes nothing
        if "answer" in tags(cell):
            cell.metadata["jupyter"] = nbformat.from_dict({"source_hidden": True})
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def reduce(notebook):
    """Puts a cell after the one tagged `parameters`, with the values of its `reduced`.

    The script writes them as `# %% tags=["parameters"] reduced={"EPOCHS": 1}`: the sizes
    at which the tests run it.
    """
    tagged = [i for i, cell in enumerate(notebook.cells) if "parameters" in tags(cell)]
    if len(tagged) != 1:
        raise ValueError(f"A tutorial has one cell tagged parameters. Received: {len(tagged)}.")
    parameters = notebook.cells[tagged[0]]
    values = parameters.metadata["reduced"]
    for name in values:
        if f"\n{name} = " not in f"\n{parameters.source}":
            raise ValueError(f"reduced sets what the cell does not. Received: {name}.")
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    notebook.cells.insert(tagged[0] + 1, nbformat.v4.new_code_cell(source, id="reduced"))
    return notebook


def tags(cell):
    """The tags of a cell, a list of str."""
    return cell.metadata.get("tags", [])


def words(notebook):
    """The words of its text: what stands between spaces in the Markdown cells."""
    return sum(len(c.source.split()) for c in notebook.cells if c.cell_type == "markdown")


def images(cell):
    """The outputs of a cell that are images."""
    return [o for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]


def share_setup(path):
    """Copies setup_cell.py into the script at `path`."""
    text = path.read_text(encoding="utf-8")
    setup = (FOLDER / "setup_cell.py").read_text(encoding="utf-8")
    text, found = SETUP.subn(lambda match: f"{match[1]}{setup}\n", text, count=1)
    if not found:
        raise ValueError(f"{path.name} must have a cell tagged setup, with source_hidden.")
    path.write_text(text, encoding="utf-8")


def describe_images(notebook):
    """Puts the `alt` of each cell beside its images, as alternative text."""
    for cell in notebook.cells:
        descriptions = cell.metadata.get("alt")
        if descriptions is None:
            continue
        found = images(cell)
        if len(found) != len(descriptions):
            raise ValueError(
                f"alt must describe every image of its cell. Received: {len(descriptions)} "
                f"descriptions of {len(found)} images, the first {descriptions[0]!r}."
            )
        for output, description in zip(found, descriptions):
            output.metadata["image/png"] = {"alt": description}


def execute(notebook, name):
    """Runs a notebook in an empty folder, in place. Returns the seconds it took."""
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as empty:
        start = time.perf_counter()
        NotebookClient(
            notebook, timeout=None, record_timing=False, resources={"metadata": {"path": empty}}
        ).execute()
        seconds = time.perf_counter() - start
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":  # a red box: the tests refuse it
                sys.stderr.write(f"{name}: {output.text}")
    return seconds


def keep_outputs(notebook, path):
    """Takes over outputs and seconds from the notebook at `path`, whose code must be the same.

    Only cells tagged `setup` may differ. They show nothing where the data are at hand.
    """
    old = nbformat.read(path, as_version=4)
    cells, old_cells = shown_code(notebook), shown_code(old)
    if [cell.source for cell in cells] != [cell.source for cell in old_cells]:
        raise ValueError(f"The code of {path.name} has changed: it must be run again.")
    for cell, old_cell in zip(cells, old_cells, strict=True):
        cell.outputs = old_cell.outputs
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code, start=1):
        cell.execution_count = number
    notebook.metadata["keras_genimg"] = old.metadata["keras_genimg"]


def shown_code(notebook):
    """Its code cells, without those tagged `setup`."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [cell for cell in code if "setup" not in tags(cell)]


def state_minutes(name, seconds):
    """Writes the measured minutes into the script and into the table of README.md."""
    minutes = f"{seconds / 60:.1f}"
    for path, pattern in (
        (FOLDER / f"{name}.py", r"(Measured: )[\d.]+( minutes)"),
        (FOLDER / "README.md", rf"(\({name}\.ipynb\) \|[^|]*\| )[\d.]+( \|)"),
    ):
        text, found = re.subn(
            pattern, rf"\g<1>{minutes}\g<2>", path.read_text(encoding="utf-8")
        )
        if found != 1:
            raise ValueError(f"{path.name} must state the minutes of {name} once.")
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all tutorials by default")
    parser.add_argument("--text", action="store_true", help="keep the outputs")
    parser.add_argument("--reduced", action="store_true", help="run small, and write nothing")
    arguments = parser.parse_args()
    names = arguments.names or [path.stem for path in sorted(FOLDER.glob("[0-9]*.py"))]
    for name in names:
        name = pathlib.Path(name).stem
        script, target = FOLDER / f"{name}.py", FOLDER / f"{name}.ipynb"
        if arguments.reduced:
            seconds = execute(reduce(read_script(script)), name)
            print(f"{name}: {seconds:.0f} s, reduced", flush=True)
            continue
        share_setup(script)
        notebook = read_script(script)
        if arguments.text:
            keep_outputs(notebook, target)
        else:
            seconds = execute(notebook, name)
            notebook.metadata["keras_genimg"] = {"seconds": round(seconds)}
            state_minutes(name, seconds)
            notebook.cells[0].source = read_script(script).cells[0].source
        describe_images(notebook)
        text = nbformat.writes(notebook)
        if len(text.encode()) >= MAX_BYTES:
            raise SystemExit(f"{name}.ipynb would have {len(text.encode()):,} bytes: show less")
        target.write_text(text + "\n", encoding="utf-8")
        seconds = notebook.metadata["keras_genimg"]["seconds"]
        print(f"{target.name}: {seconds} s, {target.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main()
