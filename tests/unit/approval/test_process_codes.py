"""The template of an approval by the name in its title."""

import pytest

from consumers.approval.process_codes import MOST, UNKNOWN_FOR_S, ProcessCodes, template_name
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


async def test_a_name_without_a_template_is_asked_for_again_after_a_while():
    office, now = Office(), [0.0]
    codes = ProcessCodes(clock=lambda: now[0])
    assert await codes.of_title(office, CORP, "张三提交的请假") is None
    office.templates_by_name["请假"] = "PROC-LEAVE"
    assert await codes.of_title(office, CORP, "李四提交的请假") is None
    now[0] = UNKNOWN_FOR_S
    assert await codes.of_title(office, CORP, "李四提交的请假") == "PROC-LEAVE"
    now[0] *= 100
    assert await codes.of_title(office, CORP, "王五提交的请假") == "PROC-LEAVE"
    assert office.calls[TEMPLATES] == 2


@pytest.mark.parametrize(
    ("error", "raised"),
    [(PermissionDenied, False), (BadRequest, False), (IpNotAllowed, True), (Unavailable, True)],
    ids=["no-right", "unknown-code", "address", "down"],
)
async def test_only_what_would_fail_for_every_event_holds_it_up(error, raised):
    class Client:
        async def process_code(self, name):
            raise error("no", api=TEMPLATES)

    codes = ProcessCodes()
    if raised:
        with pytest.raises(error):
            await codes.of_title(Client(), CORP, "张三提交的请假")
    else:
        assert await codes.of_title(Client(), CORP, "张三提交的请假") is None


async def test_a_code_that_nobody_knows_does_not_say_that_there_is_no_template():
    office, codes = Office(), ProcessCodes()
    office.templates_by_name["请假"] = "PROC-LEAVE"

    class Client:
        async def process_code(self, name):
            raise BadRequest("what?", api=TEMPLATES, errcode=123456)

    assert await codes.of_title(Client(), CORP, "张三提交的请假") is None
    assert await codes.of_title(office, CORP, "李四提交的请假") == "PROC-LEAVE"


async def test_invented_titles_do_not_fill_the_memory():
    office, codes = Office(), ProcessCodes()
    for number in range(MOST + 50):
        await codes.of_title(office, CORP, f"张三提交的{number}")
    assert len(codes._known) == MOST


async def test_two_companies_may_have_templates_of_one_name():
    ours, theirs, codes = Office(), Office(), ProcessCodes()
    ours.templates_by_name["请假"], theirs.templates_by_name["请假"] = "PROC-OURS", "PROC-THEIRS"
    assert await codes.of_title(ours, "dingours", "张三提交的请假") == "PROC-OURS"
    assert await codes.of_title(theirs, "dingtheirs", "张三提交的请假") == "PROC-THEIRS"
