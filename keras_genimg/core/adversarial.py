"""What adversarial models share: two optimizers, noise, and an EMA copy of the generator."""

import functools
import os

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_choice, check_count, check_number, is_number
from keras_genimg.core.arguments import dtype_policy
from keras_genimg.core.decoding import DecodesLatents
from keras_genimg.core.generating import latent_seed
from keras_genimg.core.image_model import ImageModel
from keras_genimg.core.optimizer_pair import OptimizerPair
from keras_genimg.errors import InputError
from keras_genimg.layers import DiffAugment
from keras_genimg.networks import feature_maps
from keras_genimg.placement import device_of, run_on, scope
from keras_genimg.precision import at_least_float32

__all__ = [
    "AdversarialModel", "LatentGAN", "ema_copy", "images_of_update", "mean_scores",
    "update_ema",
]

NOISES = {
    "normal": distribution.random_normal,
    "uniform": functools.partial(distribution.random_uniform, low=-1.0, high=1.0),
    "truncated_normal": distribution.random_truncated_normal,
}


class AdversarialModel(OptimizerPair, ImageModel):
    """A model with a generator side and a discriminator side, each with its own optimizer.

    Subclasses with other networks than `generator` and `discriminator` list those that each
    optimizer updates in `optimized_networks`.

    Args:
        image_shape: tuple (height, width, channels).
        seed: int, optional. Makes the training noise reproducible.
    """

    def __init__(self, image_shape, seed=None, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.devices = {}  # "generator" and "discriminator" -> device or None

    def make_network(self, role: str, custom, default, takes, makes=None, side=None) -> keras.Layer:
        """See `ImageModel.make_network`; the network is created on the device of its side.

        Args:
            role, custom, default, takes, makes: see `ImageModel.make_network`.
            side: `"generator"` or `"discriminator"`, whose device it is placed on; by default
                `"discriminator"` if the role contains that word.

        Returns:
            The network, built.
        """
        side = side or ("discriminator" if "discriminator" in role else "generator")
        self.devices[side] = device_of(side)  # None outside `placement.on_devices`
        with scope(self.devices[side]):
            network = super().make_network(role, custom, default, takes, makes)
        run_on(self.devices[side], network)
        return network

    def make_frozen(self, role: str, network, takes) -> keras.Layer | None:
        """A network in whose features images are compared; no optimizer updates it.

        Args:
            role: string. Its name in messages, and the argument that it is recorded under.
            network: name or path, of whose network the maps are taken, that of the image's size
                among them, see `networks.feature_maps`; `keras.Model` or layer of images in
                [-1, 1], whose outputs are the features; or None.
            takes: tuple. The shape of the images.

        Returns:
            `keras.Model` or layer, built and frozen, or None.

        Raises:
            InputError: a network that does not take such images, an unknown name.
        """
        if network is None:
            return None
        if isinstance(network, (str, os.PathLike)):
            network = self.make_network(
                role, None, lambda: feature_maps(network, takes, full_size=True, name=role), takes
            )
            self.record(role, network)  # a saved model depends on no other file
        else:
            network = super().make_network(role, network, None, takes)
        network.trainable = False
        return network

    def optimizer_devices(self) -> dict:
        return {f"{side}_optimizer": device for side, device in self.devices.items()}


class LatentGAN(DecodesLatents, AdversarialModel):
    """An adversarial model whose generator maps noise z to images.

    Subclasses set `generator`, `discriminator`, `ema_generator` and `self.built = True`.

    Args:
        image_shape: tuple (height, width, channels).
        latent_dim: int. Length of the noise vector z.
        noise: `"normal"`, `"uniform"` (in [-1, 1)) or `"truncated_normal"` (truncated
            at two standard deviations).
        ema_decay: float in [0, 1), or None. Decay of the EMA generator.
        seed: int, optional. Makes the training noise reproducible.
    """

    def __init__(
        self, image_shape, latent_dim, noise="normal", ema_decay=0.999, seed=None, **kwargs
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.latent_dim = check_count("latent_dim", latent_dim)
        self.noise = check_choice("noise", noise, NOISES)
        if ema_decay is not None and not (is_number(ema_decay) and 0 <= ema_decay < 1):
            raise InputError(
                "ema_decay must be a number of at least 0 and below 1, or None. "
                f"Received: ema_decay={ema_decay!r}."
            )
        self.ema_decay = ema_decay

    def make_augmentation(self, policy: str | None, seed: int | None) -> keras.Layer:
        """The layer in front of a discriminator that augments its images at random.

        Args:
            policy: see `layers.DiffAugment`; None for no augmentation.
            seed: int, or None. The model's; the noise is drawn from another.

        Returns:
            `layers.DiffAugment`, or `keras.layers.Identity`.
        """
        if policy is None:
            return keras.layers.Identity(dtype=at_least_float32(self.dtype_policy))
        return DiffAugment(policy, None if seed is None else seed + 1, dtype=self.dtype_policy)

    def make_ema(self, network) -> keras.Layer | None:
        """The EMA copy of a network, on the generator's device.

        Args:
            network: see `ema_copy`.

        Returns:
            The copy; None without `ema_decay`.
        """
        with scope(self.devices["generator"]):
            return None if self.ema_decay is None else ema_copy(network)

    def current_ema_decay(self) -> tf.Tensor:
        """`ema_decay`, reached gradually over the first generator updates; 0 if it is None.

        Returns:
            float scalar, min(ema_decay, (1 + step) / (10 + step)); 1 after a step that has only
            accumulated gradients.
        """
        optimizer = self.generator_optimizer
        step = tf.cast(optimizer.iterations, at_least_float32(self.dtype_policy))
        decay = tf.minimum((1.0 + step) / (10.0 + step), self.ema_decay or 0.0)
        if optimizer.gradient_accumulation_steps:  # only some steps are updates
            updated = optimizer._iterations.value % optimizer.gradient_accumulation_steps == 0
            decay = tf.where(updated, decay, tf.ones_like(decay))
        return decay

    def update_ema_generator(self) -> None:
        """`update_ema` of the generator, for steps that were written with version 0.1."""
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

    def sample_latents(self, batch: distribution.GlobalBatch) -> tf.Tensor:
        """Training noise for this replica's rows of the global batch.

        Args:
            batch: `GlobalBatch` of the n images of this replica.

        Returns:
            float tensor `(n, latent_dim)`, new at every call.
        """
        return NOISES[self.noise](batch, (self.latent_dim,), self.seed_generator.next())

    def draw_latents(self, num_images, seed, truncation=None) -> tf.Tensor:
        """The latents that images are generated from.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.
            truncation: float above 0, optional, for normal noise, which is truncated at this many
                standard deviations. Lower values give images nearer to the mean of the model's
                distribution, with higher quality and less diversity (Brock et al., 2019,
                section 3.1, https://arxiv.org/abs/1809.11096).

        Returns:
            float tensor `(num_images, latent_dim)`.

        Raises:
            InputError: truncation that is not a positive number, or a model with uniform noise.
        """
        batch, shape = distribution.whole_batch(num_images), (self.latent_dim,)
        if truncation is None:
            return NOISES[self.noise](batch, shape, latent_seed(seed))
        check_number("truncation", truncation)
        if truncation == 0 or self.noise == "uniform":
            raise InputError(
                "truncation must be above 0, and applies to normal noise only. "
                f"Received: truncation={truncation}, noise={self.noise!r}."
            )
        return distribution.random_truncated_normal(batch, shape, latent_seed(seed), truncation)

    def images_from_latents(self, latents) -> tf.Tensor:
        return (self.ema_generator or self.generator)(latents, training=False)

    def call(self, inputs, labels=None, training=False):
        """Images from latents, by the EMA generator if there is one.

        Args:
            inputs: latents, float tensor `(n, latent_dim)`; of a conditional model a list of
                latents and labels, int tensor `(n,)`.
            labels: the labels, if `inputs` are latents alone.
            training: bool. Has no effect; `train_step` calls `generator` itself.

        Returns:
            float tensor `(n, height, width, channels)` in [-1, 1].
        """
        return self.images_from_latents(*self.call_inputs(inputs, labels))

    def signatures(self) -> dict:
        def discriminate(images):
            return {"logits": self.discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}


def ema_copy(network) -> keras.Layer:
    """A copy of a network, to hold exponential moving averages of its weights.

    Args:
        network: functional or sequential `keras.Model`, or a layer with `get_config`.

    Returns:
        The copy, frozen: no optimizer may update it.
    """
    if isinstance(network, keras.Model):
        with dtype_policy(network.dtype_policy):  # the layers keep theirs, the model would not
            copy = keras.models.clone_model(network)
    else:
        copy = type(network).from_config({**network.get_config(), "name": f"ema_{network.name}"})
        copy.build_from_config(network.get_build_config())
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def update_ema(ema, network, decay) -> None:
    """w_ema = decay w_ema + (1 - decay) w for every weight; no effect without a copy.

    Args:
        ema: the copy from `ema_copy`, or None.
        network: the network that is trained.
        decay: float or float scalar.
    """
    for average, weight in zip(ema.weights, network.weights) if ema is not None else ():
        with scope(average.value.device):  # `on_devices` may have placed the copy elsewhere
            # In place: three memory passes over the weights, against four for an assignment.
            average.value.assign_sub((1.0 - decay) * (average.value - weight.value))


def images_of_update(images, batch: distribution.GlobalBatch, update: int, n_critic: int) -> tuple:
    """The images of one critic update: every n_critic-th of the global batch from `update` on.

    The stride runs over the global batch, so that the replicas' parts add up to the same images
    for any number of replicas. If the batch size is not a multiple of n_critic (the last batch
    of an epoch), updates differ by one image. A replica with fewer images than updates reuses
    its images, because an update needs at least one.

    Args:
        images: tensor `(n, ...)`, this replica's part of the step's batch.
        batch: its `keras_genimg.distribution.GlobalBatch`.
        update: int from 0 to n_critic - 1.
        n_critic: int.

    Returns:
        images: tensor `(about n / n_critic, ...)`.
        batch: the `GlobalBatch` of the update.
    """
    # Global row r is local row r - first.
    first = (update - batch.first) % n_critic % batch.size
    images = images[first::n_critic]  # (n, h, w, c) -> (B, h, w, c)
    weights = None if batch.weights is None else batch.weights[first::n_critic]
    return images, distribution.global_batch(images)._replace(weights=weights)


def mean_scores(real_logits, fake_logits, activation=tf.sigmoid) -> dict:
    """The logs `real_score` and `fake_score`: means of activation(logit)."""
    return {
        "real_score": tf.reduce_mean(activation(real_logits)),
        "fake_score": tf.reduce_mean(activation(fake_logits)),
    }
