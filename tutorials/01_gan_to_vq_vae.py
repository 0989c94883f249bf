# %% [markdown]
# # 1. From GAN to VQ-VAE
#
# Three families of image generators on one set of images: a generative adversarial network, a
# variational autoencoder, and a vector-quantised one. For each of them you will see the formula
# beside the line that computes it, the training step that runs, and how the images change from
# epoch to epoch. The tutorial also discusses an article on the same three families, whose code does
# not run and whose description has gaps: the core of each fault is run here, beside code that
# works. You need Python and the contents of a first course on neural networks.
#
# Measured: 2.3 minutes on two CPU cores, on a shared machine.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/01_gan_to_vq_vae.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/01_gan_to_vq_vae.ipynb)

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 64, "BATCH_SIZE": 32, "PLAIN_EPOCHS": 1, "GAN_EPOCHS": 1, "VAE_EPOCHS": 1, "VQ_EPOCHS": 1, "PRIOR_EPOCHS": 1, "NUM_SAMPLES": 40, "NUM_CODES": 16, "FILTERS": 8, "TOY_STEPS": 30}
DATA = "fashion_mnist"
NUM_IMAGES = 20_000  # of the training images
BATCH_SIZE = 128
PLAIN_EPOCHS = 2  # of the GAN without normalisation
GAN_EPOCHS = 8
VAE_EPOCHS = 8
VQ_EPOCHS = 6
PRIOR_EPOCHS = 3
NUM_SAMPLES = 2_048  # images per model for the metrics
NUM_CODES = 64
FILTERS = 32  # of the VQ-VAE's convolutions and of its prior's
TOY_STEPS = 800

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

# %% tags=["setup"]
DATA = or_glyphs(DATA)

# %%
import inspect
import math
import statistics
import textwrap

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_genimg as kg

tf.get_logger().setLevel("ERROR")  # keeps notices about retracing off the page
rng = np.random.default_rng(0)

# %% [markdown]
# ## The images
# Images are float32 arrays `(batch, height, width, channels)` with values in [-1, 1]; -1 is
# black. The training set comes in batches, in a new order each epoch. A part of the test set is
# held out to evaluate the models.

# %%
data = kg.load(DATA, batch_size=BATCH_SIZE, shuffle_seed=0, num_images=NUM_IMAGES)
test_set = kg.load(DATA, "test", batch_size=NUM_SAMPLES, with_labels=True, num_images=NUM_SAMPLES)
test, test_labels = (part.numpy() for part in next(iter(test_set)))  # (n, 28, 28, 1), (n,)
print(f"{NUM_IMAGES:,} training images, test images {test.shape}")
kg.plotting.show_images(test[:16], "Test images", columns=16)

# %% [markdown]
# Two helpers serve all three families. `Snapshots` keeps the samples of the *same* noise before
# training and after each epoch, so that each column of its grid shows one changing sample.
# `distance` is a Fréchet distance between samples and test images, in the features of a
# small classifier that comes with the package. Lower is better. It is not the FID of papers, and
# it depends on the number of samples: compare the values on this page only with each other.


# %%
class Snapshots(keras.callbacks.Callback):
    """Images of one seed, one row per epoch."""

    def on_train_begin(self, logs=None):
        self.rows = [self.model.generate(8, seed=1)]

    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(self.model.generate(8, seed=1))  # (8, 28, 28, 1)


def show_epochs(rows, title):
    """Rows of images before training (0) and after some of the epochs."""
    epochs = [epoch for epoch in range(len(rows)) if epoch in (0, 1, 3, len(rows) - 1)]
    chosen = np.stack([rows[epoch] for epoch in epochs])  # (rows, 8, 28, 28, 1)
    kg.plotting.show_images(chosen, f"{title} {', '.join(map(str, epochs))}")


frechet = kg.metrics.FrechetDistance(DATA)
frechet.update_state(real_images=test)
distances = {}


def distance(name, images):
    """Keeps and prints the Fréchet distance of images to the test images."""
    frechet.reset_fake_state()
    frechet.update_state(fake_images=images)
    distances[name] = frechet.result()[frechet.name]
    print(f"{name}: {distances[name]:.1f}")


some_training = next(iter(kg.load(DATA, batch_size=NUM_SAMPLES, num_images=NUM_SAMPLES))).numpy()
distance("training images, the floor", some_training)

# %% [markdown]
# # Part 1: GAN
#
# A generator $G$ turns noise $z$ into an image; a discriminator $D$ says how likely an image is to
# be real. They share one value function, which $D$ maximises and $G$ minimises ([Goodfellow et al.,
# 2014](https://arxiv.org/abs/1406.2661), Eq. 1):
#
# $$\min_G \max_D V(D, G) = E_{x \sim p}[\log D(x)] + E_{z}[\log(1 - D(G(z)))]$$
#
# Against a fixed generator whose samples have the density $q$, the best discriminator is known:
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad V(D^*, G) = 2\,JS(p, q) - \log 4$$
#
# So a perfect discriminator measures how far the two distributions are apart, by their
# Jensen-Shannon divergence $JS$. Let us check that in one dimension, where all is known: $p$ and
# $q$ are two Gaussians. The logit of $D^*$ is $\log p(x) - \log q(x)$, a quadratic function, so
# that a discriminator with three weights is enough. It sees samples only, never $p$ or $q$.

# %%
P, Q = statistics.NormalDist(-1.0, 0.8), statistics.NormalDist(1.0, 1.2)
real = rng.normal(P.mean, P.stdev, 20_000).astype("float32")  # (20000,)
fake = rng.normal(Q.mean, Q.stdev, 20_000).astype("float32")
weights = tf.Variable([0.0, 0.0, 0.0])


