# %% [markdown]
# # 3. Classifier, DCGAN, VAE
#
# > **You will be able to** train a convolutional classifier, a DCGAN and a VAE, say what each layer
# > and each term of the loss is for, and put numbers to what is said against generated images: too
# > little data, too much computing, black boxes, copies, forgeries.
# >
# > **Time**: 45 minutes with reading. Measured: 6.6 minutes on two CPU cores, on a shared machine.
# >
# > **You need** Keras, NumPy, and [tutorial 0](00_fifteen_minutes.ipynb). (On Colab, run `%pip
# > install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/03_classifier_dcgan_vae.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/03_classifier_dcgan_vae.ipynb) · [中文](zh/03_classifier_dcgan_vae.ipynb)
#
# Contents: [The goal](#The-goal) · [A classifier](#A-classifier) · [Your turn: its
# step](#Your-turn:-its-step) · [A metric](#A-metric) · [A DCGAN](#A-DCGAN) · [A VAE](#A-VAE) · [Your
# turn: the bound](#Your-turn:-the-bound) · [Latents](#Latents) · [Claims,
# measured](#Claims,-measured) · [What the article shows, and what
# runs](#What-the-article-shows,-and-what-runs) · [Exercises](#Exercises) · [Appendix: layers,
# checked](#Appendix:-layers,-checked)

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_TRAIN": 256, "NUM_TEST": 128, "CLASSIFIER_EPOCHS": 1, "FEW": 64, "HAND_STEPS": 2, "GAN_EPOCHS": 2, "SMALL": 64, "SMALL_STEPS": 2, "TINY_STEPS": 2, "VAE_EPOCHS": 1, "SOLID_STEPS": 2, "SAMPLES": 70, "FILTERS": 4}
DATA = "fashion_mnist"
NUM_TRAIN = 19_200
NUM_TEST = 1_920
BATCH = 64
CLASSIFIER_EPOCHS = 2
FEW = 320  # images of a classifier with less data
HAND_STEPS = 100  # of the step that you write
GAN_EPOCHS = 6
SMALL = 100  # images of a GAN with less data
SMALL_STEPS = 400
TINY = 16  # images of a generator that overfits on purpose
TINY_STEPS = 300
VAE_EPOCHS = 6
SOLID_STEPS = 320  # of a GAN in three dimensions
SAMPLES = 1_000
FILTERS = 16

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
# A generator of colour images comes with the package, already trained on the ten classes of
# CIFAR-10. Convolutions made it possible. On this page you train small grey relatives of it.

# %% alt=["Two rows of ten small colour photographs, a class of CIFAR-10 per column. Planes, cars, ships, horses and trucks can be recognised; birds, cats and frogs are blurred shapes in plausible colours."]
import hashlib
import inspect
import math
import re
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

import keras_genimg as kg

plt.close("all")  # of an earlier run
IMAGE_SHAPE, LATENT_DIM = (28, 28, 1), 100
preset = kg.load_preset("conditional_gan_cifar10")
title = " · ".join(preset.class_names)
kg.plotting.show_images(preset.generate(20, np.arange(20) % 10, seed=1), title, 10, scale=3.1)
plt.show()

# %% tags=["setup"]
DATA = or_glyphs(DATA)

# %%
def read(split, count):
    """`count` images and their labels as NumPy arrays."""
    data = kg.load(DATA, split, batch_size=count, num_images=count, with_labels=True)
    return [array.numpy() for array in next(iter(data))]


images, labels = read("train", NUM_TRAIN)  # (n, 28, 28, 1) in [-1, 1], (n,)
test, test_labels = read("test", NUM_TEST)  # never trained on
names = "T-shirt trousers pullover dress coat sandal shirt sneaker bag boot".split()
if DATA != "fashion_mnist":
    names = list("0123456789")

# %% [markdown]
# ## A classifier
#
# A classifier generates nothing. It belongs here because generators will be measured in the
# features of a classifier, the numbers that its last layer decides from. The first model has one
# convolution with 32 kernels, pooling and ten outputs. Below are the test images to whose class it
# gives the lowest probability, each titled with that class and the prediction.

# %% alt=["Eight test images, each titled with its class and the prediction: boots and sneakers, a dress predicted as a coat, and other pairs that look alike."]
keras.utils.set_random_seed(0)
classifier = kg.CNNClassifier(IMAGE_SHAPE, 10)
classifier.compile()
before = classifier.evaluate(test, test_labels, verbose=0, return_dict=True)["loss"]
classifier.fit(images, labels, batch_size=BATCH, epochs=CLASSIFIER_EPOCHS, verbose=0)
guesses = classifier.classify(test)  # (n,)
print(f"correct: {np.mean(classifier.classify(images) == labels):.1%} of training images, "
      f"{np.mean(guesses == test_labels):.1%} of test images")


def log_share(images, labels):
    """log p(label) by the classifier: `(n,)`."""
    logits = classifier(images, training=False)  # (n, 10)
    losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    return -losses.numpy()


def row_of(images, titles, **options):
    """Draws images beside each other, each with a title."""
    figure, axes = plt.subplots(1, len(images), figsize=(1.25 * len(images), 1.5), dpi=100,
                                layout="constrained")
    for axis, image, title in zip(axes, images, titles):
        axis.imshow(image, **{"cmap": "gray", **options})
        axis.set_title(title, fontsize=8)
        axis.set_axis_off()
    plt.show()


worst = np.argsort(log_share(test, test_labels))[:8]  # of the lowest p(label)
row_of(test[worst], [f"{names[test_labels[i]]}: {names[guesses[i]]}?" for i in worst])

# %% [markdown]
# **Convolution.** A 3x3 kernel slides over the image. At each position it is multiplied with the
# pixels under it, and the products are added: $y_{ij} = \sum_{a=0}^{2} \sum_{b=0}^{2} w_{ab} \,
# x_{i+a,\,j+b}$. The kernel below responds where brightness rises from left to right.

# %%
image = np.zeros((6, 6), "float32")
image[:, 3:] = 1.0  # dark on the left, light on the right
kernel = np.array([[-1, 0, 1]] * 3, "float32")
by_hand = np.array(
    [[(kernel * image[i : i + 3, j : j + 3]).sum() for j in range(4)] for i in range(4)]
)  # (6, 6) -> (4, 4): a kernel of 3 has 6 - 3 + 1 positions per side
by_keras = keras.ops.conv(image[None, :, :, None], kernel[:, :, None, None])  # (1, 4, 4, 1)
print(by_hand, "\nlargest difference from Keras:", np.abs(by_hand - by_keras[0, :, :, 0]).max())

