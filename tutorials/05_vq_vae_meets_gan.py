# %% [markdown]
# # 4. VQ-VAE meets GAN in colour
#
# You learn to compute the sizes of convolutions before you run them, to train a VQ-VAE on colour
# images and to inspect its codes, to upscale images with a super-resolution GAN, and what changes
# when a VQ-VAE gets a discriminator: the VQGAN. The example is a chain of five published networks
# that do not fit together. You need what [tutorial 1](01_gan_to_vq_vae.ipynb) says about GANs and
# codebooks, and the CIFAR-10 data set.
#
# Measured: 4.0 minutes on two CPU cores, on a shared machine.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/05_vq_vae_meets_gan.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/05_vq_vae_meets_gan.ipynb)

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 64, "NUM_TEST": 32, "BATCH": 16, "EVERY": 1, "STEPS": 2, "MORE": 1, "START": 0, "FEW": 1, "FILTERS": 8, "ARTICLE_WIDTH": 4, "CODES": 32, "SHOWN": 4}
DATA = "cifar10"
NUM_IMAGES = 6400  # of the training images
NUM_TEST = 512
BATCH = 64
EVERY = 25  # steps between two points of a curve
STEPS = 300
MORE = 200  # further steps of a trained model
START = 50  # of those, steps before the discriminator of the VQGAN starts
FEW = 10  # steps of the large networks
FILTERS = 64
ARTICLE_WIDTH = 64  # filters of the first of four layers
CODES = 256  # K, vectors in the codebook
SHOWN = 6

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
import io
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_genimg as kg

tf.get_logger().setLevel("ERROR")


def batches(seed, batch_size=BATCH):
    """Endless batches of training images, in the order of a seed."""
    return kg.load(
        DATA, batch_size=batch_size, image_size=32, channels=3, num_images=NUM_IMAGES,
        shuffle_seed=seed, epochs=None, drop_remainder=True,
    )


def in_memory(split, count):
    """Images and labels as two arrays."""
    images = kg.load(
        DATA, split, batch_size=count, image_size=32, channels=3, num_images=count,
        with_labels=True,
    )
    return [part.numpy() for part in next(iter(images))]


