"""Every code that the probe knows is produced here, from replies and refusals, in both languages."""

import re
import string
from typing import Any

import pytest

from dingbridge.dingtalk import replies
from dingbridge.dingtalk.api.approvals import INSTANCES
from dingbridge.dingtalk.error_codes import error_for, error_named
from dingbridge.dingtalk.errors import ApiError, BudgetSpent, NoAddress
from dingbridge.doctor.findings import Finding, Level, found, printed, read_words
from dingbridge.events.envelope import Drift
from dingbridge.probe.judge import exit_code, judge, judge_watched
from dingbridge.probe.lag import Lag, Watched
from dingbridge.probe.recorder import Reply, name_of
from dingbridge.probe.report import build
from dingbridge.probe.run import Reading
from tests.support.documents import ROOT

OWN = read_words("dingbridge.probe")
WORDS = read_words("dingbridge.doctor") | OWN
USER = {"userid": "u1", "unionid": "x", "name": "甲"}
BUSINESS_ID = "202604161534000123456"
INSTANCE_ID = "aBcDeFgHiJkLmNoPqRsT_-04221776324877"
DETAIL = {
    "title": "t",
    "businessId": BUSINESS_ID,
    "originatorUserId": "u1",
    "originatorDeptId": "-1",
    "status": "COMPLETED",
    "result": "agree",
    "createTime": "2026-04-16T15:34Z",
}


def answered(api: str, body: Any, *, status: int = 200, of: Any = None) -> Reading:
    return Reading(api, ("address-sync",), (Reply(api, status, body, 0.01),), None, of)


def user(**fields: Any) -> list[Finding]:
    result = {name: value for name, value in (USER | fields).items() if value is not None}
    return judge([answered("v2/user/get", {"errcode": 0, "result": result})])


def detail(instance_id: str = INSTANCE_ID, **fields: Any) -> list[Finding]:
    return judge([answered(INSTANCES, {"result": DETAIL | fields, "success": True}, of=instance_id)])


def refused(error: ApiError | None, api: str = "v2/user/get") -> list[Finding]:
    assert error is not None
    return judge([Reading(api, ("address-sync",), (), error)])


def watched(*lags: Lag, left_out: int = 0, drift: str = "") -> list[Finding]:
    drifts = {"user_add_org": {Drift(drift, "userId")}} if drift else {}  # type: ignore[arg-type]
    return judge_watched(Watched(list(lags), left_out=left_out, drift=drifts))


CASES = {
    "read.ok": lambda: user(),
    "read.nothing": lambda: judge([Reading("v2/user/get", (), missing=True)]),
    "read.budget": lambda: refused(BudgetSpent("not called: 5 calls were announced", api=INSTANCES)),
    "read.fault": lambda: judge([Reading("role/list", ("address-sync",), fault="AttributeError")]),
    "shape.missing": lambda: user(unionid=None),
    "shape.type": lambda: user(dept_id_list="1,2"),
    "shape.loose": lambda: user(active="true"),
    "shape.value": lambda: detail(status="SUSPENDED"),
    "shape.unknown": lambda: user(dept_name=1),
    "listing.more": lambda: judge([answered("v2/user/list", {"errcode": 0, "result": {"list": []}})]),
    "department.id": lambda: judge(
        [
            answered(
                "v2/department/listsub",
                {"errcode": 0, "result": [{"dept_id": -1, "name": "x", "parent_id": 1}]},
            )
        ]
    ),
    "time.ok": detail,
    "time.z_true": lambda: detail(createTime="2026-04-16T07:34Z"),
    "time.form": lambda: detail(createTime="2026-04-16 15:34:05"),
    "time.id": lambda: detail(INSTANCE_ID.replace("1776324877", "1776324000")),
    "time.unclear": lambda: detail(createTime="2026-04-16T12:00Z"),
    "refusal.unknown": lambda: refused(error_for("v2/user/get", 987654, "张三")),
    "refusal.entity": lambda: refused(error_for("v2/user/get", 60121, "张三")),
    "api.permission": lambda: refused(error_for("v2/user/get", 88, "x", "60011")),
    "lag.ok": lambda: watched(Lag("user", "there", 0.0, 1)),
    "lag.none": watched,
    "lag.late": lambda: watched(Lag("user", "same", 10.0, 1)),
    "lag.never": lambda: watched(Lag("department", "gone", None, 1)),
    "lag.refused": lambda: watched(Lag("approval", "ended", None, 1, "noPermission")),
    "lag.left_out": lambda: watched(Lag("user", "there", 0.0, 1), left_out=3),
    "lag.kafka": lambda: [found("lag.kafka", reason="Kafka at broker:9092 does not answer")],
    "event.missing": lambda: watched(drift="missing"),
    "event.type": lambda: watched(drift="type"),
    "event.unknown": lambda: watched(drift="unknown_field"),
}


