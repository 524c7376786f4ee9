"""What must be true at the end of every life, and what is wrong in words."""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, text

from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import approval_instances, approval_operations
from dingbridge.consumers.outbound import fields as outbound_fields
from dingbridge.kafka.topic_policy import dlq_topic
from tests.lives.process import Running
from tests.support.address_sync_tables import differences

if TYPE_CHECKING:
    from tests.lives.life import Life

STANDS_S = 900.0
"""A change that nothing touched for so long, before and after, must have been told."""

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "approvals.md"
[IN_FORCE] = re.findall(r"^SELECT[^;`]*replaced_by IS NULL[^;`]*", GUIDE.read_text(encoding="utf-8"), re.M)
"""The guide's query of what is in force."""

OUTCOMES = {"agree": "approved", "refuse": "refused"}


async def all_problems(life: "Life") -> list[str]:
    checks = {"address-sync": (_tables,), "approval": (_approvals,), "outbound": (_oa, _changes, _untouched)}
    found: list[str] = []
    for running in life.processes:
        for check in (*checks[running.name], _queues):
            found += [problem async for problem in check(life, running)]
    return found


async def _tables(life: "Life", running: Running) -> AsyncIterator[str]:
    for difference in await differences(running.database, life.world.simulator):
        # of whom cannot be read nothing is asked, and numbers of rows count him
        if not life.refused or not (life.refused in difference or " rows of " in difference):
            yield f"tables: {difference}"


async def _approvals(life: "Life", running: Running) -> AsyncIterator[str]:
    reader = running.database.reader()
    rows = {row.instance_id: row for row in await reader.execute(select(approval_instances))}
    times = {
        (row.instance_id, row.position): row.operated_at
        for row in await reader.execute(select(approval_operations))
    }
    booked = {row.instance_id: row for row in await reader.execute(select(leave_ledger))}
    approvals = life.world.simulator.platform.approvals
    right: dict[str, Any] = {}
    for approval in approvals:
        row = rows.get(approval.instance_id)
        if approval.status == "RUNNING":
            continue
        wanted = OUTCOMES.get(approval.result or "", "terminated")
        if approval.status == "TERMINATED":
            wanted = "terminated"
        if row is None or row.outcome != wanted:
            yield f"approval {approval.instance_id}: {row and row.outcome} where it was {wanted}"
        elif (row.document_state, row.status) != ("full", approval.status):
            yield f"approval {approval.instance_id}: its document is {row.document_state}, {row.status}"
        elif abs(row.started_at - datetime.fromtimestamp(approval.created_ms / 1000, UTC)) > timedelta(
            minutes=1
        ):
            yield f"approval {approval.instance_id}: started at {row.started_at}"
        for position, record in enumerate(approval.records):
            at = times.get((approval.instance_id, position))
            if at is not None and abs(at - datetime.fromtimestamp(record.at_ms / 1000, UTC)) > timedelta(
                minutes=1
            ):
                yield f"approval {approval.instance_id}: {record.kind} at {at}"
        others = [approvals.get(one) for one in approval.attached]
        replaced = any(one is not None and one.result == "agree" for one in others)
        if approval.result == "agree" and approval.biz_action != "REVOKE" and not replaced:
            right[approval.instance_id] = approval
    in_force = {row.instance_id for row in await reader.execute(text(IN_FORCE))}
    for instance_id in in_force ^ right.keys():
        yield f"leave {instance_id}: in force by the guide's query: {instance_id in in_force}"
    for instance_id in right.keys() - booked.keys():
        yield f"leave {instance_id} is approved, and not in the ledger"
    for instance_id in booked.keys() - right.keys():
        yield f"leave {instance_id} is in the ledger, and not in force"
    for instance_id in booked.keys() & right.keys():
        days = next(one["value"] for one in right[instance_id].form if one["name"] == "时长(天)")
        if float(booked[instance_id].days) != float(days):
            yield f"leave {instance_id}: {booked[instance_id].days} days where the form has {days}"


