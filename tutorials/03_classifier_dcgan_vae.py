# %% [markdown]
# # 3. Classifier, DCGAN, VAE
#
# You will train a convolutional classifier, a DCGAN and a convolutional VAE, with every shape
# worked out by hand first, and run the code at which sketches of the three usually break. Then you
# will measure the concerns about generated images: too few data, copies of the training set, models
# that cannot be inspected, and images of unknown origin. You need Python and NumPy,
# and [tutorial 1](01_gan_to_vq_vae.ipynb) if GAN and VAE are new to you.
#
# Measured: 5.1 minutes on two CPU cores, on a shared machine.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/03_classifier_dcgan_vae.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/03_classifier_dcgan_vae.ipynb)

# %% tags=["parameters"] reduced={"DATA": "glyphs", "NUM_TRAIN": 256, "NUM_TEST": 128, "CLASSIFIER_EPOCHS": 1, "AMOUNTS": [64], "GAN_EPOCHS": 2, "SMALL_SETS": [[64, 2]], "LOOK_EVERY": 2, "TINY_STEPS": 2, "REAL_ONLY_STEPS": 3, "VAE_EPOCHS": 1, "SAMPLES": 70, "FILTERS": 4}
DATA = "fashion_mnist"
NUM_TRAIN = 19_200
NUM_TEST = 1_920
BATCH = 64
CLASSIFIER_EPOCHS = 2
AMOUNTS = (320, 3_200)  # images of the classifiers with less data
GAN_EPOCHS = 4
SMALL_SETS = ((1_000, 1_200), (100, 400))  # images, and updates of a GAN on them
LOOK_EVERY = 400  # updates between measurements
TINY = 16  # images of a generator that overfits on purpose
TINY_STEPS = 300
REAL_ONLY_STEPS = 24
VAE_EPOCHS = 6
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

# %% tags=["setup"]
DATA = or_glyphs(DATA)

# %%
import hashlib
import inspect
import re

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import layers
from PIL import Image

import keras_genimg as kg

IMAGE_SHAPE, LATENT_DIM = (28, 28, 1), 100

# %% [markdown]
# "The article" below is an introduction to deep learning and image generation whose code does not
# run: a classifier, a DCGAN and a VAE, then trends and concerns. Each part of it is discussed, and
# a table at the end says what runs instead. No line of it is copied.
#
# The images are float32 in [-1, 1], the labels integers from 0 to 9. The test images are never
# trained on. All runs below use seed 0: the results are for one seed.


# %%
def read(split, count, **options):
    """`count` images and their labels as NumPy arrays."""
    data = kg.load(DATA, split, batch_size=count, num_images=count, with_labels=True, **options)
    return [array.numpy() for array in next(iter(data))]


images, labels = read("train", NUM_TRAIN)  # (n, 28, 28, 1), (n,)
test, test_labels = read("test", NUM_TEST)
names = "T-shirt trousers pullover dress coat sandal shirt sneaker bag boot".split()
if DATA != "fashion_mnist":
    names = list("0123456789")
print(images.shape, labels.shape, test.shape, f"values {images.min():g} to {images.max():g}")

# %% [markdown]
# A small helper runs code that must fail and prints the error. Each failing core below is a few
# lines that we wrote for the purpose.


# %%
def fails(what, function):
    """Prints the error of a call that is expected to fail."""
    try:
        function()
    except Exception as error:
        text = re.sub(r"\x1b\[\d*m", "", str(error))
        lines = [line for line in text.splitlines() if line.strip()]
        line = lines[1] if "encountered when calling" in lines[0] else lines[0]
        print(f"{what}\n    {type(error).__name__}: {line[:150]}")
        return
    raise RuntimeError(f"{what} was expected to fail")


# %% [markdown]
# ## A. The classifier
#
# ### What a convolution computes
#
# A 3x3 kernel slides over the image. At each position it is multiplied with the pixels under it,
# and the products are added:
#
# $$y_{ij} = \sum_{a=0}^{2} \sum_{b=0}^{2} w_{ab} \, x_{i+a,\,j+b}$$
#
# The kernel here responds where brightness rises from left to right.

# %%
image = np.zeros((6, 6), "float32")
image[:, 3:] = 1.0  # dark on the left, light on the right
kernel = np.array([[-1, 0, 1]] * 3, "float32")
by_hand = np.array(
    [[(image[i : i + 3, j : j + 3] * kernel).sum() for j in range(4)] for i in range(4)]
)  # (6, 6) -> (4, 4): a kernel of 3 has 6 - 3 + 1 positions per side
by_keras = keras.ops.conv(image[None, :, :, None], kernel[:, :, None, None])  # (1, 4, 4, 1)
print(by_hand)
print("largest difference from Keras:", float(np.abs(by_hand - by_keras[0, :, :, 0]).max()))

# %% [markdown]
# ### Its shapes and parameters, by hand
#
# The article's classifier is one such layer with 32 kernels, 2x2 max pooling and a dense layer of
# ten numbers. A side of n shrinks to n - 3 + 1 in the convolution, and pooling halves it. This is
# the default of `kg.CNNClassifier`, so the counts must agree.

# %%
side = 28 - 3 + 1  # (28, 28, 1) -> (26, 26, 32)
weights_conv = 3 * 3 * 1 * 32 + 32  # 32 kernels and 32 biases
side = side // 2  # (26, 26, 32) -> (13, 13, 32)
flat = side * side * 32  # -> (5408,)
weights_dense = flat * 10 + 10
print(f"side {side}, flat {flat}, parameters {weights_conv} + {weights_dense}")

keras.utils.set_random_seed(0)
plain = kg.CNNClassifier(IMAGE_SHAPE, 10)
counted = sum(int(np.prod(weight.shape)) for weight in plain.trainable_variables)
assert plain.features(test[:2]).shape == (2, flat)
assert counted == weights_conv + weights_dense
print("the model has the same:", counted)

# %% [markdown]
# ### Its training step
#
# The last layer gives ten numbers, the logits $l = Wx + b$, and $p_k = e^{l_k} / \sum_j e^{l_j}$
# turns them into probabilities. This is the softmax of the article, and its formula is right. The
# loss is $-\log p_{label}$, the cross-entropy. The step that trains:

# %%
print(inspect.getsource(kg.CNNClassifier.train_step))

# %% [markdown]
# Line by line. `unpack` separates images and labels and knows the size of the batch over all
# replicas. Under the tape the backbone computes 5,408 features and the head ten logits.
# `batch.share` is 1 on one device; on several replicas it weights the gradients, so that their sum
# is the gradient of the whole batch. Then one update. `log` keeps the means over the epoch. The
# softmax is inside the loss, on logits, where large numbers do not overflow.
#
# The loss of an untrained classifier is near that of guessing, $\log 10$.

# %%
plain.compile()
before = plain.evaluate(test, test_labels, batch_size=BATCH, verbose=0, return_dict=True)
print(f"untrained: loss {before['loss']:.2f} nats; log 10 = {np.log(10):.2f}")
history = plain.fit(
    images, labels, batch_size=BATCH, epochs=CLASSIFIER_EPOCHS,
    validation_data=(test, test_labels), verbose=0,
)
for epoch, (train_share, test_share) in enumerate(
    zip(history.history["accuracy"], history.history["val_accuracy"]), start=1
):
    print(f"epoch {epoch}: {train_share:.1%} while training, {test_share:.1%} of test images")

