"""The approval templates of the invented company, and how their forms are filled in.

A form value is always a string; those of complex controls are JSON inside that string, in the forms that were
captured: a text area left empty is the four letters ``null``, a details table in which no row was filled in
shows its columns' definitions and has no ``extValue``, a cell's is called ``extendValue``, and cells of plain
texts and photos do not say what they are.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any, Final

FormValue = dict[str, str]
Related = tuple[str, str, str]
"""Title, businessId and processInstanceId of an approval that a form refers to."""
Columns = Mapping[str, str]
"""The columns of a details table: label and component."""
OWN_NUMBER: Final = "外部单号"
"""The field of every template that is for another system's number of the request."""


@dataclass(frozen=True, slots=True)
class Template:
    """One approval template. ``steps`` is the number of approvers in turn; ``either`` adds a second one to
    the first step, of whom one is enough (an or-sign node). ``tables``: columns by their field's name."""

    process_code: str
    title: str
    steps: int
    either: bool
    fill: Callable[[Random, date, tuple[str, str], Sequence[Related]], list[FormValue]]
    tables: Mapping[str, Columns] = field(default_factory=dict)

    def fields(self) -> dict[str, FormValue]:
        """The form's fields by name, each with its ``componentType`` and ``id``: those that people fill in,
        and ``OWN_NUMBER``."""
        filled = [_field("TextField", 99, OWN_NUMBER, "")]
        for seed in range(16):  # some are filled in now and then only
            rng = Random(seed)  # noqa: S311 - looked at, not kept
            filled += self.fill(rng, date(2024, 1, 1), ("", ""), [("", "", "")])
        return {field["name"]: field for field in filled}

    def items(self) -> list[dict[str, Any]]:
        """The form's components (``schemaContent.items`` of obtain-the-form-schema)."""
        shown: list[dict[str, Any]] = []
        for name, known in self.fields().items():
            props = {"id": known["id"], "label": name, "required": name != OWN_NUMBER}
            if alias := known.get("bizAlias"):
                props["bizAlias"] = alias
            shown.append({"componentName": known["componentType"], "props": props})
            if name in self.tables:
                shown[-1]["children"] = _definitions(self.tables[name])
        return shown


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _field(component: str, number: int, name: str, value: str, ext_value: str | None = None) -> FormValue:
    form = {"componentType": component, "id": f"{component}-{number:04X}", "name": name, "value": value}
    if ext_value is not None:
        form["extValue"] = ext_value
    return form


def _area(number: int, name: str, value: str) -> FormValue:
    return _field("TextareaField", number, name, value or "null")


def _choice(value: str, options: Sequence[str]) -> dict[str, str]:
    return {"label": value, "key": f"option_{options.index(value)}"}


def _select(number: int, name: str, value: str, options: Sequence[str]) -> FormValue:
    return _field("DDSelectField", number, name, value, _json(_choice(value, options)))


def _key(component: str, label: str) -> str:
    return f"{component}_{sum(label.encode()):X}"


def _definitions(columns: Columns) -> list[dict[str, Any]]:
    return [
        {
            "componentName": component,
            "componentType": component,
            "props": {"id": _key(component, label), "label": label, "required": False},
        }
        for label, component in columns.items()
    ]


def _table(
    number: int, name: str, columns: Columns, rows: list[dict[str, str]], total: str | None = None
) -> FormValue:
    if not rows:
        return _field("TableField", number, name, _json(_definitions(columns)))
    value = []
    for place, row in enumerate(rows):
        cells = []
        for label, component in columns.items():
            cell: dict[str, Any] = {"label": label, "value": row[label], "key": _key(component, label)}
            if component not in ("TextField", "DDPhotoField"):
                cell = {"componentType": component} | cell
            if component == "DDSelectField":
                cell["extendValue"] = _choice(row[label], _EXPENSES)
            cells.append(cell)
        value.append({"rowValue": cells, "rowNumber": f"TableField_{number:04X}_{place:X}"})
    statistics = [{"label": total, "num": sum(float(row[total]) for row in rows)}] if total else []
    extended = {"statValue": statistics, "componentName": "TableField"}
    return _field("TableField", number, name, _json(value), _json(extended))


def _attachment(rng: Random, number: int, name: str, file_name: str) -> FormValue:
    attached = {
        "spaceId": str(rng.randrange(10**9, 10**10)),
        "fileName": file_name,
        "fileSize": rng.randrange(10_000, 3_000_000),
        "fileType": file_name.rpartition(".")[2],
        "fileId": str(rng.randrange(10**10, 10**11)),
    }
    return _field("DDAttachment", number, name, _json([attached]))


def _relate(number: int, related: Related) -> FormValue:
    title, business_id, instance_id = related
    extended = _json({"list": [{"businessId": business_id, "procInstId": instance_id}]})
    return _field("RelateField", number, "关联审批单", title, extended)


_LEAVES: Final = ("年假", "事假", "病假", "调休", "婚假")
_EXPENSES: Final = ("交通", "住宿", "餐饮", "办公用品")
_PURCHASES: Final = ("办公用品", "IT 设备")
_SHOPS: Final = ("线上", "线下", "协议供应商")
_EXPENSE_COLUMNS: Final = {
    "费用类型": "DDSelectField",
    "发生日期": "DDDateField",
    "金额(元)": "MoneyField",
    "备注": "TextField",
}
_PURCHASE_COLUMNS: Final = {"名称": "TextField", "数量": "NumberField", "价格(元)": "MoneyField"}
_SEAL_COLUMNS: Final = {"文件名称": "TextField", "份数": "NumberField", "照片": "DDPhotoField"}


