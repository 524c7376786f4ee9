"""What comes in is named fault by fault; what goes out is the same record for the same decision."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.schemas.outbound import EXAMPLES, example
from dingbridge.consumers.outbound.fields import arguments, fulfils, observed, same
from dingbridge.consumers.outbound.forms import (
    MODELS,
    Answers,
    ChangeData,
    ChangeEvent,
    OldNew,
    ResultData,
    ResultEvent,
)
from dingbridge.consumers.outbound.messages import Message, change_record, parse, result_record
from dingbridge.consumers.outbound.owners import Template, load_owners
from dingbridge.errors import SettingsError
from dingbridge.events.event import Sent, decode
from dingbridge.worker.outcomes import Reject
from tests.support.sizes import sized

GUIDES = Path(__file__).parents[3] / "docs" / "guide"


def read(envelope: dict[str, Any], key: str | None = None) -> Message:
    kind = envelope["type"].split(".")[2]
    key = key or f"{envelope['data'].get('corpId')}:{kind}:{envelope.get('subject')}"
    return parse(decode(json.dumps(envelope, ensure_ascii=False).encode(), Sent(key.encode(), 0)))


@pytest.mark.parametrize("name", [*MODELS])
def test_an_example_of_each_message_is_valid(name: str) -> None:
    message = read(example(name))
    assert (message.type, message.id) == (name, EXAMPLES[name][0])


def shown(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("both-directions*.md")):
        for block in re.findall(r"```json\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            yield json.loads(block)


def test_what_answers_and_what_the_guide_shows_is_valid() -> None:
    for envelope in (example("result"), example("change"), *shown(GUIDES)):
        match envelope["type"].removeprefix("com.dingbridge."):
            case "outbound.result":
                ResultEvent.model_validate(envelope)
            case "change":
                ChangeEvent.model_validate(envelope)
            case _:
                read(envelope)


def test_every_fault_is_named_and_no_value() -> None:
    envelope = example("user.desired")
    envelope["data"] |= {
        "version": "secret-1",
        "name": "secret-2" * 20,
        "hiredOn": "2025-02-30",
        "titel": "secret-3",
        "departments": ["a b"],
        "extension": {"k": 5},
    }
    del envelope["data"]["corpId"]
    with pytest.raises(Reject) as refused:
        read(envelope)
    words = refused.value.reason
    for place in ("corpId", "version", "name", "hiredOn", "titel", "departments.0", "extension.k"):
        assert f"data.{place}: " in words
    assert "secret" not in words
    assert "2025" not in words


@pytest.mark.parametrize("value", ["\x00", "", "x" * 65])
def test_what_no_database_keeps_is_named(value: str) -> None:
    envelope = example("user.desired")
    envelope["data"] |= dict.fromkeys(("corpId", "app", "userid"), value)
    with pytest.raises(Reject, match=r"^id: .*data\.corpId: .*data\.app: .*data\.userid: "):
        read(envelope | {"subject": "E1", "id": "m\n"}, f"{value}:user:E1")


@pytest.mark.parametrize("count", [200, sized(20_000, 200_000)])
def test_many_faults_are_counted(count: int) -> None:
    """A message of the largest size must not hold up the others for longer than it takes to read it."""
    envelope = example("user.desired")
    envelope["data"] |= {f"field{n}": "x" for n in range(count)}
    with pytest.raises(Reject, match=r"and \d+ more$") as refused:
        read(envelope)
    words = refused.value.reason
    assert len(words) <= 1000
    assert words.count(": is no field") + int(words.split()[-2]) == count


@pytest.mark.parametrize("key", ["other:user:E1001", "dingcorp1:department:E1001", "dingcorp1:user:E2", "-"])
def test_the_key_says_the_same_as_the_message(key: str) -> None:
    with pytest.raises(Reject, match="key: must be"):
        read(example("user.desired"), key)


@pytest.mark.parametrize("type_", ["com.dingbridge.user.desire", "user.desired", "com.dingbridge.resync"])
def test_an_unknown_type_is_told_the_known_ones(type_: str) -> None:
    event = decode(json.dumps(example("user.desired") | {"type": type_}).encode(), Sent(b"k", 0))
    with pytest.raises(Reject, match=r"user\.desired"):
        parse(event)


def test_the_company_itself_is_not_written() -> None:
    with pytest.raises(Reject, match="root"):
        read(example("department.absent") | {"subject": "root"})


def test_the_same_decision_is_the_same_record() -> None:
    data = ResultData(
        corp_id="dingcorp1",
        kind="user",
        id="E1",
        request="user.desired",
        result="done",
        answers=Answers(source="/oa", id="m-1"),
    )
    one, again = (result_record(data, app=None, turn=3, now_ms=now) for now in (1000, 2000))
    ids = [json.loads(record.value)["id"] for record in (one, again)]
    assert ids[0] == ids[1] != json.loads(result_record(data, app=None, turn=4, now_ms=1000).value)["id"]
    ResultEvent.model_validate(json.loads(one.value))
    record = one.record()
    assert record.key == b"dingcorp1:user:E1"
    assert dict(record.headers)["dingbridge-id"] == ids[0].encode()


def test_what_became_empty_is_told_as_null() -> None:
    data = ChangeData(
        corp_id="dingcorp1", kind="user", id="E1", verdict="accepted", fields={"title": OldNew(old="A")}
    )
    envelope = json.loads(change_record(data, app=None, turn=1, now_ms=0).value)
    assert envelope["data"]["fields"] == {"title": {"old": "A", "new": None}}
    assert decode(json.dumps(envelope).encode(), Sent(b"k", 0)).data == envelope["data"]


# -- DingTalk's forms of a value, and the mistakes of an owners' file


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
    template = '[templates."PROC-1"]\nrequest_id_field = "单号"\noriginators = ["E1"]\n'
    path.write_text(f'[users]\ntitle = "report"\n{template}', "utf-8")
    owners = load_owners(path)
    assert [owners.owner_of("user", name) for name in ("title", "mobile", "name")] == [
        "report",
        "dingtalk",
        "oa",
    ]
    assert owners.owner_of("department", "title") == "oa"
    assert owners.template("PROC-1") == Template("单号", frozenset({"E1"}))
    assert owners.template("PROC-2") == Template()


def test_every_mistake_of_an_owners_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "owners.toml"
    path.write_text(
        '[users]\ntitel = "oa"\nname = "hr"\nmobile = "oa"\nexists = "dingtalk"\n'
        '[departments]\norder = 3\n[people]\n[templates."P"]\nfield = "x"\n'
        '[templates."Q"]\nrequest_id_field = ""\noriginators = "E1"\n',
        "utf-8",
    )
    with pytest.raises(SettingsError) as wrong:
        load_owners(path)
    places = ["users.titel", "users.name", "users.mobile", "users.exists", "departments.order", "people"]
    templates = ['templates."P"', 'templates."Q".request_id_field', 'templates."Q".originators']
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
