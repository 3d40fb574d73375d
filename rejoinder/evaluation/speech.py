"""Error rates, latencies and cost of captions and speakers on a user's own recordings."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.audio_decoding import read_recording
from rejoinder.evaluation.hearing import Came, Heard, engine_for, hear
from rejoinder.evaluation.recordings import Recording, Span, recordings_in, rttm_of, stm_of
from rejoinder.evaluation.scoring import (
    Speakers,
    Words,
    by_speaker,
    cp_words,
    invented,
    normal,
    speaker_errors,
    word_errors,
)
from rejoinder.player import percentile
from rejoinder.settings import Settings
from schemas.speech import Caption, SpeakerTurn, Utterance

__all__ = ["Measured", "measure", "table_of"]

FRAME_S = 0.1
LATENCIES_S = (1.0, 5.0)
COLLARS_S = (0.0, 0.25)
SAME_WORD_S = 0.5


@dataclass(slots=True)
class Measured:
    """Figures of one recording, or of all together; None where the reference or the pace says nothing.

    Attributes:
        speakers: By latency ("1 s", "5 s", "end") and collar ("0", "0.25").
        waits_s: Of each word, from its end until it was told for good.
        ends_s: Of each final caption, from the end of its last word until it came.
        relabelled: Frames whose speaker changed after 1 s, and frames with a speaker.
    """

    name: str
    words: Words | None = None
    cp: Words | None = None
    cp_perfect: Words | None = None
    speakers: dict[tuple[str, str], Speakers] = field(default_factory=dict)
    waits_s: list[float] = field(default_factory=list)
    ends_s: list[float] = field(default_factory=list)
    relabelled: tuple[int, int] = (0, 0)
    invented: int | None = None
    audio_s: float = 0.0
    cpu_s: float = 0.0

    def figures(self) -> dict[str, Any]:
        """Give everything as plain numbers; rates in percent, times in seconds."""
        rates = {
            f"der_{latency.replace(' ', '')}_collar_{collar}": _rounded(found.rate)
            for (latency, collar), found in self.speakers.items()
        }
        parts = {
            f"{what}_5s": _rounded(100 * getattr(found, what) / found.total if found.total else None)
            for what in ("missed", "false_alarm", "confused")
            if (found := self.speakers.get(("5 s", "0.25")) or self.speakers.get(("end", "0.25"))) is not None
        }
        changed, frames = self.relabelled
        return {
            "name": self.name,
            "audio_s": round(self.audio_s, 1),
            "wer": _rounded(self.words.rate if self.words else None),
            "cpwer": _rounded(self.cp.rate if self.cp else None),
            "cpwer_with_perfect_speakers": _rounded(self.cp_perfect.rate if self.cp_perfect else None),
            **rates,
            **parts,
            "relabelled_after_1s": _rounded(100 * changed / frames if frames else None),
            "word_wait_p50_s": _rounded(percentile(self.waits_s, 0.5)),
            "word_wait_p90_s": _rounded(percentile(self.waits_s, 0.9)),
            "end_to_final_p50_s": _rounded(percentile(self.ends_s, 0.5)),
            "invented_words": self.invented,
            "cpu_per_audio_second": round(self.cpu_s / self.audio_s, 3) if self.audio_s else None,
            "sessions_per_core": round(self.audio_s / self.cpu_s, 1) if self.cpu_s else None,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def measure(
    settings: Settings, folder: Path, out: Path, say: Callable[[str], None], *, fast: bool = False
) -> list[Measured]:
    """Run every recording of a folder through the flows; writes hypotheses and figures, gives the figures.

    Args:
        settings: The installation's settings; the measuring itself has a data folder of its own.
        folder: Sound with references beside it.
        out: Where NAME.rttm, NAME.stm, NAME.words.jsonl and figures.json are written.
        say: Told of each recording that is done.
        fast: As fast as it goes instead of in real time; latencies are then not measured.

    Raises:
        EngineError: No sound, a missing model, or a package of the extra `eval` that is not installed.
        RecordingRefused: A recording that cannot be decoded.
    """
    recordings = recordings_in(folder)
    normal("")  # what is not installed is said before hours of listening
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="rejoinder-eval-") as name:
        own = settings.model_copy(update={"data_dir": Path(name), "log": "", "port": 0, "qa_port": 0, "llm": "off"})
        with engine_for(own) as engine:
            for number, recording in enumerate(recordings):
                pcm = read_recording(recording.path)
                heard = hear(engine, f"{number}-{recording.name}", pcm, fast=fast)
                found = measured(recording, heard, timed=not fast)
                write(out, recording.name, heard)
                results.append(found)
                say(f"{recording.name}: {json.dumps(_told(found))}")
    results.append(_together(results))
    (out / "figures.json").write_text(json.dumps([one.figures() for one in results], indent=1) + "\n")
    return results


def _told(found: Measured) -> dict[str, Any]:
    return {name: value for name, value in found.figures().items() if value is not None and name != "name"}


def measured(recording: Recording, heard: Heard, *, timed: bool) -> Measured:
    """Compare what was heard with what is known of a recording."""
    finals, words = finals_of(heard.came), words_of(heard.came)
    found = Measured(recording.name, audio_s=heard.audio_s, cpu_s=heard.cpu_s)
    if recording.words is not None:
        found.words = word_errors(recording.words, " ".join(caption.text for caption in finals))
    if recording.said is not None:
        reference = by_speaker(recording.said)
        found.cp = cp_words(reference, by_speaker(said_of(heard.came)))
        if recording.turns is not None:
            found.cp_perfect = cp_words(reference, by_speaker(_by_reference(words, recording.turns)))
    if recording.turns is not None:
        found.invented = invented(recording.turns, words)
        _measure_speakers(found, recording.turns, heard, timed=timed)
    if timed:
        moments = zip(words, committed(heard.came, words), strict=True)
        found.waits_s = [at_s - word.end_s for word, at_s in moments if at_s is not None]
        found.ends_s = [
            came.at_s - came.record.words[-1].end_s
            for came in heard.came
            if isinstance(came.record, Caption) and came.record.final and not came.record.revision and came.record.words
        ]
    return found


def _measure_speakers(found: Measured, turns: Sequence[Span], heard: Heard, *, timed: bool) -> None:
    views = {"end": turns_at(heard, None)}
    if timed:
        views |= {f"{latency:g} s": turns_at(heard, latency) for latency in LATENCIES_S}
        found.relabelled = _relabelled(turns_at(heard, LATENCIES_S[0]), views["end"])
    if not any(isinstance(came.record, SpeakerTurn) for came in heard.came):
        return
    for latency, spans in views.items():
        for collar in COLLARS_S:
            found.speakers[latency, f"{collar:g}"] = speaker_errors(turns, spans, collar)


def finals_of(came: Sequence[Came]) -> list[Caption]:
    """Give the final captions, each in its newest revision, in the order of their sound."""
    newest: dict[str, Caption] = {}
    for one in came:
        record = one.record
        if isinstance(record, Caption) and record.final:
            known = newest.get(record.caption_id)
            if known is None or known.revision <= record.revision:
                newest[record.caption_id] = record
    return sorted(newest.values(), key=lambda caption: caption.start_s)


def words_of(came: Sequence[Came]) -> list[Span]:
    """Give the final words with their times."""
    return [
        Span(caption.speaker or "", word.start_s, word.end_s, word.text)
        for caption in finals_of(came)
        for word in caption.words
    ]


def said_of(came: Sequence[Came]) -> list[Span]:
    """Give what each speaker said, by the newest revision of each utterance."""
    newest: dict[str, Utterance] = {}
    for one in came:
        if isinstance(one.record, Utterance):
            known = newest.get(one.record.utterance_id)
            if known is None or known.revision <= one.record.revision:
                newest[one.record.utterance_id] = one.record
    return [Span(one.speaker_id, one.start_s, one.end_s, one.text) for one in newest.values() if one.text]


def turns_at(heard: Heard, latency_s: float | None) -> list[Span]:
    """Give who spoke when as it was known `latency_s` after each moment; None = at the end."""
    records = [one for one in heard.came if isinstance(one.record, SpeakerTurn)]
    if latency_s is None:
        newest = {one.record.turn_id: one.record for one in sorted(records, key=lambda one: one.record.revision)}
        return [Span(turn.speaker, turn.start_s, turn.end_s) for turn in newest.values()]
    spans: list[Span] = []
    known: dict[str, SpeakerTurn] = {}
    waiting = sorted(records, key=lambda one: one.at_s, reverse=True)
    for number in range(round(heard.audio_s / FRAME_S)):
        start_s = number * FRAME_S
        while waiting and waiting[-1].at_s <= start_s + FRAME_S + latency_s:
            turn = waiting.pop().record
            if turn.turn_id not in known or known[turn.turn_id].revision <= turn.revision:
                known[turn.turn_id] = turn
        for turn in list(known.values()):
            begin, end = max(start_s, turn.start_s), min(start_s + FRAME_S, turn.end_s)
            if begin < end:
                spans.append(Span(turn.speaker, begin, end))
    return _joined(spans)


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Join pieces of one speaker that touch."""
    found: list[Span] = []
    last: dict[str, int] = {}
    for span in spans:
        at = last.get(span.speaker)
        if at is not None and span.start_s - found[at].end_s < 1e-6:
            found[at] = Span(span.speaker, found[at].start_s, max(span.end_s, found[at].end_s))
        else:
            last[span.speaker] = len(found)
            found.append(span)
    return found


