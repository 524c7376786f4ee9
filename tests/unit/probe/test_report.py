"""The report holds no value: whatever replies, events and refusals hold, none of it is in there."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.api.shapes import SHAPES, declared
from dingbridge.dingtalk.error_codes import error_for, error_named
from dingbridge.doctor.findings import read_words
from dingbridge.events.envelope import Drift
from dingbridge.probe.judge import judge, judge_watched
from dingbridge.probe.lag import Lag, Watched
from dingbridge.probe.recorder import Reply
from dingbridge.probe.report import build, replaceable, write
from dingbridge.probe.run import Reading

WORDS = read_words("dingbridge.doctor") | read_words("dingbridge.probe")
SECRET = "密7q9"
"""Stands in every planted text; numbers are planted as ``NUMBER`` and digits of it."""
NUMBER = 918273645546372819

texts = st.sampled_from(["", "13800138000", "zhang.san@example.com", "{1:176}", "dingcorp"]).map(
    lambda text: SECRET + text
)
leaves = st.one_of(texts, st.just(NUMBER), st.booleans(), st.none(), st.just(float(NUMBER)))
names = st.one_of(texts, st.sampled_from(["result", "name", "list", "extension", "userid", "dept_id"]))
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
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
        st.dictionaries(names, anything, max_size=2),
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
