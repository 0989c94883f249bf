# %% [markdown]
# # 8. From notebook to cluster to server
#
# > **You will be able to** train one model on one device, on two and on a cluster; resume it after a
# > kill to the same bits; and export it to a server, a phone or a browser, with a number at each
# > stage that shows whether it is still the same model.
# >
# > **Time**: an hour with reading. Measured: 1.7 minutes on two CPU cores, on a shared machine.
# >
# > **You need** to know what a GAN is ([tutorial 0](00_fifteen_minutes.ipynb)), and the extra
# > `keras-genimg[export]` for ONNX, which `[notebooks]` includes. No data, no internet, no GPU.
#
# [Colab](https://colab.research.google.com/github/keras-genimg/keras-genimg/blob/main/tutorials/08_notebook_to_server.ipynb) · [nbviewer](https://nbviewer.org/github/keras-genimg/keras-genimg/blob/main/tutorials/08_notebook_to_server.ipynb) · [中文](zh/08_notebook_to_server.ipynb)
#
# Contents: [The goal](#The-goal) · [One device](#One-device) · [Two replicas](#Two-replicas) · [Two
# workers](#Two-workers) · [Killed and resumed](#Killed-and-resumed) · [Your turn: after a
# kill](#Your-turn:-after-a-kill) · [Saved and loaded](#Saved-and-loaded) · [A SavedModel and its
# endpoints](#A-SavedModel-and-its-endpoints) · [Smaller files](#Smaller-files) · [Your turn: eight
# bits](#Your-turn:-eight-bits) · [A server](#A-server) · [The provenance of an
# image](#The-provenance-of-an-image) · [Exercises](#Exercises)

# %% tags=["parameters"] reduced={"FILTERS": 4, "EPOCHS": 2, "CUT": 1, "STEPS": 3, "COMPARE_STEPS": 2, "PERTURBED_RUNS": 1, "WORKERS": 0, "ROUNDS": 2}
DATA = "glyphs"  # or "fashion_mnist": ten classes of 28x28 images either way
BATCH = 64  # images per update, over all replicas
LATENT_DIM = 32
FILTERS = 16  # width of both networks; 32 is the package's default
EPOCHS = 8
STEPS = 120  # updates per epoch
CUT = 4  # epochs that the killed run completes
COMPARE_STEPS = 10  # updates in the comparison of strategies
PERTURBED_RUNS = 4  # runs on one device from weights perturbed by one rounding
WORKERS = 2  # processes of the cluster; 0 skips that part
ROUNDS = 10  # of the speed measurement

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
# At the end a model is a folder that TensorFlow alone can run. Here it is for a model that comes
# with the package: exported, loaded again, and asked for the digits of a year and four more.
#
# Two settings must be made before TensorFlow starts. `TF_DETERMINISTIC_OPS` selects kernels that
# sum in the same order every time; without it "the same bits" has no meaning. It is an environment
# variable, so the processes started below inherit it. And one CPU is configured as two logical
# devices: enough for a strategy with two replicas. On a machine with two GPUs, omit that line.

# %% alt=["Eight clear digits: 2, 0, 2, 6, 1, 2, 3, 4."]
import os

os.environ["TF_DETERMINISTIC_OPS"] = "1"

import atexit
import csv
import hashlib
import inspect
import io
import json
import pathlib
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
import zipfile

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from PIL import Image

import keras_genimg as kg
from keras_genimg.quiet import no_output

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
tf.get_logger().setLevel("ERROR")
warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated")

kg.load_preset("conditional_gan_glyphs").export("goal")
goal = tf.saved_model.load("goal").signatures["generate"]
images = goal(labels=tf.constant([2, 0, 2, 6, 1, 2, 3, 4]), seed=tf.constant(2, tf.int64))
kg.plotting.show_images(images["images"].numpy(), "From a SavedModel", columns=8, scale=4)
plt.show()

# %% tags=["setup"]
DATA = or_glyphs(DATA)

# %% [markdown]
# ## One device
#
# All that is trained here comes from two functions. The first creates the model: `kg.ConditionalGAN`
# with networks of a custom width. Weights are seeded by `set_random_seed`, the noise of training by
# `seed=`.

# %%
def make_gan(settings):
    """A small conditional GAN of 28x28 images in ten classes."""
    keras.utils.set_random_seed(0)
    shape, latent_dim, filters = (28, 28, 1), settings["latent_dim"], settings["filters"]
    return kg.ConditionalGAN(
        shape,
        num_classes=10,
        latent_dim=latent_dim,
        generator=kg.networks.conditional_dcgan_generator(shape, latent_dim, 10, filters=filters),
        discriminator=kg.networks.conditional_dcgan_discriminator(
            shape, 10, filters=filters, classifies=True
        ),
        classifier_weight=1.0,
        seed=0,
    )

# %% [markdown]
# The second is a small training script. Read it line by line, since it runs on one device, on two,
# and on a cluster:
#
# - model and optimizers are created in `strategy.scope()`, and that is all a strategy requires;
# - `kg.callbacks.Resume` writes one checkpoint per epoch, and starts from the newest one;
# - a checkpoint contains the model, not the position in the data. Here an epoch is one pass over
#   `batch_size * steps` images, and the order of epoch $e$ depends only on `shuffle_seed` and $e$.
#   So `first_epoch=` is enough to resume at the right image.

