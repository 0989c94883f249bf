# %% [markdown]
# # 6. Making it train: losses, metrics, several devices, pruning
#
# What helps GANs that do not train well? Other losses, five discriminator updates per generator
# update, other noise, other optimizers, more devices, fewer weights. Each piece of advice is tried
# in a short run and measured. You need to know what a GAN is ([tutorial
# 1](01_gan_to_vq_vae.ipynb)); the images are small and grey, and no accelerator is needed.
#
# Measured: 4.4 minutes on two CPU cores, on a shared machine.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/06_making_it_train.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/06_making_it_train.ipynb)

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 200, "NUM_SAMPLES": 60, "BATCH": 16, "MEASUREMENTS": 1, "STEPS": 2, "CRITIC_STEPS": 2, "OBJECTIVES": [], "RING_OBJECTIVES": ["fast_generator"], "RING_EPOCHS": 1, "RING_STEPS": 2, "NOISES": ["uniform"], "OPTIMIZERS": {"RMSprop": 0.001}, "TIMED_STEPS": 2, "SPARSITIES": [0.5], "PRUNE_STEPS": 4, "MEAN_STEPS": 2}
DATA = "fashion_mnist"  # or another set with its own features: "mnist", "glyphs"
NUM_IMAGES = 6000  # images to train on
NUM_SAMPLES = 2000  # images per metric
BATCH = 64
LATENT = 32
SEED = 0
MEASUREMENTS = 5  # per run
STEPS = 60  # generator updates between measurements
CRITIC_STEPS = 80  # of a discriminator against a fixed generator
RING_OBJECTIVES = ["non_saturating", "least_squares", "wgan_gp", "fast_generator"]
RING_EPOCHS = 5
RING_STEPS = 300  # of 64 points, per epoch
OBJECTIVES = ["least_squares", "wgan_gp"]
NOISES = ["uniform", "truncated_normal"]
OPTIMIZERS = {"RMSprop": 0.001, "SGD": 0.05}  # name: learning rate
TIMED_STEPS = 10
SPARSITIES = [0.0, 0.5, 0.8]
PRUNE_STEPS = 120
MEAN_STEPS = 300

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
# ## Devices first
#
# TensorFlow fixes its list of devices at the first operation. Two logical devices on one processor,
# to try what needs two devices, must be configured before that: here, in the first cell after the
# imports. Everything below runs with them as it would without.

# %%
import contextlib
import gzip
import inspect
import pathlib
import re
import textwrap
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers

import keras_genimg as kg

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.get_logger().setLevel("ERROR")  # strategies log every reduction
plt.rcParams["figure.dpi"] = 72
print([device.name for device in tf.config.list_logical_devices("CPU")])

# %% tags=["setup"]
DATA = or_glyphs(DATA)

# %%
def arrays(split, count):
    """The first images of a split and their labels, as arrays."""
    parts = kg.load(DATA, split, batch_size=500, with_labels=True, num_images=count)
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in parts))
    return np.concatenate(images), np.concatenate(labels)


train_images, train_labels = arrays("train", NUM_IMAGES)  # (NUM_IMAGES, 28, 28, 1) in [-1, 1]
test_images, _ = arrays("test", NUM_SAMPLES)  # (NUM_SAMPLES, 28, 28, 1)
SHAPE = train_images.shape[1:]
mean_image = train_images.mean(axis=0)  # (28, 28, 1)
kg.plotting.show_images(train_images[:20], f"{DATA}: training images", columns=10)

# %% [markdown]
# ## 1. A pair of networks that do not fit
#
# The generator of the article has 7x7 positions of 256 features each and ends in a dense layer of
# three units. A dense layer acts on the last axis only, so the output is a 7x7 image in three
# colours. Its discriminator takes 28x28 images in three colours, and the data are 28x28 without a
# channel axis. None of the three fit. Here are the two networks again, in our own code.


# %%
def attempt(what, function):
    """Prints the result of a call, or its error in one line."""
    try:
        outcome = f"no error, {function()}"
    except Exception as error:
        text = re.sub(r"\x1b\[\d*m", "", str(error))  # without the codes of colours
        text = text.removeprefix("Exception encountered when calling Functional.call().")
        text = re.sub(r'Tensor\("data:0".*?\'\'', "the images", " ".join(text.split()))
        outcome = f"{type(error).__name__}: {textwrap.shorten(text, 150)}"
    print(f"{what}:\n    {outcome}")


noise = keras.Input((100,))
x = layers.Dense(7 * 7 * 256, activation="relu")(noise)  # (B, 100) -> (B, 12544)
x = layers.Reshape((7, 7, 256))(x)  # (B, 12544) -> (B, 7, 7, 256)
small_images = layers.Dense(3, activation="tanh")(x)  # (B, 7, 7, 256) -> (B, 7, 7, 3)
too_small = keras.Model(noise, small_images)

colour = keras.Input((28, 28, 3))
x = layers.Dense(256, activation="relu")(colour)  # (B, 28, 28, 3) -> (B, 28, 28, 256)
x = layers.Dense(256, activation="relu")(x)  # (B, 28, 28, 256)
per_pixel = keras.Model(colour, layers.Dense(1, activation="sigmoid")(x))  # (B, 28, 28, 1)

draws = np.random.default_rng(SEED).standard_normal((4, 100)).astype("float32")
attempt("the discriminator on generated images", lambda: per_pixel(too_small(draws)))
attempt("what is plotted as an image, [i, j] of the result", lambda: too_small(draws)[0, 0].shape)
per_pixel.compile("adam", "binary_crossentropy")
grey = np.zeros((4, 28, 28), "float32")
attempt("training on grey images", lambda: per_pixel.train_on_batch(grey, np.ones((4, 1))))
colourful = np.zeros((4, 28, 28, 3), "float32")
attempt("training on colour images", lambda: per_pixel.train_on_batch(colourful, np.ones((4, 1))))

# %% [markdown]
# The last one is the most important. Even with images of the right shape training fails: the
# discriminator gives one output per pixel, not one per image. A stack of dense layers over the last
# axis is one small network that is applied to each pixel separately. It has few weights, and no
# output depends on other pixels. The number of weights shows this, and so does the gradient.

