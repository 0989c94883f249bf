# %% [markdown]
# # 0. Fifteen minutes
#
# > **You will be able to** write the training step of a GAN, train it until it draws digits, and
# > say what `kg.GAN` does at each point of it.
# >
# > **Time**: fifteen minutes with reading. Measured: 2.5 minutes on two CPU cores, on a shared machine.
# >
# > **You need** Python, and to have seen a Keras model train once. No data, no internet connection,
# > no GPU. (On Colab, run `%pip install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/00_fifteen_minutes.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/00_fifteen_minutes.ipynb) · [中文](zh/00_fifteen_minutes.ipynb)
#
# Contents: [The goal](#The-goal) · [A step by hand](#A-step-by-hand) · [Digits
# appear](#Digits-appear) · [Your turn: the loss](#Your-turn:-the-loss) · [The same step in the
# package](#The-same-step-in-the-package) · [What the package adds](#What-the-package-adds) · [Your
# turn: a walk](#Your-turn:-a-walk) · [Exercises](#Exercises)

# %% tags=["parameters"] reduced={"EPOCHS": 2, "STEPS": 2, "BATCH": 16, "COMPARED": 2, "SAMPLES": 64}
EPOCHS = 12
STEPS = 250  # updates of both networks per epoch
BATCH = 64  # images per update
LATENT_DIM = 64  # length of the noise vector z
COMPARED = 10  # updates in the comparison with the package
SAMPLES = 1000  # images per measurement

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
# ## The goal
#
# A generator turns random numbers into images. The one below comes with the package, already
# trained. At the end of this page you will have trained one yourself.

# %% alt=["Two rows of ten drawn digits, 0 to 9 in each row, in several fonts and slants."]
import html
import inspect
import textwrap

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_genimg as kg

goal = kg.load_preset("conditional_gan_glyphs")
kg.plotting.show_images(goal.generate(20, seed=2), "A trained generator", columns=10, scale=3.5)
plt.show()

# %% [markdown]
# ## A step by hand
#
# Two networks are trained against each other (Goodfellow et al., 2014). The generator $G$ turns
# noise $z$ into an image. The discriminator $D$ sees an image and returns a *logit*: high for
# real, low for fake. The sigmoid of the logit, $D(x)$, is the probability that the image $x$ is
# real. Each network descends its loss, by gradient steps:
#
# - $D$ descends $-\log D(x) - \log(1 - D(G(z)))$: real images up, fakes down.
# - $G$ descends $-\log D(G(z))$: its fakes up. This is the *non-saturating* loss: its gradient is
#   large where $D$ recognises the fakes.
#
# With logits, $-\log D = \mathrm{softplus}(-\text{logit})$ and $-\log(1 - D) =
# \mathrm{softplus}(\text{logit})$, where $\mathrm{softplus}(a) = \log(1 + e^a)$. The rest is plain
# Keras. The images are float32 in [-1, 1].

# %%
class HandWrittenGAN(keras.Model):
    def __init__(self, generator, discriminator):
        super().__init__()
        self.generator, self.discriminator = generator, discriminator
        self.generator_optimizer = keras.optimizers.Adam(1e-3, beta_1=0.5)
        self.discriminator_optimizer = keras.optimizers.Adam(1e-3, beta_1=0.5)
        self.seed_generator = keras.random.SeedGenerator(0)
        self.built = True  # both networks are

    def train_step(self, images):  # (B, 28, 28, 1)
        # 1. Fakes, for both updates.
        z = keras.random.normal((tf.shape(images)[0], LATENT_DIM), seed=self.seed_generator)
        with tf.GradientTape() as generator_tape:
            fakes = self.generator(z, training=True)  # (B, 28, 28, 1)

        # 2. Discriminator: real images up, fakes down.
        with tf.GradientTape() as tape:
            real_logits = self.discriminator(images, training=True)  # (B, 1)
            fake_logits = self.discriminator(fakes, training=True)  # (B, 1)
            d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))
        weights = self.discriminator.trainable_variables
        self.discriminator_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights))

        # 3. Generator: its fakes up, as the updated discriminator sees them.
        with generator_tape:
            logits = self.discriminator(fakes, training=True)  # (B, 1)
            g_loss = tf.reduce_mean(tf.nn.softplus(-logits))
        weights = self.generator.trainable_variables
        gradients = generator_tape.gradient(g_loss, weights)
        self.generator_optimizer.apply_gradients(zip(gradients, weights))
        return {"d_loss": d_loss, "g_loss": g_loss}

