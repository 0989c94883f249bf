"""CycleGAN: unpaired image-to-image translation of Zhu et al. (2017)."""

import functools

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_genimg.checks import check_count, check_image_shape, check_number
from keras_genimg.core import Pairs, TranslationModel, adam_pair, mean_scores
from keras_genimg.errors import InputError
from keras_genimg.layers import ImagePool
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.networks import patchgan_discriminator, residual_translator

__all__ = ["CycleGAN"]


def l1_distance(images, others) -> tf.Tensor:
    """Mean absolute difference."""
    return tf.reduce_mean(tf.abs(images - others))


@keras.saving.register_keras_serializable(package="keras_genimg")
class CycleGAN(TranslationModel):
    """Unpaired translation in both directions (Zhu et al., 2017).

    A generator G translates images of set A to set B, and a generator F images of B to A. A
    discriminator for each set distinguishes real from translated images. Both round trips,
    F(G(a)) and G(F(b)), must reproduce their input, so that a translation keeps the content of
    the image. The model is trained on unpaired `(images_a, images_b)`: a batch of each set,
    with equal numbers of images.

    Args:
        image_shape: tuple (height, width, channels) of set A; with the default networks
            height and width are multiples of 4 from 16 to 256.
        image_shape_b: tuple (height, width, channels) of set B, `image_shape` by default;
            the default networks need the same height and width.
        cycle_weight: float. Weight of the cycle-consistency loss (lambda in Eq. 3).
        identity_weight: float. Weight of the identity loss, times `cycle_weight` (section
            5.2: it preserves colours). It must be 0 if the two shapes differ.
        pool_size: int. Number of translations in the image pool of each discriminator
            (`layers.ImagePool`); 0 for no pools.
        residual_blocks: int. Residual blocks of each default generator; more for images
            larger than 32x32 (the paper uses 6 at 128x128).
        generator_a_to_b: custom `keras.Model`, G.
        generator_b_to_a: custom `keras.Model`, F.
        discriminator_a: custom `keras.Model`, images of A to logits `(batch, h', w', 1)`,
            one per patch.
        discriminator_b: custom `keras.Model`, likewise for B.
        loss: `"least_squares"`, `"non_saturating"`, `"minimax"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Makes the draws of the image pools reproducible.

    Logs, each the sum of both directions: `g_loss` (the whole loss of G and F), `cycle_loss`
    and `identity_loss` (without their weights), `d_loss`; and the mean of sigmoid(logit) on
    real and on translated images, `real_score` and `fake_score`.

    Differences: `"least_squares"` has the factor 1/2 of Mao et al. (2017), which the paper omits,
    so that `cycle_weight=5` is the paper's lambda of 10. The learning rate is constant; the paper
    lets it fall to zero over the second half of training, as does
    `compile(learning_rate=optimizers.LinearDecay(2e-4, steps, steps))`. The default networks are
    smaller, and the epsilon of their instance normalisation is 1e-3, in the authors' code 1e-5.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> model = CycleGAN(image_shape=(28, 28, 1))
    >>> model.compile()
    >>> model.translate(np.zeros((4, 28, 28, 1), "float32"), reverse=True).shape
    (4, 28, 28, 1)

    Reference: https://arxiv.org/abs/1703.10593; the least-squares loss: Mao et al. (2017),
        https://arxiv.org/abs/1611.04076
    """

    data = Pairs("images_a", "images_b", "image_shape", "image_shape_b", aligned=False)
    about = "unpaired translation, both directions"
    paper = "Zhu et al., 2017"

    optimized_networks = {
        "generator_optimizer": ("generator_a_to_b", "generator_b_to_a"),
        "discriminator_optimizer": ("discriminator_a", "discriminator_b"),
    }

    def __init__(
        self, image_shape=(32, 32, 1), image_shape_b=None, *, cycle_weight: float = 10.0,
        identity_weight: float = 0.5, pool_size: int = 50, residual_blocks: int = 3,
        generator_a_to_b=None, generator_b_to_a=None, discriminator_a=None, discriminator_b=None,
        loss="least_squares", seed: int | None = None, **kwargs,
    ):
        super().__init__(image_shape, seed=seed, **kwargs)
        a = b = self.image_shape
        if image_shape_b is not None:
            b = check_image_shape(image_shape_b, default_networks=False, name="image_shape_b")
        self.image_shape_b = b
        self.cycle_weight = check_number("cycle_weight", cycle_weight)
        self.identity_weight = check_number("identity_weight", identity_weight)
        if a != b and identity_weight:
            raise InputError(
                "identity_weight must be 0 if the two sets have images of different shapes. "
                f"Received: identity_weight={identity_weight} for {a} and {b}."
            )
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)

        blocks = check_count("residual_blocks", residual_blocks, minimum=0)

        def generator(role, custom, takes, makes):
            default = functools.partial(residual_translator, takes, makes, blocks=blocks, name=role)
            return self.make_network(role, custom, default, takes, makes)

        def discriminator(role, custom, takes):
            options = {"normalization": "instance", "name": role}
            default = functools.partial(patchgan_discriminator, takes, **options)
            return self.make_network(role, custom, default, takes, ("rows", "columns", 1))

        self.generator_a_to_b = generator("generator_a_to_b", generator_a_to_b, a, b)
        self.generator_b_to_a = generator("generator_b_to_a", generator_b_to_a, b, a)
        self.discriminator_a = discriminator("discriminator_a", discriminator_a, a)
        self.discriminator_b = discriminator("discriminator_b", discriminator_b, b)

        self.pool_size = check_count("pool_size", pool_size, minimum=0)
        self.pool_a = self.pool_b = None
        if pool_size:
            self.pool_a, self.pool_b = (
                ImagePool(pool_size, dtype=self.dtype_policy) for _ in range(2)
            )
            self.pool_a.build((None, *a))
            self.pool_b.build((None, *b))
        self.built = True

    def default_optimizers(self, learning_rate=None):
        # Section 4: Adam, 2e-4, with the beta_1 of 0.5 in their code. The paper also halves the
        # objective of the discriminators; Adam's updates do not depend on such a factor.
        return adam_pair(2e-4 if learning_rate is None else learning_rate, 0.5)

    def train_step(self, data):
        """Section 3 of Zhu et al. (2017) in the order of their code: G and F, then D_A and D_B."""
        images_a, images_b, batch = self.unpack(data)  # a: (B, h, w, c), b: (B, h, w, d)

        # 1. Generators G: A -> B and F: B -> A. Descend, in both directions,
        #    (D_B(G(a)) - 1)^2 / 2, or another `loss` (Eq. 1),
        #    + lambda ||F(G(a)) - a||_1 (Eq. 2)
        #    + lambda identity_weight ||G(b) - b||_1 (section 5.2).
        with tf.GradientTape() as tape:
            fake_b = self.generator_a_to_b(images_a, training=True)  # (B, h, w, d)
            fake_a = self.generator_b_to_a(images_b, training=True)  # (B, h, w, c)
            cycle_loss = self.cycle_loss(images_a, images_b, fake_a, fake_b, training=True)
            identity_loss = self.identity_loss(images_a, images_b, training=True)
            g_loss = self.generator_loss(self.discriminator_a(fake_a, training=True))
            g_loss += self.generator_loss(self.discriminator_b(fake_b, training=True))
            g_loss += self.cycle_weight * (cycle_loss + self.identity_weight * identity_loss)
        weights = self.optimized_weights()["generator_optimizer"]
        gradients = tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. Discriminators D_A and D_B, on these translations, some of which the image pools
        #    exchange for earlier ones (section 4): descend (D(real) - 1)^2 / 2 + D(fake)^2 / 2.
        if self.pool_size:
            fake_a = self.pool_a(fake_a, seed=self.seed_generator.next())
            fake_b = self.pool_b(fake_b, seed=self.seed_generator.next())
        with tf.GradientTape() as tape:
            d_loss, scores = self.discriminate(images_a, images_b, fake_a, fake_b, training=True)
        weights = self.optimized_weights()["discriminator_optimizer"]
        gradients = tape.gradient(d_loss, weights, batch.share)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Logs.
        losses = {"cycle_loss": cycle_loss, "identity_loss": identity_loss}
        return self.log(batch, g_loss=g_loss, d_loss=d_loss, **losses, **scores)

    def cycle_loss(self, images_a, images_b, fake_a, fake_b, training: bool = False) -> tf.Tensor:
        """The cycle-consistency loss, E||F(G(a)) - a||_1 + E||G(F(b)) - b||_1.

        Args:
            images_a, fake_a: float tensors `(B, *image_shape)`; `fake_a` is F(b).
            images_b, fake_b: float tensors `(B, *image_shape_b)`; `fake_b` is G(a).
            training: bool. Passed to the networks.

        Returns:
            float scalar, means over all values.
        """
        cycled_a = self.generator_b_to_a(fake_b, training=training)  # (B, h, w, c)
        cycled_b = self.generator_a_to_b(fake_a, training=training)  # (B, h, w, d)
        return l1_distance(cycled_a, images_a) + l1_distance(cycled_b, images_b)

    def identity_loss(self, images_a, images_b, training: bool = False) -> tf.Tensor | float:
        """The identity loss, E||F(a) - a||_1 + E||G(b) - b||_1.

        Args:
            images_a: float tensor `(B, *image_shape)`.
            images_b: float tensor `(B, *image_shape_b)`.
            training: bool. Passed to the networks.

        Returns:
            float scalar, means over all values; 0 if its weight is 0.
        """
        if not self.identity_weight:
            return 0.0
        same_a = self.generator_b_to_a(images_a, training=training)
        same_b = self.generator_a_to_b(images_b, training=training)
        return l1_distance(same_a, images_a) + l1_distance(same_b, images_b)

    def discriminate(self, images_a, images_b, fake_a, fake_b, training: bool = False) -> tuple:
        """The loss and the scores of both discriminators.

        Args:
            images_a, fake_a: float tensors `(B, *image_shape)`, real and translated.
            images_b, fake_b: float tensors `(B, *image_shape_b)`, likewise.
            training: bool. Passed to the networks.

        Returns:
            float scalar, the sum of both losses; dict of `real_score` and `fake_score`, means
            over both discriminators, in [0, 1].
        """
        real_logits_a = self.discriminator_a(images_a, training=training)  # (B, h', w', 1)
        fake_logits_a = self.discriminator_a(fake_a, training=training)
        real_logits_b = self.discriminator_b(images_b, training=training)
        fake_logits_b = self.discriminator_b(fake_b, training=training)
        d_loss = self.discriminator_loss(real_logits_a, fake_logits_a)
        d_loss += self.discriminator_loss(real_logits_b, fake_logits_b)
        scores_a = mean_scores(real_logits_a, fake_logits_a)
        scores_b = mean_scores(real_logits_b, fake_logits_b)
        return d_loss, {name: (scores_a[name] + scores_b[name]) / 2 for name in scores_a}

    def test_step(self, data):
        """The losses on held-out images, without an update or the pools."""
        images_a, images_b, batch = self.unpack(data)
        fake_b = self.generator_a_to_b(images_a, training=False)
        fake_a = self.generator_b_to_a(images_b, training=False)
        cycle_loss = self.cycle_loss(images_a, images_b, fake_a, fake_b)
        identity_loss = self.identity_loss(images_a, images_b)
        g_loss = self.generator_loss(self.discriminator_a(fake_a, training=False))
        g_loss += self.generator_loss(self.discriminator_b(fake_b, training=False))
        g_loss += self.cycle_weight * (cycle_loss + self.identity_weight * identity_loss)
        d_loss, scores = self.discriminate(images_a, images_b, fake_a, fake_b)
        losses = {"cycle_loss": cycle_loss, "identity_loss": identity_loss}
        return self.log(batch, g_loss=g_loss, d_loss=d_loss, **losses, **scores)

    def call(self, images, training: bool = False) -> tf.Tensor:
        """G(a), translations from A to B.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1].
            training: bool. Passed to the network.

        Returns:
            float tensor `(n, *image_shape_b)` in [-1, 1].
        """
        return self.generator_a_to_b(images, training=training)

    def _a_from_b(self, images):
        return self.generator_b_to_a(images, training=False)  # F(b)

    def _a_from_a(self, images):
        return self._a_from_b(self.call(images))  # F(G(a))

    def _b_from_b(self, images):
        return self.call(self._a_from_b(images))  # G(F(b))

    def translate(
        self, images: ArrayLike, reverse: bool = False, *, batch_size: int = 256
    ) -> np.ndarray:
        """Translates images from A to B, in batches.

        Args:
            images: float array `(n, *image_shape)` in [-1, 1]; of B with `reverse`.
            reverse: bool. Whether to translate from B to A.
            batch_size: int. Images per batch.

        Returns:
            NumPy float32 array `(n, *image_shape_b)` in [-1, 1]; of A with `reverse`.

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        method, shape = ("_a_from_b", "image_shape_b") if reverse else ("call", "image_shape")
        return self._run_in_batches(method, self.checked_images(images, shape), batch_size)

    def reconstruct(
        self, images: ArrayLike, reverse: bool = False, *, batch_size: int = 256
    ) -> np.ndarray:
        """Translates images to the other set and back: F(G(a)), or G(F(b)) with `reverse`.

        Args:
            images, reverse, batch_size: see `translate`.

        Returns:
            NumPy float32 array of the shape of `images`, in [-1, 1].

        Raises:
            InputError: images of the wrong shape, type or range.
        """
        method, shape = ("_b_from_b", "image_shape_b") if reverse else ("_a_from_a", "image_shape")
        return self._run_in_batches(method, self.checked_images(images, shape), batch_size)

    def signatures(self) -> dict:
        def discriminate(images):
            return {"logits": self.discriminator_b(images, training=False)}

        spec_b = tf.TensorSpec((None, *self.image_shape_b), tf.float32, name="images")
        translate_back = (lambda images: {"images": self._a_from_b(images)}), [spec_b]
        return {
            **super().signatures(),
            "translate_back": translate_back,
            "discriminate": (discriminate, [spec_b]),
        }
