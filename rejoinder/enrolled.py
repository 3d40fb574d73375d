"""Enrolled voices: vectors of people who agreed to be known by their voice; the consent itself lies in the ledger."""

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from operators.diarization import FRAME, hear
from operators.ports import Vectors
from operators.voice_ports import Sound, SpeakerSegmenter, VoiceEncoder
from schemas.audio import SAMPLE_RATE_HZ
from schemas.meeting import Consent

__all__ = ["EnrolledVoice", "VoiceStore", "sound_of", "voice_of"]

LEAST_S = 5.0
WINDOW = 5 * SAMPLE_RATE_HZ


@dataclass(frozen=True, slots=True)
class EnrolledVoice:
    """One known voice.

    Attributes:
        owner_id: In whose sessions it may be used.
        name: Participant id or name that its turns get.
        model: The encoder the vector is of.
        consent_id: The entry of the ledger in which they agreed.
        consent: Of a voice kept before there was a ledger, what was agreed; else "".
        vector: The voice.
    """

    owner_id: str
    name: str
    model: str
    consent_id: str
    vector: tuple[float, ...]
    consent: str = ""


def sound_of(pcm: bytes) -> Sound:
    """Give PCM16 samples as the models of voices take them: float32, full scale = 1."""
    return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


def voice_of(sound: Sound, segmenter: SpeakerSegmenter, encoder: VoiceEncoder) -> Vectors:
    """Give the vector of the one person who talks in a recording.

    Raises:
        ValueError: Less than five seconds of speech, or more than one person talks much.
    """
    rows: list[Vectors] = []
    for start in range(0, len(sound) - SAMPLE_RATE_HZ + 1, WINDOW):
        window = sound[start : start + WINDOW]
        heard = hear(window, (start + len(window)) // FRAME, segmenter, encoder)
        rows += [
            vector.astype(np.float32) * piece.seconds for piece, vector in zip(heard.pieces, heard.vectors, strict=True)
        ]
    seconds = sum(float(np.linalg.norm(row)) for row in rows)
    if seconds < LEAST_S:
        raise ValueError(f"the recording holds {seconds:.0f} s of speech; {LEAST_S:.0f} are needed")
    total: Vectors = np.sum(rows, axis=0).astype(np.float32)
    unit: Vectors = total / np.float32(np.linalg.norm(total))
    # Pieces of one voice lie within a cosine of 0.6 of its mean; of two voices, half of them do not.
    apart = sum(float(np.linalg.norm(row)) for row in rows if float(row @ unit) < 0.6 * float(np.linalg.norm(row)))
    if apart > 0.3 * seconds:
        raise ValueError("more than one person talks in the recording")
    return unit


def _voice(row: dict[str, Any]) -> EnrolledVoice:
    vector = tuple(row["vector"])
    return EnrolledVoice(
        row["owner_id"], row["name"], row["model"], row.get("consent_id", ""), vector, row.get("consent", "")
    )


class VoiceStore:
    """The enrolled voices of one installation, in one file that only its user may read."""

    def __init__(self, data_dir: Path) -> None:
        """Use a data folder; the file is made with the first voice."""
        self._file = data_dir / "voices.json"
        self._lock = threading.Lock()
        self._read_at = -1
        self._voices: tuple[EnrolledVoice, ...] = ()

    def all(self) -> tuple[EnrolledVoice, ...]:
        """Give all voices."""
        with self._lock:
            try:
                changed = self._file.stat().st_mtime_ns
            except FileNotFoundError:
                return ()
            if changed != self._read_at:
                rows = json.loads(self._file.read_text(encoding="utf-8"))
                self._voices = tuple(_voice(row) for row in rows)
                self._read_at = changed
            return self._voices

    def add(self, owner_id: str, name: str, vector: Vectors, *, model: str, consent: Consent) -> EnrolledVoice:
        """Keep a voice; one of the same owner and name is replaced.

        Raises:
            ValueError: The consent is somebody else's, for something else, or was not given.
        """
        if not consent.given or "voice" not in consent.purposes or name not in (consent.participant_id, consent.name):
            raise ValueError(f"a voice is kept only with the consent of its owner, which {name} has not given")
        voice = EnrolledVoice(owner_id, name, model, consent.event_id, tuple(float(one) for one in vector))
        self._write((*(one for one in self.all() if (one.owner_id, one.name) != (owner_id, name)), voice))
        return voice

    def remove(self, owner_id: str, name: str) -> bool:
        """Delete a voice; gives whether there was one."""
        voices = self.all()
        kept = tuple(one for one in voices if (one.owner_id, one.name) != (owner_id, name))
        if len(kept) == len(voices):
            return False
        self._write(kept)
        return True

    def known(self, owner_id: str, model: str) -> Sequence[tuple[str, Vectors]]:
        """Give the names and vectors that may be used in an owner's sessions with this encoder."""
        return [
            (one.name, np.array(one.vector, np.float32))
            for one in self.all()
            if one.owner_id == owner_id and one.model == model
        ]

    def _write(self, voices: tuple[EnrolledVoice, ...]) -> None:
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
                json.dump([asdict(one) for one in voices], out)
            fresh.replace(self._file)
            self._read_at = -1
