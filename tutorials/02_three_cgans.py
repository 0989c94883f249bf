# %% [markdown]
# # 2. Three readings of "CGAN"
#
# > **You will be able to** train a GAN that is conditioned on classes, one that makes short clips and
# > one that translates between two sets without pairs; to write the conditional step and the cycle
# > loss yourself; and to test four common claims about GANs.
# >
# > **Time**: forty minutes with reading. Measured: 3.5 minutes on two CPU cores, on a shared machine.
# >
# > **You need** [tutorial 0](00_fifteen_minutes.ipynb), or to know the training step of a GAN.
# > MNIST is downloaded once; offline, drawn digits stand in for it. No GPU. (On Colab, run `%pip
# > install git+https://github.com/keras-genimg/keras-genimg` first.)
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/02_three_cgans.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/02_three_cgans.ipynb) · [中文](zh/02_three_cgans.ipynb)
#
# Contents: [Images of a class](#Images-of-a-class) · [The same in colour](#The-same-in-colour) ·
# [Your turn: the step](#Your-turn:-the-step) · [Clips](#Clips) · [Two sets without
# pairs](#Two-sets-without-pairs) · [Your turn: the cycle loss](#Your-turn:-the-cycle-loss) ·
# [Completion](#Completion) · [Claims, measured](#Claims,-measured) · [Exercises](#Exercises) ·
# [What the article shows, and what runs](#What-the-article-shows,-and-what-runs)
#
# "CGAN" is read in three ways:
#
# | reading | input | output | model |
# |---|---|---|---|
# | conditional, the field's name | noise and a class | an image of that class | `ConditionalGAN` |
# | recurrent | noise per frame | a clip | `SequenceGAN` |
# | cycle | an image of one set | its translation to another | `CycleGAN` |
#
# ## Images of a class
#
# After the sizes and two cells of preparation, a conditional GAN is trained in three lines, and
# generates each class in turn.

# %% tags=["parameters"] reduced={"DATA": "glyphs", "CLASS_STEPS": 4, "CLIP_STEPS": 4, "CYCLE_STEPS": 4, "PAIR_STEPS": 4, "GAN_STEPS": 4, "VAE_STEPS": 4, "TRAINED_ON": 200, "COUNT": 40}
DATA = "mnist"  # or "glyphs", which needs no download
CLASS_STEPS = 800  # of the conditional GAN
CLIP_STEPS = 1600  # of the sequence GAN
CYCLE_STEPS = 320  # of the CycleGAN
PAIR_STEPS = 360  # of Pix2Pix
GAN_STEPS = 300  # of the plain GANs
VAE_STEPS = 400
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

# %% alt=["Four rows of ten generated digits, one class per column from 0 to 9. Nearly all are legible."]
import math
import time

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import keras_genimg as kg

SHAPE = (28, 28, 1)


def show(images, title, columns=8, scale=4):
    """Shows a grid of images, `scale` screen pixels per pixel."""
    kg.plotting.show_images(images, title, columns=columns, scale=scale)
    plt.show()
    plt.close()


def batches(batch_size, **arguments):
    """Endless shuffled batches of training images, float32 in [-1, 1]."""
    return kg.load(
        DATA, batch_size=batch_size, num_images=TRAINED_ON, shuffle_seed=0, epochs=None, **arguments
    )


