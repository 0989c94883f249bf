"""Keras plumbing of models that make pictures of noise, against a discriminator."""

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.models.base import latent_seed
from keras_genimg.models.checks import check_number
from keras_genimg.models.critic_updates import check_step_batch
from keras_genimg.models.two_players import TwoPlayerModel
from keras_genimg.networks import check_count
from keras_genimg.placement import scope

__all__ = ["AdversarialModel"]


def _uniform_noise(batch, shape, seed):
    return distribution.random_uniform(batch, shape, seed, -1.0, 1.0)


NOISES = {
    "normal": distribution.random_normal,
    "uniform": _uniform_noise,
    "truncated_normal": distribution.random_truncated_normal,
}


class AdversarialModel(TwoPlayerModel):
    """Two networks, two optimizers, noise, and a copy of the generator that averages.

    Subclasses call `adopt_networks` and write `train_step` and `test_step`.

    Args:
        image_shape: tuple (height, width, channels).
        latent_dim: int. Length of the noise vector z.
        noise: `"normal"`, `"uniform"` (in [-1, 1)) or `"truncated_normal"` (cut
            off at two deviations).
        seed: int, optional. Makes the noise of training repeatable.
    """

    def __init__(self, image_shape, latent_dim, noise="normal", seed=None, **kwargs):
        super().__init__(image_shape, seed=seed, **kwargs)
        self.latent_dim = check_count("latent_dim", latent_dim)
        if not isinstance(noise, str) or noise not in NOISES:
            raise InputError(f"noise must be one of {', '.join(NOISES)}. Received: {noise!r}.")
        self.noise = noise
        self.ema_generator = None

    def adopt_networks(self, networks, defaults, ema_decay, discriminator_outputs=((1,),)):
        """Sets `generator` and `discriminator`, checked, and the copy of the generator.

        Args:
            networks: pair of the user's generator and discriminator, None for the default.
            defaults: pair of functions without arguments that make the default ones.
            ema_decay: as for `start_ema_generator`.
            discriminator_outputs: sequence of the shapes that the discriminator returns,
                without the batch axis.

        Raises:
            InputError: a network that takes or returns other shapes than it must.
        """
        self.own_networks = tuple(network is not None for network in networks)
        latents, images = (self.latent_dim,), self.image_shape
        if self.needs_labels:  # both networks are told the class as well
            labels = keras.KerasTensor((None,), "int32")
            latents, images = (
                [keras.KerasTensor((None, *shape)), labels] for shape in (latents, images)
            )
        expected = ("generator", latents, [self.image_shape]), (
            "discriminator", images, discriminator_outputs
        )
        for (role, takes, makes), network, make in zip(expected, networks, defaults):
            self.adopt(role, network, make, takes, makes)
        with scope(self.devices["generator"]):
            self.start_ema_generator(ema_decay)
        self.built = True

    def fit(self, x=None, y=None, batch_size=None, *args, **kwargs):
        """As `keras.Model.fit`, on batches of n_critic times the pictures of one update.

        Args:
            x, y, *args, **kwargs: as `ImageModel.fit` has them.
            batch_size: int, with an array; by default 32 pictures an update.

        Returns:
            `keras.callbacks.History`.

        Raises:
            InputError: as `ImageModel.fit`; batches that do not divide by n_critic. (The last
                batch of a pass need not: `critic_updates.images_of_update` says how it
                is shared out.)
        """
        return super().fit(x, y, check_step_batch(self, x, batch_size), *args, **kwargs)

    def start_ema_generator(self, decay):
        """Makes the copy of the generator whose weights are moving averages.

        Args:
            decay: float in [0, 1), or None for no copy.

        Raises:
            InputError: a decay that is neither.
        """
        self.ema_decay = decay
        if decay is None:
            return
        number = isinstance(decay, (int, float)) and not isinstance(decay, bool)
        if not (number and 0 <= decay < 1):
            raise InputError(
                "ema_decay must be a number of at least 0 and below 1, or None. "
                f"Received: ema_decay={decay!r}."
            )
        self.ema_generator = keras.models.clone_model(self.generator)
        self.ema_generator.set_weights(self.generator.get_weights())
        self.ema_generator.trainable = False  # no optimizer may move it

    def update_ema_generator(self):
        """w_ema = d w_ema + (1 - d) w, with d rising to `ema_decay` over the first steps."""
        if self.ema_generator is not None:
            self.move_average(self.ema_generator, self.generator)

    def move_average(self, copy, network):
        """Moves the weights of a generating network's averaged copy towards those it has now.

        Args:
            copy: `keras.Layer`, the averaged one.
            network: `keras.Layer` with weights of the same shapes.
        """
        step = tf.cast(self.generator_optimizer.iterations, tf.float32)
        decay = tf.minimum(self.ema_decay, (1.0 + step) / (10.0 + step))
        with scope(self.devices["generator"]):
            for average, weight in zip(copy.weights, network.weights):
                # In place: three passes over the weights where an assignment takes four.
                average.value.assign_sub((1.0 - decay) * (average.value - weight.value))

    def get_config(self):
        networks = {"generator": self.generator, "discriminator": self.discriminator}
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "noise": self.noise,
            "ema_decay": self.ema_decay,
            **{
                name: keras.saving.serialize_keras_object(network) if own else None
                for (name, network), own in zip(networks.items(), self.own_networks)
            },
        }

    def sample_latents(self, batch):
        """Noise of training for this replica's rows of the global batch.

        Args:
            batch: `GlobalBatch` of the n pictures of this replica.

        Returns:
            float32 tensor `(n, latent_dim)`, new at every call.
        """
        return NOISES[self.noise](batch, (self.latent_dim,), self.seed_generator.next())

    def draw_latents(self, num_images, seed, truncation=None):
        """What pictures are made of.

        Args:
            num_images: int or int32 scalar.
            seed: int or int64 scalar.
            truncation: float above 0, optional, for normal noise: cut off at so many
                deviations. Lower values give pictures nearer to the middle of what was
                learned: better ones, fewer kinds of them (Brock et al., 2019, section 3.1,
                https://arxiv.org/abs/1809.11096).

        Returns:
            float32 tensor `(num_images, latent_dim)`.

        Raises:
            InputError: truncation that is no positive number, or of other noise.
        """
        batch, shape = distribution.whole_batch(num_images), (self.latent_dim,)
        if truncation is None:
            return NOISES[self.noise](batch, shape, latent_seed(seed))
        check_number("truncation", truncation)
        if truncation == 0 or self.noise == "uniform":
            raise InputError(
                "truncation must be above 0, of a model with normal noise. "
                f"Received: truncation={truncation}, noise={self.noise!r}."
            )
        return distribution.random_truncated_normal(batch, shape, latent_seed(seed), truncation)

    def images_from_latents(self, latents):
        return (self.ema_generator or self.generator)(latents, training=False)

    def call(self, latents, training=False):
        """Pictures of latents, by the EMA generator where there is one.

        Args:
            latents: float tensor `(n, latent_dim)`.
            training: bool. Changes nothing; `train_step` calls `generator` itself.

        Returns:
            float32 tensor `(n, height, width, channels)` in [-1, 1].
        """
        return self.images_from_latents(latents)

    def signatures(self):
        def discriminate(images):
            return {"logits": self.discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}

    def deterministic_signature(self):
        spec = tf.TensorSpec((None, self.latent_dim), tf.float32, name="latents")
        return (lambda latents: {"images": self.images_from_latents(latents)}), [spec]
