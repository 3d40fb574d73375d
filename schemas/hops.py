"""What a flow counts about its own work, for those who watch: numbers alone, never any text of a conversation."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BOUNDS_S", "HopCounts", "HopShown", "Timings"]

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the classes of every histogram, seconds; one more class holds what is longer."""


@dataclass(slots=True)
class Timings:
    """A histogram of durations, seconds.

    It is counted without a lock: a reader may see one duration of which only a part is counted yet, and where several
    workers of a process count at once a few may be missed. One costs a tenth of a microsecond; one of the metrics
    library's histograms costs ten times as much.

    Attributes:
        classes: How many fell into each class of `BOUNDS_S`, not added up; the last holds the longer ones.
        total_s: Their sum.

    >>> took = Timings()
    >>> took.add(0.003)
    >>> took.classes[3], took.total_s
    (1, 0.003)
    """

    classes: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; below zero, where clocks disagree, it counts as zero."""
        self.classes[bisect_left(BOUNDS_S, seconds)] += 1
        if seconds > 0.0:
            self.total_s += seconds


@dataclass(slots=True)
class HopCounts:
    """What one flow has done since its process began; it is kept when the flow is restarted within the process.

    Attributes:
        read: Records read, by topic.
        written: Records stored that were not there before, by topic.
        repeats: Records stored again after a fault, which the log left out, by topic.
        buried: Records put on `dead-letters`, by topic.
        wait: Time from a record's making to its reading by this flow.
        step: Time for one batch in the operator.
        store: Time from handing records to the log until they were stored.
        model: Time of one call of a model, by what it does: `first_piece`, `answer`, `caption_final`, ...
        tokens: Tokens of language models, by kind: `prompt`, `answer`.
        failed: Answers that failed, by reason.
    """

    read: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    repeats: dict[str, int] = field(default_factory=dict)
    buried: dict[str, int] = field(default_factory=dict)
    wait: Timings = field(default_factory=Timings)
    step: Timings = field(default_factory=Timings)
    store: Timings = field(default_factory=Timings)
    model: dict[str, Timings] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)

    def took(self, what: str, seconds: float) -> None:
        """Count the time of one call of a model."""
        timings = self.model.get(what)
        if timings is None:
            timings = self.model[what] = Timings()
        timings.add(seconds)


@dataclass(frozen=True, slots=True)
class HopShown:
    """One flow as those who watch see it.

    Attributes:
        flow: Its name.
        counts: What it has done.
        lag: Records it has not read, by topic and partition ("captions/0"); where all topics share their offsets, an
            upper bound.
        queues: What waits, by queue, records or calls.
    """

    flow: str
    counts: HopCounts
    lag: Mapping[str, int] = field(default_factory=dict)
    queues: Mapping[str, int] = field(default_factory=dict)
