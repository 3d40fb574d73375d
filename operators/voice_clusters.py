"""Which pieces of speech have the same voice: agglomerative clustering of voice vectors."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.ports import Vectors

__all__ = ["cluster_voices", "likeness"]

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


def cluster_voices(sums: Vectors, apart: Flags, *, least: float, most: int) -> Numbers:
    """Join what sounds alike, the most alike first, until nothing is alike enough.

    A joined cluster is compared by the sum of its vectors, so long speech counts for more than short.

    Args:
        sums: One row per piece: its voice vector times its weight, shape (pieces, dim).
        apart: Pieces that cannot be the same voice since they talk at once, shape (pieces, pieces), symmetric.
        least: Cosine from which two clusters are joined.
        most: Clusters are joined further until so many are left, where `apart` allows it.

    Returns:
        The cluster of each piece, shape (pieces,), numbered from 0 in the order of their first pieces.

    >>> rows = np.array([[1, 0], [0, 1], [2, 0.1]], np.float32)
    >>> cluster_voices(rows, np.zeros((3, 3), bool), least=0.8, most=9).tolist()
    [0, 1, 0]
    """
    count = len(sums)
    sums, apart = sums.copy(), apart.copy()
    cosines = likeness(sums, sums)
    cosines[apart] = NEVER
    np.fill_diagonal(cosines, NEVER)
    member = np.arange(count)
    alive = np.ones(count, bool)
    left = count
    while left > 1:
        one, two = divmod(int(cosines.argmax()), count)
        best = cosines[one, two]
        if best <= NEVER or (best < least and left <= most):
            break
        sums[one] += sums[two]
        apart[one] |= apart[two]
        apart[:, one] = apart[one]
        alive[two] = False
        member[member == two] = one
        row = likeness(sums[one : one + 1], sums)[0]
        row[apart[one] | ~alive] = NEVER
        row[one] = NEVER
        cosines[one] = cosines[:, one] = row
        cosines[two] = cosines[:, two] = NEVER
        left -= 1
    return _numbered(member.tolist())


def _numbered(member: Sequence[int]) -> Numbers:
    order = {name: number for number, name in enumerate(dict.fromkeys(member))}
    return np.array([order[name] for name in member], np.int64)
