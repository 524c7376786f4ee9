"""The template of an approval by the name in its title."""

import pytest

from dingbridge.consumers.approval.process_codes import AGAIN_AFTER_S, ProcessCodes, template_name
from dingbridge.dingtalk.api.approvals import TEMPLATES
from dingbridge.dingtalk.errors import BadRequest, IpNotAllowed, PermissionDenied, Unavailable
from tests.unit.approval.office import CORP, Office


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("张三提交的请假", "请假"),
        ("张三提交的提交的东西", "提交的东西"),
        ("Li Lei提交的 Travel request ", "Travel request"),
        ("请假", None),
        ("张三提交的", None),
        ("", None),
        (None, None),
    ],
)
def test_the_name_stands_behind_who_submitted_it(title, name):
    assert template_name(title) == name


async def test_one_list_serves_all_names_and_is_read_again_after_a_while():
    office, now = Office(), [0.0]
    codes = ProcessCodes(clock=lambda: now[0])
    for number in range(50):
        assert await codes.of_title(office, CORP, f"张三提交的{number}") is None
    office.templates_by_name["请假"] = "PROC-LEAVE"
    assert await codes.of_title(office, CORP, "李四提交的请假") is None
    now[0] = AGAIN_AFTER_S
    assert await codes.of_title(office, CORP, "李四提交的请假") == "PROC-LEAVE"
    now[0] *= 100
    assert await codes.of_title(office, CORP, "王五提交的请假") == "PROC-LEAVE"
    assert office.calls[TEMPLATES] == 2


@pytest.mark.parametrize(
    ("error", "raised", "asked"),
    [(PermissionDenied, False, 1), (BadRequest, False, 2), (IpNotAllowed, True, 2), (Unavailable, True, 2)],
    ids=["no-right", "unknown-code", "address", "down"],
)
async def test_only_what_would_fail_for_every_event_holds_it_up(error, raised, asked):
    class Client:
        calls = 0

        async def templates(self):
            self.calls += 1
            raise error("no", api=TEMPLATES)

    client, codes, refused = Client(), ProcessCodes(), []
    for name in ("请假", "报销"):
        if raised:
            with pytest.raises(error):
                await codes.of_title(client, CORP, f"张三提交的{name}")
        else:
            assert await codes.of_title(client, CORP, f"张三提交的{name}", refused.append) is None
    assert (client.calls, len(refused)) == (asked, int(error is PermissionDenied))


async def test_of_two_templates_of_one_name_neither_is_taken():
    class Client:
        async def templates(self):
            listed = [("请假", "A"), ("请假", "B"), ("请假", "A"), ("报销", "C"), ("报销", "C"), (None, 5)]
            return [{"name": name, "processCode": code} for name, code in [*listed, ("x", "")]] + [{}]

    codes = ProcessCodes()
    assert await codes.of_title(Client(), CORP, "张三提交的请假") is None
    assert await codes.of_title(Client(), CORP, "张三提交的报销") == "C"
    assert await codes.of_title(Client(), CORP, "张三提交的x") is None
