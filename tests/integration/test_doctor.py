"""The doctor against what it looks at, for real: simulator, ingress, Kafka, TLS; and what the guide shows."""

import asyncio
import json
import re
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dingbridge import Context, Event
from dingbridge.dingtalk.crypto import CallbackCrypto, SignatureParameters
from dingbridge.doctor.checks import consumers, dead_letters, kafka, kafka_judge, url
from dingbridge.doctor.checks import ingress as ingress_check
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.checks.network import get_json
from dingbridge.doctor.findings import Both, Finding
from dingbridge.ingress.app import Ingress
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.kafka.topics import ensure_topics, existing_topics
from dingbridge.replay.dead_letter_queue import DeadLetterQueue
from dingbridge.replay.dead_letters import DeadLetterFilter
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings, KafkaSettings
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.integration.replay_support import bury, letter_headers
from tests.integration.worker_support import (
    TYPE,
    EffectConsumer,
    committed,
    consumer_settings,
    event_record,
    named,
    publish,
    serving,
)
from tests.support import self_signed
from tests.support.ingress import IngressUnderTest
from tests.support.processes import Processes, free_port
from tests.support.pusher import CREDENTIALS
from tests.support.waiting import eventually
from tests.unit.console.test_doctor import by_compose, here, looked

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "doctor.md"
PARTS = [settings_check.Part("approval", ("bpms_instance_change",))]
OTHER_OWNER = "dingcorpsample01"
OF_A_BUSY_MACHINE = ("url.slow", "ingress.slow", "ingress.not_ready", "disk.stalled")
"""Findings that are true of the machine that the tests run on, not of what is shown."""


def codes(findings: list[Finding]) -> set[str]:
    return {finding.code for finding in findings}


# -- the whole command


class Stack:
    """Simulator and ingress of this test, and the doctor beside them."""

    def __init__(self, simulator: Simulator, ingress: IngressUnderTest, processes: Processes) -> None:
        self.simulator, self.ingress, self.processes = simulator, ingress, processes

    async def run(self, *arguments: str, **environment: str) -> Any:
        env = {**self.ingress.env, "LC_ALL": "C.UTF-8", **environment}
        return await asyncio.to_thread(self.processes.run, *arguments, env=env)

    async def happens(self, action: str, **arguments: Any) -> None:
        self.simulator.act(action, arguments)
        await self.simulator.pusher.drain()


@pytest.fixture
async def stack(processes: Processes, kafka_env: dict[str, str], tmp_path: Path) -> AsyncIterator[Stack]:
    settings = SimulatorSettings.load(
        simulator_port=0,
        simulator_users=10,
        simulator_departments=3,
        simulator_duplicates=0,
        simulator_retry_scale=0.001,
    )
    async with Simulator(settings) as simulator:
        own_env = {
            "DINGTALK_API_BASE": simulator.base_url,
            "DATA_DIR": str(tmp_path),
            "RECOVERY_EVERY_MINUTES": "0",  # whoever reads the failed list here is the doctor
        }
        stack = Stack(simulator, IngressUnderTest(processes, tmp_path, kafka_env, own_env), processes)
        await asyncio.to_thread(stack.ingress.start)
        done = await stack.run("callback", "register", "--url", stack.ingress.url)
        assert done.returncode == 0, done.stderr
        await stack.happens("hire", count=2)
        await eventually(lambda: asyncio.to_thread(stack.ingress.drained), 60, "in Kafka")
        yield stack


