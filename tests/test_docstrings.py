"""Every public name says what it takes, gives and refuses, in the sections that docstrings have."""

import ast
import inspect
import re
import textwrap

import pytest

import keras_genimg
from keras_genimg import models
from keras_genimg.errors import InputError

# What Keras calls, with arguments of its own: one sentence is enough, of the second group none.
CALLED_BY_KERAS = re.compile(
    r"(train|test)_step|metrics|update_step|(get|from)_config|get_compile_config"
    r"|compile_from_config|(save|load)_own_variables|on_\w+_(begin|end)"
)
WITHOUT_A_WORD = re.compile(r"build|compute_output_(shape|spec)")
SECTION = re.compile(
    r"^(Args|Attributes|Call arguments|Returns|Yields|Raises|Logs|Differences|Example"
    r"|Reference):", re.M,
)
# `name:`, and also `one, two, **others:`, over two lines if they are many.
NAMES = re.compile(r"^[ ]+((?:\*{0,2}\w+,\s+)*\*{0,2}\w+):", re.M)
CHECK = re.compile(r"(?:.*\.)?(check|checked)_\w+")  # functions that raise InputError


def section(doc, *titles):
    """The text of the first section with one of the titles, None where there is none."""
    starts = list(SECTION.finditer(doc))
    ends = [start.start() for start in starts[1:]] + [len(doc)]
    texts = [doc[s.end() : end] for s, end in zip(starts, ends) if s[1] in titles]
    return texts[0] if texts else None


def body(function):
    """The nodes of a function's body, without those of functions inside it."""
    nodes = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body[:]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, (ast.FunctionDef, ast.Lambda)):
            yield node
            nodes.extend(ast.iter_child_nodes(node))


def gives_a_value(function):
    return any(
        isinstance(node, (ast.Yield, ast.YieldFrom))
        or (isinstance(node, ast.Return) and node.value is not None)
        for node in body(function)
    )


def refuses(function):
    """Whether the body raises InputError, or calls what checks input."""
    return any(
        (isinstance(node, ast.Raise) and "InputError(" in ast.unparse(node))
        or (isinstance(node, ast.Call) and CHECK.fullmatch(ast.unparse(node.func)))
        for node in body(function)
    )


def parameters(function):
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    found = inspect.signature(function).parameters.values()
    return [p.name for p in found if p.kind not in variadic and p.name not in ("self", "cls")]


def unnamed(doc, title, names):
    """Which of the names have no entry in a section."""
    entries = NAMES.findall(section(doc, title) or "")
    told = {name for entry in entries for name in re.findall(r"\w+", entry)}
    return [f"{title}: {name}" for name in names if name not in told]


def lacks(doc, function, of_class=False):
    """What a docstring does not tell of a function; of a class, of its constructor."""
    doc = inspect.cleandoc(doc or "")
    missing = [] if doc else ["a docstring"]
    missing += unnamed(doc, "Args", parameters(function))
    if not of_class and gives_a_value(function) and section(doc, "Returns", "Yields") is None:
        missing.append("Returns")
    if refuses(function) and "InputError:" not in (section(doc, "Raises") or ""):
        missing.append("Raises: InputError")
    return missing


def of_package(thing):
    return getattr(thing, "__module__", "").startswith("keras_genimg")


def inherited(cls, name):
    """The nearest docstring of a member among a class and those above it, and its class."""
    for owner in cls.__mro__:
        member = vars(owner).get(name)
        if member is not None and member.__doc__:
            return member.__doc__, owner
    return None, None


def faults_of_member(cls, name, member):
    doc, source = inherited(cls, name)
    if WITHOUT_A_WORD.fullmatch(name):
        return []
    if doc is None and name == "call":  # a layer's class says what it is called with
        doc = inspect.cleandoc(cls.__doc__ or "")
        missing = unnamed(doc, "Call arguments", parameters(member))
        return missing + ["Returns"] * (section(doc, "Returns") is None)
    if doc is None:
        return ["a docstring"]
    if isinstance(member, property) or CALLED_BY_KERAS.fullmatch(name) or not of_package(source):
        return []
    return lacks(doc, member)


