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
    except (EngineError, ValueError, OSError) as error:
        raise fail(error) from None
    table = table_of(results)
    (out / "figures.md").write_text(table)
    typer.echo(table)
    typer.echo(f"Hypotheses and figures are in {out}.")


@eval_app.command()
def questions(
    captions: Annotated[Path, typer.Option(help="Captions, one JSON line each; see docs/operate.md.", exists=True)],
    out: Annotated[Path, typer.Option(help="File for the questions found, one JSON line each.")],
    gold: Annotated[Path | None, typer.Option(help="The right questions, to count against.", exists=True)] = None,
    *,
    rules: Annotated[bool, typer.Option("--rules", help="By the rules alone, without the trained scorer.")] = False,
) -> None:
    """Run the real operators over captions in stream time; write the questions and when each fired."""
    import json

    from models.question_weights import trained_questions
    from operators.questions import QuestionsOperator
    from rejoinder.evaluation.questions import CAPTION_FIELDS, GOLD_FIELDS, count, predictions, read_lines
    from schemas.errors import EngineError

    try:
        heard = read_lines(captions, CAPTION_FIELDS)
        right = read_lines(gold, GOLD_FIELDS) if gold is not None else None
        found = list(predictions(heard, QuestionsOperator() if rules else trained_questions()))
        out.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in found), encoding="utf-8")
    except (EngineError, ValueError, OSError) as error:
        raise fail(error) from None
    typer.echo(f"{len(found)} questions in {len(heard)} captions: {out}")
    if right is None:
        return
    counts = count(right, heard, found)
    typer.echo(f"precision {counts.precision:.3f}  recall {counts.recall:.3f}  F1 {counts.f1:.3f}")
    typer.echo(f"false fires per 10 minutes {counts.false_per_10_minutes:.2f}  {dict(counts.false.most_common())}")
    median_s, most_s = counts.latency_s(0.5), counts.latency_s(0.95)
    if median_s is not None and most_s is not None:
        typer.echo(f"latency median {median_s:.2f} s  p95 {most_s:.2f} s")


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
