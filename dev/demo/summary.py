"""The accounts at the end: what was answered, kept and written, put into words, with a few samples.

Compares nothing itself (``tally`` does), and starts or stops nothing.
"""

import contextlib
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.demo.poller import Figures, Watch
from dev.demo.processes import Stack
from dev.demo.table import Screen, milliseconds, topics_line
from dev.demo.topics import Record
from dev.demo.verification import Tally

EMPLOYEES_SHOWN: Final = 5
DIFFERENCES_SHOWN: Final = 20
SHOWN_TYPES: Final = ("user_add_org", "user_modify_org", "bpms_instance_change")
"""Of which topic the whole record is shown: the first that has one."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the comparison at the end found. ``faults`` holds one text for each thing that is wrong."""

    faults: list[str]
    summary: list[str]


async def compare(watch: Watch, figures: Figures, faults: list[str]) -> Accounts:
    tally = watch.tally
    lost = tally.missing()
    differences = await watch.table_differences()
    faults = [*faults, *(f"lost: {text}" for text in lost), *differences]
    if figures.dead_letters:
        faults.append(f"the consumers put {figures.dead_letters} records into their dead letters")
    if tally.unreadable:
        faults.append(f"{tally.unreadable} records in the topics are no events of ours")
    if not figures.answered:
        faults.append("DingTalk saw no push answered at all, so that nothing was shown")
    rows = figures.rows
    summary = [
        f"pushed       {figures.pushed} by DingTalk, {figures.answered} of them answered success, p50 "
        f"{milliseconds(figures.p50_ms)} ms, p99 {milliseconds(figures.p99_ms)} ms; "
        f"{figures.failed_attempts} attempts failed, {figures.given_up} pushes were given up",
        f"in Kafka     {tally.records} records of {tally.events} callbacks; one that names several people "
        "becomes a record for each",
        *_repeats(tally),
    ]
    compared = (
        f"{len(tally.sure('user'))} users and {len(tally.sure('department'))} departments that had an event, "
        f"{rows.approvals} archived approvals, {rows.leave_ledger} leaves"
    )
    equal = "equal to DingTalk's state" if not differences else f"{len(differences)} DIFFER from DingTalk's"
    summary += [
        f"OA tables    {compared}: {equal}",
        topics_line(figures),
        f"lost = {len(lost)}",
    ]
    return Accounts(faults, summary)


def _repeats(tally: Tally) -> list[str]:
    lines = [
        f"repeats      {tally.repeated_pushes} pushes repeated an answered one word for word, as DingTalk's "
        "do; the ingress kept each once",
    ]
    if tally.repeated_records:
        lines.append(
            f"             {tally.repeated_records} records stand in Kafka twice: at the kill they had "
            "arrived and that was not noted yet; readers drop them by source + id"
        )
    else:
        lines.append("             no record stands in Kafka twice, though the kill could have led to some")
    if tally.unanswered_records:
        lines.append(
            f"             {tally.unanswered_records} records are of callbacks that were kept, and whose "
            "answer did not reach DingTalk"
        )
    return lines


def show_record(watch: Watch, stack: Stack, screen: Screen) -> None:
    prefix = stack.kafka_settings.topic_prefix
    latest = watch.reader.latest
    record = next((latest[prefix + t] for t in SHOWN_TYPES if prefix + t in latest), None)
    if record is None:
        return
    screen.heading("One whole record, as kcat shows it")
    screen.line(
        f"$ kcat -C -b {stack.bootstrap} -t {record.topic} -p {record.partition} -o {record.offset} -c 1 "
        r"-f 'Key: %k\nHeaders: %h\nValue: %s\n'",
        "dim",
    )
    screen.line(as_kcat(record))


def as_kcat(record: Record) -> str:
    r"""What ``kcat -f 'Key: %k\nHeaders: %h\nValue: %s\n'`` prints of a record, but for the last newline."""
    headers = ",".join(f"{name}={value.decode('utf-8', 'replace')}" for name, value in record.headers)
    key, value = ((part or b"").decode("utf-8", "replace") for part in (record.key, record.value))
    return f"Key: {key}\nHeaders: {headers}\nValue: {value}"


def show_employees(watch: Watch, screen: Screen) -> None:
    screen.heading("Five employees, from the OA database")
    screen.rows(*watch.databases.some_employees(EMPLOYEES_SHOWN))


def summarise(accounts: Accounts, stack: Stack, screen: Screen, began: float) -> None:
    screen.heading(f"Summary, after {time.monotonic() - began:.0f} s")
    for line in accounts.summary:
        good = line == "lost = 0"
        screen.line(line, "bold green" if good else "bold red" if line.startswith("lost =") else None)
    if accounts.faults:
        screen.heading(f"Wrong: {len(accounts.faults)}")
        for fault in accounts.faults[:DIFFERENCES_SHOWN]:
            screen.line(f"- {fault}", "red")
        if (more := len(accounts.faults) - DIFFERENCES_SHOWN) > 0:
            screen.line(f"- and {more} more", "red")
    folder = shlex.quote(shown(stack.folder))
    screen.heading("What stays")
    screen.line(f"{folder}/address-sync.db, approval.db, journal/*.db: SQLite files; logs/; env")
    screen.line(f"  . {folder}/env && dingbridge consume address-sync --show   # or approval; journal list")
    screen.line(
        f"  sqlite3 {folder}/address-sync.db 'SELECT userid, name, left_at FROM users ORDER BY updated_at'"  # noqa: S608
    )


def shown(path: Path) -> str:
    """``path`` as somebody in this folder would type it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
