# %% [markdown]
# # 6. Making it train
#
# > **You will be able to** choose a GAN's loss by its slopes, count the modes that it lost, write
# > the critic's update of a WGAN and the Fréchet distance, and measure the effect of other losses,
# > noise, optimizers, several devices and fewer weights.
# >
# > **Time**: 45 minutes with reading. Measured: 2.2 minutes on two CPU cores, on a shared machine.
# >
# > **You need** Keras, NumPy, and [tutorial 0](00_fifteen_minutes.ipynb). (On Colab, run `%pip
# > install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/06_making_it_train.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/06_making_it_train.ipynb) · [中文](zh/06_making_it_train.ipynb)
#
# Contents: [The goal](#The-goal) · [Losses and their slopes](#Losses-and-their-slopes) · [Modes,
# counted](#Modes,-counted) · [Your turn: the critic](#Your-turn:-the-critic) · [Ascent and
# descent](#Ascent-and-descent) · [What metrics see](#What-metrics-see) · [Your turn: the
# distance](#Your-turn:-the-distance) · [Claims, measured](#Claims,-measured) · [What the article
# shows, and what runs](#What-the-article-shows,-and-what-runs) · [Exercises](#Exercises)

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 200, "NUM_SAMPLES": 60, "BATCH": 16, "MEASUREMENTS": 1, "STEPS": 2, "CRITIC_STEPS": 2, "OBJECTIVES": ["wgan"], "RING_OBJECTIVES": ["wgan", "fast_generator"], "RING_EPOCHS": 1, "RING_STEPS": 2, "NOISES": [], "OPTIMIZERS": {"SGD": 0.05}, "TIMED_STEPS": 2, "SPARSITIES": [0.5], "PRUNE_STEPS": 4, "MEAN_STEPS": 2}
DATA = "fashion_mnist"  # or another set with its own features: "mnist", "glyphs"
NUM_IMAGES = 6000  # images to train on
NUM_SAMPLES = 1000  # images per metric
BATCH = 64
LATENT = 32
SEED = 0
RING_OBJECTIVES = ["least_squares", "wgan", "wgan_gp", "fast_generator"]
RING_EPOCHS = 5
RING_STEPS = 300  # of 64 points, per epoch
CRITIC_STEPS = 80  # of a discriminator against a fixed generator
MEASUREMENTS = 4  # per run
STEPS = 80  # generator updates between measurements
OBJECTIVES = ["least_squares", "wgan", "wgan_gp"]
NOISES = ["uniform"]
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
# ## The goal
#
# Eight narrow Gaussians on a ring are the smallest data on which a GAN can fail: it may find all of
# them, or a few. Points are images of one pixel with two channels, so the package's classes take
# them. Here a GAN learns the ring. By the end you will know what makes a GAN lose modes of it.

# %% alt=["Five scatter plots from 0 to 1,500 updates: a small wedge of points spreads over the square, becomes a ring, and gathers at the eight red crosses on it."]
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

cpu = tf.config.list_physical_devices("CPU")[0]
if tf.config.get_logical_device_configuration(cpu) is None:  # two devices, for a claim below:
    # TensorFlow fixes its list at the first operation.
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.get_logger().setLevel("ERROR")  # strategies log every reduction
plt.close("all")  # of an earlier run

DEVIATION = 0.02
angles = 2 * np.pi * np.arange(8) / 8
CENTRES = 0.8 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)  # (8, 2)


def points(count):
    """Draws around the centres: `(count, 1, 1, 2)`."""
    rng = np.random.default_rng(SEED)
    around = CENTRES[rng.integers(0, 8, count)] + DEVIATION * rng.standard_normal((count, 2))
    return around.astype("float32").reshape(-1, 1, 1, 2)  # (count, 2) -> (count, 1, 1, 2)


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


def learn_ring(model):
    """Trains a compiled model on points: its samples `(2000, 2)` before and after each epoch."""
    real = points(64 * model.n_critic * RING_STEPS)
    looks = []
    for epoch in range(RING_EPOCHS + 1):
        if epoch:
            model.fit(real, batch_size=64, verbose=0)
        looks.append(model.generate(2000, seed=SEED, verbose=0).reshape(-1, 2))
    return looks


def draw_rings(samples):
    """Draws sets of points beside each other; their names are the titles."""
    figure, axes = plt.subplots(1, len(samples), figsize=(2 * len(samples), 2.2), dpi=100,
                                layout="constrained", squeeze=False)
    for axis, (title, places) in zip(axes[0], samples.items()):
        axis.plot(*places.T, ".", color="#2563eb", markersize=1)
        axis.plot(*CENTRES.T, "+", color="#dc2626", markersize=9)
        axis.set_title(title, fontsize=9)
        axis.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2), xticks=[], yticks=[], aspect="equal")
    plt.show()