def toy_logits(x):
    return weights[0] + weights[1] * x + weights[2] * x**2


optimizer = keras.optimizers.Adam(0.05)
for _ in range(TOY_STEPS):
    with tf.GradientTape() as tape:  # -V: what D descends
        loss = kg.losses.minimax_discriminator_loss(toy_logits(real), toy_logits(fake))
    optimizer.apply_gradients([(tape.gradient(loss, weights), weights)])

# %%
x = np.linspace(-5, 6, 1101)
p, q = (np.array([each.pdf(value) for value in x]) for each in (P, Q))  # (1101,) each
best = p / (p + q)  # D*
learned = tf.sigmoid(toy_logits(x.astype("float32"))).numpy()
value = np.trapezoid(p * np.log(best) + q * np.log(1 - best), x)  # V(D*, G)
middle = (p + q) / 2
js = np.trapezoid(p * np.log(p / middle) + q * np.log(q / middle), x) / 2
print(f"V(D*) by integration        {value:.4f}")
print(f"2 JS - log 4                {2 * js - math.log(4):.4f}")
print(f"V of the D that was learned {-loss:.4f}")
seen = p + q > 0.01  # where there are samples
print(f"largest |D - D*|            {np.max(np.abs(learned - best)[seen]):.4f}")

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.fill_between(x, p, alpha=0.25, label="p, real")
axes.fill_between(x, q, alpha=0.25, label="q, generated")
axes.plot(x, best, "k", label="D* = p / (p + q)")
axes.plot(x, learned, "r--", label="D, learned from samples")
axes.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# Where $p = q$, $D^*$ is 1/2 everywhere and $V$ is $-\log 4$: that is the optimum, and it gives
# you a scale for the loss of any discriminator. A loss $d = -V$ below $\log 4$ shows a
# difference: $JS(p, q) \ge (\log 4 - d) / 2$, because no discriminator gets above $V(D^*)$. (This
# holds for samples that the discriminator has not memorised.)

# %% [markdown]
# ## The article's networks
# The article gives a generator of dense layers 128-128-1024-1024 and a discriminator of
# 1024-1024-1, for noise of length 100 and images 28x28x1. The widths are fine. What surrounds
# them is not. Each of the following lines is the core of one fault; `attempt` prints what it
# raises.


# %%
def attempt(what, build):
    """Runs code that must fail, and prints its error."""
    try:
        build()
    except Exception as error:
        lines = str(error).replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
        message = next(line for line in lines if line and not line.startswith("Exception"))
        message = textwrap.shorten(f"{type(error).__name__}: {message}", 180)
        print(what, *textwrap.wrap(message, 90), sep="\n    ")
    else:
        raise AssertionError(f"{what}: no error")


attempt("A layer is called on the number 100", lambda: keras.layers.Dense(128)(100))
attempt("A layer is called on the shape of an image", lambda: keras.layers.Dense(1)((28, 28, 1)))
attempt("The result of a network is called as if it were one", lambda: keras.Input((100,))("z"))
attempt(
    "Four numbers are taken for an image of 784",
    lambda: keras.layers.Reshape((28, 28, 1))(keras.Input((4,))),
)
attempt(
    "A training function whose body is a comment",
    lambda: compile("def train():\n    # to do\n\ntrain()", "article", "exec"),
)
attempt(
    "A convolution over a noise vector",
    lambda: keras.layers.Conv2D(64, 4)(keras.Input((100,))),
)

# %% [markdown]
# Two more faults raise no error, which is worse. A function that creates its layers at every call
# creates a new network at every call: the discriminator of real images and the discriminator of
# generated ones would share no weights. And a dense layer acts on the *last* axis: without
# `Flatten` the discriminator gives one score per pixel, computed from that pixel alone.


# %%
def score(images):
    return keras.layers.Dense(1)(images)  # a new layer at every call


images = keras.Input((28, 28, 1))
first, second = (keras.Model(images, score(images)) for _ in range(2))
same = np.allclose(first(test[:2]), second(test[:2]))
print(f"two calls of one function give the same network: {same}")
print(f"scores without Flatten: {first.output.shape}, by a matrix {first.weights[0].shape}")
flat = keras.layers.Dense(1)(keras.layers.Flatten()(images))
print(f"scores with Flatten:    {flat.shape}")

# %% [markdown]
# The text wants convolutional networks too: a generator whose transposed convolutions *shrink*, a
# discriminator that has transposed convolutions, and $G(z) = D(F(z))$, a generator built from a
# discriminator. The shapes show why this fails. A convolution of stride 2 halves the size, a
# transposed one doubles it, and a network that ends in $D$ outputs one number, not an image.

# %%
for name, layer in [("convolution", keras.layers.Conv2D),
                    ("transposed convolution", keras.layers.Conv2DTranspose)]:
    features, sizes = images, [28]
    for _ in range(3):
        features = layer(64, 4, strides=2, padding="same")(features)  # (None, h, w, 64)
        sizes.append(features.shape[1])
    numbers = math.prod(features.shape[1:])
    print(f"{name + ':':24}{' -> '.join(map(str, sizes))}, {numbers:,} numbers")

# %% [markdown]
# `kg.GAN(networks="mlp")` has the article's widths with the faults fixed: 784 outputs, reshaped
# to an image, tanh because images lie in [-1, 1]; a `Flatten` before the discriminator's first
# layer; both networks are created once.

