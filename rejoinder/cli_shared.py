"""What all commands share: settings from options, and how a failure is told."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rejoinder.settings import Settings

__all__ = ["DataDir", "fail", "settings_of", "start_logging"]

DataDir = Annotated[Path | None, typer.Option(help="Folder of the log, documents and keys.")]


def settings_of(**chosen: Any) -> "Settings":
    """Give the settings with what a command's options chose; ends the program when one is wrong."""
    from pydantic import ValidationError

    from rejoinder.settings import Settings

    try:
        return Settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as error:
        for one in error.errors():
            place = ".".join(str(part) for part in one["loc"])
            typer.echo(f"setting {place}: {one['msg']}", err=True)
        raise typer.Exit(2) from None


def fail(reason: Exception | str) -> typer.Exit:
    """Say why on the error stream; gives what to raise."""
    typer.echo(f"rejoinder: {reason}", err=True)
    return typer.Exit(1)


def start_logging(settings: "Settings") -> None:
    """Log, and report errors, as the settings say; ends the program when what that needs is missing."""
    from rejoinder.telemetry import set_up_logging
    from schemas.errors import EngineError

    try:
        set_up_logging(settings.log_level, settings.log_format, settings.sentry_dsn.get_secret_value())
    except EngineError as error:
        raise fail(error) from None
