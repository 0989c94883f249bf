"""docs/serving.md is a test: its requests work as written, on a stand-in for the server."""

import base64
import contextlib
import io
import json
import os
import pathlib
import re
import urllib.error
import urllib.request
from concurrent import futures

import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS
from PIL import Image
from rest_server import serving

from keras_genimg.cli import main
from keras_genimg.core.serving import decode_bytes
from keras_genimg.data.decoding import decode_alone
from keras_genimg.plotting import to_uint8

TEXT = (pathlib.Path(__file__).resolve().parent.parent / "docs" / "serving.md").read_text()
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy in between


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def ask(port, path, request=None):
    """(status, answer) of the stand-in."""
    body = None if request is None else json.dumps(request).encode()
    try:
        with OPENER.open(f"http://127.0.0.1:{port}/v1/models/{path}", body, timeout=300) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png["b64"]))))


def run_of(model, folder):
    """A run folder with as much as `export` needs."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    model.save(folder / "model.keras")


@contextlib.contextmanager
def in_folder(path):
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def gan():
    return MODELS["gan"](latent_dim=128)  # the latents of the example in JavaScript


@pytest.fixture(scope="module")
def folder(gan, tmp_path_factory):
    """A folder in which the first command of the page has been run."""
    folder = tmp_path_factory.mktemp("serving")
    run_of(gan, folder / "runs" / "photos")
    command = blocks("bash")[0].split()
    assert command[:2] == ["keras-genimg", "export"]
    with in_folder(folder):
        assert main(command[1:]) == 0
    assert [path.name for path in (folder / "models" / "photos").iterdir()] == ["1"]
    return folder


@pytest.fixture(scope="module")
def port(folder):
    with serving("photos", folder / "models" / "photos") as port:
        yield port


def test_every_curl_of_the_page_is_answered(port, gan):
    commands = [line for block in blocks("bash") for line in re.split(r"(?<!\\)\n", block)]
    commands = [line for line in commands if line.startswith("curl")]
    assert len(commands) == 3
    answers = []
    for command in commands:
        path = re.search(r"http://localhost:8501/v1/models/(\S+)", command)[1]
        body = re.search(r"-d '([^']*)'", command)
        status, answer = ask(port, path, body and json.loads(body[1]))
        assert status == 200, answer
        answers.append(answer)
    health, pngs, images = answers
    assert [each["state"] for each in health["model_version_status"]] == ["AVAILABLE"]
    for seed, png in enumerate(pngs["predictions"], start=1):
        np.testing.assert_array_equal(pixels(png), to_uint8(gan.generate(1, seed=seed))[0, ..., 0])
    found = np.array(images["outputs"])
    assert np.abs(found - to_uint8(gan.generate(4, seed=7)).astype(int)).max() <= 1


def test_the_client_of_the_page_writes_its_images(port, gan, tmp_path):
    (client,) = (block for block in blocks("python") if "urllib" in block)
    with in_folder(tmp_path):
        exec(client.replace("localhost:8501", f"127.0.0.1:{port}"), {})
    for seed in (0, 1):
        found = np.asarray(Image.open(tmp_path / f"{seed}.png"))
        np.testing.assert_array_equal(found, to_uint8(gan.generate(1, seed=seed))[0, ..., 0])


def test_metadata_lists_the_signatures(port):
    status, answer = ask(port, "photos/metadata")
    definitions = answer["metadata"]["signature_def"]["signature_def"]
    assert status == 200 and answer["model_spec"]["version"] == "1"
    assert {"serving_default", "serving_png", "generate", "decode"} <= set(definitions)
    png = definitions["serving_png"]
    assert png["inputs"]["seed"]["dtype"] == "DT_INT64"
    assert png["outputs"]["png_bytes"]["dtype"] == "DT_STRING"
    for each in (png["inputs"]["seed"], png["outputs"]["png_bytes"]):
        assert [axis["size"] for axis in each["tensor_shape"]["dim"]] == ["-1"]
    assert png["method_name"] == "tensorflow/serving/predict"


def test_rows_are_what_they_are_alone(port, gan):
    """Neither the number of rows nor their order changes the images of one."""
    rows = [{"num_images": n, "seed": seed} for n, seed in ((3, 9), (1, 7), (2, 9))]
    for signature in ("serving_default", "generate"):
        request = {"signature_name": signature, "instances": rows}
        status, answer = ask(port, "photos:predict", request)
        assert status == 200, answer
        made = np.concatenate([gan.generate(r["num_images"], seed=r["seed"]) for r in rows])
        expected = made if signature == "generate" else to_uint8(made).astype(int)
        atol = 1e-4 if signature == "generate" else 1
        np.testing.assert_allclose(np.array(answer["predictions"]), expected, atol=atol)


def test_one_input_needs_no_name(port):
    request = {"signature_name": "serving_png", "instances": [{"seed": 7}, {"seed": -8}]}
    _, named = ask(port, "photos:predict", request)
    _, plain = ask(port, "photos:predict", {**request, "instances": [7, -8]})
    columns = {"signature_name": "serving_png", "inputs": [7, -8]}
    _, columns = ask(port, "photos/versions/1:predict", columns)
    assert named["predictions"] == plain["predictions"] == columns["outputs"]
    assert len(named["predictions"]) == 2


@pytest.mark.parametrize(
    "path, request_, status, words",
    [
        ("other:predict", {"instances": [1]}, 404, "not found"),
        ("photos/versions/2:predict", {"instances": [1]}, 404, "not found"),
        ("photos:predict", {"signature_name": "x", "instances": [1]}, 400, "x not found"),
        ("photos:predict", {"instances": []}, 400, "list with values"),
        ("photos:predict", {"instances": [4]}, 400, "list of objects"),
        ("photos:predict", {"instances": [{"num_images": 4}]}, 400, "keys must be equal"),
        ("photos:predict", {"inputs": {"num_images": 4}}, 400, "Missing named input: seed"),
        ("photos:predict", {"inputs": {"num_images": 4, "seed": "7"}}, 400, "not of expected type"),
        ("photos:predict", {"inputs": {"num_images": [1, 2, 3], "seed": [7, 8]}}, 400, "hape"),
        ("photos:predict", {"signature_name": "serving_png", "inputs": 7}, 400, "the shape"),
    ],
)
def test_a_wrong_request_is_an_error_and_the_next_is_answered(port, path, request_, status, words):
    found, answer = ask(port, path, request_)
    assert found == status and words in answer["error"]
    assert ask(port, "photos:predict", {"inputs": {"num_images": 1, "seed": 1}})[0] == 200


def test_rows_with_labels(tmp_path):
    model = MODELS["conditional_gan"]()
    model.class_names = ["beach", "city", "forest", "sea"]
    model.export(tmp_path / "gan" / "3")
    rows = [{"labels": 2, "seed": 7}, {"labels": 0, "seed": 8}, {"labels": 2, "seed": 7}]
    with serving("gan", tmp_path / "gan") as port:
        request = {"signature_name": "serving_png", "instances": rows}
        _, pngs = ask(port, "gan:predict", request)
        _, floats = ask(port, "gan:predict", {**request, "signature_name": "generate"})
        in_turn = [{"num_images": 3, "seed": 5}, {"num_images": 2, "seed": 6}]
        _, by_default = ask(port, "gan:predict", {"instances": in_turn})
        one_seed = {"labels": [0, 1, 2], "seed": 5}
        one_seed = {"signature_name": "generate", "inputs": one_seed}
        _, one_draw = ask(port, "gan:predict", one_seed)
        two_seeds = {"labels": [0, 1, 2], "seed": [5, 6]}
        status, error = ask(port, "gan:predict", {**one_seed, "inputs": two_seeds})
        assert status == 400 and "one number, or one per row" in error["error"]
        # A signature without inputs cannot be asked for over REST.
        assert ask(port, "gan:predict", {"signature_name": "class_names", "inputs": {}})[0] == 400
    made = [model.generate(1, labels=[row["labels"]], seed=row["seed"])[0] for row in rows]
    for png, row, expected in zip(pngs["predictions"], floats["predictions"], made):
        np.testing.assert_array_equal(pixels(png), to_uint8(expected)[..., 0])
        np.testing.assert_allclose(row, expected, atol=1e-4)
    np.testing.assert_array_equal(made[0], made[2])
    drawn = np.concatenate([
        model.generate(3, labels=[0, 1, 2], seed=5), model.generate(2, labels=[0, 1], seed=6)
    ])  # fmt: skip
    found = np.array(by_default["predictions"])
    assert np.abs(found - to_uint8(drawn).astype(int)).max() <= 1
    np.testing.assert_allclose(one_draw["outputs"], drawn[:3], atol=1e-4)


def test_photos_in_and_pngs_out(tmp_path):
    """Files of any size become what `load` makes of them, up to its filter."""
    model = MODELS["pix2pix"]()  # (16, 16, 1) -> (16, 16, 3)
    model.export(tmp_path / "paint" / "1")
    ramp = np.linspace(0, 255, 48 * 32).reshape(48, 32).astype("uint8")
    wide = np.tile(ramp, (1, 3))  # (48, 96), of which the centre is used
    rows = []
    for image, kind in ((wide, "PNG"), (np.stack([wide] * 3, axis=-1), "JPEG")):
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind)
        rows.append({"image_bytes": {"b64": base64.b64encode(file.getvalue()).decode()}})
    with serving("paint", tmp_path / "paint") as port:
        request = {"signature_name": "serving_png", "instances": rows}
        status, answer = ask(port, "paint:predict", request)
        assert status == 200, answer
        broken = [{"image_bytes": {"b64": base64.b64encode(b"no image").decode()}}]
        status, error = ask(port, "paint:predict", {**request, "instances": broken})
        assert status == 400 and "DecodeImage" in error["error"]
    for row, png in zip(rows, answer["predictions"]):
        file = tmp_path / "image"
        file.write_bytes(base64.b64decode(row["image_bytes"]["b64"]))
        loaded = decode_alone(str(file), (16, 16, 1))
        decoded = decode_bytes(tf.constant([file.read_bytes()]), (16, 16, 1)).numpy()
        assert np.ptp(loaded) > 200
        np.testing.assert_allclose((decoded[0] + 1) * 127.5, loaded, atol=2)
        expected = to_uint8(model.translate(decoded))[0].astype(int)
        assert np.abs(pixels(png).astype(int) - expected).max() <= 1


def grpc_service(saved_model):
    """The gRPC service with its Predict, by TensorFlow alone."""
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        signatures = tf.saved_model.load(str(saved_model)).signatures

        def Predict(self, request, context):
            assert request.model_spec.name == "photos"
            run = self.signatures[request.model_spec.signature_name]
            given = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            answer = predict_pb2.PredictResponse()
            for name, value in run(**{k: tf.constant(v) for k, v in given.items()}).items():
                answer.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return answer

    return Service()


def test_the_grpc_client_of_the_page_writes_its_images(folder, gan, tmp_path):
    """Runs where tensorflow-serving-api is installed."""
    pytest.importorskip("tensorflow_serving")
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    server = grpc.server(futures.ThreadPoolExecutor(1))
    service = grpc_service(folder / "models" / "photos" / "1")
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    (client,) = (block for block in blocks("python") if "grpc" in block)
    with in_folder(tmp_path):
        exec(client.replace("localhost:8500", f"127.0.0.1:{port}"), {})
    server.stop(None)
    for seed in (0, 1):
        found = np.asarray(Image.open(tmp_path / f"grpc-{seed}.png"))
        np.testing.assert_array_equal(found, to_uint8(gan.generate(1, seed=seed))[0, ..., 0])
