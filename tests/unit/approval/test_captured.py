"""Documents and form values as they were captured, rewritten: no name, id or value is anybody's.

The document is one of 2026-04, the form values are of 2021-07 and 2022-06.
"""

import json
from zoneinfo import ZoneInfo

import pytest

from dingbridge import Reject
from dingbridge.consumers.approval.actions import Form
from dingbridge.consumers.approval.archive.attachments import attachment_rows
from dingbridge.consumers.approval.archive.document import (
    cell_rows,
    clock_of,
    form_rows,
    instance_row,
    operation_rows,
)
from dingbridge.consumers.approval.archive.export import cell_text
from dingbridge.consumers.approval.archive.tasks import task_rows

ZONE = ZoneInfo("America/Mexico_City")
"""Forms are filled in there; the API's times are China's all the same."""
PEOPLE = (
    '[{"nick":"甲","orgUserName":"甲","emplId":"012345678901234567","name":"甲","avatar":""},'
    '{"nick":"乙","orgUserName":"乙","emplId":"012345678901234568","name":"乙","avatar":""}]'
)
RUNNING = {
    "attachedProcessInstanceIds": [],
    "bizAction": "NONE",
    "bizData": "{}",
    "businessId": "202604161534000123456",
    "createTime": "2026-04-16T15:34Z",
    "formComponentValues": [
        {
            "componentType": "DDSelectField",
            "extValue": '{"label":"选项2","key":"option_1"}',
            "id": "DDSelectField-JZ9IZXWF",
            "name": "内容",
            "value": "选项2",
        },
        {
            "componentType": "InnerContactField",
            "extValue": PEOPLE,
            "id": "InnerContactField-JZ9IZXWG",
            "name": "人员",
            "value": "甲,乙",
        },
    ],
    "operationRecords": [
        {
            "date": "2026-04-16T15:34Z",
            "images": [],
            "result": "NONE",
            "showName": "提交申请",
            "type": "START_PROCESS_INSTANCE",
            "userId": "012345678901234567",
        }
    ],
    "originatorDeptId": "-1",
    "originatorDeptName": "公司",
    "originatorUserId": "012345678901234567",
    "result": "",
    "status": "RUNNING",
    "tasks": [
        {
            "activityId": "sid-1234_5678",
            "createTime": "2026-04-16T15:34Z",
            "mobileUrl": "aflow.dingtalk.com?procInsId=x&taskId=100468167919&businessId=2026",
            "pcUrl": "aflow.dingtalk.com?procInsId=x&taskId=100468167919&businessId=2026",
            "result": "NONE",
            "status": "RUNNING",
            "taskId": 100468167919,
            "userId": "012345678901234568",
        }
    ],
    "title": "甲提交的申请",
}
AT = "2026-04-16T07:34:00+00:00"


def test_a_captured_document_is_archived_whole():
    row = instance_row({}, RUNNING, "PROC-A")
    assert (row["process_code"], row["outcome"], row["status"], row["result"]) == (
        "PROC-A",
        None,
        "RUNNING",
        "",
    )
    assert (row["started_at"].isoformat(), row["finished_at"], row["true_utc"]) == (AT, None, False)
    assert (row["originator_dept_id"], row["biz_action"], row["biz_data"]) == ("-1", "NONE", "{}")
    assert (row["attached_instance_ids"], row["main_instance_id"]) == ("[]", None)
    # absent is not empty
    assert (row["approver_userids"], row["cc_userids"]) == (None, None)
    (record,) = operation_rows(RUNNING, clock_of({}, RUNNING))
    assert (record["operated_at"].isoformat(), record["show_name"]) == (AT, "提交申请")
    assert (record["operation_result"], record["images"], record["cc_userids"]) == ("NONE", "[]", None)
    ((id_, task),) = task_rows(RUNNING, {}, clock_of({}, RUNNING)).items()
    assert (id_, task["position"], task["status"], task["result"]) == ("100468167919", 0, "RUNNING", "NONE")
    assert (task["started_at"].isoformat(), task["activity_id"]) == (AT, "sid-1234_5678")
    assert task["pc_url"].startswith("aflow.dingtalk.com?")
    choice, people = form_rows(RUNNING, ZONE)
    assert (choice["value"], json.loads(choice["ext_value"])["key"]) == ("选项2", "option_1")
    assert [person["userid"][-1] for person in json.loads(people["value_json"])] == ["7", "8"]


