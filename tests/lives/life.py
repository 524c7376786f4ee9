"""One life, from its seed: what happens, and whether all is right in the end."""

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import structlog

from dingbridge.consumers.address_sync import AddressSync
from dingbridge.consumers.approval import Approval
from dingbridge.consumers.outbound import Outbound
from dingbridge.events.control import resync_requested
from dingbridge.kafka.topic_policy import RESYNC, control_topic
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.faults import Fault
from dingbridge.worker.consumer import Consumer
from tests.lives import checks
from tests.lives.acts import (
    ACTS,
    DAY_S,
    USER,
    Part,
    a_listing_is_refused,
    dingtalk_is_away_for_a_day,
    sleep_of,
)
from tests.lives.broker import MemoryBroker
from tests.lives.clock import BEGAN_S, JumpingLoop, jumping
from tests.lives.cruel import Watch, no_such_user
from tests.lives.mortal import making_tasks
from tests.lives.process import BASE, Running, dies_with_its_process, dingtalk_by_wire, kafka_in_memory
from tests.lives.sqlite import without_threads
from tests.lives.world import CORP, TOGETHER, Clocks, World
from tests.support.sizes import sized

USUAL = 3
"""Lives of each single consumer in ``make test-all``."""

STEPS = 30
DURING = 8
"""So many of the steps are in a day without DingTalk, where a life has one."""

BUSY_COARSE_S, QUIET_COARSE_S, IDLE_COARSE_S, OUTAGE_COARSE_S = 5.0, 100.0, 900.0, 1800.0
SETTLE_S, WAITED_S = 2.5 * 3600.0, DAY_S
"""How long after the last step everything must be right, in s: looks after an hour are over by then; and so
much longer where people may wait beyond the limit of leavers, who are read once a day."""

RESYNCED = a_listing_is_refused.__name__
MAX_LEAVERS, APART_S = ("0", "2"), 600.0
"""In cruel lives: how many may be marked as left a day without an event; how far clocks are apart, in s."""

HEARTBEATS, MOST_HEARTBEATS, EDITS_EVERY = 30, sized(120, 120, quick=60), sized(1, 1, quick=3)
"""In how many parts that passes, and at most where one person is refused: each event about him has an hour of
its own before it is given up, and they come one after the other. Then others are edited in each, or in every
third."""

OWNERS = """
[users]
remark = "report"
workPlace = "dingtalk"
"""


@dataclass(frozen=True, slots=True)
class Step:
    after_s: float
    what: str
    dice: int

    def __str__(self) -> str:
        return f"{self.after_s:7.1f} s later  {self.what} ({self.dice})"


class Kind(NamedTuple):
    """What lives of one kind are about: the consumers that run, and the parts of what happens."""

    consumers: tuple[Callable[[], Consumer], ...]
    parts: frozenset[Part]


