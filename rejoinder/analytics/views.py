"""The stable face of the analytics: views with a description for every column.

The tables behind them (schema `facts`) may change with any version; a view keeps its columns and their meaning. The
descriptions are kept in the file as comments as well, so that `duckdb_views()` and `duckdb_columns()` show them.
"""

from dataclasses import dataclass

from rejoinder.analytics.view_texts import DESCRIBED

__all__ = ["VIEWS", "View", "views_script"]


@dataclass(frozen=True, slots=True)
class View:
    """One view: what a row is, what makes it, and what each column means."""

    name: str
    note: str
    sql: str
    columns: dict[str, str]


METERED = """
    SELECT run_id, session_id, answer_id || '/prompt' AS usage_id, made_at, 'prompt_tokens' AS what,
        prompt_tokens::DOUBLE AS amount, model, answer_id AS cause_id
    FROM facts.answers WHERE outcome = 'answered' AND mode = 'model'
    UNION ALL SELECT run_id, session_id, answer_id || '/answer', made_at, 'answer_tokens', answer_tokens::DOUBLE, model,
        answer_id
    FROM facts.answers WHERE outcome = 'answered' AND mode = 'model'
    UNION ALL SELECT run_id, session_id, caption_id || '/sound', made_at, 'audio_seconds', end_s - start_s, '',
        caption_id
    FROM facts.captions WHERE heard AND final
    UNION ALL SELECT run_id, session_id, usage_id, made_at, what, amount, model, cause_id
    FROM facts.usage WHERE what NOT IN ('prompt_tokens', 'answer_tokens', 'audio_seconds')"""
"""What is paid for, read off the records themselves; an amount is null where the model's server did not tell it."""

