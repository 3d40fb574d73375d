"""The questions of the API in SQL: a caller's own live sessions, in a time range, grouped by period."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rejoinder.analytics.plain import plain
from rejoinder.analytics.store import AnalyticsStore

__all__ = ["ANSWERED", "DASHBOARD", "PATTERNS", "SESSION", "SESSIONS", "SPOKEN", "Asked", "table_of", "with_parts"]

MINE = """mine AS (
    SELECT session_id, opened_at, kind, title, date_trunc($period, opened_at) AS period FROM facts.sessions
    WHERE run_id = 'live' AND owner_id = $owner AND NOT hidden AND opened_at >= $since AND opened_at < $until
        AND ($kind = '' OR kind = $kind))"""
"""The sessions asked about; every question below joins with it."""

ANSWERED = """answered AS (
    SELECT m.period, m.kind AS session_kind, a.session_id, a.question_id, a.outcome, a.mode, a.model, a.reason,
        a.prompt_tokens, a.answer_tokens, epoch_us(t.first_delta_at - q.made_at) / 1000.0 AS first_words_ms
    FROM facts.answers a JOIN mine m USING (session_id)
    LEFT JOIN facts.questions q ON q.run_id = 'live' AND q.session_id = a.session_id
        AND q.question_id = a.question_id AND q.question_revision = a.question_revision
    LEFT JOIN facts.answer_texts t ON t.run_id = 'live' AND t.session_id = a.session_id AND t.answer_id = a.answer_id
    WHERE a.run_id = 'live')"""

QUESTIONED = """questioned AS (
    SELECT * FROM (
        SELECT m.period, q.session_id, q.question_id, max(q.question_revision) AS question_revision,
            any_value(q.origin) AS origin, arg_max(q.kind, q.question_revision) AS kind
        FROM facts.questions q JOIN mine m USING (session_id) WHERE q.run_id = 'live'
        GROUP BY m.period, q.session_id, q.question_id) q
    WHERE NOT EXISTS (FROM facts.withdrawals w WHERE w.run_id = 'live' AND w.session_id = q.session_id
        AND w.question_id = q.question_id AND w.revision >= q.question_revision))"""

SPOKEN = """spoken AS (
    SELECT m.period, u.session_id, sum(u.words) AS words, max(u.end_s) AS length_s,
        sum(u.words) FILTER (u.is_user) AS user_words,
        sum(u.end_s - u.start_s) FILTER (u.is_user) AS user_talk_s, sum(u.end_s - u.start_s) AS talk_s
    FROM facts.utterances u JOIN mine m USING (session_id) WHERE u.run_id = 'live' GROUP BY m.period, u.session_id)"""

METERED = """metered AS (
    SELECT f.*, p.per_unit, p.currency FROM (
        SELECT m.period, 'prompt_tokens' AS what, a.model, a.prompt_tokens::DOUBLE AS amount
        FROM facts.answers a JOIN mine m USING (session_id)
        WHERE a.run_id = 'live' AND a.outcome = 'answered' AND a.mode = 'model'
        UNION ALL SELECT m.period, 'answer_tokens', a.model, a.answer_tokens::DOUBLE
        FROM facts.answers a JOIN mine m USING (session_id)
        WHERE a.run_id = 'live' AND a.outcome = 'answered' AND a.mode = 'model'
        UNION ALL SELECT m.period, 'audio_seconds', '', c.end_s - c.start_s
        FROM facts.captions c JOIN mine m USING (session_id) WHERE c.run_id = 'live' AND c.heard AND c.final) f
    LEFT JOIN keeping.prices p USING (what, model))"""
"""What is paid for, as the view `usage` has it; the price is null where there is none."""

RATED = """rated AS (
    SELECT m.period, f.session_id, f.answer_id, f.verdict, f.comment_chars
    FROM facts.feedback f JOIN mine m USING (session_id) WHERE f.run_id = 'live')"""

_NOT_FAULTS = "('superseded', 'cancelled', 'session_closed')"
_TIMES = (
    "quantile_cont(first_words_ms, 0.5) AS first_words_p50_ms, quantile_cont(first_words_ms, 0.9) AS first_words_p90_ms,"
    " quantile_cont(first_words_ms, 0.99) AS first_words_p99_ms, count(first_words_ms) AS first_words_n"
)


def with_parts(*parts: str) -> str:
    """Give the WITH clause of a question: the caller's sessions, and what else it needs."""
    return "WITH " + ",\n".join((MINE, *parts)) + "\n"


