"""What every model does, whatever it learns: the matrix of the design."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import (
    MODELS,
    ONE_OF_A_CLASS,
    ONE_OF_A_RULE,
    SGD_RATES,
    SHAPE,
    clips_of,
    codes_of,
    compile_with_sgd,
    dataset,
    fitting,
    labels_in_turn,
    smooth_pictures,
)

import keras_genimg
from keras_genimg import InputError

HERE = pathlib.Path(__file__).parent
CONDITIONAL = ("conditional_gan", "conditional_gan_concatenation", "conditional_vae")
GANS = ("gan", "wgan", "wgan_gp")
SEQUENCES = ("sequence_gan",)
GENERATORS = (*GANS, "vae", *CONDITIONAL, *SEQUENCES, "pixel_cnn")
CODE_PRIORS = ("pixel_cnn_of_codes", "code_transformer")  # conditional
AUTOENCODERS = ("vae", "vq_vae", "vq_vae_gradient", "vq_vae2", "vq_gan")
TRANSLATORS = ("cyclegan", "pix2pix", "super_resolution_gan")
# Nothing random in a step.
NO_NOISE = ("vq_vae", "vq_vae_gradient", "vq_vae2", "vq_gan", "super_resolution_gan")
METRICS = ("log_means", "codes_used")  # an epoch's running means are no state of training
SIGNATURES = {
    "gan": {"serving_default", "generate", "discriminate"},
    "vae": {"serving_default", "generate", "encode", "decode", "reconstruct"},
    "vq_vae": {"serving_default", "encode", "decode", "reconstruct"},
    "vq_gan": {"serving_default", "encode", "decode", "reconstruct", "discriminate"},
    "vq_vae2": {"serving_default", "encode", "decode", "reconstruct"},
    "vq_vae_gradient": {"serving_default", "encode", "decode", "reconstruct"},
    "cnn_classifier": {"serving_default", "classify", "features"},
    "wgan": {"serving_default", "generate", "discriminate"},
    "wgan_gp": {"serving_default", "generate", "discriminate"},
    "code_transformer": {"serving_default", "generate_codes", "log_likelihood"},
    "conditional_gan": {"serving_default", "generate", "discriminate"},
    "conditional_gan_concatenation": {"serving_default", "generate", "discriminate"},
    "conditional_vae": {"serving_default", "generate", "encode", "decode", "reconstruct"},
    "cyclegan": {"serving_default", "translate", "translate_back", "discriminate"},
    "pix2pix": {"serving_default", "translate", "discriminate"},
    "pixel_cnn": {"serving_default", "generate", "log_likelihood"},
    "pixel_cnn_of_codes": {"serving_default", "generate_codes", "log_likelihood"},
    "super_resolution_gan": {"serving_default", "translate", "discriminate"},
    "sequence_gan": {"serving_default", "generate", "discriminate"},
}


def python(script, *arguments, isolated=False):
    """Runs a script in a process of its own; returns what it printed last, as JSON."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"TF_CPP_MIN_LOG_LEVEL": "3"}
    if not isolated:
        environment["PYTHONPATH"] = os.pathsep.join([str(HERE.parent), str(HERE)])
    command = [sys.executable, *(["-I"] if isolated else []), "-c", script, *map(str, arguments)]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def state_of(model):
    """Weights, noise, moving averages and optimizers: name -> array."""
    variables = {f"{i:03d} {v.path}": v for i, v in enumerate(model.variables)}
    for name in ("optimizer", "generator_optimizer", "discriminator_optimizer"):
        if getattr(model, name, None) is not None:
            slots = getattr(model, name).variables
            variables |= {f"{name} {i:03d}": v for i, v in enumerate(slots)}
    return {
        name: np.array(v) for name, v in variables.items() if not any(m in name for m in METRICS)
    }


def assert_same_state(state, other):
    # Keras numbers the names of unnamed layers on: the order is what counts.
    assert len(state) == len(other)
    for (name, value), found in zip(state.items(), other.values()):
        np.testing.assert_array_equal(found, value, err_msg=name)


def sources_of(model, count=5):
    """What a translator is given."""
    return fitting(smooth_pictures(count, seed=4), model.source_shape)


