"""Replies against their declaration, by name and by type."""

import pytest

from dingbridge.dingtalk.api.shapes import SHAPES
from dingbridge.probe.compare import Difference, FieldSeen, differences, fields_of

FIELDS = {
    "id": "str",
    "n?": "int",
    "flag?": "bool",
    "has_more|hasMore": "bool",
    "ids?": "list[int]",
    "parts?": [{"name": "str"}],
    "status?": "str OPEN|DONE",
    "free?": "any",
}
WHOLE = {"id": "x", "has_more": False}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (WHOLE, []),
        ({"id": "x", "hasMore": True}, []),
        (WHOLE | {"errcode": 0, "errmsg": "ok", "request_id": "a"}, []),
        ({"has_more": True}, [("missing", "id", "str", "")]),
        (WHOLE | {"id": None}, [("missing", "id", "str", "")]),
        ({"id": "x"}, [("missing", "has_more", "bool", "")]),
        (WHOLE | {"id": 7}, [("loose", "id", "str", "int")]),
        (WHOLE | {"n": "7"}, [("loose", "n", "int", "str")]),
        (WHOLE | {"n": "seven"}, [("type", "n", "int", "str")]),
        (WHOLE | {"n": True}, [("type", "n", "int", "bool")]),
        (WHOLE | {"n": 1.0}, [("type", "n", "int", "number")]),
        (WHOLE | {"flag": "true"}, [("loose", "flag", "bool", "str")]),
        (WHOLE | {"flag": []}, [("type", "flag", "bool", "list")]),
        (WHOLE | {"ids": [1, "2", "2"]}, [("loose", "ids[]", "int", "str")]),
        (WHOLE | {"parts": {}}, [("type", "parts", "list", "object")]),
        (WHOLE | {"parts": [{}]}, [("missing", "parts[].name", "str", "")]),
        (WHOLE | {"parts": ["x"]}, [("type", "parts[]", "object", "str")]),
        (WHOLE | {"status": "DONE"}, []),
        (WHOLE | {"status": ""}, []),
        (WHOLE | {"status": "GONE"}, [("value", "status", "", "4 characters")]),
        (WHOLE | {"free": {"张三": 1}}, []),
        (WHOLE | {"user_list": 1}, [("unknown", "user_list", "", "int")]),
        (WHOLE | {"张三": 1}, [("unknown", "(unknown name of 2 characters)", "", "int")]),
        ([], [("type", "(reply)", "object", "list")]),
    ],
)
def test_a_difference_is_named_by_kind_place_and_type(body: object, expected: list[tuple[str, ...]]) -> None:
    assert differences(FIELDS, body) == [Difference(*one) for one in expected]


def test_places_are_counted_with_types_and_lengths() -> None:
    seen: dict[str, FieldSeen] = {}
    fields_of({"list": [{"name": "a", "order": -12}, {"name": "abc", "order": "x", "甲": {}}]}, seen)
    shown = {path: (one.times, dict(one.types), one.shortest, one.longest) for path, one in seen.items()}
    assert shown == {
        "list": (1, {"list": 1}, 2, 2),
        "list[]": (2, {"object": 2}, 2, 3),
        "list[].name": (2, {"str": 2}, 1, 3),
        "list[].order": (2, {"int": 1, "str": 1}, 1, 2),
        "list[].(unknown name of 1 characters)": (1, {"object": 1}, 0, 0),
    }


def test_each_shape_names_a_page() -> None:
    assert all(shape.page and shape.fields for shape in SHAPES.values())
