"""DingTalk, the people in it, and the OA beside it, as one life has them; with all that was said and done.

Events reach their topics some time after they happened, in no order, now and then twice; messages of the OA
at once. What is noted here is what the checks at the end hold tables and answers against.
"""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from dingbridge.consumers.outbound import fields as outbound_fields
from dingbridge.consumers.outbound.messages import key
from dingbridge.events.envelope import Received, to_records
from dingbridge.kafka.topic_policy import control_topic, event_topic
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.company.events import PlatformEvent
from dingbridge.simulator.company.platform import now_ms
from dingbridge.simulator.recording import RecordedStep
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.lives.broker import MemoryBroker
from tests.lives.clock import everywhere
from tests.lives.wire import Wire

CORP = "dingcorpsample01"
PEOPLE, DEPARTMENTS = 8, 3
DELAYS_S = (0.05, 0.2, 0.5, 1.0, 1.0, 10.0, 40.0)
"""How long an event may take to its topic, in s; the last two are a push that failed and came again."""


class Clocks(NamedTuple):
    """How far clocks are ahead of the consumers', in s: DingTalk's, that of the receipt, the broker's."""

    dingtalk_s: float = 0.0
    receipt_s: float = 0.0
    broker_s: float = 0.0


TOGETHER = Clocks()


class SocketlessSimulator(Simulator):
    """Answers over a ``Wire``."""

    async def start(self) -> None:
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self.wire = Wire(server)
        await self.live()


@dataclass(slots=True)
class Wanted:
    """The OA's last word about one of its own ids. ``version`` 0: none yet."""

    kind: str
    version: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    absent: bool = False
    held: bool = False
    """Whether another person has had its number since then."""
    records: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Change:
    """A person changed ``name`` of what the OA made under ``own_id``; ``new`` as the OA would be told."""

    at: float
    own_id: str
    name: str
    new: str


