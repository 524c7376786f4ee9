"""The apps file: read whole, beside the environment's app, or refused with every mistake at once."""

import os
import textwrap
import tomllib
from datetime import UTC, datetime, timedelta

import pytest

from dingbridge.apps.edit import begun, entry_of, finished, next_of, previous_of, put_in_place
from dingbridge.errors import BridgeError, SettingsError
from dingbridge.settings import (
    SAMPLE_CREDENTIALS,
    CallbackSettings,
    ConsumerSettings,
    IngressSettings,
    PublisherSettings,
)
from dingbridge.settings.apps import bare_path_app, companies, load_apps

KEY = "k" * 43


HR = f"""
[apps.hr]
token = "tokenOfHr"
aes_key = "{KEY}"
owner_keys = ["dinghr", "dingcorp2"]
app_key = "dinghr"
app_secret = "secretOfHr"
corp_id = "dingcorp2"
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("DINGTALK_", "CONSUMER_")):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path, monkeypatch):
    path = tmp_path / "apps.toml"
    monkeypatch.setenv("DINGTALK_APPS_FILE", str(path))

    def write(text):
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def own(monkeypatch, **more):
    app = {"TOKEN": "tokenOfOurs", "AES_KEY": KEY, "OWNER_KEY": "dingours", "CORP_ID": "dingcorp1"}
    for name, value in {**app, **more}.items():
        monkeypatch.setenv(f"DINGTALK_{name}", value)


def test_it_stands_beside_the_environments_app(file, monkeypatch):
    file(HR)
    own(monkeypatch)
    settings = IngressSettings.load()
    apps = load_apps(settings)
    assert list(apps) == ["default", "hr"]
    assert bare_path_app(apps, settings) == "default"
    hr = apps["hr"]
    assert (hr.app_key, hr.app_secret, hr.corp_id, hr.suite) == ("dinghr", "secretOfHr", "dingcorp2", False)
    assert hr.owner_keys == ("dinghr", "dingcorp2")
    assert hr.calls_api
    file(HR + "suite = true")
    assert not load_apps(settings)["hr"].calls_api
    for secret in ("tokenOfHr", KEY, "secretOfHr"):
        assert secret not in repr(apps)


def test_alone_it_needs_nothing_of_the_environment_but_half_an_app_there_is_a_mistake(file, monkeypatch):
    file(HR)
    settings = IngressSettings.load()
    assert list(load_apps(settings)) == ["hr"]
    assert bare_path_app(load_apps(settings), settings) is None
    file(HR.replace("apps.hr", "apps.default"))
    assert bare_path_app(load_apps(settings), settings) == "default"
    monkeypatch.setenv("DINGTALK_TOKEN", "tokenOfOurs")
    with pytest.raises(SettingsError, match="DINGTALK_AES_KEY"):
        IngressSettings.load()


def test_the_company_of_an_app_is_required_but_not_of_a_suite(file):
    without = HR.replace('corp_id = "dingcorp2"\n', "")
    for text in (without, without + 'mode = "stream"'):
        file(text)
        with pytest.raises(SettingsError) as caught:
            IngressSettings.load()
        (problem,) = caught.value.problems
        assert problem.startswith("DINGTALK_APPS_FILE: apps.hr.corp_id: not set")
        assert "open-dev.dingtalk.com" in problem
    file(without + "suite = true")
    settings = IngressSettings.load()
    assert companies(settings).of("hr", "dingany") == "dingany"
    file(HR)
    assert companies(settings).of("hr", "dingany") == "dingcorp2"
    assert companies(settings).of("gone", "dingany") == "dingany"


def test_what_names_another_company_than_its_apps_is_refused_in_words(file):
    file(HR + HR.replace("apps.hr", "apps.isv").replace("corp_id", "suite = true\ncorp_id"))
    known = companies(IngressSettings.load())
    assert known.refusal("hr", "dingcorp2") is None
    assert known.refusal("isv", "dingany") is None
    words = "corpId: is not the company of the app hr, which belongs to dingcorp2"
    assert known.refusal("hr", "ding3") == words
    assert known.refusal("gone", "dingcorp2") == "app: is none of the apps that are configured here: hr, isv"


def test_secrets_may_stand_in_files_beside_it(file, tmp_path):
    for name, secret in (("t", "tokenOfHr"), ("k", KEY), ("s", "secretOfHr")):
        (tmp_path / name).write_text(secret + "\n")
    file(
        """
        [apps.hr]
        token_file = "t"
        aes_key_file = "k"
        owner_keys = "dinghr"
        app_key = "dinghr"
        app_secret_file = "s"
        corp_id = "dingcorp2"
        """
    )
    hr = load_apps(CallbackSettings.load())["hr"]
    assert (hr.credentials[0].token, hr.credentials[0].aes_key) == ("tokenOfHr", KEY)
    assert hr.api_credentials() == ("dinghr", "secretOfHr")


def test_stream_mode_needs_the_apps_key_and_secret_only(file, monkeypatch):
    stream = """
        [apps.sales]
        mode = "stream"
        app_key = "dingsales"
        app_secret = "secretOfSales"
        corp_id = "dingcorp2"
        """
    file(HR.replace("corp_id", 'mode = "stream"\ncorp_id') + textwrap.dedent(stream))
    monkeypatch.setenv("DINGTALK_MODE", "stream")
    monkeypatch.setenv("DINGTALK_APP_KEY", "dingours")
    monkeypatch.setenv("DINGTALK_APP_SECRET", "secretOfOurs")
    monkeypatch.setenv("DINGTALK_CORP_ID", "dingcorp1")
    settings = IngressSettings.load()
    apps = load_apps(settings)
    assert [(a.name, a.mode, a.credentials) for a in apps.values()] == [
        ("default", "stream", ()),
        ("hr", "stream", ()),
        ("sales", "stream", ()),
    ]
    assert apps["sales"].api_credentials() == ("dingsales", "secretOfSales")
    assert bare_path_app(apps, settings) is None
    file(stream.replace("dingsales", "dingours"))
    with pytest.raises(SettingsError, match=r"apps\.sales: has the app_key of default") as error:
        IngressSettings.load()
    assert len(error.value.problems) == 1


def test_other_credentials_are_accepted_until_their_time(file):
    file(
        HR
        + f"""
        [apps.hr.next]
        token = "tokenToCome"
        aes_key = "{KEY}"
        [[apps.hr.previous]]
        token = "tokenOfBefore"
        aes_key = "{KEY}"
        until = 2026-11-26T08:00:00+08:00
        """
    )
    hr = load_apps(CallbackSettings.load())["hr"]
    end = datetime(2026, 11, 26, tzinfo=UTC)
    before, after = ([p.token for p in hr.accepted(end + timedelta(seconds=s))] for s in (-1, 0))
    assert before == ["tokenOfHr", "tokenToCome", "tokenOfBefore"]
    assert after == ["tokenOfHr", "tokenToCome"]
    assert len({pair.fingerprint for pair in hr.credentials}) == 3


def test_every_mistake_is_reported_at_once_with_the_others_of_the_settings(file, monkeypatch):
    file("""
        title = "ours"
        [apps.HR]
        token = "t"
        [apps.hr]
        token = "a secret with spaces"
        aes_key_file = "absent"
        tokken = "x"
        owner_keys = ["has space"]
        app_key = 7
        suite = "yes"
        [apps.sales]
        token = "tokenOfSales"
        token_file = "t"
        aes_key = "short"
        [[apps.sales.previous]]
        token = "tokenOfBefore"
        until = 2026-11-26T08:00:00
        [apps.live]
        mode = "stream"
        [apps.web]
        mode = "websocket"
        token_file = "a\\u0000b"
        """)
    monkeypatch.setenv("INGRESS_PORT", "eighty")
    monkeypatch.setenv("DINGTALK_MODE", "stream")
    with pytest.raises(SettingsError) as caught:
        IngressSettings.load()
    said = "\n".join(caught.value.problems)
    for words in (
        "INGRESS_PORT",
        "DINGTALK_CORP_ID: not set",
        "DINGTALK_APP_KEY: not set",
        "DINGTALK_APP_SECRET: not set",
        "title: is no setting",
        "apps.HR: an app's name",
        "apps.HR.aes_key: not set",
        "apps.hr.token: must be 1 to 64 printable",
        "apps.hr.aes_key: its file cannot be read (No such file",
        "apps.hr.tokken: is no setting",
        "apps.hr.owner_keys.0: 'has space'",
        "apps.hr.app_key: is no text",
        "apps.hr.suite: is true or false",
        "apps.sales.token: stands twice",
        "apps.sales.aes_key: has 5 characters",
        "apps.sales.owner_keys: not set",
        "apps.sales.previous.0.until: is a time with its zone",
        "apps.live.app_key: not set",
        "apps.live.app_secret: not set",
        "apps.live.corp_id: not set",
        "apps.web.mode: is http or stream",
        "apps.web.token: its file cannot be read",
    ):
        assert said.count(words) == 1, words
    assert "apps.live.token" not in said
    assert "a secret with spaces" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[apps]", "names no app"),
        ('apps = "x"', "names no app"),
        ("[apps]\nhr = 1", "is no table"),
        ('[apps.hr]\ntoken = "secret', "is no TOML"),
        (f"apps = {'[' * 100_000}{']' * 100_000}", r"is no TOML \(nested too deep\)"),
        (HR.replace('token = "tokenOfHr"', 'token_file = "a\\u0000b"'), "token: its file cannot be read"),
    ],
    ids=lambda value: value[:20],
)
def test_what_is_no_apps_file(file, text, words):
    file(text)
    with pytest.raises(SettingsError, match=words) as caught:
        load_apps(CallbackSettings.load())
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("DINGTALK_APPS_FILE", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="cannot be read"):
        IngressSettings.load()
    # the publisher needs no credentials, and goes on
    assert PublisherSettings.load().dingtalk_apps_file is not None


def test_two_apps_never_answer_to_one_name(file, monkeypatch):
    file(HR + HR.replace("apps.hr", "apps.default"))
    own(monkeypatch, APP_NAME="hr")
    with pytest.raises(SettingsError) as caught:
        IngressSettings.load()
    assert [line.split(": ")[1] for line in caught.value.problems] == ["apps.default", "apps.hr"]


def test_sample_credentials_are_refused_against_dingtalk_itself(file, monkeypatch):
    file(HR.replace("tokenOfHr", SAMPLE_CREDENTIALS["DINGTALK_TOKEN"]))
    with pytest.raises(SettingsError, match="sample"):
        IngressSettings.load()
    monkeypatch.setenv("DINGTALK_API_BASE", "http://simulator:8090")
    assert load_apps(IngressSettings.load())


def test_a_consumer_calls_as_the_app_that_is_named(file, monkeypatch):
    file(HR)
    with pytest.raises(SettingsError, match=r"CONSUMER_APP .*default is none of the apps: hr"):
        ConsumerSettings.load().api_credentials()
    monkeypatch.setenv("CONSUMER_APP", "hr")
    assert ConsumerSettings.load().api_credentials() == ("dinghr", "secretOfHr")
    file(HR.replace('corp_id = "dingcorp2"', "suite = true"))
    with pytest.raises(SettingsError, match=r"CONSUMER_APP .*hr is a third-party suite"):
        ConsumerSettings.load().api_credentials()
    file(HR)
    monkeypatch.setenv("DINGTALK_APP_KEY", "dingours")
    monkeypatch.setenv("DINGTALK_APP_SECRET", "secretOfOurs")
    monkeypatch.setenv("DINGTALK_CORP_ID", "dingcorp1")
    assert ConsumerSettings.load().api_credentials() == ("dinghr", "secretOfHr")
    monkeypatch.setenv("CONSUMER_APP", "default")
    assert ConsumerSettings.load().api_credentials() == ("dingours", "secretOfOurs")
    monkeypatch.delenv("DINGTALK_APPS_FILE")
    monkeypatch.setenv("CONSUMER_APP", "hr")
    with pytest.raises(SettingsError, match="DINGTALK_APPS_FILE"):
        ConsumerSettings.load().api_credentials()
    assert not ConsumerSettings.load().calls_api


# -- A rotation's changes of the apps file: only these, whatever else stands there, or none


NOW = datetime(2026, 11, 25, 8, tzinfo=UTC)


NEW = {"token": "newToken", "aes_key": "n" * 43}


PLAIN = f"""\
# the company's apps

