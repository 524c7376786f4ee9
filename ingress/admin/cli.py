"""``dingbridge journal``: look into the journal, also while an ingress writes it, and act on it."""

import base64
import json
import math
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import apsw
import typer

from dingbridge.cli.terminal import Reveal, Yes, confirmed, moment, print_json, print_list
from dingbridge.errors import BridgeError
from dingbridge.events import extract_facts
from dingbridge.ingress.admin.client import ask, bring_in, do, forget_damaged, journal_dir, publisher_settings
from dingbridge.ingress.admin.downgrade import downgrade
from dingbridge.ingress.admin.renormalise import renormalise as put_back
from dingbridge.ingress.errors import JournalLocked
from dingbridge.ingress.journal.directory import current, exclusive_locks, relay_lock
from dingbridge.ingress.journal.inspect import InspectedCallback, JournalStatus, JournalView, journal_status
from dingbridge.masking import shown_body

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Waiting = Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Received then or later: ISO 8601, or 90m, 2h, 3d ago."),
]
_COLUMNS = ("seq", "received", "app", "via", "type", "state")
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Received before then.")]


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
    for name, state in status.damaged.items():
        done = "imported" if state.done_ms is not None else "not imported yet"
        print(f"damaged journal     {name}: {done}, {state.unread_number} callback(s) could not be read")
    for group in status.parked:
        of = f"record(s) of {group.topic}" if group.topic != "-" else "callback(s)"
        print(f"parked              {group.records} {of}: {group.reason}, since {_iso(group.since_ms)}")
    if not status.parked:
        print("parked              none")


