# %% [markdown]
# # 5. VQ-VAE meets GAN
#
# > **You will be able to** train a VQGAN on colour images, write the loss that balances its two
# > goals, generate by class from codes, enlarge images with a super-resolution GAN, and say by
# > which measures an image is better and by which it is worse.
# >
# > **Time**: forty minutes with reading. Measured: 3.9 minutes on two CPU cores, on a shared machine.
# >
# > **You need** the codes of [tutorial 4](04_vq_vae.ipynb), the GAN of
# > [tutorial 0](00_fifteen_minutes.ipynb), and the CIFAR-10 data set. Where it cannot be
# > downloaded, drawn digits stand in for it. (On Colab, run
# > `%pip install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/05_vq_vae_meets_gan.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/05_vq_vae_meets_gan.ipynb) · [中文](zh/05_vq_vae_meets_gan.ipynb)
#
# Contents: [A GAN in colour](#A-GAN-in-colour) · [Codes, and
# blur](#Codes,-and-blur) · [Two losses in balance](#Two-losses-in-balance) · [Your turn: the
# balance](#Your-turn:-the-balance) · [VQGAN](#VQGAN) · [Images by class](#Images-by-class) · [The
# third network: from small to large](#The-third-network:-from-small-to-large) · [Your turn: its
# loss](#Your-turn:-its-loss) · [Close or sharp](#Close-or-sharp) · [Recognition](#Recognition) ·
# [What the article shows, and what runs](#What-the-article-shows,-and-what-runs) ·
# [Exercises](#Exercises)
#
# ## A GAN in colour
#
# The next image shows what a GAN learns from CIFAR-10 in an hour of two CPU cores. It comes with
# the package, already trained. After a cell of sizes and two of preparation, it generates.

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_IMAGES": 64, "NUM_TEST": 32, "BATCH": 16, "EVERY": 1, "STEPS": 2, "MORE": 2, "START": 0, "FILTERS": 8, "CODES": 32, "PRIOR_EPOCHS": 1, "SR_STEPS": 2, "SR_MORE": 1, "LABELLED": 32, "SHOWN": 4}
DATA = "cifar10"
NUM_IMAGES = 20_000  # of the training images
NUM_TEST = 512
BATCH = 64
EVERY = 20  # steps between two points of a curve
STEPS = 800  # of the VQ-VAE
MORE = 400  # further steps, once as a VQ-VAE and once as a VQGAN
START = 20  # of those, steps before the discriminator starts
FILTERS = 64
CODES = 256  # K, vectors in the codebook
DIM = 32  # D, length of a vector
PRIOR_EPOCHS = 2
SR_STEPS = 300  # of the super-resolution network with its content loss
SR_MORE = 200  # further steps, with and without a discriminator
LABELLED = 2048  # images that the linear probes are fitted to
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

# %% alt=["Two rows of ten generated colour images, one class per column: airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck. Vehicles and horses are easy to recognise, some animals are not."]
import inspect
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_genimg as kg

gan = kg.load_preset("conditional_gan_cifar10")
samples = gan.generate(20, seed=3)  # (20, 32, 32, 3), the classes in turn
kg.plotting.show_images(samples, "A GAN of CIFAR-10, by class", columns=10, scale=3.2)
plt.show()

# %% [markdown]
# The images are sharp. What a GAN lacks is the way back: it maps noise to images, and no image to
# noise. A VQ-VAE has both ways, but blurs. This page joins the two.
#
# ## Codes, and blur
#
# The VQ-VAE of tutorial 4 once more: 8x8 codes for 32x32 pixels, 64 numbers for 3,072 values.

# %% alt=["Two rows of eight. Top: photographs of animals and vehicles. Bottom: their reconstructions from 64 codes, with the right shapes and colours, and without fine detail."]
def batches(seed, batch_size=BATCH):
    """Endless batches of training images, in the order of a seed."""
    return kg.load(
        DATA, batch_size=batch_size, image_size=32, channels=3, num_images=NUM_IMAGES,
        shuffle_seed=seed, epochs=None, drop_remainder=True,
    )


def in_memory(split, count):
    """Images and labels as two arrays."""
    data = kg.load(
        DATA, split, batch_size=count, image_size=32, channels=3, num_images=count,
        with_labels=True,
    )
    return [part.numpy() for part in next(iter(data))]


