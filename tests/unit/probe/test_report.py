"""What the probe sees of a reply: fields, times, names; and a report that holds no value of them."""

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.api.shapes import SHAPES, declared
from dingbridge.dingtalk.clock import CHINA
from dingbridge.dingtalk.error_codes import error_for, error_named
from dingbridge.doctor.findings import read_words
from dingbridge.events.envelope import Drift
from dingbridge.probe.compare import Difference, FieldSeen, differences, fields_of
from dingbridge.probe.judge import judge, judge_watched
from dingbridge.probe.lag import Lag, Watched
from dingbridge.probe.names import shown, shown_code, shown_path
from dingbridge.probe.recorder import Reply
from dingbridge.probe.report import build, replaceable, write
from dingbridge.probe.run import Reading
from dingbridge.probe.times import FORM, Clocks, clocks_of

FIELDS = {
    "id": "str",
    "n?": "int",
    "flag?": "bool",
    "has_more|hasMore": "bool",
    "ids?": "list[int]",
    "parts?": [{"name": "str"}],
    "status?": "str OPEN|DONE",
    "free?": "any",
}
WHOLE = {"id": "x", "has_more": False}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (WHOLE, []),
        ({"id": "x", "hasMore": True}, []),
        (WHOLE | {"errcode": 0, "errmsg": "ok", "request_id": "a"}, []),
        ({"has_more": True}, [("missing", "id", "str", "")]),
        (WHOLE | {"id": None}, [("missing", "id", "str", "")]),
        ({"id": "x"}, [("missing", "has_more", "bool", "")]),
        (WHOLE | {"id": 7}, [("loose", "id", "str", "int")]),
        (WHOLE | {"n": "7"}, [("loose", "n", "int", "str")]),
        (WHOLE | {"n": "seven"}, [("type", "n", "int", "str")]),
        (WHOLE | {"n": True}, [("type", "n", "int", "bool")]),
        (WHOLE | {"n": 1.0}, [("type", "n", "int", "number")]),
        (WHOLE | {"flag": "true"}, [("loose", "flag", "bool", "str")]),
        (WHOLE | {"flag": []}, [("type", "flag", "bool", "list")]),
        (WHOLE | {"ids": [1, "2", "2"]}, [("loose", "ids[]", "int", "str")]),
        (WHOLE | {"parts": {}}, [("type", "parts", "list", "object")]),
        (WHOLE | {"parts": [{}]}, [("missing", "parts[].name", "str", "")]),
        (WHOLE | {"parts": ["x"]}, [("type", "parts[]", "object", "str")]),
        (WHOLE | {"status": "DONE"}, []),
        (WHOLE | {"status": ""}, []),
        (WHOLE | {"status": "GONE"}, [("value", "status", "", "4 characters")]),
        (WHOLE | {"free": {"张三": 1}}, []),
        (WHOLE | {"user_list": 1}, [("unknown", "user_list", "", "int")]),
        (WHOLE | {"张三": 1}, [("unknown", "(unknown name of 2 characters)", "", "int")]),
        ([], [("type", "(reply)", "object", "list")]),
    ],
)
def test_a_difference_is_named_by_kind_place_and_type(body: object, expected: list[tuple[str, ...]]) -> None:
    assert differences(FIELDS, body) == [Difference(*one) for one in expected]


def test_places_are_counted_with_types_and_lengths() -> None:
    seen: dict[str, FieldSeen] = {}
    fields_of({"list": [{"name": "a", "order": -12}, {"name": "abc", "order": "x", "甲": {}}]}, seen)
    shown = {path: (one.times, dict(one.types), one.shortest, one.longest) for path, one in seen.items()}
    assert shown == {
        "list": (1, {"list": 1}, 2, 2),
        "list[]": (2, {"object": 2}, 2, 3),
        "list[].name": (2, {"str": 2}, 1, 3),
        "list[].order": (2, {"int": 1, "str": 1}, 1, 2),
        "list[].(unknown name of 1 characters)": (1, {"object": 1}, 0, 0),
    }


def test_each_shape_names_a_page() -> None:
    assert all(shape.page and shape.fields for shape in SHAPES.values())