keras.utils.set_random_seed(SEED)
ring = kg.GAN((1, 1, 2), 2, seed=SEED, ema_decay=None, **dense_networks())
ring.compile(learning_rate=1e-3)
looks = learn_ring(ring)
draw_rings({f"{epoch * RING_STEPS} updates": looks[epoch]
            for epoch in sorted({0, 1, 2, RING_EPOCHS - 1, RING_EPOCHS}) if epoch <= RING_EPOCHS})

# %% tags=["setup"]
DATA = or_glyphs(DATA)

# %% [markdown]
# ## Losses and their slopes
#
# A generator's loss depends on an image only through the logit $\ell$ that the discriminator gives
# it; $D = \sigma(\ell)$. So each loss is a curve:
#
# | loss | generator | discriminator, on a generated image |
# |---|---|---|
# | minimax | $\log(1 - \sigma(\ell))$ | $-\log(1 - \sigma(\ell))$ |
# | non-saturating | $-\log \sigma(\ell)$ | $-\log(1 - \sigma(\ell))$ |
# | least squares | $(\ell - 1)^2 / 2$ | $\ell^2 / 2$ |
# | hinge | $-\ell$ | $\max(0, 1 + \ell)$ |
# | Wasserstein | $-\ell$ | $\ell$ |

# %% alt=["Size of the slope of five generator losses over the logit. Minimax is flat on the left, non-saturating on the right; hinge and Wasserstein are constant at 1; least squares is a V with its tip at 1."]
def slopes_of(loss, logits):
    """The derivative of a generator's loss at each logit, an array as long as `logits`."""
    variable = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        mean = loss(variable)  # the functions of kg.losses return means
    return len(logits) * tape.gradient(mean, variable).numpy()


logits, places = np.linspace(-8, 8, 65, dtype="float32"), np.float32([-8, -4, 0, 1, 4])
figure, axes = plt.subplots(figsize=(7, 3), dpi=100, layout="constrained")
print(f"{'slope at a logit of':22}" + "".join(f"{place:9.0f}" for place in places))
for name, (of_generator, _) in kg.losses.ADVERSARIAL_LOSSES.items():
    dash = "--" if name == "wasserstein" else "-"  # it coincides with the hinge
    axes.plot(logits, np.abs(slopes_of(of_generator, logits)), dash, label=name)
    print(f"{name:22}" + "".join(f"{slope:9.4f}" for slope in slopes_of(of_generator, places)))
axes.set(ylim=(-0.2, 6), xlabel="logit of a generated image", ylabel="size of the slope")
axes.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# On the left the discriminator is certain that an image is generated. There minimax is flat: the
# generator gets no gradient just when it is worst. The non-saturating loss is flat on the right,
# where nothing is left to gain. Least squares pulls harder the farther the logit is from 1, and
# from above 1 it pulls back. Hinge and Wasserstein pull equally everywhere; they differ in the
# discriminator.
#
# So with the minimax loss a discriminator that is too strong stops training. The same can be seen
# in networks: a generator is fixed, a discriminator learns, and the norm of the generator's
# gradient is recorded for both losses. Both start near 0, since an untrained discriminator is
# nearly flat: compare them at the end.

# %% alt=["Norms on a logarithmic axis over 80 updates of the discriminator: as its score of generated images falls, the minimax gradient falls with it, and the non-saturating gradient grows."]
def arrays(split, count):
    """The first images of a split and their labels, as arrays."""
    parts = kg.load(DATA, split, batch_size=500, with_labels=True, num_images=count)
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in parts))
    return np.concatenate(images), np.concatenate(labels)


train_images, train_labels = arrays("train", NUM_IMAGES)  # (n, 28, 28, 1) in [-1, 1], (n,)
test_images, _ = arrays("test", NUM_SAMPLES)
SHAPE = train_images.shape[1:]


def networks(**options):
    """A small generator of transposed convolutions and its discriminator."""
    size = {"filters": 8, "widest": 32}
    return {
        "generator": kg.networks.dcgan_generator(SHAPE, LATENT, **size),
        "discriminator": kg.networks.dcgan_discriminator(SHAPE, **size, **options),
    }


keras.utils.set_random_seed(SEED)
fixed, learner = networks(normalization=False).values()
optimizer = keras.optimizers.Adam(1e-3)
two_losses = [kg.losses.minimax_generator_loss, kg.losses.non_saturating_generator_loss]


@tf.function
def learn(images, latents):
    """One update of the discriminator: its score of fakes, two norms of the generator's gradient."""
    with tf.GradientTape() as tape:
        real_logits, fake_logits = learner(images), learner(fixed(latents))
        loss = kg.losses.minimax_discriminator_loss(real_logits, fake_logits)
    weights = learner.trainable_variables
    optimizer.apply(tape.gradient(loss, weights), weights)
    with tf.GradientTape(persistent=True) as tape:
        both = [generator_loss(learner(fixed(latents))) for generator_loss in two_losses]
    norms = [tf.linalg.global_norm(tape.gradient(x, fixed.trainable_variables)) for x in both]
    return tf.reduce_mean(tf.sigmoid(fake_logits)), *norms