DASHBOARD: dict[str, str] = {
    "sessions": with_parts() + "SELECT period, count(*) AS sessions FROM mine GROUP BY period ORDER BY period",
    "talk": with_parts(SPOKEN)
    + """SELECT period, sum(words)::BIGINT AS words, sum(length_s) / 60 AS minutes,
        sum(user_talk_s) / 60 AS user_minutes,
        median(user_talk_s / nullif(talk_s, 0)) AS talk_ratio_p50,
        median(60.0 * user_words / nullif(user_talk_s, 0)) AS user_wpm_p50, count(*) AS n
        FROM spoken GROUP BY period ORDER BY period""",
    "questions": with_parts(QUESTIONED, ANSWERED)
    + """SELECT q.period, count(*) AS questions, count(*) FILTER (q.origin = 'heard') AS heard,
        count(a.question_id) AS answered
        FROM questioned q LEFT JOIN (SELECT DISTINCT session_id, question_id FROM answered WHERE outcome = 'answered') a
            USING (session_id, question_id) GROUP BY q.period ORDER BY q.period""",
    "latency": with_parts(ANSWERED)
    + f"SELECT period, {_TIMES} FROM answered WHERE outcome = 'answered' GROUP BY period ORDER BY period",
    "latency_total": with_parts(ANSWERED) + f"SELECT {_TIMES} FROM answered WHERE outcome = 'answered'",
    "answers_by": with_parts(ANSWERED)
    + """SELECT mode, model, count(*) AS answers, sum(prompt_tokens)::BIGINT AS prompt_tokens,
        sum(answer_tokens)::BIGINT AS answer_tokens FROM answered WHERE outcome = 'answered'
        GROUP BY ALL ORDER BY answers DESC, mode, model LIMIT 20""",
    "failures": with_parts(ANSWERED)
    + f"""SELECT reason, count(*) AS answers FROM answered WHERE outcome = 'failed' AND reason NOT IN {_NOT_FAULTS}
        GROUP BY reason ORDER BY answers DESC, reason LIMIT 20""",
    "nudges": with_parts()
    + """SELECT n.kind, count(*) AS nudges, count(DISTINCT n.session_id) AS sessions FROM facts.nudges n
        JOIN mine USING (session_id) WHERE n.run_id = 'live' GROUP BY n.kind ORDER BY nudges DESC, n.kind""",
    "topics": with_parts()
    + """SELECT n.text AS topic, count(DISTINCT n.session_id) AS sessions FROM facts.notes n JOIN mine USING (session_id)
        WHERE n.run_id = 'live' AND n.kind = 'topic' AND NOT n.dropped
        GROUP BY n.text ORDER BY sessions DESC, topic LIMIT 20""",
    "usage": with_parts(METERED)
    + """SELECT what, model, sum(amount) AS amount, count(*) AS n, count(*) FILTER (amount IS NULL) AS not_told,
        sum(amount * per_unit) AS cost, any_value(currency) AS currency, any_value(per_unit) IS NULL AS unpriced
        FROM metered GROUP BY what, model ORDER BY what, model LIMIT 50""",
    "cost": with_parts(METERED)
    + """SELECT period, sum(amount * per_unit) AS cost, any_value(currency) AS currency, count(*) AS n,
        count(*) FILTER (per_unit IS NULL OR amount IS NULL) AS without_cost
        FROM metered GROUP BY period ORDER BY period""",
    "feedback": with_parts(RATED)
    + """SELECT period, count(*) FILTER (verdict = 'useful') AS useful, count(*) FILTER (verdict = 'wrong') AS wrong,
        count(*) FILTER (comment_chars > 0) AS commented FROM rated GROUP BY period ORDER BY period""",
    "feedback_by": with_parts(RATED)
    + """SELECT a.mode, a.model, count(*) FILTER (r.verdict = 'useful') AS useful,
        count(*) FILTER (r.verdict = 'wrong') AS wrong
        FROM rated r JOIN facts.answers a ON a.run_id = 'live' AND a.session_id = r.session_id
            AND a.answer_id = r.answer_id GROUP BY a.mode, a.model ORDER BY count(*) DESC, a.mode, a.model LIMIT 20""",
}  # fmt: skip

