"""Writers of SavedModel, LiteRT and ONNX files.

They take functions of tensors and are independent of the models. The files
run without this package and without Keras.
"""

import inspect
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from keras_genimg.checks import check_choice
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.quiet import no_output

__all__ = ["write_litert", "write_onnx", "write_saved_model"]

PRECISIONS = ("float32", "float16", "int8")  # of LiteRT files
_SAVED_MODEL_ENTRIES = {
    "assets", "assets.extra", "debug", "fingerprint.pb", "saved_model.pb", "variables"
}
_HALF_TYPES = {tf.bfloat16.as_datatype_enum, tf.float16.as_datatype_enum}
_SUFFIX = "_float32"


def write_saved_model(
    folder: str | os.PathLike, signatures: dict, *, networks: list, overwrite: bool = True
) -> str:
    """Writes one SavedModel with named signatures.

    Each signature takes keyword tensors with the names of its specs; the same
    function is an attribute of the loaded object. TensorFlow alone loads it, on
    any device and without a distribution strategy.

    Args:
        folder: string or path. A new or empty folder, or an earlier SavedModel.
        signatures: dict from a name to `(fn, input_signature)`. `fn` takes
            tensors and returns a tensor or a dict of tensors, whose keys name
            the outputs; a plain tensor is named `"output_0"`. It is traced
            without AutoGraph: a Python loop over tensors needs
            `tf.function` or `tf.while_loop`. `input_signature` is a list of
            `tf.TensorSpec`, each with a name.
        networks: list of built layers and models whose variables the functions
            read.
        overwrite: boolean. Whether an earlier SavedModel may be replaced.

    Returns:
        String. The path of the folder.

    Raises:
        InputError: a network is not built, `folder` has other content, or it
            could not be written; earlier content is then untouched.

    Example:

    ```python
    spec = tf.TensorSpec([None, 64], tf.float32, name="latents")
    write_saved_model("exported", {"decode": (lambda z: {"images": decoder(z)}, [spec])},
                      networks=[decoder])
    decode = tf.saved_model.load("exported").signatures["decode"]
    decode(latents=tf.zeros([5, 64]))["images"].shape  # (5, 28, 28, 1)
    ```
    """
    for network in networks:
        if not network.built:
            raise InputError(
                "A network must be built before it is exported: call it once on a batch. "
                f"Received: {network.name}, which has no weights yet."
            )
    _check_overwrite(folder, overwrite)
    with replace_when_complete(folder, folder=True, replaceable=is_saved_model) as temporary:
        functions = {name: _named_function(*pair) for name, pair in signatures.items()}
        with no_output():
            _save(temporary, functions, [v.value for n in networks for v in n.variables])
    return os.fspath(folder)


def write_litert(
    path: str | os.PathLike, fn: Callable, input_signature: list[tf.TensorSpec], *,
    precision: str = "float32", overwrite: bool = True,
) -> str:
    """Writes one function as a LiteRT (`.tflite`) file.

    A `None` in a spec stays dynamic: the interpreter can resize it. Inputs and
    outputs keep their types, and their names in the signature `"serving_default"`.
    Half-precision models are written in float32, which LiteRT runs everywhere.

    Args:
        path: string or path. The file to write.
        fn: function of tensors; returns a tensor or a dict of tensors.
        input_signature: list of `tf.TensorSpec`, each with a name.
        precision: of the stored weights: `"float32"`; `"float16"`, half the file size;
            `"int8"`, a quarter: integers with a scale per channel (dynamic range
            quantisation, which needs no data).
        overwrite: boolean. Whether an existing file may be replaced.

    Returns:
        String. The path of the file.

    Raises:
        InputError: an unknown precision; `path` is a folder or could not be written;
            earlier content is then untouched.

    Example:

    ```python
    spec = tf.TensorSpec([None, 64], tf.float32, name="latents")
    write_litert("decoder.tflite", lambda z: {"images": decoder(z)}, [spec])
    run = tf.lite.Interpreter("decoder.tflite").get_signature_runner()
    run(latents=np.zeros([5, 64], "float32"))["images"].shape  # (5, 28, 28, 1)
    ```
    """
    check_choice("precision", precision, PRECISIONS)
    _check_overwrite(path, overwrite)
    with replace_when_complete(path) as temporary:
        function, _ = _frozen_function(fn, input_signature)
        with no_output(), tempfile.TemporaryDirectory() as saved_model:
            # Only a conversion from a SavedModel keeps the names of the tensors.
            _save(saved_model, {"serving_default": function}, [])
            converter = tf.lite.TFLiteConverter.from_saved_model(
                saved_model, signature_keys=["serving_default"]
            )
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.TFLITE_BUILTINS,
                tf.lite.OpsSet.SELECT_TF_OPS,  # used only for operations without a builtin
            ]
            if precision != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if precision == "float16":
                converter.target_spec.supported_types = [tf.float16]
            content = converter.convert()
        pathlib.Path(temporary).write_bytes(content)
    return os.fspath(path)


