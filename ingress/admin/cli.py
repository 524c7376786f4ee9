"""``dingbridge journal``: look into the journal, also while an ingress holds it, and act on it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ingress.journal.inspect import Seen, View

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]


@app.command()
def stats(as_json: AsJson = False) -> None:
    """How much waits and since when, what is parked and why, and how much disk that takes."""
    import apsw
    import orjson

    from dingbridge.errors import BridgeError
    from ingress.status import total_status

    folder = _folder()
    try:
        status = total_status(folder)
    except apsw.Error as error:
        raise BridgeError(
            f"the journal in {folder} cannot be read ({type(error).__name__}: {error})"
        ) from None
    parked = [
        {"topic": topic, "reason": reason, "records": count}
        for (topic, reason), count in sorted(status.parked.items())
    ]
    found: dict[str, Any] = {
        "waiting": status.waiting,
        "oldest_age_s": round(status.oldest_age_s, 1),
        "bytes": status.bytes,
        "free_bytes": status.free_bytes,
        "files": status.files,
        "unreadable": status.unreadable,
        "parked": parked,
    }
    if as_json:
        print(orjson.dumps(found).decode())
        return
    print(f"waiting for Kafka   {status.waiting} callback(s), the oldest for {status.oldest_age_s:.0f} s")
    print(f"disk                {status.bytes:,} bytes used, {status.free_bytes:,} free")
    for name, journal in status.files.items():
        print(f"file                {name} (journal {journal})")
    for name in status.unreadable:
        print(f"unreadable          {name}: what waits there is not counted; restore it, or move it away")
    for item in parked:
        of = f"record(s) of {item['topic']}" if item["topic"] != "-" else "callback(s)"
        print(f"parked              {item['records']} {of}: {item['reason']}")
    if not parked:
        print("parked              none")


@app.command("list")
def list_callbacks(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many of each file.")] = 20,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")] = False,
    parked: Annotated[bool, typer.Option("--parked", help="Those with parked records, all of them.")] = False,
) -> None:
    """The newest callbacks: seq, receipt, app, source, EventType, state, journal. No values.

    What the disk has changed is `damaged`, and nothing more is said of it.
    """
    from ingress.admin.output import line

    shown = _views()
    for view in shown:
        if parked:
            found = [seen for seq in sorted(view.parked) if (seen := view.one(seq))]
        else:
            newest = view.highest() - limit
            found = list(view.callbacks(max(newest, view.cursor if waiting else 0)))
        for seen in found:
            print(line(seen))
    for seen in _without_file(shown) if parked else []:
        print(line(seen))


@app.command()
def show(
    seq: Annotated[int, typer.Argument(help="The callback's seq, as `list` prints it.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show private values, too.")] = False,
) -> None:
    """One callback as DingTalk sent it, decrypted; private values are masked unless --reveal."""
    from ingress.admin.output import whole

    found = [seen for view in _views() if (seen := view.one(seq))]
    for seen in found:  # each file counts for itself
        print(whole(seen, reveal))
    if not found:
        print(f"dingbridge: no callback {seq} in the journal (pruned, or never kept)", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def export(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")] = False,
) -> None:
    """All callbacks, one JSON object a line, their bytes in base64: private values included, keep it safe."""
    from dingbridge.cli.terminal import print_json
    from ingress.admin.output import exported

    for view in _views():
        for seen in view.callbacks(view.cursor if waiting else 0):
            print_json(exported(seen))


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
) -> None:
    """Copy the journal as it is now, also while an ingress writes it; the copy can be put in its place."""
    from ingress.backup import back_up

    for name, size in back_up(_folder(), folder).items():
        print(f"{name}: {size:,} bytes")


@app.command()
def mend() -> None:
    """Put a sound file in the place of a damaged one, with all that can still be read of it.

    The damaged one is kept. Stop the ingress first. Exit code 1: callbacks that waited for Kafka could not be
    read.
    """
    import apsw

    from dingbridge.errors import BridgeError
    from ingress.admin.verbs import mend_alone

    settings = _settings()
    if not _is_folder(settings.journal_path):
        raise BridgeError(
            f"no journal in {settings.journal_path}; set JOURNAL_DIR (or DATA_DIR) as for the ingress"
        )
    try:
        found = mend_alone(settings)
    except (apsw.Error, OSError) as error:
        raise BridgeError(
            f"the journal could not be mended ({type(error).__name__}: {error}); free or mend the disk, and "
            "call this again"
        ) from error
    for mended in found:
        print(f"{mended.file}: {mended.fault}")
        print(f"  {mended.callbacks} callback(s) saved, of which {mended.waiting} wait for Kafka")
        if mended.lost:
            print(f"  {mended.lost} that waited could not be read: they will be parked as `damaged`")
        print(f"  the damaged file is now {mended.kept}")
    if not found:
        print("no journal file is damaged")
    if any(mended.lost for mended in found):
        raise typer.Exit(1)


@app.command()
def retry() -> None:
    """Try what is parked now, instead of within a minute."""
    from ingress.admin.verbs import retry_alone

    print_result(do("retry", {}, retry_alone))


@app.command()
def discard(
    seqs: Annotated[list[int], typer.Argument(metavar="SEQ", help="As `list --parked` prints them.")],
    journal: Annotated[str | None, typer.Option(help="Whose, where several have the number.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Give up callbacks that are parked as `damaged` or `missing`, for good. Others wait for Kafka, whole."""
    from dingbridge.cli.terminal import confirmed, say
    from dingbridge.errors import BridgeError
    from ingress.admin.output import state
    from ingress.admin.verbs import discard_alone

    doomed = [_lost(seq, journal) for seq in dict.fromkeys(seqs)]
    for seen in doomed:
        say(f"seq {seen.row.seq} of journal {seen.journal}: {state(seen)}")
    wanted = [(seen.journal, seen.row.seq) for seen in doomed]
    if not confirmed("Give up what DingTalk said there? Nobody sends it again.", yes):
        raise typer.Exit(1)
    result = do("discard", {"callbacks": wanted}, discard_alone)
    print_result(result)
    if result["discarded"] < len(wanted):
        raise BridgeError("some were not parked as lost any more; see `dingbridge journal list --parked`")


