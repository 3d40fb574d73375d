"""The shape of the DuckDB file, as numbered scripts: each runs once, in order, alone in a transaction.

A script is never changed after it was released; a new shape is a new script at the end. `tables.TABLES` says what the
newest shape is, and a test compares the two.
"""

__all__ = ["SCRIPTS"]

_ROW = "row_id UHUGEINT PRIMARY KEY, run_id VARCHAR, session_id VARCHAR"
_ORDER = "revision BIGINT, made_at TIMESTAMP, event_id VARCHAR"

_FIRST = f"""
CREATE SCHEMA facts;
CREATE TABLE facts.sessions({_ROW}, owner_id VARCHAR, kind VARCHAR, title VARCHAR, language VARCHAR, hidden BOOLEAN,
    collections BIGINT, opened_at TIMESTAMP, closed_at TIMESTAMP, close_reason VARCHAR);
CREATE TABLE facts.participants({_ROW}, participant_id VARCHAR, {_ORDER}, name VARCHAR, role VARCHAR, is_user BOOLEAN);
CREATE TABLE facts.captions({_ROW}, caption_id VARCHAR, {_ORDER}, speaker VARCHAR, track VARCHAR, start_s DOUBLE,
    end_s DOUBLE, words BIGINT, chars BIGINT, final BOOLEAN, language VARCHAR);
CREATE TABLE facts.audio_gaps({_ROW}, gap_id VARCHAR, {_ORDER}, track VARCHAR, start_s DOUBLE, end_s DOUBLE);
CREATE TABLE facts.caption_lag({_ROW}, track VARCHAR, minute TIMESTAMP, behind_s DOUBLE);
CREATE TABLE facts.speaker_turns({_ROW}, turn_id VARCHAR, {_ORDER}, speaker VARCHAR, track VARCHAR, start_s DOUBLE,
    end_s DOUBLE, frozen BOOLEAN);
CREATE TABLE facts.utterances({_ROW}, utterance_id VARCHAR, {_ORDER}, speaker_id VARCHAR, speaker_name VARCHAR,
    role VARCHAR, is_user BOOLEAN, start_s DOUBLE, end_s DOUBLE, words BIGINT, chars BIGINT, captions BIGINT,
    text VARCHAR);
CREATE TABLE facts.questions({_ROW}, question_id VARCHAR, question_revision BIGINT, {_ORDER}, kind VARCHAR,
    origin VARCHAR, speaker_id VARCHAR, start_s DOUBLE, end_s DOUBLE, confidence DOUBLE, words BIGINT, captions BIGINT,
    text VARCHAR);
CREATE TABLE facts.withdrawals({_ROW}, question_id VARCHAR, {_ORDER}, reason VARCHAR);
CREATE TABLE facts.answers({_ROW}, answer_id VARCHAR, {_ORDER}, question_id VARCHAR, question_revision BIGINT,
    outcome VARCHAR, mode VARCHAR, model VARCHAR, finish VARCHAR, reason VARCHAR, first_delta_ms DOUBLE,
    total_ms DOUBLE, prompt_tokens BIGINT, answer_tokens BIGINT, citations BIGINT, passages BIGINT, chars BIGINT,
    prompt_version VARCHAR, model_hash VARCHAR);
CREATE TABLE facts.answer_texts({_ROW}, answer_id VARCHAR, first_delta_at TIMESTAMP, last_delta_at TIMESTAMP,
    deltas BIGINT, attempts BIGINT);
CREATE TABLE facts.notes({_ROW}, note_id VARCHAR, {_ORDER}, kind VARCHAR, utterances BIGINT, dropped BOOLEAN,
    text VARCHAR);
CREATE TABLE facts.meeting_events({_ROW}, meeting_event_id VARCHAR, {_ORDER}, type VARCHAR, participant_id VARCHAR,
    at_s DOUBLE, name VARCHAR, active BOOLEAN);
CREATE TABLE facts.usage({_ROW}, usage_id VARCHAR, {_ORDER}, what VARCHAR, amount DOUBLE, model VARCHAR,
    cause_id VARCHAR);
CREATE TABLE facts.dead_letters({_ROW}, dead_letter_id VARCHAR, {_ORDER}, topic VARCHAR, log_offset BIGINT,
    flow VARCHAR, reason VARCHAR);
CREATE TABLE facts.flow_lag(row_id UHUGEINT PRIMARY KEY, run_id VARCHAR, flow VARCHAR, member BIGINT,
    minute TIMESTAMP, behind_s DOUBLE, behind_records BIGINT, members BIGINT);
CREATE TABLE keeping.store(store_id VARCHAR, made_at TIMESTAMP);
CREATE TABLE keeping.reached(run_id VARCHAR, place VARCHAR, log_offset BIGINT, PRIMARY KEY (run_id, place));
CREATE TABLE keeping.erased(session_id VARCHAR PRIMARY KEY);
"""

_FEEDBACK_AND_PRICES = f"""
CREATE TABLE facts.feedback({_ROW}, answer_id VARCHAR, {_ORDER}, verdict VARCHAR, comment_chars BIGINT,
    comment VARCHAR);
ALTER TABLE facts.captions ADD COLUMN heard BOOLEAN;
CREATE TABLE keeping.prices(what VARCHAR, model VARCHAR, per_unit DOUBLE, currency VARCHAR, PRIMARY KEY (what, model));
"""

_BEFORE = (
    "sessions", "participants", "captions", "audio_gaps", "caption_lag", "speaker_turns", "utterances", "questions",
    "withdrawals", "answers", "answer_texts", "notes", "meeting_events", "usage", "feedback", "dead_letters",
    "flow_lag",
)  # fmt: skip
_WITHOUT_RUNS = "".join(f"DELETE FROM facts.{table} WHERE run_id <> 'live';\n" for table in _BEFORE)  # noqa: S608
_NUDGES_AND_CONSENTS = f"""
CREATE TABLE facts.nudges({_ROW}, nudge_id VARCHAR, {_ORDER}, kind VARCHAR, measured DOUBLE, utterances BIGINT,
    at_s DOUBLE);
CREATE TABLE facts.consents({_ROW}, consent_id VARCHAR, purpose VARCHAR, {_ORDER}, participant_id VARCHAR,
    given BOOLEAN, method VARCHAR);
DELETE FROM keeping.reached WHERE run_id <> 'live' OR place LIKE 'meeting/%';
{_WITHOUT_RUNS}"""  # noqa: S608 - our own tables
"""Consents lie on a topic that was read before without them: it is read once more, and every run is loaded anew."""

SCRIPTS: tuple[str, ...] = (_FIRST, _FEEDBACK_AND_PRICES, _NUDGES_AND_CONSENTS)
