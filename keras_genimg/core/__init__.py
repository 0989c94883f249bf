"""What models share and no paper describes."""

from keras_genimg.core.adversarial import (
    AdversarialModel,
    LatentGAN,
    images_of_update,
    mean_scores,
    update_ema,
)
from keras_genimg.core.arguments import VERSION, argument_names, dtype_policy
from keras_genimg.core.autoregressive import AutoregressiveModel
from keras_genimg.core.codes import CodeModel
from keras_genimg.core.custom_networks import (
    build_network,
    check_network_options,
    check_no_batch_normalization,
    given_options,
)
from keras_genimg.core.data_specs import Clips, Codes, DataSpec, Images, Labels, Pairs
from keras_genimg.core.generating import latent_seed
from keras_genimg.core.image_model import ImageModel
from keras_genimg.core.latent_variable import LatentVariableModel, log_ratio
from keras_genimg.core.optimizer_pair import adam_pair
from keras_genimg.core.priors import codes_and_labels, fit_frozen, history_of
from keras_genimg.core.sampling import SamplesLogits
from keras_genimg.core.translation import TranslationModel

__all__ = [
    "VERSION", "AdversarialModel", "AutoregressiveModel", "Clips", "CodeModel", "Codes", "DataSpec",
    "ImageModel", "Images", "Labels", "LatentGAN", "LatentVariableModel", "Pairs", "SamplesLogits",
    "TranslationModel", "adam_pair", "argument_names", "build_network", "check_network_options",
    "check_no_batch_normalization", "codes_and_labels", "dtype_policy", "fit_frozen",
    "given_options", "history_of", "images_of_update", "latent_seed", "log_ratio", "mean_scores",
    "update_ema",
]  # fmt: skip
