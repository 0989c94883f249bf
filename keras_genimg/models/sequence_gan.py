"""SequenceGAN: clips from a walk through the latent space of an image generator."""

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.layers import MotionWalk
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.models.adversarial import AdversarialModel
from keras_genimg.models.base import ImageModel, latent_seed
from keras_genimg.models.two_players import adam_pair, serialized_loss
from keras_genimg.networks import (
    check_count,
    check_image_shape,
    dcgan_discriminator,
    dcgan_generator,
    video_discriminator,
)
from keras_genimg.placement import scope

__all__ = ["SequenceGAN"]


@keras.saving.register_keras_serializable(package="keras_genimg")
class SequenceGAN(AdversarialModel):
    """GAN of image sequences: MoCoGAN (Tulyakov et al., 2018).

    A clip is a path through the latent space of an image generator G. Each of its points holds
    the clip's one content vector z_c and the frame's motion vector z_m^(t), which a recurrent
    cell R makes of noise. One discriminator judges a frame of each clip, drawn at random, and one
    the clip as a whole. It is trained on sequences `(batch, frames, height, width, channels)`, such
    as those of `load("moving_glyphs")`, and makes clips of any length.

    Args:
        image_shape: tuple (height, width, channels) of a frame; with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_frames: int. Frames of the clips that it is trained on.
        content_dim: int. Length of z_c.
        motion_dim: int. Length of z_m^(t), and of the noise that it is made of.
        generator: `keras.Model` of one's own, `(batch, content_dim + motion_dim)` to images.
        image_discriminator: `keras.Model` of one's own, images to logits `(batch, 1)`.
        clip_discriminator: `keras.Model` of one's own, clips `(batch, num_frames, height,
            width, channels)` to logits `(batch, 1)`.
        loss: `"non_saturating"`, `"minimax"`, `"least_squares"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`, of both discriminators.
        ema_decay: float in [0, 1), or None. Decay of the moving average of the weights of
            G and R, which `generate` uses.
        seed: int, optional. Makes the noise of training repeatable.

    Logs: `g_loss` and `d_loss`, each the sum over both discriminators; `image_d_loss`, the
    image discriminator's part of it; the mean of sigmoid(logit) of the clip discriminator on
    real and generated clips, `real_score` and `fake_score`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> gan = SequenceGAN(image_shape=(28, 28, 1), num_frames=16)
    >>> gan.compile()
    >>> gan.generate(4, seed=1, num_frames=40).shape
    (4, 40, 28, 28, 1)

    Reference: https://arxiv.org/abs/1707.04993
    """

    def __init__(
        self,
        image_shape=(28, 28, 1),
        num_frames=16,
        content_dim=56,
        motion_dim=8,
        *,
        generator=None,
        image_discriminator=None,
        clip_discriminator=None,
        loss="non_saturating",
        ema_decay=0.999,
        seed=None,
        **kwargs,
    ):
        own = [n is not None for n in (generator, image_discriminator, clip_discriminator)]
        shape = check_image_shape(image_shape, default_networks=not all(own))
        dims = check_count("content_dim", content_dim), check_count("motion_dim", motion_dim)
        super().__init__(shape, sum(dims), seed=seed, **kwargs)
        self.num_frames = check_count("num_frames", num_frames, minimum=2)
        self.content_dim, self.motion_dim = dims
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.own_networks = dict(zip(("generator", "image_discriminator", "clip_discriminator"), own))

        points, noise = (self.latent_dim,), (1 + num_frames, motion_dim)
        for role, network, make, takes, makes in (
            ("generator", generator,
             lambda: dcgan_generator(shape, self.latent_dim), points, shape),
            ("walk", None, MotionWalk, noise, (num_frames, motion_dim)),
            ("image_discriminator", image_discriminator,
             lambda: dcgan_discriminator(shape, name="image_discriminator"), shape, (1,)),
            ("clip_discriminator", clip_discriminator,
             lambda: video_discriminator(shape, num_frames), self.element_shape, (1,)),
        ):  # fmt: skip
            side = "discriminator" if "discriminator" in role else "generator"
            self.adopt(role, network, make, takes, [makes], side)
        with scope(self.devices["generator"]):
            self.start_ema_generator(ema_decay)
        self.built = True

    @property
    def element_shape(self):
        return (self.num_frames, *self.image_shape)

    def default_optimizers(self, learning_rate=None):
        # The authors' code: Adam, 2e-4, beta_1 of 0.5. Our own smaller networks come further with
        # five times that rate.
        rate = 2e-4 if any(self.own_networks.values()) else 1e-3
        return adam_pair(rate if learning_rate is None else learning_rate, 0.5)

    def optimized_weights(self):
        judges = self.image_discriminator, self.clip_discriminator
        return {
            "generator_optimizer": self.generator.trainable_variables + self.walk.trainable_variables,
            "discriminator_optimizer": [w for judge in judges for w in judge.trainable_variables],
        }

    def train_step(self, data):
        """The alternating updates of section 3 of Tulyakov et al. (2018), on one batch of clips x."""
        clips, _, batch = self.unpack(data)  # (B, T, h, w, c)
        weights = self.optimized_weights()

        # 1. One step of D_I, on one frame S_1(x) of each clip, and of D_V, on the clip S_T(x), with
        #    fresh noise: descend -log D_I(S_1(x)) - log(1 - D_I(S_1(G(z)))), and the same of D_V.
        paths = self.walk_paths(*self.sample_latents(batch))  # (B, T, content_dim + motion_dim)
        fake_clips = self.film(paths, training=True)  # (B, T, h, w, c)
        real_frames = self.one_frame(clips, batch)  # (B, h, w, c)
        fake_frames = self.one_frame(fake_clips, batch)
        with tf.GradientTape() as tape:
            image_d_loss = self.discriminator_loss(
                self.image_discriminator(real_frames, training=True),  # (B, 1)
                self.image_discriminator(fake_frames, training=True),
            )
            real_logits = self.clip_discriminator(clips, training=True)  # (B, 1)
            fake_logits = self.clip_discriminator(fake_clips, training=True)
            d_loss = image_d_loss + self.discriminator_loss(real_logits, fake_logits)
            shared_loss = d_loss * batch.share
        gradients = tape.gradient(shared_loss, weights["discriminator_optimizer"])
        self.discriminator_optimizer.apply_gradients(
            zip(gradients, weights["discriminator_optimizer"])
        )

        # 2. One step of G and R through both updated discriminators, with fresh noise:
        #    descend -log D_I(S_1(G(z))) - log D_V(S_T(G(z))).
        content, noise = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            made_clips = self.film(self.walk_paths(content, noise), training=True)
            made_frames = self.one_frame(made_clips, batch)
            g_loss = self.generator_loss(self.image_discriminator(made_frames, training=True))
            g_loss += self.generator_loss(self.clip_discriminator(made_clips, training=True))
            shared_loss = g_loss * batch.share
        gradients = tape.gradient(shared_loss, weights["generator_optimizer"])
        self.generator_optimizer.apply_gradients(zip(gradients, weights["generator_optimizer"]))
        self.update_ema_generator()

        # 3. Logs.
        return self.log(
            batch,
            d_loss=d_loss,
            g_loss=g_loss,
            image_d_loss=image_d_loss,
            real_score=tf.reduce_mean(tf.sigmoid(real_logits)),
            fake_score=tf.reduce_mean(tf.sigmoid(fake_logits)),
        )

    def test_step(self, data):
        """The losses on clips that were not trained on, without an update."""
        clips, _, batch = self.unpack(data)
        content, noise = self.sample_latents(batch)
        made = self.images_from_latents(self.walk_paths(content, noise, self.ema_walk or self.walk))
        frames = self.one_frame(clips, batch), self.one_frame(made, batch)
        real_frame_logits, fake_frame_logits = (self.image_discriminator(each) for each in frames)
        real_logits, fake_logits = self.clip_discriminator(clips), self.clip_discriminator(made)
        image_d_loss = self.discriminator_loss(real_frame_logits, fake_frame_logits)
        return self.log(
            batch,
            d_loss=image_d_loss + self.discriminator_loss(real_logits, fake_logits),
            g_loss=self.generator_loss(fake_frame_logits) + self.generator_loss(fake_logits),
            image_d_loss=image_d_loss,
            real_score=tf.reduce_mean(tf.sigmoid(real_logits)),
            fake_score=tf.reduce_mean(tf.sigmoid(fake_logits)),
        )

    # ---------------------------------------------------------- from noise to clips

    def sample_latents(self, batch):
        """Noise for this replica's rows of the global batch, a pair.

        Args:
            batch: `GlobalBatch` of the n clips of this replica.

        Returns:
            z_c: float32 `(n, content_dim)`.
            noise: float32 `(n, 1 + num_frames, motion_dim)`: where the walk starts, and its steps.
        """
        seeds, steps = self.seed_generator, 1 + self.num_frames
        content = distribution.random_normal(batch, (self.content_dim,), seeds.next())
        return content, distribution.random_normal(batch, (steps, self.motion_dim), seeds.next())

    def walk_paths(self, content, noise, walk=None):
        """Paths through the latent space: at each frame z_c and what the walk makes of the noise.

        Args:
            content: float tensor `(n, content_dim)`.
            noise: float tensor `(n, 1 + frames, motion_dim)`.
            walk: the recurrent cell, that which is trained by default.

        Returns:
            float32 tensor `(n, frames, content_dim + motion_dim)`.
        """
        motion = (walk or self.walk)(noise)  # (n, 1 + T, d_m) -> (n, T, d_m)
        content = tf.repeat(content[:, None], motion.shape[1], axis=1)  # (n, d_c) -> (n, T, d_c)
        return tf.concat([content, motion], axis=-1)  # (n, T, d_c + d_m)

    def film(self, paths, training, generator=None):
        """Clips of paths: every point is a frame.

        Args:
            paths: float tensor `(n, frames, content_dim + motion_dim)`.
            training: bool. How the network is called.
            generator: `keras.Model` that makes the frames, that which is trained by default.

        Returns:
            float32 tensor `(n, frames, height, width, channels)` in [-1, 1].
        """
        points = tf.reshape(paths, (-1, self.latent_dim))  # (n, T, d) -> (n*T, d)
        frames = (generator or self.generator)(points, training=training)  # (n*T, h, w, c)
        number = paths.shape[1] or tf.shape(paths)[1]
        return tf.reshape(frames, (-1, number, *self.image_shape))  # -> (n, T, h, w, c)

    def one_frame(self, clips, batch):
        """One frame of each clip, drawn at random.

        Args:
            clips: float tensor `(n, num_frames, height, width, channels)`.
            batch: `GlobalBatch` of these n clips.

        Returns:
            float tensor `(n, height, width, channels)`.
        """
        uniform = distribution.random_uniform(batch, (), self.seed_generator.next())  # (n,)
        number = tf.cast(uniform * self.num_frames, tf.int32)
        number = tf.minimum(number, self.num_frames - 1)  # a float next to 1 may round up
        return tf.gather(clips, number, batch_dims=1)

    def draw_latents(self, num_images, seed, num_frames=None):
        """Paths through the latent space, of the averaged walk where there is one.

        Args:
            num_images: int or int32 scalar. Number of clips.
            seed: int or int64 scalar.
            num_frames: int, optional. Frames a clip, by default as many as it is trained on.

        Returns:
            float32 tensor `(num_images, num_frames, content_dim + motion_dim)`. The first
            points do not depend on how many follow.

        Raises:
            InputError: num_frames that is no positive integer.
        """
        frames = self.num_frames if num_frames is None else check_count("num_frames", num_frames)
        batch = distribution.whole_batch(num_images)

        def draw(size, number):  # a stream of its own for the content and for each frame
            place = latent_seed(seed) + tf.constant([0, number], tf.int64)
            return distribution.random_normal(batch, (size,), place)

        noise = tf.stack([draw(self.motion_dim, 1 + t) for t in range(1 + frames)], axis=1)
        return self.walk_paths(draw(self.content_dim, 0), noise, self.ema_walk or self.walk)

    def images_from_latents(self, latents):
        """Clips of paths, by the averaged generator where there is one.

        Args:
            latents: float tensor `(n, frames, content_dim + motion_dim)`, from `draw_latents`.

        Returns:
            float32 tensor `(n, frames, height, width, channels)` in [-1, 1].
        """
        return self.film(latents, training=False, generator=self.ema_generator)

    def generate(
        self,
        num_images,
        labels=None,
        seed=None,
        *,
        num_frames=None,
        batch_size=32,
        verbose="auto",
    ):
        """Makes clips, in batches.

        Args:
            num_images: int. Number of clips.
            labels: None; the model generates without.
            seed: int, optional. The same seed gives the same clips, whatever the batch
                size; None gives new ones each time.
            num_frames: int, optional. Frames a clip, by default as many as it is trained on.
                The first frames of a longer clip are those of a shorter one of that seed.
            batch_size: int. Clips made at once.
            verbose: "auto" (a progress bar when there are many batches), 0 or 1.

        Returns:
            NumPy float32 array `(num_images, num_frames, height, width, channels)` in [-1, 1].

        Raises:
            InputError: numbers that are not positive, a seed that is no integer, labels.
        """
        return super().generate(
            num_images, labels, seed, batch_size=batch_size, verbose=verbose, num_frames=num_frames
        )

    # -------------------------------------------------------- averages, saving, exporting

    def start_ema_generator(self, decay):
        super().start_ema_generator(decay)
        self.ema_walk = None
        if decay is not None:
            self.ema_walk = MotionWalk(name="ema_walk")
            self.ema_walk.build((None, None, self.motion_dim))
            self.ema_walk.set_weights(self.walk.get_weights())
            self.ema_walk.trainable = False  # no optimizer may move it

    def update_ema_generator(self):
        super().update_ema_generator()
        if self.ema_walk is not None:
            self.move_average(self.ema_walk, self.walk)

    def clips_spec(self):
        """What a signature takes as clips.

        Returns:
            `tf.TensorSpec` `(None, num_frames, height, width, channels)`, float32, named `images`.
        """
        return tf.TensorSpec((None, *self.element_shape), tf.float32, name="images")

    def signatures(self):
        def discriminate(images):
            return {"logits": self.clip_discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.clips_spec()])}

    def deterministic_signature(self):
        steps = 1 + self.num_frames
        content = tf.TensorSpec((None, self.content_dim), tf.float32, name="content")
        noise = tf.TensorSpec((None, steps, self.motion_dim), tf.float32, name="noise")

        def generate(content, noise):
            paths = self.walk_paths(content, noise, self.ema_walk or self.walk)
            return {"images": self.images_from_latents(paths)}

        return generate, [content, noise]

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **ImageModel.get_config(self),  # not of a model with one latent_dim and discriminator
            "num_frames": self.num_frames,
            "content_dim": self.content_dim,
            "motion_dim": self.motion_dim,
            **{
                role: serialize(getattr(self, role)) if own else None
                for role, own in self.own_networks.items()
            },
            "loss": serialized_loss(self.loss_name),
            "ema_decay": self.ema_decay,
        }
