"""Exports compute the same as Keras where only TensorFlow (or a runtime) is installed."""

import builtins
import errno
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from keras_genimg.errors import InputError
from keras_genimg.export import write_litert, write_onnx, write_saved_model

LATENT_DIM = 6
FORMATS = ("saved_model", "litert", "onnx")

# Runs in a separate process, where importing this package or Keras fails.
READER = """
import sys
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
    loaded = tf.saved_model.load(case + "/exported")
    run = loaded.signatures
    seed = tf.constant(7, tf.int64)
    again = tf.saved_model.load(case + "/exported").signatures["serving_default"]
    again = again(num_images=tf.constant(4), seed=seed)["images"]
    result = {
        "images": run["serving_default"](num_images=tf.constant(4), seed=seed)["images"],
        "again": again,
        "other": run["serving_default"](num_images=tf.constant(4), seed=seed + 1)["images"],
        "one": run["serving_default"](num_images=tf.constant(1), seed=seed)["images"],
        "decoded": run["decode"](latents=tf.constant(data["latents"]))["images"],
        "encoded": run["encode"](images=tf.constant(data["images"]))["output_0"],
        "attribute": loaded.decode(latents=data["latents"])["images"],
        "plain_numbers": loaded.serving_default(num_images=4, seed=7)["images"],
    }
    np.savez(case + "/result.npz", **{k: v.numpy() for k, v in result.items()})
"""


def build_generator():
    return keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            layers.Dense(4 * 4 * 8),
            layers.Reshape((4, 4, 8)),  # (B, 128) -> (B, 4, 4, 8)
            layers.Conv2DTranspose(4, 4, strides=2, padding="same"),  # -> (B, 8, 8, 4)
            layers.BatchNormalization(),
            layers.LeakyReLU(0.2),
            layers.Conv2D(4, 3, padding="same", activation="swish"),
            # -> (B, 16, 16, 1)
            layers.Conv2DTranspose(
                1, 4, strides=2, padding="same", activation="tanh", dtype="float32"
            ),
        ]
    )


def build_encoder():
    return keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),  # (B, 8, 8, 4) -> (B, 256)
            layers.Dense(LATENT_DIM, dtype="float32"),
        ]
    )


def set_random_weights(*networks):
    """Weights unlike the initial ones, so that moving statistics matter too."""
    rng = np.random.default_rng(0)
    for network in networks:
        for variable in network.variables:
            value = rng.normal(0, 0.3, variable.shape)
            variable.assign(np.abs(value) + 0.5 if "variance" in variable.path else value)


class Functions:
    """The functions that a model would export."""

    def __init__(self):
        self.generator = build_generator()
        self.encoder = build_encoder()
        set_random_weights(self.generator, self.encoder)

    def generate(self, count, seed):
        noise = tf.random.stateless_normal([count, LATENT_DIM], tf.stack([seed, 0]))
        images = self.generator(noise, training=False)
        return {"images": tf.cast(tf.round(127.5 * images + 127.5), tf.uint8)}

    def decode(self, z):
        return {"images": self.generator(z, training=False)}

    def encode(self, x):
        return self.encoder(x, training=False)

    def write(self, folder, **kwargs):
        return write_saved_model(
            folder,
            {
                "serving_default": (
                    self.generate,
                    [
                        tf.TensorSpec([], tf.int32, "num_images"),
                        tf.TensorSpec([], tf.int64, "seed"),
                    ],
                ),
                "decode": (self.decode, [LATENTS]),
                "encode": (self.encode, [tf.TensorSpec([None, 16, 16, 1], tf.float32, "images")]),
            },
            networks=[self.generator, self.encoder],
            **kwargs,
        )


LATENTS = tf.TensorSpec([None, LATENT_DIM], tf.float32, "latents")


@pytest.fixture(scope="module")
def strategy(mirrored):
    return mirrored


@pytest.fixture(scope="module")
def functions(strategy):
    return Functions()


@pytest.fixture(scope="module")
def results(tmp_path_factory, strategy, functions):
    """Results of Keras and of the other process, by case."""
    root = tmp_path_factory.mktemp("cases")
    rng = np.random.default_rng(1)
    latents = rng.normal(size=(3, LATENT_DIM)).astype("float32")
    images = rng.uniform(-1, 1, size=(5, 16, 16, 1)).astype("float32")
    with strategy.scope():
        mirrored = Functions()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        mixed = Functions()
    finally:
        keras.config.set_dtype_policy(policy)
    expected = {}
    for name, case in (("float32", functions), ("mirrored", mirrored), ("bfloat16", mixed)):
        folder = root / name
        if name == "mirrored":
            with strategy.scope():  # an export inside the scope is allowed
                case.write(folder / "exported")
        else:
            case.write(folder / "exported")
        np.savez(folder / "data.npz", latents=latents, images=images)
        expected[name] = {
            "images": case.generate(tf.constant(4), tf.constant(7, tf.int64))["images"].numpy(),
            "decoded": case.decode(latents)["images"].numpy(),
            "encoded": case.encode(images).numpy(),
        }
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run(
        [sys.executable, "-I", "-c", READER, *(str(root / name) for name in expected)],
        cwd=root,
        env=environment,
        check=True,
    )
    return {name: (e, dict(np.load(root / name / "result.npz"))) for name, e in expected.items()}


