"""VQGAN at the sizes that it is made for: 8x8 codes of 64x64 pixels, 16x16 codes of 256x256."""

import pytest
from matrix import python

TRAIN_AND_SERVE = """
import json, sys
import keras
import numpy as np
import tensorflow as tf
tf.config.experimental.enable_op_determinism()
from cases import smooth_pictures
from keras_genimg import CodeTransformer, VQGAN
from matrix import state_of

folder, size, downsampling, networks = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
side = size // downsampling
images = smooth_pictures(4, size, 3)

def trained(*parts):
    keras.utils.set_random_seed(1)
    model = VQGAN(
        (size, size, 3), 16, 4, downsampling=downsampling, networks=networks,
        network_options={"filters": 8, "blocks": 1}, content_network="cifar10",
        adversarial_start_step=2, seed=3)
    model.compile()
    for number, epochs in enumerate(parts):
        if number:
            model.save(folder + "/model.keras")
            keras.utils.set_random_seed(99)
            model = keras.saving.load_model(folder + "/model.keras")
        # Two steps an epoch: the discriminator comes in with the second epoch.
        logs = model.fit(images, batch_size=2, epochs=epochs, shuffle=False, verbose=0).history
        states.append(state_of(model))
    return model, {name: values[-1] for name, values in logs.items()}

states = []
model, logs = trained(3)
model, other_logs = trained(1, 2)
whole, first, second = states
prior = CodeTransformer((side, side), 16, features=8, layers=1, num_heads=2, seed=1)
model.fit_prior(images, prior=prior, epochs=1, verbose=0)
made, reconstructed = model.generate(2, seed=7), model.reconstruct(images)
model.export(folder + "/served")
served = tf.saved_model.load(folder + "/served").signatures
found = served["generate"](num_images=tf.constant(2), seed=tf.constant(7, tf.int64))["images"]
again = served["reconstruct"](images=tf.constant(images))["images"]
print(json.dumps({
    "differs": [key for (key, a), b in zip(whole.items(), second.values(), strict=True)
                if a.tobytes() != b.tobytes()],
    "moved": sum((a != b).any().item() for a, b in zip(first.values(), second.values())),
    "logs": [logs, other_logs],
    "codes": list(model.encode(images).shape),
    "generated": [list(made.shape), float(np.abs(found - made).max()), float(made.std())],
    "reconstructed": float(np.abs(again - reconstructed).max()),
}))
"""


@pytest.mark.parametrize(
    "size, downsampling, networks",
    [
        pytest.param(64, 8, "attention", marks=pytest.mark.slow),
        pytest.param(64, 8, "residual", marks=pytest.mark.full),
        pytest.param(256, 16, "attention", marks=pytest.mark.full),
    ],
)
def test_it_trains_resumes_to_the_bit_and_is_served(size, downsampling, networks, tmp_path):
    found = python(TRAIN_AND_SERVE, tmp_path, size, downsampling, networks)
    side = size // downsampling
    assert found["codes"] == [4, side, side]
    assert found["differs"] == [] and found["moved"] > 50
    logs, other_logs = found["logs"]
    assert logs == other_logs
    assert logs["adaptive_weight"] > 0 and logs["perceptual_loss"] > 0
    shape, difference, spread = found["generated"]
    assert shape == [2, size, size, 3] and difference < 1e-4 and spread > 0
    assert found["reconstructed"] < 1e-4
