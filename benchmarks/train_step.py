"""Milliseconds per training step, against a hand-written loop and the machine's arithmetic.

Prints ratios that were measured side by side in one run: see README.md in this folder.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --models gan vae --batch-size 128
"""

import argparse
import math
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import keras_genimg
from keras_genimg.errors import InputError

# --------------------------------------------------------------- hand-written loops
#
# What one would write for this one model on this one machine: the same networks and
# optimizers, a tape, and nothing else (no logs, averages, checks or replicas).


def plain_gan(model):
    generator, discriminator = model.generator, model.discriminator
    g_optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)
    d_optimizer = keras.optimizers.Adam(2e-4, beta_1=0.5)
    g_optimizer.build(generator.trainable_variables)
    d_optimizer.build(discriminator.trainable_variables)

    @tf.function
    def step(images):
        size = tf.shape(images)[0]
        fakes = generator(tf.random.normal((size, model.latent_dim)), training=True)
        with tf.GradientTape() as tape:
            real_logits = discriminator(images, training=True)
            fake_logits = discriminator(fakes, training=True)
            d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits))
            d_loss += tf.reduce_mean(tf.nn.softplus(fake_logits))
        weights = discriminator.trainable_variables
        d_optimizer.apply_gradients(zip(tape.gradient(d_loss, weights), weights))
        with tf.GradientTape() as tape:
            fakes = generator(tf.random.normal((size, model.latent_dim)), training=True)
            g_loss = tf.reduce_mean(tf.nn.softplus(-discriminator(fakes, training=True)))
        weights = generator.trainable_variables
        g_optimizer.apply_gradients(zip(tape.gradient(g_loss, weights), weights))
        return d_loss, g_loss

    return step


def plain_vae(model):
    encoder, decoder = model.encoder, model.decoder
    weights = encoder.trainable_variables + decoder.trainable_variables
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(weights)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            mean, log_var = encoder(images, training=True)
            z = mean + tf.exp(0.5 * log_var) * tf.random.normal(tf.shape(mean))
            logits = decoder(z, training=True)
            nats = tf.nn.sigmoid_cross_entropy_with_logits(0.5 * (images + 1.0), logits)
            kl = 0.5 * tf.reduce_sum(mean**2 + tf.exp(log_var) - 1.0 - log_var, axis=1)
            loss = tf.reduce_mean(tf.reduce_sum(nats, axis=(1, 2, 3)) + kl)
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    return step


def plain_vq_vae(model):
    encoder, decoder = model.encoder, model.decoder
    weights = encoder.trainable_variables + decoder.trainable_variables
    optimizer = keras.optimizers.Adam(2e-4)
    optimizer.build(weights)
    decay, count = model.quantizer.decay, model.quantizer.num_embeddings
    codebook = tf.Variable(model.quantizer.embeddings.value)
    sizes = tf.Variable(tf.ones(count))
    sums = tf.Variable(model.quantizer.embeddings.value)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            vectors = encoder(images, training=True)
            flat = tf.reshape(vectors, (-1, vectors.shape[-1]))
            distances = tf.reduce_sum(codebook**2, 1) - 2.0 * tf.matmul(
                flat, codebook, transpose_b=True
            )
            nearest = tf.argmin(distances, axis=1)
            codes = tf.reshape(tf.gather(codebook, nearest), tf.shape(vectors))
            outputs = decoder(vectors + tf.stop_gradient(codes - vectors), training=True)
            loss = tf.reduce_mean((images - outputs) ** 2)
            loss += 0.25 * tf.reduce_mean((vectors - tf.stop_gradient(codes)) ** 2)
        one_hot = tf.one_hot(nearest, count)
        sizes.assign(decay * sizes + (1.0 - decay) * tf.reduce_sum(one_hot, 0))
        sums.assign(decay * sums + (1.0 - decay) * tf.matmul(one_hot, flat, transpose_a=True))
        codebook.assign(sums / (sizes[:, None] + 1e-5))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    return step


