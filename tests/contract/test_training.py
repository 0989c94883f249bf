"""How every model trains: validated, compiled by XLA, line by line, several steps at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import (
    MODELS,
    ONE_OF_A_RULE,
    SGD_RATES,
    codes_of,
    compile_with_sgd,
    dataset,
    smooth_pictures,
)
from matrix import (
    assert_same_state,
    default_or_slow,
    fitted,
    generated,
    sources_of,
    state_of,
    without_noise,
)

from keras_genimg import InputError
from keras_genimg.core import Labels, dtype_policy


@pytest.mark.parametrize("name", default_or_slow(MODELS, fifth=0))
def test_evaluation_moves_no_weights(name, trained):
    model = trained[name]
    images = smooth_pictures(12, seed=5)
    before = without_noise(state_of(model))
    logs = model.evaluate(dataset(images, model, 8), verbose=0, return_dict=True)
    assert_same_state(before, without_noise(state_of(model)))
    assert logs and np.isfinite([*logs.values()]).all()
    values = model.evaluate(dataset(images, model, 8), verbose=0)
    assert model.metrics_names == list(logs) and len(values) == len(logs)
    # Noise is drawn anew, but the names say which value is which.
    again = dict(zip(model.metrics_names, values))
    assert sorted(logs, key=logs.get) == sorted(again, key=again.get)


@pytest.mark.parametrize("name", default_or_slow(MODELS, fifth=2))
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
        states.append(without_noise(state_of(model)))
    for (key, value), found in zip(states[0].items(), states[1].values()):
        np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-6, err_msg=key)


@pytest.mark.parametrize("name", default_or_slow(MODELS, fifth=1))
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
    for name in model.default_optimizers():
        assert isinstance(getattr(model, name), keras.optimizers.SGD)


def three_steps(name, **compiled):
    keras.utils.set_random_seed(1)
    model = MODELS[name]()
    compile_with_sgd(model, SGD_RATES.get(name, 0.01), **compiled)
    losses = []
    recorder = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append([*map(float, logs.values())])
    )
    data = dataset(smooth_pictures(24), model, 8)
    model.fit(data, verbose=0, callbacks=[recorder])
    return np.array(losses), model


@pytest.mark.parametrize("name", default_or_slow(MODELS, [], fifth=3))
def test_xla_and_eager_execution_give_the_same(name):
    plain, model = three_steps(name)
    compiled, _ = three_steps(name, jit_compile=True)
    eager, other = three_steps(name, run_eagerly=True)
    assert plain.shape == compiled.shape == eager.shape and len(plain) == 3
    assert np.abs(plain[0] - plain[2]).max() > 0
    np.testing.assert_allclose(compiled, plain, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(eager, plain, rtol=1e-3, atol=1e-3)
    for weight, expected in zip(other.weights, model.weights):
        # A pool holds images, which a generator makes of what differs by a rounding.
        atol = 5e-3 if "image_pool" in weight.path else 1e-4
        np.testing.assert_allclose(weight, expected, rtol=1e-3, atol=atol)


@pytest.mark.parametrize("name", default_or_slow(MODELS, ["gan", "vae"], fifth=0))
def test_several_steps_in_one_execution(name):
    results = []
    for steps in (1, 4):
        keras.utils.set_random_seed(1)
        model = MODELS[name]()
        compile_with_sgd(model, SGD_RATES.get(name, 0.01), steps_per_execution=steps)
        history = model.fit(dataset(smooth_pictures(32), model, 8), verbose=0).history
        results.append((model.get_weights(), history))
    for one, four in zip(results[0][0], results[1][0]):
        np.testing.assert_allclose(four, one, atol=1e-6)
    for log, values in results[0][1].items():
        np.testing.assert_allclose(results[1][1][log], values, rtol=1e-4)


@pytest.mark.parametrize("name", default_or_slow(MODELS, ["gan"], fifth=1))
def test_mixed_bfloat16(name, tmp_path):
    images = smooth_pictures(3)

    def outputs_of(model):
        labels = {"labels": [0, 1, 2]} if model.data.part(Labels) else {}
        if model.makes == "images":
            return generated(model, 3, seed=1)
        if model.makes == "translations":
            return model.translate(sources_of(model, 3))
        if model.makes == "codes":
            return model.log_likelihood(codes_of(images, model), **labels)
        if model.makes == "reconstructions":
            return model.reconstruct(images)
        return model.features(images)

    with dtype_policy("mixed_bfloat16"):
        model = fitted(name)
        logs = model.evaluate(dataset(smooth_pictures(8), model, 8), verbose=0, return_dict=True)
        assert np.isfinite([*logs.values()]).all()
        layers = [each for each in model._flatten_layers() if isinstance(each, keras.layers.Dense)]
        layers += [each for each in model._flatten_layers() if "Conv2D" in type(each).__name__]
        assert any(layer.compute_dtype == "bfloat16" for layer in layers)
        assert {v.dtype for v in model.variables} <= {"float32", "int32", "uint32", "int64"}
        outputs = outputs_of(model)
        assert outputs.dtype == np.float32 and np.isfinite(outputs).all()

        folder = model.export(tmp_path / "exported")
        served = tf.saved_model.load(folder).signatures["serving_default"]
        drawn = {"num_images": tf.constant(3), "seed": tf.constant(1, tf.int64)}
        if model.makes == "images":
            found = served(**drawn)["images"]
            assert np.abs(found.numpy() / 127.5 - 1 - outputs).max() < 0.05
        elif model.makes == "codes":
            found = served(**drawn)["codes"]
            assert found.shape == (3, *model.code_shape) and found.dtype == tf.int32
        else:
            given = sources_of(model, 3) if model.makes == "translations" else images
            results = served(images=tf.constant(given)).values()
            assert all(value.dtype == tf.float32 for value in results)
        model.save(tmp_path / "x.keras")

    # The file says in which precision the model computes, not the process that loads it.
    again = keras.saving.load_model(tmp_path / "x.keras")
    assert keras.config.dtype_policy().name == "float32"
    np.testing.assert_array_equal(outputs_of(again), outputs)


@pytest.mark.parametrize("name", MODELS)
def test_mixed_float16_is_refused_with_the_reason(name):
    with dtype_policy("mixed_float16"):
        with pytest.raises(InputError, match="scales the loss of one optimizer.*mixed_bfloat16"):
            MODELS[name]()


def test_the_default_run_has_a_model_of_every_product():
    """What a default run leaves to -m slow is more of the same kind."""
    every, default = ({MODELS[name].makes for name in names} for names in (MODELS, ONE_OF_A_RULE))
    assert every - default <= {"labels"}  # a step on one network and one loss, as a VAE's
