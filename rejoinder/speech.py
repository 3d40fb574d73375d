"""Speech recognition as the settings choose it: models, devices, and what the captions flow listens with."""

import importlib.util

from flows.captions import Hearing
from flows.decoding_room import DecodingRoom, Ear
from models.devices import Device, choose_device
from models.shelf import ModelShelf, warm
from models.silero import load_silero
from models.weights_of import KNOWN, find_weights, installed_models
from models.whisper import WhisperOptions, load_whisper
from operators.ports import Transcriber
from operators.speech_activity import SpeechActivity
from operators.transcription import Transcription
from rejoinder.settings import Settings
from schemas.errors import ModelMissing

__all__ = ["Speech", "chosen_model"]

QUICK = {"en": "tiny.en"}
"""Guesses while somebody speaks come from the smallest model of the language; the final words never do."""


def chosen_model(settings: Settings) -> str:
    """Give the model for final captions, or "" when there is to be none.

    With `auto` the best of those that are installed is taken and nothing is downloaded.
    """
    if settings.speech_model == "off":
        return ""
    if settings.speech_model != "auto":
        return settings.speech_model
    if importlib.util.find_spec("faster_whisper") is None:
        return ""
    installed = installed_models()
    return next((name for name in reversed(KNOWN) if name in installed), "")


class Speech:
    """The models that listen in this process."""

    def __init__(self, settings: Settings, *, finishing: bool = False) -> None:
        """Load what the settings choose.

        Args:
            settings: The settings.
            finishing: The topics end: wait there for the last captions.

        Raises:
            ModelMissing: The extra is not installed, or a model is not here.
        """
        self._settings = settings
        self.model = chosen_model(settings)
        if not self.model:
            raise ModelMissing("no speech model: uv sync --extra speech, or set REJOINDER_SPEECH_MODEL to a folder")
        try:
            self.device: Device = choose_device(settings.speech_device, settings.speech_precision)
        except ValueError as error:
            raise ModelMissing(str(error)) from None
        self.shelf = ModelShelf(
            lambda name: find_weights(
                name,
                sha256=settings.speech_sha256 if name == settings.speech_model else "",
                download=settings.speech_model != "auto",
            ),
            lambda weights: load_whisper(weights, self._options()),
            settings.speech_memory_mb << 20,
        )
        detector = load_silero()
        warm(self.shelf.get(self.model))
        if settings.speech_partials:
            warm(self._partial(settings.speech_language or "en"))
        ear = Ear(
            final=lambda: self.shelf.get(self.model),
            partial=self._partial,
            glossary=", ".join(settings.speech_glossary),
            together=self.device.together,
            workers=settings.speech_workers,
        )
        self.hearing = Hearing(
            room=DecodingRoom(ear),
            activity=SpeechActivity(detector, end_s=settings.speech_pause_s),
            transcription=Transcription(partials=settings.speech_partials),
            language=settings.speech_language,
            finishing=finishing,
        )

    def _options(self) -> WhisperOptions:
        settings = self._settings
        return WhisperOptions(
            device=self.device.kind,
            precision=self.device.precision,
            workers=settings.speech_workers,
            beam=settings.speech_beam,
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
