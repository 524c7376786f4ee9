"""FORWARD_FILE: all mistakes at once, no secret in any of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomlkit

from dingbridge.consumers.forward.consumer import SYSTEMS
from dingbridge.consumers.forward.settings import ForwardSettings, credentials_of, load_systems
from dingbridge.errors import SettingsError
from dingbridge.worker.registry import UnknownConsumer, known_consumers, load_consumer
from tests.unit.forward.support import SECRET, system

GOOD = """
[systems.a]
url = "https://a.example.com/hooks/dingtalk?key=1"
types = ["user_*", "org_dept_create"]
new_types = ["a_type_of_tomorrow"]
secrets = ["SYSTEM_A_SECRET", "SYSTEM_A_SECRET_OLD"]

[systems.b]
url = "http://10.0.0.7:8000/"
types = ["bpms_instance_change"]
process_codes = ["PROC-*"]
body = "dingtalk-string"
unsigned = true
headers = { X-From = "dingbridge" }
headers_from = { Authorization = "SYSTEM_B_TOKEN" }

[systems.oa]
url = "https://oa.example.com/"
types = ["user_add_org", "user_active_org", "org_dept_*", "bpms_instance_change"]
secrets = ["OA_SECRET"]
skip_own_changes = true
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("FORWARD_FILE", "FORWARD_ALLOW_NETWORKS"):
        monkeypatch.delenv(name, raising=False)

    def load(text: str, networks: str = "") -> Any:
        file = tmp_path / "forward.toml"
        file.write_text(text, encoding="utf-8")
        monkeypatch.setenv("FORWARD_FILE", str(file))
        monkeypatch.setenv("FORWARD_ALLOW_NETWORKS", networks)
        return load_systems(ForwardSettings.load())

    return load


def mistakes(load: Any, text: str, networks: str = "") -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(text, networks)
    return [re.sub(r"^\S*forward\.toml: ", "", problem) for problem in error.value.problems]


def test_each_declared_system_is_a_consumer_with_a_group_of_its_own(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    systems = load(GOOD, "10.0.0.0/8, fd00::/8")
    assert list(systems) == ["a", "b", "oa"]
    assert {"user_add_org", "org_dept_create", "a_type_of_tomorrow"} < set(systems["a"].topics)
    assert "org_dept_remove" not in systems["a"].topics
    assert systems["a"].origin == "https://a.example.com"
    assert {"forward-a", "forward-b"} <= known_consumers().keys()
    a, b, oa = (load_consumer(f"forward-{name}") for name in systems)
    assert (a.name, b.name, b.topics) == ("forward-a", "forward-b", ("bpms_instance_change",))
    assert not a.uses_database
    # one that skips own changes reads them instead of contact events
    assert (oa.topics, oa.control_topics) == (("bpms_instance_change", "user_active_org"), ["changes"])
    for name in ("forward", "forward-c"):
        with pytest.raises(UnknownConsumer, match="its consumers: forward-a, forward-b, forward-oa"):
            load_consumer(name)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"url": "ftp://a.example.com"}, "url: must be an http(s) address"),
    ({"url": "https://d.example.com:99999/"}, "url: must be an http(s) address"),
    ({"url": "https://user:pass@b.example.com/"}, "url: must not hold a user or password"),
    ({"url": "http://169.254.169.254/latest"}, "url: 169.254.169.254 points inside"),
    ({"url": "http://[::ffff:10.0.0.1]/"}, "url: ::ffff:10.0.0.1 points inside"),
    ({"types": []}, "types:"),
    ({"types": ["nothing_*"]}, "types: 'nothing_*' matches no known EventType"),
    ({"new_types": ["no/type"]}, "new_types: 'no/type' is no EventType"),
    ({"typs": ["user_add_org"]}, "typs: is no setting; they are url, types"),
    (
        {"secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]},
        "secrets: holds names of environment variables",
    ),
    ({"secrets": []}, "secrets: needed"),
    ({"rate": 0}, "rate:"),
    ({"concurrency": "8"}, "concurrency:"),
    ({"timeout_s": 1000}, "timeout_s:"),
    ({"body": "xml"}, "body:"),
    ({"headers": {"X-Auth-Token": "hunter2"}}, "headers: X-Auth-Token looks like a secret"),
    ({"headers": {"Webhook-Id": "1"}}, "headers: Webhook-Id is set by the forwarder itself"),
    ({"headers": {"X-A": "hunter2\r\nX-B: 1"}}, "headers: X-A holds characters that no header may hold"),
    ({"ca_file": "/does/not/exist.pem"}, "ca_file: /does/not/exist.pem cannot be used (No such file"),
    ({"skip_own_changes": True, "body": "dingtalk"}, 'skip_own_changes: needs body = "cloudevents"'),
]


def test_all_mistakes_are_told_at_once_and_no_secret(load: Any) -> None:
    good = {"url": "https://a.example.com/", "types": ["user_add_org"], "secrets": ["A_SECRET"]}
    systems = {f"s{number}": good | wrong for number, (wrong, _) in enumerate(MISTAKES)}
    found = mistakes(load, tomlkit.dumps({"retries": 3, "systems": systems | {"A_1": good}}))
    told = [f"systems.s{number}.{words}" for number, (_, words) in enumerate(MISTAKES)]
    told += ["retries: is no setting", "systems.A_1: the name of a system is 1 to 60 of a-z, 0-9 and -"]
    assert sorted(
        line[: len(words)] for line, words in zip(sorted(found), sorted(told), strict=True)
    ) == sorted(told)
    for private in ("MfKQ", "hunter2", "pass@"):
        assert private not in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "declares no system"),
        ("[systems", "is no TOML"),
        ("systems = 3", "declares no system"),
        ("[systems]\na = 3", "systems.a: is no table"),
    ],
)
def test_a_file_that_is_none_is_said(load: Any, text: str, words: str) -> None:
    assert words in "\n".join(mistakes(load, text))


def test_without_a_file_there_is_none(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    assert not SYSTEMS.names()
    assert not [name for name in known_consumers() if name.startswith("forward")]
    for name in ("forward", "forward-a"):
        with pytest.raises(SettingsError, match="FORWARD_FILE: not set"):
            load_consumer(name)
    monkeypatch.setenv("FORWARD_FILE", "/does/not/exist.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_consumer("forward-a")


def test_credentials_are_of_the_environment_or_of_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    monkeypatch.setenv("SYSTEM_A_SECRET_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("SECOND", SECRET)
    monkeypatch.setenv("TOKEN", "Bearer hunter2")
    declared = system(secrets=["SYSTEM_A_SECRET", "SECOND"], headers_from={"Authorization": "TOKEN"})
    found = credentials_of("a", declared)
    assert len(found.keys) == 2
    assert found.keys[0] == found.keys[1]
    assert found.headers == {"Authorization": "Bearer hunter2"}
    assert "hunter2" not in repr(found)


def test_all_credentials_that_are_missing_or_wrong_are_told_without_their_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHORT", "whsec_aHVudGVyMg==")
    monkeypatch.setenv("LINES", "hunter2\nhunter3")
    monkeypatch.setenv("GONE_FILE", "/does/not/exist")
    declared = system(secrets=["SHORT", "MISSING", "GONE"], headers_from={"Authorization": "LINES"})
    with pytest.raises(SettingsError) as error:
        credentials_of("a", declared)
    assert sorted(problem.split(":")[0] for problem in error.value.problems) == [
        "GONE_FILE",
        "LINES (header Authorization of system a)",
        "MISSING (or MISSING_FILE)",
        "SHORT (secret of system a)",
    ]
    assert "hunter" not in str(error.value)
