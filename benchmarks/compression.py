"""What sparsity and fewer bits cost: file sizes and distances of a trained generator.

    TFDS_DATA_DIR=... python benchmarks/compression.py runs/gan_fashion --data fashion_mnist

Each sparsity starts from the run's model and trains it for the same number of further steps. In the
first half of them `callbacks.Prune` approaches the target; 0 is the same without pruning. The files
are LiteRT; gzip sizes are given as well, since zeros save nothing before compression. The distance
is frechet_distance[set] of 10,000 samples from the file, against the test images.
"""

import argparse
import gzip
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from shared import Rows, distance, distance_to_test

import keras_genimg as kg
from keras_genimg.metrics import as_stored
from keras_genimg.runs import load_run

SAMPLES, BATCH, SEED = 10_000, 250, 0


def generated_by(path, latents):
    """Images that a LiteRT file generates from latents."""
    interpreter = tf.lite.Interpreter(str(path), num_threads=2)
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, (BATCH, latents.shape[1]))
    interpreter.allocate_tensors()
    images = []
    for start in range(0, len(latents), BATCH):
        interpreter.set_tensor(source, latents[start : start + BATCH])
        interpreter.invoke()
        images.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(images)


def measurements(model, precision, metric, folder):
    """Sparsity, sizes in kB and distance of a model exported with a precision."""
    path = Path(folder) / "model.tflite"
    model.export(path, format="litert", precision=precision)
    content = path.read_bytes()
    latents = model.draw_latents(SAMPLES, SEED).numpy()
    return {
        "sparsity": round(kg.callbacks.sparsity_of(model.ema_generator or model.generator), 4),
        "precision": precision,
        "kilobytes": len(content) / 1000,
        "packed": len(gzip.compress(content)) / 1000,
        "distance": distance(metric, as_stored(generated_by(path, latents))),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder of keras-genimg train: gan, wgan, wgan_gp")
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0, 0.5, 0.8, 0.9, 0.95])
    parser.add_argument("--steps", type=int, default=1000, help="further training steps")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--output", type=Path, default=Path("compression"))
    options = parser.parse_args()
    metric, table = distance_to_test(options.data), Rows(options.output)

    def add(model, wanted, precision):
        if not table.has(steps=steps, wanted=wanted, precision=precision):
            with tempfile.TemporaryDirectory() as folder:
                table.append({"steps": steps, "wanted": wanted,
                              **measurements(model, precision, metric, folder)})
            print(table.rows[-1], flush=True)

    steps = 0  # without further training
    for precision in ("float32", "float16", "int8"):
        add(load_run(options.run), 0, precision)
    steps = options.steps
    for wanted in options.sparsities:
        if table.has(steps=steps, wanted=wanted, precision="int8"):
            continue
        model = load_run(options.run)
        begin = int(np.asarray(model.generator_optimizer.iterations))
        pruning = []
        if wanted:
            pruning = [kg.callbacks.Prune(wanted, begin, begin + steps // 2, every=25)]
        data = kg.load(options.data, batch_size=options.batch_size, shuffle_seed=1,
                       epochs=None, drop_remainder=True)
        model.fit(data, steps_per_epoch=steps, verbose=0, callbacks=pruning)
        for precision in ("float32", "int8"):
            add(model, wanted, precision)

    print("\n| further training | sparsity | precision | kB | kB, gzip | distance |")
    print("|---|---|---|---|---|---|")
    for row in table.rows:
        print("| {steps} steps | {sparsity:.0%} | {precision} | {kilobytes:.0f} | {packed:.0f} "
              "| {distance:.2f} |".format(**row))


if __name__ == "__main__":
    main()
