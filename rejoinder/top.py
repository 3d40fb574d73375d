"""The engine at work, in the terminal: reads health and metrics of running processes and shows what changed between."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

__all__ = ["Sample", "Watcher", "quantile", "samples", "shown"]

MOST_SESSIONS = 8
WAIT_S = 5.0
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Sample:
    """What all watched processes said at one moment.

    Attributes:
        at_s: When, seconds of the monotonic clock.
        health: The health page of the first of them; empty when it did not answer.
        values: Metric and labels -> value, added up over the processes.
        open: Sessions of the caller that are open, newest first.
        problems: What did not answer, and why.
    """

    at_s: float
    health: Mapping[str, Any] = field(default_factory=dict)
    values: dict[tuple[str, Labels], float] = field(default_factory=lambda: defaultdict(float))
    open: Sequence[Mapping[str, Any]] = ()
    problems: list[str] = field(default_factory=list)

    def total(self, name: str, **labels: str) -> float:
        """Give a metric, added up over all labels that are not named."""
        wanted = set(labels.items())
        return sum(value for (one, has), value in self.values.items() if one == name and wanted <= set(has))

    def buckets(self, name: str, **labels: str) -> list[tuple[float, float]]:
        """Give the classes of a histogram: upper bound and how many lie below it."""
        wanted = set(labels.items())
        found: dict[float, float] = defaultdict(float)
        for (one, has), value in self.values.items():
            if one == f"{name}_bucket" and wanted <= set(has):
                found[float(dict(has)["le"])] += value
        return sorted(found.items())


def quantile(q: float, before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]) -> float | None:
    """Give a quantile of what came between two readings of a histogram, seconds; None when nothing came.

    As Prometheus does, it takes what lies within a class as spread evenly, and the last bound for what is longer.

    >>> quantile(0.5, [], [(1.0, 2), (2.0, 4), (float("inf"), 4)])
    1.0
    """
    earlier = dict(before)
    grown = [(bound, count - earlier.get(bound, 0.0)) for bound, count in after]
    if not grown or grown[-1][1] <= 0:
        return None
    wanted, low, below = q * grown[-1][1], 0.0, 0.0
    for bound, count in grown:
        if count >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((wanted - below) / (count - below) if count > below else 1.0)
        low, below = bound, count
    return low


class Watcher:
    """Asks running processes; the first address is the engine's or the API's, the others are flows' own."""

    def __init__(self, addresses: Sequence[str], key: str = "") -> None:
        """Ask these addresses, with a key where one is needed for the list of sessions."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._addresses = [address.rstrip("/") for address in addresses]
        self._client = httpx.Client(timeout=WAIT_S, headers=headers, trust_env=False)

    def sample(self) -> Sample:
        """Give how things are now; what does not answer is among the problems."""
        sample = Sample(time.monotonic())
        for number, address in enumerate(self._addresses):
            try:
                reply = self._client.get(f"{address}/metrics").raise_for_status()
                _add(sample, reply.text)
                if number == 0:
                    sample.health = self._client.get(f"{address}/api/health").json()
                    sample.open = self._open(address)
            except (httpx.HTTPError, ValueError) as error:
                sample.problems.append(f"{address}: {error or type(error).__name__}")
        return sample

    def _open(self, address: str) -> Sequence[Mapping[str, Any]]:
        reply = self._client.get(f"{address}/api/sessions")
        if reply.status_code != httpx.codes.OK:
            return ()
        return [one for one in reply.json()["sessions"] if one["closed_at"] is None]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _add(sample: Sample, text: str) -> None:
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            sample.values[one.name, tuple(sorted(one.labels.items()))] += one.value


def shown(before: Sample, after: Sample) -> RenderableType:
    """Give the view of what happened between two samples."""
    return Group(_head(before, after), _flows(before, after), _answers(before, after), _sessions(after))


def _head(before: Sample, after: Sample) -> Text:
    health = after.health
    text = Text()
    state = "ready" if health.get("ready") else "NOT READY" if health else "no answer"
    text.append(
        f"rejoinder {health.get('version', '?')}  {state}", style="bold green" if state == "ready" else "bold red"
    )
    captions = _rate(before, after, "rejoinder_captions_accepted_total")
    text.append(
        f"   captions {captions:.1f}/s   requests {_rate(before, after, 'rejoinder_requests_total'):.1f}/s"
        f"   streams {after.total('rejoinder_streams_open'):.0f}"
        f" (cut {after.total('rejoinder_streams_cut_total'):.0f})"
        f"   dead letters {after.total('rejoinder_dead_letters_total'):.0f}"
        f"   sound {_rate(before, after, 'rejoinder_audio_seconds_total'):.1f} s/s\n"
    )
    for problem in [*health.get("problems", ()), *health.get("notes", ()), *after.problems]:
        text.append(f"! {problem}\n", style="red")
    return text


def _flows(before: Sample, after: Sample) -> Table:
    table = Table(expand=False, title_justify="left", box=None, pad_edge=False)
    for name in ("flow", "read/s", "written/s", "lag", "behind", "wait p50", "p95", "store p95", "queues"):
        table.add_column(name, justify="left" if name in ("flow", "queues") else "right")
    for flow in after.health.get("flows", ()):
        name = flow["name"]
        wait, store = "rejoinder_hop_wait_seconds", "rejoinder_hop_store_seconds"
        queues = [
            f"{dict(has)['queue']} {value:.0f}"
            for (one, has), value in sorted(after.values.items())
            if one == "rejoinder_queue_depth" and dict(has)["flow"] == name and value
        ]
        table.add_row(
            escape(name) if flow["alive"] else f"[red]{escape(name)} (stopped)[/]",
            f"{_rate(before, after, 'rejoinder_hop_records_read_total', flow=name):.1f}",
            f"{_rate(before, after, 'rejoinder_hop_records_written_total', flow=name):.1f}",
            f"{after.total('rejoinder_hop_lag_records', flow=name):.0f}",
            f"{flow['behind_s']:.1f} s",
            _took(0.5, before, after, wait, flow=name),
            _took(0.95, before, after, wait, flow=name),
            _took(0.95, before, after, store, flow=name),
            " ".join(queues),
        )
    return table


def _answers(before: Sample, after: Sample) -> Text:
    def took(q: float, call: str) -> str:
        return _took(q, before, after, "rejoinder_model_seconds", flow="answers", call=call)

    failed = after.total("rejoinder_answers_failed_total")
    return Text(
        f"\nanswers {_rate(before, after, 'rejoinder_model_seconds_count', flow='answers', call='answer'):.2f}/s"
        f"   first piece p50 {took(0.5, 'first_piece')} p95 {took(0.95, 'first_piece')}"
        f"   whole p50 {took(0.5, 'answer')} p95 {took(0.95, 'answer')}"
        f"   tokens {_rate(before, after, 'rejoinder_tokens_total', kind='answer'):.0f}/s   not given {failed:.0f}\n"
    )


def _sessions(after: Sample) -> Text:
    text = Text(f"sessions open: {len(after.open)}\n")
    for one in after.open[:MOST_SESSIONS]:
        people = len(one["participants"])
        # Not its title: that may tell what it is about, and terminals are shared.
        text.append(f"  {one['session_id'][:12]}  {one['kind']:10} since {one['opened_at'][:19]}  {people} people\n")
    return text


def _rate(before: Sample, after: Sample, name: str, **labels: str) -> float:
    """Give what a counter grew by in a second; a process that began anew counts from nothing."""
    seconds = after.at_s - before.at_s
    now, then = after.total(name, **labels), before.total(name, **labels)
    return max(0.0, now - then if now >= then else now) / seconds if seconds > 0 else 0.0


def _took(q: float, before: Sample, after: Sample, name: str, **labels: str) -> str:
    seconds = quantile(q, before.buckets(name, **labels), after.buckets(name, **labels))
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def samples(watcher: Watcher, every_s: float, ended: Callable[[float], bool]) -> Iterable[tuple[Sample, Sample]]:
    """Give pairs of samples, one behind the other, until `ended`, which waits so many seconds, says so."""
    before = watcher.sample()
    while not ended(every_s):
        after = watcher.sample()
        yield before, after
        before = after