# %%
print(f"discriminator over pixels: {per_pixel.count_params():,} weights, {per_pixel.output_shape}")
whole_image = kg.networks.mlp_discriminator((28, 28, 3), units=(256, 256))
print(f"the same, flattened first: {whole_image.count_params():,} weights, "
      f"{whole_image.output_shape}")

probe = tf.random.stateless_uniform((1, 28, 28, 3), (SEED, 0), -1.0, 1.0)
for name, network in (("over pixels", per_pixel), ("flattened", whole_image)):
    with tf.GradientTape() as tape:
        tape.watch(probe)
        score = network(probe)
        score = score[0, 14, 14, 0] if score.shape.rank == 4 else score[0, 0]
    reached = np.any(tape.gradient(score, probe).numpy() != 0, axis=-1)  # (1, 28, 28)
    print(f"{name}: one output depends on {reached.sum()} of {reached.size} pixels")

# %% [markdown]
# ## 2. A step that trains the wrong network
#
# Next come the calls. A Keras model that was never compiled has no optimizer, and no Keras object
# has the methods of PyTorch. `zero_grad`, `backward` and `step` belong to a library that
# accumulates gradients in the weights; in TensorFlow a tape returns them.

# %%
never_compiled = kg.networks.mlp_discriminator(SHAPE, units=(16,))
attempt("training a model that was never compiled",
        lambda: never_compiled.train_on_batch(test_images[:4], np.ones((4, 1))))
attempt("asking it for its optimizer", lambda: never_compiled.optimizer)
for owner, method in (
    (keras.optimizers.Adam(), "zero_grad"), (tf.constant(1.0), "backward"),
    (np.float32(1.0), "backward"), (keras.optimizers.Adam(), "step"),
):
    attempt(f"{type(owner).__name__}.{method}()", lambda: getattr(owner, method)())

# %% [markdown]
# With all that fixed, one mistake remains, and it raises no error. The generator step of the
# article calls `predict` and then trains the discriminator on the result, with the label "real".
# `predict` returns NumPy arrays, through which no gradient passes; and `train_on_batch` updates the
# model that it is called on. So the discriminator learns that generated images are real, and the
# generator learns nothing. Setting `trainable` to False after `compile` and after a first step, as
# the article does between the two, does not help.


# %%
def change(network, before):
    """The largest change of a weight."""
    return max(np.abs(w - b).max() for w, b in zip(network.get_weights(), before))


generator = kg.networks.mlp_generator(SHAPE, LATENT, units=(32,))
discriminator = keras.Sequential(
    [kg.networks.mlp_discriminator(SHAPE, units=(32,)), layers.Activation("sigmoid")]
)
discriminator.compile("adam", "binary_crossentropy")
latents = np.random.default_rng(SEED).standard_normal((BATCH, LATENT)).astype("float32")
for trainable in (True, False):
    discriminator.trainable = trainable
    before = generator.get_weights(), discriminator.get_weights()
    made = generator.predict(latents, verbose=0)  # NumPy: no gradient to the generator
    discriminator.train_on_batch(made, np.ones((BATCH, 1)))
    print(f"trainable={trainable!s:<5}  generator changed by {change(generator, before[0]):.4f}, "
          f"discriminator by {change(discriminator, before[1]):.4f}")
with tf.GradientTape() as tape:
    g_loss = tf.reduce_mean(discriminator(generator.predict(latents, verbose=0)))
gradients = tape.gradient(g_loss, generator.trainable_variables)
print("gradients that reach the generator through predict:", set(gradients))

# %% [markdown]
# ## 3. What runs instead: a readable step
#
# Five discriminator updates per generator update is the setting of the Wasserstein GAN. This is the
# whole step of `kg.WGAN`, from the package:

# %%
print(textwrap.dedent(inspect.getsource(kg.WGAN.train_step)))

# %% [markdown]
# From the top. `unpack` takes the images and knows how many replicas share the batch. The loop runs
# `n_critic` times; each iteration takes its own part of the batch, so five iterations see five
# times the images. The tape records only the critic: the fakes are generated before it starts. The
# loss is $\mathbb{E}[f(g(z))] - \mathbb{E}[f(x)]$, and the gradient is taken with respect to the
# weights of the critic. After the update the weights are clipped to $[-c, c]$, which bounds the
# slope of the critic. In the second part the generator is inside the tape, the loss is
# $-\mathbb{E}[f(g(z))]$, and the gradient is taken with respect to the weights of the generator:
# they are named, so no `trainable` flag has to be set and unset. One call updates both:

# %%
keras.utils.set_random_seed(SEED)
wgan = kg.WGAN(
    SHAPE, LATENT, seed=SEED, n_critic=5,
    generator=kg.networks.mlp_generator(SHAPE, LATENT, units=(32,)),
    discriminator=kg.networks.mlp_discriminator(SHAPE, units=(32,)),
)
wgan.compile()
before = wgan.generator.get_weights(), wgan.discriminator.get_weights()
wgan.fit(train_images[: 5 * BATCH], batch_size=BATCH, verbose=0)  # one step of `fit`
print(f"critic updates {int(wgan.discriminator_optimizer.iterations)}, "
      f"of the generator {int(wgan.generator_optimizer.iterations)}")
print(f"critic changed by {change(wgan.discriminator, before[1]):.4f}, "
      f"generator by {change(wgan.generator, before[0]):.6f}")
largest = max(np.abs(w).max() for w in wgan.discriminator.get_weights())
print(f"largest weight of the critic {largest:.4f}, clip_value {wgan.clip_value}")

# %% [markdown]
# ## 4. The losses, drawn
#
# A generator's loss depends on an image only through one number, the logit $\ell$ that the
# discriminator gives it; $D = \sigma(\ell)$. So each loss is a curve:
#
# | loss | generator | discriminator, on a generated image |
# |---|---|---|
# | minimax | $\log(1 - \sigma(\ell))$ | $-\log(1 - \sigma(\ell))$ |
# | non-saturating | $-\log \sigma(\ell)$ | $-\log(1 - \sigma(\ell))$ |
# | least squares | $(\ell - 1)^2 / 2$ | $\ell^2 / 2$ |
# | hinge | $-\ell$ | $\max(0, 1 + \ell)$ |
# | Wasserstein | $-\ell$ | $\ell$ |
#
# The functions of `kg.losses` return means, so the slope of one element is the gradient of the mean
# times the number of elements.