def generated(model, count, **arguments):
    return model.generate(count, **labels_in_turn(model, count), **arguments)


def generated_codes(model, count, **arguments):
    return model.generate_codes(count, **labels_in_turn(model, count), **arguments)


def fitted(name, epochs=1, count=16, **compiled):
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    model.compile(**compiled)
    model.fit(dataset(smooth_pictures(count), model, 8), epochs=epochs, verbose=0)
    return model


@pytest.fixture(scope="module")
def trained():
    """One model of each kind after a little training. Tests leave them as they are."""
    return {name: fitted(name) for name in MODELS}


# ------------------------------------------------------------------------- saving


LOADER = """
import json, sys
import keras, keras_genimg
import numpy as np
for path in sys.argv[1:]:
    model = keras.saving.load_model(path, safe_mode=True)
    arrays = {f"v{i:03d}": np.array(v) for i, v in enumerate(model.variables)
              if not any(m in v.path for m in ("log_means", "codes_used"))}
    for name in ("optimizer", "generator_optimizer", "discriminator_optimizer"):
        if getattr(model, name, None) is not None:
            slots = getattr(model, name).variables
            arrays |= {f"z{name}{i:03d}": np.array(v) for i, v in enumerate(slots)}
    np.savez(path + ".npz", **arrays)
print(json.dumps(sorted(name for name in sys.modules if name in ("cases", "test_contract"))))
"""


@pytest.fixture(scope="module")
def loaded_elsewhere(trained, tmp_path_factory):
    """The state of each saved model, as a fresh process finds it."""
    folder = tmp_path_factory.mktemp("saved")
    for name, model in trained.items():
        model.save(folder / f"{name}.keras")
    assert python(LOADER, *(folder / f"{name}.keras" for name in trained)) == []
    return {name: dict(np.load(folder / f"{name}.keras.npz")) for name in trained}


@pytest.mark.parametrize("name", MODELS)
def test_a_fresh_process_loads_all_of_the_state(name, trained, loaded_elsewhere):
    state = state_of(trained[name])
    assert_same_state(state, loaded_elsewhere[name])
    # The comparison is of a state that training has left its marks on.
    keras.utils.set_random_seed(1)
    fresh = MODELS[name]()
    fresh.compile()
    kinds = {
        "weights": lambda key: "kernel" in key,
        "optimizer": lambda key: "optimizer" in key,
        "noise": lambda key: "seed_generator_state" in key,
    }
    for kind, belongs in kinds.items():
        pairs = zip(state.items(), state_of(fresh).values())
        moved = [key for (key, value), start in pairs if belongs(key) and (value != start).any()]
        assert moved or (kind == "noise" and name in NO_NOISE), kind


@pytest.mark.parametrize("name", MODELS)
def test_round_trip_here(name, trained, tmp_path):
    model, images = trained[name], smooth_pictures(4, seed=2)
    path = tmp_path / "folder" / "model.keras"  # the folder is made
    model.save(path)
    assert os.listdir(path.parent) == ["model.keras"]
    again = keras.saving.load_model(path)
    assert type(again) is type(model) and again.compiled
    assert_same_state(state_of(model), state_of(again))
    assert again.get_config() == model.get_config()
    if name in GENERATORS:
        np.testing.assert_array_equal(generated(again, 3, seed=1), generated(model, 3, seed=1))
    if name in AUTOENCODERS:
        np.testing.assert_array_equal(again.reconstruct(images), model.reconstruct(images))
    if name in TRANSLATORS:
        sources = sources_of(model)
        np.testing.assert_array_equal(again.translate(sources), model.translate(sources))
    if name in CODE_PRIORS:
        made = [generated_codes(each, 3, seed=1) for each in (again, model)]
        np.testing.assert_array_equal(*made)
    # Options of compile come back too; a model that was not compiled stays so.
    fresh = MODELS[name]()
    fresh.save(path)
    assert not keras.saving.load_model(path).compiled
    fresh.compile(learning_rate=0.125, steps_per_execution=2)
    fresh.save(path)
    again = keras.saving.load_model(path)
    assert again.steps_per_execution == 2
    optimizer = getattr(again, "optimizer", None) or again.discriminator_optimizer
    assert float(optimizer.learning_rate) == 0.125


