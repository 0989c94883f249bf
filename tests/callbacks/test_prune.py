"""Pruning: the schedule of the paper, the smallest weights, zeros that stay zero."""

import keras
import numpy as np
import pytest
from cases import SHAPE, dataset, small_gan, small_vq_vae, smooth_pictures

from keras_genimg import VAE, InputError
from keras_genimg.callbacks import Prune, sparsity_of


def kernels_of(network):
    return [np.asarray(w) for w in network.weights if len(w.shape) > 1]


def pruned(epochs=5, callback=None, **arguments):
    """A GAN trained for two steps per epoch."""
    keras.utils.set_random_seed(0)
    gan = small_gan()
    gan.compile()
    callback = callback or Prune(0.75, **{"begin_step": 2, "end_step": 6, "every": 2, **arguments})
    history = gan.fit(smooth_pictures(16), batch_size=8, epochs=epochs, verbose=0, shuffle=False,
                      callbacks=[callback]).history
    return gan, history


def test_the_schedule_is_eq_1():
    prune = Prune(0.8, begin_step=100, end_step=200)
    assert [prune.sparsity_at(step) for step in (0, 100, 200, 999)] == [0, 0, 0.8, 0.8]
    assert prune.sparsity_at(150) == pytest.approx(0.8 * 0.875)


def test_the_smallest_weights_of_each_kernel_become_and_stay_zero():
    start = small_gan()
    gan, history = pruned()
    # Weights are selected at steps 4 and 6; the last reaches the target.
    middle = 0.75 * (1 - 0.5**3)
    np.testing.assert_allclose(history["sparsity"], [0, middle, 0.75, 0.75, 0.75], atol=2e-3)
    for network in (gan.generator, gan.ema_generator):
        for kernel in kernels_of(network):
            assert np.mean(kernel == 0) == pytest.approx(0.75, abs=1 / kernel.size)
    for kernel, ema in zip(kernels_of(gan.generator), kernels_of(gan.ema_generator)):
        np.testing.assert_array_equal(kernel == 0, ema == 0)
    assert sparsity_of(gan.discriminator) < 0.01 and sparsity_of(start.generator) < 0.01
    for network in (gan.generator, gan.ema_generator):
        assert sparsity_of(network) == pytest.approx(0.75, abs=1e-3)


def test_weights_are_selected_by_magnitude():
    seen = {}

    class Watch(Prune):
        def on_train_batch_end(self, batch, logs=None):
            before = kernels_of(self.model.generator)
            super().on_train_batch_end(batch, logs)
            if int(self.optimizer.iterations) == 6:
                seen["pairs"] = list(zip(before, kernels_of(self.model.generator)))

    pruned(epochs=3, callback=Watch(0.5, begin_step=0, end_step=6, every=6))
    for before, after in seen["pairs"]:
        pruned_weights, kept = np.abs(before[after == 0]), np.abs(before[after != 0])
        assert pruned_weights.max() <= kept.min() and pruned_weights.size > 0
        np.testing.assert_array_equal(after[after != 0], before[after != 0])


def test_a_resumed_run_keeps_its_zeros(tmp_path):
    gan, _ = pruned(epochs=2)
    gan.save(tmp_path / "gan.keras")
    again = keras.saving.load_model(tmp_path / "gan.keras")
    zeros = [kernel == 0 for kernel in kernels_of(again.generator)]
    assert sparsity_of(again.generator) > 0.6
    history = again.fit(
        smooth_pictures(16), batch_size=16, verbose=0,
        callbacks=[Prune(0.75, begin_step=2, end_step=40, every=20)],
    ).history
    for kernel, mask in zip(kernels_of(again.generator), zeros):
        np.testing.assert_array_equal(kernel == 0, mask)
    assert history["sparsity"][0] == pytest.approx(0.75 * 0.875, abs=2e-3)


def test_other_networks_and_two_replicas(mirrored):
    with mirrored.scope():
        vae = VAE(SHAPE, 4, networks="mlp", seed=1)
        vae.compile(learning_rate=1e-4)
    prune = Prune(0.5, begin_step=0, end_step=2, every=1, network="decoder")
    history = vae.fit(dataset(smooth_pictures(16), vae, 8), epochs=2, verbose=0, callbacks=[prune])
    assert history.history["sparsity"] == pytest.approx([0.5, 0.5], abs=1e-3)
    assert sparsity_of(vae.encoder) < 0.01
    for weight in vae.decoder.weights:
        copies = [np.asarray(copy) for copy in weight.value.values]
        assert len(copies) == 2
        np.testing.assert_array_equal(*copies)


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"target_sparsity": 1.0}, "target_sparsity must be a number above 0 and below 1."),
        ({"target_sparsity": "half"}, "Received: target_sparsity='half'."),
        ({"begin_step": -1}, "begin_step must be an integer of at least 0. Received"),
        ({"end_step": 5}, "must come after begin_step. Received: begin_step=5, end_step=5."),
        ({"every": 0}, "every must be a positive integer. Received: every=0."),
    ],
    ids=range(5),
)
def test_invalid_arguments_are_refused(arguments, words):
    with pytest.raises(InputError) as caught:
        Prune(**{"target_sparsity": 0.5, "begin_step": 5, "end_step": 9, **arguments})
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_without_the_network():
    model = small_vq_vae()
    model.compile()
    with pytest.raises(InputError, match="a network named 'generator'. Received: VQVAE"):
        model.fit(smooth_pictures(8), verbose=0, callbacks=[Prune(0.5, 0, 9)])
