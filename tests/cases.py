"""The matrix of models that the contract tests run through.

Imported by tests and by the worker processes that some of them start.
"""

import keras
import numpy as np
import tensorflow as tf

import keras_genimg
from keras_genimg.core import Clips, Codes, Labels, Pairs, dtype_policy

SHAPE = (16, 16, 1)


class Case:
    """A class and the arguments of a small model of it. Called, it makes the model.

    Args:
        model_class: subclass of `ImageModel`.
        *args, **arguments: of its constructor. A call can replace some, and add others.
    """

    def __init__(self, model_class, *args, **arguments):
        self.model_class, self.args = model_class, args
        self.arguments = {"seed": 3, **arguments}

    def __call__(self, **arguments):
        arguments = {**self.arguments, **arguments}
        if arguments.get("features") is small_features:  # made when needed, not by an import
            arguments["features"] = small_features()
        return self.model_class(*self.args, **arguments)

    def with_arguments(self, **arguments):
        return Case(self.model_class, *self.args, **{**self.arguments, **arguments})

    # What the model will say of itself. The classes know, but for two that go by their arguments.

    @property
    def makes(self):
        return "codes" if "code_shape" in self.arguments else self.model_class.makes

    @property
    def data(self):
        data = self.model_class.data
        if "code_shape" in self.arguments:
            data = Codes()
        if "num_classes" in self.arguments and not data.part(Labels):
            data += Labels()
        return data

    def has(self, method):
        return hasattr(self.model_class, method)


small_gan = Case(keras_genimg.GAN, SHAPE, latent_dim=8)
small_vae = Case(keras_genimg.VAE, SHAPE, latent_dim=4)
small_conditional_gan = Case(keras_genimg.ConditionalGAN, SHAPE, num_classes=4, latent_dim=8)
small_classifier = Case(keras_genimg.CNNClassifier, SHAPE, num_classes=4, dropout=0.3)
CODEBOOK = {"num_embeddings": 16, "embedding_dim": 8, "dead_code_threshold": 0.5}
small_vq_vae = Case(keras_genimg.VQVAE, SHAPE, **CODEBOOK)
small_vq_vae2 = Case(
    keras_genimg.VQVAE2, SHAPE, network_options={"filters": 32, "residual_filters": 8}, **CODEBOOK
)
# The discriminator comes in after two steps, so that tests see both sides of it.
small_vq_gan = Case(keras_genimg.VQGAN, SHAPE, adversarial_start_step=2, **CODEBOOK)


def small_features():
    """A network with two feature maps, the same each time."""
    images = x = keras.Input(SHAPE, dtype="float32")
    for seed, width in enumerate((4, 6)):
        x = keras.layers.Conv2D(
            width, 3, 2, padding="same", activation="relu", dtype="float32", name=f"conv_{seed}",
            kernel_initializer=keras.initializers.GlorotUniform(seed),
        )(x)
    return keras.Model(images, x, name="small_features")


PIXEL_CNN = {"filters": 8, "layers": 2, "dropout": 0.1}

MODELS = {
    "gan": small_gan,
    "vae": small_vae,
    "iwae": Case(keras_genimg.IWAE, SHAPE, latent_dim=4, importance_samples=3),
    "conditional_vae": Case(keras_genimg.ConditionalVAE, SHAPE, num_classes=4, latent_dim=4),
    "vq_vae": small_vq_vae,
    "vq_vae2": small_vq_vae2,
    "vq_gan": small_vq_gan,
    "vq_vae_gradient": small_vq_vae.with_arguments(ema_decay=None),
    "cnn_classifier": small_classifier,
    # A step takes two batches, one for each update of the critic.
    "wgan": Case(keras_genimg.WGAN, SHAPE, latent_dim=8, n_critic=2),
    "wgan_gp": Case(keras_genimg.WGANGP, SHAPE, latent_dim=8, n_critic=2),
    "conditional_gan": small_conditional_gan,
    "projected_gan": Case(
        keras_genimg.ProjectedGAN, SHAPE, latent_dim=8, features=small_features, num_classes=4
    ),
    "super_resolution_gan": Case(keras_genimg.SuperResolutionGAN, SHAPE, scale=2),
    "conditional_gan_concatenation": small_conditional_gan.with_arguments(
        conditioning="concatenation"
    ),
    "sequence_gan": Case(keras_genimg.SequenceGAN, SHAPE, 3, 5, 4),
    # Generators that are soon traced, and a pool that is soon full.
    "cyclegan": Case(keras_genimg.CycleGAN, SHAPE, pool_size=12, residual_blocks=1),
    "pix2pix": Case(keras_genimg.Pix2Pix, (16, 16, 3), SHAPE),
    "code_transformer": Case(
        keras_genimg.CodeTransformer, code_shape=(4, 4), num_embeddings=16, num_classes=4,
        features=8, layers=1, num_heads=2, dropout=0.1, label_dropout=0.3, guidance_scale=2.0,
    ),
    "pixel_cnn": Case(keras_genimg.PixelCNN, SHAPE, levels=2, **PIXEL_CNN),
    "pixel_cnn_of_codes": Case(
        keras_genimg.PixelCNN, code_shape=(4, 4), num_embeddings=8, num_classes=4, **PIXEL_CNN
    ),
}

