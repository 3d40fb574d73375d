"""Replays sessions from a stage on, with other settings, into a run of their own."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from eventlog.base import EventLog, NewRecord
from eventlog.branch import BranchLog
from eventlog.sqlite import SqliteLog
from flows.answers import AnswersOptions
from flows.once import run_once
from flows.run import FlowOptions, FlowRunner
from flows.wiring import FLOWS
from rejoinder.knowledge.parsing import DocumentRefused, parse_upload
from rejoinder.knowledge.store import KnowledgeStore
from rejoinder.models import Models
from rejoinder.replay.inputs import Range, inputs_of, rerun_flows, sessions_in
from rejoinder.replay.runs import Run, Runs
from rejoinder.replay.variant import Variant
from schemas.codec import decode
from schemas.errors import EngineError, LogUnavailable, SchemaError
from schemas.meeting import MeetingOpened

__all__ = ["Replay", "remove", "replay", "sessions_answered", "shadow"]

SETTLE_S = 1.0
LONGEST_WAIT_S = 120.0
DOCUMENTS = (".txt", ".md", ".pdf", ".docx")


@dataclass(frozen=True, slots=True)
class Replay:
    """What to run.

    Attributes:
        stage: The first flow to run again; those after it follow.
        chosen: Which sessions.
        variant: With which settings.
        run_id: Name of the run.
        real_time: Feed the records at the pace they were made, instead of as fast as it goes.
        knowledge: A folder of documents to search instead of the installation's.
        at_once: Questions answered together.
    """

    stage: str
    chosen: Range
    variant: Variant
    run_id: str
    real_time: bool = False
    knowledge: Path | None = None
    at_once: int = 4


def replay(log: EventLog, runs: Runs, wanted: Replay, say: Callable[[str], None]) -> Run:
    """Run sessions again; what clients saw is not touched.

    Args:
        log: Where the sessions lie; only read.
        runs: Where the run is kept.
        wanted: What to run.
        say: Told of progress.

    Raises:
        EngineError: Nothing in the range, a trimmed range, a missing model, a failing flow.
        ValueError: No such stage.
    """
    if wanted.stage not in FLOWS:
        raise ValueError(f"no stage {wanted.stage!r}; there are {', '.join(FLOWS)}")
    sessions = sessions_in(log, wanted.chosen)
    if not sessions:
        raise LogUnavailable("no session lies in this range")
    run = Run(
        run_id=wanted.run_id,
        kind="replay",
        created_at=datetime.now(UTC),
        source=wanted.variant.settings.log_url,
        stage=wanted.stage,
        chosen=_told(wanted.chosen),
        changed=wanted.variant.changed,
        sessions=sessions,
    )
    folder = runs.begin(run)
    began = time.monotonic()
    inputs = [inputs_of(log, session, wanted.stage, wanted.chosen.until_s) for session in sessions]
    count = sum(map(len, inputs))
    say(f"{len(sessions)} sessions, {count} records from stage {wanted.stage}")
    try:
        run = _run(runs.log(wanted.run_id), folder, wanted, run, inputs)
    except EngineError as error:
        runs.keep(run.model_copy(update={"state": "failed", "detail": str(error)[:500]}))
        raise
    run = run.model_copy(update={"state": "done", "seconds": round(time.monotonic() - began, 2)})
    runs.keep(run)
    return run


def _run(own: SqliteLog, folder: Path, wanted: Replay, run: Run, inputs: Sequence[list[NewRecord]]) -> Run:
    rerun = rerun_flows(wanted.stage)
    models = _models(wanted, folder, inputs) if "answers" in rerun else None
    answering = models.answering if models is not None else None
    named = {"answers": models.answers, "text vectors": models.embedder.name} if models is not None else {}
    try:
        if wanted.real_time:
            options = FlowOptions(
                folder / "recovery", operators=wanted.variant.operators, names=rerun, answers_at_once=wanted.at_once
            )
            assert answering is not None  # noqa: S101 - every stage leads to answers
            _feed(own, FlowRunner(own, answering, options), inputs)
        else:
            for records in inputs:
                own.append(records)
            for name in rerun:
                run_once(own, name, wanted.variant.operators, answering if name == "answers" else None, wanted.at_once)
        copied = sum(map(len, inputs))
        return run.model_copy(update={"models": named, "records": _count(own) - copied})
    finally:
        if models is not None:
            models.close()
        own.close()


def _count(log: SqliteLog) -> int:
    """Give how many records lie in a log of one file."""
    total = 0
    for topic in ("captions", "speaker-turns", "utterances", "meeting", "questions", "memory", "answers"):
        start, end = 0, log.end(topic)
        while start < end and (found := log.read(topic, 0, start, 1_000)):
            total += len(found)
            start = found[-1].offset + 1
    return total


def _feed(own: SqliteLog, runner: FlowRunner, inputs: Sequence[list[NewRecord]]) -> None:
    """Append records at the pace they were made, moved to now, while the flows run; then wait for the last answers."""
    records = sorted((record for one in inputs for record in one), key=lambda record: record.at_s)
    runner.start()
    try:
        shift = time.time() - records[0].at_s
        for record in records:
            time.sleep(max(0.0, record.at_s + shift - time.time()))
            own.append([replace(record, at_s=record.at_s + shift)])
        end, quiet_since, last = time.monotonic() + LONGEST_WAIT_S, time.monotonic(), own.end("answers")
        while time.monotonic() < end and time.monotonic() - quiet_since < SETTLE_S * 4:
            time.sleep(0.05)
            if any(flow.behind_records for flow in runner.states()) or own.end("answers") != last:
                quiet_since, last = time.monotonic(), own.end("answers")
    finally:
        runner.stop()


def _models(wanted: Replay, folder: Path, inputs: Sequence[list[NewRecord]]) -> Models:
    """Give models over a copy of the documents, so that the installation's are neither changed nor waited for."""
    settings = wanted.variant.settings
    apart = settings.model_copy(update={"data_dir": folder, "vectors_url": ""})
    target = folder / "knowledge" / "documents.sqlite3"
    target.parent.mkdir(parents=True, exist_ok=True)
    source = settings.data_dir / "knowledge" / "documents.sqlite3"
    if wanted.knowledge is None and source.exists():
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
    models = Models(apart)
    if wanted.knowledge is not None:
        for owner in {_owner(record) for one in inputs for record in one if record.topic == "meeting"} - {None}:
            _add_folder(models.knowledge, str(owner), wanted.knowledge)
    return models


