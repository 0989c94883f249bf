# %% [markdown]
# # 4. VQ-VAE: images as grids of codes
#
# > **You will be able to** turn colour images into small grids of integers and back, write the
# > lines that make a codebook learn, count the bits of an image, and generate from a prior over
# > codes.
# >
# > **Time**: forty minutes with reading. Measured: 5.3 minutes on two CPU cores, on a shared machine.
# >
# > **You need** [tutorial 0](00_fifteen_minutes.ipynb), or to know what a gradient tape does, and
# > the CIFAR-10 data set. Where it cannot be downloaded, drawn digits stand in for it. (On Colab,
# > run `%pip install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/04_vq_vae.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/04_vq_vae.ipynb) · [中文](zh/04_vq_vae.ipynb)
#
# Contents: [Sixty-four codes](#Sixty-four-codes) · [The codebook](#The-codebook) · [Your turn: the
# nearest code](#Your-turn:-the-nearest-code) · [A gradient through an
# argmin](#A-gradient-through-an-argmin) · [Your turn: codes that
# learn](#Your-turn:-codes-that-learn) · [The step by hand](#The-step-by-hand) · [Codes in
# use](#Codes-in-use) · [A codec](#A-codec) · [A prior over codes](#A-prior-over-codes) · [What
# discrete codes save](#What-discrete-codes-save) · [From CIFAR-10 to
# ImageNet](#From-CIFAR-10-to-ImageNet) · [What the article shows, and what
# runs](#What-the-article-shows,-and-what-runs) · [Exercises](#Exercises)
#
# ## Sixty-four codes
#
# A VQ-VAE (van den Oord et al., 2017) describes an image by integers. Here an image of 32x32
# pixels becomes a grid of 8x8 *codes*, each a number from 0 to 255, and the decoder reconstructs
# the image from these 64 numbers. After a cell of sizes and two of preparation, it is trained.

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 64, "NUM_TEST": 32, "BATCH": 16, "EVERY": 1, "STEPS": 2, "COMPARED": 2, "PRIOR_EPOCHS": 1, "FILTERS": 8, "CODES": 32, "SHOWN": 4, "REPEATS": 1, "PIXEL_BATCH": 2, "FEW": 1, "ARTICLE_WIDTH": 4}
DATA = "cifar10"
NUM_IMAGES = 20_000  # of the training images
NUM_TEST = 512
BATCH = 64
STEPS = 1200
EVERY = 20  # steps between two points of a curve
FILTERS = 64
CODES = 256  # K, vectors in the codebook
DIM = 32  # D, length of a vector
COMPARED = 10  # steps in the comparison with the package
PRIOR_EPOCHS = 3
REPEATS = 5  # of each timing
PIXEL_BATCH = 16  # images per step of a model of pixels
FEW = 3  # steps of the article's wide networks
ARTICLE_WIDTH = 64  # filters of the first of their four layers
SHOWN = 8

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

# %% alt=["Three rows of eight. Top: photographs of animals and vehicles, 32x32 pixels. Middle: their codes as 8x8 coloured squares, in which the outlines can be guessed. Bottom: reconstructions with the right colours and shapes, and blurred detail."]
import io
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_genimg as kg


def batches(seed, batch_size=BATCH):
    """Endless batches of training images, in the order of a seed."""
    return kg.load(
        DATA, batch_size=batch_size, image_size=32, channels=3, num_images=NUM_IMAGES,
        shuffle_seed=seed, epochs=None, drop_remainder=True,
    )


def in_memory(split, count):
    """The first images of a split as one array (count, 32, 32, 3), float32 in [-1, 1]."""
    images = kg.load(DATA, split, batch_size=count, image_size=32, channels=3, num_images=count)
    return next(iter(images)).numpy()


