"""Pages of the site that are not in this folder: the README, the changelog, the tutorials, the API.

`mkdocs build` calls the functions `on_...`, see mkdocs.yml.
"""

import pathlib
import posixpath
import re
from html import escape, unescape
from urllib.parse import quote

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parent.parent
GITHUB = "https://github.com/keras-genimg/keras-genimg/blob/main/"
RAW = "https://raw.githubusercontent.com/keras-genimg/keras-genimg/main/"
# Page -> file of the repository.
SOURCES = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "extending.md": "CONTRIBUTING.md",
    "tutorials/index.md": "tutorials/README.md",
}
NOTEBOOKS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.ipynb", "zh/*.ipynb")
    for path in (ROOT / "tutorials").glob(pattern)
)
PAGES = {**{source: page for page, source in SOURCES.items()}, **dict(zip(NOTEBOOKS, NOTEBOOKS))}
COMMAND = []  # build or serve
# Code, which stays as it is, or a link: its text if that is the name of a file, what is before the
# address, the address and what follows.
LINK = re.compile(
    r"^( *)```.*?^\1```|`[^`\n]+`|(\[[\w/]+\.md)?(\]\()([^)\s#]+)((?:#[^)\s]*)?\))",
    flags=re.M | re.S,
)
HEADING = re.compile(r'(<h([1-6])) id="[^"]*">(.*?)<a class="anchor-link" href="[^"]*">')


def on_startup(command, dirty):
    COMMAND[:] = [command]


def on_post_build(config):
    """A page that runs a preset, at play/: only of a build, because it takes seconds."""
    if COMMAND == ["build"]:
        import keras_genimg

        model = keras_genimg.load_preset("conditional_gan_cifar10")
        model.export(pathlib.Path(config.site_dir, "play"), "web")


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files, config):
    for page, source in SOURCES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for path in NOTEBOOKS:
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    names = re.findall(r"api/(\w+)\.md", (ROOT / "mkdocs.yml").read_text())
    for name in names:
        text = f"# keras_genimg.{name}\n\n::: keras_genimg.{name}\n    options:\n"
        if name == "core":  # what all models have, from wherever in the package
            text += "      members: [ImageModel]\n      inherited_members: true\n"
        text += "      show_root_heading: false\n      show_root_toc_entry: false\n"
        files.append(File.generated(config, f"api/{name}.md", content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links between files of the repository become links between pages, or to the repository.

    A link whose text is the name of a file gets the title of the page instead.
    """
    uri = page.file.src_uri
    source = SOURCES.get(uri, f"docs/{uri}")

    def moved(match):
        _, text, before, link, after = match.groups()
        if link is None:
            return match[0]
        if link.startswith((GITHUB, RAW)):
            path = link.removeprefix(GITHUB).removeprefix(RAW)
        elif re.match(r"[a-z]+:", link):
            return match[0]
        else:
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        target = PAGES.get(path, path.removeprefix("docs/"))
        if path not in PAGES and not path.startswith("docs/"):
            return (text or "") + before + GITHUB + path + after
        file = files.get_file_from_path(target) if text else None
        text = f"[{file.page.title}" if file and file.page and file.page.title else text or ""
        return text + before + posixpath.relpath(target, posixpath.dirname(uri) or ".") + after

    return LINK.sub(moved, markdown)


def on_page_content(html, page, config, files):
    """The same for notebooks, which are HTML by the time that MkDocs reads them.

    Headings get the anchors that they have in Jupyter, which the links of notebooks use.
    """
    source = page.file.src_uri
    if source not in NOTEBOOKS:
        return html
    entries = list(flat(page.toc))

    def anchored(match):
        start, _, title = match.groups()
        anchor = unescape(re.sub("<[^>]*>", "", title)).replace(" ", "-")
        entry = entries.pop(0)
        entry.title, entry.id = title, anchor
        link = f'<a class="anchor-link" href="#{quote(anchor)}">'
        return f'{start} id="{escape(anchor)}">{title}{link}'

    html = HEADING.sub(anchored, html)

    def moved(match):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        target = files.get_file_from_path(PAGES.get(path, path.removeprefix("docs/")))
        link = target.url_relative_to(page.file) if target else GITHUB + path
        return f'href="{link}{match[2] or ""}"'

    return re.sub(r'href="([^":#]+)(#[^"]*)?"', moved, html)


def flat(entries):
    """The entries of a table of contents, in the order of the page."""
    for entry in entries:
        yield entry
        yield from flat(entry.children)
