"""Imports run one way, folders of one level do not import each other, and no file is long."""

import ast
import pathlib

import keras_genimg

PACKAGE = pathlib.Path(keras_genimg.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# Each level may import the ones above it in this list.
LEVELS = [
    {"errors", "version"},
    {"checks", "precision", "quiet", "video"},
    {"backend", "cluster", "files", "recipes", "signals", "streams"},
    {"options", "workers"},
    {"plotting", "distribution", "export", "placement", "optimizers", "shipped"},
    {"losses", "layers", "data", "metrics", "web"},
    {"networks"},
    {"core"},
    {"models"},
    {"callbacks", "latents"},
    {"runs", "testing"},
    {"cli"},
    {"__main__"},
]
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}
# What the command line imports to answer --help: these wait for nothing.
WITHOUT_TENSORFLOW = {
    "errors", "version", "checks", "backend", "cluster", "files", "recipes", "signals", "streams",
    "options", "cli",
}


def names_of_imports(path, nodes):
    """Dotted names that these nodes of a file import."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            assert "*" not in {alias.name for alias in node.names}, f"{path}: no star imports"
            if node.module == "keras_genimg":
                yield from (f"keras_genimg.{alias.name}" for alias in node.names)
            else:
                yield node.module


def imported_parts(path):
    """First-level parts of the package that a file imports, wherever in the file."""
    names = names_of_imports(path, ast.walk(ast.parse(path.read_text())))
    return {name.split(".")[1] for name in names if name.startswith("keras_genimg.")}


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_part_has_a_level():
    found = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert found - {"__init__"} == set(LEVEL_OF)


def test_imports_run_one_way():
    for path in FILES:
        if path == PACKAGE / "__init__.py":
            continue
        part = part_of(path)
        for other in imported_parts(path) - {part}:
            assert LEVEL_OF[other] < LEVEL_OF[part], f"{path.name} of {part} imports {other}"


def test_the_ground_floor_is_without_tensorflow():
    for path in FILES:
        if part_of(path) in WITHOUT_TENSORFLOW:
            above = ast.parse(path.read_text()).body  # not inside functions
            tops = {name.split(".")[0] for name in names_of_imports(path, above)}
            assert not tops & {"keras", "tensorflow", "matplotlib"}, path


def test_every_module_says_what_it_exports():
    for path in FILES:
        names = {
            target.id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "__all__" in names or path.stem == "version", path


def test_no_assert_as_a_check_of_input():
    for path in FILES:
        asserts = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Assert)]
        assert not asserts, f"{path}: raise InputError"


def test_no_file_is_longer_than_a_sitting():
    lengths = {str(path): len(path.read_text().splitlines()) for path in FILES}
    assert max(lengths.values()) <= 400, max(lengths, key=lengths.get)


def test_lessons_leave_the_configuration_to_core():
    for path in (PACKAGE / "models").glob("*.py"):
        assert "def get_config" not in path.read_text(), f"{path}: arguments are recorded"
