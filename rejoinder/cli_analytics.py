"""The commands of the analytics: serve them, load once, ask, export, rebuild, check."""

import csv
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from rejoinder.cli_shared import DataDir, fail, settings_of

if TYPE_CHECKING:
    from eventlog.base import EventLog
    from rejoinder.analytics.quality import Finding
    from rejoinder.analytics.store import AnalyticsStore
    from rejoinder.settings import Settings

__all__ = ["analytics_app"]

analytics_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Session analytics in DuckDB: serve, load, ask, export, rebuild."
)

Log = Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")]


def _log(settings: "Settings") -> "EventLog":
    from eventlog import open_log
    from schemas.errors import EngineError

    try:
        return open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
    except EngineError as error:
        raise fail(error) from None


def _store(settings: "Settings", *, read_only: bool) -> "AnalyticsStore":
    from rejoinder.analytics.owner import limits_of, store_path
    from rejoinder.analytics.store import AnalyticsStore

    return AnalyticsStore(store_path(settings.data_dir), limits_of(settings), read_only=read_only)


@analytics_app.command("serve")
def serve_analytics(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 = any free one.")] = 8090,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Own the analytics file: run the flow, serve /api/analytics and the dashboard, until Ctrl-C."""
    settings = settings_of(host=host, data_dir=data_dir, log=log)
    from rejoinder.analytics.role import AnalyticsRole
    from rejoinder.serving import PortTaken, serve
    from rejoinder.telemetry import set_up_logging
    from schemas.errors import EngineError

    set_up_logging(settings.log_level, settings.log_format)
    try:
        role = AnalyticsRole(settings)
    except EngineError as error:
        raise fail(error) from None
    if not settings.loopback and not any(key.revoked_at is None for key in role.keys.everything()):
        role.stop()
        raise fail("beyond loopback a key is required; make one with: rejoinder keys create NAME")
    try:
        with role:
            serve(role.doors(port), lambda one: typer.echo(f"analytics at http://{one.host}:{one.port}/analytics.html"))
    except PortTaken as error:
        raise fail(error) from None


@analytics_app.command()
def run(data_dir: DataDir = None, log: Log = None) -> None:
    """Load everything up to now, check it, and end."""
    settings = settings_of(data_dir=data_dir, log=log)
    from flows.analytics_run import load_once
    from rejoinder.analytics.owner import load_runs
    from rejoinder.analytics.prices import read_prices
    from rejoinder.analytics.quality import check_quality
    from rejoinder.analytics.writer import StoreWriter
    from rejoinder.replay.runs import Runs
    from schemas.errors import EngineError

    with closing(_log(settings)) as source:
        try:
            prices = read_prices(settings.prices_file)
            with closing(_store(settings, read_only=False)) as store:
                store.set_prices(prices)
                writer = StoreWriter(store, texts=settings.analytics_texts, erased=source.erased)
                load_once(source, writer, buries=True)
                writer.sweep()
                runs = load_runs(store, Runs(settings.data_dir), texts=settings.analytics_texts)
                typer.echo(f"{writer.records} records loaded, {len(runs)} runs of replay")
                _tell(check_quality(store))
        except EngineError as error:
            raise fail(error) from None
    typer.echo('Next: rejoinder analytics sql "SELECT * FROM session_summary LIMIT 5"')


@analytics_app.command()
def sql(
    question: Annotated[str, typer.Argument(help="One SELECT statement; `-` reads it from the input.")],
    form: Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="table, csv or json.")] = "table",
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most rows shown.")] = 1000,
    timeout_s: Annotated[float, typer.Option("--timeout", min=0.1, max=3600, help="Longest time, seconds.")] = 30.0,
    data_dir: DataDir = None,
) -> None:
    """Ask the analytics; only reading is possible, also while the flow writes."""
    settings = settings_of(data_dir=data_dir)
    from rejoinder.analytics.local_door import ask_owner
    from rejoinder.analytics.owner import store_path
    from rejoinder.analytics.store import Answered, Stopped
    from schemas.errors import LogUnavailable

    text = sys.stdin.read() if question == "-" else question
    path = store_path(settings.data_dir)
    if not path.exists():
        raise fail("there are no analytics yet. Next: rejoinder analytics run")
    asked = {"what": "sql", "sql": text, "rows": rows, "timeout_s": timeout_s}
    try:
        try:
            found = ask_owner(path, asked, timeout_s)
        except LogUnavailable:  # nobody owns the file: it is ours to open
            with closing(_store(settings, read_only=True)) as store:
                found = store.ask(text, rows=rows, timeout_s=timeout_s)
    except (LogUnavailable, ValueError, Stopped) as error:
        raise fail(error) from None
    assert isinstance(found, Answered)  # noqa: S101 - a question was asked
    _show(found, form)