# %%
def curve(loss, logits):
    """Values and slopes of a loss at each logit: two arrays as long as `logits`."""
    variable = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        mean = loss(variable)
    slopes = len(logits) * tape.gradient(mean, variable).numpy()
    return np.array([float(loss(logit[None])) for logit in variable]), slopes


logits = np.linspace(-8, 8, 65, dtype="float32")
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
for name, (of_generator, of_discriminator) in kg.losses.ADVERSARIAL_LOSSES.items():
    values, slopes = curve(of_generator, logits)
    dash = "--" if name == "wasserstein" else "-"  # it coincides with the hinge
    axes[0].plot(logits, values, dash, label=name)
    axes[1].plot(logits, np.abs(slopes), dash)
    fake_part, _ = curve(lambda fake: of_discriminator(tf.constant([8.0]), fake), logits)
    axes[2].plot(logits, fake_part - fake_part.min(), dash)
titles = "generator's loss", "size of its slope", "discriminator's, of fakes"
for panel, title in zip(axes, titles):
    panel.set_title(title, fontsize=10)
    panel.set_xlabel("logit of a generated image", fontsize=9)
    panel.set_ylim((-8.5, 8.5) if panel is axes[0] else (-0.2, 8.5))
axes[0].legend(fontsize=7, frameon=False)
plt.show()

# %%
places = np.array([-8, -4, 0, 1, 4], "float32")
print("size of the generator's slope at a logit of" + "".join(f"{place:9.0f}" for place in places))
for name, (of_generator, _) in kg.losses.ADVERSARIAL_LOSSES.items():
    _, slopes = curve(of_generator, places)
    print(f"{name:<43}" + "".join(f"{abs(slope):9.4f}" for slope in slopes))

# %% [markdown]
# On the left of the table the discriminator is certain that the image is generated. There the
# minimax loss is flat: the generator gets no gradient just when it is worst. The non-saturating
# loss has slope nearly 1 there, and vanishes on the right, where there is nothing left to gain. The
# slope of least squares grows with the distance of the logit from 1, and changes its sign there.
# Hinge and Wasserstein have the same slope everywhere; they differ in the discriminator.
#
# The article says that training becomes unstable when the generator is too strong for the
# discriminator. The curves show that the other case is the problem. The same in networks: a
# generator is fixed, a discriminator learns, and the norm of the generator's gradient is recorded
# for both losses.


# %%
def networks(normalization=True):
    """A small generator of transposed convolutions and its discriminator."""
    options = {"filters": 8, "widest": 32}
    return {
        "generator": kg.networks.dcgan_generator(SHAPE, LATENT, **options),
        "discriminator": kg.networks.dcgan_discriminator(
            SHAPE, normalization=normalization, **options
        ),
    }


keras.utils.set_random_seed(SEED)
fixed, learner = networks(normalization=False).values()
optimizer = keras.optimizers.Adam(1e-3)
two_losses = [kg.losses.minimax_generator_loss, kg.losses.non_saturating_generator_loss]


@tf.function
def learn(images, latents):
    """One step of the discriminator: its score of fakes, two norms of the generator's gradient."""
    with tf.GradientTape() as tape:
        real_logits, fake_logits = learner(images), learner(fixed(latents))
        loss = kg.losses.minimax_discriminator_loss(real_logits, fake_logits)
    weights = learner.trainable_variables
    optimizer.apply(tape.gradient(loss, weights), weights)
    with tf.GradientTape(persistent=True) as tape:
        both = [generator_loss(learner(fixed(latents))) for generator_loss in two_losses]
    norms = [tf.linalg.global_norm(tape.gradient(x, fixed.trainable_variables)) for x in both]
    return tf.reduce_mean(tf.sigmoid(fake_logits)), norms


latents = tf.random.stateless_normal((BATCH, LATENT), (SEED, 1))
learned = []
for start in range(CRITIC_STEPS):
    rows = np.arange(start * BATCH, (start + 1) * BATCH) % NUM_IMAGES
    score, norms = learn(tf.constant(train_images[rows]), latents)
    learned.append([float(score), *map(float, norms)])
scores, minimax_norms, non_saturating_norms = np.array(learned).T

figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
axes.semilogy(minimax_norms, label="minimax")
axes.semilogy(non_saturating_norms, label="non-saturating")
axes.semilogy(scores, "k:", label="mean score D(G(z))")
axes.set_xlabel("discriminator updates")
axes.set_title("norm of the generator's gradient", fontsize=10)
axes.legend(fontsize=8, frameon=False)
plt.show()
print(f"at the end D(G(z)) is {scores[-1]:.5f} on average; gradient norms: minimax "
      f"{minimax_norms[-1]:.5f}, non-saturating {non_saturating_norms[-1]:.5f}")

# %% [markdown]
# ## 5. Mode collapse, counted
#
# A generator that always generates one realistic image has collapsed. On images that is hard to
# count; on points it is not. The data are eight narrow Gaussians on a ring, and the networks are
# dense. A sample within three standard deviations of a centre is high-quality, and a centre with at
# least one of them among 2,000 samples counts as found. Points are images of one pixel with two
# channels, so the same classes work. The last run provokes a collapse: the learning rate of its
# generator is fifty times that of its discriminator, which cannot follow.

# %%
DEVIATION = 0.02
angles = 2 * np.pi * np.arange(8) / 8
CENTRES = 0.8 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (8, 2)


def points(count):
    """Draws around the centres: `(count, 1, 1, 2)`."""
    rng = np.random.default_rng(SEED)
    around = CENTRES[rng.integers(0, 8, count)] + DEVIATION * rng.standard_normal((count, 2))
    return around.astype("float32").reshape(-1, 1, 1, 2)  # (count, 2) -> (count, 1, 1, 2)


def found(samples):
    """(number of centres found, share of high-quality samples) of points `(n, 2)`."""
    distances = np.linalg.norm(samples[:, None] - CENTRES, axis=2)  # (n, 8)
    good = distances.min(axis=1) < 3 * DEVIATION
    return len(np.unique(distances.argmin(axis=1)[good])), float(good.mean())