# %%
keras.utils.set_random_seed(0)
gan = kg.GAN(image_shape=(28, 28, 1), latent_dim=100, networks="mlp", seed=0)
gan.compile()  # Adam, 2e-4, beta_1 = 0.5, one for each network
for network in (gan.generator, gan.discriminator):
    widths = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    print(f"{network.name}: {network.input_shape} -> {network.output_shape}, widths {widths}")

# %% [markdown]
# The discriminator ends in a *logit* $l$ with $D = \sigma(l)$, not in a sigmoid. The reason is
# arithmetic: in 32 bits $\sigma(l)$ is exactly 1 for a logit that is not even large, and the
# logarithm of $1 - D$ is then minus infinity. $\log(1 - \sigma(l)) = -\mathrm{softplus}(l)$ is
# exact.

# %%
logit = tf.constant(20.0)
print(f"log(1 - sigmoid(20)) = {tf.math.log(1 - tf.sigmoid(logit)):.1f}")
print(f"-softplus(20)        = {-tf.math.softplus(logit):.1f}")

# %% [markdown]
# ## The step
# The article leaves this part empty. It is the method that `fit` runs for each batch, printed from
# the package.

# %%
print(inspect.getsource(kg.GAN.train_step))

# %% [markdown]
# Line by line. *Step 1* draws noise and generates the images of both updates, under the generator's
# tape. *Step 2* applies $D$ to real and generated images, under another. `d_loss` is $-V$; the
# gradient goes to the discriminator's weights only. *Step 3* continues the first tape: the
# gradient passes through $D$ into the generator's weights, while $D$ stays as it is.
# It descends $-\log D(G(z))$ instead of $\log(1 - D(G(z)))$: where $D$ is sure that an image is
# generated the latter is flat, and the generator would learn nothing (exercise 1 measures it).
# `update_ema` updates the EMA generator, a copy whose weights are exponential moving averages;
# `generate` uses it. *Step 4* logs. `batch.share` is 1 on one device; `augment`, `r1_weight` and
# `relativistic` are options that are off.
#
# The article would train for 1,000 epochs. Two are enough to see how these networks begin.

# %%
gan.fit(data, epochs=PLAIN_EPOCHS, verbose=0)
plain_samples = gan.generate(NUM_SAMPLES, seed=0)
distance(f"dense GAN, {PLAIN_EPOCHS} epochs", plain_samples)
kg.plotting.show_images(plain_samples[:8], "Dense layers alone", columns=8)

# %% [markdown]
# Nothing but grey. The article's *text* has batch normalisation after each layer, its code does
# not. Does it matter? Here are the same widths, normalised, as a custom generator: any
# `keras.Model` from noise to images will do. Discriminator, loss and rate are unchanged (`networks`
# now only chooses the discriminator).

# %%
keras.utils.set_random_seed(0)
normalised = keras.Sequential([keras.Input((100,))], name="generator")
for units in (128, 128, 1024, 1024):
    normalised.add(keras.layers.Dense(units, use_bias=False))  # (B, units)
    normalised.add(kg.layers.BatchNormalization())  # mean 0, variance 1 over the batch
    normalised.add(keras.layers.ReLU())
normalised.add(keras.layers.Dense(784, activation="tanh"))  # (B, 784)
normalised.add(keras.layers.Reshape((28, 28, 1)))  # (B, 28, 28, 1)
gan = kg.GAN((28, 28, 1), 100, generator=normalised, networks="mlp", seed=0)
gan.compile()


def judge_early(epoch, logs):
    if epoch + 1 == PLAIN_EPOCHS:  # as many epochs as the plain one
        distance(f"normalised GAN, {epoch + 1} epochs", gan.generate(NUM_SAMPLES, seed=0))


gan_frames = Snapshots()
callbacks = [gan_frames, keras.callbacks.LambdaCallback(on_epoch_end=judge_early)]
gan_history = gan.fit(data, epochs=GAN_EPOCHS, callbacks=callbacks, verbose=0).history
show_epochs(gan_frames.rows, "GAN, normalised: one noise vector per column, after epochs")

# %% [markdown]
# At this rate and in these few epochs normalisation decides whether there are images at all (one
# seed; at five times the rate the plain networks produce images too, more slowly). How much do
# samples differ from each other, on average per pixel?

# %%
gan_samples = gan.generate(NUM_SAMPLES, seed=0)
distance(f"normalised GAN, {GAN_EPOCHS} epochs", gan_samples)
for name, images in [("test images", test), ("dense GAN", plain_samples),
                     ("normalised GAN", gan_samples)]:
    print(f"standard deviation of a pixel over {name}: {images.std(axis=0).mean():.3f}")
kg.plotting.plot_losses(gan_history)

# %% [markdown]
# The article trains until the discriminator can no longer distinguish the two. Then both scores
# would be 1/2 and the discriminator's loss $\log 4$. What did this run reach?

# %%
d_loss, real_score, fake_score = (
    gan_history[name][-1] for name in ("d_loss", "real_score", "fake_score")
)
print(f"last epoch: D gives real images {real_score:.2f}, generated ones {fake_score:.2f}")
print(f"loss of D {d_loss:.3f}, of a D that cannot distinguish them log 4 = {math.log(4):.3f}")
bound = (math.log(4) - d_loss) / 2
print(f"so JS(p, q) is about {bound:.2f} nats or more; it is never above log 2 = {math.log(2):.2f}")

