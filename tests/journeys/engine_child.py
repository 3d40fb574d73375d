"""The engine in a process of its own, to be killed."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

CHILD = """
import json
import sys
from pathlib import Path
from rejoinder.engine import Engine
from rejoinder.serving import serve
from rejoinder.settings import Settings
settings = Settings(_env_file=None, data_dir=Path(sys.argv[1]),
                    **{"port": 0, "qa_port": 0, "epoch_s": 0.2} | json.loads(sys.argv[2]))
engine = Engine(settings)
engine.start()
serve(engine.doors(), lambda served: print(served.port, flush=True))
engine.stop()
"""


class ChildEngine:
    """The engine in a process of its own, to be killed."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(folder), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.child.stdout is not None
        line = next(line for line in self.child.stdout if line.strip().isdigit())
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{int(line)}", timeout=10, trust_env=False)

    def end(self, number: int) -> float:
        began = time.monotonic()
        self.child.send_signal(number)
        self.child.wait(20)
        self.client.close()
        assert self.child.stdout is not None
        self.child.stdout.close()
        return time.monotonic() - began
