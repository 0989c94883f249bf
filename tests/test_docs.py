"""The site: every page and every public module has a place in it."""

import importlib.util
import inspect
import json
import pathlib
import re
import shlex
import types
import urllib.parse
from html import unescape

import pytest

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


def docs_module(name):
    """A module of the folder `docs`; the gate runs these tests once more where they can import."""
    pytest.importorskip("mkdocs")
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_site(text, uri="index.md"):
    page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=uri))
    titled = types.SimpleNamespace(page=types.SimpleNamespace(title="Title"))
    files = types.SimpleNamespace(get_file_from_path={"web.md": titled}.get)
    return docs_module("pages").on_page_markdown(text, page, None, files)


def test_code_is_not_taken_for_links():
    code = '```python\nimages = signatures["serve"](seed=1)\n```\n'
    inline = 'See `samples["a"](b.md)`, '
    assert on_site(f"{code}{inline}[here](docs/web.md).") == f"{code}{inline}[here](web.md)."
    assert on_site("[`web`](docs/web.md), `x`") == "[`web`](web.md), `x`"
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text()
        fences = re.compile("^```.*?^```", flags=re.M | re.S)
        assert fences.findall(on_site(text)) == fences.findall(text), page.name


def test_a_link_named_after_its_file_is_named_after_its_page():
    assert on_site("[docs/web.md](docs/web.md#files)") == "[Title](web.md#files)"
    assert on_site("[docs/other.md](docs/other.md)") == "[docs/other.md](other.md)"
    assert on_site("[page](docs/web.md)") == "[page](web.md)"


def test_every_contents_link_of_a_notebook_finds_its_heading():
    pages = docs_module("pages")
    for path in pages.NOTEBOOKS:
        cells = json.loads((ROOT / path).read_text())["cells"]
        texts = ["".join(each["source"]) for each in cells if each["cell_type"] == "markdown"]
        text = "\n".join(texts)
        headings = re.findall(r"^(#+) (.*)$", text, flags=re.M)
        html = "".join(
            f'<h{len(level)} id="">{title}<a class="anchor-link" href="#">¶</a></h{len(level)}>'
            for level, title in headings
        )
        toc = [types.SimpleNamespace(title="", id="", children=[]) for _ in headings]
        page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=path), toc=toc)
        html = pages.on_page_content(html, page, None, None)
        anchors = {unescape(each) for each in re.findall(r'<h\d id="([^"]*)"', html)}
        links = re.findall(r"\]\(#([^)]*)\)", text)
        assert len(links) > 3 and {urllib.parse.unquote(each) for each in links} <= anchors, path
        assert {each.id for each in toc} == anchors


def test_names_over_two_lines_are_one_entry_of_the_api_reference():
    joined = docs_module("docstrings").on_one_line
    assert joined("\n  a: one,\n    two.\n  b, c,\n    d: it.\n") == (
        "\n  a: one,\n    two.\n  b, c, d: it.\n"
    )


def test_formulas_have_a_script_that_draws_them():
    assert re.search(r"custom_mathjax_url: https://\S+MathJax", (ROOT / "mkdocs.yml").read_text())