async def test_a_relay_that_ends_at_each_start_is_an_error_and_callbacks_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ends(_: Publisher) -> None:
        raise KeyError("a fault of ours")

    monkeypatch.setattr(Publisher, "run", ends)
    given = {name.lower(): value for name, value in SAMPLE_CREDENTIALS.items()}
    settings = IngressSettings.load(
        **given,
        data_dir=tmp_path,
        dingtalk_api_base="http://127.0.0.1:1",
        journal_allow_unsafe=True,
        ingress_host="127.0.0.1",
        ingress_port=free_port(),
        admin_port=free_port(),
        recovery_every_minutes=0,
    )
    running = asyncio.create_task(Ingress(settings).run())
    try:
        async with aiohttp.ClientSession() as http:

            async def restarting() -> bool:
                found = await get_json(http, f"{ingress_check.admin_address(settings)}/readyz")
                return not isinstance(found, Both) and found[1]["kafka"]["state"] == "restarting"

            await eventually(restarting, 20, "the relay has ended")
            url, admin = ingress_check.addresses(settings)
            seen = await ingress_check.look(http, admin, url=url, credentials=CREDENTIALS, app="default")
        assert seen.push is not None
        assert seen.push.outcome == "success"
        [finding] = [one for one in ingress_check.judge(seen) if one.code == "relay.restarting"]
        assert "KeyError" in str(finding.values["reason"])
    finally:
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def answering(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A server of whatever answers; its port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def redirecting(request: web.Request) -> web.Response:
    return web.Response(status=301, headers={"Location": "/elsewhere"})


def shown_in_the_guide() -> dict[str, str]:
    """``{what is wrong: the output that the guide shows}``: of the healthy stack all, of the others what
    differs from it."""
    blocks = re.findall(r"<!-- doctor: ([\w ]+) -->\n```text\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    return dict(blocks)


def comparable(output: str) -> str:
    """Without what differs from run to run and machine to machine: line breaks, ports, times, counts of
    calls, and the finding on the disk (its file system is the machine's)."""
    findings = re.split(r"\n(?=\w)", output.strip())
    text = "\n".join(" ".join(f.split()) for f in findings if not re.match(r"\w+ +disk\.", f))
    for pattern, mask in (
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"'127\.0\.0\.1', \d+", "'127.0.0.1', PORT"),
        (r"\b\d+ ms\b", "N ms"),
        (r"\b\d+ s ago\b", "N s ago"),
        (r"20\d\d-\d\d\b", "MONTH"),
        (r"callbacks since its start: \d+|\d+ callbacks refused|refused \d+ pushes", "N callbacks"),
        (r"topics hold \d+ record", "topics hold N record"),
        (r"warnings: \d+", "warnings: N"),
        (r"Findings: \d+", "Findings: N"),
    ):
        text = re.sub(pattern, mask, text)
    return text


async def test_the_guide_shows_what_it_really_prints_and_nothing_is_changed(
    stack: Stack, kafka_settings: KafkaSettings, kafka_env: dict[str, str], tmp_path: Path
) -> None:
    topics, registered = await existing_topics(kafka_settings), stack.simulator.callbacks.current
    files = {path.name for path in stack.ingress.journal.iterdir()}
    stack.simulator.api.calls.clear()
    shown = shown_in_the_guide()
    printed, exits = {}, {}

    async def doctor(what: str, *arguments: str, **environment: str) -> None:
        for _ in range(10):
            done = await stack.run("doctor", *arguments, **environment)
            if not any(code in done.stdout for code in OF_A_BUSY_MACHINE):
                break
        assert "Traceback" not in done.stderr, done.stderr
        for secret in (SAMPLE_CREDENTIALS[f"DINGTALK_{n}"] for n in ("TOKEN", "AES_KEY", "APP_SECRET")):
            assert secret not in done.stdout + done.stderr
        printed[what], exits[what] = done.stdout, done.returncode

    await doctor("healthy")
    assert await existing_topics(kafka_settings) == topics
    assert stack.simulator.callbacks.current is registered
    assert {path.name for path in stack.ingress.journal.iterdir()} == files
    called = set(stack.simulator.api.calls)
    assert not any("failed_result" in path or "failrecord" in path for path in called), called
    await doctor("settings", DINGTALK_AES_KEY="abc", KAFKA_BOOTSTRAP_SERVERS="broker")
    await doctor("kafka", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    async with answering(redirecting) as port:
        await doctor("redirect", "--url", f"http://127.0.0.1:{port}/callback")
    stack.simulator.faults.add({"api": "*", "kind": "deny"})
    await doctor("address list")
    stack.simulator.faults.clear()
    pusher = stack.simulator.pusher
    assert pusher.target is not None
    pusher.target = replace(pusher.target, owner_key=OTHER_OWNER)
    await stack.happens("hire")
    await doctor("owner key")
    reset = {"DINGTALK_MODE": "stream", "DINGTALK_APP_SECRET": "theOneBeforeItWasReset"}
    own = {name: stack.ingress.env[name] for name in ("DINGTALK_API_BASE", "RECOVERY_EVERY_MINUTES")}
    by_stream = IngressUnderTest(stack.processes, tmp_path / "stream", kafka_env, own, reset)
    await asyncio.to_thread(by_stream.start)
    await eventually(lambda: streams_of(by_stream)["refused"] is not None, 60, "DingTalk has refused it")
    await eventually(lambda: by_stream.kafka_state() == "up", 60, "its relay publishes")
    await doctor("stream", **by_stream.env)
    assert exits == {
        "healthy": 0,
        "settings": 2,
        "kafka": 1,
        "redirect": 1,
        "address list": 1,
        "owner key": 1,
        "stream": 1,
    }
    healthy = set(comparable(printed["healthy"]).splitlines())
    for what, output in printed.items():
        lines = comparable(output).splitlines()
        differing = [line for line in lines if what == "healthy" or line not in healthy]
        assert differing == comparable(shown[what]).splitlines(), f"{what}:\n{output}"
    assert printed.keys() == shown.keys()


def streams_of(ingress: IngressUnderTest) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{ingress.admin_port}/stream", timeout=5) as answer:
        found: dict[str, Any] = json.load(answer)["apps"]["default"]
        return found


# -- the public URL


async def sealed(request: web.Request) -> web.Response:
    """An ingress with our credentials, as far as the public sees one."""
    crypto = CallbackCrypto([CREDENTIALS])
    opened = crypto.decrypt_callback(
        SignatureParameters.from_query(request.query), (await request.json())["encrypt"]
    )
    return web.json_response(
        crypto.encrypt_reply(b"success", opened, timestamp="1731000000000", nonce="abcdefgh")
    )


async def seen_at(address: str) -> set[str]:
    async with aiohttp.ClientSession() as session:
        return codes(
            url.judge(
                await url.look(session, address, CREDENTIALS, "http://127.0.0.1:1"), from_internet=False
            )
        )


def tls_server(both: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context


@pytest.mark.parametrize(
    ("address", "days", "trusted", "expected"),
    [
        ("127.0.0.1", (-1, 30), True, {"url.ok"}),
        ("127.0.0.1", (-1, 3), True, {"url.tls_soon", "url.ok"}),
        ("127.0.0.1", (-9, -1), True, {"url.tls_expired"}),
        ("10.9.8.7", (-1, 30), True, {"url.tls_name"}),
        ("127.0.0.1", (-1, 30), False, {"url.tls_untrusted"}),
    ],
)
async def test_the_certificate_of_the_public_url(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    days: tuple[float, float],
    trusted: bool,
    expected: set[str],
) -> None:
    both, certificate = self_signed.write(tmp_path, address=address, days=days)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with answering(sealed, tls_server(both)) as port:
        assert await seen_at(f"https://127.0.0.1:{port}/callback") == expected


async def test_a_url_without_tls_name_or_server() -> None:
    async with answering(sealed) as port:
        assert await seen_at(f"http://127.0.0.1:{port}/callback") == {"url.http", "url.ok"}
        assert await seen_at(f"https://127.0.0.1:{port}/callback") == {"url.tls_failed"}
    assert await seen_at("https://no-such-host.invalid/callback") == {"url.dns"}
    assert await seen_at(f"https://127.0.0.1:{free_port()}/callback") == {"url.unreachable"}
    assert await seen_at(f"http://127.0.0.1:{free_port()}/callback") == {"url.http", "url.unreachable"}


# -- Kafka


async def looked_at(env: dict[str, str], *, ingress: bool = False) -> list[Finding]:
    settings = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    needs = kafka.needs(settings, PARTS, ingress=ingress)
    seen = await kafka.look(settings, sorted(needs), [part.name for part in PARTS])
    return kafka_judge.judge(seen, settings, needs)


async def test_copies_and_retention_are_compared_with_the_settings(kafka_env: dict[str, str]) -> None:
    settings = KafkaSettings.load(**{name.lower(): value for name, value in kafka_env.items()})
    events = f"{settings.topic_prefix}bpms_instance_change"
    longer = settings.model_copy(update={"topic_retention_days": 30})
    await ensure_topics(longer, [events])
    [retention] = [f for f in await looked_at(kafka_env) if f.code == "kafka.retention"]
    assert retention.values["topics"][0].en == f"{events} (30 days, not 14)"
    assert "kafka.short" in codes(await looked_at({**kafka_env, "TOPIC_RETENTION_DAYS": "60"}))
    assert "kafka.refused" in codes(await looked_at({**kafka_env, "TOPIC_REPLICATION": "90"}))


async def test_dead_letters_that_wait_are_an_error_until_they_are_settled(
    kafka_settings: KafkaSettings,
) -> None:
    """With 376 that waited the doctor said: errors: 0."""
    letters = ((event_record(f"e{number}", "u1"), letter_headers(number)) for number in range(3))
    await bury(kafka_settings, "billing", letters)

    async def found(consumers: list[str] | None) -> list[tuple[str, object]]:
        findings = dead_letters.judge(await dead_letters.look(kafka_settings, consumers))
        return [(f"{one.code} of {one.values['consumer']}", one.values.get("count")) for one in findings]

    assert await found(None) == [("dead_letters.waiting of billing", 3)]
    assert await found(["approval"]) == []
    async with DeadLetterQueue(kafka_settings, "billing") as queue:
        selected = await queue.select(DeadLetterFilter(), skip=True)
        await queue.skip(selected, lambda _: None)
    assert await found(None) == []


class Held(EffectConsumer):
    """Takes as many events as the gate lets through."""

    gate: asyncio.Semaphore

    async def prepare(self, event: Event, ctx: Context) -> None:
        await self.gate.acquire()


async def test_a_consumer_that_does_not_read_on_is_an_error_and_a_busy_one_is_not(
    kafka_env: dict[str, str], kafka_settings: KafkaSettings, tmp_path: Path
) -> None:
    cls = named(Held, gate=asyncio.Semaphore(0))
    part = settings_check.Part(cls.name, (TYPE,))
    settings = consumer_settings(kafka_env, f"sqlite:///{tmp_path}/held.db")

    async def found(within_s: float = 20) -> list[tuple[str, bool]]:
        seen = await consumers.look(kafka_settings, [part], within_s)
        return [(f.code, f.values.get("count", 0) > 0) for f in consumers.judge(seen, [])]

    async def stands_still() -> bool:
        return await found(within_s=0.5) == [("consumer.still", True)]

    async def let_through() -> None:
        while True:
            cls.gate.release()
            await asyncio.sleep(0.1)

    await publish(kafka_settings, [event_record(f"e{number}", "u1") for number in range(2_000)])
    assert await found() == [("consumer.never_read", True)], "counted from the start"
    async with serving(cls(), settings):
        busy = asyncio.create_task(let_through())
        await eventually(lambda: committed_any(kafka_settings, cls.name), 60, "it reads")
        assert await found() == [("consumer.ok", False)], "while it is busy"
        busy.cancel()
        await eventually(stands_still, 60, "it stands still at the gate")
    assert await found() == [("consumer.no_member", True)]


async def test_one_screen_shows_what_works_and_what_does_not(
    stack: Stack, kafka_settings: KafkaSettings, kafka_env: dict[str, str], tmp_path: Path
) -> None:
    async def shown(*arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
        done = await stack.run("status", "--json", *arguments, **environment)
        assert "Traceback" not in done.stderr, done.stderr
        parts = json.loads(done.stdout)["parts"] if done.stdout else []
        return done.returncode, {one["part"]: one for one in parts}

    def codes_of(part: dict[str, Any]) -> list[str]:
        return [finding["code"] for finding in part["findings"]]

    async def well() -> bool:
        code, parts = await shown()
        figures = [parts["ingress"][name] for name in ("takes_writes", "waiting", "oldest_s", "parked")]
        in_use = [name for name, part in parts.items() if part.get("in_use")]
        return (code, figures, in_use) == (0, [True, 0, None, 0], [])

    await eventually(well, 60, "all is well, and no consumer is in use")

    # this one stands for the sample of its name
    cls = named(EffectConsumer, name="address-sync")
    await publish(kafka_settings, [event_record("e1", "u1")])
    async with serving(cls(), consumer_settings(kafka_env, f"sqlite:///{tmp_path}/status.db")):

        async def reads() -> bool:
            code, parts = await shown("--part", "address-sync")
            assert [*parts] == ["kafka", "address-sync"]
            return code == 0 and parts["address-sync"]["members"] == 1

        await eventually(reads, 60, "it runs and is up to date")
    await publish(kafka_settings, [event_record("e2", "u1")])
    letters = ((event_record(f"e{number}", "u1"), letter_headers(number)) for number in range(3))
    await bury(kafka_settings, "billing", letters)
    code, parts = await shown()
    assert (code, codes_of(parts["address-sync"])) == (1, ["consumer.no_member"])
    assert parts["address-sync"]["oldest_s"] >= 0
    assert (parts["billing"]["letters"], codes_of(parts["billing"])) == (3, ["dead_letters.waiting"])

    code, parts = await shown(KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{free_port()}")
    assert (code, [*parts], codes_of(parts["kafka"])) == (1, ["ingress", "kafka"], ["kafka.unreachable"])
    assert (await shown(KAFKA_BOOTSTRAP_SERVERS="broker"))[0] == 2
    assert (await shown("--part", "no-such"))[0] == 2
    code, parts = await shown("--listener", f"http://127.0.0.1:{free_port()}", "--part", "ingress")
    assert (code, codes_of(parts["ingress"])) == (1, ["ingress.absent"])


async def committed_any(settings: KafkaSettings, group: str) -> bool:
    return sum((await committed(settings, group)).values()) > 0


async def test_in_the_environment_of_composes_console_a_healthy_bridge_is_found_well(
    stack: Stack, kafka_env: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its container has no key of the app, and another user than the ingress."""
    folder = tmp_path / "console"
    folder.mkdir()
    port = stack.ingress.admin_port
    found, page = await looked({**here(by_compose(), port, folder), **kafka_env}, monkeypatch)
    assert found == set()
    assert "Errors: 0." in page
    assert stack.ingress.process is not None
    stack.ingress.process.kill()
    found, _ = await looked({**here(by_compose(), port, folder), **kafka_env}, monkeypatch)
    assert found == {"ingress.absent"}