def train(model, steps, seed, batch_size=BATCH):
    """Trains for `steps` steps; returns the logs, one value per `EVERY` steps."""
    data = batches(seed, batch_size)
    return model.fit(data, epochs=steps // EVERY, steps_per_epoch=EVERY, verbose=0).history


def show(*rows, title):
    kg.plotting.show_images(np.stack([row[:SHOWN] for row in rows]), title, scale=3.2)
    plt.show()


images, labels = in_memory("train", NUM_IMAGES)  # (n, 32, 32, 3) in [-1, 1], (n,)
test_images, test_labels = in_memory("test", NUM_TEST)
codes_of = {"num_embeddings": CODES, "embedding_dim": DIM, "seed": 0,
            "network_options": {"filters": FILTERS}}
keras.utils.set_random_seed(0)
vq = kg.VQVAE((32, 32, 3), data_variance=float(images.var()), **codes_of)
vq.compile(learning_rate=1e-3)
train(vq, STEPS, seed=0)
PARTS = ("encoder", "quantizer", "decoder")
kept = {part: getattr(vq, part).get_weights() for part in PARTS}  # the VQGAN starts from here
train(vq, MORE, seed=1)
show(test_images, vq.reconstruct(test_images), title="Test images, and a VQ-VAE")

# %% [markdown]
# The blur is the answer to the loss. Many images $x$ share the same codes $k$, and for all of them
# the decoder has one output $y$. In squared error the best is their mean,
#
# $$\arg\min_y\; \mathbb{E}\big[\lVert x - y \rVert^2 \mid k\big] = \mathbb{E}[x \mid k],$$
#
# and a mean of sharp images is not sharp. The fewer the codes, the more images share them, and the
# stronger the blur.
#
# ## Two losses in balance
#
# VQGAN (Esser et al., 2021) keeps encoder, codebook and decoder, and changes what the output is
# compared with:
#
# - $\mathcal{L}_{rec}$: the absolute error of the pixels, plus the distance to $x$ in the features
#   of a frozen network (`content_network`), which sees edges and textures.
# - $\mathcal{L}_{GAN} = -\mathbb{E}[D(\hat x)]$, with a discriminator $D$ of the reconstructions
#   $\hat x$. It descends the hinge loss $\mathbb{E}[\max(0, 1 - D(x)) + \max(0, 1 + D(\hat x))]$.
#   $D$ is a PatchGAN: convolutions only, one logit per patch.
#
# How strong may the second loss be? The logits have no natural scale. So the gradients are compared
# where both arrive, at the weights $L$ of the decoder's last layer:
#
# $$\mathcal{L} = \mathcal{L}_{rec} + \mathcal{L}_{vq} + w\,\lambda\,\mathcal{L}_{GAN}, \qquad
# \lambda = \frac{\lVert \nabla_L \mathcal{L}_{rec} \rVert}{\lVert \nabla_L \mathcal{L}_{GAN} \rVert + \delta}.$$
#
# ## Your turn: the balance
#
# Write the sum without $\mathcal{L}_{vq}$, with $w = 0.8$ and $\delta = 10^{-6}$. The norm is
# `tf.norm`.

# %%
def balanced_loss(rec_loss, gan_loss, rec_gradient, gan_gradient):  # (), (), and two gradients
    return ...  # your lines

# %%
def balance_is_right(balanced_loss):
    """Checks gradients of lengths 5 and 2, and one of length 0."""
    rec_gradient, gan_gradient = tf.constant([[3.0, 4.0]]), tf.constant([[0.0, -2.0]])
    found = balanced_loss(1.0, -0.4, rec_gradient, gan_gradient)
    if found is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    assert np.isclose(found, 0.2, atol=1e-4), "it should be 1 + 0.8 * 5/2 * (-0.4) = 0.2"
    found = balanced_loss(1.0, 0.0, rec_gradient, 0 * gan_gradient)
    assert np.isclose(found, 1.0), "without an adversarial gradient it should be rec_loss, 1"
    print("Right.")
    return True


balance_is_right(balanced_loss)

# %% tags=["answer"]
def balanced_answer(rec_loss, gan_loss, rec_gradient, gan_gradient):
    weight = tf.norm(rec_gradient) / (tf.norm(gan_gradient) + 1e-6)
    return rec_loss + 0.8 * weight * gan_loss


assert balance_is_right(balanced_answer)

# %% [markdown]
# In the step of `kg.VQGAN` your lines are parts 2 and 3. Part 1 is the step of a VQ-VAE, part 4
# that of a discriminator. `active` is 0 for the first steps: against an untrained decoder $D$ would
# win at once.

# %%
print(inspect.getsource(kg.VQGAN.train_step))

# %% [markdown]
# ## VQGAN
#
# The VQGAN starts from the weights of the VQ-VAE after its first training, and gets as many further
# steps as the VQ-VAE got. Content is compared in the features of a small classifier of the package.
# Both new terms get less weight than by default, since the decoder is close already.

# %% alt=["Three rows of eight. Top: photographs. Middle: the VQ-VAE's reconstructions, smooth and blurred. Bottom: the VQGAN's, with crisper edges and textures, and some grain."]
keras.utils.set_random_seed(0)
vq_gan = kg.VQGAN(
    (32, 32, 3), content_network="cifar10_small", perceptual_weight=0.1, adversarial_weight=0.4,
    adversarial_start_step=START, **codes_of,
)
for part in PARTS:
    getattr(vq_gan, part).set_weights(kept[part])
vq_gan.compile(learning_rate=(5e-4, 3e-4))  # of the autoencoder, of the discriminator
logs = train(vq_gan, MORE, seed=1)
outputs = {"VQVAE": vq.reconstruct(test_images), "VQGAN": vq_gan.reconstruct(test_images)}
show(test_images, *outputs.values(), title="Test images, VQ-VAE, VQGAN")

# %% [markdown]
# Is that better? It depends on the measure.
#
# - *PSNR* compares each image with its original, pixel by pixel.
# - *Distance* is the Fréchet distance between the set of outputs and the set of originals, in the
#   features of a network. It must not be the one that the model was trained with: this one was
#   trained to recognise rotations, without labels.
# - *Sliced* is the sliced Wasserstein distance between patches of both sets, the mean over three
#   resolutions. No network is part of it.
# - *Sharpness* is the mean difference between neighbouring pixels, relative to the originals.

# %% alt=["Two charts over the steps. Left: the adaptive weight is 0 up to the dotted line and positive after it. Right: the losses of the discriminator and of the generator."]
features = kg.metrics.get_features("cifar10_rotation")
real_features = features(test_images)


def neighbours(made):
    return sum(np.abs(np.diff(made, axis=axis)).mean() for axis in (1, 2))


def evaluated(made):
    sliced = kg.metrics.sliced_wasserstein_distance(test_images, made, seed=0)
    return {
        "PSNR": float(kg.metrics.peak_signal_to_noise_ratio(test_images, made).mean()),
        "distance": kg.metrics.frechet_distance(real_features, features(made)),
        "sliced": np.mean(list(sliced.values())),
        "sharpness": neighbours(made) / neighbours(test_images),
    }


def table(outputs):
    print(f"{'':22} PSNR, dB  distance  sliced  sharpness")
    found = {name: evaluated(made) for name, made in outputs.items()}
    for name, row in found.items():
        print(f"{name:22} {row['PSNR']:8.2f} {row['distance']:9.1f} {row['sliced']:7.1f} "
              f"{row['sharpness']:10.2f}")
    return found


scores = table(outputs)
a, b = scores["VQVAE"], scores["VQGAN"]
print(f"At equal steps the VQGAN's PSNR is {b['PSNR'] - a['PSNR']:+.2f} dB, its distance "
      f"{b['distance'] / a['distance'] - 1:+.0%}, its sliced distance "
      f"{b['sliced'] / a['sliced'] - 1:+.0%}.")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
steps = EVERY * np.arange(1, len(logs["loss"]) + 1)
left.plot(steps, logs["adaptive_weight"], "o-", markersize=3)
right.plot(steps, logs["d_loss"], "o-", markersize=3, label="discriminator")
right.plot(steps, logs["g_loss"], "o-", markersize=3, label="generator")
right.legend(frameon=False)
for axes, title in ((left, "adaptive weight"), (right, "hinge losses")):
    axes.axvline(START, color="grey", linestyle=":")
    axes.set(xlabel="steps", title=title)
plt.show()

# %% [markdown]
# Read the table with the images. The VQGAN invents the detail that the codes do not determine, and
# some of it is grain, in the pattern of the decoder's strides. The measures need not agree: PSNR
# punishes every invented pixel; the sliced distance asks only whether patches look real; a
# network's features also see artefacts; and sharpness counts them as detail. So a claim of "better"
# names its measure. The paper's networks are trained far longer, with one code for 16x16 pixels,
# where a squared error can only blur. [docs/codes.md](../docs/codes.md) has their size and speed,
# and emoji at 64x64.
#
# ## Images by class
#
# To generate, the codes need a prior, as in tutorial 4. Here it is the paper's, a causal
# transformer, conditioned on the class $y$: $\prod_i p(k_i \mid k_1, \dots, k_{i-1}, y)$.

# %% alt=["Two rows of ten images drawn from the prior, one class per column, with plausible colours and textures, and no objects."]
prior = kg.CodeTransformer(vq_gan.code_shape, CODES, num_classes=10, seed=0)
vq_gan.fit_prior(images, labels, prior=prior, epochs=PRIOR_EPOCHS, verbose=0)


def timed(model):
    """Images by class, and milliseconds per image; a first call traces."""
    model.generate(20, seed=2)
    began = time.perf_counter()
    made = model.generate(20, seed=2)
    return made, 1000 * (time.perf_counter() - began) / len(made)


by_codes, codes_ms = timed(vq_gan)
_, gan_ms = timed(gan)
kg.plotting.show_images(by_codes, "From a prior over codes, by class", columns=10, scale=3.2)
plt.show()
print(f"one image: {codes_ms:.1f} ms by {math.prod(vq_gan.code_shape)} codes and a decoder, "
      f"{gan_ms:.1f} ms by the GAN at the top")

# %% [markdown]
# The GAN at the top was trained for an hour, this prior and its codes for a few minutes; compare
# methods only at equal cost. The times of generation can be compared: a GAN needs one pass, a prior
# one for each code. So a GAN, which is sometimes called slow, is the faster of the two here. How long
# training takes is another question, which these times do not answer.
#
# ## The third network: from small to large
#
# There is another way to get large, sharp images from few codes: decode a small image, and let a
# third network enlarge it. `kg.SuperResolutionGAN` does that (Ledig et al., 2017). Its generator
# computes features at the small size, turns channels into pixels, (h, w, 4c) to (2h, 2w, c), and
# adds the result to a bicubic enlargement. It descends
#
# $$\lVert x - G(x_{small}) \rVert^2 - \mu \log D\big(G(x_{small})\big), \qquad \mu = 10^{-3}.$$
#
# ## Your turn: its loss
#
# Write it from logits, with means over all elements. As in tutorial 0, $-\log D =
# \mathrm{softplus}(-\text{logit})$.

# %%
def enlarging_loss(images, fake_images, fake_logits):  # (B, h, w, c) twice, (B, 1) -> ()
    return ...  # your line

# %%
def enlarging_is_right(enlarging_loss):
    """Checks an error of 0.5 in every pixel, and logits of 0 and 2."""
    images, fakes = np.zeros((2, 4, 4, 3), "float32"), np.full((2, 4, 4, 3), 0.5, "float32")
    found = enlarging_loss(images, fakes, tf.constant([[0.0], [2.0]]))
    if found is ...:
        return print("Nothing here yet: write the line, or open the answer below.")
    expected = 0.25 + 1e-3 * np.mean(np.log(1 + np.exp([0.0, -2.0])))
    assert np.isclose(found, expected, atol=1e-6), f"it should be {expected:.6f}"
    print("Right.")
    return True


enlarging_is_right(enlarging_loss)

# %% tags=["answer"]
def enlarging_answer(images, fake_images, fake_logits):
    content = tf.reduce_mean((images - fake_images) ** 2)
    return content + 1e-3 * tf.reduce_mean(tf.nn.softplus(-fake_logits))


assert enlarging_is_right(enlarging_answer)

# %% [markdown]
# ## Close or sharp
#
# The network is trained with the first term, then twice more from there: with the first term, and
# with both.

# %% alt=["Four rows of eight. Top: bicubic enlargements, blurred. Second: content loss, sharper edges. Third: the GAN, sharper still, with some grain. Bottom: the original images."]
content = kg.SuperResolutionGAN((32, 32, 3), scale=2, adversarial_weight=0.0, seed=0)
content.compile(learning_rate=1e-3)
small = content.downsample(test_images)  # (n, 32, 32, 3) -> (n, 16, 16, 3)
enlarged = {"bicubic": content.translate(small)}  # the last layer starts at zero
train(content, SR_STEPS, seed=0, batch_size=BATCH // 2)
adversarial = kg.SuperResolutionGAN((32, 32, 3), scale=2, adversarial_weight=1e-3, seed=0)
adversarial.compile(learning_rate=(1e-3, 5e-4))
adversarial.generator.set_weights(content.generator.get_weights())
for name, model in (("content loss", content), ("content and GAN", adversarial)):
    train(model, SR_MORE, seed=1, batch_size=BATCH // 2)
    enlarged[name] = model.translate(small)  # (n, 16, 16, 3) -> (n, 32, 32, 3)
show(*enlarged.values(), test_images, title=f"{', '.join(enlarged)}, original")
scores = table(enlarged)
for column in ("PSNR", "distance", "sliced"):
    pick = max if column == "PSNR" else min
    print(f"best in {column}: {pick(scores, key=lambda name: scores[name][column])}")

# %% [markdown]
# It is the conflict of the blurred means again: of all large images that fit a small one, the mean
# is closest in squared error, and $D$ rejects it. In general no network can be best in both (Blau
# and Michaeli, 2018). With 3,000 steps and 10,000 test images the content loss alone has 28.74 dB
# at a distance of 42.4 in a classifier's features, the GAN 27.35 dB at 13.5, bicubic interpolation
# 26.09 dB at 135.1 ([docs/translation.md](../docs/translation.md)).
#
# And the whole chain, from codes to a small image to a large one? What the codes have lost does not
# come back: behind a VQ-VAE of sixteen codes the same page reports a PSNR of 19.72 dB with the GAN,
# and of 19.75 dB with bicubic interpolation. VQGAN's discriminator acts earlier, where the decoder
# is trained.
#
# ## Recognition
#
# Do such networks learn to recognise objects, without labels? The test is a *linear probe*: the
# network is frozen, and a linear classifier is fitted to its features $X$. Ridge regression on
# one-hot labels $Y$ has a closed form,
#
# $$W = X^\top (X X^\top + \alpha n I)^{-1} Y,$$
#
# for $n$ labelled images, with standardised $X$ and centred $Y$.
#
# Each network is compared with the same architecture, untrained. Without that, one would credit
# training with what the architecture does.

# %%
def probe(features, alpha=1.0):
    """Test accuracy of ridge regression on standardised features, by LABELLED images."""
    x, z = (np.concatenate([
        np.asarray(features(part[i : i + 256])).reshape(len(part[i : i + 256]), -1)
        for i in range(0, len(part), 256)
    ]) for part in (images[:LABELLED], test_images))  # (n, d), (m, d)
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, z = (x - mean) / deviation, (z - mean) / deviation
    y = np.eye(10)[labels[: len(x)]]  # (n, 10)
    kernel = x @ x.T + alpha * len(x) * np.eye(len(x))  # (n, n)
    weights = x.T @ np.linalg.solve(kernel, y - y.mean(axis=0))  # (d, 10)
    return float(((z @ weights + y.mean(axis=0)).argmax(axis=1) == test_labels).mean())


def of_patches(model):
    """The discriminator's features before its last layer, averaged to 4x4 places."""
    body = keras.Model(model.discriminator.input, model.discriminator.layers[-2].output)
    return lambda batch: keras.layers.AveragePooling2D(2)(body(batch))


keras.utils.set_random_seed(1)
untrained = kg.VQGAN((32, 32, 3), **codes_of)
probes = {"vectors": (vq.encoder, untrained.encoder),
          "discriminator": (of_patches(vq_gan), of_patches(untrained))}
noise = 2 * math.sqrt(2 * 0.3 * 0.7 / len(test_images))  # two standard errors of a difference
print(f"pixels: {probe(lambda batch: batch):.1%}; chance: 10 %")
for name, pair in probes.items():
    trained, initial = (probe(features) for features in pair)
    print(f"{name}: {trained:.1%}, untrained {initial:.1%}: training changes {trained - initial:+.1%}, "
          f"{'more' if abs(trained - initial) > noise else 'less'} than the noise of {noise:.0%}")

# %% [markdown]
# The vectors are those of the VQ-VAE, not of the VQGAN, whose content network was trained with
# labels. A longer run on Fashion-MNIST, with 10,000 test images, separates the two causes
# ([docs/codes.md](../docs/codes.md)): a GAN's discriminator reaches 90.9 %, the same one with
# random weights 88.1 %, pixels 84.7 %. A VQ-VAE's vectors reach 88.3 %, and 87.2 % untrained. Most
# of the gain is the architecture's: convolutions separate classes before they have learned
# anything.
#
# ## What the article shows, and what runs
#
# The article is the one behind tutorial 4, which has its encoder and decoder at the end, and the
# formulas for the size of a convolution's output. What remains are an enlarging network and a GAN.

# %%
def convolved(n, k, s, p):
    return (n + 2 * p - k) // s + 1


def transposed(n, k, s, p):
    return (n - 1) * s - 2 * p + k


def sides(n, layers, size):
    """The side of the image before, between and after layers `(k, s, p)`."""
    chain = [n]
    for layer in layers:
        chain.append(size(chain[-1], *layer))
    return " -> ".join(map(str, chain))


halving, same, doubling, closing = (3, 2, 1), (3, 1, 1), (4, 2, 1), (4, 1, 1)  # (k, s, p)
print("enlarging network", sides(25, [same] + 3 * [halving] + [same], convolved))
print("GAN's generator  ", sides(1, [closing] + 3 * [doubling] + [closing], transposed))
print("its discriminator", sides(17, 4 * [doubling] + [closing], convolved))
layers = [keras.Input((17, 17, 3))]
for filters, stride in ((64, 2), (128, 2), (256, 2), (512, 2), (1, 1)):
    layers += [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(filters, 4, stride)]
try:
    keras.Sequential(layers)
except ValueError as error:
    print("its last layer:", str(error).split(".")[0])
else:
    raise AssertionError("a kernel of 4 on 3x3 places was expected to be refused")

five = kg.GAN((32, 32, 3), latent_dim=100, networks="dcgan5")
for network in (five.generator, five.discriminator):
    shapes = [layer.output.shape[1] for layer in network.layers
              if isinstance(layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose))]
    print(f"dcgan5, {network.name}: {' -> '.join(map(str, shapes))}, "
          f"{network.count_params():,} weights")
for name, real, fake in (("is right", 0.9, 0.1), ("is wrong", 0.1, 0.9)):
    print(f"log D(x) + log(1 - D(G(z))) of a D that {name}: "
          f"{math.log(real) + math.log(1 - fake):.2f}")

# %% [markdown]
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | an "upscaling" generator behind the decoder | three convolutions of stride 2 shrink: 25 -> 4; and it expects 100 channels, where 3 come in | `kg.SuperResolutionGAN` |
# | a GAN's generator with a padding of 1 on one pixel | the padding cuts 4x4 to 2x2, and the last layer adds a pixel: 17x17 | `kg.GAN(networks="dcgan5")`: five layers, 32x32 or 64x64, three epochs in [docs/adversarial.md](../docs/adversarial.md) |
# | its discriminator | no position is left for the last kernel | the same five layers and one logit |
# | no normalisation in either | the DCGAN it follows has batch normalisation | `"dcgan5"` has it |
# | $G$ maximises $\mathbb{E}[\log p_{data}(G(z))]$ | the density is unknown, and nothing keeps the samples diverse: exercise 3 | $-\mathbb{E}[\log D(G(z))]$ |
# | $D$ minimises $\mathbb{E}[\log D(x)] + \mathbb{E}[\log(1 - D(G(z)))]$ | the sign: the printed value is higher if $D$ is right | `discriminator_loss`, on logits |
# | "a VQ-VAE is a special GAN" | it has no discriminator and no noise | `kg.VQGAN`, where the two meet |
# | a GAN generates slowly | one pass per image | timed above |
# | recognition for free | mostly the architecture's | a linear probe, of both |
# | editing: enhancing, repairing, style | no model for it | `Pix2Pix` and `CycleGAN`, [docs/translation.md](../docs/translation.md) |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: how large is a patch?
#
# A logit of the PatchGAN depends on a part of the image, its receptive field. Backwards through
# the layers, $f$ pixels after a convolution depend on $(f - 1)s + k$ before it. How large is the
# receptive field of `vq_gan.discriminator`, and how many halvings does the 70x70 of pix2pix take?

# %% tags=["answer"]
def field(network):
    f = 1
    for layer in reversed(network.layers):
        if isinstance(layer, keras.layers.Conv2D):
            f = (f - 1) * layer.strides[0] + layer.kernel_size[0]
    return f


def patchgan(levels):
    return kg.networks.patchgan_discriminator((32, 32, 3), levels=levels, filters=8)


print("receptive field by halvings:", {levels: field(patchgan(levels)) for levels in (1, 2, 3)})
assert field(vq_gan.discriminator) == field(patchgan(2)) == 34
assert field(patchgan(3)) == 70

# %% [markdown]
# ### Exercise 2: ten times the loss
#
# What happens to $\lambda \nabla_L \mathcal{L}_{GAN}$ if the adversarial loss is multiplied by
# ten? Compute $\lambda$ and the length of that gradient for the trained VQGAN, with
# `vq_gan.generator_loss` and `vq_gan.last_kernel`. Take the absolute error as $\mathcal{L}_{rec}$.

# %% tags=["answer"]
def weight_and_length(scale):
    real = tf.constant(test_images[:8])
    with tf.GradientTape(persistent=True) as tape:
        outputs = vq_gan.decoder(vq_gan.quantizer(vq_gan.encoder(real))[0])
        rec_loss = tf.reduce_mean(tf.abs(real - outputs))
        gan_loss = scale * vq_gan.generator_loss(vq_gan.discriminator(outputs, training=False))
    rec, adversarial = (tf.norm(tape.gradient(loss, vq_gan.last_kernel))
                        for loss in (rec_loss, gan_loss))
    weight = rec / (adversarial + 1e-6)
    return float(weight), float(weight * adversarial)


plain, tenfold = weight_and_length(1.0), weight_and_length(10.0)
print(f"lambda {plain[0]:.4f}, then {tenfold[0]:.4f}; length of the gradient {plain[1]:.4f}, then "
      f"{tenfold[1]:.4f}")
assert np.isclose(plain[0], 10 * tenfold[0], rtol=1e-2)
assert np.isclose(plain[1], tenfold[1], rtol=1e-2)

# %% [markdown]
# ### Exercise 3: climb the density
#
# Suppose that the density of the data were known. Would $\mathbb{E}_z[\log p_{data}(G(z))]$ be an
# objective for a generator? Try it in one dimension: let 200 samples climb $\log p$ of two normal
# distributions, at -3 and 3, each with a deviation of 1. What is left of the deviation?

# %% tags=["answer"] alt=["Two histograms under the density of two bells. Before: samples spread over both. After 300 steps: all samples in two narrow columns, at the tops of the bells."]
def slope(x):
    """d log p / dx of p = (N(-3, 1) + N(3, 1)) / 2."""
    right = 1 / (1 + np.exp(-6 * x))  # the share of the mode at 3
    return right * (3 - x) + (1 - right) * (-3 - x)


start = np.random.default_rng(0).normal(0, 3, 200)
climbed = start.copy()
for _ in range(300):
    climbed = climbed + 0.05 * slope(climbed)
line = np.linspace(-8, 8, 200)
density = (np.exp(-((line + 3) ** 2) / 2) + np.exp(-((line - 3) ** 2) / 2)) / np.sqrt(8 * np.pi)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.4), sharey=True, layout="constrained")
for ax, points, title in zip(axes, (start, climbed), ("before", "after 300 steps")):
    ax.hist(points, 40, range=(-8, 8), density=True, color="#93c5fd")
    ax.plot(line, density, color="#dc2626")
    ax.set(title=title, ylim=(0, 0.5))  # the columns on the right are higher