@pytest.mark.parametrize("case", ["float32", "mirrored", "bfloat16"])
def test_saved_model_in_a_process_with_tensorflow_alone(results, case):
    expected, found = results[case]
    # The bfloat16 kernels may sum in another order inside a graph.
    tolerance = 2e-2 if case == "bfloat16" else 1e-5
    assert found["images"].dtype == np.uint8 and found["images"].shape == (4, 16, 16, 1)
    levels = np.abs(found["images"].astype(int) - expected["images"])
    assert levels.max() <= (3 if case == "bfloat16" else 1)
    assert expected["images"].std() > 10, "a constant image would agree with anything"
    np.testing.assert_array_equal(found["again"], found["images"])
    np.testing.assert_array_equal(found["plain_numbers"], found["images"])
    assert (found["other"] != found["images"]).mean() > 0.5
    assert found["one"].shape == (1, 16, 16, 1)
    np.testing.assert_allclose(found["decoded"], expected["decoded"], atol=tolerance)
    np.testing.assert_allclose(found["attribute"], found["decoded"], atol=1e-6)
    np.testing.assert_allclose(found["encoded"], expected["encoded"], atol=tolerance)


def test_trained_under_a_strategy_exports_the_synchronised_statistics(tmp_path, strategy):
    with strategy.scope():
        network = keras.Sequential(
            [
                keras.Input((3,)),
                layers.BatchNormalization(momentum=0.5, synchronized=True),
                layers.Dense(1),
            ]
        )
        network.compile("sgd", "mse")
    inputs = np.arange(48, dtype="float32").reshape(16, 3)
    network.fit(inputs, inputs[:, :1], batch_size=8, epochs=2, verbose=0, shuffle=False)
    spec = tf.TensorSpec([None, 3], tf.float32, "inputs")
    folder = write_saved_model(
        tmp_path / "x", {"call": (lambda x: network(x, training=False), [spec])}, networks=[network]
    )
    loaded = tf.saved_model.load(folder)  # TensorFlow drops the variables with it
    found = loaded.call(inputs).numpy()
    np.testing.assert_allclose(found, network.predict(inputs, verbose=0), rtol=1e-4, atol=1e-4)


def test_gradient_that_cannot_be_written_does_not_stop_the_export(tmp_path):
    network = keras.Sequential([keras.Input((LATENT_DIM,)), layers.Dense(2)])

    @tf.custom_gradient
    def double(x):
        def gradient(upstream):
            raise NotImplementedError("nothing is trained through this layer")

        return 2.0 * x, gradient

    specs = [LATENTS, tf.TensorSpec([None], tf.int32, "unused")]
    write_saved_model(
        tmp_path / "x", {"f": (lambda z, unused: double(network(z)), specs)}, networks=[network]
    )
    loaded = tf.saved_model.load(tmp_path / "x")
    latents = latents_of(2)
    found = loaded.signatures["f"](latents=tf.constant(latents), unused=tf.constant([1]))
    np.testing.assert_allclose(found["output_0"], 2 * network(latents), atol=1e-5)


def test_saved_model_replaces_an_earlier_one_only(tmp_path, functions):
    folder = tmp_path / "out"
    assert functions.write(folder) == str(folder)
    first = (folder / "saved_model.pb").stat().st_ino
    functions.write(folder)
    assert (folder / "saved_model.pb").stat().st_ino != first
    with pytest.raises(InputError, match="overwrite=True"):
        functions.write(folder, overwrite=False)
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="must be new"):
        functions.write(folder)
    assert (folder / "thesis.txt").read_text() == "mine"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8(tmp_path):
    """TensorFlow takes none."""
    folder = os.path.join(tmp_path, os.fsdecode(b"\xff"))
    spec = tf.TensorSpec((), tf.float32, "x")
    write_saved_model(folder, {"double": (lambda x: 2 * x, [spec])}, networks=[])
    os.rename(folder, tmp_path / "named")
    loaded = tf.saved_model.load(str(tmp_path / "named"))
    assert float(loaded.double(tf.constant(2.0))) == 4


