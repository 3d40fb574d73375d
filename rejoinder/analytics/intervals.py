"""Honest intervals: of a share, and of a trend."""

import math
from dataclasses import dataclass

__all__ = ["LEAST_DAYS", "LEAST_SESSIONS", "Share", "Trend", "share_of", "trend_of"]

LEAST_SESSIONS, LEAST_DAYS = 5, 7.0
_Z95 = 1.96
_DRAWS = 399
_MOST_POINTS = 60
_SEED = 20_260_101
_SMOOTH = 0.3


@dataclass(frozen=True, slots=True)
class Share:
    """k of n with its Wilson interval (95 %)."""

    k: int
    n: int
    share: float
    low: float
    high: float


def share_of(k: int, n: int) -> Share | None:
    """Give the share of k in n; None when there was no opportunity.

    >>> one = share_of(2, 7)
    >>> round(one.share, 2), round(one.low, 2), round(one.high, 2)
    (0.29, 0.08, 0.64)
    """
    if n <= 0:
        return None
    z2 = _Z95**2
    middle = (k + z2 / 2) / (n + z2)
    half = _Z95 * math.sqrt(k * (n - k) / n + z2 / 4) / (n + z2)
    return Share(k, n, k / n, max(0.0, middle - half), min(1.0, middle + half))


@dataclass(frozen=True, slots=True)
class Trend:
    """The robust slope of a measure per week with its 80 % interval, over n sessions.

    `verdict` is "rising" or "falling" only where the interval leaves out 0; "no clear trend" where it does not, and
    "too few sessions" where nothing is said (under 5 sessions or 7 days).
    """

    n: int
    days: float
    verdict: str
    per_week: float | None = None
    low: float | None = None
    high: float | None = None


def trend_of(days: list[float], values: list[float]) -> Trend:
    """Give the trend of values at times (days, ascending): median of pairwise slopes, bootstrap of the residuals.

    Only the newest 60 count: a trend is about now, and pairs grow with the square.

    The draws come from a fixed seed, so the same sessions always give the same answer.
    """
    days, values = days[-_MOST_POINTS:], values[-_MOST_POINTS:]
    n, span = len(days), (days[-1] - days[0]) if days else 0.0
    if n < LEAST_SESSIONS or span < LEAST_DAYS:
        return Trend(n, round(span, 2), "too few sessions")
    import numpy as np

    at, value = np.array(days), np.array(values)
    first, second = np.triu_indices(n, 1)
    apart = at[second] - at[first]
    usable = apart > 0.5  # two sessions of one morning say nothing of weeks
    first, second, apart = first[usable], second[usable], apart[usable]
    slope = float(np.median((value[second] - value[first]) / apart))
    level = np.median(value - slope * at)
    residual = value - level - slope * at
    chance = np.random.default_rng(_SEED)
    # Few residuals, each drawn as it is, make too few different slopes: every draw is spread by a little noise.
    spread = math.sqrt(float(residual @ residual) / (n - 2))
    noise = chance.normal(0.0, spread * _SMOOTH, (_DRAWS, n))
    draws = chance.choice(residual * math.sqrt(n / (n - 2)), (_DRAWS, n)) + noise + level + slope * at
    slopes = np.concatenate(
        [np.median((part[:, second] - part[:, first]) / apart, axis=1) for part in np.array_split(draws, 20)]
    )
    # The spread itself is known from n - 2 residuals only: Student's factor over the normal one, at 90 %.
    wider = 1 + 0.6606 / (n - 2) + 0.4455 / (n - 2) ** 2
    low, high = (slope + wider * float(one - slope) for one in np.quantile(slopes, (0.1, 0.9)))
    verdict = "rising" if low > 0 else "falling" if high < 0 else "no clear trend"
    return Trend(n, round(span, 2), verdict, slope * 7, low * 7, high * 7)