# %% [markdown]
# The discriminator can still distinguish them. That is usual when training goes well: the samples
# improve while both networks do. The losses cannot be read like that of a single objective. Here
# the discriminator's loss rose while the images became better, because the loss of each network
# depends on the other, which changes too. Judge by the images, or by a distance such as those
# above. The weakness of dense layers is visible: a pixel's weights are independent of its
# neighbours, hence the speckle. With convolutions the same objective gives better images:
# [tutorial 3](03_classifier_dcgan_vae.ipynb).
#
# # Part 2: VAE
#
# An autoencoder compresses an image to a code and reconstructs the image from it. A *variational*
# one is a probability model: $z \sim N(0, I)$, then $x \sim p(x|z)$ by a decoder. The encoder
# outputs not a code but a distribution of codes, $q(z|x) = N(\mu, \mathrm{diag}(\sigma^2))$. Both
# are trained at once, on one number, the evidence lower bound ([Kingma and Welling,
# 2014](https://arxiv.org/abs/1312.6114)):
#
# $$\log p(x) \ge E_{q(z|x)}[\log p(x|z)] - KL(q(z|x)\,\|\,N(0, I))$$
#
# The article writes $z = E(x)$, which leaves out the distribution, and trains the model in two
# phases, first encoder and decoder on reconstruction, then the decoder on similarity to real
# images. There is only one phase. We will measure what the two phases give.
#
# ## The two tricks
# The KL term has a closed form, so nothing has to be drawn for it:
#
# $$KL = \tfrac12 \sum_i \left(\mu_i^2 + \sigma_i^2 - 1 - \log \sigma_i^2\right)$$
#
# Against an average over draws of $\log q(z) - \log p(z)$:

# %%
mean, log_var = np.array([[0.5, -1.0, 0.0]]), np.array([[-1.0, 0.3, 0.0]])  # (1, 3)
draws = mean + np.exp(log_var / 2) * rng.normal(size=(200_000, 3))  # (200000, 3)
log_q = -0.5 * ((draws - mean) ** 2 / np.exp(log_var) + log_var)  # constants cancel
log_p = -0.5 * draws**2
terms = np.sum(log_q - log_p, axis=1)  # (200000,)
error = terms.std() / math.sqrt(len(terms))
print(f"closed form {float(kg.losses.gaussian_kl(mean, log_var)[0]):.4f}")
print(f"Monte Carlo {terms.mean():.4f}, standard error {error:.4f}")

# %% [markdown]
# The other term needs draws of $z$, and gradients must pass the draw. *Reparameterisation*: draw
# $\epsilon \sim N(0, I)$, which depends on no weight, and compute $z = \mu + \sigma \epsilon$. A
# check against a known case: $E[z^2] = \mu^2 + \sigma^2$ has the derivatives $2 \mu$ by $\mu$ and
# $\sigma^2$ by $\log \sigma^2$.

# %%
mu, log_variance = tf.Variable(0.7), tf.Variable(-0.5)
with tf.GradientTape() as tape:
    shape = tf.ones((100_000, 1))
    z = kg.layers.Sampling(seed=0)(mu * shape, log_variance * shape)  # (100000, 1)
    second_moment = tf.reduce_mean(z**2)
by_mu, by_log_variance = tape.gradient(second_moment, (mu, log_variance))
print(f"by mu           {by_mu:.3f}, exactly {2 * 0.7:.3f}")
print(f"by log variance {by_log_variance:.3f}, exactly {math.exp(-0.5):.3f}")

# %% [markdown]
# ## The step

# %%
print(inspect.getsource(kg.VAE.train_step))

# %% [markdown]
# *1* is the encoder and the reparameterised draw, one $z$ per image (`kg.IWAE` draws several).
# *2* runs the decoder and computes the two terms in nats: `log_likelihood_of` is $\log p(x|z)$,
# `gaussian_kl` the closed form above. *3* descends minus the bound; one tape, one gradient, one
# optimizer for both networks. `weighted_kl` is the KL term times `beta`, which is 1 by default.
# `conditioned` returns its first argument: it adds the class in `kg.ConditionalVAE`.
#
# One note on the first term. The default likelihood is Bernoulli: each grey value is taken as the
# probability of white. For grey images that is the customary cross-entropy, not a likelihood, so
# compare these nats only with each other.

# %%
keras.utils.set_random_seed(0)
vae = kg.VAE(image_shape=(28, 28, 1), latent_dim=16, networks="mlp", seed=0)
vae.compile()
vae_frames = Snapshots()
vae_history = vae.fit(data, epochs=VAE_EPOCHS, callbacks=[vae_frames], verbose=0).history
show_epochs(vae_frames.rows, "VAE: one z per column, after epochs")

# %%
kg.plotting.plot_losses({name: vae_history[name] for name in ("reconstruction_loss", "kl_loss")})

# %% [markdown]
# Here the curves are meaningful by themselves: as their sum falls, the images improve. The KL term
# may rise meanwhile, as codes carry more information about their images. A VAE also does what a
# GAN cannot: it encodes images, and so it can reconstruct them.

# %%
shown = np.stack([test[:8], vae.reconstruct(test[:8])])  # (2, 8, 28, 28, 1)
kg.plotting.show_images(shown, "Test images, and their reconstructions by the VAE")
vae_samples = vae.generate(NUM_SAMPLES, seed=0)
distance("VAE", vae_samples)

# %% [markdown]
# ## Two phases, measured
# The first of the article's two phases is reconstruction alone. That is this model without its KL
# term, `beta=0`. Nothing makes it place its codes where $N(0, I)$ has its mass.