def _relabelled(early: Sequence[Span], late: Sequence[Span]) -> tuple[int, int]:
    """Count the frames with a speaker early on, and those of them that have other speakers later."""
    end_s = max((span.end_s for span in early), default=0.0)
    changed = frames = 0
    for number in range(round(end_s / FRAME_S)):
        middle = (number + 0.5) * FRAME_S
        before = {span.speaker for span in early if span.start_s <= middle < span.end_s}
        after = {span.speaker for span in late if span.start_s <= middle < span.end_s}
        frames += bool(before)
        changed += bool(before) and before != after
    return changed, frames


def _by_reference(words: Sequence[Span], turns: Sequence[Span]) -> list[Span]:
    """Give words to the speakers who spoke then by the reference: what perfect speakers would have made of them."""

    def nearest(word: Span) -> str:
        def overlap(turn: Span) -> tuple[float, float]:
            shared = min(word.end_s, turn.end_s) - max(word.start_s, turn.start_s)
            return max(shared, 0.0), shared

        return max(turns, key=overlap).speaker if turns else ""

    return [Span(nearest(word), word.start_s, word.end_s, word.text) for word in words]


def committed(came: Sequence[Came], words: Sequence[Span]) -> list[float | None]:
    """Give, of each final word, when it was first told for good: in a partial caption's agreed words, or finally."""
    told: dict[str, list[tuple[float, float]]] = {}
    for one in came:
        if isinstance(one.record, Caption) and not one.record.revision:
            for word in one.record.words:
                told.setdefault(" ".join(normal(word.text)), []).append((word.end_s, one.at_s))
    found: list[float | None] = []
    for span in words:
        moments = [
            at_s
            for end_s, at_s in told.get(" ".join(normal(span.text)), ())
            if abs(end_s - span.end_s) <= SAME_WORD_S and at_s >= span.start_s
        ]
        found.append(min(moments, default=None))
    return found


