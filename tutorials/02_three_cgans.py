# %% [markdown]
# # 2. Three readings of CGAN: sequences, classes, cycles
#
# The article behind this tutorial names three kinds of image generator: GAN, VAE and "CGAN". Its
# one program is a GAN with a dense generator and a convolutional discriminator; here that GAN runs,
# and a few lines show why each part of the printed form cannot. "CGAN" is then read in all three
# ways that the name allows: as sequences of frames (`SequenceGAN`), as images conditioned on a
# class (`ConditionalGAN`, what the field calls CGAN), and as translation between two sets without
# pairs (`CycleGAN`, what the article's Chinese name usually means). You need tutorial
# [1](01_gan_to_vq_vae.ipynb), or to know what a GAN and a VAE are.
#
# Measured: 2.1 minutes on two CPU cores, on a shared machine.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/02_three_cgans.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/02_three_cgans.ipynb)

# %% [markdown]
# All sizes are here. The runs are short, none is longer than a minute. The text gives results of
# longer runs, with links to the measurements.

# %% tags=["parameters"] reduced={"DATA": "glyphs", "GAN_STEPS": 4, "JUDGE_STEPS": 2, "VAE_STEPS": 4, "CLIP_STEPS": 4, "CLASS_STEPS": 4, "CYCLE_STEPS": 4, "PAIR_STEPS": 4, "TRAINED_ON": 200, "COUNT": 40}
DATA = "mnist"  # or "glyphs", which needs no download
GAN_STEPS = 320
JUDGE_STEPS = 60
VAE_STEPS = 400
CLIP_STEPS = 800
CLASS_STEPS = 600
CYCLE_STEPS = 240
PAIR_STEPS = 360
TRAINED_ON = 10_000  # images
COUNT = 1000  # images per metric

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
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_genimg as kg

tf.get_logger().setLevel("ERROR")  # no advice about tracing: there are many small models here
SHAPE = (28, 28, 1)
keras.utils.set_random_seed(0)

# %% [markdown]
# Images are float32 in [-1, 1]. Test images with their classes are kept as arrays: all results
# below refer to them. `reader` is the small classifier of this set that comes with the package. It
# was never trained on generated images.


# %%
def batches(batch_size, **arguments):
    """Endless shuffled batches of training images."""
    return kg.load(
        DATA, batch_size=batch_size, num_images=TRAINED_ON, shuffle_seed=0, epochs=None, **arguments
    )


test_set = kg.load(DATA, "test", batch_size=COUNT, num_images=COUNT, with_labels=True)
test_images, test_labels = (part.numpy() for part in next(iter(test_set)))
reader = kg.metrics.get_features(DATA, image_shape=SHAPE)
print(test_images.shape, test_labels.shape)  # (COUNT, 28, 28, 1), (COUNT,)

# %% [markdown]
# ## Part 1: the article's GAN
#
# The generator is dense, 128-128-784. The discriminator is four 5x5 convolutions of stride 2 with
# 64, 128, 256 and 512 filters. `networks="dense_conv"` is that pair. Follow the shapes: each stride
# halves the grid, rounded up.

# %%
untrained = kg.GAN(SHAPE, latent_dim=64, networks="dense_conv", seed=0)
for network in (untrained.generator, untrained.discriminator):
    print(network.name)
    for layer in network.layers:
        if layer.weights or "flatten" in layer.name or "reshape" in layer.name:
            print(f"  {type(layer).__name__:8} {layer.output.shape}")

# %% [markdown]
# The last layer of each network is ours. The generator ends with tanh, so that its images lie in
# [-1, 1] like the real ones; the article's output is unbounded. The discriminator ends with a dense
# layer of one unit; the article's stops at the flat features before it. That is the first of its
# errors, and the others follow from it.
#
# ### The program is written for a TensorFlow that is gone
#
# Before any mathematics: these are the TensorFlow calls that it makes.

# %%
for name in ("variable_scope", "layers", "log", "train.AdamOptimizer", "PYTHON_CALL_CONST_ARGS"):
    there = tf
    for part in name.split("."):
        there = getattr(there, part, None)
    print(f"tf.{name:24} {'exists' if there is not None else 'does not exist'}")

# %% [markdown]
# The last name is in no version: `reuse` should be `True` there, so that both calls share their
# weights. In Keras a network is an object, and two calls share its weights.
#
# ### A discriminator must end in one number
#
# $D(x)$ is the probability that $x$ is real: one number per image. Remove the last layer and see
# how many numbers come out, and how the package rejects such a discriminator.

# %%
features = keras.Model(
    untrained.discriminator.input, untrained.discriminator.layers[-2].output, name="features"
)
flat = features(test_images[:16])  # (16, 28, 28, 1) -> (16, 2048)
print("numbers per image:", flat.shape[1])
try:
    kg.GAN(SHAPE, latent_dim=64, discriminator=features)
except kg.InputError as error:
    print("InputError:", error)

# %% [markdown]
# ### The log of an unbounded value is NaN
#
# The article puts these features directly into $\log D$ and $\log(1 - D)$. A feature is no
# probability: after LeakyReLU about half of them are below 0, where the logarithm is not a number,
# and one such value makes the mean NaN. The slope of the logarithm, $1/v$, is finite on both sides
# of 0, and unbounded near it.