def _show(found: Any, form: str) -> None:
    from rejoinder.analytics.plain import plain

    rows = [[plain(value) for value in row] for row in found.rows]
    if form == "json":
        typer.echo(json.dumps([dict(zip(found.columns, row, strict=True)) for row in rows], indent=1))
    elif form == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(found.columns)
        writer.writerows(rows)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*found.columns)
        for row in rows:
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        Console().print(table)
    if found.cut:
        typer.echo(f"only the first {len(rows)} rows are shown; see --rows", err=True)


@analytics_app.command()
def export(
    parquet: Annotated[Path, typer.Option(help="Folder for one Parquet file per view.")], data_dir: DataDir = None
) -> None:
    """Write every view as a Parquet file, also while the flow writes."""
    settings = settings_of(data_dir=data_dir)
    from rejoinder.analytics.export import export_views
    from rejoinder.analytics.local_door import ask_owner
    from rejoinder.analytics.owner import store_path
    from schemas.errors import LogUnavailable

    path, folder = store_path(settings.data_dir), parquet.resolve()
    if not path.exists():
        raise fail("there are no analytics yet. Next: rejoinder analytics run")
    try:
        try:
            sizes = ask_owner(path, {"what": "export", "folder": str(folder)}, 600)
        except LogUnavailable:
            with closing(_store(settings, read_only=True)) as store:
                sizes = export_views(store, folder)
    except LogUnavailable as error:
        raise fail(error) from None
    assert isinstance(sizes, dict)  # noqa: S101 - an export was asked for
    for name, size in sizes.items():
        typer.echo(f"{folder / name}.parquet  {size} bytes")
    typer.echo(f"Next: read {folder}/session_summary.parquet in your own DuckDB or notebook")


@analytics_app.command()
def rebuild(data_dir: DataDir = None, log: Log = None) -> None:
    """Make the file anew from the topics and say whether every table is as it was."""
    settings = settings_of(data_dir=data_dir, log=log)
    from rejoinder.analytics.rebuild import rebuild as make_anew
    from schemas.errors import EngineError

    with closing(_log(settings)) as source:
        try:
            tables = make_anew(settings, source)
        except EngineError as error:
            raise fail(error) from None
    for one in tables:
        said = {None: "new", True: "the same", False: "changed"}[one.same]
        typer.echo(f"{one.table:16} {one.rows:10} rows  {said}")


@analytics_app.command()
def check(data_dir: DataDir = None) -> None:
    """Check what is stored: uniqueness, references, nulls, times."""
    settings = settings_of(data_dir=data_dir)
    from rejoinder.analytics.local_door import ask_owner
    from rejoinder.analytics.owner import store_path
    from rejoinder.analytics.quality import CHECKS, Finding, check_quality
    from rejoinder.analytics.store import Stopped
    from schemas.errors import LogUnavailable

    path, limit = store_path(settings.data_dir), settings.analytics_timeout_s
    if not path.exists():
        raise fail("there are no analytics yet. Next: rejoinder analytics run")
    try:
        try:
            found = []
            for one in CHECKS:
                reply: Any = ask_owner(path, {"what": "sql", "sql": one.sql, "rows": 1, "timeout_s": limit}, limit)
                rows, failing = reply.rows[0]
                found.append(Finding(one.name, one.kind, one.note, rows, failing, failing <= one.most * rows))
        except LogUnavailable:
            with closing(_store(settings, read_only=True)) as store:
                found = check_quality(store)
    except (LogUnavailable, ValueError, Stopped) as error:
        raise fail(error) from None
    if not _tell(found):
        raise typer.Exit(1)


def _tell(found: "list[Finding]") -> bool:
    for one in found:
        typer.echo(f"{'ok' if one.good else 'FAIL':4} {one.name:24} {one.failing:8} of {one.rows:10}  {one.note}")
    return all(one.good for one in found)