def write(out: Path, name: str, heard: Heard) -> None:
    """Write the hypotheses of one recording."""
    (out / f"{name}.rttm").write_text(rttm_of(name, turns_at(heard, None)))
    (out / f"{name}.stm").write_text(stm_of(name, said_of(heard.came)))
    words = words_of(heard.came)
    lines = [
        json.dumps(
            {
                "word": word.text,
                "start_s": word.start_s,
                "end_s": word.end_s,
                "committed_s": None if at_s is None else round(at_s, 3),
            }
        )
        for word, at_s in zip(words, committed(heard.came, words), strict=True)
    ]
    (out / f"{name}.words.jsonl").write_text("".join(line + "\n" for line in lines))


def _together(parts: Sequence[Measured]) -> Measured:
    whole = Measured("all")
    for part in parts:
        whole.words = _added(whole.words, part.words)
        whole.cp = _added(whole.cp, part.cp)
        whole.cp_perfect = _added(whole.cp_perfect, part.cp_perfect)
        for key, found in part.speakers.items():
            whole.speakers[key] = whole.speakers.get(key, Speakers()) + found
        whole.waits_s += part.waits_s
        whole.ends_s += part.ends_s
        whole.relabelled = (whole.relabelled[0] + part.relabelled[0], whole.relabelled[1] + part.relabelled[1])
        whole.invented = part.invented if whole.invented is None else whole.invented + (part.invented or 0)
        whole.audio_s += part.audio_s
        whole.cpu_s += part.cpu_s
    return whole


def _added(a: Words | None, b: Words | None) -> Words | None:
    return a if b is None else b if a is None else a + b


def table_of(results: Sequence[Measured]) -> str:
    """Give the figures as a table of Markdown, one row per recording."""
    columns = list(dict.fromkeys(name for one in results for name in one.figures()))
    rows = [columns, ["---"] * len(columns)]
    for one in results:
        figures = one.figures()
        rows.append(["-" if figures.get(name) is None else str(figures[name]) for name in columns])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)