def faults_of_class(cls):
    """Of the class and of all its public methods that the package wrote, as (name, fault)s."""
    if hasattr(cls, "_fields"):
        found = unnamed(inspect.cleandoc(cls.__doc__), "Attributes", cls._fields)
    elif of_package(cls.__init__):
        found = lacks(cls.__doc__, cls.__init__, of_class=True)
    else:
        found = [] if "__doc__" in vars(cls) and cls.__doc__ else ["a docstring"]
    yield from ((cls.__qualname__, fault) for fault in found)
    for owner in filter(of_package, cls.__mro__):
        for name, member in vars(owner).items():
            member = getattr(member, "__func__", member)  # of a class method, or a static one
            written = isinstance(member, property) or (
                inspect.isfunction(member) and of_package(member)
            )
            if written and not name.startswith("_"):
                for fault in faults_of_member(owner, name, member):
                    yield f"{owner.__qualname__}.{name}", fault


def public():
    """The public modules, and the functions and classes that they export, each once."""
    modules, things = [keras_genimg], {}
    for module in modules:
        for thing in (getattr(module, name) for name in module.__all__):
            if inspect.ismodule(thing):
                modules.append(thing)
            elif inspect.isfunction(thing) or inspect.isclass(thing):
                things[id(thing)] = thing
    return modules, list(things.values())


def faults():
    modules, things = public()
    found = {(module.__name__, "a docstring") for module in modules if not module.__doc__}
    for thing in things:
        if inspect.isclass(thing):
            found |= set(faults_of_class(thing))
        else:
            found |= {(thing.__qualname__, fault) for fault in lacks(thing.__doc__, thing)}
    return sorted(found)


def test_public_names_say_what_they_take_give_and_refuse():
    found = [f"{name} lacks {fault}" for name, fault in faults()]
    assert not found, "\n".join(found)


def test_the_public_api_is_found():
    modules, things = public()
    names = {thing.__name__ for thing in things}
    assert len(modules) > 10 and len(names) > 100
    assert {"VAE", "load", "hinge_generator_loss", "GlobalBatch", "Resume", "scope"} <= names


@pytest.mark.parametrize("name", models.__all__)
def test_a_model_names_its_paper_and_shows_a_shape(name):
    doc = inspect.cleandoc(getattr(models, name).__doc__)
    assert "http" in (section(doc, "Reference") or ""), name
    example = (section(doc, "Example") or "").strip().splitlines()
    assert example and re.search(r"\(\d+,( \d+,?)*\)", example[-1]), name


def halved(size, *, kind="even"):
    if kind != "even":
        raise InputError(f"kind must be even. Received: {kind!r}.")
    return size // 2


WHOLE = """Half of a size.

    Args:
        size: int.
        kind: string.

    Returns:
        int.

    Raises:
        InputError: another kind.
    """


@pytest.mark.parametrize(
    "cut, missing",
    [
        ("", []),
        ("        kind: string.\n", ["Args: kind"]),
        ("    Args:\n", ["Args: size", "Args: kind"]),
        ("    Returns:\n", ["Returns"]),
        ("    Raises:\n", ["Raises: InputError"]),
        (WHOLE, ["a docstring", "Args: size", "Args: kind", "Returns", "Raises: InputError"]),
    ],
)
def test_what_is_cut_out_of_a_docstring_is_missed(cut, missing):
    assert lacks(WHOLE.replace(cut, "") if cut else WHOLE, halved) == missing


def test_names_may_share_an_entry():
    doc = WHOLE.replace("size: int.\n        kind: string.", "size, kind: as before.")
    assert lacks(doc, halved) == []