# %% [markdown]
# **Shapes and parameters.** A side of $n$ has $n - 3 + 1$ positions. Pooling keeps the largest
# value of each 2x2 block, which halves that number.

# %%
side = (28 - 3 + 1) // 2  # (28, 28, 1) -> (26, 26, 32) -> (13, 13, 32)
flat = side * side * 32  # -> (5408,)
by_hand = (3 * 3 * 1 * 32 + 32) + (flat * 10 + 10)  # 32 kernels and biases, then the dense layer
assert classifier.features(test[:2]).shape == (2, flat)
assert by_hand == sum(math.prod(weight.shape) for weight in classifier.trainable_variables)
print(f"{flat:,} features, {by_hand:,} parameters, as in the model")

# %% [markdown]
# **Softmax.** The dense layer gives ten logits, $l = Wx + b$, and $p_k = e^{l_k} / \sum_j e^{l_j}$
# turns them into probabilities. The loss is the cross-entropy, $-\log p_{label}$, in nats, the unit of
# natural logarithms. A classifier that only guesses has $\log 10$, and an untrained one is near it.

# %%
print(f"untrained: {before:.2f} nats; log 10 = {np.log(10):.2f}")

# %% [markdown]
# ## Your turn: its step
#
# Write one update: a `tf.GradientTape` with the mean cross-entropy of the network's logits
# (`tf.nn.sparse_softmax_cross_entropy_with_logits`), its gradients, and the optimizer's update.
# Return the loss.

# %%
def classifier_step(network, optimizer, images, labels):
    return ...  # your lines

# %%
def step_is_right(step):
    """Compares one update of a dense layer with the closed form: W - rate x^T (p - onehot) / n."""
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((3,)), layers.Dense(4)])
    weights, _ = network.get_weights()  # (3, 4)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    y = np.array([0, 1, 2, 3, 0])
    powers = np.exp(x @ weights)
    p = powers / powers.sum(axis=1, keepdims=True)  # (5, 4)
    loss = step(network, keras.optimizers.SGD(0.1), x, y)
    if loss is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    expected = -np.log(p[range(5), y]).mean()
    assert abs(float(loss) - expected) < 1e-5, f"the loss should be {expected:.4f}"
    wanted = weights - 0.1 * x.T @ (p - np.eye(4)[y]) / 5
    right = np.allclose(network.get_weights()[0], wanted, atol=1e-5)
    assert right, f"the weights should be {wanted.round(3).tolist()}"
    print(f"Right: loss {expected:.4f}, and the weights of the closed form.")
    return True


step_is_right(classifier_step)

# %% [markdown]
# The answer is in the next cell, which is collapsed. It also trains a classifier with the step.

# %% tags=["answer"]
def classifier_step_answer(network, optimizer, images, labels):
    with tf.GradientTape() as tape:
        logits = network(images, training=True)  # (B, 10)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    weights = network.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
    return loss


assert step_is_right(classifier_step_answer)
by_hand, adam = kg.CNNClassifier(IMAGE_SHAPE, 10), keras.optimizers.Adam()
for step in range(HAND_STEPS):
    batch = np.arange(step * BATCH, (step + 1) * BATCH) % NUM_TRAIN
    classifier_step_answer(by_hand, adam, images[batch], labels[batch])
print(f"{HAND_STEPS} steps by hand: {np.mean(by_hand.classify(test) == test_labels):.1%} correct")

# %% [markdown]
# The package's step does the same. `unpack` and `batch.share` check the batch and weight the
# gradients of several devices; `log` keeps running means.

# %%
print(inspect.getsource(kg.CNNClassifier.train_step))

# %% [markdown]
# ## A metric
#
# A second classifier, of two convolutions and a dense layer, gives each image 64 features. The
# Fréchet distance compares Gaussians fitted to the features of two sets of images, with means $m$
# and covariances $S$:
#
# $$d = |m_1 - m_2|^2 + \mathrm{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2})$$

# %%
keras.utils.set_random_seed(0)
judge = kg.CNNClassifier(IMAGE_SHAPE, 10, filters=(32, 64), units=(64,))
judge.compile()
judge.fit(images, labels, batch_size=BATCH, epochs=CLASSIFIER_EPOCHS, verbose=0)
test_features = judge.features(test)  # (n, 64)


def distance(images):
    """Fréchet distance of images from the test images."""
    return kg.metrics.frechet_distance(test_features, judge.features(images))


real = images[:NUM_TEST]
noise = np.random.default_rng(0).normal(size=real.shape).astype("float32")
corrupted = {
    "real images (the floor)": real,
    "noise 0.1": np.clip(real + 0.1 * noise, -1, 1),
    "noise 0.4": np.clip(real + 0.4 * noise, -1, 1),
    "blurred over 2 pixels": (real + np.roll(real, 1, 1)) / 2,
    "five classes missing": real[labels[:NUM_TEST] > 4],
}
for name, each in corrupted.items():
    print(f"{name:25}{distance(each):8.2f}")

# %% [markdown]
# A metric is tried on known corruptions before it judges a model: each value should rise above the
# floor. [docs/metrics.md](../docs/metrics.md) has more corruption levels, with 10,000 images.
#
# ## A DCGAN
#
# The step is that of [tutorial 0](00_fifteen_minutes.ipynb): $D$ descends $-\log D(x) - \log(1 -
# D(G(z)))$, then $G$ descends $-\log D(G(z))$. What is new is inside the two networks (Radford et
# al., 2016): noise of 100 numbers becomes a 7x7 grid that doubles twice, and $D$ halves the image
# until a dense layer can judge it.