RESUME = """
import json, sys
import keras
import numpy as np
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
from cases import MODELS, SHAPE, dataset, small_gan, smooth_pictures
from test_contract import state_of

def gan_with_dropout():
    return small_gan(discriminator=keras.Sequential([
        keras.layers.Flatten(), keras.layers.Dense(8, "relu"),
        keras.layers.Dropout(0.5), keras.layers.Dense(1)]))

def run(make, *parts):
    keras.utils.set_random_seed(1)
    model = make()
    model.compile()
    data = dataset(smooth_pictures(16), model, 8)
    states = []
    for number, epochs in enumerate(parts):
        if number:
            model.save(sys.argv[1] + "/model.keras")
            keras.utils.set_random_seed(99)
            model = keras.saving.load_model(sys.argv[1] + "/model.keras")
        history = model.fit(data, epochs=epochs, verbose=0).history
        states.append(state_of(model))
    return states, {name: values[-2:] for name, values in history.items()}

result = {}
for name, make in {**MODELS, "gan_with_dropout": gan_with_dropout}.items():
    (whole,), logs = run(make, 4)
    (first, second), other_logs = run(make, 2, 2)
    result[name] = {
        "differs": [key for (key, a), b in zip(whole.items(), second.values())
                    if a.tobytes() != b.tobytes()],
        "same_number": len(whole) == len(second),
        "same_logs": list(logs.values()) == list(other_logs.values()),
        "moved": sum((a != b).any().item() for a, b in zip(first.values(), second.values())),
    }
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    return python(RESUME, tmp_path_factory.mktemp("resumed"))


@pytest.mark.parametrize("name", [*MODELS, "gan_with_dropout"])
def test_training_goes_on_as_if_never_stopped(name, resumed):
    """2 epochs, save, load, 2 epochs give the bits of 4 epochs, with deterministic kernels."""
    assert resumed[name]["same_number"]
    assert resumed[name]["differs"] == []
    assert resumed[name]["same_logs"]
    assert resumed[name]["moved"] > 5


# ------------------------------------------------------------------- training, testing


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_moves_no_weights(name, trained):
    model = trained[name]
    images = smooth_pictures(12, seed=5)
    before = {key: v for key, v in state_of(model).items() if "seed_generator" not in key}
    logs = model.evaluate(dataset(images, model, 8), verbose=0, return_dict=True)
    after = {key: v for key, v in state_of(model).items() if "seed_generator" not in key}
    assert_same_state(before, after)
    assert logs and np.isfinite([*logs.values()]).all()


@pytest.mark.parametrize("name", MODELS)
def test_validation(name):
    """Each log has its val_ twin, and to be validated after the last step changes no weight."""
    states = []
    for validate in (True, False):
        keras.utils.set_random_seed(1)
        model = MODELS[name]()
        model.compile()
        data = dataset(smooth_pictures(8), model, 8)
        other = dataset(smooth_pictures(8, seed=5), model, 8) if validate else None
        history = model.fit(data, validation_data=other, verbose=0).history
        if validate:
            names = {log for log in history if not log.startswith("val_")}
            assert {f"val_{log}" for log in names} == set(history) - names and names
        state = state_of(model).items()
        states.append({key: v for key, v in state if "seed_generator" not in key})
    for (key, value), found in zip(states[0].items(), states[1].values()):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", ONE_OF_A_CLASS)
def test_two_fits_other_optimizers_and_line_by_line(name):
    model = fitted(name)
    data = dataset(smooth_pictures(8), model, 8)
    before = model.get_weights()
    first = model.fit(data, verbose=0).history
    compile_with_sgd(model, 1e-4)
    model.run_eagerly = True
    second = model.fit(data, verbose=0).history
    assert set(first) == set(second) and np.isfinite([*second.values()]).all()
    assert any((a != b).any() for a, b in zip(model.get_weights(), before))
    assert isinstance(
        getattr(model, "optimizer", None) or model.generator_optimizer, keras.optimizers.SGD
    )


def three_steps(name, **compiled):
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    names = model.default_optimizers()
    model.compile(
        **{key: keras.optimizers.SGD(SGD_RATES.get(name, 0.01)) for key in names}, **compiled
    )
    losses = []
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append([*map(float, logs.values())])
    )
    data = dataset(smooth_pictures(24), model, 8)
    model.fit(data, verbose=0, callbacks=[recorder])
    return np.array(losses), model


@pytest.mark.parametrize("name", ONE_OF_A_RULE)
def test_xla_and_eager_execution_give_the_same(name):
    plain, model = three_steps(name)
    compiled, _ = three_steps(name, jit_compile=True)
    eager, other = three_steps(name, run_eagerly=True)
    assert plain.shape == compiled.shape == eager.shape and len(plain) == 3
    assert np.abs(plain[0] - plain[2]).max() > 0
    np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(eager, plain, rtol=1e-3, atol=1e-3)
    for weight, expected in zip(other.weights, model.weights):
        # A pool holds pictures, which a generator makes of what differs by a rounding.
        atol = 5e-3 if "image_pool" in weight.path else 1e-4
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("name", ONE_OF_A_CLASS)
def test_several_steps_in_one_execution(name):
    results = []
    for steps in (1, 4):
        keras.utils.set_random_seed(1)
        model = MODELS[name]()
        rate = SGD_RATES.get(name, 0.01)
        optimizers = {key: keras.optimizers.SGD(rate) for key in model.default_optimizers()}
        model.compile(**optimizers, steps_per_execution=steps)
        history = model.fit(dataset(smooth_pictures(32), model, 8), verbose=0).history
        results.append((model.get_weights(), history))
    for one, four in zip(results[0][0], results[1][0]):
        np.testing.assert_allclose(four, one, atol=1e-6)
    for log, values in results[0][1].items():
        np.testing.assert_allclose(results[1][1][log], values, rtol=1e-4)


@pytest.fixture
def bfloat16():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("name", ONE_OF_A_CLASS)
def test_mixed_bfloat16(name, bfloat16, tmp_path):
    model = fitted(name)
    logs = model.evaluate(dataset(smooth_pictures(8), model, 8), verbose=0, return_dict=True)
    assert np.isfinite([*logs.values()]).all()
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.Dense)]
    layers += [layer for layer in model._flatten_layers() if "Conv2D" in type(layer).__name__]
    assert any(layer.compute_dtype == "bfloat16" for layer in layers)
    assert {v.dtype for v in model.variables} <= {"float32", "int32", "uint32", "int64"}
    images = smooth_pictures(3)

    def outputs_of(model):
        if name in GENERATORS:
            return generated(model, 3, seed=1)
        if name in TRANSLATORS:
            return model.translate(sources_of(model, 3))
        if name in CODE_PRIORS:
            return model.log_likelihood(codes_of(images, model), [0, 1, 2])
        return model.reconstruct(images) if name in AUTOENCODERS else model.features(images)

    outputs = outputs_of(model)
    assert outputs.dtype == np.float32 and np.isfinite(outputs).all()

    folder = model.export(tmp_path / "exported")
    served = tf.saved_model.load(folder).signatures["serving_default"]
    if name in GENERATORS:
        found = served(num_images=tf.constant(3), seed=tf.constant(1, tf.int64))["images"]
        assert np.abs(found.numpy() / 127.5 - 1 - outputs).max() < 0.05
    elif name in CODE_PRIORS:
        found = served(num_images=tf.constant(3), seed=tf.constant(1, tf.int64))["codes"]
        assert found.shape == (3, 4, 4) and found.dtype == tf.int32
    else:
        given = tf.constant(sources_of(model, 3) if name in TRANSLATORS else images)
        assert all(v.dtype == tf.float32 for v in served(images=given).values())

    # The file says in which precision the model computes, not the process that loads it.
    model.save(tmp_path / "x.keras")
    keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_array_equal(outputs_of(again), outputs)


@pytest.mark.parametrize("name", MODELS)
def test_mixed_float16_is_refused_with_the_reason(name):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        with pytest.raises(InputError, match="scales the loss of one optimizer.*mixed_bfloat16"):
            MODELS[name]()
    finally:
        keras.config.set_dtype_policy(policy)


# ------------------------------------------------------------------------ generating


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("state", ["fresh", "trained"])
def test_generate(name, state, trained):
    model = trained[name] if state == "trained" else MODELS[name]()
    images = generated(model, 7, seed=5)
    assert images.shape == (7, *model.element_shape) and images.dtype == np.float32
    assert np.abs(images).max() <= 1 and np.isfinite(images).all()
    np.testing.assert_allclose(generated(model, 7, seed=5, batch_size=3), images, atol=1e-5)
    np.testing.assert_allclose(generated(model, 7, seed=5, batch_size=1), images, atol=1e-5)
    assert np.abs(generated(model, 7, seed=6) - images).max() > 1e-4
    assert np.abs(generated(model, 7) - generated(model, 7)).max() > 1e-4
    assert generated(model, 1, seed=np.int64(5)).shape == (1, *model.element_shape)
    assert np.ptp(images, axis=0).max() > 1e-4  # different pictures


@pytest.mark.parametrize("name", GENERATORS)
def test_generate_changes_nothing_and_is_changed_by_training_alone(name, trained):
    model = trained[name]
    before = state_of(model)
    first = generated(model, 2, seed=1)
    np.testing.assert_array_equal(generated(model, 2, seed=1), first)
    assert_same_state(before, state_of(model))
    other = fitted(name, epochs=2)
    seen = generated(other, 2, seed=1)  # traces the function that makes pictures
    other.fit(dataset(smooth_pictures(16), other, 8), verbose=0)
    assert np.abs(generated(other, 2, seed=1) - seen).max() > 0


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"num_images": 0}, "num_images must be a positive integer. Received: num_images=0."),
        ({"num_images": -3}, "Received: num_images=-3."),
        ({"num_images": 2.5}, "Received: num_images=2.5."),
        ({"num_images": 2, "batch_size": 0}, "batch_size must be a positive integer."),
        ({"num_images": 2, "seed": 1.5}, "seed must be an integer or None. Received: seed=1.5."),
        ({"num_images": 2, "seed": "1"}, "seed must be an integer or None. Received: seed='1'."),
        ({"num_images": 2, "seed": 2**64}, f"Received: seed={2**64}."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_generate_refuses(name, arguments, words, trained):
    with pytest.raises(InputError) as caught:
        trained[name].generate(**labels_in_turn(trained[name], 2), **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [name for name in GENERATORS if name not in CONDITIONAL])
def test_generate_refuses_labels(name, trained):
    with pytest.raises(InputError, match="generates without labels. Received: 2 labels"):
        trained[name].generate(2, labels=[0, 1])


@pytest.mark.parametrize("name", CONDITIONAL)
@pytest.mark.parametrize(
    "labels, words",
    [
        (None, "labels must be integers from 0 to 3, of shape (n,). Received: None."),
        ([0, 4], "labels must be integers from 0 to 3, of shape (n,). Received: 0 to 4."),
        ([-1, 0], "Received: -1 to 0."),
        ([0.5, 1], "Received: 0.5 to 1."),
        ([[0, 1]], "Received: [[0, 1]]."),
        (["a", "b"], "Received: ['a', 'b']."),
        ([0, 1, 2], "There must be one label a picture. Received: 3 labels for 2 pictures."),
        ([1], "There must be one label a picture. Received: 1 labels for 2 pictures."),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_generate_refuses_these_labels(name, labels, words, trained):
    with pytest.raises(InputError) as caught:
        trained[name].generate(2, labels=labels)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(GENERATORS)))
def test_what_does_not_generate_says_so(name, trained):
    words = "takes the place of generate" if name in TRANSLATORS else "does not generate"
    with pytest.raises(InputError, match=words):
        trained[name].generate(3)


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoders(name, trained):
    model, images = trained[name], smooth_pictures(5, seed=4)
    codes = model.encode(images)
    shapes = {"vae": [(4,)], "vq_vae2": [(2, 2), (4, 4)]}.get(name, [(4, 4)])
    for level, shape in zip(keras.tree.flatten(codes), shapes, strict=True):
        assert level.shape == (5, *shape)
        assert level.dtype == (np.float32 if name == "vae" else np.int32)
        assert name == "vae" or (level.min() >= 0 and level.max() < 16)
    for made in (model.decode(codes), model.reconstruct(images)):
        assert made.shape == images.shape and made.dtype == np.float32
        assert np.abs(made).max() <= 1
    np.testing.assert_allclose(model.decode(codes), model.reconstruct(images), atol=1e-5)
    for method, given in ((model.encode, images), (model.decode, codes), (model.reconstruct, images)):
        in_parts, at_once = (keras.tree.flatten(method(given, **b)) for b in ({"batch_size": 2}, {}))
        for found, expected in zip(in_parts, at_once, strict=True):
            np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators(name, trained):
    model = trained[name]
    sources = sources_of(model)
    made = model.translate(sources)
    assert made.shape == (5, *model.image_shape) and made.dtype == np.float32
    assert np.abs(made).max() <= 1 and np.ptp(made, axis=0).max() > 1e-2
    np.testing.assert_allclose(model.translate(sources, batch_size=2), made, atol=1e-5)
    np.testing.assert_allclose(model(sources), made, atol=1e-5)
    with pytest.raises(InputError, match="was made for images of shape"):
        model.translate(sources[:, :4])


# ------------------------------------------------------------------------- exporting


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
names = {}
for case in sys.argv[1:]:
    data = np.load(case + "/data.npz")
    signatures = tf.saved_model.load(case + "/exported").signatures
    names[case.split("/")[-1]] = sorted(signatures)
    given = {"num_images": tf.constant(5), "seed": tf.constant(7, tf.int64),
             "labels": tf.constant([3, 0, 0, 2, 1]),
             **{key: tf.constant(data[key]) for key in data}}
    results = {}
    for name, run in signatures.items():
        wanted = run.structured_input_signature[1]
        own = {key: given.get(name + "/" + key, given.get(key)) for key in wanted}
        for key, value in run(**own).items():
            results[name + "/" + key] = value.numpy()
    np.savez(case + "/results.npz", **results)
print(json.dumps(names))
"""