# %% [markdown]
# Both updates use the same fakes. Goodfellow et al. draw new noise for the generator's update;
# reusing the fakes saves a forward pass through the generator, and `kg.GAN` does the same. Each
# gradient is taken with respect to the `weights` of one network, so no network has to be frozen
# while the other learns.
#
# ## Digits appear
#
# The networks are convolutional, a small DCGAN (Radford et al., 2016): the feature maps grow from
# 7x7 to 14x14 and 28x28 in the generator, and shrink in the discriminator. The images are digits in
# twelve fonts, rendered on the fly. After each epoch a callback keeps what the generator produces from the *same* noise.

# %% alt=["Eight columns, one noise vector each, in four rows from epoch 1 to 12: ragged strokes become thin, legible digits, some with a stray stroke. A fifth row of real images is cleaner."]
SHAPE = (28, 28, 1)


def networks():
    """A generator and a discriminator, always with the same initial weights."""
    keras.utils.set_random_seed(0)
    return (
        kg.networks.dcgan_generator(SHAPE, LATENT_DIM, filters=16),
        kg.networks.dcgan_discriminator(SHAPE, filters=16),
    )


class Watch(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        rows.append(self.model.generator(noise, training=False).numpy())  # (8, 28, 28, 1)


data = kg.load("glyphs", batch_size=BATCH, shuffle_seed=0, epochs=None, drop_remainder=True)
noise, rows = keras.random.normal((8, LATENT_DIM), seed=1), []
by_hand = HandWrittenGAN(*networks())
by_hand.compile(optimizer=None)  # it has its own two
history = by_hand.fit(data, epochs=EPOCHS, steps_per_epoch=STEPS, callbacks=[Watch()], verbose=0,
                      shuffle=False)  # the batches of `load` are shuffled already
real = next(iter(data))[-8:].numpy()  # (8, 28, 28, 1)
shown = [rows[epoch] for epoch in sorted({0, EPOCHS // 4, EPOCHS // 2, EPOCHS - 1})]
title = f"Same noise, over {EPOCHS} epochs of {STEPS} updates; last row: real images"
kg.plotting.show_images(np.concatenate([*shown, real]), title, columns=8, scale=4)
plt.show()

# %% [markdown]
# No line above says what a digit is. The generator never sees a real digit: all it gets is the
# gradient through the discriminator. Nor do the losses show that the images improve, since each
# network is measured against the other:

# %%
for epoch in sorted({0, EPOCHS // 2, EPOCHS - 1}):
    print(f"epoch {epoch + 1}: d_loss {history.history['d_loss'][epoch]:.2f}, "
          f"g_loss {history.history['g_loss'][epoch]:.2f}")

# %% [markdown]
# ## Your turn: the loss
#
# In its original form the generator's loss is *minimax*: descend $\log(1 - D(G(z)))$. Write it with
# `tf.nn.softplus`, as a mean over the logits, and run the check.

# %%
def minimax_generator_loss(logits):  # (B, 1) -> ()
    return ...  # your line

# %%
def loss_is_right(loss):
    """Compares a loss with its formula, on three logits."""
    logits = np.array([[-4.0], [0.0], [2.0]], "float32")
    if loss(logits) is ...:
        return print("Nothing here yet: write the line, or open the answer below.")
    expected = np.mean(np.log(1 - 1 / (1 + np.exp(-logits))))
    assert abs(float(loss(logits)) - expected) < 1e-5, f"it should be {expected:.4f}"
    print(f"Right: {expected:.4f}")
    return True


loss_is_right(minimax_generator_loss)

# %% [markdown]
# The answer is in the next cell, which is collapsed. It also shows why the non-saturating form won:
# where the discriminator is sure of a fake, at a logit of -4, the minimax loss has almost no slope.

# %% tags=["answer"]
def minimax_answer(logits):
    return -tf.reduce_mean(tf.nn.softplus(logits))


sure = tf.constant([[-4.0]])
with tf.GradientTape(persistent=True) as tape:
    tape.watch(sure)
    minimax, non_saturating = minimax_answer(sure), tf.reduce_mean(tf.nn.softplus(-sure))
print(f"slopes at -4: minimax {tape.gradient(minimax, sure)[0, 0]:.3f}, "
      f"non-saturating {tape.gradient(non_saturating, sure)[0, 0]:.3f}")
assert loss_is_right(minimax_answer)

# %% [markdown]
# ## The same step in the package
#
# Here is `kg.GAN.train_step` beside yours, without comments.

# %%
class SideBySide:
    """Two functions in two columns, as the notebook shows them."""

    def __init__(self, *functions):
        self.functions = functions

    def _repr_html_(self):
        cells = ""
        for function in self.functions:
            lines = inspect.getsource(function).replace(function.__doc__ or "\0", "").splitlines()
            lines = [line.split("  #")[0].removeprefix("    ") for line in lines]
            kept = [line for line in lines if line.strip(' "') and line.strip()[0] != "#"]
            kept = [textwrap.fill(line, 76, subsequent_indent=" " * 12, break_long_words=False)
                    for line in kept]  # so that two columns fit beside each other
            code = html.escape("\n".join(kept))
            cells += (f"<td style='vertical-align:top;text-align:left'>"
                      f"<pre style='white-space:pre;font-size:11px'>{code}</pre></td>")
        return f"<table><tr>{cells}</tr></table>"


SideBySide(HandWrittenGAN.train_step, kg.GAN.train_step)

# %% [markdown]
# The order is the same: fakes, discriminator, generator. Each difference has a reason.
#
# | in the package | why |
# |---|---|
# | `self.unpack(data)` | checks and casts what `fit` hands over |
# | `self.augment`, `self.weighted_r1`, `others` | options that are off here: augmentation, a gradient penalty, relativistic losses |
# | `batch.share` | gradients of several devices add up to that of the whole batch |
# | `self.sample_latents(batch)` | one draw for all devices, of which each takes its rows |
# | `update_ema` | a moving average of the generator's weights, for smoother samples |
# | `self.log` | means over the epoch and over devices |
#
# So with the same networks, the same noise and the same images the losses must agree. Both are run
# here, one step at a time.

# %%
class SameNoise(kg.GAN):
    def sample_latents(self, batch):  # as by hand, instead of one draw for all devices
        return keras.random.normal((batch.size, LATENT_DIM), seed=self.seed_generator)


adams = [keras.optimizers.Adam(1e-3, beta_1=0.5) for _ in range(2)]
generator, discriminator = networks()
gan = SameNoise(SHAPE, LATENT_DIM, generator=generator, discriminator=discriminator, seed=0)
gan.compile(*adams)
again = HandWrittenGAN(*networks())
again.compile(optimizer=None)
logs = [  # an epoch is one step
    model.fit(data, epochs=COMPARED, steps_per_epoch=1, shuffle=False, verbose=0).history
    for model in (again, gan)
]
for name in ("d_loss", "g_loss"):
    hand, package = (np.array(log[name]) for log in logs)
    difference = np.abs(hand - package).max()
    print(f"{name}: {hand[-1]:.6f} by hand, {package[-1]:.6f} by kg.GAN at step {COMPARED}; "
          f"largest difference {difference:.1e}")
    assert difference < 1e-5

# %% [markdown]
# It is the same step, so you can read the package as you read your own code: each model is one
# file, each `train_step` one screen.
#
# ## What the package adds
#
# Your trained networks fit into `kg.GAN` as they are. From there:

# %%
gan = kg.GAN(SHAPE, LATENT_DIM, generator=by_hand.generator, discriminator=by_hand.discriminator)
gan.compile()

# 1. Save, load, resume: weights, both optimizers and the noise, to the bit.
gan.save("gan.keras")
loaded = keras.saving.load_model("gan.keras")
kept, found = ([*model.weights, *model.optimizer.variables] for model in (gan, loaded))
equal = [np.array_equal(a, b) for a, b in zip(kept, found, strict=True)]
print(f"{sum(equal)} of {len(kept)} arrays are equal after loading")
assert all(equal)

# 2. Replicas: the same code on all devices of the machine. Tutorial 8 compares the results.
with kg.distribution.get_strategy("mirrored").scope():
    kg.GAN(SHAPE, LATENT_DIM, networks="mlp").compile()

# 3. Metrics: how far are the images from held-out ones? Compare it with other real images.
test = next(iter(kg.load("glyphs", "test", batch_size=SAMPLES))).numpy()
train = next(iter(kg.load("glyphs", batch_size=SAMPLES))).numpy()
features = kg.metrics.get_features("glyphs")
images = gan.generate(SAMPLES, seed=1, verbose=0)  # (SAMPLES, 28, 28, 1) in [-1, 1]
for name, others in (("generated", images), ("real", train)):
    distance = kg.metrics.frechet_distance(features(test), features(others))
    print(f"Fréchet distance of {name} images: {distance:.1f}")

# 4. Export: a SavedModel, which runs where this package and Keras are not installed.
gan.export("served")
served = tf.saved_model.load("served").signatures["serving_default"]
print("served:", served(num_images=tf.constant(2), seed=tf.constant(1, tf.int64))["images"].shape)

# 5. Checks: a mistake is one sentence, before anything is trained.
try:
    gan.fit(255 * images, epochs=1)
except kg.InputError as error:
    print(error)

# %% [markdown]
# After so short a run the Fréchet distance, where lower is better, is 18.6, against 1.4 for real
# images: digits, but not yet good ones. [Tutorial 8](08_notebook_to_server.ipynb) resumes a run
# that was killed, and trains on several devices and workers; [tutorial 6](06_making_it_train.ipynb)
# says what the metrics mean.
#
# ## Your turn: a walk
#
# Walk from one noise vector to another, and the image changes step by step. Write the point at `t`
# on the straight line from `a` to `b`.

# %%
def between(a, b, t):  # (LATENT_DIM,), (LATENT_DIM,), from 0 to 1 -> (LATENT_DIM,)
    return ...  # your line

# %%
def walk_is_right(between):
    """Checks both ends and the middle of a walk."""
    a, b = np.array([1.0, -2.0]), np.array([3.0, 2.0])
    if between(a, b, 0.5) is ...:
        return print("Nothing here yet: write the line, or open the answer below.")
    for t, expected in ((0, a), (1, b), (0.25, [1.5, -1.0])):
        assert np.allclose(between(a, b, t), expected), f"at t = {t} it should be {expected}"
    print("Right.")
    return True


walk_is_right(between)

# %% tags=["answer"] alt=["Three rows of eight images. In each row the first image turns into the last by small changes: a 1 into a 0 with a tail, a thin 2 into a bold one, a 9 into a 0."]
def between_answer(a, b, t):
    return (1 - t) * a + t * b


assert walk_is_right(between_answer)
points = [
    between_answer(noise[start], noise[start + 1], t)
    for start in (0, 2, 4)
    for t in np.linspace(0, 1, 8, dtype="float32")
]
kg.plotting.show_images(gan.decode(np.stack(points)), "Three walks", columns=8, scale=4)
plt.show()

# %% [markdown]
# ## Exercises

# %% [markdown]
# ### Exercise 1: an undecided discriminator
#
# What is $D$'s loss if its logit is 0 for every image, and what is $G$'s? Give both in closed form.

# %% tags=["answer"]
zeros = tf.zeros((8, 1))
d_loss = tf.reduce_mean(tf.nn.softplus(-zeros) + tf.nn.softplus(zeros))
g_loss = tf.reduce_mean(tf.nn.softplus(-zeros))
print(f"{d_loss:.4f} = 2 log 2, {g_loss:.4f} = log 2")
assert np.isclose(d_loss, 2 * np.log(2)) and np.isclose(g_loss, np.log(2))

# %% [markdown]
# ### Exercise 2: least squares
#
# Change two lines of the step by hand to the loss of Mao et al. (2017): $D$ descends $\frac12
# (D(x) - 1)^2 + \frac12 D(G(z))^2$, and $G$ descends $\frac12 (D(G(z)) - 1)^2$, on logits. Which
# argument of `kg.GAN` does the same?

# %% tags=["answer"]
# In the step: d_loss = tf.reduce_mean((real_logits - 1) ** 2 + fake_logits**2) / 2
#              g_loss = tf.reduce_mean((logits - 1) ** 2) / 2
least_squares = kg.GAN(SHAPE, LATENT_DIM, loss="least_squares")
real_logits, fake_logits = tf.constant([[2.0], [0.5]]), tf.constant([[-1.0], [0.0]])
by_formula = tf.reduce_mean((real_logits - 1) ** 2 + fake_logits**2) / 2
assert np.isclose(least_squares.discriminator_loss(real_logits, fake_logits), by_formula)
by_formula = tf.reduce_mean((fake_logits - 1) ** 2) / 2
assert np.isclose(least_squares.generator_loss(fake_logits, real_logits), by_formula)
print('loss="least_squares"')

# %% [markdown]
# ### Exercise 3: the wrong weights
#
# Suppose that step 3 took the gradient of `g_loss` with respect to the *discriminator's* weights
# and applied it to them. Would $D$ learn to call fakes real or fake? Take one such update of a
# discriminator and compare its logits before and after.

# %% tags=["answer"]
_, discriminator = networks()
fakes = gan.generate(32, seed=3)
with tf.GradientTape() as tape:
    before = discriminator(fakes, training=True)  # (32, 1)
    g_loss = tf.reduce_mean(tf.nn.softplus(-before))
weights = discriminator.trainable_variables
for weight, gradient in zip(weights, tape.gradient(g_loss, weights)):
    weight.assign_sub(0.01 * gradient)
after = discriminator(fakes, training=True)
print(f"mean logit of fakes: {np.mean(before):.3f} before, {np.mean(after):.3f} after: real")
assert np.mean(after) > np.mean(before)

# %% [markdown]
# ## Where to go next
#
# - [1. From GAN to VQ-VAE](01_gan_to_vq_vae.ipynb): two other families of generators, and how they
#   compare.
# - [7. Custom data, custom `train_step`](07_your_images_your_step.ipynb): your own images, and a
#   custom step with all that the package adds.
#
# References: Goodfellow et al. (2014), [GAN](https://arxiv.org/abs/1406.2661); Radford et al.
# (2016), [DCGAN](https://arxiv.org/abs/1511.06434); Mao et al. (2017), [least
# squares](https://arxiv.org/abs/1611.04076).
