"""The site: every page and every public module has a place in it."""

import inspect
import pathlib
import re
import shlex

import keras_genimg
from keras_genimg.options import parser

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAV = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]


def test_every_page_has_a_place():
    placed = re.findall(r"([\w/]+\.(?:md|ipynb))$", NAV, flags=re.M)
    assert len(placed) == len(set(placed)) > 30
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    notebooks = [*(ROOT / "tutorials").glob("*.ipynb"), *(ROOT / "tutorials/zh").glob("*.ipynb")]
    pages |= {path.relative_to(ROOT).as_posix() for path in notebooks}
    made = {"index.md", "changelog.md", "extending.md", "tutorials/index.md"}
    assert {page for page in placed if not page.startswith("api/")} == pages | made


def test_every_public_module_has_a_page():
    pages = set(re.findall(r"api/(\w+)\.md", NAV))
    names = keras_genimg.__all__
    modules = {name for name in names if inspect.ismodule(getattr(keras_genimg, name))}
    assert pages == modules | {"core", "shipped"}


def test_the_gate_builds_the_site():
    assert "mkdocs build" in (ROOT / ".ci" / "run").read_text()
    assert re.search(r"^strict: true$", (ROOT / "mkdocs.yml").read_text(), flags=re.M)


def test_every_command_of_the_pages_is_one():
    found = 0
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("keras-genimg "):
                    parser().parse_args(shlex.split(line)[1:])  # exits at what it does not know
                    found += 1
    assert found >= 8
