"""What people do to departments that the OA never named is reported; what we make is not."""

import pytest
from sqlalchemy import func, select, update

from dingbridge import open_database
from dingbridge.consumers.outbound.contacts import unnamed
from dingbridge.consumers.outbound.tables import outbound_entity, outbound_outgoing
from dingbridge.events import decode
from dingbridge.testing import recorded
from tests.support.documents import ROOT
from tests.unit.outbound.ledger_rows import filled, row


@pytest.mark.parametrize("ours", [True, False])
async def test_a_department_whose_creation_is_committed_meanwhile_is_no_persons(tmp_path, monkeypatch, ours):
    """By PostgreSQL's READ COMMITTED: the event's handler finds no row with its dept_id, the agent commits
    it, and no creation is under way any more. It was reported as a department that people had made."""
    event = next(
        decode(one.value) for one in recorded(ROOT / "schemas" / "examples" / "org_dept_create.json")
    )
    url = f"sqlite:///{tmp_path / 'outbound.db'}"
    await filled(url, [row("d1", "done", None, kind="department", corp_id=event.corp_id)])
    looks = unnamed._creates

    async def commits_meanwhile(tx, corp_id):
        if ours:
            await tx.execute(update(outbound_entity).values(ding_id=event.subject))
        return await looks(tx, corp_id)

    monkeypatch.setattr(unnamed, "_creates", commits_meanwhile)
    database = open_database(url)
    async with database.transaction() as tx:
        await unnamed.report_unnamed(tx, event, "department", None)
        reported = (await tx.execute(select(func.count()).select_from(outbound_outgoing))).scalar_one()
        [due] = (await tx.execute(select(outbound_entity.c.flagged))).scalars()
    await database.close()
    assert (reported, due) == ((0, True) if ours else (1, False))