# A model for each rule of training: for what takes minutes and depends on the rule alone. The
# others run with -m slow.
ONE_OF_A_RULE = ("gan", "vae", "vq_vae", "pix2pix", "code_transformer")

# Of plain SGD, where 0.01 is too much: rounding would grow with every step. CycleGAN's absolute
# errors have gradients of one size however small they are, and its normalisation divides the
# flat parts of images by next to nothing. PixelCNN's loss is a sum over pixels.
SGD_RATES = {
    "vae": 1e-4, "iwae": 1e-4, "conditional_vae": 1e-4, "cyclegan": 2e-5, "pixel_cnn": 1e-3,
    "sequence_gan": 2e-3,
}


def compile_with_sgd(model, rate=0.01, **compiled):
    """Plain SGD: Adam would blow rounding differences of tiny gradients up to full steps."""
    optimizers = {name: keras.optimizers.SGD(rate) for name in model.default_optimizers()}
    model.compile(**optimizers, **compiled)


def dataset(images, model, step_size):
    """The images in order, as what the model is trained on: with labels, in pairs, as clips.

    A step of `fit` takes `step_size` of them, in n_critic batches.
    """
    arrays = [array_of(images, part, model) for part in model.data.parts]
    if isinstance(model.data, Pairs):
        arrays[1] = arrays[1][::-1]
    data = arrays[0] if len(arrays) == 1 else tuple(arrays)
    return tf.data.Dataset.from_tensor_slices(data).batch(step_size // model.n_critic)


def array_of(images, part, model):
    """One of the arrays that a model is trained on, with something of the images in it."""
    if isinstance(part, Labels):
        return np.arange(len(images)) % model.num_classes
    if isinstance(part, Codes):
        return codes_of(images, model)
    if isinstance(part, Clips):
        return clips_of(images, model.num_frames)
    return fitting(images, part.shape(model))


def codes_of(images, model):
    """Grids of codes that grow with brightness: int32 `(n, *code_shape)`."""
    small = fitting(images, (*model.code_shape, 1))[..., 0]
    number = model.num_embeddings
    return np.clip((small + 1) / 2 * number, 0, number - 1).astype("int32")


def clips_of(images, frames):
    """Sequences of `frames` images that move to the right: `(n, frames, h, w, c)`."""
    return np.stack([np.roll(images, 2 * frame, axis=2) for frame in range(frames)], axis=1)


def fitting(images, shape):
    """Images of another size or number of channels."""
    step = images.shape[1] // shape[0]
    return np.repeat(images[:, ::step, ::step, :1], shape[2], axis=3)


def labels_in_turn(model, count):
    """What `generate` needs beside a number and a seed: nothing, or labels 0, 1, ..."""
    return {"labels": np.arange(count) % model.num_classes} if model.data.part(Labels) else {}


def train(
    name, images, strategy=None, batch_size=16, epochs=2, callbacks=None, rate=None,
    policy="float64",
):
    """Trains the model `name` (or what a function makes) by SGD: its weights and history.

    In 64 bits two ways of the same computation differ by far less than any defect makes them.
    """
    strategy = strategy or tf.distribute.get_strategy()
    keras.utils.set_random_seed(1)
    with dtype_policy(policy):
        with strategy.scope():
            model = name() if callable(name) else MODELS[name]()
            compile_with_sgd(model, rate or SGD_RATES.get(name, 0.01))
        history = model.fit(
            dataset(images, model, batch_size), epochs=epochs, verbose=0, callbacks=callbacks
        )
    return model.get_weights(), history.history


def smooth_pictures(count, size=16, channels=1, seed=0):
    """Images with something to learn: a bright bar at a random place."""
    rng = np.random.default_rng(seed)
    rows = np.arange(size)[None, :, None, None]
    columns = np.arange(size)[None, None, :, None]
    centre, slope = rng.uniform(4, size - 4, (2, count, 1, 1, 1))
    bar = np.exp(-(((columns - centre) + (rows - size / 2) * (slope / size - 0.5)) ** 2) / 4)
    return np.broadcast_to(2 * bar - 1, (count, size, size, channels)).astype("float32")
