"""What the page of a model computes, and the numbers that it is drawn from."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg.errors import InputError

__all__ = ["directions_of_most_change", "page_of"]

NUM_DIRECTIONS = 8


def page_of(model) -> tuple:
    """The functions and the description of a model's page.

    The page follows from the model's signatures: with `translate` it shows translations; with
    `decode` of latent vectors, samples; with `encode` and `decode`, reconstructions.

    Args:
        model: an `ImageModel`.

    Returns:
        functions: dict from `"decode"`, `"encode"` or `"translate"` to (function of tensors, list
            of `tf.TensorSpec`).
        description: dict that JSON can hold. `functions` are names; `model`, `about` and `paper`
            are strings; `shape` is `[height, width, channels]` of the images that the page takes;
            `classes` are names, or None. `latents`, of a model with latent vectors, has `dim`,
            `noise`, `directions` `[[dim numbers], ...]` and `mixture`, see `mixture_of`. `codes`,
            of a model with codes, lists for each grid its input's `name` and the `colours` of its
            codes.

    Raises:
        InputError: a model whose signatures no page shows.
    """
    signatures = model.signatures()
    functions = {name: signatures[name] for name in ("encode", "decode") if name in signatures}
    specs = functions["decode"][1] if "decode" in functions else []
    shape, latents, codes = model.image_shape, None, None
    if "translate" in signatures:
        functions = {"translate": model.deterministic_signature()}
        shape = functions["translate"][1][0].shape[1:]
    elif specs and specs[0].dtype.is_integer:
        books = model.codebooks().values()
        codes = [
            {"name": spec.name, "colours": colours_of(book)} for spec, book in zip(specs, books)
        ]
    elif specs and specs[0].shape.rank == 2:  # not the paths of clips
        latents = {
            "dim": model.latent_dim,
            "noise": getattr(model, "noise", "normal"),
            "directions": directions_of_most_change(model).round(6).tolist(),
            "mixture": mixture_of(getattr(model, "prior", None)),
        }
    else:
        raise InputError(
            "A page shows models that decode latent vectors or codes to images, or translate "
            f"images. Received: {type(model).__name__}."
        )
    classes = None
    if "labels" in [spec.name for spec in specs]:
        classes = list(model.class_names or map(str, range(model.num_classes)))
    return functions, {
        "functions": list(functions), "model": type(model).__name__, "about": model.about,
        "paper": model.paper, "shape": list(shape), "classes": classes, "latents": latents,
        "codes": codes,
    }  # fmt: skip


def directions_of_most_change(model, count: int = NUM_DIRECTIONS) -> np.ndarray:
    """The directions of z along which the outputs of the first dense layer change most.

    They are the eigenvectors of K K^T with the largest eigenvalues, for the layer's kernel K:
    for z ~ N(0, I) the principal components of the layer's outputs zK, seen in z.

    Args:
        model: a model with a `latent_dim`, and a generator or a decoder.
        count: int. Number of directions.

    Returns:
        NumPy float64 array `(min(count, latent_dim), latent_dim)` of rows of length 1, the
        strongest first; no rows if no dense layer takes z.

    Reference: Shen and Zhou (2021), https://arxiv.org/abs/2007.06600; Härkönen et al. (2020),
        https://arxiv.org/abs/2004.02546
    """
    dim = model.latent_dim
    networks = (getattr(model, name, None) for name in ("ema_generator", "generator", "decoder"))
    network = next((each for each in networks if each is not None), None)
    # The one-hot class follows z where the two are one vector.
    sizes = {dim, dim + (model.num_classes or 0)}
    for layer in network._flatten_layers() if network is not None else ():
        if isinstance(layer, keras.layers.Dense) and layer.kernel.shape[0] in sizes:
            kernel = np.array(layer.kernel, "float64")[:dim]  # (dim, units)
            _, vectors = np.linalg.eigh(kernel @ kernel.T)  # ascending; vectors are columns
            directions = vectors.T[::-1][:count]
            largest = np.abs(directions).argmax(axis=1)[:, None]
            return directions * np.sign(np.take_along_axis(directions, largest, axis=1))
    return np.zeros((0, dim))


def mixture_of(prior) -> dict | None:
    """The numbers of a `GaussianMixture`, which a VAE with such a prior draws its latents from.

    Args:
        prior: `layers.GaussianMixture`, or None.

    Returns:
        dict of lists: `shares` `(k,)`, `means` `(k, dim)` and `factors` `(k, dim, dim)`; None for
        None.
    """
    if prior is None:
        return None
    names = ("shares", "means", "factors")
    return {name: np.array(getattr(prior, name), "float64").round(6).tolist() for name in names}


def colours_of(quantizer) -> list:
    """A colour for each code: red, green and blue are the codebook's first principal components.

    Args:
        quantizer: `layers.VectorQuantizer` or another with `num_embeddings` and `decode`.

    Returns:
        list of `num_embeddings` lists of three ints from 0 to 255. Codes with similar vectors have
        similar colours.
    """
    codes = tf.range(quantizer.num_embeddings)[:, None, None]  # (K, 1, 1)
    vectors = np.array(quantizer.decode(codes), "float64")[:, 0, 0]  # (K, D)
    vectors -= vectors.mean(axis=0)
    _, _, components = np.linalg.svd(vectors, full_matrices=False)
    values = np.zeros((len(vectors), 3))
    values[:, : len(components)] = vectors @ components[:3].T  # (K, D) -> (K, up to 3)
    spread = np.abs(values).max(axis=0)
    return np.rint(127.5 + 127.5 * values / np.where(spread > 0, spread, 1.0)).astype(int).tolist()
