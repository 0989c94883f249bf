# %% [markdown]
# # Your first generator
#
# A generative adversarial network is two networks that learn against each other: a generator G
# turns noise into pictures, a discriminator D says how likely a picture is to be real. Here both
# learn on digits that are drawn on the spot with random fonts and poses, so that nothing has to be
# downloaded. About one minute on two CPU cores.

# %% tags=["parameters"]
EPOCHS = 5
NUM_IMAGES = 20_000
FOLDER = "first_generator"

# %%
import inspect

import keras
import tensorflow as tf

import keras_genimg as kg

keras.utils.set_random_seed(0)

# %% [markdown]
# ## Look at the data first
# Pictures are float32 arrays `(batch, height, width, channels)` with values in [-1, 1]: -1 is black.

# %%
data = kg.load("glyphs", batch_size=64, shuffle_seed=0, num_images=NUM_IMAGES, drop_remainder=True)
real = next(iter(data)).numpy()  # (64, 28, 28, 1)
kg.plotting.save_png(f"{FOLDER}/real.png", kg.plotting.image_grid(real), scale=2)

# %% [markdown]
# ## The model
# One class holds both networks. Its `train_step` is Algorithm 1 of Goodfellow et al. (2014), and it
# is short enough to read here:

# %%
gan = kg.GAN(image_shape=(28, 28, 1), latent_dim=64, seed=0)
gan.compile()  # Adam with the settings of the DCGAN paper, one for each network
print(inspect.getsource(kg.GAN.train_step))

# %% [markdown]
# ## Train
# `ImageGrid` draws the same 64 noise vectors after each epoch: one place in the grid is one picture
# that changes. Watch the scores while it trains: `real_score` and `fake_score` are the probabilities
# that D gives to real and to generated pictures. Where D cannot tell them apart both are near 1/2.

# %%
history = gan.fit(data, epochs=EPOCHS, callbacks=[kg.callbacks.ImageGrid(f"{FOLDER}/samples")])
kg.plotting.plot_losses(history.history, f"{FOLDER}/losses.png")

# %% [markdown]
# ## Walk through the noise
# Noise vectors near each other give pictures near each other: on the way between two of them, one
# digit turns into another. The way is an arc: cos(a) z_1 + sin(a) z_2 is again standard normal noise
# for every angle a, while the middle of the straight line would be shorter than any noise that the
# generator has met (try it: the digits fade).

# %%
ends = gan.draw_latents(2, seed=3)  # (2, 64)
angle = tf.linspace(0.0, 1.5708, 10)[:, None]  # (10, 1)
walk = gan(tf.cos(angle) * ends[0] + tf.sin(angle) * ends[1])  # (10, 64) -> (10, 28, 28, 1)
kg.plotting.save_png(f"{FOLDER}/walk.png", kg.plotting.image_grid(walk.numpy(), columns=10), scale=2)

# %% [markdown]
# ## Keep it
# The `.keras` file holds the whole state of training; the SavedModel runs where this package is not
# installed.

# %%
gan.save(f"{FOLDER}/gan.keras")
gan.export(f"{FOLDER}/saved_model")

# %% [markdown]
# ## Try
# - `kg.GAN(..., loss="hinge")`: another loss, the same game.
# - `kg.GAN(..., networks="mlp")`: dense layers alone. What do the pictures lack?
# - `gan.generate(64, seed=1)` twice: the same seed, the same pictures.