# %%
keras.utils.set_random_seed(0)
autoencoder = kg.VAE(latent_dim=16, networks="mlp", beta=0.0, seed=0)
autoencoder.compile()
auto_history = autoencoder.fit(data, epochs=VAE_EPOCHS, verbose=0).history
for name, model, logs in [("VAE", vae, vae_history), ("no KL", autoencoder, auto_history)]:
    spread = np.sqrt(np.mean(model.encode(test) ** 2, axis=0))  # (16,)
    cost, kl = logs["reconstruction_loss"][-1], logs["kl_loss"][-1]
    print(
        f"{name:6}reconstruction {cost:.1f} nats, KL {kl:.1f}; "
        f"root mean square of each number of a code {spread.min():.2f} to {spread.max():.2f}"
    )
auto_samples = autoencoder.generate(NUM_SAMPLES, seed=0)
distance("autoencoder without KL", auto_samples)
shown = np.stack([vae_samples[:8], auto_samples[:8]])  # (2, 8, 28, 28, 1)
kg.plotting.show_images(shown, "z from N(0, I): the VAE (above), no KL (below)")

# %% [markdown]
# It reconstructs better, since that is its only objective. Its samples from noise show that its
# codes do not follow N(0, I). The second phase, similarity of generated and real images,
# would not fix that: an image generated from noise corresponds to *no* real one, and the best
# answer to "be near a real image drawn at random" is one grey average. In squared error the mean
# image costs about half as much as a perfect sample:

# %%
other = np.roll(test, 1, axis=0)  # another real image for each
perfect = np.mean((test - other) ** 2)
average = np.mean((test - test.mean(axis=0)) ** 2)
print(f"a real image against another: {perfect:.3f}, the mean image: {average:.3f}")

# %% [markdown]
# ## A map of the codes
# With `latent_dim=2` the whole space of codes fits on a page. Left: codes of test images,
# coloured by class, which the model has never seen. Right: decoded codes on a grid that is evenly
# spaced in the probability of $N(0, I)$.

# %%
keras.utils.set_random_seed(0)
flat_vae = kg.VAE(latent_dim=2, networks="mlp", seed=0)
flat_vae.compile()
flat_history = flat_vae.fit(data, epochs=VAE_EPOCHS, verbose=0).history
codes = flat_vae.encode(test)  # (n, 2)
steps = [statistics.NormalDist().inv_cdf((i + 0.5) / 7) for i in range(7)]
grid = np.array([[a, b] for b in steps[::-1] for a in steps], "float32")  # (49, 2)

figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 3.2), layout="constrained")
points = left.scatter(*codes.T, c=test_labels, s=4, cmap="tab10", vmin=-0.5, vmax=9.5)
figure.colorbar(points, ax=left, ticks=range(10), shrink=0.8)
left.set_title("codes of test images, by class", fontsize=10, loc="left")
kg.plotting.show_images(flat_vae.decode(grid), "images of codes", columns=7, axes=right)
plt.show()
for numbers, logs in [(16, vae_history), (2, flat_history)]:
    print(f"bound with {numbers} numbers: {logs['elbo'][-1]:.1f} nats")

# %% [markdown]
# # Part 3: VQ-VAE
#
# A VQ-VAE ([van den Oord et al., 2017](https://arxiv.org/abs/1711.00937)) makes codes *discrete*.
# The encoder turns an image into a grid of vectors $z_e(x)$; each is replaced by the nearest
# vector of a codebook $e_1, \dots, e_K$, and the decoder reconstructs the image from those:
#
# $$k = \arg\min_j \|z_e(x) - e_j\|, \qquad z_q(x) = e_k$$
#
# ## The article's encoder
# It is one layer over and over: 64 filters, 4x4, stride 2, no activation, more than a hundred
# times, until the listing breaks off in the middle of a line, before any codebook, decoder or loss.
# What is left of an image after each layer?

# %%
size, sizes = 28, [28]
while size > 1:
    size = math.ceil(size / 2)  # "same" padding
    sizes.append(size)
print(" -> ".join(map(str, sizes)), "and 1 from there on")

encoder = keras.Sequential([keras.Input((28, 28, 1))])
for _ in range(7):
    encoder.add(keras.layers.Conv2D(64, 4, strides=2, padding="same"))
print("Keras agrees:", [layer.output.shape[1] for layer in encoder.layers])
print(f"weights of each layer after the first: {encoder.layers[1].count_params():,}")

# %% [markdown]
# From the fifth layer on an image is one vector at one place: no grid of codes is left, and every
# further layer costs weights and adds nothing. There is a second problem, independent of the size.
# Without activations in between, convolutions make one affine map, however many there are. An
# affine map $f$ keeps $f(a) + f(b) = f(a + b) + f(0)$:

# %%
a, b = test[:1], test[1:2]
outputs = encoder(np.concatenate([a, b, a + b, 0 * a])).numpy().reshape(4, -1)  # (4, 64)
bend = outputs[0] + outputs[1] - outputs[2] - outputs[3]  # (64,)
print(f"largest |f(a) + f(b) - f(a + b) - f(0)|: {np.abs(bend).max():.1e}")
print(f"largest |f(a)|:                          {np.abs(outputs[0]).max():.1e}")

# %% [markdown]
# The encoder of `kg.VQVAE` stops after two halvings, has activations and residual blocks, and ends
# in a grid of vectors.

