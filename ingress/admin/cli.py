"""``dingbridge journal``: look into the journal, also while an ingress writes it, and act on it."""

import asyncio
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import apsw
import typer

from dingbridge.cli.terminal import confirmed, moment, print_json, print_list, say
from dingbridge.errors import BridgeError
from ingress.admin import offline
from ingress.admin.client import do, journal_dir, publisher_settings
from ingress.admin.output import COLUMNS, entry, exported, iso, whole
from ingress.admin.renormalise import renormalise as put_back
from ingress.journal.directory import JournalFolder
from ingress.journal.inspect import (
    InspectedCallback,
    JournalStatus,
    JournalView,
    folder_status,
    journal_status,
    views,
)

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Received then or later: ISO 8601, or 90m, 2h, 3d ago."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Received before then.")]


@app.command()
def stats(as_json: AsJson = False) -> None:
    """How much waits and since when, what is parked and why, and how much disk that takes."""
    root = journal_dir()
    try:
        status = journal_status(root)
    except apsw.Error as error:
        raise BridgeError(f"the journal in {root} cannot be read ({type(error).__name__}: {error})") from None
    if as_json:
        print_json(status.as_json())
    else:
        _print_status(status)


def _print_status(status: JournalStatus) -> None:
    print(f"waiting for Kafka   {status.waiting} callback(s), the oldest for {status.oldest_age_s:.0f} s")
    print(f"disk                {status.bytes:,} bytes used, {status.free_bytes:,} free")
    for folder in status.folders:
        about = f"journal {folder.journal}" if folder.journal else "cannot be read"
        unread = f", {folder.unread} callback(s) could not be read" if folder.unread else ""
        print(f"folder              {folder.name} ({about}): {folder.waiting} waiting{unread}")
    since = status.parked_since_ms
    for (topic, reason), count in sorted(status.parked.items()):
        of = f"record(s) of {topic}" if topic != "-" else "callback(s)"
        print(f"parked              {count} {of}: {reason}, since {iso(since[topic, reason])}")
    if not status.parked:
        print("parked              none")


@app.command("list")
def list_callbacks(
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="The newest so many of each folder.")
    ] = 20,
    waiting: Waiting = False,
    parked: Annotated[bool, typer.Option("--parked", help="Those with parked records, all of them.")] = False,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """The newest callbacks, or those of a time: seq, receipt, app, source, EventType, state. No values.

    What the disk has changed is `damaged`, and nothing more is said of it.
    """
    wanted = _received(since, until)
    found: list[InspectedCallback] = []
    for view in _views():
        if parked:
            of_view = [one for seq in sorted(view.parked) if (one := view.one(seq))]
        else:
            newest = 0 if since or until else view.highest_seq - limit
            of_view = list(view.callbacks(max(newest, view.checkpoint_seq if waiting else 0)))
        of_view = [one for one in of_view if wanted(one)]
        found += of_view if parked else of_view[-limit:]
    print_list(COLUMNS, map(entry, found), as_json=as_json)


@app.command()
def show(
    seq: Annotated[int, typer.Argument(help="The callback's seq, as `list` prints it.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show private values, too.")] = False,
) -> None:
    """One callback as DingTalk sent it, decrypted; private values are masked unless --reveal."""
    found = [one for view in _views() if (one := view.one(seq))]
    for one in found:  # each folder counts for itself
        print(whole(one, reveal))
    if not found:
        say(f"dingbridge: no callback {seq} in the journal (deleted since, or never kept)")
        raise typer.Exit(1)


@app.command()
def export(waiting: Waiting = False, since: Since = None, until: Until = None) -> None:
    """All callbacks, one JSON object a line, their bytes in base64: private values included, keep it safe."""
    wanted = _received(since, until)
    for view in _views():
        for one in filter(wanted, view.callbacks(view.checkpoint_seq if waiting else 0)):
            print_json(exported(one))


@app.command()
def retry() -> None:
    """Try what is parked now, instead of within a minute."""
    print_result(do("retry", {}, offline.retry))


@app.command()
def prune(
    older_than_hours: Annotated[
        float | None,
        typer.Option(help="Since Kafka's acknowledgement; 0: all. Default: JOURNAL_RETENTION_HOURS."),
    ] = None,
    damaged: Annotated[
        bool,
        typer.Option("--damaged", help="Give up what the disk has damaged, and folders that are drained."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete callbacks that are in Kafka. Those that wait or are parked stay, unless they are damaged and
    --damaged gives them up for good."""
    if damaged and not confirmed("Give up for good what the disk has damaged? Nobody sends it again.", yes):
        raise typer.Exit(1)
    options: dict[str, Any] = {} if older_than_hours is None else {"older_than_hours": older_than_hours}
    if damaged:
        options["damaged"] = True
    print_result(do("prune", options, offline.prune))


@app.command()
def drain(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A JOURNAL_DIR that no ingress uses, or one of its folders.")
    ],
) -> None:
    """Publish what is in a folder that nobody writes: of an instance that is gone, or damaged.

    Exit code 1: something of it is still there, parked or not to be read.
    """
    left = False
    for drained in asyncio.run(offline.drain_all(publisher_settings(), folder)):
        left = _tell_drained(drained) or left
    if left:
        raise typer.Exit(1)


def _tell_drained(folder: JournalFolder) -> bool:
    """Print what is left in ``folder``; whether there is something."""
    try:
        status = folder_status(folder)
    except (apsw.Error, BridgeError) as error:
        print(f"{folder.path}: nothing of it can be read ({type(error).__name__}: {error})")
        return True
    parked = sum(group.records for group in status.parked)
    print(f"{folder.path}: {status.waiting} waiting, {parked} parked, {status.unread} could not be read")
    return bool(status.waiting or parked or status.unread)


@app.command()
def renormalise() -> None:
    """Put the records of the unclassified topic back that this release can normalise.

    They are published again by their first ids; run twice, consumers drop the second by (source, id). Exit
    code 1: some could not be published.
    """
    result = asyncio.run(put_back(publisher_settings()))
    print_result(
        {"read": result.read, "put_back": result.put_back, "left": result.left, "parked": result.parked}
    )
    if result.parked:
        raise typer.Exit(1)


def print_result(result: dict[str, Any]) -> None:
    for name, value in result.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{name.replace('_', ' ')}: {shown}")


def _received(since: str | None, until: str | None) -> Callable[[InspectedCallback], bool]:
    """Whether a callback was received in that time; of a damaged one nobody knows: it counts."""
    begin = _ms(moment(since, "--since")) if since else None
    end = _ms(moment(until, "--until")) if until else None

    def wanted(one: InspectedCallback) -> bool:
        at_ms = one.row.received_ms
        return not one.row.intact or ((begin is None or at_ms >= begin) and (end is None or at_ms < end))

    return wanted


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _views() -> Iterator[JournalView]:
    """Every folder with its checkpoint, damaged ones first; what cannot be read is said."""
    found, unreadable = views(journal_dir())
    told = [f"{path} cannot be read ({words})" for path, words in unreadable.items()]
    if not found:
        raise BridgeError("; ".join(told))
    for words in told:
        say(f"dingbridge: {words}")
    yield from found
