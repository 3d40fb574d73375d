"""Findings: each computed in SQL, worded from a template, with its query, its n and its interval."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from operators.ports import LanguageModel, Message
from rejoinder.analytics.intervals import share_of
from rejoinder.analytics.questions import DASHBOARD, PATTERNS, Asked, table_of
from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.trends import TRENDS, trends
from schemas.errors import ModelError

__all__ = ["Finding", "findings", "reworded"]

LEAST_N = 5
MOST_CHARS = 400
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
RULES = (
    "You reword findings about somebody's meetings. Give one friendly, plain sentence in English with exactly the same "
    "numbers. Add no cause, no advice, no praise, no new number. Answer with the sentence alone."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: what it says, on how much it stands, and the query that gives it."""

    name: str
    text: str
    n: int
    value: float
    low: float | None
    high: float | None
    interval: str
    query: str
    worded_by: str = "template"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _share_found(name: str, told: str, k: int, n: int, query: Any) -> list[Finding]:
    """Give the finding about `k` of `n` with its interval, none where there are too few; `told` has both."""
    share = share_of(k, n)
    if share is None or share.n < LEAST_N:
        return []
    text = (
        f"{told.format(k=share.k, n=share.n)} ({_percent(share.share)}; "
        f"between {_percent(share.low)} and {_percent(share.high)})."
    )
    return [Finding(name, text, share.n, share.share, share.low, share.high, "Wilson 95 %", query)]


def _answered(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    query = PATTERNS["question_kinds"]
    rows = table_of(store, query, asked.arguments())
    answered, questions = sum(one["answered"] for one in rows), sum(one["questions"] for one in rows)
    return _share_found("answered", "{k} of {n} questions got an answer", answered, questions, query)


def _long_turns(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    query = PATTERNS["long_turns"]
    row = table_of(store, query, asked.arguments())[0]
    told = "In {k} of {n} turns you spoke for more than a minute"
    return _share_found("long_turns", told, row["over_a_minute"], row["turns"], query)


def _rated(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    query = DASHBOARD["feedback"]
    rows = table_of(store, query, asked.arguments())
    useful, wrong = sum(one["useful"] for one in rows), sum(one["wrong"] for one in rows)
    return _share_found("rated", "Of {n} answers that you rated, {k} were useful", useful, useful + wrong, query)


def _waiting(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    query = DASHBOARD["latency_total"]
    row = table_of(store, query, asked.arguments())[0]
    n, p50, p90 = row["first_words_n"], row["first_words_p50_ms"], row["first_words_p90_ms"]
    if n < LEAST_N:
        return []
    text = f"Half of {n} answers began within {p50:.0f} ms of their question, nine in ten within {p90:.0f} ms."
    return [Finding("waiting", text, n, p50, None, None, "quantiles of all, no estimate", query)]


def _talk(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    query, made = PATTERNS["talk_by_kind"], []
    for row in table_of(store, query, asked.arguments()):
        if row["n"] >= LEAST_N and row["talk_ratio_p50"] is not None:
            low, middle, high = (row[f"talk_ratio_p{part}"] for part in (25, 50, 75))
            text = (
                f"In {row['n']} sessions of kind {row['kind']} you had {_percent(middle)} of the talking time in the "
                f"middle one; half of them lay between {_percent(low)} and {_percent(high)}."
            )
            made.append(Finding(f"talk_{row['kind']}", text, row["n"], middle, low, high, "quartiles", query))
    return made


def _trending(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    made = []
    for one in trends(store, asked)["trends"]:
        if one["verdict"] not in ("rising", "falling"):
            continue
        scale, digits = (100, 1) if one["unit"] == "share" else (1, 1)
        unit = "percentage points" if one["unit"] == "share" else one["unit"]
        per, low, high = (scale * one[name] for name in ("per_week", "low", "high"))
        text = (
            f"Over {one['n']} sessions of kind {one['kind']}, {one['what']} is {one['verdict']}: {per:+.{digits}f} "
            f"{unit} a week (between {low:+.{digits}f} and {high:+.{digits}f})."
        )
        made.append(
            Finding(f"trend_{one['measure']}_{one['kind']}", text, one["n"], one["per_week"], one["low"], one["high"],
                    "80 % bootstrap", TRENDS)
        )  # fmt: skip
    return made


_MAKERS: tuple[Callable[[AnalyticsStore, Asked], list[Finding]], ...] = (
    _answered, _rated, _waiting, _talk, _long_turns, _trending,
)  # fmt: skip


def findings(store: AnalyticsStore, asked: Asked) -> list[Finding]:
    """Give what the caller's sessions show; nothing is said where there are fewer than five cases.

    Raises:
        LogUnavailable: The store cannot be read.
        Stopped: It took too long.
    """
    return [one for make in _MAKERS for one in make(store, asked)]


async def reworded(found: list[Finding], model: LanguageModel) -> list[Finding]:
    """Have a model word the findings; where it fails, or changes a number, the template's words stay."""
    made: list[Finding] = []
    for one in found:
        text = await _asked(one.text, model)
        if text is None:
            made.append(one)
        else:
            made.append(Finding(**{**_fields(one), "text": text, "worded_by": model.name}))
    return made


def _fields(one: Finding) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Finding.__slots__}


async def _asked(text: str, model: LanguageModel) -> str | None:
    written = ""
    try:
        async for piece in model.generate([Message("system", RULES), Message("user", text)]):
            written += piece.text
            if len(written) > MOST_CHARS:
                return None
    except ModelError:
        return None
    written = " ".join(written.split())
    same = sorted(_NUMBER.findall(written)) == sorted(_NUMBER.findall(text))
    return written if written and same else None