def train(model, data, steps, look, parts=4):
    """`fit` in a few parts; returns what `look()` gave before the first and after each."""
    seen = [look()]
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(look()))
    began = time.perf_counter()
    model.fit(data, epochs=parts, steps_per_epoch=max(steps // parts, 1), callbacks=[watch],
              verbose=0)
    print(f"{type(model).__name__}: {steps} steps, {time.perf_counter() - began:.0f} seconds")
    return seen


test_set = kg.load(DATA, "test", batch_size=COUNT, num_images=COUNT, with_labels=True)
test_images, test_labels = (part.numpy() for part in next(iter(test_set)))  # (COUNT, 28, 28, 1)
reader = kg.metrics.get_features(DATA, image_shape=SHAPE)  # a classifier of real images
target = np.repeat(np.arange(10), COUNT // 10)  # (COUNT,): 0 0 ... 0 1 1 ... 9

keras.utils.set_random_seed(0)
gan = kg.ConditionalGAN(SHAPE, num_classes=10, ema_decay=0.98, seed=0)  # a short memory: short runs
gan.compile()


def on_target():
    """The share of generated images that are classified as their target class."""
    images = gan.generate(len(target), labels=target, seed=1, verbose=0)
    return float((reader.logits(images).argmax(axis=1) == target).mean())


shares = train(gan, batches(64, with_labels=True), CLASS_STEPS, on_target)
show(gan.generate(40, labels=np.tile(np.arange(10), 4), seed=2, verbose=0), "Classes 0 to 9", 10)
of_real = float((reader.logits(test_images).argmax(axis=1) == test_labels).mean())
print("classified as the target class:", ", ".join(f"{share:.1%}" for share in shares))
print(f"real test images classified correctly: {of_real:.1%}")

# %% [markdown]
# The classifier, which comes with the package, was trained on real images alone. The share says
# nothing about diversity: a generator of one perfect 3 would get 100 % for that class.
#
# Both networks are conditioned on the class $y$ ([Mirza and Osindero,
# 2014](https://arxiv.org/abs/1411.1784)), so that a realistic image of the wrong class is a failure:
#
# $$\min_G \max_D \; E_{x,y}[\log D(x, y)] + E_{z,y}[\log(1 - D(G(z, y), y))]$$
#
# The lines of `kg.ConditionalGAN.train_step`, shortened, beside what they compute:
#
# | formula | line |
# |---|---|
# | $G(z, y)$, $y$ of the batch | `fakes = self.generator([z, labels])` |
# | $D(x, y)$, as a logit $l$ | `real_logits, real_classes = self.discriminate(images, labels)` |
# | $D(G(z, y), y)$ | `fake_logits, _ = self.discriminate(fakes, labels)` |
# | $D$: $-\log D(x, y) - \log(1 - D(G(z, y), y))$ | `self.discriminator_loss(real_logits, fake_logits)` |
# | $G$: $-\log D(G(z, y), y)$ | `self.generator_loss(logits)` |
# | $-\log C(y \mid x)$, in both losses | `self.class_loss(real_classes, labels)` |
#
# The last line is an auxiliary classifier ([Odena et al., 2017](https://arxiv.org/abs/1610.09585)):
# $D$ also learns to classify real images, and $G$ learns to make images that are assigned to their
# class.
#
# ## The same in colour
#
# This model comes with the package: a `ConditionalGAN` too, trained for an hour on two cores with
# the 50,000 images of CIFAR-10. Classes can be given by name.

# %% alt=["Three rows of ten small colour images, one class per column. Planes and cars can be recognised, most horses and trucks too; cats, deer and frogs often cannot."]
preset = kg.load_preset("conditional_gan_cifar10")
show(preset.generate(30, seed=0, verbose=0), ", ".join(preset.class_names), columns=10)
names = ["ship", "horse"]
print(names, "->", preset.generate(2, labels=names, seed=1, verbose=0).shape)

# %% [markdown]
# ## Your turn: the step
#
# Take the step of tutorial 0 and condition it on the class: one update of $D$, then one of $G$, on
# the same fakes, without the auxiliary classifier. In logits $-\log D$ is $\mathrm{softplus}(-l)$,
# and $-\log(1 - D)$ is $\mathrm{softplus}(l)$. The check compares both losses, and all weights
# after the step, with those of the package.

# %%
def conditional_step(gan, images, labels, z):  # (B, 28, 28, 1), (B,), (B, latent_dim)
    # 1. Fakes: gan.generator([z, labels], training=True), under a tape for step 3.
    # 2. D: gan.discriminator([..., labels], training=True) of both; d_loss;
    #    gan.discriminator_optimizer.apply_gradients(...).
    # 3. G: the updated D on the fakes; g_loss; gan.generator_optimizer.apply_gradients(...).
    return ...  # d_loss, g_loss

# %%
def step_is_right(step):
    """Compares a step with that of kg.ConditionalGAN, from the same weights and with the same z."""
    draw = np.random.default_rng(0)
    images = draw.uniform(-1, 1, (8, 16, 16, 1)).astype("float32")
    labels, z = np.arange(8, dtype="int32"), draw.normal(size=(8, 4)).astype("float32")

    class SameNoise(kg.ConditionalGAN):
        def sample_latents(self, batch):
            return tf.constant(z)

    pair = []
    for _ in range(2):
        keras.utils.set_random_seed(0)
        options = {"networks": "dcgan", "classifier_weight": 0.0, "seed": 0}
        pair.append(SameNoise((16, 16, 1), num_classes=8, latent_dim=4, **options))
        pair[-1].compile(*(keras.optimizers.SGD(0.01) for _ in range(2)))
    mine, package = pair
    losses = step(mine, *(tf.constant(each) for each in (images, labels, z)))
    if losses is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    logs = package.fit(images, labels, batch_size=8, shuffle=False, verbose=0).history
    for name, loss in zip(("d_loss", "g_loss"), losses, strict=True):
        assert abs(float(loss) - logs[name][0]) < 1e-3, f"{name} should be {logs[name][0]:.4f}"
    for one, other in zip(mine.trainable_variables, package.trainable_variables, strict=True):
        assert np.allclose(one, other, atol=1e-5), f"after the step {one.path} should be different"
    print(f"Right: {logs['d_loss'][0]:.4f} and {logs['g_loss'][0]:.4f}, and the same weights.")
    return True


step_is_right(conditional_step)

# %% tags=["answer"]
def conditional_step_answer(gan, images, labels, z):
    with tf.GradientTape() as generator_tape:
        fakes = gan.generator([z, labels], training=True)  # (B, h, w, 1)
    with tf.GradientTape() as tape:
        real_logits = gan.discriminator([images, labels], training=True)  # (B, 1)
        fake_logits = gan.discriminator([fakes, labels], training=True)  # (B, 1)
        d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits) + tf.nn.softplus(fake_logits))
    weights = gan.discriminator.trainable_variables
    gan.discriminator_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights))
    with generator_tape:
        logits = gan.discriminator([fakes, labels], training=True)  # (B, 1)
        g_loss = tf.reduce_mean(tf.nn.softplus(-logits))
    weights = gan.generator.trainable_variables
    gradients = generator_tape.gradient(g_loss, weights)
    gan.generator_optimizer.apply_gradients(zip(gradients, weights))
    return d_loss, g_loss


