"""When a full sync is ordered, and how the consumer carries an order out."""

import time
from datetime import timedelta

import pytest
import structlog
from sqlalchemy import select, update

from dingbridge.consumers.address_sync import consumer as consumer_module
from dingbridge.consumers.address_sync.schedule import Schedule
from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.sync.tables import runs as runs_table
from dingbridge.consumers.address_sync.tables import users
from dingbridge.dingtalk.errors import Unavailable
from tests.unit.address_sync.company import CORP, events, order
from tests.unit.address_sync.syncing import differences, every_detail, first_full, full, runs_in, sample


@pytest.fixture
def company():
    return sample(5)


@pytest.fixture
def inbox(monkeypatch):
    """What was written into the consumer's inbox."""
    written = []

    async def write_to_inbox(settings, consumer, record):
        assert consumer == "address-sync"
        written.append(record)

    monkeypatch.setattr(consumer_module, "write_to_inbox", write_to_inbox)
    return written


def schedule(sync, **settings):
    return Schedule(sync.database, AddressSyncSettings(**settings), CORP, sync.consumer._order_sync)


def looks_are_over(sync, monkeypatch):
    """Of the events that were delivered until now."""
    monkeypatch.setattr(sync.consumer, "clock", lambda: time.time() + 100)


async def ended_ago(sync, days):
    """As if all runs had ended so many days ago."""
    for run in await runs_in(sync, "done", "stopped"):
        values = {at: getattr(run, at) - timedelta(days=days) for at in ("began_at", "ended_at")}
        async with sync.database.transaction() as tx:
            await tx.execute(update(runs_table).where(runs_table.c.run_id == run.run_id).values(**values))


async def carry_out(sync, record):
    """Deliver an order until it is done, and fetch the details; returns how often it was delivered."""
    for attempt in range(1, 200):
        outcome = await sync.deliver(record.value)
        if outcome.kind != "retry":
            assert outcome.kind == "done"
            await every_detail(sync, sync.consumer.dingtalk)
            return attempt
        assert (outcome.after, outcome.counts) == (0, False)
    raise AssertionError("it does not end")


# -- the schedule
async def test_the_first_start_orders_one_full_sync_whoever_looks(sync, company, inbox):
    one, other = schedule(sync), schedule(sync)
    for member in (one, other, one):
        await member.look()
    assert len(inbox) == 2  # one for each member; the same id, so it is done once
    assert len({dict(record.headers)["dingbridge-id"] for record in inbox}) == 1
    assert len({record.key for record in inbox}) == 1
    await carry_out(sync, inbox[0])
    assert (await sync.deliver(inbox[1].value)).kind == "seen"
    assert await differences(sync, company) == []
    await schedule(sync).look()
    assert len(inbox) == 2


async def test_the_end_of_the_last_full_sync_is_shown_whoever_did_it(sync, company, inbox):
    told = []
    member = Schedule(
        sync.database,
        AddressSyncSettings(),
        CORP,
        sync.consumer._order_sync,
        on_synced=lambda run: told.append(run.ended_at.timestamp()),
    )
    await member.look()
    assert told == []  # none was done
    await carry_out(sync, inbox[0])
    await member.look()
    [run] = await runs_in(sync, "done")
    assert told == [run.ended_at.timestamp()]
    await ended_ago(sync, 3)
    await member.look()
    assert told[1] == pytest.approx(told[0] - 3 * 86_400)


async def test_how_often_one_is_due_is_shown_for_the_alert(sync):
    assert sync.consumer.metrics.reconcile_every._value.get() == 7 * 86_400


@pytest.mark.parametrize(("days", "ago", "due"), [(7, 8, True), (7, 6, False), (0, 400, False)])
async def test_a_reconcile_is_due_after_so_many_days(sync, company, inbox, days, ago, due):
    await first_full(sync, company)
    await ended_ago(sync, ago)
    company.users["u001"]["name"] = "改名"
    one = schedule(sync, reconcile_every_days=days)
    await one.look()
    assert len(inbox) == due
    if due:
        await carry_out(sync, inbox[0])
        assert await differences(sync, company) == []
        await one.look()
        assert len(inbox) == 1


async def test_a_stopped_run_is_not_ordered_again_at_once(sync, company, inbox):
    sync.consumer.sync_settings = AddressSyncSettings(max_leavers="1")
    await first_full(sync, company)
    await ended_ago(sync, 2)
    del company.users["u001"], company.users["u002"]
    one = schedule(sync, reconcile_every_days=1)
    await one.look()
    await carry_out(sync, inbox[0])
    assert [run.state for run in await runs_in(sync, "stopped")] == ["stopped"]
    await one.look()
    assert len(inbox) == 1
    assert len(await sync.rows(select(users.c.userid).where(users.c.left_at.is_(None)))) == 5


