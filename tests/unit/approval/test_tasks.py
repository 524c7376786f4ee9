"""Tasks of approvers, from their events and the document, whatever is known of them."""

from itertools import permutations

import pytest

from dingbridge.consumers.approval.archive.document import with_event
from dingbridge.consumers.approval.archive.tasks import comment_row, task_id, task_rows
from dingbridge.consumers.approval.archive.times import ApiClock
from dingbridge.snapshots.coerce import from_epoch_ms
from tests.unit.approval.office import T

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
