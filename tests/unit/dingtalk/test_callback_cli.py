"""``dingbridge callback`` as far as it needs no platform: what to register, usage, settings, masks."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from dingbridge import Consumer
from dingbridge.cli.callback.command import app, mask, wanted
from dingbridge.cli.callback.credentials import generate, write_new
from dingbridge.cli.callback.rotate import renamed
from dingbridge.cli.terminal import length
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.worker.registry import Installed
from tests.support.cases import of_each


class First(Consumer):
    name = "first"
    topics = ("user_add_org", "org_dept_create")

    async def handle(self, event, tx, prepared): ...


class Second(First):
    name = "second"
    topics = ("bpms_instance_change", "user_add_org")


class Idle(First):
    name = "idle"
    topics = ()


def installed(*consumers: type[Consumer]) -> list[Installed]:
    return [Installed(consumer.name, "ours", consumer) for consumer in consumers]


def test_events_are_the_union_of_the_consumers_topics() -> None:
    assert wanted(installed(First, Second)) == ("bpms_instance_change", "org_dept_create", "user_add_org")


def test_a_consumer_that_cannot_be_loaded_is_named() -> None:
    lost = Installed("lost", "theirs", problem="consumer 'lost' cannot be imported")
    with pytest.raises(SettingsError, match=r"'lost' .*--events"):
        wanted([*installed(First), lost])


@pytest.mark.parametrize("consumers", [[], installed(Idle)])
def test_nothing_to_register(consumers: list[Installed]) -> None:
    with pytest.raises(SettingsError, match="--events"):
        wanted(consumers)


@pytest.mark.parametrize(
    ("secret", "expected"),
    [("", "(none)"), ("short", "… (5 characters)"), ("tokenForTests01", "to…01 (15 characters)")],
)
def test_mask(secret: str, expected: str) -> None:
    assert mask(secret) == expected


def invoke(*arguments: str, **environment: str) -> Any:
    names = ["TOKEN", "AES_KEY", "OWNER_KEY", "APP_KEY", "APP_SECRET", "API_BASE"]
    nothing = {f"DINGTALK_{name}{suffix}": None for name in names for suffix in ("", "_FILE")}
    return CliRunner().invoke(app, arguments, env={**nothing, "COLUMNS": "200", **environment})


NO_URLS = (
    "bridge.example.com/callback",
    "ftp://bridge.example.com",
    "https://",
    "https://a b/",
    "http://h:port/",
    "https://user:pw@bridge.example.com/",
    "https://bridge.example.com/#x",
)


NO_EVENTS = (" , ", "user_add_org,用户", "a b")


@of_each([*[("--url", text) for text in ("", *NO_URLS)], *[("--events", text) for text in ("", *NO_EVENTS)]])
def test_what_cannot_be_a_url_or_events_is_a_usage_error(option: tuple[str, str]) -> None:
    result = invoke("register", "--url", "https://bridge.example.com/callback", *option)
    assert result.exit_code == 2
    assert option[0] in result.output


def test_all_missing_settings_are_listed_at_once() -> None:
    result = invoke("register", "--url", "https://bridge.example.com/callback", "--events", "user_add_org")
    assert isinstance(result.exception, SettingsError)
    for name in ("TOKEN", "AES_KEY", "OWNER_KEY", "CORP_ID", "APP_KEY", "APP_SECRET"):
        assert f"DINGTALK_{name}" in str(result.exception)


def test_show_needs_the_app_only() -> None:
    result = invoke("show")
    assert isinstance(result.exception, SettingsError)
    assert "DINGTALK_APP_KEY" in str(result.exception)
    assert "DINGTALK_TOKEN" not in str(result.exception)


def test_a_rotations_files_are_named_after_the_first_and_the_time() -> None:
    at = datetime(2026, 11, 25, 8, 0, 1, 23, tzinfo=UTC)
    assert renamed("secrets/hr.token", at) == "secrets/hr.token.20261125T080001000023"
    assert renamed("secrets/hr.token.20251125T080001000023", at) == "secrets/hr.token.20261125T080001000023"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90s", timedelta(seconds=90)), ("24h", timedelta(days=1)), ("3d", timedelta(days=3))],
)
def test_lengths_of_time(text: str, expected: timedelta) -> None:
    assert length(text) == expected


# -- Generated credentials follow the platform's rules, and files of secrets never take another's place


def test_they_are_of_the_length_and_alphabet_that_console_and_api_take():
    seen = set()
    for _ in range(200):
        made = generate()
        assert re.fullmatch(r"[A-Za-z0-9]{32}", made.token)
        assert re.fullmatch(r"[A-Za-z0-9]{43}", made.aes_key)
        # a strict decoder takes it too: no bits beyond the 32 bytes are set
        key = base64.b64decode(made.aes_key + "=", validate=True)
        assert base64.b64encode(key).decode() == made.aes_key + "="
        Credentials(made.token, made.aes_key, ("dingappkey",))
        assert made.token not in repr(made)
        seen |= {made.token, made.aes_key}
    assert len(seen) == 400


def test_what_is_there_is_not_written_over_and_all_that_is_wrong_is_said(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingsError) as caught:
        write_new({"DINGTALK_AES_KEY_FILE": str(tmp_path / "link")})
    said = "\n".join(caught.value.problems)
    assert "DINGTALK_TOKEN_FILE: not set" in said
    assert "link exists already" in said
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BridgeError, match="cannot be written"):
        write_new(named(tmp_path / "file" / "token", tmp_path / "key"))


def named(token, aes_key):
    return {"DINGTALK_TOKEN_FILE": str(token), "DINGTALK_AES_KEY_FILE": str(aes_key)}
