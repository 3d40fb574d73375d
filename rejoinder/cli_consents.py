"""The commands of the consent ledger: ``rejoinder consents list | export | give | withdraw``."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rejoinder.cli_shared import DataDir, fail, settings_of

if TYPE_CHECKING:
    from rejoinder.consents import ConsentBook
    from schemas.meeting import Consent, Purpose

__all__ = ["consents_app", "open_book"]

consents_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="See and record who agreed to what in which session."
)
Log = Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")]
Owner = Annotated[str, typer.Option(help="Whose sessions.")]
SessionId = Annotated[str, typer.Argument(help="Id of the session.")]
Person = Annotated[str, typer.Argument(help="Id or name of the participant.")]
Purposes = Annotated[
    list[str] | None, typer.Option("--for", help="audio, captions, coaching, voice or remembering; without it all.")
]


@contextmanager
def open_book(data_dir: Path | None, log: str | None, owner: str) -> Iterator["ConsentBook"]:
    """Open the ledger of an owner; an engine that runs meanwhile is no matter."""
    from eventlog import open_log
    from rejoinder.consents import ConsentBook, NoSuchSession
    from schemas.errors import EngineError

    settings = settings_of(data_dir=data_dir, log=log)
    if not settings.on_kafka and not settings.log:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        opened = open_log(settings.log_url, settings.log_sync, follow=(), kafka=settings.kafka)
        try:
            yield ConsentBook(opened, owner)
        finally:
            opened.close()
    except (EngineError, NoSuchSession) as error:
        raise fail(error) from None


@consents_app.command("list")
def show(
    session: Annotated[str | None, typer.Option(help="Only of this session.")] = None,
    owner: Owner = "local",
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """List the entries, oldest first within a session; the newest for a person and a purpose holds."""
    with open_book(data_dir, log, owner) as book:
        found = book.entries(session)
    for one in found:
        said = "given" if one.given else "withdrawn"
        purposes = ",".join(one.purposes)
        typer.echo(
            f"{one.session_id[:12]}  {one.created_at:%Y-%m-%d %H:%M:%S}  {one.participant_id:16}  {said:9}  "
            f"{purposes:40}  {one.method}  {one.how}"
        )
    if not found:
        typer.echo("No consent is recorded. Next: rejoinder consents give SESSION PARTICIPANT --how TEXT")


@consents_app.command("export")
def export(
    out: Annotated[Path, typer.Argument(help="File to write, as CSV, a line per purpose.")],
    owner: Owner = "local",
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Write the entries of all sessions and enrolled voices to a file."""
    from api.consents import csv_of, entry_of

    with open_book(data_dir, log, owner) as book:
        entries = [entry_of(one) for one in book.entries()]
    try:
        out.write_text(csv_of(entries), encoding="utf-8", newline="")
    except OSError as error:
        raise fail(f"{out}: {error.strerror}") from None
    typer.echo(f"{len(entries)} entries are in {out}.")


@consents_app.command("give")
def give(  # noqa: PLR0913, PLR0917 - options of a command
    session: SessionId,
    participant: Person,
    how: Annotated[str, typer.Option(help="What they agreed to, and how.")],
    purposes: Purposes = None,
    owner: Owner = "local",
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Record that somebody agreed."""
    with open_book(data_dir, log, owner) as book:
        made = book.record(session, participant, _purposes(purposes), given=True, how=how)
    _tell(made)


@consents_app.command("withdraw")
def withdraw(  # noqa: PLR0913, PLR0917 - options of a command
    session: SessionId,
    participant: Person,
    how: Annotated[str, typer.Option(help="How they took it back.")] = "",
    purposes: Purposes = None,
    owner: Owner = "local",
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Record that somebody does not agree any more; it holds from now on."""
    from rejoinder.enrolled import VoiceStore

    with open_book(data_dir, log, owner) as book:
        made = book.record(session, participant, _purposes(purposes), given=False, how=how)
    _tell(made)
    if "voice" in made.purposes and VoiceStore(settings_of(data_dir=data_dir).data_dir).remove(
        owner, made.participant_id
    ):
        typer.echo(f"The voice of {made.participant_id} is deleted.")
    if "remembering" in made.purposes:
        typer.echo(f"If this session is remembered, forget it with: DELETE /api/sessions/{session}/remember")


def _purposes(chosen: Sequence[str] | None) -> "list[Purpose]":
    from schemas.meeting import PURPOSES

    unknown = set(chosen or ()) - set(PURPOSES)
    if unknown:
        typer.echo(f"rejoinder: no purpose {', '.join(sorted(unknown))}; there are {', '.join(PURPOSES)}", err=True)
        raise typer.Exit(2)
    return [one for one in PURPOSES if not chosen or one in chosen]


def _tell(made: "Consent") -> None:
    said = "agreed to" if made.given else "does not agree any more to"
    typer.echo(f"Recorded: {made.participant_id} {said} {', '.join(made.purposes)}.")
