"""``make demo`` as somebody runs it: in a pipe, and kept; and killed on the way."""

import html
import re
import signal
import subprocess
from collections.abc import Callable
from urllib.parse import quote

import pytest

from tests.newcomer.conftest import Demo
from tests.support.processes import environment, wait_until
from tests.support.visitor import Visitor


def test_the_demo_counts_nothing_lost_and_leaves_nothing_running(demo: Callable[..., Demo]) -> None:
    """Kept, so that it answers until Ctrl-C; what ends by itself is shown by stream."""
    # a real bridge's settings in the shell are none of the demo's business
    real = {"KAFKA_BOOTSTRAP_SERVERS": "real:9092", "DATABASE_URL": "postgresql://real/db"}
    running = demo("--seconds", "6", KEEP="1", **real)
    running.wait_for("SELECT title, outcome")
    text = running.text
    assert re.search(r"^lost +0  ", text, re.M)
    assert "SIGKILL to the ingress" in text
    words = r"^failed +(\d+)  attempts .*; (\d+) pushes were given up$"
    attempts, given_up = map(int, re.findall(words, text, re.M)[0])
    assert attempts > 0, "the kill was felt"
    assert re.search(r"^differences +0  .*equal to DingTalk$", text, re.M), given_up
    assert re.search(r"^both ways .*\n +1  .*the OA received it: the others were echoes$", text, re.M)
    assert re.search(r"^console +[1-9]\d*  events found by the name 韩梅梅", text, re.M)
    assert max(map(len, text.split("\n"))) <= 120
    assert re.search(
        r"^Key: dingcorpsample01:\S+\nHeaders: content-type=application/cloudevents\+json,", text, re.M
    )
    _, _, employees = text.partition("Three employees, from the OA database\n")
    assert len([line for line in employees.split("\n")[1:4] if re.match(r"(0\d{15}|OA-\d+) +", line)]) == 3
    (folder,) = (running.folder / "data" / "demo").iterdir()
    kept = {str(path.relative_to(folder)) for path in folder.rglob("*.db")}
    assert {"address-sync.db", "approval.db", "oa.db", "outbound.db", "journal/current/journal.db"} <= kept

    script = (
        f". {folder}/env && dingbridge topics list && dingbridge consume approval --show && dingbridge doctor"
    )
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
    assert "errors: 0," in shown.stdout
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


@pytest.mark.parametrize(
    ("number", "at"),
    # the company lives; all are started and not yet ready
    [(signal.SIGTERM, "pushed"), (signal.SIGKILL, "ingress: http")],
    ids=["SIGTERM", "SIGKILL"],
)
def test_a_demo_that_is_ended_on_the_way_leaves_nothing_running(
    demo: Callable[..., Demo], number: signal.Signals, at: str
) -> None:
    running = demo("--seconds", "60")
    running.wait_for(at)
    assert running.left_running()
    running.process.send_signal(number)
    assert running.end() == (128 + number if number == signal.SIGTERM else -number)
    wait_until(lambda: not running.left_running(), 30, "nothing is left running")
