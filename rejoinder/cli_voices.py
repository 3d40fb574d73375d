"""The commands of enrolled voices: ``rejoinder voices add | list | remove``."""

from pathlib import Path
from typing import Annotated

import typer

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
    consent: Annotated[str, typer.Option(help="What the person agreed to, and how; it is kept with the voice.")],
    owner: Owner = "local",
    data_dir: DataDir = None,
) -> None:
    """Keep the voice of a person who agreed to it; the recording itself is not kept."""
    from api.audio_decoding import read_recording
    from models.voices import OnnxSegmenter, OnnxVoiceEncoder
    from rejoinder.enrolled import VoiceStore, sound_of, voice_of
    from schemas.errors import EngineError

    encoder = OnnxVoiceEncoder()
    try:
        vector = voice_of(sound_of(read_recording(recording)), OnnxSegmenter(), encoder)
        store = VoiceStore(settings_of(data_dir=data_dir).data_dir)
        voice = store.add(owner, name, vector, model=encoder.name, consent=consent)
    except (EngineError, ValueError, OSError) as error:
        raise fail(error) from None
    typer.echo(f"{voice.name} is known from the next session on; consent recorded at {voice.consented_at}.")


@voices_app.command("list")
def show(data_dir: DataDir = None) -> None:
    """Show whose voices are kept, and the consent they gave."""
    from rejoinder.enrolled import VoiceStore

    voices = VoiceStore(settings_of(data_dir=data_dir).data_dir).all()
    for one in voices:
        typer.echo(f"{one.owner_id}  {one.name}  {one.consented_at}  {one.model}  {one.consent}")
    if not voices:
        typer.echo("No voices are kept. Add one: rejoinder voices add NAME RECORDING --consent TEXT")


@voices_app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="Whose voice is deleted.")],
    owner: Owner = "local",
    data_dir: DataDir = None,
) -> None:
    """Delete a voice."""
    from rejoinder.enrolled import VoiceStore

    if not VoiceStore(settings_of(data_dir=data_dir).data_dir).remove(owner, name):
        raise fail(f"no voice of {name!r} is kept for {owner}")
    typer.echo(f"The voice of {name} is deleted; sessions that began before may still use it until they end.")
