"""Whisper through faster-whisper (CTranslate2): sound -> words with times and probabilities."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.weights_of import Weights
from operators.ports import SoundStretch, Transcript, TranscriptWord
from schemas.audio import SAMPLE_RATE_HZ
from schemas.errors import ModelFailed, ModelMissing

__all__ = ["Whisper", "WhisperOptions", "load_whisper"]

FRAMES_PER_S = 100
FULL_S = 30.0
"""Whisper was trained on stretches of this length, padded with silence."""
MARGIN_S = 4.0
"""Silence after the sound in a cropped context. With 1.5 s Whisper falls into endless loops (WER 1690 % on one clip);
with 4 s and the guards below it costs no words against the full 30 s at a third of the time."""
LONGEST_COMPRESSION = 2.2
MOST_WORDS_PER_S = 5.0
LEAST_REPEATED = 3
"""So many words that come twice in a row are taken for a loop; said twice by somebody, they come again as they were."""
TOKENS_PER_S = 10  # words and the times between them
SPARE_TOKENS = 20
REST_S = 1.0
GO_ON_FROM_S = 0.3
MOST_ROUNDS = 6
MOST_LEADING_SILENCE = 50  # in steps of TIMESTAMP_S, as in Whisper's own decoding
TIMESTAMP_S = 0.02
PROMPT_TOKENS = 100
HOP = 160


@dataclass(frozen=True, slots=True)
class WhisperOptions:
    """How Whisper decodes.

    Attributes:
        device: "cpu" or "cuda".
        precision: CTranslate2's compute type: int8 on a CPU; float16 or int8_float16 on a GPU.
        workers: Calls that run at the same time.
        threads: CPU threads of one call.
        beam: Width of the search for the best text; 1 = greedy.
        margin_s: Silence after the sound in a cropped context, seconds; 30 = never crop.
    """

    device: str = "cpu"
    precision: str = "int8"
    workers: int = 1
    threads: int = 1
    beam: int = 1
    margin_s: float = MARGIN_S


def load_whisper(weights: Weights, options: WhisperOptions) -> "Whisper":
    """Load a model.

    Raises:
        ModelMissing: faster-whisper is not installed, or the weights are not Whisper's.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError:
        raise ModelMissing("speech needs the extra `speech`: uv sync --extra speech") from None
    try:
        model = WhisperModel(
            weights.folder,
            device=options.device,
            compute_type=options.precision,
            cpu_threads=options.threads,
            num_workers=options.workers,
            files=weights.files(),
        )
    except (RuntimeError, ValueError) as error:
        raise ModelMissing(f"the weights of {weights.name} cannot be loaded on {options.device}: {error}") from None
    return Whisper(weights.name, model, options)


