"""``make demo`` as somebody runs it: in a pipe, to its end; kept; and killed on the way."""

import html
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from dingbridge.simulator.kafka.ports import answers
from tests.support.processes import environment, wait_until
from tests.support.visitor import Visitor

ROOT = Path(__file__).parents[2]


class Demo:
    """One running demo in a session of its own."""

    def __init__(self, folder: Path, *arguments: str, **env: str) -> None:
        self.folder = folder
        self._output = folder / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dev.demo", *arguments],
                cwd=folder,
                env=environment(
                    {name: os.environ[name] for name in DOCKER if name in os.environ},
                    {"PYTHONPATH": str(ROOT), **env},  # its folder is another one, and dev/ is in no wheel
                ),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._output.read_text(encoding="utf-8")

    def wait_for(self, words: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None or words in self.text, self.text
            return words in self.text

        wait_until(said, 240, f"{words!r} in the demo's output")

    def end(self) -> int:
        return self.process.wait(120)

    def left_running(self) -> list[str]:
        """Processes that work in the demo's folder, and addresses that it named and that still answer."""
        left = []
        for process in psutil.process_iter(["pid", "name", "cwd"]):
            if (process.info["cwd"] or "").startswith(str(self.folder)) and process.pid != self.process.pid:
                left.append(f"{process.info['name']} ({process.pid})")
        ports = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", self.text)}
        return left + [f"port {port}" for port in sorted(ports) if answers("127.0.0.1", port)]


DOCKER = ("DOCKER_HOST", "DINGBRIDGE_CACHE", "TESTCONTAINERS_CONNECTION_MODE", "TESTCONTAINERS_HOST_OVERRIDE")


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []

    def start(*arguments: str, **env: str) -> Demo:
        started.append(Demo(tmp_path, *arguments, **env))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def test_the_demo_counts_nothing_lost_and_leaves_nothing_running(demo: Callable[..., Demo]) -> None:
    # a real bridge's settings in the shell are none of the demo's business
    running = demo("--seconds", "8", KAFKA_BOOTSTRAP_SERVERS="real:9092", DATABASE_URL="postgresql://real/db")
    assert running.end() == 0, running.text
    text = running.text
    assert running.left_running() == []
    assert re.search(r"^lost = 0$", text, re.M)
    assert "SIGKILL to the ingress" in text
    attempts, given_up = map(int, re.findall(r"(\d+) attempts failed, (\d+) pushes were given up", text)[0])
    assert attempts > 0, "the kill was felt"
    assert re.search(r"^OA tables .*: equal to DingTalk's state$", text, re.M), given_up
    assert re.search(r"^both ways .*the OA received 1: the others were echoes$", text, re.M)
    assert re.search(r"^console +finds [1-9]\d* events of OA-1024 by the name 韩梅梅$", text, re.M)
    assert re.search(
        r"^Key: dingcorpsample01:\S+\nHeaders: content-type=application/cloudevents\+json,", text, re.M
    )
    _, _, employees = text.partition("Five employees, from the OA database\n")
    assert len([line for line in employees.split("\n")[1:6] if re.match(r"(0\d{15}|OA-\d+) +", line)]) == 5
    assert "make demo KEEP=1" in text
    (folder,) = (running.folder / "data" / "demo").iterdir()
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*.db")}
    assert {
        "address-sync.db",
        "approval.db",
        "oa.db",
        "outbound.db",
        "journal/current/journal.db",
        "journal/current/checkpoint.db",
    } <= kept


def test_the_demo_by_stream_counts_nothing_lost(demo: Callable[..., Demo]) -> None:
    running = demo("--seconds", "8", MODE="stream")
    assert running.end() == 0, running.text
    text = running.text
    assert running.left_running() == []
    assert re.search(r"^lost = 0$", text, re.M)
    assert "opened 2 connections" in text
    assert "no public listener" in text
    assert int(re.findall(r"^gap +(\d+) pushes met no connection", text, re.M)[0]) > 0, "the kill was felt"
    assert re.search(r"^OA tables .*: equal to DingTalk's state$", text, re.M)
    assert re.search(r"^both ways .*the OA received 1: the others were echoes$", text, re.M)


def test_a_kept_demo_answers_until_ctrl_c(demo: Callable[..., Demo]) -> None:
    running = demo("--seconds", "4", KEEP="1")
    running.wait_for("SELECT title, outcome")
    assert "lost = 0" in running.text
    (folder,) = (running.folder / "data" / "demo").iterdir()
    script = f". {folder}/env && dingbridge topics list && dingbridge consume approval --show"
    shown = subprocess.run(
        ["sh", "-c", script],
        env=environment(),
        cwd=running.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert shown.returncode == 0, shown.stderr
    assert "dingtalk.bpms_instance_change" in shown.stdout
    assert "# approvals archived" in shown.stdout
    walk(running.text)
    running.process.send_signal(signal.SIGINT)
    assert running.end() == 0
    assert running.left_running() == []


def walk(text: str) -> None:
    """What the demo says that one can see: a person's event by the name, System A broken and mended, its
    letters sent back."""
    [(address, name, password)] = re.findall(r"^console +(\S+)\n +user (\S+), password (\S+)$", text, re.M)
    [system_a] = re.findall(r"^System A +(\S+)$", text, re.M)
    [name_of_person] = re.findall(r"a person by the name \((\S+)\)", text)
    somebody, there = Visitor(address), Visitor(system_a)
    somebody.go("/login")
    somebody.submit("/login", name=name, password=password)

    meant = somebody.go(f"/find?q={quote(name_of_person)}&lang=en")
    found = somebody.go(html.unescape(re.findall(rf'href="([^"]+)">{name_of_person}<', meant)[0]))
    life = somebody.go(html.unescape(re.findall(r'href="(/event\?[^"]+)"', found)[-1]))
    assert all(consumer in life for consumer in ("address-sync", "outbound", "forward-a"))

    there.go("/")
    assert "It is broken" in there.submit("/break")
    trouble = "dead letter(s) wait."
    wait_until(lambda: trouble in somebody.go("/?lang=en"), what="System A's trouble on Now")

    assert "It takes events" in there.submit("/mend")
    letters = "/dead-letters/letters?consumer=forward-a"
    assert letters in somebody.go("/dead-letters")
    somebody.go(letters)
    asked = somebody.submit("/dead-letters/count", which="all", act="replay")
    done = somebody.submit(re.findall(r'action="(/confirm/[^"]+)"', asked)[0])
    assert "dingbridge dlq replay forward-a" in done
    wait_until(lambda: letters not in somebody.go("/dead-letters"), what="that none waits any more")
    assert "dlq replay forward-a" in somebody.go("/audit")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_on_the_way_leaves_nothing_running(
    demo: Callable[..., Demo], number: signal.Signals
) -> None:
    running = demo("--seconds", "60")
    running.wait_for("pushed")
    assert running.left_running()
    running.process.send_signal(number)
    assert running.end() == (128 + number if number == signal.SIGTERM else -number)
    wait_until(lambda: not running.left_running(), 30, "nothing is left running")