def test_unbuilt_network_is_refused(tmp_path):
    network = keras.Sequential([layers.Dense(2)], name="critic")
    with pytest.raises(InputError, match="critic"):
        write_saved_model(tmp_path / "x", {}, networks=[network])
    assert os.listdir(tmp_path) == []


def run_litert(path, latents, resize=False):
    if not resize:
        interpreter = tf.lite.Interpreter(str(path))
        return interpreter.get_signature_runner()(latents=latents)["images"]
    interpreter = tf.lite.Interpreter(str(path))
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, latents.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, latents)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def run_onnx(path, latents):
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path))
    return session.run(["images"], {"latents": latents})[0]


def latents_of(batch):
    return np.random.default_rng(batch).normal(size=(batch, LATENT_DIM)).astype("float32")


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert_at_several_batch_sizes(tmp_path, functions):
    path = tmp_path / "decoder.tflite"
    assert write_litert(path, functions.decode, [LATENTS]) == str(path)
    for batch in (1, 5):
        latents = latents_of(batch)
        expected = functions.decode(latents)["images"].numpy()
        for resize in (False, True):
            found = run_litert(path, latents, resize)
            np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_litert_in_fewer_bits(tmp_path):
    """A half and a quarter of the file size; outputs change by the rounding of the weights."""
    dense = layers.Dense(64)
    dense.build((None, LATENT_DIM))
    dense.kernel.assign(np.random.default_rng(0).normal(size=dense.kernel.shape))
    wide = layers.Dense(256)
    wide.build((None, 64))
    wide.kernel.assign(np.random.default_rng(1).normal(size=wide.kernel.shape) / 8)

    def decode(latents):
        return {"images": wide(dense(latents))}

    latents, sizes, errors = latents_of(8), {}, {}
    expected = decode(latents)["images"].numpy()
    for precision in ("float32", "float16", "int8"):
        path = write_litert(tmp_path / precision, decode, [LATENTS], precision=precision)
        sizes[precision] = os.path.getsize(path)
        found = run_litert(path, latents)
        assert found.dtype == np.float32
        errors[precision] = np.abs(found - expected).max() / np.std(expected)
    parameters = 64 * LATENT_DIM + 64 * 256
    assert sizes["float32"] - sizes["float16"] == pytest.approx(2 * parameters, rel=0.05)
    assert sizes["float32"] - sizes["int8"] == pytest.approx(3 * parameters, rel=0.1)
    assert errors["float32"] < 1e-5 < errors["float16"] < 5e-3 < errors["int8"] < 0.1


