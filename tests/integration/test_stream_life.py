"""One life of a company, pushed by HTTP and by Stream: the same events, by id, key and what both tell."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dingbridge.settings import KafkaSettings
from dingbridge.simulator.company.platform import now_ms
from dingbridge.simulator.recording import Recording, Replay
from dingbridge.simulator.server import Simulator
from dingbridge.simulator.settings import SimulatorSettings
from tests.support.ingress import IngressUnderTest
from tests.support.kafka_reader import read_all
from tests.support.processes import Processes, eventually
from tests.support.sizes import sized

OF_THE_WAY = ("via", "journal", "sequence", "receivedtime")
"""What may differ: by which way, and when, it was kept."""
OF_STREAM = (
    *("resource", "activityId", "activityName", "businessType", "actualActionerId", "agentActionerIds"),
    *("timeStamp", "optStaffId"),
)
"""What only Stream's ``data`` has (captured); of ``diffInfo`` it has a list."""
OF_HTTP = ("bizId", "timeStamp")
ACTS = sized(150, 150, quick=50)
ACTIONS = ("hire", "move", "create_department", "create_role", "give_role", "start_approval", "approve")


async def test_one_life_by_http_and_by_stream_gives_the_same_topics(
    processes: Processes, kafka_env: dict[str, str], tmp_path: Path
) -> None:
    by_http, recording = await life("http", processes, kafka_env, tmp_path)
    by_stream, _ = await life("stream", processes, kafka_env, tmp_path, recording)
    assert len(by_http) > 5
    assert sum(map(len, by_http.values())) > ACTS
    assert by_stream == by_http


async def life(
    mode: str,
    processes: Processes,
    kafka_env: Mapping[str, str],
    folder: Path,
    recording: Recording | None = None,
) -> tuple[dict[str, dict[Any, Any]], Recording]:
    """What the topics hold when all of it is over: of a life that is invented, or of this one again."""
    settings = SimulatorSettings.load(
        simulator_port=0, simulator_mode=mode, simulator_duplicates=0.2, simulator_generation="new"
    )
    replay = None if recording is None else Replay(recording, now_ms, speed=0)
    env = {**kafka_env, "TOPIC_PREFIX": f"{kafka_env['TOPIC_PREFIX']}{mode}."}
    async with Simulator(settings, replay=replay) as simulator:
        api = {"DINGTALK_API_BASE": simulator.base_url, "DINGTALK_MODE": mode}
        ingress = IngressUnderTest(processes, folder / mode, env, api)
        await asyncio.to_thread(ingress.start)
        if mode == "http":
            asking = {**ingress.env, "ADMIN_PORT": str(ingress.admin_port)}
            command = ("callback", "register", "--url", ingress.url)
            done = await asyncio.to_thread(processes.run, *command, env=asking)
            assert done.returncode == 0, done.stderr
        else:
            await eventually(lambda: simulator.gateway.connections)
        if replay is None:
            simulator.delivery.set(reorder=0.2)
            for action in ACTIONS:
                simulator.act(action)
            for _ in range(ACTS):
                simulator.act_at_random()
        else:
            await eventually(lambda: replay.done == len(replay.recording.steps))
        await simulator.pusher.drain()
        assert simulator.stats()["answered"] == simulator.stats()["pushed"]
        await eventually(lambda: asyncio.to_thread(ingress.drained))
        await asyncio.to_thread(ingress.process.stop)
    settled = KafkaSettings.load(**{name.lower(): value for name, value in env.items()})
    return await contents(settled, mode), simulator.recording


async def contents(settings: KafkaSettings, via: str) -> dict[str, dict[Any, Any]]:
    """By topic (without its prefix) and by source and id: key, headers, and of the envelope what both ways
    tell."""
    found: dict[str, dict[Any, Any]] = {}
    for topic, records in (await read_all(settings)).items():
        for record in records:
            envelope = orjson.loads(record.value)
            own = {name: envelope.pop(name) for name in OF_THE_WAY}
            assert own["via"] == via
            identity = envelope["source"], envelope["id"]
            data, names = envelope["data"], OF_STREAM if via == "stream" else OF_HTTP
            assert {"resource", "bizId"} & data.keys() <= set(names)
            for name in names:
                data.pop(name, None)
            if "diffInfo" in data and via == "stream":
                [data["diffInfo"]] = data["diffInfo"]
            of_topic = found.setdefault(topic.removeprefix(settings.topic_prefix), {})
            of_topic[identity] = record.key, record.headers, envelope
    return found