# %% [markdown]
# ### Which classes it confuses
#
# Rows are the true classes, columns the predictions, each row in shares. The code prints the three
# most frequent confusions.

# %%
guesses = plain.classify(test)  # (n,)
confusion = np.zeros((10, 10))
np.add.at(confusion, (test_labels, guesses), 1)
confusion /= np.maximum(confusion.sum(axis=1, keepdims=True), 1)
figure, axes = plt.subplots(figsize=(5, 4.2), layout="constrained")
axes.imshow(confusion, cmap="Blues", vmin=0, vmax=1)
axes.set_xticks(range(10), names, rotation=60)
axes.set_yticks(range(10), names)
for true, guess in zip(*np.nonzero(confusion >= 0.02)):
    color = "white" if confusion[true, guess] > 0.5 else "black"
    axes.text(guess, true, f"{100 * confusion[true, guess]:.0f}", ha="center", va="center",
              color=color, fontsize=7)
axes.set_title("predictions for each true class, %", fontsize=10)
plt.show()
mistakes = confusion - np.diag(np.diag(confusion))
for place in np.argsort(mistakes, axis=None)[::-1][:3]:
    true, guess = np.unravel_index(place, mistakes.shape)
    print(f"{mistakes[true, guess]:.0%} of {names[true]} classified as {names[guess]}")

# %% [markdown]
# ### The value of more and better data
#
# The article names both as the first difficulty. We can measure it: the same network, the same
# number of updates, but fewer images; and all images, but half of the labels drawn at random.


# %%
def accuracies(number, share_wrong=0.0):
    """Accuracy on the training labels and on test images."""
    keras.utils.set_random_seed(0)
    given = labels[:number].copy()
    draws = np.random.default_rng(0)
    wrong = draws.random(number) < share_wrong
    given[wrong] = draws.integers(0, 10, wrong.sum())
    model = kg.CNNClassifier(IMAGE_SHAPE, 10)
    model.compile()
    epochs = CLASSIFIER_EPOCHS * NUM_TRAIN // number  # as many updates for any number
    model.fit(images[:number], given, batch_size=BATCH, epochs=epochs, verbose=0)
    seen = np.mean(model.classify(images[:number]) == given)
    return seen, np.mean(model.classify(test) == test_labels)


for number, share_wrong in [*((amount, 0.0) for amount in AMOUNTS), (NUM_TRAIN, 0.5)]:
    seen, unseen = accuracies(number, share_wrong)
    print(f"{number:6,} images, {share_wrong:.0%} of labels at random: "
          f"{seen:.1%} of the training labels, {unseen:.1%} of test images")
seen, unseen = (np.mean(plain.classify(x) == y) for x, y in ((images, labels), (test, test_labels)))
print(f"{NUM_TRAIN:6,} images, 0% of labels at random: {seen:.1%} and {unseen:.1%}")

# %% [markdown]
# The gap between the two columns is overfitting. It is largest with few images. Wrong labels are
# different: they cannot all be learned, and the test images have correct ones.
#
# ### Interpreting it
#
# The article calls such models black boxes. A grey patch that moves over an image opens the box a
# little: where the patch lowers $\log p_{label}$, the classifier used those pixels.

# %%
PATCH, STRIDE = 8, 4
corners = range(0, 28 - PATCH + 1, STRIDE)  # 6 positions per side
shown = [int(np.flatnonzero(test_labels == k)[0]) for k in (0, 5, 8, 9)]
covered = np.repeat(test[shown][:, None], len(corners) ** 2, axis=1)  # (4, 36, 28, 28, 1)
for place, (top, left) in enumerate((i, j) for i in corners for j in corners):
    covered[:, place, top : top + PATCH, left : left + PATCH] = 0.0


def log_share(images, labels_of):
    """log p(label) by the classifier: `(n,)`."""
    logits = plain(images, training=False)
    losses = keras.losses.sparse_categorical_crossentropy(labels_of, logits, from_logits=True)
    return -losses.numpy()


whole = log_share(test[shown], test_labels[shown])  # (4,)
patched = log_share(covered.reshape(-1, *IMAGE_SHAPE), np.repeat(test_labels[shown], 36))
drops = whole[:, None] - patched.reshape(4, 36)  # (4, 36) nats
figure, axes = plt.subplots(2, 4, figsize=(7, 3.6), layout="constrained")
for column, place in enumerate(shown):
    axes[0, column].imshow(test[place, :, :, 0], cmap="gray")
    axes[0, column].set_title(names[test_labels[place]], fontsize=9)
    axes[1, column].imshow(drops[column].reshape(6, 6), cmap="magma")
    axes[1, column].set_title(f"at most {drops[column].max():.2g} nats", fontsize=9)
for each in axes.flat:
    each.set_axis_off()
figure.suptitle("where a grey patch costs the classifier most (light)", fontsize=10)
plt.show()

# %% [markdown]
# ### A classifier as a metric for generators
#
# A second classifier, of two convolutions and a dense layer of 64, gives each image 64
# features. The Fréchet distance compares Gaussians fitted to the features of two sets of images:
#
# $$d = |m_1 - m_2|^2 + \mathrm{tr}(S_1 + S_2 - 2 (S_1 S_2)^{1/2})$$
#
# The shapes: 28 -> 26 -> 13 -> 11 -> 6 (pooling rounds up) -> 6 x 6 x 64 -> 64.

# %%
keras.utils.set_random_seed(0)
classifier = kg.CNNClassifier(IMAGE_SHAPE, 10, filters=(32, 64), units=(64,))
classifier.compile()
classifier.fit(images, labels, batch_size=BATCH, epochs=CLASSIFIER_EPOCHS, verbose=0)
print(f"{np.mean(classifier.classify(test) == test_labels):.1%} of test images")
ours = kg.metrics.FeatureExtractor("ours", classifier.features, image_shape=IMAGE_SHAPE)
packaged = kg.metrics.get_features(kg.metrics.features_for(DATA, IMAGE_SHAPE))
test_features = {extractor.name: extractor(test) for extractor in (ours, packaged)}


def distance(images, extractor=ours):
    """Fréchet distance of images from the test images."""
    return kg.metrics.frechet_distance(test_features[extractor.name], extractor(images))


# %% [markdown]
# Can a classifier that was trained in seconds measure anything? Known corruptions show it: the
# distance must grow with them. The packaged classifier, trained longer, is the reference.

# %%
real = images[:NUM_TEST]
draws = np.random.default_rng(0)
normal = draws.normal(size=real.shape).astype("float32")
blurred = (real + np.roll(real, 1, 1) + np.roll(real, 1, 2) + np.roll(real, (1, 1), (1, 2))) / 4
corrupted = {
    "none: the floor": real,
    "noise 0.1": np.clip(real + 0.1 * normal, -1, 1),
    "noise 0.4": np.clip(real + 0.4 * normal, -1, 1),
    "blurred over 2x2": blurred,
    "one class missing": real[labels[:NUM_TEST] != 0],
    "five classes missing": real[labels[:NUM_TEST] > 4],
}
table = {name: [distance(each, by) for by in (ours, packaged)] for name, each in corrupted.items()}
print(f"{'corruption':24}{'ours':>8}{'packaged':>10}")
for name, pair in table.items():
    print(f"{name:24}{pair[0]:8.2f}{pair[1]:10.2f}")