@app.command()
def prune(
    older_than_hours: Annotated[
        float | None,
        typer.Option(help="Since Kafka's acknowledgement; 0: all. Default: JOURNAL_RETENTION_HOURS."),
    ] = None,
) -> None:
    """Delete callbacks that are in Kafka. Those that wait or are parked always stay."""
    from ingress.admin.verbs import prune_alone

    options = {} if older_than_hours is None else {"older_than_hours": older_than_hours}
    print_result(do("prune", options, prune_alone))


@app.command()
def renormalise() -> None:
    """Put the records of the unclassified topic back that this release can normalise.

    They are published again by their first ids; run twice, consumers drop the second by (source, id).
    """
    from ingress.admin.verbs import put_back_alone

    print_result(do("renormalise", {}, put_back_alone))


def _lost(seq: int, journal: str | None) -> "Seen":
    """The callback that is parked as damaged or missing. Raises ``BridgeError`` where none is."""
    from dingbridge.errors import BridgeError
    from ingress.admin.output import state

    shown = _views()
    every = [seen for view in shown if (seen := view.one(seq))]
    every += [seen for seen in _without_file(shown) if seen.row.seq == seq]
    found = [seen for seen in every if journal in (None, seen.journal)]
    lost = [seen for seen in found if seen.lost]
    if len(lost) > 1:
        names = " or ".join(seen.journal for seen in lost)
        raise BridgeError(f"{seq} is damaged or missing in several journals: add --journal {names}")
    if not lost:
        states = ", ".join(f"{state(seen)} in journal {seen.journal}" for seen in found) or "not here"
        raise BridgeError(
            f"callback {seq} is not parked as damaged or missing ({states}); nothing was given up"
        )
    return lost[0]


