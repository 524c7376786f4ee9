"""None"""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings

from dingbridge.events import EventSpec, catalogue, extract_facts, known, legal
from dingbridge.events.catalogue import Form
from dingbridge.events.normalise import Normalised, denormalise, normalise
from dingbridge.events.strict_json import loads
from tests.support.cases import of_each
from tests.support.sizes import sized
from tests.unit.events.strategies import encode, payloads


def run(payload: dict[str, Any]) -> Normalised:
    view = extract_facts(encode(payload))
    assert view.event_type is not None
    return normalise(loads(encode(payload)), view.event_type, catalogue.get(view.event_type))


def back(payload: dict[str, Any]) -> dict[str, Any]:
    view = extract_facts(encode(payload))
    assert view.event_type is not None
    n = run(payload)
    return denormalise(n.data, view.event_type, catalogue.get(view.event_type), n.form, n.verbatim)


def data(event_type: str, **payload: Any) -> dict[str, Any]:
    return run({"EventType": event_type, **payload}).data


def alike(sent: Any, restored: Any) -> bool:
    """Equal up to the conversions that the contract allows: ids and times are text or number, and one
    value may have become a list of it."""
    if isinstance(restored, list) and not isinstance(sent, list):
        return len(restored) == 1 and alike(sent, restored[0])
    if isinstance(sent, list) and isinstance(restored, list):
        return len(sent) == len(restored) and all(map(alike, sent, restored))
    if isinstance(sent, bool) or isinstance(restored, bool):
        return sent is restored
    if isinstance(sent, int | str) and isinstance(restored, int | str):
        return str(sent) == str(restored)
    return repr(sent) == repr(restored)


@settings(max_examples=sized(40, 1_000, quick=15))
@given(payloads())
def test_the_way_back_restores_every_name_exactly(payload: dict[str, Any]) -> None:
    """Nothing is lost, and what was restored normalises to the same again."""
    restored = back(payload)
    assert restored.keys() == payload.keys()
    assert all(alike(value, restored[name]) for name, value in payload.items())
    once, twice = run(payload), run(restored)
    assert (repr(twice.form), twice.data) == (repr(once.form), once.data)
    assert set(twice.verbatim) == set(once.verbatim)


def test_only_the_catalogues_spelling_is_renamed() -> None:
    found = data("user_add_org", TimeStamp="5", UserId=["u1"], USERID="u2", NickName="x", eventid="e")
    assert found == {"timeStamp": 5, "userId": ["u1"], "USERID": "u2", "NickName": "x", "eventid": "e"}


def test_below_the_top_level_everything_keeps_its_own() -> None:
    item = {"UserId": 5, "CheckTime": "6", "DataList": [1]}
    assert data("attendance_check_record", DataList=[item]) == {"dataList": [item]}


def test_a_name_whose_camel_case_is_taken_keeps_its_own_and_its_value() -> None:
    assert data("user_add_org", TimeStamp="5", UserId="u1", userId="u2") == {
        "timeStamp": 5,
        "UserId": "u1",
        "userId": "u2",
    }
    assert data("org_change", EventTime=1, eventId="e", CorpId=7, corpId="c1") == {
        "eventTime": 1,
        "eventId": "e",
        "CorpId": 7,
        "corpId": "c1",
    }


def test_verbatim_lists_only_what_the_way_back_would_respell() -> None:
    old = {"EventType": "user_add_org", "TimeStamp": "5", "CorpId": "c1"}
    assert run(old | {"userId": "u1"}).verbatim == ("userId",)
    assert run(old | {"userId": "u1", "UserId": "u2"}).verbatim == ()
    assert run(old | {"eventId": "e1", "nickName": "x"}).verbatim == ()


def test_what_kept_its_own_name_comes_back_with_its_own_type() -> None:
    payload = {"EventType": "user_add_org", "UserId": ["u1"], "TimeStamp": 5, "timeStamp": 7}
    assert repr(back(payload)) == repr(payload)


def test_numbers_too_long_for_python_are_ids_too_and_fractions_are_not() -> None:
    spec = catalogue.get("bpms_task_change")
    long = loads(b'{"EventType":"bpms_task_change","taskId":' + b"7" * 5000 + b"}")
    assert normalise(long, "bpms_task_change", spec).data == {"taskId": "7" * 5000}
    fraction = loads(b'{"EventType":"bpms_task_change","taskId":0.1000000000000000000001}')
    assert normalise(fraction, "bpms_task_change", spec).data == {
        "taskId": Decimal("0.1000000000000000000001")
    }


def test_unknown_types_are_left_alone_but_for_the_event_type() -> None:
    found = run({"EventType": "brand_new_event", "CorpId": "c1", "TimeStamp": "5"})
    assert found[:3] == ("unknown", {"CorpId": "c1", "TimeStamp": "5"}, ())


@pytest.mark.parametrize(
    ("payload", "form"),
    [
        ({"TimeStamp": "1", "UserId": ["u"], "CorpId": "c"}, "old"),
        (
            {"EventTime": 1, "CorpId": "c", "BizId": "b", "eventId": "e", "timeStamp": "1", "userId": ["u"]},
            "new",
        ),
        ({"timeStamp": "1", "userId": ["u"], "CorpId": "c"}, "new"),
        ({"TimeStamp": "1", "UserId": ["u"], "CorpId": "c", "eventId": "e"}, "old"),
        ({"CorpId": "c"}, "old"),
        ({}, "old"),
    ],
)
def test_form(payload: dict[str, Any], form: Form) -> None:
    assert run({"EventType": "user_add_org", **payload}).form == form


