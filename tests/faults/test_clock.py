"""Clocks that jump by two hours and by 30 days, back and forth: within ``CALLBACK_MAX_AGE_S`` nothing that is
signed is refused, beyond it the words are *clock skew*; nothing is lost, kept twice, or kept for ever.
"""

import asyncio
import json
import time
from pathlib import Path

import aiohttp
import pytest

from dingbridge.dingtalk.crypto import encrypt, sign
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import current
from dingbridge.ingress.journal.retention import Retention, prune_steps
from dingbridge.ingress.journal.rows import NewCallback
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.pusher import CREDENTIALS, Pusher
from tests.support.waiting import eventually

HOUR, DAY = 3_600, 86_400
MAX_AGE_S = 3.5 * DAY
"""The default of ``CALLBACK_MAX_AGE_S``: half of the dedupe window."""

_SCRIPT = """
import time
from pathlib import Path

CONTROL = Path({control!r})
clock_s, clock_ns = time.time, time.time_ns


def ahead():
    return int(CONTROL.read_text())


time.time = lambda: clock_s() + ahead()
time.time_ns = lambda: clock_ns() + ahead() * 10**9
"""


class Clock:
    """The wall clock of processes that are started with ``env``, and of their children."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._control = folder / "ahead"
        self.env = {"PYTHONPATH": str(folder)}
        (folder / "sitecustomize.py").write_text(_SCRIPT.format(control=str(self._control)))
        self.ahead(0)

    def ahead(self, seconds: float) -> None:
        """Jump to so many seconds ahead of true time; negative: behind it."""
        new = self._control.with_suffix(".new")
        new.write_text(str(int(seconds)))
        new.replace(self._control)


def signed_at(plaintext: bytes, seconds: float) -> tuple[dict[str, str], bytes]:
    """Query and body of a push that DingTalk signed so many seconds from now."""
    stamp = str(int((time.time() + seconds) * 1000))
    encrypted = encrypt(CREDENTIALS.key, plaintext, CREDENTIALS.owner_keys[0])
    query = {"timestamp": stamp, "nonce": "n0nce000"}
    query["signature"] = sign(CREDENTIALS.token, stamp, query["nonce"], encrypted)
    return query, json.dumps({"encrypt": encrypted}).encode()


async def test_a_running_ingress_whose_clock_jumps(processes, kafka_env, kafka_settings, tmp_path, figure):
    clock = Clock(tmp_path / "clock")
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, clock.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    early = {number: signed_at(event(10_000 + number), 0) for number in range(20)}
    async with aiohttp.ClientSession() as http:
        for number, request in early.items():
            assert await pusher.send(http, 10_000 + number, *request) == "success"

        async with Load(pusher, lanes=4) as load:
            for jump in (2 * HOUR, 0, -2 * HOUR, 0):
                clock.ahead(jump)
                await load.more(40)
                assert (
                    abs(await asyncio.to_thread(ingress.metric, "dingbridge_clock_skew_seconds") - jump) < 60
                )
        assert set(pusher.outcomes) == {"success"}, "no time-out, no refusal"
        await eventually(lambda: asyncio.to_thread(ingress.drained), what="published all the while")

        number = 20_000
        for jump in (30 * DAY, -30 * DAY):
            clock.ahead(jump)
            for signed_s, outcome in (
                (jump, "success"),
                (jump + MAX_AGE_S - 60, "success"),
                (jump - MAX_AGE_S + 60, "success"),
                (jump + MAX_AGE_S + 60, "403"),
                (jump - MAX_AGE_S - 60, "403"),
                (0, "403"),
            ):
                number += 1
                assert await pusher.send(http, number, *signed_at(event(number), signed_s)) == outcome
            skew_s = await asyncio.to_thread(ingress.metric, "dingbridge_clock_skew_seconds")
            assert abs(skew_s - jump) < 60, "the skew is told although the push was refused"
            await eventually(
                lambda: asyncio.to_thread(lambda: ingress.kafka_state() == "up"), what="Kafka is up"
            )
            assert (await asyncio.to_thread(ingress.readyz))[0] == 200
        assert "clock skew" in ingress.process.log_text()
        assert (
            await asyncio.to_thread(lambda: ingress.metric("dingbridge_callbacks_total", reason="age")) == 6
        )

        clock.ahead(0)
        for number, request in early.items():
            assert await pusher.send(http, 10_000 + number, *request) == "success", "known, and said so"
        async with Load(pusher, lanes=4, first=30_000) as load:
            await load.more(40)
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="the backlog is published")
    comparison = await compare(kafka_settings, pusher)
    figure(f"clock ±2 h and ±30 days: {comparison}")
    comparison.assert_holds()


# -- what is kept, and for how long

KEEP = Retention(callbacks_s=DAY, seen_s=7 * DAY, min_free_bytes=0)


@pytest.fixture
def jump(monkeypatch):
    """Sets the clock of this process, in s ahead of true time."""
    true = time.time
    return lambda seconds: monkeypatch.setattr("time.time", lambda: true() + seconds)


def keep(file: JournalFile, *names: bytes) -> list[bool]:
    now = int(time.time() * 1000)
    return file.keep([NewCallback(now, "default", "http", name, b"key-" + name) for name in names])


def prune(folder: Path, file: JournalFile) -> None:
    for _ in prune_steps(lambda: file, current(folder), KEEP):
        continue


def bodies(file: JournalFile) -> list[bytes]:
    return [row.body for row in file.read(0, max_rows=1_000, max_bytes=1 << 20)]


@pytest.mark.parametrize("days", [30, -30, 2, -2, 30_000])
def test_no_jump_prunes_what_waits_or_is_parked_or_forgets_a_key(tmp_path, jump, days):
    file = open_current(tmp_path)
    checkpoint = Checkpoint(current(tmp_path).path, file.id)
    keep(file, b"published", b"parked", b"waits")
    checkpoint.commit(2, [Parked(2, 0, "topic", "rights", 1)])
    jump(days * DAY)
    prune(tmp_path, file)
    assert bodies(file)[-2:] == [b"parked", b"waits"]
    jump(0)
    assert keep(file, b"published", b"parked", b"waits") == [False] * 3, "a re-push after the clock is back"
    checkpoint.close()
    file.close()


@pytest.mark.parametrize("days", [30, 30_000, -30])
def test_after_a_jump_and_back_retention_goes_on_as_before(tmp_path, jump, days):
    file = open_current(tmp_path)
    checkpoint = Checkpoint(current(tmp_path).path, file.id)
    jump(days * DAY)
    keep(file, b"during")
    checkpoint.commit(1)
    jump(0)
    keep(file, b"after")
    checkpoint.commit(2)
    jump(2 * DAY)
    prune(tmp_path, file)
    assert bodies(file) == []
    checkpoint.close()
    file.close()


def test_keys_go_by_the_time_of_receipts(tmp_path, jump):
    file = open_current(tmp_path)
    checkpoint = Checkpoint(current(tmp_path).path, file.id)
    keep(file, b"old")
    jump(8 * DAY)
    keep(file, b"new")
    prune(tmp_path, file)
    assert keep(file, b"old", b"new") == [True, False]
    checkpoint.close()
    file.close()
