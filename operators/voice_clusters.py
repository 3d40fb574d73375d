"""Which pieces of speech have the same voice: agglomerative clustering of voice vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.ports import Vectors

__all__ = ["cluster_voices", "joined_voices", "likeness"]

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

NEVER = -2.0
"""Below every cosine: these two are not compared."""


def likeness(first: Vectors, second: Vectors) -> Vectors:
    """Give the cosine of every row of one set with every row of the other, shape (rows of first, rows of second).

    A row of zeros is like nothing.

    >>> likeness(np.array([[2.0, 0.0]], np.float32), np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)).tolist()
    [[1.0, 0.0]]
    """
    lengths = [np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9) for rows in (first, second)]
    cosines: Vectors = ((first / lengths[0]) @ (second / lengths[1]).T).astype(np.float32)
    return cosines


def cluster_voices(sums: Vectors, weights: Vectors, *, least: float, most: int) -> Numbers:
    """Join what sounds alike, the most alike first, until nothing is alike enough.

    Two clusters are as alike as their pieces are on average, weighted. (The angle between their sums was tried: it
    grows as clusters do, since the sums lose what is particular to a moment, and people were joined.)

    Args:
        sums: One row per piece: the sum of its unit voice vectors, each times its weight, shape (pieces, dim).
        weights: The sum of those weights, shape (pieces,).
        least: Mean likeness from which two clusters are joined.
        most: Clusters are joined further until no more than these are left.

    Returns:
        The cluster of each piece, shape (pieces,), numbered from 0 in the order of their first pieces.

    >>> rows = np.array([[1, 0], [0, 1], [2, 0.1]], np.float32)
    >>> cluster_voices(rows, np.array([1, 1, 2], np.float32), least=0.8, most=9).tolist()
    [0, 1, 0]
    """
    count = len(sums)
    weights = weights.copy()
    both = sums @ sums.T
    alike = both / np.outer(weights, weights)
    np.fill_diagonal(alike, NEVER)
    member = np.arange(count)
    alive = np.ones(count, bool)
    left = count
    while left > 1:
        one, two = divmod(int(alike.argmax()), count)
        if alike[one, two] < least and left <= most:
            break
        both[one] += both[two]
        both[:, one] += both[:, two]
        weights[one] += weights[two]
        alive[two] = False
        member[member == two] = one
        row = np.where(alive, both[one] / (weights * weights[one]), NEVER)
        row[one] = NEVER
        alike[one] = alike[:, one] = row
        alike[two] = alike[:, two] = NEVER
        left -= 1
    return _numbered(member.tolist())


def joined_voices(sums: Vectors, weights: Vectors, cluster: Numbers, *, least: float, least_weight: float) -> Numbers:
    """Join clusters whose sums point the same way.

    Where clusters are long the moment's particulars cancel out in their sums: two halves of one voice are then nearly
    parallel while two people are not, and the margin is wider than between single pieces.

    Args:
        sums: As for `cluster_voices`.
        weights: As for `cluster_voices`.
        cluster: The cluster of each piece, numbered from 0.
        least: Cosine from which two clusters are joined.
        least_weight: Lighter clusters are left alone.

    Returns:
        The cluster of each piece, numbered from 0 in the order of their first pieces.
    """
    count = int(cluster.max()) + 1 if len(cluster) else 0
    centres = np.stack([sums[cluster == name].sum(axis=0) for name in range(count)]) if count else sums
    heavy = np.array([weights[cluster == name].sum() >= least_weight for name in range(count)], bool)
    cluster = cluster.copy()
    while heavy.sum() > 1:
        alike = likeness(centres, centres)
        alike[~heavy] = alike[:, ~heavy] = NEVER
        np.fill_diagonal(alike, NEVER)
        one, two = divmod(int(alike.argmax()), count)
        if alike[one, two] < least:
            break
        centres[one] += centres[two]
        heavy[two] = False
        cluster[cluster == two] = one
    return _numbered(cluster.tolist())


def _numbered(member: Sequence[int]) -> Numbers:
    order = {name: number for number, name in enumerate(dict.fromkeys(member))}
    return np.array([order[name] for name in member], np.int64)