ranks = np.argsort(np.argsort(list(table.values()), axis=0), axis=0)  # (6, 2)
print(f"rank correlation of the two: {np.corrcoef(ranks.T)[0, 1]:.2f}")

# %% [markdown]
# The two scales are not comparable, but their order is. They differ most on noise, which ours
# weights little compared with blur and missing classes: a distance is as good as its features.
# [docs/metrics.md](../docs/metrics.md) has all corruption levels, with 10,000 images. Below,
# distances are in the features of our own classifier, always against the same test images.
#
# ## B. DCGAN
#
# ### Shapes that do not fit
#
# A reshape keeps the number of elements: the product of the sizes must not change. A 2-D layer
# takes a batch of grids with channels: four dimensions with the batch, not five.

# %%
print("4 * 4 * 8 * 1 =", 4 * 4 * 8 * 1, "and not 256")
fails("256 numbers as (4, 4, 8, 1)", lambda: layers.Reshape((4, 4, 8, 1))(keras.Input((256,))))
print("10 * 7 * 7 * 1 =", 10 * 7 * 7, "and not 784")
fails("784 numbers as (10, 7, 7, 1)", lambda: layers.Reshape((10, 7, 7, 1))(keras.Input((784,))))
fails(
    "a five-dimensional input",
    lambda: layers.Conv2DTranspose(8, 4, 2, padding="same")(keras.Input((4, 4, 16, 1))),
)

# %% [markdown]
# Fixed, 256 = 4 * 4 * 16. The network now runs, and outputs an image of 8x8 with eight channels. A
# discriminator of 28x28x1 images cannot take it, and the package says so when it gets the two.

# %%
noise = keras.Input((LATENT_DIM,))
x = layers.LeakyReLU(0.2)(layers.Dense(256)(noise))
x = layers.Reshape((4, 4, 16))(x)  # (B, 256) -> (B, 4, 4, 16)
x = layers.Conv2DTranspose(8, 4, 2, padding="same")(x)  # -> (B, 8, 8, 8)
too_small = keras.Model(noise, layers.Activation("tanh")(x))
print("output", too_small.output_shape)
fails("8x8x8 as an image of 28x28x1", lambda: kg.GAN(IMAGE_SHAPE, LATENT_DIM, generator=too_small))

# %% [markdown]
# ### The arithmetic of a transposed convolution
#
# From a side of n, with kernel k and stride s, it gives $(n-1)s + k$ ("valid") or $ns$ ("same").
# Three ways to 28 are checked here: from noise as a 1x1 grid, from 4x4 and from 7x7.


# %%
def transposed_side(side, kernel_size, stride, padding):
    return side * stride if padding == "same" else (side - 1) * stride + kernel_size


WAYS = {
    "from 1x1": (1, [(7, 1, "valid"), (4, 2, "same"), (4, 2, "same")]),
    "from 4x4": (4, [(4, 1, "valid"), (4, 2, "same"), (4, 2, "same")]),
    "from 7x7": (7, [(4, 2, "same"), (4, 2, "same")]),
    "the article's": (4, [(4, 2, "same")]),
}
for name, (side, steps) in WAYS.items():
    grid, sides = keras.Input((side, side, 8)), [side]
    for kernel_size, stride, padding in steps:
        grid = layers.Conv2DTranspose(1, kernel_size, stride, padding)(grid)
        sides.append(transposed_side(sides[-1], kernel_size, stride, padding))
        assert grid.shape[1:3] == (sides[-1],) * 2
    print(f"{name:14}", " -> ".join(map(str, sides)))

# %% [markdown]
# From 1x1 to 7x7 with a kernel of 7 is just a dense layer and a reshape: each output pixel has its
# own weight for each dimension of the noise. So the two common forms are equivalent.

# %%
z = np.random.default_rng(0).normal(size=(5, LATENT_DIM)).astype("float32")
grow = layers.Conv2DTranspose(3, 7, use_bias=False)
from_grid = grow(z.reshape(5, 1, 1, LATENT_DIM))  # (5, 1, 1, 100) -> (5, 7, 7, 3)
matrix = grow.kernel.numpy().transpose(3, 0, 1, 2).reshape(LATENT_DIM, -1)  # (100, 7*7*3)
from_dense = (z @ matrix).reshape(5, 7, 7, 3)  # (5, 147) -> (5, 7, 7, 3)
print("largest difference:", f"{np.abs(from_grid - from_dense).max():.1e}")

# %% [markdown]
# ### The gradient of a convolution
#
# A convolution is linear: with the image as a column it is a matrix, $y = Cx$. The transposed
# convolution with the same kernel is $C^T$. It maps gradients of $y$ back to $x$, but it is not an
# inverse: $C^T C$ is not the identity. We build $C$ and compare three ways to compute $C^T y$.

# %%
kernel = tf.random.stateless_normal((3, 3, 1, 1), seed=(0, 0))
x = tf.random.stateless_normal((1, 6, 6, 1), seed=(0, 1))
with tf.GradientTape(persistent=True) as tape:
    tape.watch(x)
    y = tf.nn.conv2d(x, kernel, strides=2, padding="SAME")  # (1, 6, 6, 1) -> (1, 3, 3, 1)
    upstream = tf.random.stateless_normal(y.shape, seed=(0, 2))
    weighted = tf.reduce_sum(y * upstream)
C = tf.reshape(tape.jacobian(y, x), (9, 36)).numpy()
by_tape = tape.gradient(weighted, x).numpy().reshape(6, 6)
by_layer = tf.nn.conv2d_transpose(upstream, kernel, (1, 6, 6, 1), 2, "SAME")
by_layer = by_layer.numpy().reshape(6, 6)  # (1, 3, 3, 1) -> (6, 6)
by_matrix = (C.T @ upstream.numpy().reshape(9)).reshape(6, 6)
print(f"tape - layer {np.abs(by_tape - by_layer).max():.1e}, "
      f"matrix - layer {np.abs(by_matrix - by_layer).max():.1e}, "
      f"C^T C - identity {np.abs(C.T @ C - np.eye(36)).max():.2f}")

# %% [markdown]
# ### BatchNorm and LeakyReLU
#
# Batch normalisation gives each channel mean 0 and variance 1 over the batch, and keeps running
# averages for inference: $m \leftarrow 0.8\,m + 0.2\,m_{batch}$ with the article's momentum. After
# n batches the initial value has the weight $0.8^n$; with Keras's default of 0.99 it would be
# $0.99^n$.

# %%
values = np.random.default_rng(0).normal(5.0, 2.0, size=(256, 1)).astype("float32")
norm = layers.BatchNormalization(momentum=0.8)
while_training = norm(values, training=True).numpy()
by_hand = (values - values.mean()) / np.sqrt(values.var() + norm.epsilon)
print(f"training: mean {while_training.mean():.3f}, deviation {while_training.std():.3f}, "
      f"from ours {np.abs(while_training - by_hand).max():.1e}")
calls = 1
for wanted in (1, 5, 20):
    while calls < wanted:
        norm(values, training=True)
        calls += 1
    print(f"after {calls:2} batches: running mean {float(norm.moving_mean[0]):.3f}, "
          f"expected {values.mean() * (1 - 0.8**calls):.3f}; with 0.99 it would be "
          f"{values.mean() * (1 - 0.99**calls):.3f}")

