"""Commands for what the log keeps: replay, compare, shadow, export and import."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rejoinder.cli_shared import DataDir, fail, settings_of

if TYPE_CHECKING:
    from eventlog.base import EventLog
    from rejoinder.replay.inputs import Range
    from rejoinder.settings import Settings

__all__ = ["replay_app"]

replay_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Log = Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="name=value of a setting (llm_model=x) or an operator (questions.settle_s=1)."),
]
Name = Annotated[str | None, typer.Option(help="Name of the run; one is made up when it is left out.")]


@contextmanager
def _source(settings: "Settings", run: str | None = None) -> "Iterator[EventLog]":
    """Open the log to read from: the installation's, or a run's."""
    from eventlog import open_log
    from rejoinder.replay.runs import Runs
    from schemas.errors import EngineError

    try:
        if run is not None:
            Runs(settings.data_dir).get(run)
            log: EventLog = Runs(settings.data_dir).log(run)
        else:
            log = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
    except EngineError as error:
        raise fail(error) from None
    try:
        yield log
    finally:
        log.close()


def _seconds(text: str | None, otherwise: float) -> float:
    if text is None:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise fail(f"{text!r} is no time; write 2026-11-24T09:00 (UTC unless it says otherwise)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _range(sessions: list[str] | None, since: str | None, until: str | None, offsets: str | None) -> "Range":
    from rejoinder.replay.inputs import Range
    from schemas.topics import TOPICS

    place = None
    if offsets is not None:
        try:
            where, _, span = offsets.partition(":")
            topic, _, partition = where.partition("/")
            start, _, stop = span.partition("-")
            place = topic, int(partition or 0), int(start), int(stop)
        except ValueError:
            place = "", 0, 0, 0
        if place[0] not in TOPICS or place[3] <= place[2]:
            raise fail(f"{offsets!r} is no range of offsets; write captions/0:100-500")
    return Range(tuple(sessions or ()), _seconds(since, 0.0), _seconds(until, float("inf")), place)


@replay_app.command()
def replay(  # noqa: PLR0913, PLR0917 - options of a command
    stage: Annotated[
        str, typer.Option(help="First flow to run again: utterances, questions, memory or answers.")
    ] = "answers",
    session: Annotated[list[str] | None, typer.Option(help="A session; may be given several times.")] = None,
    since: Annotated[str | None, typer.Option(help="Sessions with something at or after this time.")] = None,
    until: Annotated[str | None, typer.Option(help="Nothing after this time.")] = None,
    offsets: Annotated[
        str | None,
        typer.Option(help="Sessions with a record here: topic/partition:first-end, as captions/0:100-500."),
    ] = None,
    set_: Set = None,
    knowledge: Annotated[
        Path | None, typer.Option(help="Folder of documents to search instead.", exists=True, file_okay=False)
    ] = None,
    real_time: Annotated[
        bool, typer.Option("--real-time", help="At the pace of the meeting instead of as fast as it goes.")
    ] = False,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Questions answered together.")] = 4,
    source: Annotated[str | None, typer.Option(help="A run to replay from, such as an imported session.")] = None,
    name: Name = None,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Run stored sessions again with other settings, into a run of their own; what clients saw is not touched."""
    settings = settings_of(data_dir=data_dir, log=log)
    chosen = _range(session, since, until, offsets)
    from rejoinder.replay.replaying import Replay
    from rejoinder.replay.replaying import replay as run_again
    from rejoinder.replay.runs import Runs, new_name
    from rejoinder.replay.variant import variant_of
    from rejoinder.telemetry import set_up_logging
    from schemas.errors import EngineError

    set_up_logging("error")
    with _source(settings, source) as trunk:
        try:
            variant = variant_of(settings, set_ or [])
            wanted = Replay(stage, chosen, variant, name or new_name("replay"), real_time, knowledge, at_once)
            run = run_again(trunk, Runs(settings.data_dir), wanted, typer.echo)
        except (EngineError, ValueError) as error:
            raise fail(error) from None
    typer.echo(f"Run {run.run_id}: {run.records} records made in {run.seconds:g} s, answers by {run.models['answers']}")
    typer.echo(f"Next: rejoinder diff {source or 'live'} {run.run_id}")


@replay_app.command()
def runs(
    remove: Annotated[str | None, typer.Option(help="Remove this run with everything in it.")] = None,
    data_dir: DataDir = None,
) -> None:
    """List the runs, newest first, or remove one."""
    settings = settings_of(data_dir=data_dir)
    from rejoinder.replay.replaying import remove as take_away
    from rejoinder.replay.runs import Runs
    from schemas.errors import EngineError

    kept = Runs(settings.data_dir)
    if remove is not None:
        try:
            take_away(kept, remove)
        except EngineError as error:
            raise fail(error) from None
        typer.echo(f"Run {remove} is removed.")
        return
    for run in kept.everything():
        changed = " ".join(f"{key}={value}" for key, value in run.changed.items())
        typer.echo(
            f"{run.run_id:32} {run.kind:7} {run.state:7} {run.created_at:%Y-%m-%d %H:%M} {run.stage:10} "
            f"{len(run.sessions):4} sessions {run.records:6} records  {changed} {run.detail}".rstrip()
        )
    if not kept.everything():
        typer.echo("No runs yet. Next: rejoinder replay --session ID")


