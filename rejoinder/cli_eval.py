"""Commands that measure the engine on a user's own data."""

from pathlib import Path
from typing import Annotated

import typer

from rejoinder.cli_shared import fail, settings_of

__all__ = ["eval_app"]

eval_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Measure the engine on your own recordings.")


@eval_app.callback()
def main() -> None:
    """Measure the engine on your own recordings."""


@eval_app.command()
def speech(
    audio: Annotated[
        Path, typer.Option(help="Folder of recordings with .rttm, .stm or .txt beside them, or one file.", exists=True)
    ],
    out: Annotated[Path, typer.Option(help="Folder for hypotheses (RTTM, STM, words) and figures.")],
    model: Annotated[str | None, typer.Option(help="Speech model, by name or path; see docs/settings.md.")] = None,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="As fast as it goes; latencies are then not measured.")] = False,
) -> None:
    """Play recordings through the real flows; measure words, speakers, latency and cost."""
    settings = settings_of(speech_model=model)
    from rejoinder.evaluation.speech import measure, table_of
    from rejoinder.telemetry import set_up_logging
    from schemas.errors import EngineError

    set_up_logging("error")
    try:
        results = measure(settings, audio, out, typer.echo, fast=fast)
    except (EngineError, ValueError) as error:
        raise fail(error) from None
    table = table_of(results)
    (out / "figures.md").write_text(table)
    typer.echo(table)
    typer.echo(f"Hypotheses and figures are in {out}.")