BUSINESS_ID = "202604161534000123456"
INSTANCE_ID = "aBcDeFgHiJkLmNoPqRsT_-04221776324877"  # 2026-04-16 15:34:37 in China


@pytest.mark.parametrize(
    ("text", "form", "zone"),
    [
        ("2026-04-16T15:34Z", FORM, "false"),
        ("2026-04-16T07:34Z", FORM, "true"),
        ("2026-04-16T15:34:37Z", "9999-99-99T99:99:99Z", "false"),
        ("2026-04-16 15:34:37", "9999-99-99 99:99:99", "false"),
        ("2026-04-16T12:00Z", FORM, "unclear"),
        ("yesterday, Zhang", "aaaaaaaaaa Zaaaa", "unclear"),
        ("9999-99-99T99:99Z", FORM, "unclear"),
        ("", "", "unclear"),
    ],
)
def test_the_zone_is_what_agrees_with_the_business_id(text: str, form: str, zone: Any) -> None:
    seen = clocks_of(INSTANCE_ID, {"createTime": text, "businessId": BUSINESS_ID})
    assert seen == Clocks(form, zone, True)


def test_the_id_is_a_check_where_it_has_seconds() -> None:
    for instance_id, business_id, agrees in (
        ("6996855b-1111-2222-3333-444455556666", BUSINESS_ID, None),
        (INSTANCE_ID, "7", None),
        (INSTANCE_ID.replace("1776324877", "1776324937"), BUSINESS_ID, False),
    ):
        seen = clocks_of(instance_id, {"createTime": "2026-04-16T15:34Z", "businessId": business_id})
        assert seen.id_agrees is agrees


@given(st.datetimes(datetime(2018, 1, 1), datetime(2100, 1, 1)))
def test_china_and_utc_are_never_confused(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC)
    business_id = at.astimezone(CHINA).strftime("%Y%m%d%H%M") + "000123456"
    for zone, expected in ((CHINA, "false"), (UTC, "true")):
        text = at.astimezone(zone).strftime("%Y-%m-%dT%H:%MZ")
        assert clocks_of("x", {"createTime": text, "businessId": business_id}).zone == expected


@pytest.mark.parametrize(
    "name",
    ["userid", "dept_order_list", "processInstanceId", "UserId", "dept_user_list", "taskUserIds", "errcode"],
)
def test_names_of_our_tables_and_of_their_words_are_shown(name: str) -> None:
    assert shown(name) == name


@pytest.mark.parametrize(
    "name",
    ["张三", "zhangsan", "manager4220", "user 1", "176", "{1:176}", "", "dingcorp0123456789", "x" * 60],
)
def test_of_other_names_stands_only_how_long_they_are(name: str) -> None:
    assert shown(name) == f"(unknown name of {len(name)} characters)"


def test_a_path_is_shown_name_by_name() -> None:
    assert shown_path("dataList[].userId") == "dataList[].userId"
    assert shown_path("dataList[].zhangsan.name") == "dataList[].(unknown name of 8 characters).name"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (60121, 60121),
        ("60011", "60011"),
        ("Forbidden.AccessDenied.X" + "y", "Forbidden.AccessDenied.Xy"),
        (13800000000, "(unknown code of 11 characters)"),
        ("13800000000", "(unknown code of 11 characters)"),
        ("hsfError(张三)", "(unknown code of 12 characters)"),
        ("qyapi_get_member_by_mobile", "qyapi_get_member_by_mobile"),
        ("qyapi_get_张三", "(unknown code of 12 characters)"),
        (None, None),
        ("", None),
        (True, None),
    ],
)
def test_codes_are_small_numbers_and_words(code: object, expected: object) -> None:
    assert shown_code(code) == expected


WORDS = read_words("dingbridge.doctor") | read_words("dingbridge.probe")
SECRET = "密7q9"
"""Stands in every planted text; numbers are planted as ``NUMBER`` and digits of it."""
NUMBER = 918273645546372819

texts = st.sampled_from(["", "13800138000", "zhang.san@example.com", "{1:176}", "dingcorp"]).map(
    lambda text: SECRET + text
)
leaves = st.one_of(texts, st.just(NUMBER), st.booleans(), st.none(), st.just(float(NUMBER)))
field_names = st.one_of(texts, st.sampled_from(["result", "name", "list", "extension", "userid", "dept_id"]))
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(field_names, inner, max_size=4)),
    max_leaves=12,
)