# %%
def train(settings, strategy, callbacks=()):
    """Builds a model under a strategy and trains it, from the last checkpoint if there is one."""
    with strategy.scope():
        gan = make_gan(settings)
        if settings["optimizer"] == "sgd":
            gan.compile(keras.optimizers.SGD(0.01), keras.optimizers.SGD(0.01))
        else:
            gan.compile(learning_rate=1e-3)  # Adam for both networks
    callbacks, done = list(callbacks), 0
    if settings.get("checkpoints"):
        found = kg.callbacks.latest_checkpoint(settings["checkpoints"])  # (path, epoch) or None
        done = found[1] if found else 0
        callbacks.append(kg.callbacks.Resume(settings["checkpoints"]))
    data = kg.load(
        settings["data"],
        batch_size=settings["batch_size"],
        num_images=settings["batch_size"] * settings["steps"],
        with_labels=True,
        shuffle_seed=0,
        epochs=None,
        first_epoch=done,
    )
    history = gan.fit(
        data,
        steps_per_epoch=settings["steps"],
        epochs=settings["epochs"],
        callbacks=callbacks,
        verbose=0,
    )
    return gan, history

# %% [markdown]
# The first run, on the default strategy (one device). A small callback keeps ten images after
# every epoch, one per class, always from the same noise.

# %%
class Keep(keras.callbacks.Callback):
    """Ten samples per epoch, one image per class."""

    def __init__(self):
        super().__init__()
        self.images = []

    def on_epoch_end(self, epoch, logs=None):
        self.images.append(self.model.generate(10, labels=np.arange(10), seed=1, verbose=0))


settings = {
    "data": DATA,
    "batch_size": BATCH,
    "latent_dim": LATENT_DIM,
    "filters": FILTERS,
    "optimizer": "adam",
    "epochs": EPOCHS,
    "steps": STEPS,
}
one_device = tf.distribute.get_strategy()
keep = Keep()
start = time.perf_counter()
gan, history = train(settings, one_device, [keep])
print(f"{EPOCHS} epochs of {STEPS} updates: {time.perf_counter() - start:.0f} s")
print(f"{gan.generator.count_params():,} weights in G, {gan.discriminator.count_params():,} in D")
print({name: round(values[-1], 3) for name, values in history.history.items()})

