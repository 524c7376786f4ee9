import pytest

import dingbridge.events as schemas
from dingbridge.events import catalogue, known, legal
from dingbridge.events.catalogue import camel_case


def test_every_entry_is_well_formed() -> None:
    kinds = {
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
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        assert spec is not None
        assert legal(event_type), event_type
        assert set(spec.spellings) <= {"old", "new"}, event_type
        assert spec.spellings, event_type
        for spelling in spec.spellings.values():
            names = [field.name for spelled, field in spelling.fields.items() if field.name != spelled]
            assert len(names) == len(set(names)), f"{event_type}: two spellings of one name"
            for spelled, field in spelling.fields.items():
                assert field.wire in kinds, (event_type, spelled)
                assert field.mark in ("", "ms", "id"), (event_type, spelled)
                assert spelled.lower() != "eventtype" or field.name == spelled


def test_every_entry_says_what_it_is_and_where_dingtalk_describes_it() -> None:
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        assert spec is not None
        assert spec.title.zh, event_type
        assert spec.title.en, event_type
        assert spec.family in catalogue.families, event_type
        assert spec.page.startswith("https://open.dingtalk.com/document/"), event_type
        assert spec.version >= 1
        fields = [field for spelling in spec.spellings.values() for field in spelling.fields.values()]
        paths = {field.name for field in fields}
        paths |= {f"{field.name}.{inner.name}" for field in fields for inner in field.nested}
        assert spec.values.keys() <= paths, event_type
    assert {catalogue.get(event_type).family for event_type in catalogue} == catalogue.families.keys()


def test_subjects_are_fields_of_their_type() -> None:
    for event_type in catalogue:
        spec = catalogue.get(event_type)
        assert spec is not None
        if spec.subject is None:
            continue
        names = {f.name for spelling in spec.spellings.values() for f in spelling.fields.values()}
        wanted = spec.subject.fields if spec.subject.items is None else (spec.subject.items,)
        assert set(wanted) <= names, event_type
        if spec.subject.is_list:
            wires = {
                f.wire for s in spec.spellings.values() for f in s.fields.values() if f.name == wanted[0]
            }
            assert all(wire.startswith("list") for wire in wires), (event_type, wires)


@pytest.mark.parametrize(
    ("event_type", "kind", "is_list"),
    [
        ("user_add_org", "user", True),
        ("user_leave_org", "user", True),
        ("org_admin_add", "user", True),
        ("label_user_change", "user", True),
        ("org_dept_modify", "department", True),
        ("chat_disband", "chat", False),
        ("bpms_instance_change", "process-instance", False),
        ("bpms_task_change", "process-instance", False),
        ("attendance_check_record", "user", True),
        ("attendance_schedule_change", "user", True),
    ],
)
def test_subject(event_type: str, kind: str, is_list: bool) -> None:
    spec = catalogue.get(event_type)
    assert spec is not None
    assert spec.subject is not None
    assert (spec.subject.kind, spec.subject.is_list) == (kind, is_list)


@pytest.mark.parametrize(
    "event_type", ["org_change", "org_remove", "suite_ticket", "tmp_auth_code", "change_auth"]
)
def test_no_subject(event_type: str) -> None:
    spec = catalogue.get(event_type)
    assert spec is not None
    assert spec.subject is None


def test_the_types_that_are_published_under_their_own_name_are_known() -> None:
    assert known("market_buy")
    assert known("attendance_schedule_change")
    assert not known("brand_new_event")
    assert not known("unclassified")
    assert not known(None)


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


def test_every_public_name_exists() -> None:
    assert all(hasattr(schemas, name) for name in schemas.__all__)
