"""Nearest neighbours by blocks of distances: exact results at float32 speed.

One float32 matrix product gives lower bounds of a block of squared distances, with the rounding
error of float32 subtracted. Only the few pairs that the bounds leave undecided are computed
again, in float64 and from the differences themselves, so that equal distances stay equal.
"""

from collections.abc import Iterator

import numpy as np

__all__ = ["PointSets", "nearest_neighbors", "within_radius"]

BLOCK_VALUES = 2**22  # distances held at a time
PAIR_VALUES = 2**18  # float64 differences held at a time
CROWDED = 128  # more candidates of one point than this are processed in turn


class PointSets:
    """Sets of points in common coordinates: centred, and divided by a power of two.

    Without centring, squared distances are sums of large numbers that cancel; without scaling,
    float32 can overflow or underflow. Division by a power of two is exact.

    Args:
        *sets: arrays `(points, dimensions)`; the mean of the first is the centre.
    """

    def __init__(self, *sets: np.ndarray):
        self.center = sets[0].mean(axis=0, dtype="float64")
        reach = max(float(np.abs(points - self.center).max()) for points in sets)
        self.scale = 2.0 ** np.ceil(np.log2(reach)) if reach > 0.0 else 1.0
        self.sets = [Points(points, self.center, self.scale) for points in sets]


class Points:
    """Points in their own coordinates, and centred in float32 with their squared lengths.

    Args:
        points: array `(points, dimensions)`.
        center: array `(dimensions,)`.
        scale: float.
    """

    def __init__(self, points: np.ndarray, center: np.ndarray, scale: float):
        self.points, self.scale = points, scale
        self.rough = np.empty(points.shape, "float32")
        self.squares = np.empty(len(points), "float32")
        for start in range(0, len(points), 1024):  # no float64 copy of all
            block = (points[start : start + 1024] - center) / scale
            self.rough[start : start + 1024] = block
            self.squares[start : start + 1024] = np.sum(block**2, axis=1)
        # Rounding error of a product of this length, relative to the sum of both squared lengths.
        self.slack = np.finfo("float32").eps * (8.0 + np.sqrt(points.shape[1]))

    def __len__(self):
        return len(self.points)

    def lower_bounds(self, others: "Points") -> Iterator[tuple[int, np.ndarray]]:
        """Yields (first row, lower bounds of squared distances `(rows, len(others))`)."""
        rows = max(1, BLOCK_VALUES // len(others))
        least = np.float32(1.0 - self.slack)
        for start in range(0, len(self), rows):
            block = (-2.0 * self.rough[start : start + rows]) @ others.rough.T
            block += least * others.squares
            block += (least * self.squares[start : start + rows])[:, None]
            yield start, block

    def width(self, rows: np.ndarray, others: "Points", columns: np.ndarray) -> np.ndarray:
        """Difference between the upper and the lower bound of a squared distance."""
        return 2.0 * self.slack * (self.squares[rows] + others.squares[columns])

    def block_width(self, start: int, rows: int, others: "Points") -> np.ndarray:
        """`width` for a whole block, `(rows, len(others))` in float32."""
        share = np.float32(2.0 * self.slack)
        return (share * self.squares[start : start + rows])[:, None] + share * others.squares

    def exact(self, rows: np.ndarray, others: "Points", columns: np.ndarray) -> np.ndarray:
        """Squared distances of pairs, `(pairs,)` in float64."""
        squared = np.empty(len(rows))
        step = max(1, PAIR_VALUES // self.points.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            difference = self.points[rows[part]].astype("float64")
            difference -= others.points[columns[part]]
            difference /= self.scale
            squared[part] = np.einsum("ij,ij->i", difference, difference)
        return squared


def nearest_neighbors(points: Points, others: Points, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of `others` to each of `points`, excluding itself if both are the same set.

    Args:
        points: `Points`.
        others: `Points` of the same `PointSets`.
        k: int, at most the number of others.

    Returns:
        (squared, indices): arrays `(len(points), k)`, nearest first, ties by the lowest index;
        squared distances in units of scale^2.
    """
    squared = np.empty((len(points), k))
    indices = np.empty((len(points), k), "int64")
    for start, lower in points.lower_bounds(others):
        if points is others:
            np.fill_diagonal(lower[:, start:], np.inf)
        # The k apparently nearest are within their upper bounds: only points whose lower bound
        # is within that can be among the k nearest.
        kth = np.partition(lower, k - 1, axis=1)[:, k - 1]
        rows, columns = _where(lower <= kth[:, None])
        upper = lower[rows, columns] + points.width(start + rows, others, columns)
        reach = np.zeros(len(lower))
        np.maximum.at(reach, rows, upper)
        near = lower <= reach.astype("float32")[:, None]
        for row in np.flatnonzero(near.sum(axis=1) > CROWDED):
            candidates = np.flatnonzero(near[row])
            near[row] = False
            near[row, _nearest_one_by_one(points, start + row, others, candidates, k)] = True
        rows, columns = _where(near)
        exact = points.exact(start + rows, others, columns)
        order = np.lexsort((columns, exact, rows))
        first = np.searchsorted(rows[order], np.arange(len(lower)))
        chosen = order[first[:, None] + np.arange(k)]  # (rows, k)
        squared[start : start + len(lower)] = exact[chosen]
        indices[start : start + len(lower)] = columns[chosen]
    return squared, indices


def within_radius(
    points: Points, others: Points, radii_squared: np.ndarray, start: int, lower: np.ndarray
) -> np.ndarray:
    """Which of the others are strictly nearer to a point than a given radius.

    Args:
        points: `Points`.
        others: `Points` of the same `PointSets`.
        radii_squared: array that broadcasts to the block: `(rows, 1)` for radii of the points,
            `(1, len(others))` for radii of the others.
        start: int. The row of `points` where the block begins.
        lower: a block of `points.lower_bounds(others)`.

    Returns:
        bool array of the shape of the block.
    """
    radii = radii_squared.astype("float32")
    inside = lower + points.block_width(start, len(lower), others) < radii
    # Nothing is within a radius of 0: its pairs, copies of each other, are decided.
    open_ = (lower <= radii) & (radii > 0.0) & ~inside
    rows, columns = _where(open_)
    exact = points.exact(start + rows, others, columns)
    inside[rows, columns] = exact < np.broadcast_to(radii_squared, lower.shape)[rows, columns]
    return inside


def _where(mask):
    """`np.nonzero` of a matrix, faster."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _nearest_one_by_one(points, row, others, candidates, k):
    """The k nearest of many candidates; stops at k copies of the point."""
    best, step = np.empty(0, "int64"), 4 * k + 64
    for start in range(0, len(candidates), step):
        best = np.concatenate([best, candidates[start : start + step]])
        exact = points.exact(np.full(len(best), row), others, best)
        order = np.argsort(exact, kind="stable")[:k]
        best = best[order]
        if len(best) == k and exact[order[-1]] == 0.0:
            break
    return best
