"""The table of replies: what the client takes from it."""

from dingbridge.dingtalk.api.shapes import USER, typed


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
