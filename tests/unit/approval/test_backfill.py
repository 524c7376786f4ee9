"""Archiving approvals from before the start: what it costs, what it leaves out, and how it goes on."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from consumers.approval import backfill
from consumers.approval.backfill import Asked, Backfill, windows
from consumers.approval.examples import leave_ledger
from consumers.approval.tables import (
    approval_actions,
    approval_backfill_items,
    approval_backfills,
    approval_instances,
)
from dingbridge.dingtalk.errors import BudgetSpent, PermissionDenied, RateLimited
from tests.unit.approval.office import CORP, Office, instance

NOW = datetime.now(UTC)
DAY_MS = 86_400_000


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def office():
    """Three leaves and an expense, started 10 to 40 days ago."""
    office = Office()
    for number in range(4):
        office.finish(f"pi-{number}")
        code = "PROC-EXPENSE" if number == 3 else "PROC-LEAVE"
        started = int(ago(10 + 10 * number).timestamp() * 1000)
        office.started.setdefault(code, []).append((started, f"pi-{number}"))
    return office


async def run(archive, asked):
    """A whole run: its cost, and how many ended how."""
    work = Backfill(archive.consumer.looks)
    begun = await work.begin(asked)
    if not begun.resumed:
        await work.keep(begun, asked)
    begun = await work.list_ids(begun)
    return await work.cost(begun), await work.fetch(begun)


async def archived(archive):
    return {row.instance_id for row in await archive.rows(select(approval_instances))}


@given(st.integers(0, 400 * DAY_MS), st.integers(0, 400 * DAY_MS))
def test_the_spans_cover_the_time_without_gap_and_are_as_short_as_dingtalk_lists(start, length):
    spans = list(windows(start, start + length))
    assert (spans[0][0], spans[-1][1]) == (start, start + length)
    assert all(last - first < 120 * DAY_MS for first, last in spans)
    assert all(left[1] + 1 == right[0] for left, right in pairwise(spans))


async def test_what_was_started_in_the_time_is_archived_with_its_template(archive, office):
    cost, counts = await run(archive, Asked(CORP, ago(35), None))
    assert (cost.found, cost.calls) == (3, 3)
    assert counts == {"done": 3, "missing": 0, "failed": 0}
    rows = await archive.rows(select(approval_instances))
    assert {row.instance_id: row.process_code for row in rows} == dict.fromkeys(
        ["pi-0", "pi-1", "pi-2"], "PROC-LEAVE"
    )
    assert {(row.outcome, row.document_state) for row in rows} == {("approved", "full")}
    assert await archive.rows(select(approval_backfill_items)) == []


async def test_only_the_templates_that_are_asked_for_are_listed(archive, office):
    await run(archive, Asked(CORP, ago(100), ago(20), ("PROC-EXPENSE",)))
    assert await archived(archive) == {"pi-3"}
    assert office.calls["process/listbyuserid"] == 0


async def test_what_the_archive_has_whole_costs_no_call(archive, office):
    await archive.deliver(instance("finish"))
    office.calls.clear()
    cost, counts = await run(archive, Asked(CORP, ago(100), None))
    assert (cost.found, cost.calls, counts["done"]) == (4, 3, 4)
    assert office.calls["processinstance/get"] == 3


async def test_actions_are_not_called_for_what_is_old_unless_asked_for(archive, office):
    await run(archive, Asked(CORP, ago(100), None))
    assert await archive.rows(select(leave_ledger)) == []
    states = {row.instance_id: row.state for row in await archive.rows(select(approval_actions))}
    assert states == dict.fromkeys(["pi-0", "pi-1", "pi-2"], "skipped")
    # its finish event was on its way
    assert (await archive.deliver(instance("finish"))).kind == "done"
    assert [row.instance_id for row in await archive.rows(select(leave_ledger))] == ["pi-1"]
    office.calls.clear()
    await run(archive, Asked(CORP, ago(100), None, with_actions=True))
    assert len(await archive.rows(select(leave_ledger))) == 3
    assert office.calls["processinstance/get"] == 0


async def test_a_run_that_is_cut_off_goes_on_where_it_was(archive, office, monkeypatch):
    asked = Asked(CORP, ago(100), None)
    monkeypatch.setattr(backfill, "AT_ONCE", 1)
    whole, left = office.approval, [2]

    async def until_spent(instance_id):
        if not left[0]:
            raise BudgetSpent("spent", api="processinstance/get")
        left[0] -= 1
        return await whole(instance_id)

    office.approval = until_spent
    with pytest.raises(BudgetSpent):
        await run(archive, asked)
    assert len(await archived(archive)) == 2
    left[0] = 100
    office.calls.clear()
    work = Backfill(archive.consumer.looks)
    again = await work.begin(asked)
    assert again.resumed
    assert again.spans() == []
    cost, counts = await run(archive, asked)
    assert (cost.found, cost.waiting, cost.calls, counts["done"]) == (4, 2, 2, 4)
    assert (office.calls["processinstance/listids"], office.calls["processinstance/get"]) == (0, 2)
    assert not (await work.begin(asked)).resumed


async def test_a_listing_that_is_cut_off_goes_on_with_the_next_span(archive, office):
    asked, whole = Asked(CORP, ago(100), None), office.approval_ids

    async def only_leave(code, **span):
        if code == "PROC-EXPENSE":
            raise RateLimited("slow down", api="processinstance/listids", retry_after_s=600)
        async for id_ in whole(code, **span):
            yield id_

    office.approval_ids = only_leave
    with pytest.raises(RateLimited):
        await run(archive, asked)
    office.approval_ids = whole
    office.calls.clear()
    await run(archive, asked)
    assert await archived(archive) == {"pi-0", "pi-1", "pi-2", "pi-3"}
    assert office.calls["processinstance/listids"] == 1


async def test_a_span_with_more_ids_than_dingtalk_lists_is_halved(archive, office, monkeypatch):
    monkeypatch.setattr(backfill, "IDS_MOST", 2)
    office.most_listed = 2
    cost, _ = await run(archive, Asked(CORP, ago(100), None))
    assert cost.found == 4
    assert await archived(archive) == {"pi-0", "pi-1", "pi-2", "pi-3"}


async def test_one_that_fails_leaves_the_run_open_and_is_tried_again(archive, office):
    whole = office.approval

    async def not_that_one(instance_id):
        if instance_id == "pi-2":
            raise PermissionDenied("no right", api="processinstance/get", errcode=60011)
        return await whole(instance_id)

    office.approval = not_that_one
    asked = Asked(CORP, ago(100), None)
    _, counts = await run(archive, asked)
    assert counts == {"done": 3, "missing": 0, "failed": 1}
    office.approval = whole
    cost, counts = await run(archive, asked)
    assert (cost.calls, counts["done"], counts["failed"]) == (1, 4, 0)


async def test_a_rate_limit_that_passes_is_waited_for(archive, office):
    whole, refused = office.approval, []

    async def at_first_too_fast(instance_id):
        if instance_id not in refused:
            refused.append(instance_id)
            raise RateLimited("slow down", api="processinstance/get", retry_after_s=0.001)
        return await whole(instance_id)

    office.approval = at_first_too_fast
    _, counts = await run(archive, Asked(CORP, ago(100), None))
    assert counts["done"] == 4


async def test_what_dingtalk_no_longer_has_is_counted(archive, office):
    del office.approvals["pi-1"]
    _, counts = await run(archive, Asked(CORP, ago(100), None))
    assert counts == {"done": 3, "missing": 1, "failed": 0}
    assert await archived(archive) == {"pi-0", "pi-2", "pi-3"}


async def test_dingtalk_is_asked_for_no_more_than_a_year(archive, office):
    begun = await Backfill(archive.consumer.looks).begin(Asked(CORP, ago(900), None))
    assert ago(365) < begun.since < ago(364)


async def test_a_list_that_is_a_week_old_is_not_gone_on_with(archive, office):
    asked, work = Asked(CORP, ago(100), None, words="100d"), Backfill(archive.consumer.looks)
    await work.keep(await work.begin(asked), asked)
    assert (await work.begin(Asked(CORP, ago(99), None, words="100d"))).resumed
    async with archive.database.transaction() as tx:
        await tx.execute(update(approval_backfills).values(created_at=ago(8)))
    assert not (await work.begin(asked)).resumed


async def test_a_rate_limit_that_lasts_ends_the_run_and_fails_no_instance(archive, office):
    whole = office.approval

    async def too_fast(instance_id):
        raise RateLimited("slow down", api="processinstance/get", retry_after_s=0.001)

    office.approval = too_fast
    with pytest.raises(RateLimited):
        await run(archive, Asked(CORP, ago(100), None))
    states = {row.state for row in await archive.rows(select(approval_backfill_items))}
    assert states == {"waiting"}
    office.approval = whole
    _, counts = await run(archive, Asked(CORP, ago(100), None))
    assert counts == {"done": 4, "missing": 0, "failed": 0}
