"""Image sets: built in, from tensorflow-datasets, or from folders of images."""

from keras_genimg.data.images import DataInfo
from keras_genimg.data.packing import pack_codes, unpack_codes
from keras_genimg.data.pairs import load_pairs
from keras_genimg.data.pipeline import data_info, load
from keras_genimg.data.transforms.binarize import binarize, binarized, check_binarize
from keras_genimg.data.transforms.corruption import (
    check_corruption,
    corrupt,
    corrupted_pairs,
    corrupted_shape,
)

__all__ = [
    "DataInfo", "binarize", "binarized", "check_binarize", "check_corruption", "corrupt",
    "corrupted_pairs", "corrupted_shape", "data_info", "load", "load_pairs", "pack_codes",
    "unpack_codes",
]  # fmt: skip

# The names of version 0.1.
damage = corrupt
damaged_pairs = corrupted_pairs
damaged_shape = corrupted_shape
check_damage = check_corruption