_SQL: dict[str, str] = {
    "sessions": """
        SELECT s.run_id, s.session_id, s.owner_id, s.kind, s.title, s.language, s.hidden, s.opened_at, s.closed_at,
            s.close_reason, s.collections
        FROM facts.sessions s WHERE s.opened_at IS NOT NULL""",
    "participants": """
        SELECT p.run_id, p.session_id, p.participant_id, p.name, p.role, p.is_user, l.left_at
        FROM facts.participants p LEFT JOIN (
            SELECT run_id, session_id, participant_id, max(made_at) AS left_at FROM facts.meeting_events
            WHERE type = 'left' GROUP BY ALL) l USING (run_id, session_id, participant_id)""",
    "captions": """
        SELECT run_id, session_id, caption_id, made_at, speaker, track, start_s, end_s, words, chars, final, language
        FROM facts.captions""",
    "audio_gaps": """
        SELECT run_id, session_id, gap_id, made_at, track, start_s, end_s FROM facts.audio_gaps""",
    "caption_lag": """
        SELECT run_id, session_id, track, minute, behind_s FROM facts.caption_lag""",
    "speaker_turns": """
        SELECT run_id, session_id, turn_id, made_at, speaker, track, start_s, end_s, frozen FROM facts.speaker_turns""",
    "utterances": """
        SELECT run_id, session_id, utterance_id, revision, made_at, speaker_id, speaker_name, role, is_user, start_s,
            end_s, words, chars, captions, text
        FROM facts.utterances""",
    "questions": """
        SELECT q.run_id, q.session_id, q.question_id, q.question_revision, r.noticed_at, q.made_at AS settled_at,
            q.kind, q.origin, q.speaker_id, q.start_s, q.end_s, q.confidence, q.words, q.captions, q.text,
            coalesce(w.revision >= q.question_revision, false) AS withdrawn,
            CASE WHEN w.revision >= q.question_revision THEN w.reason END AS withdrawn_reason
        FROM facts.questions q
        JOIN (SELECT run_id, session_id, question_id, max(question_revision) AS question_revision,
                min(made_at) AS noticed_at FROM facts.questions GROUP BY ALL) r
            USING (run_id, session_id, question_id, question_revision)
        LEFT JOIN facts.withdrawals w USING (run_id, session_id, question_id)""",
    "answers": """
        SELECT a.run_id, a.session_id, a.answer_id, a.question_id, a.question_revision, a.outcome, a.mode, a.model,
            a.finish, a.reason, q.made_at AS asked_at, t.first_delta_at, a.made_at AS closed_at,
            epoch_us(t.first_delta_at - q.made_at) / 1000.0 AS first_words_ms,
            epoch_us(a.made_at - q.made_at) / 1000.0 AS whole_ms,
            a.first_delta_ms AS step_first_ms, a.total_ms AS step_whole_ms, a.prompt_tokens, a.answer_tokens,
            a.citations, a.passages, a.chars, t.deltas, t.attempts, a.prompt_version, a.model_hash
        FROM facts.answers a
        LEFT JOIN facts.answer_texts t USING (run_id, session_id, answer_id)
        LEFT JOIN facts.questions q USING (run_id, session_id, question_id, question_revision)""",
    "notes": """
        SELECT run_id, session_id, note_id, made_at, kind, utterances, text FROM facts.notes WHERE NOT dropped""",
    "meeting_events": """
        SELECT run_id, session_id, meeting_event_id, made_at, type, participant_id, at_s, name, active
        FROM facts.meeting_events""",
    "consents": """
        SELECT run_id, session_id, consent_id, purpose, made_at AS recorded_at, participant_id, given, method
        FROM facts.consents""",
    "nudges": """
        SELECT run_id, session_id, nudge_id, made_at, kind, measured, utterances, at_s FROM facts.nudges""",
    "usage": f"""
        SELECT u.run_id, u.session_id, u.usage_id, u.made_at, u.what, u.amount, u.model, u.cause_id,
            u.amount * p.per_unit AS cost, p.currency
        FROM ({METERED}) u LEFT JOIN keeping.prices p USING (what, model)""",  # noqa: S608 - our tables
    "feedback": """
        SELECT f.run_id, f.session_id, f.answer_id, a.question_id, f.made_at AS rated_at, f.verdict, f.comment_chars,
            f.comment, a.mode, a.model
        FROM facts.feedback f LEFT JOIN facts.answers a USING (run_id, session_id, answer_id)""",
    "flow_lag": """
        SELECT run_id, flow, member, minute, behind_s, behind_records, members FROM facts.flow_lag""",
    "dead_letters": """
        SELECT run_id, session_id, dead_letter_id, made_at, topic, log_offset, flow, reason FROM facts.dead_letters""",
    "session_summary": """
        SELECT s.run_id, s.session_id, s.owner_id, s.kind, s.title, s.opened_at, s.closed_at, u.length_s,
            coalesce(u.utterances, 0) AS utterances, coalesce(u.words, 0) AS words, u.user_words, u.user_talk_s,
            u.talk_s, u.user_talk_s / nullif(u.talk_s, 0) AS talk_ratio,
            60.0 * u.user_words / nullif(u.user_talk_s, 0) AS user_wpm,
            coalesce(q.questions, 0) AS questions, coalesce(a.answered, 0) AS answered,
            coalesce(a.failed, 0) AS failed, a.first_words_p50_ms, a.tokens
        FROM facts.sessions s
        LEFT JOIN (
            SELECT run_id, session_id, count(*) AS utterances, sum(words)::BIGINT AS words, max(end_s) AS length_s,
                sum(words) FILTER (is_user)::BIGINT AS user_words, sum(end_s - start_s) FILTER (is_user) AS user_talk_s,
                sum(end_s - start_s) AS talk_s
            FROM facts.utterances GROUP BY ALL) u USING (run_id, session_id)
        LEFT JOIN (
            SELECT run_id, session_id, count(DISTINCT question_id) AS questions FROM facts.questions GROUP BY ALL) q
            USING (run_id, session_id)
        LEFT JOIN (
            SELECT a.run_id, a.session_id, count(*) FILTER (a.outcome = 'answered') AS answered,
                count(*) FILTER (a.outcome = 'failed' AND a.reason NOT IN ('superseded', 'cancelled')) AS failed,
                median(a.first_words_ms) AS first_words_p50_ms, sum(a.prompt_tokens + a.answer_tokens)::BIGINT AS tokens
            FROM answers a GROUP BY ALL) a USING (run_id, session_id)
        WHERE s.opened_at IS NOT NULL""",
}

VIEWS: dict[str, View] = {name: View(name, DESCRIBED[name][0], sql, DESCRIBED[name][1]) for name, sql in _SQL.items()}


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def views_script() -> str:
    """Give the statements that make every view with its comments."""
    lines = []
    for view in VIEWS.values():
        lines.append(f"CREATE OR REPLACE VIEW {view.name} AS {view.sql.strip()}")
        lines.append(f"COMMENT ON VIEW {view.name} IS {_quoted(view.note)}")
        lines += [f"COMMENT ON COLUMN {view.name}.{name} IS {_quoted(what)}" for name, what in view.columns.items()]
    return ";\n".join(lines) + ";\n"
