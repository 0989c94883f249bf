"""Random changes of images: binarisation and corruption."""

__all__ = []