PATTERNS: dict[str, str] = {
    "by_hour": with_parts()
    + "SELECT isodow(opened_at) AS weekday, hour(opened_at) AS hour, count(*) AS sessions FROM mine GROUP BY ALL"
    " ORDER BY ALL",
    "habit": with_parts()
    + """, days AS (SELECT DISTINCT opened_at::DATE AS day FROM mine WHERE opened_at >= $until - INTERVAL 28 DAY),
        gaps AS (SELECT day, date_diff('day', lag(day) OVER (ORDER BY day), day) AS gap FROM days)
        SELECT count(*) AS active_days, max(gap) AS longest_gap_days FROM gaps""",
    "question_kinds": with_parts(QUESTIONED, ANSWERED)
    + """SELECT q.kind, count(*) AS questions, count(a.question_id) AS answered FROM questioned q
        LEFT JOIN (SELECT DISTINCT session_id, question_id FROM answered WHERE outcome = 'answered') a
            USING (session_id, question_id) GROUP BY q.kind ORDER BY questions DESC, q.kind""",
    "talk_by_kind": with_parts(SPOKEN)
    + """SELECT m.kind, count(*) AS n, quantile_cont(user_talk_s / nullif(talk_s, 0), 0.25) AS talk_ratio_p25,
        median(user_talk_s / nullif(talk_s, 0)) AS talk_ratio_p50,
        quantile_cont(user_talk_s / nullif(talk_s, 0), 0.75) AS talk_ratio_p75,
        median(60.0 * user_words / nullif(user_talk_s, 0)) AS user_wpm_p50
        FROM spoken JOIN mine m USING (session_id) GROUP BY m.kind ORDER BY n DESC, m.kind LIMIT 20""",
    "long_turns": with_parts()
    + """SELECT count(*) AS turns, count(*) FILTER (u.end_s - u.start_s > 60) AS over_a_minute FROM facts.utterances u
        JOIN mine USING (session_id) WHERE u.run_id = 'live' AND u.is_user""",
}  # fmt: skip

SESSION: dict[str, str] = {
    "summary": "SELECT * FROM session_summary WHERE run_id = 'live' AND session_id = $session",
    "speakers": """SELECT speaker_id, any_value(speaker_name) AS name, any_value(role) AS role, bool_or(is_user) AS is_user,
        count(*) AS utterances, sum(words)::BIGINT AS words, sum(end_s - start_s) AS talk_s,
        max(end_s - start_s) AS longest_s FROM facts.utterances
        WHERE run_id = 'live' AND session_id = $session GROUP BY speaker_id ORDER BY talk_s DESC, speaker_id LIMIT 200""",
    "minutes": """SELECT floor(start_s / 60)::BIGINT AS minute, sum(words) FILTER (is_user)::BIGINT AS user_words,
        sum(words) FILTER (NOT is_user)::BIGINT AS other_words FROM facts.utterances
        WHERE run_id = 'live' AND session_id = $session GROUP BY minute ORDER BY minute LIMIT 1500""",
    "questions": """SELECT q.question_id, q.question_revision, q.kind, q.origin, q.start_s, q.withdrawn, a.outcome, a.mode,
        a.model, a.reason, a.first_words_ms, a.whole_ms, a.prompt_tokens, a.answer_tokens, a.citations, f.verdict
        FROM questions q LEFT JOIN answers a USING (run_id, session_id, question_id, question_revision)
        LEFT JOIN facts.feedback f USING (run_id, session_id, answer_id)
        WHERE q.run_id = 'live' AND q.session_id = $session
        ORDER BY q.noticed_at, q.question_id LIMIT $limit OFFSET $offset""",
    "events": """SELECT type, participant_id, at_s, name FROM meeting_events
        WHERE run_id = 'live' AND session_id = $session ORDER BY made_at, meeting_event_id LIMIT 200""",
}  # fmt: skip

