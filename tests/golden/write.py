"""Writes golden files: small saved models, and what they compute.

    python tests/golden/write.py FOLDER             # all
    python tests/golden/write.py FOLDER NAME ...    # what is new since the last version

Run it once a version, in a folder of that version's name. Files that are there stay as they are
for good: tests/test_golden.py loads them with whatever the package has become.

Weights and optimizer states are one tile of random numbers, repeated, so that a file compresses to
some kilobytes; a tile has a prime length, so that no two rows of a kernel are alike.
"""

import os
import pathlib
import sys
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf
from cases import (
    MODELS,
    SHAPE,
    dataset,
    fitting,
    small_conditional_gan,
    small_gan,
    small_vae,
    small_vq_gan,
    small_vq_vae,
    small_vq_vae2,
    smooth_pictures,
)

import keras_genimg
from keras_genimg.core import AutoregressiveModel, Labels

TILE = np.round(np.random.default_rng(0).normal(size=1021) * 4).astype("float32") / 4


def custom_gan():
    generator = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(256, "tanh"),
         keras.layers.Reshape(SHAPE)]
    )
    discriminator = keras.Sequential(
        [keras.Input(SHAPE), keras_genimg.layers.SpectralNormalization(keras.layers.Conv2D(4, 3)),
         keras.layers.Flatten(), keras.layers.Dropout(0.1), keras.layers.Dense(1)]
    )
    return small_gan(generator=generator, discriminator=discriminator)


def small_networks():
    encoder = keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(8, 4, 4)])
    decoder = keras.Sequential([keras.Input((4, 4, 8)), keras.layers.Conv2DTranspose(1, 4, 4)])
    return {"encoder": encoder, "decoder": decoder}


def content_network():
    return keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(4, 3, activation="relu")])


def with_prior(model, prior=None, **fit):
    """A model with a prior over its codes that has taken a step."""
    labels = np.arange(8) % 4 if prior is not None and prior.data.part(Labels) else None
    given = {} if prior is None else {"prior": prior}
    model.fit_prior(smooth_pictures(8), labels, batch_size=8, verbose=0, **given, **fit)
    return model


def vae_with_mixture():
    model = small_vae(networks="mlp", network_options={"units": [32, 16]})
    model.fit_prior(smooth_pictures(64), num_components=2)
    return model


def pixel_cnn_prior():
    return keras_genimg.PixelCNN(code_shape=(4, 4), num_embeddings=16, filters=8, layers=2, seed=1)


def transformer_prior():
    return keras_genimg.CodeTransformer(
        (4, 4), 16, features=8, layers=1, num_heads=2, num_classes=4, seed=1
    )


def two_priors():
    model = small_vq_vae2()
    options = {"num_embeddings": 16, "filters": 8, "layers": 1, "seed": 1}
    top = keras_genimg.PixelCNN(code_shape=(2, 2), **options)
    bottom = keras_genimg.PixelCNN(
        code_shape=(4, 4), condition_shape=(2, 2), condition_embeddings=16, **options
    )
    model.fit_prior(smooth_pictures(8), None, top, bottom, batch_size=8, verbose=0)
    return model


CASES = {
    **MODELS,
    "gan_custom": custom_gan,
    "gan_augmented": small_gan.with_arguments(
        augment="color,translation", r1_weight=0.5, loss="relativistic_average"
    ),
    "gan_mlp": small_gan.with_arguments(
        networks="mlp", loss="hinge", noise="uniform", ema_decay=None
    ),
    "gan_resnet": small_gan.with_arguments(networks="resnet"),
    "conditional_gan_plain": small_conditional_gan.with_arguments(classifier_weight=0.0),
    # Up to version 0.1 this was an argument of VAE.
    "vae_importance": MODELS["iwae"].with_arguments(
        networks="mlp", network_options={"units": [16]}
    ),
    "vae_residual": small_vae.with_arguments(
        networks="residual", likelihood="discretized_logistic", free_bits=0.1, beta=0.5,
        network_options={"filters": 4, "widest": 8, "blocks": 1, "units": 8},
    ),
    "vae_mixture": vae_with_mixture,
    "vq_vae_levels": small_vq_vae.with_arguments(levels=(3, 3, 3)),
    "vq_vae_rotation": small_vq_vae.with_arguments(gradient="rotation", networks="local"),
    "vq_vae_custom": lambda: small_vq_vae(ema_decay=None, data_variance=0.5, **small_networks()),
    "vq_vae_prior": lambda: with_prior(small_vq_vae(**small_networks()), pixel_cnn_prior()),
    "vq_vae_class_prior": lambda: with_prior(small_vq_vae(**small_networks()), transformer_prior()),
    "vq_vae2_priors": two_priors,
    "vq_gan_content": lambda: small_vq_gan(
        content_network=content_network(), loss="non_saturating", **small_networks()
    ),
    "super_resolution_gan_content": lambda: keras_genimg.SuperResolutionGAN(
        SHAPE, 4, content_network=content_network(), seed=3
    ),
}


