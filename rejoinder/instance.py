"""Keeps two engines, or two processes of one role, from using one data folder."""

import fcntl
from pathlib import Path
from typing import IO

from schemas.errors import LogUnavailable

__all__ = ["InstanceLock"]


class InstanceLock:
    """Held while an engine runs; the operating system lets go of it however the process ends."""

    def __init__(self, data_dir: Path, name: str = "engine") -> None:
        """Take the lock of a role.

        Raises:
            LogUnavailable: Another engine holds it, or the folder cannot be written.
        """
        self._file: IO[str] | None = None
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            file = (data_dir / f"{name}.lock").open("a")
        except OSError as error:
            raise LogUnavailable(f"the data folder {data_dir} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise LogUnavailable(
                f"another Rejoinder uses the data folder {data_dir}; stop it, or choose another with --data-dir"
            ) from None
        self._file = file

    def release(self) -> None:
        """Let go."""
        if self._file is not None:
            self._file.close()
            self._file = None
