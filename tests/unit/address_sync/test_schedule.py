"""When a full sync runs by itself, and what becomes of it when it cannot."""

from datetime import timedelta

import pytest
import structlog
from sqlalchemy import select, update

from consumers.address_sync.runs import Runs
from consumers.address_sync.schedule import Schedule
from consumers.address_sync.settings import AddressSyncSettings
from consumers.address_sync.sync_tables import runs as runs_table
from consumers.address_sync.tables import users
from dingbridge import DependencyUnavailable
from dingbridge.dingtalk.budget import Priority
from dingbridge.dingtalk.errors import BudgetSpent, Unavailable
from dingbridge.events.control import resync_requested
from tests.unit.address_sync.company import CORP, event, events
from tests.unit.address_sync.syncing import differences, sample


@pytest.fixture
def company():
    return sample(5)


def schedule(sync, company, **settings):
    own = AddressSyncSettings(resync_calls_per_s=10_000, **settings)
    return Schedule(sync.database, company, own, look_every_s=0.01)


async def do(one):
    run = await one.due()
    assert run is not None
    await one._do(run)
    return run


async def test_the_first_start_on_an_empty_database_syncs_everything_once(sync, company):
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    assert (await do(one)).cause == "first"
    assert await differences(sync, company) == []
    assert await one.due() is None
    assert await schedule(sync, company, dingtalk_corp_id=CORP).due() is None


async def test_without_a_corp_id_the_first_event_names_the_company(sync, company):
    one = schedule(sync, company)
    with structlog.testing.capture_logs() as logs:
        assert await one.due() is None
        assert await one.due() is None
    (said,) = [log for log in logs if log["event"] == "address_sync.which_company"]
    assert "DINGTALK_CORP_ID" in said["reason"]
    await sync.deliver(event("user_modify_org", "u001"))
    assert (await do(one)).corp_id == CORP
    assert await differences(sync, company) == []


async def test_tables_of_several_companies_ask_for_the_setting(sync, company):
    await sync.deliver(event("user_modify_org", "u001"))
    await sync.deliver(event("user_modify_org", "u001", CorpId="dingcorp02"))
    with structlog.testing.capture_logs() as logs:
        assert await schedule(sync, company).due() is None
    assert any("several companies" in log.get("reason", "") for log in logs)
    assert await schedule(sync, company, dingtalk_corp_id=CORP).due() is not None


@pytest.mark.parametrize(("days", "ago", "cause"), [(7, 8, "reconcile"), (7, 6, None), (0, 400, None)])
async def test_a_reconcile_is_due_after_so_many_days(sync, company, days, ago, cause):
    one = schedule(sync, company, dingtalk_corp_id=CORP, reconcile_every_days=days)
    first = await do(one)
    async with sync.database.transaction() as tx:
        await tx.execute(update(runs_table).values(ended_at=first.ended_at - timedelta(days=ago)))
    company.users["u001"]["name"] = "改名"
    if cause is None:
        assert await one.due() is None
        return
    with structlog.testing.capture_logs() as logs:
        assert (await do(one)).cause == cause
    about = [log for log in logs if log["event"] in ("address_sync.cost", "address_sync.resynced")]
    assert [log["event"] for log in about] == ["address_sync.cost", "address_sync.resynced"], "cost first"
    assert about[0]["cost"].startswith("about ")
    assert about[1]["people_changed"] == 1
    assert company.priorities[Priority.RECONCILE] > 0
    assert await differences(sync, company) == []
    assert await one.due() is None


async def test_what_was_interrupted_goes_on_before_anything_else_begins(sync, company):
    runs = Runs(sync.database, CORP)
    run = await runs.begin("command", "all")
    other = schedule(sync, company, dingtalk_corp_id=CORP)
    assert await other.due() is None  # another process holds it
    await runs.let_go(run)
    assert (await do(other)).run_id == run.run_id
    assert await differences(sync, company) == []


async def test_a_dry_run_whose_process_died_is_never_applied(sync, company):
    runs = Runs(sync.database, CORP)
    run = await runs.begin("dry_run", "all")
    await runs.let_go(run)
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    assert await one.due() is None
    assert [row.state for row in await sync.rows(select(runs_table.c.state))] == ["superseded"]
    assert await sync.rows(select(users)) == []


async def test_an_event_without_ids_is_next(sync, company):
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    await do(one)
    (nameless,) = events("org_dept_modify")
    await sync.deliver(nameless)
    run = await do(one)
    assert (run.cause, run.part) == ("event", "departments")
    assert await one.due() is None


