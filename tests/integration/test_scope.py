"""An app that may see some departments only: what address-sync has of the company, and what it never does."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import select

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.address_sync.sync.full_sync import result
from dingbridge.consumers.address_sync.tables import departments, memberships, users
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.errors import PermissionDenied
from dingbridge.events.envelope import Received, to_records
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.testing.memory import MemoryRuntime
from tests.support.profiles import AT_ONCE
from tests.unit.address_sync.syncing import current, full


class Office:
    """A simulated company, of which the app sees the department ``seen`` and what is below, and the tables;
    ``unseen`` is beside it."""

    def __init__(self, simulator: Simulator, client: DingTalkClient, tables: MemoryRuntime) -> None:
        self.simulator, self.client, self.tables = simulator, client, tables
        self.company, self._seq = simulator.platform.company, 0
        top = {one.dept_id for one in self.company.departments.values() if one.parent == 1}
        self.seen = next(d.parent for d in self.company.departments.values() if d.parent in top)
        self.unseen = min(top - {self.seen})

    def see(self, *dept_ids: int, people: Sequence[str] = ()) -> None:
        self.simulator.scope.set(dept_ids, people)

    async def act(self, action: str, **arguments: Any) -> None:
        """Do it, and deliver its events."""
        for event in self.simulator.platform.act(action, arguments):
            self._seq += 1
            for record in to_records(
                Received(self._seq, "j1", event.time_ms, "default", "http", event.plaintext())
            ):
                assert (await self.tables.deliver(record)).kind == "done"

    def inside(self) -> set[str]:
        """Who is in a department that the app sees."""
        return {one for one in self.company.users if self.simulator.scope.sees_user(one)}

    async def sync(self, **how: Any) -> Any:
        return await full(self.tables, self.client, corp_id=self.simulator.platform.corp_id, **how)

    async def of(self, userid: str) -> set[int]:
        rows = await self.tables.rows(select(memberships.c.dept_id).where(memberships.c.userid == userid))
        return {row.dept_id for row in rows}


@pytest.fixture
async def office() -> AsyncIterator[Office]:
    key, secret = SAMPLE_CREDENTIALS["DINGTALK_APP_KEY"], SAMPLE_CREDENTIALS["DINGTALK_APP_SECRET"]
    settings = SimulatorSettings(  # each event is delivered once
        simulator_port=0, simulator_users=40, simulator_departments=9, simulator_profile=AT_ONCE
    )
    async with (
        Simulator(settings) as simulator,
        DingTalkClient(app_key=key, app_secret=secret, base=simulator.base_url) as client,
        MemoryRuntime(AddressSync(), dingtalk=client) as tables,
    ):
        office = Office(simulator, client, tables)
        office.see(office.seen)
        assert 0 < len(office.inside()) < len(office.company.users)
        yield office


async def test_the_departments_of_the_scope_are_synced_though_the_root_is_refused(office):
    for refused in (office.client.department(1), office.client.sub_departments(1)):
        with pytest.raises(PermissionDenied) as error:
            await refused
        assert error.value.errcode == 50004
    run = await office.sync()
    assert (run.state, run.incomplete) == ("done", None)
    assert await current(office.tables) == office.inside()
    rows = {row.dept_id for row in await office.tables.rows(select(departments))}
    sees = office.simulator.scope.sees_department
    assert rows == {one for one in office.company.departments if sees(one)}


async def test_events_of_people_outside_change_nothing(office):
    await office.sync()
    outside = next(one for one in office.company.users if one not in office.inside())
    await office.act("edit", userid=outside, title="经理")
    assert await current(office.tables) == office.inside()
    await office.act("hire", dept_ids=[office.unseen])
    assert await current(office.tables) == office.inside()


async def test_who_moves_in_appears_and_who_moves_out_stays_as_known(office):
    await office.sync()
    comes = next(one for one in office.company.users if one not in office.inside())
    goes = min(office.inside())
    was_in = await office.of(goes)
    await office.act("move", userid=comes, dept_ids=[office.seen])
    assert await office.of(comes) == {office.seen}
    await office.act("move", userid=goes, dept_ids=[office.unseen])
    run = await office.sync()
    assert (run.state, run.incomplete, run.leavers) == ("done", None, 0)
    assert await current(office.tables) == office.inside() | {goes}
    assert await office.of(goes) == was_in
    await office.act("leave", userid=goes)
    assert goes not in await current(office.tables), "that he left the company is told of anybody"


async def test_a_department_that_moves_out_stays_with_its_people_and_nobody_is_marked(office):
    await office.sync()
    known = await current(office.tables)
    below = next(d.dept_id for d in office.company.departments.values() if d.parent == office.seen)
    await office.act("move_department", dept_id=below, parent_id=office.unseen)
    assert known - office.inside(), "its people went along"
    run = await office.sync()
    assert (run.state, run.incomplete) == ("done", None)
    assert await current(office.tables) == known
    rows = {row.dept_id: row for row in await office.tables.rows(select(departments))}
    assert (rows[below].parent_id, rows[below].deleted_at) == (office.seen, None)


async def test_after_the_scope_was_made_smaller_nobody_is_marked_until_it_is_confirmed(office):
    office.see(office.seen, office.unseen)
    await office.sync()
    known = await current(office.tables)
    office.see(office.seen)
    leaver = min(office.inside())
    office.simulator.platform.act("leave", {"userid": leaver})  # of which no event comes
    run = await office.sync()
    assert "contact scope has lost" in run.incomplete
    assert await current(office.tables) == known
    assert f"--confirm-leavers {run.leavers}" in " ".join(result(run))
    run = await office.sync(confirmed=run.leavers)
    assert run.incomplete is None
    assert await current(office.tables) == known - {leaver}
    assert (await office.sync()).incomplete is None, "that is the scope from now on"


async def test_a_person_of_the_scope_is_synced_without_his_departments(office):
    alone = next(one for one in office.company.users if one not in office.inside())
    office.see(office.seen, people=[alone])
    run = await office.sync()
    assert run.incomplete is None
    rows = {row.userid for row in await office.tables.rows(select(users))}
    assert rows == office.inside()
    assert alone in rows