latents = tf.random.stateless_normal((BATCH, LATENT), (SEED, 1))
learned = []
for step in range(CRITIC_STEPS):
    batch = np.arange(step * BATCH, (step + 1) * BATCH) % NUM_IMAGES
    learned.append(learn(tf.constant(train_images[batch]), latents))
figure, axes = plt.subplots(figsize=(7, 3), dpi=100, layout="constrained")
for name, values in zip(("mean score D(G(z))", "minimax", "non-saturating"), zip(*learned)):
    axes.semilogy(np.array(values), label=name)
    print(f"{name}: {float(values[0]):.5f} at first, {float(values[-1]):.5f} at the end")
axes.set_xlabel("updates of the discriminator")
axes.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# ## Modes, counted
#
# A generator that makes the same good image from all noise has collapsed. On the ring that can be
# counted: a sample within three standard deviations of a centre is high-quality, and a centre with
# one of them among 2,000 samples is found. `fast_generator` provokes a collapse: its generator
# learns at fifty times the rate of its discriminator, which cannot follow.

# %% alt=["Four scatter plots. Least squares, WGAN and WGAN-GP draw a closed ring through all eight crosses; the samples of the fast generator lie close together and miss all of them."]
def found(samples):
    """(centres found, share of high-quality samples) of points `(n, 2)`."""
    distances = np.linalg.norm(samples[:, None] - CENTRES, axis=2)  # (n, 8)
    good = distances.min(axis=1) < 3 * DEVIATION
    return len(np.unique(distances.argmin(axis=1)[good])), float(good.mean())


print(f"non_saturating: centres and high-quality share {found(looks[-1])}")
ends = {}
for objective in RING_OBJECTIVES:
    keras.utils.set_random_seed(SEED)
    options = {"image_shape": (1, 1, 2), "latent_dim": 2, "seed": SEED, "ema_decay": None,
               **dense_networks()}
    if objective == "wgan":
        model = kg.WGAN(clip_value=0.1, **options)
    elif objective == "wgan_gp":
        model = kg.WGANGP(gp_weight=0.1, **options)  # its authors' weight for toy data
    elif objective == "fast_generator":
        model = kg.GAN(**options)
    else:
        model = kg.GAN(loss=objective, **options)
    model.compile(learning_rate=(5e-3, 1e-4) if objective == "fast_generator" else 1e-3)
    samples = learn_ring(model)
    centres, share = found(samples[-1])
    ends[f"{objective}: {centres} of 8"] = samples[-1]
    print(f"{objective}: centres every {RING_STEPS} updates {[found(x)[0] for x in samples[1:]]}, "
          f"at the end {share:.0%} high-quality")
draw_rings(ends)

# %% [markdown]
# That is one seed of a short run on easy data. On 25 Gaussians and on the 1,000 modes of stacked
# digits the objectives differ too, and [rank in another order](../docs/adversarial.md). What
# carries over is the method: known modes, a criterion, a count.
#
# ## Your turn: the critic
#
# The Wasserstein GAN has a *critic* $f$ in place of $D$. It ascends $E[f(x)] - E[f(G(z))]$, and its
# weights are clipped to $[-c, c]$ after each update, which bounds its slope (Arjovsky et al., 2017).
# Write one update: descend the negative, then clip. Return the loss.

# %%
def critic_step(critic, optimizer, real, fake, clip):
    return ...  # your lines

# %%
def critic_is_right(step):
    """Compares one update of a linear critic with the closed form."""
    critic = keras.Sequential([keras.Input((2,)), layers.Dense(1, use_bias=False)])
    before = np.array([[0.05], [-0.09]], "float32")
    critic.set_weights([before])
    real, fake = np.array([[1.0, 2.0], [0.0, 1.0]], "float32"), np.array([[0.2, 3.0]], "float32")
    loss = step(critic, keras.optimizers.SGD(0.1), real, fake, 0.1)
    if loss is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    slope = (fake.mean(axis=0) - real.mean(axis=0))[:, None]  # (2, 1), of the loss
    expected = float((before * slope).sum())
    assert abs(float(loss) - expected) < 1e-5, f"the loss should be {expected:.4f}"
    wanted, after = np.clip(before - 0.1 * slope, -0.1, 0.1), critic.get_weights()[0]
    assert np.allclose(after, wanted, atol=1e-6), f"the weights should be {wanted.ravel()}"
    print(f"Right: loss {expected:.4f}, weights {after.ravel()}.")
    return True


critic_is_right(critic_step)

# %% [markdown]
# The answer is collapsed. Below it is the package's step: `n_critic` of your updates, each on fresh
# images and noise, then one of the generator. Each gradient is taken with respect to the weights of
# one network, so nothing is frozen.

# %% tags=["answer"]
def critic_step_answer(critic, optimizer, real, fake, clip):
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(critic(fake, training=True))
        loss -= tf.reduce_mean(critic(real, training=True))
    weights = critic.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
    for weight in weights:
        weight.assign(tf.clip_by_value(weight, -clip, clip))
    return loss


