"""Sound that carries no times: where it lies by its count of samples and by the clock, and what is missing between."""

from dataclasses import dataclass

__all__ = ["WINDOW_S", "StreamClock"]

BEGIN_S = 0.06
STEADY_S = 0.2
WINDOW_S = 2.0


@dataclass(frozen=True, slots=True)
class StreamClock:
    """Tells late sound from missing sound.

    A piece that was held up comes late, and those behind it catch up: for a moment the count of samples lies behind the
    clock. What was lost never comes: the count stays behind. So within a stream time is missing once every piece of two
    seconds came late, and as much as the least late of them. Where a stream begins, all of it is missing.

    >>> clock, gap_s = StreamClock().step(1.5, 0.1, begins=True)
    >>> gap_s
    1.5
    >>> for _ in range(20):
    ...     clock, gap_s = clock.step(0.3, 0.1)
    >>> gap_s
    0.3

    Attributes:
        heard_s: Sound looked at since the last decision, seconds.
        least_s: The least by which a piece of it came late.
    """

    heard_s: float = 0.0
    least_s: float = float("inf")

    def step(self, late_s: float, length_s: float, *, begins: bool = False) -> tuple["StreamClock", float]:
        """Take a piece; give the clock after it and the seconds that are missing before it.

        Args:
            late_s: How far the piece lies later by the clock than by the count; below 0 when the count is ahead.
            length_s: How long it is.
            begins: A stream begins with it.
        """
        if begins:
            return StreamClock(), late_s if late_s > BEGIN_S else 0.0
        heard_s, least_s = self.heard_s + length_s, min(self.least_s, late_s)
        if heard_s < WINDOW_S - 1e-6:
            return StreamClock(heard_s, least_s), 0.0
        return StreamClock(), least_s if least_s > STEADY_S else 0.0