train_images, test_images = in_memory("train", NUM_IMAGES), in_memory("test", NUM_TEST)
variance = float(train_images.var())
keras.utils.set_random_seed(0)
vq = kg.VQVAE(
    (32, 32, 3), num_embeddings=CODES, embedding_dim=DIM, data_variance=variance, seed=0,
    network_options={"filters": FILTERS},
)
vq.compile(learning_rate=1e-3)
began = time.perf_counter()
logs = vq.fit(batches(0), epochs=STEPS // EVERY, steps_per_epoch=EVERY, verbose=0).history
vq_seconds = time.perf_counter() - began

codes = vq.encode(test_images)  # (n, 32, 32, 3) -> (n, 8, 8), integers
reconstructed = vq.decode(codes)  # (n, 8, 8) -> (n, 32, 32, 3)

codebook = keras.ops.convert_to_numpy(vq.quantizer.embeddings)  # (K, D)
centred = codebook - codebook.mean(axis=0)
components = centred @ np.linalg.svd(centred, full_matrices=False)[2][:3].T  # (K, D) -> (K, 3)
colours = np.clip(components / (2 * components.std(axis=0)), -1, 1).astype("float32")
as_colours = colours[codes[:SHOWN]].repeat(4, axis=1).repeat(4, axis=2)  # (n, 8, 8, 3) -> 32x32
rows = np.stack([test_images[:SHOWN], as_colours, reconstructed[:SHOWN]])
kg.plotting.show_images(rows, "Test images, their codes, and reconstructions", scale=3.2)
plt.show()
print("the codes of the first image:", *codes[0], sep="\n")

# %% [markdown]
# The colours in the middle row stand for codes: the first three principal components of a code's
# vector as red, green and blue, so that similar codes have similar colours. The model has not been
# trained on these test images.
#
# ## The codebook
#
# Three parts are trained together:
#
# - The *encoder*, a convolutional network, maps the image $x$ to 8x8 vectors $z_e(x)$ of length
#   $D$.
# - The *codebook* holds $K$ vectors $e_1, \dots, e_K$. Each $z_e$ is replaced by the nearest one:
#
# $$k = \arg\min_j \lVert z_e - e_j \rVert, \qquad z_q = e_k.$$
#
# - The *decoder* maps the 8x8 vectors $z_q$ back to an image.
#
# What does one code stand for? Fill a whole grid with it, and decode.

# %% alt=["Three rows of eight squares, one for each of the most used codes: nearly plain, in white, black, browns, greens and blues."]
counts = np.bincount(codes.ravel(), minlength=CODES)  # over all test images
by_use = np.argsort(-counts, kind="stable")
shown = by_use[: 3 * SHOWN, None, None]  # (n, 1, 1)
textures = vq.decode(np.broadcast_to(shown, (len(shown), 8, 8)))[:, 8:24, 8:24]  # (n, 16, 16, 3)
kg.plotting.show_images(textures, "One code everywhere, the most used first", SHOWN, scale=6.2)
plt.show()

# %% [markdown]
# Repeated, a code is little more than a colour. Edges and textures come from neighbouring codes:
# the decoder sees several at once.
#
# ## Your turn: the nearest code
#
# Write $k = \arg\min_j \lVert z_e - e_j \rVert$ for every vector of a batch. The differences
# `vectors[..., None, :] - codebook` have the shape `(B, h, w, K, D)`.

# %%
def nearest_codes(vectors, codebook):  # (B, h, w, D), (K, D) -> (B, h, w)
    return ...  # your line

# %%
def codes_are_right(nearest_codes):
    """Checks four vectors against three codes, by distances worked out by hand."""
    codebook = tf.constant([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    vectors = tf.constant([[[[0.9, 0.0], [1.1, 0.0]], [[0.0, 2.0], [5.0, 5.0]]]])  # (1, 2, 2, 2)
    found = nearest_codes(vectors, codebook)
    if found is ...:
        return print("Nothing here yet: write the line, or open the answer below.")
    expected = [[[0, 1], [2, 2]]]  # (5, 5): squared distances 50, 34, 29
    assert np.array_equal(found, expected), f"it should be {expected}"
    print("Right.")
    return True


codes_are_right(nearest_codes)

# %% tags=["answer"]
def nearest_answer(vectors, codebook):
    return tf.argmin(tf.reduce_sum((vectors[..., None, :] - codebook) ** 2, axis=-1), axis=-1)


assert codes_are_right(nearest_answer)
few = test_images[:16]
same = np.mean(nearest_answer(vq.encoder(few, training=False), codebook) == vq.encode(few))
print(f"{same:.2%} of the codes are those of vq.encode")
assert same > 0.99  # rounding may decide between two codes at the same distance

# %% [markdown]
# ## A gradient through an argmin
#
# A small change of $z_e$ changes no code: the derivative of an argmin is zero wherever it exists.
# So the decoder's error would never reach the encoder. The *straight-through* estimator copies the
# gradient past the codebook. With $\mathrm{sg}$ for "stop the gradient" (`tf.stop_gradient`), the
# decoder gets
#
# $$z_e + \mathrm{sg}[z_q - z_e],$$
#
# whose value is $z_q$ and whose gradient is that of $z_e$. For that to be a good approximation,
# $z_e$ and its code must be close, and nothing so far moves the codes at all. A second loss does
# both,
#
# $$L_{vq} = \lVert \mathrm{sg}[z_e] - z_q \rVert^2 + \beta\,\lVert z_e - \mathrm{sg}[z_q] \rVert^2.$$
#
# The first term moves codes towards the encoder's vectors. The second, the *commitment*, moves the
# vectors towards their codes, more weakly: $\beta = 0.25$. Both are means over all elements.
#
# ## Your turn: codes that learn
#
# Fill in both lines.

# %%
def quantised(z_e, z_q, beta=0.25):  # both (B, h, w, D) -> (B, h, w, D), ()
    passed = ...  # z_q in value, z_e in gradient
    loss = ...  # both terms, with tf.reduce_mean
    return passed, loss

# %%
def quantiser_is_right(quantised):
    """Checks values and gradients of one vector, (1, 0), whose nearest code is (2, 0)."""
    z_e, codebook = tf.constant([[[[1.0, 0.0]]]]), tf.constant([[2.0, 0.0], [0.0, 3.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z_e, codebook])
        z_q = tf.gather(codebook, [[[0]]])  # (1, 1, 1, 2)
        passed, loss = quantised(z_e, z_q)
        if passed is ... or loss is ...:
            return print("Nothing here yet: write the lines, or open the answer below.")
        arriving = 3.0 * passed[..., 0] - 5.0 * passed[..., 1]  # what a decoder might send back
    unused = tf.UnconnectedGradients.ZERO
    through = tape.gradient(arriving, [z_e, codebook], unconnected_gradients=unused)
    pull = tape.gradient(loss, [z_e, codebook], unconnected_gradients=unused)
    for what, found, expected in (
        ("the value passed on", passed, [[[[2, 0]]]]),
        ("its gradient for z_e", through[0], [[[[3, -5]]]]),
        ("its gradient for the codebook", through[1], [[0, 0], [0, 0]]),
        ("the loss", loss, 0.625),  # (1 + 0.25) times the mean of 1 and 0
        ("its gradient for z_e", pull[0], [[[[-0.25, 0]]]]),
        ("its gradient for the codebook", pull[1], [[1, 0], [0, 0]]),
    ):
        found = tf.convert_to_tensor(found).numpy()
        assert np.allclose(found, expected), f"{what} should be {expected}, not {found.tolist()}"
    print("Right.")
    return True


quantiser_is_right(quantised)

# %% tags=["answer"]
def quantised_answer(z_e, z_q, beta=0.25):
    passed = z_e + tf.stop_gradient(z_q - z_e)
    loss = tf.reduce_mean((tf.stop_gradient(z_e) - z_q) ** 2)
    loss += beta * tf.reduce_mean((z_e - tf.stop_gradient(z_q)) ** 2)
    return passed, loss


assert quantiser_is_right(quantised_answer)

# %% [markdown]
# ## The step by hand
#
# With these two functions the training step is short. The reconstruction loss is the squared error
# over the variance of the data: 1 is the error of an image filled with the mean of all values. The
# same step runs in `kg.VQVAE`, if its codebook is learned by gradient (`ema_decay=None`) and
# nothing is replaced.

# %%
class HandWrittenVQVAE(keras.Model):
    def __init__(self, encoder, decoder, codebook):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.codebook = self.add_weight(shape=codebook.shape, name="codebook")
        self.codebook.assign(codebook)
        self.built = True  # both networks are

    def train_step(self, images):  # (B, 32, 32, 3)
        with tf.GradientTape() as tape:
            # 1. Vectors, their codes, and the loss that holds both together.
            z_e = self.encoder(images, training=True)  # (B, 8, 8, D)
            codebook = tf.convert_to_tensor(self.codebook)  # (K, D)
            z_q = tf.gather(codebook, nearest_answer(z_e, codebook))  # (B, 8, 8, D)
            passed, vq_loss = quantised_answer(z_e, z_q)

            # 2. The decoder's error, whose gradient passes straight through.
            outputs = self.decoder(passed, training=True)  # (B, 32, 32, 3)
            reconstruction_loss = tf.reduce_mean((images - outputs) ** 2) / variance
            loss = reconstruction_loss + vq_loss

        # 3. One update of encoder, codebook and decoder.
        weights = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return {"reconstruction_loss": reconstruction_loss, "vq_loss": vq_loss}


def package_model():
    keras.utils.set_random_seed(1)
    return kg.VQVAE(
        (32, 32, 3), CODES, DIM, ema_decay=None, dead_code_threshold=None, seed=1,
        data_variance=variance, network_options={"filters": FILTERS},
    )


start, package = package_model(), package_model()  # the same initial weights
by_hand = HandWrittenVQVAE(start.encoder, start.decoder, start.quantizer.embeddings.numpy())
compared = []
for model in (by_hand, package):
    model.compile(keras.optimizers.Adam(1e-3))
    compared.append(model.fit(  # an epoch is one step
        batches(1, BATCH // 4), epochs=COMPARED, steps_per_epoch=1, shuffle=False, verbose=0
    ).history)
for name in ("reconstruction_loss", "vq_loss"):
    hand, same = (np.array(each[name]) for each in compared)
    difference = np.abs(hand - same).max()
    print(f"{name}: {hand[-1]:.5f} by hand, {same[-1]:.5f} by kg.VQVAE at step {COMPARED}; "
          f"largest difference {difference:.1e}")
    assert difference < 1e-3  # codes at almost the same distance may be exchanged

# %% [markdown]
# The model at the top differs in two ways. Its codes are *moving averages* of the vectors that
# chose them, in place of the first term of $L_{vq}$. And it replaces codes that are hardly used.
#
# ## Codes in use
#
# A code that is never the nearest gets no gradient and no average: it is dead. How many codes do
# work? If $\hat p_j$ is the share of code $j$, the *perplexity*
#
# $$\exp\Big(-\sum_j \hat p_j \log \hat p_j\Big)$$
#
# is the effective number of codes: $K$ if all are used equally, 1 if only one is.

# %% alt=["Two charts. Left: perplexity over the steps, low at first, with a jump to a much higher level at the dotted line. Right: the share of each code, sorted: a steep start and a long, nearly flat tail."]
dead_after = math.ceil(math.log(0.1) / math.log(0.99))
steps = EVERY * np.arange(1, len(logs["perplexity"]) + 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(steps, logs["perplexity"], "o-", markersize=3, color="#2563eb")
left.axvline(dead_after, color="grey", linestyle=":", label=f"step {dead_after}")
left.set(xlabel="steps", title=f"perplexity of a batch, of {CODES}")
left.legend(frameon=False)
right.bar(np.arange(CODES), counts[by_use] / counts.sum(), width=1.0, color="#2563eb")
right.set(xlabel="codes, sorted", title="share of each code, test images")
plt.show()
in_use = kg.metrics.codebook_perplexity(codes, CODES)
print(f"test images: {(counts > 0).sum()} of {CODES} codes occur, perplexity {in_use:.1f}")
print(f"reconstruction loss: {logs['reconstruction_loss'][-1]:.3f} of the variance")

# %% [markdown]
# The dotted line is arithmetic. The codebook starts near zero, where few codes are ever the
# nearest. A code's moving count starts at 1 and loses one percent per step, and a code below
# `dead_code_threshold=0.1` is set to a vector of the current batch. An unused code gets there
# after $\lceil \log 0.1 / \log 0.99 \rceil = 230$ steps.
#
# Ten thousand steps of wider networks reach a reconstruction loss of 0.0554 on training images and
# a perplexity of 340 out of 512, in 14 minutes. The published values are 0.056 and 328
# ([docs/recipes.md](../docs/recipes.md)).
#
# ## A codec
#
# A grid of codes is a compressed image. `pack_codes` writes $\lceil \log_2 K \rceil$ bits per code,
# and `unpack_codes` reads them. An ideal coder that knows the shares $\hat p_j$ would need
# $\log_2$ of the perplexity per code.

# %%
def psnr(real, made):
    """Mean peak signal-to-noise ratio in decibels: higher is closer."""
    return float(kg.metrics.peak_signal_to_noise_ratio(real, made).mean())


def stored(image, **options):
    """Bits of an image as a file, and the image read back from the file."""
    file = io.BytesIO()
    Image.fromarray(kg.plotting.to_uint8(image)).save(file, **options)
    back = np.asarray(Image.open(file).convert("RGB"), "float32") / 127.5 - 1
    return 8 * file.tell(), back


stream = kg.data.pack_codes(codes, CODES)
assert np.array_equal(kg.data.unpack_codes(stream, codes.shape, CODES), codes)
print(f"{'stored as':22} bits per image   PSNR, dB")
for name, options in {
    "PNG": {"format": "PNG", "optimize": True},
    "JPEG, quality 10": {"format": "JPEG", "quality": 10},
    "WebP, quality 0": {"format": "WEBP", "quality": 0, "method": 6},
}.items():
    bits, back = zip(*(stored(image, **options) for image in test_images))
    print(f"{name:22} {np.mean(bits):14.0f} {psnr(test_images, np.stack(back)):10.2f}")
entropy = codes[0].size * math.log2(in_use)
for name, bits in (("codes, packed", 8 * len(stream) / len(codes)), ("ideal coder", entropy)):
    print(f"{name:22} {bits:14.0f} {psnr(test_images, reconstructed):10.2f}")

# %% [markdown]
# PNG is lossless (an infinite PSNR); the others are not. The comparison flatters the codes: files
# have headers (most of the bits of so small a JPEG), the codec was trained on images of this kind,
# and both sides need its networks.
#
# ## A prior over codes
#
# Can a VQ-VAE generate? Not yet. Decoding random codes gives noise, because almost none of the
# $256^{64}$ grids belong to an image. A *prior* is a distribution over grids, one code
# after the other:
#
# $$p(k_1, \dots, k_{64}) = \prod_i p(k_i \mid k_1, \dots, k_{i-1}).$$
#
# A `PixelCNN` computes all factors in one pass of masked convolutions when it is trained. To
# generate, it draws one code after the other, and the decoder turns the grid into an image.

# %% alt=["Three rows of eight. Top, codes at random: patchworks of unrelated colours. Below, two rows of codes drawn from the prior: coherent areas, skies, grounds and dark shapes in front of them, but no clear objects."]
prior = kg.PixelCNN(code_shape=vq.code_shape, num_embeddings=CODES, seed=0)
prior.compile(learning_rate=2e-3)
vq.fit_prior(train_images, prior=prior, epochs=PRIOR_EPOCHS, verbose=0)

random_codes = np.random.default_rng(0).integers(0, CODES, (SHOWN, 8, 8))
drawn = vq.generate(2 * SHOWN, seed=0)  # (n, 32, 32, 3)
rows = np.concatenate([vq.decode(random_codes), drawn])
kg.plotting.show_images(rows, "Codes at random, and from the prior", SHOWN, scale=3.2)
plt.show()
prior_bits = -float(np.mean(prior.log_likelihood(codes))) / math.log(2)
print(f"bits per test image: {codes[0].size * math.log2(CODES):.0f} packed, {entropy:.0f} by shares, "
      f"{prior_bits:.0f} by the prior")

# %% [markdown]
# The last number is $-\log_2 p$ of the test images' codes: what an ideal coder needs that knows
# the prior. So one model generates and compresses; the better it predicts, the fewer the bits.
# Trained for so short a time it draws areas that fit together rather than objects.
#
# ## What discrete codes save
#
# Codes are discrete, it is often said, to save computing. In which part? First the autoencoder
# itself: encoder, quantiser and decoder, timed on one batch.

# %%
def seconds(function):
    """The mean time of a call, after a first one that may compile."""
    function()
    began = time.perf_counter()
    for _ in range(REPEATS):
        function()
    return (time.perf_counter() - began) / REPEATS


batch = tf.constant(test_images[:BATCH])
z_e = vq.encoder(batch, training=False)
z_q, _, _ = vq.quantizer(z_e)
parts = {
    "encoder": seconds(tf.function(lambda: vq.encoder(batch, training=False))),
    "quantiser": seconds(tf.function(lambda: vq.quantizer(z_e)[0])),
    "decoder": seconds(tf.function(lambda: vq.decoder(z_q, training=False))),
}
for name, part in parts.items():
    print(f"{name:10} {1000 * part / BATCH:6.3f} ms per image, "
          f"{part / sum(parts.values()):4.0%} of a pass")

# %% [markdown]
# The codebook does not replace any layer: the quantiser comes on top of an autoencoder that would
# run without it. Codes save in what is learned *about* them. The same `PixelCNN`, once over 32x32
# pixels of three channels and once over 8x8 codes:

# %%
of_pixels = kg.PixelCNN(image_shape=(32, 32, 3), levels=256, seed=0)
of_codes = kg.PixelCNN(code_shape=vq.code_shape, num_embeddings=CODES, seed=0)
for model in (of_pixels, of_codes):
    model.compile()
pixels, grids = train_images[:PIXEL_BATCH], vq.encode(train_images[:BATCH])
pixel_step = seconds(lambda: of_pixels.train_on_batch(pixels)) / len(pixels)
code_step = seconds(lambda: of_codes.train_on_batch(grids)) / len(grids)
one_pass = seconds(lambda: of_pixels.log_likelihood(pixels)) / len(pixels)
drawing = seconds(lambda: vq.generate(2 * SHOWN, seed=0)) / (2 * SHOWN)
passes = {"pixels": 32 * 32 * 3, "codes": codes[0].size}
print(f"training, per image: {1000 * pixel_step:.1f} ms over pixels, {1000 * code_step:.2f} ms over "
      f"codes: a factor of {pixel_step / code_step:.0f}")
print(f"generating an image over pixels: about {passes['pixels'] * one_pass:.0f} s (one pass, times "
      f"{passes['pixels']} values)")
print(f"generating an image over codes: {1000 * drawing:.1f} ms ({passes['codes']} codes and the "
      "decoder, measured)")
pays_after = vq_seconds / (pixel_step - code_step)
print(f"The autoencoder was trained in {vq_seconds:.0f} s. That is paid back once the prior has "
      f"seen {pays_after:,.0f} images.")
assert pixel_step > code_step

# %% [markdown]
# So the claim holds for the prior and not for the autoencoder, and at a price: a model of codes
# describes images only as far as the decoder reconstructs them.
#
# ## From CIFAR-10 to ImageNet
#
# What would larger sets cost here? CIFAR-100 (Krizhevsky, 2009) has as many images as CIFAR-10, and
# a tenth of them per class. ImageNet (ILSVRC 2012) has 1,281,167 training images of many sizes,
# usually cropped to 256x256 or scaled to 64x64. Bytes and codes are exact; hours are the time per
# pixel of the model above, times the number of pixels.

# %%
per_pixel = vq_seconds / (STEPS * BATCH * 32 * 32)
print("training set          images  per class  as bytes  as codes  hours per epoch")
for name, count, classes, side in (
    ("CIFAR-10", 50_000, 10, 32),
    ("CIFAR-100", 50_000, 100, 32),
    ("ImageNet, 64x64", 1_281_167, 1000, 64),
    ("ImageNet, 256x256", 1_281_167, 1000, 256),
):
    as_bytes, grid = count * side * side * 3, (side // 4) ** 2
    as_codes = count * grid * math.log2(CODES) / 8
    hours = count * side * side * per_pixel / 3600
    print(f"{name:18} {count:9,} {count / classes:10,.0f} {as_bytes / 1e9:6.2f} GB "
          f"{as_codes / 1e9:6.3f} GB {hours:10.2f}")
print(f"256x256 pixels are {(256 // 4) ** 2:,} codes at a quarter of the side, "
      f"{(256 // 16) ** 2} at a sixteenth")

# %% [markdown]
# Two things follow. A data set of codes fits into memory where its images do not: a prior is
# trained without the pixels. And the grid must get coarser as images get larger, since a prior
# draws code after code: `downsampling=16`, with decoders that can invent detail. That is [tutorial
# 5](05_vq_vae_meets_gan.ipynb).
#
# ## What the article shows, and what runs
#
# The article that this tutorial follows shows an encoder and a decoder in PyTorch and never runs
# them. From $n$ pixels per side, a convolution with a kernel of $k$, a stride of $s$ and $p$ pixels
# of padding on either side gives
#
# $$\left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1;$$
#
# a transposed one goes the other way, with an output padding of $r$:
#
# $$(n - 1)\,s - 2p + k + r.$$

# %%
def convolved(n, k, s, p):
    return (n + 2 * p - k) // s + 1


def transposed(n, k, s, p, r=0):
    return (n - 1) * s - 2 * p + k + r


def sides(n, layers, size):
    """The side of the image before, between and after layers `(k, s, p)`."""
    chain = [n]
    for layer in layers:
        chain.append(size(chain[-1], *layer))
    return " -> ".join(map(str, chain))


def article_networks(width, kernel):
    """Encoder and decoder of the article's widths, and a 1x1 convolution to vectors."""
    conv, back = keras.layers.Conv2D, keras.layers.Conv2DTranspose
    options = {"padding": "same", "activation": "relu"}
    encoder = keras.Sequential([
        keras.Input((32, 32, 3)),
        conv(width, 3, **options),  # (B, 32, 32, 64)
        *[conv(factor * width, kernel, 2, **options) for factor in (2, 4, 8)],  # (B, 4, 4, 512)
        conv(DIM, 1),  # (B, 4, 4, D)
    ])
    up = {"activation": "relu", "padding": "same" if kernel == 4 else "valid"}
    cut = [] if kernel == 4 else [keras.layers.Cropping2D(1)]  # PyTorch's padding of 1
    decoder = keras.Sequential([keras.Input((4, 4, DIM))])
    for factor in (4, 2, 1):
        for layer in (back(factor * width, kernel, 2, **up), *cut):
            decoder.add(layer)
    decoder.add(conv(3, 3, padding="same"))
    return {"encoder": encoder, "decoder": decoder}


halving, same = (3, 2, 1), (3, 1, 1)  # (k, s, p)
print("encoder", sides(32, [same] + 3 * [halving], convolved))
print("decoder", sides(4, 3 * [halving] + [same], transposed))
print("kernels of 4", sides(4, 3 * [(4, 2, 1)] + [same], transposed))
try:
    kg.VQVAE((32, 32, 3), CODES, DIM, **article_networks(4, kernel=3))
except kg.InputError as error:
    print("as shown:", error)
else:
    raise AssertionError("a decoder to 25x25 pixels was expected to be refused")

wide = kg.VQVAE((32, 32, 3), CODES, DIM, data_variance=variance, seed=0,
                **article_networks(ARTICLE_WIDTH, kernel=4))
wide.compile(learning_rate=1e-3, run_eagerly=True)  # tracing a graph is not worth it here
wide.fit(batches(0, BATCH // 4).take(FEW), verbose=0)
print(f"with kernels of 4: {wide.reconstruct(test_images[:4]).shape}, "
      f"{wide.count_params():,} weights, trained for {FEW} steps")
print(f"values in an image {32 * 32 * 3}, in the output of the article's encoder "
      f"{4 * 4 * 8 * ARTICLE_WIDTH}, in codes {4 * 4}")

# %% [markdown]
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | a VQ-VAE of encoder, decoder and "generator" | nothing is quantised: no codebook, no codes, and the encoder outputs more numbers than an image has | `kg.VQVAE` with a quantiser; with these widths `kg.VQVAE(encoder=, decoder=)` |
# | pooling and unpooling in the text | the code has neither | strided and transposed convolutions |
# | a decoder of transposed kernels of 3 | a stride of 2 maps 31 and 32 to 16, and back to 31: seven pixels are lost, and no loss can be computed | kernels of 4, or an output padding of 1: $2n$ per layer |
# | the reconstruction as the only loss | nothing moves the codes, and an argmin has no gradient | $L_{vq}$, and the straight-through gradient |
# | discrete codes "reduce the cost" | not that of the autoencoder | a prior over codes, timed above |
# | a VQ-VAE that generates | no distribution of codes | `fit_prior` |
# | no data, no optimizer, no loop | none of it was run | `compile`, `fit` |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: half a codebook
#
# Of $K = 256$ codes, 128 are used equally often and the others never. What are the perplexity and
# the bits per code that an ideal coder needs? And if one code has half of all uses, and 128 others
# share the rest equally?

# %% tags=["answer"]
equal = np.arange(128)
skewed = np.concatenate([np.zeros(128, int), np.arange(1, 129)])
for uses, expected in ((equal, 128.0), (skewed, 2 * math.sqrt(128))):
    perplexity = kg.metrics.codebook_perplexity(uses, 256)
    print(f"perplexity {perplexity:.2f}, {math.log2(perplexity):.2f} bits per code")
    assert math.isclose(perplexity, expected, rel_tol=1e-4)
# -1/2 log2(1/2) - 128 (1/256) log2(1/256) = 0.5 + 4 bits

# %% [markdown]
# ### Exercise 2: fewer codes
#
# Keep the $m$ codes that are used most, replace every other by the nearest of those, and decode
# without training. How many decibels does each halving of $m$ cost?

# %% tags=["answer"] alt=["Four rows of eight. Test images, then reconstructions from 256, 32 and 4 codes: with 32 the colours are coarser, with 4 only bright and dark areas are left."]
distances = np.square(codebook[:, None] - codebook[None]).sum(axis=-1)  # (K, K)
budgets, fewer = [m for m in (256, 128, 64, 32, 16, 8, 4) if m <= CODES], {}
for m in budgets:
    nearest_kept = by_use[:m][distances[:, by_use[:m]].argmin(axis=1)]  # (K,) -> (K,)
    fewer[m] = vq.decode(nearest_kept[codes])
    print(f"{m:4} codes, {64 * math.log2(m):5.0f} bits per image: {psnr(test_images, fewer[m]):.2f} dB")
rows = np.stack([test_images[:SHOWN], *(fewer[m][:SHOWN] for m in budgets[::3])])
kg.plotting.show_images(rows, f"Test images, and {', '.join(map(str, budgets[::3]))} codes", scale=3.2)
plt.show()
assert np.allclose(fewer[CODES], reconstructed)  # with all codes nothing changes

# %% [markdown]
# ### Exercise 3: do the sizes agree with TensorFlow?
#
# Compare `convolved` and `transposed` with `tf.nn.conv2d`, for kernels of 1 to 5, strides of 1 to 3
# and paddings of 0 to 2, smaller than the kernel. A transposed convolution is right if the convolution maps its output back
# to the initial size.

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
                    assert convolved(transposed(n, k, s, p, r), k, s, p) == n
                tried += 1
print(f"{tried} layers agree; a kernel of 3, a stride of 2 and a padding of 1 map both "
      f"{transposed(16, 3, 2, 1)} and {transposed(16, 3, 2, 1, 1)} pixels to 16")

# %% [markdown]
# ## Where to go next
#
# - [5. VQ-VAE meets GAN](05_vq_vae_meets_gan.ipynb): fewer codes and sharp images, by a
#   discriminator.
# - [docs/codes.md](../docs/codes.md): codes as a codec for 60,000 images, priors, and emoji at 64x64.
#
# References: van den Oord et al. (2017), [VQ-VAE](https://arxiv.org/abs/1711.00937); van den Oord et
# al. (2016), [PixelCNN](https://arxiv.org/abs/1606.05328); Dumoulin and Visin (2016), [the
# arithmetic of convolutions](https://arxiv.org/abs/1603.07285); Krizhevsky (2009), [CIFAR-10 and
# CIFAR-100](https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf); Russakovsky et al.
# (2015), [ILSVRC](https://arxiv.org/abs/1409.0575).
