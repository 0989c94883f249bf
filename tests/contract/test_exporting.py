"""What every model exports: signatures and files that compute what the Python methods do."""

import inspect
import io
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import MODELS, clips_of, fitting, labels_in_turn, smooth_pictures
from matrix import Lazy, default_or_slow, grids_of, group_of, python
from PIL import Image

from keras_genimg import InputError
from keras_genimg.plotting import to_uint8

READER = """
import json, sys
sys.modules["keras_genimg"] = sys.modules["keras"] = None
import numpy as np
import tensorflow as tf
try:
    import keras_genimg
except ImportError:
    pass
else:
    raise SystemExit("keras_genimg can be imported here")
for case in sys.argv[1:]:
    data = np.load(case + "/data.npz")
    results = {}
    for name, run in tf.saved_model.load(case + "/exported").signatures.items():
        given = {key: tf.constant(data[name + "/" + key])
                 for key in run.structured_input_signature[1]}
        for key, value in run(**given).items():
            value = value.numpy()
            results[name + "/" + key] = value.astype("S") if value.dtype == object else value
    np.savez(case + "/results.npz", **results)
print("null")
"""
# The method whose outputs `serving_default` gives, by what a model makes.
DEFAULT = {
    "images": "generate", "codes": "generate_codes", "reconstructions": "reconstruct",
    "translations": "translate", "labels": "classify",
}

SAMPLING = {"temperature": np.float32(1.5), "top_k": np.int32(5), "top_p": np.float32(0.75)}


def inputs_of(specs, model):
    """Arrays for what a signature takes, by name."""
    return {spec.name: input_of(spec, model, seed) for seed, spec in enumerate(specs)}


def input_of(spec, model, seed):
    fixed = {
        "num_images": np.int32(5), "seed": np.int64(7),
        "labels": np.array([3, 0, 0, 2, 1], "int32"), **SAMPLING,
    }  # fmt: skip
    if spec.name == "seed" and spec.shape.rank == 1:
        return np.array([7, 8, -9, 7, 2**40])
    if spec.name == "image_bytes":
        images = fitting(smooth_pictures(5, seed=4), model.source_shape)
        return np.array([png_of(image) for image in images])
    if spec.name in fixed:
        return fixed[spec.name]
    shape = tuple(size or 3 for size in spec.shape[1:])  # paths of three frames
    if spec.dtype.is_integer:
        number = min(number for _, number in grids_of(model).values())
        return np.random.default_rng(seed).integers(0, number, (5, *shape), "int32")
    if spec.name not in ("images", "targets"):  # latents
        return np.random.default_rng(seed).normal(size=(5, *shape)).astype("float32")
    pictures = fitting(smooth_pictures(5, seed=4 + seed), shape[-3:])
    return clips_of(pictures, shape[0]) if len(shape) == 4 else pictures


def png_of(image):
    file = io.BytesIO()
    Image.fromarray(to_uint8(image).squeeze()).save(file, "PNG")
    return file.getvalue()


def pixels_of(pngs):
    """PNGs -> uint8 `(n, height, width, channels)`."""
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in pngs])
    return pixels if pixels.ndim == 4 else pixels[..., None]


def outputs_as_png(model, given):
    """One image per row of a request, from a seed, or a file, of its own."""
    if "image_bytes" in given:
        made = model.translate(pixels_of(given["image_bytes"]) / np.float32(127.5) - 1.0)
        return {"png_bytes": to_uint8(made)}
    rows = [(int(seed), {}) for seed in given["seed"]]
    if "labels" in given:
        rows = [(seed, {"labels": [label]}) for (seed, _), label in zip(rows, given["labels"])]
    made = np.concatenate([model.generate(1, seed=seed, **labels) for seed, labels in rows])
    if made.ndim == 5:  # frames beside each other
        made = np.concatenate(list(np.moveaxis(made, 1, 0)), axis=2)
    return {"png_bytes": to_uint8(made)}


