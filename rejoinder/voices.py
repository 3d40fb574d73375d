"""Who speaks, as the settings choose it: models, and what the speaker-turns flow tells people apart with."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from flows.captions import SoundNeeds
from flows.speaker_turns import Voices
from flows.voice_room import VoiceModels, VoiceRoom
from models.voices import OnnxSegmenter, OnnxVoiceEncoder
from operators.diarization import Diarization
from operators.ports import Vectors
from operators.speaker_turns import SpeakerTurns
from operators.voice_ports import SpeakerSegmenter, VoiceEncoder
from rejoinder.enrolled import VoiceStore
from rejoinder.settings import Settings
from rejoinder.speech import speech_wanted

__all__ = ["SpeakerModels", "speakers_wanted"]

Model = TypeVar("Model")


def speakers_wanted(settings: Settings) -> bool:
    """Say whether people are to be told apart here: as set, or wherever sound is written down. Loads nothing."""
    if settings.speakers == "auto":
        return speech_wanted(settings)
    return settings.speakers != "off"


class SpeakerModels:
    """What tells people apart in this process. Models are loaded with the first sound."""

    def __init__(self, settings: Settings, *, needs: SoundNeeds | None = None, finishing: bool = False) -> None:
        """Choose models as the settings say.

        Args:
            settings: The settings.
            needs: Told which sound is still needed.
            finishing: The topics end: wait there for the last turns.

        Raises:
            ModelMissing: The extra is not installed, or the weights are not there or not those they should be.
        """
        segmenter, encoder = _models(settings)
        turns = SpeakerTurns(replace(Diarization(), most_voices=settings.speakers_most))
        self.room = VoiceRoom(VoiceModels(segmenter, encoder, settings.speakers_workers))
        store, vectors_of = VoiceStore(settings.data_dir), encoder().name

        def known(owner_id: str) -> Sequence[tuple[str, Vectors]]:
            return store.known(owner_id, vectors_of)

        self.voices = Voices(self.room, turns, known=known, finishing=finishing, needs=needs or SoundNeeds())
        self.model = "pyannet-5s-3speakers" if settings.speakers != "pyannote" else settings.speakers_model

    def close(self) -> None:
        """End the threads that listen."""
        self.room.close()


def _models(settings: Settings) -> tuple[Callable[[], SpeakerSegmenter], Callable[[], VoiceEncoder]]:
    encoder = OnnxVoiceEncoder()
    if settings.speakers != "pyannote":
        segmenter = OnnxSegmenter()
        return (lambda: segmenter), (lambda: encoder)
    from models.pyannote_voices import PyannoteSegmenter, check_pyannote

    check_pyannote(settings.speakers_model, settings.speakers_sha256)
    once = _once(lambda: PyannoteSegmenter(settings.speakers_model, sha256=settings.speakers_sha256))
    return once, (lambda: encoder)


def _once(load: Callable[[], Model]) -> Callable[[], Model]:
    """Load at the first call and give the same thing ever after."""
    lock = threading.Lock()
    loaded: list[Model] = []

    def give() -> Model:
        with lock:
            if not loaded:
                loaded.append(load())
        return loaded[0]

    return give
