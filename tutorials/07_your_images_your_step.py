# %% [markdown]
# # 7. Custom data, custom train_step
#
# You will train on a folder of image files, with the mistakes that everybody makes once; put custom
# Keras networks into a model; and then write a custom `train_step`, which still saves, resumes,
# exports and gives the same weights on several devices. You need nothing but this package: digits
# that it draws stand in for your photographs. [Tutorial 6](06_making_it_train.ipynb) is about
# making such a training succeed.
#
# Measured: 12.9 minutes on two CPU cores, on a shared machine.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/07_your_images_your_step.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/07_your_images_your_step.ipynb)

# %% tags=["parameters"] reduced={"IMAGES": 96, "TEST_IMAGES": 48, "EPOCHS": 1, "BATCH_SIZE": 16, "SAMPLES": 64, "WIDTH": 4, "RUN": "--epochs 1 --set networks=mlp"}
IMAGES = 600  # few, like most custom data sets
TEST_IMAGES = 750
EPOCHS = 54
BATCH_SIZE = 64
SAMPLES = 750  # generated images per measurement
WIDTH = 32  # filters of the custom networks
LATENT_DIM = 64
SEED = 0
RUN = "--epochs 8 --batch-size 16"  # of the command line

# %% tags=["setup"] jupyter={"source_hidden": true}
# The same cell in every tutorial. Files go to a scratch folder, which is deleted with the kernel.
import importlib
import os
import tempfile

scratch = tempfile.TemporaryDirectory(prefix="keras_genimg-", ignore_cleanup_errors=True)
os.chdir(scratch.name)
os.environ["TMPDIR"] = scratch.name  # for processes that are started below
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no notices about the machine
stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)  # nor those that TensorFlow writes while it is imported
try:
    importlib.import_module("tensorflow").get_logger().setLevel("ERROR")
finally:
    os.dup2(stderr, 2)
    os.close(stderr)
    os.close(nowhere)


def or_glyphs(name):
    """The name of a data set, or "glyphs" where it is neither prepared nor downloadable."""
    import keras_genimg as kg

    try:
        kg.load(name, batch_size=1, num_images=1)
    except kg.InputError as error:
        if "cannot be downloaded" not in str(error):  # a wrong name, for example
            raise
        print(f'{name} is not here and cannot be downloaded: "glyphs" stands in for it.')
        return "glyphs"
    return name

# %% [markdown]
# After the imports, one processor is configured as two devices. TensorFlow allows this only before
# its first operation. It serves one purpose: to show at the end that two devices give the same
# weights as one.

# %%
import inspect
import os
import textwrap
import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

import keras_genimg as kg
from keras_genimg.core import update_ema

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.get_logger().setLevel("ERROR")  # strategies log every reduction

# %% [markdown]
# # Part 1: custom data
#
# ## The layout of a folder
#
# `kg.load` takes the path of a folder as well as the name of a data set. The folder contains either
# images, a set without labels, or one sub-folder of images per class. Two sub-folders called
# `train` and `test`, with either layout, are the two splits.
#
# We write such a folder. Photographs come in many sizes, so our digits have four.

# %%
SIZES = [(28, 28), (40, 40), (36, 52), (64, 48)]  # (height, width)


def write_images(folder, split, count):
    """Writes digits of four sizes as PNG files, one sub-folder per digit."""
    for turn, size in enumerate(SIZES):
        drawn = kg.load(
            "glyphs", split, batch_size=count, num_images=count, image_size=size, with_labels=True
        )
        images, labels = (tensor.numpy() for tensor in next(iter(drawn)))  # (count, h, w, 1)
        for i in range(turn, count, len(SIZES)):
            kg.plotting.save_png(f"{folder}/{split}/{labels[i]}/{i:05d}.png", images[i])


write_images("digits", "train", IMAGES)
write_images("digits", "test", TEST_IMAGES)
print(sorted(os.listdir("digits")), sorted(os.listdir("digits/train")))
print(sorted(os.listdir("digits/train/7"))[:4], "...")

# %% [markdown]
# ## Unusual files
#
# A second folder, without classes, contains one of each kind of file that occurs in real
# collections: greyscale, a palette, transparency, CMYK, a wide image, one taken with the camera on
# its side, and one whose download was interrupted.

# %%
os.makedirs("odd")
colour = next(iter(kg.load("glyphs", batch_size=8, image_size=48, channels=3)))  # (8, 48, 48, 3)
colour = [Image.fromarray(image) for image in kg.plotting.to_uint8(colour)]
wide = next(iter(kg.load("glyphs", batch_size=7, image_size=(48, 96), channels=3)))[6]