async def test_a_stopped_run_is_not_tried_again_at_once(sync, company):
    one = schedule(sync, company, dingtalk_corp_id=CORP, max_leavers="1", reconcile_every_days=1)
    first = await do(one)
    async with sync.database.transaction() as tx:
        await tx.execute(update(runs_table).values(ended_at=first.ended_at - timedelta(days=2)))
    del company.users["u001"], company.users["u002"]
    stopped = await do(one)
    assert stopped.state == "stopped"
    assert await one.due() is None
    assert len(await sync.rows(select(users.c.userid).where(users.c.left_at.is_(None)))) == 5


async def test_a_missing_permission_is_told_and_tried_again_later(sync, company):
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    company.refused.add("v2/department/get")
    with structlog.testing.capture_logs() as logs:
        await do(one)
    (failed,) = [log for log in logs if log["event"] == "address_sync.failed"]
    assert failed["retry_in_s"] == 3600
    assert await one.due() is None
    company.refused.clear()
    assert await schedule(sync, company, dingtalk_corp_id=CORP).due() is not None


async def test_a_spent_budget_is_told_once_and_the_consumer_waits(sync, company):
    def spent():
        raise BudgetSpent("20 of 20 are spent until then", api="any", retry_after_s=99)

    company.before["v2/user/list"] = spent
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            with pytest.raises(BudgetSpent):
                await do(one)
    (said,) = [log for log in logs if log["event"] == "address_sync.budget_spent"]
    assert "until then" in said["reason"]
    company.before["v2/user/get"] = spent
    outcome = await sync.deliver(event("user_modify_org", "u001"))
    assert (outcome.kind, outcome.after) == ("unavailable", 99)
    assert isinstance(outcome.error, DependencyUnavailable)
    assert "until then" in outcome.error.reason
    company.before.clear()
    await do(one)
    assert await differences(sync, company) == []


async def test_dingtalk_that_is_away_is_waited_for(sync, company):
    def away():
        raise Unavailable("no answer", api="any")

    company.before["auth/scopes"] = away
    with pytest.raises(Unavailable):
        await schedule(sync, company, dingtalk_corp_id=CORP).run()


def order(id, part="all", corp_id=None, app="default"):
    return resync_requested(
        id=id, app=app, corp_id=corp_id, now_ms=1, since_ms=0, part=part, reason="a page may be gone"
    ).value


async def test_an_order_of_the_bridge_is_a_full_sync(sync, company):
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    await do(one)
    await sync.deliver(events("user_modify_org", *company.users)[0])
    company.hire("u-unheard-of")
    assert (await sync.deliver(order("o-1"))).kind == "done"
    assert (await sync.deliver(order("o-1"))).kind == "seen"
    assert (await sync.deliver(order("o-2"))).kind == "done"  # while one waits, one is enough
    run = await do(one)
    assert (run.cause, run.part, run.priority) == ("event", "all", Priority.RESYNC)
    assert await differences(sync, company) == []
    assert await one.due() is None
    await sync.deliver(order("o-3", "departments"))
    assert (await do(one)).part == "departments"


async def test_an_order_of_another_company_of_several_is_not_for_this_one(
    sync, company, monkeypatch, tmp_path
):
    one = schedule(sync, company, dingtalk_corp_id=CORP)
    await do(one)
    await sync.deliver(events("user_modify_org", *company.users)[0])
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_apps_file", tmp_path / "apps.toml")
    with structlog.testing.capture_logs() as logs:
        assert (await sync.deliver(order("o-1", app="hr", corp_id="dingother"))).kind == "done"
    assert "address_sync.order_for_nobody" in [log["event"] for log in logs]
    assert await one.due() is None
    await sync.deliver(order("o-2", app="hr", corp_id=CORP))  # another app of the same company
    assert (await do(one)).cause == "event"


async def test_an_order_before_anybody_knows_the_company_is_left_to_the_first_sync(sync, company):
    with structlog.testing.capture_logs() as logs:
        assert (await sync.deliver(order("o-1"))).kind == "done"
    assert "address_sync.order_for_nobody" in [log["event"] for log in logs]
    assert (await sync.deliver(order("o-2", corp_id=CORP))).kind == "done"
    assert (await do(schedule(sync, company, dingtalk_corp_id=CORP))).part == "all"