# -- orders
async def test_an_order_of_the_bridge_is_a_full_sync_in_slices(sync, company, monkeypatch):
    await first_full(sync, company)
    company.hire("u-unheard-of")
    monkeypatch.setattr(consumer_module, "SLICE_S", 0)
    assert await carry_out(sync, order("o-1", CORP)) > 20
    assert await differences(sync, company) == []


@pytest.mark.parametrize(("after", "covered"), [(timedelta(minutes=11), True), (timedelta(minutes=9), False)])
async def test_an_order_that_a_later_full_sync_has_covered_costs_nothing(sync, company, after, covered):
    """``after``: how much later, by this host's clock; 9 minutes may be the clocks' difference alone."""
    waiting = order("o-1", CORP)
    run = await full(sync, company)
    async with sync.database.transaction() as tx:
        await tx.execute(update(runs_table).values(began_at=run.began_at + after))
    asked = company.calls.total()
    await carry_out(sync, waiting)
    assert (company.calls.total() == asked) is covered


async def test_an_event_without_ids_waits_for_the_order_that_comes_beside_it(sync, company, inbox):
    await first_full(sync, company)
    asked = company.calls.total()
    for name in ("org_dept_modify", "user_modify_org"):
        (nameless,) = events(name)
        assert (await sync.deliver(nameless)).kind == "done"
    assert (inbox, company.calls.total()) == ([], asked)


async def test_an_order_of_another_company_of_several_is_not_for_this_one(
    sync, company, monkeypatch, tmp_path
):
    await first_full(sync, company)
    await sync.deliver(events("user_modify_org", *company.users)[0])
    looks_are_over(sync, monkeypatch)
    (tmp_path / "apps.toml").write_text(
        '[apps.hr]\nmode = "stream"\napp_key = "k"\napp_secret = "s"\ncorp_id = "dingother"'
    )
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_corp_id", CORP)
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_apps_file", tmp_path / "apps.toml")
    asked = company.calls.total()
    with structlog.testing.capture_logs() as logs:
        assert await carry_out(sync, order("o-1", app="hr", corp_id="dingother")) == 1
        assert await carry_out(sync, order("o-2", part="approvals")) == 1
    assert [log["event"] for log in logs].count("address_sync.order_for_nobody") == 2
    assert company.calls.total() == asked
    await carry_out(sync, order("o-3", app="hr", corp_id=CORP))  # another app of the same company
    assert company.calls.total() > asked


async def test_an_order_before_anybody_knows_the_company_is_left_to_the_first_sync(sync, company):
    with structlog.testing.capture_logs() as logs:
        assert await carry_out(sync, order("o-1")) == 1
    assert "address_sync.order_for_nobody" in [log["event"] for log in logs]
    await carry_out(sync, order("o-2", corp_id=CORP))
    assert await differences(sync, company) == []


async def test_a_missing_permission_holds_up_the_order_alone_and_says_which(sync, company):
    company.refused.add("v2/department/get")
    outcome = await sync.deliver(order("o-1", CORP).value)
    waits = (outcome.kind, outcome.after, outcome.counts)
    assert waits == ("retry", consumer_module.PERMISSION_AGAIN_S, False)
    assert str(outcome.error) == "full sync: no permission"
    company.refused.clear()
    await carry_out(sync, order("o-1", CORP))
    assert await differences(sync, company) == []


async def test_dingtalk_that_is_away_is_waited_for(sync, company):
    def away():
        raise Unavailable("no answer", api="any")

    company.before["auth/scopes"] = away
    outcome = await sync.deliver(order("o-1", CORP).value)
    assert (outcome.kind, outcome.after, outcome.counts) == ("retry", consumer_module.AGAIN_S, False)


async def test_of_a_requests_own_texts_a_log_holds_200_characters_escaped(sync, company):
    text = "\n" + "x" * 400_000
    requests = [order(text + "1", part="approvals", reason=text), order(text + "2", CORP, reason=text)]
    with structlog.testing.capture_logs() as logs:
        for request in requests:
            await carry_out(sync, request)
    named = [log for log in logs if log["event"] in ("address_sync.order_for_nobody", "address_sync.resync")]
    assert len(named) == 2
    for log in named:
        assert log["reason"] == log["event_id"] == "\\n" + "x" * 197 + "…"
