# %% [markdown]
# # 7. Custom data, custom train_step
#
# > **You will be able to** train on a folder of photos as it comes from a phone, and serve the
# > result; put custom Keras networks into a model; and write a `train_step` that is still saved,
# > resumed and distributed.
# >
# > **Time**: an hour with reading. Measured: 2.6 minutes on two CPU cores, on a shared machine.
# >
# > **You need** a Keras model trained once, and what a GAN is ([tutorial
# > 0](00_fifteen_minutes.ipynb)). No data, no internet connection, no GPU: drawn digits stand in
# > for photos.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/07_your_images_your_step.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/07_your_images_your_step.ipynb) · [中文](zh/07_your_images_your_step.ipynb)
#
# Contents: [Photos from a phone](#Photos-from-a-phone) · [What was read](#What-was-read) · [Your
# turn: the crop](#Your-turn:-the-crop) · [Mistakes are one sentence](#Mistakes-are-one-sentence) ·
# [Order and parts](#Order-and-parts) · [Memorised or new](#Memorised-or-new) · [A
# server](#A-server) · [Custom networks](#Custom-networks) · [A custom step](#A-custom-step) · [Your
# turn: a mean over devices](#Your-turn:-a-mean-over-devices) · [Train it](#Train-it) · [What a step
# promises](#What-a-step-promises) · [Exercises](#Exercises)

# %% tags=["parameters"] reduced={"PHOTOS": 100, "EPOCHS": 1, "STEP_EPOCHS": 1, "WIDTH": 4, "VAE_EPOCHS": 3}
PHOTOS = 750  # few, like most custom data sets; a fifth of them is held out
EPOCHS = 60  # of the photos
STEP_EPOCHS = 100  # of the custom step
VAE_EPOCHS = 20  # of exercise 3
BATCH = 32  # images per update
WIDTH = 16  # filters of the custom networks
LATENT_DIM = 64  # length of the noise vector z
SEED = 0

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
# ## Photos from a phone
#
# A phone gives files of several sizes called IMG_2041.JPG. A photo taken upright is often stored
# sideways, with a note, the EXIF orientation, on how to turn it. The only preparation is one
# sub-folder per class, here `photos/0` to `photos/9`: digits, each class in its own ink. Some files
# are no photos that can be read: a HEIC, half a download, a video and a note.

# %%
import colorsys
import http.server
import inspect
import io
import pathlib
import textwrap
import threading
import urllib.request
import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

import keras_genimg as kg
from keras_genimg.core import update_ema

# One processor as two devices, for the comparison at the end: before TensorFlow's first operation.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.get_logger().setLevel("ERROR")  # strategies log every reduction

SIZES = [(48, 48), (48, 64), (64, 48)]  # (height, width): square, wide, upright
PAPER = np.array([0.96, 0.93, 0.86])
INKS = np.array([colorsys.hsv_to_rgb(digit / 10, 0.9, 0.75) for digit in range(10)])


def write_photos(folder, count):
    """Writes digits as a phone would: JPEGs of three sizes, the upright ones stored sideways."""
    sideways = Image.Exif()
    sideways[0x0112] = 6  # orientation: turn by 90 degrees clockwise
    for turn, size in enumerate(SIZES):
        drawn = kg.load("glyphs", batch_size=count, num_images=count, image_size=size,
                        with_labels=True)
        images, labels = (tensor.numpy() for tensor in next(iter(drawn)))  # (count, h, w, 1)
        for i in range(turn, count, len(SIZES)):
            ink = INKS[labels[i]]
            colours = PAPER + (images[i] + 1) / 2 * (ink - PAPER)  # (h, w, 3)
            photo = Image.fromarray(np.uint8(255 * colours))
            path = pathlib.Path(folder, str(labels[i]), f"IMG_{2000 + i}.JPG")
            path.parent.mkdir(parents=True, exist_ok=True)
            if size == (64, 48):
                photo.rotate(90, expand=True).save(path, quality=90, exif=sideways)
            else:
                photo.save(path, quality=90)