# %% [markdown]
# The LeakyReLU has slope 1 above 0 and 0.2 below. A unit that is negative for all images still
# passes a gradient on, where ReLU passes none: the generator learns only from gradients that get
# through.

# %%
x = tf.constant([-3.0, -1.0, 1.0, 3.0])
for layer in (layers.ReLU(), layers.LeakyReLU(0.2)):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(layer(x))
    slopes = tape.gradient(y, x).numpy().round(2)
    print(f"{type(layer).__name__:10} gradient at -3, -1, 1, 3: {slopes}")


# %% [markdown]
# ### The two networks
#
# The package's DCGAN networks with the article's numbers: momentum 0.8, slope 0.2, dropout 0.25,
# noise of length 100. They are narrow, so that a CPU trains them in a minute.


# %%
def make_gan(augment=None, dropout=0.25):
    keras.utils.set_random_seed(0)
    gan = kg.GAN(
        IMAGE_SHAPE,
        LATENT_DIM,
        generator=kg.networks.dcgan_generator(
            IMAGE_SHAPE, LATENT_DIM, filters=FILTERS, momentum=0.8
        ),
        discriminator=kg.networks.dcgan_discriminator(
            IMAGE_SHAPE, filters=FILTERS, momentum=0.8, dropout=dropout
        ),
        augment=augment,
        seed=0,
    )
    gan.compile(learning_rate=1e-3)
    return gan


gan = make_gan()
for network in (gan.generator, gan.discriminator):
    print(network.name)
    for layer in network.layers:
        shape = str(layer.output.shape[1:])
        print(f"    {type(layer).__name__:20}{shape:16}{layer.count_params():>9,} parameters")

# %% [markdown]
# No batch normalisation after the last layer of G and after the first of D: their inputs and
# outputs are images, whose mean and contrast must be free (Radford et al., section 3). The
# discriminator ends in a logit; the sigmoid is in the loss.
#
# ### One training step

# %%
print(inspect.getsource(kg.GAN.train_step))

# %% [markdown]
# Read it in order. Noise becomes images, for both updates, under G's tape. Then D: both kinds pass
# through it, under another tape; the loss is $-\log D(x) - \log(1 - D(G(z)))$ in logits; the
# optimizer gets D's weights only. Then G: the same images through the updated D, under G's tape;
# the loss is $-\log D(G(z))$, and the optimizer gets G's weights only. No weight is frozen and no
# combined model is needed. The last line of that part, `update_ema`, updates the EMA
# generator, whose weights are moving averages; `generate` uses it.
#
# ### A discriminator that sees real images only
#
# The article's loop trains D only on batches of the data set. With the label "real" for all of them
# there is a trivial solution: always say "real". We train that for a few steps.

# %%
keras.utils.set_random_seed(0)
lonely = kg.networks.dcgan_discriminator(IMAGE_SHAPE, filters=FILTERS, momentum=0.8, dropout=0.25)
lonely.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
noise_images = np.random.default_rng(0).uniform(-1, 1, (BATCH, *IMAGE_SHAPE)).astype("float32")
kinds = {
    "real": test[:BATCH], "noise": noise_images, "of an untrained G": gan.generate(BATCH, seed=0)
}


def score(network, images):
    """Mean of sigmoid(logit) of a discriminator on images."""
    return float(tf.reduce_mean(tf.sigmoid(network(images, training=False))))


for step in range(REAL_ONLY_STEPS + 1):
    if step in (0, REAL_ONLY_STEPS):
        found = ", ".join(f"{name} {score(lonely, each):.3f}" for name, each in kinds.items())
        print(f"{step:2} steps: {found}")
    start = step * BATCH % (NUM_TRAIN - BATCH)
    lonely.train_on_batch(images[start : start + BATCH], np.ones((BATCH, 1)))

# %% [markdown]
# Noise passes as real, and a generator could learn nothing from such a discriminator.
#
# The loop passes `(images, labels)` of the data set. If the labels are classes, it is worse:
# the cross-entropy of a target above 1 has no lower bound. And D is frozen by setting an attribute
# in the loop, after the step has been compiled. Both in numbers:

# %%
for probability in (0.5, 0.99, 0.999999):
    loss = keras.losses.binary_crossentropy([[9.0]], [[probability]])
    print(f"class 9 as the target, D says {probability}: loss {float(loss[0]):.1f}")

once = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
once.compile("adam", "mse")
ones = np.ones((4, 3), "float32")
once.train_on_batch(ones, ones[:, :1])
once.trainable = False  # too late: the compiled step knows its weights
kept = once.get_weights()[0]
once.train_on_batch(ones, ones[:, :1])
print(f"a weight moves after freezing by {np.abs(once.get_weights()[0] - kept).max():.4f}")
pixels = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(1)])
pixels.compile("adam", "binary_crossentropy")
fails("an image as the target of a score", lambda: pixels.train_on_batch(test[:4], test[:4]))

# %% [markdown]
# ### Training
#
# A callback records samples of the same noise after each epoch, the distance in the features of our
# classifier, and the scores of D on training and test images.


# %%
class Watch(keras.callbacks.Callback):
    """Samples, distance, and D's scores, before training and after each epoch."""

    def __init__(self, training, count=SAMPLES):
        super().__init__()
        self.training, self.count = training, count
        self.samples, self.rows = [], []

    def look(self):
        made = self.model.generate(self.count, seed=1)
        self.samples.append(made[:9])
        judge = self.model.discriminator
        scores = [score(judge, each) for each in (self.training, test[:1_000])]
        self.rows.append([int(self.model.generator_optimizer.iterations), distance(made), *scores])
        print("{:5} steps: distance {:7.2f}; D on training images {:.2f}, "
              "on test images {:.2f}".format(*self.rows[-1]))

    def on_train_begin(self, logs=None):
        self.look()

    def on_epoch_end(self, epoch, logs=None):
        self.look()


def endless(count, batch=BATCH):
    """Endless batches of the first `count` images, each epoch in a new order."""
    return kg.load(DATA, batch_size=batch, num_images=count, shuffle_seed=0, epochs=None,
                   drop_remainder=True)


watch = Watch(images[:1_000])
steps = NUM_TRAIN // BATCH
history = gan.fit(
    endless(NUM_TRAIN), steps_per_epoch=steps, epochs=GAN_EPOCHS, callbacks=[watch], verbose=0
)

# %%
kg.plotting.show_images(
    np.stack(watch.samples), "the same noise, one row per epoch, the top row before training"
)
plt.show()
kg.plotting.plot_losses(history.history)
plt.show()

# %% [markdown]
# The losses are adversarial: each network is measured against the other, and neither loss says how
# good the images are. The distance shows progress. For comparison, the floor above is the value of
# real images.
#
# ### The same with few images
#
# The article's first concern again, now for a generator: GANs that train on 1,000 images, without
# and with `augment="translation,cutout"`. The inputs of D, real and generated alike, are then
# shifted at random and a box is cut out. This is differentiable, so G learns through it. Dropout,
# which also keeps D from overfitting, is left out here, and the batch size is 32.

