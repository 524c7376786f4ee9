"""Events and the API's document as rows: joined, in any order, with anything absent."""

from datetime import UTC, date, datetime
from itertools import permutations
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.approval.archive.attachments import attachment_rows
from dingbridge.consumers.approval.archive.document import (
    clock_of,
    form_rows,
    instance_row,
    operation_rows,
    outcome,
    table_cells,
    with_event,
)
from dingbridge.consumers.approval.archive.tasks import comment_row, task_id, task_rows
from dingbridge.consumers.approval.archive.times import ApiClock, local_day, local_time
from dingbridge.snapshots.coerce import from_epoch_ms
from tests.unit.approval.office import Office, T, field

ZONE = ZoneInfo("Asia/Shanghai")


FINISH = {"finish": {"time": "2024-11-07T17:21:40.000+00:00", "data": {"type": "finish", "result": "agree"}}}


def test_the_event_gives_what_only_it_has_and_the_api_the_rest():
    data = {"processCode": "PROC-LEAVE", "url": "https://x/", "title": "事件里的题目", "staffId": "u9"}
    events = with_event(
        FINISH, "finish", "2024-11-07T17:21:41.000+00:00", data | {"finishTime": 1731000101000}
    )
    row = instance_row(events, Office().finish())
    assert (row["process_code"], row["url"]) == ("PROC-LEAVE", "https://x/")
    assert (row["title"], row["originator_userid"]) == ("张三提交的请假", "u001")
    assert row["outcome"] == "approved"
    assert row["started_at"] == datetime(2024, 11, 7, 17, 20, tzinfo=UTC)
    assert row["started_at_raw"] == "2024-11-08T01:20Z"
    assert row["finished_at"] == datetime(2024, 11, 7, 17, 21, 41, tzinfo=UTC)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "COMPLETED", "result": "agree"}, "approved"),
        ({"status": "COMPLETED", "result": "refuse"}, "refused"),
        ({"status": "COMPLETED"}, "finished"),
        ({"status": "TERMINATED", "result": ""}, "terminated"),
        ({"status": "RUNNING", "result": ""}, None),
        ({"status": "SUSPENDED", "result": "agree"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_outcome(document, expected):
    assert outcome(document) == expected


def test_form_values_keep_their_text_and_show_their_json():
    date_range = field('["开始日期","结束日期"]', '["2024-11-11","2024-11-12"]', "DDDateRangeField")
    rows = form_rows(
        {"formComponentValues": [field("请假事由", "[不是 JSON"), date_range, field("空", None)]}, ZONE
    )
    assert [(row["position"], row["value_json"]) for row in rows] == [
        (0, None),
        (1, '["2024-11-11","2024-11-12"]'),
        (2, None),
    ]
    assert rows[0]["value"] == "[不是 JSON"


@pytest.mark.parametrize(
    "value",
    [
        '[{"rowValue":[{"label":"名称","value":"笔","key":"k1","componentType":"TextField"},'
        '{"label":"数量","value":"2"}],"rowNumber":"r1"},{"rowValue":[{"label":"名称","value":"纸"}]}]',
        '[[{"name":"名称","value":"笔"},{"name":"数量","value":"2"}],[{"name":"名称","value":"纸"}]]',
    ],
)
def test_tables_become_cells(value):
    form = [field("事由", "x"), field("明细", value, "TableField")]
    text, table = form_rows({"formComponentValues": form}, ZONE)
    assert table_cells(text, ZONE) == []
    assert [[(cell["name"], cell["value"]) for cell in row] for row in table_cells(table, ZONE)] == [
        [("名称", "笔"), ("数量", "2")],
        [("名称", "纸")],
    ]


def test_attachments_are_no_table():
    attached = field("发票", '[{"fileId":"1","fileName":"a.pdf"}]', "DDAttachment")
    (row,) = form_rows({"formComponentValues": [attached]}, ZONE)
    assert table_cells(row, ZONE) == []


@pytest.mark.parametrize(
    ("text", "day", "moment"),
    [
        ("2024-11-08 10:00:30", date(2024, 11, 8), datetime(2024, 11, 8, 2, 0, 30, tzinfo=UTC)),
        ("2024-11-08 07:00", date(2024, 11, 8), datetime(2024, 11, 7, 23, tzinfo=UTC)),
        ("2024-11-08T20:00Z", date(2024, 11, 9), datetime(2024, 11, 8, 20, tzinfo=UTC)),
        ("2024-11-08T10:00:00.000+0900", date(2024, 11, 8), datetime(2024, 11, 8, 1, tzinfo=UTC)),
        ("2024/1/8", date(2024, 1, 8), None),
        ("2024-11-08 下午", date(2024, 11, 8), None),
        ("9999-12-31", date(9999, 12, 31), None),
        ("0001-01-01 00:00", None, None),
        ("2024-02-30", None, None),
        ("明天", None, None),
        (None, None, None),
        (1731000000000, None, None),
    ],
)
def test_local_days_and_times(text, day, moment):
    assert (local_day(text, ZONE), local_time(text, ZONE)) == (day, moment)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "value", "componentType", "rowValue", "date"]), inner)
    ),
    max_leaves=10,
)