def outputs_of(name, model, given):
    """What Python's methods give for the inputs of a signature: output name -> array."""
    if name == "serving_png":
        return outputs_as_png(model, given)
    labels = {"labels": given["labels"]} if "labels" in given else {}
    first, *others = [value for key, value in given.items() if key != "labels"]
    if name == "serving_default":
        return outputs_by_default(model, given)
    if name == "generate":
        return {"images": model.generate(5, seed=7, **labels)}
    if name == "generate_codes":
        return {"codes": model.generate_codes(5, seed=7, **labels)}
    options = {key: given[key].item() for key in SAMPLING if key in given}
    if name == "sample":
        return {"images": model.generate(5, seed=7, **labels, **options)}
    if name == "sample_codes":
        return {"codes": model.generate_codes(5, seed=7, **labels, **options)}
    if name == "encode" and hasattr(model, "posterior"):
        _, z_log_var = model.posterior(first, *labels.values())
        return {"z_mean": model.encode(first, **labels), "z_log_var": z_log_var}
    if name == "encode":
        grids, codes = grids_of(model), model.encode(first)
        return dict(zip(grids, codes if len(grids) > 1 else [codes], strict=True))
    if name == "decode":
        return {"images": model.decode([first, *others] if others else first, **labels)}
    if name in ("reconstruct", "translate"):
        return {"images": getattr(model, name)(first, **labels)}
    if name == "translate_back":
        return {"images": model.translate(first, reverse=True)}
    if name == "log_likelihood":
        return {"log_likelihood": model.log_likelihood(first, **labels)}
    if name == "features":
        return {"features": model.features(first)}
    if name == "classify":
        logits = np.array(model(first))
        np.testing.assert_array_equal(model.classify(first), logits.argmax(-1))
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return {"logits": logits, "probabilities": shares}
    assert name == "discriminate", f"{name} is compared with nothing"
    if labels:
        logits, class_logits = model.discriminate(first, *labels.values())
        return {"logits": logits} | ({} if class_logits is None else {"class_logits": class_logits})
    if hasattr(model, "projector"):  # its discriminators see no images
        return {"logits": model.discriminate(first)}
    networks = ("discriminator", "clip_discriminator", "discriminator_b")
    network = next(getattr(model, each) for each in networks if hasattr(model, each))
    return {"logits": network([first, *others] if others else first)}


def outputs_by_default(model, given):
    name = DEFAULT[model.makes]
    if "num_images" not in given:
        return outputs_of(name, model, given)
    made = outputs_of(name, model, {**given, **labels_in_turn(model, 5)})
    if "codes" in made:
        return made
    return {"images": np.round((made["images"] + 1) * 127.5).astype("uint8")}


@pytest.fixture(scope="module")
def served(trained, tmp_path_factory):
    """Names -> what a process with TensorFlow alone makes of the SavedModel of each."""

    def export_and_run(names):
        root = tmp_path_factory.mktemp("served")
        for name in names:
            model = trained[name]
            model.export(root / name / "exported")
            data = {
                f"{signature}/{key}": value
                for signature, (_, specs) in model.signatures().items()
                for key, value in inputs_of(specs, model).items()
            }
            np.savez(root / name / "data.npz", **data)
        python(READER, *(root / name for name in names), isolated=True)
        return {name: dict(np.load(root / name / "results.npz")) for name in names}

    return Lazy(export_and_run)


@pytest.mark.parametrize("name", default_or_slow(MODELS, [], fifth=0))
def test_saved_model_where_only_tensorflow_is(name, trained, served):
    model, found = trained[name], served[group_of(name, [], fifth=0)][name]
    expected = {}
    for signature, (_, specs) in model.signatures().items():
        outputs = outputs_of(signature, model, inputs_of(specs, model))
        expected |= {f"{signature}/{key}": np.asarray(value) for key, value in outputs.items()}
    assert set(expected) == set(found)  # every output of every signature
    for key, value in expected.items():
        if key.endswith("_bytes"):
            found[key] = pixels_of(found[key])
        assert found[key].dtype == value.dtype and np.std(value) > 0, key
        # A number between two levels of grey may be rounded to either.
        atol = 1 if value.dtype == np.uint8 else 1e-4
        np.testing.assert_allclose(
            found[key].astype("float64"), value.astype("float64"), atol=atol, err_msg=key
        )


def test_every_model_has_the_signatures_of_its_methods():
    """What a SavedModel offers follows from what the class offers; nobody keeps a list."""
    for name, case in MODELS.items():
        methods = ["translate", "classify", "features", "decode"]
        methods += ["encode", "reconstruct"] if case.has("encode") else []
        wanted = {method for method in methods if case.has(method)} | {"serving_default"}
        wanted |= {"generate"} if case.makes == "images" else set()
        wanted |= {"serving_png"} if case.makes in ("images", "translations") else set()
        wanted |= {"generate_codes", "sample_codes"} if case.makes == "codes" else set()
        wanted |= {"log_likelihood"} if case.has("generate_codes") else set()
        wanted |= {"sample"} if case.makes == "images" and case.has("generate_codes") else set()
        model = case()
        adversarial = "discriminator_optimizer" in model.default_optimizers()
        wanted |= {"discriminate"} if adversarial else set()
        assert wanted <= set(model.signatures()) <= wanted | {"translate_back"}, name


