"""The commands of dead letters: ``rejoinder dead-letters list | show | fix | redrive``."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rejoinder.cli_shared import DataDir, fail, settings_of

if TYPE_CHECKING:
    from rejoinder.dead_letters.letters import DeadLetters, Letter

__all__ = ["dead_letters_app"]

dead_letters_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at records that could not be processed, and put them back."
)
Log = Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")]
LetterId = Annotated[str, typer.Argument(help="Id of a dead letter, or the beginning of one.")]


@contextmanager
def _letters(data_dir: Path | None, log: str | None) -> Iterator["DeadLetters"]:
    """Open the log; an engine that runs meanwhile is no matter."""
    from eventlog import open_log
    from rejoinder.dead_letters.letters import DeadLetters, NoSuchLetter
    from schemas.errors import EngineError

    settings = settings_of(data_dir=data_dir, log=log)
    if not settings.on_kafka and not settings.log and not settings.data_dir.exists():
        raise fail(f"there is no log in {settings.data_dir}")
    try:
        opened = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
        try:
            yield DeadLetters(opened)
        finally:
            opened.close()
    except NoSuchLetter as error:
        raise fail(str(error)) from None
    except EngineError as error:
        raise fail(error) from None


def _named(letters: "DeadLetters", letter_id: str) -> "Letter":
    """Give the letter whose id begins so."""
    found = [one for one in letters.newest(limit=100_000) if one.letter_id.startswith(letter_id)]
    if len(found) != 1:
        some = "no dead letter" if not found else f"{len(found)} dead letters"
        raise fail(f"{some} with an id that begins with {letter_id!r}; see: rejoinder dead-letters list")
    return found[0]


@dead_letters_app.command("list")
def show_all(
    *,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that were not put back.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Most that are listed.")] = 50,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """List dead letters, newest first; what was said is not printed."""
    with _letters(data_dir, log) as letters:
        found = letters.newest(limit, waiting=waiting)
    for one in found:
        letter = one.letter
        state = "redriven" if one.redriven else "fixed" if one.fix is not None else "waiting"
        place = f"{letter.topic}/{letter.offset}"
        typer.echo(
            f"{one.letter_id[:12]}  {letter.created_at:%Y-%m-%d %H:%M:%S}  {state:8}  {place:20}  {letter.flow:13}  "
            f"{letter.reason}"
        )
    typer.echo("Next: rejoinder dead-letters show ID" if found else "No dead letters.")


@dead_letters_app.command("show")
def show(letter_id: LetterId, data_dir: DataDir = None, log: Log = None) -> None:
    """Print a dead letter with its value, which may hold what somebody said."""
    from rejoinder.dead_letters.routes import text_of

    with _letters(data_dir, log) as letters:
        one = _named(letters, letter_id)
        value, whole = letters.value(one)
    letter = one.letter
    for name, shown in (
        ("id", one.letter_id),
        ("session", letter.session_id),
        ("topic", f"{letter.topic}, offset {letter.offset}"),
        ("flow", letter.flow),
        ("reason", letter.reason),
        ("at", letter.created_at.isoformat()),
        ("state", "redriven" if one.redriven else "fixed" if one.fix is not None else "waiting"),
    ):
        typer.echo(f"{name:8} {shown}")
    text = text_of(value)
    typer.echo(f"value    {len(value)} bytes{'' if whole else ', cut'}{'' if text is not None else ', not text'}")
    typer.echo(text if text is not None else value[:200].hex(" "))
    if one.fix is not None:
        typer.echo(f"corrected value\n{text_of(one.fix) or one.fix[:200].hex(' ')}")
    typer.echo("Next: rejoinder dead-letters fix ID --set field=value, then rejoinder dead-letters redrive ID")


@dead_letters_app.command("fix")
def fix(
    letter_id: LetterId,
    value: Annotated[
        Path | None,
        typer.Option(help="File with the whole value; - = input."),
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="field=value in place of what it has; JSON or plain text.")
    ] = None,
    drops: Annotated[list[str] | None, typer.Option("--drop", help="A field to leave out.")] = None,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Keep a corrected value for a dead letter; nothing is put back yet."""
    if (value is None) == (not sets and not drops):
        typer.echo("rejoinder: either --value, or --set and --drop", err=True)
        raise typer.Exit(2)
    with _letters(data_dir, log) as letters:
        one = _named(letters, letter_id)
        if value is not None:
            new = _read(value)
        else:
            new = _changed(one.fix if one.fix is not None else letters.value(one)[0], sets or [], drops or [])
        letters.fix(one.letter_id, new)
    typer.echo(f"Kept. Next: rejoinder dead-letters redrive {one.letter_id[:12]}")


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise fail(f"{file}: {error.strerror}") from None


def _changed(value: bytes, sets: list[str], drops: list[str]) -> bytes:
    """Give a JSON value with some fields changed; its version goes first, as flows write it."""
    try:
        fields: Any = json.loads(value)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise fail("the value is no JSON object; give the whole one with --value FILE")
    for one in sets:
        name, equals, text = one.partition("=")
        if not equals:
            raise fail(f"--set {one}: write field=value")
        try:
            fields[name] = json.loads(text)
        except ValueError:
            fields[name] = text
    for name in drops:
        fields.pop(name, None)
    return json.dumps({"v": fields.pop("v", 1), **fields}, ensure_ascii=False, separators=(",", ":")).encode()


@dead_letters_app.command("redrive")
def redrive(letter_id: LetterId, data_dir: DataDir = None, log: Log = None) -> None:
    """Put a dead letter back onto its topic, once; flows take it as if it had been made now."""
    with _letters(data_dir, log) as letters:
        one = _named(letters, letter_id)
        done = letters.redrive(one.letter_id)
    again = "It had been put back before" if done.repeat else "Put back"
    typer.echo(f"{again}: {done.topic}, partition {done.partition}, offset {done.offset}.")
