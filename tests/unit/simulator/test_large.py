"""A company that is made by arithmetic, person for person when asked for, is a company like any other."""

from itertools import islice

import pytest

from dingbridge.simulator.company.company import Company
from dingbridge.simulator.company.crowd.founders import MOST_KEPT
from dingbridge.simulator.company.people import listed_result
from tests.unit.simulator.living import Mirror, make

SIZES = [(MOST_KEPT[0] + 1, 30), (MOST_KEPT[0] + 1, 0), (6_000, 1_200), (40, MOST_KEPT[1] + 1)]


@pytest.mark.parametrize(("users", "departments"), SIZES)
def test_everybody_is_where_he_says_and_every_manager_is_a_colleague(users, departments):
    company = Company(seed=3, users=users, departments=departments)
    people = list(company.users.values())
    assert len(people) == len(company.users) == users
    assert len(company.departments) == departments + 1
    assert [user.userid for user in people] == list(company.users) == list(company.users.ids)
    members = {dept_id: company.members(dept_id) for dept_id in company.departments}
    assert sum(map(len, members.values())) == sum(len(user.dept_ids) for user in people)
    for user in people:
        assert all(user.userid in members[dept_id] for dept_id in user.dept_ids)
        assert user.manager in company.users or not user.manager
        assert user.manager != user.userid
    for boss in {user.manager for user in people if user.manager}:
        assert company.users.reports(boss) == [user.userid for user in people if user.manager == boss]
    for dept in company.departments.values():
        assert dept.parent in company.departments or dept.parent is None
        assert set(dept.managers) <= set(members[dept.dept_id])
    for field in ("userid", "unionid", "mobile", "email", "job_number"):
        assert len({getattr(user, field) for user in people}) == users
    for field in ("unionid", "mobile", "email"):
        one = people[len(people) // 2]
        assert company.users.holding(field, getattr(one, field)).userid == one.userid
        assert company.users.holding(field, getattr(one, field), but=one) is None


def test_a_million_are_there_at_once_and_only_the_changed_are_kept():
    company = Company(seed=1, users=1_000_000, departments=50_000)
    for dept_id in islice(company.departments, 2_000, 2_010):
        for userid in company.members(dept_id):
            shown = company.user_result(company.users.peek(userid))
            assert listed_result(shown, dept_id)["userid"] == userid
    assert len(company.users._changed) == 0
    before = company.users.peek(company.users.nth(777_777))
    company.rename(before.userid, "改名")
    assert company.users.peek(before.userid).name == "改名"
    assert len(company.users._changed) == 1


def test_a_life_is_told_by_its_events_as_in_a_small_company():
    """Whoever looks after each event has the company, as the simulator's own promise says."""
    platform = make(users=MOST_KEPT[0] + 50, departments=60)
    mirror = Mirror(platform)
    for _ in range(400):
        for event in platform.act_at_random():
            mirror.receive(event)
    company = platform.company
    assert mirror.users == {u.userid: company.user_result(u) for u in company.users.values()}
    userids = list(company.users)
    assert [company.users.nth(place) for place in range(len(userids))] == userids
    some = userids[::700]
    assert list(company.users.others(some)) == [u for u in userids if u not in set(some)]
    assert company.users.in_order(reversed(some)) == some
