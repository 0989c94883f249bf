"""One worker of a MultiWorkerMirroredStrategy: trains models, saves what came out.

python worker.py OUTPUT.npz NAME..., with TF_CONFIG set.
"""

import sys

import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else touches TensorFlow

from cases import smooth_pictures, train  # noqa: E402

from keras_genimg.callbacks import EvaluateSamples  # noqa: E402

output, *names = sys.argv[1:]
arrays = {}
for name in names:
    weights, history = train(name, smooth_pictures(59), strategy)
    arrays.update({f"{name}/weight_{i:03d}": weight for i, weight in enumerate(weights)})
    arrays.update({f"{name}/log_{log}": np.array(values) for log, values in history.items()})

if "gan" in names:
    # Every worker has another idea of the features, so that it shows whose values count.
    scale = 1.0 + strategy.cluster_resolver.task_id
    evaluation = EvaluateSamples(
        smooth_pictures(32),
        features=lambda images: scale * np.asarray(images).mean(axis=(1, 3)),
        num_images=32,
        keep_best=f"{output}.{int(scale)}.best.keras",
    )
    _, history = train("gan", smooth_pictures(64), strategy, callbacks=[evaluation])
    arrays["values"] = np.array([value for name, value in history.items() if "frechet" in name])
np.savez(output, **arrays)