SESSIONS = (
    with_parts()
    + """, page AS (SELECT session_id FROM mine ORDER BY opened_at DESC, session_id LIMIT $limit OFFSET $offset),
    said AS (SELECT session_id, count(*) AS utterances, sum(words)::BIGINT AS words, max(end_s) AS length_s,
            sum(words) FILTER (is_user) AS user_words, sum(end_s - start_s) FILTER (is_user) AS user_talk_s,
            sum(end_s - start_s) AS talk_s
        FROM facts.utterances WHERE run_id = 'live' AND session_id IN (FROM page) GROUP BY session_id),
    asked AS (SELECT session_id, count(DISTINCT question_id) AS questions FROM facts.questions
        WHERE run_id = 'live' AND session_id IN (FROM page) GROUP BY session_id),
    told AS (SELECT a.session_id, count(*) FILTER (a.outcome = 'answered') AS answered,
            median(epoch_us(t.first_delta_at - q.made_at) / 1000.0) FILTER (a.outcome = 'answered') AS first_words_p50_ms
        FROM facts.answers a
        LEFT JOIN (FROM facts.answer_texts WHERE run_id = 'live' AND session_id IN (FROM page)) t
            USING (session_id, answer_id)
        LEFT JOIN (FROM facts.questions WHERE run_id = 'live' AND session_id IN (FROM page)) q
            USING (session_id, question_id, question_revision)
        WHERE a.run_id = 'live' AND a.session_id IN (FROM page) GROUP BY a.session_id)
    SELECT s.session_id, s.owner_id, s.kind, s.title, s.opened_at, s.closed_at, said.length_s,
        coalesce(said.utterances, 0) AS utterances, coalesce(said.words, 0) AS words,
        said.user_talk_s / nullif(said.talk_s, 0) AS talk_ratio,
        60.0 * said.user_words / nullif(said.user_talk_s, 0) AS user_wpm, coalesce(asked.questions, 0) AS questions,
        coalesce(told.answered, 0) AS answered, told.first_words_p50_ms
    FROM facts.sessions s LEFT JOIN said USING (session_id) LEFT JOIN asked USING (session_id)
    LEFT JOIN told USING (session_id) WHERE s.run_id = 'live' AND s.session_id IN (FROM page)
    ORDER BY s.opened_at DESC, s.session_id"""
)
"""The caller's sessions with their sums, newest first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose sessions, from when to when (UTC), of which kind ("" = any), grouped by day, week or month."""

    owner: str
    since: datetime
    until: datetime
    period: str = "day"
    kind: str = ""

    def arguments(self) -> dict[str, Any]:
        """Give what the questions call them."""
        return {
            "owner": self.owner,
            "since": self.since,
            "until": self.until,
            "period": self.period,
            "kind": self.kind,
        }


def table_of(store: AnalyticsStore, sql: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the rows of a question as JSON can hold them; it gets those of the arguments that it names.

    Raises:
        LogUnavailable: The store cannot be read.
        Stopped: It took too long.
    """
    used = {name: value for name, value in arguments.items() if f"${name}" in sql}
    found = store.tell(sql, used)
    return [dict(zip(found.columns, (plain(value) for value in row), strict=True)) for row in found.rows]
