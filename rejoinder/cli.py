"""The command ``rejoinder``; heavy imports wait until a command needs them."""

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.garbage import look_less
from rejoinder import __version__
from rejoinder.cli_analytics import analytics_app
from rejoinder.cli_consents import consents_app
from rejoinder.cli_dead_letters import dead_letters_app
from rejoinder.cli_eval import eval_app
from rejoinder.cli_listen import listen_app
from rejoinder.cli_replay import replay_app
from rejoinder.cli_roles import roles_app
from rejoinder.cli_shared import DataDir, fail, settings_of, start_logging
from rejoinder.cli_voices import voices_app
from rejoinder.cli_watch import watch_app

if TYPE_CHECKING:
    from rejoinder.settings import Settings

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=__doc__
)
keys_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, list and revoke API keys.")
app.add_typer(keys_app, name="keys")
app.add_typer(voices_app, name="voices")
app.add_typer(consents_app, name="consents")
app.add_typer(dead_letters_app, name="dead-letters")

app.add_typer(roles_app)
app.add_typer(replay_app)
app.add_typer(analytics_app, name="analytics")
app.add_typer(eval_app, name="eval")
app.add_typer(listen_app)
app.add_typer(watch_app)


@app.callback(invoke_without_command=True)
def main(*, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Rejoinder: captions in, grounded answers out."""
    look_less()
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def demo(
    meeting: Annotated[
        str, typer.Option(help="interview, practice, or a file (.jsonl, .srt, .vtt, .txt).")
    ] = "interview",
    speed: Annotated[float, typer.Option(min=0.5, max=200, help="How many times faster than recorded.")] = 12.0,
    llm: Annotated[str | None, typer.Option(help="off, local or server; see docs/settings.md.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Play a recorded meeting through the whole engine, with no key, network or set-up."""
    typer.echo("Starting the engine in this process (embedded log, no key, no network) ...")
    from rejoinder.telemetry import set_up_logging

    set_up_logging("error")
    from rejoinder.demo.meetings import load_meeting
    from rejoinder.engine import Engine
    from rejoinder.player import Player
    from rejoinder.screen import Screen
    from rejoinder.serving import serving
    from schemas.errors import EngineError

    with ExitStack() as stack:
        try:
            recorded = load_meeting(meeting)
            folder = data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rejoinder-demo-")))
            settings = settings_of(data_dir=folder, host="127.0.0.1", port=0, qa_port=0, llm=llm)
            engine = stack.enter_context(Engine(settings))
        except (EngineError, ValueError) as error:
            raise fail(error) from None
        served = stack.enter_context(serving(engine))
        typer.echo(f"Playing {recorded.title!r}: {recorded.length_s / 60:.1f} minutes at {speed:g}x speed.\n")
        screen = Screen({person["id"]: person.get("name", person["id"]) for person in recorded.participants})
        played = Player(f"http://127.0.0.1:{served.port}", screen.show, speed).play(recorded)
        screen.summary(played)
    answered = any(one["type"] == "answer" for one in played.answers.values())
    if not answered:
        raise fail("no question was answered")
    typer.echo("\nNext: `uv run rejoinder up` starts the engine for real use, with a page at http://127.0.0.1:8080/")


@app.command()
def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of the realtime API and the page.")] = None,
    qa_port: Annotated[int | None, typer.Option(help="Port of the Q&A and resume API.")] = None,
    data_dir: DataDir = None,
    llm: Annotated[str | None, typer.Option(help="auto, off, local or server.")] = None,
    log: Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")] = None,
) -> None:
    """Start the engine: APIs, page and flows in one process, until Ctrl-C."""
    settings = settings_of(host=host, port=port, qa_port=qa_port, data_dir=data_dir, llm=llm, log=log)
    start_logging(settings)
    from rejoinder.engine import Engine
    from rejoinder.serving import PortTaken, Served, serve
    from schemas.errors import EngineError

    def ready(served: Served) -> None:
        typer.echo(f"Rejoinder {__version__}, data in {settings.data_dir}")
        typer.echo(f"  page and realtime API  http://{served.host}:{served.port}/")
        typer.echo(f"  Q&A and resume API     http://{served.host}:{served.qa_port}/api/docs")
        typer.echo(f"  answers by             {engine.view.models()['answers']}")
        typer.echo("Ctrl-C stops.")
        sys.stdout.flush()

    try:
        engine = Engine(settings)
    except EngineError as error:
        raise fail(error) from None
    if not settings.loopback and not any(key.revoked_at is None for key in engine.keys.everything()):
        engine.stop()
        raise fail("beyond loopback a key is required; make one with: rejoinder keys create NAME")
    with engine:
        try:
            serve(engine.doors(), ready)
        except PortTaken as error:
            raise fail(error) from None
    typer.echo("Stopped. Everything is kept; `rejoinder up` goes on where this stopped.")