[apps.sales]
token = "tokenOfSales"   # theirs
aes_key = "{"s" * 43}"

[apps.hr]  # people
token = "tokenOfHr"
aes_key = "{"h" * 43}"
owner_keys = [
  "dinghr",  # Client ID
]

[apps.hr2]
token = "other"
aes_key = "{"o" * 43}"
"""


def apps(text):
    return tomllib.loads(text)["apps"]


def test_begun_then_finished_changes_this_apps_credentials_and_nothing_else():
    text = begun(PLAIN, "hr", NEW, NOW)
    assert next_of(text, "hr") == NEW
    lines = [line for line in PLAIN.splitlines() if line]
    assert [line for line in text.splitlines() if line in lines] == lines  # and a table more
    done = finished(text, "hr", NOW + timedelta(hours=24))
    hr = apps(done)["hr"]
    assert entry_of(done, "hr") == NEW
    assert next_of(done, "hr") is None
    assert hr["previous"] == [{"token": "tokenOfHr", "aes_key": "h" * 43, "until": NOW + timedelta(hours=24)}]
    for name in ("sales", "hr2"):
        assert apps(done)[name] == apps(PLAIN)[name]
    for comment in ("# the company's apps", "# theirs", "# people", "# Client ID"):
        assert comment in done


def test_files_take_the_place_of_files():
    text = '[apps.hr]\ntoken_file = "t"\naes_key_file = "k"\nowner_keys = ["a"]'
    files = {"token_file": "t.1", "aes_key_file": 'k."1\\'}
    done = finished(begun(text, "hr", files, NOW), "hr", NOW)
    assert entry_of(done, "hr") == files
    assert previous_of(done, "hr") == [{"token_file": "t", "aes_key_file": "k", "until": NOW}]


def test_the_next_rotation_drops_those_whose_time_has_run_out():
    once = finished(begun(PLAIN, "hr", NEW, NOW), "hr", NOW + timedelta(hours=1))
    later = NOW + timedelta(hours=1)
    assert len(previous_of(begun(once, "hr", NEW, later - timedelta(seconds=1)), "hr")) == 1
    assert previous_of(begun(once, "hr", NEW, later), "hr") == []
    twice = finished(begun(once, "hr", {**NEW, "token": "third"}, later), "hr", later)
    assert [entry["token"] for entry in previous_of(twice, "hr")] == ["newToken"]
    # and it stays as short as it was
    assert twice.count("\n") == once.count("\n")


def test_any_way_of_writing_a_table_is_understood():
    for text in (
        f'[apps.hr]\nnote = """\n[apps.hr]\n"""\ntoken = "t"\naes_key = "{"k" * 43}"\n',
        f'[apps."hr"]\ntoken = "t" # [apps.hr]\n"aes_key" = "{"k" * 43}"\n[other]\ntoken = "x"\n',
    ):
        done = finished(begun(text, "hr", NEW, NOW), "hr", NOW)
        assert entry_of(done, "hr") == NEW
        assert previous_of(done, "hr") == [{"token": "t", "aes_key": "k" * 43, "until": NOW}]
        before, after = tomllib.loads(text), tomllib.loads(done)
        assert after["apps"]["hr"].get("note") == before["apps"]["hr"].get("note")
        assert after.get("other") == before.get("other")


@pytest.mark.parametrize(
    "text",
    [
        f'apps.hr = {{token = "t", aes_key = "{"k" * 43}"}}',
        f'[apps]\nhr.token = "t"\nhr.aes_key = "{"k" * 43}"\n',
    ],
)
def test_a_file_that_is_written_otherwise_is_refused_and_never_spoilt(text):
    with pytest.raises(BridgeError, match="cannot be changed safely"):
        begun(text, "hr", NEW, NOW)


def test_a_file_that_cannot_be_written_is_told_in_words(tmp_path):
    with pytest.raises(BridgeError, match="cannot be replaced"):
        put_in_place(tmp_path / "absent" / "apps.toml", "new")