# %%
keras.utils.set_random_seed(0)
vq_vae = kg.VQVAE(
    image_shape=(28, 28, 1),
    num_embeddings=NUM_CODES,  # K
    embedding_dim=16,  # D
    data_variance=float(some_training.var()),
    network_options={"filters": FILTERS, "residual_filters": FILTERS // 2, "blocks": 1},
    seed=0,
)
vq_vae.compile(learning_rate=1e-3)  # five times the paper's, for few epochs
print(f"encoder {vq_vae.encoder.output_shape}, codes {tuple(vq_vae.code_shape)}")

# %% [markdown]
# ## The quantiser
# Nearest neighbours are a few lines of NumPy. The distances that the layer computes leave out
# $\|z_e\|^2$, which is the same for every code.

# %%
vectors = vq_vae.encoder(test[:32]).numpy()  # (32, 7, 7, D)
codebook = vq_vae.quantizer.embeddings.numpy()  # (K, D)
differences = vectors[..., None, :] - codebook  # (32, 7, 7, K, D)
nearest = np.argmin(np.sum(differences**2, axis=-1), axis=-1)  # (32, 7, 7)
agree = np.mean(nearest == vq_vae.encode(test[:32]))
print(f"codes {nearest.shape}, {agree:.2%} equal to those of vq_vae.encode")

# %% [markdown]
# An argmin has no gradient. The *straight-through* estimator passes on
#
# $$z_e + \mathrm{sg}[z_q - z_e]$$
#
# with $\mathrm{sg}$ for "stop the gradient": in value $z_q$, in gradient $z_e$. So the
# gradient of the decoder arrives at the encoder unchanged. The loss of the layer pulls the two
# together from both sides,
#
# $$L = \|\mathrm{sg}[z_e] - e\|^2 + \beta \|z_e - \mathrm{sg}[e]\|^2,$$
#
# the codebook towards the encoder's vectors and, more weakly, the vectors towards the codebook (the
# commitment). By hand against the layer:

# %%
layer = kg.layers.VectorQuantizer(num_embeddings=8, embedding_dim=2, commitment_cost=0.25, seed=0)
z_e = tf.Variable(rng.normal(size=(1, 3, 3, 2)).astype("float32"))
wanted = rng.normal(size=(1, 3, 3, 2)).astype("float32")  # what a decoder would send back
with tf.GradientTape(persistent=True) as tape:
    z_q, indices, vq_loss = layer(z_e)
    downstream = tf.reduce_sum(wanted * z_q)
e = layer.embeddings.numpy()[indices.numpy()]  # (1, 3, 3, 2)
by_hand = np.mean((z_e.numpy() - e) ** 2)
passed = tape.gradient(downstream, z_e).numpy()
print(f"z_q is a vector of the codebook: {np.allclose(z_q, e)}")
print(f"the gradient arrives unchanged:  {np.allclose(passed, wanted)}")
print(f"codebook + 0.25 commitment:      {1.25 * by_hand:.6f} by hand, {vq_loss:.6f} by the layer")
to_codebook = tf.convert_to_tensor(tape.gradient(vq_loss, layer.embeddings)).numpy()  # (8, 2)
unused = sorted(set(range(8)) - set(indices.numpy().ravel().tolist()))
print(f"codes without a gradient: {np.flatnonzero(np.abs(to_codebook).sum(axis=1) == 0).tolist()}, "
      f"codes that no vector chose: {unused}")

# %% [markdown]
# The last line shows a well-known weakness: a code that no vector chooses never moves. By default
# the codebook of `kg.VQVAE` is a `kg.layers.VectorQuantizerEMA`: it follows moving averages of the
# vectors that chose each code, instead of the first term (exercise 3 does one such step by hand).
# It also replaces codes that stay unused.
#
# ## The step

# %%
print(inspect.getsource(kg.VQVAE.train_step))

# %% [markdown]
# *1* encoder, nearest codes, and the layer's loss. *2* the decoder and its squared error, divided
# by the variance of the data so that 1 is the error of one constant grey. *3* one sum, one gradient
# for encoder and decoder; the codebook has already been updated in *1*, by its moving averages. So
# all three learn together. Nothing is trained beforehand, and no noise is quantised.

# %%
rows = [vq_vae.reconstruct(test[:8])]
each_epoch = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: rows.append(vq_vae.reconstruct(test[:8]))
)
vq_history = vq_vae.fit(data, epochs=VQ_EPOCHS, callbacks=[each_epoch], verbose=0).history
show_epochs(rows, "VQ-VAE: eight test images, reconstructed after epochs")

# %%
kg.plotting.plot_losses(vq_history)

# %% [markdown]
# ## How the codebook is used
# Perplexity is $\exp$ of the entropy of the codes: $K$ if all are used equally, 1 if only one is
# used. Below it, single codes: a grid filled with one of them, decoded.

# %%
codes = vq_vae.encode(test)  # (n, 7, 7)
counts = np.bincount(codes.ravel(), minlength=NUM_CODES)  # (K,)
shares = counts / counts.sum()
perplexity = kg.metrics.codebook_perplexity(codes, NUM_CODES)
print(f"{np.sum(counts > 0)} of {NUM_CODES} codes in use, perplexity {perplexity:.1f}")
order = np.argsort(-shares)
figure, axes = plt.subplots(figsize=(7, 2.2), layout="constrained")
axes.bar(range(NUM_CODES), shares[order])
axes.axhline(1 / NUM_CODES, color="k", linewidth=0.8, linestyle="--")
axes.set_title("share of each code, sorted; dashed: uniform", fontsize=10, loc="left")
plt.show()

# %%
height, width = vq_vae.code_shape
filled = np.tile(order[:16, None, None], (1, height, width))  # (16,) -> (16, 7, 7)
kg.plotting.show_images(vq_vae.decode(filled), "The 16 most used codes, each alone", columns=16)

