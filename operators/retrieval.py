"""Puts several rankings of passages together."""

from collections.abc import Sequence

__all__ = ["fuse"]

RANK_CONSTANT = 60
"""k of reciprocal rank fusion; Cormack, Clarke, Buettcher (SIGIR 2009) found 60 good across collections."""


def fuse(rankings: Sequence[Sequence[str]], limit: int, weights: Sequence[float] = ()) -> list[tuple[str, float]]:
    """Fuse rankings by reciprocal rank: an id scores the sum of weight / (60 + rank) over the rankings it is in.

    Args:
        rankings: Ids, best first.
        limit: How many to give.
        weights: How much each ranking counts; empty = all the same.

    Returns:
        At most `limit` ids with their score, best first; equal scores keep the order of the first ranking.

    >>> [name for name, _ in fuse([["a", "b", "c"], ["b", "d"]], 3)]
    ['b', 'a', 'd']
    """
    scores: dict[str, float] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, name in enumerate(ranking, start=1):
            scores[name] = scores.get(name, 0.0) + weight / (RANK_CONSTANT + rank)
    return sorted(scores.items(), key=lambda item: -item[1])[:limit]