# %%
with tf.GradientTape() as tape:
    values = features(test_images[:16])  # (16, 2048)
    loss = tf.reduce_mean(tf.math.log(values))
slopes = tape.gradient(loss, values) * tf.size(values, tf.float32)  # of each logarithm
print(f"features below 0: {np.mean(values < 0):.1%}")
print(f"mean of their logarithms: {loss:.3f}")
print(f"slopes: half of them beyond {np.median(np.abs(slopes)):,.0f}, "
      f"the steepest {np.abs(slopes).max():,.0f}")

# %% [markdown]
# So the gradients are finite but huge, and a program that does not print its loss trains on with
# them. `fit` of this package checks every loss and stops. Even with one number per image the
# logarithm of an unbounded value gets no further than this:


# %%
def log_generator_loss(values):
    return tf.reduce_mean(tf.math.log(1.0 - values))


def log_discriminator_loss(real_values, fake_values):
    return -tf.reduce_mean(tf.math.log(real_values)) - log_generator_loss(fake_values)


unbounded = kg.GAN(
    SHAPE, networks="mlp", loss=(log_generator_loss, log_discriminator_loss), seed=0
)
unbounded.compile(run_eagerly=True)
try:
    unbounded.fit(test_images, batch_size=32, verbose=0)
except kg.InputError as error:
    print("InputError:", error)

# %% [markdown]
# A sigmoid in front of the logarithm bounds the value, but only on paper: in 32 bits
# $\sigma(l)$ is exactly 1 from about $l = 17$ on, and $\log(1 - \sigma(l))$ is then $-\infty$. The
# package's losses therefore take the **logit** $l$ and never form the probability:
#
# $$-\log\sigma(l) = \mathrm{softplus}(-l), \qquad -\log(1 - \sigma(l)) = \mathrm{softplus}(l).$$

# %%
logits = tf.constant([-40.0, 0.0, 40.0])
with tf.GradientTape(persistent=True) as tape:
    tape.watch(logits)
    naive = -tf.math.log(1.0 - tf.sigmoid(logits))
    stable = tf.math.softplus(logits)
print("by sigmoid and log:", naive.numpy(), "slope", tape.gradient(naive, logits).numpy())
print("by softplus:       ", stable.numpy(), "slope", tape.gradient(stable, logits).numpy())

# %% [markdown]
# ### The corrected objective
#
# With a logit, real images in the loss and both updates in the step, the same two networks train.
# The step is that of every GAN here; tutorial [1](01_gan_to_vq_vae.ipynb) explains it line by line.
# The article's loop also runs only the generator update: its discriminator would keep its random
# initial weights. Samples of the same 8 noise vectors are kept during training. G learns at a
# higher rate than D: in a trial at equal rates this discriminator was certain about nearly every
# image.


