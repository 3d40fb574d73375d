"""Commands that run one role in a process of its own: the API, or flows as a Bytewax cluster."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from rejoinder.cli_shared import DataDir, fail, settings_of, start_logging

__all__ = ["roles_app"]

roles_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Log = Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")]


@roles_app.command()
def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the realtime API and the page.")] = None,
    qa_port: Annotated[int | None, typer.Option(help="Port of the Q&A and resume API.")] = None,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Serve the API and the page alone; the flows run in processes of their own on the same Kafka log."""
    settings = settings_of(host=host, port=port, qa_port=qa_port, data_dir=data_dir, log=log)
    start_logging(settings)
    from rejoinder.engine import Engine
    from rejoinder.serving import PortTaken, serve
    from schemas.errors import EngineError

    try:
        engine = Engine(settings, flows=False)
    except EngineError as error:
        raise fail(error) from None
    if not settings.loopback and not any(key.revoked_at is None for key in engine.keys.everything()):
        engine.stop()
        raise fail("beyond loopback a key is required; make one with: rejoinder keys create NAME")
    with engine:
        try:
            serve(engine.doors(), lambda served: typer.echo(f"API at http://{served.host}:{served.port}/"))
        except PortTaken as error:
            raise fail(error) from None


@roles_app.command()
def flow(  # noqa: PLR0913, PLR0917 - options of a command
    names: Annotated[
        list[str],
        typer.Argument(help="Flows: utterances, questions, memory, answers, captions, speaker_turns, nudges."),
    ],
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Start so many processes here and restart all when one ends.")
    ] = 1,
    addresses: Annotated[
        str, typer.Option(help="host:port of every process of the cluster, in order, separated by semicolons.")
    ] = "",
    process_id: Annotated[int | None, typer.Option(min=0, help="Which of the addresses this process is.")] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=16, help="Bytewax workers in each process; more than one is seldom faster.")
    ] = 1,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of health and metrics; 0 = any free one.")] = 0,
    data_dir: DataDir = None,
    log: Log = None,
) -> None:
    """Run flows in processes of their own, as one Bytewax cluster over a Kafka log."""
    settings = settings_of(data_dir=data_dir, log=log)
    start_logging(settings)
    members = tuple(part for part in addresses.replace(",", ";").split(";") if part)
    if process_id is None and not members:
        _supervise(names, processes, workers, data_dir, log)
        return
    if processes > 1:
        raise fail("either --processes, or --addresses with --process-id")
    from rejoinder.roles import FlowRole
    from rejoinder.serving import PortTaken, serve
    from schemas.errors import EngineError

    try:
        role = FlowRole(settings, tuple(names), members, process_id or 0, workers)
    except (EngineError, ValueError) as error:
        raise fail(error) from None
    try:
        with role:
            serve(
                role.doors(port),
                lambda served: typer.echo(
                    f"{' '.join(names)}: health at http://{served.host}:{served.port}/api/health"
                ),
                lambda: role.member.wait(0),
            )
    except PortTaken as error:
        raise fail(error) from None
    if role.member.failure:
        raise fail(role.member.failure)


def _supervise(names: list[str], processes: int, workers: int, data_dir: Path | None, log: str | None) -> None:
    from collections.abc import Sequence

    from rejoinder.supervisor import Supervisor, own_command

    shared = ["--workers", str(workers)]
    shared += ["--data-dir", str(data_dir)] if data_dir is not None else []
    shared += ["--log", log] if log is not None else []

    def command(member: int, addresses: Sequence[str]) -> list[str]:
        placed = ["--addresses", ";".join(addresses)] if addresses else []
        return own_command("flow", *names, "--process-id", str(member), *placed, *shared)

    supervisor = Supervisor(command, processes)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: supervisor.stop())
    typer.echo(f"{' '.join(names)}: {processes} processes, restarted together when one ends. Ctrl-C stops.")
    sys.stdout.flush()
    supervisor.run()
