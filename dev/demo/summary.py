"""The summary at the end: what was answered, kept and written, put into words, with a few samples.

Compares nothing itself (``verification`` does), and starts or stops nothing.
"""

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.demo.both_ways import EMPLOYEE, NAME, BothWays
from dev.demo.poller import Figures, Poller
from dev.demo.processes import Processes
from dev.demo.table import Row, Screen, milliseconds
from dev.demo.verification import Verification

EMPLOYEES_SHOWN: Final = 3
DIFFERENCES_SHOWN: Final = 20
SHOWN_TYPES: Final = ("user_add_org", "user_modify_org", "bpms_instance_change")
"""Of which topic the whole record is shown: the first that has one."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What the comparison at the end found. ``faults`` holds one text for each thing that is wrong."""

    faults: list[str]
    rows: list[Row]
    bad: list[str]
    """Names of the rows whose figure is not as it must be."""


async def compare(
    poller: Poller,
    processes: Processes,
    figures: Figures,
    faults: list[str],
    both: BothWays,
    found: int | None,
) -> Summary:
    """Compare Kafka and the tables with DingTalk's side. ``found`` is how many events the console found."""
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
    rows = [
        *_pushes(processes, figures, checked),
        *_kafka(figures, checked),
        ("lost", len(lost), "callbacks that were answered success and are not in Kafka: it must be 0"),
        *_tables(poller, figures, differences),
        *_both_ways(both, found),
    ]
    bad = (["lost"] if lost else []) + (["differences"] if differences else [])
    return Summary(faults, rows, bad)


def _pushes(processes: Processes, f: Figures, checked: Verification) -> Iterator[Row]:
    yield "pushes", f.pushed, "sent by DingTalk, each again until it is answered"
    p50, p99 = milliseconds(f.p50_ms), milliseconds(f.p99_ms)
    yield "answered", f.answered, f"of them answered success, half within {p50} ms, 99 % within {p99} ms"
    given_up = f"{f.given_up} pushes were given up"
    yield "failed", f.failed_attempts, f"attempts to push had no answer, as after the kill; {given_up}"
    if processes.mode == "stream":
        yield "gap", f.given_up, "pushes met no connection; the consumers then asked DingTalk themselves"
    again = f"{checked.repeated_pushes} pushes were repeats of one, as DingTalk sends them"
    yield "callbacks", checked.events, f"different ones were answered success and kept; {again}"


def _kafka(f: Figures, checked: Verification) -> Iterator[Row]:
    topics = sum(1 for count in f.topics.values() if count)
    each = "one for each person whom a callback names"
    yield "records", checked.records, f"of these callbacks in {topics} topics of Kafka: {each}"
    if twice := checked.repeated_records:
        yield "twice", twice, "of the records came again after the kill; readers drop them by source and id"
    if unanswered := checked.unanswered_records:
        yield "unanswered", unanswered, "of the records were kept, and their answer did not reach DingTalk"


def _tables(poller: Poller, f: Figures, differences: list[str]) -> Iterator[Row]:
    checked, rows, refused, gone = poller.checked, f.rows, poller.refused, poller.unreported
    yield "employees", rows.employees, f"in the OA's table, and {rows.leavers} who left and are marked there"
    compared = "people who had an event; some came and left before they were read"
    yield "compared", len(checked.sure("user")) - gone["user"], compared
    yield "", len(checked.sure("department")) - gone["department"], "departments that had an event"
    yield "", rows.approvals, f"approvals that ended, {rows.leave_ledger} of them leaves that were granted"
    equal = "in all that: the tables are equal to DingTalk" if not differences else "DIFFER from DingTalk"
    yield "differences", len(differences), equal
    if any(refused.values()):
        those = f"of these people, {refused['department']} of the departments: DingTalk refuses to show them"
        yield "refused", refused["user"], f"{those}; rows stay as listed"
    if any(gone.values()):
        those = f"people and {gone['department']} departments went without an event"
        yield "unmarked", gone["user"], f"{those} after the kill: they are marked an hour later"


def _both_ways(both: BothWays, found: int | None) -> Iterator[Row]:
    if both.faults:
        return
    yield "both ways", both.about, f"events about {NAME} ({EMPLOYEE}), whom the OA created in DingTalk"
    yield "", 1, "of them is a change that a person made, and the OA received it: the others were echoes"
    if found is not None:
        leave = f"{found - both.about} more are of the leave that went round"
        yield "console", found, f"events found by the name {NAME}: these {both.about}, and {leave}"


def show_record(poller: Poller, processes: Processes, screen: Screen) -> None:
    prefix = processes.kafka_settings.topic_prefix
    latest = poller.reader.latest
    record = next((latest[prefix + t] for t in SHOWN_TYPES if prefix + t in latest), None)
    if record is None:
        return
    screen.heading(f"One whole record of {record.topic}, broken into lines here")
    headers = ",".join(f"{name}={value.decode('utf-8', 'replace')}" for name, value in record.headers)
    key, value = ((part or b"").decode("utf-8", "replace") for part in (record.key, record.value))
    for name, part in (("Key", key), ("Headers", headers), ("Value", value)):
        screen.folded(f"{name}: {part}")


def show_employees(poller: Poller, screen: Screen) -> None:
    screen.heading("Three employees, from the OA database")
    screen.rows(*poller.databases.some_employees(EMPLOYEES_SHOWN))


def summarise(summary: Summary, processes: Processes, screen: Screen, began: float) -> None:
    screen.heading(f"Summary, after {time.monotonic() - began:.0f} s")
    screen.summary(summary.rows, summary.bad)
    if summary.faults:
        screen.heading(f"Wrong: {len(summary.faults)}")
        for fault in summary.faults[:DIFFERENCES_SHOWN]:
            screen.line(f"- {fault}", "red")
        if (more := len(summary.faults) - DIFFERENCES_SHOWN) > 0:
            screen.line(f"- and {more} more", "red")
    folder = shlex.quote(shown(processes.folder))
    screen.heading("What stays")
    screen.line(f"{folder}/: address-sync.db, approval.db, journal/current/*.db (SQLite files), logs/, env")
    screen.line(f"  . {folder}/env && dingbridge consume address-sync --show   # or approval; journal list")


def shown(path: Path) -> str:
    """``path`` as somebody in this folder would type it."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)