def dense_networks():
    """A generator of points and a discriminator, two hidden layers each."""

    def hidden():
        return [layers.Dense(64, activation="relu") for _ in range(2)]

    return {
        "generator": keras.Sequential(
            [keras.Input((2,)), *hidden(), layers.Dense(2), layers.Reshape((1, 1, 2))]
        ),
        "discriminator": keras.Sequential(
            [keras.Input((1, 1, 2)), layers.Flatten(), *hidden(), layers.Dense(1)]
        ),
    }


# %%
figure, axes = plt.subplots(
    1, len(RING_OBJECTIVES), figsize=(2.4 * len(RING_OBJECTIVES), 2.6), layout="constrained",
    squeeze=False,
)
for panel, objective in zip(axes[0], RING_OBJECTIVES):
    keras.utils.set_random_seed(SEED)
    if objective == "wgan_gp":  # the weight that its authors used for toy data
        model = kg.WGANGP(
            (1, 1, 2), 2, seed=SEED, gp_weight=0.1, ema_decay=None, **dense_networks()
        )
    else:
        loss = "non_saturating" if objective == "fast_generator" else objective
        model = kg.GAN((1, 1, 2), 2, seed=SEED, loss=loss, ema_decay=None, **dense_networks())
    model.compile(learning_rate=(5e-3, 1e-4) if objective == "fast_generator" else 1e-3)
    real_points = points(64 * model.n_critic * RING_STEPS)
    counts = []
    for _ in range(RING_EPOCHS):
        model.fit(real_points, batch_size=64, verbose=0)
        samples = model.generate(2000, seed=SEED, verbose=0).reshape(-1, 2)  # (2000, 2)
        counts.append(found(samples))
    print(f"{objective:<15} centres of 8, every {RING_STEPS} steps: {[n for n, _ in counts]}, "
          f"high-quality samples {counts[-1][1]:.0%}, deviation {samples.std(axis=0).mean():.2f}")
    panel.plot(*CENTRES.T, "r+", markersize=9)
    panel.plot(*samples.T, "b.", markersize=1)
    panel.set_title(f"{objective}: {counts[-1][0]} of 8", fontsize=9)
    panel.set_xlim(-1.2, 1.2)
    panel.set_ylim(-1.2, 1.2)
plt.show()

# %% [markdown]
# All three losses find all centres at balanced rates. The provoked run misses most of them: its
# samples lie on one line, which never closes to the ring.
#
# This is one seed of a short run on easy data. On 25 Gaussians and on 1,000 stacked digits the
# objectives do differ, though not in the order that the advice suggests: the [longer
# table](../docs/adversarial.md) compares eight of them. Two lessons remain: the method (known
# modes, a criterion for high quality, a count), and that unbalanced learning rates can lose modes
# that no loss lost.
#
# ## 6. What metrics mean: corruption levels
#
# The article names the Inception Score and the Fréchet distance as measures of the similarity of
# generated and real images. Before a metric is applied to a model, it should be tested on images
# with known faults. Real training images at several corruption levels stand in for samples, and
# test images are the reference. The first row is the floor: the value of perfect samples.
#
# - Fréchet distance: $\lVert\mu_r - \mu_g\rVert^2 + \mathrm{tr}(\Sigma_r + \Sigma_g -
#   2(\Sigma_r\Sigma_g)^{1/2})$ of features, low is good.
# - Inception Score: $\exp \mathbb{E}\,\mathrm{KL}(p(y|x) \,\Vert\, p(y))$ of a classifier, high is
#   good. It uses no real images, so it cannot measure similarity to them.
# - Precision and recall: the share of samples within the real manifold, and of real images within
#   the generated one. Coverage: the share of real images with a sample near them.
#
# All are in the features of the small classifier that the package ships for this set.


# %%
def noisy(images, deviation):
    rng = np.random.default_rng(SEED)
    return np.clip(images + deviation * rng.standard_normal(images.shape, "float32"), -1, 1)


def blurred(images, deviation):
    """A Gaussian blur of this standard deviation in pixels, along one axis and then the other."""
    reach = int(np.ceil(3 * deviation))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    kernel = tf.constant(weights / weights.sum(), tf.float32)
    padded = np.pad(images, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode="edge")
    rows = tf.nn.conv2d(padded, tf.reshape(kernel, (-1, 1, 1, 1)), 1, "VALID")
    return tf.nn.conv2d(rows, tf.reshape(kernel, (1, -1, 1, 1)), 1, "VALID").numpy()