assert step_is_right(conditional_step_answer)

# %% [markdown]
# ## Clips
#
# The second reading: each frame continues the one before. The clips are digits that move and bounce
# off the border, 16x16 pixels so that a step is cheap.

# %% alt=["Six rows of eight frames, in time from left to right. Three real clips: a digit moves by about a pixel per frame. Three generated clips: the same shape in all frames, moving smoothly, less sharp."]
NUM_FRAMES, CLIP_SHAPE = 8, (16, 16, 1)
options = {"num_frames": NUM_FRAMES, "image_size": 16}
real_clips = next(
    iter(kg.load("moving_glyphs", "test", batch_size=256, num_images=256, **options))
).numpy()  # (256, 8, 16, 16, 1)
clips = kg.load(
    "moving_glyphs", batch_size=16, num_images=TRAINED_ON, shuffle_seed=0, epochs=None, **options
)
keras.utils.set_random_seed(0)
sequence_gan = kg.SequenceGAN(CLIP_SHAPE, num_frames=NUM_FRAMES, ema_decay=0.98, seed=0)
sequence_gan.compile()
seen = train(sequence_gan, clips, CLIP_STEPS,
             lambda: sequence_gan.generate(64, seed=0, verbose=0))  # (64, 8, 16, 16, 1) each
both = np.concatenate([real_clips[:3], seen[-1][:3]])  # (6, 8, 16, 16, 1)
show(both, "One clip per row: three real ones, three generated", scale=6.5)

# %% [markdown]
# The generator has a recurrent part ([MoCoGAN](https://arxiv.org/abs/1707.04993): Tulyakov et al.,
# 2018). A clip has one content vector $z_c$; a gated recurrent unit computes the motion vector of
# each frame from fresh noise and the previous motion vector:
#
# | formula | line of `kg.SequenceGAN.train_step` |
# |---|---|
# | $z_m^{(t)} = \mathrm{GRU}(\epsilon^{(t)}, z_m^{(t-1)})$ | `paths = self.walk_paths(content, noise)` |
# | $x^{(t)} = G(z_c, z_m^{(t)})$ | `fake_clips = self.render_clips(paths)` |
# | $D_I$, of one frame of each clip | `self.image_discriminator(fake_frames)` |
# | $D_V$, of the whole clip | `self.clip_discriminator(fake_clips)` |
#
# Why two discriminators? Shuffle the frames of real clips in time. $D_I$ sees the same frames; only
# $D_V$ can object. Then the motion is measured: how far does the centre of brightness move per
# frame?