def plain_classifier(model):
    backbone, head = model.backbone, model.head
    weights = backbone.trainable_variables + head.trainable_variables
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(weights)

    @tf.function
    def step(batch):
        images, labels = batch
        with tf.GradientTape() as tape:
            logits = head(backbone(images, training=True), training=True)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            )
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        return loss

    return step


# ------------------------------------------------------------------------ arithmetic


def layer_operations(network):
    """Operations (two per multiply-add) of one image, forward, by layer in order.

    Convolutions, transposed convolutions and dense layers count, padding included as is
    usual; elementwise operations (activations, normalisation) do not.
    """
    counts = []
    for layer in network._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Conv2DTranspose):
            positions = math.prod(layer.input.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D):
            positions = math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            positions = 1
        else:
            continue
        counts.append(2 * positions * math.prod(layer.kernel.shape))
    return counts


def both_ways(counts):
    """Forward, gradients of weights, and gradients of inputs but the first layer's."""
    return 3 * sum(counts) - counts[0]


def gan_operations(model):
    g, d = layer_operations(model.generator), layer_operations(model.discriminator)
    d_update = sum(g) + 2 * both_ways(d)
    g_update = both_ways(g) + 2 * sum(d)  # through D to its input; D's weights get no gradient
    return d_update + g_update


def vae_operations(model):
    return both_ways(layer_operations(model.encoder) + layer_operations(model.decoder))


def vq_vae_operations(model):
    vectors, dim = math.prod(model.code_shape), model.quantizer.embedding_dim
    matmul = 2 * vectors * model.quantizer.num_embeddings * dim
    return vae_operations(model) + 2 * matmul  # distances, and sums for the averages


def classifier_operations(model):
    return both_ways(layer_operations(model.backbone) + layer_operations(model.head))


MODELS = {
    "gan": (keras_genimg.GAN, plain_gan, gan_operations),
    "vae": (keras_genimg.VAE, plain_vae, vae_operations),
    "vq_vae": (keras_genimg.VQVAE, plain_vq_vae, vq_vae_operations),
    "cnn_classifier": (keras_genimg.CNNClassifier, plain_classifier, classifier_operations),
}


# ------------------------------------------------------------------------- measuring

SIDES = (1024, 2048)  # of the matrices whose product measures the machine's rate


