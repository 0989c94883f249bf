"""VQGAN: grids of codes that pictures can be made of without blur (Esser et al., 2021)."""

import functools

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.errors import InputError
from keras_genimg.losses import get_adversarial_loss, perceptual_loss
from keras_genimg.models.checks import adopt_network, check_number
from keras_genimg.models.translation import scores
from keras_genimg.models.two_players import TwoPlayerModel, adam_pair, serialized_loss
from keras_genimg.models.vq_vae import VQVAE
from keras_genimg.networks import check_count, patchgan_discriminator
from keras_genimg.placement import device_of, run_on, scope

__all__ = ["VQGAN"]

DELTA = 1e-6  # of Eq. 7
HIGHEST_WEIGHT = 1e4  # as the authors' program has it


def adaptive_weight(reconstruction_gradient, adversarial_gradient):
    """lambda of Eq. 7: |grad L_rec| / (|grad L_GAN| + delta), at most 10^4, as a constant.

    With it both losses pull equally hard at the decoder's last layer.

    Args:
        reconstruction_gradient: float tensor, the gradient of the last layer's weights.
        adversarial_gradient: float tensor of the same shape.

    Returns:
        float32 scalar.
    """
    lengths = [tf.norm(g) for g in (reconstruction_gradient, adversarial_gradient)]
    ratio = lengths[0] / (lengths[1] + DELTA)
    return tf.stop_gradient(tf.clip_by_value(ratio, 0.0, HIGHEST_WEIGHT))


