"""Image sets: built in, from tensorflow-datasets, and from folders."""

__all__ = []