KINDS: dict[str, Kind] = {
    "contacts": Kind((AddressSync,), frozenset(("contacts", "trouble"))),
    "approvals": Kind((Approval,), frozenset(("approvals", "trouble"))),
    "outbound": Kind((Outbound,), frozenset(("contacts", "oa", "trouble"))),
    "cruel": Kind((AddressSync,), frozenset(("contacts", "cruel"))),
    "all": Kind((AddressSync, Approval, Outbound), frozenset(("contacts", "approvals", "oa", "trouble"))),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A life before it is lived. ``profile`` is the simulator's; ``stubborn``: reads of one person fail to
    the end, and all that is not about him must be right; ``clocks``: how far those of DingTalk, of the
    receipt and of the broker are ahead of the consumers', in s."""

    kind: str
    seed: int
    profile: str
    steps: tuple[Step, ...]
    stubborn: bool = False
    max_leavers: str = "5%"
    clocks: Clocks = TOGETHER

    @classmethod
    def of(cls, kind: str, seed: int, *, profile: str | None = None, long_outage: bool = False) -> "Plan":
        dice, parts = Random(f"{kind} {seed}"), KINDS[kind].parts
        acts = {name: happening.weight for name, happening in ACTS.items() if happening.part in parts}
        max_leavers, clocks = "5%", TOGETHER
        if cruel := [name for name in acts if ACTS[name].part == "cruel"]:  # one at a time, or some together
            kept = dice.sample(cruel, dice.choice((1, 1, 3)))
            others = {name: weight for name, weight in acts.items() if name not in (*cruel, RESYNCED)}
            acts = others | dict.fromkeys(kept, 15 // len(kept))
            max_leavers = dice.choice(MAX_LEAVERS)
            clocks = Clocks(*(dice.choice((0.0, 0.0, APART_S, -APART_S)) for _ in Clocks._fields))
        chosen = dice.choices(list(acts), list(acts.values()), k=dice.randrange(STEPS // 3, STEPS + 1))
        made = tuple(Step(sleep_of(name, dice), name, dice.randrange(10**6)) for name in chosen)
        lag = dice.choice(("late=0", "late=0.4,late_ms=4000", "late=1,late_ms=4000", "late=0.4"))
        stubborn = kind == "contacts" and dice.random() < 0.3
        if long_outage:  # and people go on working
            half = len(made) // 2
            during = [replace(step, after_s=DAY_S / DURING) for step in made[half : half + DURING]]
            begins = Step(10.0, dingtalk_is_away_for_a_day.__name__, 0)
            made = (*made[:half], begins, *during, *made[half + DURING :])
        return cls(kind, seed, profile or f"kind,{lag}", made, stubborn, max_leavers, clocks)

    def __str__(self) -> str:
        person = ", one person refused to the end" if self.stubborn else ""
        head = f"kind {self.kind}, seed {self.seed}, profile {self.profile}{person}"
        if self.kind == "cruel":
            head += f", {self.max_leavers} leavers a day, {self.clocks}"
        lines = [f"{head}, {len(self.steps)} steps:"]
        return "\n".join([*lines, *map(str, self.steps)])


class Life:
    """What the acts act upon."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.faults: list[str] = []
        self.broker = MemoryBroker(dies_with_its_process)
        self.settings = KafkaSettings.load()
        self.world = World(plan.seed, self.broker, self.settings, plan.profile, plan.clocks)
        self.processes: list[Running] = []
        self._number = 1000
        self._troubles: list[asyncio.TimerHandle] = []
        self.away_until = 0.0
        self.cruelties: list[tuple[str, Fault]] = []
        """Those that were asked for, by name."""
        self.refused = ""
        """Whom every read by name refuses to the end."""
        self._stubborn = 0

    def number(self) -> int:
        self._number += 1
        return self._number

    def later(self, delay_s: float, act: Callable[[], Any]) -> None:
        """Do it then, if it can be done."""
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + delay_s, _if_possible, act)

    # Trouble

    def away(self, for_s: float) -> None:
        """DingTalk does not answer for so long."""
        wire, loop = self.world.simulator.wire, asyncio.get_running_loop()
        wire.down()
        self.away_until = max(self.away_until, loop.time() + for_s)
        self._touch_all()

        def back() -> None:
            if loop.time() >= self.away_until:
                wire.up()
                self._touch_all()

        loop.call_at(self.away_until, back)

    def fault(self, wanted: dict[str, Any]) -> int:
        self._touch_all()
        fault = self.world.simulator.faults.add(wanted)
        if "cruelty" in wanted:
            self.cruelties.append((wanted["cruelty"], fault))
        return int(fault.id)

    def refuse(self, api: str, match: dict[str, str], for_s: float, errcode: int | None = None) -> None:
        """Reads of one entity fail for so long; others work."""
        answer = (
            {"kind": "http", "status": 500} if errcode is None else {"kind": "errcode", "errcode": errcode}
        )
        fault = self.fault({"api": api, "match": match, **answer})
        loop = asyncio.get_running_loop()
        loop.call_at(loop.time() + for_s, self._allow, fault)

    def _allow(self, fault: int) -> None:
        self.world.simulator.faults.clear(fault)
        self._touch_all()

    def resync(self) -> None:
        """The bridge asks all consumers to compare everything."""
        now_ms = int((time.time() + self.plan.clocks.receipt_s) * 1000)
        record = resync_requested(
            id=f"r{self.number()}", app="default", corp_id=CORP, now_ms=now_ms, since_ms=now_ms - 3_600_000,
            part="all", reason="life",
        )  # fmt: skip
        self.broker.append(control_topic(self.settings, RESYNC), *record)

    def _touch_all(self) -> None:
        """Nothing can be asked of how soon changes of this moment are told."""
        for own_id in self.world.wanted:
            self.world.touched[own_id].append(asyncio.get_running_loop().time())

    def heal(self) -> None:
        self.away_until = 0.0
        self.world.simulator.wire.up()
        for fault in [*self.world.simulator.faults]:
            if fault.id != self._stubborn:
                self.world.simulator.faults.clear(fault.id)
        self._touch_all()

    def _is_left(self) -> bool:
        """Whether any record is not done."""
        return any(
            len(self.broker.topics[partition.topic]) > kept.offset
            for (_, partition), kept in self.broker.committed.items()
        )

    # Its course

    async def live(self) -> list[str]:
        """All that is wrong in the end; empty when nothing is."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        await self.world.simulator.start()
        latency = Random(f"latency {self.plan.seed}")
        for make in KINDS[self.plan.kind].consumers:
            running = Running(make, self.folder, self.world.simulator.wire, latency, self.faults)
            self.processes.append(running)
            running.start()
        loop.coarse_s = BUSY_COARSE_S
        await asyncio.sleep(20)
        watch = Watch(self) if self.plan.kind == "cruel" else None
        if self.plan.stubborn:
            self.refused = sorted(self.world.company.users)[0]
            answer = {"api": USER, "match": {"userid": self.refused}, "kind": "http", "status": 500}
            self._stubborn = self.fault(answer)
            self.world.act("edit", userid=self.refused, title="不可见")
        for step in self.plan.steps:
            if step.after_s > 100:
                loop.coarse_s = QUIET_COARSE_S if step.after_s < DAY_S / DURING else OUTAGE_COARSE_S
            await asyncio.sleep(step.after_s)
            loop.coarse_s = BUSY_COARSE_S
            _if_possible(lambda step=step: ACTS[step.what].act(self, Random(step.dice)))  # type: ignore[misc]
        await asyncio.sleep(60)
        loop.coarse_s = QUIET_COARSE_S
        ends = (fault.until for fault in self.world.simulator.faults if fault.until < math.inf)
        # what was to follow, and the longest trouble, are over
        await asyncio.sleep(max(1500.0, max(ends, default=0.0) - loop.time()))
        self.heal()
        await asyncio.sleep(600)
        loop.coarse_s = IDLE_COARSE_S
        for number in range(MOST_HEARTBEATS):
            if number >= HEARTBEATS and not (self.refused and self._is_left()):
                break
            if self.refused and number % EDITS_EVERY == 0:  # only what works beside him shows that it is he
                others = [user for user in self.world.company.users if user != self.refused]
                self.world.act("edit", userid=others[0], title=f"拍{number}")
            await asyncio.sleep(SETTLE_S / HEARTBEATS)
        if any(step.what == no_such_user.__name__ for step in self.plan.steps):
            await asyncio.sleep(WAITED_S)
        await asyncio.sleep(400)
        problems = await checks.all_problems(self)
        if watch is not None:
            problems += watch.end()
        for running in self.processes:
            await running.stop()
        await self.world.simulator.stop()
        return problems


def _if_possible(act: Callable[[], Any]) -> None:
    try:
        act()
    except ActionError:
        return


@contextmanager
def surroundings(
    folder: Path, patch: pytest.MonkeyPatch, log: list[str] | None = None, max_leavers: str = "5%"
) -> Iterator[JumpingLoop]:
    """Everything that a life needs beside itself."""
    owners = folder / "owners.toml"
    owners.write_text(OWNERS)
    for name, value in {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka.simulated:9092",
        "DINGTALK_API_BASE": BASE,
        "DINGTALK_CORP_ID": CORP,
        "DATA_DIR": str(folder),
        "OUTBOUND_OWNERS": str(owners),
        "OUTBOUND_GRACE_DAYS": "0.01",
        "OUTBOUND_MAX_REMOVALS": "1000",
        "OUTBOUND_MAX_UPDATES": "10000",
        "RECONCILE_EVERY_DAYS": "0",
        "MAX_LEAVERS": max_leavers,
        **{name: SAMPLE_CREDENTIALS[name] for name in ("DINGTALK_APP_KEY", "DINGTALK_APP_SECRET")},
    }.items():
        patch.setenv(name, value)
    for name in ("DATABASE_URL", "ADMIN_PORT", "ARCHIVE_DIR"):
        patch.delenv(name, raising=False)
    before = structlog.get_config()
    with jumping() as loop:
        structlog.configure(processors=[_Diary(loop, log)], cache_logger_on_first_use=False)
        loop.set_task_factory(making_tasks)  # type: ignore[arg-type]
        loop.set_exception_handler(lambda *_: None)  # the dead complain of what they left open
        without_threads(patch)
        logging.disable(logging.CRITICAL)  # so do libraries, of what was cut off in their midst
        try:
            yield loop
        finally:
            logging.disable(logging.NOTSET)
            structlog.configure(**before)


class _Diary:
    """Keeps what the processes log, with the life's time."""

    def __init__(self, loop: JumpingLoop, log: list[str] | None) -> None:
        self._loop, self._log = loop, log

    def __call__(self, logger: Any, level: str, event: dict[str, Any]) -> Any:
        quiet = level == "debug" or event.get("event") == "consumer.loop_blocked"
        if self._log is not None and not quiet:
            words = " ".join(f"{name}={value}" for name, value in event.items() if name != "event")
            self._log.append(f"{self._loop.now:9.1f} {event.get('event')} {words}")
        raise structlog.DropEvent


def lived(plan: Plan, folder: Path, log: list[str] | None = None) -> list[str]:
    """Live ``plan`` in ``folder``, which is empty; what was wrong in the end, and what broke."""
    folder.mkdir(parents=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        surroundings(folder, patch, log, plan.max_leavers) as loop,
        ExitStack() as stack,
    ):
        asyncio.set_event_loop(loop)
        try:
            life = Life(plan, folder)
            stack.enter_context(kafka_in_memory(life.broker))
            stack.enter_context(dingtalk_by_wire())
            return loop.run_until_complete(life.live()) + life.faults
        finally:
            asyncio.set_event_loop(None)


def shrunk(plan: Plan, fails: Callable[[Plan], bool], *, most: int = 60) -> Plan:
    """A shorter life that fails as well: parts of it are left out, halves first. ``most``: lives that are
    tried."""
    tried, size = 0, max(1, len(plan.steps) // 2)
    while tried < most:
        at, got_shorter = 0, False
        while at < len(plan.steps) and tried < most:
            shorter = replace(plan, steps=plan.steps[:at] + plan.steps[at + size :])
            tried += 1
            if fails(shorter):
                plan, got_shorter = shorter, True
            else:
                at += size
        if size == 1 and not got_shorter:
            break
        size = max(1, size // 2)
    return plan


def from_environment(default: Sequence[int]) -> Sequence[int]:
    """The seeds of ``LIVES``, as ``17`` or ``1-500``; else ``default``."""
    wanted = os.environ.get("LIVES")
    if not wanted:
        return default
    first, _, last = wanted.partition("-")
    return range(int(first), int(last or first) + 1)


__all__ = ["BEGAN_S", "USUAL", "Life", "Plan", "Step", "from_environment", "lived", "shrunk"]