@keras.saving.register_keras_serializable(package="keras_genimg")
class VQGAN(VQVAE):
    """Vector-quantised autoencoder against a discriminator (Esser et al., 2021).

    A `VQVAE` whose reconstructions are to be near the pictures in what a network sees in them,
    and whose parts a discriminator D is not to tell from those of true pictures: they stay sharp
    where a squared error would blur, so that fewer codes do for a picture. Codes, `fit_prior`
    and `generate` are those of `VQVAE`.

    The error of the pixels is the mean absolute one, as in the authors' program: Eq. 4 prints
    the squared one, which pulls hardest at the few pixels that only D can put right.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_embeddings, embedding_dim, commitment_cost, ema_decay, dead_code_threshold, gradient,
            levels, networks, network_options, encoder, prior: as `VQVAE` has them.
        decoder: `keras.Model` of one's own, `(batch, h, w, D)` to images. The last of its
            trainable weights with two axes or more is the last layer of Eq. 7.
        discriminator: `keras.Model` of one's own, pictures to logits `(batch, h', w', 1)`, one
            a patch.
        adversarial_weight: float. Factor of the adaptive weight (lambda in Eq. 6 and 7) of the
            adversarial loss. 0 trains by the other terms alone and leaves D as it is.
        adversarial_start_step: int. Steps before D and the adversarial loss come in; until then
            lambda is 0 and D stays as it is.
        content_network: `keras.Model` of one's own, pictures in [-1, 1] to a feature map or a
            list of them, in whose features content is compared (LPIPS's VGG in the paper); it
            is frozen and saved along. None compares pixels alone.
        perceptual_weight: float. Weight of the distance in those features beside the pixels'.
        loss: `"hinge"`, `"non_saturating"`, `"minimax"`, `"least_squares"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Makes the codebook's start and replacements repeatable.

    Logs: `loss` (all that the autoencoder descends), `reconstruction_loss` (mean absolute
    error), `perceptual_loss` with a content network, `vq_loss`, `g_loss` (the adversarial loss,
    without a weight), `adaptive_weight` (lambda), `d_loss`, the mean of sigmoid(logit) on
    pictures and on reconstructions, `real_score` and `fake_score`, and `perplexity` and
    `codes_used` as `VQVAE` has them.

    Raises:
        InputError: arguments that do not fit, told in one sentence.

    Example:
    >>> vq_gan = VQGAN(image_shape=(32, 32, 3), num_embeddings=512)
    >>> vq_gan.compile()
    >>> vq_gan.encode(vq_gan.reconstruct(np.zeros((2, 32, 32, 3), "float32"))).shape
    (2, 8, 8)

    Reference: https://arxiv.org/abs/2012.09841
    """

    def __init__(
        self,
        image_shape=(32, 32, 3),
        num_embeddings=512,
        embedding_dim=64,
        *,
        commitment_cost=0.25,
        ema_decay=0.99,
        dead_code_threshold=0.1,
        gradient="straight_through",
        levels=None,
        networks="residual",
        network_options=None,
        encoder=None,
        decoder=None,
        prior=None,
        discriminator=None,
        adversarial_weight=0.8,
        adversarial_start_step=2000,
        content_network=None,
        perceptual_weight=1.0,
        loss="hinge",
        seed=None,
        **kwargs,
    ):
        device = device_of("generator")
        with scope(device):
            super().__init__(
                image_shape, num_embeddings, embedding_dim, commitment_cost=commitment_cost,
                ema_decay=ema_decay, dead_code_threshold=dead_code_threshold, gradient=gradient,
                levels=levels, networks=networks, network_options=network_options, encoder=encoder,
                decoder=decoder, prior=prior, seed=seed,
                data_variance=1.0, **kwargs,  # not of an absolute error
            )
        self.devices = {"generator": device}
        for network in (self.encoder, self.decoder):
            run_on(device, network)
        if not self._decoder_kernels():
            raise InputError(
                "decoder must have trainable weights with two axes or more, by whose gradients the "
                f"adversarial loss is weighted. Received: {decoder!r}."
            )
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight)
        self.adversarial_start_step = check_count(
            "adversarial_start_step", adversarial_start_step, minimum=0
        )
        self.perceptual_weight = check_number("perceptual_weight", perceptual_weight)
        self.loss_name = loss
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self._own_discriminator = discriminator is not None
        self.adopt(
            "discriminator", discriminator,
            lambda: patchgan_discriminator(self.image_shape, normalization="instance"),
            self.image_shape, [("rows", "columns", 1)],
        )
        self.content_network = None
        if content_network is not None:
            self.content_network = adopt_network(
                "content_network", content_network, self.image_shape, None
            )
            self.content_network.trainable = False

    # Two optimizers and networks on devices of their own: the same for all who play against D.
    adopt = TwoPlayerModel.adopt
    compile = TwoPlayerModel.compile
    optimizer_devices = TwoPlayerModel.optimizer_devices

    def default_optimizers(self, learning_rate=None):
        # The authors' program: Adam with betas of 0.5 and 0.9, and a rate of 4.5e-6 times the
        # pictures in a batch, here the 64 that the command line has.
        return adam_pair(64 * 4.5e-6 if learning_rate is None else learning_rate, 0.5, 0.9)

    def optimized_weights(self):
        networks = (self.encoder, self.quantizer, self.decoder)
        return {
            "generator_optimizer": [w for part in networks for w in part.trainable_variables],
            "discriminator_optimizer": self.discriminator.trainable_variables,
        }

    def train_step(self, data):
        """A step of encoder, codebook and decoder, then one of D (Eq. 6), on pictures x."""
        images, _, batch = self.unpack(data)  # x (B, H, W, c)
        playing = self.playing()  # 0 before `adversarial_start_step`, then 1

        # 1. The codes of x, the reconstruction x^ = G(z_q), what x^ lacks (L_rec: pixels and
        #    content), and what D makes of it (L_GAN).
        with tf.GradientTape(persistent=True) as tape:
            vectors = self.encoder(images, training=True)  # (B, h, w, D)
            quantized, indices, vq_loss = self.quantizer(vectors, training=True)
            outputs = self.decoder(quantized, training=True)  # (B, H, W, c)
            l1_loss, content = self.errors_of(images, outputs)
            rec_loss = l1_loss + self.perceptual_weight * content
            g_loss = self.generator_loss(self.discriminator(outputs, training=True))

        # 2. lambda, by the gradients of G's last layer over the global batch (Eq. 7).
        last = self.last_kernel
        pulls = [batch.share * tape.gradient(term, last) for term in (rec_loss, g_loss)]
        weight = playing * adaptive_weight(*distribution.sum_over_replicas(pulls))

        # 3. One step of encoder, codebook and G: descend L_VQ + lambda L_GAN (Eq. 6).
        with tape:
            loss = rec_loss + vq_loss + self.adversarial_weight * weight * g_loss
            shared_loss = loss * batch.share
        weights = self.optimized_weights()["generator_optimizer"]
        gradients = tape.gradient(shared_loss, weights)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))

        # 4. One step of D on x and on those x^ (Eq. 5).
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, h', w', 1)
            fake_logits = self.discriminator(outputs, training=True)  # (B, h', w', 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
            shared_loss = playing * d_loss * batch.share
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(shared_loss, weights)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 5. Logs.
        judged = scores(d_loss, real_logits, fake_logits)
        logs = self._log_terms(batch, loss, l1_loss, vq_loss, indices)
        return {**logs, **self._log_game(batch, content, g_loss, weight, judged)}

    def test_step(self, data):
        """The losses on pictures that were not trained on, without an update."""
        images, _, batch = self.unpack(data)
        quantized, indices, vq_loss = self.quantizer(self.encoder(images, training=False))
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.decoder(quantized, training=False)
            l1_loss, content = self.errors_of(images, outputs)
            rec_loss = l1_loss + self.perceptual_weight * content
            fake_logits = self.discriminator(outputs, training=False)
            g_loss = self.generator_loss(fake_logits)
        last = self.last_kernel
        pulls = [batch.share * tape.gradient(term, last) for term in (rec_loss, g_loss)]
        weight = self.playing() * adaptive_weight(*distribution.sum_over_replicas(pulls))
        loss = rec_loss + vq_loss + self.adversarial_weight * weight * g_loss
        real_logits = self.discriminator(images, training=False)
        d_loss = self.discriminator_loss(real_logits, fake_logits)
        judged = scores(d_loss, real_logits, fake_logits)
        logs = self._log_terms(batch, loss, l1_loss, vq_loss, indices)
        return {**logs, **self._log_game(batch, content, g_loss, weight, judged)}

    def playing(self):
        """Whether the discriminator is in the game.

        Returns:
            float32 scalar: 1 from `adversarial_start_step` on; 0 before it, and without an
            adversarial weight.
        """
        started = self.generator_optimizer.iterations >= self.adversarial_start_step
        return tf.cast(started, tf.float32) * float(self.adversarial_weight > 0)

    def errors_of(self, images, outputs):
        """What reconstructions lack, in pixels and in features.

        Args:
            images: float tensor `(B, H, W, c)` in [-1, 1].
            outputs: float tensor of the same shape, the reconstructions.

        Returns:
            two float scalars: the mean absolute error, and the perceptual loss, 0 without a
            content network.
        """
        l1_loss = tf.reduce_mean(tf.abs(images - outputs))
        if self.content_network is None:
            return l1_loss, 0.0
        see = functools.partial(self.content_network, training=False)
        return l1_loss, perceptual_loss(images, outputs, see)

    @property
    def last_kernel(self):
        """The weights of the decoder's last layer, without its bias: G_L in Eq. 7."""
        return self._decoder_kernels()[-1]

    def _decoder_kernels(self):
        return [weight for weight in self.decoder.trainable_variables if len(weight.shape) > 1]

    def _log_game(self, batch, content, g_loss, weight, judged):
        seen = {} if self.content_network is None else {"perceptual_loss": content}
        return self.log(batch, **seen, g_loss=g_loss, adaptive_weight=weight, **judged)

    def signatures(self):
        def discriminate(images):
            return {"logits": self.discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        config = super().get_config()
        del config["data_variance"]  # no argument here
        content = self.content_network
        return {
            **config,
            "discriminator": serialize(self.discriminator) if self._own_discriminator else None,
            "adversarial_weight": self.adversarial_weight,
            "adversarial_start_step": self.adversarial_start_step,
            "content_network": None if content is None else serialize(content),
            "perceptual_weight": self.perceptual_weight,
            "loss": serialized_loss(self.loss_name),
        }
