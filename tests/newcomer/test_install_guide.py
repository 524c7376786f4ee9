"""``docs/guide/install.md``, from the wheel to the first event, word for word in an empty folder, but for the
ports, which are free ones, and for pip's packages, which are linked.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from dingbridge.simulator.kafka.jars import cache_dir
from tests.support.documents import ROOT, blocks
from tests.support.processes import environment, free_port
from tests.support.wheels import build_wheel, environment_of

GUIDE = ROOT / "docs" / "guide" / "install.md"
PORTS = {
    "9092": "KAFKA_PORT",
    "8090": "SIMULATOR_PORT",
    "8080": "INGRESS_PORT",
    "8081": "ADMIN_PORT",
}
IN_ANOTHER_TERMINAL = """
{command} --port "$KAFKA_PORT" >kafka.log 2>&1 &
until grep -q "topics are kept" kafka.log; do kill -0 $! || exit 1; sleep 0.1; done
cat kafka.log
"""


def test_from_the_wheel_to_the_first_event(tmp_path: Path) -> None:
    wheel = build_wheel(tmp_path)
    folder = tmp_path / "empty"
    environment_of(wheel, folder / "venv", "dingbridge[all]")
    ports = {name: str(free_port()) for name in PORTS.values()}
    text = GUIDE.read_text(encoding="utf-8").split("\n## ")[1]
    for port, name in PORTS.items():
        text = text.replace(port, ports[name])
    section = tmp_path / "section.md"
    section.write_text(text, encoding="utf-8")
    install, credentials, kafka, bridge, event, _ = (code for _, code in blocks(section, "sh"))
    assert f"install ./{wheel.name}'[all]'" in install
    kafka = IN_ANOTHER_TERMINAL.format(command=kafka.strip())
    own = {
        "DINGBRIDGE_CACHE": str(cache_dir()),
        "SIMULATOR_URL": f"http://127.0.0.1:{ports['SIMULATOR_PORT']}",
    }
    env = environment({"JOURNAL_ALLOW_UNSAFE": "1"}, own, ports)
    printed = run("\n".join([credentials, kafka, bridge, event]), folder, env)
    for _, shown in blocks(section, "text"):
        for line in shown.splitlines():
            assert line in printed


def run(script: str, folder: Path, env: Mapping[str, str]) -> str:
    """What it prints, in both streams. What it leaves in the background is killed."""
    log = folder / "printed"
    with log.open("w") as output:
        shell = subprocess.Popen(
            ["sh", "-eu", "-c", script],
            cwd=folder,
            env=env,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            ended = shell.wait(240)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    printed = log.read_text()
    assert ended == 0, printed
    return printed
