"""Strategies by name, and what workers on several machines tell each other."""

import functools
import hashlib
from collections.abc import Iterable

import keras
import tensorflow as tf

from keras_genimg.cluster import CONNECT_TIMEOUT, EXAMPLE, meet, read_cluster
from keras_genimg.errors import InputError

__all__ = [
    "check_agreement", "fingerprint", "from_chief", "get_strategy", "is_chief", "lost_worker",
    "mirrored",
]

STRATEGIES = ("auto", "mirrored", "multi_worker")


def get_strategy(
    name: str = "auto", connect_timeout: float = CONNECT_TIMEOUT
) -> tf.distribute.Strategy:
    """Creates a `tf.distribute` strategy by name.

    Args:
        name: `"auto"` (all GPUs of this machine if there are at least two,
            otherwise the default strategy; several workers if `TF_CONFIG` names
            them), `"mirrored"` (all GPUs, or all logical CPUs) or
            `"multi_worker"` (the cluster in the environment variable
            `TF_CONFIG`).
        connect_timeout: float. Seconds to wait for the other workers.

    Returns:
        A `tf.distribute.Strategy`. Build the model inside its `scope()`.

    Raises:
        InputError: an unknown name; `"multi_worker"` without a cluster; a malformed `TF_CONFIG`;
            workers that do not come.
    """
    if name not in STRATEGIES:
        raise InputError(f"strategy must be one of {', '.join(STRATEGIES)}. Received: {name!r}.")
    cluster = read_cluster() if name in ("auto", "multi_worker") else None
    if name == "multi_worker" and cluster is None:
        raise InputError(
            "strategy multi_worker needs the environment variable TF_CONFIG to hold a cluster "
            f"with workers, like {EXAMPLE}. Received: none."
        )
    if cluster and (name == "multi_worker" or len(cluster.workers) > 1):
        return _connected(cluster, connect_timeout)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or len(gpus) > 1:
        devices = gpus or tf.config.list_logical_devices("CPU")
        return mirrored(tuple(device.name for device in devices))
    return tf.distribute.get_strategy()


@functools.cache
def mirrored(devices: tuple) -> tf.distribute.MirroredStrategy:
    """The strategy of these devices, one per process.

    TensorFlow 2.21 numbers the collectives of each strategy from the same start, and a second
    strategy on the same devices fails at the first shape that differs.

    Args:
        devices: tuple of strings, their names.

    Returns:
        `tf.distribute.MirroredStrategy`.
    """
    return tf.distribute.MirroredStrategy(list(devices))


def _connected(cluster, seconds):
    """The strategy of a cluster, once all workers are there."""
    # TensorFlow waits without end and deaf to signals: so not before all others have come.
    meet(cluster, seconds)
    return tf.distribute.MultiWorkerMirroredStrategy()


def is_chief(strategy: tf.distribute.Strategy | None = None) -> bool:
    """Whether this process is the one that writes files.

    Args:
        strategy: `tf.distribute.Strategy`, the current one by default.

    Returns:
        bool. True except on the workers other than the first of a
        `MultiWorkerMirroredStrategy`.
    """
    strategy = strategy or tf.distribute.get_strategy()
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    cluster = resolver.cluster_spec().as_dict()
    leads = "chief" not in cluster and resolver.task_id in (0, None)
    return not cluster or resolver.task_type == "chief" or leads


def from_chief(values: list, strategy: tf.distribute.Strategy) -> list:
    """The chief's numbers, on every worker.

    Results that each worker computes can differ by rounding. A decision that depends on them
    (which model is the best) must be the same on all workers, or one waits forever. Every
    worker must call this.

    Args:
        values: list of floats, of one length on every worker.
        strategy: `tf.distribute.Strategy`.

    Returns:
        list of floats.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return values
    return _sum_over_workers([value if is_chief(strategy) else 0.0 for value in values], strategy)


def fingerprint(variables: Iterable) -> str:
    """A short text that differs for other values, of the same shapes and types.

    Args:
        variables: Keras variables or arrays. With several workers, every worker calls it.

    Returns:
        string.
    """
    digest = hashlib.sha256()
    for variable in variables:
        digest.update(keras.ops.convert_to_numpy(variable).tobytes())
    return digest.hexdigest()[:12]


def check_agreement(strategy: tf.distribute.Strategy, **what: str) -> None:
    """Checks that all workers have the same settings, data or weights. Every worker calls it.

    Args:
        strategy: `tf.distribute.Strategy`.
        **what: name=text, which must be the same on all workers.

    Raises:
        InputError: texts that differ; raised on every worker.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    cluster = read_cluster()
    count, names = len(cluster.workers), list(what)
    table = [0.0] * (count * len(names))
    for place, text in enumerate(what.values()):
        # 48 bits, which float64 holds exactly.
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
        table[cluster.index * len(names) + place] = float(digest)
    table = _sum_over_workers(table, strategy)
    for place, name in enumerate(names):
        column = table[place :: len(names)]
        others = [worker for worker in range(count) if column[worker] != column[0]]
        if others:
            raise InputError(
                f"All workers must have the same {name}. Received: other {name} on "
                f"{', '.join(cluster.workers[worker] for worker in others)} than on "
                f"{cluster.workers[0]}; here {what[name]}."
            )


def _sum_over_workers(values, strategy):
    """The sums of each worker's numbers, in float64."""
    replicas = strategy.num_replicas_in_sync // len(read_cluster().workers)

    @tf.function
    def share():
        context = tf.distribute.get_replica_context()
        first = tf.equal(context.replica_id_in_sync_group % replicas, 0)
        mine = tf.where(first, tf.constant(values, tf.float64), 0.0)
        return context.all_reduce(tf.distribute.ReduceOp.SUM, mine)

    return strategy.experimental_local_results(strategy.run(share))[0].numpy().tolist()


def lost_worker(error: BaseException, strategy: tf.distribute.Strategy) -> InputError | None:
    """What an error of TensorFlow means if another worker is gone.

    Args:
        error: the exception.
        strategy: `tf.distribute.Strategy`.

    Returns:
        `InputError` to raise instead, or None for another error.
    """
    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
            tf.errors.DeadlineExceededError)
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return None
    if not isinstance(error, gone):
        return None
    return InputError(
        "Training continues only while all workers run. Received: no answer from one of "
        f"{', '.join(read_cluster().peers)}; --resume continues after the last epoch."
    )