# %% alt=["Columns of eight noise vectors, in rows from before training to the last epoch: grey squares, then ragged patches, then garments with clear outlines, some of them still frayed. A last row of real images is smoother."]
def make_gan(augment=None, dropout=0.25):
    keras.utils.set_random_seed(0)
    gan = kg.GAN(
        IMAGE_SHAPE, LATENT_DIM, augment=augment, seed=0,
        generator=kg.networks.dcgan_generator(
            IMAGE_SHAPE, LATENT_DIM, filters=FILTERS, momentum=0.8
        ),
        discriminator=kg.networks.dcgan_discriminator(
            IMAGE_SHAPE, filters=FILTERS, momentum=0.8, dropout=dropout
        ),
    )
    gan.compile(learning_rate=1e-3)
    return gan


def endless(count, batch=BATCH):
    """Endless batches of the first `count` images, each epoch in a new order."""
    return kg.load(DATA, batch_size=batch, num_images=count, shuffle_seed=0, epochs=None,
                   drop_remainder=True)


class Watch(keras.callbacks.Callback):
    """Samples of the same noise, and their distance, before training and after each epoch."""

    def __init__(self):
        super().__init__()
        self.samples, self.distances = [], []

    def on_train_begin(self, logs=None):
        made = self.model.generate(SAMPLES, seed=1)
        self.samples.append(made[:8])
        self.distances.append(distance(made))

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_begin()


