"""Many models in one notebook, and no warning that is about none of them."""

import logging

import numpy as np
import tensorflow as tf

import keras_genimg as kg


def test_several_models_of_a_class_do_not_warn_of_tracing():
    warned = []
    handler = logging.Handler()
    handler.emit = lambda record: warned.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        for _ in range(4):  # TensorFlow counts a function's last calls over all models
            model = kg.VAE(image_shape=(28, 28, 1), latent_dim=2, networks="mlp")
            for number in (1, 2, 3):
                model.encode(np.zeros((number, 28, 28, 1), "float32"))
    finally:
        tf.get_logger().removeHandler(handler)
    assert not warned