def test_types_with_one_form_have_that() -> None:
    assert run({"EventType": "calendar_event_change"}).form == "new"
    assert run({"EventType": "change_auth", "eventId": "e"}).form == "old"


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("1731000000123", 1731000000123), (1731000000123, 1731000000123), ("0", 0),
        ("2024-11-08 10:00:00", "2024-11-08 10:00:00"), ("007", "007"), ("-5", "-5"), (" 5", " 5"), ("", ""),
        ("\u0665", "\u0665"), ("1" * 20, "1" * 20), (None, None), (True, True), (1.5, 1.5),
    ],
)  # fmt: skip
def test_times(sent: Any, kept: Any) -> None:
    found = data("org_change", TimeStamp=sent)["timeStamp"]
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (61056035232, "61056035232"), ("61056035232", "61056035232"), (10**30, str(10**30)), (-5, "-5"),
        ("t1", "t1"), (None, None), (True, True), (1.5, 1.5),
    ],
)  # fmt: skip
def test_ids_are_texts(sent: Any, kept: Any) -> None:
    found = data("bpms_task_change", taskId=sent)["taskId"]
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("sent", "kept", "restored"),
    [
        (101, ["101"], [101]), ([101, 2**53 + 1], ["101", "9007199254740993"], [101, 2**53 + 1]),
        (["101"], ["101"], [101]), (["x", None], ["x", None], ["x", None]), (None, None, None), ([], [], []),
        (["007"], ["007"], ["007"]),
    ],
)  # fmt: skip
def test_lists_of_ids(sent: Any, kept: Any, restored: Any) -> None:
    payload = {"EventType": "org_dept_create", "TimeStamp": "5", "DeptId": sent}
    assert run(payload).data["deptId"] == kept
    assert repr(back(payload)["DeptId"]) == repr(restored)


def test_the_way_back_gives_each_forms_own_types() -> None:
    contact = {"EventType": "org_change", "TimeStamp": 5}
    chat = {"EventType": "chat_disband", "TimeStamp": "5"}
    assert back(contact)["TimeStamp"] == "5"
    assert back(contact | {"TimeStamp": -5})["TimeStamp"] == -5
    assert back(chat)["TimeStamp"] == 5


def test_event_type_in_another_case_is_not_doubled_on_the_way_back() -> None:
    payload = {"eventType": "org_change", "TimeStamp": "5"}
    assert run(payload).verbatim == ("eventType",)
    assert back(payload) == payload
    both = {"EventType": "org_change", "eventType": "x", "TimeStamp": "5"}
    assert run(both).verbatim == ()
    assert back(both) == both


WIRES = {
    "str",
    "int",
    "float",
    "bool",
    "object",
    "any",
    "list[str]",
    "list[int]",
    "list[object]",
    "list[any]",
}


@of_each(catalogue.values(), lambda spec: spec.event_type)
def test_every_entry_is_well_formed_and_says_where_dingtalk_describes_it(spec: EventSpec) -> None:
    assert legal(spec.event_type)
    assert set(spec.spellings) <= {"old", "new"}
    assert spec.spellings
    for spelling in spec.spellings.values():
        renamed = [field.name for spelled, field in spelling.fields.items() if field.name != spelled]
        assert len(renamed) == len(set(renamed)), "two spellings of one name"
        for spelled, field in spelling.fields.items():
            assert field.wire in WIRES
            assert field.mark in ("", "ms", "id")
            assert spelled.lower() != "eventtype" or field.name == spelled
    assert spec.title.zh
    assert spec.title.en
    assert spec.page.startswith("https://open.dingtalk.com/document/")
    assert spec.version >= 1
    fields = [field for spelling in spec.spellings.values() for field in spelling.fields.values()]
    names = {field.name for field in fields}
    assert spec.values.keys() <= names | {
        f"{field.name}.{one.name}" for field in fields for one in field.nested
    }
    if spec.subject is not None:
        wanted = spec.subject.fields if spec.subject.items is None else (spec.subject.items,)
        assert set(wanted) <= names
        wires = {field.wire for field in fields if field.name == wanted[0]}
        assert not spec.subject.is_list or all(wire.startswith("list") for wire in wires), wires


def test_every_family_has_types_and_types_of_third_parties_are_known_by_their_own_name() -> None:
    assert {spec.family for spec in catalogue.values()} == catalogue.families.keys()
    assert [known(name) for name in ("market_buy", "attendance_schedule_change")] == [True, True]
    assert [known(name) for name in ("brand_new_event", "unclassified", None)] == [False] * 3


def test_asking_for_unknown_types_does_not_make_the_catalogue_grow() -> None:
    before = len(catalogue)
    assert [catalogue.get(f"new_{n}") for n in range(3)] == [None] * 3
    assert len(catalogue) == before
    assert not any(name.startswith("new_") for name in catalogue._specs)


@pytest.mark.parametrize(
    ("event_type", "is_legal"),
    [
        ("a", True), ("A-b_9", True), ("x" * 200, True),
        ("", False), ("x" * 201, False), ("a.b", False), ("a b", False), ("a\n", False), ("审批", False),
        ("unclassified", False), ("\u0663", False),
    ],
)  # fmt: skip
def test_legal(event_type: str, is_legal: bool) -> None:
    assert legal(event_type) is is_legal
