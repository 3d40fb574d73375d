"""Writes views as Parquet files."""

import shutil
import uuid
from pathlib import Path

from rejoinder.analytics.store import AnalyticsStore
from rejoinder.analytics.views import VIEWS
from schemas.errors import LogUnavailable

__all__ = ["export_views", "view_file"]


def view_file(store: AnalyticsStore, view: str, where: str = "") -> Path:
    """Write one view to a Parquet file in the store's own folder and give it; the caller removes it.

    Raises:
        LogUnavailable: It cannot be written.
        ValueError: No such view.
    """
    if view not in VIEWS:
        raise ValueError(f"no view {view!r}; there are {', '.join(VIEWS)}")
    file = store.exports / f"{uuid.uuid4().hex}.parquet"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogUnavailable(f"{file.parent} cannot be made: {error.strerror}") from error
    path = str(file).replace("'", "''")
    store.copy_out(f"COPY (SELECT * FROM {view}{where}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")  # noqa: S608
    return file


def export_views(store: AnalyticsStore, folder: Path) -> dict[str, int]:
    """Write every view to ``folder/NAME.parquet``; gives the bytes of each.

    Raises:
        LogUnavailable: The folder or the files cannot be written.
    """
    sizes = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for view in VIEWS:
            file = view_file(store, view)
            sizes[view] = file.stat().st_size
            # Whole or not at all: it may lie on another disk than the store.
            fresh = folder / f".{view}.parquet.new"
            shutil.move(file, fresh)
            fresh.replace(folder / f"{view}.parquet")
    except OSError as error:
        raise LogUnavailable(f"{folder} cannot be written: {error.strerror}") from error
    return sizes
