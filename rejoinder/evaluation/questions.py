"""Runs the operators over recorded captions in stream time and counts the questions they find."""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.base import derive_id
from schemas.meeting import MeetingOpened, Participant
from schemas.questions import Question
from schemas.speech import Caption

__all__ = ["CAPTION_FIELDS", "GOLD_FIELDS", "Counts", "asked_in", "count", "predictions", "read_lines"]

Line = dict[str, Any]
CAPTION_FIELDS = ("conv", "id", "speaker", "start", "end", "text")
GOLD_FIELDS = ("conv", "id", "tier", "type", "start", "end", "caps", "last")
USER_ROLES = frozenset({"candidate", "user", "me"})
"""Roles of the one whom the engine helps; their own questions are not answered."""
DEADLINE_S = 3.0


def read_lines(path: Path, fields: Sequence[str]) -> list[Line]:
    """Read a file of JSON lines, each with at least these fields.

    Raises:
        ValueError: The file cannot be read, or a line is none; the message names it.
    """
    found = []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            read = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: no JSON: {error.msg}") from None
        missing = [name for name in fields if not isinstance(read, dict) or name not in read]
        if missing:
            raise ValueError(f"{path}:{number}: without {', '.join(missing)}")
        found.append(read)
    return found


def predictions(captions: Sequence[Line], operator: QuestionsOperator, *, every: bool = False) -> Iterator[Line]:
    """Give the questions of every conversation, by the rules of `asked_in`."""
    conversations: dict[str, list[Line]] = defaultdict(list)
    for caption in captions:
        conversations[caption["conv"]].append(caption)
    for own in conversations.values():
        yield from asked_in(own, operator, every=every)


@dataclass(slots=True)
class _Heard:
    """What was fired so far in one conversation, by question, and which captions are not final yet."""

    every: bool
    fired: dict[tuple[str, int], Line] = field(default_factory=dict)
    open: dict[str, None] = field(default_factory=dict)

    def take(self, conversation: str, records: Iterable[Any], at_s: float) -> None:
        for record in records:
            if not isinstance(record, Question):
                if not self.every:
                    self.fired.pop((record.question_id, 0), None)
                continue
            ids = list(record.caption_ids) or list(self.open)
            self.fired[record.question_id, record.revision if self.every else 0] = {
                "conv": conversation,
                "caption_ids": ids,
                "t": round(at_s, 3),
                "text": record.text,
                "speaker": record.speaker_id,
                "question_id": record.question_id,
                "revision": record.revision,
            }


def asked_in(captions: Sequence[Line], operator: QuestionsOperator, *, every: bool = False) -> list[Line]:
    """Give the questions of one conversation as they stand at its end, in the order in which they fired.

    A caption is heard at its end; what the operators take to compute and every timer is added. Of a question whose
    speaker went on the last revision counts, with its time; one that was taken back does not count. With `every` each
    revision counts, also those taken back.
    """
    conversation = captions[0]["conv"]
    hear, heard = UtterancesOperator(), _Heard(every)
    state, asked = hear.initial(), operator.initial()
    opened = _opened(conversation, captions)
    state, _ = hear.step(state, opened, 0.0)
    asked, _ = operator.step(asked, opened, 0.0)
    for caption in sorted(captions, key=lambda one: float(one["end"])):
        now_s = float(caption["end"])
        while (due := operator.due_s(asked)) is not None and due <= now_s:
            asked, records = operator.tick(asked, due)
            heard.take(conversation, records, due)
        record = _caption(caption)
        heard.open.pop(record.caption_id, None)
        if not record.final:
            heard.open[record.caption_id] = None
        began = time.perf_counter()
        state, said = hear.step(state, record, now_s)
        for utterance in said:
            asked, records = operator.step(asked, utterance, now_s)
            heard.take(conversation, records, now_s + time.perf_counter() - began)
    while (due := operator.due_s(asked)) is not None:
        asked, records = operator.tick(asked, due)
        heard.take(conversation, records, due)
    return sorted(heard.fired.values(), key=lambda one: float(one["t"]))


def _opened(conversation: str, captions: Sequence[Line]) -> MeetingOpened:
    roles = {str(one["speaker"]): str(one.get("role") or "") for one in captions if one.get("speaker") is not None}
    people = tuple(Participant(id=who, role=role, is_user=role.casefold() in USER_ROLES) for who, role in roles.items())
    return MeetingOpened(
        session_id=conversation, event_id="o", created_at=datetime.now(UTC), owner_id="x", participants=people
    )


