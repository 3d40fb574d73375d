"""Finds a real LiveKit server for tests: a path given, the PATH, or a cache, which this fills when run as a module.

``python -m tests.livekit_server.finding`` builds the server with Go through the module proxy, in minutes.
"""

import os
import shutil
import subprocess
from pathlib import Path

VERSION = "1.9.11"
GIVEN = os.environ.get("REJOINDER_TEST_LIVEKIT", "")
"""Read before the tests clear the environment."""
BUILD_S = 900


def cached() -> Path:
    """Give where a server that was built once is kept."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "rejoinder-tests" / f"livekit-{VERSION}" / "livekit-server"


def livekit_server() -> tuple[Path, str]:
    """Give the server's program and how it was found.

    Raises:
        LookupError: None can be had; the message says why.
    """
    if GIVEN:
        return Path(GIVEN), f"REJOINDER_TEST_LIVEKIT={GIVEN}"
    if found := shutil.which("livekit-server"):
        return Path(found), "livekit-server on the PATH"
    if cached().exists():
        return cached(), f"LiveKit {VERSION}, built before"
    raise LookupError(
        "no LiveKit server: REJOINDER_TEST_LIVEKIT is not set, no livekit-server on the PATH, none built by "
        "`python -m tests.livekit_server.finding`"
    )


def build() -> Path:
    """Build the server through the Go module proxy; takes minutes.

    Raises:
        LookupError: It cannot be built.
    """
    place, go = cached(), shutil.which("go")
    if go is None:
        raise LookupError("LiveKit is built with Go 1.24 or later, and there is no go")
    place.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"GOBIN": str(place.parent), "CGO_ENABLED": "0"}
    command = [go, "install", f"github.com/livekit/livekit-server/cmd/server@v{VERSION}"]
    try:
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=BUILD_S)
    except subprocess.CalledProcessError as error:
        raise LookupError(f"LiveKit cannot be built: {error.stderr.decode(errors='replace')[-300:]}") from None
    except subprocess.TimeoutExpired:
        raise LookupError(f"LiveKit is not built after {BUILD_S} s") from None
    # Under its last name only once it is whole.
    return (place.parent / "server").rename(place)


if __name__ == "__main__":
    try:
        print(*livekit_server())
    except LookupError:
        print(build())
