"""DingTalk's forms of a value, and the mistakes of an owners' file."""

from pathlib import Path
from typing import Any

import pytest

from dingbridge.consumers.outbound.fields import arguments, fulfils, observed, same
from dingbridge.consumers.outbound.owners import load_owners
from dingbridge.errors import SettingsError

REPLY = {
    "userid": "u1",
    "name": "N",
    "mobile": "13800000000",
    "dept_id_list": [3, 1],
    "hired_date": 1762099200000,
    "hide_mobile": False,
    "extension": '{"工位":"3F","备注":""}',
    "remark": "",
}


def test_what_was_written_reads_as_what_is_desired() -> None:
    desired = {
        "name": "N",
        "mobile": "+86-13800000000",
        "departments": [1, 3],
        "hiredOn": "2025-11-03",
        "extension": {"工位": "3F", "备注": ""},
        "title": None,
        "remark": None,
        "hideMobile": False,
    }
    seen = observed("user", REPLY)
    assert [name for name, value in desired.items() if not fulfils(name, seen[name], value)] == []
    assert arguments("user", desired)["hired_date"] == REPLY["hired_date"]


@pytest.mark.parametrize("name", ["name", "mobile", "departments", "hideMobile"])
def test_what_nobody_can_be_without_is_not_told_rather_than_empty(name: str) -> None:
    assert name not in observed("user", {"userid": "u1"})


def test_only_what_differs_of_the_extension_is_sent() -> None:
    before = {"extension": {"a": "1", "b": "2", "theirs": "x"}}
    sent = arguments("user", {"extension": {"a": "1", "b": "3", "c": ""}}, before)
    assert sent == {"extension": {"b": "3"}}


@pytest.mark.parametrize(
    ("name", "one", "other", "equal"),
    [
        ("departments", [1, 2], [2, 1], True),
        ("departments", [1, 2], [1], False),
        ("title", "", None, True),
        ("title", "a", None, False),
        ("extension", {"a": ""}, None, True),
        ("extension", {"a": "1"}, {"a": "1", "b": "2"}, False),
        ("managers", None, [], True),
    ],
)
def test_values_are_compared_as_dingtalk_means_them(name: str, one: Any, other: Any, equal: bool) -> None:
    assert same(name, one, other) is same(name, other, one) is equal


def test_an_owners_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "owners.toml"
    template = '[templates."PROC-1"]\nrequest_id_field = "单号"\nactors = ["E1"]\n'
    path.write_text(f'[users]\ntitle = "report"\n{template}', "utf-8")
    owners = load_owners(path)
    assert [owners.owner_of("user", name) for name in ("title", "mobile", "name")] == [
        "report",
        "dingtalk",
        "oa",
    ]
    assert owners.owner_of("department", "title") == "oa"
    assert (owners.request_id_field("PROC-1"), owners.request_id_field("PROC-2")) == ("单号", None)
    assert owners.allowed("actors", "PROC-1") == {"E1"}
    assert not owners.allowed("originators", "PROC-1") | owners.allowed("actors", "PROC-2")


def test_every_mistake_of_an_owners_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "owners.toml"
    path.write_text(
        '[users]\ntitel = "oa"\nname = "hr"\nmobile = "oa"\nexists = "dingtalk"\n'
        '[departments]\norder = 3\n[people]\n[templates."P"]\nfield = "x"\n'
        '[templates."Q"]\nrequest_id_field = ""\nactors = "E1"\n',
        "utf-8",
    )
    with pytest.raises(SettingsError) as wrong:
        load_owners(path)
    places = ["users.titel", "users.name", "users.mobile", "users.exists", "departments.order", "people"]
    templates = ['templates."P"', 'templates."Q".request_id_field', 'templates."Q".actors']
    for place in [*places, *templates]:
        assert [problem for problem in wrong.value.problems if f" {place}: " in problem], place


def test_an_owners_file_that_is_none_is_said(tmp_path: Path) -> None:
    for text in (None, "users = ", "templates = 3\nusers = 4"):
        path = tmp_path / "owners.toml"
        if text is not None:
            path.write_text(text, "utf-8")
        with pytest.raises(SettingsError, match="OUTBOUND_OWNERS"):
            load_owners(path)


def test_what_dingtalk_cannot_empty_is_left_alone_and_holds_up_nothing_else() -> None:
    assert fulfils("title", "engineer", None)
    assert not fulfils("manager", "u2", None)
    assert not fulfils("managers", ["u2"], [])
    assert not fulfils("extension", {"工位": "3F"}, {"工位": ""})
