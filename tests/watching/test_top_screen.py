"""The live view of ``rejoinder top`` in a terminal: what it shows, and how it is left."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from rejoinder.settings import Settings
from tests.support import complete, open_session, running, say, wait_for

IN_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.executable, [sys.executable, '-m', 'rejoinder', *sys.argv[1:]])"
)
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()].|[=>78])")
ENTERED, LEFT, CURSOR_SHOWN = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    """A program in a pseudo-terminal of its own, 150 columns by 40 lines."""

    def __init__(self, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 150, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.program = subprocess.Popen(
            [sys.executable, "-c", IN_OWN_TERMINAL, *arguments],
            stdin=self.slave, stdout=self.slave, stderr=self.slave, env={**os.environ, "TERM": "xterm-256color"},
        )  # fmt: skip
        self.written = ""

    def read(self) -> str:
        """Give all that was written so far."""
        while select.select([self.master], [], [], 0)[0]:
            self.written += os.read(self.master, 65_536).decode()
        return self.written

    def frames(self) -> list[str]:
        """Give what each redrawing wrote, without the escapes."""
        return [ESCAPES.sub("", one).replace("\r", "") for one in self.read().split("\x1b[H")]

    def press(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def ended(self) -> bool:
        self.read()
        return self.program.poll() is not None


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    shown = Terminal(*arguments)
    try:
        yield shown
    finally:
        shown.program.kill()
        shown.program.wait(10)
        os.close(shown.master)
        os.close(shown.slave)


def rates(frame: str, flow: str) -> list[str]:
    """Give the cells of a flow's row; [] when it is not shown."""
    return next((line.split() for line in frame.splitlines() if line.startswith(f"{flow} ")), [])


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    with running(settings.model_copy(update={"analytics": False})) as opened:
        yield opened


@pytest.mark.parametrize("keys", [b"q", b"\x03"], ids=["q", "ctrl-c"])
def test_the_live_view_follows_the_engine_and_leaves_the_terminal_as_it_was(client: httpx.Client, keys: bytes) -> None:
    with terminal("top", "--url", str(client.base_url), "--every", "0.2") as seen:
        wait_for(lambda: any("ready" in frame for frame in seen.frames()), 30)
        assert ENTERED in seen.written
        assert all(rates(frame, "answers")[1] == "0.0" for frame in seen.frames() if rates(frame, "answers"))
        session = open_session(client, title="Redundancies")
        end = time.monotonic() + 20
        number = 0
        while not any(float(rates(frame, "answers")[2]) > 0 for frame in seen.frames() if rates(frame, "answers")):
            assert time.monotonic() < end
            number += 1
            say(client, session, (f"c{number}", "ann", number * 9.0, number * 9.0 + 3, "How many planets are there?"))
            wait_for(lambda: complete(client, session) >= number)  # noqa: B023 - called at once
        wait_for(lambda: any(session[:12] in frame for frame in seen.frames()))
        assert "Redundancies" not in seen.read()
        assert "Traceback" not in seen.read()
        seen.press(b"x")
        drawn = len(seen.frames())
        wait_for(lambda: len(seen.frames()) > drawn)  # another key changes nothing
        seen.press(keys)
        wait_for(seen.ended)
        assert seen.program.returncode == 0
        assert seen.written.rfind(LEFT) > seen.written.rfind(ENTERED)
        assert CURSOR_SHOWN in seen.written[seen.written.rfind("ready") :]
        assert termios.tcgetattr(seen.slave) == seen.before


def test_the_live_view_says_when_the_engine_goes_away_and_comes_back(settings: Settings) -> None:
    quiet = settings.model_copy(update={"analytics": False})
    with running(quiet) as client:
        address, port = str(client.base_url), client.base_url.port
        seen = Terminal("top", "--url", address, "--every", "0.2")
        wait_for(lambda: "ready" in seen.frames()[-1], 30)
    wait_for(lambda: "no answer" in seen.frames()[-1])
    with running(quiet.model_copy(update={"port": port})):
        wait_for(lambda: "ready" in seen.frames()[-1] and "no answer" not in seen.frames()[-1])
    seen.press(b"Q")
    wait_for(seen.ended)
    os.close(seen.master)
    os.close(seen.slave)
