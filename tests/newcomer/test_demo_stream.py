"""``make demo MODE=stream``, to its end."""

import re
from collections.abc import Callable

from tests.newcomer.conftest import Demo


def test_the_demo_by_stream_counts_nothing_lost(demo: Callable[..., Demo]) -> None:
    running = demo("--seconds", "8", MODE="stream")
    assert running.end() == 0, running.text
    text = running.text
    assert running.left_running() == []
    assert re.search(r"^lost +0  ", text, re.M)
    assert "make demo KEEP=1" in text
    assert "opened 2 connections" in text
    assert "no public listener" in text
    assert int(re.findall(r"^gap +(\d+)  pushes met no connection", text, re.M)[0]) > 0, "the kill was felt"
    assert re.search(r"^differences +0  .*equal to DingTalk$", text, re.M)
    assert re.search(r"^both ways .*\n +1  .*the OA received it: the others were echoes$", text, re.M)