def _leave(rng: Random, today: date, who: tuple[str, str], related: Sequence[Related]) -> list[FormValue]:
    days = rng.choice((0.5, 1, 1, 2, 3, 5))
    start = today + timedelta(days=rng.randrange(1, 30))
    end = start + timedelta(days=max(0, int(days) - 1))
    kind = rng.choice(("年假", *_LEAVES))
    reason = rng.choice(
        ("家中有事", "身体不适，需要休息", "回老家探亲", "带孩子看病", "个人安排\n已与同事交接", "")
    )
    return [
        _select(1, "请假类型", kind, _LEAVES),
        _field("DDDateField", 2, "开始时间", start.isoformat()),
        _field("DDDateField", 3, "结束时间", end.isoformat()),
        _field("NumberField", 4, "时长(天)", f"{days:g}"),
        _area(5, "请假事由", reason),
    ]


def _expense(rng: Random, today: date, who: tuple[str, str], related: Sequence[Related]) -> list[FormValue]:
    rows = [
        {
            "费用类型": rng.choice(_EXPENSES),
            "发生日期": (today - timedelta(days=rng.randrange(1, 20))).isoformat(),
            "金额(元)": f"{rng.randrange(1_000, 200_000) / 100:.2f}",
            "备注": rng.choice(("", "客户说“再来一次”", "往返", "含税 6%")),
        }
        for _ in range(rng.randrange(1, 5))
    ]
    total = sum(float(row["金额(元)"]) for row in rows)
    span = sorted(row["发生日期"] for row in rows)
    filled = [
        _field("TextField", 1, "报销事由", rng.choice(("拜访客户", "参加展会", "部门团建", "出差"))),
        _field("DDDateRangeField", 2, '["开始日期","结束日期"]', _json([span[0], span[-1]])),
        _table(3, "报销明细", _EXPENSE_COLUMNS, rows, "金额(元)"),
        _field("MoneyField", 4, "总金额(元)", f"{total:.2f}") | {"bizAlias": "total"},
        _attachment(rng, 5, "发票", "发票.pdf"),
    ]
    if related and rng.random() < 0.4:
        filled.append(_relate(6, related[-1]))
    return filled


def _purchase(rng: Random, today: date, who: tuple[str, str], related: Sequence[Related]) -> list[FormValue]:
    userid, name = who
    rows = [
        {
            "名称": rng.choice(("显示器", "笔记本电脑", "人体工学椅", "打印纸", "白板")),
            "数量": str(rng.randrange(1, 20)),
            "价格(元)": str(rng.randrange(20, 9_000)),
        }
        for _ in range(rng.randrange(0, 4))
    ]
    contact = _json([{"emplId": userid, "name": name, "avatar": ""}])
    shops = rng.sample(_SHOPS, rng.randrange(1, 3))
    filled = [
        _area(1, "采购事由", rng.choice(("新员工入职", "设备更新", "日常补充", ""))),
        _select(2, "采购类型", rng.choice(_PURCHASES), _PURCHASES),
        _field("DDDateField", 3, "期望交付日期", (today + timedelta(days=rng.randrange(3, 40))).isoformat()),
        _table(4, "采购明细", _PURCHASE_COLUMNS, rows, "价格(元)"),
        _field("InnerContactField", 5, "收货人", name, contact),
        _field(
            "DDMultiSelectField",
            7,
            "采购渠道",
            _json(shops),
            _json([_choice(shop, _SHOPS) for shop in shops]),
        ),
    ]
    if rng.random() < 0.5:
        filled.append(_attachment(rng, 6, "报价单", "报价单.xlsx"))
    return filled


def _seal(rng: Random, today: date, who: tuple[str, str], related: Sequence[Related]) -> list[FormValue]:
    rows = [
        {
            "文件名称": rng.choice(("采购合同", "劳动合同", "授权委托书", "投标文件")),
            "份数": str(rng.randrange(1, 5)),
            "照片": _json([f"https://static.dingtalk.com/media/seal-{rng.randrange(10**6)}.png"]),
        }
        for _ in range(rng.randrange(0, 3))
    ]
    day = today + timedelta(days=rng.randrange(1, 10))
    filled = [
        _area(1, "用印事由", rng.choice(("签订合同", "投标", ""))),
        _table(2, "用印文件", _SEAL_COLUMNS, rows),
        _field("DDDateField", 3, "用印时间", f"{day} {rng.randrange(8, 18):02d}:30"),
    ]
    if related and rng.random() < 0.4:
        filled.append(_relate(4, related[-1]))
    return filled


TEMPLATES: Final = {
    template.process_code: template
    for template in (
        Template("PROC-LEAVE", "请假申请", 1, False, _leave),
        Template("PROC-EXPENSE", "报销申请", 2, False, _expense, {"报销明细": _EXPENSE_COLUMNS}),
        Template("PROC-PURCHASE", "采购申请", 1, True, _purchase, {"采购明细": _PURCHASE_COLUMNS}),
        Template("PROC-SEAL", "用印申请", 1, False, _seal, {"用印文件": _SEAL_COLUMNS}),
    )
}
"""By process code."""