def write_onnx(
    path: str | os.PathLike, fn: Callable, input_signature: list[tf.TensorSpec], *,
    overwrite: bool = True,
) -> str:
    """Writes one function as an ONNX file.

    A `None` in a spec stays dynamic. Inputs and outputs keep their names.
    Half-precision models are written in float32.

    Args:
        path: string or path. The file to write.
        fn: function of tensors; returns a tensor or a dict of tensors.
        input_signature: list of `tf.TensorSpec`, each with a name.
        overwrite: boolean. Whether an existing file may be replaced.

    Returns:
        String. The path of the file.

    Raises:
        InputError: tf2onnx or onnx is not installed, ONNX has no counterpart of
            an operation, or `path` is a folder or could not be written; earlier
            content is then untouched.

    Example:

    ```python
    spec = tf.TensorSpec([None, 64], tf.float32, name="latents")
    write_onnx("decoder.onnx", lambda z: {"images": decoder(z)}, [spec])
    session = onnxruntime.InferenceSession("decoder.onnx")
    session.run(["images"], {"latents": np.zeros([5, 64], "float32")})[0].shape  # (5, 28, 28, 1)
    ```
    """
    try:
        with no_output():
            import onnx
            import tf2onnx
    except ImportError as error:
        raise InputError(
            "The ONNX format needs tf2onnx and onnx: pip install 'keras-genimg[export]'. "
            f"Received: {error}."
        ) from error
    _check_overwrite(path, overwrite)
    with replace_when_complete(path) as temporary:
        function, specs = _frozen_function(fn, input_signature)
        with no_output():
            content, _ = tf2onnx.convert.from_function(function, input_signature=specs)
        try:
            # tf2onnx keeps what it cannot convert, with only a log line.
            onnx.checker.check_model(content)
        except onnx.checker.ValidationError as error:
            raise InputError(
                "Every operation of the model must have a counterpart in ONNX. "
                f"Received: {str(error).splitlines()[0]}"
            ) from error
        pathlib.Path(temporary).write_bytes(content.SerializeToString())
    return os.fspath(path)


def is_saved_model(folder: str | os.PathLike) -> bool:
    """Whether a folder is a SavedModel and holds nothing else."""
    entries = set(os.listdir(folder))
    return "saved_model.pb" in entries and entries <= _SAVED_MODEL_ENTRIES


def _check_overwrite(path, overwrite):
    empty = os.path.isdir(path) and not os.listdir(path)
    if not overwrite and os.path.lexists(path) and not empty:
        raise InputError(f"The path must not exist yet, unless overwrite=True. Received: {path}.")


def _named_function(fn, input_signature):
    """`fn` as a `tf.function` whose parameters have the names of the specs.

    A signature takes its keywords from the specs, but the attribute of the
    loaded object takes them from the Python parameters.
    """
    if any(spec.name is None for spec in input_signature):
        raise ValueError(f"Every spec must have a name. Received: {input_signature}.")

    def named(*args):
        return fn(*args)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(spec.name, kind) for spec in input_signature]
    named.__signature__ = inspect.Signature(parameters)
    return tf.function(named, input_signature=input_signature, autograph=False)


def _frozen_function(fn, input_signature):
    """`fn` in float32 with its variables as constants, and its new specs.

    LiteRT and ONNX runtimes lack kernels for some operations of a
    `mixed_bfloat16` model; its variables are float32 anyway.
    """
    concrete = _named_function(fn, input_signature).get_concrete_function()
    with no_output():
        # Both converters read loops and branches as functions, not lowered to nodes.
        frozen = convert_variables_to_constants_v2(
            concrete, lower_control_flow=False, aggressive_inlining=True
        )
    graph = frozen.graph.as_graph_def()
    _rewrite_in_float32(graph)
    inputs = [tensor.name for tensor in frozen.inputs]
    outputs = [tensor.name for tensor in frozen.outputs]
    specs = [
        tf.TensorSpec(spec.shape, _widened(spec.dtype.as_datatype_enum), spec.name)
        for spec in input_signature
    ]

    def rebuilt(*args):
        tensors = tf.graph_util.import_graph_def(
            graph, input_map=dict(zip(inputs, args)), return_elements=outputs, name=""
        )
        return tf.nest.pack_sequence_as(concrete.structured_outputs, tensors)

    return _named_function(rebuilt, specs), specs


def _widened(kind):
    """The number of a type in a `GraphDef`; float32 in place of half precision."""
    return tf.float32.as_datatype_enum if kind in _HALF_TYPES else kind


def _rewrite_in_float32(graph):
    """Changes every half-precision type and constant of a `GraphDef` in place."""
    for function in graph.library.function:
        # TensorFlow still has a function under the original name.
        function.signature.name += _SUFFIX
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = _widened(argument.type)
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    for node in (node for body in bodies for node in body):
        node.device = ""
        node.attr.pop("_gradient_op_type", None)  # names a gradient that is not exported
        for value in node.attr.values():
            _rewrite_attribute(value)


def _rewrite_attribute(value):
    kind = value.WhichOneof("value")
    if kind == "type":
        value.type = _widened(value.type)
    elif kind == "tensor" and value.tensor.dtype in _HALF_TYPES:
        array = tf.make_ndarray(value.tensor).astype("float32")
        value.tensor.CopyFrom(tf.make_tensor_proto(array))
    elif kind == "func":
        value.func.name += _SUFFIX
    elif kind == "list":
        value.list.type[:] = [_widened(kind) for kind in value.list.type]
        for function in value.list.func:
            function.name += _SUFFIX


def _save(folder, functions, variables):
    if not _is_utf8(folder):  # TensorFlow takes no other names
        with tempfile.TemporaryDirectory() as parent:
            other = os.path.join(parent, "saved_model")
            _save(other, functions, variables)
            shutil.copytree(other, folder, dirs_exist_ok=True)
        return
    module = tf.Module()
    module.tracked_variables = variables
    for name, function in functions.items():
        setattr(module, name, function)
    try:
        tf.saved_model.save(module, folder, signatures=functions)
    except ValueError as error:
        if "gradients" not in str(error):
            raise
        # Some custom gradients cannot be saved, and exported functions do not use them.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, folder, signatures=functions, options=options)


def _is_utf8(path):
    try:
        os.fsencode(path).decode()
    except UnicodeDecodeError:
        return False
    return True