gan, watch, steps = make_gan(), Watch(), NUM_TRAIN // BATCH
gan.fit(endless(NUM_TRAIN), steps_per_epoch=steps, epochs=GAN_EPOCHS, callbacks=[watch], verbose=0)
rows = [watch.samples[epoch] for epoch in sorted({0, 1, GAN_EPOCHS // 2, GAN_EPOCHS})]
title = f"The same noise, from 0 to {GAN_EPOCHS} epochs; last row: real images"
kg.plotting.show_images(np.concatenate([*rows, test[:8]]), title, 8, scale=3.5)
plt.show()
print("distance after each epoch:", *(f"{each:.1f}" for each in watch.distances))

# %% [markdown]
# The losses are not shown: each network is measured against the other, so neither loss says how
# good the images are. The distance does: compare it with the floor above.
#
# **Transposed convolution.** From a side of $n$, a transposed convolution with kernel $k$ and
# stride $s$ gives $(n-1)s + k$ ("valid") or $ns$ ("same"). Three ways lead to 28. (The
# [appendix](#Appendix:-layers,-checked) says why it is called transposed, and what the layers
# between the convolutions do.)

# %%
WAYS = {
    "from 1x1": (1, [(7, 1, "valid"), (4, 2, "same"), (4, 2, "same")]),
    "from 4x4": (4, [(4, 1, "valid"), (4, 2, "same"), (4, 2, "same")]),
    "from 7x7": (7, [(4, 2, "same"), (4, 2, "same")]),
}
for name, (side, convolutions) in WAYS.items():
    grid, sides = keras.Input((side, side, 8)), [side]
    for k, s, padding in convolutions:
        grid = layers.Conv2DTranspose(1, k, s, padding)(grid)
        side = side * s if padding == "same" else (side - 1) * s + k
        assert grid.shape[1:3] == (side, side)
        sides.append(side)
    print(f"{name}:", " -> ".join(map(str, sides)))
for network in (gan.generator, gan.discriminator):
    print(f"\n{network.name}")
    for layer in network.layers[1:]:
        shape = str(layer.output.shape[1:])
        print(f"    {type(layer).__name__:20}{shape:14}{layer.count_params():>9,} parameters")

# %% [markdown]
# ## A VAE
#
# An encoder gives each image a Gaussian over $z$, $q(z|x) = N(\mu, \sigma^2)$; a decoder turns a
# draw of it back into the image. Both are trained together, on one objective.

# %% alt=["Three rows of eight: test images, their reconstructions, which are right in shape and smooth, and samples: soft garments and a few grey blobs."]
def make_vae(beta):
    keras.utils.set_random_seed(0)
    options = {"filters": FILTERS, "widest": 4 * FILTERS}
    vae = kg.VAE(IMAGE_SHAPE, LATENT_DIM, beta=beta, seed=0, network_options=options)
    vae.compile()
    return vae


vae = make_vae(beta=1.0)
vae.fit(endless(NUM_TRAIN), steps_per_epoch=steps, epochs=VAE_EPOCHS, verbose=0)
rows = [test[:8], vae.reconstruct(test[:8]), vae.generate(8, seed=1)]
title = "Test images, their reconstructions, samples"
kg.plotting.show_images(np.concatenate(rows), title, 8, scale=3.5)
plt.show()
vae_distance = distance(vae.generate(SAMPLES, seed=1))
print(f"distance: VAE {vae_distance:.1f}, GAN {watch.distances[-1]:.1f}")

# %% [markdown]
# **The bound.** Training descends, in nats, the negative *evidence lower bound* (ELBO),
#
# $$-\mathrm{ELBO} = -E_q[\log p(x|z)] + \mathrm{KL}(q(z|x) \,\|\, N(0, I)).$$
#
# The first term asks for good reconstructions; the second keeps the codes where $N(0, I)$, from
# which we will draw, has its mass. Per dimension it is $\frac12 (\mu^2 + \sigma^2 - 1 - \log
# \sigma^2)$. The encoder gives $\mu$ and $\log \sigma^2$, and the draw is $z = \mu + \sigma \epsilon$
# with $\epsilon \sim N(0, I)$, so that gradients reach $\mu$ and $\sigma$.
#
# ## Your turn: the bound
#
# Write the negative bound of each image. `encoder(images)` returns $\mu$ and $\log \sigma^2$,
# `decoder(z)` logits, and `kg.losses.bernoulli_log_likelihood(images, logits)` is $\log p(x|z)$.

# %%
def negative_bound(encoder, decoder, images, epsilon):  # epsilon: (n, d) -> (n,)
    return ...  # your lines

# %%
def bound_is_right(bound):
    """Compares a bound with NumPy's, for fixed means, variances and noise."""
    mean, log_var = np.array([[0.5, -1.0]], "float32"), np.array([[-2.0, 0.4]], "float32")
    epsilon, pixels = np.array([[1.0, -0.5]], "float32"), np.array([[1.0, -0.2]], "float32")
    found = bound(lambda images: (mean, log_var), lambda z: 3 * z, pixels, epsilon)
    if found is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    p = 1 / (1 + np.exp(-3 * (mean + np.sqrt(np.exp(log_var)) * epsilon)))
    share = (pixels + 1) / 2  # from [-1, 1] to [0, 1]
    reconstruction = -np.sum(share * np.log(p) + (1 - share) * np.log(1 - p), axis=1)
    kl = 0.5 * np.sum(mean**2 + np.exp(log_var) - 1 - log_var, axis=1)
    wanted = reconstruction + kl
    assert np.allclose(found, wanted, atol=1e-4), f"it should be {reconstruction} + {kl}"
    print(f"Right: {reconstruction[0]:.3f} + {kl[0]:.3f} nats.")
    return True


bound_is_right(negative_bound)

# %% [markdown]
# The half in $\sigma = e^{\frac12 \log \sigma^2}$ is easily forgotten. The answer runs on our VAE
# too.

# %% tags=["answer"]
def negative_bound_answer(encoder, decoder, images, epsilon):
    mean, log_var = encoder(images)  # (n, d) each
    z = mean + tf.exp(0.5 * log_var) * epsilon
    kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - 1 - log_var, axis=1)  # (n,)
    return kl - kg.losses.bernoulli_log_likelihood(images, decoder(z))


assert bound_is_right(negative_bound_answer)
epsilon = tf.random.stateless_normal((NUM_TEST, LATENT_DIM), seed=(0, 0))
by_hand = float(tf.reduce_mean(negative_bound_answer(vae.encoder, vae.decoder, test, epsilon)))
parts = vae.evaluate(test, batch_size=BATCH, verbose=0, return_dict=True)
print(f"test images: {by_hand:.1f} by hand, {-parts['elbo']:.1f} by kg.VAE, other noise: "
      f"{parts['reconstruction_loss']:.1f} + {parts['kl_loss']:.1f}")
assert abs(by_hand + parts["elbo"]) < 0.02 * by_hand

# %% [markdown]
# **Without KL** (`beta=0`) only reconstruction is left, as in a plain autoencoder. Codes may lie
# anywhere, so draws from N(0, I) need not look like anything. `fit_prior` can then fit a Gaussian
# to the codes and draw from that, which is a generator too (Ghosh et al., 2020).

# %% alt=["Three rows of eight from the model without KL: sharper reconstructions, grey patches as samples of N(0, I), and recognisable if rough garments from the fitted Gaussian."]
loose = make_vae(beta=0.0)
loose.fit(endless(NUM_TRAIN), steps_per_epoch=steps, epochs=VAE_EPOCHS, verbose=0)
for name, model in (("with KL", vae), ("without", loose)):
    mean, log_var = (each.numpy() for each in model.encoder(test, training=False))
    error = np.mean((model.reconstruct(test) - test) ** 2)
    print(f"{name}: squared error {error:.4f}; deviation of the codes {mean.std():.2f}, "
          f"of the draws around each {np.exp(log_var / 2).mean():.3f}")
rows = [loose.reconstruct(test[:8]), loose.generate(8, seed=1)]
from_normal = distance(loose.generate(SAMPLES, seed=1))
loose.fit_prior(images[:2_000], num_components=1)
rows.append(loose.generate(8, seed=1))
title = "Without KL: reconstructions, samples of N(0, I), samples of the fitted Gaussian"
kg.plotting.show_images(np.concatenate(rows), title, 8, scale=3.5)
plt.show()
print(f"distance of samples: without KL {from_normal:.1f} from N(0, I), "
      f"{distance(loose.generate(SAMPLES, seed=1)):.1f} from the fitted Gaussian; "
      f"with KL {vae_distance:.1f} from N(0, I)")

# %% [markdown]
# ## Latents
#
# **How many of the 100 are used?** The KL is a sum over dimensions. A dimension whose term is 0 has
# $\mu = 0$ and $\sigma = 1$ for every image, and carries no information. Each row below moves one
# dimension from -3 to 3: the three most used, then the least.

# %% alt=["Four rows of nine boots. Along the three most used dimensions a boot becomes larger, narrower, or clear from a blur; the row of the least used hardly changes."]
z_mean, z_log_var = (each.numpy() for each in vae.encoder(test, training=False))  # (n, 100) each
kl = 0.5 * (z_mean**2 + np.exp(z_log_var) - 1 - z_log_var).mean(axis=0)  # (100,)
order = np.argsort(kl)[::-1]  # the most used first
print(f"{int((kl > 0.1).sum())} of {LATENT_DIM} dimensions above 0.1 nats hold "
      f"{kl[kl > 0.1].sum() / kl.sum():.0%} of the KL")
start = z_mean[np.flatnonzero(test_labels == 9)[0]]  # (100,)
moves = [
    kg.latents.traverse(vae, start, int(dimension), np.linspace(-3, 3, 9))  # (9, 100)
    for dimension in (*order[:3], order[-1])
]
frames = kg.latents.decode(vae, np.stack(moves))  # (4, 9, 100) -> (4, 9, 28, 28, 1)
kg.plotting.show_images(frames, "The three most used dimensions, and the least used", scale=3.5)
plt.show()

# %% [markdown]
# So a VAE can be asked what its dimensions do. Nobody specified their meaning, and one may change
# several attributes at once.
#
# **Between two latents.** Gaussian noise in 100 dimensions has a length of about $\sqrt{100} = 10$.
# Halfway along a straight line each dimension has variance $\frac14 + \frac14$, so the length is
# near $10 / \sqrt 2$, where the generator was not trained. Spherical interpolation keeps the
# length.

# %% alt=["Four rows of nine images between two pairs of samples, each pair linear and then spherical: trousers turn into a shoe, and one pullover into another, without a jump."]
starts, ends = (gan.draw_latents(SAMPLES, seed=seed).numpy() for seed in (1, 2))  # (n, 100)
print(f"{'drawn':10} length {np.linalg.norm(starts, axis=1).mean():5.2f}")
for method in ("linear", "spherical"):
    middle = kg.latents.interpolate(gan, starts, ends, 3, method)[:, 1]  # (n, 100)
    found = [distance(kg.latents.decode(model, middle)) for model in (gan, vae)]
    print(f"{method:10} length {np.linalg.norm(middle, axis=1).mean():5.2f}; distance of the images "
          f"halfway: GAN {found[0]:.1f}, VAE {found[1]:.1f}")
ways = [
    kg.latents.decode(gan, kg.latents.interpolate(gan, starts[:2], ends[:2], 9, method))
    for method in ("linear", "spherical")
]  # (2, 9, 28, 28, 1) each
frames = np.stack(ways, axis=1).reshape(4, 9, *IMAGE_SHAPE)
kg.plotting.show_images(frames, "GAN: two pairs, each linear and spherical", scale=3.5)
plt.show()

# %% [markdown]
# ## Claims, measured
#
# Image generation is said to need too much data and computing, to be a black box, to copy and to
# forge. Each claim gets a number here, for one seed.
#
# ### Too little data, or bad data
#
# A classifier is trained with the same number of updates, once on fewer images and once with half
# of the labels at random.

# %%
def accuracies(number, share_wrong):
    """Accuracy on the training labels and on test images."""
    keras.utils.set_random_seed(0)
    given, draws = labels[:number].copy(), np.random.default_rng(0)
    wrong = draws.random(number) < share_wrong
    given[wrong] = draws.integers(0, 10, wrong.sum())
    model = kg.CNNClassifier(IMAGE_SHAPE, 10)
    model.compile()
    epochs = CLASSIFIER_EPOCHS * NUM_TRAIN // number
    model.fit(images[:number], given, batch_size=BATCH, epochs=epochs, verbose=0)
    seen = np.mean(model.classify(images[:number]) == given)
    return seen, np.mean(model.classify(test) == test_labels)


for number, share_wrong in ((NUM_TRAIN, 0.0), (FEW, 0.0), (NUM_TRAIN, 0.5)):
    seen, unseen = accuracies(number, share_wrong)
    print(f"{number:6,} images, {share_wrong:.0%} of labels at random: {seen:.1%} of training "
          f"labels, {unseen:.1%} of test images, gap {seen - unseen:+.1%}")

# %% [markdown]
# The gap measures overfitting: what is learned and does not generalise. Random labels can hardly be
# learned, and test labels are right, so with random labels the gap may be negative.
#
# A discriminator overfits too: it scores the few images that it has seen above new ones. `augment`
# shifts all images that it sees, real and fake, and cuts a box out of them (Zhao et al., 2020).

# %% alt=["Two rows of eight samples of GANs with few training images: without augmentation blotched and much alike, with it smoother blocks, few of them garments."]
def score(network, images):
    """Mean of sigmoid(logit) of a discriminator on images."""
    return float(tf.reduce_mean(tf.sigmoid(network(images, training=False))))


small = {}
for policy in (None, "translation,cutout"):
    model = small[policy] = make_gan(policy, dropout=0.0)
    model.fit(endless(SMALL, 32), steps_per_epoch=SMALL_STEPS, epochs=1, verbose=0)
    gap = score(model.discriminator, images[:SMALL]) - score(model.discriminator, test)
    print(f"augment={policy!r}: discriminator scores its {SMALL} images {gap:+.2f} above new ones; "
          f"distance of samples {distance(model.generate(SAMPLES, seed=1)):.1f}")
shown = np.concatenate([model.generate(8, seed=1) for model in small.values()])
kg.plotting.show_images(shown, f"{SMALL} images: without, and with augmentation", 8, scale=3.5)
plt.show()

# %% [markdown]
# A smaller gap does not yet mean better images: compare the distances. A run this short decides
# little; [docs/adversarial.md](../docs/adversarial.md) measures a longer
# one.
#
# ### Too much computing; more pixels; 3-D
#
# A convolution does one multiplication per kernel entry and position. A backward pass costs about
# twice a forward pass, so a GAN's step costs about $3G + 8D$ per image: $3G$ and $6D$ for the two
# updates, $2D$ to reach $G$ through $D$. A third dimension changes the layers and nothing else: our
# volumes are handed to `kg.GAN` as images of 16 channels.

# %% alt=["Two rows of four solids of small cubes: in the upper row rings in three directions, in the lower row generated rings with rougher surfaces."]
def solid_networks(side, filters=16):
    """A 3-D DCGAN for volumes (side, side, side)."""
    noise, volume = keras.Input((LATENT_DIM,)), keras.Input((side, side, side))
    width = filters * side // 16  # of the coarsest grid but one
    x = layers.Reshape((4, 4, 4, 2 * width))(layers.Dense(4**3 * 2 * width)(noise))
    while x.shape[1] < side // 2:  # (B, n, n, n, 2w) -> (B, 2n, 2n, 2n, w)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
        x, width = layers.Conv3DTranspose(width, 4, 2, padding="same")(x), width // 2
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
    x = layers.Conv3DTranspose(1, 4, 2, padding="same", activation="tanh")(x)
    generator = keras.Model(noise, layers.Reshape((side, side, side))(x))
    x, width = layers.Reshape((side, side, side, 1))(volume), filters
    while x.shape[1] > 4:  # (B, n, n, n, w) -> (B, n/2, n/2, n/2, 2w)
        x = layers.LeakyReLU(0.2)(layers.Conv3D(width, 4, 2, padding="same")(x))
        width *= 2
    return generator, keras.Model(volume, layers.Dense(1)(layers.Flatten()(x)))


def rings(count, side=16):
    """Rings in three directions, `(count, side, side, side)`: 1 inside, -1 outside."""
    draws = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 3))  # (3, side, side, side)
    solids = []
    for _ in range(count):
        a, b, c = np.roll(grid, draws.integers(3), axis=0)
        around = np.hypot(a, b) - draws.uniform(3.5, 5.5)
        solids.append(around**2 + c**2 < draws.uniform(1.2, 2.2) ** 2)
    return 2 * np.array(solids, "float32") - 1