def deterministic(name, model):
    """Inputs of the deterministic part by name, and Keras's outputs by name."""
    images = smooth_pictures(5, seed=4)
    if name in CONDITIONAL:
        latents, labels = model.draw_latents(5, 3).numpy(), np.array([3, 0, 0, 2, 1], "int32")
        if name == "conditional_vae":
            expected = {"images": model.decode(latents, labels=labels)}
        else:
            expected = {"images": model.ema_generator([latents, labels])}
        return {"latents": latents, "labels": labels}, expected
    if name in SEQUENCES:
        rng, steps = np.random.default_rng(3), 1 + model.num_frames
        content = rng.normal(size=(5, model.content_dim)).astype("float32")
        noise = rng.normal(size=(5, steps, model.motion_dim)).astype("float32")
        clips = model(model.walk_paths(content, noise, model.ema_walk))
        return {"content": content, "noise": noise}, {"images": clips}
    if name in GANS:
        latents = model.draw_latents(5, 3).numpy()
        return {"latents": latents}, {"images": model.ema_generator(latents)}
    if name == "vae":
        latents = model.draw_latents(5, 3).numpy()
        return {"latents": latents}, {"images": model.decode(latents)}
    if name == "cnn_classifier":
        return {"images": images}, {"logits": model(images)}
    if name in TRANSLATORS:
        sources = sources_of(model)
        return {"images": sources}, {"translations": model.translate(sources)}
    if name in CODE_PRIORS:
        codes, labels = codes_of(images, model), np.array([3, 0, 0, 2, 1], "int32")
        return {"codes": codes, "labels": labels}, {"logits": model(codes, labels)}
    if name == "pixel_cnn":
        return {"images": images}, {"logits": model(images)}
    return {"images": images}, {"reconstructions": model.reconstruct(images)}


