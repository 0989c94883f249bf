"""Makes the executed notebooks of this folder from the scripts beside them.

    python -m pip install '.[notebooks]'
    python tutorials/build.py                      # all of them
    python tutorials/build.py 01_gan_to_vq_vae     # one
    python tutorials/build.py --text               # after a change of text: outputs stay
    python tutorials/build.py --reduced            # in a minute each; writes nothing
    python tutorials/build.py --sections 01_gan_to_vq_vae    # prints a zh/*.md to be translated

The scripts, and the Chinese texts in zh/*.md, are the only files that are edited by hand. A
notebook holds the same cells, what they printed and drew, and the seconds that they took. The first
cell tagged `setup` of each script is setup_cell.py (a build copies it there); answers are collapsed.

A cell describes its images for those who do not see them: `# %% alt=["Digits, one epoch per row"]`.

zh/NN_name.md, where it exists, is the same notebook in Chinese: one section for each text of the
script, see `translate`. The Chinese notebook takes code and outputs from the English one.
"""

import argparse
import base64
import copy
import io
import itertools
import pathlib
import re
import sys
import tempfile
import textwrap
import time

import jupytext
import nbformat
import numpy as np
from PIL import Image

FOLDER = pathlib.Path(__file__).resolve().parent
CHINESE = FOLDER / "zh"
MAX_BYTES = 1_000_000
MAX_TOTAL_BYTES = 12_000_000  # of all notebooks in both languages
MINUTES = r"(Measured: )([\d.]+)( minutes)"
SECTION = re.compile(r"(?m)^<!-- (.+) -->$")
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


def pack_images(notebook):
    """Stores the same pixels in fewer bytes: without opacity, and grey ones in one channel.

    It saves a third of a notebook, all of which are stored in two languages.
    """
    for cell in notebook.cells:
        for output in images(cell):
            image = Image.open(io.BytesIO(base64.b64decode(output.data["image/png"])))
            if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):
                image = image.convert("RGB")
            pixels = np.asarray(image)
            if image.mode == "RGB" and (pixels == pixels[..., :1]).all():
                image = image.convert("L")
            packed = io.BytesIO()
            image.save(packed, "PNG", optimize=True)
            output.data["image/png"] = base64.b64encode(packed.getvalue()).decode()


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


def texts(notebook):
    """What is read in a notebook: Markdown cells and descriptions of images, in order."""
    found = []
    for cell in notebook.cells:
        found += [cell.source] if cell.cell_type == "markdown" else cell.metadata.get("alt", [])
    return found


def marker(text):
    """The line above a section of zh/*.md: the first words of its English text."""
    return f"<!-- {textwrap.shorten(text.partition(chr(10))[0], 60, placeholder='')} -->"


def translate(notebook, path):
    """The same cells and outputs with the texts of `path`.

    It has one section per English text, in order. A line `<!-- ... -->` above each has the first
    words of the English text, as many as tell it from its neighbours. `{minutes}` stands for the
    measured minutes. Links to tutorials are written as in English; they lead to the Chinese
    edition where there is one.
    """
    _, *parts = SECTION.split(path.read_text(encoding="utf-8"))
    english = [" ".join(text.split()) for text in texts(notebook)]
    for number, (words_of, text) in enumerate(itertools.zip_longest(parts[::2], english), 1):
        if None in (words_of, text) or not text.startswith(words_of):
            raise ValueError(
                f"zh/{path.name} must have one section for each text of {path.stem}.py: "
                f"{len(english)} Markdown cells and descriptions of images. Received: "
                f"{len(parts) // 2} sections, of which number {number} is marked {words_of!r}, "
                f"where the script has {text and text[:60]!r}."
            )
    edition = copy.deepcopy(notebook)
    minutes = re.search(MINUTES, english[0])
    sections = (chinese_links(part.strip()) for part in parts[1::2])
    for cell in edition.cells:
        if cell.cell_type == "markdown":
            cell.source = next(sections)
        elif "alt" in cell.metadata:
            cell.metadata["alt"] = [next(sections) for _ in cell.metadata["alt"]]
    first = edition.cells[0]
    first.source = first.source.replace("{minutes}", minutes[2] if minutes else "")
    return edition


def chinese_links(text):
    """Links to tutorials lead out of zh/ where that tutorial has no Chinese edition."""

    def moved(match):
        return match[0] if (CHINESE / f"{match[1]}.md").exists() else f"](../{match[1]}.ipynb"

    return re.sub(r"\]\((\d\d_\w+)\.ipynb", moved, text)


def write(notebook, path):
    """Writes a notebook that is not too large."""
    text = nbformat.writes(notebook) + "\n"
    size = len(text.encode())
    if size >= MAX_BYTES:
        raise SystemExit(f"{path.name} would have {size:,} bytes: show less")
    path.write_text(text, encoding="utf-8")
    print(f"{path.relative_to(FOLDER)}: {size // 1000} kB", flush=True)


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
        (FOLDER / f"{name}.py", MINUTES),
        (FOLDER / "README.md", rf"(\({name}\.ipynb\) \|[^|]*\| )([\d.]+)( \|)"),
    ):
        text, found = re.subn(pattern, rf"\g<1>{minutes}\g<3>", path.read_text(encoding="utf-8"))
        if found != 1:
            raise ValueError(f"{path.name} must state the minutes of {name} once.")
        path.write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="all tutorials by default")
    parser.add_argument("--text", action="store_true", help="keep the outputs")
    parser.add_argument("--reduced", action="store_true", help="run small, and write nothing")
    parser.add_argument("--sections", action="store_true", help="print texts, to be translated")
    arguments = parser.parse_args()
    names = arguments.names or [path.stem for path in sorted(FOLDER.glob("[0-9]*.py"))]
    for name in names:
        name = pathlib.Path(name).stem
        script, target = FOLDER / f"{name}.py", FOLDER / f"{name}.ipynb"
        chinese = CHINESE / f"{name}.md"
        if arguments.sections:
            sections = [f"{marker(text)}\n\n{text}\n" for text in texts(read_script(script))]
            print("\n".join(sections))
            continue
        if arguments.reduced:
            seconds = execute(reduce(read_script(script)), name)
            print(f"{name}: {seconds:.0f} s, reduced", flush=True)
            continue
        share_setup(script)
        notebook = read_script(script)
        if chinese.exists():
            translate(notebook, chinese)  # it must fit, before minutes are spent
        if arguments.text:
            keep_outputs(notebook, target)
        else:
            seconds = execute(notebook, name)
            print(f"{name}: {seconds:.0f} s", flush=True)
            notebook.metadata["keras_genimg"] = {"seconds": round(seconds)}
            state_minutes(name, seconds)
            notebook.cells[0].source = read_script(script).cells[0].source
        describe_images(notebook)
        pack_images(notebook)
        write(notebook, target)
        if chinese.exists():
            edition = translate(notebook, chinese)
            describe_images(edition)
            write(edition, chinese.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