# %% [markdown]
# ## Noise has no codes
# The article quantises random noise, and minimises the distance between noise and codebook. Any
# vector has a nearest code, so this runs, but it does not generate. Three ways to draw a grid of
# codes without a model of them: the codes nearest to Gaussian noise, codes drawn uniformly, and
# codes drawn by how often each occurs.

# %%
noise = rng.normal(size=(NUM_SAMPLES, height, width, 16)).astype("float32")
noise *= np.std(vq_vae.encoder(test))  # the scale of real vectors
of_noise = vq_vae.quantizer(noise)[1].numpy()  # (n, 7, 7)
uniform = rng.integers(NUM_CODES, size=of_noise.shape)
by_share = rng.choice(NUM_CODES, p=shares, size=of_noise.shape)
for name, drawn in [("noise quantised", of_noise), ("codes drawn uniformly", uniform),
                    ("codes drawn by frequency", by_share)]:
    distance(name, vq_vae.decode(drawn))
distance("VQ-VAE, reconstructions", vq_vae.reconstruct(test))
shown = np.stack([vq_vae.decode(each[:8]) for each in (of_noise, uniform, by_share)])
kg.plotting.show_images(shown, "Codes of noise, uniform codes, codes by frequency")

# %% [markdown]
# The decoder is good, as its reconstructions show. The codes are wrong, because neighbouring codes
# depend on each other. A *prior* $p(k)$ over whole grids models that, and it is learned after the
# VQ-VAE, from the codes of training images. `fit_prior` trains a PixelCNN ([van den Oord et al.,
# 2016](https://arxiv.org/abs/1606.05328)), which factorises the grid in raster order:
#
# $$p(k) = \prod_i p(k_i \mid k_1, \dots, k_{i-1})$$
#
# So this is the real "second phase": the VQ-VAE is frozen, and the prior learns the distribution of
# its codes.

# %%
keras.utils.set_random_seed(0)
prior = kg.PixelCNN(
    code_shape=(height, width), num_embeddings=NUM_CODES, filters=FILTERS, layers=4, seed=0
)
rows = []  # of one seed, one row per epoch
each_epoch = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: rows.append(vq_vae.generate(8, seed=1))
)
prior_history = vq_vae.fit_prior(
    data, prior=prior, epochs=PRIOR_EPOCHS, batch_size=BATCH_SIZE // 2, callbacks=[each_epoch],
    verbose=0,
).history
print("nats per code:", [round(nats, 2) for nats in prior_history["nats_per_code"]])
kg.plotting.show_images(np.stack(rows), "VQ-VAE: samples of one seed, by epoch of the prior")

# %% [markdown]
# The quality of the prior is measured in nats per code: $\log K$ for uniform codes, their entropy
# for codes drawn by frequency, the prior's cross-entropy on the codes of test images for the last.

# %%
nats = prior.evaluate(codes, verbose=0, return_dict=True)["nats_per_code"]
for name, amount in [("uniform, log K", math.log(NUM_CODES)),
                     ("by frequency", math.log(perplexity)), ("prior", nats)]:
    bits = amount / math.log(2)
    print(f"{name:16}{amount:.2f} nats per code, {height * width * bits:.0f} bits per image")
vq_samples = vq_vae.generate(NUM_SAMPLES, seed=0)
distance("VQ-VAE with a prior", vq_samples)

# %% [markdown]
# # Side by side
# One seed, small networks, few epochs and equally many samples: this does not rank the families. It
# does compare variants within a family: a VQ-VAE with and without a prior, a VAE with and without
# its KL term.

# %%
for name, value in sorted(distances.items(), key=lambda item: item[1]):
    print(f"{value:8.1f}  {name}")
shown = np.stack([each[:10] for each in (gan_samples, vae_samples, vq_samples)])
kg.plotting.show_images(shown, "One row each: GAN, VAE, VQ-VAE with a prior")

# %% [markdown]
# # What the article shows, and what runs
#
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | a generator that ends in 4 units | an image of 28x28x1 has 784 values | `kg.GAN(networks="mlp")`: 784 units, `Reshape`, tanh |
# | networks called on the number 100 and on a shape | layers take tensors | `keras.Input`, a `keras.Model` created once |
# | functions that make their layers when called, names reused for what they return | each call is a new network without shared weights; a tensor cannot be called | one `generator` and one `discriminator` in a model |
# | a dense discriminator on unflattened images | a score per pixel, by that pixel alone | `Flatten` first, one logit per image |
# | a sigmoid at the end, its logarithm in the loss | 1 - D is 0 in 32 bits: minus infinity | logits and softplus: `kg.losses` |
# | training and testing functions that hold a comment | no Python; and no loss, no data, no optimizer | `compile()`, `fit(data)`, `generate(n)`; the printed `train_step` |
# | batch normalisation in the text, none in the code | the dense generator learns far more slowly | a custom generator: `kg.GAN(generator=)` |
# | `reuse=` arguments | left over from TensorFlow 1, without any effect | a model holds its weights |
# | a generator that shrinks by transposed convolutions, a discriminator that has them | they enlarge | convolutions down in D, transposed ones up in G (`networks="dcgan"`) |
# | G(z) = D(F(z)) | a network that ends in D outputs one number, not an image | G(z) is an image, D(G(z)) its score |
# | training runs until D cannot distinguish the two | it rarely gets there: see the scores above | judge by samples and distances |
# | a VAE in two training phases, z = E(x) | without KL, N(0, I) has its mass where there are no codes; similarity to random images gives the mean image | one bound: `kg.VAE` |
# | an encoder of more than a hundred equal layers of stride 2 | 1x1 after five, affine without activations, breaks off | two halvings, activations, residual blocks: `kg.VQVAE` |
# | a codebook trained beforehand that quantises random noise | the nearest codes of noise do not decode to an image | the codebook learns with encoder and decoder, on z_e(x) |
# | a VQ-VAE that generates right away | codes drawn independently do not fit together | `fit_prior`, then `generate` |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: the loss that does not saturate
# Early in training $D$ is certain: the logits of generated images are far below 0. How strong is
# the gradient of $\log(1 - D)$ with respect to the logit, and how strong that of $-\log D$? Compute
# both with a tape and `kg.losses`, and compare with the closed forms $-\sigma(l)$ and $\sigma(l) -
# 1$.