colour[1].convert("L").save("odd/a_grey.png")
colour[2].convert("P").save("odd/b_palette.png")
see_through = colour[3].copy()
see_through.putalpha(colour[3].convert("L"))  # the darker, the more transparent
see_through.save("odd/c_transparent.png")
colour[4].convert("CMYK").save("odd/d_inks.jpg")
Image.fromarray(kg.plotting.to_uint8(wide)).save("odd/e_wide.png")
camera = Image.Exif()
camera[0x0112] = 6  # orientation: to be rotated by 90 degrees clockwise
colour[5].rotate(90).save("odd/f_sideways.jpg", exif=camera)
colour[7].save("odd/g_broken.png")
whole = open("odd/g_broken.png", "rb").read()
open("odd/g_broken.png", "wb").write(whole[: len(whole) // 2])

stored = [Image.open(f"odd/{name}") for name in sorted(os.listdir("odd"))[:-1]]
print([(image.mode, image.size) for image in stored])  # (mode, (width, height))

# %% [markdown]
# Invalid arguments raise an `InputError`: one sentence with the rule and what was received instead.
# `message_of` catches it, because this tutorial provokes many.


# %%
def message_of(function, *arguments, **options):
    """The message with which the package rejects a call."""
    try:
        function(*arguments, **options)
    except kg.InputError as error:
        return textwrap.fill(str(error), 98)
    raise AssertionError("This call was accepted.")


print(message_of(kg.load, "odd", batch_size=8))
print()
print(message_of(kg.load, "odd", batch_size=8, image_size=28, with_labels=True))
print()
print(message_of(kg.load, "nowhere/", batch_size=8))

# %% [markdown]
# With `image_size=28` it is accepted. The broken file does not end a night of training: it is
# skipped, counted and named in a warning.

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    loaded = next(iter(kg.load("odd", batch_size=8, image_size=28)))  # (6, 28, 28, 3)
print(loaded.shape, loaded.dtype)
print(*(warning.message for warning in caught), sep="\n")

# %% [markdown]
# The upper row shows the contents of the files (their colours, transparent or not), the lower row
# the inputs of the model. An image is centre-cropped to the aspect ratio of the target and then
# resized, so nothing is distorted and the ends of the wide one are lost. Transparent pixels become
# white. The sideways one is rotated upright. All have three channels, because one of them is in
# colour.

# %%
figure, axes = plt.subplots(2, len(stored), figsize=(7, 2.6), layout="constrained")
for column, image in enumerate(stored):
    axes[0, column].imshow(image.convert("RGB"), interpolation="nearest")
    axes[0, column].set_title(f"{image.mode} {image.size}", fontsize=8)
    kg.plotting.show_images(loaded[column : column + 1], axes=axes[1, column])
    axes[0, column].set_axis_off()
plt.show()

# %% [markdown]
# `channels=1` converts all to greyscale. `kg.data.data_info` describes what `load` would return. By
# default a single colour file makes the whole set a colour set, which costs memory and time.

# %%
for channels in (None, 1):
    print(channels, kg.data.data_info("odd", image_size=28, channels=channels))
print(kg.data.data_info("digits", "train", image_size=28))

# %% [markdown]
# ## Batches, ranges, order
#
# From here on, `digits` loads our set as 28x28 greyscale. Pixels arrive as float32 in [-1, 1]: this
# is the range of the generators' `tanh`, and every model of the package expects it.


# %%
def digits(split="train", batch_size=BATCH_SIZE, **options):
    """Batches of our folder."""
    return kg.load("digits", split, batch_size=batch_size, image_size=28, channels=1, **options)


images, labels = next(iter(digits(with_labels=True)))
print(images.shape, images.dtype, float(tf.reduce_min(images)), float(tf.reduce_max(images)))
print("stored order:   ", labels.numpy()[:16])
images, labels = next(iter(digits(with_labels=True, shuffle_seed=SEED)))
print("shuffle_seed=0: ", labels.numpy()[:16])

# %% [markdown]
# Without `shuffle_seed` a folder comes in its stored order, class after class: a batch contains
# only zeros, which is unsuitable for training. With it the whole set is permuted, not a window of
# it.
#
# The order of epoch e depends only on the seed and on e. Iterating the same dataset again continues
# with the next epoch, a new dataset starts at epoch 0, and `first_epoch=1` starts at epoch 1: so a
# resumed training sees the same images as an uninterrupted one.

# %%
once = digits(with_labels=True, shuffle_seed=SEED)
epochs = [np.concatenate([labels for _, labels in once]) for _ in range(2)]
later = digits(with_labels=True, shuffle_seed=SEED, first_epoch=1)
later = np.concatenate([labels for _, labels in later])
print("epoch 0:", epochs[0][:16])
print("epoch 1:", epochs[1][:16])
print("epoch 1 by first_epoch is the same:", np.array_equal(epochs[1], later))

# %% [markdown]
# `num_images` takes fewer, evenly spread over the sorted files, so that no class is lost. The
# splits are the two sub-folders. A slice takes part of one, in an order that depends on the names
# of the files alone: whoever has the folder gets the same parts.

# %%
_, labels = next(iter(digits(batch_size=20, num_images=20, with_labels=True)))
print("20 of the set:", labels.numpy())
parts = [sum(map(len, digits(part))) for part in ("train[:80%]", "train[80%:]")]
print("a slice for training and one for validation:", parts)

# %% [markdown]
# ## Common mistakes
#
# The checks run before the first step, on all of an array and on the first batch of a dataset;
# every later batch is checked before its step. Every model checks shapes, types and the range;
# those that learn classes check labels too.

# %%
gan = kg.GAN(image_shape=(28, 28, 1), latent_dim=LATENT_DIM)
conditional = kg.ConditionalGAN(num_classes=10, image_shape=(28, 28, 1))
good = np.zeros((8, 28, 28, 1), "float32")
hole = good.copy()
hole[3, 14, 14, 0] = np.nan

mistakes = [
    ("bytes", gan, (np.zeros((8, 28, 28, 1), "uint8"),)),
    ("images in 0..255", gan, (good + 255.0,)),
    ("no channel axis", gan, (good[..., 0],)),
    ("colour for grey", gan, (np.repeat(good, 3, axis=-1),)),
    ("NaN in one pixel", gan, (hole,)),
    ("labels missing", conditional, (good,)),
    ("label out of range", conditional, (good, np.arange(8) + 3)),
]
for name, model, arguments in mistakes:
    print(f"{name}:\n{textwrap.indent(message_of(model.fit, *arguments), '    ')}")

# %% [markdown]
# ## Few images: `augment`
#
# A discriminator that sees the same few images again and again memorises them. With `augment`, it
# only ever sees images that a random function $T$ has augmented, real and generated alike, and the
# generator learns through $T$, which is differentiable ([Zhao et al.,
# 2020](https://arxiv.org/abs/2006.10738)):
#
# $$L_D = -\log D(T(x)) - \log(1 - D(T(G(z)))), \qquad L_G = -\log D(T(G(z)))$$
#
# The upper row shows our images, the two rows below two draws of $T$.

# %%
POLICY = "translation,cutout"
few = images[:8]  # (8, 28, 28, 1)
batch = kg.distribution.whole_batch(8)
draws = [kg.layers.diff_augment(few, batch, (SEED, draw), POLICY) for draw in range(2)]
kg.plotting.show_images(tf.concat([few, *draws], axis=0), POLICY, columns=8)
plt.show()

# %% [markdown]
# We train the default GAN twice, from the same seed: without and with augmentation.
# `EvaluateSamples` measures during training: the Fréchet distance between generated and test images
# in the features of the package's classifier of such digits; lower is better. `ImageGrid` writes a
# grid of samples, always of the same latents. `ema_decay=0.99` gives the EMA generator, which
# generates these samples, a memory short enough for a run of a few hundred steps.
#
# A dataset remembers its current epoch, so each training gets a new one.

# %%
test = np.concatenate(list(digits("test")))  # (TEST_IMAGES, 28, 28, 1)
training = np.concatenate(list(digits()))  # (IMAGES, 28, 28, 1)
NAME = "frechet_distance[glyphs]"
EVERY = max(1, EPOCHS // 3)
distances = {}  # name of a training -> the values of EvaluateSamples


def train(name, model, **compiled):
    """Trains on the folder, with measurements and grids of samples."""
    model.compile(**compiled)
    evaluate = kg.callbacks.EvaluateSamples(
        test, "frechet_distance", features="glyphs", num_images=SAMPLES, every=EVERY
    )
    grids = kg.callbacks.ImageGrid(f"grids/{name}", num_images=24, seed=SEED, every=EVERY)
    data = digits(shuffle_seed=SEED, drop_remainder=True)
    history = model.fit(data, epochs=EPOCHS, callbacks=[evaluate, grids], verbose=0)
    distances[name] = [(row["epoch"], row[NAME]) for row in evaluate.history]
    print(name, {epoch: round(distance, 1) for epoch, distance in distances[name]})
    return history


gans = {}
for name, augment in (("plain", None), ("augmented", POLICY)):
    keras.utils.set_random_seed(SEED)
    gans[name] = kg.GAN((28, 28, 1), LATENT_DIM, augment=augment, ema_decay=0.99, seed=SEED)
    train(name, gans[name])

# %% [markdown]
# The grids are PNG files whose text fields name the model, the seed and the epoch, and say that the
# images are generated.

# %%
files = sorted(os.listdir("grids/augmented"))
print(files, Image.open(f"grids/augmented/{files[-1]}").text)
shown = [files[0], files[-1]]
figure, axes = plt.subplots(1, 2, figsize=(7, 2.5), layout="constrained")
for file, ax in zip(shown, axes):
    ax.imshow(Image.open(f"grids/augmented/{file}"), cmap="gray", interpolation="nearest")
    ax.set_title(file, fontsize=9, loc="left")
    ax.set_axis_off()
plt.show()

# %% [markdown]
# The discriminator itself shows overfitting: compare its scores on its training images and on
# unseen images of the same kind. The gap between the two columns is what it has memorised.


# %%
def score(model, images):
    """Mean of sigmoid(D(x))."""
    return float(tf.reduce_mean(tf.sigmoid(model.discriminator(images, training=False))))


extract = kg.metrics.get_features("glyphs")
floor = kg.metrics.frechet_distance(extract(training), extract(test))
print(f"{'':12}D on training images   on test images   distance")
for name, model in gans.items():
    known, unknown = score(model, training), score(model, test)
    print(f"{name:12}{known:22.2f}{unknown:19.2f}{distances[name][-1][1]:11.1f}")
print(f"distance of the training images themselves: {floor:.1f}")

# %% [markdown]
# One seed, one size, a short run. At its end the distance is higher with augmentation, 44.2 instead
# of 29.3: its objective is harder. Neither discriminator has memorised much: the gaps are 0.02 and
# 0.01. The plain one takes both kinds for fakes, the other is undecided.
# [docs/adversarial.md](../docs/adversarial.md) has a long run on 1,000 images.
#
# ## Saving
#
# A `.keras` file contains both networks, both optimizers, the EMA generator and the state of the
# noise: training can resume from it. Generating needs only `load_model`.

# %%
gans["augmented"].save("digits.keras")
again = keras.saving.load_model("digits.keras")
before, after = (model.generate(16, seed=1) for model in (gans["augmented"], again))
print("largest difference of a pixel:", np.abs(before - after).max())

# %% [markdown]
# ## The same from the command line
#
# ```bash
# keras-genimg train vae --data digits --image-size 28 --channels 1 --output runs/vae
# ```
#
# It takes a folder like any set, and writes a run folder: samples, losses, logs, the model and a
# SavedModel. `--evaluate-every 1 --features glyphs` would measure as above. Here the same function
# runs without a terminal, for fewer epochs of smaller batches.

# %%
from keras_genimg import cli

command = "train vae --data digits --image-size 28 --channels 1 --output runs/vae"
code = cli.main(f"{command} {RUN}".split())
print("exit code", code)

# %%
figure, ax = plt.subplots(figsize=(3.4, 3.4), layout="constrained")
ax.imshow(Image.open("runs/vae/samples.png"), cmap="gray", interpolation="nearest")
ax.set_title("runs/vae/samples.png", fontsize=9, loc="left")
ax.set_axis_off()
plt.show()

# %% [markdown]
# # Part 2: custom networks
#
# A GAN of the package is an objective; the networks may be custom. The generator maps `(batch,
# latent_dim)` to images in [-1, 1], the discriminator maps images to one logit each. The layers of
# `kg.layers` have two properties that those of Keras lack: `BatchNormalization` takes its moments
# over the batch of all devices together, and `SpectralNormalization` divides a kernel by its
# largest singular value with the gradient through the division ([Miyato et al.,
# 2018](https://arxiv.org/abs/1802.05957)):
#
# $$\bar W = W / \sigma(W), \qquad \sigma(W) = \max_{v \ne 0} \|Wv\| / \|v\|$$


# %%
def custom_generator(width=WIDTH):
    z = keras.Input((LATENT_DIM,))
    x = layers.Dense(7 * 7 * 2 * width, use_bias=False)(z)  # (B, 7*7*2w)
    x = layers.Reshape((7, 7, 2 * width))(x)  # (B, 7*7*2w) -> (B, 7, 7, 2w)
    x = layers.ReLU()(kg.layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2DTranspose(width, 4, 2, padding="same", use_bias=False)(x)  # (B, 14, 14, w)
    x = layers.ReLU()(kg.layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2DTranspose(1, 4, 2, padding="same", activation="tanh")(x)  # (B, 28, 28, 1)
    return keras.Model(z, x, name="generator")


def custom_discriminator(width=WIDTH):
    normalized = kg.layers.SpectralNormalization
    images = keras.Input((28, 28, 1))
    x = normalized(layers.Conv2D(width, 4, 2, padding="same"))(images)  # (B, 14, 14, w)
    x = layers.LeakyReLU(0.2)(x)
    x = normalized(layers.Conv2D(2 * width, 4, 2, padding="same"))(x)  # (B, 7, 7, 2w)
    x = layers.LeakyReLU(0.2)(x)
    x = layers.Flatten(name="features")(x)  # (B, 7, 7, 2w) -> (B, 7*7*2w)
    logits = normalized(layers.Dense(1))(x)  # (B, 1)
    return keras.Model(images, logits, name="discriminator")


keras.utils.set_random_seed(SEED)
custom = kg.GAN(
    (28, 28, 1),
    LATENT_DIM,
    generator=custom_generator(),
    discriminator=custom_discriminator(),
    ema_decay=0.99,
    seed=SEED,
)
for network in (custom.generator, custom.discriminator):
    print(f"{network.name}: {network.count_params():,} weights")

# %% [markdown]
# ## What is checked, and what cannot be
#
# When the model is created, each network is called once on a symbolic input. A network with another
# input or output shape is rejected, with its output shape or the error of the layer that failed.

# %%
fitting = {"generator": custom_generator(), "discriminator": custom_discriminator()}
small = keras.Sequential([layers.Dense(14 * 14), layers.Reshape((14, 14, 1))])
maps = keras.Sequential([layers.Conv2D(1, 4, 2, padding="same")])
for name, network in (("generator", small), ("discriminator", maps), ("generator", np.tanh)):
    pair = {**fitting, name: network}
    print(message_of(kg.GAN, (28, 28, 1), LATENT_DIM, **pair) + "\n")
print(message_of(kg.layers.SpectralNormalization, layers.MaxPooling2D()))

# %% [markdown]
# Two conditions cannot be checked, because no shape shows them. The generator must end in [-1, 1]:
# without a `tanh` its images differ from real ones by their range alone. And the discriminator must
# end in a logit: after a sigmoid in the network, the losses would apply a second one.
#
# By default, custom networks are trained with the rate of the DCGAN paper, 2e-4.

# %%
kernels = [layer.kernel for layer in custom.discriminator.layers if hasattr(layer, "kernel")]


def largest_singular_values():
    """sigma(W) of each kernel, one column per output channel."""
    flat = [np.asarray(kernel).reshape(-1, kernel.shape[-1]) for kernel in kernels]
    return [round(float(np.linalg.svd(matrix, compute_uv=False)[0]), 2) for matrix in flat]


start = largest_singular_values()
history = train("custom networks", custom, learning_rate=1e-3)
print("sigma(W) of the discriminator's kernels:", start, "->", largest_singular_values())

# %% [markdown]
# The kernels themselves may grow or shrink: the layers use $W / \sigma(W)$, whose largest singular
# value is 1. Exercise 2 measures that.

# %%
kg.plotting.plot_losses(history.history)
plt.show()

# %% [markdown]
# # Part 3: a custom train_step
#
# Here is the step of `kg.GAN`, from the package.

# %%
print(inspect.getsource(kg.GAN.train_step))

# %% [markdown]
# Read it from the top.
#
# - `unpack` checks the data of `fit`, and returns the images, labels or None, and `batch`: the
#   number of images here, the number on all devices together, and the position of ours among them.
# - `sample_latents(batch)` draws noise for the batch of all devices and keeps our rows. Both
#   updates use the same fake images. They are generated under the generator's tape.
# - `tape.gradient(d_loss, weights, batch.share)`: each device takes the mean over its $n$ of the
#   $N$ images, and an optimizer sums the gradients over devices. With the share $n/N$ as the factor
#   of the gradient, that sum is the gradient of the mean over all $N$.
# - `apply_gradients` updates the discriminator's weights; then the same for the generator, whose
#   tape is continued. Each network has its own optimizer.
# - `update_ema` updates the EMA generator; `log` averages over devices and steps.
#
# ## A new loss: feature matching
#
# [Salimans et al. (2016)](https://arxiv.org/abs/1606.03498), section 3.1, give the generator
# another objective. It no longer tries to fool the discriminator. On average, its images should
# have the same features $f$ as real ones, where $f$ is a layer inside the discriminator:
#
# $$L_G = \left\| \mathbb{E}_{x}\, f(x) - \mathbb{E}_{z}\, f(G(z)) \right\|_2^2$$
#
# The discriminator learns as before, so it keeps learning features that separate the two.
#
# This loss is not a mean over images: it is the square of a difference of means. If each device
# took the means of its own images, the weighted sum of the losses would be wrong. So
# `mean_features` sums the features over all devices before it divides.


# %%
@keras.saving.register_keras_serializable(package="tutorial_7")
class FeatureMatchingGAN(kg.GAN):
    """GAN whose generator matches mean features of real images (Salimans et al., 2016)."""

    def __init__(self, *arguments, feature_layer="features", **options):
        super().__init__(*arguments, **options)
        self.feature_layer = feature_layer
        self.features = keras.Model(  # the same layers, up to that one
            self.discriminator.input, self.discriminator.get_layer(feature_layer).output
        )

    def train_step(self, data):
        images, _, batch = self.unpack(data)  # (B, 28, 28, 1)

        # 1. One step of D, the loss as in GAN.
        latents = self.sample_latents(batch)  # (B, latent_dim)
        fake_images = self.generator(latents, training=True)  # (B, 28, 28, 1)
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, 1)
            fake_logits = self.discriminator(fake_images, training=True)  # (B, 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 2. One step of G: descend || E f(x) - E f(G(z)) ||^2.
        real_mean = self.mean_features(images, batch)  # (d,), a constant to G
        latents = self.sample_latents(batch)
        with tf.GradientTape() as tape:
            fake_images = self.generator(latents, training=True)
            fake_mean = self.mean_features(fake_images, batch)  # (d,)
            g_loss = tf.reduce_sum(tf.square(real_mean - fake_mean))
        weights = self.generator.trainable_variables
        gradients = tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 3. Logs, under custom names.
        return self.log(batch, d_loss=d_loss, feature_distance=g_loss)

    def mean_features(self, images, batch):
        """Mean of f over the images of all devices: `(d,)`."""
        features = self.features(images, training=True)  # (B, d)
        total = kg.distribution.sum_over_replicas(tf.reduce_sum(features, axis=0))  # (d,)
        return total / tf.cast(batch.global_size, total.dtype)


# %% [markdown]
# The rules for a custom step:
#
# 1. Begin with `unpack`, end with `return self.log(batch, name=scalar, ...)`.
# 2. Noise by `sample_latents(batch)`, or by `kg.distribution.random_normal(batch, shape,
#    self.seed_generator.next())`: rows of one global draw, from a state that is saved.
# 3. A loss that is a mean over images: `tape.gradient(loss, weights, batch.share)`. Anything else:
#    `kg.distribution.sum_over_replicas` or `batch_mean` first, then the share.
# 4. Optimizers by their names (`generator_optimizer`, `discriminator_optimizer`, or `optimizer`
#    of a VAE), in each step, on the same weights: not under a `tf.cond`, no Python `if` on tensors.
# 5. Every new weight or layer is created in `__init__`, where the base class has already set
#    `self.built`. Arguments such as `feature_layer` are recorded and saved automatically.
#
# A step has only the options that it implements. This one implements neither `augment` nor
# `r1_weight`, so they have no effect here: reject in `__init__` what your step does not implement,
# or implement it.
#
# `test_step` is still that of `GAN`; a new one is written in the same way, without the updates.
#
# ## Train it
#
# The same networks, seed and rate as in part 2: only the generator's loss differs.

# %%
def matching(model_class=FeatureMatchingGAN, width=WIDTH):
    """A model of this class with the custom networks, from the seed."""
    keras.utils.set_random_seed(SEED)
    return model_class(
        (28, 28, 1),
        LATENT_DIM,
        generator=custom_generator(width),
        discriminator=custom_discriminator(width),
        ema_decay=0.99,
        seed=SEED,
    )


model = matching()
history = train("feature matching", model, learning_rate=1e-3)
kg.plotting.plot_losses({name: history.history[name] for name in ("d_loss", "feature_distance")})
plt.show()

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 2.2), layout="constrained")
for ax, (name, each) in zip(axes, {"custom networks": custom, "feature matching": model}.items()):
    title = f"{name}: {distances[name][-1][1]:.1f}"
    kg.plotting.show_images(each.generate(24, seed=1), title, columns=8, axes=ax)
plt.show()

# %%
figure, ax = plt.subplots(figsize=(6, 2.8), layout="constrained")
for name, found in distances.items():
    ax.plot(*zip(*found), marker="o", markersize=3, label=name)
ax.set(xlabel="epoch", ylabel="distance", ylim=(0, None))
ax.legend(fontsize=8, frameon=False)
plt.show()
print(f"{'after epoch':18}" + "".join(f"{epoch:8}" for epoch, _ in distances["plain"]))
for name, found in distances.items():
    print(f"{name:18}" + "".join(f"{distance:8.1f}" for _, distance in found))

# %% [markdown]
# These are four runs of one seed and a few hundred steps: they show that each of them learns, and
# how fast at this size. They are not a ranking. One effect in the images has a reason, though:
# feature matching constrains only averages. No term depends on a single image, so single images may
# be of low quality. The paper uses it to stabilise training, and to learn features for a
# classifier.
#
# ## Everything else still works
#
# Saving, loading, generating and exporting are inherited. `load_model` finds the class through the
# decorator `register_keras_serializable`; without it, `custom_objects={"FeatureMatchingGAN":
# FeatureMatchingGAN}` is needed. In another program, the class must be imported before the file is
# loaded.

# %%
model.save("matching.keras")
again = keras.saving.load_model("matching.keras")
print(type(again).__name__, again.feature_layer, int(again.generator_optimizer.iterations))
before, after = model.generate(16, seed=1), again.generate(16, seed=1)
print("largest difference of a pixel after loading:", np.abs(before - after).max())

model.export("saved_model")
serve = tf.saved_model.load("saved_model").signatures["serving_default"]
bytes_ = serve(num_images=tf.constant(16), seed=tf.constant(1, tf.int64))["images"].numpy()
apart = np.abs(bytes_.astype(int) - kg.plotting.to_uint8(before)).max()
print(bytes_.shape, bytes_.dtype, "largest difference of a level:", apart)

# %% [markdown]
# The last lines work without this package and without your class: a SavedModel contains graphs.
# [Tutorial 8](08_notebook_to_server.ipynb) puts it on a server.
#
# ## Stop and resume, one device or two
#
# Now the guarantees that a custom step can break. `kg.testing.check_train_step` trains copies of a
# small version for two epochs of a few batches:
#
# - without interruption, for comparison;
# - reset by `Resume` to the checkpoint of the first epoch, as after a kill in the second;
# - from the file of the first epoch, loaded again;
# - on two devices, under a `tf.distribute` strategy.
#
# All must end with the same weights, gradients and logs. Last, the SavedModel must compute what the
# model computes. The optimizer is plain gradient descent. Adam divides by the magnitude of the
# gradient, so that it would hide a wrong factor, and for a tiny gradient a rounding error decides
# the direction of an update.


# %%
def small(model_class=FeatureMatchingGAN):
    """A new model with few weights."""
    return matching(model_class, width=4)


few_digits = digits(batch_size=16, num_images=64)
for promise, difference in kg.testing.check_train_step(small, few_digits).items():
    print(f"{promise:10}{difference:.1e}")

# %% [markdown]
# These are the largest differences, relative to the largest value. Two devices differ from one by
# rounding in 64 bits, because sums are taken in another order.
#
# Now the same with one line changed: each device takes the mean features of its own images. This
# mistake raises no error in training, and the model still generates images. Only such a comparison
# finds it. Use it as a test of your custom step.


# %%
class LocalMeans(FeatureMatchingGAN):
    """The mistake: means over the images of one device."""

    def mean_features(self, images, batch):
        return tf.reduce_mean(self.features(images, training=True), axis=0)


try:
    kg.testing.check_train_step(lambda: small(LocalMeans), few_digits)
except AssertionError as error:
    print(textwrap.fill(str(error), 98))

# %% [markdown]
# One more check is automatic: `fit` checks the images before each step. A bad batch stops training
# before it changes a weight, and the message says where it is.

# %%
def spoiled(number, images):
    """Puts NaN into all batches but the first."""
    return tf.where(number > 0, np.nan, images)


data = few_digits.enumerate().map(spoiled)
print(message_of(model.fit, data, verbose=0))

# %% [markdown]
# ## Exercises
#
# Try each before you open the answer.

# %% [markdown]
# ### Exercise 1: Does shuffling lose an image?
#
# Show that two epochs with a `shuffle_seed` contain the same images as the stored order, each once,
# but in different orders. What does `drop_remainder=True` change?

# %% tags=["answer"]
def one_epoch(data):
    """All images of an epoch, as rows: (n, 28*28)."""
    return np.concatenate(list(data)).reshape(-1, 28 * 28)


def in_order(rows):
    """The rows sorted by all their values."""
    return rows[np.lexsort(rows.T)]


shuffled = digits(shuffle_seed=SEED)
first, second, stored = one_epoch(shuffled), one_epoch(shuffled), one_epoch(digits())
assert len(first) == len(second) == len(stored) == IMAGES
assert not np.array_equal(first, second)
assert np.array_equal(in_order(first), in_order(stored))
assert np.array_equal(in_order(second), in_order(stored))
full = one_epoch(digits(shuffle_seed=SEED, drop_remainder=True))
assert len(full) == IMAGES // BATCH_SIZE * BATCH_SIZE
print(f"{IMAGES} images per epoch; whole batches have {len(full)}: the next epoch drops others")

# %% [markdown]
# ### Exercise 2: Is the largest singular value really 1?
#
# Wrap a dense layer from 12 to 8 in `kg.layers.SpectralNormalization`, and find the matrix that it
# multiplies by, without looking into the layer. Each call with `training=True` does one
# iteration of the power method: compare the matrix after one call and after 200.

# %% tags=["answer"]
keras.utils.set_random_seed(SEED)
layer = kg.layers.SpectralNormalization(layers.Dense(8, use_bias=False))
unit_vectors = np.eye(12, dtype="float32")  # row i of the output is row i of the matrix
for calls in (1, 200):
    for _ in range(calls):  # each starts from the result of the one before
        layer(unit_vectors, training=True)
    matrix = np.asarray(layer(unit_vectors))  # (12, 8)
    values = np.linalg.svd(matrix, compute_uv=False)
    print(f"after {calls} more: {values[0]:.6f}")
sigma = np.linalg.svd(np.asarray(layer.kernel), compute_uv=False)[0]
assert abs(values[0] - 1) < 1e-4
np.testing.assert_allclose(matrix, np.asarray(layer.kernel) / sigma, atol=1e-4)

# %% [markdown]
# ### Exercise 3: A VAE without a KL term
#
# Write a `train_step` for `kg.VAE` in which the codes of a batch as a whole must look like draws
# from N(0, I), instead of each code's distribution: descend $-\log p(x|z) + \lambda\,
# \mathrm{MMD}^2$ ([Zhao et al., 2017](https://arxiv.org/abs/1706.02262); [Tolstikhin et al.,
# 2018](https://arxiv.org/abs/1711.01558)), with codes $z$, draws $z'$ of the prior and $k(a, b) =
# \exp(-\|a - b\|^2 / 2d)$ in
#
# $$\mathrm{MMD}^2 = \mathbb{E}\,k(z, z) + \mathbb{E}\,k(z', z') - 2\,\mathbb{E}\,k(z, z').$$
#
# The VAE's `encoder`, `sampling`, `decoder` and `log_likelihood_of` do the rest. For two draws of
# the prior $\mathbb{E}\,k = (1 + 2/d)^{-d/2}$: check your kernel with it.

# %% tags=["answer"]
def mean_kernel(a, b):
    """Mean of k over all pairs of rows of a (n, d) and b (m, d)."""
    squares = tf.reduce_sum(tf.square(a[:, None] - b[None]), axis=-1)  # (n, m)
    return tf.reduce_mean(tf.exp(-squares / (2.0 * a.shape[-1])))


def squared_mmd(a, b):
    return mean_kernel(a, a) + mean_kernel(b, b) - 2.0 * mean_kernel(a, b)


class MMDVAE(kg.VAE):
    """For one device: on several, the codes of all devices must be gathered first."""

    def train_step(self, data):
        images, _, batch = self.unpack(data)  # (B, 28, 28, 1)
        prior = kg.distribution.random_normal(
            batch, (self.latent_dim,), self.seed_generator.next()
        )  # (B, d)
        with tf.GradientTape() as tape:
            z_mean, z_log_var = self.encoder(images, training=True)  # (B, d) each
            z = self.sampling(z_mean, z_log_var)  # (B, d)
            outputs = self.decoder(z, training=True)  # (B, 28, 28, 1)
            reconstruction_loss = -tf.reduce_mean(self.log_likelihood_of(images, outputs))
            mmd = squared_mmd(z, prior)
            loss = reconstruction_loss + 1000.0 * mmd
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return self.log(batch, loss=loss, reconstruction_loss=reconstruction_loss, mmd=mmd)


rng = np.random.default_rng(SEED)
a, b = rng.normal(size=(2, 1000, 8)).astype("float32")
closed_form = (1 + 2 / 8) ** -4
assert abs(float(mean_kernel(a, b)) - closed_form) < 0.01
assert abs(float(squared_mmd(a, a))) < 1e-5
assert float(squared_mmd(a, b + 2)) > 10 * float(squared_mmd(a, b))

keras.utils.set_random_seed(SEED)
vae = MMDVAE((28, 28, 1), 8, networks="mlp", seed=SEED)
vae.compile()
data = digits(shuffle_seed=SEED, drop_remainder=True)
logs = vae.fit(data, epochs=max(3, EPOCHS // 2), verbose=0).history
assert set(logs) == {"loss", "reconstruction_loss", "mmd"}
assert logs["reconstruction_loss"][-1] < logs["reconstruction_loss"][0]
for name, values in logs.items():
    print(f"{name}: {values[0]:.3f} -> {values[-1]:.3f}")
print(f"k of two draws of the prior: {float(mean_kernel(a, b)):.4f}, expected {closed_form:.4f}")
kg.plotting.show_images(vae.generate(20, seed=1), "new images", columns=10)
plt.show()

# %% [markdown]
# ## Where to go next
#
# - [Making it train](06_making_it_train.ipynb): what to do when the losses diverge.
# - [From a notebook to a server](08_notebook_to_server.ipynb): what to do with a model that works.
# - [docs/adversarial.md](../docs/adversarial.md): which loss and which option, with results.
#
# References: Salimans et al. (2016), *Improved Techniques for Training GANs*,
# https://arxiv.org/abs/1606.03498; Miyato et al. (2018), *Spectral Normalization for Generative
# Adversarial Networks*, https://arxiv.org/abs/1802.05957; Zhao et al. (2020), *Differentiable
# Augmentation for Data-Efficient GAN Training*, https://arxiv.org/abs/2006.10738; Zhao et al.
# (2017), *InfoVAE*, https://arxiv.org/abs/1706.02262; Tolstikhin et al. (2018), *Wasserstein
# Auto-Encoders*, https://arxiv.org/abs/1711.01558.
