"""The command ``rejoinder listen``."""

import time
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from rejoinder.cli_shared import fail

__all__ = ["listen_app"]

listen_app = typer.Typer()


@listen_app.command()
def listen(
    source: Annotated[str, typer.Argument(help="A recording (wav, flac, mp3, m4a, ogg, webm), or `mic`.")],
    url: Annotated[str, typer.Option(help="Address of the running engine.")] = "http://127.0.0.1:8080",
    key: Annotated[str | None, typer.Option(envvar="REJOINDER_API_KEY", help="API key, when one is needed.")] = None,
    session: Annotated[str | None, typer.Option(help="Session to send to; without it a new one is opened.")] = None,
    participant: Annotated[str | None, typer.Option(help="Whose voice it is; without it, it may be anybody's.")] = None,
    *,
    fast: Annotated[bool, typer.Option("--fast", help="Send a file as fast as it is stored.")] = False,
) -> None:
    """Send a recording or the microphone to a running engine, and show captions and answers."""
    import httpx

    from api.audio_decoding import RecordingRefused
    from rejoinder.listener import FAST_S, LIVE_S, Listener, file_frames, microphone_frames
    from rejoinder.screen import Screen
    from rejoinder.sending import SendRefused
    from schemas.errors import ModelMissing

    path = Path(source)
    if source != "mic" and not path.is_file():
        raise fail(f"{source} is no file; give a recording, or `mic`")
    screen = Screen({})
    start = {"live": not (fast and source != "mic"), **({"participant": participant} if participant else {})}
    try:
        # The first frame is made before a session is opened: a file that is no sound leaves nothing behind.
        frames = microphone_frames() if source == "mic" else file_frames(path, FAST_S if fast else LIVE_S)
        first = next(frames)
        with Listener(url, screen.show, key) as listener:
            session_id = session or listener.open_session(path.stem if source != "mic" else "Microphone")
            screen.names.update(listener.names(session_id))
            typer.echo(f"Sending {source} to session {session_id}; Ctrl-C ends it.\n")
            track = f"listen-{'mic' if source == 'mic' else path.stem[:100]}-{int(time.time()):x}"
            begins = {"start_s": None if session else 0.0}
            listener.listen(session_id, chain([first], frames), begins | start, track)
            screen.summary(listener.finish(end_session=session is None))
    except (RecordingRefused, OSError, ModelMissing, SendRefused) as error:
        raise fail(f"{source}: {error}") from None
    except httpx.HTTPStatusError as error:
        raise fail(f"{url} answers {error.response.status_code}: {error.response.text[:300]}") from None
    except httpx.HTTPError as error:
        raise fail(f"no engine at {url} ({error}); start one with: rejoinder up") from None
    typer.echo(f"\nNext: {url}/ shows the session.")
