"""A flow's thread sleeps deeper while it has nothing to do, and never while one of its readers wants to be quick."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.wakes import LateWakes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")


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
