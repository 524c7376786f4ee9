"""FORWARD_FILE: all mistakes at once, no secret in any of them."""

import re
from pathlib import Path
from typing import Any

import pytest

from dingbridge.consumers.forward.consumer import SYSTEMS
from dingbridge.consumers.forward.settings import ForwardSettings, credentials_of, load_systems
from dingbridge.errors import SettingsError
from dingbridge.settings import ConsumerSettings
from dingbridge.worker.registry import UnknownConsumer, known_consumers, load_consumer
from tests.unit.forward.support import SECRET, system

GOOD = """
[systems.a]
url = "https://a.example.com/hooks/dingtalk?key=1"
types = ["user_*", "org_dept_create"]
new_types = ["a_type_of_tomorrow"]
secrets = ["SYSTEM_A_SECRET", "SYSTEM_A_SECRET_OLD"]
rate = 20
timeout_s = 5

[systems.b]
url = "http://10.0.0.7:8000/"
types = ["bpms_instance_change"]
process_codes = ["PROC-*"]
body = "dingtalk-string"
unsigned = true
headers = { X-From = "dingbridge" }
headers_from = { Authorization = "SYSTEM_B_TOKEN" }
"""


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("FORWARD_FILE", "FORWARD_ALLOW_NETWORKS"):
        monkeypatch.delenv(name, raising=False)

    def load(text: str, **overrides: Any) -> Any:
        file = tmp_path / "forward.toml"
        file.write_text(text, encoding="utf-8")
        monkeypatch.setenv("FORWARD_FILE", str(file))
        return load_systems(ForwardSettings.load(**overrides))

    return load


ALL = {
    "forward_allow_networks": "10.0.0.0/8, fd00::/8",
}


def test_what_is_declared_is_read(load: Any) -> None:
    systems = load(GOOD, **ALL)
    assert list(systems) == ["a", "b"]
    a, b = systems.values()
    assert "user_add_org" in a.topics
    assert {"org_dept_create", "a_type_of_tomorrow"} < set(a.topics)
    assert "org_dept_remove" not in a.topics
    assert (a.body, a.rate, a.concurrency) == ("cloudevents", 20, 8)
    assert a.origin == "https://a.example.com"
    assert b.body == "dingtalk-string"


def mistakes(load: Any, text: str, **overrides: Any) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(text, **overrides)
    return [re.sub(r"^\S*forward\.toml: ", "", problem) for problem in error.value.problems]


def test_all_mistakes_are_told_at_once(load: Any) -> None:
    found = mistakes(
        load,
        """
        retries = 3

        [systems.A_1]
        url = "ftp://a.example.com"
        typs = ["user_add_org"]
        secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
        rate = 0
        body = "xml"

        [systems.b]
        url = "http://169.254.169.254/latest"
        types = ["nothing_*", "no/type"]

        [systems.c]
        url = "https://c.example.com"
        types = ["user_add_org"]
        ca_file = "/does/not/exist.pem"
        secrets = ["C"]
        unsigned = true
        headers = { Webhook-Id = "1", X-Api-Key = "2", "a b" = "3", X-Text = "ü" }

        [systems.d]
        url = "http://[::1]:80/"
        types = ["user_add_org"]
        ca_file = "%s"
        """.replace("%s", __file__),
    )
    text = "\n".join(found)
    for words in (
        "retries: is no setting; systems stand in",
        "systems.A_1: the name of a system is 1 to 60 of a-z, 0-9 and -",
        "systems.A_1.url: must be an http(s) address",
        "systems.A_1.types: needed",
        "systems.A_1.typs: is no setting; types is",
        "systems.A_1.secrets: holds names of environment variables, as SYSTEM_A_SECRET; no secret itself",
        "systems.A_1.rate: ",
        "systems.A_1.body: ",
        "systems.b.types: 'nothing_*' matches no known EventType; a new one stands in new_types",
        "systems.c.ca_file: /does/not/exist.pem cannot be used (No such file or directory)",
        "systems.c.headers: ",
        "systems.d.ca_file: ",
    ):
        assert words in text, words
    assert "MfKQ" not in text


