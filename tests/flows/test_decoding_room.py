"""Decoding beside the flow: finals first, batches that fit together, faults that pass and faults that stay."""

import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from flows.decoding_room import DecodingRoom, Ear, Job
from operators.ports import SoundStretch, Transcript
from operators.transcription import DecodeRequest
from schemas.errors import LogUnavailable, ModelFailed, ModelMissing
from tests.support import wait_for

EMPTY = Transcript((), "en", 0.0, 0.0, 0.0)


class Scripted:
    """A recogniser that keeps what it was asked, waits to be let on, and fails when told."""

    name = "scripted"
    multilingual = True

    def __init__(self) -> None:
        self.began: list[int] = []
        self.asked: list[list[int]] = []
        self.faults: list[Exception] = []
        self.go = threading.Event()

    def transcribe(self, stretches: Sequence[SoundStretch]) -> list[Transcript]:
        self.began += [len(one.samples) for one in stretches]
        assert self.go.wait(10)
        self.asked.append([len(one.samples) for one in stretches])
        if self.faults:
            raise self.faults.pop(0)
        return [EMPTY for _ in stretches]


@pytest.fixture
def model() -> Scripted:
    return Scripted()


@pytest.fixture
def room_of(model: Scripted) -> Iterator[Callable[..., DecodingRoom]]:
    made: list[DecodingRoom] = []

    def make(**options: int) -> DecodingRoom:
        made.append(DecodingRoom(Ear(lambda: model, lambda _: model, **options)))
        return made[-1]

    yield make
    model.go.set()
    for one in made:
        one.close()


def job(kind: str, samples: int, language: str | None = "en", *, live: bool = True) -> Job:
    request = DecodeRequest(kind, 0, 0, samples)  # type: ignore[arg-type]
    return Job(("s", "mic"), request, lambda: np.zeros(samples, np.int16), language, live)


def done(room: DecodingRoom) -> list[Job]:
    found: list[Job] = []
    wait_for(lambda: found.extend(room.fetch(("s", "mic"))) or room.idle, 10)
    return found


def test_a_final_does_not_wait_for_a_guess(model: Scripted, room_of: Callable[..., DecodingRoom]) -> None:
    room = room_of()
    room.submit(job("partial", 1))
    wait_for(lambda: model.began == [1], 10)
    room.submit(job("final", 2))
    wait_for(lambda: model.began == [1, 2], 10)


def test_no_guess_begins_while_a_final_waits(model: Scripted, room_of: Callable[..., DecodingRoom]) -> None:
    room = room_of()
    room.submit(job("final", 1))
    wait_for(lambda: model.began == [1], 10)
    for kind, samples in (("final", 2), ("partial", 3), ("final", 4), ("partial", 5)):
        room.submit(job(kind, samples))
    assert model.began == [1]
    assert room.waiting == 4
    model.go.set()
    ended = [one.request.end_sample for one in done(room)]
    assert [one for one in ended if one in {1, 2, 4}] == [1, 2, 4]
    assert [one for one in ended if one in {3, 5}] == [3, 5]
    assert ended.index(3) > ended.index(2)


def test_recordings_wait_for_what_is_live(model: Scripted, room_of: Callable[..., DecodingRoom]) -> None:
    room = room_of()
    for kind, samples in (("final", 1), ("partial", 2)):
        room.submit(job(kind, samples))
    wait_for(lambda: room.waiting == 0, 10)
    for kind in ("final", "partial"):
        room.submit(job(kind, 3, live=False))
        room.submit(job(kind, 4))
    model.go.set()
    found = done(room)
    for kind, first in (("final", 1), ("partial", 2)):
        assert [one.request.end_sample for one in found if one.request.kind == kind] == [first, 4, 3]


def test_what_nobody_waits_for_any_more_is_not_decoded(model: Scripted, room_of: Callable[..., DecodingRoom]) -> None:
    room = room_of()
    room.submit(job("partial", 1))
    wait_for(lambda: room.waiting == 0, 10)
    stale = job("partial", 2)
    room.submit(stale)
    room.drop(stale)
    model.go.set()
    assert [one.request.end_sample for one in done(room)] == [1]
    assert model.asked == [[1]]


def test_a_batch_holds_one_kind_and_one_language(model: Scripted, room_of: Callable[..., DecodingRoom]) -> None:
    room = room_of(together=8)
    room.submit(job("final", 1))
    wait_for(lambda: room.waiting == 0, 10)
    for one in (job("final", 2), job("final", 3), job("final", 4, "de"), job("partial", 5), job("partial", 6)):
        room.submit(one)
    model.go.set()
    done(room)
    assert sorted(model.asked) == [[1], [2, 3], [4], [5, 6]]


@pytest.mark.parametrize("away", [LogUnavailable("away"), ModelMissing("not yet")])
def test_a_final_waits_as_long_as_log_or_model_are_away(
    model: Scripted, room_of: Callable[..., DecodingRoom], away: Exception
) -> None:
    room = room_of()
    model.faults = [away] * 4
    model.go.set()
    room.submit(job("final", 1))
    [found] = done(room)
    assert found.found is EMPTY
    assert len(model.asked) == 5


def test_a_model_that_fails_on_a_final_is_asked_three_times_and_then_the_flow_is_told(
    model: Scripted, room_of: Callable[..., DecodingRoom]
) -> None:
    room = room_of()
    model.faults = [ModelFailed("no"), RuntimeError("no"), ModelFailed("no")]
    model.go.set()
    room.submit(job("final", 1))
    [found] = done(room)
    assert found.found is None
    assert isinstance(found.error, ModelFailed)
    model.faults = [ModelFailed("no")]
    room.submit(job("partial", 2))
    [found] = done(room)
    assert found.found is None
    assert len(model.asked) == 4, "a partial is not worth a second try"
