"""A life of the whole bridge, from its seed: DingTalk, the ingress on its disk, and Kafka."""

import asyncio
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from dingbridge.settings import KafkaSettings
from tests.lives.bridge import checks
from tests.lives.bridge.acts import ACTS, sleep_of
from tests.lives.bridge.dingtalk import TYPES
from tests.lives.bridge.edges import edges
from tests.lives.bridge.kafka import Cluster
from tests.lives.bridge.machine import Machine
from tests.lives.clock import JumpingLoop
from tests.lives.life import Plan, Step, surroundings
from tests.lives.process import dies_with_its_process

STEPS = 16
QUIET_COARSE_S = 5.0
MOST_S = 1500.0
LOOK_S = 30.0


def plan_of(seed: int) -> Plan:
    """The life of ``seed``, before it is lived."""
    dice = Random(f"bridge {seed}")
    weights = {name: happening.weight for name, happening in ACTS.items()}
    chosen = dice.choices(list(weights), list(weights.values()), k=dice.randrange(STEPS // 3, STEPS + 1))
    steps = tuple(Step(sleep_of(name, dice), name, dice.randrange(10**6)) for name in chosen)
    return Plan("bridge", seed, "", steps)


class BridgeLife:
    """What the acts act upon."""

    def __init__(self, plan: Plan, folder: Path, log: list[str]) -> None:
        self.plan, self.log = plan, log
        self.faults: list[str] = []
        self.kafka_settings = KafkaSettings.load()
        cluster = Cluster(dies_with_its_process)
        self.machine = Machine(plan.seed, folder, cluster, self.faults)

    def later(self, delay_s: float, act: Callable[[], Any]) -> None:
        asyncio.get_running_loop().call_later(delay_s, act)

    def _people_go_on(self, dice: Random) -> None:
        """Events around what has happened: so troubles meet callbacks."""
        dingtalk = self.machine.dingtalk
        for _ in range(dice.choice((0, 1, 3))):
            push = dingtalk.push if dice.random() < 0.7 else dingtalk.stream
            kind, more = dice.choice(TYPES), dice.choice((0, 0, 4000))
            self.later(dice.choice((0.0, 0.003, 0.1, 3.0)), partial(push, kind, more))

    def machine_is_well(self) -> None:
        """The disk takes writes again."""
        self.machine.refuses, self.machine.slow_s = None, 0.0

    def retry(self) -> None:
        """As ``dingbridge journal retry``."""
        if self.machine.listener() is not None:
            self.machine.ingress._relay.retry()

    def heal(self) -> None:
        self.machine_is_well()
        self.machine.cluster.heal()
        dingtalk = self.machine.dingtalk
        dingtalk.loses_answers, dingtalk.list_answers_lost, dingtalk.stream_is_away = 0.0, 0, False

    async def live(self) -> list[str]:
        """All that is wrong in the end; empty when nothing is."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        self.machine.start()
        await asyncio.sleep(2)
        for step in self.plan.steps:
            loop.coarse_s = QUIET_COARSE_S if step.after_s > 30 else 0.0
            await asyncio.sleep(step.after_s)
            loop.coarse_s = 0.0
            dice = Random(step.dice)
            ACTS[step.what].act(self, dice)
            self._people_go_on(dice)
        loop.coarse_s = 1.0
        await asyncio.sleep(60)
        loop.coarse_s = QUIET_COARSE_S
        await asyncio.sleep(200)  # the longest trouble is over
        self.heal()
        since = loop.time()
        while loop.time() < since + MOST_S and not self._is_settled():
            self.retry()
            await asyncio.sleep(LOOK_S)
        problems = checks.all_problems(self)
        await self.machine.stop()
        return problems

    def _is_settled(self) -> bool:
        """Nothing is pushed, listed or waiting, and all gaps are told of."""
        dingtalk = self.machine.dingtalk
        if dingtalk.pushing or dingtalk.listed or not dingtalk.sockets or not self.machine.drained():
            return False
        return not [*checks.gaps(self), *checks.given_away(self)]


def lived(plan: Plan, folder: Path, log: list[str] | None = None) -> list[str]:
    """Live ``plan`` in ``folder``, which is empty; what was wrong in the end, and what broke."""
    folder.mkdir(parents=True)
    log = [] if log is None else log
    before = random.getstate()
    random.seed(plan.seed)
    with pytest.MonkeyPatch.context() as patch, surroundings(folder, patch, log) as loop:
        asyncio.set_event_loop(loop)
        try:
            life = BridgeLife(plan, folder, log)
            with edges(life.machine, patch):
                return loop.run_until_complete(life.live()) + life.faults
        finally:
            asyncio.set_event_loop(None)
            random.setstate(before)