volumes = rings(32 * BATCH)
keras.utils.set_random_seed(0)
generator, discriminator = solid_networks(16)
solid = kg.GAN((16, 16, 16), LATENT_DIM, generator=generator, discriminator=discriminator, seed=0)
solid.compile(learning_rate=1e-3)
batches = tf.data.Dataset.from_tensor_slices(volumes).shuffle(len(volumes), 0).repeat().batch(BATCH)
solid.fit(batches, steps_per_epoch=1, verbose=0)  # traced, before the clock starts
clock = time.process_time()
solid.fit(batches, steps_per_epoch=SOLID_STEPS, verbose=0)
seconds = (time.process_time() - clock) / SOLID_STEPS  # of all cores together
made = solid.generate(200, seed=1)  # (200, 16, 16, 16)
for name, each in (("rings", volumes), ("generated", made)):
    print(f"{name:10}filled {np.mean(each > 0):.1%}, with a hole in the middle "
          f"{np.mean((each[:, 7:9, 7:9, 7:9] < 0).all(axis=(1, 2, 3))):.0%}")
figure = plt.figure(figsize=(7, 3.6), dpi=100, layout="constrained")
for place, each in enumerate([*volumes[:4], *made[:4]], start=1):
    axis = figure.add_subplot(2, 4, place, projection="3d")
    axis.voxels(each > 0, facecolors="#60a5fa", edgecolor="#1e3a8a", linewidth=0.3)
    axis.set(xlim=(1, 15), ylim=(1, 15), zlim=(1, 15))
    axis.set_box_aspect((1, 1, 1), zoom=1.5)
    axis.set_axis_off()
