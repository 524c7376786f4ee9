"""The simulator's calls that write, with the vendor's Java SDK as their client (6 MB once, by Maven)."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dingbridge.simulator.kafka.jars import cache_dir, java
from dingbridge.simulator.server import Simulator
from tests.integration.simulator_support import settings

SOURCES = Path(__file__).parents[1] / "support" / "vendor_sdk"
WITHIN_S = 300

pytestmark = pytest.mark.skipif(
    "CI" not in os.environ and None in (shutil.which("mvn"), shutil.which("javac")),
    reason="the vendor's SDK needs a JDK and Maven",
)


def jars() -> Path:
    """The folder with the SDK, fetched once."""
    folder = cache_dir() / "dingtalk-sdk-2.0.0"
    if not folder.is_dir():
        scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = ["mvn", "-B", "-q", "-f", str(SOURCES / "pom.xml"), "dependency:copy-dependencies"]
        subprocess.run([*command, f"-DoutputDirectory={scratch}"], check=True, timeout=WITHIN_S)
        scratch.rename(folder)
    return folder


async def test_people_and_departments_are_written() -> None:
    classpath = f"{await asyncio.to_thread(jars)}/*"
    app = "dingsampleappkey01", "dingbridge-sample-secret-not-secret"
    async with Simulator(settings()) as simulator:
        process = await asyncio.create_subprocess_exec(
            java(), "-Dfile.encoding=UTF-8", "-cp", classpath, str(SOURCES / "VendorSdk.java"),
            simulator.base_url, *app, stdout=subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(WITHIN_S):
            output, _ = await process.communicate()
    assert output.decode().splitlines() == [
        "again|60021",
        "department|研发一部|1|D-1",
        "created|oa-1|true",
        "again|60102",
        "updated|0",
        "led|0",
        'user|张三|主管|true|true|true|{"爱好": "旅游", "车牌": "浙A"}',
        "by mobile|oa-1",
        "not empty|60005",
        "deleted|0",
        "gone|60121",
        "deleted|0",
    ]
