"""Docstrings of this package as Griffe and Markdown read them."""

import re
import textwrap

import griffe

# Sections that Griffe does not know, or would split into names and types.
OURS = ("Returns", "Yields", "Example", "Reference", "Differences", "Logs")
TITLE = re.compile(rf"^(Args|Attributes|Call arguments|Raises|{'|'.join(OURS)}):", re.M)


class Sections(griffe.Extension):
    """Makes paragraphs of what the package writes as sections, and code blocks of examples."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring is None:
            return
        before, *parts = TITLE.split(obj.docstring.value)
        for title, text in zip(parts[::2], parts[1::2]):
            if title in OURS:
                text = code(text) if title == "Example" else flush(text)
                before += f"**{title}:** {text}\n\n"
            else:
                title = title.replace("Call arguments", "Other Parameters")
                before += f"{title}:{on_one_line(text)}"
        obj.docstring.value = before


def on_one_line(text):
    """A section of "names: what they are", without line breaks between the names of an entry."""
    indent = re.match(r"\n*( *)", text)[1]
    names = rf"^{indent}(?! )[^:\n]*(?:\n +[^:\n]*)*:"
    return re.sub(names, lambda match: re.sub(r"\n +", " ", match[0]), text, flags=re.M)


def flush(text):
    """The lines of a section without the indentation of all but the first."""
    first, *rest = text.strip().splitlines() or [""]
    return "\n".join([first, *textwrap.dedent("\n".join(rest)).splitlines()])


def code(text):
    """An example in a fence, where it has none."""
    text = textwrap.dedent(text.strip("\n")).strip()
    if "```" in text:
        return f"\n\n{text}"
    words, prompt, lines = text.partition(">>>")
    return f"{words.strip()}\n\n```pycon\n{prompt}{lines}\n```" if prompt else text