FIELDS = [
    "status",
    "result",
    "createTime",
    "formComponentValues",
    "operationRecords",
    "tasks",
    "ccUserIds",
    "businessId",
]


@given(st.dictionaries(st.sampled_from(FIELDS), anything), st.dictionaries(st.text(), anything))
def test_no_document_and_no_event_is_too_odd(document, data):
    events = with_event({}, "finish", "t", data)
    clock = clock_of(events, document)
    instance_row(events, document)
    for row in form_rows(document, ZONE):
        table_cells(row, ZONE)
    operation_rows(document, clock)
    task_rows(document, {"1": events}, clock)
    attachment_rows(document, ZONE)


# -- Tasks of approvers, from their events and the document, whatever is known of them


API = {
    "taskId": 7,
    "userId": "u2",
    "status": "COMPLETED",
    "result": "AGREE",
    "createTime": "2024-11-08T01:20Z",
    "finishTime": "2024-11-08T01:21Z",
}


def told(*events):
    """The events of one task, each ``(kind, ms after its start, more)``."""
    known = {}
    for kind, after, more in events:
        data = {"type": kind, "taskId": 7, "staffId": "u2", "createTime": T, **more}
        if kind != "start":
            data.setdefault("finishTime", T + after)
        known = with_event(known, kind, from_epoch_ms(T + after).isoformat(timespec="milliseconds"), data)
    return {"7": known}


def row(events, document=None):
    ((id_, found),) = task_rows(document, events, ApiClock()).items()
    assert id_ == "7"
    return found


START = ("start", 0, {})


@pytest.mark.parametrize(
    ("events", "status", "result"),
    [
        ([START], "RUNNING", None),
        ([START, ("finish", 5, {"result": "agree"})], "COMPLETED", "AGREE"),
        ([START, ("finish", 5, {"result": "refuse", "remark": "不同意"})], "COMPLETED", "REFUSE"),
        ([START, ("finish", 5, {"result": "redirect"})], "COMPLETED", "REDIRECTED"),
        ([START, ("redirect", 5, {})], "COMPLETED", "REDIRECTED"),
        ([START, ("finish", 5, {"result": "audit"})], "COMPLETED", "AUDIT"),
        ([START, ("cancel", 5, {})], "CANCELED", None),
        # a start that is stamped later than its end does not open the task again
        ([("start", 9, {}), ("finish", 5, {"result": "agree"})], "COMPLETED", "AGREE"),
        ([("finish", 5, {"result": "agree"})], "COMPLETED", "AGREE"),
    ],
)
def test_a_task_is_what_its_events_say_in_any_order(events, status, result):
    rows = [row(told(*order)) for order in permutations([*events, events[0]])]
    assert all(found == rows[0] for found in rows)
    assert (rows[0]["status"], rows[0]["result"], rows[0]["userid"]) == (status, result, "u2")
    assert (rows[0]["finished_at"] is None) == (status == "RUNNING")
    assert rows[0]["remark"] == events[-1][2].get("remark")


def test_the_document_has_the_last_word_unless_it_lags():
    agreed = told(START, ("finish", 5, {"result": "agree"}))
    refused = {"tasks": [{**API, "result": "REFUSE"}]}
    assert row(agreed, refused)["result"] == "REFUSE"
    lagging = {"tasks": [{**API, "status": "RUNNING", "result": "NONE", "finishTime": None}]}
    assert (row(agreed, lagging)["status"], row(agreed, lagging)["result"]) == ("COMPLETED", "AGREE")
    assert row({}, lagging)["status"] == "RUNNING"


def test_tasks_of_the_document_and_of_events_stand_side_by_side():
    document = {"tasks": [{**API, "taskId": 8}, {"userId": "u9"}]}
    rows = task_rows(document, told(START), ApiClock())
    assert {id_: found["userid"] for id_, found in rows.items()} == {"7": "u2", "8": "u2", "#1": "u9"}


def test_a_comment_is_no_task_and_known_by_what_it_says():
    comment = {"type": "comment", "staffId": "u3", "createTime": T, "content": "好"}
    assert task_id(comment) is None
    assert task_id({"taskId": 61056035232}) == "61056035232"
    first, same, other = (
        comment_row(data) for data in (comment, dict(comment), {**comment, "createTime": T + 1})
    )
    assert first == same
    assert first["comment_id"] != other["comment_id"]
    assert (first["userid"], first["content"], first["commented_at"]) == ("u3", "好", from_epoch_ms(T))