assert critic_is_right(critic_step_answer)

# %%
print(textwrap.dedent(inspect.getsource(kg.WGAN.train_step)))

# %% [markdown]
# ## Ascent and descent
#
# "Stochastic gradient ascent" is sometimes advised for stability. Ascent on $V$ is descent on $-V$:
# the same update. What matters is how two updates meet. Take the smallest such objective, $V(x, y) =
# x y$, where $x$ descends and $y$ ascends. At the same time, $x \leftarrow x - \eta y$ and $y
# \leftarrow y + \eta x$ multiply the distance from the solution (0, 0) by $\sqrt{1 + \eta^2}$ in each
# step. In turns, they follow an ellipse.

# %% alt=["Two paths around a cross at the solution: steps at the same time spiral outwards, steps in turns stay on an ellipse."]
up, down = tf.Variable([0.5, -1.0]), tf.Variable([0.5, -1.0])
gradient = tf.constant([2.0, 3.0])  # of some V
up.assign_add(0.1 * gradient)
keras.optimizers.SGD(0.1).apply_gradients([(-gradient, down)])
print("ascent on V and descent on -V are equal:", np.array_equal(up, down))

eta, count = 0.1, 200
figure, axes = plt.subplots(figsize=(4, 4), dpi=100, layout="constrained")
for name in ("at the same time", "in turns"):
    x, y, path = 1.0, 0.0, [(1.0, 0.0)]
    for _ in range(count):
        new_x = x - eta * y
        x, y = new_x, y + eta * (x if name == "at the same time" else new_x)
        path.append((x, y))
    axes.plot(*np.array(path).T, label=name)
    print(f"{name}: distance {np.hypot(x, y):.3f} after {count} steps")
print(f"by formula, at the same time: {(1 + eta**2) ** (count / 2):.3f}")
axes.plot(0, 0, "r+", markersize=12)
axes.set_aspect("equal")
axes.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# ## What metrics see
#
# Before a metric judges a model, test it on known faults. Real training images, corrupted, stand in
# for samples; test images are the reference, and the first row is the floor. All use the features of
# a classifier $p(y|x)$ that the package ships.
#
# - Fréchet distance: $|\mu_r - \mu_g|^2 + \mathrm{tr}(\Sigma_r + \Sigma_g - 2(\Sigma_r\Sigma_g)^{1/2})$,
#   low is good.
# - Inception Score: $\exp E\,\mathrm{KL}(p(y|x) \,\Vert\, p(y))$, high is good. No real image is in it.
# - Precision: the share of samples within the real manifold; recall: of real images within the
#   generated one; coverage: of real images with a sample near them.

# %% alt=["Six rows of eight garments: real, noisy, blurred by one and by two pixels until only outlines are left, only shoes, bags and shirts where five classes are missing, and one garment eight times."]
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


