import json
from random import Random

import pytest

from dingbridge.simulator.company import names
from dingbridge.simulator.company.company import ROOT, Company
from dingbridge.simulator.errors import ActionError


def everything(company: Company) -> list[object]:
    return [
        *(company.user_result(u) for u in company.users.values()),
        *(company.department_result(d) for d in company.departments.values()),
    ]


def make(seed: int = 1) -> Company:
    return Company(seed=seed, users=50, departments=12)


def test_the_same_seed_gives_the_same_company() -> None:
    assert everything(make(7)) == everything(make(7))
    assert everything(make(7)) != everything(make(8))


def test_sizes_and_tree() -> None:
    company = make()
    assert len(company.users) == 50
    assert len(company.departments) == 13
    assert {d.dept_id for d in company.subtree(ROOT)} == set(company.departments)
    assert max(company.depth(d) for d in company.departments) >= 2


def test_people_have_what_the_api_shows_of_them() -> None:
    company = make()
    for user in company.users.values():
        result = company.user_result(user)
        assert result["userid"].isdigit()
        assert result["userid"].startswith("0")
        assert any(result["name"].startswith(surname) for surname, _ in names.SURNAMES)
        assert result["dept_id_list"]
        assert [d["dept_id"] for d in result["dept_order_list"]] == result["dept_id_list"]
        assert {d["dept_id"] for d in result["leader_in_dept"]} == set(result["dept_id_list"])
        assert result.get("manager_userid", next(iter(company.users))) in company.users
        assert isinstance(result["hired_date"], int)
        assert "" not in result.values()
        json.dumps(result)
    for field in ("userid", "unionid", "job_number", "mobile", "email"):
        assert len({getattr(u, field) for u in company.users.values()}) == 50


def test_the_root_has_no_parent_and_others_have_managers() -> None:
    company = make()
    assert "parent_id" not in company.department_result(company.departments[ROOT])
    managed = [d for d in company.departments.values() if d.managers]
    assert managed
    for dept in managed:
        assert set(dept.managers) <= set(company.members(dept.dept_id))


def test_removing_a_department_takes_those_below_and_moves_the_people_up() -> None:
    company = make()
    top = next(d for d in company.children(ROOT) if company.children(d.dept_id))
    below = [d.dept_id for d in company.subtree(top.dept_id)]
    inside = {u for d in below for u in company.members(d)}
    removed, moved = company.remove_department(top.dept_id)
    assert removed == below
    assert set(moved) == inside
    for userid in inside:
        assert company.users[userid].dept_ids
        assert not set(company.users[userid].dept_ids) & set(below)


def test_a_manager_who_leaves_has_a_successor() -> None:
    company = make()
    dept = next(d for d in company.departments.values() if d.managers and len(company.members(d.dept_id)) > 1)
    boss = dept.managers[0]
    reports = [u.userid for u in company.users.values() if u.manager == boss]
    departments, colleagues = company.leave(boss)
    assert dept.dept_id in departments
    assert dept.managers
    assert set(reports) <= set(colleagues)
    assert boss not in {u.manager for u in company.users.values()}


@pytest.mark.parametrize(
    "mistake",
    [
        lambda c: c.remove_department(ROOT),
        lambda c: c.remove_department(99),
        lambda c: c.leave("nobody"),
        lambda c: c.move("nobody"),
        lambda c: c.hire(dept_ids=[99]),
        lambda c: c.hire(dept_ids=[]),
        lambda c: c.create_department(parent=99),
        lambda c: c.create_department(parent=ROOT, name=c.children(ROOT)[0].name),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(mistake) -> None:
    company = make()
    before = json.dumps(everything(company))
    with pytest.raises(ActionError):
        mistake(company)
    assert json.dumps(everything(company)) == before


def test_department_names_never_run_out() -> None:
    taken: set[str] = set()
    rng = Random(1)
    for _ in range(100):
        name = names.department(rng, "财务部", taken)
        assert name not in taken
        taken.add(name)
