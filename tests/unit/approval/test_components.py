"""A form's values by the type of their component."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.approval.archive.attachments import attachment_rows
from dingbridge.consumers.approval.archive.components import KINDS, kind_of, number_of, parse
from dingbridge.consumers.approval.archive.document import form_rows
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