def do(verb: str, options: dict[str, Any], alone: Any) -> dict[str, Any]:
    """Do it here if no ingress holds the journal, else ask the one that does."""
    import asyncio

    from dingbridge.errors import SettingsError
    from dingbridge.logging import configure_logging
    from dingbridge.settings import PublisherSettings
    from ingress.errors import JournalLocked
    from ingress.journal.directory import FolderLock

    lock = FolderLock(_folder())
    try:
        lock.acquire()
    except JournalLocked:
        return _ask(verb, options)
    lock.release()
    try:
        settings = PublisherSettings.load()
    except SettingsError as error:
        raise SettingsError(
            [*error.problems, "(no ingress runs, so this command needs the settings of one)"]
        ) from None
    configure_logging(settings)  # to standard error: standard output is for the answer
    try:
        result: dict[str, Any] = asyncio.run(alone(settings, options))
    except JournalLocked:  # one was started meanwhile
        return _ask(verb, options)
    return result


def _ask(verb: str, options: dict[str, Any]) -> dict[str, Any]:
    import json
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    from dingbridge.cli.terminal import open_here, refusal_of
    from dingbridge.errors import BridgeError

    settings = _settings()
    url = f"http://{settings.admin_host}:{settings.admin_port}/journal/{verb}"
    remedy = "set ADMIN_HOST and ADMIN_PORT to its private listener"
    request = urllib.request.Request(
        url, json.dumps(options).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with open_here(request, timeout=600) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        refusal = refusal_of(error) or f"no ingress answers at {url} ({error.code}); {remedy}"
        raise BridgeError(refusal) from None
    except (ValueError, HTTPException):
        raise BridgeError(f"what answers at {url} is no ingress; {remedy}") from None
    except OSError as error:
        raise BridgeError(
            f"an ingress holds the journal but does not answer at {url} ({getattr(error, 'reason', error)}); "
            f"{remedy}"
        ) from error


def print_result(result: dict[str, Any]) -> None:
    for name, value in result.items():
        print(f"{name.replace('_', ' ')}: {value}")


def _settings() -> Any:
    from dingbridge.settings import JournalSettings

    return JournalSettings.load()


def _folder() -> Path:
    from dingbridge.errors import BridgeError
    from ingress.journal.directory import journal_folders

    folder: Path = _settings().journal_path
    if not _is_folder(folder) or not journal_folders(folder):
        raise BridgeError(f"no journal in {folder}; set JOURNAL_DIR (or DATA_DIR) as for the ingress")
    return folder


def _is_folder(path: Path) -> bool:
    """Raises ``BridgeError`` where this user may not look into it: looking for files would only find none."""
    import os

    from dingbridge.errors import BridgeError

    try:
        os.scandir(path).close()
    except PermissionError:
        raise BridgeError(
            f"user id {os.geteuid()} may not read the journal in {path}; run this as the user of the ingress"
        ) from None
    except OSError:
        return False
    return True


def _views() -> "list[View]":
    """Every journal file with its cursor; what cannot be read is said."""
    from dingbridge.cli.terminal import say
    from dingbridge.errors import BridgeError
    from ingress.journal.inspect import views

    found, unreadable = views(_folder())
    told = [f"{path} or its cursor cannot be read ({words})" for path, words in unreadable.items()]
    if not found:
        raise BridgeError("; ".join(told))
    for words in told:
        say(f"dingbridge: {words}")
    return found


def _without_file(shown: "list[View]") -> "list[Seen]":
    """What is parked, and whose file is not among those ``shown``."""
    import apsw

    from dingbridge.errors import BridgeError
    from ingress.journal.inspect import without_file

    folder = _folder()
    try:
        return without_file(folder, shown)
    except apsw.Error as error:
        raise BridgeError(f"a cursor in {folder} cannot be read ({type(error).__name__}: {error})") from error
