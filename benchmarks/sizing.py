"""What many live sessions need: machines, partitions, brokers, GPUs and money, reckoned from measured costs.

``uv run python -m benchmarks.sizing`` prints the tables of ``docs/scale.md``; ``--page`` writes them into the page.
Everything that was not measured is an assumption in `Assumptions`, with its reason.
"""

import argparse
import json
from dataclasses import dataclass, fields
from math import ceil
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
BEGIN, END = "<!-- reckoned: uv run python -m benchmarks.sizing --page -->", "<!-- end -->"
SCALES = (1_000, 100_000, 10_000_000)


@dataclass(frozen=True)
class Assumptions:
    """What is assumed; each field's text says the unit."""

    captions_per_minute: float = 12.0
    answers_per_hour: float = 20.0
    answer_tokens: float = 150.0
    prompt_tokens: float = 2_000.0
    clients_per_session: float = 1.5
    load: float = 0.6
    cores_per_machine: float = 8.0
    records_per_caption: float = 6.0
    bytes_per_record: float = 700.0
    copies: float = 3.0
    partition_records_s: float = 2_000.0
    broker_mb_s: float = 100.0
    answers_per_gpu_s: float = 10.0
    audio_cores_per_session: float = 0.36
    sessions_per_audio_gpu: float = 100.0
    core_month: float = 25.0
    gpu_month: float = 1_500.0
    broker_month: float = 300.0


UNITS = {
    "captions_per_minute": "captions a minute in a session, people taking turns",
    "answers_per_hour": "answers an hour in a session",
    "answer_tokens": "tokens written in an answer",
    "prompt_tokens": "tokens read for an answer",
    "clients_per_session": "open streams of a session",
    "load": "share of a core that is used at the peak, so that bursts and restarts have room",
    "cores_per_machine": "cores of a machine",
    "records_per_caption": "records on all topics that follow from a caption, itself among them",
    "bytes_per_record": "bytes of a record with its key and id",
    "copies": "replicas of a partition",
    "partition_records_s": "records a second on a partition, all topics together",
    "broker_mb_s": "MB a second that a broker takes in, copies counted",
    "answers_per_gpu_s": "answers a second of a GPU with an 8B model and a batching server",
    "audio_cores_per_session": "cores for recognition and speakers (trials: 0.09 + 0.27)",
    "sessions_per_audio_gpu": "sessions whose sound a GPU hears (a goal, never measured)",
    "core_month": "money for a core and month",
    "gpu_month": "money for a GPU and month",
    "broker_month": "money for a broker and month, disks included",
}


def caption_us() -> tuple[float, str]:
    """Give CPU microseconds for a caption through all flows, and the results file that says so."""
    scale = RESULTS / "scale.json"
    if scale.exists():
        found = json.loads(scale.read_text())["by_sessions"]
        return float(found["us_per_caption"][-1]["median"]), scale.name
    latency = json.loads((RESULTS / "latency.json").read_text())
    return 1e6 / latency["throughput"]["per_cpu_second"], "latency.json"


@dataclass(frozen=True)
class Size:
    """What one number of live sessions needs."""

    sessions: int
    captions_s: float
    flow_cores: int
    machines: int
    partitions: int
    log_mb_s: float
    log_gb_day: float
    brokers: int
    answers_s: float
    answer_gpus: int
    audio_gpus: int
    audio_cores: int
    tokens_s: float
    money_text: int
    money_audio: int


def size(sessions: int, given: Assumptions, cost_us: float) -> Size:
    """Reckon what so many sessions need."""
    captions_s = sessions * given.captions_per_minute / 60
    cores = ceil(captions_s * cost_us / 1e6 / given.load)
    records_s = captions_s * given.records_per_caption
    log_mb_s = records_s * given.bytes_per_record / 1e6
    answers_s = sessions * given.answers_per_hour / 3600
    brokers = max(3, ceil(log_mb_s * given.copies / given.broker_mb_s))
    answer_gpus = ceil(answers_s / given.answers_per_gpu_s)
    audio_gpus = ceil(sessions / given.sessions_per_audio_gpu)
    money = cores * given.core_month + brokers * given.broker_month + answer_gpus * given.gpu_month
    return Size(
        sessions=sessions,
        captions_s=captions_s,
        flow_cores=cores,
        machines=ceil(cores / given.cores_per_machine),
        partitions=max(4, ceil(records_s / given.partition_records_s)),
        log_mb_s=log_mb_s,
        log_gb_day=log_mb_s * 86.4,
        brokers=brokers,
        answers_s=answers_s,
        answer_gpus=answer_gpus,
        audio_gpus=audio_gpus,
        audio_cores=ceil(sessions * given.audio_cores_per_session / given.load),
        tokens_s=answers_s * (given.answer_tokens + given.prompt_tokens),
        money_text=round(money),
        money_audio=round(audio_gpus * given.gpu_month),
    )


ROWS = {
    "captions a second": "captions_s",
    "cores for the flows": "flow_cores",
    "machines for the flows": "machines",
    "partitions of a topic": "partitions",
    "MB a second into the log": "log_mb_s",
    "GB a day into the log, one copy": "log_gb_day",
    "brokers": "brokers",
    "answers a second": "answers_s",
    "tokens a second, read and written": "tokens_s",
    "GPUs for answers": "answer_gpus",
    "money a month, text only": "money_text",
    "GPUs for sound, if heard on GPUs": "audio_gpus",
    "cores for sound, if heard on CPUs": "audio_cores",
    "money a month for sound on GPUs": "money_audio",
}


def tables(given: Assumptions | None = None) -> str:
    """Give the tables as Markdown."""
    given = given or Assumptions()
    cost_us, source = caption_us()
    sizes = [size(one, given, cost_us) for one in SCALES]
    lines = [
        f"Measured: a caption costs {cost_us:.0f} µs of a core (`benchmarks/results/{source}`).",
        "",
        "| live sessions | " + " | ".join(f"{one:,}" for one in SCALES) + " |",
        "|---|" + "---:|" * len(SCALES),
    ]
    for title, name in ROWS.items():
        lines.append(f"| {title} | " + " | ".join(_number(getattr(one, name)) for one in sizes) + " |")
    lines += ["", "| assumption | value |", "|---|---:|"]
    lines += [f"| {UNITS[one.name]} | {getattr(given, one.name):,g} |" for one in fields(given)]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:,.1f}" if value < 100 and value != int(value) else f"{value:,.0f}"


def page(text: str) -> str:
    """Give a page with the tables put between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables()}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    """Print the tables or renew the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="write them into docs/scale.md")
    if parser.parse_args().page:
        PAGE.write_text(page(PAGE.read_text()))
    else:
        print(tables())


if __name__ == "__main__":
    main()