# %%
def train(model, data, steps, look, parts=4):
    """`fit` in a few parts; returns the history and the results of `look()` after each."""
    seen = [look()]
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(look()))
    began = time.perf_counter()
    history = model.fit(
        data, epochs=parts, steps_per_epoch=max(steps // parts, 1), callbacks=[watch], verbose=0
    )
    print(f"{type(model).__name__}: {steps} steps, {time.perf_counter() - began:.0f} seconds")
    return history.history, seen


# The EMA generator averages over the last steps: short runs need a short memory.
gan = kg.GAN(SHAPE, latent_dim=64, networks="dense_conv", ema_decay=0.9, seed=0)
gan.compile(learning_rate=(1e-3, 2e-4))  # of G, of D
logs, seen = train(
    gan, batches(16), GAN_STEPS, lambda: gan.generate(8, seed=0, verbose=0)
)  # 1 + 4 times (8, 28, 28, 1)
print(f"D's score of real images {logs['real_score'][-1]:.2f}, of generated "
      f"{logs['fake_score'][-1]:.2f}")
kg.plotting.show_images(np.concatenate(seen), "before, and after each quarter", columns=8)
plt.show()

# %% [markdown]
# How close are samples to the data? `frechet_distance` compares the means and covariances of their
# features (lower is better; see [docs/metrics.md](../docs/metrics.md)). Training images are the
# floor, the grey noise of the untrained G the ceiling. The article's pair is compared with the
# default one, convolutions in both networks, for the same number of steps and images.

# %%
convolutional = kg.GAN(SHAPE, latent_dim=64, ema_decay=0.9, seed=0)
convolutional.compile()
logs, seen = train(
    convolutional, batches(16), GAN_STEPS, lambda: convolutional.generate(8, seed=0, verbose=0)
)
print(f"D's score of real images {logs['real_score'][-1]:.2f}, of generated "
      f"{logs['fake_score'][-1]:.2f}")
kg.plotting.show_images(seen[-1], "convolutions in both networks, at the end", columns=8)
plt.show()

# %%
train_images = np.concatenate([x.numpy() for x in batches(100).take(COUNT // 100 or 1)])[:COUNT]
test_features = reader(test_images)  # (COUNT, 128)
made = gan.generate(COUNT, seed=1, verbose=0)  # (COUNT, 28, 28, 1)
print(f"{'':24}distance  spread of a pixel over the images")
for name, images in (
    ("dense, untrained", untrained.generate(COUNT, seed=1, verbose=0)),
    ("dense, trained", made),
    ("convolutional, trained", convolutional.generate(COUNT, seed=1, verbose=0)),
    ("real training images", train_images),
):
    distance = kg.metrics.frechet_distance(test_features, reader(images))
    print(f"{name:24}{distance:8.1f}{images.std(axis=0).mean():10.3f}")

# %% [markdown]
# One seed and a very short run, each pair at its own learning rates. The article's generator has
# learned strokes, but nearly the same strokes for every noise vector: the last column is the
# standard deviation of a pixel over the images, far below that of real ones. Its discriminator is
# certain about most images, which leaves G little to learn from. And most of the time goes into
# that discriminator: 4.3 million weights, against 126 thousand in the generator. The convolutional
# pair is ahead after as many steps, and not converged either;
# [docs/adversarial.md](../docs/adversarial.md) has long runs of the convolutional pair.
#
# ### Why the discriminator's loss needs real images
#
# The article's discriminator sees only generated images. Train a small one in that way, and one
# correctly, on the samples above, and apply both to real **test** images.

# %%
def train_judge(sees_real):
    """A discriminator after JUDGE_STEPS steps: its mean D(x) of real and of generated images."""
    keras.utils.set_random_seed(1)
    judge = kg.networks.dcgan_discriminator(SHAPE, filters=8, normalization=False)
    optimizer = keras.optimizers.Adam(2e-3)

    @tf.function
    def step(real, fake):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.math.softplus(judge(fake)))  # -log(1 - D(G(z)))
            if sees_real:
                loss += tf.reduce_mean(tf.math.softplus(-judge(real)))  # -log D(x)
        weights = judge.trainable_variables
        optimizer.apply(tape.gradient(loss, weights), weights)

    rng = np.random.default_rng(0)
    for _ in range(JUDGE_STEPS):
        rows = rng.integers(len(made), size=(2, 32))
        step(tf.constant(train_images[rows[0]]), tf.constant(made[rows[1]]))
    fresh = gan.generate(len(test_images), seed=2, verbose=0)
    return [float(np.mean(tf.sigmoid(judge(each)))) for each in (test_images, fresh)]


for sees_real in (False, True):
    on_real, on_fake = train_judge(sees_real)
    print(f"sees real: {sees_real!s:6} D of real {on_real:.2f}, of generated {on_fake:.2f}")

# %% [markdown]
# Without real images the loss has a trivial optimum: reject everything. Such a discriminator knows
# nothing about the data, so its gradient carries no information about them.
#
# ### The second objective has min and max swapped
#
# There is one objective,
#
# $$\min_G \max_D \; V(D, G) = E_x[\log D(x)] + E_z[\log(1 - D(G(z)))],$$
#
# and the updates of both networks optimise it. The article prints it once for the generator, and a
# second time with min and max exchanged for the discriminator. Look at the sign of the slope of $V$
# in D's two logits: what does D do when it **descends** $V$?

# %%
real_logits, fake_logits = tf.Variable([[0.0]]), tf.Variable([[0.0]])
with tf.GradientTape() as tape:
    value = -kg.losses.minimax_discriminator_loss(real_logits, fake_logits)  # V(D, G)
for name, slope in zip(
    ("real", "generated"), tape.gradient(value, [real_logits, fake_logits]), strict=True
):
    slope = float(slope[0, 0])
    moves = {True: "up", False: "down"}
    print(
        f"logit of a {name} image: dV/dl = {slope:+.2f}; ascending V moves it "
        f"{moves[slope > 0]}, descending V {moves[slope < 0]}"
    )

# %% [markdown]
# A discriminator that descends $V$ learns to classify generated images as real and real ones as
# generated, and a generator that ascends it generates what D rejects. That objective is not even
# bounded:

# %%
certainty = np.linspace(0.0, 6.0, 61, dtype="float32")
right = [-float(kg.losses.minimax_discriminator_loss(+t, -t)) for t in certainty]
swapped = [-float(kg.losses.minimax_discriminator_loss(-t, +t)) for t in certainty]
plt.figure(figsize=(7, 2.8), layout="constrained")
plt.plot(certainty, right, label="D is certain and right: V is bounded by 0")
plt.plot(certainty, swapped, label="D is certain and wrong: V falls without bound")
plt.xlabel("certainty of D, |logit|")
plt.ylabel("V(D, G)")
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Part 2: the VAE's sign, and its beta
#
# A VAE **maximises** the evidence lower bound. With a weight beta on the second term:
#
# $$E_{q(z|x)}[\log p(x|z)] - \beta\, KL(q(z|x)\,\|\,p(z)).$$
#
# The article prints this expression under a `min`. Compare three models of the same images,
# constructed by hand: one that reproduces each image, at the price of a code; one that outputs the
# mean image whatever the code is; and one that outputs the negative with certainty, with a code far
# from the prior. Which one does each sign choose?

# %%
pixels = tf.constant(np.where(test_images > 0, 1.0, -1.0).astype("float32"))  # (COUNT, 28, 28, 1)
ink = np.clip((pixels.numpy().mean(axis=0) + 1) / 2, 0.001, 0.999)  # (28, 28, 1)
mean_logits = tf.broadcast_to(np.log(ink / (1 - ink)), pixels.shape)
none, some, far = (tf.fill((len(pixels), 16), value) for value in (0.0, 1.5, 10.0))
models = {
    # name: (logits of the pixels, z_mean, z_log_var)
    "faithful": (5.0 * pixels, some, none - 4.0),
    "mean image": (mean_logits, none, none),
    "negative": (-20.0 * pixels, far, none),
}
bound = {}
for name, (logits, z_mean, z_log_var) in models.items():
    likelihood = float(np.mean(kg.losses.bernoulli_log_likelihood(pixels, logits)))
    divergence = float(np.mean(kg.losses.gaussian_kl(z_mean, z_log_var)))
    bound[name] = likelihood - divergence
    print(f"{name:14} log p(x|z) {likelihood:9.1f}   KL {divergence:6.1f}   "
          f"bound {bound[name]:9.1f}")
print("\nmaximised by:", max(bound, key=bound.get), "\nminimised by:", min(bound, key=bound.get))

# %% [markdown]
# Minimising rewards wrong images and useless codes, and without a limit: the more certain the
# negative is, the lower the value. (The article also trains encoder and decoder one after the
# other. It is one objective with one gradient: see `kg.VAE.train_step` in tutorial
# [3](03_classifier_dcgan_vae.ipynb).)
#
# ### What beta does
#
# The same dense VAE under two weights. `reconstruction_loss` is $-E_q[\log p(x|z)]$, `kl_loss` the
# divergence, both in nats per image, here of the test images. `elbo` is the bound itself, with
# weight 1 for both.

# %%
vaes = {}
for beta in (1.0, 8.0):
    keras.utils.set_random_seed(0)
    vae = kg.VAE(
        SHAPE, latent_dim=16, networks="mlp", network_options={"units": (256,)}, beta=beta, seed=0
    )
    vae.start_at_mean(train_images)
    vae.compile()
    vae.fit(batches(64), steps_per_epoch=VAE_STEPS, verbose=0)
    vaes[beta] = vae
    terms = vae.evaluate(test_images, batch_size=COUNT, return_dict=True, verbose=0)
    print(
        f"beta {beta:g}: reconstruction {terms['reconstruction_loss']:6.1f}, "
        f"KL {terms['kl_loss']:5.1f}, bound {terms['elbo']:7.1f} nats"
    )

# %%
figure, rows = plt.subplots(2, 2, figsize=(9, 2.6), layout="constrained")
for (beta, vae), (left, right) in zip(vaes.items(), rows, strict=True):
    both = np.concatenate([test_images[:10], vae.reconstruct(test_images[:10])])
    kg.plotting.show_images(both, f"beta {beta:g}: test images, reconstructed", 10, axes=left)
    kg.plotting.show_images(
        vae.generate(20, seed=0, verbose=0), f"beta {beta:g}: new ones", 10, axes=right
    )
plt.show()

# %% [markdown]
# The weight is a trade-off: a larger beta gives codes closer to the prior (less KL) at the price of
# blurred reconstructions (more nats lost on the pixels). The bound counts both at weight 1, and
# training at weight 1 optimises it.
#
# ### A side claim: small batches make training faster
#
# The article answers the question of speed with smaller batches, among other advice. A step does
# get shorter. An image does not: measured on the VAE above, the better of two rounds.

# %%
rate, total = {}, 8 * VAE_STEPS  # as many images for each size
for batch_size in (8, 64):
    seconds = []
    for _ in range(3):  # the first one warms up
        data = batches(batch_size).take(max(total // batch_size, 1))
        began = time.perf_counter()
        vaes[1.0].fit(data, verbose=0)
        seconds.append(time.perf_counter() - began)
    rate[batch_size] = total / min(seconds[1:])
    print(f"batches of {batch_size}: {rate[batch_size]:,.0f} images per second")
print(f"batches of 64 are {rate[64] / rate[8]:.1f} times as fast per image")

# %% [markdown]
# ## Part 3: three readings of CGAN
#
# | reading | input | output | constraint | here |
# |---|---|---|---|---|
# | the article's description: recurrent | noise per frame | clips | frames are coherent | `SequenceGAN` |
# | the field's name: conditional | noise and a class | images of that class | the image matches the class | `ConditionalGAN` |
# | the article's Chinese name: cycle | an image of another set | its translation | cycle consistency | `CycleGAN` |
#
# ## Reading 1: sequences
#
# The article wants each image to continue the one before, with the generator and the
# discriminator of a plain GAN. A discriminator of single images cannot enforce that. Take real
# clips (a digit that moves and bounces off the border; built in, here of 16x16 pixels, so that a
# step is cheap) and shuffle their frames in time.

# %%
NUM_FRAMES, CLIP_SHAPE = 8, (16, 16, 1)
clips = kg.load(
    "moving_glyphs", "test", batch_size=256, num_images=256, num_frames=NUM_FRAMES, image_size=16
)
real_clips = next(iter(clips)).numpy()  # (256, 8, 16, 16, 1)
order = np.random.default_rng(0).permuted(
    np.tile(np.arange(NUM_FRAMES), (len(real_clips), 1)), axis=1
)  # (256, 8), each row in its own order
shuffled_clips = np.take_along_axis(real_clips, order[..., None, None, None], axis=1)
kg.plotting.show_images(real_clips[:3], "real clips, one per row", scale=3)
kg.plotting.show_images(shuffled_clips[:3], "the same frames, shuffled in time", scale=3)
plt.show()

# %% [markdown]
# A discriminator of single frames gives both the same scores: it sees the same frames. Only a
# discriminator of the **clip** can distinguish them. `SequenceGAN` (MoCoGAN) has both. Here they
# are, still untrained.

# %%
keras.utils.set_random_seed(0)
sequence_gan = kg.SequenceGAN(CLIP_SHAPE, num_frames=NUM_FRAMES, ema_decay=0.98, seed=0)
frame_scores, clip_scores = [], []
for each in (real_clips[:32], shuffled_clips[:32]):
    frames = each.reshape(-1, *CLIP_SHAPE)  # (32, 8, 16, 16, 1) -> (256, 16, 16, 1)
    scores = sequence_gan.image_discriminator(frames)  # (256, 1)
    frame_scores.append(np.reshape(scores, (32, NUM_FRAMES)).mean(axis=1))  # (32,)
    clip_scores.append(np.ravel(sequence_gan.clip_discriminator(each)))  # (32, 1) -> (32,)
for name, (ordered, mixed) in (("frames", frame_scores), ("clip", clip_scores)):
    print(f"{name:7} spread of scores {ordered.std():.5f}, "
          f"largest change by shuffling {np.abs(ordered - mixed).max():.1e}")

# %% [markdown]
# The generator is the recurrent part. A clip has one content vector $z_c$, the same in all frames,
# and a gated recurrent cell computes the motion vectors, each from fresh noise and from the one
# before:
#
# $$z_m^{(t)} = \mathrm{GRU}(\epsilon^{(t)}, z_m^{(t-1)}), \qquad
# x^{(t)} = G(z_c, z_m^{(t)}).$$
#
# Frames are coherent because their latent vectors are.

# %%
paths = sequence_gan.draw_latents(4, seed=0).numpy()  # (4, 8, 56 + 8)
print("path:", paths.shape)
print("content is the same in all frames:", bool(np.ptp(paths[..., :56], axis=1).max() == 0))
print("motion changes from frame to frame:", bool(np.ptp(paths[..., 56:], axis=1).min() > 0))
print(inspect.getsource(kg.SequenceGAN.train_step))

# %% [markdown]
# Read it in order. `walk_paths` turns noise into paths, `render_clips` generates a frame at every
# point of them. One frame of each clip, drawn at random, goes to the image discriminator; the whole
# clip goes to the clip discriminator; $D_I$ and $D_V$ learn together, on the sum of their losses,
# and both see real data. Then the generator and the recurrent cell descend through both, with the
# same generated clips. `batch.share` is 1 on one device.
#
# Now a short run. How far does the centre of brightness move from one frame to the next? Shuffling
# raises that number far above that of real clips.


# %%
def centres(clips):
    """Centres of brightness: `(n, T, h, w, 1)` -> `(n, T, 2)`, in pixels."""
    ink = (clips[..., 0] + 1) / 2 + 1e-6  # (n, T, h, w); a black frame gets its middle
    total = ink.sum((2, 3))  # (n, T)
    rows, columns = np.arange(ink.shape[2]), np.arange(ink.shape[3])
    return np.stack([ink.sum(3) @ rows / total, ink.sum(2) @ columns / total], axis=-1)


def step_of_centre(clips):
    """Pixels from frame to frame, the mean over clips and frames."""
    return float(np.linalg.norm(np.diff(centres(clips), axis=1), axis=-1).mean())


data = kg.load(
    "moving_glyphs", batch_size=16, num_images=TRAINED_ON, num_frames=NUM_FRAMES, image_size=16,
    shuffle_seed=0, epochs=None,
)
sequence_gan.compile()
logs, seen = train(
    sequence_gan, data, CLIP_STEPS, lambda: sequence_gan.generate(64, seed=0, verbose=0)
)  # 1 + 4 times (64, 8, 16, 16, 1)
kg.plotting.show_images(
    np.stack([part[i] for part in seen[1:] for i in (0, 1)]), "two clips, after each quarter",
    scale=3,
)
plt.show()

# %%
longer = sequence_gan.generate(64, seed=0, num_frames=2 * NUM_FRAMES, verbose=0)
print("the centre moves, in pixels per frame:")
for name, each in (
    ("real", real_clips),
    ("real, shuffled in time", shuffled_clips),
    ("generated, untrained", seen[0]),
    ("generated", seen[-1]),
    (f"generated, {2 * NUM_FRAMES} frames", longer),
):
    print(f"  {name:24}{step_of_centre(each):6.2f}")
kg.plotting.show_images(longer[:4], f"{2 * NUM_FRAMES} frames, trained on {NUM_FRAMES}", scale=2)
plt.show()

# %% [markdown]
# Judge with care. A grey blot that does not move has a small number too, so a small number alone
# means nothing: the frames must also be digits. After so few steps the frames are coherent, but
# they are smudges of a digit's size. With the generator of the paper, `networks="dcgan"`, which
# takes $z_c$ and $z_m$ as one vector, a classifier assigns 41 % of a clip's frames to its most
# frequent class after 6,250 steps (real clips 99.5 %, frames of mixed clips 24 %:
# [docs/sequences.md](../docs/sequences.md)). So the default renders $z_c$ alone, and $z_m$ only
# moves the result: identity need not be learned.
#
# ## Reading 2: classes
#
# In the field CGAN is the **conditional** GAN: both networks are conditioned on a class $y$, and G
# must generate an image of it,
#
# $$\min_G \max_D \; E_{x,y}[\log D(x, y)] + E_{z,y}[\log(1 - D(G(z, y), y))].$$
#
# A realistic image of the wrong class is then a failure.

# %%
print(inspect.getsource(kg.ConditionalGAN.train_step))

# %% [markdown]
# Compared with the GAN's step, `discriminate` and the generator take the labels as well, and $G$ is
# conditioned on the classes of the batch, so that real and generated pairs have the same $p(y)$.
# `class_loss` is that of the auxiliary classifier: D also learns the class of real images, and G's
# images must be classified as their target class.

# %%
keras.utils.set_random_seed(0)
conditional_gan = kg.ConditionalGAN(SHAPE, num_classes=10, ema_decay=0.95, seed=0)
conditional_gan.compile()
target = np.repeat(np.arange(10), COUNT // 10)  # (COUNT,): 0 0 ... 0 1 1 ... 9


def target_accuracy():
    """The share of images that are classified as their target class."""
    images = conditional_gan.generate(len(target), labels=target, seed=1, verbose=0)
    return float((reader.logits(images).argmax(axis=1) == target).mean())


logs, shares = train(
    conditional_gan, batches(64, with_labels=True), CLASS_STEPS, target_accuracy, parts=8
)
of_real = float((reader.logits(test_images).argmax(axis=1) == test_labels).mean())
print("classified as the target class:", ", ".join(f"{share:.1%}" for share in shares))
print(f"real test images classified correctly: {of_real:.1%}")

# %%
plt.figure(figsize=(7, 2.6), layout="constrained")
plt.plot(np.linspace(0, CLASS_STEPS, len(shares)), shares, marker="o", label="generated")
plt.axhline(of_real, linestyle="--", color="grey", label="real test images")
plt.axhline(0.1, linestyle=":", color="grey", label="chance")
plt.xlabel("steps")
plt.ylabel("classified as target")
plt.legend(frameon=False)
rows = conditional_gan.generate(80, labels=np.repeat(np.arange(10), 8), seed=2, verbose=0)
kg.plotting.show_images(rows, "one target class per row: 0, 1, 2, ... 9", columns=8)
plt.show()

# %% [markdown]
# This is one seed, and the share was still rising at the end. It says nothing about diversity: a
# generator of one perfect 3 would score 100 %. On Fashion-MNIST, after 15 epochs of "dcgan"
# networks, 96.5 % are classified as their target class (real test images 93.0 %), and without the
# auxiliary classifier 89.1 %; their distance, precision and recall are in
# [docs/adversarial.md](../docs/adversarial.md).
#
# ## Reading 3: cycles
#
# CycleGAN translates between two sets of images without pairs. Generators $G: A \to B$ and
# $F: B \to A$ each have a discriminator of their target set, and an image translated there and back
# must be unchanged:
#
# $$L_{cycle} = E_a\|F(G(a)) - a\|_1 + E_b\|G(F(b)) - b\|_1.$$
#
# In this task, which takes half a minute and has a known answer, A are digits and B are inverted
# digits: **other** digits, so that no image has its partner in the data. The right translation is
# $G(a) = -a$; the model must find it.

# %%
pool = np.concatenate([x.numpy() for x in batches(200).take(max(TRAINED_ON // 400, 1))])
half = len(pool) // 2
set_a, set_b = pool[:half], -pool[half:]  # no digit is in both
print(set_a.shape, set_b.shape)
print(inspect.getsource(kg.CycleGAN.train_step))

# %% [markdown]
# The generators come first, in the order of the paper's code. Their loss has three terms, each in
# both directions: the adversarial term of the target set's discriminator; the cycle term; and the
# identity term, for images that are already in the target set (`identity_loss`, which we switch
# off: it costs two more passes per step). The discriminators then learn on the same translations;
# the image pools exchange some of them for earlier ones. They judge patches: a grid of logits per
# image.
#
# No term is enough by itself. The cycle loss is 0 for the pair $G = F = $ identity, which
# translates nothing; the discriminators alone would accept any inverted digits, whatever the
# image was.

# %%
keras.utils.set_random_seed(0)
networks = {
    name: kg.networks.residual_translator(SHAPE, SHAPE, filters=8, blocks=1, name=name)
    for name in ("generator_a_to_b", "generator_b_to_a")
} | {
    name: kg.networks.patchgan_discriminator(SHAPE, filters=16, name=name)
    for name in ("discriminator_a", "discriminator_b")
}  # a quarter of the default width: small enough for a short run
cycle_gan = kg.CycleGAN(SHAPE, identity_weight=0.0, seed=0, **networks)
cycle_gan.compile(learning_rate=1e-3)


def endless(images, seed):
    """Endless shuffled batches of 16."""
    data = tf.data.Dataset.from_tensor_slices(images)
    return data.shuffle(len(images), seed=seed).repeat().batch(16)


def look():
    there = cycle_gan.translate(test_images)  # G(a), (COUNT, 28, 28, 1)
    back = cycle_gan.reconstruct(test_images)  # F(G(a))
    return there, back


pairs = tf.data.Dataset.zip(endless(set_a, 1), endless(set_b, 2))  # no pairs: two shuffles
logs, seen = train(cycle_gan, pairs, CYCLE_STEPS, look)
kg.plotting.plot_losses(
    {name: logs[name] for name in ("cycle_loss", "real_score", "fake_score")}
)
plt.show()

# %%
strip = [test_images[:12], *(there[:12] for there, back in seen[1:]), seen[-1][1][:12]]
kg.plotting.show_images(
    np.concatenate(strip), "real; translated, after each quarter; last row: cycle", columns=12
)
plt.show()

# %% [markdown]
# Because the right answer is known here, the translation itself can be measured, on test digits:
# its mean distance to $-a$, and the share whose class is still correct after inverting it
# again.

# %%
def kept(translated):
    """Share of translations that keep the class of their digit."""
    return float((reader.logits(-translated).argmax(axis=1) == test_labels).mean())


print("after   |G(a) - (-a)|   |F(G(a)) - a|   class kept")
for part, (there, back) in enumerate(seen):
    print(
        f"{part}/4 {np.abs(there + test_images).mean():15.3f}"
        f"{np.abs(back - test_images).mean():16.3f}{kept(there):14.1%}"
    )
print(f"perfect {0:12.3f}{0:16.3f}{kept(-test_images):14.1%}")

# %% [markdown]
# Style is learned first: after a quarter of the steps the background is bright and the digits are
# lost. Then the cycle is learned, and with it the digit in most images. Some translations in the
# figure are still distorted, like those of 0, and yet are translated back correctly: the cycle loss
# constrains the pair $G, F$, not $G$ alone. On MNIST and USPS digits, where the right answer is
# unknown, style is learned within 1,000 steps and the class slowly: after 6,000 steps 81.5 % (MNIST
# to USPS) and 85.0 % (back) keep their class. [docs/translation.md](../docs/translation.md) has the
# measurements, and those of two glyph styles.
#
# ## What the article leaves open: completion
#
# Among its open questions are completion of images and translation. With pairs it is simpler
# than with cycles: `Pix2Pix` learns from corrupted and clean images. `data.corrupted_pairs` masks a
# box of half of each side at a random place.

# %%
keras.utils.set_random_seed(0)
pix2pix = kg.Pix2Pix(SHAPE, seed=0)
pix2pix.compile(learning_rate=1e-3)
data = kg.load(DATA, batch_size=32, num_images=32 * PAIR_STEPS, shuffle_seed=0)
pix2pix.fit(kg.data.corrupted_pairs(data, "mask", seed=0), verbose=0)

given = kg.data.corrupt(test_images, "mask", seed=(0, 1)).numpy()  # (COUNT, 28, 28, 1)
completed = pix2pix.translate(given)
for name, images in (("given", given), ("completed", completed)):
    decibels = kg.metrics.peak_signal_to_noise_ratio(test_images, images).mean()
    right_class = (reader.logits(images).argmax(axis=1) == test_labels).mean()
    print(f"{name:10} PSNR {decibels:5.1f} dB, class correct {right_class:6.1%}")
kg.plotting.show_images(
    np.concatenate([given[:12], completed[:12], test_images[:12]]), "given, completed, clean",
    columns=12,
)
plt.show()

# %% [markdown]
# The masked part is guessed from the visible part, and a guess can be wrong. After so few steps the
# completions are closer to the clean images in decibels, and yet the classifier is right about
# fewer of them than of the corrupted images: an empty box misleads it less than wrong strokes.
# Results on Fashion-MNIST and CIFAR-10 after 3,000 steps, with the same network trained by
# regression only, are in [docs/translation.md](../docs/translation.md).
#
# ## Errata
#
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | variable scopes, layer functions, a session and an optimizer of TensorFlow 1 | none of the calls exists any more | `kg.GAN(networks="dense_conv")`, `compile`, `fit` |
# | weights shared by passing `reuse` a constant of TensorFlow | no version has that constant | a network is an object; calling it twice shares its weights |
# | a discriminator that ends in its flat features | 2,048 numbers per image where the loss needs one | a dense layer to one logit |
# | logarithms of those features | they are unbounded and about half of them negative: the loss is NaN, its slopes have no bound | losses of logits, by softplus |
# | a discriminator loss of generated images only | rejecting everything is its optimum | $-\log D(x) - \log(1 - D(G(z)))$ on a real and a generated batch |
# | a loop that runs the generator's update only | the discriminator never learns | both updates in `train_step` |
# | batches, sizes and lists of weights that are used and never defined | names without values | `kg.load`, and weights that belong to their network |
# | a generator without an output activation | images of any range against images in a fixed one | tanh, and images in [-1, 1] |
# | G and D as one affine map and a sigmoid, while the text has convolutions | one layer cannot generate digits, and a discriminator of one layer is a linear classifier | two networks of several layers |
# | min and max exchanged in the discriminator's objective | D would learn to be wrong, without a bound | one objective: D ascends V, G descends it (or $-\log D(G(z))$) |
# | the goal that D should recognise generated images | that is D's goal; G's is the opposite | G descends $-\log D(G(z))$ |
# | the VAE's bound under a min | the worst model wins | ascend it, which is to descend reconstruction loss + beta KL |
# | a VAE trained in two phases | it is one objective with one gradient | one `train_step` for encoder and decoder |
# | an encoder that gives $z$ by a sigmoid | no mean and variance, hence no KL and nothing to draw | $q(z\|x) = N(\mu, \sigma^2)$ and a draw |
# | "CGAN" with the two plain networks of a GAN | a discriminator of single frames cannot see their order | a recurrent path, and a discriminator of clips: `SequenceGAN` |
# | one name for three things | CGAN is the conditional GAN, the Chinese name is CycleGAN's, the text describes sequences | `ConditionalGAN`, `CycleGAN`, `SequenceGAN` |
# | smaller batches as a way to train faster | fewer images per second | larger batches, measured above |
# | a list of references with wrong authors and titles | the papers cannot be found by them | progressive growing is by Karras, Aila, Laine and Lehtinen; large-scale GAN training by Brock, Donahue and Simonyan |
# | images that the training set does not hold, as a leak | new images are the purpose; a leak is a copy | `kg.metrics.nearest_training_images`, in tutorial [3](03_classifier_dcgan_vae.ipynb) |
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: how low does the swapped objective fall?
#
# Let D be wrong with certainty $t$: logit $-t$ for every real and $+t$ for every generated image.
# Find $V$ as a function of $t$ in closed form, and check it against the package's loss. What is its
# slope for large $t$?

# %% tags=["answer"]
t = np.linspace(0.0, 30.0, 7, dtype="float32")  # (7,)
closed_form = -2.0 * np.log1p(np.exp(t.astype("float64")))  # log sigmoid(-t), twice
computed = [-float(kg.losses.minimax_discriminator_loss(-each, +each)) for each in t]
assert np.allclose(computed, closed_form, rtol=1e-5)
slopes = np.diff(computed) / np.diff(t)
assert np.all(slopes < 0) and abs(slopes[-1] + 2.0) < 1e-3  # -2: it never levels off
print(np.round(computed, 3), "slope", slopes[-1])

# %% [markdown]
# ### Exercise 2: one digit, two motions
#
# Generate two clips of **one** content vector and two different motions with the trained
# `SequenceGAN`, from latent paths of `draw_latents`. And check that a longer clip begins like the
# shorter one of the same seed: why must it, in a recurrent generator?

# %% tags=["answer"]
paths = sequence_gan.draw_latents(2, seed=5).numpy()  # (2, 8, 64)
content = sequence_gan.content_dim
paths[1, :, :content] = paths[0, :, :content]  # the second clip gets the content of the first
clips = sequence_gan.images_from_latents(tf.constant(paths)).numpy()  # (2, 8, 16, 16, 1)
assert clips.shape == (2, NUM_FRAMES, *CLIP_SHAPE)
assert np.abs(clips[0] - clips[1]).max() > 0  # they differ in motion only
short = sequence_gan.generate(2, seed=5, num_frames=4, verbose=0)
long = sequence_gan.generate(2, seed=5, num_frames=12, verbose=0)
# A state depends on the noise up to its own frame, never on what comes later.
assert np.allclose(long[:, :4], short, atol=1e-4)
kg.plotting.show_images(clips, "one content, two motions", scale=3)
plt.show()

# %% [markdown]
# ### Exercise 3: a useless translator with a perfect cycle
#
# Find a pair $G, F$, not the identity, whose cycle loss is exactly 0 on **any** images and whose
# $G$ translates nothing into B. Which term of the generators' loss does it fail, and why can the
# cycle loss not see it?

# %% tags=["answer"]
def roll(images):  # G: every image is rolled by half its width to the right
    return np.roll(images, 14, axis=2)


def roll_back(images):  # F
    return np.roll(images, -14, axis=2)


a, b = test_images, -test_images
cycle = np.abs(roll_back(roll(a)) - a).mean() + np.abs(roll(roll_back(b)) - b).mean()
assert cycle == 0.0
assert np.abs(roll(a) - a).mean() > 0  # it is not the identity
# Still mostly black, where B is mostly white: only the discriminator of B can object.
assert np.isclose(roll(a).mean(), a.mean(), atol=1e-5) and roll(a).mean() < 0 < b.mean()
print(f"cycle loss {cycle}; mean of G(a) {roll(a).mean():.2f}, of B {b.mean():.2f}")

# %% [markdown]
# Any invertible map has a cycle loss of 0: the loss demands that nothing be lost, not that anything
# be translated.
#
# ## Where to go next
#
# - [03_classifier_dcgan_vae.ipynb](03_classifier_dcgan_vae.ipynb): a classifier, convolutions in
#   both networks, the VAE step read line by line, and a check for copies of training images.
# - [06_making_it_train.ipynb](06_making_it_train.ipynb): which loss, which optimizer, and what the
#   objectives cost.
# - [docs/sequences.md](../docs/sequences.md) and [docs/translation.md](../docs/translation.md): the
#   long runs.
#
# References: Goodfellow et al., 2014, [GAN](https://arxiv.org/abs/1406.2661); Kingma and Welling,
# 2014, [VAE](https://arxiv.org/abs/1312.6114); Higgins et al., 2017,
# [beta-VAE](https://openreview.net/forum?id=Sy2fzU9gl); Tulyakov et al., 2018,
# [MoCoGAN](https://arxiv.org/abs/1707.04993); Mirza and Osindero, 2014, [conditional
# GAN](https://arxiv.org/abs/1411.1784); Odena et al., 2017, [auxiliary
# classifier](https://arxiv.org/abs/1610.09585); Zhu et al., 2017,
# [CycleGAN](https://arxiv.org/abs/1703.10593); Isola et al., 2017,
# [Pix2Pix](https://arxiv.org/abs/1611.07004).
