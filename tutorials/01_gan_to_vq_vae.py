# %% [markdown]
# # 1. From GAN to VQ-VAE
#
# > **You will be able to** train a GAN, a VAE and a VQ-VAE, write the central lines of the last two
# > yourself, and say why codes need a prior.
# >
# > **Time**: forty minutes with reading. Measured: 5.5 minutes on two CPU cores, on a shared machine.
# >
# > **You need** [tutorial 0](00_fifteen_minutes.ipynb), or to know the training step of a GAN.
# > Fashion-MNIST is downloaded once; offline, drawn digits stand in for it. No GPU. (On Colab, run
# > `%pip install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/01_gan_to_vq_vae.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/01_gan_to_vq_vae.ipynb) · [中文](zh/01_gan_to_vq_vae.ipynb)
#
# Contents: [A GAN](#A-GAN) · [What a discriminator measures](#What-a-discriminator-measures) · [A
# VAE](#A-VAE) · [One bound, two tricks](#One-bound,-two-tricks) · [Your turn: the
# step](#Your-turn:-the-step) · [A map of the latents](#A-map-of-the-latents) · [A
# VQ-VAE](#A-VQ-VAE) · [Your turn: the quantiser](#Your-turn:-the-quantiser) · [Codes need a
# prior](#Codes-need-a-prior) · [Claims, measured](#Claims,-measured) · [Exercises](#Exercises) ·
# [What the article shows, and what runs](#What-the-article-shows,-and-what-runs)
#
# ## A GAN
#
# After the sizes and two cells of preparation, a convolutional GAN is trained, as in tutorial 0 but
# in three lines. Each column below is one noise vector; the last row is real.

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 64, "BATCH_SIZE": 32, "GAN_EPOCHS": 1, "VAE_EPOCHS": 1, "VQ_EPOCHS": 1, "PRIOR_EPOCHS": 1, "NUM_SAMPLES": 40, "NUM_CODES": 16, "FILTERS": 8, "TOY_STEPS": 30}
DATA = "fashion_mnist"  # or "mnist", or "glyphs", which needs no download
NUM_IMAGES = 20_000  # of the training images
BATCH_SIZE = 64
GAN_EPOCHS = 5
VAE_EPOCHS = 4
VQ_EPOCHS = 4
PRIOR_EPOCHS = 3
NUM_SAMPLES = 2_048  # images per model for the metrics
NUM_CODES = 64  # K, of the VQ-VAE
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

# %% alt=["Four rows of eight items of clothing, one noise vector per column. The rows of epochs 1, 3 and 5 become sharper; shoes, bags, shirts and trousers can be told apart. The last row is real."]
import math
import statistics
import textwrap

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_genimg as kg

SHAPE = (28, 28, 1)


def show(images, title, columns=8):
    """Shows a grid of images, four screen pixels per pixel."""
    kg.plotting.show_images(images, title, columns=columns, scale=4)
    plt.show()
    plt.close()


data = kg.load(DATA, batch_size=BATCH_SIZE, shuffle_seed=0, num_images=NUM_IMAGES)
real = next(iter(data))[:8].numpy()  # (8, 28, 28, 1), float32 in [-1, 1]

