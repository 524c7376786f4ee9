"""A machine is lost, and its back-up restored into another folder, on Kafka's same topics: nothing that came
after the back-up is missed, and nothing is started twice.
"""

import asyncio
import json
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from dingbridge.consumers.outbound.cli.support import read_messages
from dingbridge.consumers.outbound.cli.support import send as send_messages
from dingbridge.settings import SAMPLE_CREDENTIALS, KafkaSettings
from dingbridge.simulator.company.templates import OWN_NUMBER
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Process, Processes
from tests.support.waiting import eventually

CORP = "dingcorpsample01"


class Installation:
    """Ingress, approval and outbound with their data in one folder."""

    def __init__(self, processes: Processes, folder: Path, *layers: dict[str, str]) -> None:
        self.folder, self._processes = folder, processes
        self.ingress = IngressUnderTest(processes, folder, *layers)
        self.env = {**self.ingress.env, "DATA_DIR": str(folder)}
        self.ingress.env = self.env
        self.consumers: dict[str, Process] = {}

    async def start(self) -> None:
        await asyncio.to_thread(self.ingress.start)
        env = {name: value for name, value in self.env.items() if name != "ADMIN_PORT"}
        for name in ("approval", "outbound"):
            self.consumers[name] = self._processes.start("consume", name, env=env)
        for process in self.consumers.values():
            await asyncio.to_thread(process.wait_for_log, "consumer.assigned")

    async def end(self) -> None:
        assert self.ingress.process is not None
        await asyncio.to_thread(self.ingress.process.kill)
        for process in self.consumers.values():
            process.terminate()  # a member that is killed stays one for 10 s
        for process in self.consumers.values():
            assert await asyncio.to_thread(process.wait, 30) == 0

    async def run(self, *arguments: str, code: int = 0) -> str:
        done = await asyncio.to_thread(self._processes.run, *arguments, env=self.env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def archived(self) -> dict[str, str]:
        """Status by instance of the approvals in the archive."""
        with closing(sqlite3.connect(self.folder / "approval.db")) as db:
            return dict(db.execute("SELECT instance_id, status FROM approval_instances"))

    def requests(self) -> dict[str, tuple[str, str | None, str | None]]:
        """Result, reason and DingTalk's id of outbound's requests."""
        with closing(sqlite3.connect(self.folder / "outbound.db")) as db:
            rows = db.execute("SELECT request_id, result, reason, ding_id FROM outbound_requests")
            return {name: (result, reason, ding_id) for name, result, reason, ding_id in rows}


async def test_events_and_approvals_after_the_back_up_are_neither_missed_nor_started_twice(
    processes: Processes, kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    settings = SimulatorSettings.load(
        simulator_port=0,
        simulator_users=4,
        simulator_departments=1,
        simulator_corp_id=CORP,
        simulator_retry_scale=0.05,
    )
    owners = tmp_path / "owners.toml"
    async with Simulator(settings) as simulator:
        people = [*simulator.platform.company.users]
        lists = json.dumps([*people, "E9"])
        template = f'[templates."PROC-LEAVE"]\noriginators = {lists}\nrequest_id_field = "{OWN_NUMBER}"\n'
        await asyncio.to_thread(owners.write_text, template)
        layer = {
            **SAMPLE_CREDENTIALS, **kafka_env, "DINGTALK_API_BASE": simulator.base_url,
            "DINGTALK_CORP_ID": CORP, "OUTBOUND_OWNERS": str(owners), "OUTBOUND_SETTLE_S": "1",
        }  # fmt: skip

        def asked(request_id: str) -> list[Any]:
            """The instances that were started for a request."""
            found = simulator.state()["approvals"]
            return [one for one in found if request_id in json.dumps(one, ensure_ascii=False)]

        async def send(type_: str, subject: str, **data: Any) -> None:
            file = tmp_path / "message.json"
            message = {"type": type_, "subject": subject, "data": {"corpId": CORP, **data}}
            await asyncio.to_thread(file.write_text, json.dumps([message]))
            await send_messages(kafka_settings, read_messages(file))

        async def start(request_id: str, originator: str = people[0]) -> None:
            form = {"请假类型": "年假"}
            data = {"processCode": "PROC-LEAVE", "originator": originator, "form": form}
            await send("approval.start", request_id, **data)

        async def agreed(where: Installation) -> str:
            """An approval that a person starts and that ends, in the archive."""
            known = {one["process_instance_id"] for one in simulator.state()["approvals"]}
            simulator.act("start_approval", {"userid": people[1]})
            [instance_id] = {one["process_instance_id"] for one in simulator.state()["approvals"]} - known
            simulator.act("approve", {"process_instance_id": instance_id})
            await eventually(lambda: where.archived().get(instance_id) == "COMPLETED", what="it is archived")
            return instance_id

        def told(where: Installation, *wanted: str) -> Callable[[], bool]:
            return lambda: all((where.requests().get(name) or (None,))[0] == "done" for name in wanted)

        old = Installation(processes, tmp_path / "old", layer)
        await old.start()
        await old.run("callback", "register", "--url", old.ingress.url)
        before = await agreed(old)
        await start("REQ-before")
        await eventually(told(old, "REQ-before"), what="it is started")
        await start("REQ-waits", originator="E9")  # whom nobody has sent yet
        await eventually(lambda: "REQ-waits" in old.requests(), what="it waits")

        copy = tmp_path / "copy"
        said = await old.run("backup", str(copy))
        for words in ("databases/approval.db", "databases/outbound.db", "journal/current", "not in it"):
            assert words in said
        modes = {stat.S_IMODE(path.stat().st_mode) for path in copy.rglob("*") if path.is_file()}
        assert (modes, stat.S_IMODE(copy.stat().st_mode)) == ({0o600}, 0o700)

        after = await agreed(old)
        await start("REQ-after")
        person = {"version": 1, "name": "新人", "mobile": "13900000009", "departments": ["root"]}
        await send("user.desired", "E9", **person)
        await eventually(told(old, "REQ-after", "REQ-waits"), what="both are started")
        assert "has members" in await old.run("restore", str(copy), code=3)
        await old.end()

        new = Installation(processes, tmp_path / "new", layer)
        await asyncio.to_thread(new.folder.mkdir)
        said = await new.run("restore", str(copy), "--yes")
        for words in ("the ingress drains it", "approval is set back", "outbound is set back"):
            assert words in said
        await new.start()
        await new.run("callback", "update", "--url", new.ingress.url)
        await eventually(
            lambda: {before, after} <= new.archived().keys() and new.archived()[after] == "COMPLETED",
            60, "what came after the back-up is archived",
        )  # fmt: skip
        await agreed(new)
        waiting = {"REQ-waits", "REQ-after"}
        await eventually(lambda: waiting <= new.requests().keys(), what="the requests are read again")
        assert {new.requests()[name][:2] for name in waiting} == {("pending", "unknown")}
        assert "paused since a restore" in await new.run("outbound", "status")

        async def resumed() -> bool:
            done = await asyncio.to_thread(processes.run, "outbound", "resume", "--yes", env=new.env)
            return done.returncode == 0

        await eventually(resumed, what="all is read, so it is resumed")
        await start("REQ-new")
        await eventually(told(new, "REQ-new"), what="what is new is started")
        assert {new.requests()[name][:2] for name in waiting} == {("pending", "unknown")}, "these wait"
        people_now = len(simulator.platform.company.users)
        await new.run("outbound", "release", "--all", "--yes")
        await eventually(told(new, *waiting), what="they are found in DingTalk")
        for name in ("REQ-before", "REQ-after", "REQ-waits", "REQ-new"):
            assert len(asked(name)) == 1, f"{name} was started once"
        assert len(simulator.platform.company.users) == people_now, "nobody was created twice"
