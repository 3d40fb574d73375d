"""A command that waits ends at every signal, wherever it comes."""

import random
import signal
import subprocess
import sys
import time

import pytest

from rejoinder.stopping import Stopping

ROUNDS = 1_000
WAITING = f"""
import signal
from rejoinder.stopping import Stopping

for _ in range({ROUNDS}):
    stopping = Stopping()
    signal.signal(signal.SIGTERM, lambda *_: stopping.tell())
    print(flush=True)
    while not stopping.wait(1e-6):
        pass
"""


@pytest.mark.timeout(60)
def test_a_signal_that_comes_while_the_waiting_takes_its_lock_ends_it_as_well() -> None:
    # With an event in its place about one round in a hundred never ends. The signal must come from outside: one that a
    # thread of the same process sends never finds the other between two instructions.
    chance = random.Random(1)
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        try:
            for _ in child.stdout:
                time.sleep(chance.uniform(0, 0.001))
                child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0
        finally:
            child.kill()


def test_once_told_it_stays_so() -> None:
    stopping = Stopping()
    assert not stopping.wait()
    assert not stopping.wait(0.01)
    stopping.tell()
    assert stopping.wait(5)
    assert stopping.wait()
