"""One worker of a MultiWorkerMirroredStrategy: trains every model, saves its weights.

python worker.py OUTPUT.npz, with TF_CONFIG set.
"""

import sys

import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else touches TensorFlow

from cases import MODELS, smooth_pictures, train  # noqa: E402

arrays = {}
for name in MODELS:
    weights, history = train(name, smooth_pictures(64), strategy)
    arrays.update({f"{name}/weight_{i:03d}": weight for i, weight in enumerate(weights)})
    arrays.update({f"{name}/log_{log}": np.array(values) for log, values in history.items()})
np.savez(sys.argv[1], **arrays)
