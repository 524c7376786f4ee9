"""Now and Consumers on a real Kafka: a system that breaks behind a consumer is told, until it works again."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dingbridge.consumers.forward.consumer import consumer_of
from dingbridge.consumers.forward.settings import ForwardSettings, load_systems
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.ssrf import AddressGuard
from dingbridge.worker.delivery import hash_key
from tests.integration.console_asking import Asking, console_of
from tests.integration.forward_support import Receiver, forward_file, receiver
from tests.integration.worker_support import consumer_settings, event_record, publish, serving
from tests.support.waiting import eventually


@pytest.fixture
async def system_a() -> AsyncIterator[Receiver]:
    async with receiver() as running:
        yield running


async def until(asking: Asking, path: str, words: str, role: str = "reader", lang: str = "en") -> str:
    async def look() -> str:
        text = await asking.text(path, role, lang)
        return text if words in text else ""

    return await eventually(look, what=f"{path} says {words!r}")


async def test_a_broken_system_is_told_while_it_is_broken(
    kafka_env: dict[str, str], tmp_path: Path, system_a: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dingbridge.console.watch.EACH_S", 0.3)
    monkeypatch.setattr("dingbridge.console.watch.GROUPS_EACH_S", 0.3)
    # the groups of other tests on this Kafka may be worse off
    monkeypatch.setattr("dingbridge.console.watch.known_consumers", dict)
    a = f"a-{secrets.token_hex(4)}"
    for variable, value in forward_file(tmp_path, {a: {"url": system_a.url}}).items():
        monkeypatch.setenv(variable, value)
    own = ForwardSettings.load()
    consumer = consumer_of(a, load_systems(own)[a], AddressGuard(own.allowed))()
    name, port = consumer.name, free_port()
    settings = consumer_settings(kafka_env, f"sqlite:///{tmp_path / 'never-made.db'}", admin_port=port)
    await publish(settings, [event_record("e1", "u1")])
    async with console_of(kafka_env, tmp_path, {name: port}) as asking:
        await until(asking, "/", f"{name}</strong>")  # nothing runs there yet
        async with serving(consumer, settings):
            await eventually(lambda: system_a.taken)
            await until(asking, "/consumers", "1 member")

            system_a.answer = lambda got: 503
            await publish(settings, [event_record("e2", "u2"), event_record("e3", "u3")])
            now = await until(
                asking, "/", f'Systems of {name}</strong> <span class="state bad">stopped</span>'
            )
            assert f"system {a}: it answered 503" in now
            assert "repair that system" in now
            seen_by_all = await asking.text("/", "viewer")
            assert f"Systems of {name}</strong>" in seen_by_all
            assert "it answered 503" not in seen_by_all
            assert f'{name} 的系统</strong> <span class="state bad">停止</span>' in await asking.text(
                "/", lang="zh"
            )
            page = await asking.text("/consumers")
            assert f"system {a}: it answered 503" in page
            assert hash_key(b"dingcorp1:u2") in page

            system_a.answer = lambda got: 500
            await until(asking, "/", f"system {a}: it answered 500")

            system_a.answer = lambda got: 200
            await eventually(lambda: len(system_a.taken) == 3)
            await until(asking, "/", "Nothing waits for a person, and all parts that can be seen work")
