"""``dingbridge journal``: look into the journal, also while an ingress writes it, and act on it; and
``dingbridge recover``. Commands that act ask the running ingress (``routes.py``).
"""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import apsw
import typer

from dingbridge.admin_token import admin_token
from dingbridge.cli.terminal import Reveal, post_json, print_json, print_list
from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.publish import publish as publish_folder
from dingbridge.ingress.admin.renormalise import renormalise as publish_again
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.inspect import InspectedCallback, JournalStatus, JournalView, journal_status
from dingbridge.ingress.journal.rows import NO_TOPIC
from dingbridge.logging import configure_logging
from dingbridge.masking import shown_body
from dingbridge.settings import JournalSettings, PublisherSettings

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")]
_COLUMNS = ("seq", "received", "app", "via", "type", "state")


@app.command()
def stats(as_json: AsJson = False) -> None:
    """How much waits and since when, what is parked and why, and how much disk that takes."""
    with _reading() as root:
        status = journal_status(root)
    if as_json:
        print_json(status.as_json())
    else:
        _print_status(status)


def _print_status(status: JournalStatus) -> None:
    print(f"waiting for Kafka   {status.waiting} callback(s), the oldest for {status.oldest_age_s:.0f} s")
    print(f"disk                {status.bytes:,} bytes used, {status.free_bytes:,} free")
    for name, state in status.put_aside.items():
        done = "drained" if state.done else "not drained yet"
        number = f"{state.unreadable}{'' if state.counted else ' or more'}"
        print(f"put aside           {name}: {done}, {number} callback(s) could not be read")
    for group in status.parked:
        of = f" for {group.topic}" if group.topic != NO_TOPIC else ""
        since = _iso(group.since_ms)
        print(f"parked              {group.callbacks} callback(s){of}: {group.reason}, since {since}")
    if not status.parked:
        print("parked              none")


@app.command("list")
def list_callbacks(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 20,
    waiting: Waiting = False,
    parked: Annotated[bool, typer.Option("--parked", help="Those that are parked, all of them.")] = False,
    as_json: AsJson = False,
) -> None:
    """The newest callbacks: seq, receipt, app, source, EventType, state. No values.

    A callback that the disk has changed is shown as `damaged`, without its values.
    """
    with _view() as view:
        found = view.newest(limit, waiting=waiting, parked=parked)
        print_list(_COLUMNS, map(_entry, found), as_json=as_json)


@app.command()
def show(
    seq: Annotated[int, typer.Argument(help="The callback's seq, as `list` prints it.")],
    reveal: Reveal = False,
) -> None:
    """One callback: a line about it, and what DingTalk sent, decrypted; private values are masked unless
    --reveal. Of a damaged one the line has only seq and state; what follows is not what DingTalk sent.
    """
    with _view() as view:
        found = view.one(seq)
    if found is None:
        raise BridgeError(f"no callback {seq} in the journal (deleted since, or never kept)")
    print_json(_entry(found))
    print(_text(found.row.body, reveal))


@app.command()
def retry() -> None:
    """Try what is parked now: blocked topics, and once each callback that was refused for itself."""
    _print_result(ask("retry", {}))


@app.command()
def drain(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A JOURNAL_DIR that no ingress uses, or one of its folders.")
    ],
) -> None:
    """Have the running ingress take in the journal of an instance that is gone, or a back-up.

    What is not in Kafka yet is kept in its JOURNAL_DIR, and published from there. Called again, it goes on
    where it was. The folder itself is only read. Exit code 1: something of it could not be read.
    """
    result = ask("drain", {"folder": str(folder.resolve())})
    _print_result(result)
    if result["unreadable"]:
        raise typer.Exit(1)


@app.command()
def publish(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A JOURNAL_DIR that no ingress uses."),
    ] = None,
) -> None:
    """Send the journal of a folder to Kafka that no ingress uses, and end when nothing waits.

    Exit code 1: something stays parked, see `dingbridge journal stats`, or the folder is in use.
    """
    settings = PublisherSettings.load()
    configure_logging(settings)
    parked = asyncio.run(publish_folder(settings, folder or settings.journal_path))
    _print_result({"parked": parked})
    if parked:
        raise typer.Exit(1)