# %%
batch = kg.distribution.whole_batch(8)
changed = kg.layers.diff_augment(tf.constant(test[:8]), batch, (0, 0), "translation,cutout")
kg.plotting.show_images(
    np.concatenate([test[:8], changed]), "original, and augmented as D may see them", columns=8
)
plt.show()

# %%
POLICIES = (None, "translation,cutout")
small = {}
for count, steps in SMALL_SETS:
    for policy in POLICIES:
        print(f"{count:,} images, augment={policy!r}")
        model, looks = make_gan(policy, dropout=0.0), Watch(images[:count])
        model.fit(
            endless(count, 32), steps_per_epoch=LOOK_EVERY, epochs=steps // LOOK_EVERY,
            callbacks=[looks], verbose=0,
        )
        small[count, policy] = model, looks.rows[-1]

# %%
for count, _ in SMALL_SETS:
    for policy in POLICIES:
        steps, _, seen, unseen = small[count, policy][1]
        print(f"{count:5,} images, {steps:5} steps, augment={policy!r}: gap of D between training "
              f"and test images {seen - unseen:.2f}")
    without, with_it = (small[count, policy][1][1] for policy in POLICIES)
    word = "lower" if with_it < without else "higher"
    print(f"      distance with augmentation {with_it:.1f}, {word} than without, {without:.1f}")
print(f"{NUM_TRAIN:,} images, {watch.rows[-1][0]} steps, the run above: gap of D "
      f"{watch.rows[-1][2] - watch.rows[-1][3]:.2f}, distance {watch.rows[-1][1]:.1f}")
figure, axes = plt.subplots(len(SMALL_SETS), 2, figsize=(6, 1.5 * len(SMALL_SETS)),
                            layout="constrained", squeeze=False)
for axis, ((count, policy), (model, _)) in zip(axes.flat, small.items()):
    kg.plotting.show_images(model.generate(12, seed=1), f"{count:,}, {policy}", 6, axes=axis)
plt.show()

# %% [markdown]
# The gap between training and test images is what D has memorised. It grows as the number of images
# falls. Augmentation is there to close that gap, and it does. Whether the samples improve is
# another question; it depends on the length of the run, and so does the cost of having few images:
# in a run this short, the distance after 1,200 steps does not yet show whether there were 1,000
# images or all (the two runs also differ in dropout and batch size). On 1,000 images and after
# 7,500 steps of a wider network the gap is 0.70 without and 0.03 with augmentation, and the
# distance, in the packaged features, is still lower without: 25.2 and 39.2. All 60,000 images reach
# 8.5 in nearly twice as many steps ([docs/adversarial.md](../docs/adversarial.md)).
#
# ## C. The convolutional VAE
#
# ### Where the article's network breaks
#
# A dense layer acts on the last axis: on an image (28, 28, 1) it computes 784 numbers *for each
# pixel*. The reshape that follows fails. The decoder ends in 100 numbers, not in an image. The
# encoder is called to predict the symbolic input of the graph. Mean and standard deviation are
# never defined, and no noise is drawn anywhere.

# %%
given = keras.Input(IMAGE_SHAPE)
wide = layers.Dense(784)(given)
print("dense on an image:", wide.shape[1:], f"= {np.prod(wide.shape[1:]):,} numbers")
fails("those as (10, 7, 7, 1)", lambda: layers.Reshape((10, 7, 7, 1))(wide))
encoder = keras.Sequential([given, layers.Flatten(), layers.Dense(LATENT_DIM, activation="tanh")])
fails("to predict a symbolic tensor", lambda: encoder.predict(given, verbose=0))
fails("a standard deviation without a value", lambda: eval("z * std", {"z": 1.0}))
back = keras.Sequential([keras.Input((LATENT_DIM,)), layers.Dense(LATENT_DIM)])
back.compile("adam", "mse")
fails("an image as the target of 100 numbers", lambda: back.train_on_batch(z, test[: len(z)]))
inside = np.mean(np.abs(np.random.default_rng(0).normal(size=100_000)) < 1)
print(f"tanh keeps codes within (-1, 1), where {inside:.1%} of N(0, 1) is, and all of 100 numbers "
      f"with probability {inside**100:.0e}")

# %% [markdown]
# ### The standard deviation, and the KL
#
# The encoder gives $\mu$ and $\log \sigma^2$. The draw is $z = \mu + \sigma \epsilon$ with
# $\sigma = e^{\frac{1}{2} \log \sigma^2}$. The half is easily lost, and $e^{\log \sigma^2}$ is the
# variance. The KL from N(0, 1) has a closed form,
#
# $$\mathrm{KL} = \tfrac{1}{2} (\mu^2 + \sigma^2 - 1 - \log \sigma^2),$$
#
# and an average of $\log q(z) - \log p(z)$ over correct draws must be close to it.

# %%
mean, log_var = np.float32(0.5), np.float32(-2.0)
many = np.full((200_000, 1), 1.0, "float32")
drawn = kg.layers.Sampling(seed=0)(mean * many, log_var * many).numpy()
epsilon = np.random.default_rng(0).normal(size=drawn.shape)
wrong = mean + np.exp(log_var) * epsilon
closed = float(kg.losses.gaussian_kl(many[:1] * mean, many[:1] * log_var)[0])


def log_ratio(z):
    """log q(z) - log p(z), q = N(mean, exp(log_var)), p = N(0, 1)."""
    return 0.5 * (z**2 - (z - mean) ** 2 / np.exp(log_var) - log_var)


print(f"exp(log_var / 2) = {np.exp(log_var / 2):.4f}: draws deviate by {drawn.std():.4f}, "
      f"KL of the draws {log_ratio(drawn).mean():.3f}, closed form {closed:.3f}")
print(f"exp(log_var)     = {np.exp(log_var):.4f}: draws deviate by {wrong.std():.4f}, "
      f"KL of the draws {log_ratio(wrong).mean():.3f}")

# %% [markdown]
# ### The model and its step
#
# `kg.VAE` with 100 latent dimensions, as in the article.


# %%
def make_vae(beta):
    keras.utils.set_random_seed(0)
    vae = kg.VAE(
        IMAGE_SHAPE, LATENT_DIM, beta=beta, seed=0,
        network_options={"filters": FILTERS, "widest": 4 * FILTERS},
    )
    vae.compile()
    return vae


vae = make_vae(beta=1.0)
for network in (vae.encoder, vae.decoder):
    print(network.name)
    for layer in network.layers:
        shape = str(layer.output.shape[1:])
        print(f"    {type(layer).__name__:20}{shape:16}{layer.count_params():>9,} parameters")

# %%
print(inspect.getsource(kg.VAE.train_step))

# %% [markdown]
# One tape, one objective, one optimizer for both networks: there are no two phases. Part 1 draws z.
# Part 2 computes both terms in nats, summed over pixels and latent dimensions, averaged over
# images. The step descends
#
# $$-\mathrm{ELBO} = -E_q[\log p(x|z)] + \mathrm{KL}(q(z|x) \,\|\, N(0, I)).$$

# %%
history = vae.fit(
    endless(NUM_TRAIN), steps_per_epoch=NUM_TRAIN // BATCH, epochs=VAE_EPOCHS, verbose=0
)
parts = vae.evaluate(test, batch_size=BATCH, verbose=0, return_dict=True)
print(f"test images: reconstruction {parts['reconstruction_loss']:.1f} + "
      f"KL {parts['kl_loss']:.1f} = {-parts['elbo']:.1f} nats")
