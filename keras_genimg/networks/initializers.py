"""Initial weights of the networks.

Every call makes a fresh object: one that several layers share would give layers of the same shape
the same weights.
"""

import keras

__all__ = ["glorot_uniform", "he_normal", "normal"]


def normal() -> keras.initializers.Initializer:
    """N(0, 0.02^2), for GANs on images and for transformers.

    Returns:
        `keras.initializers.RandomNormal`.

    Reference: Radford et al. (2016), section 4, https://arxiv.org/abs/1511.06434; Isola et al.
        (2017), section 6.2, https://arxiv.org/abs/1611.07004; Zhu et al. (2017), section 7.1,
        https://arxiv.org/abs/1703.10593; the code of GPT-2, https://github.com/openai/gpt-2
    """
    return keras.initializers.RandomNormal(stddev=0.02)


def glorot_uniform(scale: float = 1.0) -> keras.initializers.Initializer:
    """Uniform weights of variance `scale` times 2 / (fan in + fan out), for residual GANs.

    Args:
        scale: float. 2 on a residual path in the code of Miyato et al., 1 elsewhere.

    Returns:
        `keras.initializers.VarianceScaling`.

    Reference: Glorot and Bengio (2010), Eq. 16; the code of Miyato et al. (2018),
        https://github.com/pfnet-research/sngan_projection
    """
    return keras.initializers.VarianceScaling(scale, mode="fan_avg", distribution="uniform")


def he_normal() -> keras.initializers.Initializer:
    """Normal weights of variance 2 / (fan in), for residual blocks without normalisation.

    Returns:
        `keras.initializers.HeNormal`.

    Reference: He et al. (2015), section 2.2, https://arxiv.org/abs/1502.01852
    """
    return keras.initializers.HeNormal()