@app.command("list")
def list_callbacks(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 20,
    waiting: Waiting = False,
    parked: Annotated[bool, typer.Option("--parked", help="Those with parked records, all of them.")] = False,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """The newest callbacks, or those of a time: seq, receipt, app, source, EventType, state. No values.

    A callback that the disk has changed is shown as `damaged`, without its values.
    """
    wanted = _received(since, until)
    with _view() as view:
        if parked:
            found = [one for seq in sorted(view.parked) if (one := view.one(seq)) and wanted(one)]
        else:
            newest = 0 if since or until else view.highest_seq - limit
            after_seq = max(newest, view.checkpoint_seq if waiting else 0)
            found = list(filter(wanted, view.callbacks(after_seq)))[-limit:]
    print_list(_COLUMNS, map(_entry, found), as_json=as_json)


@app.command()
def show(
    seq: Annotated[int, typer.Argument(help="The callback's seq, as `list` prints it.")],
    reveal: Reveal = False,
) -> None:
    """One callback as DingTalk sent it, decrypted; private values are masked unless --reveal."""
    with _view() as view:
        found = view.one(seq)
    if found is None:
        raise BridgeError(f"no callback {seq} in the journal (deleted since, or never kept)")
    print(_whole(found, reveal))


@app.command()
def export(
    waiting: Waiting = False, since: Since = None, until: Until = None, reveal: Reveal = False
) -> None:
    """All callbacks, one JSON object a line, their bytes in base64: private values included, keep it safe.
    It wants --reveal."""
    if not reveal:
        raise typer.BadParameter("an export holds private values, and wants it", param_hint="--reveal")
    wanted = _received(since, until)
    with _view() as view:
        for one in filter(wanted, view.callbacks(view.checkpoint_seq if waiting else 0)):
            print_json(_exported(one))


@app.command()
def retry() -> None:
    """Try what is parked now, instead of within a minute."""
    with suppress(JournalLocked), exclusive_locks(relay_lock(current(journal_dir()).path)):
        raise BridgeError(
            "no relay publishes this journal; `dingbridge relay --until-empty` does, and tries what is parked"
        )
    print_result(ask("parked/retry", {}))


@app.command()
def prune(
    older_than_hours: Annotated[
        float | None,
        typer.Option(help="Since Kafka's acknowledgement; 0: all. Default: JOURNAL_RETENTION_HOURS."),
    ] = None,
    damaged: Annotated[
        bool,
        typer.Option("--damaged", help="Give up what the disk has damaged, and folders that are imported."),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete callbacks that are in Kafka. Those that wait or are parked stay, unless they are damaged and
    --damaged gives them up for good."""
    question = "Delete callbacks that are in Kafka?"
    if damaged:
        question = f"Give up for good what the disk has damaged? Nobody sends it again. {question}"
    if not confirmed(question, yes):
        raise typer.Exit(1)
    result = do("prune", {"older_than_hours": older_than_hours, "damaged": damaged})
    if damaged:
        result["damaged_callbacks"] = forget_damaged()
    print_result(result)


@app.command()
def drain(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A JOURNAL_DIR that no ingress uses, or one of its folders.")
    ],
) -> None:
    """Import the journal of an instance that is gone, from its folder.

    What is not in Kafka yet is kept in this JOURNAL_DIR, by its ingress if one runs, and published from
    there. Called again, it goes on where it was. Exit code 1: something of it could not be read.
    """
    result = bring_in(folder)
    print_result(result)
    if result["unread"]:
        raise typer.Exit(1)


@app.command()
def renormalise() -> None:
    """Publish records of the unclassified topic again that this release can normalise.

    They are published again by their first ids; run twice, consumers drop the second by (source, id).
    """
    print_result(put_back(publisher_settings()))


@app.command("downgrade")
def downgrade_file(
    file: Annotated[str, typer.Argument(help="journal.db or checkpoint.db.")],
    version: Annotated[int, typer.Argument(help="The version that the older dingbridge knows.")],
    yes: Yes = False,
) -> None:
    """Rewrite a file of the journal for an older dingbridge, which named this command when it refused it.

    Run it with the newer one, while neither ingress nor relay runs. Callbacks stay; what only the newer
    version keeps beside them is deleted.
    """
    if not confirmed(f"Rewrite {file} for version {version}? What only newer ones keep is deleted.", yes):
        raise typer.Exit(1)
    before = downgrade(journal_dir(), file, version)
    print(f"{file}: from version {before} to {version}. Start the older dingbridge now.")


def print_result(result: dict[str, Any]) -> None:
    for name, value in result.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{name.replace('_', ' ')}: {shown}")


def _received(since: str | None, until: str | None) -> Callable[[InspectedCallback], bool]:
    """Whether a callback was received in that time; a damaged one counts, since its time is not known."""
    begin_s = moment(since, "--since").timestamp() if since else 0.0
    end_s = moment(until, "--until").timestamp() if until else math.inf

    def wanted(one: InspectedCallback) -> bool:
        return not one.row.intact or begin_s <= one.row.received_ms / 1000 < end_s

    return wanted


@contextmanager
def _reading() -> Iterator[Path]:
    """The ``JOURNAL_DIR``; an error while it is read becomes one line."""
    root = journal_dir()
    try:
        yield root
    except apsw.Error as error:
        raise BridgeError(
            f"the journal in {root} cannot be read ({type(error).__name__}: {error}); start the ingress "
            "again: it puts a damaged journal aside and imports what can be read of it"
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
    """For the list; of a damaged one only its seq and state."""
    row = found.row
    return {
        "seq": row.seq,
        "received": _iso(row.received_ms) if row.intact else None,
        "app": row.app if row.intact else None,
        "via": row.via if row.intact else None,
        "type": extract_facts(row.body).event_type if row.intact else None,
        "state": _state(found),
        "journal": found.journal,
    }


def _whole(found: InspectedCallback, reveal: bool) -> str:
    """A line about the callback, and the callback; masked unless ``reveal``."""
    row = found.row
    lines = [f"# seq {row.seq} of journal {found.journal}, {_state(found)}"]
    if row.intact:
        lines.append(f"# received {_iso(row.received_ms)}, app {row.app or '-'}, via {row.via}")
    elif row.body:
        lines.append("# it does not fit its checksum: this is not what DingTalk sent")
    else:
        lines.append("# nothing of it can be read")
    return "\n".join([*lines, _text(row.body, reveal)] if row.body else lines)


def _exported(found: InspectedCallback) -> dict[str, Any]:
    """For a line of the export; ``damaged`` only where it is."""
    row = found.row
    return {
        "journal": found.journal,
        "seq": row.seq,
        "received_ms": row.received_ms,
        "app": row.app,
        "via": row.via,
        "body_base64": base64.b64encode(row.body).decode(),
        **({} if row.intact else {"damaged": True}),
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
