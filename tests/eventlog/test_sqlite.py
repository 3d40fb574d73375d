"""What only a file can show: reopening, erasing bytes, faults, kill -9."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eventlog import open_log
from eventlog.base import NewRecord
from schemas.errors import KeyErased, LogUnavailable


def new(number: int, key: str = "s", value: bytes = b"v") -> NewRecord:
    return NewRecord("captions", key, f"e{number}", value, 1.0)


def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.sqlite3"
    log = open_log(url)
    stored = log.append([new(1), new(2, key="gone")])
    log.erase("gone")
    log.close()
    log = open_log(url)
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["e1"]
    assert log.erased("gone")
    with pytest.raises(KeyErased):
        log.append([new(3, key="gone")])
    assert log.append([new(4)])[0].offset > stored[1].offset
    log.close()


def test_erased_words_are_in_no_file(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    canary = b"a canary that nobody else sings 7351"
    log.append([new(n, value=canary) for n in range(200)])
    log.append([new(999, key="other", value=b"stays")])
    assert any(canary in path.read_bytes() for path in tmp_path.iterdir())
    log.erase("s")
    assert not any(canary in path.read_bytes() for path in tmp_path.iterdir())
    log.close()
    assert not any(canary in path.read_bytes() for path in tmp_path.iterdir())


def test_two_processes_may_write(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.sqlite3"
    one, other = open_log(url), open_log(url)
    offsets = []
    for n in range(20):
        offsets.append((one if n % 2 else other).append([new(n)])[0].offset)
    assert offsets == sorted(set(offsets))
    assert one.append([new(0)])[0].repeat
    assert len(one.read("captions", 0, 0, 99)) == 20
    one.close()
    other.close()


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    script = "import sys; from eventlog import open_log; open_log(sys.argv[1]).close()"
    for round_ in range(4):
        command = [sys.executable, "-c", script, f"sqlite:///{tmp_path}/{round_}.sqlite3"]
        children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        assert [child.communicate(timeout=30)[1] for child in children] == [""] * 4


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    path.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(LogUnavailable, match="damaged"):
        open_log(f"sqlite:///{path}")


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(LogUnavailable, match="newer"):
        open_log(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LogUnavailable):
        open_log(f"sqlite:///{tmp_path}/file/log.sqlite3")


@pytest.mark.parametrize("url", ["postgres://x", "sqlite://", ""])
def test_other_addresses_are_refused_with_the_reason(url: str) -> None:
    with pytest.raises(LogUnavailable, match="sqlite:///"):
        open_log(url)


def test_a_full_disk_stores_nothing_by_half_and_heals(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    log.append([new(1)])
    log._writer.execute("PRAGMA max_page_count=40")  # type: ignore[attr-defined]
    with pytest.raises(LogUnavailable, match="full"):
        log.append([new(2), *[new(n, value=b"x" * 60_000) for n in range(3, 20)]])
    assert log.find("captions", "s", "e2") is None
    log._writer.execute("PRAGMA max_page_count=1000000")  # type: ignore[attr-defined]
    assert not log.append([new(2)])[0].repeat
    log.close()


def test_a_caller_that_gives_up_does_not_stop_the_log(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    busy, hold = threading.Event(), threading.Event()

    def slow(_: frozenset[str]) -> None:
        busy.set()
        hold.wait(5)

    end = log.subscribe(slow)
    log.submit([new(0)])
    assert busy.wait(5)
    futures = [log.submit([new(n)]) for n in range(1, 6)]
    assert futures[2].cancel()
    hold.set()
    end()
    assert [future.result(5)[0].repeat for future in futures if not future.cancelled()] == [False] * 4
    assert [one.event_id for one in log.read("captions", 0, 0, 9)] == ["e0", "e1", "e2", "e4", "e5"]
    assert not futures[0].cancel(), "what is stored cannot be called back"
    log.close()


def test_a_commit_that_fails_never_shows_as_the_end(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    last = log.append([new(1)])[0]
    log._writer.execute("PRAGMA max_page_count=60")  # type: ignore[attr-defined]
    seen: set[tuple[str, int]] = set()
    failing = log.submit([new(n, value=b"x" * 2000) for n in range(2, 2002)])
    while not failing.done():
        seen.add((log.cursor_now("s"), log.end("captions")))
    assert isinstance(failing.exception(), LogUnavailable)
    assert seen <= {(last.cursor, last.offset + 1)}
    log.close()


def test_threads_that_are_gone_leave_no_connection(tmp_path: Path) -> None:
    log = open_log(f"sqlite:///{tmp_path}/log.sqlite3")
    for _ in range(40):
        thread = threading.Thread(target=log.read, args=("captions", 0, 0, 1))
        thread.start()
        thread.join()
    log.read("captions", 0, 0, 1)
    assert log._readers.count() <= 2  # type: ignore[attr-defined]
    log.close()


CHILD = """
import sys
from eventlog import open_log
from eventlog.base import NewRecord
log = open_log(sys.argv[1])
start = int(sys.argv[2])
for n in range(start, start + 100000):
    done = log.append([NewRecord("captions", "s", f"e{n}", b"%d" % n, 1.0)])
    print(n, done[0].offset, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url, chance, acknowledged = f"sqlite:///{tmp_path}/log.sqlite3", random.Random(7), {}
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, url, str(round_ * 100_000)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        for _ in range(chance.randint(5, 400)):
            number, offset = child.stdout.readline().split()
            acknowledged[int(number)] = int(offset)
        os.kill(child.pid, signal.SIGKILL)
        rest, _ = child.communicate(timeout=20)
        for line in rest.splitlines():
            if len(line.split()) == 2 and line.endswith(tuple("0123456789")) and rest.endswith("\n"):
                number, offset = line.split()
                acknowledged[int(number)] = int(offset)
    log = open_log(url)
    found = {int(one.value): one.offset for one in log.read("captions", 0, 0, 1_000_000)}
    assert acknowledged.items() <= found.items()
    assert len(found) == len(set(found.values()))
    log.close()
