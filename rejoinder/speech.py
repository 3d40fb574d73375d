"""Speech recognition as the settings choose it: models, devices, and what the captions flow listens with."""

import importlib.util

from flows.captions import Hearing, SoundNeeds
from flows.decoding_room import DecodingRoom, Ear
from models.devices import choose_device
from models.shelf import ModelShelf
from models.silero import load_silero
from models.weights_of import KNOWN, Weights, find_weights, installed_models
from models.whisper import WhisperOptions, load_whisper
from operators.ports import Transcriber
from operators.speech_activity import SpeechActivity
from operators.transcription import Transcription
from rejoinder.settings import Settings
from schemas.errors import ModelMissing

__all__ = ["Speech", "chosen_model", "speech_shelf", "speech_wanted"]

QUICK = {"en": "tiny.en"}
"""Guesses while somebody speaks come from the smallest model of the language; the final words never do."""

LARGEST_ON_CPU = "small"
"""A larger model falls behind live speech on a CPU; it is taken there only when it is named."""


def speech_wanted(settings: Settings) -> bool:
    """Say whether sound is to be written down here: a model is named, or the extra is installed. Loads nothing."""
    if settings.speech_model == "auto":
        return importlib.util.find_spec("faster_whisper") is not None
    return settings.speech_model != "off"


def chosen_model(settings: Settings) -> str:
    """Give the model for final captions; with `auto` the best installed one that keeps up, nothing is downloaded.

    Raises:
        ModelMissing: With `auto`, when none is installed.
    """
    if settings.speech_model != "auto":
        return settings.speech_model
    installed = installed_models()
    on_gpu = settings.speech_device != "cpu" and choose_device().kind == "cuda"
    fitting = KNOWN if on_gpu else KNOWN[: KNOWN.index(LARGEST_ON_CPU) + 1]
    found = next((name for name in reversed(fitting) if name in installed), "")
    if not found:
        raise ModelMissing("no speech model: uv sync --extra speech, or set REJOINDER_SPEECH_MODEL to a folder")
    return found


def speech_shelf(settings: Settings) -> ModelShelf:
    """Give the shelf of speech models; nothing is loaded yet."""

    def load(weights: Weights) -> Transcriber:
        try:
            device = choose_device(settings.speech_device, settings.speech_precision)
        except ValueError as error:
            raise ModelMissing(str(error)) from None
        # A guess by this model is under way beside a final.
        calls = settings.speech_workers * (2 if settings.speech_partials else 1)
        threads, beam = settings.speech_threads, settings.speech_beam
        options = WhisperOptions(device.kind, device.precision, calls, threads, beam)
        return load_whisper(weights, options)

    def find(name: str) -> Weights:
        named = name == settings.speech_model
        return find_weights(name, sha256=settings.speech_sha256 if named else "", download=named)

    return ModelShelf(find, load, settings.speech_memory_mb << 20)


class Speech:
    """What listens in this process. Models are loaded when the first sound comes."""

    def __init__(
        self,
        settings: Settings,
        shelf: ModelShelf | None = None,
        *,
        needs: SoundNeeds | None = None,
        finishing: bool = False,
    ) -> None:
        """Choose models as the settings say.

        Args:
            settings: The settings.
            shelf: Where models are loaded; None = an own one.
            needs: Told which sound is still needed.
            finishing: The topics end: wait there for the last captions.

        Raises:
            ModelMissing: The extra is not installed, no model is, or there is no GPU though one is wanted.
        """
        self._settings = settings
        self.shelf = shelf or speech_shelf(settings)
        self.model = chosen_model(settings)
        try:
            self.device = choose_device(settings.speech_device, settings.speech_precision)
        except ValueError as error:
            raise ModelMissing(str(error)) from None
        ear = Ear(
            final=lambda: self.shelf.get(self.model),
            partial=self._partial,
            glossary=", ".join(settings.speech_glossary),
            together=self.device.together,
            workers=settings.speech_workers,
            quick=settings.speech_partials,
        )
        self.hearing = Hearing(
            room=DecodingRoom(ear),
            activity=SpeechActivity(load_silero(), end_s=settings.speech_pause_s),
            transcription=Transcription(partials=settings.speech_partials),
            language=settings.speech_language,
            stalled_s=settings.speech_stalled_s,
            finishing=finishing,
            needs=needs or SoundNeeds(),
        )

    def _partial(self, language: str | None) -> Transcriber:
        name = self._settings.speech_partial_model
        if not name:
            quick = QUICK.get(language or "", "")
            name = quick if quick and quick in installed_models() else self.model
        return self.shelf.get(name)

    def close(self) -> None:
        """End the threads that decode."""
        self.hearing.room.close()
