"""Settings: all mistakes at once, secrets from files, and values that contradict each other."""

import os
import ssl
from unittest import mock

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
from tests.support.cases import of_each

GOOD = {
    "DINGTALK_TOKEN": "aTokenOfOurOwn",
    "DINGTALK_AES_KEY": "k" * 43,
    "DINGTALK_OWNER_KEY": "dingabc, dingcorp1",
    "DINGTALK_CORP_ID": "dingcorp1",
}


def load(cls, **variables):
    with mock.patch.dict(os.environ, variables, clear=True):
        return cls.load()


def problems(cls, **variables):
    with pytest.raises(SettingsError) as caught:
        load(cls, **variables)
    return caught.value.problems


def test_good_settings_load_and_lists_are_split():
    settings = load(IngressSettings, **GOOD)
    assert settings.dingtalk_owner_key == ["dingabc", "dingcorp1"]
    assert settings.journal_path.parts == ("data", "journal")
    assert settings.max_age_s == settings.dedupe_window_s / 2
    assert load(LogSettings, LOG_LEVEL="debug").log_level == "DEBUG"
    assert load(IngressSettings, **GOOD, ADMIN_PORT="0").admin_port == 0
    consumer = load(ConsumerSettings)
    assert consumer.database_url_for("a") != consumer.database_url_for("b")


def test_every_mistake_is_reported_at_once(tmp_path):
    found = problems(
        IngressSettings,
        INGRESS_PORT="eighty",
        KAFKA_BOOTSTRAP_SERVERS="kafka",
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        CALLBACK_PATH="callback",
        DINGTALK_TOKEN_FILE=str(tmp_path / "absent"),
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
        "DINGTALK_TOKEN_FILE",
        "DINGTALK_AES_KEY",
        "DINGTALK_OWNER_KEY",
        "DINGTALK_CORP_ID",
        "CALLBACK_MAX_AGE_S",
        "TRUSTED_PROXIES",
    ):
        assert sum(line.startswith(name) for line in found) == 1, (name, found)


NOT_READ = (
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
)
IN_MEMORY = (
    "sqlite://",
    "sqlite:///",
    "sqlite:///?timeout=5",
    "sqlite:///:memory:",
    "sqlite:///%3Amemory%3A",
    "sqlite:///file::memory:?cache=shared&uri=true",
    "sqlite:///file:approval?mode=memory&uri=true",
)
OPTIONS = ("sslmode=on", "ssl=require", "sslmode=require&x=s3cret", "sslmode=require&sslmode=disable")
NO_HOST = ("http://u:pa/s3cret@h", "http://u:s3cret/@h", "http://u:s3cret@h:0x50", "http://u:s3cret@[h", "h")
IN_CLEAR = ("oapi.dingtalk.com", "OAPI.DingTalk.com.", "api.dingtalk.com:80")
REFUSED = [
    (
        IngressSettings,
        {**GOOD, "DINGTALK_TOKEN": "s3cret token"},
        "DINGTALK_TOKEN: must be 1 to 64 ",
    ),
    (IngressSettings, {**GOOD, "DINGTALK_OWNER_KEY": "dingkey,“ding2”"}, "DINGTALK_OWNER_KEY: "),
    (KafkaSettings, {"TOPIC_PREFIX": "ding.", "CONTROL_PREFIX": "ding.ctl."}, "CONTROL_PREFIX: "),
    (
        KafkaSettings,
        {"KAFKA_SSL_CAFILE": "/absent"},
        "KAFKA_SSL_CAFILE: /absent cannot be used (",
    ),
    *[
        (ConsumerSettings, {"DINGTALK_API_BASE": base}, "DINGTALK_API_BASE: must be an http(s) address, as ")
        for base in (*NO_HOST, "http://")
    ],
    *[
        (
            ConsumerSettings,
            {"DINGTALK_API_BASE": f"http://{host}"},
            "DINGTALK_API_BASE: must begin with ",
        )
        for host in IN_CLEAR
    ],
    *[
        (ConsumerSettings, {"DATABASE_URL": url}, "DATABASE_URL: ")
        for url in ("mysql://u:s3cret@h/d", *NOT_READ, *IN_MEMORY)
    ],
    *[
        (ConsumerSettings, {"DATABASE_URL": f"postgresql://u:p@h/d?{options}"}, "DATABASE_URL: may have the ")
        for options in OPTIONS
    ],
]


@of_each(REFUSED)
def test_what_cannot_work_is_refused_without_its_secret(case):
    cls, variables, words = case
    [problem] = problems(cls, **variables)
    assert problem.startswith(words)
    assert "s3cret" not in problem
    address = variables.get("DATABASE_URL")
    assert address not in NOT_READ or "%40" in problem, "the remedy"
    assert address not in IN_MEMORY or "in memory" in problem


@of_each(
    [
        ("DATABASE_URL", "postgresql://u:p%40%3A%2Fw@h:5432/x"),
        ("DATABASE_URL", "postgresql://u@server:pa/ss?word@[::1]:5432/x"),
        ("DATABASE_URL", "postgres://h"),
        ("DATABASE_URL", "postgresql://postgres:@/postgres?host=/var/run/postgresql"),
        ("DATABASE_URL", "sqlite:////data/a@b.db"),
        ("DATABASE_URL", "sqlite:///b.db"),
        ("DINGTALK_API_BASE", "https://oapi.dingtalk.com"),
        ("DINGTALK_API_BASE", "http://simulator:8090"),
    ]
)
def test_an_address_that_can_be_read_is_taken(case):
    name, address = case
    settings = load(ConsumerSettings, **{name: address})
    found = settings.database_url_for("a") if name == "DATABASE_URL" else settings.dingtalk_api_base
    assert found == address


