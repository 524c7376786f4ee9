"""The approval templates of the invented company, and how their forms are filled in.

A form value is always a string; those of complex controls are JSON inside that string, as DingTalk's form
components have it (get-details-single-approval-instance).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Any, Final

FormValue = dict[str, str]
OWN_NUMBER: Final = "外部单号"
"""The field of every template that is for another system's number of the request."""


@dataclass(frozen=True, slots=True)
class Template:
    """One approval template. ``steps`` is the number of approvers in turn; ``either`` adds a second one to
    the first step, of whom one is enough (an or-sign node)."""

    process_code: str
    title: str
    steps: int
    either: bool
    fill: Callable[[Random, date, tuple[str, str]], list[FormValue]]

    def fields(self) -> dict[str, FormValue]:
        """The form's fields by name, each with its ``component_type`` and ``id``: those that people fill in,
        and ``OWN_NUMBER``."""
        filled = [_field("TextField", 99, OWN_NUMBER, "")]
        for seed in range(8):  # some are filled in now and then only
            filled += self.fill(Random(seed), date(2024, 1, 1), ("", ""))  # noqa: S311 - looked at, not kept
        return {field["name"]: field for field in filled}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _field(component: str, number: int, name: str, value: str, ext_value: str | None = None) -> FormValue:
    form = {"id": f"{component}-{number:04X}", "name": name, "component_type": component, "value": value}
    if ext_value is not None:
        form["ext_value"] = ext_value
    return form


def _table(number: int, name: str, rows: list[dict[str, str]], total: str) -> FormValue:
    cells = [
        {
            "rowValue": [
                {"label": label, "value": value, "key": f"{number}-{label}"} for label, value in row.items()
            ]
        }
        for row in rows
    ]
    statistics = {"statValue": [{"label": total, "num": sum(float(r[total]) for r in rows)}]}
    return _field("TableField", number, name, _json(cells), _json(statistics))


def _attachment(rng: Random, number: int, name: str, file_name: str) -> FormValue:
    attached = {
        "spaceId": str(rng.randrange(10**9, 10**10)),
        "fileId": str(rng.randrange(10**10, 10**11)),
        "fileName": file_name,
        "fileSize": str(rng.randrange(10_000, 3_000_000)),
        "fileType": file_name.rpartition(".")[2],
    }
    return _field("DDAttachment", number, name, _json([attached]))


def _leave(rng: Random, today: date, who: tuple[str, str]) -> list[FormValue]:
    days = rng.choice((0.5, 1, 1, 2, 3, 5))
    start = today + timedelta(days=rng.randrange(1, 30))
    end = start + timedelta(days=max(0, int(days) - 1))
    kind = rng.choice(("年假", "年假", "事假", "病假", "调休", "婚假"))
    reason = rng.choice(
        ("家中有事", "身体不适，需要休息", "回老家探亲", "带孩子看病", "个人安排\n已与同事交接")
    )
    return [
        _field("DDSelectField", 1, "请假类型", kind),
        _field("DDDateField", 2, "开始时间", start.isoformat()),
        _field("DDDateField", 3, "结束时间", end.isoformat()),
        _field("NumberField", 4, "时长(天)", f"{days:g}"),
        _field("TextareaField", 5, "请假事由", reason),
    ]


def _expense(rng: Random, today: date, who: tuple[str, str]) -> list[FormValue]:
    rows = [
        {
            "费用类型": rng.choice(("交通", "住宿", "餐饮", "办公用品")),
            "发生日期": (today - timedelta(days=rng.randrange(1, 20))).isoformat(),
            "金额(元)": f"{rng.randrange(1_000, 200_000) / 100:.2f}",
            "备注": rng.choice(("", "客户说“再来一次”", "往返", "含税 6%")),
        }
        for _ in range(rng.randrange(1, 5))
    ]
    total = sum(float(row["金额(元)"]) for row in rows)
    span = sorted(row["发生日期"] for row in rows)
    return [
        _field("TextField", 1, "报销事由", rng.choice(("拜访客户", "参加展会", "部门团建", "出差"))),
        _field("DDDateRangeField", 2, '["开始日期","结束日期"]', _json([span[0], span[-1]])),
        _table(3, "报销明细", rows, "金额(元)"),
        _field("MoneyField", 4, "总金额(元)", f"{total:.2f}"),
        _attachment(rng, 5, "发票", "发票.pdf"),
    ]


def _purchase(rng: Random, today: date, who: tuple[str, str]) -> list[FormValue]:
    userid, name = who
    rows = [
        {
            "名称": rng.choice(("显示器", "笔记本电脑", "人体工学椅", "打印纸", "白板")),
            "数量": str(rng.randrange(1, 20)),
            "价格(元)": str(rng.randrange(20, 9_000)),
        }
        for _ in range(rng.randrange(1, 4))
    ]
    contact = _json([{"emplId": userid, "name": name, "avatar": ""}])
    filled = [
        _field("TextareaField", 1, "采购事由", rng.choice(("新员工入职", "设备更新", "日常补充"))),
        _field("DDSelectField", 2, "采购类型", rng.choice(("办公用品", "IT 设备"))),
        _field("DDDateField", 3, "期望交付日期", (today + timedelta(days=rng.randrange(3, 40))).isoformat()),
        _table(4, "采购明细", rows, "价格(元)"),
        _field("InnerContactField", 5, "收货人", name, contact),
    ]
    if rng.random() < 0.5:
        filled.append(_attachment(rng, 6, "报价单", "报价单.xlsx"))
    return filled


TEMPLATES: Final = {
    template.process_code: template
    for template in (
        Template("PROC-LEAVE", "请假申请", 1, False, _leave),
        Template("PROC-EXPENSE", "报销申请", 2, False, _expense),
        Template("PROC-PURCHASE", "采购申请", 1, True, _purchase),
    )
}
"""By process code."""
