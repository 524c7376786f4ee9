"""Both directions, seen once: a row of the OA, a title changed in DingTalk, an approval that goes round.

Waits for what must happen; what does not becomes a text.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from dev.demo.oa import Oa
from dev.demo.poller import Poller
from dev.demo.processes import Processes
from dev.demo.table import Screen
from dingbridge.errors import BridgeError
from dingbridge.simulator.settings import SimulatorSettings

WITHIN_S: Final = 20.0
CORP_ID: Final = str(SimulatorSettings.model_fields["simulator_corp_id"].default)
Condition: TypeAlias = Callable[[], Awaitable[bool]]
EMPLOYEE, NAME, LEAVE = "OA-1024", "韩梅梅", "QJ-2026-0117"
OWN_WRITES: Final = 2
"""Of the employee: created, then moved to another place. Each comes back as an event."""


class _DidNotHappen(BridgeError):
    """One thing that the scene waited for in vain."""


class BothWays:
    """The scene. DingTalk's side is the ``poller``'s."""

    def __init__(self, oa: Oa, poller: Poller, screen: Screen) -> None:
        self._oa, self._poller = oa, poller
        self._screen = screen
        self.faults: list[str] = []
        self.about = 0
        """Records about the employee, as counted last."""

    async def play(self) -> None:
        """Everything, in order; stops at the first thing that does not happen, and says so in ``faults``."""
        try:
            await self._to_dingtalk()
            await self._from_dingtalk()
            await self._approval()
            await self._no_echo()
        except _DidNotHappen as error:
            self.faults.append(f"both directions: {error}")

    async def _to_dingtalk(self) -> None:
        oa = self._oa
        oa.sql(
            "INSERT INTO employees (id, name, mobile, title, workPlace, version) VALUES (?, ?, ?, ?, ?, 1)",
            *(EMPLOYEE, NAME, "+86-13800001024", "工程师", "上海"),
        )
        await self._until("DingTalk has no person for the OA's new row", self._person_has(work_place="上海"))
        oa.sql("UPDATE employees SET workPlace = '北京', version = 2 WHERE id = ?", EMPLOYEE)
        await self._until("DingTalk does not follow the OA's row", self._person_has(work_place="北京"))
        self._screen.line(
            f"         OA → DingTalk: its new employee {NAME} ({EMPLOYEE}), then moved, works in 北京 there"
        )

    async def _from_dingtalk(self) -> None:
        await self._poller.act("edit", userid=EMPLOYEE, title="高级工程师")

        async def followed() -> bool:
            return bool(self._oa.one("SELECT title FROM employees WHERE id = ?", EMPLOYEE) == "高级工程师")

        await self._until("the OA's row does not follow the title changed in DingTalk", followed)
        self._screen.line("         DingTalk → OA: a person changes the title there; the row says 高级工程师")

    async def _approval(self) -> None:
        oa = self._oa
        oa.sql("INSERT INTO leaves (id, employee, days) VALUES (?, ?, '2')", LEAVE, EMPLOYEE)

        async def started() -> bool:
            return bool(oa.one("SELECT instance FROM leaves WHERE id = ?", LEAVE))

        await self._until("the OA's leave was not started in DingTalk", started)
        await self._poller.act(
            "approve", process_instance_id=oa.one("SELECT instance FROM leaves WHERE id = ?", LEAVE)
        )

        async def decided() -> bool:
            return bool(oa.one("SELECT outcome FROM leaves WHERE id = ?", LEAVE) == "agree")

        await self._until("the OA did not receive the outcome of its leave", decided)
        self._screen.line(f"         an approval goes round: {LEAVE} of the OA, decided in DingTalk: agree")

    async def _no_echo(self) -> None:
        """The OA received what people did and no more; what its own trigger sent changed nothing."""

        async def quiet() -> bool:
            await self.count()
            is_equal = "SELECT result = 'unchanged ' || version FROM employees WHERE id = ?"
            return bool(self._oa.one(is_equal, EMPLOYEE)) and self.about > OWN_WRITES

        await self._until("the OA's own copy of the new title was not found equal", quiet)
        received = [(change["kind"], change["id"]) for change in self._oa.changes]
        if received != [("user", EMPLOYEE), ("approval", LEAVE)]:
            raise _DidNotHappen(f"the OA received {len(received)} changes, and people made 2")

    async def count(self) -> None:
        """Count the records about the employee again: another echo may have come."""
        self.about = await self._poller.events_about(f"{CORP_ID}:{EMPLOYEE}")

    def _person_has(self, **fields: str) -> Condition:
        async def has() -> bool:
            users = (await self._poller.state())["users"]
            person = next((user for user in users if user["userid"] == EMPLOYEE), None)
            return person is not None and all(person.get(name) == value for name, value in fields.items())

        return has

    async def _until(self, otherwise: str, condition: Condition) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + WITHIN_S
        while True:
            await self._oa.exchange()
            if await condition():
                return
            if clock() > deadline:
                raise _DidNotHappen(f"{otherwise} after {WITHIN_S:g} s; see outbound.log in the demo's logs/")


async def play(processes: Processes, poller: Poller, screen: Screen) -> BothWays:
    """Play the scene; return it with its faults."""
    async with Oa(processes.folder, CORP_ID, processes.kafka_settings) as oa:
        scene = BothWays(oa, poller, screen)
        await scene.play()
        return scene
