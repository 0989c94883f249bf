"""Saving, and exporting for use without this package."""

import os

import numpy as np
import tensorflow as tf

from keras_genimg import export
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete

__all__ = ["Exports"]


class Exports:
    """Mixin of a `keras.Model`: saving all state, and export to SavedModel, LiteRT and ONNX."""

    def save(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Saves the whole training state as one `.keras` file, or nothing.

        The file is written to a temporary path and moved into place once complete:
        a full disk or a killed process leaves an earlier file unchanged.

        Args:
            filepath: path ending in `.keras`.
            overwrite: bool. Whether an earlier file is replaced.
            **kwargs: see `keras.Model.save`.

        Raises:
            InputError: another extension, a file that exists, a full disk.
        """
        filepath = os.fspath(filepath)
        if not filepath.endswith(".keras"):
            raise InputError(f"A model is saved to a path ending in .keras. Received: {filepath}.")
        if os.path.exists(filepath) and not overwrite:
            raise InputError(f"{filepath} exists; save(..., overwrite=True) replaces it.")
        with replace_when_complete(filepath) as temporary:
            super().save(temporary, **kwargs)

    def save_own_variables(self, store):
        """Saves the model's own variables, and the states of all its seed generators."""
        # Keras does not save the state of seed generators; without it a resumed run would
        # differ from an uninterrupted one.
        super().save_own_variables(store)
        for index, generator in enumerate(self._all_seed_generators()):
            store[f"seed_generator_{index}"] = generator.state

    def load_own_variables(self, store):
        """Loads what `save_own_variables` saved."""
        names = [name for name in store.keys() if name.startswith("seed_generator_")]
        own = {name: store[name] for name in store.keys() if name not in names}
        super().load_own_variables(own)
        for index, generator in enumerate(self._all_seed_generators()):
            name = f"seed_generator_{index}"
            if name in names:
                generator.state.assign(np.asarray(store[name]))

    def _all_seed_generators(self):
        layers = self._flatten_layers()
        return list(dict.fromkeys(each for layer in layers for each in layer._seed_generators))

    def export(self, folder, format="saved_model", precision=None, **kwargs) -> str:
        """Writes the trained model for use without this package.

        Args:
            folder: path. A folder for `"saved_model"`, a file for the others.
            format: `"saved_model"` (all signatures), `"litert"` or `"onnx"` (the
                deterministic part: latents to images, or images to images).
            precision: of the weights in a LiteRT file: `"float32"` (the default),
                `"float16"` (half the file size) or `"int8"` (a quarter).

        Returns:
            The path.

        Raises:
            InputError: an unknown format or precision, a path that holds something
                else, a full disk, an extra that is not installed.
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
                f"precision needs format='litert'. Received: precision={precision!r} with "
                f"format={format!r}."
            )
        if format == "saved_model":
            return export.write_saved_model(os.fspath(folder), self.signatures(), networks=[self])
        options = {} if precision is None else {"precision": precision}
        return writers[format](os.fspath(folder), *self.deterministic_signature(), **options)

    def signatures(self) -> dict:
        """The SavedModel's signatures, as `export` writes them.

        Returns:
            dict from a name to (function of tensors, list of `tf.TensorSpec`); functions return
            dicts of tensors. `serving_default` maps `num_images` (int32) and `seed` (int64) to
            uint8 images `(num_images, height, width, channels)`, and `generate` to float32 images
            in [-1, 1]. A model that does not generate has another `serving_default`.
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
        """The spec of images in signatures.

        Returns:
            `tf.TensorSpec` `(None, height, width, channels)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.image_shape), tf.float32, name="images")

    def labels_spec(self) -> tf.TensorSpec:
        """The spec of labels in signatures.

        Returns:
            `tf.TensorSpec` `(None,)`, int32, named `labels`.
        """
        return tf.TensorSpec((None,), tf.int32, name="labels")

    def deterministic_signature(self) -> tuple:
        """The part without random numbers, which LiteRT and ONNX files hold.

        Returns:
            (function of tensors, list of `tf.TensorSpec`): latents to images, or images to images.

        Raises:
            InputError: a model that has no such part.
        """
        raise InputError(f"{type(self).__name__} has no deterministic part to export.")
