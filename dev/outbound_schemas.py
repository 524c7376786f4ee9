"""Writes ``schemas/outbound/*.json``: JSON Schemas of the messages of ``<control>outbound`` and answers.

Made from the models in ``consumers/outbound/forms.py``; run ``python -m dev.outbound_schemas`` after a change
of them. Each schema ends with an example, which is valid.
"""

import json
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from consumers.outbound.forms import MODELS, ChangeEvent, ResultEvent

FOLDER: Final = Path(__file__).parents[1] / "schemas" / "outbound"

_CORP: Final = {"corpId": "dingcorp1"}
EXAMPLES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "user.desired": (
        "E1001",
        {
            "version": 1764057600000,
            "name": "王芳",
            "mobile": "13800000000",
            "departments": ["sales", "root"],
            "title": "销售经理",
            "manager": "E1000",
            "hiredOn": "2025-11-03",
            "extension": {"工位": "3F-12"},
        },
    ),
    "user.absent": ("E1001", {"version": 1764057600001}),
    "department.desired": (
        "sales",
        {"version": 1764057600000, "name": "销售部", "parent": "root", "order": 10, "managers": ["E1001"]},
    ),
    "department.absent": ("sales", {"version": 1764057600001}),
    "approval.start": (
        "LEAVE-2025-17",
        {
            "processCode": "PROC-LEAVE",
            "originator": "E1001",
            "form": {"外部单号": "LEAVE-2025-17", "天数": "2"},
        },
    ),
    "approval.terminate": (
        "LEAVE-2025-17-back",
        {"request": "LEAVE-2025-17", "originator": "E1001", "remark": "不休了"},
    ),
    "approval.decide": (
        "LEAVE-2025-17-yes",
        {"request": "LEAVE-2025-17", "actor": "E1000", "result": "agree"},
    ),
    "todo.desired": (
        "TODO-5",
        {
            "subject": "审阅合同",
            "creator": "E1000",
            "executors": ["E1001"],
            "dueTime": 1764144000000,
            "url": "https://oa.example.com/contracts/5",
        },
    ),
    "todo.done": ("TODO-5-done", {"request": "TODO-5"}),
    "result": (
        "E1001",
        {
            "kind": "user",
            "id": "E1001",
            "request": "user.desired",
            "version": 1764057600000,
            "result": "done",
            "dingtalkId": "E1001",
            "fields": ["title"],
            "answers": {"source": "/oa", "id": "m-1"},
        },
    ),
    "change": (
        "E1001",
        {
            "kind": "user",
            "id": "E1001",
            "dingtalkId": "E1001",
            "fields": {"title": {"old": "销售经理", "new": "经理"}},
            "verdict": "written-back",
            "by": "E1000",
        },
    ),
}
"""By the message: its subject, and its data without the company."""


def example(name: str) -> dict[str, Any]:
    """A valid message, or answer, whole."""
    subject, data = EXAMPLES[name]
    names = {"result": "outbound.result"}
    return {
        "specversion": "1.0",
        "id": "m-1",
        "source": "/oa",
        "type": f"com.dingbridge.{names.get(name, name)}",
        "subject": subject,
        "data": _CORP | data,
    }


def texts() -> dict[str, str]:
    """``{file name: text}`` of all schemas."""
    models: dict[str, type[BaseModel]] = {**MODELS, "result": ResultEvent, "change": ChangeEvent}
    found = {}
    for name, model in models.items():
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"urn:dingbridge:outbound:{name}:1",
            **_without_defaults(model.model_json_schema()),
            "examples": [example(name)],
        }
        found[f"{name}.json"] = json.dumps(schema, ensure_ascii=False, indent=2).replace("``", "`") + "\n"
    return found


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    print(f"{FOLDER}: {len(texts())} files")


def _without_defaults(schema: Any) -> Any:
    """A field that is absent is not wanted either way; what the models hold in its place means nothing."""
    if isinstance(schema, list):
        return [_without_defaults(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    gone = {"default"} if "title" in schema or "anyOf" in schema else set()
    return {name: _without_defaults(value) for name, value in schema.items() if name not in gone}


if __name__ == "__main__":
    main()