def train(model, steps, seed, batch_size=BATCH):
    """Trains for `steps` steps; returns the logs, one value per `EVERY` steps."""
    data = batches(seed, batch_size)
    return model.fit(data, epochs=steps // EVERY, steps_per_epoch=EVERY, verbose=0).history


images, labels = in_memory("train", NUM_IMAGES)  # (n, 32, 32, 3) in [-1, 1], (n,)
test_images, test_labels = in_memory("test", NUM_TEST)
variance = float(images.var())
kg.plotting.show_images(test_images[: 2 * SHOWN], f"{DATA}, test images", columns=2 * SHOWN)
plt.show()
print(f"{len(images)} training and {len(test_images)} test images, {images.shape[1:]}, "
      f"variance {variance:.3f}")

# %% [markdown]
# ## Output sizes
#
# From $n$ pixels per side, a convolution with a kernel of $k$, a stride of $s$ and $p$ pixels of
# padding on either side gives
#
# $$\left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1,$$
#
# the number of positions of the kernel. A transposed convolution goes the other way,
#
# $$(n - 1)\,s - 2p + k + r,$$
#
# where $r$ (the output padding) compensates for the floor. Two lines of Python.


# %%
def convolved(n, k, s, p):
    return (n + 2 * p - k) // s + 1


def transposed(n, k, s, p, r=0):
    return (n - 1) * s - 2 * p + k + r


def sides(n, layers, size=convolved):
    """The side of the image before, between and after layers `(k, s, p)`."""
    chain = [n]
    for layer in layers:
        chain.append(size(chain[-1], *layer))
    return chain


# %% [markdown]
# The article that this tutorial follows shows five networks in PyTorch: an encoder, a decoder and
# an "upscaling" generator, which together should form a VQ-VAE, and a generator and a
# discriminator, which should form a GAN. It never runs them. The two functions need only their
# kernels, strides and paddings.

# %%
halving, same, doubling = (3, 2, 1), (3, 1, 1), (4, 2, 1)  # (k, s, p)
stride_1 = (4, 1, 1)
chains = {
    "encoder": sides(32, [same] + 3 * [halving]),
    "decoder": sides(4, 3 * [halving] + [same], transposed),
    "upscaling": sides(25, [same] + 3 * [halving] + [same]),
    "GAN's generator": sides(1, [stride_1] + 3 * [doubling] + [stride_1], transposed),
    "its discriminator": sides(17, 4 * [doubling] + [stride_1]),
    "the same, at 32": sides(32, 4 * [doubling] + [stride_1]),
    "the same, at 64": sides(64, 4 * [doubling] + [stride_1]),
}
for name, chain in chains.items():
    print(f"{name:18} {' -> '.join(map(str, chain))}")

# %%
figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
path = chains["encoder"] + chains["decoder"][1:] + chains["upscaling"][1:]
axes.plot(path, "o-", color="#dc2626", label="as shown: encoder, decoder, upscaling")
fixed = sides(32, [same] + 3 * [doubling])
fixed += sides(fixed[-1], 3 * [doubling] + [same], transposed)[1:]
fixed += [2 * fixed[-1]]
axes.plot(fixed, "s--", color="#2563eb", label="kernels of 4 both ways, then x2")
axes.set(xlabel="layers", ylabel="pixels per side")
axes.legend(frameon=False, fontsize=8)
plt.show()
print(f"As shown, an image of {path[0]} pixels per side ends as one of {path[-1]}; "
      f"fixed, as one of {fixed[-1]}.")

# %% [markdown]
# Read the chains from the top.
#
# - The encoder is correct: three halvings.
# - The decoder does not invert it. A convolution of stride 2 maps two sizes to the same one (31 and
#   32 both become 16), and a transposed one with a kernel of 3 and $r = 0$ goes back to the odd
#   one: $2n - 1$. Three times over, the loss is seven pixels.
# - The network that should enlarge the image has three convolutions of stride 2. Each halves. It
#   also expects 100 channels, and the decoder outputs 3.
# - The GAN starts with a kernel of 4 on one pixel, with a padding of 1. That padding cuts the 4x4
#   grid down to 2x2, and the last layer adds an odd pixel.
# - Its discriminator comes down to one pixel after four layers, and the fifth would lay a kernel of
#   4 on 3 pixels: no position is left. Images of 32x32 would pass, the generator's do not, and
#   64x64 would give more than one logit.
#
# The next cell runs these layers, with few channels, and prints what happens.


# %%
def as_pytorch(k, s, p):
    """A transposed convolution that cuts p pixels off each side, as PyTorch's padding does."""
    return [keras.layers.Conv2DTranspose(3, k, s), keras.layers.Cropping2D(p)]


def stack(input_shape, layers):
    layers = [layer for made in layers for layer in made]
    return keras.Sequential([keras.Input(input_shape), *layers])


def fails(what, function):
    """Runs code that must fail, and prints the first line of the error."""
    try:
        function()
    except ValueError as error:
        print(f"{what}:\n    {str(error).strip().splitlines()[0]}")
    else:
        raise AssertionError(f"{what} was expected to fail")


def padded(filters, k, s, p):
    return [keras.layers.ZeroPadding2D(p), keras.layers.Conv2D(filters, k, s)]


decoder = stack((4, 4, 8), [as_pytorch(*halving) for _ in range(3)] + [as_pytorch(*same)])
encoder = stack((32, 32, 3), [padded(8, *same)] + [padded(8, *halving) for _ in range(3)])
generator = stack(
    (1, 1, 100), [as_pytorch(*layer) for layer in [stride_1] + 3 * [doubling] + [stride_1]]
)
upscaling = keras.layers.Conv2D(8, 3)
upscaling.build((None, 25, 25, 100))
print(f"encoder {encoder.output_shape}, decoder {decoder.output_shape}, "
      f"generator {generator.output_shape}")
fails("a loss between the decoder's image and the true one",
     lambda: np.square(decoder(np.zeros((1, 4, 4, 8))).numpy() - test_images[:1]))
fails("encoder and decoder in kg.VQVAE",
     lambda: kg.VQVAE((32, 32, 3), 16, 8, encoder=encoder, decoder=decoder))
fails("the upscaling network on the decoder's image",
     lambda: upscaling(np.zeros((1, 25, 25, 3))))
fails("the discriminator on the generator's image",
     lambda: stack((17, 17, 3), [padded(8, *layer) for layer in 4 * [doubling] + [stride_1]]))

# %% [markdown]
# A decoder that mirrors its encoder needs one change: a kernel of 4, with which a stride of 2 and a
# padding of 1 give $2(n - 1) - 2 + 4 = 2n$ exactly. Keras's `padding="same"` does the same
# bookkeeping for you.
#
# No padding fixes the other problem: nothing between the two networks is quantised. Without
# quantisation there is no bottleneck: the encoder outputs more numbers than the image has. So here
# are the article's widths in a real VQ-VAE, `kg.VQVAE` with custom networks and a 1x1 convolution
# to vectors of length $D$. Its layers are wide, so a few steps must be enough: they show that it
# runs, not what it would learn.


# %%
def article_networks(width, dim):
    conv, back = keras.layers.Conv2D, keras.layers.Conv2DTranspose
    options = {"padding": "same", "activation": "relu"}
    encoder = keras.Sequential([
        keras.Input((32, 32, 3)),
        conv(width, 3, **options),  # (B, 32, 32, 64)
        conv(2 * width, 4, 2, **options),  # (B, 16, 16, 128)
        conv(4 * width, 4, 2, **options),  # (B, 8, 8, 256)
        conv(8 * width, 4, 2, **options),  # (B, 4, 4, 512)
        conv(dim, 1),  # (B, 4, 4, D)
    ])
    decoder = keras.Sequential([
        keras.Input((4, 4, dim)),
        back(4 * width, 4, 2, **options),  # (B, 8, 8, 256)
        back(2 * width, 4, 2, **options),  # (B, 16, 16, 128)
        back(width, 4, 2, **options),  # (B, 32, 32, 64)
        conv(3, 3, padding="same"),  # (B, 32, 32, 3)
    ])
    return {"encoder": encoder, "decoder": decoder}


keras.utils.set_random_seed(0)
wide = kg.VQVAE((32, 32, 3), CODES, 32, data_variance=variance, seed=0,
                **article_networks(ARTICLE_WIDTH, 32))
wide.compile(learning_rate=1e-3, run_eagerly=True)  # tracing a graph is not worth it here
logs = wide.fit(batches(0).take(FEW), verbose=0).history
encoded = 4 * 4 * 8 * ARTICLE_WIDTH
print(f"values in an image {32 * 32 * 3}, in the output of the article's encoder {encoded}, "
      f"in codes {4 * 4}")
print(f"{wide.count_params():,} weights; after {FEW} steps "
      f"{wide.reconstruct(test_images[:16]).shape}, "
      f"mean loss of these steps {logs['reconstruction_loss'][0]:.2f} of the variance")

# %% [markdown]
# ## Two wrong objectives
#
# In the article the generator maximises $\mathbb{E}_z[\log p_{data}(G(z))]$. The density of images
# is unknown; even if it were known, this would not be the objective of a GAN. Every sample would
# climb to a mode of the density, and nothing would keep the samples diverse. In one dimension,
# where the density is known, 200 samples and two modes of standard deviation 1:


# %%
def slope(x):
    """d log p / dx of p = (N(-3, 1) + N(3, 1)) / 2."""
    right = 1 / (1 + np.exp(-6 * x))  # the share of the mode at 3
    return right * (3 - x) + (1 - right) * (-3 - x)


samples = np.random.default_rng(0).normal(0, 3, 200)
start = samples.copy()
for _ in range(300):
    samples = samples + 0.05 * slope(samples)  # climb E[log p(G(z))]
line = np.linspace(-8, 8, 200)
density = (np.exp(-((line + 3) ** 2) / 2) + np.exp(-((line - 3) ** 2) / 2)) / np.sqrt(8 * np.pi)
figure, axes = plt.subplots(1, 2, figsize=(7, 2.4), sharey=True, layout="constrained")
for ax, points, title in zip(axes, (start, samples), ("before", "after 300 steps")):
    ax.hist(points, 40, range=(-8, 8), density=True, color="#93c5fd")
    ax.plot(line, density, color="#dc2626")
    ax.set_title(title, fontsize=9)
    ax.set_ylim(0, 0.5)  # the columns on the right are higher
plt.show()
left, right = samples[samples < 0], samples[samples > 0]
print(f"deviation within each mode: {left.std():.1e} and {right.std():.1e}; the data's is 1")

# %% [markdown]
# The second formula has the discriminator minimise $\mathbb{E}[\log D(x)] + \mathbb{E}[\log(1 -
# D(G(z)))]$. That is what it maximises. An example shows the sign: minimising would prefer a
# discriminator that takes generated images for real.

# %%
for name, real, fake in (("is right", 0.9, 0.1), ("is wrong", 0.1, 0.9)):
    print(f"a D that {name}: {math.log(real) + math.log(1 - fake):6.2f}")

# %% [markdown]
# ## A VQ-VAE in colour
#
# From here on we use the package's networks: two halvings, residual blocks, 8x8 codes for 32x32
# pixels. They are narrow, so that hundreds of steps take seconds. First the step.

# %%
print(inspect.getsource(kg.VQVAE.train_step))

# %% [markdown]
# - `self.encoder` maps an image to 8x8 vectors $z_e(x)$. The next part is missing in the article:
#   `self.quantizer` replaces each by the nearest of $K$ learned ones, $k = \arg\min_j \lVert z_e -
#   e_j\rVert$, $z_q = e_k$. Its output `quantized` has the value of $z_q$ and the gradient of
#   $z_e$, because an argmin has no gradient.
# - `vq_loss` holds the codebook and the encoder together. Learned by gradient, it is
#   $\lVert \mathrm{sg}[z_e] - e\rVert^2 + \beta\lVert z_e - \mathrm{sg}[e]\rVert^2$; with moving
#   averages (the default) there is no first term, and each $e_j$ is a moving average of the vectors
#   that chose it.
# - `reconstruction_loss` is the squared error over the variance of the data, so that 1 is the
#   error of the constant mean colour.
# - One gradient for encoder, decoder and, without averages, the codebook.
# - `log_terms` also logs `perplexity`, $\exp(-\sum_j \hat p_j \log \hat p_j)$ of the codes of the
#   batch: the effective number of codes.
#
# ### Moving averages or gradient
#
# The same initial weights, the same images in the same order, once each; one seed.


# %%
def vq_vae(**options):
    keras.utils.set_random_seed(0)
    model = kg.VQVAE(
        (32, 32, 3), CODES, 32, data_variance=variance, seed=0,
        network_options={"filters": FILTERS}, **options,
    )
    model.compile(learning_rate=1e-3)
    return model


by_averages, by_gradient = vq_vae(), vq_vae(ema_decay=None)
logs = {
    "moving averages": train(by_averages, STEPS, seed=0),
    "gradient": train(by_gradient, STEPS, seed=0),
}

# %%
dead_after = math.ceil(math.log(0.1) / math.log(0.99))
figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
for name, log in logs.items():
    steps = EVERY * np.arange(1, len(log["loss"]) + 1)
    axes[0].plot(steps, log["perplexity"], "o-", markersize=3, label=name)
    axes[1].plot(steps, log["reconstruction_loss"], "o-", markersize=3, label=name)
axes[0].axvline(dead_after, color="grey", linestyle=":", label="unused codes are replaced")
for ax, title in zip(axes, (f"perplexity, of {CODES}", "reconstruction loss")):
    ax.set_title(title, fontsize=9)
    ax.set_xlabel("steps")
axes[0].legend(fontsize=7, frameon=False)
plt.show()
for name, log in logs.items():
    print(f"{name:16} perplexity {log['perplexity'][-1]:6.1f}, "
          f"reconstruction loss {log['reconstruction_loss'][-1]:.3f}")

# %% [markdown]
# Both codebooks start with codes near zero, and few of them are ever the nearest. What happens next
# is arithmetic. A code's moving count starts at 1 and decays by one percent per batch; below
# `dead_code_threshold=0.1` the code is replaced by a vector of the current batch. An unused code
# gets there after $\lceil \log 0.1 / \log 0.99 \rceil = 230$ batches, the dotted line: perplexity
# jumps there, with averages and with gradients. In this run the replacement decides how many codes
# are in use. The two ways to learn the used codes differ little: gradients are ahead in perplexity,
# and the losses are nearly equal. [tutorial 1](01_gan_to_vq_vae.ipynb) has codebooks without
# replacement.
#
# Training continues with the moving averages. The weights at this point are kept, because the VQGAN
# below starts from them too.

# %%
PARTS = ("encoder", "quantizer", "decoder")
kept = {part: getattr(by_averages, part).get_weights() for part in PARTS}
vq = by_averages
logs_on = train(vq, MORE, seed=1)
codes = vq.encode(test_images)  # (n, 32, 32, 3) -> (n, 8, 8)
reconstructed = vq.decode(codes)  # (n, 8, 8) -> (n, 32, 32, 3)
in_use = kg.metrics.codebook_perplexity(codes, CODES)
print(f"after {STEPS + MORE} steps: codes {codes.shape}, perplexity {in_use:.1f} "
      f"over the {len(codes)} test images")

# %% [markdown]
# ### Codes as images
#
# A grid of codes has no colours. Take the first three principal components of each code's vector as
# red, green and blue, and a grid becomes an 8x8 image: codes that are close in the codebook have
# similar colours.

# %%
codebook = keras.ops.convert_to_numpy(vq.quantizer.embeddings)  # (K, D)
centred = codebook - codebook.mean(axis=0)
components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T  # (K, D) -> (K, 3)
colours = np.clip(components / (2 * components.std(axis=0)), -1, 1).astype("float32")
as_colours = colours[codes[:SHOWN]].repeat(4, axis=1).repeat(4, axis=2)  # (n, 8, 8, 3) -> 32x32
rows = np.stack([test_images[:SHOWN], as_colours, reconstructed[:SHOWN]])
kg.plotting.show_images(rows, "images, their codes, and reconstructions from the codes")
plt.show()

# %% [markdown]
# What does one code represent? A grid filled with a single code shows it: the decoder outputs a
# texture. Here are the textures of the codes that the test images use most, from left to right and
# top to bottom.

# %%
counts = np.bincount(codes.ravel(), minlength=CODES)
by_use = np.argsort(-counts, kind="stable")
textures = vq.decode(np.broadcast_to(np.arange(CODES)[:, None, None], (CODES, 8, 8)))
middles = textures[by_use, 8:24, 8:24]  # (K, 32, 32, 3) -> (K, 16, 16, 3), away from the border
kg.plotting.show_images(middles[:64], "single codes, by use", columns=16)
plt.show()

# %%
figure, axes = plt.subplots(figsize=(7, 2.2), layout="constrained")
axes.bar(np.arange(CODES), counts[by_use] / counts.sum(), width=1.0, color="#2563eb")
axes.set(xlabel="codes by use", ylabel="share")
plt.show()
half = int(np.searchsorted(np.cumsum(counts[by_use]) / counts.sum(), 0.5)) + 1
print(f"{(counts > 0).sum()} of {CODES} codes occur; the {half} most used are half of all")

# %% [markdown]
# ### How many codes does an image need?
#
# Keep the $m$ codes that are used most, map every other code to the nearest of those, and decode.
# Nothing is trained again, so this is the cost for *this* decoder; one that was trained with $m$
# codes would do better.


# %%
def psnr(real, made):
    return float(kg.metrics.peak_signal_to_noise_ratio(real, made).mean())


def ssim(real, made):
    return float(kg.metrics.structural_similarity(real, made).mean())


distances = np.square(codebook[:, None] - codebook[None]).sum(axis=-1)  # (K, K)
budgets = [m for m in (2, 4, 8, 16, 32, 64, 128, 256) if m <= CODES]
fewer, ratios = [], []
for m in budgets:
    nearest_kept = by_use[:m][distances[:, by_use[:m]].argmin(axis=1)]  # (K,) -> (K,)
    fewer.append(vq.decode(nearest_kept[codes]))
    ratios.append(psnr(test_images, fewer[-1]))
    print(f"{m:4} codes, {64 * math.log2(m):5.0f} bits per image: {ratios[-1]:.2f} dB")
figure, axes = plt.subplots(figsize=(6, 2.4), layout="constrained")
axes.plot(budgets, ratios, "o-", color="#2563eb")
axes.set_xscale("log", base=2)
axes.set(xlabel="codes left", ylabel="PSNR, dB")
plt.show()
budget_rows = np.stack([image for made in fewer[::3] for image in made[:SHOWN]])
kg.plotting.show_images(budget_rows, f"{', '.join(map(str, budgets[::3]))} codes", columns=SHOWN)
plt.show()

# %% [markdown]
# ### Bits, compared with PNG
#
# `pack_codes` writes codes as bytes, $\lceil \log_2 K \rceil$ bits each, and `unpack_codes` reads
# them back: a codec. An arithmetic coder could reach the entropy of the codes, $\log_2$ of their
# perplexity.


# %%
def stored(image, **options):
    """Bits of an image as a file, and the image read back from the file."""
    file = io.BytesIO()
    Image.fromarray(kg.plotting.to_uint8(image)).save(file, **options)
    back = np.asarray(Image.open(file).convert("RGB"), "float32") / 127.5 - 1
    return 8 * file.tell(), back


stream = kg.data.pack_codes(codes, CODES)
assert np.array_equal(kg.data.unpack_codes(stream, codes.shape, CODES), codes)
print(f"{'stored as':22}  bits per image   PSNR, dB   SSIM")
for name, options in {
    "PNG": {"format": "PNG", "optimize": True},
    "JPEG, quality 10": {"format": "JPEG", "quality": 10},
    "WebP, quality 0": {"format": "WEBP", "quality": 0, "method": 6},
}.items():
    bits, back = zip(*(stored(image, **options) for image in test_images))
    back = np.stack(back)
    print(f"{name:22} {np.mean(bits):15.0f} {psnr(test_images, back):10.2f} "
          f"{ssim(test_images, back):6.3f}")
for name, bits in (
    ("codes, packed", 8 * len(stream) / len(codes)),
    ("entropy of the codes", 64 * math.log2(in_use)),
):
    print(f"{name:22} {bits:15.0f} {psnr(test_images, reconstructed):10.2f} "
          f"{ssim(test_images, reconstructed):6.3f}")

# %% [markdown]
# PNG is lossless (an infinite PSNR), the codes are not. A file also has a header: most of the bits
# of so small a JPEG, and 240 bits of each WebP. The codec was trained on thousands of images of
# this kind, and both sides need its networks. [docs/codes.md](../docs/codes.md) has the table for
# 60,000 images and a prior over the codes.
#
# And generation? The article says that a VQ-VAE generates like a GAN. It cannot without a model of
# the grids of codes that belong to images:

# %%
fails("vq.generate(4)", lambda: vq.generate(4))
random_codes = np.random.default_rng(0).integers(0, CODES, (SHOWN, 8, 8))
kg.plotting.show_images(vq.decode(random_codes), "codes at random", columns=SHOWN)
plt.show()

# %% [markdown]
# `fit_prior` learns a distribution over the grids; [tutorial 1](01_gan_to_vq_vae.ipynb) does it.
#
# ## The third network: from small to large
#
# The article's chain ends in a network that upscales the decoder's small image.
# `kg.SuperResolutionGAN` does that correctly: residual blocks at the small size, then
# channels become pixels (`DepthToSpace`, (h, w, 4c) to (2h, 2w, c)), and the result is added to a
# bicubic enlargement. Its last layer starts at zero, so the untrained network *is* bicubic
# interpolation. Its generator descends
#
# $$\lVert x - G(x_{small})\rVert^2 - \lambda \log D(G(x_{small})),$$
#
# and with `adversarial_weight=0` only the first term. As in the paper, the network is first trained
# with the content loss, and adversarial training starts from its weights; both get the same number
# of steps in total.

# %%
content = kg.SuperResolutionGAN(scale=2, adversarial_weight=0.0, seed=0)
content.compile(learning_rate=1e-3)
small = content.downsample(test_images)  # (n, 32, 32, 3) -> (n, 16, 16, 3)
bicubic = content.translate(small)  # (n, 16, 16, 3) -> (n, 32, 32, 3): untrained
train(content, STEPS, seed=0, batch_size=BATCH // 2)
adversarial = kg.SuperResolutionGAN(scale=2, adversarial_weight=1e-3, seed=0)
adversarial.compile(learning_rate=(1e-3, 5e-4))
adversarial.generator.set_weights(content.generator.get_weights())
train(content, MORE, seed=1, batch_size=BATCH // 2)
adversarial_logs = train(adversarial, MORE, seed=1, batch_size=BATCH // 2)

# %% [markdown]
# Four metrics evaluate the upscaled images. PSNR and SSIM compare each image with its original;
# `frechet_distance[cifar10]` compares the set of images with the set of originals in the
# features of a classifier (lower is better); "sharpness" is the mean difference between
# neighbouring pixels, relative to that of the originals.

# %%
to_originals = kg.metrics.FrechetDistance("cifar10")
to_originals.update_state(real_images=test_images)


def steps_between_pixels(images):
    return sum(np.abs(np.diff(images, axis=axis)).mean() for axis in (1, 2))


def evaluated(made):
    to_originals.reset_fake_state()
    to_originals.update_state(fake_images=made)
    return {
        "PSNR": psnr(test_images, made),
        "SSIM": ssim(test_images, made),
        "distance": to_originals.result()[to_originals.name],
        "sharpness": steps_between_pixels(made) / steps_between_pixels(test_images),
    }


def table(outputs):
    found = {name: evaluated(made) for name, made in outputs.items()}
    print(f"{'':24}  PSNR   SSIM  distance  sharpness")
    for name, row in found.items():
        print(f"{name:24} {row['PSNR']:5.2f}  {row['SSIM']:.3f} {row['distance']:9.1f} "
              f"{row['sharpness']:10.2f}")
    return found


upscaled = {
    "nearest": small.repeat(2, axis=1).repeat(2, axis=2),
    "bicubic": bicubic,
    "content loss only": content.translate(small),
    "SuperResolutionGAN": adversarial.translate(small),
}
scores = table(upscaled)

# %%
shown = list(upscaled)[1:]
rows = np.stack([*(upscaled[name][:SHOWN] for name in shown), test_images[:SHOWN]])
kg.plotting.show_images(rows, ", ".join(shown) + ", true")
plt.show()
a, b = scores["content loss only"], scores["SuperResolutionGAN"]
print(f"Compared with the content loss, the GAN's PSNR is {b['PSNR'] - a['PSNR']:+.2f} dB, its "
      f"distance {b['distance'] / a['distance'] - 1:+.0%}, its sharpness "
      f"{b['sharpness'] - a['sharpness']:+.2f}.")
print(f"Last scores of D: {adversarial_logs['real_score'][-1]:.2f} for true images, "
      f"{adversarial_logs['fake_score'][-1]:.2f} for upscaled ones.")

# %% [markdown]
# These two goals conflict. Of all large images that are consistent with a small one, the mean has
# the lowest squared error on average, and the mean is blurred. A discriminator rejects blur, and
# that costs decibels. In the longer run of [docs/translation.md](../docs/translation.md) (3,000
# steps, all 10,000 test images) the content loss alone reaches 28.74 dB at a distance of 42.4, the
# GAN 27.35 dB at 13.5, bicubic interpolation 26.09 dB at 135.1. The values above are for a few
# hundred steps and fewer images, and the distance is biased upwards with few images: compare it
# only within this page.
#
# Now the article's whole chain: images to codes, codes to a small image, the small image to
# a large one. A VQ-VAE of 16x16 images has 4x4 codes. Is that better than encoding the large
# image directly?

# %%
keras.utils.set_random_seed(0)
small_vq = kg.VQVAE((16, 16, 3), CODES, 32, data_variance=variance, seed=0,
                    network_options={"filters": FILTERS})
small_vq.compile(learning_rate=1e-3)
small_vq.fit(content.downsample(images), batch_size=BATCH, epochs=-(-(STEPS + MORE) // 100),
             verbose=0)
small_codes = small_vq.encode(small)  # (n, 16, 16, 3) -> (n, 4, 4)
small_reconstructed = small_vq.decode(small_codes)  # (n, 4, 4) -> (n, 16, 16, 3)
chained = {
    "4x4 codes, bicubic": np.asarray(kg.layers.BicubicResize(32, 32)(small_reconstructed)),
    "4x4 codes, then x2": adversarial.translate(small_reconstructed),  # -> (n, 32, 32, 3)
    "8x8 codes": reconstructed,
}
table(chained)
print(f"bits per image: {16 * math.log2(CODES):.0f} for the first two, "
      f"{64 * math.log2(CODES):.0f} for the third")

# %% [markdown]
# The chain works, at a quarter of the bits, but is worse in every metric. The network at its end
# was trained on sharp small images. It sharpens the decoder's images a little, and the set comes
# closer to the originals; the PSNR does not rise. It cannot restore what sixteen codes have lost.
# The same test at full length in [docs/translation.md](../docs/translation.md) agrees.
#
# ## Five layers against five
#
# The article's GAN, with sizes that fit: `networks="dcgan5"`, the DCGAN of Radford et al. for
# 32x32 and 64x64 pixels. The first layer applies a kernel of 4 to one pixel *without* padding,
# and the last layer of the discriminator does the reverse.

# %%
keras.utils.set_random_seed(0)
dcgan = kg.GAN((32, 32, 3), latent_dim=100, networks="dcgan5", seed=0)
for network in (dcgan.generator, dcgan.discriminator):
    print(f"{network.name}, {network.count_params():,} weights")
    for layer in network.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose)):
            print(f"    {type(layer).__name__:16} {str(layer.input.shape[1:]):14} -> "
                  f"{layer.output.shape[1:]}, stride {layer.strides[0]}, {layer.padding}")

# %% [markdown]
# A 32x32 image is one halving short of five layers, so one stride is 1, on the smallest grid,
# where it costs least. Between the layers there is batch normalisation, which the article's
# listing leaves out. A few steps show that it runs, and what it costs:

# %%
dcgan.compile(run_eagerly=True)  # tracing a graph is not worth it here
began = time.perf_counter()
steps = max(1, FEW // 2)
logs = dcgan.fit(batches(0).take(steps), verbose=0).history
per_step = (time.perf_counter() - began) / steps
began = time.perf_counter()
made = dcgan.generator(dcgan.draw_latents(64, seed=0), training=False).numpy()  # (64, 32, 32, 3)
per_image = (time.perf_counter() - began) / 64
print(f"d_loss {logs['d_loss'][0]:.2f}, g_loss {logs['g_loss'][0]:.2f}; made {made.shape}")
print(f"a step of training: {per_step:.1f} s; an image afterwards: {1000 * per_image:.1f} ms")

# %% [markdown]
# After so few steps there is nothing to see, so no samples are shown. Three epochs, about half an
# hour of one core, are in [docs/adversarial.md](../docs/adversarial.md), with samples: they show
# scenes and colours but no objects. Published results take a hundred times the steps.
#
# The article calls generation speed a weakness of GANs. It is a strength: one pass through one
# network, milliseconds per image above. Only training is slow. The prior of a VQ-VAE generates
# codes one after the other, here 64 passes for one image.
#
# ## Where the two really meet: VQGAN
#
# A VQ-VAE is not a special kind of GAN: it has no discriminator, no noise, no adversarial
# objective. Esser et al. (2021) combined the two: the autoencoder of codes is the generator, and a
# discriminator judges its reconstructions.

# %%
print(inspect.getsource(kg.VQGAN.train_step))

# %% [markdown]
# - `active` is 0 until `adversarial_start_step`: a discriminator would win at once against an
#   untrained decoder.
# - Part 1 is the VQ-VAE's step with an absolute instead of a squared error, and with the
#   adversarial loss of the reconstruction.
# - Part 2 balances the two. On the decoder's last layer $L$, $\lambda = \lVert\nabla_L
#   \mathcal{L}_{rec}\rVert \,/\, (\lVert\nabla_L \mathcal{L}_{GAN}\rVert + \delta)$: whatever the
#   scale of the logits, both gradients have equal norms. Then `adversarial_weight` (0.8) sets their
#   ratio.
# - Part 3 descends the sum with encoder, codebook and decoder. Part 4 updates the discriminator, on
#   the same reconstructions.
#
# The discriminator is a PatchGAN: convolutions without a dense layer at the end, one logit
# per position. The cell starts the VQGAN from the saved weights of the VQ-VAE, and gives it as many
# steps as the VQ-VAE has had since then.

# %%
keras.utils.set_random_seed(0)
vq_gan = kg.VQGAN(
    (32, 32, 3), CODES, 32, network_options={"filters": FILTERS},
    adversarial_start_step=START, seed=0,
)
for part in PARTS:
    getattr(vq_gan, part).set_weights(kept[part])
vq_gan.compile(learning_rate=1e-3)
logs = train(vq_gan, MORE, seed=1)
both = {"VQVAE": reconstructed, "VQGAN": vq_gan.reconstruct(test_images)}
scores = table(both)

# %%
figure, axes = plt.subplots(1, 3, figsize=(9, 2.5), layout="constrained")
steps = EVERY * np.arange(1, len(logs["loss"]) + 1)
axes[0].plot(steps, logs["adaptive_weight"], "o-", markersize=3)
axes[1].plot(steps, logs["d_loss"], "o-", markersize=3, label="d_loss")
axes[1].plot(steps, logs["g_loss"], "o-", markersize=3, label="g_loss")
axes[1].legend(fontsize=7, frameon=False)
axes[2].plot(steps, logs["reconstruction_loss"], "o-", markersize=3)
for ax, title in zip(axes, ("adaptive weight", "hinge losses", "absolute error")):
    ax.axvline(START, color="grey", linestyle=":")
    ax.set_title(title, fontsize=9)
    ax.set_xlabel("steps")
plt.show()

# %%
rows = np.stack([test_images[:SHOWN], *(made[:SHOWN] for made in both.values())])
kg.plotting.show_images(rows, "true, VQVAE, VQGAN")
plt.show()
a, b = scores["VQVAE"], scores["VQGAN"]
print(f"At equal steps the VQGAN's PSNR is {b['PSNR'] - a['PSNR']:+.2f} dB, its distance "
      f"{b['distance'] / a['distance'] - 1:+.0%}, and it keeps {b['sharpness']:.0%} of the "
      f"sharpness, the VQVAE {a['sharpness']:.0%}.")

# %% [markdown]
# Sharper by the metric, but look at the images. What appears is a grid pattern from the decoder's
# strides, not the lost detail: the mean difference between pixels counts artefacts like edges, and
# here it exceeds that of real images. The distance falls by 12 %, at a cost of 2.6 decibels. After
# so few steps the discriminator has taught the decoder only that images are not smooth. A longer
# run is no guarantee either: on Fashion-MNIST ([README](../README.md)) the VQGAN had a Fréchet
# distance of 23.1 at 21.2 dB after three epochs, the VQVAE 19.6 at 23.1 dB after five. The authors'
# results come with a perceptual loss in a large network's features (`content_network` here), much
# coarser grids, where a squared error can only blur, and longer training. One seed.
#
# What does the discriminator look at? Its logits are a map, here over an image, its
# reconstruction by the VQ-VAE and the one by the VQGAN (the same colours in all: red is "true").

# %%
maps = [
    np.asarray(vq_gan.discriminator(each[:3], training=False))[..., 0]  # (3, 8, 8)
    for each in (test_images, both["VQVAE"], both["VQGAN"])
]
limit = max(np.abs(grid).max() for grid in maps)
figure, axes = plt.subplots(3, 6, figsize=(7, 3.6), layout="constrained")
for i in range(3):
    for j, each in enumerate((test_images, both["VQVAE"], both["VQGAN"])):
        kg.plotting.show_images(each[i : i + 1], axes=axes[i, 2 * j])
        axes[i, 2 * j + 1].imshow(maps[j][i], cmap="coolwarm", vmin=-limit, vmax=limit)
        axes[i, 2 * j + 1].set_axis_off()
for column, title in zip(axes[0, ::2], ("true", "VQVAE", "VQGAN")):
    column.set_title(title, fontsize=9)
plt.show()
print("mean logit: " + ", ".join(
    f"{name} {grid.mean():+.2f}" for name, grid in zip(("true", "VQVAE", "VQGAN"), maps)
))

# %% [markdown]
# ## Two grids: VQ-VAE-2
#
# Where VQGAN sharpens the decoder, VQ-VAE-2 (Razavi et al., 2019) gives it codes of two sizes:
# 4x4 at the top, and 8x8 at the bottom, which depend on the top. What does each hold? Decode with
# the bottom of another image, or with the top of another.

# %%
keras.utils.set_random_seed(0)
two_levels = kg.VQVAE2((32, 32, 3), CODES, 32, data_variance=variance, seed=0,
                       network_options={"filters": FILTERS})
two_levels.compile(learning_rate=1e-3)
logs = train(two_levels, STEPS, seed=0)
top, bottom = two_levels.encode(test_images)  # (n, 4, 4), (n, 8, 8)
other = np.roll(np.arange(len(top)), -1)  # the next image
decoded = {
    "both": two_levels.decode((top, bottom)),
    "another bottom": two_levels.decode((top, bottom[other])),
    "another top": two_levels.decode((top[other], bottom)),
}
rows = np.stack([test_images[:SHOWN], *(made[:SHOWN] for made in decoded.values())])
kg.plotting.show_images(rows, f"true, {', '.join(decoded)}")
plt.show()
for name, made in decoded.items():
    to_its_own, to_the_other = psnr(test_images, made), psnr(test_images[other], made)
    print(f"{name:16} PSNR to its image {to_its_own:5.2f} dB, "
          f"to the next one {to_the_other:5.2f} dB")
print(f"perplexity of the last {EVERY} steps: top {logs['perplexity_top'][-1]:.1f}, "
      f"bottom {logs['perplexity_bottom'][-1]:.1f}")

# %%
with_other_bottom = psnr(test_images, decoded["another bottom"])
with_other_top = psnr(test_images, decoded["another top"])
holds = "bottom" if with_other_bottom < with_other_top else "top"
print(f"In this run the {holds} holds more: with another one in its place the image is lost "
      f"({min(with_other_bottom, with_other_top):.1f} dB), and with the other level exchanged "
      f"less so ({max(with_other_bottom, with_other_top):.1f} dB).")

# %% [markdown]
# In the paper, at 256x256, the top holds the layout and the bottom the detail. At 32x32 the
# bottom's grid of 8x8 is fine enough to hold a whole image, and nothing in the loss enforces a
# division between the levels. Here the top is nearly ignored: dozens of its codes are in use, and
# exchanging them all changes the PSNR by hundredths of a decibel. That is one seed and a few
# hundred steps. To generate, both levels need a prior, `two_levels.fit_prior`.
#
# ## Recognition
#
# The article promises recognition by what such networks have learned. The test is a linear probe:
# the network is frozen, and a linear classifier is fitted to its features. Ridge regression on
# one-hot labels $Y$ has a closed form,
#
# $$W = X^\top (X X^\top + \alpha I)^{-1} Y,$$
#
# so the result depends on no training of the probe. The strength $\alpha$ is chosen on the last
# fifth of the labelled images. Each trained network is compared with the same network before
# training: without that row, one would attribute to training what the architecture does.


# %%
def probe(train_features, train_labels, test_features, test_labels):
    """Accuracy on test images of ridge regression on standardised features."""
    mean, deviation = train_features.mean(axis=0), train_features.std(axis=0) + 1e-6
    x, y = (train_features - mean) / deviation, np.eye(10)[train_labels]  # (n, d), (n, 10)
    z = (test_features - mean) / deviation

    def accuracy(x, y, alpha, z, wanted):
        weights = np.linalg.solve(x @ x.T + alpha * len(x) * np.eye(len(x)), y - y.mean(axis=0))
        return float(((z @ (x.T @ weights) + y.mean(axis=0)).argmax(axis=1) == wanted).mean())

    cut = len(x) * 4 // 5
    alphas = (0.1, 1, 10, 100)
    kept_out = [accuracy(x[:cut], y[:cut], a, x[cut:], train_labels[cut:]) for a in alphas]
    return accuracy(x, y, alphas[int(np.argmax(kept_out))], z, test_labels)


def in_parts(function, images, size=256):
    """Features of images, flat: (n, 32, 32, 3) -> (n, d)."""
    parts = [np.asarray(function(images[i : i + size])) for i in range(0, len(images), size)]
    return np.concatenate(parts).reshape(len(images), -1)


def shares(images):
    """Code frequencies per image, over all positions: (n, K)."""
    flat = vq.encode(images).reshape(len(images), -1)  # (n, 8, 8) -> (n, 64)
    return np.stack([np.bincount(row, minlength=CODES) for row in flat]) / 64


def patch_features(model):
    """Features of the patch discriminator before its last layer, averaged to 4x4 positions."""
    body = keras.Model(model.discriminator.input, model.discriminator.layers[-2].output)
    return lambda images: keras.layers.AveragePooling2D(2)(body(images))


keras.utils.set_random_seed(1)
untrained = kg.VQGAN((32, 32, 3), CODES, 32, network_options={"filters": FILTERS}, seed=1)
labelled = min(2048, NUM_IMAGES)
found = {}
for name, function in {
    "raw pixels": lambda images: images,
    "VQ-VAE's vectors": vq.encoder,
    "the same, untrained": untrained.encoder,
    "VQGAN's vectors": vq_gan.encoder,
    "VQ-VAE, code frequencies": shares,
    "VQGAN's discriminator": patch_features(vq_gan),
    "the same discriminator, untrained": patch_features(untrained),
}.items():
    features = in_parts(function, images[:labelled])
    found[name] = probe(
        features, labels[:labelled], in_parts(function, test_images), test_labels
    )
    print(f"{name:34} {features.shape[1]:5} dimensions  {found[name]:6.1%}")
deviation = math.sqrt(0.3 * 0.7 / len(test_labels))
print(f"Chance is 10 %. The standard error of a share near 30 % of {len(test_labels)} images is "
      f"{deviation:.1%}.")

# %%
best = max(found, key=found.get)
gain = found["VQ-VAE's vectors"] - found["the same, untrained"]
patch_gain = found["VQGAN's discriminator"] - found["the same discriminator, untrained"]
print(f"Best: {best}. Training adds {100 * gain:+.1f} points for the VQ-VAE's vectors and "
      f"{100 * patch_gain:+.1f} for the discriminator; differences below "
      f"{100 * 2 * math.sqrt(2) * deviation:.0f} points are within the noise of these images.")

# %% [markdown]
# The features of the patch discriminator separate the classes better than raw pixels, even before
# its first step: that is due to its convolutions. What these few hundred steps add, to it or to the
# codes, is within the noise. Longer runs on Fashion-MNIST with 10,000 test images
# ([docs/codes.md](../docs/codes.md)) agree: the features of a GAN's discriminator were 6 points
# above raw pixels, most of that from the architecture alone, and training made hardly any
# difference to a VQ-VAE's vectors. A network that is trained to reconstruct images has little
# reason to separate classes.
#
# The article's other use is editing (enhancing, repairing, changing the style). It has its own
# models: `Pix2Pix` and `CycleGAN`, measured in [docs/translation.md](../docs/translation.md).
#
# ## Errata
#
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | a VQ-VAE of encoder, decoder and generator | nothing is quantised: no codebook, no codes, and the encoder outputs more numbers than an image has | `kg.VQVAE` with a quantiser; with these widths `kg.VQVAE(encoder=, decoder=)` |
# | pooling and unpooling in the text | the code has neither; strides do their work | strided and transposed convolutions |
# | a decoder of transposed kernels of 3 | 4 -> 7 -> 13 -> 25, no loss against 32x32 can be computed | kernels of 4, or an output padding of 1: $2n$ per layer |
# | an "upscaling" generator | three convolutions of stride 2: 25 -> 4, and 100 channels where 3 come in | `kg.SuperResolutionGAN` |
# | a GAN's generator with a padding of 1 on one pixel | 1 -> 2 -> 4 -> 8 -> 16 -> 17 | `kg.GAN(networks="dcgan5")`: the first kernel of 4 without padding |
# | its discriminator | at 17x17 it reaches one pixel before its last kernel of 4: no position is left; at 64x64 it gives 3x3 probabilities | the same five layers with grids that fit, and one logit |
# | no normalisation in either | the DCGAN it follows has batch normalisation between the layers | `"dcgan5"` has it |
# | the generator maximises $E[\log p_{data}(G(z))]$ | the density is unknown, and the optimum is its highest point, again and again | $-E[\log D(G(z))]$, `loss="non_saturating"` |
# | the discriminator minimises $E[\log D(x)] + E[\log(1 - D(G(z)))]$ | the sign: it maximises that | `discriminator_loss` of the package, on logits |
# | the VQ-VAE's only loss is the reconstruction | nothing holds codebook and encoder together, and an argmin has no gradient | codebook and commitment terms, straight-through gradient |
# | a VQ-VAE is a special GAN and generates like one | it has no adversarial objective, and no distribution of codes | `fit_prior` to generate; `kg.VQGAN` where the two meet |
# | no data, no optimiser, no loop | none of it was ever run | `model.compile()`, `model.fit(kg.load(...))` |
# | a GAN generates slowly | one pass of one network per batch | measured above; only training is slow |
# | recognition for free | most of the linear separability is there before training | a linear probe, of both |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: do the two functions agree with TensorFlow?
#
# Compare `convolved` and `transposed` with the real outputs of `tf.nn.conv2d`, for all kernels of 1
# to 5, strides of 1 to 3 and paddings of 0 to 2. A transposed convolution is the gradient of a
# convolution: its output size is right if the convolution maps it back to the initial
# size.

# %% tags=["answer"]
tried = 0
for n in (7, 16, 25):
    for k in range(1, 6):
        for s in range(1, 4):
            for p in range(min(3, k)):
                around = [[0, 0], [p, p], [p, p], [0, 0]]
                made = tf.nn.conv2d(tf.zeros((1, n, n, 1)), tf.zeros((k, k, 1, 1)), s, around)
                assert made.shape[1] == convolved(n, k, s, p)
                for r in range(s):  # every size with the same floor
                    back = transposed(n, k, s, p, r)
                    assert convolved(back, k, s, p) == n
                tried += 1
print(f"{tried} layers agree; of 16 pixels, {[transposed(16, 3, 2, 1, r) for r in (0, 1)]} "
      "are the two sizes that a kernel of 3, stride 2, padding 1 maps to 16")

# %% [markdown]
# ### Exercise 2: how large is the receptive field?
#
# A logit of the patch discriminator depends on a part of the image, its receptive field. Going
# backwards through the layers, $f$ pixels after a convolution depend on $(f - 1)s + k$ before it.
# How large is the receptive field of `vq_gan.discriminator`, and how many halvings would the 70x70
# of the pix2pix paper take? How many logits does a 32x32 image get?


# %% tags=["answer"]
def field(network):
    f = 1
    for layer in reversed(network.layers):
        if isinstance(layer, keras.layers.Conv2D):
            f = (f - 1) * layer.strides[0] + layer.kernel_size[0]
    return f


def patchgan(levels):
    return kg.networks.patchgan_discriminator((32, 32, 3), levels=levels, filters=8)


print({levels: field(patchgan(levels)) for levels in (1, 2, 3)})
assert field(vq_gan.discriminator) == field(patchgan(2)) == 34
assert field(patchgan(3)) == 70
assert vq_gan.discriminator.output_shape == (None, 8, 8, 1)

# %% [markdown]
# ### Exercise 3: what the adaptive weight balances
#
# Compute $\lambda$ of the VQGAN by hand on a few test images, with `vq_gan.errors_of`,
# `vq_gan.generator_loss` and `vq_gan.last_kernel`. What happens to $\lambda \nabla_L
# \mathcal{L}_{GAN}$ if the adversarial loss is multiplied by 10?


# %% tags=["answer"]
def gradient_norms(scale):
    images = tf.constant(test_images[:8])
    with tf.GradientTape(persistent=True) as tape:
        quantized, _, _ = vq_gan.quantizer(vq_gan.encoder(images))
        outputs = vq_gan.decoder(quantized)
        l1_loss, _ = vq_gan.errors_of(images, outputs)
        g_loss = scale * vq_gan.generator_loss(vq_gan.discriminator(outputs, training=False))
    rec, adv = (tape.gradient(loss, vq_gan.last_kernel) for loss in (l1_loss, g_loss))
    weight = float(tf.norm(rec) / (tf.norm(adv) + 1e-6))
    return weight, float(tf.norm(rec)), weight * float(tf.norm(adv))


plain, tenfold = gradient_norms(1.0), gradient_norms(10.0)
print(f"lambda {plain[0]:.4f}, with the loss times ten {tenfold[0]:.4f}; gradient norm of the "
      f"adversarial loss {plain[2]:.4f} and {tenfold[2]:.4f}, of the error {plain[1]:.4f}")
assert np.isclose(plain[0], 10 * tenfold[0], rtol=1e-2)
assert np.isclose(plain[2], plain[1], rtol=1e-2) and np.isclose(tenfold[2], plain[2], rtol=1e-2)

# %% [markdown]
# ## Where to go next
#
# - [Tutorial 6](06_making_it_train.ipynb): losses, penalties and metrics, and what to do when a
#   GAN does not train.
# - [docs/codes.md](../docs/codes.md), [docs/translation.md](../docs/translation.md) and
#   [docs/adversarial.md](../docs/adversarial.md): the longer runs behind the results quoted here.
#
# References: VQ-VAE, van den Oord et al. (2017), https://arxiv.org/abs/1711.00937; VQ-VAE-2,
# Razavi et al. (2019), https://arxiv.org/abs/1906.00446; VQGAN, Esser et al. (2021),
# https://arxiv.org/abs/2012.09841; SRGAN, Ledig et al. (2017), https://arxiv.org/abs/1609.04802;
# the trade-off between distortion and perception, Blau and Michaeli (2018),
# https://arxiv.org/abs/1711.06077; DCGAN, Radford et al. (2016),
# https://arxiv.org/abs/1511.06434; PatchGAN, Isola et al. (2017),
# https://arxiv.org/abs/1611.07004; the arithmetic of convolutions, Dumoulin and Visin (2016),
# https://arxiv.org/abs/1603.07285.
