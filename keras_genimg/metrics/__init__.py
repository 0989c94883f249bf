"""Metrics: how good the pictures are, and how much of a model is in use."""

from keras_genimg.metrics.codebook_usage import CodesUsed, codebook_perplexity

__all__ = ["CodesUsed", "codebook_perplexity"]
