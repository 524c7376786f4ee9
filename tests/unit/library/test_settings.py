"""Settings: all mistakes at once, secrets from files, and values that contradict each other."""

import ssl

import pytest

from dingbridge.errors import KafkaUnavailable, SettingsError
from dingbridge.kafka.client import connection, explain
from dingbridge.settings import (
    SAMPLE_CREDENTIALS,
    ConsumerSettings,
    IngressSettings,
    KafkaSettings,
    LogSettings,
)
from dingbridge.settings.apps import companies
from dingbridge.settings.database_url import parse_database_url, tls_of
from tests.support import self_signed

GOOD = {
    "DINGTALK_TOKEN": "aTokenOfOurOwn",
    "DINGTALK_AES_KEY": "k" * 43,
    "DINGTALK_OWNER_KEY": "dingabc, dingcorp1",
    "DINGTALK_CORP_ID": "dingcorp1",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith(
            ("DINGTALK_", "KAFKA_", "INGRESS_", "ADMIN_", "RELAY_", "TOPIC_", "DATABASE_", "LOG_")
        ):
            monkeypatch.delenv(name)


def load(monkeypatch, cls, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return cls.load()


def problems(monkeypatch, cls, **variables):
    with pytest.raises(SettingsError) as caught:
        load(monkeypatch, cls, **variables)
    return caught.value.problems


def test_good_settings_load_and_lists_are_split(monkeypatch):
    settings = load(monkeypatch, IngressSettings, **GOOD)
    assert settings.dingtalk_owner_key == ["dingabc", "dingcorp1"]
    assert settings.journal_path.parts == ("data", "journal")
    assert settings.max_age_s == settings.dedupe_window_s / 2


def test_every_mistake_is_reported_at_once(monkeypatch):
    found = problems(
        monkeypatch,
        IngressSettings,
        INGRESS_PORT="eighty",
        KAFKA_BOOTSTRAP_SERVERS="kafka",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        CALLBACK_PATH="callback",
        DINGTALK_AES_KEY="short",
        DEDUPE_WINDOW_DAYS="1",
        CALLBACK_MAX_AGE_S="50000",
        TRUSTED_PROXIES="10.0.0.0/8,nonsense",
    )
    for name in (
        "INGRESS_PORT",
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
        "CALLBACK_PATH",
        "DINGTALK_TOKEN",
        "DINGTALK_AES_KEY",
        "DINGTALK_OWNER_KEY",
        "DINGTALK_CORP_ID",
        "CALLBACK_MAX_AGE_S",
        "TRUSTED_PROXIES",
    ):
        assert sum(line.startswith(name) for line in found) == 1, (name, found)


@pytest.mark.parametrize(
    ("cls", "app"),
    [
        (IngressSettings, {name: value for name, value in GOOD.items() if name != "DINGTALK_CORP_ID"}),
        (IngressSettings, {"DINGTALK_MODE": "stream", "DINGTALK_APP_KEY": "k", "DINGTALK_APP_SECRET": "s"}),
        (ConsumerSettings, {"DINGTALK_APP_KEY": "k", "DINGTALK_APP_SECRET": "s"}),
    ],
)
def test_the_company_is_required_with_each_app(monkeypatch, cls, app):
    """The Open API does not return it, and a push may lack it."""
    (problem,) = problems(monkeypatch, cls, **app)
    assert problem.startswith("DINGTALK_CORP_ID: not set")
    assert "open-dev.dingtalk.com" in problem
    (problem,) = problems(monkeypatch, cls, **app, DINGTALK_CORP_ID="ding/1")
    assert problem.startswith("DINGTALK_CORP_ID: 'ding/1' is no corpId")
    assert load(monkeypatch, cls, **app, DINGTALK_CORP_ID="ding1").dingtalk_corp_id == "ding1"


def test_a_consumer_that_calls_no_api_needs_no_company(monkeypatch):
    settings = load(monkeypatch, ConsumerSettings)
    assert settings.own_company() is None
    with pytest.raises(SettingsError, match="DINGTALK_CORP_ID"):
        settings.required_company()
    assert companies(settings).of("default", "dingany") == "dingany"
    settings = load(monkeypatch, ConsumerSettings, DINGTALK_CORP_ID="ding1")
    assert settings.required_company() == "ding1"
    assert companies(settings).of("default", "dingany") == "ding1"


def test_the_form_of_token_and_owner_keys_is_a_mistake_among_the_others(monkeypatch):
    """As quotes or blanks that came along when they were copied."""
    strange = {"DINGTALK_TOKEN": "a token", "DINGTALK_OWNER_KEY": "dingkey,“ding2”,a b"}
    found = problems(monkeypatch, IngressSettings, **{**GOOD, **strange}, INGRESS_PORT="-1")
    assert "DINGTALK_TOKEN: must be 1 to 64 printable ASCII characters without spaces" in found
    assert sum(line.startswith("DINGTALK_OWNER_KEY: ") for line in found) == 2
    assert len(found) == 4
    assert "a token" not in "".join(found)


@pytest.mark.parametrize("taken", ["ADMIN_PORT", "INGRESS_PORT"])
def test_the_relay_that_an_ingress_starts_needs_a_port_of_its_own(monkeypatch, taken):
    ports = {taken: "9001", "RELAY_ADMIN_PORT": "9001"}
    found = problems(monkeypatch, IngressSettings, **GOOD, **ports)
    assert [problem.split(":")[0] for problem in found] == ["RELAY_ADMIN_PORT"]
    assert load(monkeypatch, IngressSettings, INGRESS_RELAY="none").relay_admin_port == 9001
    any_free = {"INGRESS_RELAY": "child", taken: "0", "RELAY_ADMIN_PORT": "0"}
    assert load(monkeypatch, IngressSettings, **any_free).relay_admin_port == 0


def test_a_secret_may_stand_in_a_file(monkeypatch, tmp_path):
    file = tmp_path / "token"
    file.write_text("aTokenFromAFile\n")
    variables = {**GOOD, "DINGTALK_TOKEN_FILE": str(file)}
    del variables["DINGTALK_TOKEN"]
    settings = load(monkeypatch, IngressSettings, **variables)
    assert settings.dingtalk_token.get_secret_value() == "aTokenFromAFile"


def test_a_secret_file_that_cannot_be_read_is_a_mistake_among_the_others(monkeypatch, tmp_path):
    found = problems(
        monkeypatch,
        IngressSettings,
        DINGTALK_TOKEN_FILE=str(tmp_path / "absent"),
        DINGTALK_AES_KEY="k" * 43,
        INGRESS_PORT="-1",
    )
    assert any("DINGTALK_TOKEN_FILE" in line and "No such file" in line for line in found)
    assert any(line.startswith("INGRESS_PORT") for line in found)
    assert any(line.startswith("DINGTALK_OWNER_KEY") for line in found)


@pytest.mark.parametrize("name", sorted(SAMPLE_CREDENTIALS))
def test_sample_credentials_are_refused_against_dingtalk_itself(monkeypatch, name):
    variables = {**GOOD, name: SAMPLE_CREDENTIALS[name]}
    found = problems(monkeypatch, IngressSettings, **variables)
    assert any(line.startswith(name) and "sample" in line for line in found)


def test_sample_credentials_are_fine_against_the_simulator(monkeypatch):
    variables = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://simulator:8090"}
    assert not load(monkeypatch, IngressSettings, **variables).speaks_to_dingtalk


@pytest.mark.parametrize(
    "base", ["https://oapi.dingtalk.com", "https://OAPI.DingTalk.com./", "https://dingtalk.com"]
)
def test_dingtalks_own_hosts_are_recognised(monkeypatch, base):
    assert load(monkeypatch, IngressSettings, **GOOD, DINGTALK_API_BASE=base).speaks_to_dingtalk


@pytest.mark.parametrize(
    "base",
    [
        "http://u:pa/s3cret@h",
        "http://u:s3cret/@h",
        "http://u:s3cret@h:0x50",
        "http://u:s3cret@[h",
        "h",
        "http://",
    ],
)
def test_an_api_base_that_is_no_address_is_refused_without_its_password(monkeypatch, base):
    assert problems(monkeypatch, ConsumerSettings, DINGTALK_API_BASE=base) == [
        "DINGTALK_API_BASE: must be an http(s) address, as https://oapi.dingtalk.com"
    ]


@pytest.mark.parametrize("host", ["oapi.dingtalk.com", "OAPI.DingTalk.com.", "api.dingtalk.com:80"])
def test_the_apps_secret_is_not_sent_to_dingtalk_in_clear(monkeypatch, host):
    [problem] = problems(monkeypatch, ConsumerSettings, DINGTALK_API_BASE=f"http://{host}")
    assert problem.startswith("DINGTALK_API_BASE: must begin with https://")
    for base in (f"https://{host}", "http://simulator:8090"):
        assert load(monkeypatch, ConsumerSettings, DINGTALK_API_BASE=base).dingtalk_api_base == base


def test_no_secret_in_the_error_or_the_repr(monkeypatch):
    secret = "averysecrettokenindeed"
    with pytest.raises(SettingsError) as caught:
        load(
            monkeypatch,
            IngressSettings,
            **{**GOOD, "DINGTALK_TOKEN": secret, "DINGTALK_AES_KEY": "x" + secret},
        )
    assert secret not in str(caught.value)
    monkeypatch.setenv("DINGTALK_AES_KEY", GOOD["DINGTALK_AES_KEY"])
    assert secret not in repr(IngressSettings.load())


def test_dead_letters_never_share_the_events_prefix(monkeypatch):
    found = problems(monkeypatch, KafkaSettings, TOPIC_PREFIX="ding.", CONTROL_PREFIX="ding.ctl.")
    assert [line for line in found if line.startswith("CONTROL_PREFIX")]


def test_each_consumer_has_a_database_of_its_own_by_default(monkeypatch, tmp_path):
    settings = load(monkeypatch, ConsumerSettings, DATA_DIR=str(tmp_path))
    assert settings.database_url_for("a") != settings.database_url_for("b")
    found = problems(monkeypatch, ConsumerSettings, DATABASE_URL="mysql://u:p@h/d")
    assert found
    assert "u:p" not in "".join(found)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:pa@s:s3cret@h/x",
        "postgresql://u:pa@s3cret@h/x",
        "postgresql://u:pa/s3cret@h:5432/x@y",
        "postgresql://u/s3cret:p@h/x",
        "postgresql://u:pa@a/s3cret@h/x",
        "postgresql://u:pa@a?s3cret@h/x",
        "postgresql://u:s3cret@[::1/x",
        "postgresql://u:s3cret@[::1]junk/x",
        "postgresql://u:s3cret@h:port/x",
        "postgresql://u:s3cret@h:0/x",
        "postgresql://u:s3cret@h:99999/x",
        "postgres://u:s3cret@h1:5432,h2:5432/x",
    ],
)
def test_of_a_database_address_that_cannot_be_read_nothing_is_printed(monkeypatch, address):
    found = problems(monkeypatch, ConsumerSettings, DATABASE_URL=address)
    assert [line.partition(":")[0] for line in found] == ["DATABASE_URL"]
    assert "%40" in found[0]
    assert "s3cret" not in found[0]


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:p%40%3A%2Fw@h:5432/x",
        "postgresql://u@server:pa/ss?word@[::1]:5432/x",
        "postgres://h",
        "postgresql://postgres:@/postgres?host=/var/run/postgresql",
        "sqlite:////data/a@b.db",
        "sqlite:///b.db",
    ],
)
def test_a_database_address_that_can_be_read_is_taken(monkeypatch, address):
    assert load(monkeypatch, ConsumerSettings, DATABASE_URL=address).database_url_for("a") == address


