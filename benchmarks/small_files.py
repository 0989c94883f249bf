"""Trained models as small files that every supported version of Keras reads."""

import inspect
import io
import json
import zipfile

import h5py
import keras
import numpy as np


def rounded(values, bits):
    """float32 values with so many significant bits, the others 0: they compress.

    A float32 has 24 significant bits, a float16 11. Integers stay as they are.
    """
    drop, values = 24 - bits, np.asarray(values)
    if not drop or values.dtype != "float32":
        return values
    words = values.reshape(-1).view("uint32").astype("uint64")
    words = (words + (1 << (drop - 1))) >> drop << drop
    return words.astype("uint32").view("float32").reshape(values.shape)


def write_small(model, path, bits, priors=()):
    """Saves a model that is not compiled, with rounded (also in place) and compressed weights.

    Those of `priors` that it holds are not rounded: a rounded probability may change a sample.
    """
    exact = [prior.get_weights() for prior in priors]
    model.set_weights([rounded(weight, bits) for weight in model.get_weights()])
    for prior, weights in zip(priors, exact):
        prior.set_weights(weights)
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["config.json"] = json.dumps(portable(json.loads(contents["config.json"])))
    contents["model.weights.h5"] = compressed(contents["model.weights.h5"])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def portable(config):
    """The config of a model, without what earlier versions of Keras do not know.

    Keras writes down the arguments of every layer, new ones too: here those with their defaults are
    left out, and initializers, which a model with weights never uses, are `Zeros`.
    """
    if isinstance(config, list):
        return [portable(each) for each in config]
    if not isinstance(config, dict):
        return config
    config = {key: portable(each) for key, each in config.items()}
    if config.get("module") == "keras.initializers":
        return {**config, "class_name": "Zeros", "config": {}}
    if config.get("module") == "keras.layers":
        arguments = inspect.signature(getattr(keras.layers, config["class_name"])).parameters
        config["config"] = {
            name: value
            for name, value in config["config"].items()
            if name not in arguments or value != arguments[name].default
        }
    return config


def compressed(weights):
    """A file of weights in HDF5, its bytes grouped by their place in a number, and deflated."""
    found = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as source, h5py.File(found, "w") as target:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                target.require_group(name)
            elif item.size > 1000:  # in one piece, which is an eighth smaller than HDF5's chunks
                target.create_dataset(
                    name, data=item, chunks=item.shape, shuffle=True,
                    compression="gzip", compression_opts=9,
                )  # fmt: skip
            else:
                target.create_dataset(name, data=item)
            target[name].attrs.update(item.attrs)

        target.attrs.update(source.attrs)
        source.visititems(copy)
    return found.getvalue()
