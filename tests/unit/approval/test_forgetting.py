"""``dingbridge forget`` in the archive: what goes, what stays with the person masked, and what stays away."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from dingbridge import Forgotten, Person
from dingbridge.consumers.approval.archive import forgetting
from dingbridge.consumers.approval.archive.attachments import DONE
from dingbridge.consumers.approval.archive.masking import hiding
from dingbridge.consumers.approval.examples import leave_ledger
from dingbridge.consumers.approval.tables import (
    approval_actions,
    approval_attachments,
    approval_comments,
    approval_instances,
    approval_tasks,
    entities,
    metadata,
)
from dingbridge.errors import BridgeError
from tests.unit.approval.office import CORP, LEAVE, T, deliver, field, hear, instance, look, only, task

LEAVER = Person(CORP, "u001", frozenset({"张三", "13800000001"}))
CONTACT = json.dumps(
    [{"emplId": "u001", "name": "张三", "avatar": "https://a.example/1"}], ensure_ascii=False
)


async def forget(archive, person=LEAVER):
    found = Forgotten(more="")
    while found.more is not None:
        async with archive.database.transaction() as tx:
            found += await archive.consumer.forget(replace(person, after=found.more), tx)
    return {name: count for name, count in {**found.deleted, **found.masked}.items() if count}


async def everything(archive, *but):
    """All rows of all tables as one text."""
    tables = [table for table in metadata.sorted_tables if table.name not in but]
    return "\n".join([repr(tuple(row)) for table in tables for row in await archive.rows(select(table))])


def finish_of_two(office):
    form = [
        *(field(name, value) for name, value in LEAVE.items()),
        field("随行", '["张三"]', "InnerContactField", extValue=CONTACT),
        field("说明", "张三电话 13800000001, 编号 138000000012"),
    ]
    document = office.finish(form=form, ccUserIds=["u001", "u003"])
    document["operationRecords"][1]["remark"] = "张三辛苦了"
    return document


TOLD = (
    instance("start"),
    task("start", title="张三提交的请假"),
    task("comment", T + 60_000, content="请张三补充", staffId="u003"),
    task("comment", T + 61_000, content="已补充", staffId="u001"),
    task("finish", T + 90_000, result="agree", title="张三提交的请假"),
    instance("finish"),
)


async def test_what_others_took_part_in_stays_and_names_the_person_nowhere(archive, office):
    finish_of_two(office)
    for event in TOLD:
        await deliver(archive, event)
    counts = await forget(archive)
    assert counts == {"approval_instances": 1, "leave_ledger": 1}
    row = await only(archive, approval_instances)
    assert (row.originator_userid, row.title, row.outcome) == ("***", "***提交的请假", "approved")
    assert json.loads(row.cc_userids) == ["***", "u003"]
    left = await everything(archive, "approval_forgotten")
    assert "张三" not in left
    assert "u001" not in left
    assert "13800000001," not in left
    assert "编号 138000000012" in left  # a longer number is another
    assert "u002" in left
    assert sorted(one.userid for one in await archive.rows(select(approval_comments))) == ["***", "u003"]
    assert await forget(archive) == {}


async def test_many_approvals_are_masked_in_several_transactions(archive, office, monkeypatch):
    monkeypatch.setattr(forgetting, "AT_ONCE", 1)
    finish_of_two(office)
    for number in (1, 2, 3):
        office.approvals[f"pi-{number}"] = office.approvals["pi-1"]
        await deliver(archive, instance("finish", processInstanceId=f"pi-{number}"))
    assert await forget(archive) == {"approval_instances": 3, "leave_ledger": 3}
    assert "张三" not in await everything(archive, "approval_forgotten")


async def test_no_replay_brings_the_person_back(archive, office):
    finish_of_two(office)
    for event in TOLD:
        await deliver(archive, event)
    await forget(archive)
    before = await everything(archive, "approval_forgotten", entities.name)
    for event in TOLD:
        await hear(archive, event, replay_id="r1")
        await look(archive)
    assert await everything(archive, "approval_forgotten", entities.name) == before


async def test_what_was_not_archived_before_comes_without_the_person_and_is_not_acted_on(archive, office):
    finish_of_two(office)
    await forget(archive, Person(CORP, "u001"))
    for event in TOLD:
        await deliver(archive, event)
    await deliver(archive, task("cancel", T + 95_000, title="张三提交的请假"))
    left = await everything(archive, "approval_forgotten")
    assert "u001" not in left
    assert "张三提交的" not in left
    assert (await only(archive, approval_instances)).title == "***提交的请假"
    assert (await only(archive, approval_actions)).state == "skipped"
    assert await archive.rows(select(leave_ledger)) == []


@pytest.fixture
def alone(office):
    """An approval in which nobody but the person took part, with a file."""
    document = office.finish(
        form=[
            *(field(name, value) for name, value in LEAVE.items()),
            field("附件", '[{"fileId":"f1","fileName":"张三.pdf","fileSize":3}]', "DDAttachment"),
        ]
    )
    document["operationRecords"] = document["operationRecords"][:1]
    document["tasks"] = []
    return document


async def test_what_nobody_else_took_part_in_goes_with_its_files_and_stays_away(archive, alone, tmp_path):
    await deliver(archive, instance("finish"))
    stored = {"state": DONE, "sha256": "ab" * 32}
    async with archive.database.transaction() as tx:
        await tx.execute(update(approval_attachments).values(**stored))
    with pytest.raises(BridgeError, match="ARCHIVE_DIR"):
        await forget(archive)
    archive.consumer.own = archive.consumer.own.model_copy(update={"archive_dir": tmp_path})
    async with archive.database.transaction() as tx:
        found = await archive.consumer.forget(LEAVER, tx)
    assert list(found.files) == [tmp_path / "ab" / ("ab" * 32)]
    assert found.deleted["approval_instances"] == found.deleted["leave_ledger"] == 1
    for event in (instance("start"), instance("finish")):
        await hear(archive, event, replay_id="r1")
        await look(archive)
    left = await everything(archive, "approval_forgotten", entities.name)
    assert left == ""  # nor was its action called again
    assert [row.entity_id for row in await archive.rows(select(entities))] == ["pi-1"]


async def test_a_file_that_another_approval_has_stays(archive, alone, office, tmp_path):
    await deliver(archive, instance("finish"))
    finish_of_two(office)
    office.approvals["pi-2"] = office.approvals.pop("pi-1") | {
        "formComponentValues": alone["formComponentValues"]
    }
    await deliver(archive, instance("finish", processInstanceId="pi-2", eventId="2"))
    async with archive.database.transaction() as tx:
        await tx.execute(update(approval_attachments).values(state=DONE, sha256="ab" * 32))
    assert (await forget(archive))["approval_attachments"] == 1
    row = await only(archive, approval_attachments)
    assert (row.instance_id, row.file_name) == ("pi-2", "***.pdf")


async def test_who_is_hired_again_under_the_same_userid_is_archived_again(archive, office):
    await forget(archive, Person(CORP, "u001"))
    later = datetime.now(UTC) + timedelta(days=1)
    began = f"{later:%Y-%m-%dT%H:%MZ}"
    office.finish(createTime=began, finishTime=began)
    at_ms = round(later.timestamp() * 1000)
    await deliver(archive, instance("finish", at_ms, createTime=at_ms))
    row = await only(archive, approval_instances)
    assert (row.originator_userid, row.title) == ("u001", "张三提交的请假")


async def test_a_name_in_somebody_elses_approval_is_counted_and_not_judged(archive, office):
    office.finish(originatorUserId="u009", title="李四提交的请假", form=[field("说明", "和张三同去")])
    office.approvals["pi-1"]["operationRecords"] = []
    await deliver(archive, instance("finish", staffId="u009", title="李四提交的请假"))
    async with archive.database.transaction() as tx:
        found = await archive.consumer.forget(LEAVER, tx)
    assert not any(found.masked.values())
    assert [words.split()[0] for words in found.stays] == ["1"]
    assert "和张三同去" in await everything(archive)


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ({"userId": "u1", "name": "王五", "remark": "ok"}, {"userId": "***", "name": "***", "remark": "ok"}),
        ({"userId": "u12", "value": "u1"}, {"userId": "u12", "value": "u1"}),
        ({"value": "Ann and Anna"}, {"value": "*** and Anna"}),
        ({"result": "Ann", "id": "Ann"}, {"result": "Ann", "id": "Ann"}),
        ({"extValue": '[{"emplId": "u1","x": [1.5]}]'}, {"extValue": '[{"emplId":"***","x":[1.5]}]'}),
        ({"value": '{"a":  1}', "n": 5, "none": None}, {"value": '{"a":  1}', "n": 5, "none": None}),
    ],
)
def test_ids_are_told_by_their_fields_and_names_by_their_borders(value, hidden):
    assert hiding("u1", {"Ann", "x"})(value) == hidden


async def test_tasks_keep_their_turns(archive, office):
    finish_of_two(office)
    for event in TOLD:
        await deliver(archive, event)
    await forget(archive, Person(CORP, "u002"))
    row = await only(archive, approval_tasks)
    assert (row.userid, row.result) == ("***", "AGREE")
    assert (await only(archive, approval_instances)).originator_userid == "u001"