@pytest.mark.parametrize(
    "address",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///?timeout=5",
        "sqlite:///:memory:",
        "sqlite:///%3Amemory%3A",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:approval?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_refused_since_a_restart_would_forget_it(monkeypatch, address):
    [line] = problems(monkeypatch, ConsumerSettings, DATABASE_URL=address)
    assert line.startswith("DATABASE_URL: ")
    assert "in memory" in line


NO_AUTHORITY = {
    "text": (b"this is no certificate", "no certificate in PEM"),
    "bytes": (bytes(range(256)), "no certificate in PEM"),
    "empty": (b"", "no certificate in PEM"),
    "cut off": (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "no certificate in PEM"),
    "folder": (None, "Is a directory"),
}


@pytest.mark.parametrize("kind", NO_AUTHORITY)
@pytest.mark.parametrize("cls", [KafkaSettings, ConsumerSettings])
def test_a_file_without_an_authoritys_certificate_is_a_mistake(monkeypatch, tmp_path, cls, kind):
    content, words = NO_AUTHORITY[kind]
    file = tmp_path / "ca.pem"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    assert problems(monkeypatch, cls, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CAFILE=str(file)) == [
        f"KAFKA_SSL_CAFILE: {file} cannot be used ({words})"
    ]
    absent = str(tmp_path / "absent")
    [line] = problems(monkeypatch, cls, KAFKA_SSL_CAFILE=absent)
    assert line == f"KAFKA_SSL_CAFILE: {absent} cannot be used (No such file or directory)"


def test_a_file_that_becomes_useless_later_is_said_like_a_kafka_that_is_down(monkeypatch, tmp_path):
    _, authority = self_signed.write(tmp_path)
    variables = {"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": str(authority)}
    settings = load(monkeypatch, KafkaSettings, **variables)
    assert connection(settings)["ssl_context"].cert_store_stats()["x509_ca"] == 1
    authority.write_text("half of what will be a certificate")
    with pytest.raises(KafkaUnavailable, match=f"KAFKA_SSL_CAFILE: {authority} cannot be used") as caught:
        connection(settings)
    assert explain(caught.value, settings) == str(caught.value)


def test_log_level_is_read_in_any_case(monkeypatch):
    assert load(monkeypatch, LogSettings, LOG_LEVEL="debug").log_level == "DEBUG"


@pytest.mark.parametrize(
    "options",
    ["sslmode=on", "ssl=require", "sslmode=require&secret=s3cret", "sslmode=require&sslmode=disable"],
)
def test_an_option_of_a_postgresql_that_would_not_be_obeyed_is_refused(monkeypatch, options):
    [line] = problems(monkeypatch, ConsumerSettings, DATABASE_URL=f"postgresql://u:p@h/d?{options}")
    assert line.startswith("DATABASE_URL: may have the options sslmode")
    assert "s3cret" not in line


@pytest.mark.parametrize("mode", ["verify-ca", "require"])
def test_the_authority_of_a_postgresql_is_read_before_anything_is_started(monkeypatch, tmp_path, mode):
    file = tmp_path / "root.crt"
    address = f"postgresql://u:p@h/d?sslmode={mode}&sslrootcert={file}"
    assert "cannot be used (No such file" in problems(monkeypatch, ConsumerSettings, DATABASE_URL=address)[0]
    file.write_text("no certificate")
    assert "no certificate in PEM" in problems(monkeypatch, ConsumerSettings, DATABASE_URL=address)[0]


@pytest.mark.parametrize(("mode", "named"), [("verify-full", True), ("verify-ca", False)])
def test_sslmode_verifies_what_libpq_verifies(mode, named):
    tls = tls_of(parse_database_url(f"postgresql://u:p@h/d?sslmode={mode}"))
    assert isinstance(tls, ssl.SSLContext)
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, named)
