"""When an answer that disagrees with its event is looked at again, and when it is believed."""

import pytest

from dingbridge.snapshots.late_answers import LOOK_AGAIN_S, agrees, look_again_s, said_by


@pytest.mark.parametrize(
    ("event_type", "exists", "changed", "believed"),
    [
        ("user_add_org", True, True, True),
        ("user_add_org", True, False, True),  # an earlier event of this person brought the row
        ("user_add_org", False, False, False),
        ("user_leave_org", False, True, True),
        ("user_leave_org", True, True, False),
        ("user_modify_org", True, True, True),
        ("user_modify_org", True, False, False),
        ("user_modify_org", False, True, False),
        ("org_dept_create", False, False, False),
        ("org_dept_remove", True, False, False),
        ("label_user_change", True, False, False),
    ],
)
def test_an_answer_is_believed_at_once_where_it_shows_what_the_event_said(
    event_type: str, exists: bool, changed: bool, believed: bool
) -> None:
    assert agrees(said_by(event_type), exists=exists, changed=changed) is believed


def test_it_is_looked_at_three_times_more() -> None:
    assert [look_again_s(looks) for looks in range(1, 5)] == [*LOOK_AGAIN_S, None]
