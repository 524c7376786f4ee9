"""Actions: how they are registered and found, and what a form gives them."""

from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from dingbridge import Reject
from dingbridge.consumers.approval import Approval, examples
from dingbridge.consumers.approval.actions.declaration import Action, Form, load_actions
from dingbridge.errors import SettingsError
from dingbridge.testing.memory import MemoryRuntime
from tests.unit.approval.office import deliver, field, instance

ZONE = ZoneInfo("Asia/Shanghai")


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


HEAD = "from dingbridge.consumers.approval.actions import Approved, action\n"


def test_the_default_module_knows_leave():
    assert load_actions("dingbridge.consumers.approval.examples") == {
        "PROC-LEAVE": Action(examples.record_leave, examples.forget_leave)
    }


def test_a_file_may_hold_actions_and_pick_others(tmp_path):
    where = write(
        tmp_path / "ours.py",
        HEAD + "from dingbridge.consumers.approval.examples import record_leave\n"
        "@action('PROC-A', 'PROC-B')\nasync def ours(approval: Approved, tx): ...\n",
    )
    actions = load_actions(where)
    assert sorted(actions) == ["PROC-A", "PROC-B", "PROC-LEAVE"]
    assert actions["PROC-A"] == actions["PROC-B"]
    assert actions["PROC-A"].undo is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import no_such_module_at_all\n", "ModuleNotFoundError"),
        ("def broken(:\n", "SyntaxError"),
        (HEAD + "@action('PROC-A')\ndef not_async(approval, tx): ...\n", "must be an async def"),
        (HEAD + "@action()\nasync def nameless(approval, tx): ...\n", "process code"),
        (HEAD + "@action\nasync def bare(approval, tx): ...\n", "process code"),
        (
            HEAD
            + "@action('PROC-A')\nasync def one(approval, tx): ...\n"
            + "@action('PROC-A')\nasync def two(approval, tx): ...\n",
            "two actions for PROC-A",
        ),
    ],
)
def test_a_module_that_cannot_work_is_refused_in_words(tmp_path, text, words):
    with pytest.raises(SettingsError, match="APPROVAL_ACTIONS") as caught:
        load_actions(write(tmp_path / "faulty.py", text))
    assert words in str(caught.value)


@pytest.mark.parametrize("where", ["no.such.module", "/no/such/file.py"])
def test_a_module_that_is_not_there_is_refused_in_words(where):
    with pytest.raises(SettingsError, match="APPROVAL_ACTIONS"):
        load_actions(where)


def test_a_form_is_read_by_the_names_that_people_see():
    form = Form(
        [
            field("请假类型", "年假"),
            field('["开始日期","结束日期"]', '["2024-11-11","2024-11-12"]', "DDDateRangeField"),
            field("明细", '[{"rowValue":[{"label":"名称","value":"笔"}]}]', "TableField"),
            field("时刻", "2024-11-11 09:00"),
            field("金额", "12345678901234567.89"),
            field("备注", ""),
            "no field",
        ],
        ZONE,
    )
    assert form["请假类型"] == "年假"
    assert form["结束日期"] == "2024-11-12"
    assert form.day("结束日期") == date(2024, 11, 12)
    assert form.time("时刻") == datetime(2024, 11, 11, 1, tzinfo=UTC)
    assert form.number("金额") == Decimal("12345678901234567.89")
    assert form.table("明细") == [{"名称": "笔"}]
    assert form.table("没有") == []
    assert (form.get("备注"), form.get("没有"), form.get("没有", "x")) == ("", None, "x")
    assert "备注" in form
    assert "没有" not in form
    assert next(iter(form)) == "请假类型"


BY_NAME = {
    "[]": lambda form: form["金额"],
    "get": lambda form: form.get("金额"),
    "number": lambda form: form.number("金额"),
    "day": lambda form: form.day("金额"),
    "time": lambda form: form.time("金额"),
    "parsed": lambda form: form.parsed("金额"),
    "table": lambda form: form.table("金额"),
}


@pytest.mark.parametrize("read", BY_NAME.values(), ids=BY_NAME)
def test_two_fields_of_one_name_with_two_values_are_no_value(read):
    form = Form([field("金额", "100", bizAlias="net"), field("金额", "99999", bizAlias="gross")], ZONE)
    with pytest.raises(Reject, match="two different values") as caught:
        read(form)
    assert "99999" not in caught.value.reason
    assert (form.alias("net"), form.alias("gross")) == ("100", "99999")


@pytest.mark.parametrize("other", ["100", "", None, "null"])
def test_an_equal_or_empty_field_of_the_same_name_changes_nothing(other):
    for values in (["100", other], [other, "100"]):
        form = Form([field("金额", value) for value in values], ZONE)
        assert (form["金额"], form.get("金额"), form.number("金额")) == ("100", "100", 100)
        assert form.parsed("金额").text == "100"


def test_a_field_is_read_by_its_name_for_programs():
    form = Form([field("金额", "100", bizAlias="amount"), field("备注", " ", bizAlias="note")], ZONE)
    assert form.alias("amount") == "100"
    for absent in ("金额", "note"):
        with pytest.raises(Reject, match=f"no value for the alias {absent!r}"):
            form.alias(absent)


@pytest.mark.parametrize(
    "read",
    [
        lambda form: form["没有"],
        lambda form: form["空"],
        lambda form: form.day("字"),
        lambda form: form.time("日"),
        lambda form: form.number("字"),
        lambda form: form.number("无穷"),
    ],
)
def test_what_a_form_does_not_give_rejects_it_without_its_values(read):
    values = {"空": " ", "字": "秘密", "日": "2024-11-08", "无穷": "inf"}
    form = Form([field(*value) for value in values.items()], ZONE)
    with pytest.raises(Reject) as caught:
        read(form)
    assert "秘密" not in caught.value.reason


async def test_a_module_of_ones_own_brings_its_tables(office, tmp_path, monkeypatch):
    module = tmp_path / "our_actions.py"
    module.write_text(
        "from sqlalchemy import Column, Table, Text, insert\n"
        "from dingbridge.consumers.approval.actions import Approved, action\n"
        "from dingbridge.consumers.approval.tables import metadata\n"
        "trips = Table('trips_of_a_test', metadata, Column('instance_id', Text, primary_key=True))\n"
        "@action('PROC-TRIP')\n"
        "async def trip(approval: Approved, tx):\n"
        "    await tx.execute(insert(trips).values(instance_id=approval.instance_id))\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("APPROVAL_ACTIONS", str(module))
    office.finish()
    consumer = Approval()
    assert consumer.metadata is not None
    trips = consumer.metadata.tables["trips_of_a_test"]
    try:
        async with MemoryRuntime(consumer, dingtalk=office) as archive:
            await deliver(archive, instance("finish", processCode="PROC-TRIP"))
            assert await archive.rows(select(trips)) == [("pi-1",)]
    finally:
        consumer.metadata.remove(trips)
