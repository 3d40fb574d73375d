"""What the operating system tells of a process: processor time and memory."""

import os
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Give the processor seconds a process has used, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int, name: str) -> float:
    """Give a memory figure of a process, MB: "VmRSS" = held now, "VmHWM" = the most it ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return 0.0
