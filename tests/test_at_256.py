"""A step at 256x256, where colour goes on a GPU: docs/colour.md."""

import keras
import numpy as np
import pytest

import keras_genimg as kg

SHAPE = (256, 256, 3)


def efficientnet():
    pixels = keras.layers.Rescaling(127.5, 127.5)(keras.Input(SHAPE))
    return keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_tensor=pixels
    )


@pytest.mark.full
@pytest.mark.parametrize(
    "make, labels",
    [
        (lambda: kg.GAN(SHAPE, 8, seed=0), None),
        (lambda: kg.ConditionalGAN(SHAPE, 3, 8, seed=0), np.array([0, 2])),
        (lambda: kg.ProjectedGAN(SHAPE, 8, features=efficientnet(), seed=0), None),
    ],
    ids=["gan", "conditional_gan", "projected_gan"],
)
def test_a_step(make, labels):
    model = make()
    model.compile()
    images = np.random.default_rng(0).uniform(-1, 1, (2, *SHAPE)).astype("float32")
    before = [np.array(weight) for weight in model.generator.trainable_variables]
    logs = model.fit(images, labels, batch_size=2, verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    assert all((before != after).any() for before, after in
               zip(before, map(np.array, model.generator.trainable_variables)))  # fmt: skip
    assert model.generate(2, seed=1, verbose=0).shape == (2, *SHAPE)