plt.show()

# %%
def multiplications(network):
    """Of a forward pass: kernel entries times positions (of the input, if transposed)."""
    total = 0
    for layer in network.layers:
        if hasattr(layer, "kernel"):
            grid = layer.input if "Transpose" in type(layer).__name__ else layer.output
            total += math.prod(layer.kernel.shape) * math.prod(grid.shape[1:-1])
    return total


pairs = {"16x16x16": (generator, discriminator), "64x64x64": solid_networks(64)}
for side, channels in ((28, 1), (64, 3), (256, 3)):
    shape = (side, side, channels)
    pairs[f"{side}x{side}, {channels} ch."] = (
        kg.networks.dcgan_generator(shape, LATENT_DIM, filters=FILTERS),
        kg.networks.dcgan_discriminator(shape, filters=FILTERS),
    )
cost = {name: 3 * multiplications(g) + 8 * multiplications(d) for name, (g, d) in pairs.items()}
rate = BATCH * cost["16x16x16"] / seconds  # multiplications per second, measured above
for name, each in cost.items():
    print(f"{name:14}{each / 1e6:9,.0f} million per image and step; {BATCH} images would take "
          f"{BATCH * each / rate:7.2f} CPU seconds")

# %% [markdown]
# The last column assumes the rate of the 3-D run. With the same filters the cost would be
# proportional to the pixels; the additional, wider layers for the smaller grids add to that. (Video
# is in [tutorial 2](02_three_cgans.ipynb).)
#
# ### Black boxes
#
# A grey patch that moves over an image opens the box a little: where it lowers $\log p_{label}$,
# the classifier used the pixels under it.

# %% alt=["Four test images: a T-shirt, a sandal, a bag and a boot.", "Four maps of 6x6 squares, light where a patch costs the classifier most: on sleeves, straps, handle and heel rather than everywhere."]
PATCH, corners = 8, range(0, 21, 4)  # 6 positions per side
shown = [int(np.flatnonzero(test_labels == k)[0]) for k in (0, 5, 8, 9)]
covered = np.repeat(test[shown][:, None], 36, axis=1)  # (4, 36, 28, 28, 1)
for place, (top, left) in enumerate((i, j) for i in corners for j in corners):
    covered[:, place, top : top + PATCH, left : left + PATCH] = 0.0
whole = log_share(test[shown], test_labels[shown])  # (4,)
patched = log_share(covered.reshape(-1, *IMAGE_SHAPE), np.repeat(test_labels[shown], 36))
drops = whole[:, None] - patched.reshape(4, 36)  # (4, 36) nats
row_of(test[shown], [names[test_labels[i]] for i in shown])
row_of(drops.reshape(4, 6, 6), [f"at most {drop.max():.2g} nats" for drop in drops], cmap="magma")

# %% [markdown]
# ### Copies of training images
#
# For each sample we look for the nearest training image, by pixels; test images, which no model has
# seen, are the reference. `nearer` is the probability that a sample is nearer to the training set
# than a test image is: 0.5 without copying, 1 for copies. `copies` is the share of samples that are
# nearer to it than 99 % of the test images are. Two controls show that the report can find copies:
# training images with a little noise, and a model without KL that overfits sixteen images.