@of_each(
    [
        (IngressSettings, {name: value for name, value in GOOD.items() if name != "DINGTALK_CORP_ID"}),
        (IngressSettings, {"DINGTALK_MODE": "stream", "DINGTALK_APP_KEY": "k", "DINGTALK_APP_SECRET": "s"}),
        (ConsumerSettings, {"DINGTALK_APP_KEY": "k", "DINGTALK_APP_SECRET": "s"}),
    ]
)
def test_the_company_is_required_with_each_app(case):
    """The Open API does not return it, and a push may lack it."""
    cls, app = case
    (problem,) = problems(cls, **app)
    assert problem.startswith("DINGTALK_CORP_ID: not set")
    assert "open-dev.dingtalk.com" in problem
    (problem,) = problems(cls, **app, DINGTALK_CORP_ID="ding/1")
    assert problem.startswith("DINGTALK_CORP_ID: 'ding/1' is no corpId")
    assert load(cls, **app, DINGTALK_CORP_ID="ding1").dingtalk_corp_id == "ding1"


def test_a_consumer_that_calls_no_api_needs_no_company():
    settings = load(ConsumerSettings)
    assert settings.own_company() is None
    with pytest.raises(SettingsError, match="DINGTALK_CORP_ID"):
        settings.required_company()
    assert companies(settings).of("default", "dingany") == "dingany"
    settings = load(ConsumerSettings, DINGTALK_CORP_ID="ding1")
    assert settings.required_company() == companies(settings).of("default", "dingany") == "ding1"


def test_a_secret_may_stand_in_a_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("aTokenFromAFile\n")
    variables = {**GOOD, "DINGTALK_TOKEN_FILE": str(file)}
    del variables["DINGTALK_TOKEN"]
    settings = load(IngressSettings, **variables)
    assert settings.dingtalk_token.get_secret_value() == "aTokenFromAFile"
    assert "aTokenFromAFile" not in repr(settings)


def test_sample_credentials_are_refused_against_dingtalk_itself():
    for name, sample in SAMPLE_CREDENTIALS.items():
        found = problems(IngressSettings, **{**GOOD, name: sample})
        assert any(line.startswith(name) and "sample" in line for line in found)
    variables = {**SAMPLE_CREDENTIALS, "DINGTALK_API_BASE": "http://simulator:8090"}
    assert not load(IngressSettings, **variables).speaks_to_dingtalk
    for base in ("https://oapi.dingtalk.com", "https://OAPI.DingTalk.com./", "https://dingtalk.com"):
        assert load(IngressSettings, **GOOD, DINGTALK_API_BASE=base).speaks_to_dingtalk


def test_a_file_without_an_authoritys_certificate_is_a_mistake(tmp_path):
    file = tmp_path / "ca.pem"
    cut_off = b"-----BEGIN CERTIFICATE-----\nMIIB\n"
    postgres = f"postgresql://u:p@h/d?sslmode=verify-ca&sslrootcert={file}"
    for content in (None, b"this is no certificate", bytes(range(256)), b"", cut_off):
        words = "No such file or directory" if content is None else "no certificate in PEM"
        if content is not None:
            file.write_bytes(content)
        [line] = problems(KafkaSettings, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CAFILE=str(file))
        assert line == f"KAFKA_SSL_CAFILE: {file} cannot be used ({words})"
        [line] = problems(ConsumerSettings, DATABASE_URL=postgres)
        assert words in line
    [line] = problems(KafkaSettings, KAFKA_SSL_CAFILE=str(tmp_path))
    assert line == f"KAFKA_SSL_CAFILE: {tmp_path} cannot be used (Is a directory)"


def test_a_file_that_becomes_useless_later_is_said_like_a_kafka_that_is_down(tmp_path):
    _, authority = self_signed.write(tmp_path)
    settings = load(KafkaSettings, KAFKA_SECURITY_PROTOCOL="SSL", KAFKA_SSL_CAFILE=str(authority))
    assert connection(settings)["ssl_context"].cert_store_stats()["x509_ca"] == 1
    authority.write_text("half of what will be a certificate")
    with pytest.raises(KafkaUnavailable, match=f"KAFKA_SSL_CAFILE: {authority} cannot be used") as caught:
        connection(settings)
    assert explain(caught.value, settings) == str(caught.value)


def test_kafka_sees_which_part_of_the_bridge_a_client_is():
    """In its logs, and in quotas by client id."""
    consumer = load(ConsumerSettings, LOG_LEVEL="DEBUG").of_part("billing")
    assert consumer.log_level == "DEBUG"
    found = [
        connection(one)["client_id"] for one in (load(KafkaSettings), load(IngressSettings, **GOOD), consumer)
    ]
    assert found == ["dingbridge", "dingbridge-ingress", "dingbridge-billing"]


@pytest.mark.parametrize(("mode", "named"), [("verify-full", True), ("verify-ca", False)])
def test_sslmode_verifies_what_libpq_verifies(mode, named):
    tls = tls_of(parse_database_url(f"postgresql://u:p@h/d?sslmode={mode}"))
    assert isinstance(tls, ssl.SSLContext)
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, named)
