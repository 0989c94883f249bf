"""Private names of Keras and TensorFlow, for which pyproject.toml has upper bounds."""

import ast
import pathlib
import re

import keras
import tensorflow as tf

import keras_genimg

PACKAGE = pathlib.Path(keras_genimg.__file__).parent

# What has no public counterpart. A name that Keras drops is found by the tests of its use; raise
# the bound of pyproject.toml when they pass with a newer version.
LISTED = {
    "_clip_gradients": "clipping of the gradients of a global batch",
    "_distribution_strategy": "what SwapEMAWeights asks an optimizer for",
    "_flatten_layers": "layers within layers",
    "_get_variable_index": "the slots of Adam's fused kernel",
    "_initial_epoch": "resuming, as keras.callbacks.BackupAndRestore does it",
    "_iterations": "steps, where gradients are accumulated",
    "_layers": "not to count layers twice",
    "_learning_rate": "a schedule, where `learning_rate` gives its value",
    "_maybe_symbolic_build": "overridden: models are built already (keras-team/keras#20585)",
    "_momentums": "the slots of Adam's fused kernel",
    "_seed_generators": "states of random numbers, in the order of files of version 0.1",
    "_self_unconditional_dependency_names": "not to count layers twice",
    "_tracker": "to forget a network that another replaces",
    "_trainable_variables": "the weights that an optimizer was built for",
    "_velocities": "the slots of Adam's fused kernel",
}
OURS = {"_kernel", "_lock", "_model"}  # of objects that are not Keras's
MODULES = {"tensorflow.python.framework.convert_to_constants"}  # in LiteRT and ONNX files


def private_names():
    """The private attributes of a model, its layers and optimizers, a metric and a callback."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(clipnorm=1.0), "mse")
    model.fit(tf.zeros([1, 1]), tf.zeros([1, 1]), verbose=0)
    objects = [model, *model.layers, model.optimizer, keras.callbacks.Callback(),
               keras.metrics.Mean(), keras.random.SeedGenerator(0)]  # fmt: skip
    names = {name for each in objects for name in dir(each)}
    return {name for name in names if re.fullmatch(r"_[a-z]\w*", name)} - OURS


def words_of(node):
    """Names in a node of a syntax tree: of attributes, functions, keywords and in strings."""
    match node:
        case ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.keyword(arg=name):
            yield name
        case ast.Constant(value=str(text)):
            yield text


def test_private_names_are_those_listed():
    nodes = [n for path in PACKAGE.rglob("*.py") for n in ast.walk(ast.parse(path.read_text()))]
    found = {word for node in nodes for word in words_of(node)} & private_names()
    assert found == set(LISTED), found ^ set(LISTED)


def test_private_modules_are_those_listed():
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name for name in names if re.search(r"^tensorflow\.python|\.src\b|\._", name)}
    assert found == MODULES
