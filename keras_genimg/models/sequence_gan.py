"""SequenceGAN: clips as paths through the latent space of an image generator."""

import keras
import numpy as np
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_choice, check_count
from keras_genimg.core import (
    VERSION,
    Clips,
    LatentGAN,
    adam_pair,
    latent_seed,
    mean_scores,
    update_ema,
)
from keras_genimg.layers import MotionWalk
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.networks import (
    dcgan_discriminator,
    dcgan_generator,
    shift_generator,
    video_discriminator,
)

__all__ = ["SequenceGAN"]

GENERATORS = {
    "shift": shift_generator,
    "dcgan": lambda shape, content_dim, motion_dim: dcgan_generator(
        shape, content_dim + motion_dim
    ),
}


@keras.saving.register_keras_serializable(package="keras_genimg")
class SequenceGAN(LatentGAN):
    """GAN of image sequences: MoCoGAN (Tulyakov et al., 2018).

    A clip is a path through the latent space of an image generator G. Each of its points joins
    the clip's content vector z_c and the frame's motion vector z_m^(t), which a recurrent cell R
    computes from noise. One discriminator sees a random frame of each clip, another the whole
    clip. The model is trained on sequences `(batch, frames, height, width, channels)`, such as
    those of `load("moving_glyphs")`, and generates clips of any length.

    Args:
        image_shape: tuple (height, width, channels) of a frame; with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_frames: int. Frames of a training clip.
        content_dim: int. Length of z_c.
        motion_dim: int. Length of z_m^(t), and of the noise that R takes.
        networks: the default generator: `"shift"` (z_c alone is rendered and z_m moves it as a
            whole, so that what a clip shows stays the same) or `"dcgan"` (the paper's, of z_c and
            z_m alike, for clips in which more than a position changes).
        generator: custom `keras.Model`, `(batch, content_dim + motion_dim)` to images.
        image_discriminator: custom `keras.Model`, images to logits `(batch, 1)`.
        clip_discriminator: custom `keras.Model`, clips `(batch, num_frames, height,
            width, channels)` to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`, for both discriminators.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the weights of
            G and R, which `generate` uses.
        seed: int, optional. Makes the training noise reproducible.

    Logs: `g_loss` and `d_loss`, each the sum over both discriminators; `image_d_loss`, the
    image discriminator's part of it; the mean of sigmoid(logit) of the clip discriminator on
    real and generated clips, `real_score` and `fake_score`.

    Differences: the default generator shifts what it renders, that of the paper is `"dcgan"`. Both
    updates of a step use the same G(z), in the paper each has its own. Both discriminators see
    the same clips, from which the authors' code draws separate batches, and the clip
    discriminator sees all frames of a training clip. There are no action categories, no weight
    decay and no noise in the discriminators. `generate` uses EMA copies of G and R, which the
    paper does not have, unless `ema_decay` is None.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> gan = SequenceGAN(image_shape=(28, 28, 1), num_frames=16)
    >>> gan.compile()
    >>> gan.generate(4, seed=1, num_frames=40).shape
    (4, 40, 28, 28, 1)

    Reference: https://arxiv.org/abs/1707.04993; "shift": Jaderberg et al. (2015),
        https://arxiv.org/abs/1506.02025
    """

    data = Clips()
    about = "GAN of image sequences (MoCoGAN)"
    paper = "Tulyakov et al., 2018"

    optimized_networks = {
        "generator_optimizer": ("generator", "walk"),
        "discriminator_optimizer": ("image_discriminator", "clip_discriminator"),
    }

    def __init__(
        self, image_shape: tuple = (28, 28, 1), num_frames: int = 16, content_dim: int = 56,
        motion_dim: int = 8, *, networks: str = "shift",
        generator: keras.Model | None = None, image_discriminator: keras.Model | None = None,
        clip_discriminator: keras.Model | None = None, loss: str | tuple = "non_saturating",
        ema_decay: float | None = 0.999, seed: int | None = None, **kwargs,
    ):
        latent_dim = check_count("content_dim", content_dim) + check_count("motion_dim", motion_dim)
        super().__init__(image_shape, latent_dim, "normal", ema_decay, seed, **kwargs)
        self.num_frames = check_count("num_frames", num_frames, minimum=2)
        self.content_dim, self.motion_dim = content_dim, motion_dim
        make_generator = GENERATORS[check_choice("networks", networks, GENERATORS)]
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.generator = self.make_network(
            "generator", generator,
            lambda: make_generator(self.image_shape, content_dim, motion_dim),
            takes=(latent_dim,), makes=self.image_shape,
        )
        self.walk = self.make_network(
            "walk", None, MotionWalk,
            takes=(1 + num_frames, motion_dim), makes=(num_frames, motion_dim),
        )
        self.image_discriminator = self.make_network(
            "image_discriminator", image_discriminator,
            lambda: dcgan_discriminator(self.image_shape, name="image_discriminator"),
            takes=self.image_shape, makes=(1,),
        )
        self.clip_discriminator = self.make_network(
            "clip_discriminator", clip_discriminator,
            lambda: video_discriminator(self.image_shape, num_frames),
            takes=(num_frames, *self.image_shape), makes=(1,),
        )
        self.ema_generator = self.make_ema(self.generator)
        self.ema_walk = self.make_ema(self.walk)
        self.built = True

    @classmethod
    def upgraded(cls, config: dict) -> dict:
        return config if VERSION in config else {"networks": "dcgan", **config}

    def default_optimizers(self, learning_rate=None):
        # The authors' code: Adam, 2e-4, beta_1 of 0.5. The smaller default networks train faster at
        # five times that rate.
        custom = self.is_custom("generator", "image_discriminator", "clip_discriminator")
        rate = 2e-4 if custom else 1e-3
        return adam_pair(rate if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """The alternating updates of section 3 of Tulyakov et al. (2018), on clips x."""
        clips, _, batch = self.unpack(data)  # (B, T, h, w, c)

        # 1. G(z), z_c and the walk of R through z_m, for both updates.
        with tf.GradientTape() as tape_of_generator:
            paths = self.walk_paths(*self.sample_latents(batch))  # (B, T, content + motion)
            fake_clips = self.render_clips(paths, training=True)  # (B, T, h, w, c)

        # 2. Discriminators D_I, on one frame S_1(x) of each clip, and D_V, on the clip S_T(x):
        #    descend -log D_I(S_1(x)) - log(1 - D_I(S_1(G(z)))), and the same of D_V.
        real_frames = self.random_frames(clips, batch)  # (B, h, w, c)
        fake_frames = self.random_frames(fake_clips, batch)
        with tf.GradientTape() as tape:
            image_d_loss = self.discriminator_loss(
                self.image_discriminator(real_frames, training=True),  # (B, 1)
                self.image_discriminator(fake_frames, training=True),
            )
            real_logits = self.clip_discriminator(clips, training=True)  # (B, 1)
            fake_logits = self.clip_discriminator(fake_clips, training=True)
            d_loss = image_d_loss + self.discriminator_loss(real_logits, fake_logits)
        weights = self.optimized_weights()["discriminator_optimizer"]
        gradients = tape.gradient(d_loss, weights, batch.share)  # adds up to the global mean
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. G and R, through both updated discriminators, D_I on other frames of the same clips:
        #    descend -log D_I(S_1(G(z))) - log D_V(S_T(G(z))).
        with tape_of_generator:
            fake_frames = self.random_frames(fake_clips, batch)
            g_loss = self.generator_loss(self.image_discriminator(fake_frames, training=True))
            g_loss += self.generator_loss(self.clip_discriminator(fake_clips, training=True))
        weights = self.optimized_weights()["generator_optimizer"]
        gradients = tape_of_generator.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())
        update_ema(self.ema_walk, self.walk, self.current_ema_decay())

        # 4. Logs.
        scores = mean_scores(real_logits, fake_logits)
        return self.log(batch, d_loss=d_loss, g_loss=g_loss, image_d_loss=image_d_loss, **scores)

    def test_step(self, data):
        """The losses on held-out clips, without an update."""
        clips, _, batch = self.unpack(data)
        paths = self.walk_paths(*self.sample_latents(batch), self.ema_walk or self.walk)
        fake_clips = self.images_from_latents(paths)
        frames = self.random_frames(clips, batch), self.random_frames(fake_clips, batch)
        frame_logits = [self.image_discriminator(each, training=False) for each in frames]
        real_logits = self.clip_discriminator(clips, training=False)
        fake_logits = self.clip_discriminator(fake_clips, training=False)
        image_d_loss = self.discriminator_loss(*frame_logits)
        return self.log(
            batch,
            d_loss=image_d_loss + self.discriminator_loss(real_logits, fake_logits),
            g_loss=self.generator_loss(frame_logits[1]) + self.generator_loss(fake_logits),
            image_d_loss=image_d_loss,
            **mean_scores(real_logits, fake_logits),
        )

    # ---------------------------------------------------------- from noise to clips

    def sample_latents(self, batch: distribution.GlobalBatch) -> tuple:
        """Training noise for this replica's rows of the global batch, as a pair.

        Args:
            batch: `GlobalBatch` of the n clips of this replica.

        Returns:
            z_c: float `(n, content_dim)`.
            noise: float `(n, 1 + num_frames, motion_dim)`: the start of the walk, and its steps.
        """
        seeds, steps = self.seed_generator, 1 + self.num_frames
        content = distribution.random_normal(batch, (self.content_dim,), seeds.next())
        return content, distribution.random_normal(batch, (steps, self.motion_dim), seeds.next())

    def walk_paths(self, content: tf.Tensor, noise: tf.Tensor, walk=None) -> tf.Tensor:
        """Paths through the latent space: z_c and z_m^(t) at each frame.

        Args:
            content: float tensor `(n, content_dim)`.
            noise: float tensor `(n, 1 + frames, motion_dim)`.
            walk: the recurrent cell, by default the one that is trained.

        Returns:
            float tensor `(n, frames, content_dim + motion_dim)`.
        """
        motion = (walk or self.walk)(noise)  # (n, 1 + T, d_m) -> (n, T, d_m)
        content = tf.cast(content, motion.dtype)[:, None]  # (n, d_c) -> (n, 1, d_c)
        content = tf.repeat(content, motion.shape[1], axis=1)  # (n, 1, d_c) -> (n, T, d_c)
        return tf.concat([content, motion], axis=-1)  # (n, T, d_c + d_m)

    def render_clips(self, paths: tf.Tensor, training: bool, generator=None) -> tf.Tensor:
        """Clips from paths: one frame per point.

        Args:
            paths: float tensor `(n, frames, content_dim + motion_dim)`.
            training: bool. Passed to the network.
            generator: `keras.Model` from points to frames, by default the one that is trained.

        Returns:
            float tensor `(n, frames, height, width, channels)` in [-1, 1].
        """
        points = tf.reshape(paths, (-1, self.latent_dim))  # (n, T, d) -> (n*T, d)
        frames = (generator or self.generator)(points, training=training)  # (n*T, h, w, c)
        length = paths.shape[1] or tf.shape(paths)[1]
        return tf.reshape(frames, (-1, length, *self.image_shape))  # -> (n, T, h, w, c)

    def random_frames(self, clips: tf.Tensor, batch: distribution.GlobalBatch) -> tf.Tensor:
        """One frame of each clip, drawn at random: S_1 in the paper.

        Args:
            clips: float tensor `(n, num_frames, height, width, channels)`.
            batch: `GlobalBatch` of these n clips.

        Returns:
            float tensor `(n, height, width, channels)`.
        """
        uniform = distribution.random_uniform(batch, (), self.seed_generator.next())  # (n,)
        index = tf.cast(uniform * self.num_frames, tf.int32)
        index = tf.minimum(index, self.num_frames - 1)  # a float next to 1 may round up
        return tf.gather(clips, index, batch_dims=1)

    def draw_latents(self, num_images, seed, num_frames: int | None = None) -> tf.Tensor:
        """Paths through the latent space, by the EMA walk if there is one.

        Args:
            num_images: int or int32 scalar. Number of clips.
            seed: int or int64 scalar.
            num_frames: int, optional. Frames per clip, by default those of a training clip.

        Returns:
            float tensor `(num_images, num_frames, content_dim + motion_dim)`. The first
            points do not depend on how many follow.

        Raises:
            InputError: num_frames that is not a positive integer.
        """
        frames = self.num_frames if num_frames is None else check_count("num_frames", num_frames)
        batch = distribution.whole_batch(num_images)

        def draw(size, stream):  # a separate stream for the content and for each frame
            key = latent_seed(seed) + tf.constant([0, stream], tf.int64)
            return distribution.random_normal(batch, (size,), key)

        noise = tf.stack([draw(self.motion_dim, 1 + t) for t in range(1 + frames)], axis=1)
        return self.walk_paths(draw(self.content_dim, 0), noise, self.ema_walk or self.walk)

    @property
    def latent_shape(self) -> tuple:
        return ("frames", self.latent_dim)

    def images_from_latents(self, latents: tf.Tensor) -> tf.Tensor:
        """Clips from paths, by the EMA generator if there is one.

        Args:
            latents: float tensor `(n, frames, content_dim + motion_dim)`, from `draw_latents`.

        Returns:
            float tensor `(n, frames, height, width, channels)` in [-1, 1].
        """
        return self.render_clips(latents, training=False, generator=self.ema_generator)

    def generate(
        self, num_images: int | None = None, labels=None, seed=None, *,
        num_frames: int | None = None, batch_size: int = 32, verbose="auto",
    ) -> np.ndarray:
        """Generates clips, in batches.

        Args:
            num_images: int. Number of clips.
            labels: must be None; the model has no classes.
            seed: int, optional. The same seed gives the same clips, for any batch
                size; None gives new ones each time.
            num_frames: int, optional. Frames per clip, by default those of a training clip.
                A longer clip starts with the frames of a shorter one of the same seed.
            batch_size: int. Clips per batch.
            verbose: "auto" (a progress bar when there are many batches), 0 or 1.

        Returns:
            NumPy float32 array `(num_images, num_frames, height, width, channels)` in [-1, 1].

        Raises:
            InputError: numbers that are not positive, a seed that is not an integer, labels.
        """
        return super().generate(
            num_images, labels, seed, batch_size=batch_size, verbose=verbose, num_frames=num_frames
        )

    # ------------------------------------------------------------------- exporting

    def images_spec(self) -> tf.TensorSpec:
        """The spec of clips in signatures.

        Returns:
            `tf.TensorSpec` `(None, num_frames, height, width, channels)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.data.shape(self)), tf.float32, name="images")

    def signatures(self) -> dict:
        def discriminate(images):
            return {"logits": self.clip_discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}

    def deterministic_signature(self) -> tuple:
        steps = 1 + self.num_frames
        content = tf.TensorSpec((None, self.content_dim), tf.float32, name="content")
        noise = tf.TensorSpec((None, steps, self.motion_dim), tf.float32, name="noise")

        def generate(content, noise):
            paths = self.walk_paths(content, noise, self.ema_walk or self.walk)
            return {"images": self.images_from_latents(paths)}

        return generate, [content, noise]
