"""Interpolation, traversal and inversion in the latent space of a trained model.

For every model that generates images from latents `(n, latent_dim)`: the GANs and the VAEs.
Functions of latents return NumPy arrays, `decode` generates their images, and
`plotting.image_grid` shows them, one interpolation per row.
"""

from keras_genimg.latents.inversion import Inversion, invert
from keras_genimg.latents.walks import attribute_direction, decode, interpolate, traverse

__all__ = ["Inversion", "attribute_direction", "decode", "interpolate", "invert", "traverse"]