whole = train_images[:NUM_SAMPLES]
levels = {
    "real (the floor)": whole,
    "noise 0.2": noisy(whole, 0.2),
    "noise 0.4": noisy(whole, 0.4),
    "blur of 1 pixel": blurred(whole, 1.0),
    "blur of 2 pixels": blurred(whole, 2.0),
    "5 of 10 classes missing": train_images[train_labels >= 5][:NUM_SAMPLES],
    "each image 10 times": np.resize(whole[: NUM_SAMPLES // 10], whole.shape),
}
figure, axes = plt.subplots(len(levels), 1, figsize=(7, 6.5), layout="constrained")
for panel, (name, images) in zip(axes, levels.items()):
    step = NUM_SAMPLES // 10  # ten images, spread over the set: copies are that far apart
    kg.plotting.show_images(images[::step][:10], name, columns=10, axes=panel)
plt.show()

# %%
metrics = kg.metrics.get_metrics(
    ["frechet_distance", "inception_score", "precision_recall_density_coverage"], features=DATA
)
kg.metrics.update_metrics(metrics, real_images=test_images)
columns = ["frechet_distance", "inception_score", "precision", "recall", "coverage"]
rows_of_table = {}
print(f"{'':<26}" + "".join(f"{column:>18}" for column in columns))
for name, images in levels.items():
    for metric in metrics:
        metric.reset_fake_state()
    kg.metrics.update_metrics(metrics, fake_images=kg.metrics.as_stored(images))
    values = {
        key.split("[")[0]: value for metric in metrics for key, value in metric.result().items()
    }
    rows_of_table[name] = [values[column] for column in columns]
    print(f"{name:<26}" + "".join(f"{value:18.2f}" for value in rows_of_table[name]))

# %% [markdown]
# No metric detects everything. The Fréchet distance rises from the floor with every corruption
# here. The Inception Score hardly changes when each image occurs ten times, although nine tenths of
# the diversity are gone; recall and coverage detect that at once. (Recall falls to 0 as soon as
# each image has more copies than the five neighbours that define the radius of a ball.) Precision
# judges single samples, and does not detect what is missing. So use a distance to rank models,
# recall or coverage for diversity, precision for single images, and compare each with its floor.
# All levels, with 10,000 images, are in [docs/metrics.md](../docs/metrics.md).
#
# ## 7. Is WGAN more stable? And least squares?
#
# One small pair of convolutional networks, each loss, the same batches, the same number of
# generator updates. `EvaluateSamples` adds the Fréchet distance to the logs during training.
# WGAN-GP makes five critic updates per step, without batch normalisation, at half the rate. A
# second seed of the first objective gives a first idea of how much the seed matters.

# %%
evaluate = kg.callbacks.EvaluateSamples(
    test_images, "frechet_distance", features=DATA, num_images=NUM_SAMPLES
)
FD = f"frechet_distance[{DATA}]"
runs = {}


def run_gan(name, make=kg.GAN, rate=1e-3, optimizer=None, seed=SEED, **options):
    """Trains one small GAN and keeps its distances, its seconds and its images."""
    keras.utils.set_random_seed(seed)
    model = make(SHAPE, LATENT, seed=seed, **networks(normalization=make is kg.GAN), **options)
    if optimizer is None:
        model.compile(learning_rate=rate)
    else:
        model.compile(optimizer(rate), optimizer(rate))
    batches = kg.load(DATA, batch_size=BATCH, shuffle_seed=seed, epochs=None,
                      num_images=NUM_IMAGES, drop_remainder=True)
    start = time.process_time()
    history = model.fit(batches, epochs=MEASUREMENTS, steps_per_epoch=STEPS, verbose=0,
                        callbacks=[evaluate])
    runs[name] = {"distances": history.history[FD], "seconds": time.process_time() - start,
                  "images": model.generate(10, seed=SEED), "logs": history.history}
    print(f"{name:<24}" + "".join(f"{value:8.1f}" for value in runs[name]["distances"])
          + f"   {runs[name]['seconds']:.0f} CPU seconds")
    return model


gan = run_gan("non_saturating")
run_gan("another seed", seed=SEED + 1)
for objective in OBJECTIVES:
    if objective == "wgan_gp":
        run_gan(objective, kg.WGANGP, rate=5e-4)
    else:
        run_gan(objective, loss=objective)

# %%
losses = ["non_saturating", "another seed", *OBJECTIVES]
steps = STEPS * np.arange(1, MEASUREMENTS + 1)
figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
for name in losses:
    run = runs[name]
    axes[0].plot(steps, run["distances"], "o-", markersize=3, label=name)
    axes[1].plot(run["seconds"] * steps / steps[-1], run["distances"], "o-", markersize=3)
axes[0].set_xlabel("generator updates")
axes[1].set_xlabel("CPU seconds")
axes[0].set_ylabel("Fréchet distance")
axes[0].legend(fontsize=8, frameon=False)
plt.show()
for name in losses:
    distances = runs[name]["distances"]
    print(f"{name:<16} last {distances[-1]:6.1f}, best {min(distances):6.1f}, "
          f"rises between measurements: {int(np.sum(np.diff(distances) > 0))}")

# %%
figure, axes = plt.subplots(len(losses), 1, figsize=(6, 1.0 * len(losses)), layout="constrained")
for panel, name in zip(axes, losses):
    kg.plotting.show_images(runs[name]["images"], name, columns=10, axes=panel)
plt.show()

# %% [markdown]
# The losses themselves do not measure quality: the loss of each network depends on the other
# network. Those of the first run, for comparison with its distance:

# %%
kg.plotting.plot_losses(runs["non_saturating"]["logs"])

# %% [markdown]
# A run of this length shows how fast an objective learns, and whether the distance fluctuates. It
# cannot show which one diverges after a day. In this run WGAN-GP is the objective whose distance
# falls from each measurement to the next, which supports the claim. It also starts the slowest,
# takes 2.5 to 3 times the CPU seconds per step, and is behind all others at equal seconds. It ends
# level with least squares, though most of its samples are still flat grey shapes: a distance does
# not replace a look at the images. Least squares ends below the default, and rises once, like the
# default. Apart from the default, each is one seed. The [longer
# measurement](../docs/adversarial.md) (full-size networks, 1,500 steps, three seeds, last distance
# of each) shows:
#
# | objective | last distance, three seeds |
# |---|---|
# | non-saturating | 47.3, 50.5, 54.2 |
# | WGAN-GP | 55.7, 57.3, 61.0 |
# | least squares | 68.6, 70.8, 73.5 |
# | WGAN | 81.5, 78.2, 80.8 |
#
# No objective lost a class there, and the spread over seeds is similar in each row. With networks
# that batch normalisation stabilises, the measurements do not support "use Wasserstein or least
# squares, they are more stable". They do support "Wasserstein takes more seconds per generator
# update".
#
# ## 8. Does the kind of noise matter?
#
# The article says that noise, Gaussian or other, adds to the diversity of the images, and leaves
# the distribution open. It is an argument, so each one is tested with the same loss, seed and
# steps.

# %%
for noise_kind in NOISES:
    run_gan(noise_kind, noise=noise_kind)

base = runs["non_saturating"]["distances"][-1]
print("\ndifference from normal noise with the first seed, at each measurement")
for name in ("another seed", *NOISES):
    differences = np.subtract(runs[name]["distances"], runs["non_saturating"]["distances"])
    print(f"{name:<24}" + "".join(f"{difference:+8.1f}" for difference in differences))

# %% [markdown]
# At the end the distances of the three kinds of noise are close to each other. Before that they
# differ, but so do two seeds of one kind, and two seeds are little evidence: three seeds of one
# objective at full size differed by seven at the end. So at this size no kind of noise is
# measurably better, and the claim is undecided. What does change the diversity of samples is the
# noise at generation time: `generate(..., truncation=)` truncates it, and trades recall for
# precision ([results](../docs/adversarial.md)).
#
# ## 9. Which optimizer?
#
# Adam or RMSprop to train faster, says the article, and plain gradient descent to train more
# steadily. All three are tested on the same objective, with one learning rate each, not tuned.

# %%
for name, rate in OPTIMIZERS.items():
    run_gan(name, rate=rate, optimizer=getattr(keras.optimizers, name))
figure, axes = plt.subplots(figsize=(6, 3), layout="constrained")
for name in ("non_saturating", *OPTIMIZERS):
    label = f"Adam, {1e-3}" if name == "non_saturating" else f"{name}, {OPTIMIZERS[name]}"
    axes.plot(steps, runs[name]["distances"], "o-", markersize=3, label=label)
axes.set_xlabel("generator updates")
axes.set_ylabel("Fréchet distance")
axes.legend(fontsize=8, frameon=False)
plt.show()
order = sorted(("non_saturating", *OPTIMIZERS), key=lambda name: runs[name]["distances"][-1])
print("from the lowest last distance up:",
      ", ".join("Adam" if name == "non_saturating" else name for name in order))

# %% [markdown]
# Adam and RMSprop end close together. The distances of RMSprop and of plain gradient descent fall
# from each measurement to the next, that of Adam rises once. Plain gradient descent is far behind
# at this rate. One rate each is one point of a curve, though: an optimizer that comes last here may
# just have the wrong rate. So a tested default (`gan.compile()` without arguments) is worth more
# than a name.
#
# ## 10. What do replicas gain?
#
# Data parallelism: each replica holds a copy of the model, takes its share of the batch, and the
# gradients are added up before every copy makes the same update. With replica $r$ holding $B_r$ of
# the $B$ images, $\sum_r \frac{B_r}{B} \nabla L_r = \nabla L$: nothing but rounding should differ
# from one replica with all $B$. In the package that also holds for the noise, which is drawn for
# the whole batch, and for batch normalisation, whose moments are those of the whole batch. Two
# logical devices of one processor suffice to check it. Plain gradient descent makes the check
# stricter: Adam divides a gradient by its magnitude, and turns the rounding error of a tiny
# gradient into a full step.


# %%
def trained(scope, images):
    """A GAN created in `scope`, and its weights before and after each of three steps."""
    keras.utils.set_random_seed(SEED)
    with scope:
        model = kg.GAN(SHAPE, LATENT, seed=SEED)
        model.compile(keras.optimizers.SGD(0.005), keras.optimizers.SGD(0.005))
    history = [model.get_weights()]
    for start in range(0, 3 * BATCH, BATCH):
        batch = images[start : start + BATCH]  # (BATCH, 28, 28, 1)
        model.fit(batch, batch_size=BATCH, shuffle=False, verbose=0)  # one step
        history.append(model.get_weights())
    return model, history


def apart(some, others):
    """The largest difference of a weight in two lists of them."""
    return max(np.abs(a - b).max() for a, b in zip(some, others))


def seconds_per_step(model):
    """(wall-clock seconds, processor seconds) of one step."""
    rows = np.arange(TIMED_STEPS * BATCH) % NUM_IMAGES
    clock, processor = time.perf_counter(), time.process_time()
    model.fit(train_images[rows], batch_size=BATCH, shuffle=False, verbose=0)
    return [
        (now - then) / TIMED_STEPS
        for now, then in ((time.perf_counter(), clock), (time.process_time(), processor))
    ]


strategy = kg.distribution.get_strategy("mirrored")  # a tf.distribute.MirroredStrategy
alone, of_one = trained(contextlib.nullcontext(), train_images)
mirrored, of_two = trained(strategy.scope(), train_images)
_, of_last_digit = trained(contextlib.nullcontext(), train_images * np.float32(1 + 1e-7))
print(f"{'largest difference of a weight after step':<54}" + "".join(f"{i:>9}" for i in (1, 2, 3)))
for name, others in (
    ("one replica, from its initial weights", [of_one[0]] * 4),
    (f"one replica and {strategy.num_replicas_in_sync}", of_two),
    ("one replica, and images changed in their last digit", of_last_digit),
):
    differences = [apart(of_one[step], others[step]) for step in (1, 2, 3)]
    print(f"{name:<54}" + "".join(f"{difference:9.0e}" for difference in differences))
for name, model in (("one replica", alone), ("two replicas", mirrored)):
    clock, processor = seconds_per_step(model)
    print(f"{name:<13} {1000 * clock:6.0f} ms per step on the clock, "
          f"{1000 * processor:6.0f} ms of processor time")

# %% [markdown]
# The first step differs only by rounding, and adversarial training amplifies rounding: the last row
# shows how far one replica drifts from itself when its images differ in their last digit. The
# weights are equal in that sense, and in no stricter one.
#
# There is no speed to gain here. Both replicas share the cores that one replica had to itself, each
# with half of the images, and the reduction is extra work. On two separate devices each would
# process half of the batch at the same time. Even there a share that is too small to keep a device
# busy gives no speed-up: scale the batch with the number of devices.
#
# Model parallelism is the alternative: one network on each device, for models too large for one.
# `on_devices` puts weights, computation, gradients and the optimizer's state of a network on its
# device. (Networks that you build yourself hold their weights already: build them in `tf.device`.)

# %%
with kg.placement.on_devices(generator="CPU:0", discriminator="CPU:1"):
    placed, of_placed = trained(contextlib.nullcontext(), train_images)
for name in ("generator", "discriminator"):
    devices = {weight.value.device[-5:] for weight in getattr(placed, name).weights}
    print(f"{name:<14} on {devices}")
print(f"placed and not placed differ by at most {apart(of_placed[3], of_one[3]):.0e}")

# %% [markdown]
# The two networks wait for each other within a step, so this saves memory, not time.
#
# ## 11. What does pruning cost?
#
# The third piece of advice on cost is pruning. `kg.callbacks.Prune` sets a growing share of the
# smallest weights of each kernel to zero during further training, $s(t) = s_f (1 - (1 - t)^3)$ with
# $t$ from 0 to 1. Each run starts from the GAN of section 7; sparsity 0 is the same further
# training without pruning, the fair comparison.

# %%
gan.save("gan.keras")
costs, pruned_images = {}, {}
for target in SPARSITIES:
    pruned = keras.saving.load_model("gan.keras")
    pruning = []
    if target:
        begin = int(pruned.generator_optimizer.iterations)
        pruning = [kg.callbacks.Prune(target, begin, begin + PRUNE_STEPS // 2, every=10)]
    batches = kg.load(DATA, batch_size=BATCH, shuffle_seed=SEED + 1, epochs=None,
                      num_images=NUM_IMAGES, drop_remainder=True)
    history = pruned.fit(batches, epochs=1, steps_per_epoch=PRUNE_STEPS, verbose=0,
                         callbacks=[*pruning, evaluate])
    costs[target], pruned_images[target] = history.history[FD][-1], pruned.generate(10, seed=SEED)
    print(f"{kg.callbacks.sparsity_of(pruned.ema_generator):4.0%} sparsity: "
          f"Fréchet distance {costs[target]:.1f} (before further training {base:.1f})")

# %%
figure, axes = plt.subplots(
    len(SPARSITIES), 1, figsize=(6, 1.0 * len(SPARSITIES)), layout="constrained", squeeze=False
)
for panel, (target, images) in zip(axes[:, 0], pruned_images.items()):
    title = f"{target:.0%} sparsity, Fréchet distance {costs[target]:.1f}"
    kg.plotting.show_images(images, title, columns=10, axes=panel)
plt.show()

# %% [markdown]
# This small, briefly trained generator loses nothing at 50 % sparsity. At 80 % its distance is far
# higher, 176.9 instead of 135.1. Zeros take four bytes like other weights until a file is
# compressed. Fewer bits per weight make a file smaller directly. The last model as a LiteRT file of
# 8-bit integers, uncompressed and compressed:

# %%
pruned.export("gan.tflite", format="litert", precision="int8")
content = pathlib.Path("gan.tflite").read_bytes()
weights = pruned.ema_generator.count_params()
print(f"{weights:,} weights of 4 bytes: {4 * weights / 1000:.0f} kB; as int8 "
      f"{len(content) / 1000:.0f} kB; with gzip {len(gzip.compress(content)) / 1000:.0f} kB")

# %% [markdown]
# For a trained full-size model [docs/compression.md](../docs/compression.md) compares the two: int8
# reduces the file to 29 % and adds 0.1 to the distance. Compared with the same training without
# pruning, 50 % sparsity adds 4 and 80 % adds 39. Use fewer bits first.
#
# ## 12. An autoencoder without an encoder
#
# The article's second program decodes noise and compares the result with real images, pixel by
# pixel. The noise has nothing to do with the image it is compared with. Then
#
# $$\arg\min_f \mathbb{E}\lVert f(z) - x \rVert^2 = \mathbb{E}[x]$$
#
# for every $z$: the optimum is always the mean image. The decoder of the article also ends in 28
# numbers per image; the subtraction fails or, worse, broadcasts:

# %%
attempt("a batch of 20 decoded rows minus images",
        lambda: (np.zeros((20, 28)) - np.zeros((60, 28, 28))).shape)
attempt("a batch of 28 decoded rows minus images",
        lambda: (np.zeros((28, 28)) - np.zeros((60, 28, 28))).shape)

keras.utils.set_random_seed(SEED)
encoder = kg.networks.mlp_encoder(SHAPE, 32, units=(32,))
decoder = kg.networks.mlp_generator(SHAPE, 32, units=(128, 256))
with tf.GradientTape() as tape:
    decoded = decoder(tf.random.stateless_normal((BATCH, 32), (SEED, 2)))
    loss = tf.reduce_mean(tf.square(decoded - train_images[:BATCH]))
print("gradients that reach the encoder:", set(tape.gradient(loss, encoder.trainable_variables)))

images = kg.load(DATA, batch_size=BATCH, shuffle_seed=SEED, epochs=None, num_images=NUM_IMAGES,
                 drop_remainder=True)
pairs = images.map(lambda x: (tf.random.normal((BATCH, 32)), x))  # noise, unrelated to the images
decoder.compile(keras.optimizers.Adam(1e-3), "mse")
decoder.fit(pairs, steps_per_epoch=MEAN_STEPS, shuffle=False, verbose=0)
decoded = decoder.predict(np.random.default_rng(SEED).standard_normal((500, 32)), verbose=0)
print(f"deviation of a pixel over 500 decoded noise vectors {decoded.std(axis=0).mean():.3f}, "
      f"over real images {train_images.std(axis=0).mean():.3f}")
some = np.resize(train_images, decoded.shape)  # (500, 28, 28, 1)
print(f"squared error {np.square(some - decoded).mean():.4f}; that of the mean image alone "
      f"{np.square(some - mean_image).mean():.4f}")

# %% [markdown]
# What runs instead has the encoder in the loss, draws $z$ from its distribution, and penalises the
# divergence from the prior, all with one sign: $\max_{\theta,\phi} \mathbb{E}_{q_\phi(z|x)}[\log
# p_\theta(x|z)] - \mathrm{KL}(q_\phi(z|x) \,\Vert\, p(z))$. (The article minimises this over $q$;
# then a large KL would be optimal.) That is `kg.VAE`, the subject of [tutorial
# 3](03_classifier_dcgan_vae.ipynb). For comparison, we train it for as many steps.

# %%
vae = kg.VAE(SHAPE, 32, networks="mlp", network_options={"units": (256, 128)}, seed=SEED)
vae.compile()
vae.fit(images, steps_per_epoch=MEAN_STEPS, verbose=0)
figure, axes = plt.subplots(3, 1, figsize=(6, 3), layout="constrained")
kg.plotting.show_images(mean_image[None].repeat(10, 0), "mean image", columns=10, axes=axes[0])
kg.plotting.show_images(decoded[:10], "noise against images", columns=10, axes=axes[1])
kg.plotting.show_images(vae.generate(10, seed=SEED), "VAE, as many steps", columns=10, axes=axes[2])
plt.show()

# %% [markdown]
# ## What the article shows, and what runs
#
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | a generator whose last layer is `Dense(3)` on 7x7 positions | the image is 7x7x3, the discriminator takes 28x28x3 (section 1) | `kg.networks.dcgan_generator`: transposed convolutions up to the image |
# | 28x28 grey data for networks in three colours | no channel axis, and one grey value instead of three colours | `kg.load`: `(batch, 28, 28, 1)`; `channels=3` for colour |
# | a discriminator of dense layers on images | 784 outputs per image, each from one pixel; labels of shape `(batch, 1)` are refused | `Flatten` first (`mlp_discriminator`), or convolutions |
# | data in [0, 1], generator ends in tanh | [-1, 1] against [0, 1]: trivial to distinguish | images are in [-1, 1] everywhere |
# | all 60,000 images for 128 labels at every step | sizes differ; no batches are drawn | batches from `kg.load(..., batch_size=)` |
# | models that are never compiled | "You must call compile()" (section 2) | `gan.compile()`, with the paper's optimizers |
# | `zero_grad`, `backward`, `step` | methods of PyTorch; AttributeError | `tf.GradientTape` and `apply_gradients`, as in section 3 |
# | the generator's step is `train_on_batch` of the discriminator | it trains the discriminator to take fakes for real; `predict` cuts the gradient | the second half of `train_step` |
# | `trainable` set between steps | the step that was traced first keeps training the same weights (section 2) | name the weights of each gradient |
# | NumPy and Matplotlib are used, not imported | NameError at the first draw of noise | the imports at the top |
# | `[i, j]` of the samples is plotted as an image | that is one row of one image, seven wide; index 7 is out of bounds | `kg.plotting.show_images` |
# | a VAE whose encoder acts pixel by pixel and ends in tanh | 28x28x32 numbers, no mean, no variance, no draw | `kg.VAE`: mean and log variance, `Sampling` |
# | a decoder that ends in 28 units | a row, not an image; subtracting it fails, or broadcasts to nonsense | `mlp_decoder`, `conv_decoder` |
# | decoded noise compared with images | the optimum is the mean image; the encoder is not in the loss (section 12) | the evidence lower bound |
# | the bound minimised over q and maximised over theta, with no expectation over q | the KL would grow without bound | one maximum over both |
# | instability when the generator is too strong | the gradient vanishes when the discriminator is too certain (section 4) | a loss that does not saturate |
# | the Inception Score as similarity to real images | it uses no real images, and does not detect copies (section 6) | a distance, and recall or coverage |
# | least squares and Wasserstein to be more stable | one short run is no proof, and three seeds at full size do not show it (section 7) | start with the default, measure |
# | other noise for more diverse samples | no measurable difference at the end of a short run (section 8) | any of the three; truncation when sampling |
# | pruning to save computation | zeros save space only in compressed files, and cost quality (section 11) | int8 first |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: the loss of an undecided discriminator
#
# A discriminator that cannot distinguish real from fake outputs $D = 1/2$ for all images. What is
# its minimax loss, in closed form? And at which logit does the generator's least-squares loss have
# no slope?

# %% tags=["answer"]
undecided = tf.zeros((8, 1))  # logits: sigmoid(0) = 1/2
loss = float(kg.losses.minimax_discriminator_loss(undecided, undecided))
print(f"{loss:.6f} = 2 log 2 = {2 * np.log(2):.6f}")
assert abs(loss - 2 * np.log(2)) < 1e-6

_, slopes = curve(kg.losses.least_squares_generator_loss, logits)
print("no least-squares slope at a logit of", logits[np.abs(slopes) < 1e-6])
assert list(logits[np.abs(slopes) < 1e-6]) == [1.0]

# %% [markdown]
# ### Exercise 2: a reliable count
#
# Construct a collapse and check the count: points around 3 of the 8 centres, and points halfway
# between neighbours on the ring. What must `found` return?

# %% tags=["answer"]
rng = np.random.default_rng(SEED)
kept = CENTRES[rng.choice(8, 3, replace=False)]  # (3, 2)
offsets = DEVIATION * rng.uniform(-1, 1, (90, 2))
collapsed = np.repeat(kept, 30, axis=0) + offsets  # (90, 2)
half = angles + np.pi / 8
between = 0.8 * np.stack([np.cos(half), np.sin(half)], axis=-1)  # (8, 2)
print("three centres:", found(collapsed), "  between:", found(between))
assert found(collapsed) == (3, 1.0)
assert found(between) == (0, 0.0)

# %% [markdown]
# ### Exercise 3: copies
#
# Recall asks which real images lie in a ball around a sample that reaches to its 5th neighbour
# among the samples. Why is it exactly 0 as soon as each sample occurs six times or more, however
# good the samples are? Check it on the features of real images, with five copies and with six.

# %% tags=["answer"]
extract = kg.metrics.get_features(DATA)
real_features = extract(test_images[:60])  # (60, 28, 28, 1) -> (60, 128)
distinct = extract(train_images[:30])  # (30, 28, 28, 1) -> (30, 128)
recalls = {}
for copies in (1, 5, 6):
    values = kg.metrics.precision_recall_density_coverage(
        real_features=real_features, fake_features=np.repeat(distinct, copies, axis=0), k=5
    )
    recalls[copies] = values["recall"]
print(recalls)
# With six copies the five nearest neighbours of a sample are its copies: a ball of radius 0.
assert recalls[6] == 0.0 < recalls[5] <= recalls[1]

# %% [markdown]
# ## Where to go next
#
# - [7. Custom data, custom train_step](07_your_images_your_step.ipynb): your own data and a custom
#   training step.
# - [8. From notebook to server](08_notebook_to_server.ipynb): the same models from the command
#   line, exported and served.
# - [What to start with in adversarial training](../docs/adversarial.md), [what the metrics
#   mean](../docs/metrics.md), [smaller files](../docs/compression.md).
#
# References: Goodfellow et al. (2014), [GAN](https://arxiv.org/abs/1406.2661); Arjovsky et al.
# (2017), [WGAN](https://arxiv.org/abs/1701.07875); Gulrajani et al. (2017),
# [WGAN-GP](https://arxiv.org/abs/1704.00028); Mao et al. (2017), [least
# squares](https://arxiv.org/abs/1611.04076); Heusel et al. (2017), [Fréchet
# distance](https://arxiv.org/abs/1706.08500); Salimans et al. (2016), [Inception
# Score](https://arxiv.org/abs/1606.03498); Naeem et al. (2020), [density and
# coverage](https://arxiv.org/abs/2002.09797); Zhu and Gupta (2017),
# [pruning](https://arxiv.org/abs/1710.01878).
