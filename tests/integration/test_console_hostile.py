"""Hostile records in every topic of a real Kafka: every page opens, and every command reads."""

import asyncio
import re
import time
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from dingbridge.cli.dlq import app as dlq
from dingbridge.cli.topics import app as topics
from dingbridge.console.access.users import Role
from dingbridge.console.index import feed as feed_module
from dingbridge.kafka.client import producer
from dingbridge.kafka.topics import ensure_topics
from dingbridge.settings import KafkaSettings
from tests.integration.console_support import console_at, page
from tests.integration.worker_support import event_record
from tests.support.hostile_records import (
    ODD_JSON,
    UNDECODABLE,
    letter_headers,
    odd_copies,
    odd_events,
    odd_letters,
    send_batch,
)
from tests.support.sizes import sized
from tests.support.waiting import eventually

MOST_PAGES = sized(45, 70)


async def write(settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Hostile records in topics of each kind; how many in which."""
    control, events = settings.control_prefix, settings.topic_prefix
    plain: list[Any] = [(value, []) for value in [*odd_events(), *ODD_JSON]]
    deep = [(value, []) for value in ODD_JSON]
    everything = {
        f"{events}user_modify_org": plain[::5],
        f"{events}unclassified": deep,
        f"{control}dlq.approval": list(odd_letters()),
        f"{control}dlq.no-such-consumer": [*odd_copies(), *plain[::40]],
        f"{control}inbox.approval": list(odd_copies()),
        f"{control}dlq.Nobody_s": list(odd_letters())[::9],
        f"{control}changes": deep,
        f"{control}deliveries": [*deep, *plain[::40]],
        f"{control}outbound-results": deep,
    }
    await ensure_topics(settings, everything, partitions=dict.fromkeys(everything, 1))
    sender, now_ms = producer(settings), int(time.time() * 1000)
    await sender.start()
    try:
        for topic, records in everything.items():
            for number, (value, headers) in enumerate(records):
                await sender.send(
                    topic,
                    value=value,
                    key=(b"\xff\xfe", b"\0", b"" if value is None else None)[number % 3],
                    headers=headers,
                    timestamp_ms=now_ms - number % 3 * 86_400_000,  # retention takes older ones at once
                    partition=0,
                )
        await sender.flush()
        for topic in everything:
            await send_batch(settings, monkeypatch, topic, UNDECODABLE)
        good = event_record("after", "u-after")
        await sender.send_and_wait(
            f"{events}user_modify_org", good.value, key=good.key, headers=list(good.headers), partition=0
        )
        await sender.send_and_wait(
            f"{control}dlq.approval", good.value, headers=letter_headers(), partition=0
        )
    finally:
        await sender.stop()
    return {topic: len(records) for topic, records in everything.items()}


def addresses(html: str) -> set[str]:
    found = {unescape(href) for href in re.findall(r'(?:href|hx-get)="(/[^"]*)"', html)}
    return {one for one in found if not urlsplit(one).path.startswith(("/static", "/logout"))}


def of_each_kind(paths: set[str], seen: dict[str, int]) -> list[str]:
    """Few of those that differ in their query alone: letters, events."""
    chosen = []
    for one in sorted(paths):
        kind = re.sub(r"=[^&]*|/[^/?]+$", "", one) if "?" in one or one.count("/") > 1 else one
        if seen.setdefault(kind, 0) < 5:
            seen[kind] += 1
            chosen.append(one)
    return chosen


async def test_every_page_opens_and_every_command_reads(kafka_env, kafka_settings, tmp_path, monkeypatch):
    monkeypatch.setattr(feed_module, "REFRESH_S", 0.2)
    monkeypatch.setattr(feed_module, "AGAIN_S", 0.2)
    written = await write(kafka_settings, monkeypatch)
    async with console_at(tmp_path, kafka_env, monkeypatch, Role.READER) as who:
        await who.console.feed.start()
        try:
            await whole_index(who)
            assert who.console.index.waiting_letters()["approval"][0] > 100, "those that no note settles"
            for role in (Role.READER, Role.VIEWER):
                await who.log_in(role)
                assert await crawl(who) > 40
            await damaged_index_is_read_again(who)
        finally:
            await who.console.feed.stop()
    await commands_read(kafka_settings, written)


async def whole_index(who):
    async def complete():
        state = who.console.feed.state
        if state.behind != 0 or state.problem is not None:
            return False
        return (await who.get("/find", params={"q": "u-after"})).status == 200 and await found(who)

    await eventually(complete, what="the index is complete, past what no reader can decode")


async def found(who):
    return "user_modify_org:after" in await page(who, "/find", {"q": "u-after"})


async def crawl(who):
    """Every page that a link leads to; the number of pages."""
    waiting, known, kinds = ["/", "/find?q=ding1", "/find?q=user_modify_org"], set(), {}
    while waiting and len(known) < MOST_PAGES:
        path = waiting.pop(0)
        if path in known:
            continue
        known.add(path)
        answer = await who.client.get(path, allow_redirects=False)
        text = await answer.text()
        gone = path.startswith("/event?") and answer.status == 404  # a letter may outlive its event
        assert answer.status in (200, 303) or gone, f"{answer.status} for {path}: {text[-2000:]}"
        waiting += of_each_kind(addresses(text) - known, kinds)
    return len(known)


async def damaged_index_is_read_again(who):
    path = who.console.index.path
    raw = path.read_bytes()
    path.write_bytes(raw[:4096] + b"\xff" * (len(raw) - 4096))

    async def again():
        answers = [await who.get(address) for address in ("/find?q=u-after", "/", "/dead-letters")]
        return all(one.status == 200 for one in answers) and await found(who)

    await eventually(again, what="the index is made anew")
    await whole_index(who)


async def commands_read(settings, written):
    def run(app, *arguments):
        answer = CliRunner().invoke(app, arguments)
        assert answer.exit_code == 0, (arguments, answer.output[-2000:], answer.exception)
        return answer.stdout

    for topic in written:
        lines = await asyncio.to_thread(run, topics, "read", topic, "--with-key")
        assert len(lines.splitlines()) >= written[topic]
    listed = await asyncio.to_thread(run, topics, "list", "--json")
    assert all(topic in listed for topic in written)
    for consumer in ("approval", "no-such-consumer"):
        for verb in ("list", "reasons"):
            await asyncio.to_thread(run, dlq, verb, consumer)
        listed = await asyncio.to_thread(run, dlq, "list", consumer, "--all", "--json", "--limit", "0")
        assert len(listed.splitlines()) > 50
        await asyncio.to_thread(run, dlq, "replay", consumer, "--dry-run", "--json")
        for offset in range(0, 150, sized(60, 30)):
            for more in ((), ("--reveal", "--json")):
                await asyncio.to_thread(run_show, consumer, offset, more)


def run_show(consumer, offset, more):
    answer = CliRunner().invoke(dlq, ["show", consumer, f"0/{offset}", *more])
    missing = "there is no dead letter" in str(answer.exception)  # a note stands there
    assert answer.exit_code == 0 or missing, (consumer, offset, more, answer.exception)