def test_there_is_a_case_for_every_code() -> None:
    assert OWN.keys() <= CASES.keys()


@pytest.mark.parametrize("page", ["probe.md", "probe.zh-CN.md"])
def test_the_guide_lists_every_code_and_no_other(page: str) -> None:
    text = (ROOT / "docs" / "guide" / page).read_text(encoding="utf-8")
    listed = re.findall(r"`((?:read|shape|listing|department|time|refusal|lag|event)\.[a-z_]+)`", text)
    assert sorted(listed) == sorted(OWN)


@pytest.mark.parametrize("code", CASES)
def test_the_code_is_produced_and_said_in_both_languages(code: str) -> None:
    [finding] = [one for one in CASES[code]() if one.code == code]
    for lang in ("en", "zh"):
        text = printed(finding, WORDS, lang)  # type: ignore[arg-type]
        assert "{" not in text
        assert "张三" not in text or code == "api.permission"
    names = [set(_named(texts)) for texts in (WORDS[code].en, WORDS[code].zh)]
    assert names[0] == names[1]
    if WORDS[code].level is not Level.OK:
        assert len(WORDS[code].en) == len(WORDS[code].zh) == 2


def _named(texts: tuple[str, ...]) -> list[str]:
    return [name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name]


def test_warnings_and_errors_make_the_exit_code_and_notes_do_not() -> None:
    assert exit_code(CASES["read.ok"](), WORDS) == 0
    assert exit_code(CASES["shape.unknown"](), WORDS) == 0
    assert exit_code(CASES["shape.loose"](), WORDS) == 1
    assert exit_code(CASES["shape.missing"](), WORDS) == 1


def test_a_refusal_of_the_new_api_is_looked_up_by_its_name() -> None:
    known = refused(error_named(INSTANCES, "processInstanceNotExist", "x"), INSTANCES)
    assert [finding.code for finding in known] == ["refusal.entity"]


def test_a_permission_that_two_calls_need_is_one_finding() -> None:
    error = error_named("x", "AccessTokenPermissionDenied", "[Workflow.Instance.Read]")
    [finding] = judge([Reading(name, (part,), (), error) for name, part in (("ids", "a"), (INSTANCES, "b"))])
    assert finding.code == "api.permission"
    assert (finding.values["api"], finding.values["parts"]) == (f"ids, {INSTANCES}", ["a", "b"])


@pytest.mark.parametrize(("status", "code"), [(503, "api.busy"), (429, "api.busy"), (400, "refusal.unknown")])
def test_a_code_that_nobody_knows_is_no_refusal_of_the_call_where_the_platform_is_in_trouble(
    status: int, code: str
) -> None:
    with pytest.raises(ApiError) as caught:
        replies.read(INSTANCES, status, b'{"code":"ServiceUnavailable","message":"x"}', new_api=True)
    assert [finding.code for finding in refused(caught.value, INSTANCES)] == [code]


def test_a_new_tokens_reply_is_judged_by_its_own_name() -> None:
    """Of a call that no table of ours has, and that was refused a right before."""
    token = Reply("gettoken", 200, {"errcode": 0, "access_token": "x", "expires_in": "7200"}, 0.01)
    reading = Reading("another/package", ("theirs",), (token, Reply("", 200, {"name": "张三"}, 0.01)))
    loose = [finding.values for finding in judge([reading]) if finding.code == "shape.loose"]
    assert [(one["api"], one["field"]) for one in loose] == [("gettoken", "expires_in")]
    calls = build([reading], [], WORDS, parts=[])["calls"]
    assert {api: call["requests"] for api, call in calls.items()} == {"gettoken": 1, "another/package": 1}


def test_a_file_of_no_bytes_is_no_refusal() -> None:
    assert refused(NoAddress("empty", api="x")) == []


@pytest.mark.parametrize("before", ["", "/behind/a/proxy"])
def test_a_reply_is_known_by_the_end_of_its_path_which_stays_out_where_it_is_not(before: str) -> None:
    paths = ("/topapi/v2/user/get", "/auth/scopes", "/call_back/get_call_back", f"/{INSTANCES}")
    assert [name_of(before + path) for path in paths] == [
        "v2/user/get",
        "auth/scopes",
        "get_call_back",
        INSTANCES,
    ]
    assert name_of(f"{before}/v1.0/todo/users/zhangsan/tasks") == ""
