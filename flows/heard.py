"""When sound arrived, so that the span of a caption tells how long its sound waited to be written down."""

from bisect import bisect_left
from collections import OrderedDict, deque
from typing import NamedTuple

from schemas.audio import SAMPLE_RATE_HZ, AudioChunk
from schemas.speech import Caption

__all__ = ["Came", "SoundTimes"]

MOST_TRACKS = 200
MOST_PLACES = 1_200
"""Two minutes of one track, a place every tenth of a second; captions further behind begin a trace of their own."""
STEP_S = 0.1


class Came(NamedTuple):
    """Where a chunk ends, seconds into the session; when it was made, seconds since 1970; the trace it came with."""

    end_s: float
    at_s: float
    trace: str


class SoundTimes:
    """Remembers, for the tracks of one shard, when which part of their sound was made."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._tracks: OrderedDict[tuple[str, str], deque[Came]] = OrderedDict()

    def note(self, chunk: AudioChunk, at_s: float, trace: str) -> None:
        """Remember a chunk; the track heard least recently is forgotten first."""
        end_s = (chunk.start_sample + len(chunk.pcm) // 2) / SAMPLE_RATE_HZ
        places = self._tracks.setdefault((chunk.session_id, chunk.track), deque(maxlen=MOST_PLACES))
        self._tracks.move_to_end((chunk.session_id, chunk.track))
        if len(self._tracks) > MOST_TRACKS:
            self._tracks.popitem(last=False)
        if not places or end_s - places[-1].end_s >= STEP_S:
            places.append(Came(end_s, at_s, trace))

    def of(self, caption: Caption) -> Came | None:
        """Give when the last sound of a caption was made; None when that is not known any more."""
        places = self._tracks.get((caption.session_id, caption.track or ""))
        if not places or places[0].end_s - STEP_S > caption.end_s:
            return None
        at = bisect_left(places, caption.end_s, key=lambda one: one.end_s)
        return places[min(at, len(places) - 1)]
