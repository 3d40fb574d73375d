"""The commands of enrolled voices: ``rejoinder voices add | list | remove``."""

from pathlib import Path
from typing import Annotated

import typer

from rejoinder.cli_consents import Log, open_book
from rejoinder.cli_shared import DataDir, fail, settings_of

__all__ = ["voices_app"]

voices_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Know people by their voice, with their consent."
)
Owner = Annotated[str, typer.Option(help="In whose sessions the voice is known.")]


@voices_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Participant id or name that this voice gets.")],
    recording: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="At least 5 s of them alone.")],
    consent: Annotated[str, typer.Option(help="What the person agreed to, and how; it is kept in the consent ledger.")],
    owner: Owner = "local",
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Keep the voice of a person who agreed to it; the recording itself is not kept."""
    from api.audio_decoding import read_recording
    from models.voices import OnnxSegmenter, OnnxVoiceEncoder
    from rejoinder.enrolled import VoiceStore, sound_of, voice_of
    from schemas.errors import EngineError

    if not consent.strip():
        raise fail("a voice is kept only with the consent of its owner: say what they agreed to")
    encoder = OnnxVoiceEncoder()
    try:
        vector = voice_of(sound_of(read_recording(recording)), OnnxSegmenter(), encoder)
    except (EngineError, ValueError, OSError) as error:
        raise fail(error) from None
    with open_book(data_dir, log, owner) as book:
        given = book.record(book.enrolment(), name, ("voice",), given=True, how=consent.strip())
    VoiceStore(settings_of(data_dir=data_dir).data_dir).add(owner, name, vector, model=encoder.name, consent=given)
    typer.echo(f"{name} is known from the next session on; consent recorded at {given.created_at:%Y-%m-%d %H:%M:%S}.")


@voices_app.command("list")
def show(data_dir: DataDir = None, log: Log = None) -> None:
    """Show whose voices are kept, and the consent they gave."""
    from rejoinder.enrolled import VoiceStore

    voices = VoiceStore(settings_of(data_dir=data_dir).data_dir).all()
    for owner in dict.fromkeys(one.owner_id for one in voices):
        with open_book(data_dir, log, owner) as book:
            entries = {one.event_id: one for one in book.entries()}
        for one in (voice for voice in voices if voice.owner_id == owner):
            given = entries.get(one.consent_id)
            told = f"{given.created_at:%Y-%m-%d %H:%M:%S}  {given.how}" if given else one.consent
            typer.echo(f"{owner}  {one.name}  {one.model}  {told}")
    if not voices:
        typer.echo("No voices are kept. Add one: rejoinder voices add NAME RECORDING --consent TEXT")


@voices_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose voice is deleted.")],
    owner: Owner = "local",
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Delete a voice; the ledger keeps that the consent was withdrawn."""
    from rejoinder.enrolled import VoiceStore

    if not VoiceStore(settings_of(data_dir=data_dir).data_dir).remove(owner, name):
        raise fail(f"no voice of {name!r} is kept for {owner}")
    with open_book(data_dir, log, owner) as book:
        book.record(book.enrolment(), name, ("voice",), given=False, how="the voice was deleted")
    typer.echo(f"The voice of {name} is deleted; sessions that began before may still use it until they end.")