def timed(run, times):
    """Seconds a call of `run`, over `times` calls in a row."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


class FitSteps:
    """Seconds per step of a `fit` with its callbacks, between its first and last step."""

    def __init__(self, model, dataset):
        self.model, self.dataset = model, dataset

    def seconds(self, steps):
        ends = []
        note = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
        )
        self.model.fit(self.dataset, steps_per_epoch=steps + 1, verbose=0, callbacks=[note])
        return (ends[-1] - ends[0]) / steps


def matmul_run(side):
    """A function that multiplies two float32 matrices of `side` rows and columns."""
    a, b = tf.random.normal((side, side)), tf.random.normal((side, side))
    return tf.function(lambda: tf.matmul(a, b))


def batches(shape, num_classes, batch_size):
    """An endless data set of one batch in memory, of the built-in glyphs if they fit."""
    try:
        glyphs = keras_genimg.load(
            "glyphs", batch_size=batch_size, image_size=shape[:2], channels=shape[2],
            with_labels=True, shuffle_seed=0,
        )  # fmt: skip
        images, labels = next(iter(glyphs))
    except InputError:
        images = tf.random.uniform((batch_size, *shape), -1.0, 1.0, seed=0)
        labels = tf.random.uniform((batch_size,), 0, 10, tf.int32, seed=0)
    element = images if num_classes is None else (images, labels % num_classes)
    return tf.data.Dataset.from_tensors(element).repeat()


def measure(name, shape, batch_size, instances, rounds, seconds):
    """Times a model's step in turns with its plain loop, with `fit`, and with matmul.

    The load of the machine varies, so ratios compare neighbours in time, in alternating order.
    Two instances of one model differ by a few percent, depending on where their weights lie in
    memory, so medians are over several instances.
    """
    make, write_plain, count = MODELS[name]
    seen = {kind: [] for kind in ("step", "plain", "fit", *SIDES)}
    for instance in range(instances):
        keras.utils.set_random_seed(instance)
        model = make(image_shape=shape)
        model.compile()
        dataset = batches(shape, model.num_classes, batch_size)
        plain_step, plain_data = write_plain(model), iter(dataset)
        fit = FitSteps(model, dataset)
        fit.seconds(2)  # makes the train function
        model_data = iter(model.distribute_strategy.experimental_distribute_dataset(dataset))
        runs = {
            SIDES[0]: matmul_run(SIDES[0]),
            "step": lambda run=model.train_function, data=model_data: run(data),
            "plain": lambda run=plain_step, data=plain_data: run(next(data)),
            SIDES[1]: matmul_run(SIDES[1]),
        }
        for run in runs.values():
            timed(run, 3)  # traces, and warms up
        times = {kind: max(3, math.ceil(seconds / timed(run, 5))) for kind, run in runs.items()}
        for turn in range(rounds):
            for kind in list(runs)[:: 1 if turn % 2 else -1]:
                seen[kind].append(timed(runs[kind], times[kind]))
            seen["fit"].append(fit.seconds(times["step"]))

    operations = batch_size * count(model)
    seen = {kind: np.array(values) for kind, values in seen.items()}
    rates = np.max([2 * side**3 / seen[side] for side in SIDES], axis=0)  # of the better size
    return {
        "step": np.median(seen["step"]),
        "plain": np.median(seen["plain"]),
        "fit": np.median(seen["fit"]),
        "a": np.median(seen["step"] / seen["plain"]),
        "fit / plain": np.median(seen["fit"] / seen["plain"]),
        "rate": operations / np.median(seen["step"]),
        "matmul": np.median(rates),
        "b": np.median(operations / seen["step"] / rates),
        "operations": operations,
    }


def images_per_second(name, batch_size, seconds):
    """Images per second from `load`, without any training."""
    data = iter(keras_genimg.load(name, batch_size=batch_size, shuffle_seed=0, epochs=None))
    next(data)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        next(data)
        count += batch_size
    return count / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--image-size", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--instances", type=int, default=3, help="instances of each model")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each instance")
    parser.add_argument("--seconds", type=float, default=0.2, help="of each turn")
    parser.add_argument("--policy", default="float32", help="dtype policy of Keras")
    parser.add_argument("--data", nargs="*", default=["glyphs", "fashion_mnist"])
    arguments = parser.parse_args()
    keras.config.set_dtype_policy(arguments.policy)
    shape = (arguments.image_size, arguments.image_size, arguments.channels)

    print(f"{'model':15}{'step':>9}{'plain':>10}{'fit':>10}{'(a)':>8}{'fit / plain':>13}"
          f"{'GFLOP':>8}{'GFLOP/s':>9}{'matmul':>8}{'(b)':>7}")  # fmt: skip
    consumed = {}
    for name in arguments.models:
        seen = measure(
            name,
            shape,
            arguments.batch_size,
            arguments.instances,
            arguments.rounds,
            arguments.seconds,
        )
        consumed[name] = arguments.batch_size / seen["step"]
        print(
            f"{name:15}{1e3 * seen['step']:6.2f} ms{1e3 * seen['plain']:7.2f} ms"
            f"{1e3 * seen['fit']:7.2f} ms{seen['a']:8.3f}{seen['fit / plain']:13.3f}"
            f"{seen['operations'] / 1e9:8.3f}{seen['rate'] / 1e9:9.1f}"
            f"{seen['matmul'] / 1e9:8.1f}{seen['b']:7.3f}",
            flush=True,
        )

    print(f"\n{'images per second':24}{'':10}" + "".join(f"{'/ ' + name:>17}" for name in consumed))
    for name in arguments.data:
        try:
            rate = images_per_second(name, arguments.batch_size, 10 * arguments.seconds)
        except InputError as error:
            print(f"{name:24}skipped: {error}")
            continue
        print(f"{'load ' + name:24}{rate:10.0f}"
              + "".join(f"{rate / other:17.2f}" for other in consumed.values()))  # fmt: skip
    for name, rate in consumed.items():
        print(f"{name + ' takes':24}{rate:10.0f}")


if __name__ == "__main__":
    main()