write_photos("photos", PHOTOS)
album = pathlib.Path("photos/7")
photo = next(album.iterdir()).read_bytes()
(album / "IMG_9001.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(500))
(album / "IMG_9002.JPG").write_bytes(photo[: len(photo) // 2])  # a download that was interrupted
(album / "IMG_9003.MOV").write_bytes(b"\0\0\0\x14ftypqt  " + bytes(500))
(album / "notes.txt").write_text("to be sorted")
print(sorted(path.name for path in pathlib.Path("photos").iterdir()))
print(sorted(path.name for path in album.iterdir())[-8:])

# %% [markdown]
# Three calls train a model on them: `load`, `compile`, `fit`. The classes are the sub-folders.

# %% alt=["Three rows of ten generated digits, 0 to 9 in each row, each digit in its own colour on light paper. Most are legible, some strokes are blurred or missing."]
SHAPE = (28, 28, 3)


def photos(split="train[:80%]", **options):
    """Batches of our folder, as 28x28 pixels."""
    return kg.load("photos", split, batch_size=BATCH, image_size=28, **options)


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    data = photos(with_labels=True, shuffle_seed=SEED, drop_remainder=True)
keras.utils.set_random_seed(SEED)
gan = kg.ConditionalGAN(SHAPE, num_classes=10, latent_dim=LATENT_DIM, ema_decay=0.99, seed=SEED)
gan.compile()
gan.fit(data, epochs=EPOCHS, verbose=0)

steps = int(gan.generator_optimizer.iterations)
samples = gan.generate(30, labels=np.arange(30) % 10, seed=1)  # (30, 28, 28, 3) in [-1, 1]
title = f"New images of each class, after {steps} updates"
kg.plotting.show_images(samples, title, columns=10, scale=4)
plt.show()

# %% [markdown]
# These samples come from the EMA generator; `ema_decay=0.99` gives its moving average a memory
# short enough for so few updates. Photos of 64x64 and more need the same three calls and more time:
# [docs/photos.md](../docs/photos.md) says how much.
#
# ## What was read
#
# The stray files did not end the training. A warning counts and names what was skipped, in one
# sentence. Other kinds of files, such as the video and the note, are left out without a warning.
# The skipped files, whose names are now known, are then deleted.

# %%
print(*(textwrap.fill(str(warning.message), 98) for warning in caught), sep="\n")
(album / "IMG_9001.HEIC").unlink()
(album / "IMG_9002.JPG").unlink()
print(kg.data.data_info("photos", "train[:80%]", image_size=28))
print(kg.data.data_info("photos", "train[80%:]", image_size=28))

# %% [markdown]
# Below, the upper row shows what the files store, the lower row what the model is given. Sideways
# photos are turned upright. Each is cropped at its centre to the shape of the target and then
# resized, so nothing is distorted, but the ends of a wide photo are lost. Pixels become float32 in
# [-1, 1], the range of the generator's `tanh`.

# %% alt=["Two rows of six photos. In the upper row wide photos lie on their side or show wide margins; in the lower row all are upright, square and coarser."]
names = sorted(path for path in pathlib.Path("photos/3").iterdir())[:6]
pathlib.Path("six").mkdir()
for path in names:
    pathlib.Path("six", path.name).write_bytes(path.read_bytes())
given = next(iter(kg.load("six", batch_size=6, image_size=28)))  # (6, 28, 28, 3)
figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for column, path in enumerate(names):
    stored = Image.open(path)
    axes[0, column].imshow(stored)
    axes[0, column].set_title(f"{stored.width}x{stored.height}", fontsize=9)
    axes[0, column].set_axis_off()
    kg.plotting.show_images(given[column : column + 1], axes=axes[1, column])
plt.show()

# %% [markdown]
# ## Your turn: the crop
#
# Write the box of that crop, for a square target: the largest square in the middle of an image.
# Pillow's `crop` takes it as (left, top, right, bottom), with (0, 0) at the upper left.

# %%
def square(width, height):  # -> (left, top, right, bottom)
    return ...  # your line, or three

# %%
def crop_is_right(square):
    """Checks the box of a wide, an upright and a square image."""
    if square(64, 48) is ...:
        return print("Nothing here yet: write the box, or open the answer below.")
    for size, expected in (((64, 48), (8, 0, 56, 48)), ((48, 64), (0, 8, 48, 56)),
                           ((48, 48), (0, 0, 48, 48))):
        found = tuple(square(*size))
        assert found == expected, f"for {size} it should be {expected}, not {found}"
    print("Right.")
    return True


crop_is_right(square)

# %% [markdown]
# The answer, collapsed, also compares your crop with the pixels of `kg.load`.

# %% tags=["answer"]
def square_answer(width, height):
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


assert crop_is_right(square_answer)
for path, ours in zip(names, given.numpy()):
    stored = Image.open(path)
    if stored.getexif().get(0x0112) == 6:
        stored = stored.rotate(-90, expand=True)
    cropped = stored.crop(square_answer(*stored.size)).resize((28, 28), Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(cropped) / 127.5 - 1 - ours).max()
    print(f"{stored.width}x{stored.height}: largest difference {127.5 * difference:.1f} of 255")
    assert difference < 0.1

# %% [markdown]
# ## Mistakes are one sentence
#
# Everybody makes these once. The checks run before the first step, and on each later batch before
# its step. `message_of` catches the `InputError` with which the package refuses.

# %%
def message_of(function, *arguments, **options):
    """The message with which the package rejects a call."""
    try:
        function(*arguments, **options)
    except kg.InputError as error:
        return textwrap.indent(textwrap.fill(str(error), 94), "    ")
    raise AssertionError("This call was accepted.")


good = np.zeros((8, *SHAPE), "float32")
hole = good.copy()
hole[3, 14, 14, 0] = np.nan
digits = np.arange(8)
for name, call, arguments in (
    ("photos of several sizes", lambda: kg.load("photos", batch_size=8), ()),
    ("bytes", gan.fit, (np.zeros((8, *SHAPE), "uint8"), digits)),
    ("images in 0..255", gan.fit, (good + 255, digits)),
    ("greyscale for colour", gan.fit, (good[..., :1], digits)),
    ("NaN in one pixel", gan.fit, (hole, digits)),
    ("labels missing", gan.fit, (good,)),
    ("label out of range", gan.fit, (good, digits + 3)),
):
    print(f"{name}:\n{message_of(call, *arguments)}")

# %% [markdown]
# ## Order and parts
#
# Without `shuffle_seed` a folder comes class after class, and a batch has one class only. With it
# the whole set is permuted, in an order that depends only on the seed and the number of the epoch.
# `first_epoch=1` starts with the order of epoch 1, so a resumed run sees the same images as an
# uninterrupted one.
#
# A slice such as `train[:80%]` depends only on the names of the files: whoever has the folder gets
# the same parts.

# %%
def labels_of(data):
    return np.concatenate([labels for _, labels in data])


print("stored order:", labels_of(photos(with_labels=True))[:20])
shuffled = photos(with_labels=True, shuffle_seed=SEED)
epochs = [labels_of(shuffled) for _ in range(2)]  # each pass is the next epoch
print("epoch 0:     ", epochs[0][:20])
print("epoch 1:     ", epochs[1][:20])
later = labels_of(photos(with_labels=True, shuffle_seed=SEED, first_epoch=1))
print("epoch 1 by first_epoch is the same:", np.array_equal(epochs[1], later))

# %% [markdown]
# ## Memorised or new
#
# With few photos a model may memorise them. Beside each sample stands the training photo nearest to
# it, in pixels. A distance alone says little, because simple images are near each other. So the
# held-out photos, which the model has not seen, give the reference. `nearer_than_held_out` is the
# probability that a sample is nearer to the training set than a held-out photo is: about 0.5
# without memorisation, near 1 with it, and low for bad samples, which are far from any photo.

# %% alt=["Two rows of ten images: generated digits above, the nearest training photo of each below. The pairs agree in colour and mostly in shape, not in the details of the strokes."]
training = np.concatenate(list(photos()))  # (n, 28, 28, 3)
held_out = np.concatenate(list(photos("train[80%:]")))  # (m, 28, 28, 3)
many = gan.generate(200, seed=2)
report = kg.metrics.nearest_training_images(many, training, held_out)
pairs = np.concatenate([many[:10], report["images"][:10]])
kg.plotting.show_images(pairs, "Samples, and the nearest photo of each", columns=10, scale=4)
plt.show()
print(f"median distance to the training photos: {report['median_distance']:.2f} of samples, "
      f"{report['held_out_median_distance']:.2f} of held-out photos; "
      f"nearer than held-out: {report['nearer_than_held_out']:.2f}")

# %% [markdown]
# More photos help most; `augment="translation,cutout"` shows the discriminator each photo in many
# versions, and is for long runs: [docs/adversarial.md](../docs/adversarial.md) has measurements of
# both.
#
# ## A server
#
# `export` writes a SavedModel: graphs and weights, which need neither this package nor your code.
# Its signature `serving_png` returns one PNG file per seed and label. TensorFlow Serving takes the
# folder as it is ([docs/serving.md](../docs/serving.md)); here the standard library serves it, in a
# thread. A path such as /7/1 asks for class 7 with seed 1.

# %% alt=["Ten digits, 0 to 9, each in its own colour, as received from the server."]
gan.export("models/photos/1")
served = tf.saved_model.load("models/photos/1").signatures["serving_png"]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        _, label, seed = self.path.split("/")
        asked = tf.constant([int(label)]), tf.constant([int(seed)], tf.int64)
        png = served(labels=asked[0], seed=asked[1])["png_bytes"][0].numpy()
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(png)

    def log_message(self, *arguments):  # quiet
        pass


opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy in between
with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:  # 0: any free port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    answers = [opener.open(f"{address}/{label}/1", timeout=60).read() for label in range(10)]
    server.shutdown()
received = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in answers])
kg.plotting.show_images(received / 127.5 - 1, "From the server: /0/1 to /9/1", columns=10, scale=4)
plt.show()
direct = np.concatenate([gan.generate(1, labels=[label], seed=1) for label in range(10)])
apart = np.abs(received.astype(int) - kg.plotting.to_uint8(direct)).max()
print(f"{len(answers[0])} bytes a PNG; largest difference from generate: {apart} of 255 levels")

# %% [markdown]
# On the command line the same takes four commands, and leaves a run folder that holds samples,
# losses and the model:
#
# ```bash
# keras-genimg train conditional_gan --data photos --image-size 28 --holdout 0.2 --output runs/photos
# keras-genimg evaluate runs/photos --metrics sliced_wasserstein_distance
# keras-genimg generate runs/photos --labels 2,0,2,6 --count 4 --output photos_2026
# keras-genimg export runs/photos --output models/photos/2
# ```
#
# ## Custom networks
#
# A model of the package is an objective; its networks may be custom. The generator maps `(batch,
# latent_dim)` to images in [-1, 1], the discriminator maps images to one logit each. Two layers of
# `kg.layers` do what those of Keras do not by default. `BatchNormalization` takes its moments over
# the batch of all devices together. `SpectralNormalization` divides a kernel by its largest singular
# value $\sigma(W)$, with the gradient through the division ([Miyato et al.,
# 2018](https://arxiv.org/abs/1802.05957)).

# %%
def custom_generator(width=WIDTH):
    z = keras.Input((LATENT_DIM,))
    x = layers.Dense(7 * 7 * 2 * width, use_bias=False)(z)  # (B, 7*7*2w)
    x = layers.Reshape((7, 7, 2 * width))(x)  # (B, 7*7*2w) -> (B, 7, 7, 2w)
    x = layers.ReLU()(kg.layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2DTranspose(width, 4, 2, padding="same", use_bias=False)(x)  # (B, 14, 14, w)
    x = layers.ReLU()(kg.layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Conv2DTranspose(3, 4, 2, padding="same", activation="tanh")(x)  # (B, 28, 28, 3)
    return keras.Model(z, x, name="generator")


def custom_discriminator(width=WIDTH):
    normalized = kg.layers.SpectralNormalization
    images = keras.Input(SHAPE)
    x = normalized(layers.Conv2D(width, 4, 2, padding="same"))(images)  # (B, 14, 14, w)
    x = layers.LeakyReLU(0.2)(x)
    x = normalized(layers.Conv2D(2 * width, 4, 2, padding="same"))(x)  # (B, 7, 7, 2w)
    x = layers.LeakyReLU(0.2)(x)
    x = layers.Flatten(name="features")(x)  # (B, 7, 7, 2w) -> (B, 7*7*2w)
    logits = normalized(layers.Dense(1))(x)  # (B, 1)
    return keras.Model(images, logits, name="discriminator")


def custom(model_class=kg.GAN, width=WIDTH):
    """A model of this class with the custom networks, from the seed."""
    keras.utils.set_random_seed(SEED)
    networks = {"generator": custom_generator(width), "discriminator": custom_discriminator(width)}
    return model_class(SHAPE, LATENT_DIM, **networks, ema_decay=0.99, seed=SEED)


for network in (custom().generator, custom().discriminator):
    print(f"{network.name}: {network.count_params():,} weights")
coarse = keras.Sequential([layers.Dense(14 * 14 * 3), layers.Reshape((14, 14, 3))])
maps = keras.Sequential([layers.Conv2D(1, 4, 2, padding="same")])
print(message_of(kg.GAN, SHAPE, LATENT_DIM, generator=coarse))
print(message_of(kg.GAN, SHAPE, LATENT_DIM, discriminator=maps))

# %% [markdown]
# Shapes are checked when the model is created. Two conditions are not visible in a shape: the
# generator must end in [-1, 1], and the discriminator in a logit, since the losses apply the
# sigmoid.
#
# ## A custom step
#
# Here is the step of `kg.GAN`. [Tutorial 0](00_fifteen_minutes.ipynb) compares it with one that is
# written by hand.

# %%
print(inspect.getsource(kg.GAN.train_step))

# %% [markdown]
# [Salimans et al. (2016)](https://arxiv.org/abs/1606.03498), section 3.1, give the generator
# another objective, *feature matching*. It no longer tries to fool the discriminator. On average,
# its images should have the same features $f$ as real ones, where $f$ is a layer inside the
# discriminator:
#
# $$L_G = \left\| \mathbb{E}_{x}\, f(x) - \mathbb{E}_{z}\, f(G(z)) \right\|_2^2$$
#
# The discriminator learns as before, and so keeps learning features that separate the two.
#
# The rules for a custom step:
#
# 1. Begin with `unpack`, end with `return self.log(batch, name=scalar, ...)`.
# 2. Draw noise by `sample_latents(batch)`: it draws for all devices and keeps the rows of this one.
# 3. Each device takes the mean over its $n$ of the $N$ images, and optimizers *sum* gradients over
#    devices. So each gradient is multiplied by the share $n/N$:
#    `tape.gradient(loss, weights, batch.share)`.
# 4. Apply each optimizer by its attribute name, in every step and to the same weights; use no
#    Python `if` on tensors.
# 5. Create new weights and layers in `__init__`. Its arguments are saved automatically.
#
# ## Your turn: a mean over devices
#
# Rule 3 holds for a loss that is a mean over images. $L_G$ is not: it is the square of a difference
# of means. If each device took the means of its own images, the sum over devices would be wrong. So
# the mean must be that of *all* images, on every device. Write it:
# `kg.distribution.sum_over_replicas` adds a tensor up over devices, and `batch.global_size` is $N$.

# %%
def mean_over_devices(features, batch):  # (n, d) of this device -> (d,), over all devices
    return ...  # your line, or two

# %%
def mean_is_right(mean):
    """Compares a mean on two devices, which have 4 and 3 images, with that of all 7."""
    features = np.arange(14, dtype="float32").reshape(7, 2) ** 2  # (7, 2)
    if mean(features, kg.distribution.whole_batch(7)) is ...:
        return print("Nothing here yet: write the mean, or open the answer below.")
    strategy = kg.distribution.get_strategy("mirrored")
    parts = strategy.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(features).batch(8)
    )

    @tf.function
    def on_each(rows):
        return strategy.run(lambda x: mean(x, kg.distribution.global_batch(x)), (rows,))

    for found in strategy.experimental_local_results(on_each(next(iter(parts)))):
        expected = features.mean(axis=0)
        assert np.allclose(found, expected), f"it should be {expected}, not {found}"
    print("Right, on both devices.")
    return True


mean_is_right(mean_over_devices)

# %% [markdown]
# Now the step, in the order of `kg.GAN`'s. It calls the answer, which is in the next cell.

# %% tags=["answer"]
def mean_answer(features, batch):
    total = kg.distribution.sum_over_replicas(tf.reduce_sum(features, axis=0))  # (d,)
    return total / tf.cast(batch.global_size, total.dtype)


assert mean_is_right(mean_answer)

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
        images, _, batch = self.unpack(data)  # (B, 28, 28, 3)

        # 1. G(z), z ~ p_z, for both updates.
        with tf.GradientTape() as generator_tape:
            fakes = self.generator(self.sample_latents(batch), training=True)  # (B, 28, 28, 3)

        # 2. Discriminator: as in GAN.
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, 1)
            fake_logits = self.discriminator(fakes, training=True)  # (B, 1)
            d_loss = self.discriminator_loss(real_logits, fake_logits)
        weights = self.discriminator.trainable_variables
        gradients = tape.gradient(d_loss, weights, batch.share)
        self.discriminator_optimizer.apply_gradients(zip(gradients, weights))

        # 3. Generator: descend || E f(x) - E f(G(z)) ||^2.
        real_mean = self.mean(self.features(images, training=True), batch)  # (d,), a constant to G
        with generator_tape:
            fake_mean = self.mean(self.features(fakes, training=True), batch)  # (d,)
            g_loss = tf.reduce_sum(tf.square(real_mean - fake_mean))
        weights = self.generator.trainable_variables
        gradients = generator_tape.gradient(g_loss, weights, batch.share)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        update_ema(self.ema_generator, self.generator, self.current_ema_decay())

        # 4. Logs, under custom names.
        return self.log(batch, d_loss=d_loss, feature_distance=g_loss)

    def mean(self, features, batch):
        return mean_answer(features, batch)

# %% [markdown]
# A step has only the options that it implements. This one implements neither `augment` nor
# `r1_weight`, so they have no effect here.
#
# ## Train it
#
# Both steps train the same networks, from the same seed and at the same learning rate. The sliced
# Wasserstein distance compares patches of generated and held-out photos at each resolution; lower
# is better. It needs no network, so it suits photos of any kind.

# %% alt=["Two groups of sixteen digits, by the step of GAN on the left and by feature matching on the right, together in four rows of eight: coloured strokes on light paper, of which some form digits and others do not.", "Curves of the discriminator's loss and of the feature distance over the epochs."]
trained, histories = {}, {}
for name, model_class in (("kg.GAN", kg.GAN), ("feature matching", FeatureMatchingGAN)):
    trained[name] = custom(model_class)
    trained[name].compile(learning_rate=1e-3)
    data = photos(shuffle_seed=SEED, drop_remainder=True)
    histories[name] = trained[name].fit(data, epochs=STEP_EPOCHS, verbose=0).history
figure, axes = plt.subplots(1, 2, figsize=(9, 4.8), layout="constrained")
for ax, (name, model) in zip(axes, trained.items()):
    kg.plotting.show_images(model.generate(16, seed=1), name, columns=4, axes=ax)
plt.show()
kg.plotting.plot_losses(histories["feature matching"])
plt.show()
for name, images in (("training photos", training), *((n, m.generate(len(held_out), seed=2))
                                                      for n, m in trained.items())):
    found = kg.metrics.sliced_wasserstein_distance(held_out, images)
    print(f"{name:18}", {f"{height}x{height}": round(value, 1) for height, value in found.items()})

# %% [markdown]
# One seed and a short run: the values show that both steps learn, not which is better. One effect
# has a reason, though. Feature matching constrains only averages; no term depends on a single
# image, so single images may be of low quality. The paper uses it to stabilise training, and to
# learn features for a classifier.
#
# ## What a step promises
#
# `kg.testing.check_train_step` trains copies of a small version for two epochs of a few batches,
# without interruption, and compares:
#
# - `resume`: reset to the checkpoint of the first epoch, as after a kill in the second;
# - `save`: loaded from the file of the first epoch;
# - `replicas`: trained on two devices, under a `tf.distribute` strategy;
# - `export`: the SavedModel against the model.
#
# Then the same check meets the mistake: each device takes the mean of its own images. It raises no
# error in training, and the model still generates images. Only such a comparison finds it. Make the
# check the test of your step.

# %%
class OwnMeans(FeatureMatchingGAN):
    """The mistake: means over the images of one device."""

    def mean(self, features, batch):
        return tf.reduce_mean(features, axis=0)


few = kg.load("photos", batch_size=16, num_images=64, image_size=28)
for promise, difference in kg.testing.check_train_step(
    lambda: custom(FeatureMatchingGAN, width=4), few
).items():
    print(f"{promise:10}{difference:.1e}")
try:
    kg.testing.check_train_step(lambda: custom(OwnMeans, width=4), few)
except AssertionError as error:
    print(textwrap.fill(str(error), 98))
else:
    raise AssertionError("the mistake was not found")

# %% [markdown]
# The values are the largest differences, relative to the largest value. Two devices differ from one
# by rounding in 64 bits, because sums are taken in another order.
#
# So a trained model of the custom class can be saved. `load_model` finds the class by its
# decorator, `register_keras_serializable`; in another program, import the class first.

# %%
trained["feature matching"].save("matching.keras")
again = keras.saving.load_model("matching.keras")
print(type(again).__name__, again.feature_layer, int(again.generator_optimizer.iterations))
before, after = (m.generate(16, seed=1) for m in (trained["feature matching"], again))
print("largest difference of a pixel after loading:", np.abs(before - after).max())

# %% [markdown]
# ## Exercises

# %% [markdown]
# ### Exercise 1: does shuffling lose an image?
#
# Show that two epochs with a `shuffle_seed` contain the same images as the stored order, each once,
# but in different orders. What does `drop_remainder=True` change?

# %% tags=["answer"]
def one_epoch(data):
    """All images of an epoch, as rows: (n, 28*28*3)."""
    return np.concatenate(list(data)).reshape(-1, np.prod(SHAPE))


def in_order(rows):
    """The rows sorted by all their values."""
    return rows[np.lexsort(rows.T)]


shuffled = photos(shuffle_seed=SEED)
first, second, stored = one_epoch(shuffled), one_epoch(shuffled), one_epoch(photos())
assert not np.array_equal(first, second)
assert np.array_equal(in_order(first), in_order(stored))
assert np.array_equal(in_order(second), in_order(stored))
full = one_epoch(photos(shuffle_seed=SEED, drop_remainder=True))
assert len(full) == len(stored) // BATCH * BATCH
print(f"{len(stored)} images per epoch, {len(full)} in whole batches: the next epoch drops others")

# %% [markdown]
# ### Exercise 2: is the largest singular value really 1?
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
# ### Exercise 3: a step of a VAE
#
# Write a `train_step` for `kg.VAE` without a KL term, in which the codes of a batch as a whole must
# look like draws from N(0, I): descend $-\log p(x|z) + \lambda\, \mathrm{MMD}^2$ ([Zhao et al.,
# 2017](https://arxiv.org/abs/1706.02262); [Tolstikhin et al.,
# 2018](https://arxiv.org/abs/1711.01558)), with codes $z$, draws $z'$ of the prior and $k(a, b) =
# \exp(-\|a - b\|^2 / 2d)$ in
#
# $$\mathrm{MMD}^2 = \mathbb{E}\,k(z, z) + \mathbb{E}\,k(z', z') - 2\,\mathbb{E}\,k(z, z').$$
#
# The VAE's `encoder`, `sampling`, `decoder` and `log_likelihood_of` do the rest. For two
# independent draws of the prior $\mathbb{E}\,k = (1 + 2/d)^{-d/2}$: check your kernel with it.

# %% tags=["answer"] alt=["Two rows of ten grey images with faint, blurred shapes of digits, mostly zeros."]
def mean_kernel(a, b):
    """Mean of k over all pairs of rows of a (n, d) and b (m, d)."""
    squares = tf.reduce_sum(tf.square(a[:, None] - b[None]), axis=-1)  # (n, m)
    return tf.reduce_mean(tf.exp(-squares / (2.0 * a.shape[-1])))


def squared_mmd(a, b):
    return mean_kernel(a, a) + mean_kernel(b, b) - 2.0 * mean_kernel(a, b)


class MMDVAE(kg.VAE):
    """For one device: on several, the codes of all devices must be gathered first."""

    def train_step(self, data):
        images, _, batch = self.unpack(data)  # (B, 28, 28, 3)
        prior = kg.distribution.random_normal(
            batch, (self.latent_dim,), self.seed_generator.next()
        )  # (B, d)
        with tf.GradientTape() as tape:
            z_mean, z_log_var = self.encoder(images, training=True)  # (B, d) each
            z = self.sampling(z_mean, z_log_var)  # (B, d)
            outputs = self.decoder(z, training=True)
            reconstruction_loss = -tf.reduce_mean(self.log_likelihood_of(images, outputs))
            mmd = squared_mmd(z, prior)
            loss = reconstruction_loss + 1000.0 * mmd
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return self.log(batch, loss=loss, reconstruction_loss=reconstruction_loss, mmd=mmd)


rng = np.random.default_rng(SEED)
a, b = rng.normal(size=(2, 1000, 8)).astype("float32")
closed_form = (1 + 2 / 8) ** -4
print(f"k of two draws of the prior: {float(mean_kernel(a, b)):.4f}, expected {closed_form:.4f}")
assert abs(float(mean_kernel(a, b)) - closed_form) < 0.01
assert abs(float(squared_mmd(a, a))) < 1e-5
assert float(squared_mmd(a, b + 2)) > 10 * float(squared_mmd(a, b))

keras.utils.set_random_seed(SEED)
vae = MMDVAE(SHAPE, 8, networks="mlp", seed=SEED)
vae.compile()
data = photos(shuffle_seed=SEED, drop_remainder=True)
logs = vae.fit(data, epochs=VAE_EPOCHS, verbose=0).history
for name, values in logs.items():
    print(f"{name}: {values[0]:.3f} -> {values[-1]:.3f}")
assert logs["reconstruction_loss"][-1] < logs["reconstruction_loss"][0]
kg.plotting.show_images(vae.generate(20, seed=1), "New images", columns=10, scale=4)
plt.show()

# %% [markdown]
# ## Where to go next
#
# - [8. From notebook to cluster to server](08_notebook_to_server.ipynb): several devices and
#   workers, resuming, smaller files, and a server in its own process.
# - [6. Making it train](06_making_it_train.ipynb): what to do when the losses diverge.
# - [docs/photos.md](../docs/photos.md) and [docs/folders.md](../docs/folders.md): all that a folder
#   may hold, and how many photos are enough.
#
# References: Salimans et al. (2016), [Improved techniques for training
# GANs](https://arxiv.org/abs/1606.03498); Miyato et al. (2018), [spectral
# normalisation](https://arxiv.org/abs/1802.05957); Zhao et al. (2017),
# [InfoVAE](https://arxiv.org/abs/1706.02262); Tolstikhin et al. (2018), [Wasserstein
# auto-encoders](https://arxiv.org/abs/1711.01558).
