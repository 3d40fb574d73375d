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
def answers(
    folder: Annotated[
        Path, typer.Option("--set", help="Folder with questions.jsonl, collections/ and resumes/.", exists=True)
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for figures and answers; empty = print only.")] = None,
    llm: Annotated[str | None, typer.Option(help="auto, off, local or server; see docs/settings.md.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Ask every n-th question only, for models that are slow.")] = 1,
    *,
    retrieval: Annotated[bool, typer.Option("--retrieval", help="Only search; make no answers.")] = False,
) -> None:
    """Ask every question of a set; measure what is found, cited, answered and refused."""
    settings = settings_of(llm=llm)
    from rejoinder.evaluation.answers import measure, result_of, table_of, write
    from rejoinder.telemetry import set_up_logging
    from rejoinder.wording import load_prompts
    from schemas.errors import EngineError

    set_up_logging("error")
    try:
        rows = measure(settings, folder, typer.echo, retrieval_only=retrieval, every=every)
    except (EngineError, ValueError) as error:
        raise fail(error) from None
    table = table_of(rows)
    typer.echo(table)
    if out is not None:
        model = "" if retrieval else settings.llm_chosen
        write(out, "answers", result_of(rows, model, load_prompts(settings.prompts_dir).version), table)
        typer.echo(f"Figures and all answers are in {out}.")
