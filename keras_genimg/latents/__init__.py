"""Walks among the latents of a trained model, and the way back from a picture to its latent.

For every model that makes pictures of latents `(n, latent_dim)`: the GAN family and the VAE.
The functions on latents give NumPy arrays; `decode` makes the pictures of any of them, and
`plotting.image_grid` draws what it makes, a walk a row.
"""

from keras_genimg.latents.inversion import Inversion, invert
from keras_genimg.latents.walks import attribute_direction, decode, interpolate, traverse

__all__ = ["Inversion", "attribute_direction", "decode", "interpolate", "invert", "traverse"]
