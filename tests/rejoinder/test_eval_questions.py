"""`rejoinder eval questions`: captions in, questions with their times out, counted against gold."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rejoinder.cli import app
from rejoinder.evaluation.questions import count, read_lines

CAPTIONS: list[dict[str, Any]] = [
    {"conv": "t", "id": "c0", "speaker": "ann", "role": "interviewer", "start": 0.0, "end": 2.0, "final": True,
     "text": "Thanks for coming in today."},
    {"conv": "t", "id": "c1", "speaker": "ann", "role": "interviewer", "start": 2.2, "end": 5.0, "final": True,
     "text": "Why did you leave your last company?"},
    {"conv": "t", "id": "c2", "speaker": "bob", "role": "candidate", "start": 6.0, "end": 9.0, "final": True,
     "text": "Because it moved away. What would you have done?"},
]  # fmt: skip
GOLD: list[dict[str, Any]] = [
    {"conv": "t", "id": "q0", "tier": "core", "type": "wh", "start": 2.2, "end": 5.0,
     "caps": {"asr": ["c1"]}, "last": {"asr": ["c1"]}},
    {"conv": "t", "id": "q1", "tier": "neg", "type": "own", "start": 7.0, "end": 9.0,
     "caps": {"asr": ["c2"]}, "last": {"asr": ["c2"]}},
]  # fmt: skip


def fire(ids: list[str], t: float) -> dict[str, Any]:
    return {"conv": "t", "caption_ids": ids, "t": t}


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("rules", [[], ["--rules"]])
def test_the_command_finds_the_question_and_counts_it(tmp_path: Path, rules: list[str]) -> None:
    captions, gold = written(tmp_path / "c.jsonl", CAPTIONS), written(tmp_path / "g.jsonl", GOLD)
    out = tmp_path / "pred.jsonl"
    outcome = CliRunner().invoke(
        app, ["eval", "questions", "--captions", str(captions), "--out", str(out), "--gold", str(gold), *rules]
    )
    assert outcome.exit_code == 0, outcome.output
    (found,) = read_lines(out, ("conv", "caption_ids", "t", "text"))
    assert found["caption_ids"] == ["c1"]
    assert found["text"] == "Why did you leave your last company?"
    assert 5.0 < found["t"] <= 6.0
    assert "F1 1.000" in outcome.output


def test_captions_that_are_not_final_yet_are_named_when_a_guess_fires(tmp_path: Path) -> None:
    guessed = [CAPTIONS[1] | {"final": False}, CAPTIONS[1] | {"end": 8.0}]
    out = tmp_path / "pred.jsonl"
    outcome = CliRunner().invoke(
        app, ["eval", "questions", "--captions", str(written(tmp_path / "c.jsonl", guessed)), "--out", str(out)]
    )
    assert outcome.exit_code == 0, outcome.output
    (found,) = read_lines(out, ("caption_ids",))
    assert found["caption_ids"] == ["c1"]
    assert found["t"] < 8.0


def test_a_file_with_a_broken_line_is_refused_by_its_number(tmp_path: Path) -> None:
    wrong = tmp_path / "c.jsonl"
    wrong.write_text('{"conv": "t", "id": "c0"}\n')
    outcome = CliRunner().invoke(app, ["eval", "questions", "--captions", str(wrong), "--out", str(tmp_path / "o")])
    assert outcome.exit_code == 1
    assert "c.jsonl:1: without speaker, start, end, text" in outcome.output
    wrong.write_text("no json\n")
    with pytest.raises(ValueError, match=r"c\.jsonl:1: no JSON"):
        read_lines(wrong, ())


def test_a_fire_in_time_is_right_and_a_second_one_is_a_duplicate() -> None:
    counts = count(GOLD, CAPTIONS, [fire(["c1"], 5.5), fire(["c1"], 6.0)])
    assert (counts.right, counts.false) == (1, {"duplicate": 1})
    assert counts.latency_s(0.5) == pytest.approx(0.5)
    assert (counts.precision, counts.recall) == (0.5, 1.0)


def test_a_late_fire_is_neither_right_nor_wrong() -> None:
    counts = count(GOLD, CAPTIONS, [fire(["c1"], 8.1)])
    assert (counts.right, counts.false.total(), counts.recall, counts.f1) == (0, 0, 0.0, 0.0)
    assert counts.latency_s(0.5) is None


def test_false_fires_are_told_apart() -> None:
    counts = count(GOLD, CAPTIONS, [fire(["c0"], 2.5), fire(["c2"], 9.5), fire(["nowhere"], 1.0), fire([], 1.0)])
    assert counts.false == {"unknown_caption": 2, "own": 1, "statement": 1}
    assert counts.false_per_10_minutes == pytest.approx(4 / 9 * 600)


def test_what_touches_only_an_optional_question_does_not_count() -> None:
    optional = [GOLD[0] | {"tier": "optional"}]
    assert count(optional, CAPTIONS, [fire(["c1"], 5.5)]).false.total() == 0


def test_firing_in_the_middle_of_a_question_is_premature() -> None:
    longer = [GOLD[0] | {"caps": {"asr": ["c0", "c1"]}}]
    assert count(longer, CAPTIONS, [fire(["c0"], 2.5)]).false == {"premature": 1}