def variables_of(model):
    """Weights and states of optimizers, each once, in the order in which Keras finds them."""
    found = {id(variable): variable for variable in model.variables}
    for layer in model._flatten_layers():
        for name in ("optimizer", "generator_optimizer", "discriminator_optimizer"):
            optimizer = getattr(layer, name, None)
            for variable in () if optimizer is None else optimizer.variables:
                found.setdefault(id(variable), variable)
    return list(found.values())


def fill(model):
    """Gives every float array of the model numbers that compress and still tell it apart."""
    for number, variable in enumerate(variables_of(model)):
        value = np.array(variable)
        if not np.issubdtype(value.dtype, np.floating) or value.size < 16:
            continue
        numbers = np.resize(np.roll(TILE, 7 * number), value.shape)
        path = variable.path
        if any(part in path for part in ("variance", "velocity", "cluster_size", "deviation")):
            variable.assign(1.0 + np.abs(numbers) / 8)
        else:
            fan_in = max(1, value.size // value.shape[-1])
            scale = 2.0 ** -np.round(np.log2(fan_in) / 2)
            variable.assign(np.round(value.mean()) + numbers * scale)


def inputs_of(model):
    """What `evaluate` and the other methods are given."""
    return dataset(smooth_pictures(8, seed=7), model, 4 * model.n_critic)


def outputs_of(model):
    """What a model computes without training: name -> array."""
    images, outputs = smooth_pictures(4, seed=7), {}
    labels = {"labels": np.arange(4) % 4}
    given = labels if model.data.part(Labels) else {}
    if model.makes == "translations":
        outputs["translate"] = model.translate(fitting(images, model.source_shape))
    elif model.makes == "labels":
        outputs["features"], outputs["logits"] = model.features(images), model(images)
    elif isinstance(model, AutoregressiveModel):
        data = next(iter(inputs_of(model)))
        data = data if isinstance(data, tuple) else (data,)
        outputs["log_likelihood"] = model.log_likelihood(*map(np.asarray, data))
        generate = model.generate_codes if model.makes == "codes" else model.generate
        outputs[model.makes] = generate(4, **given, seed=5)
    else:
        if hasattr(model, "encode"):
            codes = [] if given else keras.tree.flatten(model.encode(images))
            outputs |= {f"encode_{index}": grid for index, grid in enumerate(codes)}
            outputs["reconstruct"] = model.reconstruct(images, **given)
        if model.makes == "images" or model.held_priors():
            given = labels if model.generates_by_label else {}
            outputs["generate"] = model.generate(4, **given, seed=5)
    return {name: np.asarray(array) for name, array in outputs.items()}


def state_of(model):
    """What is not seen in outputs: seeds, counts and sums of every variable, in order."""
    variables = [
        v for v in variables_of(model) if not any(m in v.path for m in ("log_means", "codes_used"))
    ]
    return {
        "count": np.array(sum(np.size(v) for v in variables)),
        "sums": np.sort([float(np.abs(np.array(v, "float64")).sum()) for v in variables]),
    }


def compress(path):
    """Writes the archive again, compressed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_LZMA)


def main(folder, *names):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    for name in names or CASES:
        make = CASES[name]
        keras.utils.set_random_seed(1)
        model = make()
        model.compile()
        model.fit(dataset(smooth_pictures(8), model, 8), verbose=0)
        fill(model)
        model.save(folder / f"{name}.keras")
        compress(folder / f"{name}.keras")
        outputs = {f"output/{key}": value for key, value in outputs_of(model).items()}
        state = {f"state/{key}": value for key, value in state_of(model).items()}
        losses = model.evaluate(inputs_of(model), verbose=0, return_dict=True)
        losses = {f"loss/{key}": np.array(value) for key, value in losses.items()}
        np.savez_compressed(folder / f"{name}.npz", **outputs, **state, **losses)
        sizes = {key: [float(f(v)) for f in (np.min, np.max, np.std)] for key, v in outputs.items()}
        print(name, (folder / f"{name}.keras").stat().st_size, sizes, flush=True)
    if names:
        return
    keras.utils.set_random_seed(1)
    model = custom_gan()
    model.export(folder / "saved_model")
    served = tf.saved_model.load(folder / "saved_model").signatures
    made = served["serving_default"](num_images=tf.constant(4), seed=tf.constant(5, tf.int64))
    np.savez_compressed(folder / "saved_model.npz", images=made["images"])


if __name__ == "__main__":
    main(*sys.argv[1:])