# %%
order = np.random.default_rng(0).permuted(
    np.tile(np.arange(NUM_FRAMES), (len(real_clips), 1)), axis=1
)  # (256, 8), each row in its own order
shuffled = np.take_along_axis(real_clips, order[..., None, None, None], axis=1)
for name, network, shape in (("D_I", sequence_gan.image_discriminator, (-1, *CLIP_SHAPE)),
                             ("D_V", sequence_gan.clip_discriminator, real_clips.shape)):
    logits = [float(np.mean(network(each.reshape(shape)))) for each in (real_clips, shuffled)]
    print(f"{name}: mean logit {logits[0]:.3f} in order, {logits[1]:.3f} shuffled")


def motion(clips):
    """Pixels that the centre of brightness moves per frame, the mean over clips and frames."""
    ink = (clips[..., 0] + 1) / 2 + 1e-6  # (n, T, h, w); a black frame gets its middle
    total = ink.sum((2, 3))  # (n, T)
    rows, columns = np.arange(ink.shape[2]), np.arange(ink.shape[3])
    centres = np.stack([ink.sum(3) @ rows / total, ink.sum(2) @ columns / total], axis=-1)
    return float(np.linalg.norm(np.diff(centres, axis=1), axis=-1).mean())  # of (n, T, 2)


longer = sequence_gan.generate(64, seed=0, num_frames=2 * NUM_FRAMES, verbose=0)
print("\nthe centre moves, in pixels per frame:")
for name, each in (("real", real_clips), ("real, shuffled in time", shuffled),
                   ("generated, untrained", seen[0]), ("generated", seen[-1]),
                   (f"generated, {2 * NUM_FRAMES} frames", longer)):
    print(f"  {name:24}{motion(each):6.2f}")

# %% [markdown]
# This number does not judge the frames: a grey blot could move just as far. They must also be
# digits, and the same one throughout. Here the default generator helps: it renders $z_c$ alone, and
# $z_m$ only moves the result, so the identity of the digit need not be learned. With the paper's
# generator, `networks="dcgan"`, a classifier assigns 41 % of a clip's frames to its most frequent
# class after 6,250 steps ([sequences.md](../docs/sequences.md)).
#
# ## Two sets without pairs
#
# The third reading translates between two sets of images without pairs: no image of one set belongs
# to an image of the other. Here A holds digits and B **other** digits, inverted. So the right
# translation is known, $G(a) = -a$, and the model must find it.

