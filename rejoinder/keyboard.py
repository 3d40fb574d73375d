"""Listens for a key while a terminal view waits for its next look."""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator

__all__ = ["quit_key"]

QUIT = b"qQ\x03"


@contextlib.contextmanager
def quit_key() -> Iterator[Callable[[float], bool]]:
    """Give a function that waits so many seconds, and says True at once when q or Ctrl-C was pressed.

    Keys come singly and unseen while the context lasts; afterwards the terminal is as it was. Where the input is no
    terminal the function only waits.
    """
    if not sys.stdin.isatty():
        yield _only_wait
        return
    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)
    try:
        tty.setcbreak(place)
        # Ctrl-C comes as a key: as a signal it is lost where it meets a destructor, whose exceptions Python ignores.
        mode = termios.tcgetattr(place)
        mode[6][termios.VINTR] = bytes([os.fpathconf(place, "PC_VDISABLE")])
        termios.tcsetattr(place, termios.TCSADRAIN, mode)
        yield lambda seconds: _pressed(place, seconds)
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)


def _only_wait(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _pressed(place: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not select.select([place], [], [], left)[0]:
            return False
        typed = os.read(place, 64)
        if not typed or any(key in QUIT for key in typed):  # nothing: the terminal is gone
            return True
    return False
