"""Commands for whoever runs the engine: ``rejoinder top`` and ``rejoinder doctor``."""

from itertools import islice
from typing import Annotated

import typer

from rejoinder.cli_shared import DataDir, fail, settings_of

__all__ = ["watch_app"]

watch_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@watch_app.command()
def top(
    url: Annotated[str | None, typer.Option(help="Address of the engine; without it, as the settings say.")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Address of a flow's own process, to be added up; may be repeated.")
    ] = None,
    key: Annotated[str, typer.Option(help="API key, for the list of sessions.")] = "",
    every: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 2.0,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one view and end.")] = False,
) -> None:
    """Show the engine at work: sessions, lag, rates and latency of each flow, until q or Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from rejoinder.keyboard import quit_key
    from rejoinder.top import Watcher, samples, shown

    settings = settings_of()
    watcher = Watcher([url or f"http://127.0.0.1:{settings.port}", *(metrics or ())], key)
    console = Console()
    try:
        with quit_key() as ended:
            if once:
                for before, after in islice(samples(watcher, every, ended), 1):
                    console.print(shown(before, after))
                    if not after.health:
                        raise fail("the engine does not answer; start it with: rejoinder up")
                return
            with Live(f"rejoinder top: looking, {every:g} s", console=console, screen=True, auto_refresh=False) as live:
                live.refresh()
                for before, after in samples(watcher, every, ended):
                    live.update(shown(before, after), refresh=True)
    except KeyboardInterrupt:
        return
    finally:
        watcher.close()


@watch_app.command()
def doctor(data_dir: DataDir = None) -> None:
    """Check what the engine needs; each line says what to do when something is missing."""
    from rejoinder.doctor import checks

    settings = settings_of(data_dir=data_dir)
    worst = 0
    for check in checks(settings):
        typer.echo(f"{check.state:5} {check.name:14} {check.detail}")
        worst = max(worst, int(check.state == "fail"))
    typer.echo("Next: uv run rejoinder demo" if not worst else "Mend the lines marked fail first.")
    raise typer.Exit(worst)
