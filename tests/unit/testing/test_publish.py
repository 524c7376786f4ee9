"""``python -m dingbridge.testing`` publishes invented events to nobody else's topics."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import environment

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("arguments", "prefix", "words"),
    [
        ([], "try.", "usage:"),
        (["events"], None, "TOPIC_PREFIX is not set"),
        (["events"], "dingtalk.", "TOPIC_PREFIX is not set"),
        (["nowhere"], "try.", "nowhere"),
    ],
    ids=["no-path", "no-prefix", "the-default-prefix", "no-events"],
)
def test_mistakes_are_said_and_nothing_is_published(tmp_path, arguments, prefix, words):
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.json").write_text(
        '{"EventType": "user_add_org", "UserId": ["u1"], "CorpId": "c"}'
    )
    env = environment({"PYTHONPATH": str(ROOT), "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    result = subprocess.run(
        [sys.executable, "-m", "dingbridge.testing", *arguments],
        env=env | ({"TOPIC_PREFIX": prefix, "CONTROL_PREFIX": "ctl-x."} if prefix else {}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert words in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