def codes_of_levels(model, images):
    return dict(zip(("top_codes", "bottom_codes"), model.encode(images)))


@pytest.fixture(scope="module")
def served(trained, tmp_path_factory):
    """What a process with TensorFlow alone makes of each SavedModel."""
    root = tmp_path_factory.mktemp("served")
    for name, model in trained.items():
        model.export(root / name / "exported")
        data = {"images": smooth_pictures(5, seed=4)}
        if name in SEQUENCES:
            data["images"] = clips_of(data["images"], model.num_frames)
        if name == "vq_vae2":
            data |= codes_of_levels(model, data["images"])
        elif name in AUTOENCODERS:
            data["latents"] = model.encode(data["images"])
        if name == "conditional_vae":
            data["latents"] = model.encode(data["images"], labels=[3, 0, 0, 2, 1])
        if name in CODE_PRIORS:
            data = {"codes": codes_of(data["images"], model)}
        if name in TRANSLATORS:  # other pictures than those that are judged
            data["translate/images"] = data["serving_default/images"] = sources_of(model)
            data["targets"] = fitting(data["images"], model.image_shape)
        np.savez(root / name / "data.npz", **data)
    names = python(READER, *(root / name for name in trained), isolated=True)
    return {name: (names[name], dict(np.load(root / name / "results.npz"))) for name in trained}


