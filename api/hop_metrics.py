"""Turns what the flows count into Prometheus metrics, when somebody asks for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from schemas.hops import BOUNDS_S, HopShown, Timings

__all__ = ["HopCollector"]

_REASONS = dict.fromkeys(("timeout", "unavailable", "rejected", "broken"), 0)
_BUCKETS = (*(str(float(bound)) for bound in BOUNDS_S), "+Inf")


class HopCollector(Collector):
    """The metrics of the flows of this process; nothing is computed between two scrapes."""

    def __init__(self, hops: Callable[[], Sequence[HopShown]]) -> None:
        """Ask `hops` at every scrape."""
        self._hops = hops

    def describe(self) -> Iterator[Metric]:
        """Give nothing: what there is depends on the flows that run."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of all flows."""
        hops = self._hops()
        yield from _records(hops)
        yield from _durations(hops)
        yield from _waiting(hops)


def _records(hops: Sequence[HopShown]) -> Iterator[Metric]:
    read = CounterMetricFamily("rejoinder_hop_records_read", "Records read by a flow", labels=("flow", "topic"))
    written = CounterMetricFamily("rejoinder_hop_records_written", "Records stored by a flow", labels=("flow", "topic"))
    repeats = CounterMetricFamily(
        "rejoinder_hop_records_repeated", "Records made again after a fault and left out", labels=("flow", "topic")
    )
    buried = CounterMetricFamily(
        "rejoinder_dead_letters", "Records that could not be read or processed", labels=("flow", "topic")
    )
    tokens = CounterMetricFamily("rejoinder_tokens", "Tokens of language models", labels=("kind",))
    failed = CounterMetricFamily("rejoinder_answers_failed", "Answers that failed", labels=("reason",))
    for hop in hops:
        counts = hop.counts
        topics = dict.fromkeys((place.rpartition("/")[0] for place in hop.lag), 0)
        for family, numbers in (
            (read, counts.read),
            (written, counts.written),
            (repeats, counts.repeats),
            # A counter that is not there before its first event has no increase that an alert could see.
            (buried, {**topics, **counts.buried}),
        ):
            for topic, number in _now(numbers):
                family.add_metric((hop.flow, topic), number)
        for kind, number in _now(counts.tokens):
            tokens.add_metric((kind,), number)
        for reason, number in _now({**(_REASONS if hop.flow == "answers" else {}), **counts.failed}):
            failed.add_metric((reason,), number)
    yield from (read, written, repeats, buried, tokens, failed)


def _durations(hops: Sequence[HopShown]) -> Iterator[Metric]:
    wait = HistogramMetricFamily("rejoinder_hop_wait_seconds", "From making a record to reading it", labels=("flow",))
    step = HistogramMetricFamily("rejoinder_hop_step_seconds", "Time of one batch in the operator", labels=("flow",))
    store = HistogramMetricFamily("rejoinder_hop_store_seconds", "Time until the log had stored", labels=("flow",))
    model = HistogramMetricFamily("rejoinder_model_seconds", "Time of one call of a model", labels=("flow", "call"))
    for hop in hops:
        counts = hop.counts
        for family, timings in ((wait, counts.wait), (step, counts.step), (store, counts.store)):
            family.add_metric((hop.flow,), *_histogram(timings))
        for call, timings in list(counts.model.items()):
            model.add_metric((hop.flow, call), *_histogram(timings))
    yield from (wait, step, store, model)


def _waiting(hops: Sequence[HopShown]) -> Iterator[Metric]:
    lag = GaugeMetricFamily(
        "rejoinder_hop_lag_records",
        "Records a flow has not read; an upper bound in the embedded log",
        labels=("flow", "topic", "partition"),
    )
    queues = GaugeMetricFamily("rejoinder_queue_depth", "What waits in a process", labels=("flow", "queue"))
    for hop in hops:
        for place, number in hop.lag.items():
            topic, _, partition = place.rpartition("/")
            lag.add_metric((hop.flow, topic, partition), number)
        for queue, number in hop.queues.items():
            queues.add_metric((hop.flow, queue), number)
    yield from (lag, queues)


def _now(numbers: Mapping[str, int]) -> list[tuple[str, int]]:
    """Give the numbers as they are now: the flow goes on counting meanwhile."""
    return list(numbers.items())


def _histogram(timings: Timings) -> tuple[list[tuple[str, float]], float]:
    total, buckets = 0, []
    for bound, count in zip(_BUCKETS, list(timings.classes), strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets, timings.total_s
