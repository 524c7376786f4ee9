import pytest

from dingbridge.events import EventSpec, catalogue, known, legal
from dingbridge.events.catalogue import camel_case
from tests.support.cases import of_each

WIRES = {
    "str",
    "int",
    "float",
    "bool",
    "object",
    "any",
    "list[str]",
    "list[int]",
    "list[object]",
    "list[any]",
}


@of_each(catalogue.values(), lambda spec: spec.event_type)
def test_every_entry_is_well_formed_and_says_where_dingtalk_describes_it(spec: EventSpec) -> None:
    assert legal(spec.event_type)
    assert set(spec.spellings) <= {"old", "new"}
    assert spec.spellings
    for spelling in spec.spellings.values():
        renamed = [field.name for spelled, field in spelling.fields.items() if field.name != spelled]
        assert len(renamed) == len(set(renamed)), "two spellings of one name"
        for spelled, field in spelling.fields.items():
            assert field.wire in WIRES
            assert field.mark in ("", "ms", "id")
            assert spelled.lower() != "eventtype" or field.name == spelled
    assert spec.title.zh
    assert spec.title.en
    assert spec.page.startswith("https://open.dingtalk.com/document/")
    assert spec.version >= 1
    fields = [field for spelling in spec.spellings.values() for field in spelling.fields.values()]
    names = {field.name for field in fields}
    assert spec.values.keys() <= names | {
        f"{field.name}.{one.name}" for field in fields for one in field.nested
    }
    if spec.subject is not None:
        wanted = spec.subject.fields if spec.subject.items is None else (spec.subject.items,)
        assert set(wanted) <= names
        wires = {field.wire for field in fields if field.name == wanted[0]}
        assert not spec.subject.is_list or all(wire.startswith("list") for wire in wires), wires


def test_every_family_has_types_and_types_of_third_parties_are_known_by_their_own_name() -> None:
    assert {spec.family for spec in catalogue.values()} == catalogue.families.keys()
    assert [known(name) for name in ("market_buy", "attendance_schedule_change")] == [True, True]
    assert [known(name) for name in ("brand_new_event", "unclassified", None)] == [False] * 3


def test_asking_for_unknown_types_does_not_make_the_catalogue_grow() -> None:
    before = len(catalogue)
    assert [catalogue.get(f"new_{n}") for n in range(3)] == [None] * 3
    assert len(catalogue) == before
    assert not any(name.startswith("new_") for name in catalogue._specs)


@pytest.mark.parametrize(
    ("event_type", "is_legal"),
    [
        ("a", True), ("A-b_9", True), ("x" * 200, True),
        ("", False), ("x" * 201, False), ("a.b", False), ("a b", False), ("a\n", False), ("审批", False),
        ("unclassified", False), ("\u0663", False),
    ],
)  # fmt: skip
def test_legal(event_type: str, is_legal: bool) -> None:
    assert legal(event_type) is is_legal


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("UserId", "userId"),
        ("userId", "userId"),
        ("dept_id", "deptId"),
        ("corpid", "corpid"),
        ("BizId", "bizId"),
    ],
)
def test_camel_case(spelled: str, name: str) -> None:
    assert camel_case(spelled) == name