def test_mistakes_that_stand_between_two_lines_are_told(load: Any) -> None:
    found = mistakes(
        load,
        """
        [systems.a]
        url = "http://169.254.169.254/latest"
        types = ["user_add_org"]

        [systems.b]
        url = "http://[::ffff:10.0.0.1]/"
        types = ["user_add_org"]
        secrets = ["B"]
        unsigned = true
        headers = { X-A = "1" }
        headers_from = { x-a = "B_TOKEN" }

        [systems.c]
        url = "https://c.example.com/"
        types = ["bpms_instance_change"]
        unsigned = true
        skip_own_changes = true
        body = "dingtalk"

        [systems.d]
        url = "https://d.example.com/"
        types = ["user_*"]
        unsigned = true
        fields = ["title"]
        """,
    )
    assert len(found) == 8
    text = "\n".join(found)
    for words in (
        "systems.a.secrets: needed",
        "systems.a.url: 169.254.169.254 points inside (link-local)",
        "FORWARD_ALLOW_NETWORKS, as 169.254.169.254/32",
        "systems.b.unsigned: is true beside secrets",
        "systems.b.headers: x-a is in headers_from too",
        "systems.b.url: ::ffff:10.0.0.1 points inside (private)",
        "systems.c.skip_own_changes: changes nothing, since types names no event of people",
        'systems.c.skip_own_changes: needs body = "cloudevents"',
        "systems.d.fields: changes nothing without skip_own_changes = true",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('url = "https://user:pass@a.example.com/"', "must not hold a user or password"),
        ('url = "https://a.example.com/#top"', "must not have a fragment"),
        ('url = "https://a.example.com/a b"', "must be an http(s) address"),
        ('url = "https://a.example.com:99999/"', "must be an http(s) address"),
        ('headers = { Content-Type = "text/xml" }', "Content-Type is set by the forwarder itself"),
        ('headers = { X-Auth-Token = "hunter2" }', "looks like a secret; name a variable for it"),
        ('headers = { X-A = "hunter2\\r\\nX-B: 1" }', "holds characters that no header may hold"),
        ("timeout_s = 1000", "less than or equal to 300"),
        ('concurrency = "8"', "valid integer"),
    ],
)
def test_one_wrong_line_is_told_without_its_value(load: Any, line: str, words: str) -> None:
    lines = {"url": 'url = "https://a.example.com"', "types": 'types = ["user_add_org"]'}
    lines |= {"secrets": 'secrets = ["A"]', line.split(" =")[0]: line}
    found = mistakes(load, "[systems.a]\n" + "\n".join(lines.values()))
    assert len(found) == 1
    assert words in found[0]
    assert "hunter2" not in found[0]
    assert "pass@" not in found[0]


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
    with pytest.raises(SettingsError, match="FORWARD_ALLOW_NETWORKS: '10/8/9' is no address or network"):
        load(GOOD, forward_allow_networks="10.0.0.0/8,10/8/9")


def test_without_a_file_there_is_none(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    assert not SYSTEMS.names()
    assert not [name for name in known_consumers() if name.startswith("forward")]
    for name in ("forward", "forward-a"):
        with pytest.raises(SettingsError, match="FORWARD_FILE: not set"):
            load_consumer(name)
    monkeypatch.setenv("FORWARD_FILE", "/does/not/exist.toml")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_consumer("forward-a")


def test_each_system_is_a_consumer_with_a_group_of_its_own(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in ALL.items():
        monkeypatch.setenv(name.upper(), value)
    load(GOOD)
    known = known_consumers()
    assert {"forward-a", "forward-b"} <= known.keys()
    a, b = load_consumer("forward-a"), load_consumer("forward-b")
    assert (a.name, b.name, b.topics) == ("forward-a", "forward-b", ("bpms_instance_change",))
    assert not a.uses_database
    for name in ("forward", "forward-c"):
        with pytest.raises(
            UnknownConsumer, match=f"no consumer '{name}'; its consumers: forward-a, forward-b"
        ):
            load_consumer(name)


def test_a_system_that_skips_own_changes_reads_them_instead_of_contact_events(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(
        """
        [systems.oa]
        url = "https://oa.example.com/"
        types = ["user_add_org", "user_active_org", "org_dept_*", "bpms_instance_change"]
        secrets = ["OA_SECRET"]
        skip_own_changes = true
        """
    )
    oa = load_consumer("forward-oa")
    assert (oa.topics, oa.control_topics) == (("bpms_instance_change", "user_active_org"), ["changes"])


class TestCredentials:
    def test_of_the_environment_or_of_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(SECRET + "\n")
        monkeypatch.setenv("SYSTEM_A_SECRET_FILE", str(tmp_path / "secret"))
        monkeypatch.setenv("SECOND", SECRET)
        monkeypatch.setenv("TOKEN", "Bearer hunter2")
        found = credentials_of(
            "a", system(secrets=["SYSTEM_A_SECRET", "SECOND"], headers_from={"Authorization": "TOKEN"})
        )
        assert len(found.keys) == 2
        assert found.keys[0] == found.keys[1]
        assert found.headers == {"Authorization": "Bearer hunter2"}
        assert "hunter2" not in repr(found)

    def test_all_that_is_missing_or_wrong_is_told_without_its_value(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHORT", "whsec_aHVudGVyMg==")
        monkeypatch.setenv("LINES", "hunter2\nhunter3")
        monkeypatch.setenv("GONE_FILE", "/does/not/exist")
        declared = system(secrets=["SHORT", "MISSING", "GONE"], headers_from={"Authorization": "LINES"})
        with pytest.raises(SettingsError) as error:
            credentials_of("a", declared)
        text = str(error.value)
        assert len(error.value.problems) == 4
        assert "SHORT (secret of system a): has 7 bytes" in text
        assert "MISSING (or MISSING_FILE): not set; system a needs it" in text
        assert "GONE_FILE: names a file that cannot be read (No such file or directory)" in text
        assert "LINES (header Authorization of system a): holds what no header may hold" in text
        assert "hunter" not in text


def test_the_command_tells_the_mistakes_of_system_and_process_together(
    load: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dingbridge.cli.consume import _load

    for name, value in ALL.items():
        monkeypatch.setenv(name.upper(), value)
    load(GOOD)
    monkeypatch.setenv("TOPIC_PARTITIONS", "none")
    with pytest.raises(SettingsError) as error:
        _load("forward-a")
    found = "\n".join(error.value.problems)
    for variable in ("SYSTEM_A_SECRET", "SYSTEM_A_SECRET_OLD", "TOPIC_PARTITIONS"):
        assert f"{variable}" in found
    monkeypatch.delenv("TOPIC_PARTITIONS")
    for variable in ("SYSTEM_A_SECRET", "SYSTEM_A_SECRET_OLD"):
        monkeypatch.setenv(variable, SECRET)
    consumer, settings = _load("forward-a")
    assert consumer.name == "forward-a"
    assert isinstance(settings, ConsumerSettings)
