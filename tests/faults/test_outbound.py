"""Both directions under faults: an OA and people change one company at random, while the consumer is killed,
Kafka and the database vanish, replies are lost, reads lag, and events are late, early, doubled and swapped.

At the end every field has its owner's last word, nobody was created twice, whoever got the number of somebody
who is gone was not touched, each change of the OA's cost at
most one write, and the OA was told of each person's change that stood, once, and of nothing it did itself.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select

from dingbridge import Database
from dingbridge.consumers.outbound.contacts.rows import QUEUE
from dingbridge.consumers.outbound.store import now_ms
from dingbridge.consumers.outbound.tables import outbound_entity
from dingbridge.settings import SAMPLE_CREDENTIALS
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.worker.store.database import open_database
from tests.faults.two_sides import CORP, OWNERS, TwoSides
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Process, eventually
from tests.support.sizes import new_seed, sized

ROUNDS = sized(3, 24, quick=1)
PEOPLE = sized(6, 20)
DEPARTMENTS = sized(3, 8)
SETTLE_S = 2
WRITES = (
    *("v2/user/create", "v2/user/update", "v2/user/delete"),
    *("v2/department/create", "v2/department/update"),
)
LOST = (
    {"kind": "cut"},
    {"kind": "errcode", "errcode": 15, "done": True},
    {"kind": "http", "status": 504, "done": True},
    {"kind": "errcode", "errcode": 15},
    {"kind": "http", "status": 504},
    {"kind": "cut", "done": False},
)


class Outbound:
    """The consumer as a process, and what may befall it."""

    def __init__(self, processes: Any, env: dict[str, str], simulator: Simulator) -> None:
        self._processes, self._env, self._simulator = processes, env, simulator
        self.process: Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.to_thread(self._processes.start, "consume", "outbound", env=self._env)

    async def kill(self) -> None:
        """SIGKILL when it writes, or when it has nothing more to write; then it is started again."""
        assert self.process is not None
        await self.writes(1)
        await asyncio.to_thread(self.process.kill)
        async with self._ledger() as database, database.transaction() as tx:
            # nobody waits for the leases of the dead
            await QUEUE.free(tx)
        await self.start()
        # the events of what it has created are read from now on; what people change before is no change
        await asyncio.to_thread(self.process.wait_for_log, "consumer.assigned")

    async def settled(self) -> bool:
        """Whether nothing is to be looked at again now: who has just been created is known by then."""
        soon = outbound_entity.c.due_ms <= now_ms() + 30_000
        async with self._ledger() as database:
            return not (await database.reader().execute(select(outbound_entity.c.own_id).where(soon))).all()

    @contextlib.asynccontextmanager
    async def _ledger(self) -> AsyncIterator[Database]:
        """Opened each time, since the server goes and comes back."""
        database = open_database(self._env["DATABASE_URL"])
        try:
            yield database
        finally:
            await database.close()

    async def writes(self, more: int) -> None:
        """Until so many writes more have been done, if they are, within a moment."""
        wanted = len(self._simulator.writes.log) + more
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: len(self._simulator.writes.log) >= wanted, 2)


async def test_an_oa_and_people_change_one_company_whatever_happens(
    processes, kafka_env, kafka_settings, breakable_kafka, breakable_postgres, postgres_url, tmp_path, figure
):
    seed = new_seed()
    dice = Random(seed)
    owners = tmp_path / "owners.toml"
    await asyncio.to_thread(Path.write_text, owners, OWNERS)
    settings = SimulatorSettings.load(
        simulator_port=0, simulator_users=3, simulator_departments=1, simulator_duplicates=0.3,
        simulator_retry_scale=0.05, simulator_corp_id=CORP,
        simulator_profile="reality,late_ms=1500",  # less than the settle time
    )  # fmt: skip
    async with Simulator(settings) as simulator:
        simulator.delivery.set(reorder=0.3)
        api = {"DINGTALK_API_BASE": simulator.base_url}
        ingress = IngressUnderTest(processes, tmp_path, kafka_env, api)
        await asyncio.to_thread(ingress.start)
        env = {
            **SAMPLE_CREDENTIALS, **kafka_env, **api, "TOPIC_PARTITIONS": "2", "DATABASE_URL": postgres_url,
            "ADMIN_PORT": str(ingress.admin_port),
        }  # fmt: skip
        register = ("callback", "register", "--url", ingress.url)
        assert (await asyncio.to_thread(processes.run, *register, env=env)).returncode == 0
        env.pop("ADMIN_PORT")
        env |= {
            "OUTBOUND_OWNERS": str(owners), "OUTBOUND_SETTLE_S": str(SETTLE_S), "OUTBOUND_GRACE_DAYS": "0",
            "OUTBOUND_MAX_REMOVALS": "10000",
            "OUTBOUND_MAX_UPDATES": "10000",
        }  # fmt: skip
        outbound = Outbound(processes, env, simulator)
        await outbound.start()
        await asyncio.to_thread(outbound.process.wait_for_log, "consumer.assigned")
        sides = TwoSides(simulator, kafka_settings, dice)

        async def kafka_vanishes() -> None:
            breakable_kafka.pause()
            await outbound.writes(3)
            breakable_kafka.resume()

        async def the_database_vanishes() -> None:
            await asyncio.to_thread(breakable_postgres.stop_server)
            await outbound.writes(3)
            await asyncio.to_thread(breakable_postgres.start_server)
            await outbound.kill()

        befalls: list[Callable[[], Awaitable[None]]] = [
            outbound.kill, kafka_vanishes, the_database_vanishes,
        ]  # fmt: skip
        first = [("department", f"D-{n}") for n in range(DEPARTMENTS)] + [
            ("user", f"U-{n}") for n in range(PEOPLE)
        ]
        for number in range(ROUNDS):
            loses(simulator, dice)
            changed = first if number == 0 else dice.sample(first, len(first) // 2)
            for kind, own_id in changed:
                want(sides, kind, own_id, dice)
            await sides.tell(changed)
            troubles = asyncio.ensure_future(befalls[number % len(befalls)]())
            # who is not changed by the OA in this round is changed by people, and so are some who are
            for kind, own_id in first if number else []:
                if kind == "user" and sides.here(own_id):
                    sides.edit(own_id, stands=(kind, own_id) not in changed)
                elif kind == "department" and (kind, own_id) not in changed:
                    sides.rename_department(own_id, stands=True)
                await outbound.writes(1) if dice.random() < 0.2 else None
            await troubles
            simulator.faults.clear()
            simulator.writes.set(event_delay_ms=0, read_lag_ms=0)
            try:
                await eventually(sides.converged, 120)
                await eventually(outbound.settled, 60)
            except TimeoutError:
                raise AssertionError(f"round {number}, seed {seed}: open is {sides.open}") from None
        told = await sides.changes()
        writes = effective(simulator)
    figure(
        f"{ROUNDS} rounds, seed {seed}: the OA said {sum(sides.said.values())} things, people changed "
        f"{len(sides.standing)} that stood; {sum(writes.values())} writes, {len(told)} changes told"
    )
    assert {change for change, times in told.items() if times > 1} == set()
    assert told.keys() <= sides.edits, "echoes"
    assert {own_id for kind, own_id, _ in writes if kind == "user"} <= set(sides.everybody()), "a founder"
    for key in sides.wanted:
        kind, own_id = key
        if kind == "user":
            assert writes["user", own_id, "create"] == sides.appeared[key], own_id
            effected = sum(times for (_, one, _), times in writes.items() if one == own_id)
            assert effected <= sides.said[key] + sides.written_back[key], own_id


def want(sides: TwoSides, kind: str, own_id: str, dice: Random) -> None:
    if kind == "department":
        sides.want_department(own_id)
    elif sides.here(own_id) and dice.random() < 0.2:
        sides.want_nobody(own_id)
    elif not sides.here(own_id) and sides.said[kind, own_id] and dice.random() < 0.5:
        sides.pass_number_on(own_id)
        sides.want_nobody(own_id)
    else:
        sides.want_person(own_id)


def loses(simulator: Simulator, dice: Random) -> None:
    """Some replies of this round are lost; events and reads come at times of their own."""
    for api in WRITES:
        fault = dice.choice(LOST)
        simulator.faults.add({"api": api, "after": dice.randrange(3), "times": dice.randrange(1, 3), **fault})
    low = dice.choice([-300, 0])
    simulator.writes.set(event_delay_ms=[low, dice.choice([200, 1500])], read_lag_ms=dice.choice([0, 500]))


def effective(simulator: Simulator) -> Counter[tuple[str, str, str]]:
    """How many writes changed DingTalk: by kind, DingTalk's id, and create, update or delete."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for entry in simulator.writes.log:
        if entry["changed"]:
            *_, kind, verb = entry["path"].split("/")
            counted[kind, str(entry["id"]), verb] += 1
    return counted
