"""A company's life recorded over HTTP, and lived again by the command line, for another receiver."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import TAGS, Api, Receiver, serving, settings
from tests.support.waiting import eventually

CONTACTS = ["org_dept_create", "org_dept_modify", "org_dept_remove", "label_user_change"]


async def pushed(api: Api) -> list[str]:
    return [push["plaintext"] for push in (await api.get("/_sim/pushes"))["pushes"]]


async def test_a_recorded_life_is_pushed_again_word_for_word(tmp_path: Path) -> None:
    file = tmp_path / "recording.json"
    first = Receiver()
    async with (
        serving(first),
        aiohttp.ClientSession() as session,
        Simulator(settings(duplicates=0.2, seed=11)) as simulator,
    ):
        api = Api(simulator.base_url, session)
        await api.login()
        await api.post("/_sim/deliveries", {"reorder": 0.2})
        await api.post("/_sim/act", {"action": "hire", "count": 3})
        await api.register(first, TAGS + CONTACTS)
        assert "error" in await api.post("/_sim/act", {"action": "leave", "userid": "nobody"})
        await api.post("/_sim/act", {"action": "protect", "mobile": "13800000002"})
        for number in (1, 2):
            created = {
                "userid": f"oa-{number}",
                "name": "x",
                "mobile": f"1380000000{number}",
                "dept_id_list": "1",
            }
            await api.call("/topapi/v2/user/create", created)
        await api.call("/topapi/v2/user/update", {"userid": "oa-1", "title": "x"})
        await api.post("/_sim/act", {"action": "accept"})
        await api.post("/_sim/burst", {"events": 150})
        await api.post("/_sim/act", {"action": "start_approval", "process_code": "PROC-EXPENSE"})
        await api.post("/_sim/act", {"action": "approve"})
        await api.post("/_sim/drain")
        told, state = await pushed(api), await api.get("/_sim/state")
        recording = await api.get("/_sim/recording")
        file.write_text(json.dumps(recording))
    assert sorted(told) == sorted(text.decode() for text in first.plaintexts[1:])
    assert recording["before"] == 1

    second = Receiver()
    command = [sys.executable, "-c", "from dingbridge.cli.main import main; main()", "simulator", "replay"]
    process = await asyncio.create_subprocess_exec(
        *command, str(file), "--speed", "0", "--port", "0", "--profile", "reality,late=1",
        env={**os.environ, "LOG_FORMAT": "json", "SIMULATOR_RATE": "50"}, cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60), serving(second), aiohttp.ClientSession() as session:
            assert process.stderr is not None
            listening = json.loads(await process.stderr.readline())
            api = Api(listening["url"], session)
            await api.login()
            await api.register(second, TAGS + CONTACTS)

            async def over() -> bool:
                replay: dict[str, Any] = (await api.get("/_sim/stats"))["replay"]
                return replay["done"] == replay["steps"]

            await eventually(over)
            assert (await api.post("/_sim/drain"))["drained"] is True
            assert await pushed(api) == told
            assert await api.get("/_sim/state") == state | {
                "callback": {**state["callback"], "url": second.url}
            }
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