# %% alt=["Two rows of eight: the GAN's samples that are closest to training images, mostly trousers, above those images, which differ in outline and detail.", "Two rows of eight: samples of the overfitted model above its training images, which they equal."]
HALF = min(300, NUM_TEST // 2)
held_out, others = test[:HALF], test[HALF : 2 * HALF]
overfitted = make_vae(beta=0.0)
overfitted.fit(endless(TINY, TINY), steps_per_epoch=TINY_STEPS, epochs=1, verbose=0)
from_normal = overfitted.generate(HALF, seed=3)
overfitted.fit_prior(images[:TINY], num_components=TINY - 1)
trained = np.clip(images[:HALF] + 0.02 * noise[:HALF], -1, 1)
cases = {
    "other test images": (others, images),
    "training images, noise 0.02": (trained, images),
    f"GAN of {NUM_TRAIN:,}": (gan.generate(HALF, seed=3), images),
    f"VAE of {NUM_TRAIN:,}": (vae.generate(HALF, seed=3), images),
    f"GAN of {SMALL}": (small[None].generate(HALF, seed=3), images[:SMALL]),
    f"of {TINY}, z from N(0, I)": (from_normal, images[:TINY]),
    f"of {TINY}, z near their codes": (overfitted.generate(HALF, seed=3), images[:TINY]),
}
reports = {
    name: kg.metrics.nearest_training_images(samples, training, held_out)
    for name, (samples, training) in cases.items()
}
for name, report in reports.items():
    print(f"{name:30} distance {report['median_distance']:5.2f}, nearer "
          f"{report['nearer_than_held_out']:.2f}, copies {report['share_of_copies']:6.1%}")
for name in (list(cases)[2], list(cases)[-1]):
    closest = np.argsort(reports[name]["distances"])  # one sample for each training image
    _, first = np.unique(reports[name]["indices"][closest], return_index=True)
    closest = np.resize(closest[np.sort(first)], 8)
    pairs = np.concatenate([cases[name][0][closest], reports[name]["images"][closest]])
    title = f"{name}: the closest samples, and their training images"
    kg.plotting.show_images(pairs, title, 8, scale=3.5)
    plt.show()

# %% [markdown]
# The last two rows of the report share a decoder. "No copies found" is a statement about samples, not
# about what a model has memorised. And smooth images are near to many others: look at the pairs.
#
# ### Forgeries
#
# `save_png` writes notes into a file. With the hash of the weights, the seed and the position,
# whoever has the model can generate the image again. One line removes the notes and no pixel.

# %%
weights = b"".join(np.ascontiguousarray(each).tobytes() for each in gan.ema_generator.get_weights())
notes = {"generated": "yes", "model": "GAN", "weights": hashlib.sha256(weights).hexdigest()[:16],
         "seed": 42, "number": 2}
kg.plotting.save_png("sample.png", gan.generate(4, seed=42)[2], notes)
with Image.open("sample.png") as file:
    found, pixels = dict(file.text), np.array(file)
    file.save("bare.png")
again = gan.generate(4, seed=int(found["seed"]))[int(found["number"])]
print(found)
print("generated again, equal to the file:",
      np.array_equal(kg.plotting.to_uint8(again)[:, :, 0], pixels))
with Image.open("bare.png") as file:
    print(f"copy of the file: notes {file.text}, pixels equal: {np.array_equal(file, pixels)}")

# %% [markdown]
# So a note says how to check that an image was generated: by generating it again. The absence of a
# note proves nothing.
#
# ## What the article shows, and what runs
#
# This page follows an introductory article on deep learning and image generation. The article's
# code does not run. Here are lines of our own with the same faults:

# %%
def attempt(what, function):
    """Prints the result of a call, or its error in one line."""
    try:
        outcome = function()
    except Exception as error:
        lines = [line for line in re.sub(r"\x1b\[\d*m", "", str(error)).splitlines() if line]
        line = lines[1] if "encountered when calling" in lines[0] else lines[0]
        outcome = f"{type(error).__name__}: {line[:120]}"
    print(f"{what}\n    {outcome}")


attempt("256 numbers as (4, 4, 8, 1)", lambda: layers.Reshape((4, 4, 8, 1))(keras.Input((256,))))
z = keras.Input((LATENT_DIM,))
x = layers.Reshape((4, 4, 16))(layers.Dense(256)(z))  # mended: 256 = 4 * 4 * 16
x = layers.Conv2DTranspose(8, 4, 2, padding="same", activation="tanh")(x)  # -> (B, 8, 8, 8)
attempt("one doubling as an image", lambda: kg.GAN(generator=keras.Model(z, x), latent_dim=100))
given = keras.Input(IMAGE_SHAPE)
attempt("a dense layer on an image", lambda: layers.Dense(784)(given).shape)

code = layers.Dense(LATENT_DIM, activation="tanh")(layers.Flatten()(given))
encoder = keras.Model(given, code)
z = layers.Lambda(lambda code: 0.5 * code)(code)  # no keras.Input
decoder = keras.Model(z, layers.Reshape(IMAGE_SHAPE)(layers.Dense(784)(z)))
attempt("Model(z, x), z no input: Keras puts one there", lambda: decoder.inputs[0].shape)
attempt("a model from one's input to the other's output",
        lambda: keras.Model(encoder.input, decoder.output))
attempt("calling the second on the first",
        lambda: keras.Model(encoder.input, decoder(encoder.output)).output_shape)
attempt("predict of a symbolic tensor", lambda: encoder.predict(given, verbose=0))

once = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
once.compile("adam", "mse")
ones = np.ones((4, 3), "float32")
once.train_on_batch(ones, ones[:, :1])
once.trainable, kept = False, once.get_weights()[0]  # too late: the step is compiled
once.train_on_batch(ones, ones[:, :1])
print(f"weights frozen between steps move by {np.abs(once.get_weights()[0] - kept).max():.4f}")
for p in (0.5, 0.999999):
    loss = float(keras.losses.binary_crossentropy([[9.0]], [[p]])[0])
    print(f"class 9 as the target of a discriminator that says {p}: loss {loss:.0f}")
lonely = kg.networks.dcgan_discriminator(IMAGE_SHAPE, filters=FILTERS)
lonely.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
for start in range(0, min(NUM_TRAIN, 24 * BATCH), BATCH):
    lonely.train_on_batch(images[start : start + BATCH], np.ones((BATCH, 1)))
print(f"trained on real images alone, it scores noise {score(lonely, np.clip(noise, -1, 1)):.2f}")

# %% [markdown]
# | the article | what is wrong | what runs |
# |---|---|---|
# | layers and NumPy without imports; arrays never read | undefined names | `kg.load`, the imports above |
# | five-dimensional grids, one doubling | 2-D layers take four; 8x8x8 is no image | 7 → 14 → 28: `dcgan_generator` |
# | batch normalisation before tanh | brightness is tied to the batch | none there |
# | D sees real images only, with the data set's labels as targets | D is right to say "real" of everything; targets above 1 make its loss unbounded | `kg.GAN.train_step` |
# | an undefined combined model, D frozen in the loop, images as its target | see above | two tapes, each with its own weights |
# | G first, then D | an untrained D has no useful gradient | D, then G, in each step |
# | `Model(z, x)` from the output of a layer | Keras puts an input there; the path from the encoder is cut | call the decoder on the code |
# | the encoder upsamples, the decoder ends in a code | the wrong way round | `conv_encoder`, `conv_decoder` |
# | a code through tanh, times an undefined deviation | no draw, and tanh excludes most of N(0, I) | `kg.layers.Sampling` |
# | squared error alone | no KL | the bound |
# | one $\mu, \sigma$ for $q(z \mid x)$ and $p(x \mid z)$; a "variance matrix" | two distributions; the covariance is diagonal | `likelihood=` for $p$ |
# | "Kingma and Ba" for the VAE | they wrote Adam | Kingma and Welling |

# %% [markdown]
# ## Exercises

# %% [markdown]
# ### Exercise 1: a generator for 64x64
#
# From how small a grid does a generator of 64x64x3 images start if each layer doubles and no grid is
# smaller than 4? Build it for noise of 100, and count the parameters of its dense layer by hand.

# %% tags=["answer"]
side, doublings = 64, 0
while side // 2 >= 4:
    side, doublings = side // 2, doublings + 1
z = keras.Input((LATENT_DIM,))
first = layers.Dense(side * side * 32, use_bias=False)
x = layers.Reshape((side, side, 32))(first(z))  # (B, 512) -> (B, 4, 4, 32)
for _ in range(doublings - 1):
    x = layers.Conv2DTranspose(16, 4, 2, padding="same")(x)  # the side doubles
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
x = layers.Conv2DTranspose(3, 4, 2, padding="same", activation="tanh")(x)
larger = kg.GAN((64, 64, 3), LATENT_DIM, generator=keras.Model(z, x))
assert (side, doublings) == (4, 4)
assert first.count_params() == LATENT_DIM * 4 * 4 * 32
print(f"from {side}x{side}, {doublings} doublings:", larger.generate(2, seed=0).shape)

# %% [markdown]
# ### Exercise 2: halfway
#
# Two latents of length 10 are orthogonal. How long is the midpoint of linear and of spherical
# interpolation? Check with `kg.latents.interpolate`. At which angle are the two equal?

# %% tags=["answer"]
a, b = np.zeros((2, LATENT_DIM), "float32")
a[0], b[1] = 10.0, 10.0
linear, spherical = (
    kg.latents.interpolate(vae, a, b, 3, method)[1] for method in ("linear", "spherical")
)
assert np.isclose(np.linalg.norm(linear), 10 / np.sqrt(2))  # (a + b) / 2, |a|^2 / 4 + |b|^2 / 4
assert np.isclose(np.linalg.norm(spherical), 10)
angle_0 = [kg.latents.interpolate(vae, a, a, 3, method)[1] for method in ("linear", "spherical")]
assert np.allclose(*angle_0)  # the length is 10 cos(angle / 2): equal at angle 0 alone
print(f"linear {np.linalg.norm(linear):.2f}, spherical {np.linalg.norm(spherical):.2f}")

# %% [markdown]
# ### Exercise 3: what the report must find
#
# What must `nearest_training_images` give for training images themselves? Why does a mirror image
# escape it? Check both with the first twenty training images.

# %% tags=["answer"]
report = kg.metrics.nearest_training_images(images[:20], images, held_out)
assert np.allclose(report["distances"], 0, atol=0.05)  # of images that are 20 long
assert report["share_of_copies"] == 1 and report["nearer_than_held_out"] == 1
mirrored = images[:20, :, ::-1]
apart = kg.metrics.nearest_training_images(mirrored, images)["distances"]
back_again = kg.metrics.nearest_training_images(mirrored, images[:, :, ::-1])["distances"]
assert np.allclose(back_again, 0, atol=0.05)  # to find it, look among mirrored images as well
print(f"mirrored: median distance {np.median(apart):.2f} by pixels, though each is a copy")

# %% [markdown]
# ## Appendix: layers, checked
#
# **Why "transposed".** With the image as a column, a convolution is a matrix: $y = Cx$. The
# transposed convolution is $C^T$. It takes gradients with respect to $y$ back to $x$; it is not an
# inverse.

# %%
kernel = tf.random.stateless_normal((3, 3, 1, 1), seed=(0, 0))
x = tf.random.stateless_normal((1, 6, 6, 1), seed=(0, 1))
with tf.GradientTape(persistent=True) as tape:
    tape.watch(x)
    y = tf.nn.conv2d(x, kernel, strides=2, padding="SAME")  # (1, 6, 6, 1) -> (1, 3, 3, 1)
    weighted = tf.reduce_sum(y * y)
C = tf.reshape(tape.jacobian(y, x), (9, 36)).numpy()
upstream = 2 * y.numpy()  # the gradient of y * y
by_layer = tf.nn.conv2d_transpose(upstream, kernel, (1, 6, 6, 1), 2, "SAME").numpy().ravel()
for name, other in (("C^T y", C.T @ upstream.ravel()), ("tape", tape.gradient(weighted, x))):
    print(f"{name} - layer: {np.abs(np.ravel(other) - by_layer).max():.1e}")
print(f"C^T C - identity: {np.abs(C.T @ C - np.eye(36)).max():.1f}")

# %% [markdown]
# **Batch normalisation** gives each channel mean 0 and variance 1 over the batch, and keeps running
# averages for inference: $m \leftarrow 0.8\,m + 0.2\,m_{batch}$. After $n$ batches the initial
# value still has the weight $0.8^n$. Neither the generator's last layer nor the discriminator's
# first one is followed by it: with it there, samples oscillated (Radford et al., section 3).
#
# **LeakyReLU** has slope 1 above 0 and 0.2 below. The generator learns only from gradients that get
# through the discriminator, and below 0 ReLU passes none.

# %%
values = np.random.default_rng(0).normal(5.0, 2.0, size=(256, 1)).astype("float32")
norm = layers.BatchNormalization(momentum=0.8)
for _ in range(5):
    out = norm(values, training=True).numpy()
print(f"output: mean {abs(out.mean()):.3f}, deviation {out.std():.3f}; running mean after 5 batches "
      f"{norm.moving_mean.numpy()[0]:.3f}, by formula {values.mean() * (1 - 0.8**5):.3f}")
x = tf.constant([-3.0, -1.0, 1.0, 3.0])
for layer in (layers.ReLU(), layers.LeakyReLU(0.2)):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    print(type(layer).__name__, "slopes at -3, -1, 1, 3:", tape.gradient(y, x).numpy().round(2))

# %% [markdown]
# ## Where to go next
#
# - [4. VQ-VAE](04_vq_vae.ipynb): codes on a grid.
# - [6. Making it train](06_making_it_train.ipynb): losses and metrics of GANs compared.
# - [docs/latents.md](../docs/latents.md), [docs/metrics.md](../docs/metrics.md): the same tools on
#   models that were trained for longer.
#
# References: LeCun et al. (1998), [convolutions](https://doi.org/10.1109/5.726791); Goodfellow et al.
# (2014), [GAN](https://arxiv.org/abs/1406.2661); Radford et al. (2016),
# [DCGAN](https://arxiv.org/abs/1511.06434); Kingma and Welling (2014),
# [VAE](https://arxiv.org/abs/1312.6114); White (2016),
# [interpolation](https://arxiv.org/abs/1609.04468); Ghosh et al. (2020), [autoencoders as
# generators](https://arxiv.org/abs/1903.12436); Zhao et al. (2020),
# [augmentation](https://arxiv.org/abs/2006.10738); Meehan et al. (2020), [a test for
# copying](https://arxiv.org/abs/2004.05675).
