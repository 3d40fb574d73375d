"""How well questions are noticed: F1, false fires and latency over captioned conversations with a gold standard.

``uv run python -m benchmarks.questions --data DIR`` wants a folder with ``dev/CORPUS.gold.jsonl``,
``dev/CORPUS.VARIANT.captions.jsonl`` and ``score.py``, the scorer that defines a match.
"""

import argparse
import importlib.util
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from operators.questions import QuestionsOperator
from operators.utterances import UtterancesOperator
from schemas.base import derive_id
from schemas.meeting import MeetingOpened, Participant
from schemas.questions import Question
from schemas.speech import Caption

CORPORA = ("mrda", "primock", "interview")
VARIANTS = ("punct", "asrseg")


def predictions(captions: Sequence[dict[str, Any]], operator: QuestionsOperator) -> Iterator[dict[str, Any]]:
    """Run the operators over one conversation in stream time; give the last revision of each question."""
    conversation = captions[0]["conv"]
    roles = {caption["speaker"]: caption.get("role", "") for caption in captions}
    people = tuple(Participant(id=who, role=role, is_user=role == "candidate") for who, role in roles.items())
    hear, ask = UtterancesOperator(), operator
    opened = MeetingOpened(
        session_id=conversation, event_id="o", created_at=datetime.now(UTC), owner_id="x", participants=people
    )
    heard, _ = hear.step(hear.initial(), opened, 0.0)
    asked, _ = ask.step(ask.initial(), opened, 0.0)
    fired: dict[str, tuple[float, Question]] = {}
    for caption in sorted(captions, key=lambda one: one["end"]):
        now_s = caption["end"]
        while (due := ask.due_s(asked)) is not None and due <= now_s:
            asked, questions = ask.tick(asked, due)
            fired.update({question.question_id: (due, question) for question in questions})
        record = Caption(
            session_id=conversation,
            event_id=derive_id(conversation, caption["id"]),
            created_at=datetime.now(UTC),
            caption_id=caption["id"],
            speaker=caption["speaker"],
            start_s=caption["start"],
            end_s=max(caption["start"], caption["end"]),
            text=caption["text"],
            final=caption["final"],
        )
        heard, utterances = hear.step(heard, record, now_s)
        for utterance in utterances:
            asked, questions = ask.step(asked, utterance, now_s)
            fired.update({question.question_id: (now_s, question) for question in questions})
    while (due := ask.due_s(asked)) is not None:
        asked, questions = ask.tick(asked, due)
        fired.update({question.question_id: (due, question) for question in questions})
    for at_s, question in fired.values():
        yield {"conv": conversation, "caption_ids": list(question.caption_ids), "t": at_s, "text": question.text}


def ends_with_mark(captions: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give the baseline's fires: every caption of the others that ends with "?", 0.8 s later."""
    for caption in captions:
        if caption["text"].rstrip().endswith("?") and caption.get("role") != "candidate":
            yield {"conv": caption["conv"], "caption_ids": [caption["id"]], "t": caption["end"] + 0.8}


def conversations(captions: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Split a caption file by conversation."""
    found: dict[str, list[dict[str, Any]]] = {}
    for caption in captions:
        found.setdefault(caption["conv"], []).append(caption)
    return list(found.values())


def scorer(path: Path) -> Any:
    """Load the scorer's module from its file."""
    spec = importlib.util.spec_from_file_location("question_score", path)
    if spec is None or spec.loader is None:
        message = f"no scorer at {path}"
        raise SystemExit(message)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Print and store the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", default="dev")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    module = scorer(options.data / "score.py")
    rows: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        for corpus in CORPORA:
            folder = options.data / options.split
            captions = module.rd(str(folder / f"{corpus}.{variant}.captions.jsonl"))
            gold = module.rd(str(folder / f"{corpus}.gold.jsonl"))
            began = time.process_time()
            ours = [row for one in conversations(captions) for row in predictions(one, QuestionsOperator())]
            cost_us = (time.process_time() - began) / len(captions) * 1e6
            for name, found in (("rules", ours), ("ends-with-?", list(ends_with_mark(captions)))):
                result = module.score(gold, captions, found, variant=variant)
                rows[f"{corpus}.{variant}.{name}"] = result | ({"cost_us": cost_us} if name == "rules" else {})
        for name in ("rules", "ends-with-?"):
            macro = sum(rows[f"{corpus}.{variant}.{name}"]["f1"] for corpus in CORPORA) / len(CORPORA)
            rows[f"macro.{variant}.{name}"] = {"f1": macro}
    for name, row in rows.items():
        print(name, {key: round(value, 3) for key, value in row.items() if isinstance(value, int | float)})
    if options.json:
        kept = {
            name: {key: round(value, 4) for key, value in row.items() if isinstance(value, int | float)}
            for name, row in rows.items()
        }
        options.json.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