# %% alt=["Rows of ten images, one per class. In the first row the shapes are vague; in the last all ten digits are legible."]
shown = sorted({0, EPOCHS // 2, EPOCHS - 1})
title = f"The ten classes, after epoch {', '.join(str(epoch + 1) for epoch in shown)}"
kg.plotting.show_images(
    np.concatenate([keep.images[epoch] for epoch in shown]), title, columns=10, scale=3.5
)
plt.show()

# %% [markdown]
# ## Two replicas
#
# `MirroredStrategy` keeps a copy of the weights on each device, gives each a part of the global
# batch, and sums the gradients. Create one strategy per process and keep it
# (`kg.distribution.get_strategy("mirrored")` does that for you).
#
# First, see how a batch is split. A strategy distributes a dataset, and each replica gets its rows.

# %% alt=["Three rows: eight images of the global batch, the first four of them, which replica 0 gets, and the other four, which replica 1 gets."]
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
batch_of_8 = kg.load(DATA, batch_size=8, num_images=8, with_labels=True, shuffle_seed=0)
whole_images, _ = next(iter(batch_of_8))  # (8, 28, 28, 1)
cut = mirrored.experimental_distribute_dataset(
    tf.data.Dataset.from_tensors(whole_images).unbatch().batch(8)
)
parts = mirrored.experimental_local_results(next(iter(cut)))  # two tensors (4, 28, 28, 1)
figure, axes = plt.subplots(3, 1, figsize=(9, 4.6), layout="constrained")
kg.plotting.show_images(whole_images, "the global batch", columns=8, axes=axes[0])
for replica, part in enumerate(parts):
    title = f"what replica {replica} gets"
    kg.plotting.show_images(part, title, columns=8, axes=axes[replica + 1])
plt.show()
joined = np.concatenate(parts)  # (8, 28, 28, 1)
print("joined again, they are the batch:", np.array_equal(joined, whole_images))

# %% [markdown]
# For the weights to equal those of one device, three conditions must hold.
#
# 1. A mean over the global batch of $N$ images is a weighted sum of the replicas' means, $L =
#    \sum_r \frac{n_r}{N} L_r$, and optimizers *sum* gradients over replicas. So the gradient of
#    each replica is multiplied by its share $n_r / N$: `batch.share` in the step below.
# 2. Noise must be drawn for the global batch, and each replica keeps its rows.
# 3. Statistics through which the output of one image depends on the others of the batch (the
#    moments of batch normalisation) are computed over all replicas.
#
# Find the first two in the step that has just been run: `batch.share` is the last argument of both
# `tape.gradient` calls, and `sample_latents(batch)` knows the position of the replica's images in
# the global batch.

# %%
print(inspect.getsource(kg.ConditionalGAN.train_step))

# %% [markdown]
# Why not simply draw noise on each replica? Because a seed generator is a variable like any other,
# and mirrored: every replica has the same state and draws the *same* numbers. Two replicas would
# train on half of the noise, twice. Here are both ways, for a batch of 8 on two replicas.

# %% alt=["Two panels of coloured cells, eight rows of noise each. On the left the lower four rows repeat the upper four; on the right all eight differ."]
with mirrored.scope():  # like that of any layer of a model
    generator_of_seeds = keras.random.SeedGenerator(0)
places = mirrored.experimental_distribute_dataset(tf.data.Dataset.range(8).batch(8))
seed = tf.constant([5, 0], tf.int64)


@tf.function
def draw(rows):
    def on_a_replica(x):
        plain = keras.random.normal((4, 16), seed=generator_of_seeds)  # (4, 16)
        place = kg.distribution.global_batch(x)  # the position of these rows in the global batch
        ours = kg.distribution.random_normal(place, (16,), seed)  # (4, 16)
        return plain, ours

    return mirrored.run(on_a_replica, (rows,))


plain, ours = [
    np.concatenate(mirrored.experimental_local_results(values))  # two of (4, 16) -> (8, 16)
    for values in draw(next(iter(places)))
]
whole = kg.distribution.random_normal(kg.distribution.whole_batch(8), (16,), seed)  # (8, 16)
figure, axes = plt.subplots(1, 2, figsize=(7, 2.3), layout="constrained")
for panel, noise, title in zip(axes, (plain, ours), ("keras.random on each", "rows of one draw")):
    panel.imshow(noise, cmap="coolwarm", vmin=-2.5, vmax=2.5)
    panel.axhline(3.5, color="black")
    panel.set_title(title, fontsize=10, loc="left")
    panel.set_xticks([])
    panel.set_yticks([1.5, 5.5], ["replica 0", "replica 1"])
plt.show()
print("the same noise on both replicas, plain:", bool((plain[:4] == plain[4:]).all()))
print("the same noise on both replicas, ours: ", bool((ours[:4] == ours[4:]).all()))
print("ours is the noise of one device:", bool((ours == whole.numpy()).all()))

# %% [markdown]
# Now the whole claim: the same function, once on one device and once on two replicas, and the
# weights compared after every update. The comparison uses plain gradient descent. Adam divides each
# gradient by its magnitude, so a gradient that is pure rounding error becomes a full step: it would
# show the rounding and hide the rest. Sums are taken in another order on two replicas, so equal can
# only mean equal up to the rounding of 32-bit floats.
#
# How large may rounding effects become? Networks with ReLU have kinks: an activation that lies
# within a rounding error of zero is on in one run and off in the other, and from then on the two
# runs diverge slowly. A control shows how much of that is due to the strategy: the run on one
# device again, from weights that are each perturbed to the next 32-bit number, up or down at
# random.

# %%
def trained_weights(model):
    return model.generator.trainable_weights + model.discriminator.trainable_weights


class WeightsEachStep(keras.callbacks.Callback):
    """All trained weights of both networks, as one vector per update."""

    def __init__(self):
        super().__init__()
        self.vectors = []

    def note(self, *_):
        self.vectors.append(np.concatenate([np.ravel(w) for w in trained_weights(self.model)]))

    def on_train_begin(self, logs=None):
        self.note()

    def on_train_batch_end(self, batch, logs=None):
        self.note()


def largest_differences(vectors, others):
    """The largest difference of a weight after each update."""
    return [np.abs(a - b).max() for a, b in zip(vectors[1:], others[1:])]


short = {**settings, "optimizer": "sgd", "epochs": 1, "steps": COMPARE_STEPS}
on_one, on_two = WeightsEachStep(), WeightsEachStep()
short_gan, short_history = train(short, one_device, [on_one])
short_mirrored, mirrored_history = train(short, mirrored, [on_two])
weights_on_one, weights_on_two = short_gan.get_weights(), short_mirrored.get_weights()
apart = largest_differences(on_one.vectors, on_two.vectors)
changed = largest_differences(on_one.vectors, [on_one.vectors[0]] * len(on_one.vectors))
for number in sorted({1, COMPARE_STEPS}):
    print(f"after update {number}: two replicas differ from one device by {apart[number - 1]:.1e}",
          f"at most; weights have changed by up to {changed[number - 1]:.1e}")
for name, values in short_history.history.items():
    print(f"{name:<16}{values[-1]:9.5f} on one, {mirrored_history.history[name][-1]:9.5f} on two")

# %%
origin = make_gan(short)  # the same seeds: the initial state of all of these runs
perturbed = []
for number in range(PERTURBED_RUNS):
    rng = np.random.default_rng(number)
    short_gan.set_weights(origin.get_weights())
    short_gan.seed_generator.state.assign(origin.seed_generator.state)
    for weight in trained_weights(short_gan):
        value = keras.ops.convert_to_numpy(weight)
        up_or_down = rng.choice(np.array([-9, 9], "float32"), value.shape)
        weight.assign(np.nextafter(value, up_or_down))  # the next float32 on that side
    watch = WeightsEachStep()
    first_pass = kg.load(DATA, batch_size=BATCH, num_images=BATCH * COMPARE_STEPS,
                         with_labels=True, shuffle_seed=0)
    short_gan.fit(first_pass, verbose=0, callbacks=[watch])
    perturbed.append(largest_differences(on_one.vectors, watch.vectors))
ends = sorted(each[-1] for each in perturbed)
print(f"after update {COMPARE_STEPS}, perturbed runs on one device differ from the first by "
      f"{ends[0]:.1e} to {ends[-1]:.1e}, two replicas by {apart[-1]:.1e}")

# %% alt=["Curves on a logarithmic scale over the updates. The dashed curve, the change since the start, lies above those of the perturbed runs and of two replicas, most of which begin near the rounding of 32-bit floats, and grow."]
figure, axes = plt.subplots(figsize=(6, 2.6), layout="constrained")
steps = np.arange(1, COMPARE_STEPS + 1)
for number, each in enumerate(perturbed):
    axes.semilogy(steps, each, color="0.7", label=None if number else "one device, perturbed")
axes.semilogy(steps, np.maximum(apart, 1e-9), marker="o", markersize=4, label="two replicas")
axes.semilogy(steps, changed, color="black", linestyle="--", label="change since the start")
axes.set_xlabel("update")
axes.set_title("largest difference of a weight from the run on one device", fontsize=10, loc="left")
axes.legend(fontsize=8, frameon=False)
plt.show()

# %% [markdown]
# After the first update two replicas and one device differ by rounding. The curves may jump at any
# update because of the kinks, of the perturbed runs and of two replicas alike. By the effect of one
# rounding error on a single device, the reference, the strategy adds only rounding.
#
# This also shows what not to expect. The guarantee is about the computation: a long training on
# another number of devices need not end with the same numbers.
#
# ## Two workers
#
# On several machines there is one process per machine, and all of them run the same script. Only
# the environment variable `TF_CONFIG` differs: the addresses of all workers, and the index of this
# one. `kg.distribution.get_strategy("multi_worker")` creates the strategy from it; call it before
# any other TensorFlow operation.
#
# The script is written here from the two functions above. It takes its settings as JSON, logs to a
# CSV file, and saves the final weights. With `power_cut` set, the process ends in the middle of an
# epoch: that is for later.

# %%
HEAD = '''"""Trains with settings that are given as JSON."""

import json
import os
import pathlib
import sys

import keras
import numpy as np

import keras_genimg as kg
'''
TAIL = '''class PowerCut(keras.callbacks.Callback):
    """Ends the process on the spot: no exception, no handler, nothing flushed, as kill -9 does."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == settings["power_cut"] and batch == settings["steps"] // 2:
            os._exit(137)


settings = json.loads(sys.argv[1])
strategy = kg.distribution.get_strategy(settings["strategy"])  # before anything else
folder = pathlib.Path(settings["output"])
callbacks = []
if kg.distribution.is_chief(strategy):
    folder.mkdir(parents=True, exist_ok=True)
    callbacks.append(keras.callbacks.CSVLogger(str(folder / "logs.csv"), append=True))
if settings.get("power_cut") is not None:
    callbacks.append(PowerCut())
gan, history = train(settings, strategy, callbacks)
np.savez(f"{folder}-weights-{settings.get('worker', 0)}.npz", *gan.get_weights())
if kg.distribution.is_chief(strategy):
    gan.save(folder / "final.keras")
'''
parts_of_the_script = [HEAD, inspect.getsource(make_gan), inspect.getsource(train), TAIL]
pathlib.Path("train.py").write_text("\n\n".join(parts_of_the_script))
print(f"train.py: {len(pathlib.Path('train.py').read_text().splitlines())} lines")


def start_process(script, *arguments, **environment):
    """Starts a process of this Python and captures its output."""
    return subprocess.Popen(
        [sys.executable, script, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(processes, code=0, timeout=1200):
    """Waits until processes end with a code; kills any that are left."""
    try:
        for process in processes:
            _, errors = process.communicate(timeout=timeout)
            if process.returncode != code:
                raise RuntimeError(f"a process ended with {process.returncode}:\n{errors[-2000:]}")
    finally:
        for process in processes:
            process.kill()

# %% [markdown]
# Two workers on this machine, each at a free port of `127.0.0.1`. Every worker loads the same
# dataset and keeps its part of each batch; `batch_size` is still the global one. On real machines
# the addresses are their names, and `keras-genimg train conditional_gan --strategy multi_worker`
# does the same from the command line. With `WORKERS = 0` this part is skipped.

# %%
def free_ports(count):
    """Ports that are free at this moment."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


addresses = [f"127.0.0.1:{port}" for port in free_ports(WORKERS)]
cluster = []
for index in range(WORKERS):
    tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    job = {**short, "strategy": "multi_worker", "output": "cluster", "worker": index}
    cluster.append(start_process("train.py", json.dumps(job), TF_CONFIG=json.dumps(tf_config)))
wait_for(cluster)

if WORKERS:
    for index in range(WORKERS):
        with np.load(f"cluster-weights-{index}.npz") as file:
            weights = [file[f"arr_{i}"] for i in range(len(file.files))]
        for name, others in (("one device", weights_on_one), ("two replicas", weights_on_two)):
            difference = max(np.abs(a - b).max() for a, b in zip(weights, others, strict=True))
            print(f"worker {index} against {name}: {difference:.1e}")
    names = sorted(path.name for path in pathlib.Path("cluster").iterdir())
    print("written by the chief only:", names)
else:
    print("WORKERS = 0: no cluster")

# %% [markdown]
# Two workers split the batch and sum two halves like two replicas, and end with the same weights.
# Compared with one device there is the rounding of the plot above. Only the first worker, the
# chief, writes the log and the model: `kg.distribution.is_chief()` identifies it. On a real cluster
# all workers must see the folder, since each of them reads the checkpoints.
#
# ## Killed and resumed
#
# Machines are switched off, and cheap ones are reclaimed at short notice. Now `train.py` repeats
# the run of the first section, in a separate process that writes one checkpoint per epoch and ends
# in the middle of an epoch without warning.

# %%
killed = {
    **settings,
    "strategy": "auto",
    "output": "killed",
    "checkpoints": "killed/checkpoints",
}
wait_for([start_process("train.py", json.dumps({**killed, "power_cut": CUT}))], code=137)
print("exit code 137, and left behind:")
for path in sorted(pathlib.Path("killed").rglob("*")):
    print("   ", path)
print("newest complete checkpoint:", kg.callbacks.latest_checkpoint("killed/checkpoints"))

# %% [markdown]
# There is no `final.keras`, half an epoch is lost, and the newest checkpoint is of the last
# completed epoch. A checkpoint gets its name only once it is complete, so a kill in the middle of a
# write leaves the previous one.
#
# ## Your turn: after a kill
#
# A run writes one checkpoint after each epoch of `steps` updates, and is killed after `update`
# updates in all. With which epoch (counted from 0) does it resume, and how many updates are lost?

# %%
def after_a_kill(update, steps):  # -> (epoch, lost)
    return ...  # your line

# %%
def kill_is_right(after_a_kill):
    """Checks four kills of a run with 120 updates per epoch."""
    if after_a_kill(530, 120) is ...:
        return print("Nothing here yet: write the line, or open the answer below.")
    for update, expected in ((530, (4, 50)), (119, (0, 119)), (120, (1, 0)), (0, (0, 0))):
        found = tuple(after_a_kill(update, 120))
        assert found == expected, f"after update {update} it should be {expected}, not {found}"
    print("Right.")
    return True


kill_is_right(after_a_kill)

# %% tags=["answer"]
def after_a_kill_answer(update, steps):
    return divmod(update, steps)


assert kill_is_right(after_a_kill_answer)
updates = CUT * STEPS + STEPS // 2 + 1  # of the run above
epoch, lost = after_a_kill_answer(updates, STEPS)
print(f"our run was killed after {updates} updates: it resumes with epoch {epoch}, {lost} are lost")
assert epoch == kg.callbacks.latest_checkpoint("killed/checkpoints")[1]

# %% [markdown]
# To resume, run the same command again. `Resume` finds the checkpoint and sets the weights, both
# optimizers, the EMA generator and the state of the noise; `fit` resumes with the next epoch.

# %%
wait_for([start_process("train.py", json.dumps(killed))])
resumed = keras.models.load_model("killed/final.keras")


def state(model):
    """Everything that training resumes from, as a list of arrays."""
    variables = [
        *model.weights,
        *model.generator_optimizer.variables,
        *model.discriminator_optimizer.variables,
        model.seed_generator.state,
    ]
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def equal_arrays(first, second):
    """How many arrays of two lists are the same to the last bit."""
    return sum(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


print(f"{equal_arrays(state(gan), state(resumed))} of {len(state(gan))} arrays "
      "equal those of the uninterrupted run, bit for bit")

# %% [markdown]
# Those arrays are the weights, the moments of both Adams, their step counters and the noise state.
# The logs agree: the log of the killed run has no row for the lost epoch, and then continues.

# %% alt=["Two panels, the losses of both networks over the epochs. The points before the cut and after it lie on the thick curve of the uninterrupted run."]
with open("killed/logs.csv", newline="") as file:
    rows = list(csv.DictReader(file))
epochs = np.array([int(row["epoch"]) + 1 for row in rows])
figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
for panel, name in zip(axes, ("d_loss", "g_loss")):
    panel.plot(range(1, EPOCHS + 1), history.history[name], color="0.7", linewidth=5,
               label="uninterrupted")
    halves = (epochs <= CUT, "o", "before the cut"), (epochs > CUT, "s", "resumed")
    for mask, marker, label in halves:
        values = [float(row[name]) for row, kept in zip(rows, mask) if kept]
        panel.plot(epochs[mask], values, marker=marker, markersize=5, label=label)
    panel.axvline(CUT + 0.5, color="black", linestyle="--", linewidth=1)
    panel.set_title(name, fontsize=10, loc="left")
    panel.set_xlabel("epoch")
    panel.set_xticks(range(1, EPOCHS + 1))
axes[0].legend(fontsize=8, frameon=False)
plt.show()
same = all(float(row[name]) == history.history[name][int(row["epoch"])]
           for row in rows for name in history.history)
print("epochs in the log:", epochs.tolist(), "- all values equal to the uninterrupted run's:", same)

# %% [markdown]
# Keras has `keras.callbacks.BackupAndRestore` for the same purpose. `Resume` also saves the states
# of the seed generators, verifies every byte of a file before loading it, keeps two checkpoints,
# rejects weights that are not finite, and rejects a checkpoint of another model. On the command
# line it is `keras-genimg train ... --resume`, which also finds the right position in the data.
#
# The guarantee has limits: another number of threads, another processor or another version of
# TensorFlow may sum in another order, and then the runs agree up to rounding, not to the bit.
#
# ## Saved and loaded
#
# `save` writes one file, a zip archive. It is not only for inference: both optimizers and the noise
# state are in it. So training can resume from a loaded model as if it had never stopped.
# `load_model` needs no `custom_objects`, only that `keras_genimg` is imported.

# %%
gan.save("gan.keras")
with zipfile.ZipFile("gan.keras") as archive:
    for entry in archive.infolist():
        print(f"{entry.file_size / 1000:9.1f} kB  {entry.filename}")
loaded = keras.models.load_model("gan.keras")
print(f"{equal_arrays(state(gan), state(loaded))} of {len(state(gan))} arrays equal after loading")

# %%
more = kg.load(DATA, batch_size=BATCH, num_images=BATCH * STEPS, with_labels=True, shuffle_seed=0,
               epochs=None, first_epoch=EPOCHS)
for model in (gan, loaded):
    model.fit(more, steps_per_epoch=2, epochs=1, verbose=0)
print(f"{equal_arrays(state(gan), state(loaded))} of {len(state(gan))} arrays equal after two more "
      f"updates; generator updates: {int(loaded.generator_optimizer.iterations)}")

# %% [markdown]
# ## A SavedModel and its endpoints
#
# Loading a `.keras` file needs this package. `export` writes a SavedModel, which needs only
# TensorFlow: graphs and weights, no Python. It has several endpoints, called signatures.

# %%
def size_kb(path):
    """The size of a file or of all files in a folder, in kB."""
    path = pathlib.Path(path)
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files) / 1000


def listed(specs):
    return ", ".join(
        f"{name} {spec.dtype.name} {spec.shape}" for name, spec in sorted(specs.items())
    )


gan.export("saved_model")
served = tf.saved_model.load("saved_model")
for name, signature in sorted(served.signatures.items()):
    print(name)
    print("    takes  ", listed(signature.structured_input_signature[1]))
    print("    returns", listed(signature.structured_outputs))

# %% [markdown]
# `serving_default` is for clients that want bytes: a number and a seed in, 8-bit images of the
# classes in turn out. `generate` takes the target classes and returns floats in $[-1, 1]$,
# `decode` takes latents and classes; `discriminate` scores images; `serving_png` returns PNGs.
#
# A new process in which this package and Keras cannot be imported proves that neither is needed.

# %%
pathlib.Path("client.py").write_text('''"""Uses every endpoint of a SavedModel."""

import sys

sys.modules["keras_genimg"] = sys.modules["keras"] = None  # importing either fails from here on

import numpy as np
import tensorflow as tf

try:
    import keras_genimg
except ImportError:
    print("keras_genimg cannot be imported here")

endpoints = tf.saved_model.load("saved_model").signatures
seed, labels = tf.constant(7, tf.int64), tf.range(10)
bytes_ = endpoints["serving_default"](num_images=tf.constant(10), seed=seed)["images"]
images = endpoints["generate"](labels=labels, seed=seed)["images"]
logits = endpoints["discriminate"](images=images, labels=labels)["logits"]
np.savez("served.npz", serving_default=bytes_, generate=images, discriminate=logits)
''')
client = start_process("client.py")
output, errors = client.communicate(timeout=600)
print(output.strip() if client.returncode == 0 else errors[-2000:])
with np.load("served.npz") as file:
    there = {name: file[name] for name in file.files}

labels = np.arange(10)
here = gan.generate(10, labels=labels, seed=7, verbose=0)  # (10, 28, 28, 1)
logits, _ = gan.discriminator([here, labels], training=False)  # (10, 1), and those of the classes
levels = np.abs(there["serving_default"].astype(int) - kg.plotting.to_uint8(here)).max()
print(f"serving_default: largest difference {levels} of 255 levels")
print(f"generate:        largest difference {np.abs(there['generate'] - here).max():.1e}")
print(f"discriminate:    largest difference {np.abs(there['discriminate'] - logits).max():.1e}")

# %% [markdown]
# ## Smaller files
#
# Phones, browsers and servers in other languages run LiteRT (`.tflite`) or ONNX files. They take
# the deterministic part: noise and labels in, images out. The client draws the noise. LiteRT files
# come in three precisions: `float32`; `float16`, two bytes per weight; `int8`, one byte per weight,
# integers with one scale per channel.

# %%
files = {"LiteRT float32": "float32.tflite", "LiteRT float16": "float16.tflite",
         "LiteRT int8": "int8.tflite", "ONNX": "gan.onnx"}
for name, path in files.items():
    if name == "ONNX":
        gan.export(path, format="onnx")
    else:
        gan.export(path, format="litert", precision=name.split()[1])

import onnxruntime  # after the export, which says what to install if ONNX is missing

session = onnxruntime.InferenceSession("gan.onnx")
interpreters = {name: tf.lite.Interpreter(path) for name, path in files.items() if name != "ONNX"}
with no_output():  # LiteRT reports its delegate
    for interpreter in interpreters.values():
        interpreter.allocate_tensors()
runners = {name: each.get_signature_runner() for name, each in interpreters.items()}


def make(name, latents, labels):
    """Images of latents by one of the written files: float32 (n, 28, 28, 1)."""
    if name == "ONNX":
        return session.run(["images"], {"latents": latents, "labels": labels})[0]
    return runners[name](latents=latents, labels=labels)["images"]


labels = np.arange(10, dtype="int32")
latents = gan.draw_latents(10, seed=7).numpy()  # (10, latent_dim), what generate(seed=7) draws
made = {name: make(name, latents, labels) for name in files}
print(f"{'':<18}{'kB':>8}{'largest':>10}{'mean':>10}  difference of pixels, in levels of 255")
for name, path in {"gan.keras": "gan.keras", "SavedModel": "saved_model", **files}.items():
    line = f"{name:<18}{size_kb(path):8.0f}"
    if name in made:
        difference = 127.5 * np.abs(made[name] - here)
        line += f"{difference.max():10.4f}{difference.mean():10.4f}"
    print(line)

# %% alt=["Five rows of ten images: the digits by Keras, then the differences of each file from them, times 30. The rows of float32, float16 and ONNX are black or nearly so; in that of int8 the outlines of the digits show."]
differences = [np.clip(30 * np.abs(images - here) - 1, -1, 1) for images in made.values()]
title = f"Keras, then the difference from it, times 30: {', '.join(made)}"
kg.plotting.show_images(np.concatenate([here, *differences]), title, columns=10, scale=3.5)
plt.show()

# %% [markdown]
# `gan.keras` is the largest because it also contains the discriminator, the EMA generator and the
# state of two Adam optimizers; the SavedModel contains both networks and the EMA generator. The
# others contain only the EMA generator. [docs/compression.md](../docs/compression.md) has the cost
# of fewer bits, measured by a distance between sets of images instead of pixels.
#
# ## Your turn: eight bits
#
# An int8 file stores a kernel $W$ as integers $Q$ from -127 to 127 with one scale $s$ per channel,
# here the last axis of $W$:
#
# $$s = \max |W| / 127, \qquad Q = \mathrm{round}(W / s), \qquad W \approx s\,Q.$$
#
# Write it. How far can a weight move?

# %%
def quantise(kernel):  # (..., channels) -> integers (..., channels), scales (channels,)
    return ...  # your lines

# %%
def bits_are_right(quantise):
    """Checks the integers, the scales and the largest error on a kernel of three channels."""
    kernel = np.random.default_rng(0).normal(size=(4, 4, 8, 3)) * [0.01, 1.0, 100.0]
    if quantise(kernel) is ...:
        return print("Nothing here yet: write the lines, or open the answer below.")
    integers, scales = quantise(kernel)
    assert np.shape(scales) == (3,), f"one scale per channel, not {np.shape(scales)}"
    assert np.array_equal(integers, np.round(integers)), "they should be integers"
    largest = np.abs(integers).max(axis=(0, 1, 2))
    assert np.array_equal(largest, [127, 127, 127]), f"each channel should reach 127: {largest}"
    moved = (np.abs(scales * integers - kernel) / scales).max()
    assert moved <= 0.5 + 1e-6, f"no weight should move by more than s/2, not by {moved:.2f} s"
    print(f"Right: no weight moves by more than {moved:.2f} s.")
    return True


bits_are_right(quantise)

# %% [markdown]
# The answer also applies it to the kernels of our generator.

# %% tags=["answer"]
def quantise_answer(kernel):
    scales = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1))) / 127  # (channels,)
    return np.round(kernel / scales), scales


assert bits_are_right(quantise_answer)
kernels = [weight.numpy() for weight in gan.ema_generator.weights if weight.name == "kernel"]
assert kernels
for kernel in kernels:
    integers, scales = quantise_answer(kernel)
    error = np.sqrt(np.mean((scales * integers - kernel) ** 2) / np.mean(kernel**2))
    print(f"{str(kernel.shape):20} error {100 * error:.2f} % of the weights' size")

# %% [markdown]
# How fast is each file? Batches of 64, each runtime in turn, the best of several rounds. Only the
# ratios are meaningful, for this small network and default settings: the order may differ on your
# machine.

# %%
labels_64 = (np.arange(64) % 10).astype("int32")
latents_64 = gan.draw_latents(64, seed=3).numpy()  # (64, latent_dim)
seed_3 = tf.constant(3, tf.int64)
generate = served.signatures["generate"]
ways = {
    "Keras": lambda: gan.generate(64, labels=labels_64, seed=3, verbose=0),
    "SavedModel": lambda: generate(labels=tf.constant(labels_64), seed=seed_3)["images"].numpy(),
    **{name: lambda name=name: make(name, latents_64, labels_64) for name in files},
}
seconds = dict.fromkeys(ways, np.inf)
for number in range(ROUNDS + 1):
    for name, way in ways.items():
        start = time.perf_counter()
        way()
        if number:  # the first round warms up
            seconds[name] = min(seconds[name], time.perf_counter() - start)
speed = {name: 64 / value for name, value in seconds.items()}
for name, value in speed.items():
    ratio = value / speed["SavedModel"]
    print(f"{name:<18}{value:8.0f} images per second, {ratio:5.2f} times the SavedModel's")

# %% alt=["Bars: images per second of Keras, the SavedModel, three LiteRT files and ONNX, as multiples of the SavedModel's."]
figure, axes = plt.subplots(figsize=(6, 2.2), layout="constrained")
axes.barh(list(speed)[::-1], [speed[name] / speed["SavedModel"] for name in list(speed)[::-1]])
axes.axvline(1, color="black", linewidth=1)
axes.set_title("images per second, as a multiple of the SavedModel's", fontsize=10, loc="left")
plt.show()
in_files = sorted(files, key=speed.get)
print(f"slowest file: {in_files[0]}, fastest: {in_files[-1]}")

# %% [markdown]
# A smaller file need not be a faster one. Measure on the target machine before you choose.
#
# ## A server
#
# TensorFlow Serving, Triton and cloud services serve SavedModels directly. To show how simple that
# is, here is a server in a few lines of the standard library. It answers `/?digits=2026&seed=1`
# with one PNG: the digits are the target classes of `generate`. TensorFlow encodes the PNG.
#
# Every image names its source. A PNG is a signature, a header and further chunks, and a `tEXt`
# chunk contains a name and a value: we insert ours after the header. The checksum in the
# SavedModel's fingerprint identifies the model.

# %%
pathlib.Path("server.py").write_text('''"""Serves images of a SavedModel, and prints its port."""

import http.server
import struct
import sys
import urllib.parse
import zlib

sys.modules["keras_genimg"] = sys.modules["keras"] = None  # TensorFlow alone
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
fingerprint = tf.saved_model.experimental.read_fingerprint(sys.argv[1]).saved_model_checksum


def chunk(name, value):
    data = b"tEXt" + f"{name}\\0{value}".encode("latin-1")
    return struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        digits, seed = query.get("digits", ""), query.get("seed", "0")
        if not (digits.isdecimal() and len(digits) <= 64 and seed.isdecimal() and len(seed) <= 18):
            return self.send_error(400, "ask for /?digits=2026&seed=1")
        labels = tf.constant([int(digit) for digit in digits])
        images = model.signatures["generate"](labels=labels, seed=tf.constant(int(seed), tf.int64))
        strip = tf.concat(tf.unstack(images["images"]), axis=1)  # (n, 28, 28, 1) -> (28, 28 n, 1)
        png = tf.io.encode_png(tf.cast(tf.round((strip + 1) * 127.5), tf.uint8)).numpy()
        notes = {"generated": "yes", "digits": digits, "seed": seed, "model": fingerprint}
        png = png[:33] + b"".join(chunk(*note) for note in notes.items()) + png[33:]
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(png)


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)  # 0: any free port
print(server.server_port, flush=True)
server.serve_forever()
''')
server = start_process("server.py", "saved_model")
atexit.register(server.kill)  # whatever happens to this notebook
patience = threading.Timer(600, server.kill)  # a server that never starts ends the wait
patience.start()
port = server.stdout.readline().strip()
patience.cancel()
if not port:
    raise RuntimeError(server.stderr.read()[-2000:])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy in between


def ask(query):
    """The answer of the server: (status, bytes)."""
    try:
        with opener.open(f"http://127.0.0.1:{port}/?{query}", timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


status, png = ask("digits=20261234&seed=7")
print(f"status {status}, {len(png)} bytes, first of them {png[:8]}")
print("an invalid digit:", ask("digits=12x")[0])

# %% alt=["Eight digits in one strip: 2, 0, 2, 6, 1, 2, 3, 4."]
image = np.asarray(Image.open(io.BytesIO(png)))  # (28, 224)
figure, axes = plt.subplots(figsize=(9, 1.5), layout="constrained")
axes.imshow(image, cmap="gray", vmin=0, vmax=255)
axes.set_axis_off()
axes.set_title("/?digits=20261234&seed=7", fontsize=10, loc="left")
plt.show()
labels = np.array([int(digit) for digit in "20261234"])
by_keras = kg.plotting.to_uint8(gan.generate(8, labels=labels, seed=7, verbose=0))  # (8, 28, 28, 1)
strip = np.concatenate(by_keras, axis=1)[..., 0]  # (8, 28, 28, 1) -> (28, 224)
print("largest difference from Keras:", np.abs(image.astype(int) - strip).max(), "of 255 levels")

# %% [markdown]
# ## The provenance of an image
#
# Pillow returns the notes as `text`. The PNG files of this package carry notes too: those of
# `kg.callbacks.ImageGrid` and `keras-genimg generate` name the model and the seed and say that the
# image is generated. `kg.plotting.save_png(path, images, metadata)` takes custom notes.

# %%
notes = Image.open(io.BytesIO(png)).text
print(notes)
again = io.BytesIO()
Image.open(io.BytesIO(png)).save(again, format="PNG")  # opened and saved, as in any editor
print("after opening and saving it:", Image.open(io.BytesIO(again.getvalue())).text)
print("the file:", hashlib.sha256(png).hexdigest()[:16], "- the file saved again:",
      hashlib.sha256(again.getvalue()).hexdigest()[:16])

# %% [markdown]
# So such notes are a label, not a seal: opening and saving in another program removes them. But as
# long as they exist, they allow a check: an image that names its model and its seed can be
# generated again and compared (exercise 3).
#
# On the command line the whole process takes four commands:
#
# ```bash
# keras-genimg train conditional_gan --data glyphs --output runs/digits
# keras-genimg train conditional_gan --output runs/digits --resume
# keras-genimg export runs/digits --format litert --precision int8
# keras-genimg generate runs/digits --labels 2,0,2,6 --count 4 --seed 7
# ```
#
# ## Exercises

# %% [markdown]
# ### Exercise 1: an uneven batch
#
# The last batch of an epoch may have 7 images, which two replicas cannot share evenly. Get each
# replica's `share` from `kg.distribution.global_batch`, and show that the weighted sum of the
# replicas' means is the mean over all 7, while the plain average of the means is not.

# %% tags=["answer"]
values = np.array([1.0, 2, 3, 4, 5, 6, 100], "float32")
seven = mirrored.experimental_distribute_dataset(
    tf.data.Dataset.from_tensor_slices(values).batch(8)
)


@tf.function
def means_and_shares(batch):
    return mirrored.run(
        lambda x: (tf.reduce_mean(x), kg.distribution.global_batch(x).share), (batch,)
    )


means, shares = [
    np.array(mirrored.experimental_local_results(each))
    for each in means_and_shares(next(iter(seven)))
]
print("means", means, "shares", shares.round(3))
print(f"weighted {np.sum(shares * means):.3f}, plain {means.mean():.3f}, true {values.mean():.3f}")
assert np.isclose(shares.sum(), 1)
assert np.isclose(np.sum(shares * means), values.mean(), rtol=1e-5)
assert abs(means.mean() - values.mean()) > 0.1

# %% [markdown]
# ### Exercise 2: a corrupted checkpoint
#
# Cut the newest checkpoint of the killed run in half, as a full disk might. Where would the run
# resume now?

# %% tags=["answer"]
newest, epoch = kg.callbacks.latest_checkpoint("killed/checkpoints")
content = newest.read_bytes()
newest.write_bytes(content[: len(content) // 2])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    older, epoch_of_older = kg.callbacks.latest_checkpoint("killed/checkpoints")
newest.write_bytes(content)
print(f"{newest.name} is skipped, with {len(caught)} warning;",
      f"the run would resume from {older.name}")
assert epoch == EPOCHS and epoch_of_older == EPOCHS - 1 and len(caught) == 1
assert kg.callbacks.latest_checkpoint("killed/checkpoints") == (newest, EPOCHS)

# %% [markdown]
# ### Exercise 3: checking an image
#
# Write a function that takes the bytes of a PNG from the server and a SavedModel's folder, and
# returns whether this model generated this image. Try it on the answer of the server, and on the
# same file with one pixel changed.

# %% tags=["answer"]
def generated_by(png, folder):
    """Whether the notes of a PNG name this SavedModel, and it generates the same pixels."""
    image = Image.open(io.BytesIO(png))
    fingerprint = tf.saved_model.experimental.read_fingerprint(folder).saved_model_checksum
    if image.text.get("model") != str(fingerprint):
        return False
    labels = tf.constant([int(digit) for digit in image.text["digits"]])
    seed = tf.constant(int(image.text["seed"]), tf.int64)
    images = tf.saved_model.load(folder).signatures["generate"](labels=labels, seed=seed)["images"]
    strip = np.concatenate(kg.plotting.to_uint8(images.numpy()), axis=1)[..., 0]
    return np.abs(np.asarray(image).astype(int) - strip).max() <= 1  # rounding at a boundary


changed = image.copy()
changed[0, 0] = 255 - changed[0, 0]
kg.plotting.save_png("changed.png", changed[..., None], notes)
print("the answer of the server:", generated_by(png, "saved_model"))
changed_png = pathlib.Path("changed.png").read_bytes()
print("with one pixel changed:  ", generated_by(changed_png, "saved_model"))
assert generated_by(png, "saved_model")
assert not generated_by(changed_png, "saved_model")
server.terminate()  # the server is no longer needed
server.communicate(timeout=60)
print("server ended")

# %% [markdown]
# ## Where to go next
#
# - [7. Custom data, custom `train_step`](07_your_images_your_step.ipynb): a custom model, which
#   trains, resumes and exports like this one.
# - [docs/compression.md](../docs/compression.md): what fewer bits and sparsity cost in quality.
# - [docs/metrics.md](../docs/metrics.md): how to evaluate the images before you deploy the model.
#
# References: Mirza and Osindero, 2014, [Conditional generative adversarial
# nets](https://arxiv.org/abs/1411.1784); Miyato and Koyama, 2018, [cGANs with projection
# discriminator](https://arxiv.org/abs/1802.05637); Kingma and Ba, 2015,
# [Adam](https://arxiv.org/abs/1412.6980); TensorFlow's guides to [distributed
# training](https://www.tensorflow.org/guide/distributed_training) and to
# [SavedModel](https://www.tensorflow.org/guide/saved_model).
