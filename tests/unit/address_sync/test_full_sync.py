"""A full sync: from nothing, over what no event told, and as a dry run; what it makes of the tables."""

import itertools

import pytest
import structlog
from sqlalchemy import select

from dingbridge.consumers.address_sync.settings import AddressSyncSettings
from dingbridge.consumers.address_sync.tables import entities, roles, user_roles, users
from dingbridge.dingtalk.errors import Unavailable
from dingbridge.mirror.dry_run import dry_run
from dingbridge.mirror.entities import COMPANY
from tests.unit.address_sync.company import CORP, Company, event, events, listed, order
from tests.unit.address_sync.syncing import (
    begun,
    change_everything,
    contents,
    differences,
    first_full,
    full,
    in_state,
    left_over,
    passes,
    roles_settle,
)


async def row(sync, userid):
    [found] = await sync.rows(select(users).where(users.c.userid == userid))
    return found


async def test_an_empty_database_becomes_the_company(sync, company):
    done = await full(sync, company)
    assert await differences(sync, company) == []
    assert (done["run_ms"], await left_over(sync)) == (None, 0)
    calls = company.calls
    assert calls["v2/department/listsub"] == calls["v2/department/get"] == calls["v2/user/list"] == 5
    assert calls["v2/user/get"] == 12  # each once
    assert (calls["auth/scopes"], calls["role/simplelist"], calls["user/count"]) == (1, 0, 0)


async def test_rows_stand_before_anybody_is_read_and_say_what_is_not_known(sync, company):
    real, early = company.user, []

    async def user(userid):
        if not early:
            early.extend(await sync.rows(select(users)))
        return await real(userid)

    company.user = user
    await full(sync, company)
    assert len(early) > 1
    assert {(one.details_pending, one.manager_userid, one.senior) for one in early} == {(True, None, None)}
    assert await differences(sync, company) == []
    assert not (await row(sync, early[0].userid)).details_pending


async def test_equal_state_writes_nothing(sync, company):
    await first_full(sync, company)
    before = await contents(sync)
    await full(sync, company)
    assert await contents(sync) == before


async def test_it_finds_and_repairs_what_no_event_told_and_who_came_back(sync, company):
    """Also a manager, whom no listing has, and somebody who is listed nowhere."""
    await first_full(sync, company)
    back = company.users["u007"]
    await change_everything(company)
    company.users["u009"]["manager_userid"] = "u002"
    company.users["u010"]["dept_id_list"] = [1]
    await full(sync, company)
    await full(sync, company)  # a second list without the departments' roles
    assert await differences(sync, company) == []
    assert (await row(sync, "u007")).left_reported is False
    company.users["u007"] = back
    await full(sync, company)
    assert await differences(sync, company) == []
    assert (await row(sync, "u007")).rehired_at is not None


async def test_a_userid_given_to_somebody_else_says_so(sync, company):
    await first_full(sync, company)
    company.hire("u001", unionid="union-of-another", name="别人")
    await full(sync, company)
    now = await row(sync, "u001")
    assert (now.name, now.previous_unionid, now.rehired_at) == ("别人", "union-u001", None)
    assert now.reassigned_at is not None


async def test_a_role_that_is_gone_is_nobodys(sync, company):
    await first_full(sync, company)
    await roles_settle(sync)
    del company.roles[7]
    for user in company.users.values():
        user["role_list"] = [role for role in user["role_list"] if role["id"] != 7]
    await full(sync, company)  # two lists in a row lack it
    (gone,) = await sync.rows(select(roles).where(roles.c.role_id == 7))
    assert gone.deleted_at is not None
    assert await differences(sync, company) == []


