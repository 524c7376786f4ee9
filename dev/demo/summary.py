"""The summary at the end: what was answered, kept and written, put into words, with a few samples.

Compares nothing itself (``verification`` does), and starts or stops nothing.
"""

import contextlib
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.demo.poller import Figures, Poller
from dev.demo.processes import Processes
from dev.demo.table import Screen, milliseconds, topics_line
from dev.demo.topics import Record
from dev.demo.verification import Verification

EMPLOYEES_SHOWN: Final = 5
DIFFERENCES_SHOWN: Final = 20
SHOWN_TYPES: Final = ("user_add_org", "user_modify_org", "bpms_instance_change")
"""Of which topic the whole record is shown: the first that has one."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the comparison at the end found. ``faults`` holds one text for each thing that is wrong."""

    faults: list[str]
    summary: list[str]


async def compare(
    poller: Poller, processes: Processes, figures: Figures, faults: list[str], seen: list[str]
) -> Summary:
    checked = poller.checked
    lost = checked.missing()
    differences = await poller.table_differences()
    faults = [*faults, *(f"lost: {text}" for text in lost), *differences]
    if figures.dead_letters:
        faults.append(f"the consumers put {figures.dead_letters} records into their dead letters")
    if checked.unreadable:
        faults.append(f"{checked.unreadable} records in the topics are no events of ours")
    if not figures.answered:
        faults.append("DingTalk saw no push answered at all, so that nothing was shown")
    rows = figures.rows
    summary = [
        f"pushed       {figures.pushed} by DingTalk, {figures.answered} of them answered success, p50 "
        f"{milliseconds(figures.p50_ms)} ms, p99 {milliseconds(figures.p99_ms)} ms; "
        f"{figures.failed_attempts} attempts failed, {figures.given_up} pushes were given up",
        f"in Kafka     {checked.records} records of {checked.events} callbacks; one that names several "
        "people becomes a record for each",
        *_repeats(checked),
    ]
    if processes.mode == "stream":
        summary.append(
            f"gap          {figures.given_up} pushes met no connection; the consumers resynced, "
            "so what these were about is compared too"
        )
    users, departments = len(checked.sure("user")), len(checked.sure("department"))
    compared = (
        f"{users} users and {departments} departments that had an event, "
        f"{rows.approvals} archived approvals, {rows.leave_ledger} leaves"
    )
    equal = "equal to DingTalk's state" if not differences else f"{len(differences)} DIFFER from DingTalk's"
    summary += [
        f"OA tables    {compared}: {equal}",
        *_refused(poller.refused),
        *filter(None, seen),
        topics_line(figures),
        f"lost = {len(lost)}",
    ]
    return Summary(faults, summary)


def _refused(refused: Mapping[str, int]) -> list[str]:
    if not any(refused.values()):
        return []
    users, departments = refused["user"], refused["department"]
    return [
        f"refused      DingTalk refuses {users} of these users, {departments} of these departments: "
        "they are as last listed, and none is marked as gone"
    ]


def _repeats(checked: Verification) -> list[str]:
    lines = [
        f"repeats      {checked.repeated_pushes} pushes repeated an answered one word for word, as "
        "DingTalk's do; the ingress kept each once",
    ]
    if checked.repeated_records:
        lines.append(
            f"             {checked.repeated_records} records are in Kafka twice: at the kill they had "
            "arrived and that was not noted yet; readers drop them by source + id"
        )
    else:
        lines.append("             no record is in Kafka twice, though the kill could have led to some")
    if checked.unanswered_records:
        lines.append(
            f"             {checked.unanswered_records} records are of callbacks that were kept, and whose "
            "answer did not reach DingTalk"
        )
    return lines


def show_record(poller: Poller, processes: Processes, screen: Screen) -> None:
    prefix = processes.kafka_settings.topic_prefix
    latest = poller.reader.latest
    record = next((latest[prefix + t] for t in SHOWN_TYPES if prefix + t in latest), None)
    if record is None:
        return
    screen.heading("One whole record, as kcat shows it")
    screen.line(
        f"$ kcat -C -b {processes.bootstrap} -t {record.topic} -p {record.partition} -o {record.offset} -c 1 "
        r"-f 'Key: %k\nHeaders: %h\nValue: %s\n'",
        "dim",
    )
    screen.line(as_kcat(record))


def as_kcat(record: Record) -> str:
    r"""What ``kcat -f 'Key: %k\nHeaders: %h\nValue: %s\n'`` prints of a record, but for the last newline."""
    headers = ",".join(f"{name}={value.decode('utf-8', 'replace')}" for name, value in record.headers)
    key, value = ((part or b"").decode("utf-8", "replace") for part in (record.key, record.value))
    return f"Key: {key}\nHeaders: {headers}\nValue: {value}"


def show_employees(poller: Poller, screen: Screen) -> None:
    screen.heading("Five employees, from the OA database")
    screen.rows(*poller.databases.some_employees(EMPLOYEES_SHOWN))


def summarise(summary: Summary, processes: Processes, screen: Screen, began: float) -> None:
    screen.heading(f"Summary, after {time.monotonic() - began:.0f} s")
    for line in summary.summary:
        good = line == "lost = 0"
        screen.line(line, "bold green" if good else "bold red" if line.startswith("lost =") else None)
    if summary.faults:
        screen.heading(f"Wrong: {len(summary.faults)}")
        for fault in summary.faults[:DIFFERENCES_SHOWN]:
            screen.line(f"- {fault}", "red")
        if (more := len(summary.faults) - DIFFERENCES_SHOWN) > 0:
            screen.line(f"- and {more} more", "red")
    folder = shlex.quote(shown(processes.folder))
    screen.heading("What stays")
    screen.line(f"{folder}/address-sync.db, approval.db, journal/current/*.db: SQLite files; logs/; env")
    screen.line(f"  . {folder}/env && dingbridge consume address-sync --show   # or approval; journal list")
    screen.line(
        f"  sqlite3 {folder}/address-sync.db 'SELECT userid, name, left_at FROM users ORDER BY updated_at'"  # noqa: S608
    )


def shown(path: Path) -> str:
    """``path`` as somebody in this folder would type it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
