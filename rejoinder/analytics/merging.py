"""What a load does inside its transaction: merge rows, remove those of erased sessions."""

from collections.abc import Sequence
from typing import Any

from rejoinder.analytics.tables import TABLES, Table, merge_sql

__all__ = ["erase_rows", "merge_rows"]

MOST_INT = 2**53
"""A record may hold whole numbers of any length; what is past this is no count of anything."""


def merge_rows(connection: Any, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Merge rows (in the order of `Table.all`) into a table."""
    import numpy as np

    staged: dict[str, Any] = {}
    for column, values in zip(table.all, zip(*rows, strict=True), strict=True):
        if column.kind == "text":
            staged[column.name] = np.array(values, dtype=object)
            continue
        try:
            found = np.array(values, dtype=np.float64)
        except OverflowError:
            found = np.array([_bounded(value) for value in values], dtype=np.float64)
        staged[column.name] = np.clip(found, -MOST_INT, MOST_INT) if column.kind == "int" else found
    connection.register("staged", staged)
    try:
        connection.execute(merge_sql(table))
    finally:
        connection.unregister("staged")


def erase_rows(connection: Any, session_ids: Sequence[str]) -> None:
    """Remove the rows of sessions, inside a transaction."""
    for table in TABLES.values():
        if any(column.name == "session_id" for column in table.key):
            connection.execute(
                f"DELETE FROM facts.{table.name} WHERE session_id IN (SELECT unnest(?))",  # noqa: S608
                [list(session_ids)],
            )
    connection.executemany(
        "INSERT INTO keeping.erased VALUES (?) ON CONFLICT DO NOTHING", [[one] for one in session_ids]
    )


def _bounded(value: Any) -> Any:
    return min(max(value, -MOST_INT), MOST_INT) if isinstance(value, int) else value