curves = {name: history.history[name] for name in ("reconstruction_loss", "kl_loss", "elbo")}
kg.plotting.plot_losses(curves)
plt.show()

# %% [markdown]
# Grey values count as probabilities here, so the reconstruction term does not go to 0 even for a
# perfect decoder; only differences in nats are meaningful.

# %%
kg.plotting.show_images(
    np.concatenate([test[:9], vae.reconstruct(test[:9]), vae.generate(9, seed=1)]),
    "test images, their reconstructions, samples", columns=9,
)
plt.show()
print(f"distance of {SAMPLES:,} samples: VAE {distance(vae.generate(SAMPLES, seed=1)):.1f}, "
      f"GAN {watch.rows[-1][1]:.1f}")

# %% [markdown]
# ### How many of the 100 dimensions are used?
#
# The KL is a sum over latent dimensions. A dimension whose term is 0 has $\mu = 0$ and $\sigma = 1$
# for every image: it carries no information. Another common count is of active dimensions, whose
# mean has a variance above 0.01 over images (Burda et al., 2016).

# %%
z_mean, z_log_var = (each.numpy() for each in vae.encoder(test, training=False))  # (n, 100) each
kl = 0.5 * (z_mean**2 + np.exp(z_log_var) - 1 - z_log_var).mean(axis=0)  # (100,)
order = np.argsort(kl)[::-1]  # the most used first
assert np.isclose(kl.sum(), kg.losses.gaussian_kl(z_mean, z_log_var).numpy().mean(), rtol=1e-4)
used = int((kl > 0.1).sum())
print(f"{used} of {LATENT_DIM} above 0.1 nats; {int((z_mean.var(axis=0) > 0.01).sum())} with a "
      f"variance of the mean above 0.01; the first {used} hold "
      f"{kl[order[:used]].sum() / kl.sum():.1%} of the KL")
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
axes.bar(range(LATENT_DIM), kl[order], color="#2563eb")
axes.set_xlabel("latent dimensions, the most used first")
axes.set_ylabel("KL, nats")
plt.show()

# %% [markdown]
# If the others carry no information, replacing them by noise changes nothing; if each carries a
# little, it adds up. The error of reconstructions from the first k alone shows what each
# contributes.

# %%


def squared_error(latents):
    return float(np.mean((vae.decode(latents) - test) ** 2))


noisy = z_mean.copy()
noisy[:, order[used:]] = np.random.default_rng(0).normal(size=(len(test), LATENT_DIM - used))
print(f"squared error per pixel: all means {squared_error(z_mean):.4f}, noise in the "
      f"{LATENT_DIM - used} below 0.1 nats {squared_error(noisy):.4f}")
for k in (0, 1, 2, 5, 10, 20, LATENT_DIM):
    kept = np.zeros_like(z_mean)
    kept[:, order[:k]] = z_mean[:, order[:k]]
    print(f"the first {k:3}: {squared_error(kept):.4f}")

# %% [markdown]
# ### Traversals
#
# Each row changes one dimension from -3 to 3 and keeps the others: the three most used, then the
# least used.

# %%
start = z_mean[shown[3]]  # (100,)
walks = [
    kg.latents.traverse(vae, start, int(dimension), np.linspace(-3, 3, 9))  # (9, 100)
    for dimension in (*order[:3], order[-1])
]
frames = kg.latents.decode(vae, np.stack(walks))  # (4, 9, 100) -> (4, 9, 28, 28, 1)
kg.plotting.show_images(frames, "the three most used dimensions, and the least used")
plt.show()
for row, name in zip(frames, ("first", "second", "third", "least")):
    print(f"{name}: a pixel changes by {np.abs(row[-1] - row[0]).mean():.3f} on average")

# %% [markdown]
# A VAE gives this kind of interpretation for free: its dimensions can be varied. Their meaning was
# not specified, and a row may change several attributes at once.
#
# ### Interpolation
#
# Normal noise of 100 dimensions has a length near $\sqrt{100} = 10$. Halfway on a straight line
# between two draws, each dimension has the variance $\frac{1}{4} + \frac{1}{4}$, and the length is
# near $10 / \sqrt{2}$: the model was never trained on latents of that length. Spherical
# interpolation keeps the length.

# %%
starts = gan.draw_latents(SAMPLES, seed=1).numpy()  # (n, 100)
ends_of = gan.draw_latents(SAMPLES, seed=2).numpy()
middles = {"drawn": starts}
for method in ("linear", "spherical"):
    middles[method] = kg.latents.interpolate(gan, starts, ends_of, 3, method)[:, 1]  # (n, 100)
for name, latents in middles.items():
    lengths = np.linalg.norm(latents, axis=1)
    gan_distance, vae_distance = (distance(kg.latents.decode(m, latents)) for m in (gan, vae))
    print(f"{name:10} length {lengths.mean():5.2f} +- {lengths.std():.2f}; "
          f"distance GAN {gan_distance:6.1f}, VAE {vae_distance:6.1f}")
print(f"10 / sqrt(2) = {10 / np.sqrt(2):.2f}")

# %%
ways = np.concatenate([
    kg.latents.decode(gan, kg.latents.interpolate(gan, starts[:2], ends_of[:2], 9, method))
    for method in ("linear", "spherical")
])  # (4, 9, 28, 28, 1)
kg.plotting.show_images(ways[[0, 2, 1, 3]], "GAN: two pairs, each linear and spherical")
plt.show()
codes = kg.latents.interpolate(vae, z_mean[shown[:2]], z_mean[shown[2:]], 9)  # (2, 9, 100)
kg.plotting.show_images(kg.latents.decode(vae, codes), "VAE: linear, between test images")
plt.show()
print(f"mean length of the test images' mean codes: {np.linalg.norm(z_mean, axis=1).mean():.2f}")

# %% [markdown]
# Means of codes are shorter than draws, because the unused dimensions have mean 0. The lengths and
# the table above are for draws. For codes of images linear interpolation is the usual choice.
#
# ### A VAE without KL
#
# `beta=0` leaves only the reconstruction term, like a plain autoencoder with a squared error. The
# encoder may then place codes anywhere, with arbitrarily small noise.

