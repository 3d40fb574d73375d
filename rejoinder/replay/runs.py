"""Runs: each replay or shadow keeps its records in a log of its own, beside what clients saw."""

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from eventlog.sqlite import SqliteLog
from schemas.errors import LogUnavailable

__all__ = ["Run", "Runs", "new_name"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,60}")


class Run(BaseModel):
    """One run: where it came from, with which settings, and what came of it.

    Attributes:
        kind: "replay" of stored sessions, "shadow" beside live ones, or "import" of a bundle.
        stage: The first flow that was run again.
        changed: The settings that differ from the installation's, secrets left out.
        models: What wrote answers and computed vectors.
        sessions: The sessions in it; for a shadow those answered so far.
        records: Records the flows made.
        seconds: How long it took.
    """

    run_id: str
    kind: Literal["replay", "shadow", "import"]
    created_at: AwareDatetime
    source: str
    stage: str = ""
    chosen: str = ""
    changed: dict[str, str] = Field(default_factory=dict)
    models: dict[str, str] = Field(default_factory=dict)
    sessions: list[str] = Field(default_factory=list)
    records: int = 0
    seconds: float = 0.0
    state: Literal["running", "done", "failed"] = "running"
    detail: Annotated[str, Field(max_length=500)] = ""


class Runs:
    """The runs under a data folder."""

    def __init__(self, data_dir: Path) -> None:
        """Look at ``<data_dir>/runs``."""
        self._folder = data_dir / "runs"

    def begin(self, run: Run) -> Path:
        """Make the folder of a new run.

        Raises:
            LogUnavailable: The name is taken or not usable, or the folder cannot be written.
        """
        if not _NAME.fullmatch(run.run_id) or run.run_id == "live":
            raise LogUnavailable(f"{run.run_id!r} is no name for a run: a-z, 0-9, dot, dash; not `live`")
        where = self._folder / run.run_id
        try:
            where.mkdir(parents=True)
        except FileExistsError:
            raise LogUnavailable(f"there is a run {run.run_id!r} already; see: rejoinder runs") from None
        except OSError as error:
            raise LogUnavailable(f"{where} cannot be made: {error.strerror}") from error
        self.keep(run)
        return where

    def keep(self, run: Run) -> None:
        """Store what is known of a run."""
        file = self._folder / run.run_id / "run.json"
        fresh = file.with_suffix(".new")
        fresh.write_text(run.model_dump_json(indent=1) + "\n")
        fresh.replace(file)

    def everything(self) -> list[Run]:
        """Give all runs, newest first; a folder that holds none is passed over."""
        found = []
        for file in self._folder.glob("*/run.json"):
            try:
                found.append(Run.model_validate_json(file.read_text()))
            except (ValidationError, OSError):
                continue
        return sorted(found, key=lambda run: run.created_at, reverse=True)

    def get(self, run_id: str) -> Run:
        """Give a run.

        Raises:
            LogUnavailable: There is none of this name.
        """
        for run in self.everything():
            if run.run_id == run_id:
                return run
        raise LogUnavailable(f"no run {run_id!r}; see: rejoinder runs")

    def folder(self, run_id: str) -> Path:
        """Give the folder of a run."""
        return self._folder / run_id

    def log(self, run_id: str) -> SqliteLog:
        """Open the log of a run."""
        return SqliteLog(self._folder / run_id / "log.sqlite3")


def new_name(kind: str) -> str:
    """Give a name for a run that says when it was made."""
    return f"{kind}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
