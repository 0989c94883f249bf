"""VQGAN: a VQ-VAE with sharp reconstructions (Esser et al., 2021)."""

import functools

import keras
import tensorflow as tf

from keras_genimg import distribution
from keras_genimg.checks import check_count, check_number
from keras_genimg.core import AdversarialModel, adam_pair, mean_scores
from keras_genimg.errors import InputError
from keras_genimg.losses import get_adversarial_loss, perceptual_loss
from keras_genimg.models.vq_vae import VQVAE
from keras_genimg.networks import patchgan_discriminator
from keras_genimg.placement import device_of, scope
from keras_genimg.precision import at_least_float32

__all__ = ["VQGAN"]

DELTA = 1e-6  # of Eq. 7
HIGHEST_WEIGHT = 1e4  # same as the authors' code


def adaptive_weight(reconstruction_gradient, adversarial_gradient) -> tf.Tensor:
    """lambda of Eq. 7: |grad L_rec| / (|grad L_GAN| + delta), at most 10^4, as a constant.

    It gives the gradients of both losses in the decoder's last layer the same length.

    Args:
        reconstruction_gradient: float tensor, the gradient of the last layer's weights.
        adversarial_gradient: float tensor of the same shape.

    Returns:
        float scalar.
    """
    lengths = [tf.norm(g) for g in (reconstruction_gradient, adversarial_gradient)]
    ratio = lengths[0] / (lengths[1] + DELTA)
    return tf.stop_gradient(tf.clip_by_value(ratio, 0.0, HIGHEST_WEIGHT))


