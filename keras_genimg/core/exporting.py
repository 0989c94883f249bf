"""Saving, and exporting for use without this package."""

import os

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import export
from keras_genimg.checks import check_path
from keras_genimg.core.page import page_of
from keras_genimg.core.serving import (
    as_rows,
    count_spec,
    draw_per_label,
    draw_rows,
    png_signature,
    seed_spec,
    to_bytes,
)
from keras_genimg.errors import InputError
from keras_genimg.files import replace_when_complete
from keras_genimg.shipped import load_preset
from keras_genimg.web import write_page

__all__ = ["Exports"]


class Exports:
    """Mixin of a `keras.Model`: saving all state, and export to other formats."""

    def save(self, filepath, overwrite: bool = True, **kwargs) -> None:
        """Saves the whole training state as one `.keras` file, or nothing.

        The file is written to a temporary path and moved into place once complete:
        a full disk or a killed process leaves an earlier file unchanged.

        Args:
            filepath: path ending in `.keras`; or `"hf://USER/NAME"`, to which Keras uploads the
                model with the package huggingface_hub.
            overwrite: bool. Whether an earlier file is replaced.
            **kwargs: see `keras.Model.save`.

        Raises:
            InputError: another extension, a file that exists, a full disk; a name on the hub that
                is none, or no huggingface_hub.
        """
        filepath = check_path("filepath", filepath)
        if filepath.startswith("hf://"):
            if filepath.count("/") != 3:
                raise InputError(f"The hub has models hf://USER/NAME. Received: {filepath}.")
            try:
                super().save(filepath, **kwargs)
            except ImportError as error:  # huggingface_hub, which Keras does not install
                raise InputError(f"{error} Received: {filepath}.") from error
            return
        if not filepath.endswith(".keras"):
            raise InputError(
                "A model is saved to a path ending in .keras, or to hf://USER/NAME. "
                f"Received: {filepath}."
            )
        if os.path.exists(filepath) and not overwrite:
            raise InputError(f"{filepath} exists; save(..., overwrite=True) replaces it.")
        with replace_when_complete(filepath) as temporary:
            super().save(temporary, **kwargs)

    @classmethod
    def from_preset(cls, preset: str) -> keras.Model:
        """A small trained model of this class that comes with the package.

        Args:
            preset: string, one of `keras_genimg.presets()`.

        Returns:
            model of this class, not compiled, see `keras_genimg.load_preset`.

        Raises:
            InputError: an unknown name, a preset of another class, a corrupt file of the package.

        Example:
        >>> ConditionalGAN.from_preset("conditional_gan_glyphs").generate(4, labels="7").shape
        (4, 28, 28, 1)
        """
        model = load_preset(preset)
        if not isinstance(model, cls):
            raise InputError(
                f"{cls.__name__}.from_preset takes a preset of its class; load_preset takes any. "
                f"Received: {preset!r}, a {type(model).__name__}."
            )
        return model

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

    def quantize(self, *args, **kwargs) -> None:
        """Keras's quantization of a model in place, which is refused.

        Args:
            *args, **kwargs: see `keras.Model.quantize`.

        Raises:
            InputError: always.
        """
        raise InputError(
            'quantize cannot be saved with a model: export(format="litert", precision="int8") '
            f"writes a quantized file. Received: quantize of {type(self).__name__}."
        )

    def export(
        self, filepath, format="saved_model", verbose=None, input_signature=None, *,
        precision=None, runtime=None, **kwargs,
    ) -> str:
        """Writes the trained model for use without this package; called as Keras's `export` is.

        Args:
            filepath: path. A folder for `"saved_model"` and `"web"`, a file for the others.
            format: `"saved_model"` or `"tf_saved_model"` (all of `signatures`, and `class_names` of
                a model that has them), `"litert"` or `"onnx"` (the deterministic part: latents to
                images, or images to images), or `"web"` (a page that runs the model in a browser,
                by the signatures `encode`, `decode` and `translate`).
            verbose: bool. Whether to print the path and what it holds.
            input_signature: for LiteRT and ONNX: a `tf.TensorSpec`, `keras.InputSpec` or tensor
                for each input of the deterministic part, to fix sizes that are free, such as the
                batch's.
            precision: of the weights in a LiteRT file: `"float32"` (the default),
                `"float16"` (half the file size) or `"int8"` (a quarter).
            runtime: path, optional. For `"web"`: the folder `dist` of the npm package
                onnxruntime-web, which is copied into the page. By default the page loads it from a
                public content delivery network.

        Returns:
            The path.

        Raises:
            InputError: an unknown format or precision, an `input_signature` that does not fit, a
                path that holds something else, a full disk, an extra that is not installed, a model
                that the format cannot hold, another `runtime`.
        """
        writers = {"litert": export.write_litert, "onnx": export.write_onnx}
        if kwargs:  # what Keras's own export takes besides
            raise InputError(
                "export takes filepath, format, verbose, input_signature, precision and runtime. "
                f"Received: {', '.join(kwargs)}."
            )
        if format not in ("saved_model", "tf_saved_model", *writers, "web"):
            raise InputError(
                f"format must be one of saved_model, {', '.join(writers)}, web. "
                f"Received: {format!r}."
            )
        if precision is not None and format != "litert":
            raise InputError(
                f"precision needs format='litert'. Received: precision={precision!r} with "
                f"format={format!r}."
            )
        if runtime is not None and format != "web":
            raise InputError(
                f"runtime needs format='web'. Received: runtime={runtime!r} with format={format!r}."
            )
        filepath = check_path("filepath", filepath)
        if format in writers:
            fn, specs = self.deterministic_signature()
            specs = specs if input_signature is None else _fixed(specs, input_signature)
            options = {} if precision is None else {"precision": precision}
            path, content = writers[format](filepath, fn, specs, **options), [s.name for s in specs]
        elif input_signature is not None:
            kind = "page" if format == "web" else "SavedModel"
            raise InputError(
                f"input_signature is for litert and onnx; the signatures of a {kind} are fixed. "
                f"Received: input_signature={input_signature!r}."
            )
        elif format == "web":
            content, description = page_of(self)
            path = write_page(filepath, content, description, runtime=runtime)
        else:
            signatures = {**self.signatures(), **self._class_names_signature()}
            path = export.write_saved_model(filepath, signatures, networks=[self])
            content = signatures
        if verbose:
            print(f"{path}: {', '.join(content)}")
        return path

    def _class_names_signature(self):
        names = self.class_names
        return {"class_names": (lambda: {"class_names": tf.constant(names)}, [])} if names else {}

    def signatures(self) -> dict:
        """The SavedModel's signatures, as `export` writes them.

        Returns:
            dict from a name to (function of tensors, list of `tf.TensorSpec`); functions return
            dicts of tensors. `serving_default` maps `num_images` (int32) and `seed` (int64) to
            uint8 images `(num_images, height, width, channels)`, and `generate` to float32 images
            in [-1, 1]. Both inputs may also be vectors, one number per row of a request, whose
            images follow each other. `serving_png` maps `seed` `(n,)`, and labels, to `n` PNGs.
            The `serving_default` of an autoencoder of codes is `reconstruct`, before and after it
            has a prior; other models that do not generate have their own.
        """

        def generate(num_images, seed):
            latents = draw_rows(self.draw_latents, num_images, seed)
            return {"images": self.images_from_latents(latents)}

        def generate_by_label(labels, seed):
            latents = draw_per_label(self.draw_latents, labels, seed)
            return {"images": self.images_from_latents(latents, labels)}

        def serving_default(num_images, seed):
            counts, seeds = as_rows(num_images, seed)
            labels = []
            if self.generates_by_label:  # the classes in turn: 0, 1, ..., anew in each row
                labels = [tf.ragged.range(counts).flat_values % self.num_classes]
            latents = draw_rows(self.draw_latents, counts, seeds)
            return {"images": to_bytes(self.images_from_latents(latents, *labels))}

        def one_per_seed(*given):
            *labels, seeds = given
            latents = draw_rows(self.draw_latents, tf.ones_like(seeds, tf.int32), seeds)
            return self.images_from_latents(latents, *labels)

        counted, labels = [count_spec(), seed_spec()], [self.labels_spec()]
        given = labels if self.generates_by_label else []
        by_label = generate_by_label, [*labels, seed_spec()]
        return {
            "serving_default": (serving_default, counted),
            "serving_png": png_signature(
                one_per_seed, [*given, tf.TensorSpec((None,), tf.int64, name="seed")]
            ),
            "generate": by_label if self.generates_by_label else (generate, counted),
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


def _fixed(specs, input_signature):
    """The specs of the deterministic part, with the sizes that a user's `input_signature` fixes."""
    given = keras.tree.flatten(input_signature)
    shapes = [getattr(each, "shape", None) for each in given]  # None stands for any
    dtypes = [getattr(each, "dtype", None) for each in given]
    if len(given) != len(specs) or not all(
        spec.shape.is_compatible_with(shape) and dtype in (None, spec.dtype)
        for spec, shape, dtype in zip(specs, shapes, dtypes)
    ):
        wanted = ", ".join(f"{spec.name} {spec.dtype.name} {tuple(spec.shape)}" for spec in specs)
        raise InputError(
            f"input_signature must fit the inputs of the deterministic part, {wanted}. "
            f"Received: {input_signature!r}."
        )
    return [
        tf.TensorSpec(spec.shape.merge_with(shape), spec.dtype, spec.name)
        for spec, shape in zip(specs, shapes)
    ]