# %%
loose = make_vae(beta=0.0)
loose.fit(endless(NUM_TRAIN), steps_per_epoch=NUM_TRAIN // BATCH, epochs=VAE_EPOCHS, verbose=0)
for name, model in (("with KL", vae), ("without", loose)):
    means, log_vars = (each.numpy() for each in model.encoder(test, training=False))
    error = float(np.mean((model.reconstruct(test) - test) ** 2))
    print(f"{name}: squared error {error:.4f}; codes deviate by {means.std():6.2f}, noise by "
          f"{np.exp(log_vars / 2).mean():.3f}; distance of samples "
          f"{distance(model.generate(SAMPLES, seed=1)):.1f}")

# %% [markdown]
# The KL term makes the codes follow N(0, I). Without it, one can fit a density afterwards:
# `fit_prior` fits Gaussians to the codes of training images, and `generate` draws from those. Here
# it is one Gaussian with a full covariance. An autoencoder with a density fitted afterwards is a
# generator in its own right (Ghosh et al., 2020), and the last line compares it with the VAE.

# %%
rows = [loose.reconstruct(test[:9]), loose.generate(9, seed=1)]
loose.fit_prior(images[: 10 * LATENT_DIM * 2], num_components=1)
rows.append(loose.generate(9, seed=1))
kg.plotting.show_images(
    np.concatenate(rows), "without KL: reconstructions, samples of N(0, I), of a fitted Gaussian",
    columns=9,
)
plt.show()
found = distance(loose.generate(SAMPLES, seed=1))
with_kl = distance(vae.generate(SAMPLES, seed=1))
word = "below" if found < with_kl else "above"
print(f"distance of samples from the fitted Gaussian: {found:.1f}, {word} that of the VAE with KL "
      f"from N(0, I), {with_kl:.1f}")

# %% [markdown]
# ## D. The concerns, measured
#
# ### Does a generator copy its training images?
#
# For each sample we look for the nearest training image, by pixels. A distance alone says little,
# so test images, which no model has seen, are the reference. `nearer` is the probability that a
# sample is nearer to the training set than a test image is: 0.5 without copying, 1 for copies.
# `copies` is the share of samples nearer than all but the nearest 1 % of the test images.
#
# A report that never finds a copy proves nothing. So it also includes training images with a little
# noise, and one generator that overfits on purpose: a VAE without KL that is trained on sixteen
# images. At the end it draws its latents near the codes of these sixteen; before that it draws them
# from N(0, I), with the same decoder.

# %%
tiny_images = images[:TINY]
HALF = min(300, NUM_TEST // 2)
held_out, others = test[:HALF], test[HALF : 2 * HALF]
overfitted = make_vae(beta=0.0)
overfitted.fit(endless(TINY, TINY), steps_per_epoch=TINY_STEPS, epochs=1, verbose=0)
from_normal = overfitted.generate(HALF, seed=3)
overfitted.fit_prior(tiny_images, num_components=TINY - 1)
from_codes = overfitted.generate(HALF, seed=3)

trained = np.clip(images[:HALF] + 0.02 * normal[:HALF], -1, 1)
few_gans = {key: model.generate(HALF, seed=3) for key, (model, _) in small.items()}
few, fewer = SMALL_SETS[0][0], SMALL_SETS[-1][0]
cases = {
    "other test images": (others, images),
    "training images, noise 0.02": (trained, images),
    f"GAN of {NUM_TRAIN:,}": (gan.generate(HALF, seed=3), images),
    f"VAE of {NUM_TRAIN:,}": (vae.generate(HALF, seed=3), images),
    f"GAN of {few:,}": (few_gans[few, None], images[:few]),
    f"GAN of {few:,}, augmented": (few_gans[few, POLICIES[1]], images[:few]),
    f"GAN of {fewer:,}": (few_gans[fewer, None], images[:fewer]),
    f"VAE of {NUM_TRAIN:,}, against {TINY}": (vae.generate(HALF, seed=3), tiny_images),
    f"of {TINY}, z from N(0, I)": (from_normal, tiny_images),
    f"of {TINY}, z near their codes": (from_codes, tiny_images),
}
reports = {
    name: kg.metrics.nearest_training_images(samples, training, held_out)
    for name, (samples, training) in cases.items()
}
print(f"{'':34}{'nearest':>8}{'held out':>9}{'nearer':>8}{'copies':>8}")
for name, report in reports.items():
    print(f"{name:34}{report['median_distance']:8.2f}{report['held_out_median_distance']:9.2f}"
          f"{report['nearer_than_held_out']:8.2f}{report['share_of_copies']:8.1%}")

# %% [markdown]
# The two controls first: test images must come out near 0.5 and 1 %, training images near 1 and
# 100 %. The row "against 16" is a generator that was not trained on just those sixteen: the
# difference to the last row is copying. The last two rows share a decoder. It has memorised its
# sixteen images in both, and the report finds them only where the drawn latents lead to them: "no
# copies found" is a statement about the samples, not about what a model has memorised.
#
# `nearer` below 0.5 means that samples are farther from the training set than unseen real images,
# as for a GAN with visible faults. Smooth images, like those of a VAE, are close to many others in
# pixels: `nearer` above 0.5 without `copies` indicates smoothness rather than memorisation. Look at
# the pairs to decide.

# %%
figure, axes = plt.subplots(3, 1, figsize=(6, 4.6), layout="constrained")
for axis, name in zip(axes, [list(cases)[place] for place in (2, 6, -1)]):
    order_of = np.argsort(reports[name]["distances"])
    _, first = np.unique(reports[name]["indices"][order_of], return_index=True)
    closest = order_of[np.sort(first)[:9]]  # the closest sample of each training image
    pairs = np.concatenate([cases[name][0][closest], reports[name]["images"][closest]])
    kg.plotting.show_images(pairs, f"{name}: the closest samples, and their training images",
                            len(closest), axes=axis)
plt.show()

# %% [markdown]
# ### Where does an image come from?
#
# `kg.plotting.save_png` writes notes into the file. With the model, its weights, the seed and the
# position in the batch, anyone who has the model can generate the image again and compare.

# %%
weights = b"".join(np.ascontiguousarray(each).tobytes() for each in gan.ema_generator.get_weights())
made = gan.generate(4, seed=42)
notes = {
    "generated": "yes",
    "Software": f"keras_genimg {kg.__version__}",
    "model": type(gan).__name__,
    "trained on": f"{DATA}, first {NUM_TRAIN} images",
    "weights": hashlib.sha256(weights).hexdigest()[:16],
    "seed": 42,
    "number": 2,
}
kg.plotting.save_png("sample.png", made[2], notes)
with Image.open("sample.png") as file:
    found, bytes_read = dict(file.text), np.array(file)
for name, value in found.items():
    print(f"{name}: {value}")
again = gan.generate(4, seed=int(found["seed"]))[int(found["number"])]
print("generated again from the notes, equal to the file:",
      np.array_equal(kg.plotting.to_uint8(again)[:, :, 0], bytes_read))

# %% [markdown]
# Notes rely on honesty. One line removes them, and no pixel changes:

# %%
Image.open("sample.png").save("bare.png")
with Image.open("bare.png") as file:
    same = np.array_equal(np.array(file), bytes_read)
    print(f"notes left: {dict(file.text)}; pixels equal: {same}")

# %% [markdown]
# So a note can prove that an image was generated, if it can be generated again; its absence proves
# nothing. The article expects methods that prevent the misuse of generated images as forgeries.
# Notes in files do not.
#
# ## What the article shows, why it fails, what runs instead
#
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | A classifier of one convolution, pooling and ten outputs | The network is right; the arrays it trains on are never read or scaled, and classifying is listed as a kind of generation | `kg.CNNClassifier()` on `kg.load(..., with_labels=True)`; its features measure generators |
# | A generator and a discriminator of layers that were not imported | LeakyReLU, BatchNormalization, Activation, Flatten, Dropout and NumPy are undefined names; so are the batch size and the data | imports at the top of this page |
# | 256 numbers reshaped to (4, 4, 8, 1) | That is 128 numbers | 7 x 7 x channels from a dense layer, or a 7x7 kernel on a 1x1 grid: the same |
# | A 2-D transposed convolution on (4, 4, 8, 1) | With the batch that has five dimensions; a 2-D layer takes four | grids (h, w, c) |
# | One transposed convolution from 4x4 to the image | It ends at 8x8x8, the image is 28x28x1 | 7 -> 14 -> 28, one channel: `kg.networks.dcgan_generator` |
# | Batch normalisation right before the last tanh | Brightness and contrast of images are then tied to the batch (Radford et al., section 3) | none on G's output and D's input |
# | D trained only on batches of the data set | "Real" for everything is the optimum: noise scores as real | `kg.GAN.train_step`: real and generated images in each update of D |
# | The second element of each batch as D's target | If it is a class, cross-entropy has no lower bound | targets are in the loss: real 1, generated 0 |
# | A combined model of G and D | It is used and never defined | two tapes, two optimizers, each with its own weights |
# | Freezing D inside the loop | The compiled step ignores it: weights still change | nothing is frozen |
# | G trained with its own images as the target | D gives one number; the shapes do not fit, and a copy of itself teaches G nothing | $-\log D(G(z))$ |
# | G is trained first, then D, in the list of steps | An untrained D gives no useful gradient | D's update, then G's, in each step |
# | A dense layer of 784 on an image | It acts on the channels: (28, 28, 784) | convolutions with stride 2: `kg.networks.conv_encoder` |
# | 784 numbers reshaped to (10, 7, 7, 1) | That is 490 numbers, and five dimensions again | 7 x 7 x channels |
# | Upsampling in the encoder and downsampling in the decoder | The wrong way round | the encoder halves, the decoder doubles |
# | A code through tanh, scaled by a standard deviation | Neither deviation nor mean has a value, no noise is drawn, and tanh excludes most of N(0, I) | `kg.layers.Sampling`: $\mu + e^{\frac{1}{2} \log \sigma^2} \epsilon$ |
# | A decoder that ends in 100 numbers | That is a code, not an image | `kg.networks.conv_decoder` ends in (28, 28, 1) |
# | Squared error as the whole loss | Without KL, codes are not where N(0, I) has its mass | the ELBO in `kg.VAE.train_step` |
# | Codes predicted from the symbolic input, then codes trained against images | No data reaches the model; 784 pixels are no target for it | `vae.fit(images)` |
# | One pair $\mu, \sigma$ for $q(z \mid x)$ and $p(x \mid z)$; sigma squared called a matrix | They are two distributions; here the encoder's covariance is diagonal, and the decoder gives probabilities | $q = N(\mu(x), \mathrm{diag}\,\sigma^2(x))$, $p(x \mid z)$ by `likelihood=` |
# | Auto-Encoding Variational Bayes listed under Kingma and Ba; the same papers listed several times | The paper is by Kingma and Welling; Kingma and Ba wrote on Adam | the references below |

# %% [markdown]
# ## Exercises

# %% [markdown]
# ### Exercise 1: a generator for 64x64
#
# From how small a grid does a generator of 64x64x3 images start if each layer doubles and no grid
# is to be smaller than 4, and how many doublings are there? Build it of Keras layers for noise of
# 100, check the shape, and count the parameters of the first dense layer by hand.

# %% tags=["answer"]
side, doublings = 64, 0
while side // 2 >= 4:
    side, doublings = side // 2, doublings + 1
noise = keras.Input((LATENT_DIM,))
first = layers.Dense(side * side * 32, use_bias=False)
x = layers.Reshape((side, side, 32))(first(noise))  # (B, 512) -> (B, 4, 4, 32)
for level in range(doublings):
    last = level == doublings - 1
    x = layers.Conv2DTranspose(3 if last else 16, 4, 2, padding="same")(x)  # the side doubles
    if not last:
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.8)(x))
larger = keras.Model(noise, layers.Activation("tanh")(x))
assert (side, doublings) == (4, 4)
assert larger.output_shape == (None, 64, 64, 3)
assert first.count_params() == LATENT_DIM * 4 * 4 * 32
print(f"from {side}x{side} with {doublings} doublings; the package takes it:",
      kg.GAN((64, 64, 3), LATENT_DIM, generator=larger).generate(2, seed=0).shape)