@keras.saving.register_keras_serializable(package="keras_genimg")
class VQGAN(VQVAE, AdversarialModel):
    """Vector-quantised autoencoder with an adversarial loss (Esser et al., 2021).

    A `VQVAE` with two more losses: reconstructions must match the images in the features of a
    network, and a discriminator D must not distinguish their patches from real ones. They stay
    sharp where a squared error would blur, so that fewer codes per image suffice. Codes,
    `fit_prior` and `generate` are those of `VQVAE`.

    Args:
        image_shape: tuple (height, width, channels); with the default networks
            height and width are multiples of 4 from 16 to 256.
        num_embeddings, embedding_dim, commitment_cost, ema_decay, dead_code_threshold, gradient,
            levels, network_options, encoder, prior: see `VQVAE`.
        downsampling: 4, 8 or 16. Sides of the image relative to those of the grid of codes, with
            the default networks (f in the paper).
        networks: the default networks, see `VQVAE`; `"attention"`, with 32 filters instead of 128
            (`network_options={"filters": 128}`), are those of the paper.
        decoder: custom `keras.Model`, `(batch, h, w, D)` to images. The last of its
            trainable weights with two axes or more is the last layer of Eq. 7.
        discriminator: custom `keras.Model`, images to logits `(batch, h', w', 1)`, one per patch.
        adversarial_weight: float. Factor of the adaptive weight (lambda in Eq. 6 and 7) of the
            adversarial loss. 0 trains on the other terms alone and leaves D unchanged.
        adversarial_start_step: int. Steps before the adversarial loss starts; until then
            lambda is 0 and D is not updated.
        content_network: the network in whose features content is compared (LPIPS's VGG in the
            paper): a name, such as "vgg16", or the path of a `.keras` file, whose last activations
            at each size are taken (`networks.feature_maps`); or a `keras.Model` of images in
            [-1, 1] to a feature map or a list of them. It is frozen, and saved with the model. None
            compares pixels alone.
        perceptual_weight: float. Weight of the distance in those features relative to the
            pixel error.
        loss: `"hinge"`, `"non_saturating"`, `"minimax"`, `"least_squares"`,
            `"wasserstein"`, or a pair of functions `(generator_loss(fake_logits),
            discriminator_loss(real_logits, fake_logits))`.
        seed: int, optional. Makes the codebook's initial values and replacements reproducible.

    Logs: `loss` (the whole loss of the autoencoder), `reconstruction_loss` (mean absolute
    error), `perceptual_loss` with a content network, `vq_loss`, `g_loss` (the adversarial loss,
    without a weight), `adaptive_weight` (lambda), `d_loss`, the mean of sigmoid(logit) on
    images and on reconstructions, `real_score` and `fake_score`, and `perplexity` and
    `codes_used`, see `VQVAE`.

    Differences: the pixel error is the mean absolute error, as in the authors' code; Eq. 4 has the
    squared error, whose gradient is largest at the few pixels that only D can fix. By default
    there is no content network; with one, features are compared as in LPIPS, but with all channel
    weights 1 instead of learned ones (`losses.perceptual_loss`). The codebook follows moving
    averages instead of gradients, encoder and decoder are those of `VQVAE`, without attention, and
    D has instance normalisation, in the authors' code batch normalisation.

    Raises:
        InputError: invalid arguments.

    Example:
    >>> vq_gan = VQGAN(image_shape=(32, 32, 3), num_embeddings=512)
    >>> vq_gan.compile()
    >>> vq_gan.encode(vq_gan.reconstruct(np.zeros((2, 32, 32, 3), "float32"))).shape
    (2, 8, 8)

    Reference: https://arxiv.org/abs/2012.09841
    """

    about = "VQ-VAE with an adversarial loss"
    paper = "Esser et al., 2021"
    weighs_images = False

    optimized_networks = {
        "generator_optimizer": ("encoder", "quantizer", "decoder"),
        "discriminator_optimizer": ("discriminator",),
    }

    def __init__(
        self, image_shape=(32, 32, 3), num_embeddings: int = 512, embedding_dim: int = 64, *,
        commitment_cost: float = 0.25, ema_decay: float | None = 0.99,
        dead_code_threshold: float | None = 0.1, gradient: str = "straight_through", levels=None,
        downsampling: int = 4, networks: str = "residual", network_options: dict | None = None,
        encoder=None, decoder=None, prior=None, discriminator=None, adversarial_weight: float = 0.8,
        adversarial_start_step: int = 2000, content_network=None, perceptual_weight: float = 1.0,
        loss="hinge", seed: int | None = None, **kwargs,
    ):
        with scope(device_of("generator")):  # the codebook too
            super().__init__(
                image_shape, num_embeddings, embedding_dim, commitment_cost=commitment_cost,
                ema_decay=ema_decay, dead_code_threshold=dead_code_threshold, gradient=gradient,
                levels=levels, downsampling=downsampling, networks=networks,
                network_options=network_options, encoder=encoder, decoder=decoder, prior=prior,
                seed=seed, data_variance=1.0, **kwargs,  # for squared errors only
            )
        if not self._decoder_kernels():
            raise InputError(
                "decoder must have trainable weights with two axes or more, whose gradients weight "
                f"the adversarial loss. Received: {decoder!r}."
            )
        self.adversarial_weight = check_number("adversarial_weight", adversarial_weight)
        self.adversarial_start_step = check_count(
            "adversarial_start_step", adversarial_start_step, minimum=0
        )
        self.perceptual_weight = check_number("perceptual_weight", perceptual_weight)
        self.generator_loss, self.discriminator_loss = get_adversarial_loss(loss)
        self.discriminator = self.make_network(
            "discriminator", discriminator,
            lambda: patchgan_discriminator(self.image_shape, normalization="instance"),
            takes=self.image_shape, makes=("rows", "columns", 1),
        )
        self.content_network = self.make_frozen(
            "content_network", content_network, takes=self.image_shape
        )

    def default_optimizers(self, learning_rate=None):
        # The authors' code: Adam with betas of 0.5 and 0.9, and a rate of 4.5e-6 times the
        # batch size, here 64, the default of the command line.
        return adam_pair(64 * 4.5e-6 if learning_rate is None else learning_rate, 0.5, 0.9)

    def train_step(self, data):
        """An update of encoder, codebook and decoder, then one of D (Eq. 6), on images x."""
        images, _, batch = self.unpack(data)  # x (B, H, W, c)
        active = self.adversarial_active()  # 0 before `adversarial_start_step`, then 1

        # 1. The codes of x, the reconstruction x^ = G(z_q), its errors (L_rec: pixels and
        #    content), and the adversarial loss by D(x^) (L_GAN).
        with tf.GradientTape(persistent=True) as tape:
            vectors = self.encoder(images, training=True)  # (B, h, w, D)
            quantized, codes, vq_loss = self.quantizer(vectors, training=True)
            outputs = self.decoder(quantized, training=True)  # (B, H, W, c)
            l1_loss, content = self.errors_of(images, outputs)
            rec_loss = l1_loss + self.perceptual_weight * content
            g_loss = self.generator_loss(self.discriminator(outputs, training=True))

        # 2. lambda, by the gradients of G's last layer over the global batch (Eq. 7).
        kernel = self.last_kernel
        gradients = [tape.gradient(term, kernel, batch.share) for term in (rec_loss, g_loss)]
        weight = active * adaptive_weight(*distribution.sum_over_replicas(gradients))

        # 3. Encoder, codebook and G: descend L_VQ + lambda L_GAN (Eq. 6).
        with tape:
            loss = rec_loss + vq_loss + self.adversarial_weight * weight * g_loss
        weights = self.optimized_weights()["generator_optimizer"]
        gradients = tape.gradient(loss, weights, batch.share)  # adds up to the global mean
        self.generator_optimizer.apply_gradients(zip(gradients, weights))

        # 4. D, on x and on those x^ (Eq. 5).
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, h', w', 1)
            fake_logits = self.discriminator(outputs, training=True)  # (B, h', w', 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, active * batch.share)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 5. Logs.
        scores = {"d_loss": d_loss, **mean_scores(real_logits, fake_logits)}
        logs = {**self._content_log(content), "g_loss": g_loss, "adaptive_weight": weight, **scores}
        return self.log_terms(batch, loss, l1_loss, vq_loss, codes, **logs)

    def test_step(self, data):
        """The losses on held-out images, without an update."""
        images, _, batch = self.unpack(data)
        quantized, codes, vq_loss = self.quantized(images)
        with tf.GradientTape(persistent=True) as tape:
            outputs = self.decoder(quantized, training=False)
            l1_loss, content = self.errors_of(images, outputs)
            rec_loss = l1_loss + self.perceptual_weight * content
            fake_logits = self.discriminator(outputs, training=False)
            g_loss = self.generator_loss(fake_logits)
        kernel = self.last_kernel
        gradients = [tape.gradient(term, kernel, batch.share) for term in (rec_loss, g_loss)]
        weight = adaptive_weight(*distribution.sum_over_replicas(gradients))
        weight *= self.adversarial_active()
        loss = rec_loss + vq_loss + self.adversarial_weight * weight * g_loss
        real_logits = self.discriminator(images, training=False)
        d_loss = self.discriminator_loss(real_logits, fake_logits)
        scores = {"d_loss": d_loss, **mean_scores(real_logits, fake_logits)}
        logs = {**self._content_log(content), "g_loss": g_loss, "adaptive_weight": weight, **scores}
        return self.log_terms(batch, loss, l1_loss, vq_loss, codes, **logs)

    def adversarial_active(self) -> tf.Tensor:
        """Whether the adversarial loss and the discriminator are trained.

        Returns:
            float scalar: 1 from `adversarial_start_step` on; 0 before it, and without an
            adversarial weight.
        """
        started = self.generator_optimizer.iterations >= self.adversarial_start_step
        dtype = at_least_float32(self.dtype_policy)
        return tf.cast(started, dtype) * float(self.adversarial_weight > 0)

    def errors_of(self, images, outputs) -> tuple:
        """Errors of reconstructions, in pixels and in features.

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
        features = functools.partial(self.content_network, training=False)
        return l1_loss, perceptual_loss(images, outputs, features)

    @property
    def last_kernel(self) -> keras.Variable:
        """The weights of the decoder's last layer, without its bias: G_L in Eq. 7."""
        return self._decoder_kernels()[-1]

    def _decoder_kernels(self):
        kernels = [weight for weight in self.decoder.weights if weight.value.trainable]  # or frozen
        return [kernel for kernel in kernels if len(kernel.shape) > 1]

    def _content_log(self, content):
        return {} if self.content_network is None else {"perceptual_loss": content}

    def signatures(self) -> dict:
        def discriminate(images):
            return {"logits": self.discriminator(images, training=False)}

        return {**super().signatures(), "discriminate": (discriminate, [self.images_spec()])}
