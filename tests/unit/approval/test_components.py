"""A form's values by the type of their component."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge import Reject
from dingbridge.consumers.approval.actions import Form
from dingbridge.consumers.approval.archive.attachments import attachment_rows
from dingbridge.consumers.approval.archive.components import KINDS, kind_of, number_of, parse
from dingbridge.consumers.approval.archive.document import (
    clock_of,
    form_rows,
    instance_row,
    operation_rows,
    table_cells,
)
from dingbridge.consumers.approval.archive.export import cell_text
from dingbridge.consumers.approval.archive.tasks import task_rows
from tests.unit.approval.office import field

ZONE = ZoneInfo("Asia/Shanghai")


def value(component, text, ext=None):
    return parse(kind_of(component), text, ext, ZONE)


@pytest.mark.parametrize(
    ("component", "text", "number"),
    [
        ("NumberField", "2", Decimal(2)),
        ("NumberField", "-0.50", Decimal("-0.50")),
        ("MoneyField", "1,234,567.89", Decimal("1234567.89")),
        ("MoneyField", "十元", None),
        ("NumberField", "1e5", None),
        ("NumberField", "９", None),
        ("NumberField", "9" * 40, None),
        ("CalculateField", "3.", Decimal(3)),
        ("TextField", "12", None),
    ],
)
def test_numbers_are_numbers_where_the_component_says_so(component, text, number):
    parsed = value(component, text)
    assert (parsed.number, parsed.text) == (number, text)


def test_a_day_is_a_day_and_only_a_time_is_a_point_in_time():
    day = value("DDDateField", "2024-11-08")
    assert (day.starts_on, day.ends_on) == (date(2024, 11, 8), date(2024, 11, 8))
    assert (day.starts_at, day.ends_at) == (None, None)
    span = value("DDDateRangeField", '["2024-11-08 00:30","2024-11-09 18:00","1.5","天"]')
    assert (span.starts_on, span.ends_on) == (date(2024, 11, 8), date(2024, 11, 9))
    assert span.starts_at == datetime(2024, 11, 7, 16, 30, tzinfo=UTC)
    assert span.ends_at == datetime(2024, 11, 9, 10, tzinfo=UTC)
    assert span.number == Decimal("1.5")
    leave = value("DDHolidayField", '["2024-11-08 上午","2024-11-08 下午","1","day","年假","请假类型"]')
    assert (leave.starts_on, leave.ends_on) == (date(2024, 11, 8), date(2024, 11, 8))
    assert (leave.starts_at, leave.ends_at) == (None, None)
    assert leave.json["leave_type"] == "年假"


@pytest.mark.parametrize(
    ("component", "text", "ext", "expected"),
    [
        ("DDMultiSelectField", '["红","蓝"]', None, ["红", "蓝"]),
        ("DDMultiSelectField", "红", None, ["红"]),
        (
            "InnerContactField",
            "张三",
            '[{"emplId":"u1","name":"张三","avatar":""}]',
            [{"userid": "u1", "name": "张三"}],
        ),
        (
            "InnerContactField",
            '["张三","李四"]',
            None,
            [{"userid": None, "name": "张三"}, {"userid": None, "name": "李四"}],
        ),
        (
            "DepartmentField",
            "研发部",
            '[{"id":"433","name":"研发部"}]',
            [{"dept_id": "433", "name": "研发部"}],
        ),
        (
            "RelateField",
            '["pi-0"]',
            '{"list":[{"procInstId":"pi-0","title":"出差"}]}',
            [{"instance_id": "pi-0", "business_id": None, "title": "出差"}],
        ),
        ("DDPhotoField", '["https://x/1.png"]', None, ["https://x/1.png"]),
        (
            "DDAttachment",
            '[{"spaceId":"1","fileId":"9","fileName":"a.pdf","fileSize":"3","fileType":"pdf"}]',
            None,
            [{"file_id": "9", "file_name": "a.pdf", "file_type": "pdf", "file_size": 3, "space_id": "1"}],
        ),
    ],
)
def test_lists_have_one_shape_for_each_kind(component, text, ext, expected):
    assert value(component, text, ext).json == expected


def test_a_component_that_is_not_known_keeps_its_text_and_its_json():
    plain, nested = value("SomethingNew", "x"), value("SomethingNew", '{"a": "[1]"}')
    assert (plain.kind, plain.text, plain.json) == ("unknown", "x", None)
    assert (nested.kind, nested.text, nested.json) == ("unknown", '{"a": "[1]"}', {"a": "[1]"})
    (row,) = form_rows({"formComponentValues": [field("新", '{"a": 1}', "SomethingNew")]}, ZONE)
    assert (row["component_type"], row["value_json"]) == ("SomethingNew", '{"a":1}')
    assert value("SomethingNew", '{"a": NaN}').json is None


def test_a_component_without_a_type_is_known_by_its_id():
    assert kind_of(None, "DDDateField-J8MTJZVE") == "date"
    assert kind_of(None, "MoneyField_1") == "money"
    assert kind_of(None, None) == "unknown"


@pytest.mark.parametrize("text", [None, "", " ", "null"])
@pytest.mark.parametrize("component", ["DDPhotoField", "InnerContactField", "DDDateField", "NumberField"])
def test_what_was_not_filled_in_is_empty(component, text):
    parsed = value(component, text)
    assert parsed.empty
    assert (parsed.number, parsed.starts_on, parsed.json) == (None, None, None)


def test_files_of_records_are_downloaded_like_those_of_the_form():
    document = {
        "formComponentValues": [field("发票", '[{"fileId":"7","fileName":"a.pdf"}]', "DDAttachment")],
        "operationRecords": [
            {
                "attachments": [
                    {"fileId": "8", "fileName": "c.pdf", "fileSize": "12", "fileType": "pdf", "spaceId": "1"},
                    {"fileId": "7", "fileName": "a.pdf"},
                ]
            },
            {"type": "ADD_REMARK"},
        ],
    }
    rows = attachment_rows(document, ZONE)
    assert {id_: (row["kind"], row["state"]) for id_, row in rows.items()} == {
        "file:7": ("file", "waiting"),
        "file:8": ("record", "waiting"),
    }
    assert (rows["file:8"]["file_name"], rows["file:8"]["file_size"]) == ("c.pdf", 12)


values = st.none() | st.text() | st.integers() | st.lists(st.text(), max_size=4).map(json.dumps)


@given(st.sampled_from([*KINDS, "Other", ""]), values, values)
def test_no_value_is_too_odd(component, text, ext):
    parsed = value(component, text, ext)
    columns = parsed.columns()
    assert columns["kind"] in {*KINDS.values(), "unknown"}
    if text is not None:
        assert columns["value"] == parsed.text


@given(st.text())
def test_a_number_is_found_in_any_text_or_none_is(text):
    number = number_of(text)
    assert number is None or number.is_finite()


# -- Documents and form values as they were captured, rewritten: no name, id or value is anybody's


AMERICA = ZoneInfo("America/Mexico_City")
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
    choice, people = form_rows(RUNNING, AMERICA)
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
    (row,) = form_rows(document, AMERICA)
    (cells,) = table_cells(row, AMERICA)
    assert [cell["kind"] for cell in cells] == ["number", "select", "photo", "text"]
    assert (cells[0]["number"], json.loads(cells[1]["ext_value"])["key"]) == (1, "option_0")
    assert json.loads(cells[2]["value_json"]) == ["https://static.dingtalk.com/1.png"]
    ((id_, photo),) = attachment_rows(document, AMERICA).items()
    assert (id_[:6], photo["field_name"], photo["url"][-5:]) == ("photo:", "明细.照片", "1.png")
    form = Form(document["formComponentValues"], AMERICA)
    assert form.table("明细") == [
        {"数量": "1", "种类": "笔", "照片": '["https://static.dingtalk.com/1.png"]', "备注": None}
    ]


def test_a_table_without_a_row_says_its_columns_and_has_no_cell():
    document = {"formComponentValues": [table(COLUMNS)]}
    (row,) = form_rows(document, AMERICA)
    assert table_cells(row, AMERICA) == []
    assert attachment_rows(document, AMERICA) == {}
    assert json.loads(row["value_json"]) == {
        "columns": [
            {"field_id": "NumberField_X", "name": "数量", "component_type": "NumberField"},
            {"field_id": "TextField_Y", "name": "备注", "component_type": "TextField"},
        ]
    }
    assert (row["value"], cell_text(row)) == (COLUMNS, "")
    form = Form(document["formComponentValues"], AMERICA)
    assert (form.table("明细"), form.get("明细", "none")) == ([], "none")


def test_the_text_null_is_empty():
    empty = {"id": "TextareaField-1", "componentType": "TextareaField", "name": "备注", "value": "null"}
    form = Form([empty], AMERICA)
    assert (form.get("备注"), form.get("备注", "-"), "备注" in form) == (None, "-", True)
    with pytest.raises(Reject):
        form["备注"]
    (row,) = form_rows({"formComponentValues": [empty]}, AMERICA)
    assert (row["value"], row["value_json"], cell_text(row)) == ("null", None, "")


def test_an_alias_for_programs_is_kept():
    field = {
        "id": "TextField-1",
        "componentType": "TextField",
        "name": "单号",
        "value": "7",
        "bizAlias": "no",
    }
    (row,) = form_rows({"formComponentValues": [field]}, AMERICA)
    assert row["biz_alias"] == "no"
