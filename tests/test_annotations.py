"""Every public function says what it returns, and typing tools find that out."""

import ast
import importlib.resources
import pathlib

import keras_genimg

PACKAGE = pathlib.Path(keras_genimg.__file__).parent
# What Keras calls: its own classes do not annotate these.
OF_KERAS = {
    "build", "call", "compile", "compile_from_config", "compute_output_shape",
    "compute_output_spec", "default_optimizers",
    "evaluate", "fit", "from_config", "get_compile_config", "get_config",
    "load_own_variables", "metrics", "reset_state", "result", "save_own_variables", "test_step",
    "train_step", "update_state",
}  # fmt: skip


def public_functions(nodes, prefix=""):
    for node in nodes:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "on_")):
            yield f"{prefix}{node.name}", node


def test_every_public_function_has_a_return_annotation():
    functions = {
        f"{path.relative_to(PACKAGE)}: {name}": node
        for path in PACKAGE.rglob("*.py")
        for name, node in public_functions(ast.parse(path.read_text()).body)
        if node.name not in OF_KERAS
    }
    assert len(functions) > 300
    assert not [name for name, node in functions.items() if node.returns is None]


def test_the_package_says_that_it_is_typed():
    assert importlib.resources.files("keras_genimg").joinpath("py.typed").is_file()
