"""Image sets: built in, from tensorflow-datasets, or from folders of pictures."""

from keras_genimg.data.augment import check_policy, diff_augment
from keras_genimg.data.binarize import binarize, binarized, check_binarize
from keras_genimg.data.damage import check_damage, damage, damaged_pairs, damaged_shape
from keras_genimg.data.packing import pack_codes, unpack_codes
from keras_genimg.data.pictures import DataInfo
from keras_genimg.data.pipeline import data_info, load

__all__ = [
    "DataInfo",
    "binarize",
    "binarized",
    "check_binarize",
    "check_damage",
    "check_policy",
    "damage",
    "damaged_pairs",
    "damaged_shape",
    "data_info",
    "diff_augment",
    "load",
    "pack_codes",
    "unpack_codes",
]