@replay_app.command()
def diff(  # noqa: PLR0913, PLR0917 - options of a command
    a: Annotated[str, typer.Argument(help="A run, or `live` for what clients saw.")],
    b: Annotated[str, typer.Argument(help="A run, or `live`.")],
    session: Annotated[list[str] | None, typer.Option(help="Only this session; may be given several times.")] = None,
    form: Annotated[Literal["table", "json", "html"], typer.Option("--format", help="table, json or html.")] = "table",
    out: Annotated[Path | None, typer.Option(help="File to write to instead of the screen.")] = None,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Compare two runs: questions found and missed, answers side by side."""
    settings = settings_of(data_dir=data_dir, log=log)
    from rejoinder.replay.showing import html_of, table_of
    from rejoinder.replay.sides import compare_runs
    from schemas.errors import EngineError

    try:
        found = compare_runs(settings, a, b, session or [])
    except EngineError as error:
        raise fail(error) from None
    text = table_of(found) if form == "table" else html_of(found) if form == "html" else found.model_dump_json(indent=1)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text)
        typer.echo(f"{out}: {found.both} questions in both, {found.same_answer} with the same answer")


@replay_app.command()
def shadow(
    set_: Set = None,
    name: Name = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Answer what was asked before as well.")] = False,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Answer live questions a second time with a candidate's settings, kept apart, until Ctrl-C."""
    settings = settings_of(data_dir=data_dir, log=log)
    from rejoinder.replay.replaying import shadow as run_beside
    from rejoinder.replay.runs import Run, Runs, new_name
    from rejoinder.replay.variant import variant_of
    from rejoinder.stopping import Stopping
    from rejoinder.telemetry import set_up_logging
    from schemas.errors import EngineError

    set_up_logging(settings.log_level, settings.log_format)
    ended = Stopping()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.tell())
    with _source(settings) as trunk:
        try:
            variant = variant_of(settings, set_ or [])
            run = Run(
                run_id=name or new_name("shadow"),
                kind="shadow",
                created_at=datetime.now(UTC),
                source=settings.log_url,
                stage="answers",
                changed=variant.changed,
            )
            typer.echo(f"Shadow {run.run_id} answers beside the live engine. Ctrl-C ends it.")
            run = run_beside(trunk, Runs(settings.data_dir), run, variant, ended.wait, from_start=from_start)
        except (EngineError, ValueError) as error:
            raise fail(error) from None
    typer.echo(f"Shadow {run.run_id} answered in {len(run.sessions)} sessions. Next: rejoinder diff live {run.run_id}")


@replay_app.command("export")
def export(
    session: Annotated[str, typer.Argument(help="The session.")],
    out: Annotated[Path | None, typer.Option(help="File to write; SESSION.rejoinder when left out.")] = None,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Write a whole session, every topic, to one file."""
    settings = settings_of(data_dir=data_dir, log=log)
    from rejoinder.replay.bundles import export_session
    from schemas.errors import EngineError

    target = out or Path(f"{session}.rejoinder")
    with _source(settings) as trunk:
        try:
            count = export_session(trunk, session, target)
        except EngineError as error:
            raise fail(error) from None
    typer.echo(f"{target}: {count} records. It holds what was said: keep it as you keep the log.")
    typer.echo(f"Next, elsewhere: rejoinder import {target.name}")


@replay_app.command("import")
def import_(
    bundle: Annotated[Path, typer.Argument(help="A file from `rejoinder export`.", exists=True, dir_okay=False)],
    as_run: Annotated[
        bool, typer.Option("--as-run", help="Keep it apart, to be replayed; no client and no flow sees it.")
    ] = False,
    name: Name = None,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Take a session from a file into this installation's log, or apart from it as a run."""
    settings = settings_of(data_dir=data_dir, log=log)
    from rejoinder.replay.sides import import_bundle
    from schemas.errors import EngineError

    try:
        done, run_id = import_bundle(settings, bundle, name if as_run else None, as_run=as_run)
    except EngineError as error:
        raise fail(error) from None
    typer.echo(f"Session {done.session_id}: {done.records} records, {done.repeats} of them were here already")
    if run_id is not None:
        typer.echo(f"Next: rejoinder replay --source {run_id} --session {done.session_id}")