keras.utils.set_random_seed(0)
gan = kg.GAN(SHAPE, latent_dim=64, seed=0)
gan.compile()
rows = []  # of one seed, one row per epoch
watch = keras.callbacks.LambdaCallback(
    on_epoch_end=lambda epoch, logs: rows.append(gan.generate(8, seed=1, verbose=0))
)
gan_logs = gan.fit(data, epochs=GAN_EPOCHS, callbacks=[watch], verbose=0).history
shown = sorted({0, GAN_EPOCHS // 2, GAN_EPOCHS - 1})
title = f"GAN, after epochs {', '.join(str(epoch + 1) for epoch in shown)}; last row: real images"
show(np.concatenate([*(rows[epoch] for epoch in shown), real]), title)

# %% [markdown]
# The same objective goes further with time. This conditional GAN comes with the package, after an
# hour on two cores with 50,000 colour images ([tutorial 2](02_three_cgans.ipynb) explains it).

# %% alt=["Two rows of ten small colour images, one class per column. Cars, horses, ships and trucks can be recognised; several of the other animals cannot."]
preset = kg.load_preset("conditional_gan_cifar10")
show(preset.generate(20, seed=1, verbose=0), ", ".join(preset.class_names), columns=10)

# %% [markdown]
# To compare models we need a number. `distance` is a Fréchet distance between samples and held-out
# images, in the features of a small classifier that comes with the package. Lower is better. It
# depends on the number of samples: compare the values of this page only with each other.

# %%
test_set = kg.load(DATA, "test", batch_size=NUM_SAMPLES, with_labels=True, num_images=NUM_SAMPLES)
test, test_labels = (part.numpy() for part in next(iter(test_set)))  # (n, 28, 28, 1), (n,)
features = kg.metrics.get_features(DATA)
test_features = features(test)  # (n, 128)
distances = {}


def distance(name, images):
    """Keeps and prints the Fréchet distance of images to the test images."""
    distances[name] = kg.metrics.frechet_distance(test_features, features(images))
    print(f"{name}: {distances[name]:.1f}")


training = next(iter(kg.load(DATA, batch_size=NUM_SAMPLES, num_images=NUM_SAMPLES))).numpy()
distance("training images, the floor", training)
gan_samples = gan.generate(NUM_SAMPLES, seed=0, verbose=0)
distance("GAN", gan_samples)

# %% [markdown]
# ## What a discriminator measures
#
# Generator $G$ and discriminator $D$ share one value function ([Goodfellow et al.,
# 2014](https://arxiv.org/abs/1406.2661), Eq. 1). $D$ ascends it, $G$ descends it:
#
# $$V(D, G) = E_{x \sim p}[\log D(x)] + E_{z}[\log(1 - D(G(z)))]$$
#
# Let $p$ be the density of the data and $q$ that of the samples. For each $x$, $p \log D + q
# \log(1 - D)$ is largest at the $D^*$ below. So the best discriminator is known, and its value
# tells how far apart $p$ and $q$ are, by their Jensen-Shannon divergence, the mean of
# $KL(p\,\|\,m)$ and $KL(q\,\|\,m)$ with $m = (p + q)/2$:
#
# $$D^*(x) = \frac{p(x)}{p(x) + q(x)}, \qquad V(D^*, G) = 2\,JS(p, q) - \log 4$$
#
# We check that in one dimension. $p$ and $q$ are Gaussians, so that the logit of $D^*$, $\log p -
# \log q$, is quadratic: three weights are enough. $D$ sees samples only, never $p$ or $q$.

# %% alt=["Two overlapping bell curves, real on the left, generated on the right. The best discriminator is near 1 over the left one and falls to 0 over the right one; the learned one, dashed, follows it."]
rng = np.random.default_rng(0)
P, Q = statistics.NormalDist(-1.0, 0.8), statistics.NormalDist(1.0, 1.2)
of_p = rng.normal(P.mean, P.stdev, 20_000).astype("float32")  # (20000,)
of_q = rng.normal(Q.mean, Q.stdev, 20_000).astype("float32")
w = tf.Variable([0.0, 0.0, 0.0])


def toy_logits(x):
    return w[0] + w[1] * x + w[2] * x**2


optimizer = keras.optimizers.Adam(0.05)
for _ in range(TOY_STEPS):
    with tf.GradientTape() as tape:  # descends -V, which is to ascend V
        loss = kg.losses.minimax_discriminator_loss(toy_logits(of_p), toy_logits(of_q))
    optimizer.apply_gradients([(tape.gradient(loss, w), w)])

x = np.linspace(-5, 6, 1101)
p, q = (np.array([each.pdf(value) for value in x]) for each in (P, Q))  # (1101,) each
best = p / (p + q)  # D*
value = np.trapezoid(p * np.log(best) + q * np.log(1 - best), x)  # V(D*, G)
middle = (p + q) / 2
js = np.trapezoid(p * np.log(p / middle) + q * np.log(q / middle), x) / 2
print(f"V(D*) by integration {value:.4f}")
print(f"2 JS - log 4         {2 * js - math.log(4):.4f}")
print(f"V of the learned D   {-loss:.4f}")

figure, axes = plt.subplots(figsize=(8, 3), dpi=100, layout="constrained")
axes.fill_between(x, p, alpha=0.25, label="p, real")
axes.fill_between(x, q, alpha=0.25, label="q, generated")
axes.plot(x, best, "k", label="D* = p / (p + q)")
axes.plot(x, tf.sigmoid(toy_logits(x.astype("float32"))), "r--", label="D, learned from samples")
axes.legend(fontsize=9, frameon=False)
plt.show()
plt.close()

# %% [markdown]
# Where $p = q$, $D^*$ is 1/2 and $V = -\log 4$. So $\log 4$ is the loss of a discriminator that
# cannot distinguish the two. The generator descends $-\log D(G(z))$ instead of $V$: see tutorial 0.
#
# ## A VAE
#
# An autoencoder compresses an image to a short vector $z$ and reconstructs the image from it. A
# *variational* one also makes those vectors follow $N(0, I)$, so that new ones can be drawn.

# %% alt=["Three rows of eight images: real clothes; their reconstructions, recognisable and smooth; new images from noise, smooth too."]
keras.utils.set_random_seed(0)
vae = kg.VAE(SHAPE, latent_dim=16, seed=0)
vae.compile()
vae_logs = vae.fit(data, epochs=VAE_EPOCHS, verbose=0).history
vae_samples = vae.generate(NUM_SAMPLES, seed=0, verbose=0)
distance("VAE", vae_samples)
rows = np.concatenate([test[:8], vae.reconstruct(test[:8]), vae_samples[:8]])  # (24, 28, 28, 1)
show(rows, "VAE: test images, their reconstructions, samples")

# %% [markdown]
# ## One bound, two tricks
#
# The decoder says how likely an image is for a given $z$: $p(x \mid z)$. The encoder gives no single
# vector but a distribution, $q(z \mid x)$. Both are trained on one number, a lower bound on $\log
# p(x)$ ([Kingma and Welling, 2014](https://arxiv.org/abs/1312.6114)):
#
# $$\log p(x) \ge E_{q(z \mid x)}[\log p(x \mid z)] - KL(q(z \mid x)\,\|\,N(0, I))$$
#
# The lines of `kg.VAE.train_step`, shortened, beside what they compute:
#
# | formula | line |
# |---|---|
# | $q(z \mid x) = N(\mu, \mathrm{diag}(\sigma^2))$ | `z_mean, z_log_var = self.encoder(images)` |
# | $z = \mu + \sigma \epsilon$, $\epsilon \sim N(0, I)$ | `z = self.sampling(z_mean, z_log_var)` |
# | $p(x \mid z)$, a probability of white per pixel | `outputs = self.decoder(z)`, as logits |
# | $-E_q[\log p(x \mid z)]$ | `-mean(bernoulli_log_likelihood(images, outputs))` |
# | $KL = \frac12 \sum_i (\mu_i^2 + \sigma_i^2 - 1 - \log \sigma_i^2)$ | `mean(gaussian_kl(z_mean, z_log_var))` |
#
# The first trick is *reparameterisation*: $\epsilon$ depends on no weight, so gradients flow
# through the draw to $\mu$ and $\sigma$. The second is the closed form of the KL term, which needs
# no draws. Both can be checked: $E[z^2] = \mu^2 + \sigma^2$ has the derivative $2\mu$ with respect
# to $\mu$ and $\sigma^2$ with respect to $\log\sigma^2$, and the closed form is the mean of $\log
# q(z) - \log p(z)$ over draws.

# %%
mu, log_var = tf.Variable([[0.5]]), tf.Variable([[-1.0]])  # (1, 1) each
with tf.GradientTape() as tape:
    ones = tf.ones((100_000, 1))
    z = kg.layers.Sampling(seed=0)(mu * ones, log_var * ones)  # (100000, 1)
    second_moment = tf.reduce_mean(z**2)
by_mu, by_log_var = (float(slope[0, 0]) for slope in tape.gradient(second_moment, (mu, log_var)))
print(f"by mu           {by_mu:.3f}, exactly {2 * 0.5:.3f}")
print(f"by log variance {by_log_var:.3f}, exactly {math.exp(-1):.3f}")
log_q = -0.5 * ((z - mu) ** 2 / tf.exp(log_var) + log_var)  # constants cancel
terms = (log_q + 0.5 * z**2).numpy()  # (100000, 1): log q - log p
print(f"KL by draws {terms.mean():.3f}, standard error {terms.std() / math.sqrt(len(terms)):.3f}; "
      f"closed form {float(kg.losses.gaussian_kl(mu, log_var)[0]):.3f}")

# %% [markdown]
# ## Your turn: the step
#
# Write one update of a VAE, with the lines of the table. `epsilon` is given, so that the check can
# compare your step with the package's: the loss, and all weights after it.

# %%
def vae_step(vae, images, epsilon):  # (B, 28, 28, 1), (B, latent_dim) -> ()
    # 1. Under a tape: vae.encoder(images), then z from z_mean, z_log_var and epsilon.
    # 2. vae.decoder(z), then the two terms of the bound, by kg.losses.
    # 3. Gradients by vae.trainable_variables; vae.optimizer.apply_gradients(zip(...)).
    return ...  # the loss, in nats per image

# %%
def step_is_right(step):
    """Compares a step with that of kg.VAE, from the same weights and with the same noise."""
    small = {"latent_dim": 4, "network_options": {"filters": 4}, "seed": 0}
    images = np.random.default_rng(0).uniform(-1, 1, (8, 28, 28, 1)).astype("float32")
    epsilon = kg.layers.Sampling(seed=0)(tf.zeros((8, 4)), tf.zeros((8, 4)))  # (8, 4), its draw
    pair = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        pair.append(kg.VAE((28, 28, 1), **small))
        pair[-1].compile(optimizer=keras.optimizers.SGD(1e-4))
    mine, package = pair
    loss = step(mine, images, epsilon)
    if loss is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    expected = package.fit(images, batch_size=8, shuffle=False, verbose=0).history["loss"][0]
    assert abs(float(loss) - expected) < 0.01, f"the loss should be {expected:.2f}, not {loss:.2f}"
    for one, other in zip(mine.trainable_variables, package.trainable_variables, strict=True):
        assert np.allclose(one, other, atol=1e-5), f"after the step {one.path} should be different"
    print(f"Right: {expected:.2f} nats, and the same weights after the step.")
    return True


step_is_right(vae_step)

# %% tags=["answer"]
def vae_step_answer(vae, images, epsilon):
    with tf.GradientTape() as tape:
        z_mean, z_log_var = vae.encoder(images, training=True)  # (B, latent_dim) each
        z = z_mean + tf.exp(0.5 * z_log_var) * epsilon  # (B, latent_dim)
        outputs = vae.decoder(z, training=True)  # (B, 28, 28, 1), logits
        likelihood = kg.losses.bernoulli_log_likelihood(images, outputs)  # (B,)
        loss = tf.reduce_mean(kg.losses.gaussian_kl(z_mean, z_log_var) - likelihood)
    weights = vae.trainable_variables
    vae.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
    return loss


assert step_is_right(vae_step_answer)

# %% [markdown]
# ## A map of the latents
#
# With `latent_dim=2` all of $z$ fits on a page. First come the latents of test images, coloured by
# class labels that the model has never seen; then the images decoded from a grid of latents, evenly
# spaced in the cumulative probability of $N(0, I)$.

# %% alt=["A cloud of points around 0 in ten colours: some classes form their own regions, others overlap.", "Seven by seven images: neighbours are alike, and one kind of clothing turns into the next across the grid."]
keras.utils.set_random_seed(0)
flat_vae = kg.VAE(SHAPE, latent_dim=2, networks="mlp", seed=0)
flat_vae.compile()
flat_vae.fit(data, epochs=VAE_EPOCHS, verbose=0)

figure, axes = plt.subplots(figsize=(7, 5), dpi=100, layout="constrained")
points = axes.scatter(*flat_vae.encode(test).T, c=test_labels, s=6, cmap="tab10", vmin=-0.5,
                      vmax=9.5)  # (n, 2), transposed
figure.colorbar(points, ax=axes, ticks=range(10), label="class")
plt.show()
plt.close()
steps = [statistics.NormalDist().inv_cdf((i + 0.5) / 7) for i in range(7)]
grid = np.array([[a, b] for b in steps[::-1] for a in steps], "float32")  # (49, 2)
show(flat_vae.decode(grid), "Images of a grid of latents", columns=7)

# %% [markdown]
# ## A VQ-VAE
#
# A VQ-VAE ([van den Oord et al., 2017](https://arxiv.org/abs/1711.00937)) makes the code *discrete*:
# a grid of numbers from 0 to $K - 1$. It is trained to reconstruct. A second model, the *prior*,
# then learns which grids occur, and draws new ones.

# %% alt=["Three rows of eight images: real clothes; reconstructions that keep outlines and lose some texture; samples by the prior, most of them recognisable."]
keras.utils.set_random_seed(0)
vq_vae = kg.VQVAE(
    SHAPE,
    num_embeddings=NUM_CODES,  # K
    embedding_dim=16,  # D
    data_variance=float(training.var()),
    network_options={"filters": FILTERS, "residual_filters": FILTERS // 2, "blocks": 1},
    seed=0,
)
vq_vae.compile(learning_rate=1e-3)  # five times the paper's, for few epochs
vq_vae.fit(data, epochs=VQ_EPOCHS, verbose=0)

height, width = vq_vae.code_shape  # 7, 7
prior = kg.PixelCNN(
    code_shape=(height, width), num_embeddings=NUM_CODES, filters=FILTERS, layers=4, seed=0
)
vq_vae.fit_prior(data, prior=prior, epochs=PRIOR_EPOCHS, batch_size=BATCH_SIZE, verbose=0)
vq_samples = vq_vae.generate(NUM_SAMPLES, seed=0, verbose=0)
distance("VQ-VAE with a prior", vq_samples)
rows = np.concatenate([test[:8], vq_vae.reconstruct(test[:8]), vq_samples[:8]])
show(rows, "VQ-VAE: test images, their reconstructions, samples")
print(f"codes of the first image:\n{vq_vae.encode(test[:1])[0]}")

# %% [markdown]
# The lines of `kg.VQVAE.train_step`, shortened, beside what they compute; $\mathrm{sg}$ stops the
# gradient, and squared norms are means over all values:
#
# | formula | line |
# |---|---|
# | $z_e(x)$, a grid of vectors | `z_e = self.encoder(images)` |
# | $k = \arg\min_j \lVert z_e - e_j\rVert$, $z_q = e_k$ | `z_q, codes, vq_loss = self.quantizer(z_e)` |
# | $\lVert \mathrm{sg}[z_e] - e\rVert^2 + \beta\lVert z_e - \mathrm{sg}[e]\rVert^2$ | the same line: `vq_loss` |
# | $z_e + \mathrm{sg}[z_q - z_e]$, what the decoder gets | the same line: `z_q` |
# | $\lVert x - \hat x\rVert^2$ / variance of the data | `mean((images - outputs) ** 2) / self.data_variance` |
#
# An argmin has no gradient. The fourth row is the *straight-through* estimator: its value is $z_q$,
# its gradient that of $z_e$, so that the decoder's gradient arrives at the encoder unchanged. The
# third row pulls codebook and vectors towards each other. (By default the codebook of `kg.VQVAE`
# follows moving averages of the vectors instead, exercise 3: its `vq_loss` is the second term.)
# Encoder, codebook and decoder learn at once.
#
# ## Your turn: the quantiser
#
# Write the second and fourth row of the table: for vectors `z_e` and a codebook, the codes $k$ and
# the straight-through $z_q$.

# %%
def quantise(z_e, codebook):  # (B, h, w, D), (K, D) -> (B, h, w, D), (B, h, w)
    return ...  # your lines: z_q, codes

# %%
def quantiser_is_right(quantise):
    """Compares codes, values and gradient with loops over all vectors."""
    draw = np.random.default_rng(0)
    codebook = draw.normal(size=(5, 2)).astype("float32")  # (K, D)
    z_e = tf.Variable(draw.normal(size=(2, 3, 3, 2)).astype("float32"))
    of_decoder = draw.normal(size=(2, 3, 3, 2)).astype("float32")  # a gradient that comes back
    with tf.GradientTape() as tape:
        outputs = quantise(z_e, codebook)
        if outputs is ...:
            return print("Nothing here yet: write the lines, or open the answer below.")
        z_q, codes = outputs
        downstream = tf.reduce_sum(of_decoder * z_q)
    for place in np.ndindex(2, 3, 3):
        squares = [np.sum((z_e.numpy()[place] - e) ** 2) for e in codebook]
        nearest = int(np.argmin(squares))
        assert int(codes[place]) == nearest, f"the code at {place} should be {nearest}"
        assert np.allclose(z_q[place], codebook[nearest], atol=1e-5), "z_q should be e_k"
    arrived = tape.gradient(downstream, z_e)
    assert arrived is not None, "the gradient should arrive at z_e: none did"
    assert np.allclose(arrived, of_decoder), "the gradient should arrive at z_e unchanged"
    print("Right: codes, vectors and gradient.")
    return True


quantiser_is_right(quantise)

# %% tags=["answer"]
def quantise_answer(z_e, codebook):
    squares = tf.reduce_sum((z_e[..., None, :] - codebook) ** 2, axis=-1)  # (B, h, w, K)
    codes = tf.argmin(squares, axis=-1)  # (B, h, w)
    z_q = tf.gather(codebook, codes)  # (B, h, w, D)
    return z_e + tf.stop_gradient(z_q - z_e), codes


assert quantiser_is_right(quantise_answer)
vectors = vq_vae.encoder(test[:32])  # (32, 7, 7, 16)
_, codes = quantise_answer(vectors, tf.convert_to_tensor(vq_vae.quantizer.embeddings))
agree = np.mean(codes == vq_vae.encode(test[:32]))
print(f"{agree:.2%} of the codes of 32 test images are those of vq_vae.encode")

# %% [markdown]
# A code that no vector chooses moves neither by gradient nor by moving averages: `kg.VQVAE`
# replaces codes that stay unused with vectors of the encoder. *Perplexity*, $\exp$ of the entropy
# of the codes, tells how evenly they are used: at most $K$.
#
# ## Codes need a prior
#
# Any grid of codes can be decoded. Here are four ways to draw one: take the codes nearest to
# Gaussian noise, draw codes uniformly, draw them by their frequency, or draw them from the prior.
# The prior is a PixelCNN ([van den Oord et al., 2016](https://arxiv.org/abs/1606.05328)), which
# predicts each code from those before it:
#
# $$p(k) = \prod_i p(k_i \mid k_1, \dots, k_{i-1})$$

# %% alt=["Four rows of eight images. Codes of noise, uniform codes and codes by frequency give grey patchwork; only the last row, drawn from the prior, shows clothes."]
codes = vq_vae.encode(test)  # (n, 7, 7)
shares = np.bincount(codes.ravel(), minlength=NUM_CODES) / codes.size  # (K,)
perplexity = kg.metrics.codebook_perplexity(codes, NUM_CODES)
print(f"{np.sum(shares > 0)} of {NUM_CODES} codes in use, perplexity {perplexity:.1f}\n")

noise = rng.normal(size=(NUM_SAMPLES, height, width, 16)).astype("float32")
noise *= np.std(vq_vae.encoder(test))  # the scale of real vectors
drawn = {
    "codes of noise": vq_vae.quantizer(noise)[1].numpy(),  # (n, 7, 7)
    "uniform codes": rng.integers(NUM_CODES, size=codes.shape),
    "codes by frequency": rng.choice(NUM_CODES, p=shares, size=codes.shape),
}
for name, each in drawn.items():
    distance(name, vq_vae.decode(each))
distance("VQ-VAE, reconstructions", vq_vae.reconstruct(test))
rows = [*(vq_vae.decode(each[:8]) for each in drawn.values()), vq_samples[:8]]
show(np.concatenate(rows), "Codes of noise, uniform, by frequency, from the prior")

# The cross-entropy on the codes of test images, for the three that are distributions of codes.
nats = prior.evaluate(codes, verbose=0, return_dict=True)["nats_per_code"]
for name, amount in (("uniform, log K", math.log(NUM_CODES)),
                     ("by frequency", math.log(perplexity)), ("prior", nats)):
    print(f"{name:16}{amount:.2f} nats per code, "
          f"{height * width * amount / math.log(2):.0f} bits per image")

# %% [markdown]
# The decoder is the same in all rows. What differs is whether neighbouring codes fit together. That
# is what the second phase of a VQ-VAE learns, with encoder, codebook and decoder frozen.
#
# ## Claims, measured
#
# An article on these three families makes claims that can be tested. The first: a GAN is trained
# until its discriminator can no longer distinguish real from generated images. The second: $D(x) =
# F(x)$, where $F$ are the convolutions and normalisations of $D$.

# %%
real_score, fake_score, d_loss = (
    gan_logs[name][-1] for name in ("real_score", "fake_score", "d_loss")
)
print(f"mean D in the last epoch: {real_score:.2f} for real images, {fake_score:.2f} for generated")
print(f"loss of D {d_loss:.3f}; log 4 = {math.log(4):.3f} if it could not distinguish them\n")

*_, flatten, last = gan.discriminator.layers
F = keras.Model(gan.discriminator.input, flatten.input)
outputs = F(test[:8])  # (8, 4, 4, 128)
kernel, bias = last.get_weights()  # (2048, 1), (1,)
logits = np.reshape(outputs, (8, -1)) @ kernel + bias  # (8, 1)
print(f"F(x): {math.prod(outputs.shape[1:]):,} numbers per image, from {np.min(outputs):.2f} to "
      f"{np.max(outputs):.2f}")
assert np.allclose(logits, gan.discriminator(test[:8]), atol=1e-3)
print("D(x) = sigmoid(w F(x) + b):", np.round(1 / (1 + np.exp(-logits[:, 0])), 2))

# %% [markdown]
# As long as the two scores differ, $D$ can still tell the images apart. That is usual, and the
# images improve all the same: training ends when you end it, judged by the images or by a distance.
# And $F(x)$ is not a probability but 2,048 unbounded features; one dense layer turns them into a
# logit.
#
# The third: a VAE is trained in **two phases**, first to reconstruct, then to make samples similar
# to real images. The first phase is this model with `beta=0`, without the KL term.

# %% alt=["Two rows of eight images from the same noise. The VAE's show clothes; those of the autoencoder without a KL term are shapeless blots."]
keras.utils.set_random_seed(0)
autoencoder = kg.VAE(SHAPE, latent_dim=16, beta=0.0, seed=0)
autoencoder.compile()
auto_logs = autoencoder.fit(data, epochs=VAE_EPOCHS, verbose=0).history
for name, model, logs in (("VAE", vae, vae_logs), ("no KL", autoencoder, auto_logs)):
    spread = np.sqrt(np.mean(model.encode(test) ** 2, axis=0))  # (16,)
    print(f"{name:6}reconstruction {logs['reconstruction_loss'][-1]:.1f} nats, "
          f"KL {logs['kl_loss'][-1]:.1f}; root mean square of a latent {spread.max():.2f} at most")
auto_samples = autoencoder.generate(NUM_SAMPLES, seed=0, verbose=0)
distance("autoencoder without KL", auto_samples)
show(np.concatenate([vae_samples[:8], auto_samples[:8]]), "z from N(0, I): the VAE, then no KL")

other = np.roll(test, 1, axis=0)  # another real image for each
print(f"squared error of a real image against another: {np.mean((test - other) ** 2):.3f}, "
      f"of the mean image: {np.mean((test - test.mean(axis=0)) ** 2):.3f}")

# %% [markdown]
# Without the KL term nothing makes the latents follow $N(0, I)$, from which samples are drawn. The
# second phase would not help: a sample corresponds to no single real image, and squared error
# prefers the mean image to a perfect sample, by a factor of about two.
#
# The fourth: VAE and VQ-VAE generate **continuous data, such as images**. How continuous are the
# pixels, and how continuous are the codes? We move latents and encoder outputs by a small share of
# their scale.

# %%
levels = len(np.unique(np.rint((test + 1) * 127.5)))
print(f"the test images have {levels} grey levels, {255 * np.ptp(test) / 2 + 1:.0f} are possible")
bits = height * width * math.log2(NUM_CODES)
print(f"the VQ-VAE can generate {NUM_CODES}^{height * width} images at most: {bits:.0f} bits\n")

z, z_e = vae.encode(test[:64]), vq_vae.encoder(test[:64]).numpy()  # (64, 16), (64, 7, 7, 16)
before = vq_vae.quantizer(z_e)[1].numpy()  # (64, 7, 7)
print("step    VAE: mean change of a pixel    VQ-VAE: codes that change    images unchanged")
for step in (0.001, 0.01, 0.1):
    moved = z + step * z.std() * rng.normal(size=z.shape).astype("float32")
    change = np.abs(vae.decode(moved) - vae.decode(z)).mean()
    moved = z_e + step * z_e.std() * rng.normal(size=z_e.shape).astype("float32")
    after = vq_vae.quantizer(moved)[1].numpy()
    same = np.abs(vq_vae.decode(after) - vq_vae.decode(before)).max(axis=(1, 2, 3)) == 0
    print(f"{step:<8}{change:>26.5f}{np.mean(after != before):>29.2%}{np.mean(same):>20.0%}")

# %% [markdown]
# Pixels are integers from 0 to 255. (The VAE's default likelihood takes each as a probability of
# white. That is customary for grey images, but it is not a likelihood of grey levels, so compare
# its nats only with each other.) What is continuous is $z$: a small step changes the image a
# little. A code stays as it is until another vector of the codebook is nearer.

# %%
for name, value in sorted(distances.items(), key=lambda item: item[1]):
    print(f"{value:8.1f}  {name}")

# %% [markdown]
# One seed and few epochs do not rank the families. The list does compare variants within a family: a
# VQ-VAE with and without a prior, a VAE with and without its KL term.
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: two distributions that do not overlap
#
# In the one-dimensional example, move $Q$ away from $P$: standard deviations of 1 for both, means 0
# and $d$. What does $JS$ approach as $d$ grows, and what does that mean for a generator that is far
# from the data?

# %% tags=["answer"]
far = np.linspace(-10, 30, 8001)
divergences = []
for d in (0, 1, 2, 4, 8, 16):
    log_p, log_q = -0.5 * far**2, -0.5 * (far - d) ** 2  # without the constant
    log_middle = np.logaddexp(log_p, log_q) - math.log(2)
    terms = np.exp(log_p) * (log_p - log_middle) + np.exp(log_q) * (log_q - log_middle)
    divergences.append(np.trapezoid(terms, far) / math.sqrt(2 * math.pi) / 2)
    print(f"d = {d:2}: JS = {divergences[-1]:.6f}")
assert abs(divergences[0]) < 1e-9 and np.all(np.diff(divergences) > 0)
assert abs(divergences[-1] - math.log(2)) < 1e-6
print(f"It approaches log 2 = {math.log(2):.6f} and becomes flat: no slope leads back. The "
      "Wasserstein distance, d, keeps its slope (tutorial 6).")

# %% [markdown]
# ### Exercise 2: which dimensions of a latent are used?
#
# The KL term is a sum over the dimensions of $z$. Compute the mean of each term over the test
# images. A term near 0 says that the dimension carries no information about the image. Show what
# the most and the least informative dimensions change (`kg.latents.traverse`).

# %% tags=["answer"] alt=["Two rows of nine images. In the first the image changes step by step; in the second hardly at all."]
z_mean, z_log_var = (part.numpy() for part in vae.encoder(test))  # (n, 16) each
parts = 0.5 * np.mean(z_mean**2 + np.exp(z_log_var) - 1 - z_log_var, axis=0)  # (16,)
total = np.mean(kg.losses.gaussian_kl(z_mean, z_log_var))
assert np.isclose(parts.sum(), total, rtol=1e-4)
assert np.all(parts >= -1e-6)  # each is a KL by itself
print("nats of each dimension, sorted:", [f"{part:.2f}" for part in np.sort(parts)[::-1]])
walks = [
    kg.latents.traverse(vae, vae.encode(test[:1])[0], int(dimension), np.linspace(-3, 3, 9))
    for dimension in (np.argmax(parts), np.argmin(parts))
]  # 2 x (9, 16)
images = kg.latents.decode(vae, np.stack(walks))  # (2, 9, 28, 28, 1)
assert images.shape == (2, 9, 28, 28, 1)
show(images, "From -3 to 3: the most used dimension, the least used", columns=9)

# %% [markdown]
# ### Exercise 3: a codebook that follows
#
# With moving averages (appendix A.1 of the paper) code $j$ keeps a count $N_j$ and a sum $m_j$ of
# the vectors that chose it, $n_j$ of them in the current batch: $N_j \leftarrow \gamma N_j + (1 -
# \gamma) n_j$, $m_j \leftarrow \gamma m_j + (1 - \gamma) \sum z_e$, $e_j = m_j / N_j$. Counts start
# at 1 and sums at $e_j$. Do one step in NumPy and compare with
# `kg.layers.VectorQuantizerEMA(decay=0.9)`.

# %% tags=["answer"]
layer = kg.layers.VectorQuantizerEMA(num_embeddings=4, embedding_dim=2, decay=0.9, seed=0)
before = layer.embeddings.numpy()  # (4, 2)
vectors = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
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
# ## What the article shows, and what runs
#
# The claims above are those of an article from which this tutorial took its subject. Its code does
# not run. You can skip this part; it is for readers who have the article open. First come the cores
# of some faults, and the errors that they raise.

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


dense = keras.layers.Dense
attempt("A layer is called on the number 100", lambda: dense(128)(100))
attempt("A layer is called on the shape of an image", lambda: dense(1)((28, 28, 1)))
attempt("A result is called like a network", lambda: keras.Input((100,))("z"))
attempt("Four numbers for an image of 784",
        lambda: keras.layers.Reshape((28, 28, 1))(keras.Input((4,))))
attempt("A function whose body is a comment",
        lambda: compile("def train():\n    # to do\n\ntrain()", "article", "exec"))

# Faults that raise nothing.
inputs = keras.Input((28, 28, 1))
print("\na dense discriminator without Flatten gives scores", dense(1)(inputs).shape)
print("log(1 - sigmoid(20)) in 32 bits:", tf.math.log(1 - tf.sigmoid(20.0)).numpy())
encoder = keras.Sequential([inputs])
for _ in range(7):  # of more than a hundred
    encoder.add(keras.layers.Conv2D(64, 4, strides=2, padding="same"))
print("sides after each layer of its encoder:", [layer.output.shape[1] for layer in encoder.layers])
a, b = test[:1], test[1:2]
outputs = encoder(np.concatenate([a, b, a + b, 0 * a])).numpy().reshape(4, -1)  # (4, 64)
bend = np.abs(outputs[0] + outputs[1] - outputs[2] - outputs[3]).max()
print(f"without activations f is affine: |f(a) + f(b) - f(a + b) - f(0)| is {bend:.0e}, "
      f"|f(a)| {np.abs(outputs[0]).max():.0e}")

# %% [markdown]
# Its GAN has dense layers, 128-128-1024-1024 against 1024-1024. With the faults fixed it is
# `networks="mlp"`, here trained like the convolutional one above.

# %% alt=["Eight images by the dense GAN: grey noise without shapes, far from the convolutional GAN's clothes."]
keras.utils.set_random_seed(0)
dense_gan = kg.GAN(SHAPE, latent_dim=100, networks="mlp", seed=0)
dense_gan.compile()
dense_gan.fit(data, epochs=GAN_EPOCHS, verbose=0)
for network in (dense_gan.generator, dense_gan.discriminator):
    widths = [layer.units for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    print(f"{network.name}: {network.input_shape} -> {network.output_shape}, widths {widths}")
dense_samples = dense_gan.generate(NUM_SAMPLES, seed=0, verbose=0)
distance("GAN of dense layers", dense_samples)
show(dense_samples[:8], f"The article's dense GAN, fixed, after {GAN_EPOCHS} epochs")

# %% [markdown]
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | a generator that ends in 4 units | an image has 784 values | 784 units, `Reshape`, tanh |
# | networks called on a number and on a shape | layers take tensors | `keras.Input`, a `keras.Model` |
# | functions that make their layers when called | each call is a new network | networks that are made once |
# | a sigmoid, and its logarithm in the loss | $1 - D$ is 0 in 32 bits | logits and softplus: `kg.losses` |
# | empty functions for training and testing | no loss, no data, no optimizer | `compile`, `fit`, `generate` |
# | `reuse=` arguments | left over from TensorFlow 1 | a model holds its weights |
# | batch normalisation in the text, none in the code | two different networks | `networks="dcgan"` has it |
# | a generator that shrinks by transposed convolutions | they enlarge | convolutions in D, transposed ones in G |
# | $G(z) = D(F(z))$ | a network that ends in D gives one number | $G(z)$ is an image, $D(G(z))$ its score |
# | $D(x) = F(x)$ | features are no probability | a dense layer, then a sigmoid |
# | a VAE in two phases, $z = E(x)$ | no distribution, nothing to draw | one bound: `kg.VAE` |
# | an encoder of equal layers of stride 2 | 1x1 after five of them, and affine | two halvings, activations: `kg.VQVAE` |
# | a codebook trained beforehand that quantises noise | codes of noise decode to no image | a codebook learned on $z_e(x)$ |
# | a VQ-VAE that generates right away | independent codes do not fit together | `fit_prior`, then `generate` |
#
# ## Where to go next
#
# - [2. Three readings of "CGAN"](02_three_cgans.ipynb): conditional, recurrent, and between two sets.
# - [3. Classifier, DCGAN, VAE](03_classifier_dcgan_vae.ipynb): convolutions and their shapes.
# - [4. VQ-VAE](04_vq_vae.ipynb): codebooks in colour.
# - Longer runs: [results.md](../docs/results.md), [codes.md](../docs/codes.md).