def _owner(record: NewRecord) -> str | None:
    try:
        event = decode("meeting", record.value)
    except SchemaError:
        return None
    return event.owner_id if isinstance(event, MeetingOpened) else None


def _add_folder(store: KnowledgeStore, owner_id: str, folder: Path) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in DOCUMENTS]
    if not files:
        raise LogUnavailable(f"{folder} holds no documents ({', '.join(DOCUMENTS)})")
    for path in files:
        try:
            text, _ = parse_upload(path.name, path.read_bytes())
        except DocumentRefused as error:
            raise LogUnavailable(f"{path.name}: {error}") from error
        store.add(owner_id, "general", path.stem, text)


def _told(chosen: Range) -> str:
    parts = [*chosen.sessions]
    if chosen.since_s > 0:
        parts.append(f"since {datetime.fromtimestamp(chosen.since_s, UTC).isoformat()}")
    if chosen.until_s != float("inf"):
        parts.append(f"until {datetime.fromtimestamp(chosen.until_s, UTC).isoformat()}")
    if chosen.place is not None:
        topic, partition, start, stop = chosen.place
        parts.append(f"{topic}/{partition}:{start}-{stop}")
    return ", ".join(parts) or "everything"


def shadow(
    log: EventLog, runs: Runs, run: Run, variant: Variant, stopped: Callable[[float], bool], *, from_start: bool = False
) -> Run:
    """Answer live questions a second time with other settings, kept apart, until told to stop.

    Args:
        log: The live log; only read.
        runs: Where the run is kept.
        run: What is known of it so far.
        variant: The candidate's settings.
        stopped: Waits so many seconds; gives whether to stop.
        from_start: Answer what was asked before as well.

    Raises:
        EngineError: A missing model, or a log that cannot be read.
    """
    folder = runs.begin(run)
    own = runs.log(run.run_id)
    models: Models | None = None
    began = time.monotonic()
    try:
        wanted = Replay("answers", Range(), variant, run.run_id)
        models = _models(wanted, folder, [])
        run = run.model_copy(update={"models": {"answers": models.answers, "text vectors": models.embedder.name}})
        runs.keep(run)
        options = FlowOptions(
            folder / "recovery",
            names=("answers",),
            answers=AnswersOptions(since_s=0.0 if from_start else time.time()),
        )
        runner = FlowRunner(BranchLog(log, own), models.answering, options)
        runner.start()
        try:
            while not stopped(1.0):
                pass
        finally:
            runner.stop()
        answered = sessions_answered(own)
    finally:
        if models is not None:
            models.close()
        own.close()
    took = round(time.monotonic() - began, 2)
    run = run.model_copy(update={"state": "done", "sessions": answered, "seconds": took})
    runs.keep(run)
    return run


def sessions_answered(own: SqliteLog) -> list[str]:
    """Give the sessions that a run wrote answers for."""
    found: dict[str, None] = {}
    start, end = 0, own.end("answers")
    while start < end and (records := own.read("answers", 0, start, 1_000)):
        found.update((record.key, None) for record in records)
        start = records[-1].offset + 1
    return list(found)


def remove(runs: Runs, run_id: str) -> None:
    """Remove a run with everything in it.

    Raises:
        LogUnavailable: There is none of this name.
    """
    runs.get(run_id)
    shutil.rmtree(runs.folder(run_id))
