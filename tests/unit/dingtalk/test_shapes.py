"""The table of replies: what the client takes from it."""

from inspect import get_annotations
from pathlib import Path

import pytest

from dingbridge.dingtalk.api import DingTalkClient, objects
from dingbridge.dingtalk.api.shapes import USER, typed

GUIDES = Path(__file__).parents[3] / "docs" / "reference"


def test_types_are_mended_where_they_are_declared_and_nowhere_else() -> None:
    assert typed(
        {
            "userid": "001",
            "job_number": "42",
            "mobile": "13800000000",
            "dept_id_list": ["1", 2, "x"],
            "dept_order_list": [{"dept_id": "2", "order": "176294576350761512"}],
            "leader_in_dept": [{"dept_id": 2, "leader": "false"}],
            "role_list": [{"id": "100", "name": "1"}],
            "hired_date": "",
            "active": "true",
            "parent_id": "7",
        },
        USER,
    ) == {
        "userid": "001",
        "job_number": "42",
        "mobile": "13800000000",
        "dept_id_list": [1, 2, "x"],
        "dept_order_list": [{"dept_id": 2, "order": 176294576350761512}],
        "leader_in_dept": [{"dept_id": 2, "leader": False}],
        "role_list": [{"id": 100, "name": "1"}],
        "hired_date": "",
        "active": True,
        "parent_id": "7",
    }


@pytest.mark.parametrize("page", ["dingtalk-client.md", "dingtalk-client.zh-CN.md"])
def test_the_guide_names_every_call_and_every_type(page: str) -> None:
    guide = (GUIDES / page).read_text(encoding="utf-8")
    calls = {name: getattr(DingTalkClient, name) for name in dir(DingTalkClient) if not name.startswith("_")}
    assert [name for name in calls if f"`{name}" not in guide] == []
    returned = {str(get_annotations(call).get("return")) for call in calls.values() if callable(call)}
    types = [name for name in vars(objects) if any(f"{objects.__name__}.{name}" in text for text in returned)]
    assert len(types) > 10
    assert [name for name in types if f"`{name}" not in guide and f"[{name}]" not in guide] == []