@pytest.mark.parametrize("cut", ["short", "refused"])
async def test_a_list_of_roles_that_is_cut_short_or_refused_takes_a_role_from_nobody(
    sync, company, cut, monkeypatch
):
    await first_full(sync, company)
    await roles_settle(sync)
    before, whole, calls = await sync.rows(select(user_roles)), company.role_groups, []

    async def no_groups():
        calls.append(cut)
        return [] if len(calls) == 1 else await whole()

    if cut == "refused":
        company.refused.add("role/list")
    else:
        monkeypatch.setattr(company, "role_groups", no_groups)
    await full(sync, company)
    assert await sync.rows(select(user_roles)) == before
    assert [role.deleted_at for role in await sync.rows(select(roles))] == [None, None]


async def test_a_department_of_no_other_call_is_left_out(sync, company):
    """Family-school contacts: listings name a department -1."""
    company.departments[-1] = {"dept_id": -1, "name": "家校通讯录", "parent_id": 1}
    await full(sync, company)
    assert company.calls["v2/department/get"] == 5
    assert await in_state(sync, "refused") == set()


async def test_a_dry_run_names_each_person_and_field_and_writes_nothing(sync, company):
    await first_full(sync, company)
    before = [await contents(sync), await sync.rows(select(entities))]
    await change_everything(company)
    found = {
        (one.kind, one.entity_id): set(one.fields)
        async for one in dry_run(sync.consumer.engine, sync.database, company, CORP)
    }
    assert [await contents(sync), await sync.rows(select(entities))] == before
    assert found[("user", "u001")] == {"name"}
    assert found[("user", "u003")] >= {"manager_userid", "title"}
    assert found[("user", "u006")] == {"roles"}
    assert (found[("user", "u007")], found[("user", "u900")]) == ({"left_at"}, {"new"})
    assert (found[("department", "5")], found[("department", "9")]) == ({"deleted_at"}, {"new"})
    assert found[("department", "4")] == {"parent_id"}
    await full(sync, company)
    await full(sync, company)
    assert [one async for one in dry_run(sync.consumer.engine, sync.database, company, CORP)] == []


# -- interrupted


async def test_it_goes_on_where_it_was_after_any_call_that_failed(sync, company):
    made = 0

    def failing(api):
        def fail():
            nonlocal made
            made += 1
            if made % 3 == 0:
                raise Unavailable("no answer", api=api)

        return fail

    for api in ("v2/department/listsub", "v2/department/get", "v2/user/list", "v2/user/get", "role/list"):
        company.before[api] = failing(api)
    done = await full(sync, company)
    assert await differences(sync, company) == []
    assert (done["run_ms"], await left_over(sync)) == (None, 0)


async def test_half_a_page_or_a_lost_permission_marks_nobody_and_is_waited_for(sync, company):
    await first_full(sync, company)

    async def half(dept_id):
        async for user in Company.department_users(company, dept_id):
            yield user
            raise Unavailable("the connection broke", api="v2/user/list")

    company.department_users = half
    company.hire("u900", dept_id_list=[2])
    await full(sync, company, within_s=3000)
    del company.department_users
    company.refused.add("v2/user/list")
    await passes(sync, 3000)
    assert set(company.users) - {one.userid for one in await sync.rows(select(users.c.userid))} <= {"u900"}
    assert [one for one in await sync.rows(select(users.c.left_at)) if one.left_at is not None] == []
    company.refused.clear()
    await passes(sync, 7200)  # within an hour
    assert await differences(sync, company) == []


async def test_whom_a_listing_shows_before_it_fails_is_read(sync, company):
    """As one whose pages come again and again."""

    async def department_users(dept_id):
        async for user in Company.department_users(company, dept_id):
            yield user
        if dept_id == 4:
            raise Unavailable("the same pages again and again", api="v2/user/list")

    company.department_users = department_users
    await full(sync, company)
    assert await differences(sync, company) == []


