"""``schemas/outbound/*.json``: JSON Schemas of the messages of ``<control>outbound``, and of answers.

Made from the models in ``consumers/outbound/forms.py``, and written as the events' are: inline, with a title
on every object and on nothing else. Each schema ends with an example, which is valid.
"""

from typing import Any, Final

from pydantic import BaseModel

from dingbridge.consumers.outbound.forms import MODELS, ChangeEvent, ResultEvent
from dingbridge.events.catalogue import class_name

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


def schemas() -> dict[str, dict[str, Any]]:
    """``{name: schema}`` of all messages and answers, without ``$schema``."""
    models: dict[str, type[BaseModel]] = {**MODELS, "result": ResultEvent, "change": ChangeEvent}
    found = {}
    for name, model in models.items():
        schema = model.model_json_schema()
        definitions = schema.pop("$defs", {})
        found[name] = {**_plain(schema, definitions), "examples": [example(name)]}
    return found


def _plain(schema: Any, definitions: dict[str, Any], name: str = "") -> Any:
    """Without references, titles but those of objects (``name`` for one that has none), and defaults: a field
    that is absent is not wanted either way; what the models hold in its place means nothing."""
    if isinstance(schema, list):
        return [_plain(item, definitions, name) for item in schema]
    if not isinstance(schema, dict):
        return schema.replace("``", "`") if isinstance(schema, str) else schema
    if "$ref" in schema:
        referred = schema["$ref"].removeprefix("#/$defs/")
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return _plain({"title": referred, **definitions[referred], **beside}, definitions)
    is_object = schema.get("type") == "object"
    # a class's title is its name, any other a heading for people
    title = schema["title"] if "title" in schema and "properties" in schema else name
    plain = {"title": title} if is_object else {}
    for key, value in schema.items():
        if key == "properties":  # names, and no keywords
            plain[key] = {
                inner: _plain(found, definitions, title + class_name(inner)) for inner, found in value.items()
            }
        elif key not in ("default", "title"):
            plain[key] = _plain(value, definitions, name)
    return plain
