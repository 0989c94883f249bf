"""Saving, and exporting for use without this package."""

import os

import numpy as np
import tensorflow as tf

from keras_genimg import export
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete

__all__ = ["Exports"]


class Exports:
    """Mixin of a `keras.Model`: one `.keras` file with all state, SavedModel, LiteRT and ONNX."""

    def save(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Saves the whole state of training as one `.keras` file, or nothing.

        The file is written beside its place and moved there when it is complete:
        a full disk or a kill leaves an earlier file as it was.

        Args:
            filepath: path ending in `.keras`.
            overwrite: bool. Whether an earlier file is replaced.
            **kwargs: see `keras.Model.save`.

        Raises:
            InputError: another ending, a file that exists, a disk that is full.
        """
        filepath = os.fspath(filepath)
        if not filepath.endswith(".keras"):
            raise InputError(f"A model is saved to a path ending in .keras. Received: {filepath!r}.")
        if os.path.exists(filepath) and not overwrite:
            raise InputError(f"{filepath} exists; save(..., overwrite=True) replaces it.")
        with replace_when_complete(filepath) as temporary:
            super().save(temporary, **kwargs)

    def save_own_variables(self, store):
        """Saves the model's own variables, and the states of all its seed generators."""
        # Keras keeps no state of seed generators; without it training could not resume
        # as if it had never stopped.
        super().save_own_variables(store)
        for index, generator in enumerate(self._all_seed_generators()):
            store[f"seed_generator_{index}"] = generator.state

    def load_own_variables(self, store):
        """Loads what `save_own_variables` has saved."""
        names = [name for name in store.keys() if name.startswith("seed_generator_")]
        own = {name: store[name] for name in store.keys() if name not in names}
        super().load_own_variables(own)
        for index, generator in enumerate(self._all_seed_generators()):
            name = f"seed_generator_{index}"
            if name in names:
                generator.state.assign(np.asarray(store[name]))

    def _all_seed_generators(self):
        found = {}
        for layer in self._flatten_layers():
            for generator in layer._seed_generators:
                found.setdefault(id(generator), generator)
        return list(found.values())

    def export(self, folder, format="saved_model", precision=None, **kwargs):
        """Writes the trained model for use without this package.

        Args:
            folder: path. A folder for `"saved_model"`, a file for the others.
            format: `"saved_model"` (all signatures), `"litert"` or `"onnx"` (the
                deterministic part: latents to images, or images to images).
            precision: of LiteRT's weights: `"float32"` (the default), `"float16"` or
                `"int8"`, a half and a quarter of the file.

        Returns:
            The path.

        Raises:
            InputError: an unknown format or precision, a place that holds something
                else, a disk that is full, an extra that is not installed.
        """
        writers = {"litert": export.write_litert, "onnx": export.write_onnx}
        if kwargs:  # what Keras's own export takes
            raise InputError(
                f"export takes folder, format and precision. Received: {', '.join(kwargs)}."
            )
        if format not in ("saved_model", *writers):
            raise InputError(
                f"format must be one of saved_model, {', '.join(writers)}. Received: {format!r}."
            )
        if precision is not None and format != "litert":
            raise InputError(
                f"precision goes with format='litert'. Received: precision={precision!r} with "
                f"format={format!r}."
            )
        if format == "saved_model":
            return export.write_saved_model(
                os.fspath(folder), self.signatures(), networks=[self]
            )
        options = {} if precision is None else {"precision": precision}
        return writers[format](os.fspath(folder), *self.deterministic_signature(), **options)

    def signatures(self) -> dict:
        """The SavedModel's signatures, as `export` writes them.

        Returns:
            dict from a name to (function of tensors, list of `tf.TensorSpec`); functions return
            dicts of tensors. `serving_default` makes uint8 images `(num_images, height, width,
            channels)` of `num_images` (int32) and `seed` (int64), `generate` float32 ones in
            [-1, 1]; a model that does not generate has another `serving_default`.
        """
        count = tf.TensorSpec((), tf.int32, name="num_images")
        seed = tf.TensorSpec((), tf.int64, name="seed")

        def generate(num_images, seed):
            return {"images": self.images_from_latents(self.draw_latents(num_images, seed))}

        def generate_by_label(labels, seed):
            latents = self.draw_latents(tf.shape(labels)[0], seed)
            return {"images": self.images_from_latents(latents, labels)}

        def serving_default(num_images, seed):
            if self.generates_by_label:  # the classes in turn: 0, 1, ...
                made = generate_by_label(tf.range(num_images) % self.num_classes, seed)
            else:
                made = generate(num_images, seed)
            levels = tf.clip_by_value(tf.round((made["images"] + 1.0) * 127.5), 0.0, 255.0)
            return {"images": tf.cast(levels, tf.uint8)}

        by_label = (generate_by_label, [self.labels_spec(), seed])
        return {
            "serving_default": (serving_default, [count, seed]),
            "generate": by_label if self.generates_by_label else (generate, [count, seed]),
        }

    def images_spec(self) -> tf.TensorSpec:
        """What a signature takes as this model's images.

        Returns:
            `tf.TensorSpec` `(None, height, width, channels)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.image_shape), tf.float32, name="images")

    def labels_spec(self) -> tf.TensorSpec:
        """What a signature takes as labels.

        Returns:
            `tf.TensorSpec` `(None,)`, int32, named `labels`.
        """
        return tf.TensorSpec((None,), tf.int32, name="labels")

    def deterministic_signature(self):
        """The part without random numbers, which LiteRT and ONNX files hold.

        Returns:
            (function of tensors, list of `tf.TensorSpec`): latents to images, or images to images.

        Raises:
            InputError: a model that has no such part.
        """
        raise InputError(f"{type(self).__name__} has no deterministic part to export.")
