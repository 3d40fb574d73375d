"""Checks of what was loaded: uniqueness, references, nulls, times; each counts the rows and those that fail."""

from dataclasses import dataclass

from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.tables import TABLES

__all__ = ["CHECKS", "Check", "Finding", "check_quality"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `sql` gives the rows looked at and the rows that fail; `most` is the part of them that may."""

    name: str
    kind: str
    note: str
    sql: str
    most: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found."""

    name: str
    kind: str
    note: str
    rows: int
    failing: int
    good: bool


def _unique(table: str) -> Check:
    key = ", ".join(column.name for column in TABLES[table].key)
    sql = f"SELECT count(*), count(*) - count(DISTINCT ({key})) FROM facts.{table}"  # noqa: S608
    return Check(f"unique_{table}", "uniqueness", f"one row per {key}", sql)


def _in_session(table: str) -> Check:
    sql = f"SELECT count(*), count(*) FILTER (s.row_id IS NULL) FROM facts.{table} t LEFT JOIN facts.sessions s"  # noqa: S608
    sql += " ON s.run_id = t.run_id AND s.session_id = t.session_id AND s.opened_at IS NOT NULL WHERE t.run_id = 'live'"
    return Check(f"session_of_{table}", "reference", f"the session of each row of {table} was opened", sql)


def _part(name: str, kind: str, note: str, fails: str, origin: str, most: float = 0.0) -> Check:
    return Check(name, kind, note, f"SELECT count(*), count(*) FILTER ({fails}) FROM {origin}", most)  # noqa: S608


CHECKS: tuple[Check, ...] = (
    *(_unique(table) for table in ("sessions", "utterances", "questions", "answers", "nudges", "consents")),
    *(
        _in_session(table)
        for table in ("utterances", "questions", "answers", "participants", "nudges", "consents")
    ),
    _part(
        "question_of_answers", "reference", "the question revision of each answer is known", "asked_at IS NULL",
        "answers WHERE run_id = 'live'",
    ),
    _part(
        "answer_of_feedback", "reference", "the answer of each rating is known", "question_id IS NULL",
        "feedback WHERE run_id = 'live'",
    ),
    _part("owner_of_sessions", "null", "each opened session has an owner", "owner_id IS NULL", "sessions"),
    _part("speaker_of_utterances", "null", "each utterance has a speaker", "speaker_id IS NULL", "facts.utterances"),
    _part(
        "first_words_of_answers", "null", "answers that were completed have a time of their first words",
        "first_words_ms IS NULL", "answers WHERE run_id = 'live' AND outcome = 'answered'", 0.01,
    ),
    _part(
        "measured_of_nudges", "null", "each hint has the figure behind it; only a missing result has none",
        "measured IS NULL AND kind <> 'no_result'", "facts.nudges",
    ),
    _part("closed_after_opened", "time", "no session ends before it begins", "closed_at < opened_at", "sessions"),
    _part(
        "words_after_question", "time", "no answer begins before its question (clocks that differ)",
        "first_words_ms < 0", "answers WHERE run_id = 'live' AND outcome = 'answered'", 0.001,
    ),
    _part(
        "times_plausible", "time", "records were made between 2000 and tomorrow",
        "made_at < TIMESTAMP '2000-01-01' OR made_at > now()::TIMESTAMP + INTERVAL 1 DAY", "facts.utterances",
    ),
)  # fmt: skip


def check_quality(store: AnalyticsStore) -> list[Finding]:
    """Run every check over what is stored now.

    Raises:
        LogUnavailable: The store cannot be read.
        Stopped: It took too long.
    """
    found = []
    for check in CHECKS:
        rows, failing = store.one(check.sql)
        found.append(Finding(check.name, check.kind, check.note, rows, failing, failing <= check.most * rows))
    return found