@pytest.mark.parametrize("subtree", ["moved", "in a circle"])
async def test_a_tree_that_changes_while_it_is_read_is_read_to_its_end(sync, company, subtree):
    real, moved = company.sub_departments, []

    async def sub_departments(dept_id):
        found = await real(dept_id)
        if dept_id == 4 and not moved:
            moved.append(dept_id)
            company.departments[4]["parent_id"] = 3 if subtree == "moved" else 5
        return found

    company.sub_departments = sub_departments
    done = await full(sync, company)
    assert done["run_ms"] is None
    if subtree == "in a circle":
        company.departments[4]["parent_id"] = 2
    await full(sync, company)
    assert await differences(sync, company) == []


async def test_what_is_moved_below_a_department_that_was_listed_is_found(sync, company):
    """With somebody in it of whom no event told."""
    await first_full(sync, company)
    company.hire("u900", dept_id_list=[5])
    real = company.sub_departments

    async def sub_departments(dept_id):
        if dept_id == 2:  # the root, which is above it, was listed before
            company.departments[4]["parent_id"] = 1
        return await real(dept_id)

    company.sub_departments = sub_departments
    await full(sync, company)
    assert await differences(sync, company) == []


@pytest.mark.parametrize("answers", [2, 100])
async def test_an_answer_without_a_list_of_departments_is_asked_for_again(sync, company, answers):
    real, asked = company.sub_departments, []

    async def sub_departments(dept_id):
        if dept_id != 2:
            return await real(dept_id)
        asked.append(sync.consumer.clock())
        return None if len(asked) <= answers else await real(dept_id)

    company.sub_departments = sub_departments
    with structlog.testing.capture_logs() as logs:
        done = await full(sync, company)
    assert done["run_ms"] is None
    waited = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert waited == pytest.approx([2, 10, 60][:answers], abs=1)
    believed = [one["dept_id"] for one in logs if one["event"] == "mirror.no_list_of_departments"]
    assert (await differences(sync, company) == [], believed) == ((True, []) if answers < 4 else (False, [2]))


# -- beside events


async def test_an_event_during_the_reading_is_not_overwritten_by_what_was_read_before(sync, company):
    await first_full(sync, company)
    told = []

    async def users_of(dept_id):
        found = [user async for user in Company.department_users(company, dept_id)]
        if dept_id == 5 and not told:
            company.users["u003"]["name"] = "新名"
            company.users.pop("u008")
            company.hire("u901", dept_id_list=[5])
            for one in (*events("user_modify_org", "u003"), *events("user_leave_org", "u008")):
                told.append(await sync.deliver(one))
            told.append(await sync.deliver(event("user_add_org", "u901")))
        for user in found:
            yield user

    company.department_users = users_of
    await full(sync, company)
    assert [one.kind for one in told] == ["done"] * 3
    assert await differences(sync, company) == []


async def test_a_listing_that_is_older_than_an_event_changes_nothing(sync, company):
    """Reads of one person and listings lag each for themselves."""
    await first_full(sync, company)
    old = [dict(user) for user in company.users.values()]
    company.users["u003"]["name"] = "新名"
    del company.users["u008"]
    left = event("user_leave_org", "u008")
    for one in (*events("user_modify_org", "u003"), left):
        await sync.deliver(one)
    await passes(sync, 100)
    before = await contents(sync)

    async def lagging(dept_id):
        for user in old:
            if dept_id in user["dept_id_list"]:
                yield listed(user, dept_id)

    company.department_users = lagging
    await full(sync, company)
    assert await contents(sync) == before
    assert (await row(sync, "u008")).left_at == left.time


async def test_a_sync_reads_whom_an_event_named_a_moment_ago_when_answers_are_settled(sync, company):
    """Another read a moment later may be older than the one that showed the event."""
    await first_full(sync, company)
    await passes(sync, 0)
    clock, old = sync.consumer.clock, dict(company.users["u003"])
    company.users["u003"]["name"] = "新名"
    changed_at, real = clock.now, company.user
    await sync.deliver(event("user_modify_org", "u003"))
    await sync.consumer.look_due()

    async def lagging(userid):
        return dict(old) if userid == "u003" and clock.now < changed_at + 70 else await real(userid)

    company.user = lagging
    await full(sync, company, within_s=60)
    assert (await row(sync, "u003")).name == "新名"
    await passes(sync, 100)
    assert await differences(sync, company) == []