# %% alt=["Three rows of eight digits. Real ones, white on black; their translations, dark on a light ground, most of the same digit; translated back, white on black and close to the first row."]
pool = np.concatenate([x.numpy() for x in batches(200).take(max(TRAINED_ON // 400, 1))])
half = len(pool) // 2
set_a, set_b = pool[:half], -pool[half:]  # no digit is in both
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


unpaired = tf.data.Dataset.zip(endless(set_a, 1), endless(set_b, 2))
seen = train(cycle_gan, unpaired, CYCLE_STEPS,
             lambda: (cycle_gan.translate(test_images), cycle_gan.reconstruct(test_images)))
there, back = (each[:8] for each in seen[-1])  # G(a), F(G(a))
show(np.concatenate([test_images[:8], there, back]), "Real; translated; translated back")

print("after   |G(a) - (-a)|   |F(G(a)) - a|   class kept")
for part, (there, back) in enumerate(seen):
    kept = (reader.logits(-there).argmax(axis=1) == test_labels).mean()
    print(f"{part}/4 {np.abs(there + test_images).mean():15.3f}"
          f"{np.abs(back - test_images).mean():16.3f}{kept:14.1%}")
print(f"perfect {0:12.3f}{0:16.3f}{of_real:14.1%}")

# %% [markdown]
# $G: A \to B$ and $F: B \to A$ each have a discriminator of their target set, and an image translated
# there and back must be unchanged ([Zhu et al., 2017](https://arxiv.org/abs/1703.10593)):
#
# $$L_{cycle} = E_a\lVert F(G(a)) - a\rVert_1 + E_b\lVert G(F(b)) - b\rVert_1$$
#
# | formula | line of `kg.CycleGAN.train_step` |
# |---|---|
# | $G(a)$ and $F(b)$ | `fake_b = self.generator_a_to_b(images_a)`, `fake_a = ...` |
# | $L_{cycle}$ | `self.cycle_loss(images_a, images_b, fake_a, fake_b)` |
# | $\frac12(D_B(G(a)) - 1)^2$, per patch | `self.generator_loss(self.discriminator_b(fake_b))` |
#
# No term is enough by itself. The cycle loss is 0 for $G = F = $ identity, which translates
# nothing. The discriminators alone would accept any inverted digits, whatever the image was. Even
# together they constrain the pair, not $G$ alone: compare the second row with the third.
#
# ## Your turn: the cycle loss
#
# Write $L_{cycle}$ for two functions and two batches, with the mean over all values as the norm.

# %%
def cycle_loss(g, f, a, b):  # functions of images; (B, h, w, c) each -> ()
    return ...  # your line

# %%
def cycle_loss_is_right(loss):
    """Compares a loss with its formula, for two maps that are not inverse to each other."""
    draw = np.random.default_rng(0)
    a, b = (draw.uniform(-1, 1, (2, 3, 3, 1)).astype("float32") for _ in range(2))
    found = loss(lambda x: 0.5 * x + 0.25, lambda x: 1.5 * x - 1.0, a, b)
    if found is ...:
        return print("Nothing here yet: write the line, or open the answer below.")
    expected = np.mean(np.abs(-0.25 * a - 0.625)) + np.mean(np.abs(-0.25 * b - 0.25))
    assert abs(float(found) - expected) < 1e-5, f"it should be {expected:.4f}, not {found:.4f}"
    print(f"Right: {expected:.4f}")
    return True


cycle_loss_is_right(cycle_loss)

# %% tags=["answer"]
def cycle_loss_answer(g, f, a, b):
    return tf.reduce_mean(tf.abs(f(g(a)) - a)) + tf.reduce_mean(tf.abs(g(f(b)) - b))


assert cycle_loss_is_right(cycle_loss_answer)

# %% [markdown]
# ## Completion
#
# With pairs, translation is simpler. `Pix2Pix` ([Isola et al.,
# 2017](https://arxiv.org/abs/1611.07004)) learns from corrupted and clean images to complete new
# ones. `corrupted_pairs` masks a box of half the height and half the width at a random place.

# %% alt=["Three rows of eight digits: with a grey box over a quarter of the image; completed; clean. Most completions continue the strokes, some by a guess that is wrong."]
keras.utils.set_random_seed(0)
pix2pix = kg.Pix2Pix(SHAPE, seed=0)
pix2pix.compile(learning_rate=1e-3)
clean = kg.load(DATA, batch_size=32, num_images=32 * PAIR_STEPS, shuffle_seed=0)
pix2pix.fit(kg.data.corrupted_pairs(clean, "mask", seed=0), verbose=0)
given = kg.data.corrupt(test_images, "mask", seed=(0, 1)).numpy()  # (COUNT, 28, 28, 1)
completed = pix2pix.translate(given)
show(np.concatenate([given[:8], completed[:8], test_images[:8]]), "Given, completed, clean")
for name, images in (("given", given), ("completed", completed)):
    decibels = kg.metrics.peak_signal_to_noise_ratio(test_images, images).mean()
    right_class = (reader.logits(images).argmax(axis=1) == test_labels).mean()
    print(f"{name:10} PSNR {decibels:5.1f} dB, class correct {right_class:6.1%}")

# %% [markdown]
# The masked part is guessed from the visible part. Closer in decibels is not always easier to
# classify: wrong strokes can mislead a classifier more than an empty box.
# [translation.md](../docs/translation.md) has longer runs of all translations.
#
# ## Claims, measured
#
# An article on GANs makes these claims. The first: **traditional generative models, such as
# convolutional neural networks**, minimise the difference between generated and real images
# directly. A CNN is an architecture, not a generative model: what it generates depends on its
# objective. Here one generator network is trained twice: to match real images in squared error, and
# as the generator of a GAN.

# %% alt=["Two rows of eight images. By squared error all are the same grey blur, the mean image; by the GAN they are different strokes, some of them like digits."]
keras.utils.set_random_seed(0)
regression = kg.networks.dcgan_generator(SHAPE, 64)
regression.compile(keras.optimizers.Adam(1e-3, beta_1=0.5), "mse")
noisy = batches(64).map(lambda x: (tf.random.normal((tf.shape(x)[0], 64), seed=0), x))
regression.fit(noisy, steps_per_epoch=GAN_STEPS, shuffle=False, verbose=0)
plain_gan = kg.GAN(SHAPE, latent_dim=64, ema_decay=0.95, seed=0)  # the same network as generator
plain_gan.compile()
plain_gan.fit(batches(64), steps_per_epoch=GAN_STEPS, verbose=0)

z = np.random.default_rng(0).normal(size=(COUNT, 64)).astype("float32")
samples = {
    "squared error": regression.predict(z, verbose=0),  # (COUNT, 28, 28, 1)
    "GAN": plain_gan.generate(COUNT, seed=0, verbose=0),
    "real images": next(iter(batches(COUNT))).numpy(),
}
for name, images in samples.items():
    distance = kg.metrics.frechet_distance(reader(test_images), reader(images))
    print(f"{name:14} distance {distance:6.1f}, spread of a pixel {images.std(axis=0).mean():.3f}")
show(np.concatenate([samples["squared error"][:8], samples["GAN"][:8]]), "Squared error; GAN")

# %% [markdown]
# $z$ says nothing about the image that the output is compared with, so in squared error the best
# output for every $z$ is the mean image.
#
# The second: a GAN is **compared with human raters** while it generates. Nobody rates in the loop
# above; the discriminator does. But you can. About half of these images are real. Put the numbers
# of those that you think are generated into `guessed` and run the cell again.

# %% alt=["Three rows of eight digits, real and generated ones in random order."]
guessed = []  # such as [3, 8, 21]; the first is 1, and rows go from left to right

key = np.random.default_rng(3).random(24) < 0.5  # (24,), True: generated
labels = np.arange(24) % 10
rated = gan.generate(24, labels=labels, seed=4, verbose=0)  # (24, 28, 28, 1)
for place in np.flatnonzero(~key):
    rated[place] = test_images[test_labels == labels[place]][place // 10]
show(rated, "Real or generated?")
tails = [sum(math.comb(24, k) for k in range(n, 25)) / 2**24 for n in range(25)]
needed = next(n for n, tail in enumerate(tails) if tail <= 0.05)
print(f"Coin flips reach {needed} or more of 24 in {tails[needed]:.1%} of cases.")
of_d = np.ravel(gan.discriminate(tf.constant(rated), tf.constant(labels))[0]) < 0
print(f"Its own discriminator gets {np.sum(of_d == key)} of 24 right.")
if guessed:
    yours = np.isin(np.arange(1, 25), guessed)
    print(f"You get {np.sum(yours == key)}; generated were {(np.flatnonzero(key) + 1).tolist()}.")

# %% [markdown]
# The third: **traditional optimizers cannot train** two networks against each other. The smallest
# such objective is $V(x, y) = xy$: $x$ descends it, $y$ ascends it, and both come to rest only at
# (0, 0). Here are three ways to take gradient steps:

# %% alt=["Three paths in the plane from one starting point. Simultaneous steps spiral outwards, alternating ones circle, extragradient steps spiral into the centre."]
def simultaneous(x, y, rate):
    return x - rate * y, y + rate * x


def alternating(x, y, rate):  # y sees the updated x, as G sees the updated D
    x = x - rate * y
    return x, y + rate * x


def extragradient(x, y, rate):  # the slope is taken one step ahead
    ahead_x, ahead_y = simultaneous(x, y, rate)
    return x - rate * ahead_y, y + rate * ahead_x


figure, axes = plt.subplots(figsize=(5, 5), dpi=100, layout="constrained")
for rule in (simultaneous, alternating, extragradient):
    path = [(1.0, 0.0)]
    for _ in range(150):
        path.append(rule(*path[-1], rate=0.1))
    axes.plot(*np.transpose(path), label=rule.__name__)
    print(f"{rule.__name__:14} distance from the centre after 150 steps: {math.hypot(*path[-1]):.2f}")
axes.plot(0, 0, "k+")
axes.set_aspect("equal")
axes.legend(fontsize=9, frameon=False)
plt.show()
plt.close()
print("optimizer of all GANs above:", type(gan.generator_optimizer).__name__)

# %% [markdown]
# So here the claim holds for simultaneous steps, which spiral outwards. Alternating ones circle,
# and extragradient steps, a method that dates from 1976, converge. The GANs of this page were
# trained by alternating steps of Adam, an optimizer like any other.
#
# The fourth: **smaller batches train faster**. A step is shorter, but is an image cheaper? The
# model is a dense VAE. The article also mentions the weight $\beta$ of its KL term: what does that
# change?

# %% alt=["Four rows of eight digits. With beta 1 reconstructions are faithful and samples varied; with beta 8 both are more blurred."]
vaes, rows = {}, []
for beta in (1.0, 8.0):
    keras.utils.set_random_seed(0)
    units = {"units": (256,)}
    vae = kg.VAE(SHAPE, 16, networks="mlp", network_options=units, beta=beta, seed=0)
    vae.compile()
    vae.fit(batches(64), steps_per_epoch=VAE_STEPS, verbose=0)
    vaes[beta] = vae
    terms = vae.evaluate(test_images, batch_size=COUNT, return_dict=True, verbose=0)
    print(f"beta {beta:g}: reconstruction {terms['reconstruction_loss']:6.1f}, "
          f"KL {terms['kl_loss']:5.1f}, bound {terms['elbo']:7.1f} nats")
    rows += [vae.reconstruct(test_images[:8]), vae.generate(8, seed=0, verbose=0)]
show(np.concatenate(rows), "beta 1: reconstructions, samples; beta 8: the same")

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
print(f"batches of 64 cost {rate[8] / rate[64]:.0%} of the time per image of batches of 8")

# %% [markdown]
# A larger $\beta$ gives latents closer to $N(0, I)$, that is less KL, at the price of nats lost on
# the pixels. The bound counts both at weight 1. And an image is not cheaper in a smaller batch: it
# takes longer.
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: the wrong class
#
# Give the trained discriminator real images with their own classes, and with the next class. What
# happens to its logit? From which part of the step has it learned that?

# %% tags=["answer"]
right_class = tf.constant(test_labels.astype("int32"))
logits, classes = gan.discriminate(tf.constant(test_images), right_class)
wrong, _ = gan.discriminate(tf.constant(test_images), (right_class + 1) % 10)
change = float(np.mean(logits) - np.mean(wrong))
print(f"mean logit {np.mean(logits):.2f} with the right class, {np.mean(wrong):.2f} with the next")
# Only the logit depends on y: the auxiliary classifier sees the image alone.
_, same_classes = gan.discriminate(tf.constant(test_images), (right_class + 1) % 10)
assert np.allclose(classes, same_classes, atol=1e-4) and change != 0
# No step shows D a real image with a wrong class. It has seen that real images of class y come with
# y, and fakes that came with y and did not look like it.

# %% [markdown]
# ### Exercise 2: one digit, two motions
#
# Generate two clips of **one** content vector and two motions with the trained `SequenceGAN`, from
# `draw_latents`. Also check that a longer clip begins like the shorter one of the same seed. Why
# must it, in a recurrent generator?

# %% tags=["answer"] alt=["Two rows of eight frames: the same shape in both clips, at different places."]
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
show(clips, "One content, two motions", scale=6.5)

# %% [markdown]
# ### Exercise 3: a useless translator with a perfect cycle
#
# Find a pair $G, F$, not the identity, whose cycle loss is exactly 0 on **any** images, although
# $G$ translates nothing into B. Which term of the generators' loss penalises it?

# %% tags=["answer"]
def roll(images):  # G: every image is rolled by half its width to the right
    return np.roll(images, 14, axis=2)


def roll_back(images):  # F
    return np.roll(images, -14, axis=2)


a, b = test_images, -test_images
assert float(cycle_loss_answer(roll, roll_back, a, b)) == 0.0
assert np.abs(roll(a) - a).mean() > 0  # it is not the identity
# As dark as A, where B is as light: only the discriminator of B can object.
assert np.isclose(roll(a).mean(), a.mean(), atol=1e-5) and roll(a).mean() < b.mean()
print(f"mean of G(a) {roll(a).mean():.2f}, of B {b.mean():.2f}: any invertible map has cycle loss 0")

# %% [markdown]
# ## What the article shows, and what runs
#
# The claims above are those of an article whose one program is a GAN with a dense generator,
# 128-128-784, and a discriminator of four 5x5 convolutions. It does not run. For readers who have
# it open, its faults are shown here, after the same networks with a step that works.

# %% alt=["Eight images by the article's networks after a short training: the same white specks in all."]
keras.utils.set_random_seed(0)
article = kg.GAN(SHAPE, latent_dim=64, networks="dense_conv", ema_decay=0.9, seed=0)
article.compile(learning_rate=(1e-3, 2e-4))  # of G, of D
untrained = kg.GAN(SHAPE, latent_dim=64, networks="dense_conv", seed=0).discriminator
article.fit(batches(16), steps_per_epoch=GAN_STEPS, verbose=0)
show(article.generate(8, seed=0, verbose=0), f"The article's networks, after {GAN_STEPS} steps")

# 1. The calls are of TensorFlow 1.
for name in ("variable_scope", "layers", "log", "train.AdamOptimizer"):
    there = tf
    for part in name.split("."):
        there = getattr(there, part, None)
    print(f"tf.{name:22} {'exists' if there is not None else 'does not exist'}")

# 2. D ends in its features, and their logarithms go into the loss.
features = keras.Model(untrained.input, untrained.layers[-2].output)
values = features(test_images[:16])  # (16, 2048)
print(f"numbers per image where the loss needs one: {values.shape[1]}; below 0: "
      f"{np.mean(values < 0):.0%}; mean of their logarithms: {np.mean(tf.math.log(values)):.3f}")
try:
    kg.GAN(SHAPE, discriminator=features)
except kg.InputError as error:
    print("InputError:", error)

# 3. For D, min and max are exchanged: it descends V.
real_logit, fake_logit = tf.Variable([[0.0]]), tf.Variable([[0.0]])
with tf.GradientTape() as tape:
    value = -kg.losses.minimax_discriminator_loss(real_logit, fake_logit)  # V(D, G)
slopes = tape.gradient(value, [real_logit, fake_logit])
print("slope of V by the logit of a real image "
      f"{float(slopes[0][0, 0]):+.1f}, of a generated one {float(slopes[1][0, 0]):+.1f}: "
      "descending V moves real images down and fakes up")

# 4. The VAE's bound is minimised, too.
fresh = kg.VAE(SHAPE, 16, networks="mlp", network_options={"units": (256,)}, seed=0)
fresh.compile()
bounds = {
    name: model.evaluate(test_images, batch_size=COUNT, return_dict=True, verbose=0)["elbo"]
    for name, model in (("trained", vaes[1.0]), ("untrained", fresh))
}
print({name: round(bound, 1) for name, bound in bounds.items()},
      "- a minimum would prefer the", min(bounds, key=bounds.get))

# %% [markdown]
# | what the article shows | why it fails | what runs instead |
# |---|---|---|
# | scopes, layers, a session of TensorFlow 1 | none of the calls exists any more | `kg.GAN(networks="dense_conv")` |
# | a discriminator that ends in features | 2,048 numbers, unbounded: the loss is NaN | a dense layer to one logit, softplus |
# | a discriminator loss of generated images only | rejecting everything is its optimum | a real and a generated batch |
# | a loop that runs the generator's update only | the discriminator never learns | both updates in `train_step` |
# | names that are used and never defined | no batches, no sizes | `kg.load` |
# | no output activation in G | images of any range | tanh, images in [-1, 1] |
# | G and D each as an affine map and a sigmoid | one layer cannot generate digits | several layers |
# | min and max exchanged for D | D learns to be wrong, without a bound | D ascends V, G descends it |
# | the VAE's bound under a min, in two phases | the worst model wins | `kg.VAE`, [tutorial 1](01_gan_to_vq_vae.ipynb) |
# | "CGAN" with the networks of a GAN | frames have no order for them | `SequenceGAN` |
# | references with wrong authors and titles | they cannot be found | the papers linked here |
# | new images as a leak of the training set | they are the purpose; a copy is a leak | `kg.metrics.nearest_training_images` |
#
# ## Where to go next
#
# - [3. Classifier, DCGAN, VAE](03_classifier_dcgan_vae.ipynb): convolutions and their shapes, and a
#   check for copies of training images.
# - [6. Making it train](06_making_it_train.ipynb): which loss, which optimizer, and what they cost.
# - Longer runs: [adversarial.md](../docs/adversarial.md), [sequences.md](../docs/sequences.md),
#   [translation.md](../docs/translation.md).
