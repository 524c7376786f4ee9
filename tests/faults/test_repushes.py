"""The same push again and again: one record within the dedupe window, also across a SIGKILL."""

import asyncio
import json

import aiohttp

from tests.faults.sabotage import clock
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.processes import eventually
from tests.support.pusher import Pusher, signed
from tests.support.sizes import sized


async def test_one_push_many_times_is_one_record(processes, kafka_env, kafka_settings, tmp_path, figure):
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    events = [event(n, n % 5) for n in range(sized(30, 1000))]
    async with one_connection() as first, one_connection() as second:
        for number, payload in enumerate(events):
            await pusher.push(first, number, payload)
            # ten more times at the same moment on two connections, each encrypted anew, as DingTalk does
            await asyncio.gather(*(pusher.push(http, number, payload) for http in (first, second) * 5))
    await asyncio.to_thread(ingress.restart)
    await pusher.push_all(enumerate(events))
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="all is published")
    again = await asyncio.to_thread(_duplicates, ingress)
    found = await compare(kafka_settings, pusher)
    figure(f"{len(events)} events, each pushed {len(pusher.log) // len(events)} times; {found}")
    assert set(pusher.outcomes) == {"success"}
    assert again == len(events), "after the restart the journal knew them all"
    found.assert_holds()
    assert len(found.seen) == len(events)


async def test_a_payload_without_identity_is_one_for_ten_minutes_and_its_request_for_the_window(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    """No id and no time: after ten minutes an equal payload is a new event, the same request never is."""
    ingress = IngressUnderTest(processes, tmp_path, kafka_env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    payload, other = anonymous(1), anonymous(2)
    query, body = signed(payload)
    async with aiohttp.ClientSession() as http:
        for _ in range(3):
            await pusher.send(http, 1, query, body)
            await pusher.push(http, 1, payload)
        await asyncio.to_thread(ingress.restart)
        await pusher.send(http, 1, query, body)
        await pusher.push(http, 1, payload)
        await pusher.push(http, 2, other)
        await eventually(lambda: asyncio.to_thread(ingress.drained), what="all is published")
        found = await compare(kafka_settings, pusher)
        figure(f"within ten minutes: {found}")
        found.assert_holds()
        assert sorted(record.number for record in found.seen) == [1, 2]

        ingress.env |= clock(tmp_path / "later", 11 * 60)
        await asyncio.to_thread(ingress.restart)
        await pusher.send(http, 1, query, body)
        assert await asyncio.to_thread(_duplicates, ingress) == 1
        for _ in range(2):
            await pusher.push(http, 1, payload)
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="all is published")
    found = await compare(kafka_settings, pusher)
    figure(f"eleven minutes later: {found}")
    assert set(pusher.outcomes) == {"success"}
    assert sorted(record.number for record in found.seen) == [1, 1, 2]
    assert len({record.id for record in found.seen}) == 3, "told apart by their time of receipt"


def anonymous(number: int) -> bytes:
    """A payload with nothing that tells a re-push from a recurrence."""
    payload = {"EventType": "label_conf_add", "CorpId": "dingcorpsample01", "number": number}
    return json.dumps(payload).encode()


def _duplicates(ingress: IngressUnderTest) -> float:
    return ingress.metric("dingbridge_callbacks_total", outcome="duplicate")


def one_connection() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