plt.show()
deviations = climbed[climbed < 0].std(), climbed[climbed > 0].std()
print(f"deviation within the modes: {deviations[0]:.1e} and {deviations[1]:.1e}")
assert max(deviations) < 0.01

# %% [markdown]
# ## Where to go next
#
# - [6. Making it train](06_making_it_train.ipynb): losses, penalties, and what to do when a GAN does
#   not train.
# - [docs/colour.md](../docs/colour.md): what learns fastest in colour;
#   [docs/codes.md](../docs/codes.md): VQGAN on emoji and at 256x256. `kg.VQVAE2` has codes of two
#   sizes (Razavi et al., 2019): [docs/results.md](../docs/results.md).
#
# References: Esser et al. (2021), [VQGAN](https://arxiv.org/abs/2012.09841); Ledig et al. (2017),
# [SRGAN](https://arxiv.org/abs/1609.04802); Blau and Michaeli (2018), [distortion and
# perception](https://arxiv.org/abs/1711.06077); Isola et al. (2017),
# [PatchGAN](https://arxiv.org/abs/1611.07004); Radford et al. (2016),
# [DCGAN](https://arxiv.org/abs/1511.06434); Razavi et al. (2019),
# [VQ-VAE-2](https://arxiv.org/abs/1906.00446).