# -- what cannot be read


def broken(company, call, *ids):
    """``call`` answers 502 for these ids, and without any for all."""
    real = getattr(Company, call)

    def check(an_id):
        company.calls[f"{call} {an_id}"] += 1
        if not ids or an_id in ids:
            raise Unavailable("DingTalk answers 502", api=call)

    async def one(an_id):
        check(an_id)
        return await real(company, an_id)

    async def listing(an_id):
        async for item in real(company, an_id):
            yield item
        check(an_id)  # a later page

    setattr(company, call, listing if call == "department_users" else one)


async def test_it_ends_beside_one_that_is_never_answered(sync, company):
    """One of each call at once, which is one of each for that call."""
    never = {"sub_departments": 10, "department": 9, "department_users": 4, "user": "u002"}
    await first_full(sync, company)
    await change_everything(company)
    company.department_of(10, "另一个", 2)
    for call, an_id in never.items():
        broken(company, call, an_id)
    done = await full(sync, company, within_s=2 * 3600)
    assert done["run_ms"] is None
    refused = {("listing", "10"), ("department", "9"), ("listing", "4"), ("user", "u002")}
    assert await in_state(sync, "refused") == refused
    wrong = await differences(sync, company)
    assert all(any(f"{an_id}" in found for an_id in never.values()) for found in wrong), wrong
    assert all(company.calls[f"{call} {an_id}"] < 200 for call, an_id in never.items())
    titles = {title: rows for title, _, rows in await sync.consumer.show(sync.database.reader())}
    [shown] = [rows for title, rows in titles.items() if title.startswith("not read")]
    assert {(what, an_id) for what, an_id, _ in shown} == refused
    for call in never:
        delattr(company, call)
    await passes(sync, 2 * 3600)  # and without a command it is right in the end
    assert await in_state(sync, "refused") == set()


async def test_a_call_that_works_for_nobody_is_waited_for_and_other_calls_go_on(sync, company):
    await first_full(sync, company)
    await change_everything(company)
    broken(company, "department")
    await full(sync, company)
    assert (await row(sync, "u001")).name == "改名"
    assert company.calls.total() < 400
    del company.department
    await passes(sync, 7200)
    await full(sync, company)
    assert await differences(sync, company) == []


async def test_the_metrics_count_what_is_due_and_what_is_not_read(sync, company):
    await first_full(sync, company)
    company.hidden.add(4)
    await full(sync, company)
    engine, metrics = sync.consumer.engine, sync.consumer.metrics
    company.hire("u901")
    await sync.deliver(event("user_add_org", "u901"))
    sync.consumer.clock.now += 30
    await metrics.measure(engine.entities, sync.database, ["user", "listing"])
    assert metrics.not_read.labels("listing")._value.get() == 1
    assert metrics.not_read.labels("user")._value.get() == 0
    assert metrics.due.labels("0")._value.get() == 1
    assert metrics.oldest._value.get() == pytest.approx(30, abs=1)
    assert metrics.sync_every._value.get() == 7 * 86_400


# -- when one is due


async def company_row(sync):
    [found] = await sync.rows(select(entities).where(entities.c.kind == COMPANY))
    return found


async def test_one_is_due_again_after_so_many_days_and_by_a_request_of_the_bridge(sync, company):
    await full(sync, company, within_s=100)
    company.hire("u901")
    await passes(sync, 6 * 86_400)
    assert await differences(sync, company) != []
    await passes(sync, 2 * 86_400)
    assert await differences(sync, company) == []
    company.hire("u902")
    assert (await sync.deliver(order("o-1", CORP).value)).kind == "done"
    await passes(sync, 100)
    assert await differences(sync, company) == []


