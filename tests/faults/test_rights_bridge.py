"""The whole bridge over SASL_SSL: each process has a user, with the rights that docs/explanation/security.md
lists for it alone.
"""

import asyncio
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.stack import CONSUMERS, PASSWORDS, Stack
from dingbridge.kafka.topic_policy import control_topic, event_topic
from tests.faults.rights import DOCUMENT, documented
from tests.support.kafka_reader import read_topic
from tests.support.load import event
from tests.support.processes import Processes
from tests.support.pusher import Pusher
from tests.support.secure_kafka import PASSWORD_OF, SecureKafka, secure_kafka
from tests.support.waiting import eventually

__all__ = ["secure_kafka"]

PROCESSES = ("ingress", *CONSUMERS, "console")
ALSO = {"ingress": ("ingress", "resync")}


@pytest.fixture
def careless_umask() -> Iterator[None]:
    """What protects the files must be ours."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_every_list_of_the_document_is_tried() -> None:
    listed = re.findall(r"<!-- acls: (\S+) -->", DOCUMENT.read_text("utf-8"))
    assert set(listed) == {"topics", *PROCESSES, "resync", "operator", "team", "oa"}


async def test_each_process_has_its_listed_rights_alone_and_the_whole_bridge_works(
    secure_kafka: SecureKafka, processes: Processes, tmp_path: Path, careless_umask: None
) -> None:
    env = secure_kafka.environment(secure_kafka.nobody, "SASL_SSL")
    administrator = secure_kafka.administrator(env)
    users: dict[str, dict[str, str]] = {}
    for name in ("topics", *PROCESSES, "operator"):
        user = secure_kafka.new_user()
        rights = [right for who in ALSO.get(name, (name,)) for right in documented(who, env)]
        await secure_kafka.grant(user, rights)
        users[name] = {"KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD": PASSWORD_OF(user)}
    # approval's operator looks after forward-a
    operator = users["operator"]["KAFKA_SASL_USERNAME"]
    others = {"approval": "forward-a", "bpms_task_change": "bpms_instance_change"}
    await secure_kafka.grant(operator, documented("operator", env, others))

    async def made() -> bool:  # the authorizer follows within moments
        done = await asyncio.to_thread(processes.run, "topics", "ensure", env={**env, **users["topics"]})
        return done.returncode == 0

    await eventually(made, what="the topics are made")
    stack = await asyncio.to_thread(Stack, tmp_path, env, users=20, own=users)
    try:
        await _works(stack, administrator)
        _files_are_private(stack)
    except BaseException:
        print(stack.tails(25))
        raise
    finally:
        await asyncio.to_thread(stack.stop)


async def _works(stack: Stack, administrator: Any) -> None:
    # contacts and approvals, from the callback to the tables, to System A and to its dead letters
    await asyncio.to_thread(stack.simulate, "act", {"action": "hire"})
    pusher = Pusher(stack.callback_url, retries=2)
    stack.system_a.broken = True
    await pusher.push_all((n, event(n)) for n in range(3))
    assert pusher.succeeded == {0, 1, 2}
    hired = event_topic(administrator, "user_add_org")
    letters = control_topic(administrator, "dlq.forward-a")

    async def dead() -> bool:
        return len(await read_topic(administrator, letters)) >= 3

    await eventually(dead, 120, f"dead letters of forward-a\n{stack.tails()}")
    assert await read_topic(administrator, hired)
    stack.system_a.broken = False

    # an operator sends the letters back, by the command and its own user
    said = await asyncio.to_thread(stack.dingbridge, "dlq", "replay", "forward-a", "--yes", as_="operator")
    assert said
    again = "replay", "forward-a", "--since", "1h", "--yes"
    assert await asyncio.to_thread(stack.dingbridge, *again, as_="operator")
    await eventually(lambda: len(set(stack.system_a.taken)) >= 3, 120, "System A has taken them")

    # the console sees it all, with its rights to look
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        form = {"name": "reader", "password": PASSWORDS["reader"]}
        async with http.post(f"{stack.url}/login", data=form) as answer:
            assert answer.status == 200

        async def page(path: str) -> str:
            async with http.get(f"{stack.url}{path}") as answer:
                assert answer.status == 200, await answer.text()
                return await answer.text()

        async def found() -> str | None:
            match = re.search(r'href="(/event\?[^"]+)"', await page("/find?lang=en&q=pi-1"))
            return match[1].replace("&amp;", "&") if match else None

        address = await eventually(found, what="Find finds an approval")
        assert "forward-a" in await page(f"{address}&lang=en")
        for path in ("/", "/dead-letters", "/consumers", "/outbound", "/tail"):
            assert "has no right" not in await page(f"{path}?lang=en")


def _files_are_private(stack: Stack) -> None:
    files = [path for path in (stack.folder / "data").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".token", ".toml", ".jsonl"}
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
