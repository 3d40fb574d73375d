"""How a caller's measures go over time, session by session, with honest intervals."""

from dataclasses import asdict
from typing import Any

from rejoinder.analytics.intervals import trend_of
from rejoinder.analytics.questions import ANSWERED, SPOKEN, Asked, table_of, with_parts
from rejoinder.analytics.store import AnalyticsStore

__all__ = ["MEASURES", "TRENDS", "trends"]

MEASURES: dict[str, tuple[str, str]] = {
    "talk_ratio": ("your part of the talking time", "share"),
    "user_wpm": ("your words per minute of talking", "words/min"),
    "questions_per_10_min": ("questions put to you in ten minutes", "questions"),
    "first_words_ms": ("median time to an answer's first words", "ms"),
}
MOST_POINTS = 200

TRENDS = (
    with_parts(SPOKEN, ANSWERED)
    + f"""SELECT m.session_id, m.title, m.kind, m.opened_at, epoch(m.opened_at) / 86400 AS day,
        s.user_talk_s / nullif(s.talk_s, 0) AS talk_ratio, 60.0 * s.user_words / nullif(s.user_talk_s, 0) AS user_wpm,
        600.0 * q.questions / nullif(s.length_s, 0) AS questions_per_10_min, a.first_words_ms
    FROM mine m JOIN spoken s USING (session_id)
    LEFT JOIN (SELECT q.session_id, count(DISTINCT question_id) AS questions FROM facts.questions q
        JOIN mine USING (session_id) WHERE q.run_id = 'live' AND q.origin = 'heard' GROUP BY ALL) q USING (session_id)
    LEFT JOIN (SELECT session_id, median(first_words_ms) AS first_words_ms FROM answered
        WHERE outcome = 'answered' GROUP BY ALL) a USING (session_id)
    ORDER BY m.opened_at DESC, m.session_id LIMIT {MOST_POINTS}"""
)
"""One row per session, newest first: the measures are NULL where there was nothing to measure."""


def trends(store: AnalyticsStore, asked: Asked) -> dict[str, Any]:
    """Give the newest sessions' measures and the trend of each, per kind of session: kinds are not compared.

    Raises:
        LogUnavailable: The store cannot be read.
        Stopped: It took too long.
    """
    points = list(reversed(table_of(store, TRENDS, asked.arguments())))
    found = []
    for kind in sorted({str(one["kind"]) for one in points}):
        of_kind = [one for one in points if one["kind"] == kind]
        for measure, (what, unit) in MEASURES.items():
            told = [(one["day"], one[measure]) for one in of_kind if one[measure] is not None]
            trend = trend_of([day for day, _ in told], [value for _, value in told])
            found.append({"kind": kind, "measure": measure, "what": what, "unit": unit, **asdict(trend)})
    for one in points:
        del one["day"]
    return {"points": points, "trends": found, "interval": "80 % bootstrap of the median pairwise slope, per week"}
