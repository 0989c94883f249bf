"""The matrix of models that the contract tests run through.

Imported by tests and by the worker processes that some of them start.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_genimg

SHAPE = (16, 16, 1)


def small_gan(**arguments):
    return keras_genimg.GAN(SHAPE, latent_dim=8, seed=3, **arguments)


def small_vae(**arguments):
    return keras_genimg.VAE(SHAPE, latent_dim=4, seed=3, **arguments)


def small_conditional_vae(**arguments):
    return keras_genimg.ConditionalVAE(SHAPE, 4, 4, seed=3, **arguments)


def small_vq_vae(**arguments):
    arguments = {"num_embeddings": 16, "embedding_dim": 8, "dead_code_threshold": 0.5, **arguments}
    return keras_genimg.VQVAE(SHAPE, seed=3, **arguments)


def small_vq_gan(**arguments):
    # The discriminator comes in after two steps, so that tests see both sides of it.
    arguments = {"num_embeddings": 16, "embedding_dim": 8, "adversarial_start_step": 2, **arguments}
    return keras_genimg.VQGAN(SHAPE, seed=3, **{"dead_code_threshold": 0.5, **arguments})


def small_vq_vae2(**arguments):
    arguments = {"num_embeddings": 16, "embedding_dim": 8, "dead_code_threshold": 0.5, **arguments}
    networks = {"filters": 32, "residual_filters": 8}
    return keras_genimg.VQVAE2(SHAPE, network_options=networks, seed=3, **arguments)


def small_classifier(**arguments):
    return keras_genimg.CNNClassifier(SHAPE, num_classes=4, dropout=0.3, seed=3, **arguments)


def small_conditional_gan(**arguments):
    return keras_genimg.ConditionalGAN(SHAPE, num_classes=4, latent_dim=8, seed=3, **arguments)


def small_wgan(**arguments):
    # Tests train on batches of 8 and 16, those of two updates of the critic.
    return keras_genimg.WGAN(SHAPE, latent_dim=8, **{"n_critic": 2, "seed": 3, **arguments})


def small_wgan_gp(**arguments):
    return keras_genimg.WGANGP(SHAPE, latent_dim=8, **{"n_critic": 2, "seed": 3, **arguments})


def small_sequence_gan(**arguments):
    return keras_genimg.SequenceGAN(SHAPE, 3, 5, 4, **{"seed": 3, **arguments})


def small_pix2pix(**arguments):
    return keras_genimg.Pix2Pix((16, 16, 3), SHAPE, **{"seed": 3, **arguments})


def small_cyclegan(**arguments):
    # Generators that are soon traced and a pool that is soon full.
    arguments = {"pool_size": 12, "residual_blocks": 1, "seed": 3, **arguments}
    return keras_genimg.CycleGAN(SHAPE, **arguments)


def small_super_resolution_gan(**arguments):
    return keras_genimg.SuperResolutionGAN(SHAPE, **{"scale": 2, "seed": 3, **arguments})


def small_pixel_cnn(**arguments):
    arguments = {"levels": 2, "filters": 8, "layers": 2, "dropout": 0.1, "seed": 3, **arguments}
    return keras_genimg.PixelCNN(SHAPE, **arguments)


def small_pixel_cnn_of_codes(**arguments):
    arguments = {"filters": 8, "layers": 2, "dropout": 0.1, "seed": 3, **arguments}
    return keras_genimg.PixelCNN(code_shape=(4, 4), num_embeddings=8, num_classes=4, **arguments)


def small_code_transformer(**arguments):
    options = {"features": 8, "layers": 1, "num_heads": 2, "num_classes": 4, "dropout": 0.1}
    return keras_genimg.CodeTransformer((4, 4), 16, seed=3, **{**options, **arguments})


# name -> function that makes the model
MODELS = {
    "gan": small_gan,
    "vae": small_vae,
    "conditional_vae": small_conditional_vae,
    "vq_vae": small_vq_vae,
    "vq_vae2": small_vq_vae2,
    "vq_gan": small_vq_gan,
    "vq_vae_gradient": lambda: small_vq_vae(ema_decay=None),
    "cnn_classifier": small_classifier,
    "wgan": small_wgan,
    "wgan_gp": small_wgan_gp,
    "conditional_gan": small_conditional_gan,
    "super_resolution_gan": small_super_resolution_gan,
    "conditional_gan_concatenation": lambda: small_conditional_gan(conditioning="concatenation"),
    "sequence_gan": small_sequence_gan,
    "cyclegan": small_cyclegan,
    "pix2pix": small_pix2pix,
    "code_transformer": small_code_transformer,
    "pixel_cnn": small_pixel_cnn,
    "pixel_cnn_of_codes": small_pixel_cnn_of_codes,
}


# Other arguments, or another bound, of a class that is there already: slow tests pass them over.
VARIANTS = ("conditional_gan_concatenation", "vq_vae_gradient", "pixel_cnn_of_codes", "conditional_vae")
ONE_OF_A_CLASS = [name for name in MODELS if name not in VARIANTS]
# A model for each rule of training, for what takes minutes and hangs on the rule alone.
ONE_OF_A_RULE = ("gan", "vae", "vq_vae", "pix2pix", "code_transformer")

# Of plain SGD, where 0.01 is too much: rounding would grow with every step. CycleGAN's absolute
# errors have gradients of one size however small they are, and its normalisation divides the
# flat parts of pictures by next to nothing. PixelCNN's loss is a sum over pixels.
SGD_RATES = {
    "vae": 1e-4, "conditional_vae": 1e-4, "cyclegan": 2e-5, "pixel_cnn": 1e-3, "sequence_gan": 2e-3,
}


def compile_with_sgd(model, rate=0.01):
    """Plain SGD: Adam would blow rounding differences of tiny gradients up to full steps."""
    names = [name for name in ("generator_optimizer", "discriminator_optimizer", "optimizer")
             if name in model.default_optimizers()]
    model.compile(**{name: keras.optimizers.SGD(rate) for name in names})


def dataset(pictures, model, batch_size):
    """The pictures in order, as what the model is trained on: with labels, in pairs, as clips."""
    if len(model.element_shape) == 4:
        pictures = clips_of(pictures, model.element_shape[0])
    if model.num_codes:
        pictures = codes_of(pictures, model)
    if model.pair:
        data = fitting(pictures, model.element_shape), fitting(pictures[::-1], model.pair_shape)
        return tf.data.Dataset.from_tensor_slices(data).batch(batch_size)
    if model.needs_labels:
        labels = np.arange(len(pictures)) % model.num_classes
        return tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(batch_size)
    return tf.data.Dataset.from_tensor_slices(pictures).batch(batch_size)


def codes_of(pictures, model):
    """Grids of codes that grow with brightness: int32 `(n, *element_shape)`."""
    small = fitting(pictures, (*model.element_shape, 1))[..., 0]
    return np.clip((small + 1) / 2 * model.num_codes, 0, model.num_codes - 1).astype("int32")


def clips_of(pictures, frames):
    """Sequences of `frames` pictures that move to the right: `(n, frames, h, w, c)`."""
    return np.stack([np.roll(pictures, 2 * frame, axis=2) for frame in range(frames)], axis=1)


def fitting(pictures, shape):
    """Pictures of another size or number of channels."""
    step = pictures.shape[1] // shape[0]
    return np.repeat(pictures[:, ::step, ::step, :1], shape[2], axis=3)


def labels_in_turn(model, count):
    """What `generate` needs beside a number and a seed: nothing, or labels 0, 1, ..."""
    return {"labels": np.arange(count) % model.num_classes} if model.needs_labels else {}


def train(name, pictures, strategy=None, batch_size=16, epochs=2, callbacks=None, rate=None):
    """Trains the model `name` (or what a function makes) by SGD; its weights and history."""
    strategy = strategy or tf.distribute.get_strategy()
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = name() if callable(name) else MODELS[name]()
        compile_with_sgd(model, rate or SGD_RATES.get(name, 0.01))
    history = model.fit(
        dataset(pictures, model, batch_size), epochs=epochs, verbose=0, callbacks=callbacks
    )
    return model.get_weights(), history.history


def smooth_pictures(count, size=16, channels=1, seed=0):
    """Pictures with something to learn: a bright bar at a random place."""
    rng = np.random.default_rng(seed)
    rows = np.arange(size)[None, :, None, None]
    columns = np.arange(size)[None, None, :, None]
    centre, slope = rng.uniform(4, size - 4, (2, count, 1, 1, 1))
    bar = np.exp(-(((columns - centre) + (rows - size / 2) * (slope / size - 0.5)) ** 2) / 4)
    return np.broadcast_to(2 * bar - 1, (count, size, size, channels)).astype("float32")
