"""Imports run one way, and folders of one level do not import each other."""

import ast
import pathlib

import keras_genimg

PACKAGE = pathlib.Path(keras_genimg.__file__).parent

# Each level may import the ones above it in this list.
LEVELS = [
    {"errors", "version"},
    {"backend", "files", "optimizers", "recipes"},
    {"plotting", "distribution", "export", "placement"},
    {"losses", "layers", "data", "metrics"},
    {"networks"},
    {"models"},
    {"latents"},
    {"callbacks"},
    {"runs"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}


def imported_parts(path):
    """First-level parts of the package that a file imports, wherever in the file."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert "*" not in {alias.name for alias in node.names}, f"{path}: no star imports"
            names = [node.module]
            if node.module == "keras_genimg":
                names = [f"keras_genimg.{alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("keras_genimg.")}
    return parts


def test_every_part_has_a_level():
    found = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert found - {"__init__"} == set(LEVEL_OF)


def test_imports_run_one_way():
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "__init__.py":
            continue
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imported_parts(path) - {part}:
            assert LEVEL_OF[other] < LEVEL_OF[part], f"{path.name} of {part} imports {other}"


def test_every_module_says_what_it_exports():
    for path in PACKAGE.rglob("*.py"):
        names = {
            target.id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "__all__" in names or path.stem == "version", path


def test_no_assert_as_a_check_of_input():
    for path in PACKAGE.rglob("*.py"):
        asserts = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
        assert not asserts, f"{path}: raise InputError"