# %% [markdown]
# ### Exercise 2: halfway
#
# Two latents of length 10 are orthogonal. How long is the midpoint of linear and of spherical
# interpolation? Derive both and check them with `kg.latents.interpolate`. At which angle would the
# two midpoints be equal?

# %% tags=["answer"]
a, b = np.zeros((2, LATENT_DIM), "float32")
a[0], b[1] = 10.0, 10.0
linear, spherical = (
    kg.latents.interpolate(vae, a, b, 3, method)[1] for method in ("linear", "spherical")
)
assert np.isclose(np.linalg.norm(linear), 10 / np.sqrt(2))  # (a + b) / 2, |a|^2 / 4 + |b|^2 / 4
assert np.isclose(np.linalg.norm(spherical), 10)
assert np.allclose(spherical / 10, linear / np.linalg.norm(linear))  # the same direction
angle_0 = [kg.latents.interpolate(vae, a, a, 3, method)[1] for method in ("linear", "spherical")]
assert np.allclose(*angle_0)  # the length is 10 cos(angle / 2): equal at angle 0 alone
print(np.linalg.norm(linear), np.linalg.norm(spherical))

# %% [markdown]
# ### Exercise 3: what the report must find
#
# Which values must `nearest_training_images` give for the training images themselves, without
# noise? And why does a mirror image escape it? Check both, the second with the first twenty
# training images.

# %% tags=["answer"]
report = kg.metrics.nearest_training_images(images[:20], images, held_out)
assert np.allclose(report["distances"], 0, atol=0.05)  # of images that are 20 long
assert np.allclose(report["images"], images[:20], atol=1e-5)
assert report["share_of_copies"] == 1 and report["nearer_than_held_out"] == 1
mirrored = images[:20, :, ::-1]
pixels_apart = kg.metrics.nearest_training_images(mirrored, images)["distances"]
back_again = kg.metrics.nearest_training_images(mirrored, images[:, :, ::-1])["distances"]
assert np.allclose(back_again, 0, atol=0.05)  # to find it, look among mirrored images as well
print(f"mirrored: median distance {np.median(pixels_apart):.2f} by pixels, though each is a copy")

# %% [markdown]
# ## Where to go next
#
# - [Tutorial 4](04_vq_vae.ipynb): images as grids of codes.
# - [Tutorial 6](06_making_it_train.ipynb): losses and penalties of GANs compared.
# - [docs/latents.md](../docs/latents.md) and [docs/metrics.md](../docs/metrics.md): the same tools
#   on models that were trained for longer.
#
# References: LeCun et al. (1998), [Gradient-based learning](https://doi.org/10.1109/5.726791);
# Goodfellow et al. (2014), [GAN](https://arxiv.org/abs/1406.2661); Radford et al. (2016),
# [DCGAN](https://arxiv.org/abs/1511.06434); Kingma and Welling (2014),
# [VAE](https://arxiv.org/abs/1312.6114); Burda et al. (2016), [active
# units](https://arxiv.org/abs/1509.00519); White (2016), [spherical
# interpolation](https://arxiv.org/abs/1609.04468); Ghosh et al. (2020), [from autoencoders to
# generators](https://arxiv.org/abs/1903.12436); Zhao et al. (2020), [differentiable
# augmentation](https://arxiv.org/abs/2006.10738); Meehan et al. (2020), [a test for
# copying](https://arxiv.org/abs/2004.05675).
