"""The tables of the star schema: their columns, and how two rows of one thing become one.

Rows of a thing are merged so that neither order nor repeats matter: the same records give the same tables however
often and in whatever order they are loaded. A table either keeps the *last* row of a thing (highest revision, then
time, then event id), or *gathers*: each column keeps its least or greatest value.
"""

from dataclasses import dataclass
from functools import cached_property

__all__ = ["TABLES", "Column", "Table", "merge_sql"]

SQL_TYPES = {"text": "VARCHAR", "int": "BIGINT", "float": "DOUBLE", "bool": "BOOLEAN", "time": "TIMESTAMP"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `keeps` says what a gathering table does with two values: "max" or "min"."""

    name: str
    kind: str = "text"
    keeps: str = "max"


@dataclass(frozen=True)
class Table:
    """One table; each row also has `row_id`, the hash of its key.

    Attributes:
        name: Its name in the schema `facts`.
        key: The columns that say what a row is about; the run comes first.
        columns: The others.
        gathers: Whether columns are merged one by one; else the last row counts, as `revision`, `made_at` and
            `event_id` say.
    """

    name: str
    key: tuple[Column, ...]
    columns: tuple[Column, ...]
    gathers: bool = False

    @cached_property
    def all(self) -> tuple[Column, ...]:
        """Give every column but `row_id`, in the order of the rows that are staged."""
        return self.key + self.columns


def _columns(text: str) -> tuple[Column, ...]:
    """Read ``name``, ``name:kind`` or ``name:kind:min``, separated by blanks."""
    return tuple(Column(*part.split(":")) for part in text.split())


def _last(name: str, key: str, columns: str) -> Table:
    shared = _columns("revision:int made_at:time event_id")
    return Table(name, _columns("run_id session_id " + key), shared + _columns(columns))


def _gathered(name: str, key: str, columns: str) -> Table:
    return Table(name, _columns("run_id " + key), _columns(columns), gathers=True)


TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        _gathered(
            "sessions",
            "session_id",
            "owner_id kind title language hidden:bool collections:int opened_at:time:min closed_at:time close_reason",
        ),
        _last("participants", "participant_id", "name role is_user:bool"),
        _last(
            "captions",
            "caption_id",
            "speaker track start_s:float end_s:float words:int chars:int final:bool language heard:bool",
        ),
        _last("audio_gaps", "gap_id", "track start_s:float end_s:float"),
        _gathered("caption_lag", "session_id track minute:time", "behind_s:float"),
        _last("speaker_turns", "turn_id", "speaker track start_s:float end_s:float frozen:bool"),
        _last(
            "utterances",
            "utterance_id",
            "speaker_id speaker_name role is_user:bool start_s:float end_s:float words:int chars:int captions:int text",
        ),
        _last(
            "questions",
            "question_id question_revision:int",
            "kind origin speaker_id start_s:float end_s:float confidence:float words:int captions:int text",
        ),
        _last("withdrawals", "question_id", "reason"),
        _last(
            "answers",
            "answer_id",
            "question_id question_revision:int outcome mode model finish reason first_delta_ms:float total_ms:float "
            "prompt_tokens:int answer_tokens:int citations:int passages:int chars:int prompt_version model_hash",
        ),
        _gathered(
            "answer_texts",
            "session_id answer_id",
            "first_delta_at:time:min last_delta_at:time deltas:int attempts:int",
        ),
        _last("notes", "note_id", "kind utterances:int dropped:bool text"),
        _last("meeting_events", "meeting_event_id", "type participant_id at_s:float name active:bool"),
        _last("consents", "consent_id purpose", "participant_id given:bool method"),
        _last("nudges", "nudge_id", "kind measured:float utterances:int at_s:float"),
        _last("usage", "usage_id", "what amount:float model cause_id"),
        _last("feedback", "answer_id", "verdict comment_chars:int comment"),
        _last("dead_letters", "dead_letter_id", "topic log_offset:int flow reason"),
        _gathered("flow_lag", "flow member:int minute:time", "behind_s:float behind_records:int members:int"),
    )
}


def _staged(column: Column) -> str:
    """Give the expression that reads a staged column: all but text comes as doubles, NaN for nothing."""
    name, kind = column.name, column.kind
    if kind == "text":
        return name
    value = f"make_timestamp(CAST({name} AS BIGINT))" if kind == "time" else f"CAST({name} AS {SQL_TYPES[kind]})"
    return f"CASE WHEN isnan({name}) THEN NULL ELSE {value} END AS {name}"


def _key_text(column: Column) -> str:
    return column.name if column.kind == "text" else f"CAST({column.name} AS VARCHAR)"


def merge_sql(table: Table) -> str:
    """Give the statement that merges the rows staged as `staged` into a table."""
    key = ", ".join(_key_text(column) for column in table.key)
    typed = ", ".join(_staged(column) for column in table.all)
    rows = f"SELECT md5_number(concat_ws(chr(31), {key})) AS row_id, * FROM (SELECT {typed} FROM staged)"  # noqa: S608
    order = "revision, made_at, event_id"
    if table.gathers:
        kept = ", ".join(f"{column.keeps}({column.name}) AS {column.name}" for column in table.columns)
        keys = ", ".join(f"any_value({column.name}) AS {column.name}" for column in table.key)
        rows = f"SELECT row_id, {keys}, {kept} FROM ({rows}) GROUP BY row_id"  # noqa: S608
        pick = {"max": "greatest", "min": "least"}
        sets = ", ".join(
            f"{one.name} = {pick[one.keeps]}({table.name}.{one.name}, excluded.{one.name})" for one in table.columns
        )
        where = ""
    else:
        down = order.replace(",", " DESC,") + " DESC"
        rows += f" QUALIFY row_number() OVER (PARTITION BY row_id ORDER BY {down}) = 1"
        sets = ", ".join(f"{one.name} = excluded.{one.name}" for one in table.columns)
        own = ", ".join(f"{table.name}.{name}" for name in order.split(", "))
        new = ", ".join(f"excluded.{name}" for name in order.split(", "))
        where = f" WHERE ({new}) > ({own})"
    return f"INSERT INTO facts.{table.name} BY NAME {rows} ON CONFLICT (row_id) DO UPDATE SET {sets}{where}"
