"""The speech models of this process: loaded when first used, put away when memory is needed for another."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from models.weights_of import Weights
from operators.ports import SoundStretch, Transcriber, Transcript
from schemas.errors import ModelMissing

__all__ = ["ModelShelf", "Shelved", "warm"]

logger = structlog.get_logger("models")

BYTES_PER_WEIGHT_BYTE = 1.6
"""A loaded model takes its weights and room to work: int8 base, 145 MB of weights, takes 230 MB."""


@dataclass(frozen=True, slots=True)
class Shelved:
    """A model of the shelf, to show.

    Attributes:
        name: As in the settings.
        loaded: Whether it lies in memory.
        source: "path", "wheel" or "hub"; "" when not looked for yet.
        memory_mb: Estimate, 0 when not loaded.
        used_at_s: Last use, seconds since 1970; None when never.
    """

    name: str
    loaded: bool
    source: str
    memory_mb: int
    used_at_s: float | None


@dataclass(slots=True)
class _Kept:
    weights: Weights
    model: Transcriber
    size_bytes: int
    used_s: float = field(default_factory=time.time)


class ModelShelf:
    """Loads models by name within a budget of memory; may be used from any thread."""

    def __init__(
        self,
        find: Callable[[str], Weights],
        load: Callable[[Weights], Transcriber],
        budget_bytes: int,
    ) -> None:
        """Find weights and load them with the functions given; hold at most `budget_bytes` of them, by estimate."""
        self._find, self._load, self._budget = find, load, budget_bytes
        self._guard = threading.RLock()
        self._kept: dict[str, _Kept] = {}

    def get(self, name: str) -> Transcriber:
        """Give a model, loading it when need be; models used least recently make room.

        Raises:
            ModelMissing: No such model, its weights are not here or not the expected ones, or it does not fit.
        """
        with self._guard:
            kept = self._kept.get(name)
            if kept is None:
                kept = self._kept[name] = self._loaded(name)
            kept.used_s = time.time()
            return kept.model

    def _loaded(self, name: str) -> _Kept:
        weights = self._find(name)
        size = int(weights.size_bytes * BYTES_PER_WEIGHT_BYTE)
        if size > self._budget:
            raise ModelMissing(
                f"{name} takes about {size >> 20} MB, more than REJOINDER_SPEECH_MEMORY_MB={self._budget >> 20}"
            )
        while sum(one.size_bytes for one in self._kept.values()) + size > self._budget:
            oldest = min(self._kept, key=lambda one: self._kept[one].used_s)
            logger.info("model_put_away", model=oldest, for_model=name)
            del self._kept[oldest]
        began = time.monotonic()
        model = self._load(weights)
        logger.info("model_loaded", model=name, source=weights.source, took_ms=int((time.monotonic() - began) * 1000))
        return _Kept(weights, model, size)

    def unload(self, name: str) -> bool:
        """Put a model away; gives whether it lay in memory. It is loaded again when it is needed."""
        with self._guard:
            return self._kept.pop(name, None) is not None

    def loaded(self, name: str) -> Shelved | None:
        """Give a model that lies in memory."""
        kept = self._kept.get(name)
        return None if kept is None else _shown(name, kept)

    def everything(self) -> list[Shelved]:
        """Give the models in memory, the one used last first."""
        with self._guard:
            kept = sorted(self._kept.items(), key=lambda one: -one[1].used_s)
        return [_shown(name, one) for name, one in kept]


def _shown(name: str, kept: _Kept) -> Shelved:
    return Shelved(
        name, loaded=True, source=kept.weights.source, memory_mb=kept.size_bytes >> 20, used_at_s=kept.used_s
    )


def warm(model: Transcriber) -> list[Transcript]:
    """Let a model work once, so that the first words of a meeting do not wait for it."""
    import numpy as np

    return model.transcribe([SoundStretch(np.zeros(16_000, np.int16), language="en")])