def test_what_is_not_known_stays_as_it_came():
    odd = {
        "operationRecords": [{"type": "EXECUTE_TASK_TRANSFER", "result": "BACK", "date": "soon"}],
        "tasks": [{"taskId": 5, "status": "SLEEPING", "result": "MAYBE"}],
    }
    (record,) = operation_rows(odd, clock_of({}, odd))
    assert (record["operation_type"], record["operation_result"]) == ("EXECUTE_TASK_TRANSFER", "BACK")
    assert (record["operated_at"], record["operated_at_raw"]) == (None, "soon")
    (task,) = task_rows(odd, {}, clock_of({}, odd)).values()
    assert (task["status"], task["result"]) == ("SLEEPING", "MAYBE")


def table(value, **more):
    return {"id": "TableField_X", "componentType": "TableField", "name": "明细", "value": value, **more}


FILLED = (
    '[{"rowValue":[{"componentType":"NumberField","label":"数量","value":"1","key":"NumberField_X"},'
    '{"componentType":"DDSelectField","label":"种类","extendValue":{"label":"笔","key":"option_0"},'
    '"value":"笔","key":"DDSelectField_Y"},'
    '{"label":"照片","value":"[\\"https://static.dingtalk.com/1.png\\"]","key":"DDPhotoField_Z"},'
    '{"label":"备注","value":"null","key":"TextareaField_W"}],"rowNumber":"TableField_X_Y"}]'
)
COLUMNS = (
    '[{"componentName":"NumberField","componentType":"NumberField","props":{"id":"NumberField_X",'
    '"label":"数量","required":true}},{"componentName":"TextField","props":{"id":"TextField_Y","label":"备注"}}]'
)


def test_a_table_with_a_row_has_cells_by_their_type_also_where_they_name_none():
    document = {
        "formComponentValues": [table(FILLED, extValue='{"statValue":[],"componentName":"TableField"}')]
    }
    cells = cell_rows(document, ZONE)
    assert [cell["kind"] for cell in cells] == ["number", "select", "photo", "text"]
    assert (cells[0]["number"], json.loads(cells[1]["ext_value"])["key"]) == (1, "option_0")
    assert json.loads(cells[2]["value_json"]) == ["https://static.dingtalk.com/1.png"]
    ((id_, photo),) = attachment_rows(document, ZONE).items()
    assert (id_[:6], photo["field_name"], photo["url"][-5:]) == ("photo:", "明细.照片", "1.png")
    form = Form(document["formComponentValues"], ZONE)
    assert form.table("明细") == [
        {"数量": "1", "种类": "笔", "照片": '["https://static.dingtalk.com/1.png"]', "备注": None}
    ]


def test_a_table_without_a_row_says_its_columns_and_has_no_cell():
    document = {"formComponentValues": [table(COLUMNS)]}
    assert cell_rows(document, ZONE) == []
    assert attachment_rows(document, ZONE) == {}
    (row,) = form_rows(document, ZONE)
    assert json.loads(row["value_json"]) == {
        "columns": [
            {"field_id": "NumberField_X", "name": "数量", "component_type": "NumberField"},
            {"field_id": "TextField_Y", "name": "备注", "component_type": "TextField"},
        ]
    }
    assert (row["value"], cell_text(row)) == (COLUMNS, "")
    form = Form(document["formComponentValues"], ZONE)
    assert (form.table("明细"), form.get("明细", "none")) == ([], "none")


def test_the_text_null_is_empty():
    empty = {"id": "TextareaField-1", "componentType": "TextareaField", "name": "备注", "value": "null"}
    form = Form([empty], ZONE)
    assert (form.get("备注"), form.get("备注", "-"), "备注" in form) == (None, "-", True)
    with pytest.raises(Reject):
        form["备注"]
    (row,) = form_rows({"formComponentValues": [empty]}, ZONE)
    assert (row["value"], row["value_json"], cell_text(row)) == ("null", None, "")


def test_an_alias_for_programs_is_kept():
    field = {
        "id": "TextField-1",
        "componentType": "TextField",
        "name": "单号",
        "value": "7",
        "bizAlias": "no",
    }
    (row,) = form_rows({"formComponentValues": [field]}, ZONE)
    assert row["biz_alias"] == "no"