class World:
    def __init__(
        self,
        seed: int,
        broker: MemoryBroker,
        settings: KafkaSettings,
        profile: str,
        clocks: Clocks,
    ) -> None:
        self.seed, self._broker, self._settings, self._clocks = seed, broker, settings, clocks
        self.dice = Random(f"world {seed}")
        broker.ahead_s = clocks.broker_s
        with everywhere(now_ms, lambda: int((time.time() + clocks.dingtalk_s) * 1000)):
            self.simulator = SocketlessSimulator(
                SimulatorSettings(
                    simulator_seed=seed,
                    simulator_users=PEOPLE,
                    simulator_departments=DEPARTMENTS,
                    simulator_duplicates=0,
                    simulator_profile=profile,
                    simulator_corp_id=CORP,
                )
            )
        self._noted = self.simulator.platform.on_step
        self.simulator.platform.on_step = self._stepped
        self._received = 0
        self.wanted: dict[str, Wanted] = {}
        self.made: dict[str, set[str]] = defaultdict(set)
        """By own id, the marks of whom or what its creations made: unionids, dept_ids."""
        self.strangers: list[str] = []
        """Writes to somebody whom nobody named."""
        self.changes: list[Change] = []
        self.touched: dict[str, list[float]] = defaultdict(list)
        """When each own id's entity was touched: by people, messages, writes and troubles."""
        self.unnamed: set[str] = set()
        """The userids of whom the OA never named, and to whom people did something."""
        self.numbers = 0
        self._remember()

    @property
    def company(self) -> Any:
        return self.simulator.platform.company

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # What happens in DingTalk

    def act(self, action: str, **arguments: Any) -> list[PlatformEvent]:
        """People do something. Raises ``ActionError`` where it cannot be done."""
        return self.simulator.platform.act(action, arguments)

    def _stepped(self, step: RecordedStep, events: list[PlatformEvent]) -> None:
        self._noted(step, events)
        self._publish(events)
        after = dict(self._mine())
        written = step.action in self.simulator.platform.contact_writes.calls()
        if not written:
            self.unnamed |= {user for event in events for user in _users_in(event)} - self.wanted.keys()
        if written:
            self._written(str(step.action), step.arguments)
            after = dict(self._mine())
        for own_id in self._before.keys() | after.keys():
            old, new = self._before.get(own_id), after.get(own_id)
            if old == new:
                continue
            self.touched[own_id].append(self.now)
            if not written:
                self._changed(own_id, old, new)
        self._remember()

    def _changed(self, own_id: str, old: dict[str, Any] | None, new: dict[str, Any] | None) -> None:
        if old is None or new is None:
            self.changes.append(Change(self.now, own_id, "exists", json.dumps(new is not None)))
            return
        for name in old.keys() | new.keys():
            if old.get(name) != new.get(name):
                value = json.dumps(new.get(name), ensure_ascii=False, sort_keys=True)
                self.changes.append(Change(self.now, own_id, name, value))

    def _mine(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What the OA's creations made and is there: the fields as outbound reads them."""
        for own_id, wanted in self.wanted.items():
            shown = self.shown(own_id)
            if shown is not None:
                yield own_id, outbound_fields.observed(wanted.kind, shown)  # type: ignore[arg-type]

    def shown(self, own_id: str) -> dict[str, Any] | None:
        """What DingTalk has of what was created for ``own_id``."""
        marks = self.made.get(own_id, ())
        if self.wanted[own_id].kind == "user":
            user = self.company.users.peek(own_id)
            return self.company.user_result(user) if user is not None and user.unionid in marks else None
        for dept in self.company.departments.values():
            if str(dept.dept_id) in marks:
                return self.company.department_result(dept)  # type: ignore[no-any-return]
        return None

    def _written(self, path: str, body: dict[str, Any]) -> None:
        """Note what a call of the Open API has made, and whom it hit."""
        call = path.removeprefix("/topapi/v2/")
        userid, dept_id = str(body.get("userid", "")), str(body.get("dept_id", ""))
        if call == "user/create" and (user := self.company.users.peek(userid)) is not None:
            if userid not in self._people:
                self.made[userid].add(user.unionid)
        elif call == "department/create":
            for dept in self.company.departments.values():
                if str(dept.dept_id) not in self._tree and dept.source_identifier:
                    self.made[dept.source_identifier].add(str(dept.dept_id))
        elif call in ("user/update", "user/delete") and userid in self._people:
            if self._people[userid] not in self.made.get(userid, ()):
                self.strangers.append(f"{call} hit {userid}, whom no creation had made")
        elif call in ("department/update", "department/delete"):
            known = any(dept_id in marks for marks in self.made.values())
            if dept_id in self._tree and not known:
                self.strangers.append(f"{call} hit department {dept_id}, which no creation had made")

    def _remember(self) -> None:
        """Who and what is there, before the next thing happens."""
        self._before = dict(self._mine())
        self._people = {user.userid: user.unionid for user in self.company.users.values()}
        self._tree = {str(dept_id) for dept_id in self.company.departments}
        for own_id, wanted in self.wanted.items():
            wanted.held = wanted.held or self._held_by_another(own_id, wanted)

    def _held_by_another(self, own_id: str, wanted: Wanted) -> bool:
        holder = self.company.users.holding("mobile", wanted.data.get("mobile") or "none")
        return holder is not None and holder.unionid not in self.made.get(own_id, ())

    def _publish(self, events: Iterable[PlatformEvent]) -> None:
        apart_ms = round((self._clocks.receipt_s - self._clocks.dingtalk_s) * 1000)
        for event in events:
            self._received += 1
            received = Received(
                seq=self._received,
                journal="life",
                received_ms=event.time_ms + apart_ms,
                app="default",
                via="http",
                body=event.plaintext(),
            )
            for record in to_records(received):
                if record.event_type is None:
                    continue
                topic = event_topic(self._settings, record.event_type)
                for _ in range(2 if self.dice.random() < 0.1 else 1):
                    delay_s = self.dice.choice(DELAYS_S) * self.dice.random()
                    asyncio.get_running_loop().call_at(
                        self.now + delay_s,
                        self._broker.append,
                        topic,
                        record.key,
                        record.value,
                        record.headers,
                    )

    # What the OA says

    def say(self, own_id: str, kind: str, *, absent: bool = False, **data: Any) -> None:
        """The OA's new word about ``own_id``."""
        wanted = self.wanted.setdefault(own_id, Wanted(kind))
        wanted.version += 1
        wanted.data, wanted.absent = data, absent
        wanted.held = self._held_by_another(own_id, wanted)
        self.touched[own_id].append(self.now)
        self.numbers += 1
        envelope = {
            "specversion": "1.0",
            "id": f"m{self.numbers}",
            "source": "/oa",
            "type": f"com.dingbridge.{kind}.{'absent' if absent else 'desired'}",
            "subject": own_id,
            "data": {"corpId": CORP, "version": wanted.version, **({} if absent else data)},
        }
        record = key(CORP, kind, own_id).encode(), json.dumps(envelope).encode()
        wanted.records.append(record)
        self._broker.append(control_topic(self._settings, "outbound"), *record)

    def repeat(self, own_id: str, which: int) -> None:
        """A message comes again, as it was."""
        records = self.wanted[own_id].records
        self._broker.append(control_topic(self._settings, "outbound"), *records[which % len(records)])

    # What the OA was told

    def told(self, topic: str) -> list[dict[str, Any]]:
        """The envelopes of a control topic, each id once."""
        found: dict[str, dict[str, Any]] = {}
        for record in self._broker.topics[control_topic(self._settings, topic)]:
            envelope = json.loads(record.value or b"{}")
            found.setdefault(envelope["id"], envelope)
        return list(found.values())


def _users_in(event: PlatformEvent) -> list[str]:
    """Whom a contact event is about."""
    if event.event_type not in ("user_add_org", "user_modify_org", "user_leave_org"):
        return []
    names = (event.payload.get(name) for name in ("UserId", "userId", "UserIdList", "userIdList"))
    return [user for found in names if found for user in (found if isinstance(found, list) else [found])]