async def test_a_request_while_one_is_open_begins_another_after_it(sync, company):
    await begun(sync)
    await sync.consumer.look_due()
    first = (await company_row(sync)).run_ms
    sync.consumer.clock.now += 1
    await sync.deliver(order("o-1", CORP).value)
    company.hire("u901")
    await passes(sync, 5)
    assert (await company_row(sync)).run_ms != first
    await passes(sync, 100)
    assert await differences(sync, company) == []


async def test_a_process_that_starts_plans_the_first_and_leaves_the_next_where_it_is(sync, company):
    engine = sync.consumer.engine
    for _ in range(2):
        async with sync.database.transaction() as tx:
            await engine.full_sync.plan(tx, "default", CORP)
        await passes(sync, 100)
    assert await differences(sync, company) == []
    assert company.calls["v2/user/get"] == 12


async def test_a_request_for_another_apps_company_or_for_approvals_is_left_alone(
    sync, company, monkeypatch, tmp_path
):
    app = '[apps.{}]\nmode = "stream"\napp_key = "k{}"\napp_secret = "s"\ncorp_id = "{}"\n'
    apps = app.format("hr", 1, "dingother") + app.format("oa", 2, CORP)
    (tmp_path / "apps.toml").write_text(apps)
    monkeypatch.setattr(sync.consumer.settings, "dingtalk_apps_file", tmp_path / "apps.toml")
    await sync.deliver(order("o-1", app="hr", corp_id="dingother").value)
    await sync.deliver(order("o-2", part="approvals").value)
    assert await sync.rows(select(entities)) == []
    await sync.deliver(order("o-3", app="oa", corp_id=CORP).value)  # another app of the same company
    assert (await company_row(sync)).reported_ms is not None


async def test_of_a_requests_own_texts_a_log_holds_200_characters_escaped(sync, company):
    text = "\n" + "x" * 400_000
    with structlog.testing.capture_logs() as logs:
        await sync.deliver(order(text, part="approvals", reason=text).value)
        await sync.deliver(order(text + "2", CORP, reason=text).value)
    named = [log for log in logs if log["event"] in ("mirror.resync_for_others", "mirror.resync_requested")]
    assert len(named) == 2
    for log in named:
        assert log["reason"] == log["event_id"] == "\\n" + "x" * 197 + "…"


class Turns:
    """Counts the turns of reads for full syncs."""

    def __init__(self):
        self.taken = 0

    async def turn(self):
        self.taken += 1


async def test_reads_for_full_syncs_keep_their_pace_and_events_do_not_wait_for_it(sync, company):
    await first_full(sync, company)
    await begun(sync)
    pace = sync.consumer.engine.pace = Turns()
    await passes(sync, 100)
    reads = ("v2/user/get", "v2/department/get", "v2/user/list")
    assert pace.taken >= sum(company.calls[api] for api in reads)
    before = pace.taken
    await sync.deliver(event("user_modify_org", "u001"))
    await sync.consumer.look_due()
    assert pace.taken == before


def test_settings_that_make_no_sense_are_refused():
    for value in ("many", "101%"):
        with pytest.raises(ValueError, match="must be"):
            AddressSyncSettings(max_leavers=value)


async def test_a_missing_right_to_list_roles_leaves_them_and_ends(sync, company):
    company.refused.add("role/list")
    done = await full(sync, company)
    assert done["run_ms"] is None
    assert {role.name for role in await sync.rows(select(roles))} == {"财务", "人事"}


@pytest.mark.parametrize("answer", ["refused", "empty"])
async def test_without_the_one_call_that_counts_the_whole_company_is_read(sync, company, answer):
    if answer == "refused":
        company.refused.add("auth/scopes")
    else:
        company.scope = []
    await full(sync, company)
    assert await differences(sync, company) == []