@app.command()
def topics(
    action: Annotated[
        str, typer.Argument(help="`show` prints the table, `apply` makes and checks it on Kafka.")
    ] = "show",
    log: Annotated[str | None, typer.Option(help="Address of the log: kafka://host:port[/prefix].")] = None,
) -> None:
    """Print the table of topics, or make it on Kafka; topics that are there are checked and never changed."""
    from schemas.topics import TOPICS

    if action == "apply":
        _apply_topics(settings_of(log=log))
    elif action == "show":
        for topic in TOPICS.values():
            kept = "until erased" if topic.retention_s is None else f"{topic.retention_s / 3600:g} h"
            typer.echo(f"{topic.name:14} written by {topic.written_by:14} kept {kept:13} {topic.note}")
    else:
        typer.echo("rejoinder: topics knows show and apply", err=True)
        raise typer.Exit(2)


def _apply_topics(settings: "Settings") -> None:
    from eventlog.opening import kafka_options
    from schemas.errors import EngineError

    try:
        options = kafka_options(settings.log_url, settings.kafka)
        from eventlog.kafka_client import apply_topics

        reports = apply_topics(options)
    except EngineError as error:
        raise fail(error) from None
    for report in reports:
        typer.echo(f"{report.state:6} {report.name:20} {report.detail}")
    if any(report.state == "wrong" for report in reports):
        raise fail("topics marked wrong are left as they are; change them with Kafka's own tools, or use a prefix")
    typer.echo(f"Next: rejoinder up --log {settings.log_url}")


@app.command()
def settings(
    *,
    page: Annotated[bool, typer.Option("--page", help="Print docs/settings.md.")] = False,
    env: Annotated[bool, typer.Option("--env", help="Print .env.example.")] = False,
) -> None:
    """Print every setting with its value now, or the generated pages."""
    from rejoinder.settings import env_example, settings_page

    if page:
        typer.echo(settings_page(), nl=False)
    elif env:
        typer.echo(env_example(), nl=False)
    else:
        for name, value in settings_of().model_dump().items():
            typer.echo(f"REJOINDER_{name.upper()}={value}")


def _store(data_dir: Path | None) -> Any:
    from rejoinder.accounts.keys import KeyStore
    from schemas.errors import EngineError

    try:
        return KeyStore(settings_of(data_dir=data_dir).data_dir / "accounts.sqlite3", key_required=True)
    except EngineError as error:
        raise fail(error) from None


@keys_app.command("create")
def create_key(
    name: str,
    owner: Annotated[str, typer.Option(help="Whose data it opens.")] = "local",
    *,
    operator: Annotated[bool, typer.Option("--operator", help="It opens dead letters, of all owners.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Make an API key; it is shown this once."""
    store = _store(data_dir)
    key, token = store.create(name, owner, operator=operator)
    store.close()
    typer.echo(f"Key {key.key_id} for {key.owner_id!r}:\n\n  {token}\n\nKeep it: it is not shown again.")
    typer.echo('Next: curl -H "Authorization: Bearer rj_..." http://127.0.0.1:8080/api/sessions')


@keys_app.command("list")
def list_keys(data_dir: DataDir = None) -> None:
    """List the keys."""
    store = _store(data_dir)
    for key in store.everything():
        typer.echo(
            f"{key.key_id}  {key.owner_id:12} {key.created_at}  {'revoked' if key.revoked_at else 'valid':8} {key.name}"
            f"{' (operator)' if key.operator else ''}"
        )
    if not store.everything():
        typer.echo("No keys yet. Next: rejoinder keys create NAME")
    store.close()


@keys_app.command("revoke")
def revoke_key(key_id: str, data_dir: DataDir = None) -> None:
    """Make a key worthless from now on."""
    store = _store(data_dir)
    done = store.revoke(key_id)
    store.close()
    if not done:
        raise fail(f"no valid key {key_id!r}; see: rejoinder keys list")
    typer.echo(f"Key {key_id} is revoked.")