async def _oa(life: "Life", running: Running) -> AsyncIterator[str]:
    """The OA's last words hold, or it was told why not."""
    results = [one["data"] for one in life.world.told("outbound-results")]
    trees = {
        own_id: int(next(iter(shown["dept_id"] for shown in [life.world.shown(own_id)] if shown), 0))
        for own_id, wanted in life.world.wanted.items()
        if wanted.kind == "department"
    }
    for own_id, wanted in life.world.wanted.items():
        shown = life.world.shown(own_id)
        last = next(
            (
                one
                for one in reversed(results)
                if one["id"] == own_id
                and one.get("version") == wanted.version
                and one["result"] != "superseded"
            ),
            None,
        )
        said = (
            "nothing"
            if last is None
            else "/".join(filter(None, (last["result"], last.get("reason"), last.get("code"))))
        )
        if wanted.absent:
            if shown is not None and not (said == "pending/not-empty" and _is_full(life, shown)):
                yield f"{own_id} is to be gone and is there; the OA was told {said}"
            continue
        if shown is None:
            if not _excused(life, own_id, last, trees):
                yield f"{own_id} is to be there and is not; the OA was told {said}"
            continue
        if said == "pending/department-missing" and _waits(wanted.data, trees):
            continue
        have = outbound_fields.observed(wanted.kind, shown)  # type: ignore[arg-type]
        for name, value in wanted.data.items():
            if name in ("mobile", "remark", "workPlace"):
                continue
            if name == "departments":
                value = [1 if one == "root" else trees.get(one, 0) for one in value]
                if 0 in value:
                    continue  # one that shall not be there itself
            if name == "parent":
                value = 1
            if said != "conflict/flapping" and not outbound_fields.fulfils(name, have.get(name), value):
                yield f"{own_id}: {name} is {have.get(name)!r}, the OA wants {value!r}; it was told {said}"
        if last is None:
            yield f"{own_id}: the OA was told nothing of version {wanted.version}"


def _is_full(life: "Life", shown: dict[str, Any]) -> bool:
    company = life.world.company
    return "dept_id" in shown and bool(
        company.members(shown["dept_id"]) or company.children(shown["dept_id"])
    )


def _waits(data: dict[str, Any], trees: dict[str, int]) -> bool:
    """Whether a department that the person shall be in is not there."""
    return any(one != "root" and not trees.get(one) for one in data.get("departments", ()))


def _excused(life: "Life", own_id: str, last: dict[str, Any] | None, trees: dict[str, int]) -> bool:
    """Whether there is a reason why it is not there, and the OA knows it."""
    if last is None:
        return False
    wanted, company = life.world.wanted[own_id], life.world.company
    if last["result"] == "pending" and last.get("reason") == "department-missing":
        return _waits(wanted.data, trees)
    if wanted.kind != "user":
        return last["result"] in ("refused", "conflict") or last.get("reason") == "adopted"
    # a refusal stands until the OA says more, though whoever had the number has gone
    held = wanted.held or own_id in company.users
    told = last["result"] in ("refused", "conflict") or last.get("reason") == "adopted"
    return told and held


async def _changes(life: "Life", running: Running) -> AsyncIterator[str]:
    """No echo was told, no change twice, and each once that stood for a while."""
    told: Counter[tuple[str, str, str]] = Counter()
    unnamed = set()
    for envelope in life.world.told("changes"):
        data = envelope["data"]
        if data["id"] is None:
            unnamed.add(data["dingtalkId"])
        if data["id"] is None or data["kind"] not in ("user", "department"):
            continue
        for name, field in (data.get("fields") or {}).items():
            told[data["id"], name, _plain(name, field["new"])] += 1
    done: Counter[tuple[str, str, str]] = Counter()
    for change in life.world.changes:
        done[change.own_id, change.name, _plain(change.name, json.loads(change.new))] += 1
    for userid in life.world.unnamed - unnamed:
        yield f"nothing was told of {userid}, whom the OA never named"
    for what, times in told.items():
        if not done[what]:
            yield f"an echo was told: {what}"
        elif times > done[what]:
            yield f"told {times} times, and done {done[what]} times: {what}"
    for change in life.world.changes:
        what = change.own_id, change.name, _plain(change.name, json.loads(change.new))
        near = [at for at in life.world.touched[change.own_id] if 0 < abs(at - change.at) < STANDS_S]
        if change.name in ("title", "remark", "workPlace") and not near and not told[what]:
            yield f"a change was not told: {what}"


def _plain(name: str, value: Any) -> str:
    """Ids of others are told as own ids where these are known: the field itself must do."""
    if name in ("departments", "parent", "manager", "managers"):
        return ""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


async def _untouched(life: "Life", running: Running) -> AsyncIterator[str]:
    for stranger in life.world.strangers:
        yield stranger


async def _queues(life: "Life", running: Running) -> AsyncIterator[str]:
    """Everything is done, and nothing was given up."""
    for letter in life.broker.topics[dlq_topic(life.settings, running.name)]:
        said = {name.removeprefix("dingbridge-dlq-"): value.decode() for name, value in letter.headers}
        if life.refused and life.refused in (letter.key or b"").decode():
            continue
        why = f"{said.get('error')}: {said.get('reason')}"
        yield f"{running.name}: a dead letter of {said.get('topic')} ({why})"
    for (group, partition), kept in life.broker.committed.items():
        left = len(life.broker.topics[partition.topic]) - kept.offset
        if group == running.name and left:
            yield f"{running.name}: {left} records of {partition.topic} are not done"
