"""Metrics against the usual ways to compute them, in one run: seconds, values, peak memory.

    python benchmarks/metrics.py
    python benchmarks/metrics.py --samples 4000 --skip root
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from keras_genimg.metrics import frechet_distance_from_moments, precision_recall_density_coverage


def make_features(samples, dimensions, seed):
    """Features like those after a ReLU: non-negative, correlated, of uneven scale."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((dimensions, dimensions), "float32")
    mixing *= np.logspace(0, -1, dimensions, dtype="float32") / np.sqrt(dimensions)
    features = np.empty((samples, dimensions), "float32")
    for start in range(0, samples, 1000):  # in place, so that no copy raises the memory's peak
        block = features[start : start + 1000]
        np.matmul(rng.standard_normal(block.shape, "float32"), mixing.T, out=block)
        block += 0.02 * seed
        np.maximum(block, 0.0, out=block)
    return features


# ------------------------------------------------------------------ Fréchet distance


def by_general_eigenvalues(mean_1, cov_1, mean_2, cov_2):
    eigenvalues = np.linalg.eigvals(cov_1 @ cov_2)
    root = np.sqrt(eigenvalues.astype("complex128")).real.sum()
    return np.sum((mean_1 - mean_2) ** 2) + np.trace(cov_1) + np.trace(cov_2) - 2 * root


def by_matrix_root(mean_1, cov_1, mean_2, cov_2):
    """With SciPy if it is there, else by the product form of Denman and Beavers' iteration."""
    try:
        from scipy.linalg import sqrtm

        root = np.trace(sqrtm(cov_1 @ cov_2)).real
    except ImportError:
        root = np.trace(newton_root(cov_1 @ cov_2))
    return np.sum((mean_1 - mean_2) ** 2) + np.trace(cov_1) + np.trace(cov_2) - 2 * root


def newton_root(matrix):
    """Higham (2008), Functions of Matrices, Eq. 6.29, scaled by the determinant."""
    size = len(matrix)
    product, root, identity = matrix.copy(), matrix.copy(), np.eye(size)
    for _ in range(50):
        # Scaling speeds up the start only, and would disturb the end.
        error = np.abs(product - identity).max()
        if error < 1e-9:
            break
        scale = np.exp(-np.linalg.slogdet(product)[1] / (2 * size)) if error > 1e-2 else 1.0
        inverse = np.linalg.inv(product)
        root = 0.5 * scale * root @ (identity + inverse / scale**2)
        product = 0.5 * (identity + 0.5 * (scale**2 * product + inverse / scale**2))
    return root


def frechet_table(dimensions, samples, rounds, skip):
    moments = []
    for seed in (1, 2):
        features = make_features(samples, dimensions, seed).astype("float64")
        moments += [features.mean(axis=0), np.cov(features, rowvar=False)]
    root = "matrix root (SciPy)" if has_scipy() else "matrix root (Newton, NumPy)"
    ways = {
        "ours": (frechet_distance_from_moments, rounds),
        "general eigenvalues": (by_general_eigenvalues, rounds),
        root: (by_matrix_root, 1),
    }
    if "root" in skip:
        del ways[root]
    seconds, values = {name: [] for name in ways}, {}
    for turn in range(rounds):  # in turns, since the load of the machine varies
        for name, (compute, times) in ways.items():
            if turn < times:
                start = time.perf_counter()
                values[name] = compute(*moments)
                seconds[name].append(time.perf_counter() - start)
    print(f"Fréchet distance from moments, {dimensions} dimensions ({samples} samples)")
    print(f"{'way':30}{'seconds':>9}{'/ ours':>9}{'value':>16}{'off by':>10}")
    for name in ways:
        own = min(seconds[name])
        off = abs(values[name] / values["ours"] - 1)
        print(f"{name:30}{own:9.2f}{own / min(seconds['ours']):9.2f}"
              f"{values[name]:16.9g}{off:10.1e}", flush=True)  # fmt: skip