def deterministic(model):
    """Inputs of the deterministic part by name, and Python's outputs by name."""
    _, specs = model.deterministic_signature()
    given = inputs_of(specs, model)
    labels = {"labels": given["labels"]} if "labels" in given else {}
    first = next(iter(given.values()))
    if model.makes in ("translations", "reconstructions"):
        return given, {model.makes: getattr(model, DEFAULT[model.makes])(first)}
    if "noise" in given:
        return given, {"images": model(model.walk_paths(*given.values(), model.ema_walk))}
    if hasattr(model, "ema_generator"):
        return given, {"images": model.ema_generator([*given.values()] if labels else first)}
    if hasattr(model, "decode"):
        return given, {"images": model.decode(first, **labels)}
    return given, {"logits": model(first, *labels.values())}


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("name", default_or_slow(MODELS, ["gan"], fifth=1))
def test_litert(name, trained, tmp_path):
    given, expected = deterministic(trained[name])
    path = trained[name].export(tmp_path / "model.tflite", format="litert")
    found = tf.lite.Interpreter(str(path)).get_signature_runner()(**given)
    assert set(found) == set(expected)
    for output, value in expected.items():
        assert np.std(value) > 0
        np.testing.assert_allclose(found[output], value, atol=1e-4)


@pytest.mark.parametrize("name", default_or_slow(MODELS, ["vq_vae"], fifth=3))
def test_onnx(name, trained, tmp_path):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    given, expected = deterministic(trained[name])
    path = trained[name].export(tmp_path / "model.onnx", format="onnx")
    found = runtime.InferenceSession(str(path)).run([*expected], given)
    for output, value in zip(found, expected.values()):
        np.testing.assert_allclose(output, value, atol=1e-4)


def test_export_refuses(tmp_path):
    gan = MODELS["gan"]()
    with pytest.raises(InputError, match="one of saved_model, litert, onnx, web. Received: 'pb'"):
        gan.export(tmp_path / "x", format="pb")
    words = "verbose, input_signature, precision and runtime. Received: opset"
    with pytest.raises(InputError, match=words):
        gan.export(tmp_path / "x", opset_version=18)
    for format, kind in (("saved_model", "SavedModel"), ("web", "page")):
        words = f"signatures of a {kind} are fixed. Received: input_s"
        with pytest.raises(InputError, match=words):
            gan.export(tmp_path / "x", format, input_signature=[tf.TensorSpec((1, 8))])
    for given in ([tf.TensorSpec((1, 9))], [tf.TensorSpec((1, 8), tf.int32)], []):
        with pytest.raises(InputError, match=r"must fit the inputs .* latents float32 \(None, 8\)"):
            gan.export(tmp_path / "x", "litert", input_signature=given)
    with pytest.raises(InputError, match="precision needs format='litert'. Received"):
        gan.export(tmp_path / "x", format="onnx", precision="int8")
    with pytest.raises(InputError, match="one of float32, float16, int8. Received: .*int4"):
        gan.export(tmp_path / "x", format="litert", precision="int4")
    assert os.listdir(tmp_path) == []


def test_export_is_called_as_that_of_keras(tmp_path, capsys):
    """Every argument of Keras's `export`, by its name and at its place."""
    names = [*inspect.signature(keras.Model.export).parameters][1:-1]  # without self and **kwargs
    assert [*inspect.signature(MODELS["gan"]().export).parameters][: len(names)] == names
    model = MODELS["conditional_gan"]()
    path = model.export(filepath=tmp_path / "saved", format="tf_saved_model", verbose=True)
    names = "serving_default, serving_png, generate, decode, discriminate"
    assert capsys.readouterr().out == f"{path}: {names}\n" and path == str(tmp_path / "saved")
    assert set(tf.saved_model.load(path).signatures) == {*names.split(", ")}


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_an_input_signature_fixes_sizes_of_the_deterministic_part(tmp_path, capsys):
    model = MODELS["conditional_gan"]()
    signature = [keras.InputSpec(shape=(3, 8)), tf.TensorSpec((3,), tf.int32)]
    path = model.export(tmp_path / "x.tflite", "litert", True, signature)
    assert capsys.readouterr().out == f"{path}: latents, labels\n"
    runner = tf.lite.Interpreter(path).get_signature_runner()
    shapes = {name: tuple(given["shape"]) for name, given in runner.get_input_details().items()}
    assert shapes == {"latents": (3, 8), "labels": (3,)}
    z, labels = model.draw_latents(3, 1).numpy(), np.array([2, 0, 1], "int32")
    found = runner(latents=z, labels=labels)["images"]
    np.testing.assert_allclose(found, model.decode(z, labels), atol=1e-4)


@pytest.mark.parametrize("name", ["conditional_gan", "cnn_classifier"])
def test_a_saved_model_returns_the_names_of_its_classes(name, tmp_path):
    model = MODELS[name]()
    model.class_names = ["Strand", "Stadt", "Hündin", "犬"]
    folder = model.export(tmp_path / "exported")
    signatures = tf.saved_model.load(folder).signatures
    found = signatures["class_names"]()["class_names"].numpy()
    assert [each.decode() for each in found] == list(model.class_names)
    assert set(signatures) == {*model.signatures(), "class_names"}