# %% tags=["answer"]
logits = tf.Variable(tf.linspace(-8.0, 8.0, 9))  # (9,)
gradients = {}
for name in ("minimax", "non_saturating"):
    with tf.GradientTape() as tape:
        loss = getattr(kg.losses, f"{name}_generator_loss")(logits)  # a mean over 9 logits
    gradients[name] = 9 * tape.gradient(loss, logits).numpy()
d = tf.sigmoid(logits).numpy()
np.testing.assert_allclose(gradients["minimax"], -d, atol=1e-6)
np.testing.assert_allclose(gradients["non_saturating"], d - 1, atol=1e-6)
assert abs(gradients["non_saturating"][0]) > 1000 * abs(gradients["minimax"][0])
for logit, *pair in zip(logits.numpy(), *gradients.values(), strict=True):
    print(f"logit {logit:4.0f}: minimax {pair[0]:.4f}, non-saturating {pair[1]:.4f}")

# %% [markdown]
# ### Exercise 2: which dimensions of a code are used?
# The KL term is a sum over the dimensions of $z$. Compute each dimension's part on the test images.
# A dimension with a part near 0 carries no information about its image. Show what the most and the
# least informative one change in an image (`kg.latents.traverse`).

# %% tags=["answer"]
z_mean, z_log_var = (part.numpy() for part in vae.encoder(test))  # (n, 16) each
parts = 0.5 * np.mean(z_mean**2 + np.exp(z_log_var) - 1 - z_log_var, axis=0)  # (16,)
total = np.mean(kg.losses.gaussian_kl(z_mean, z_log_var))
assert np.isclose(parts.sum(), total, rtol=1e-4)
assert np.all(parts >= -1e-6)  # each is a KL of its own
print("nats of each dimension, sorted:", [f"{part:.2f}" for part in np.sort(parts)[::-1]])
walks = [
    kg.latents.traverse(vae, vae.encode(test[:1])[0], int(dimension), np.linspace(-3, 3, 9))
    for dimension in (np.argmax(parts), np.argmin(parts))
]  # 2 x (9, 16)
images = kg.latents.decode(vae, np.stack(walks))  # (2, 9, 28, 28, 1)
assert images.shape == (2, 9, 28, 28, 1)
kg.plotting.show_images(images, "From -3 to 3: the most used dimension, the least used")

# %% [markdown]
# ### Exercise 3: a codebook that follows
# With moving averages (appendix A.1 of the paper) code $j$ keeps a count $N_j$ and a sum $m_j$ of
# the vectors that chose it: $N_j \leftarrow \gamma N_j + (1 - \gamma) n_j$, $m_j \leftarrow \gamma
# m_j + (1 - \gamma) \sum z_e$, $e_j = m_j / N_j$. Counts start at 1 and sums at $e_j$. Do one step
# in NumPy and compare with `kg.layers.VectorQuantizerEMA(decay=0.9)`.

# %% tags=["answer"]
layer = kg.layers.VectorQuantizerEMA(num_embeddings=4, embedding_dim=2, decay=0.9, seed=0)
before = layer.embeddings.numpy()  # (4, 2)
vectors = rng.normal(size=(100, 2)).astype("float32")
layer(vectors, training=True)
chosen = np.argmin(np.sum((vectors[:, None] - before) ** 2, axis=-1), axis=-1)  # (100,)
one_hot = np.eye(4)[chosen]  # (100, 4)
n_j = 0.9 * 1 + 0.1 * one_hot.sum(axis=0)  # (4,)
m_j = 0.9 * before + 0.1 * one_hot.T @ vectors  # (4, 2)
np.testing.assert_allclose(layer.embeddings.numpy(), m_j / n_j[:, None], rtol=1e-3, atol=1e-5)


def quantisation_error(codebook):
    return np.mean(np.min(np.sum((vectors[:, None] - codebook) ** 2, axis=-1), axis=-1))


assert quantisation_error(layer.embeddings.numpy()) < quantisation_error(before)
print(f"squared distance to the codebook: {quantisation_error(before):.3f} before, "
      f"{quantisation_error(layer.embeddings.numpy()):.3f} after one step")

# %% [markdown]
# ## Where to go next
# - [Three models called CGAN](02_three_cgans.ipynb): conditional, recurrent, and between two sets.
# - [A classifier, a DCGAN and a convolutional VAE](03_classifier_dcgan_vae.ipynb): the same
#   families with convolutions.
# - [Where VQ-VAE and GAN meet](05_vq_vae_meets_gan.ipynb): colour images, VQGAN.
# - Results of longer runs: [the README](../README.md), [codes.md](../docs/codes.md),
#   [adversarial.md](../docs/adversarial.md).
# - Papers: [GAN](https://arxiv.org/abs/1406.2661), [VAE](https://arxiv.org/abs/1312.6114),
#   [VQ-VAE](https://arxiv.org/abs/1711.00937), [PixelCNN](https://arxiv.org/abs/1606.05328).