def _caption(line: Line) -> Caption:
    start = max(0.0, float(line["start"]))
    return Caption(
        session_id=line["conv"],
        event_id=derive_id(line["conv"], line["id"]),
        created_at=datetime.now(UTC),
        caption_id=line["id"],
        speaker=line["speaker"],
        start_s=start,
        end_s=max(start, float(line["end"])),
        text=line["text"],
        final=line.get("final", True),
    )


@dataclass(frozen=True, slots=True)
class Counts:
    """How found questions compare with the gold ones.

    Attributes:
        minutes: Length of the conversations.
        gold: Questions that count.
        right: Found in time.
        false: Fires for which there is no question, by kind.
        latencies: From the end of each question that was found to its fire, seconds.
    """

    minutes: float
    gold: int
    right: int
    false: Counter[str]
    latencies: tuple[float, ...]

    @property
    def precision(self) -> float:
        """Share of the fires that are right, 0-1."""
        fires = self.right + self.false.total()
        return self.right / fires if fires else 0.0

    @property
    def recall(self) -> float:
        """Share of the questions found in time, 0-1."""
        return self.right / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 0-1."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0

    @property
    def false_per_10_minutes(self) -> float:
        """False fires per ten minutes of talk."""
        return self.false.total() / self.minutes * 10 if self.minutes else 0.0

    def latency_s(self, share: float) -> float | None:
        """Give the latency below which this share of them lies; None without any."""
        ranked = sorted(self.latencies)
        if not ranked:
            return None
        place = (len(ranked) - 1) * share
        low = int(place)
        high = min(low + 1, len(ranked) - 1)
        return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


def count(gold: Sequence[Line], captions: Sequence[Line], found: Sequence[Line], variant: str | None = None) -> Counts:
    """Match found questions with gold ones.

    A fire is right when it holds a caption of a core question's last utterance and comes at most 3 s after its end;
    each question is found once, fires in their order, of several the one that ends first. A late fire is neither right
    nor wrong, nor is one that touches only questions of tier "optional". Every other one is false.

    Args:
        gold: Gold questions.
        captions: The captions that were heard.
        found: What `predictions` gives.
        variant: Which cut of the captions it is; None reads it off their ids.
    """
    cut = variant or ("asrseg" if captions and str(captions[0]["id"]).startswith("s") else "asr")
    known = {(one["conv"], one["id"]): one for one in captions}
    lengths: dict[str, float] = defaultdict(float)
    for one in captions:
        lengths[one["conv"]] = max(lengths[one["conv"]], float(one["end"]))
    events: dict[str, list[Line]] = defaultdict(list)
    for event in gold:
        events[event["conv"]].append(event)
    used: set[tuple[str, str]] = set()
    false: Counter[str] = Counter()
    latencies = []
    for fire in sorted(found, key=lambda one: (one["conv"], one["t"])):
        ids = set(fire["caption_ids"])
        if not ids or any((fire["conv"], one) not in known for one in ids):
            false["unknown_caption"] += 1
            continue
        own = events[fire["conv"]]
        fits = [event for event in own if ids & set(event["last"][cut])]
        free = [event for event in fits if event["tier"] == "core" and (event["conv"], event["id"]) not in used]
        in_time = [event for event in free if fire["t"] <= event["end"] + DEADLINE_S]
        if in_time:
            event = min(in_time, key=lambda one: float(one["end"]))
            used.add((event["conv"], event["id"]))
            latencies.append(fire["t"] - event["end"])
        elif not free:
            touched = [event for event in own if ids & set(event["caps"][cut])]
            kind = _false_kind(fits, touched, known[fire["conv"], fire["caption_ids"][-1]])
            false.update([kind] if kind else [])
    core = sum(event["tier"] == "core" for event in gold)
    return Counts(sum(lengths.values()) / 60, core, len(latencies), false, tuple(latencies))


def _false_kind(fits: Sequence[Line], touched: Sequence[Line], last: Line) -> str | None:
    """Give what a fire that hit no free question is; None when it counts neither way."""
    if any(event["tier"] == "optional" for event in touched):
        return None
    if any(event["tier"] == "core" for event in fits):
        return "duplicate"
    if any(event["tier"] == "core" for event in touched):
        return "premature"
    trap = next((event["type"] for event in touched if event["tier"] == "neg"), None)
    return str(trap) if trap else "candidate" if last.get("role") == "candidate" else "statement"