@app.command()
def renormalise() -> None:
    """Publish records of the unclassified topic again that this release can normalise, by their first ids.

    Run twice, they are published twice: consumers drop the second by (source, id).
    """
    settings = PublisherSettings.load()
    configure_logging(settings)
    _print_result(asyncio.run(publish_again(settings)))


def recover(
    app: Annotated[str | None, typer.Option(metavar="NAME", help="One of several apps; else all.")] = None,
) -> None:
    """Read the pushes that DingTalk gave up, and publish them as events.

    The ingress does this by itself, hourly and after an outage; by hand it is sooner: this asks the running
    ingress. Exit code 1: DingTalk or the journal does not work, also if only for one app; or no list is read.
    """
    results = ask("recover", {} if app is None else {"app": app})
    for name, result in results.items():
        if (reason := result.get("failed") or result.get("unread")) is not None:
            typer.echo(f"not read: {name}: {reason}", err=True)
        else:
            print(f"app: {name}")
            _print_result(result)
    if any("failed" in result for result in results.values()):
        raise typer.Exit(1)


def ask(verb: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the running ingress answers to ``POST /journal/<verb>`` on its private listener. Raises
    ``BridgeError``."""
    settings = JournalSettings.load()
    url = f"http://{settings.admin_host}:{settings.admin_port}/journal/{verb}"
    remedy = (
        "start it, or set ADMIN_HOST and ADMIN_PORT to its private listener; without an ingress, "
        "`dingbridge journal publish` sends a folder to Kafka"
    )
    late = "it goes on; to wait for its end, run the same command again"
    token = admin_token(settings.data_dir)
    answer: dict[str, Any] = post_json(url, options, "ingress", remedy, token=token, late=late)
    return answer


def _print_result(result: dict[str, Any]) -> None:
    for name, value in result.items():
        shown = ", ".join(f"{key} {count}" for key, count in value.items()) if name == "types" else value
        print(f"{name.replace('_', ' ')}: {shown}")


@contextmanager
def _reading() -> Iterator[Path]:
    """The ``JOURNAL_DIR``; an error while it is read becomes one line. Raises ``BridgeError`` where there is
    no journal, or where this user may not look into the folder: looking for files would only find none."""
    root = JournalSettings.load().journal_path
    try:
        os.scandir(root).close()
    except PermissionError:
        raise BridgeError(
            f"user id {os.geteuid()} may not read the journal in {root}; run this as the user of the ingress"
        ) from None
    except OSError:
        pass
    if not current(root).exists():
        raise BridgeError(f"no journal in {root}; set JOURNAL_DIR (or DATA_DIR) as for the ingress")
    try:
        yield root
    except apsw.Error as error:
        raise BridgeError(
            f"the journal in {root} cannot be read ({type(error).__name__}: {error}); start the ingress "
            "again: it puts a damaged journal aside and drains what can be read of it"
        ) from None


@contextmanager
def _view() -> Iterator[JournalView]:
    with _reading() as root, closing(JournalView(current(root))) as view:
        yield view


def _state(found: InspectedCallback) -> str:
    """``waiting``, ``published`` or ``parked: rights``; with ``, damaged`` where the disk has changed it."""
    words = f"{found.state}: {', '.join(found.reasons)}" if found.parked else found.state
    return words if found.row.intact or "damaged" in words else f"{words}, damaged"


def _entry(found: InspectedCallback) -> dict[str, Any]:
    """What is known of a callback; of a damaged one only its seq and state."""
    row = found.row
    return {
        "seq": row.seq,
        "received": _iso(row.received_ms) if row.intact else None,
        "app": row.app if row.intact else None,
        "via": row.via if row.intact else None,
        "type": row.facts.event_type if row.intact else None,
        "state": _state(found),
        "journal": found.journal,
    }


def _text(body: bytes, reveal: bool) -> str:
    """The body as JSON, with private values masked unless ``reveal``; a body that is no JSON only with it."""
    text = shown_body(body, revealed=reveal)
    try:
        pretty = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text
    return pretty.encode("utf-8", "backslashreplace").decode()


def _iso(ms: int) -> str:
    """``ms`` of the epoch as UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
