"""Nearest neighbours by blocks of distances: exact results at float32 speed.

A block of squared distances comes from one float32 matrix product, as lower bounds: the
rounding of float32 is taken off. Only the few pairs that the bounds leave open are measured
again, in float64 and from the differences themselves, so that equal distances stay equal.
"""

import numpy as np

__all__ = ["PointSets", "nearest_neighbors", "within_radius"]

BLOCK_VALUES = 2**22  # distances held at a time
PAIR_VALUES = 2**18  # float64 differences held at a time
CROWDED = 128  # candidates of one point, beyond which they are gone through in turn


class PointSets:
    """Sets of points in one frame: moved to a common centre and divided by a power of two.

    Squared distances are sums of large numbers that cancel unless the points are centred,
    and float32 would overflow or underflow in other units. A power of two rounds nothing.

    Args:
        *sets: arrays `(points, dimensions)`; the first one gives the centre.
    """

    def __init__(self, *sets):
        self.center = sets[0].mean(axis=0, dtype="float64")
        reach = max(float(np.abs(points - self.center).max()) for points in sets)
        self.scale = 2.0 ** np.ceil(np.log2(reach)) if reach > 0.0 else 1.0
        self.sets = [Points(points, self.center, self.scale) for points in sets]


class Points:
    """Points as they came, and centred in float32 with their squared lengths."""

    def __init__(self, points, center, scale):
        self.points, self.scale = points, scale
        self.rough = np.empty(points.shape, "float32")
        self.squares = np.empty(len(points), "float32")
        for start in range(0, len(points), 1024):  # no float64 copy of all
            block = (points[start : start + 1024] - center) / scale
            self.rough[start : start + 1024] = block
            self.squares[start : start + 1024] = np.sum(block**2, axis=1)
        # Rounding of a product of this length, as a share of both squared lengths together.
        self.slack = np.finfo("float32").eps * (8.0 + np.sqrt(points.shape[1]))

    def __len__(self):
        return len(self.points)

    def lower_bounds(self, others):
        """Yields (first row, block `(rows, len(others))`): what squared distances are at least."""
        rows = max(1, BLOCK_VALUES // len(others))
        least = np.float32(1.0 - self.slack)
        for start in range(0, len(self), rows):
            block = (-2.0 * self.rough[start : start + rows]) @ others.rough.T
            block += least * others.squares
            block += (least * self.squares[start : start + rows])[:, None]
            yield start, block

    def width(self, rows, others, columns):
        """What an upper bound of a squared distance lies above the lower one."""
        return 2.0 * self.slack * (self.squares[rows] + others.squares[columns])

    def block_width(self, start, rows, others):
        """`width` for a whole block, `(rows, len(others))` in float32."""
        share = np.float32(2.0 * self.slack)
        return (share * self.squares[start : start + rows])[:, None] + share * others.squares

    def exact(self, rows, others, columns):
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


def nearest_neighbors(points, others, k):
    """The k nearest of `others` to each of `points`, without itself if the two are the same.

    Args:
        points: `Points`.
        others: `Points` of the same `PointSets`.
        k: int, at most the number of others.

    Returns:
        (squared, indices): arrays `(len(points), k)`, the nearest first and of equally near
        ones that with the lowest index; squared distances in units of scale^2.
    """
    squared = np.empty((len(points), k))
    indices = np.empty((len(points), k), "int64")
    for start, lower in points.lower_bounds(others):
        if points is others:
            np.fill_diagonal(lower[:, start:], np.inf)
        # The k that seem nearest are no farther than their upper bounds: whatever has a
        # lower bound within that may be among the k nearest, and nothing else.
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


def within_radius(points, others, radii_squared, start, lower):
    """Which of the others are strictly nearer to a point than a radius of one of the two.

    Args:
        points: `Points`.
        others: `Points` of the same `PointSets`.
        radii_squared: array that broadcasts to the block: `(rows, 1)` if each point of the
            block has a radius, `(1, len(others))` if each of the others has.
        start: int. The row of `points` at which the block begins.
        lower: a block of `points.lower_bounds(others)`.

    Returns:
        bool array of the shape of the block.
    """
    radii = radii_squared.astype("float32")
    inside = lower + points.block_width(start, len(lower), others) < radii
    # Within a radius of 0 there is nothing: its pairs, copies of each other, are not open.
    open_ = (lower <= radii) & (radii > 0.0) & ~inside
    rows, columns = _where(open_)
    exact = points.exact(start + rows, others, columns)
    inside[rows, columns] = exact < np.broadcast_to(radii_squared, lower.shape)[rows, columns]
    return inside


def _where(mask):
    """`np.nonzero` of a matrix, faster."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _nearest_one_by_one(points, row, others, candidates, k):
    """The k nearest of many candidates, until k copies of the point have been met."""
    best, step = np.empty(0, "int64"), 4 * k + 64
    for start in range(0, len(candidates), step):
        best = np.concatenate([best, candidates[start : start + step]])
        exact = points.exact(np.full(len(best), row), others, best)
        order = np.argsort(exact, kind="stable")[:k]
        best = best[order]
        if len(best) == k and exact[order[-1]] == 0.0:
            break
    return best
