"""A life that is recorded or written down: recordings, scripts, settings."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.errors import SettingsError
from dingbridge.simulator.activity import load_script
from dingbridge.simulator.company.platform import Platform
from dingbridge.simulator.errors import ActionError
from dingbridge.simulator.recording import MOST_STEPS, RecordedStep, Recording, Replay, load_recording
from dingbridge.simulator.settings import SimulatorSettings

WANTED = ("hire", "leave", "come_back", "move", "give_role", "start_approval", "approve", "remove_department")


def tell(platform: Platform, action: str | None) -> list[bytes]:
    """What is pushed of one step, which may be impossible."""
    try:
        events = platform.act_at_random() if action is None else platform.act(action)
    except ActionError as error:
        return [str(error).encode()]
    return [event.plaintext() for event in events]


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.lists(st.one_of(st.none(), st.sampled_from(WANTED)), max_size=80), st.data())
def test_a_recorded_life_is_lived_again_word_for_word(
    seed: int, steps: list[str | None], data: st.DataObject
) -> None:
    size: dict[str, Any] = {"seed": seed, "users": 12, "departments": 4}
    ticking = iter(range(1_760_000_000_000, 1_770_000_000_000, data.draw(st.integers(0, 3), "ms") or 1))
    first = Platform(**size, clock=lambda: next(ticking))
    recording = Recording(**size, corp_id=first.corp_id, generation="mixed", duplicates=0.0, reorder=0.0,
                          began_ms=first.began_ms)  # fmt: skip
    told = []
    for action in steps:
        told += tell(first, action)
        recording.add(RecordedStep(first.at_ms, action, {}))
    recording.before = data.draw(st.integers(0, len(steps)), "steps before the registration")

    replay = Replay(recording, lambda: 1_790_000_000_000, speed=0)
    again = Platform(**size, clock=replay.clock)
    retold: list[bytes] = []
    replay.prologue(lambda step: retold.extend(tell(again, step.action)))
    assert replay.done == recording.before
    asyncio.run(replay.run(lambda step: retold.extend(tell(again, step.action))))
    assert retold == told
    for show in (everybody, everything):
        assert show(again) == show(first)
    # from now on the real clock counts
    assert again.now_ms() == 1_790_000_000_000


def everybody(platform: Platform) -> list[Any]:
    return [platform.company.user_result(user) for user in platform.company.users.values()]


def everything(platform: Platform) -> list[Any]:
    departments = platform.company.departments.values()
    approvals = [platform.approvals.result(approval) for approval in platform.approvals]
    return [*map(platform.company.department_result, departments), *approvals]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "no recording of version 1"),
        ({"seed": "1"}, "no recording"),
        ({"generation": "newest"}, "no recording"),
        ({"steps": [[1, "hire"]]}, "no recording"),
        ({"steps": [[1, 2, {}]]}, "no recording"),
        ({"complete": False}, "is not complete"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    recording = Recording(1, 2, 3, "ding1", "old", 0.0, 0.0, 5)
    file = tmp_path / "recording.json"
    file.write_text(json.dumps(recording.as_json()))
    assert load_recording(file).steps == []
    file.write_text(json.dumps(recording.as_json() | change))
    with pytest.raises(SettingsError, match=words):
        load_recording(file)
    file.write_text("no JSON")
    with pytest.raises(SettingsError, match="is no JSON"):
        load_recording(file)
    with pytest.raises(SettingsError, match="cannot be read"):
        load_recording(tmp_path / "absent")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_script(tmp_path / "absent.toml")


def test_a_recording_is_bounded_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_STEPS >= 100_000
    monkeypatch.setattr("dingbridge.simulator.recording.MOST_STEPS", 2)
    recording = Recording(1, 2, 3, "ding1", "old", 0.0, 0.0, 5)
    for n in range(3):
        recording.add(RecordedStep(n, None, {}))
    assert len(recording.steps) == 2
    assert recording.as_json()["complete"] is False


def test_a_script_in_toml_and_in_json(tmp_path: Path) -> None:
    toml = tmp_path / "s.toml"
    toml.write_text(
        '[[steps]]\nat = 2\naction = "hire"\ncount = 3\nrepeat = 2\nevery = 0.5\n'
        "[[steps]]\nat = 1\nrate = 20\n"
    )
    steps = load_script(toml)
    assert [(s.at_s, s.action, s.rate) for s in steps] == [
        (1, None, 20),
        (2, "hire", None),
        (2.5, "hire", None),
    ]
    assert steps[1].arguments == {"count": 3}
    as_json = tmp_path / "s.json"
    as_json.write_text('[{"at": 0, "action": "revoke"}]')
    assert load_script(as_json)[0].action == "revoke"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("steps = 3", 1),
        ("not toml", 1),
        ('[[steps]]\naction="hire"\n[[steps]]\nat=1\naction="fly"\n[[steps]]\nat=1\naction="hire"\nx=1', 3),
        ("[[steps]]\nat=1\nrate=-1\n[[steps]]\nat=true\nrate=1\n[[steps]]\nat=1\nrate=1\naction='hire'", 3),
        ("[[steps]]\nat=1\naction='hire'\nrepeat=0\n", 1),
    ],
)
def test_every_mistake_of_a_script_is_told(tmp_path: Path, text: str, problems: int) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as mistakes:
        load_script(path)
    assert len(mistakes.value.problems) == problems


def test_settings_come_from_the_environment_and_report_all_mistakes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of-a-file\n")
    monkeypatch.setenv("SIMULATOR_RATE", "2.5")
    monkeypatch.setenv("DINGTALK_APP_KEY", "dingother")
    monkeypatch.setenv("DINGTALK_APP_SECRET_FILE", str(secret))
    settings = SimulatorSettings.load(simulator_port=0)
    assert settings.simulator_rate == 2.5
    assert settings.owner_key == "dingother"
    assert settings.dingtalk_app_secret.get_secret_value() == "of-a-file"
    with pytest.raises(SettingsError) as mistakes:
        SimulatorSettings.load(simulator_generation="other", simulator_users=-1)
    assert len(mistakes.value.problems) == 2
