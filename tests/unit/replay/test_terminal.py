"""Times and lists as arguments, the lines of progress in a pipe, and Ctrl-C at a question."""

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from dingbridge.cli.terminal import Progress, confirmed, listed, moment, progress
from dingbridge.errors import BridgeError
from dingbridge.replay.copying import begun_at, new_replay_id

NOW = datetime(2026, 11, 25, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T08:00:00+08:00", NOW - timedelta(hours=4)),
        ("2026-11-25T04:00Z", NOW),
        ("90m", NOW - timedelta(minutes=90)),
        ("2h", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("45s", NOW - timedelta(seconds=45)),
    ],
)
def test_a_time_is_absolute_with_its_zone_or_so_long_ago(text, expected):
    assert moment(text, "--since", NOW) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-25T08:00:00", "no time zone"),
        ("2026-11-25", "no time zone"),
        ("yesterday", "no time;"),
        ("2026-13-01T00:00Z", "no time;"),
        ("0001-01-01T00:00+08:00", "no time;"),
        ("2w", "no time;"),
        ("", "no time;"),
    ],
)
def test_anything_else_is_refused_with_examples(text, words):
    with pytest.raises(typer.BadParameter, match=words) as refused:
        moment(text, "--since", NOW)
    assert "+08:00" in refused.value.message
    assert refused.value.param_hint == "--since"


def test_a_list_may_be_repeated_and_hold_commas():
    assert listed(["a,b", " b , c", ""]) == ("a", "b", "c")
    assert listed(None) == ()


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 500))
def test_progress_never_passes_its_total_and_says_little(counts, total):
    said = []
    bar = Progress(total, write=said.append)
    for count in counts:
        bar.advance(count)
    assert bar.done == sum(counts) <= bar.total
    assert len(said) <= 10
    assert len(set(said)) == len(said)


def test_in_a_pipe_progress_is_lines_on_standard_error(capsys):
    with progress(40) as bar:
        for _ in range(4):
            bar.advance(10)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1] == "sent: 40 of 40 (100 %)"


def test_a_replay_id_says_when_its_run_began_and_which_command_it_was():
    first = new_replay_id("billing\nx", NOW)
    assert begun_at(first) == NOW
    later = new_replay_id("billing\nx", NOW + timedelta(days=1))
    assert first < later
    assert first.split("-")[1] == later.split("-")[1] != new_replay_id("billing\ny", NOW).split("-")[1]
    assert new_replay_id() != new_replay_id()
    with pytest.raises(BridgeError, match="no id of a replay"):
        begun_at("first")


def test_ctrl_c_at_the_question_ends_the_command_at_once(monkeypatch):
    """The event loop would only take a note of the first one, and ``input`` go on waiting."""
    went_on, before = [], signal.getsignal(signal.SIGINT)

    def asked(question, err):
        signal.raise_signal(signal.SIGINT)
        went_on.append(question)
        return True

    async def command():
        return confirmed("Send 401 record(s)?", yes=False)

    monkeypatch.setattr(typer, "confirm", asked)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(command())
    assert went_on == []
    assert signal.getsignal(signal.SIGINT) is before