@pytest.mark.parametrize("name", MODELS)
def test_saved_model_where_only_tensorflow_is(name, trained, served):
    model, images = trained[name], smooth_pictures(5, seed=4)
    names, found = served[name]
    assert set(names) == SIGNATURES[name]
    expected = {}
    if name in GENERATORS:
        pictures = generated(model, 5, seed=7)  # of the classes in turn
        expected["generate/images"] = pictures
        levels = found["serving_default/images"]
        assert levels.dtype == np.uint8 and levels.shape == pictures.shape
        assert np.abs(levels - (pictures + 1) * 127.5).max() <= 1
        assert levels.std() > 0
    if name in GANS:
        expected["discriminate/logits"] = model.discriminator(images)
    if name in SEQUENCES:
        clips = clips_of(images, model.num_frames)
        expected["discriminate/logits"] = model.clip_discriminator(clips)
    if name in CONDITIONAL:
        labels = np.array([3, 0, 0, 2, 1])
        expected["generate/images"] = model.generate(5, labels, seed=7)
        assert np.abs(expected["generate/images"] - pictures).max() > 1e-3
    if name == "conditional_vae":
        z_mean, z_log_var = model.encoder([images, labels])
        expected |= {"encode/z_mean": z_mean, "encode/z_log_var": z_log_var}
        expected["decode/images"] = model.decode(z_mean, labels=labels)
        expected["reconstruct/images"] = model.reconstruct(images, labels=labels)
    elif name in CONDITIONAL:
        logits, class_logits = model.judge(images, labels)
        expected["discriminate/logits"] = logits
        if class_logits is not None:
            expected["discriminate/class_logits"] = class_logits
    if name == "pixel_cnn":
        expected["log_likelihood/log_likelihood"] = model.log_likelihood(images)
    if name in CODE_PRIORS:
        codes, labels = codes_of(images, model), [3, 0, 0, 2, 1]
        expected["generate_codes/codes"] = model.generate_codes(5, labels, seed=7)
        expected["serving_default/codes"] = generated_codes(model, 5, seed=7)
        expected["log_likelihood/log_likelihood"] = model.log_likelihood(codes, labels)
    if name in TRANSLATORS:
        translations = model.translate(sources_of(model))
        expected |= {f"{key}/images": translations for key in ("translate", "serving_default")}
    if name in ("super_resolution_gan", "vq_gan"):
        expected["discriminate/logits"] = model.discriminator(images)
    if name == "pix2pix":
        targets = fitting(images, model.image_shape)
        expected["discriminate/logits"] = model.discriminator([images, targets])
    if name == "cyclegan":
        expected["discriminate/logits"] = model.discriminator_b(images)
        expected["translate_back/images"] = model.translate(images, reverse=True)
    if name in AUTOENCODERS:
        codes = model.encode(images)
        if name == "vq_vae2":
            levels = codes_of_levels(model, images)
            expected |= {f"encode/{level}": array for level, array in levels.items()}
        else:
            expected["encode/z_mean" if name == "vae" else "encode/codes"] = codes
        expected["decode/images"] = model.decode(codes)
        expected["reconstruct/images"] = model.reconstruct(images)
    if name.startswith("vq_"):
        expected["serving_default/images"] = model.reconstruct(images)
    if name == "vae":
        expected["encode/z_log_var"] = model.encoder(images)[1]
    if name == "cnn_classifier":
        logits = np.array(model(images))
        shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        for signature in ("classify", "serving_default"):
            expected |= {f"{signature}/logits": logits, f"{signature}/probabilities": shares}
        expected["features/features"] = model.features(images)
    assert set(expected) == set(found) - ({"serving_default/images"} if name in GENERATORS else set())
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, atol=1e-4, err_msg=key)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
@pytest.mark.parametrize("name", MODELS)
def test_litert(name, trained, tmp_path):
    given, expected = deterministic(name, trained[name])
    path = trained[name].export(tmp_path / "model.tflite", format="litert")
    found = tf.lite.Interpreter(str(path)).get_signature_runner()(**given)
    assert set(found) == set(expected)
    for output, value in expected.items():
        assert np.std(value) > 0
        np.testing.assert_allclose(found[output], value, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_onnx(name, trained, tmp_path):
    pytest.importorskip("tf2onnx")
    runtime = pytest.importorskip("onnxruntime")
    given, expected = deterministic(name, trained[name])
    path = trained[name].export(tmp_path / "model.onnx", format="onnx")
    found = runtime.InferenceSession(str(path)).run([*expected], given)
    for output, value in zip(found, expected.values()):
        np.testing.assert_allclose(output, value, atol=1e-4)


def test_export_refuses(trained, tmp_path):
    with pytest.raises(InputError, match="one of saved_model, litert, onnx. Received: 'pb'"):
        trained["gan"].export(tmp_path / "x", format="pb")
    with pytest.raises(InputError, match="export takes folder, format and precision. Received: verbose"):
        trained["gan"].export(tmp_path / "x", verbose=True)
    with pytest.raises(InputError, match="precision goes with format='litert'. Received"):
        trained["gan"].export(tmp_path / "x", format="onnx", precision="int8")
    with pytest.raises(InputError, match="one of float32, float16, int8. Received: 'int4'"):
        trained["gan"].export(tmp_path / "x", format="litert", precision="int4")
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------ subclassing


class NotebookGAN(keras_genimg.GAN):
    """As a reader of a tutorial writes it: another step that logs another name."""

    def train_step(self, data):
        images, _, batch = self.unpack(data)
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            error = tf.reduce_mean((self.generator(latents, training=True) - images) ** 2)
        weights = self.generator.trainable_variables
        self.generator_optimizer.apply_gradients(zip(tape.gradient(error, weights), weights))
        self.update_ema_generator()
        return self.log(batch, pixel_error=error)


@keras.saving.register_keras_serializable(package="test_contract")
class NotebookVAE(keras_genimg.VAE):
    def __init__(self, *args, sharpness=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.sharpness = sharpness

    def train_step(self, data):
        logs = super().train_step(data)
        return {**logs, "sharpness": tf.constant(self.sharpness)}

    def get_config(self):
        return {**super().get_config(), "sharpness": self.sharpness}


@pytest.mark.parametrize("kind", ["custom_objects", "registered"])
def test_a_subclass_keeps_everything_else(kind, tmp_path):
    if kind == "registered":
        model = NotebookVAE(SHAPE, 4, networks="mlp", sharpness=2.5)
        log, custom = "sharpness", None
    else:
        model = NotebookGAN(SHAPE, 4, networks="mlp", seed=1)
        log, custom = "pixel_error", {"NotebookGAN": NotebookGAN}
    model.compile()
    data = dataset(smooth_pictures(16), model, 8)
    history = model.fit(data, epochs=2, verbose=0).history
    assert len(history[log]) == 2 and np.isfinite(history[log]).all()
    if kind == "registered":
        assert history[log] == [2.5, 2.5] and "elbo" in history
    else:
        assert set(history) == {"pixel_error"} and history[log][1] < history[log][0]
    model.save(tmp_path / "x.keras")
    again = keras.saving.load_model(tmp_path / "x.keras", custom_objects=custom)
    assert type(again) is type(model)
    assert_same_state(state_of(model), state_of(again))
    assert log in again.fit(data, verbose=0).history
    assert again.evaluate(data, verbose=0, return_dict=True)
    assert again.generate(2, seed=1).shape == (2, *SHAPE)
    again.export(tmp_path / "exported")
    signatures = tf.saved_model.load(tmp_path / "exported").signatures
    assert "serving_default" in signatures