def has_scipy():
    try:
        import scipy.linalg  # noqa: F401
    except ImportError:
        return False
    return True


# ------------------------------------------------------------- precision and recall


def by_full_matrices(real, fake, k, dtype):
    """All distances at once, as in the reference code."""

    def distances(x, y):
        squares = np.sum(x**2, axis=1)[:, None] + np.sum(y**2, axis=1)
        return np.sqrt(np.maximum(squares - 2 * (x @ y.T), 0))

    def radii(x):  # the k + 1 nearest: a sample is its own neighbour at 0
        return np.partition(distances(x, x), k, axis=1)[:, k]

    real, fake = real.astype(dtype), fake.astype(dtype)
    real_radii, fake_radii, cross = radii(real), radii(fake), distances(real, fake)
    inside = cross < real_radii[:, None]
    return {
        "precision": float(inside.any(axis=0).mean()),
        "recall": float((cross < fake_radii).any(axis=1).mean()),
        "density": float(inside.sum(axis=0).mean() / k),
        "coverage": float((cross.min(axis=1) < real_radii).mean()),
    }


def peak_bytes(start_again=False):
    """The process's peak of memory; on Linux since the last `start_again`."""
    if sys.platform.startswith("linux"):
        # Not `getrusage` there: a child's peak begins with that of the process it came from.
        if start_again:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


WAYS = {
    "ours": lambda real, fake: precision_recall_density_coverage(
        real_features=real, fake_features=fake
    ),
    "full matrix, float32": lambda real, fake: by_full_matrices(real, fake, 5, "float32"),
    "full matrix, float64": lambda real, fake: by_full_matrices(real, fake, 5, "float64"),
}


def one_way(name, samples, dimensions):
    """Runs in a separate process, so that the peak of memory is its own."""
    real, fake = (make_features(samples, dimensions, seed) for seed in (1, 2))
    before = peak_bytes(start_again=True)
    start = time.perf_counter()
    values = WAYS[name](real, fake)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "bytes": peak_bytes() - before, "values": values}))


def precision_table(dimensions, samples):
    print(f"\nPrecision, recall, density, coverage: {samples} x {samples} x {dimensions}, k = 5")
    print(f"{'way':30}{'seconds':>9}{'/ ours':>9}{'peak GB*':>10}{'/ ours':>9}  values")
    ours = None
    for name in WAYS:
        command = [sys.executable, __file__, "--one-way", name,
                   "--samples", str(samples), "--dimensions", str(dimensions)]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            print(f"{name:30} stopped with code {done.returncode} (-9: out of memory)")
            continue
        seen = json.loads(done.stdout.splitlines()[-1])
        ours = ours or seen
        values = " ".join(f"{value:.5f}" for value in seen["values"].values())
        print(f"{name:30}{seen['seconds']:9.2f}{seen['seconds'] / ours['seconds']:9.2f}"
              f"{seen['bytes'] / 1e9:10.3f}{seen['bytes'] / ours['bytes']:9.2f}  {values}",
              flush=True)  # fmt: skip
    print("* increase of the peak memory of the process, without the features")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dimensions", type=int, default=2048)
    parser.add_argument("--samples", type=int, default=10000, help="of either set")
    parser.add_argument("--rounds", type=int, default=3, help="turns; the best is printed")
    parser.add_argument("--skip", nargs="*", default=[], choices=["frechet", "root", "precision"])
    parser.add_argument("--one-way", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one_way:
        one_way(arguments.one_way, arguments.samples, arguments.dimensions)
        return
    if "frechet" not in arguments.skip:
        frechet_table(arguments.dimensions, arguments.samples, arguments.rounds, arguments.skip)
    if "precision" not in arguments.skip:
        precision_table(arguments.dimensions, arguments.samples)


if __name__ == "__main__":
    main()
