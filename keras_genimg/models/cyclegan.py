"""CycleGAN: translation between two sets of pictures without pairs."""

import functools

import keras
import tensorflow as tf

from keras_genimg.errors import InputError
from keras_genimg.layers import PicturePool
from keras_genimg.losses import get_adversarial_loss
from keras_genimg.models.checks import check_number
from keras_genimg.models.translation import TranslationModel
from keras_genimg.models.two_players import adam_pair, serialized_loss
from keras_genimg.networks import (
    check_count,
    check_image_shape,
    patchgan_discriminator,
    residual_translator,
)

__all__ = ["CycleGAN"]


def mean_error(images, others):
    """Mean absolute difference."""
    return tf.reduce_mean(tf.abs(images - others))


@keras.saving.register_keras_serializable(package="keras_genimg")
class CycleGAN(TranslationModel):
    """Unpaired translation, both ways (Zhu et al., 2017).

    A generator G turns pictures of set A into pictures like those of set B, a generator F
    those of B into pictures like those of A; a discriminator of each set tells real from
    translated. What went there and back must be as it was, so that a translation keeps
    what is in the picture. It is trained on `(images_a, images_b)` that do not belong
    together: a batch of each, of the same number of pictures.

    Args:
        image_shape: tuple (height, width, channels) of set A; with the default networks
            height and width are multiples of 4 from 16 to 256.
        image_shape_b: tuple (height, width, channels) of set B, `image_shape` by default;
            with the default networks of the same height and width.
        cycle_weight: float. Weight of the way there and back (lambda in Eq. 3).
        identity_weight: float. Weight, times `cycle_weight`, of leaving alone what is in the
            set already (section 5.2, which keeps colours as they are); 0 for none, as
            pictures of two shapes need it.
        pool_size: int. Earlier translations of each kind that are kept for the
            discriminators (`layers.PicturePool`); 0 for none.
        residual_blocks: int. Of each default generator: more for pictures larger than 32x32
            (the paper has 6 at 128x128).
        generator_a_to_b: `keras.Model` of one's own, G.
        generator_b_to_a: `keras.Model` of one's own, F.
        discriminator_a: `keras.Model` of one's own, pictures of A to logits
            `(batch, h', w', 1)`, one a patch.
        discriminator_b: `keras.Model` of one's own, likewise for B.
        loss: `"least_squares"`, `"non_saturating"`, `"minimax"`, `"hinge"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Makes the choice from the pools repeatable.

    Logs, each the sum of both directions: `g_loss` (all that G and F descend), `cycle_loss`,
    `identity_loss` (mean absolute errors, without their weights), `d_loss`; and the mean of
    sigmoid(logit) on real and on translated pictures, `real_score` and `fake_score`.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> model = CycleGAN(image_shape=(28, 28, 1))
    >>> model.compile()
    >>> model.translate(np.zeros((4, 28, 28, 1), "float32"), reverse=True).shape
    (4, 28, 28, 1)

    Reference: https://arxiv.org/abs/1703.10593; least squares here have the factor 1/2 of
        Mao et al. (2017), the paper's have not
    """

    pair = ("images_a", "images_b")

    def __init__(
        self,
        image_shape=(32, 32, 1),
        image_shape_b=None,
        *,
        cycle_weight=10.0,
        identity_weight=0.5,
        pool_size=50,
        residual_blocks=3,
        generator_a_to_b=None,
        generator_b_to_a=None,
        discriminator_a=None,
        discriminator_b=None,
        loss="least_squares",
        seed=None,
        **kwargs,
    ):
        networks = {
            "generator_a_to_b": generator_a_to_b,
            "generator_b_to_a": generator_b_to_a,
            "discriminator_a": discriminator_a,
            "discriminator_b": discriminator_b,
        }
        default = None in networks.values()
        a = check_image_shape(image_shape, default)
        b = a if image_shape_b is None else image_shape_b
        b = check_image_shape(b, default, name="image_shape_b")
        super().__init__(a, a, seed=seed, **kwargs)
        self.image_shape_b = b
        self.cycle_weight = check_number("cycle_weight", cycle_weight)
        self.identity_weight = check_number("identity_weight", identity_weight)
        if a != b and identity_weight:
            raise InputError(
                "identity_weight must be 0 where the two sets have pictures of different shapes. "
                f"Received: identity_weight={identity_weight} for {a} and {b}."
            )
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)

        self.residual_blocks = blocks = check_count("residual_blocks", residual_blocks, minimum=0)
        # name -> what it takes, what it makes, how the default is made
        patches = ("rows", "columns", 1)
        expected = {
            "generator_a_to_b": (a, b, lambda name: residual_translator(a, b, 16, blocks, name)),
            "generator_b_to_a": (b, a, lambda name: residual_translator(b, a, 16, blocks, name)),
            "discriminator_a": (a, patches, lambda name: _patchgan(a, name)),
            "discriminator_b": (b, patches, lambda name: _patchgan(b, name)),
        }
        self.own_networks = {name: network is not None for name, network in networks.items()}
        for name, (takes, makes, make) in expected.items():
            side = "generator" if "generator" in name else "discriminator"
            self.adopt(name, networks[name], functools.partial(make, name), takes, [makes], side)

        self.pool_size = check_count("pool_size", pool_size, minimum=0)
        self.pool_a = self.pool_b = None
        if pool_size:
            self.pool_a, self.pool_b = PicturePool(pool_size), PicturePool(pool_size)
            self.pool_a.build((None, *a))
            self.pool_b.build((None, *b))
        self.built = True

    @property
    def pair_shape(self):
        return self.image_shape_b

    def default_optimizers(self, learning_rate=None):
        # Section 4: Adam, 2e-4, with the beta_1 of 0.5 of their code. (That the paper halves
        # the objective of the discriminators is no matter to Adam.)
        return adam_pair(2e-4 if learning_rate is None else learning_rate, 0.5)

    def optimized_weights(self):
        return {
            "generator_optimizer": [
                *self.generator_a_to_b.trainable_variables,
                *self.generator_b_to_a.trainable_variables,
            ],
            "discriminator_optimizer": [
                *self.discriminator_a.trainable_variables,
                *self.discriminator_b.trainable_variables,
            ],
        }

    def train_step(self, data):
        """Section 3 of Zhu et al. (2017) in the order of their code: G and F, then D_A and D_B."""
        images_a, images_b, batch = self.unpack(data)  # (B, h, w, c), (B, h, w, d)
        weights = self.optimized_weights()

        # 1. One step of G: A -> B and F: B -> A. Descend, in both directions,
        #    (D_B(G(a)) - 1)^2 / 2, or what `loss` has in its place (Eq. 1),
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
            shared_loss = g_loss * batch.share
        gradients = tape.gradient(shared_loss, weights["generator_optimizer"])
        self.generator_optimizer.apply_gradients(zip(gradients, weights["generator_optimizer"]))

        # 2. One step of D_A and D_B on these translations, some of which are exchanged for
        #    earlier ones (section 4): descend (D(real) - 1)^2 / 2 + D(fake)^2 / 2.
        if self.pool_size:
            fake_a = self.pool_a(fake_a, seed=self.seed_generator.next())
            fake_b = self.pool_b(fake_b, seed=self.seed_generator.next())
        with tf.GradientTape() as tape:
            d_loss, scores = self.judge(images_a, images_b, fake_a, fake_b, training=True)
            shared_loss = d_loss * batch.share
        gradients = tape.gradient(shared_loss, weights["discriminator_optimizer"])
        self.discriminator_optimizer.apply_gradients(
            zip(gradients, weights["discriminator_optimizer"])
        )

        # 3. Logs.
        return self.log(
            batch,
            g_loss=g_loss,
            d_loss=d_loss,
            cycle_loss=cycle_loss,
            identity_loss=identity_loss,
            **scores,
        )

    def cycle_loss(self, images_a, images_b, fake_a, fake_b, training=False):
        """E||F(G(a)) - a||_1 + E||G(F(b)) - b||_1.

        Args:
            images_a, fake_a: float tensors `(B, *image_shape)`; `fake_a` is F(b).
            images_b, fake_b: float tensors `(B, *image_shape_b)`; `fake_b` is G(a).
            training: bool. How the networks are called.

        Returns:
            float scalar, means over all values.
        """
        back_a = self.generator_b_to_a(fake_b, training=training)  # (B, h, w, c)
        back_b = self.generator_a_to_b(fake_a, training=training)  # (B, h, w, d)
        return mean_error(back_a, images_a) + mean_error(back_b, images_b)

    def identity_loss(self, images_a, images_b, training=False):
        """E||F(a) - a||_1 + E||G(b) - b||_1.

        Args:
            images_a: float tensor `(B, *image_shape)`.
            images_b: float tensor `(B, *image_shape_b)`.
            training: bool. How the networks are called.

        Returns:
            float scalar, means over all values; 0 where it has no weight.
        """
        if not self.identity_weight:
            return 0.0
        same_a = self.generator_b_to_a(images_a, training=training)
        same_b = self.generator_a_to_b(images_b, training=training)
        return mean_error(same_a, images_a) + mean_error(same_b, images_b)

    def judge(self, images_a, images_b, fake_a, fake_b, training=False):
        """The loss and the scores of both discriminators.

        Args:
            images_a, fake_a: float tensors `(B, *image_shape)`, real and translated.
            images_b, fake_b: float tensors `(B, *image_shape_b)`, likewise.
            training: bool. How the networks are called.

        Returns:
            float scalar, the sum of both losses; dict of `real_score` and `fake_score`, in [0, 1].
        """
        real_logits_a = self.discriminator_a(images_a, training=training)  # (B, h', w', 1)
        fake_logits_a = self.discriminator_a(fake_a, training=training)
        real_logits_b = self.discriminator_b(images_b, training=training)
        fake_logits_b = self.discriminator_b(fake_b, training=training)
        d_loss = self.discriminator_loss(real_logits_a, fake_logits_a)
        d_loss += self.discriminator_loss(real_logits_b, fake_logits_b)

        def score(*logits):
            return sum(tf.reduce_mean(tf.sigmoid(each)) for each in logits) / len(logits)

        return d_loss, {
            "real_score": score(real_logits_a, real_logits_b),
            "fake_score": score(fake_logits_a, fake_logits_b),
        }

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update or a pool."""
        images_a, images_b, batch = self.unpack(data)
        fake_b = self.generator_a_to_b(images_a, training=False)
        fake_a = self.generator_b_to_a(images_b, training=False)
        cycle_loss = self.cycle_loss(images_a, images_b, fake_a, fake_b)
        identity_loss = self.identity_loss(images_a, images_b)
        g_loss = self.generator_loss(self.discriminator_a(fake_a, training=False))
        g_loss += self.generator_loss(self.discriminator_b(fake_b, training=False))
        g_loss += self.cycle_weight * (cycle_loss + self.identity_weight * identity_loss)
        d_loss, scores = self.judge(images_a, images_b, fake_a, fake_b)
        return self.log(
            batch,
            g_loss=g_loss,
            d_loss=d_loss,
            cycle_loss=cycle_loss,
            identity_loss=identity_loss,
            **scores,
        )

    def call(self, images, training=False):
        """What G makes of pictures of A.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1].
            training: bool. How the networks are called.

        Returns:
            float32 tensor `(n, *image_shape_b)` in [-1, 1].
        """
        return self.generator_a_to_b(images, training=training)

    def call_back(self, images):
        """What F makes of pictures of B.

        Args:
            images: float tensor `(n, *image_shape_b)` in [-1, 1].

        Returns:
            float32 tensor `(n, *image_shape)` in [-1, 1].
        """
        return self.generator_b_to_a(images, training=False)

    def call_cycle(self, images):
        """F(G(a)) of pictures of A.

        Args:
            images: float tensor `(n, *image_shape)` in [-1, 1].

        Returns:
            float32 tensor of the same shape.
        """
        return self.call_back(self.call(images))

    def call_cycle_back(self, images):
        """G(F(b)) of pictures of B.

        Args:
            images: float tensor `(n, *image_shape_b)` in [-1, 1].

        Returns:
            float32 tensor of the same shape.
        """
        return self.call(self.call_back(images))

    def translate(self, images, reverse=False, *, batch_size=256):
        """Translates pictures of A into B, in batches.

        Args:
            images: float array `(n, *image_shape)` in [-1, 1], of B where `reverse`.
            reverse: bool. Whether pictures of B are translated into A.
            batch_size: int. Pictures translated at once.

        Returns:
            NumPy float32 array `(n, *image_shape_b)` in [-1, 1], of A where `reverse`.

        Raises:
            InputError: pictures of another shape, type or range.
        """
        return self._make("call_back" if reverse else "call", images, reverse, batch_size)

    def reconstruct(self, images, reverse=False, *, batch_size=256):
        """Translates pictures there and back: F(G(a)), or G(F(b)) where `reverse`.

        Args:
            images, reverse, batch_size: as for `translate`.

        Returns:
            NumPy float32 array of the shape of `images`, in [-1, 1].

        Raises:
            InputError: pictures of another shape, type or range.
        """
        name = "call_cycle_back" if reverse else "call_cycle"
        return self._make(name, images, reverse, batch_size)

    def _make(self, method, images, reverse, batch_size):
        shape = self.image_shape_b if reverse else self.image_shape
        return self._run_in_batches(method, self.checked_images(images, shape), batch_size)

    def signatures(self):
        def discriminate(images):
            return {"logits": self.discriminator_b(images, training=False)}

        spec_b = tf.TensorSpec((None, *self.image_shape_b), tf.float32, name="images")
        translate_back = (lambda images: {"images": self.call_back(images)}), [spec_b]
        return {
            **super().signatures(),
            "translate_back": translate_back,
            "discriminate": (discriminate, [spec_b]),
        }

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "image_shape_b": list(self.image_shape_b),
            "cycle_weight": self.cycle_weight,
            "identity_weight": self.identity_weight,
            "pool_size": self.pool_size,
            "residual_blocks": self.residual_blocks,
            "loss": serialized_loss(self.loss_name),
            **{
                name: serialize(getattr(self, name)) if own else None
                for name, own in self.own_networks.items()
            },
        }


def _patchgan(image_shape, name):
    return patchgan_discriminator(image_shape, normalization="instance", name=name)