def show_rows(rows):
    """Draws eight images of each entry, its name above them."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(9, 1.5 * len(rows)), dpi=100,
                                layout="constrained", squeeze=False)
    for axis, (name, images) in zip(axes[:, 0], rows.items()):
        kg.plotting.show_images(images[:8], name, columns=8, axes=axis)
    plt.show()


whole = train_images[:NUM_SAMPLES]
levels = {
    "real (the floor)": whole,
    "noise 0.4": noisy(whole, 0.4),
    "blur of 1 pixel": blurred(whole, 1.0),
    "blur of 2 pixels": blurred(whole, 2.0),
    "5 of 10 classes missing": train_images[train_labels >= 5][:NUM_SAMPLES],
    "each image 10 times": np.repeat(whole[: NUM_SAMPLES // 10], 10, axis=0),
}
show_rows(levels)
metrics = kg.metrics.get_metrics(
    ["frechet_distance", "inception_score", "precision_recall_density_coverage"], features=DATA
)
kg.metrics.update_metrics(metrics, real_images=test_images)
columns = ["frechet_distance", "inception_score", "precision", "recall", "coverage"]
print(f"{'':<26}" + "".join(f"{column:>18}" for column in columns))
for name, images in levels.items():
    for metric in metrics:
        metric.reset_fake_state()
    kg.metrics.update_metrics(metrics, fake_images=kg.metrics.as_stored(images))
    values = {
        key.split("[")[0]: value for metric in metrics for key, value in metric.result().items()
    }
    print(f"{name:<26}" + "".join(f"{values[column]:18.2f}" for column in columns))

# %% [markdown]
# Read it by columns. A distance should rise from the floor in every row. The Inception Score does
# not see repeated images as long as the classes stay balanced. It falls here because it is the mean
# over ten consecutive splits, and each split holds only ten different images, too few for balanced
# classes. Recall and coverage do see them. Precision judges single samples, not what is missing. So
# rank models by a distance, take recall or coverage for diversity, and compare each with its floor.
# [docs/metrics.md](../docs/metrics.md) has all levels, with 10,000 images.
#
# ## Your turn: the distance
#
# Write the Fréchet distance of two sets of features. The trace of the root is the sum of the roots of
# the eigenvalues of $\Sigma_r \Sigma_g$: `np.linalg.eigvals`, whose real part may be a little below 0.

# %%
def fd(real, fake):  # (n, d), (m, d) -> ()
    return ...  # your lines

# %%
def distance_is_right(distance):
    """Features x and 2x + 1: with covariances S and 4S it is |m + 1|^2 + tr S."""
    mix = np.array([[1.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-0.3, 0.2, 0.5]])
    x = np.random.default_rng(0).normal(size=(2000, 3)) @ mix
    value = distance(x, 2 * x + 1)
    if value is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    wanted = np.sum((x.mean(axis=0) + 1) ** 2) + np.trace(np.cov(x, rowvar=False))
    assert np.isclose(value, wanted, rtol=0.01), f"it should be {wanted:.3f}"
    print(f"Right: {wanted:.3f}")
    return True


distance_is_right(fd)

# %% tags=["answer"]
def fd_answer(real, fake):
    s_r, s_g = (np.cov(x, rowvar=False) for x in (real, fake))
    roots = np.sqrt(np.maximum(np.linalg.eigvals(s_r @ s_g).real, 0))
    means = np.sum((real.mean(axis=0) - fake.mean(axis=0)) ** 2)
    return means + np.trace(s_r + s_g) - 2 * roots.sum()


assert distance_is_right(fd_answer)
extract = kg.metrics.get_features(DATA)
both = [extract(images).astype("float64") for images in (test_images, levels["blur of 1 pixel"])]
print(f"blur of 1 pixel: {fd_answer(*both):.2f} by hand, "
      f"{kg.metrics.frechet_distance(*both):.2f} by the package")

# %% [markdown]
# ## Claims, measured
#
# ### Another loss, other noise, another optimizer
#
# Least squares and Wasserstein are said to be more stable, other noise to make samples more
# diverse, Adam or RMSprop to be faster and plain gradient descent steadier. One small pair of
# convolutional networks tries each, with the same batches and the same number of generator updates.
# WGAN and WGAN-GP make five critic updates per generator update, at other learning rates. The
# default runs with two seeds: whatever differs from it by no more than these two differ is not
# shown to be different.

# %%
evaluate = kg.callbacks.EvaluateSamples(
    test_images, "frechet_distance", features=DATA, num_images=NUM_SAMPLES
)
FD = f"frechet_distance[{DATA}]"
runs = {}


def run_gan(name, make=kg.GAN, optimizers=None, rate=1e-3, seed=SEED, critic=None, **options):
    """Trains one small GAN and keeps its distances, its seconds and its images."""
    keras.utils.set_random_seed(seed)
    model = make(SHAPE, LATENT, seed=seed, **networks(**(critic or {})), **options)
    if optimizers is None:
        model.compile(learning_rate=rate)
    else:
        model.compile(*optimizers)
    batches = kg.load(DATA, batch_size=BATCH, shuffle_seed=seed, epochs=None,
                      num_images=NUM_IMAGES, drop_remainder=True)
    start = time.process_time()
    history = model.fit(batches, epochs=MEASUREMENTS, steps_per_epoch=STEPS, verbose=0,
                        callbacks=[evaluate])
    runs[name] = {"distances": history.history[FD], "seconds": time.process_time() - start,
                  "images": model.generate(8, seed=SEED)}
    print(f"{name:<16}" + "".join(f"{value:8.1f}" for value in runs[name]["distances"])
          + f"   {runs[name]['seconds']:.0f} CPU seconds")
    return model


gan = run_gan("non_saturating")
run_gan("another seed", seed=SEED + 1)
for objective in OBJECTIVES:
    if objective == "wgan":  # rates and epsilons as in the defaults of kg.WGAN
        pair = [keras.optimizers.RMSprop(rate, epsilon=1e-14) for rate in (1e-3, 2e-4)]
        run_gan(objective, kg.WGAN, pair, critic={"epsilon": 1.01e-5})
    elif objective == "wgan_gp":
        run_gan(objective, kg.WGANGP, rate=5e-4, critic={"normalization": False})
    else:
        run_gan(objective, loss=objective)
for noise in NOISES:
    run_gan(noise, noise=noise)
for name, rate in OPTIMIZERS.items():
    run_gan(name, optimizers=[getattr(keras.optimizers, name)(rate) for _ in range(2)])

# %% alt=["Two plots of the Fréchet distance over generator updates: objectives on the left, noise and optimizers on the right. All fall overall and cross each other; the two seeds of the default are as far apart as most of the others.", "A row of eight samples for each objective: ragged garments from the default, its second seed, least squares and WGAN, flat grey shapes from WGAN-GP."]
base, other = (runs[name]["distances"] for name in ("non_saturating", "another seed"))
updates = STEPS * np.arange(1, MEASUREMENTS + 1)
figure, axes = plt.subplots(1, 2, figsize=(9, 3), dpi=100, layout="constrained", sharey=True)
for axis, names in zip(axes, (OBJECTIVES, [*NOISES, *OPTIMIZERS])):
    for name in ["non_saturating", "another seed", *names]:
        axis.plot(updates, runs[name]["distances"], "o-", markersize=3, label=name)
    axis.set_xlabel("generator updates")
    axis.legend(fontsize=8, frameon=False)
axes[0].set_ylabel("Fréchet distance")
plt.show()
seeds = abs(other[-1] - base[-1])
print(f"last distance of the default {base[-1]:.1f}, with another seed {seeds:.1f} away")
for name in [*OBJECTIVES, *NOISES, *OPTIMIZERS]:
    away, rises = runs[name]["distances"][-1] - base[-1], np.diff(runs[name]["distances"]) > 0
    word = "no more than a seed" if abs(away) <= seeds else "lower" if away < 0 else "higher"
    print(f"{name:16}{away:+7.1f}, {word}; rises {rises.sum()} times; "
          f"{runs[name]['seconds'] / runs['non_saturating']['seconds']:.1f} times the CPU seconds")
show_rows({name: runs[name]["images"] for name in ["non_saturating", "another seed", *OBJECTIVES]})

# %% [markdown]
# Two seeds are a weak yardstick, one rate is one point of a curve, and a run this short shows who
# learns fast, not who diverges after a day. Look at the images too. The [longer
# measurement](../docs/adversarial.md) (full-size networks, 1,500 updates) has three seeds:
#
# | objective | last distance |
# |---|---|
# | non-saturating | 47.3, 50.5, 54.2 |
# | WGAN-GP | 55.7, 57.3, 61.0 |
# | least squares | 68.6, 70.8, 73.5 |
# | WGAN | 81.5, 78.2, 80.8 |
#
# No objective lost a class there. With networks that batch normalisation stabilises, the advice
# "use Wasserstein or least squares" is not supported; the statement "Wasserstein costs more per
# update" is. A tested default (`gan.compile()` without arguments) is worth more than a name. What
# does change diversity is the noise at generation: `generate(..., truncation=)` trades recall for
# precision.
#
# ### Several devices
#
# Each replica holds a copy of the model and takes its share of the batch; the gradients are added
# up. With replica $r$ holding $B_r$ of $B$ images, $\sum_r \frac{B_r}{B} \nabla L_r = \nabla L$:
# nothing but rounding may distinguish the result from that of one replica. Two logical devices
# suffice to check it, with plain gradient descent, because Adam magnifies the rounding of tiny
# gradients.

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


strategy = kg.distribution.get_strategy("mirrored")  # a tf.distribute.MirroredStrategy
alone, of_one = trained(contextlib.nullcontext(), train_images)
mirrored, of_two = trained(strategy.scope(), train_images)
_, of_last_digit = trained(contextlib.nullcontext(), train_images * np.float32(1 + 1e-7))
with kg.placement.on_devices(generator="CPU:0", discriminator="CPU:1"):
    placed, of_placed = trained(contextlib.nullcontext(), train_images)
print("largest difference of a weight from one replica, after steps 1, 2 and 3")
for name, others in (
    ("its initial weights", [of_one[0]] * 4),
    (f"{strategy.num_replicas_in_sync} replicas", of_two),
    ("images changed in their last digit", of_last_digit),
    ("each network on its own device", of_placed),
):
    differences = [apart(of_one[step], others[step]) for step in (1, 2, 3)]
    print(f"{name:36}" + "".join(f"{difference:9.0e}" for difference in differences))
rows = np.arange(TIMED_STEPS * BATCH) % NUM_IMAGES
for name, model in (("one replica", alone), ("two replicas", mirrored)):
    clock = time.perf_counter()
    model.fit(train_images[rows], batch_size=BATCH, shuffle=False, verbose=0)
    print(f"{name}: {1000 * (time.perf_counter() - clock) / TIMED_STEPS:.0f} ms per step")

# %% [markdown]
# Adversarial training amplifies rounding: compare the replicas with images changed in their last
# digit. There is no speed to gain where both share one processor; on separate devices each works on
# half of the batch at the same time. Each network on its own device is model parallelism, for
# networks too large for one device: the devices wait for each other, so it saves memory, not time.
#
# ### Pruning
#
# `kg.callbacks.Prune` sets a growing share of the smallest weights of each kernel to zero in
# further training, $s(t) = s_f (1 - (1 - t)^3)$ with $t$ from 0 to 1. Sparsity 0 means the same
# further training without pruning, which is the fair comparison.

# %% alt=["A row of eight samples per sparsity: at 0 and 50 % the same ragged garments, at 80 % paler and more broken ones."]
gan.save("gan.keras")
rows = {}
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
    share = kg.callbacks.sparsity_of(pruned.ema_generator)
    title = f"{share:.0%} sparsity: Fréchet distance {history.history[FD][-1]:.1f}"
    rows[title] = pruned.generate(8, seed=SEED)
    print(title)
show_rows(rows)
pruned.export("gan.tflite", format="litert", precision="int8")
content = pathlib.Path("gan.tflite").read_bytes()
weights = pruned.ema_generator.count_params()
print(f"{weights:,} weights of 4 bytes: {4 * weights / 1000:.0f} kB; as int8 "
      f"{len(content) / 1000:.0f} kB; with gzip {len(gzip.compress(content)) / 1000:.0f} kB")

# %% [markdown]
# Zeros save space only in compressed files; fewer bits save it directly. In [a trained full-size
# model](../docs/compression.md) int8 adds 0.1 to the distance, and 50 % sparsity 4. Use fewer bits
# first.
#
# ## What the article shows, and what runs
#
# This page follows an article on optimising deep generative models. The article's two programs do
# not run. Here are lines of our own with the same faults:

# %%
def attempt(what, function):
    """Prints the result of a call, or its error in one line."""
    try:
        outcome = function()
    except Exception as error:
        text = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())
        text = text.removeprefix("Exception encountered when calling Functional.call(). ")
        outcome = f"{type(error).__name__}: {textwrap.shorten(text, 120)}"
    print(f"{what}:\n    {outcome}")


x = layers.Reshape((7, 7, 256))(layers.Dense(7 * 7 * 256)(keras.Input((100,))))
attempt("Dense(3) on 7x7 positions", lambda: layers.Dense(3)(x).shape)
colour = keras.Input((28, 28, 3))
per_pixel = keras.Model(colour, layers.Dense(1)(layers.Dense(256, activation="relu")(colour)))
whole_image = kg.networks.mlp_discriminator((28, 28, 3), units=(256,))
for name, network in (("dense layers on an image", per_pixel), ("flattened first", whole_image)):
    probe = tf.random.stateless_uniform((1, 28, 28, 3), (SEED, 0), -1.0, 1.0)
    with tf.GradientTape() as tape:
        tape.watch(probe)
        score = tf.reshape(network(probe), [-1])[0]
    seen = np.any(tape.gradient(score, probe).numpy() != 0, axis=-1).sum()
    print(f"{name}: output {network.output_shape}, the first depends on {seen} of 784 pixels")
per_pixel.compile("adam", "binary_crossentropy")
zeros, label = np.zeros((4, 28, 28, 3), "float32"), np.ones((4, 1))
attempt("training it, a label per image", lambda: per_pixel.train_on_batch(zeros, label))
attempt("training without compile", lambda: whole_image.train_on_batch(zeros, label))
for owner, method in ((keras.optimizers.Adam(), "zero_grad"), (np.float32(1.0), "backward")):
    attempt(f"{type(owner).__name__}.{method}()", lambda: getattr(owner, method)())

generator = kg.networks.mlp_generator(SHAPE, LATENT, units=(32,))
discriminator = keras.Sequential(
    [kg.networks.mlp_discriminator(SHAPE, units=(32,)), layers.Activation("sigmoid")]
)
discriminator.compile("adam", "binary_crossentropy")
for trainable in (True, False):  # False comes too late: the step is compiled
    discriminator.trainable = trainable
    made = generator.predict(latents, verbose=0)  # NumPy: no gradient to the generator
    before = generator.get_weights(), discriminator.get_weights()
    discriminator.train_on_batch(made, np.ones((len(made), 1)))
    print(f"generator's step, trainable={trainable}: generator changed by "
          f"{apart(generator.get_weights(), before[0]):.4f}, discriminator by "
          f"{apart(discriminator.get_weights(), before[1]):.4f}")

# %% [markdown]
# The article's autoencoder decodes noise and compares the result with images that have nothing to
# do with it. Then the optimum is the mean image for every $z$: $\arg\min_f E|f(z) - x|^2 = E[x]$.

# %% alt=["Three rows of eight: the mean image, a grey blur of a garment; the decoder trained against unrelated images, the same blur; and a VAE, soft but different garments."]
keras.utils.set_random_seed(SEED)
decoder = kg.networks.mlp_generator(SHAPE, 32, units=(128, 256))
images = kg.load(DATA, batch_size=BATCH, shuffle_seed=SEED, epochs=None, num_images=NUM_IMAGES,
                 drop_remainder=True)
pairs = images.map(lambda x: (tf.random.normal((BATCH, 32)), x))
decoder.compile(keras.optimizers.Adam(1e-3), "mse")
decoder.fit(pairs, steps_per_epoch=MEAN_STEPS, shuffle=False, verbose=0)
decoded = decoder.predict(np.random.default_rng(SEED).standard_normal((500, 32)), verbose=0)
print(f"deviation of a pixel over 500 decoded noise vectors {decoded.std(axis=0).mean():.3f}, "
      f"over real images {train_images.std(axis=0).mean():.3f}")
vae = kg.VAE(SHAPE, 32, networks="mlp", network_options={"units": (256, 128)}, seed=SEED)
vae.compile()
vae.fit(images, steps_per_epoch=MEAN_STEPS, verbose=0)
show_rows({"the mean image": train_images.mean(axis=0)[None].repeat(8, 0),
           "noise against images": decoded, "a VAE, as many steps": vae.generate(8, seed=SEED)})

# %% [markdown]
# | the article | what is wrong | what runs |
# |---|---|---|
# | a generator of 7x7x3, a discriminator for 28x28x3, grey data | nothing fits | `dcgan_generator`, `kg.load` |
# | dense layers on images | an output per pixel | `Flatten` first, or convolutions |
# | data in [0, 1], tanh at the end | trivial to tell apart | [-1, 1] everywhere |
# | all images for 128 labels | no batches are drawn | `kg.load(..., batch_size=)` |
# | models never compiled; `zero_grad`, `backward`, `step` | PyTorch's methods | a tape and `apply_gradients` |
# | the generator's step is `train_on_batch` of the discriminator | it learns that fakes are real; `predict` cuts the gradient | `train_step` |
# | a VAE without mean, variance or draw | noise against images | `kg.VAE` |
# | the bound minimised over $q$ | the KL would grow without bound | one maximum over both networks |
# | instability when the generator is too strong | the discriminator, too, can be too strong | a loss that does not saturate |
# | the Inception Score as similarity to real images | it uses none | a distance, and recall |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: an undecided discriminator
#
# A discriminator has $D = 1/2$ for all images. What is its minimax loss, in closed form? And at
# which logit does the generator's least-squares loss have no slope?

# %% tags=["answer"]
undecided = tf.zeros((8, 1))  # logits: sigmoid(0) = 1/2
loss = float(kg.losses.minimax_discriminator_loss(undecided, undecided))
print(f"{loss:.6f} = 2 log 2 = {2 * np.log(2):.6f}")
assert abs(loss - 2 * np.log(2)) < 1e-6
flat = logits[np.abs(slopes_of(kg.losses.least_squares_generator_loss, logits)) < 1e-6]
print("no least-squares slope at a logit of", flat)
assert list(flat) == [1.0]

# %% [markdown]
# ### Exercise 2: a reliable count
#
# Construct a collapse and check the count: points around 3 of the 8 centres, and points halfway
# between neighbours on the ring. What must `found` return?

# %% tags=["answer"]
rng = np.random.default_rng(SEED)
kept = CENTRES[rng.choice(8, 3, replace=False)]  # (3, 2)
collapsed = np.repeat(kept, 30, axis=0) + DEVIATION * rng.uniform(-1, 1, (90, 2))  # (90, 2)
half = angles + np.pi / 8
between = 0.8 * np.stack([np.cos(half), np.sin(half)], axis=-1)  # (8, 2)
print("three centres:", found(collapsed), "  between:", found(between))
assert found(collapsed) == (3, 1.0)
assert found(between) == (0, 0.0)

# %% [markdown]
# ### Exercise 3: copies
#
# Recall is the share of real images that lie in a ball around some sample, where each ball reaches
# to the sample's 5th neighbour among the samples. Why is recall 0 as soon as each sample occurs six
# times, however good the samples are? Check it on features of real images, with five copies and
# with six.

# %% tags=["answer"]
distinct, recalls = extract(train_images[:30]), {}  # (30, 28, 28, 1) -> (30, 128)
for copies in (1, 5, 6):
    values = kg.metrics.precision_recall_density_coverage(
        real_features=extract(test_images[:60]),
        fake_features=np.repeat(distinct, copies, axis=0), k=5,
    )
    recalls[copies] = values["recall"]
print(recalls)
# With six copies the five nearest neighbours of a sample are its copies: a ball of radius 0.
assert recalls[6] == 0.0 < recalls[5] <= recalls[1]

# %% [markdown]
# ## Where to go next
#
# - [7. Custom data, custom `train_step`](07_your_images_your_step.ipynb): your own data and a custom
#   training step.
# - [8. From notebook to server](08_notebook_to_server.ipynb): the same models from the command line,
#   exported and served.
#
# References: Goodfellow et al. (2014), [GAN](https://arxiv.org/abs/1406.2661); Arjovsky et al.
# (2017), [WGAN](https://arxiv.org/abs/1701.07875); Gulrajani et al. (2017),
# [WGAN-GP](https://arxiv.org/abs/1704.00028); Mao et al. (2017), [least
# squares](https://arxiv.org/abs/1611.04076); Mescheder et al. (2018), [which methods
# converge](https://arxiv.org/abs/1801.04406); Heusel et al. (2017), [Fréchet
# distance](https://arxiv.org/abs/1706.08500); Salimans et al. (2016), [Inception
# Score](https://arxiv.org/abs/1606.03498); Naeem et al. (2020), [density and
# coverage](https://arxiv.org/abs/2002.09797); Zhu and Gupta (2017),
# [pruning](https://arxiv.org/abs/1710.01878).