def test_onnx_at_several_batch_sizes(tmp_path, functions):
    pytest.importorskip("tf2onnx")
    path = tmp_path / "decoder.onnx"
    assert write_onnx(path, functions.decode, [LATENTS]) == str(path)
    for batch in (1, 5):
        latents = latents_of(batch)
        expected = functions.decode(latents)["images"].numpy()
        np.testing.assert_allclose(run_onnx(path, latents), expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_half_precision_is_written_in_float32(tmp_path, functions, strategy):
    """A bfloat16 model with the same weights gives the outputs of the float32 one."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with strategy.scope():
            mixed = Functions()
    finally:
        keras.config.set_dtype_policy(policy)
    latents = latents_of(2)
    expected = functions.decode(latents)["images"].numpy()
    assert np.abs(mixed.decode(latents)["images"] - expected).max() > 1e-3
    path = write_litert(tmp_path / "x.tflite", mixed.decode, [LATENTS])
    np.testing.assert_allclose(run_litert(path, latents), expected, atol=1e-4)
    pytest.importorskip("tf2onnx")
    path = write_onnx(tmp_path / "x.onnx", mixed.decode, [LATENTS])
    np.testing.assert_allclose(run_onnx(path, latents), expected, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_labels_and_a_loop(tmp_path, dtype):
    """Two inputs of two types, one of them unused by half of the outputs, and control flow."""

    def fn(latents, labels):
        start = tf.cast(latents, dtype)
        looped = tf.while_loop(
            lambda i, x: i < 3, lambda i, x: (i + 1, x * 2.0), (tf.constant(0), start)
        )[1]
        looped = tf.cast(looped, tf.float32)
        return {"doubled": looped, "picked": looped + tf.cast(labels, tf.float32)[:, None]}

    specs = [LATENTS, tf.TensorSpec([None], tf.int32, "labels")]
    latents, labels = latents_of(2), np.array([1, 5], "int32")
    expected = {"doubled": 8 * latents, "picked": 8 * latents + labels[:, None]}
    path = write_litert(tmp_path / "x.tflite", fn, specs)
    found = tf.lite.Interpreter(path).get_signature_runner()(latents=latents, labels=labels)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5)
    pytest.importorskip("tf2onnx")
    path = write_onnx(tmp_path / "x.onnx", fn, specs)
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    found = session.run(["picked", "doubled"], {"latents": latents, "labels": labels})
    np.testing.assert_allclose(found[0], expected["picked"], rtol=1e-5)
    np.testing.assert_allclose(found[1], expected["doubled"], rtol=1e-5)


def test_onnx_without_a_counterpart_is_refused(tmp_path):
    pytest.importorskip("tf2onnx")
    with pytest.raises(InputError, match="counterpart in ONNX"):
        write_onnx(tmp_path / "x.onnx", tf.math.bessel_i0e, [LATENTS])
    assert os.listdir(tmp_path) == []


def test_onnx_not_installed(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "tf2onnx":
            raise ImportError("No module named 'tf2onnx'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InputError, match=r"pip install 'keras-genimg\[export\]'"):
        write_onnx(tmp_path / "x.onnx", tf.identity, [LATENTS])


def write_as(kind, path, functions):
    if kind == "saved_model":
        return functions.write(path)
    writer = {"litert": write_litert, "onnx": write_onnx}[kind]
    if kind == "onnx":
        pytest.importorskip("tf2onnx")
    return writer(path, functions.decode, [LATENTS])


@pytest.mark.parametrize("kind", FORMATS)
def test_full_disk_leaves_the_earlier_export(tmp_path, functions, monkeypatch, kind):
    path = tmp_path / "x"
    if kind == "saved_model":
        functions.write(path)
        probe = path / "saved_model.pb"
    else:
        probe = path
        probe.write_bytes(b"earlier")
    before = probe.read_bytes()

    def full(*args, **kwargs):
        # TensorFlow raises this error on a full disk.
        raise tf.errors.ResourceExhaustedError(
            None, None, f"{{{{function_node SaveV2}}}} /x; {os.strerror(errno.ENOSPC)}"
        )

    if kind == "onnx":
        import tf2onnx

        monkeypatch.setattr(tf2onnx.convert, "from_function", full)
    else:
        monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(InputError) as caught:
        write_as(kind, path, functions)
    assert str(caught.value) == f"{path} could not be written: {os.strerror(errno.ENOSPC)}."
    assert probe.read_bytes() == before
    assert os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("kind", FORMATS)
def test_really_full_disk(tmp_path, functions, kind):
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", disk],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system can be mounted by root on Linux only")
    try:
        with pytest.raises(InputError, match="No space left"):
            write_as(kind, disk / "x", functions)
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_wrong_kind_of_target(tmp_path, functions, kind):
    target = tmp_path / "x"
    target.write_text("mine") if kind == "saved_model" else target.mkdir()
    with pytest.raises(InputError, match="must name a"):
        write_as(kind, target, functions)
    assert os.listdir(tmp_path) == ["x"]


def test_existing_file_without_overwrite(tmp_path, functions):
    path = tmp_path / "x"
    path.write_text("mine")
    for write in (write_litert, write_onnx):
        if write is write_onnx:
            pytest.importorskip("tf2onnx")
        with pytest.raises(InputError, match="overwrite=True"):
            write(path, functions.decode, [LATENTS], overwrite=False)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_printed(tmp_path, functions, capfd, kind):
    write_as(kind, tmp_path / "x", functions)
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")  # the terminal is restored


def test_errors_of_the_function_surface(tmp_path):
    def broken(latents):
        raise ArithmeticError("raised by the function")

    for write in (write_litert, write_onnx):
        with pytest.raises(ArithmeticError, match="raised by the function"):
            write(tmp_path / "x", broken, [LATENTS])
    with pytest.raises(ArithmeticError, match="raised by the function"):
        write_saved_model(tmp_path / "x", {"f": (broken, [LATENTS])}, networks=[])
    assert os.listdir(tmp_path) == []


@pytest.mark.slow  # the tool imports TensorFlow in another process
def test_saved_model_command_line(tmp_path, functions):
    """The command that the README gives."""
    tool = pathlib.Path(sys.executable).with_name("saved_model_cli")
    if not tool.exists():
        pytest.skip("saved_model_cli is not installed")
    functions.write(tmp_path / "exported")
    command = f"{tool} run --dir exported --tag_set serve --signature_def serving_default "
    command += "--input_exprs 'num_images=4;seed=7' --outdir samples"
    subprocess.run(command, shell=True, cwd=tmp_path, check=True, capture_output=True)
    found = np.load(tmp_path / "samples" / "images.npy")
    expected = functions.generate(tf.constant(4), tf.constant(7, tf.int64))["images"]
    assert found.dtype == np.uint8 and found.shape == (4, 16, 16, 1)
    assert np.abs(found.astype(int) - expected.numpy()).max() <= 1
