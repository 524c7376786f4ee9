"""A field that DingTalk's answers lack: emptied where others' answers show it, kept where none does."""

import pytest
import pytest_asyncio
from sqlalchemy import select
from structlog.testing import capture_logs

from dingbridge.consumers.address_sync.tables import user_roles, users
from dingbridge.mirror.dry_run import dry_run
from tests.unit.address_sync.company import CORP, event
from tests.unit.address_sync.syncing import differences, first_full, full, in_state, passes

RIGHTS = ("mobile", "job_number", "role_list")


@pytest_asyncio.fixture
async def shown(sync, company):
    """A company of which everybody has a mobile and a number."""
    for number, user in enumerate(company.users.values()):
        user.update(mobile=f"138{number:08}", job_number=f"J{number}")
    await first_full(sync, company)
    await passes(sync, 86_400)  # a person's next event is not this one's
    return sync


def withdraw(company):
    """The app's right to some fields ends, until ``del company.user``."""
    real = type(company).user

    async def user(userid):
        answer = await real(company, userid)
        return {name: value for name, value in answer.items() if name not in RIGHTS}

    company.user = user


async def column(sync, name):
    return {row.userid: row[1] for row in await sync.rows(select(users.c.userid, users.c[name]))}


async def roles_of_people(sync):
    return {tuple(row) for row in await sync.rows(select(user_roles.c.userid, user_roles.c.role_id))}


@pytest.mark.parametrize("told", ["edits", "a full sync"])
async def test_a_withdrawn_right_empties_nothing_and_is_reported(shown, company, told):
    before, had = await column(shown, "mobile"), await roles_of_people(shown)
    withdraw(company)
    with capture_logs() as logs:
        if told == "edits":
            for userid in list(company.users)[:3]:
                company.users[userid]["name"] = "改名"
                await shown.deliver(event("user_modify_org", userid))
            await passes(shown, 3 * 86_400)
        else:
            await full(shown, company, within_s=7200)
    assert (await column(shown, "mobile"), await roles_of_people(shown)) == (before, had)
    kept = [one["field"] for one in logs if one["event"] == "mirror.field_withheld"]
    assert sorted(kept) == ["job_number", "mobile", "roles"]
    again = [one async for one in dry_run(shown.consumer.engine, shown.database, company, CORP)]
    assert {name for one in again for name in one.fields} <= {"name"}
    first = list(company.users)[:3]
    assert {("user", one) for one in first} <= await in_state(shown, "withheld")
    changed = company.users[first[0]]
    changed["mobile"] = "13999999999"
    del company.user
    await shown.deliver(event("user_modify_org", first[1], at_ms=1_731_000_500_000))
    await passes(shown, 7200)
    assert (await differences(shown, company), await in_state(shown, "withheld")) == ([], set())


async def test_a_field_that_one_person_has_no_more_is_emptied_within_seconds(shown, company):
    company.users["u001"].pop("mobile")
    await shown.deliver(event("user_modify_org", "u001"))
    await passes(shown, 10)
    assert (await column(shown, "mobile"))["u001"] is None
    await passes(shown, 7200)
    assert (await differences(shown, company), await in_state(shown, "withheld")) == ([], set())


async def test_a_field_that_nobody_else_has_is_emptied_after_an_hour(shown, company):
    company.users["u001"]["remark"] = "借调"
    await shown.deliver(event("user_modify_org", "u001"))
    await passes(shown, 7200)
    company.users["u001"].pop("remark")
    await full(shown, company, within_s=1800)
    assert (await column(shown, "remark"))["u001"] == "借调"
    await passes(shown, 7200)
    assert (await differences(shown, company), await in_state(shown, "withheld")) == ([], set())


async def test_nothing_is_kept_of_whoever_had_the_userid_before(shown, company):
    company.users["u001"] |= {"unionid": "another", "name": "新人"}
    company.users["u001"].pop("mobile")
    await shown.deliver(event("user_add_org", "u001"))
    await passes(shown, 1)
    assert (await column(shown, "mobile"))["u001"] is None


async def test_the_last_role_of_somebody_goes_within_seconds(shown, company):
    del company.users["u000"]["role_list"]
    await shown.deliver(event("label_user_change", "u000"))
    await passes(shown, 10)
    assert "u000" not in {userid for userid, _ in await roles_of_people(shown)}


@pytest.mark.parametrize("empty", ["", None])
async def test_an_empty_value_empties(shown, company, empty):
    company.users["u001"]["mobile"] = empty
    await shown.deliver(event("user_modify_org", "u001"))
    await passes(shown, 1)
    assert (await column(shown, "mobile"))["u001"] in (empty, None)
