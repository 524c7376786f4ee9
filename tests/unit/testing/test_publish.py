"""``python -m dingbridge.testing`` publishes invented events to nobody else's topics."""

import sys

import pytest

from dingbridge.testing.__main__ import main


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
def test_mistakes_are_said_and_nothing_is_published(tmp_path, monkeypatch, capsys, arguments, prefix, words):
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.json").write_text(
        '{"EventType": "user_add_org", "UserId": ["u1"], "CorpId": "c"}'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    monkeypatch.delenv("TOPIC_PREFIX", raising=False)
    if prefix:
        monkeypatch.setenv("TOPIC_PREFIX", prefix)
        monkeypatch.setenv("CONTROL_PREFIX", "ctl-x.")
    monkeypatch.setattr(sys, "argv", ["dingbridge.testing", *arguments])
    assert main() == 2
    assert words in "".join(capsys.readouterr())
