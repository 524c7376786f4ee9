"""Names that a report may hold."""

import pytest

from dingbridge.probe.names import shown, shown_code, shown_path


@pytest.mark.parametrize(
    "name",
    ["userid", "dept_order_list", "processInstanceId", "UserId", "dept_user_list", "taskUserIds", "errcode"],
)
def test_names_of_our_tables_and_of_their_words_are_shown(name: str) -> None:
    assert shown(name) == name


@pytest.mark.parametrize(
    "name",
    ["张三", "zhangsan", "manager4220", "user 1", "176", "{1:176}", "", "dingcorp0123456789", "x" * 60],
)
def test_of_other_names_stands_only_how_long_they_are(name: str) -> None:
    assert shown(name) == f"(unknown name of {len(name)} characters)"


def test_a_path_is_shown_name_by_name() -> None:
    assert shown_path("dataList[].userId") == "dataList[].userId"
    assert shown_path("dataList[].zhangsan.name") == "dataList[].(unknown name of 8 characters).name"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (60121, 60121),
        ("60011", "60011"),
        ("Forbidden.AccessDenied.X" + "y", "Forbidden.AccessDenied.Xy"),
        (13800000000, "(unknown code of 11 characters)"),
        ("13800000000", "(unknown code of 11 characters)"),
        ("hsfError(张三)", "(unknown code of 12 characters)"),
        ("qyapi_get_member_by_mobile", "qyapi_get_member_by_mobile"),
        ("qyapi_get_张三", "(unknown code of 12 characters)"),
        (None, None),
        ("", None),
        (True, None),
    ],
)
def test_codes_are_small_numbers_and_words(code: object, expected: object) -> None:
    assert shown_code(code) == expected
