"""FORWARD_FILE: all mistakes at once, no secret in any of them."""

import re
from pathlib import Path
from typing import Any

import pytest

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


ALL_MISTAKES = """
retries = 3

[systems.A_1]
url = "ftp://a.example.com"
typs = ["user_add_org"]
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
rate = 0
concurrency = "8"
timeout_s = 1000
body = "xml"

[systems.b]
url = "https://user:pass@b.example.com/"
types = ["nothing_*", "no/type"]
headers = { X-Auth-Token = "hunter2" }

[systems.c]
url = "https://c.example.com/#top"
types = ["user_add_org"]
ca_file = "/does/not/exist.pem"
headers = { Webhook-Id = "1" }

[systems.d]
url = "https://d.example.com:99999/"
types = ["user_add_org"]
headers = { X-A = "hunter2\\r\\nX-B: 1" }

[systems.e]
url = "http://169.254.169.254/latest"
types = ["user_add_org"]

[systems.f]
url = "http://[::ffff:10.0.0.1]/"
types = ["user_add_org"]
secrets = ["B"]
unsigned = true
headers = { X-A = "1" }
headers_from = { x-a = "B_TOKEN" }

[systems.g]
url = "https://g.example.com/"
types = ["bpms_instance_change"]
unsigned = true
skip_own_changes = true
body = "dingtalk"

[systems.h]
url = "https://h.example.com/"
types = ["user_*"]
unsigned = true
fields = ["title"]
"""
TOLD = """
retries: is no setting; systems stand in
systems.A_1: the name of a system is 1 to 60 of a-z, 0-9 and -
systems.A_1.url: must be an http(s) address
systems.A_1.types: needed
systems.A_1.typs: is no setting; types is
systems.A_1.secrets: holds names of environment variables, as SYSTEM_A_SECRET; no secret itself
systems.A_1.rate:
systems.A_1.concurrency:
systems.A_1.timeout_s:
systems.A_1.body:
systems.b.url: must not hold a user or password
systems.b.types: 'nothing_*' matches no known EventType; a new one stands in new_types
systems.b.headers: X-Auth-Token looks like a secret; name a variable for it
systems.c.url: must not have a fragment
systems.c.ca_file: /does/not/exist.pem cannot be used (No such file or directory)
systems.c.headers: Webhook-Id is set by the forwarder itself
systems.d.url: must be an http(s) address
systems.d.headers: X-A holds characters that no header may hold
systems.e.secrets: needed
systems.e.url: 169.254.169.254 points inside
systems.f.unsigned: is true beside secrets
systems.f.headers: x-a is in headers_from too
systems.f.url: ::ffff:10.0.0.1 points inside
systems.g.skip_own_changes: changes nothing, since types names no event of people
systems.g.skip_own_changes: needs body = "cloudevents"
systems.h.fields: changes nothing without skip_own_changes = true
"""


def test_all_mistakes_are_told_at_once_and_no_secret(load: Any) -> None:
    found, told = mistakes(load, ALL_MISTAKES), TOLD.strip("\n").splitlines()
    for words in told:
        assert [line for line in found if line.startswith(words)], words
    assert len(found) == len(told)
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


def test_networks_that_are_none_are_said(load: Any) -> None:
    [problem] = mistakes(load, GOOD, "10.0.0.0/8,10/8/9")
    assert problem.startswith("FORWARD_ALLOW_NETWORKS: '10/8/9' is no address or network")


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
