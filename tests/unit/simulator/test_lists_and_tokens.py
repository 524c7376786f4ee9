"""The failed list, access tokens, scripts, settings."""

from pathlib import Path

import pytest

from dingbridge.errors import SettingsError
from dingbridge.simulator.activity import load_script
from dingbridge.simulator.errors import PlatformError
from dingbridge.simulator.pushes.failed import FailedList
from dingbridge.simulator.settings import SimulatorSettings
from dingbridge.simulator.tokens import AccessTokens


def test_each_reading_removes_what_the_one_before_it_showed() -> None:
    failed = FailedList()
    for n in range(450):
        failed.add({"n": n})
    first, more = failed.read()
    assert ([i["n"] for i in first], more) == (list(range(200)), True)
    assert len(failed) == 450
    second, more = failed.read()
    assert ([i["n"] for i in second], more) == (list(range(200, 400)), True)
    third, more = failed.read()
    assert ([i["n"] for i in third], more) == (list(range(400, 450)), False)
    failed.add({"n": 450})
    assert failed.read() == ([{"n": 450}], False)
    assert failed.read() == ([], False)
    assert len(failed) == 0


def test_the_failed_list_is_bounded_and_still_removes_only_what_was_shown() -> None:
    failed = FailedList(kept=3)
    for n in range(3):
        failed.add({"n": n})
    assert [i["n"] for i in failed.read()[0]] == [0, 1, 2]
    failed.add({"n": 3})
    assert [i["n"] for i in failed.read()[0]] == [3]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_token_is_kept_renewed_and_expires() -> None:
    clock = Clock()
    tokens = AccessTokens("key", "secret", clock=clock)
    token = tokens.issue("key", "secret")
    clock.now += 7000
    assert tokens.issue("key", "secret") == token
    clock.now += 7000
    tokens.check(token)
    clock.now += 201
    with pytest.raises(PlatformError) as expired:
        tokens.check(token)
    assert expired.value.errcode == 42001
    fresh = tokens.issue("key", "secret")
    assert fresh != token
    tokens.check(fresh)
    with pytest.raises(PlatformError) as still:
        tokens.check(token)
    assert still.value.errcode == 42001
    tokens.expire()
    with pytest.raises(PlatformError):
        tokens.check(fresh)


@pytest.mark.parametrize(
    ("key", "secret", "errcode"),
    [(None, "secret", 41002), ("key", None, 41004), ("key", "wrong", 40089), ("x", "secret", 40089)],
)
def test_wrong_app(key: str | None, secret: str | None, errcode: int) -> None:
    with pytest.raises(PlatformError) as refused:
        AccessTokens("key", "secret").issue(key, secret)
    assert refused.value.errcode == errcode


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


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_script(tmp_path / "none.toml")


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
