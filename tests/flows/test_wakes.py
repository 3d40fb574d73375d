"""When a flow's thread sleeps, how deep, and what wakes it."""

import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from eventlog.base import NewRecord
from eventlog.direct import DirectReader
from eventlog.inmemory import InMemoryLog
from flows.wakes import LateWakes, Rest

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")


def in_a_thread(work: Callable[[], None]) -> None:
    faults: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]


def slack_us() -> float:
    return int(Path(f"/proc/{threading.get_native_id()}/timerslack_ns").read_text()) / 1000


@linux_only
def test_the_slack_follows_the_pauses_and_the_quickest_reader_decides() -> None:
    def work() -> None:
        began_us = slack_us()
        one, other = LateWakes(), LateWakes()
        one.allow(0.008)
        assert slack_us() == 4_000
        other.allow(0.25)
        assert slack_us() == 4_000
        one.allow(0.002)
        assert slack_us() == began_us
        one.allow(1.0)
        assert slack_us() == 20_000

    in_a_thread(work)


@linux_only
def test_a_reader_that_is_gone_counts_no_more() -> None:
    def work() -> None:
        one, other = LateWakes(), LateWakes()
        one.allow(0.001)
        other.allow(0.006)
        assert slack_us() == 50
        del one
        other.allow(0.008)
        assert slack_us() == 4_000

    in_a_thread(work)


def resting(rest: Rest, places: int, pause_s: float) -> threading.Thread:
    """Look in vain at all places until a rest ends, in a thread."""

    def look() -> None:
        while not rest.rests:
            for _ in range(places):
                rest.looked(found=False, pause_s=pause_s)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    return thread


def test_a_rest_ends_when_something_comes() -> None:
    log = InMemoryLog()
    rest = Rest(places=3)
    rest.reader = log.reader("flows")
    thread = resting(rest, 3, pause_s=600.0)
    thread.join(0.3)
    assert thread.is_alive(), "nothing came, and nobody wants to be called"
    log.append([NewRecord("captions", "s", "e", b"x", 1.0)])
    thread.join(20)
    assert not thread.is_alive()


def test_a_rest_ends_when_a_step_wants_to_be_called_and_the_earliest_of_them_counts() -> None:
    rest = Rest(places=1)
    rest.reader = InMemoryLog().reader("flows")
    for seconds in (500.0, 0.2, 400.0):
        rest.by(datetime.now(UTC) + timedelta(seconds=seconds))
    thread = resting(rest, 1, pause_s=600.0)
    thread.join(20)
    assert not thread.is_alive()


def test_what_is_on_its_way_through_the_steps_does_not_wait_for_a_rest_to_end() -> None:
    waited: list[float] = []

    class Reader(DirectReader):
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return super().wait(0.0)

    rest = Rest(places=2)
    rest.reader = Reader(InMemoryLog())
    for found in (True, False, False, False):  # two rounds
        rest.looked(found=found, pause_s=5.0)
    assert waited == [0.0, 0.0]
    for _ in range(2):
        rest.looked(found=False, pause_s=5.0)
    assert waited[2] == 5.0
    rest.stir()
    for _ in range(2):
        rest.looked(found=False, pause_s=5.0)
    assert waited[3] == 0.0
