"""A stand-in for TensorFlow Serving's REST API, as its documentation describes it.

https://github.com/tensorflow/serving/blob/master/tensorflow_serving/g3doc/api_rest.md: status and
metadata of a model, and predict in row and in columnar form with base64 for bytes. It loads the
versioned folder with TensorFlow alone and is as strict as the original about types and shapes.
"""

import base64
import contextlib
import http.server
import json
import pathlib
import re
import threading

import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2

INTEGERS = (tf.int32, tf.int64, tf.uint8)


class Refused(Exception):
    """An error with its HTTP status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Servable:
    """All versions of one model, in `base_path/1`, `base_path/2`, ..."""

    def __init__(self, name, base_path):
        numbered = [path for path in pathlib.Path(base_path).iterdir() if path.name.isdecimal()]
        self.name, self.paths = name, {int(path.name): path for path in numbered}
        # The server loads the latest version alone, unless it is configured otherwise.
        self.version = max(self.paths)
        self.loaded = tf.saved_model.load(str(self.paths[self.version]))

    def status(self):
        status = {"error_code": "OK", "error_message": ""}
        version = {"version": str(self.version), "state": "AVAILABLE", "status": status}
        return {"model_version_status": [version]}

    def metadata(self):
        saved = saved_model_pb2.SavedModel()
        saved.ParseFromString((self.paths[self.version] / "saved_model.pb").read_bytes())
        (graph,) = saved.meta_graphs
        definitions = {
            name: json_format.MessageToDict(
                definition, preserving_proto_field_name=True,
                always_print_fields_with_no_presence=True,
            )
            for name, definition in graph.signature_def.items()
        }  # fmt: skip
        spec = {"name": self.name, "signature_name": "", "version": str(self.version)}
        definitions = {"signature_def": {"signature_def": definitions}}
        return {"model_spec": spec, "metadata": definitions}

    def predict(self, request):
        name = request.get("signature_name", "serving_default")
        if name not in self.loaded.signatures:
            raise Refused(400, f"Serving signature name: {name} not found in signature def")
        run = self.loaded.signatures[name]
        specs = run.structured_input_signature[1]
        if not specs:
            raise Refused(400, f"Failed to get input map for signature: {name}")
        if ("instances" in request) == ("inputs" in request):
            raise Refused(400, "Expecting one of 'inputs' and 'instances'")
        rows = "instances" in request
        values = from_rows(request["instances"], specs) if rows else from_columns(request, specs)
        tensors = {key: tensor(value, specs[key]) for key, value in values.items()}
        try:
            outputs = {key: value.numpy() for key, value in run(**tensors).items()}
        except (tf.errors.OpError, ValueError, TypeError) as error:
            raise Refused(400, str(error)) from error
        encoded = {key: encode(value, key.endswith("_bytes")) for key, value in outputs.items()}
        if not rows:
            return {"outputs": encoded if len(encoded) > 1 else encoded.popitem()[1]}
        if any(value.ndim == 0 for value in outputs.values()):
            raise Refused(400, "An output has no shape information")
        if len({len(value) for value in outputs.values()}) > 1:
            raise Refused(400, "Outputs have inconsistent batch sizes")
        if len(encoded) == 1:
            return {"predictions": encoded.popitem()[1]}
        keys = list(encoded)
        return {"predictions": [dict(zip(keys, row)) for row in zip(*encoded.values())]}


def is_bytes(value):
    return isinstance(value, dict) and list(value) == ["b64"] and isinstance(value["b64"], str)


def from_rows(instances, specs):
    """`[{"a": 1}, {"a": 2}]`, or `[1, 2]` for one input -> `{"a": [1, 2]}`."""
    if not isinstance(instances, list) or not instances:
        raise Refused(400, "Expecting 'instances' to be a list with values")
    named = [isinstance(row, dict) and not is_bytes(row) for row in instances]
    if not any(named):
        if len(specs) > 1:
            raise Refused(400, "instances is a plain list, but expecting list of objects")
        return {next(iter(specs)): instances}
    for number, (row, is_named) in enumerate(zip(instances, named)):
        if not is_named or set(row) != set(specs):
            raise Refused(400, f"element {number}: keys must be equal to: {', '.join(specs)}")
    return {name: [row[name] for row in instances] for name in specs}


def from_columns(request, specs):
    """`{"a": [1, 2]}`, or `[1, 2]` for one input -> `{"a": [1, 2]}`."""
    inputs = request["inputs"]
    if not isinstance(inputs, dict) or is_bytes(inputs):
        if len(specs) > 1:
            raise Refused(400, "inputs is a plain value/list, but expecting an object")
        return {next(iter(specs)): inputs}
    missing = [name for name in specs if name not in inputs]
    if missing:
        raise Refused(400, f"Missing named input: {missing[0]} in 'inputs' object.")
    return {name: inputs[name] for name in specs}


def tensor(value, spec):
    """Nested lists as a tensor of the type and the shape of the signature."""
    kind = spec.dtype

    def leaf(each):
        if isinstance(each, list):
            return [leaf(item) for item in each]
        if kind == tf.string:
            return base64.b64decode(each["b64"], validate=True) if is_bytes(each) else each.encode()
        wanted = int if kind in INTEGERS else (int, float)
        if isinstance(each, bool) or not isinstance(each, wanted):
            raise Refused(400, f"JSON Value: {each} is not of expected type: {kind.name}")
        return each

    try:
        made = tf.constant(leaf(value), kind)
    except (ValueError, AttributeError) as error:
        raise Refused(400, f"Not a {kind.name} tensor: {error}") from error
    if not spec.shape.is_compatible_with(made.shape):
        message = f"input {spec.name} must have the shape {spec.shape}, not {made.shape}"
        raise Refused(400, message)
    return made


def encode(value, as_bytes):
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.tolist()
    if isinstance(value, np.ndarray):
        return [encode(each, as_bytes) for each in value]
    return {"b64": base64.b64encode(value).decode()} if as_bytes else value.decode()


@contextlib.contextmanager
def serving(name, base_path):
    """Serves a versioned folder on a free port; yields the port."""
    servable = Servable(name, base_path)
    place = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+))?(/metadata|:predict)?")

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, method):
            match = place.fullmatch(self.path)
            verbs = {"GET": (None, "/metadata"), "POST": (":predict",)}[method]
            if not match or match[3] not in verbs:
                raise Refused(400, f"Malformed request: {method} {self.path}")
            if match[1] != name or match[2] not in (None, str(servable.version)):
                raise Refused(404, f"Servable not found for request: Latest({match[1]})")
            if method == "GET":
                return servable.metadata() if match[3] else servable.status()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            try:
                request = json.loads(body)
            except ValueError as error:
                raise Refused(400, f"JSON Parse error: {error}") from error
            return servable.predict(request)

        def respond(self, method):
            try:
                status, answer = 200, self.answer(method)
            except Refused as error:
                status, answer = error.status, {"error": str(error)}
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self):
            self.respond("GET")

        def do_POST(self):
            self.respond("POST")

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
