"""An OA and people who change one company at the same time, and what each of them has the last word on."""

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any, Final

from aiokafka import AIOKafkaProducer

from dingbridge.kafka.client import connection
from dingbridge.kafka.topic_policy import control_topic
from dingbridge.settings import KafkaSettings
from dingbridge.simulator.server import Simulator
from tests.support.kafka_reader import read_topic

CORP: Final = "dingcorpsample01"
OWNERS: Final = '[users]\nworkPlace = "dingtalk"\nremark = "report"\n'
"""What is not the OA's; mobile is DingTalk's by default."""
MOST_WRITTEN_BACK: Final = 4
"""What people do to the OA's fields of one entity in a run: five in an hour would be a flapping pair."""
_PEOPLES: Final = {"workPlace": "work_place", "remark": "remark", "title": "title", "mobile": "mobile"}

Key = tuple[str, str]
"""Kind and own id."""


def _number_of(own_id: str) -> str:
    return f"139{int(own_id.rpartition('-')[2]):08d}"


class TwoSides:
    """Every value is said once in a run, so a change can be told from an echo: people's begin with ``p``."""

    def __init__(self, simulator: Simulator, settings: KafkaSettings, dice: Random) -> None:
        self._simulator, self._settings, self._dice = simulator, settings, dice
        self._serial = itertools.count(1)
        self.wanted: dict[Key, dict[str, Any] | None] = {}
        self.said: Counter[Key] = Counter()
        self.appeared: Counter[Key] = Counter()
        self.written_back: Counter[Key] = Counter()
        self.last: dict[tuple[Key, str], str] = {}
        self.edits: set[tuple[Key, str, str]] = set()
        self.standing: set[tuple[Key, str, str]] = set()
        self.open: list[Any] = []
        self.founders = [*simulator.platform.company.users]
        """Who was there before the OA, and is none of its business."""

    # The OA

    def departments(self) -> list[str]:
        return [own_id for kind, own_id in self.wanted if kind == "department"]

    def people(self) -> list[str]:
        return [own_id for (kind, own_id), desired in self.wanted.items() if kind == "user" and desired]

    def everybody(self) -> list[str]:
        return [own_id for kind, own_id in self.wanted if kind == "user"]

    def want_department(self, own_id: str) -> None:
        above = [other for other in self.departments() if other < own_id]  # no circles
        parent = self._dice.choice(["root", *above])
        self._want(("department", own_id), {"name": f"o{next(self._serial)}", "parent": parent})

    def want_person(self, own_id: str) -> None:
        departments = self.departments()
        chosen = self._dice.sample(departments, self._dice.randint(1, min(2, len(departments))))
        desired = {
            "name": f"n{own_id[2:]}",
            "mobile": _number_of(own_id),
            "departments": sorted(chosen),
        }
        self._free(desired["mobile"])
        self._want(("user", own_id), desired | {"title": f"o{next(self._serial)}", "jobNumber": own_id})

    def want_nobody(self, own_id: str) -> None:
        self._want(("user", own_id), None)

    def _want(self, key: Key, desired: dict[str, Any] | None) -> None:
        if desired is not None and self.wanted.get(key) is None:
            self.appeared[key] += 1
            self.last = {place: value for place, value in self.last.items() if place[0] != key}
        self.wanted[key] = desired
        self.said[key] += 1

    async def tell(self, keys: Iterable[Key]) -> None:
        """The OA says how these shall be; some of it twice, and in any order."""
        records = []
        for kind, own_id in keys:
            desired, version = self.wanted[kind, own_id], self.said[kind, own_id]
            event = {
                "specversion": "1.0",
                "id": f"{own_id}-{version}",
                "source": "urn:example:oa",
                "type": f"com.dingbridge.{kind}.{'absent' if desired is None else 'desired'}",
                "subject": own_id,
                "datacontenttype": "application/json",
                "data": {"corpId": CORP, "version": version, **(desired or {})},
            }
            records += [(f"{CORP}:{kind}:{own_id}", event)] * self._dice.choice([1, 1, 2])
        self._dice.shuffle(records)
        producer = AIOKafkaProducer(**connection(self._settings))
        await producer.start()
        try:
            for key, event in records:
                topic = control_topic(self._settings, "outbound")
                await producer.send_and_wait(topic, json.dumps(event).encode(), key.encode())
        finally:
            await producer.stop()

    # People

    def edit(self, own_id: str, *, stands: bool) -> None:
        """Somebody changes one thing about this person; ``stands``: nobody else does so before it is seen."""
        names = (
            [*_PEOPLES] if self.written_back["user", own_id] < MOST_WRITTEN_BACK else ["workPlace", "remark"]
        )
        name = self._dice.choice(names)
        value = f"138{next(self._serial):08d}" if name == "mobile" else f"p{next(self._serial)}"
        self._simulator.act("edit", {"userid": own_id, _PEOPLES[name]: value})
        self._edited(("user", own_id), name, value, stands)

    def rename_department(self, own_id: str, *, stands: bool) -> None:
        if self.written_back["department", own_id] >= MOST_WRITTEN_BACK:
            return
        dept_id = self._dept_ids().get(own_id)
        value = f"p{next(self._serial)}"
        self._simulator.act("rename_department", {"dept_id": dept_id, "name": value})
        self._edited(("department", own_id), "name", value, stands)

    def _edited(self, key: Key, name: str, value: str, stands: bool) -> None:
        self.edits.add((key, name, value))
        if name in ("title", "name"):
            self.written_back[key] += 1
        else:
            self.last[key, name] = value
        if stands:
            self.standing = {one for one in self.standing if one[:2] != (key, name)} | {(key, name, value)}

    def pass_number_on(self, own_id: str) -> None:
        """A founder gets the number of somebody who is gone, and whom the OA goes on calling absent."""
        founder = self._dice.choice(self.founders)
        self._simulator.act("edit", {"userid": founder, "mobile": _number_of(own_id)})

    def _free(self, number: str) -> None:
        for founder in self.founders:
            if self._simulator.platform.company.users[founder].mobile == number:
                spare = f"137{next(self._serial):08d}"
                self._simulator.act("edit", {"userid": founder, "mobile": spare})

    def here(self, own_id: str) -> bool:
        return own_id in self._simulator.platform.company.users

    # What has happened to it

    def _dept_ids(self) -> dict[str, int]:
        departments = self._simulator.platform.company.departments.values()
        return {d.source_identifier: d.dept_id for d in departments if d.source_identifier} | {"root": 1}

    def differences(self) -> list[str]:
        """Where a field has not its owner's last word; empty when all have."""
        company, dept_ids = self._simulator.platform.company, self._dept_ids()
        found: list[str] = []
        for (kind, own_id), desired in self.wanted.items():
            if kind == "department":
                dept = company.departments.get(dept_ids.get(own_id, 0))
                parent = None if desired is None else dept_ids.get(desired["parent"])
                if dept is None or desired is None or (dept.name, dept.parent) != (desired["name"], parent):
                    found.append(f"department {own_id}")
                continue
            user = company.users.get(own_id)
            if (user is None) != (desired is None):
                found.append(f"user {own_id} is{'' if user else ' not'} there")
            if user is None or desired is None:
                continue
            theirs = {dept_ids.get(name) for name in desired["departments"]}
            if (user.name, user.title, set(user.dept_ids)) != (desired["name"], desired["title"], theirs):
                found.append(f"user {own_id}")
            for name in ("workPlace", "remark", "mobile"):
                last = self.last.get((("user", own_id), name))
                if last is not None and getattr(user, _PEOPLES[name]) != last:
                    found.append(f"user {own_id}: {name}")
        return found

    async def converged(self) -> bool:
        """Whether nothing differs, and each change that stood is told; if not, ``open`` says what."""
        self.open[:] = self.differences()
        if not self.open:
            told = await self.changes()
            self.open[:] = [change for change in self.standing if not told[change]]
        return not self.open

    async def changes(self) -> Counter[tuple[Key, str, str]]:
        """How often the OA was told of each change, by distinct CloudEvents: entity, field, new value."""
        told: dict[str, dict[str, Any]] = {}
        for record in await read_topic(self._settings, control_topic(self._settings, "changes")):
            event = json.loads(record.value or b"{}")
            told[event["source"] + " " + event["id"]] = event["data"]
        return Counter(
            ((data["kind"], data["id"]), name, str(values["new"]))
            for data in told.values()
            if data["id"] is not None  # not one of those whom the OA never named
            for name, values in data["fields"].items()
        )
