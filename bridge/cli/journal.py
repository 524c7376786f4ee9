"""``dingbridge journal``: look into the journal, also while an ingress holds it, and act on it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ingress.cursor import CursorFile
    from ingress.journal_file import JournalFile, Row

app = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, add_completion=False
)

AsJson = Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")]


@app.command()
def stats(as_json: AsJson = False) -> None:
    """How much waits and since when, what is parked and why, and how much disk that takes."""
    import orjson

    from ingress.status import total_status

    status = total_status(_folder())
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
        print(f"parked              {item['records']} record(s) of {item['topic']}: {item['reason']}")
    if not parked:
        print("parked              none")


@app.command("list")
def list_callbacks(
    limit: Annotated[int, typer.Option("--limit", "-n", help="The newest so many.")] = 20,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")] = False,
) -> None:
    """The newest callbacks in the journal: seq, receipt, app, source, EventType, state. No values."""
    from schemas import read as read_door

    for file, cursor in _files(_folder()):
        after = cursor.seq(file.id) if waiting else 0
        parked = cursor.parked_seqs(file.id)
        first = max(after, file.highest_seq() - limit)
        for row in file.read(first, max_rows=limit, max_bytes=1 << 30):
            state = "waiting"
            if row.seq <= cursor.seq(file.id):
                state = "parked" if row.seq in parked else "published"
            kind = read_door(row.body).event_type or "-"
            print(row.seq, _iso(row.received_ms), row.app, row.via, kind, state, sep="\t")


@app.command()
def show(
    seq: Annotated[int, typer.Argument(help="The callback's seq, as `list` prints it.")],
    reveal: Annotated[bool, typer.Option("--reveal", help="Show private values, too.")] = False,
) -> None:
    """One callback as DingTalk sent it, decrypted; private values are masked unless --reveal."""
    for row in _rows(seq):
        print(f"# seq {row.seq}, received {_iso(row.received_ms)}, app {row.app}, via {row.via}")
        print(_text(row.body, reveal))
        return
    print(f"dingbridge: no callback {seq} in the journal (pruned, or never kept)", file=sys.stderr)
    raise typer.Exit(1)


@app.command()
def export(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those not yet in Kafka.")] = False,
) -> None:
    """All callbacks, one JSON object a line, their bytes in base64: private values included, keep it safe."""
    import base64

    import orjson

    for file, cursor in _files(_folder()):
        seq = cursor.seq(file.id) if waiting else 0
        while rows := file.read(seq, max_rows=500, max_bytes=1 << 22):
            for row in rows:
                line = {
                    "journal": file.id,
                    "seq": row.seq,
                    "received_ms": row.received_ms,
                    "app": row.app,
                    "via": row.via,
                    "body_base64": base64.b64encode(row.body).decode(),
                }
                print(orjson.dumps(line).decode())
            seq = rows[-1].seq


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
) -> None:
    """Copy the journal as it is now, also while an ingress writes it; the copy can be put in its place."""
    from ingress.backup import back_up

    for name, size in back_up(_folder(), folder).items():
        print(f"{name}: {size:,} bytes")


@app.command()
def retry() -> None:
    """Try what is parked now, instead of within a minute."""
    from ingress.verbs import retry_alone

    _print_result(_do("retry", {}, retry_alone))


@app.command()
def prune(
    older_than_hours: Annotated[
        float | None,
        typer.Option(help="Since Kafka's acknowledgement; 0: all. Default: JOURNAL_RETENTION_HOURS."),
    ] = None,
) -> None:
    """Delete callbacks that are in Kafka. Those that wait or are parked always stay."""
    from ingress import verbs

    options = {} if older_than_hours is None else {"older_than_hours": older_than_hours}

    async def alone(settings: Any) -> dict[str, Any]:
        async with verbs.alone(settings) as journal:
            return await verbs.prune(settings, journal, options)

    _print_result(_do("prune", options, alone))


@app.command()
def renormalise() -> None:
    """Put the records of the unclassified topic back that this release can normalise.

    They are published again by their first ids; run twice, consumers drop the second by (source, id).
    """
    from ingress import verbs

    async def alone(settings: Any) -> dict[str, Any]:
        async with verbs.alone(settings) as journal:
            return await verbs.put_back(settings, journal, {})

    _print_result(_do("renormalise", {}, alone))


def _do(verb: str, options: dict[str, Any], alone: Any) -> dict[str, Any]:
    """Do it here if no ingress holds the journal, else ask the one that does."""
    import asyncio

    from bridge.errors import SettingsError
    from bridge.settings import IngressSettings
    from bridge.telemetry import configure_logging
    from ingress.errors import JournalLocked
    from ingress.folder import FolderLock

    lock = FolderLock(_folder())
    try:
        lock.acquire()
    except JournalLocked:
        return _ask(verb, options)
    lock.release()
    try:
        settings = IngressSettings.load()
    except SettingsError as error:
        raise SettingsError(
            [*error.problems, "(no ingress runs, so this command needs the settings of one)"]
        ) from None
    configure_logging(settings)  # to standard error: standard output is for the answer
    try:
        result: dict[str, Any] = asyncio.run(alone(settings))
    except JournalLocked:  # one was started meanwhile
        return _ask(verb, options)
    return result


def _ask(verb: str, options: dict[str, Any]) -> dict[str, Any]:
    import json
    import urllib.error
    import urllib.request

    from bridge.errors import BridgeError

    settings = _settings()
    url = f"http://{settings.admin_host}:{settings.admin_port}/journal/{verb}"
    request = urllib.request.Request(url, json.dumps(options).encode(), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310 - http, made above
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise BridgeError(json.load(error).get("error", f"{url} answers {error.code}")) from None
    except OSError as error:
        raise BridgeError(
            f"an ingress holds the journal but does not answer at {url} ({getattr(error, 'reason', error)}); "
            "set ADMIN_HOST and ADMIN_PORT to its private listener"
        ) from error


def _print_result(result: dict[str, Any]) -> None:
    for name, value in result.items():
        print(f"{name.replace('_', ' ')}: {value}")


def _settings() -> Any:
    from bridge.settings import JournalSettings

    return JournalSettings.load()


def _folder() -> Path:
    from bridge.errors import BridgeError
    from ingress.folder import journal_folders

    folder: Path = _settings().journal_path
    if not folder.is_dir() or not journal_folders(folder):
        raise BridgeError(f"no journal in {folder}; set JOURNAL_DIR (or DATA_DIR) as for the ingress")
    return folder


def _files(folder: Path) -> "list[tuple[JournalFile, CursorFile]]":
    from ingress.cursor import CursorFile
    from ingress.folder import journal_files, journal_folders
    from ingress.journal_file import JournalFile

    found = []
    for place in journal_folders(folder):
        cursor = CursorFile(place, read_only=True)
        found += [(JournalFile(path, read_only=True), cursor) for path in journal_files(place)]
    return found


def _rows(seq: int) -> "list[Row]":
    found = [file.row(seq) for file, _ in _files(_folder())]
    return [row for row in found if row is not None]


def _text(body: bytes, reveal: bool) -> str:
    import json

    from bridge.masking import mask

    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "backslashreplace") if reveal else f"*** ({len(body)} bytes, no JSON)"
    return json.dumps(value if reveal else mask(value), ensure_ascii=False, indent=2)


def _iso(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