def _mostly(usual: st.SearchStrategy[Any], other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda number: usual if number else other)


def of_shape(kind: Any) -> st.SearchStrategy[Any]:
    """Replies of nearly this shape: fields absent, of other types, and besides ones that nobody knows."""
    if isinstance(kind, list):
        return st.lists(of_shape(kind[0]), max_size=2)
    if not isinstance(kind, dict):
        return leaves if kind != "list[str]" else st.lists(leaves, max_size=2)
    known = {declared(name)[0][0]: _mostly(of_shape(inner), anything) for name, inner in kind.items()}
    return st.builds(
        lambda fields, more: fields | more,
        st.fixed_dictionaries({"result": known.pop("result")} if "result" in known else {}, optional=known),
        st.dictionaries(field_names, anything, max_size=2),
    )


@st.composite
def readings(draw: st.DrawFn) -> list[Reading]:
    made = []
    for api in [INSTANCES, *draw(st.lists(st.sampled_from(sorted(SHAPES)), max_size=2))]:
        body = draw(_mostly(of_shape(dict(SHAPES[api].fields)), anything))
        if isinstance(body, dict):
            body = body | draw(st.sampled_from([{}, {"errcode": 0}, {"errcode": 88, "sub_code": SECRET}]))
        replies = (Reply(api, draw(st.sampled_from([200, 200, 200, 403])), body, 0.1),)
        errors = [
            None,
            error_for(api, 987654, SECRET, SECRET),
            error_for(api, 88, SECRET, "60011"),
            error_for(api, 60121, SECRET),
            error_named(api, "Forbidden.AccessDenied.AccessTokenPermissionDenied", SECRET, [SECRET]),
        ]
        made.append(Reading(api, ("address-sync", SECRET), replies, draw(st.sampled_from(errors)), SECRET))
    return made


@given(readings(), st.lists(texts, max_size=2))
def test_a_report_of_replies_full_of_secrets_holds_none(made: list[Reading], fields: list[str]) -> None:
    watched = Watched(
        [Lag("user", "there", 2.0, 1.0), Lag("user", "gone", None, 1.0, SECRET)],
        Counter({"user_add_org": 2}),
        drift={"user_add_org": {Drift("unknown_field", field) for field in fields}},
    )
    findings = [*judge(made), *judge_watched(watched)]
    document = build(made, findings, WORDS, parts=["approval", SECRET], watched=watched)
    text = json.dumps(document, ensure_ascii=False)
    for planted in (SECRET, str(NUMBER), str(float(NUMBER)), "13800138000", "zhang", "dingcorp", "1:176"):
        assert planted not in text


def test_it_tells_names_types_lengths_and_codes() -> None:
    reply = {"errcode": 0, "result": {"userid": "u1", "unionid": "abc", "name": "甲乙", "active": "true"}}
    made = [
        Reading("v2/user/get", ("outbound",), (Reply("v2/user/get", 200, reply, 0.02),), None, "u1"),
        Reading(INSTANCES, ("approval",), (), error_named(INSTANCES, "processInstanceNotExist", "x"), "p"),
    ]
    document = build(made, judge(made), WORDS, parts=["outbound"])
    call = document["calls"]["v2/user/get"]
    assert (call["requests"], call["counted"], call["answers"]) == (1, False, {"200 0": 1})
    assert call["fields"]["result.name"] == {"times": 1, "types": {"str": 1}, "lengths": [2, 2]}
    [difference] = call["differences"]
    assert difference == {"kind": "loose", "path": "result.active", "declared": "bool", "seen": "str"}
    assert document["calls"][INSTANCES]["refusals"] == ["processInstanceNotExist"]
    assert [finding["code"] for finding in document["findings"]] == ["refusal.entity", "shape.loose"]
    assert document["exit_code"] == 1
    assert json.loads(json.dumps(document)) == document


def test_only_an_older_report_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    assert replaceable(path)
    for _ in range(2):
        write(build([], [], WORDS, parts=[]), path)
        assert replaceable(path)
    for other in ("DINGTALK_APP_SECRET=x\n", '{"name": 1}', "{"):
        path.write_text(other)
        assert not replaceable(path)
