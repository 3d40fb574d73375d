"""Reads the phases of meetings: the files shipped in ``rejoinder/phases``, or a folder with the user's own."""

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError

from operators.phases import Phases
from schemas.errors import ModelMissing

__all__ = ["SHIPPED", "load_phases"]

SHIPPED = Path(__file__).parent / "phases"
_Name = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]
_Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100)]
_FILE = TypeAdapter(dict[_Name, Annotated[list[_Phrase], Field(min_length=1, max_length=500)]])


def load_phases(folder: Path | None = None) -> Phases:
    """Give the phases of a folder, a file per kind of session; a file that is not there is taken from the shipped ones.

    Raises:
        ModelMissing: The folder is not there, or a file in it cannot be used; the message names it.
    """
    if folder is not None and not folder.is_dir():
        raise ModelMissing(f"{folder} is no folder; unset REJOINDER_PHASES_DIR, or copy {SHIPPED} there")
    files = {path.stem: path for place in (SHIPPED, folder) if place is not None for path in place.glob("*.toml")}
    return Phases.of({kind: _phases(path) for kind, path in sorted(files.items())})


def _phases(path: Path) -> dict[str, list[str]]:
    try:
        return _FILE.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelMissing(f"the phases {path} cannot be read: {error}") from None
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in wrong["loc"])
        raise ModelMissing(f"the phases {path}, {place}: {wrong['msg']}; write phase = [phrases]") from None