class Whisper:
    """A loaded Whisper model. Each call crops the context to its sound and takes the full one when the text loops."""

    def __init__(self, name: str, model: Any, options: WhisperOptions) -> None:
        """Wrap a `faster_whisper.WhisperModel`."""
        self._name, self._model, self._options = name, model, options
        self._tokenizers: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def multilingual(self) -> bool:
        """Whether it knows other languages than English."""
        return bool(self._model.model.is_multilingual)

    def transcribe(self, stretches: Sequence[SoundStretch]) -> list[Transcript]:
        """Write down several stretches together; see `operators.ports.Transcriber`."""
        if not stretches:
            return []
        try:
            return self._together(stretches)
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelFailed(f"{self._name} failed on {len(stretches)} stretches: {type(error).__name__}") from error

    def _together(self, stretches: Sequence[SoundStretch]) -> list[Transcript]:
        found: list[Transcript | None] = [None] * len(stretches)
        left = list(enumerate(stretches))
        for _ in range(MOST_ROUNDS):
            heard = self._guarded([stretch for _, stretch in left])
            again = []
            for (number, stretch), (one, end_s) in zip(left, heard, strict=True):
                begun_s = (len(stretches[number].samples) - len(stretch.samples)) / SAMPLE_RATE_HZ
                found[number] = _joined(found[number], one, begun_s)
                # Whisper may stop after one sentence where a second speaker goes on: the rest is heard on its own.
                if one.words and GO_ON_FROM_S < end_s < len(stretch.samples) / SAMPLE_RATE_HZ - REST_S:
                    rest = stretch.samples[int(end_s * SAMPLE_RATE_HZ) :]
                    again.append((number, replace(stretch, samples=rest)))
            left = again
            if not left:
                break
        return [one for one in found if one is not None]

    def _guarded(self, stretches: Sequence[SoundStretch]) -> list[tuple[Transcript, float]]:
        """Decode with a cropped context, and finals that loop with the full one; a guess that loops is dropped."""
        longest_s = max(len(one.samples) for one in stretches) / SAMPLE_RATE_HZ
        context_s = min(FULL_S, longest_s + self._options.margin_s)
        found = self._decode(stretches, context_s)
        loops = [number for number, (one, _) in enumerate(found) if _loops(one, stretches[number])]
        for number in [number for number in loops if not stretches[number].best]:
            found[number] = replace(found[number][0], words=()), 0.0  # the next guess comes soon
        loops = [number for number in loops if stretches[number].best]
        if loops and context_s < FULL_S:
            again = self._decode([stretches[number] for number in loops], FULL_S)
            for number, one in zip(loops, again, strict=True):
                found[number] = one
        return found

    def _features(self, samples: NDArray[np.int16], context_s: float) -> NDArray[np.float32]:
        """Give the mel spectrogram padded to the context, shape (mels, frames)."""
        wanted = int(context_s * FRAMES_PER_S + 1) // 2 * 2
        sound = samples[: int(FULL_S * SAMPLE_RATE_HZ)].astype(np.float32) / 32768.0
        mel = np.asarray(self._model.feature_extractor(sound), np.float32)[:, :wanted]
        return np.pad(mel, ((0, 0), (0, wanted - mel.shape[1])))

    def _decode(self, stretches: Sequence[SoundStretch], context_s: float) -> list[tuple[Transcript, float]]:
        """Give what each stretch holds and where its text ends, seconds."""
        model = self._model
        features = np.stack([self._features(one.samples, context_s) for one in stretches])
        encoded = model.encode(features)
        languages = self._languages(stretches, encoded)
        tokenizers = [self._tokenizer(language) for language in languages]
        prompts = [self._prompt(tokenizer, one) for tokenizer, one in zip(tokenizers, stretches, strict=True)]
        longest_s = max(len(one.samples) for one in stretches) / SAMPLE_RATE_HZ
        results = model.model.generate(
            encoded,
            prompts,
            beam_size=self._options.beam if any(one.best for one in stretches) else 1,
            max_length=min(model.max_length, max(map(len, prompts)) + int(longest_s * TOKENS_PER_S) + SPARE_TOKENS),
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=self._suppressed(tokenizers[0]),
            max_initial_timestamp_index=MOST_LEADING_SILENCE,
        )
        decoded = [
            _Decoded(stretch, result, tokenizer, language)
            for stretch, result, tokenizer, language in zip(stretches, results, tokenizers, languages, strict=True)
        ]
        words = self._words(decoded, encoded, context_s)
        return [self._transcript(one, its_words, context_s) for one, its_words in zip(decoded, words, strict=True)]

    def _transcript(
        self, decoded: "_Decoded", words: tuple[TranscriptWord, ...], context_s: float
    ) -> tuple[Transcript, float]:
        tokenizer, seconds = decoded.tokenizer, len(decoded.stretch.samples) / SAMPLE_RATE_HZ
        times = [token - tokenizer.timestamp_begin for token in decoded.tokens if token >= tokenizer.timestamp_begin]
        end_s = min(seconds, times[-1] * TIMESTAMP_S) if times else seconds
        text = tokenizer.decode(decoded.text).strip().encode()
        transcript = Transcript(
            words=words,
            language=decoded.language,
            log_probability=float(decoded.result.scores[0]),
            no_speech_probability=float(decoded.result.no_speech_prob),
            compression_ratio=len(text) / len(zlib.compress(text)) if text else 0.0,
            tries=1 if context_s < FULL_S else 2,
        )
        return transcript, end_s

    def _suppressed(self, tokenizer: Any) -> Any:
        from faster_whisper.transcribe import get_suppressed_tokens

        return get_suppressed_tokens(tokenizer, [-1])

    def _languages(self, stretches: Sequence[SoundStretch], encoded: Any) -> list[str]:
        if not self.multilingual:
            return ["en"] * len(stretches)
        codes = [self._code(one.language) for one in stretches]
        if all(codes):
            return [code or "en" for code in codes]
        likely = self._model.model.detect_language(encoded)
        return [code or found[0][0][2:-2] for code, found in zip(codes, likely, strict=True)]

    def _code(self, language: str | None) -> str | None:
        """Give the code that the model has for a language ("en-GB" is "en"), or None when it has to find out."""
        code = (language or "").replace("_", "-").partition("-")[0].strip().casefold()
        known = code and self._model.hf_tokenizer.token_to_id(f"<|{code}|>") is not None
        return code if known else None

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        if language not in self._tokenizers:
            multilingual = self.multilingual
            self._tokenizers[language] = Tokenizer(
                self._model.hf_tokenizer, multilingual, task="transcribe", language=language
            )
        return self._tokenizers[language]

    def _prompt(self, tokenizer: Any, stretch: SoundStretch) -> list[int]:
        before = tokenizer.encode(" " + stretch.before.strip())[-PROMPT_TOKENS:] if stretch.before.strip() else []
        prompt: list[int] = self._model.get_prompt(
            tokenizer, before, without_timestamps=False, hotwords=stretch.glossary.strip() or None
        )
        return prompt

    def _words(self, decoded: "Sequence[_Decoded]", encoded: Any, context_s: float) -> list[tuple[TranscriptWord, ...]]:
        """Give the words of each stretch with their times; all stretches of a language are aligned in one call."""
        found: list[tuple[TranscriptWord, ...]] = [()] * len(decoded)
        longest = int(context_s * FRAMES_PER_S)
        frames = [min(longest, len(one.stretch.samples) // HOP + 1) for one in decoded]
        for language in dict.fromkeys(one.language for one in decoded if one.text):
            tokenizer = self._tokenizer(language)
            # What is encoded cannot be cut, so all go along; where there is no text the end of text stands for it.
            texts = [one.text or [tokenizer.eot] for one in decoded]
            aligned = self._model.find_alignment(tokenizer, texts, encoded, frames)
            for number, one in enumerate(decoded):
                if one.text and one.language == language:
                    found[number] = _words_of(aligned[number])
        return found


@dataclass(frozen=True, slots=True, eq=False)
class _Decoded:
    stretch: SoundStretch
    result: Any
    tokenizer: Any
    language: str

    @property
    def tokens(self) -> list[int]:
        found: list[int] = self.result.sequences_ids[0]
        return found

    @property
    def text(self) -> list[int]:
        """The tokens that are text, without times."""
        return [token for token in self.tokens if token < self.tokenizer.eot]


def _words_of(aligned: list[dict[str, Any]]) -> tuple[TranscriptWord, ...]:
    from faster_whisper.transcribe import merge_punctuations

    merge_punctuations(aligned, "\"'“¿([{-", "\"'.。,，!！?？:：”)]}、")
    return tuple(
        TranscriptWord(
            text=one["word"],
            start_s=float(one["start"]),
            end_s=float(max(one["start"], one["end"])),
            probability=min(1.0, max(0.0, float(one["probability"]))),
        )
        for one in aligned
        if one["word"].strip()
    )


def _joined(before: Transcript | None, after: Transcript, begun_s: float) -> Transcript:
    """Join two parts of one stretch; the second begins `begun_s` into it."""
    moved = tuple(replace(word, start_s=word.start_s + begun_s, end_s=word.end_s + begun_s) for word in after.words)
    if before is None:
        return replace(after, words=moved)
    if not moved:
        return before
    share = len(before.words) / (len(before.words) + len(moved))
    return Transcript(
        words=before.words + moved,
        language=before.language,
        log_probability=share * before.log_probability + (1 - share) * after.log_probability,
        no_speech_probability=min(before.no_speech_probability, after.no_speech_probability),
        compression_ratio=max(before.compression_ratio, after.compression_ratio),
        tries=before.tries + after.tries,
    )


def _loops(found: Transcript, stretch: SoundStretch) -> bool:
    seconds = max(1.0, len(stretch.samples) / SAMPLE_RATE_HZ)
    if found.compression_ratio > LONGEST_COMPRESSION or len(found.words) / seconds > MOST_WORDS_PER_S:
        return True
    words = [word.text.strip(" .,?!").casefold() for word in found.words]
    return any(
        words[place : place + size] == words[place + size : place + 2 * size]
        for size in range(LEAST_REPEATED, len(words) // 2 + 1)
        for place in range(len(words) - 2 * size + 1)
    )
