"""Every code that the doctor knows is produced here, from what its looks may see, in both languages."""

import asyncio
import re
import string
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from dingbridge.apps import model
from dingbridge.consumers.approval import check as approval_check
from dingbridge.consumers.outbound.cli import check as outbound_check
from dingbridge.dingtalk.api import CallbackRegistration
from dingbridge.dingtalk.crypto import Credentials
from dingbridge.dingtalk.error_codes import error_for, error_named
from dingbridge.dingtalk.error_meanings import REFUSALS
from dingbridge.dingtalk.errors import ApiError, BudgetSpent, Unavailable
from dingbridge.doctor import run
from dingbridge.doctor.checks import (
    clock,
    consumers,
    dead_letters,
    ingress,
    kafka,
    kafka_judge,
    platform,
    quota,
    stream,
    subscription,
    url,
)
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.checks.kafka import Topic
from dingbridge.doctor.checks.network import Push
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Both, Finding, Level, exit_code, found, printed, read_words
from dingbridge.doctor.parts import GROUP, load_checks
from dingbridge.ingress.journal import check as disk
from dingbridge.kafka.group_lag import Group, TopicLag
from dingbridge.outgoing import hosts
from dingbridge.settings import IngressSettings, KafkaSettings
from dingbridge.settings.apps import App, AppCredentials
from tests.support.cases import of_each

WORDS = read_words("dingbridge.doctor") | disk.CHECK.words | approval_check.WORDS | outbound_check.WORDS
TOKEN, AES_KEY, OWNER = "tokenOfTheTest", "a" * 43, "dingappkey1"
GONE = Both("the connection is refused", "连接被拒绝")
HTTPS = "https://bridge.example.com/callback"
CONSUMERS = [
    settings_check.Part("address-sync", ("user_add_org",)),
    settings_check.Part("approval", ("bpms_instance_change",)),
]
KAFKA = KafkaSettings(kafka_bootstrap_servers="broker:9092")
EVENTS, INBOX = "dingtalk.bpms_instance_change", "ctl-dingtalk.inbox.approval"
DAY_MS = 86_400_000
ALL = frozenset({"READ", "WRITE", "CREATE", "DESCRIBE"})
WELL = Topic(copies=1, may=ALL, retention_ms=14 * DAY_MS)


def settings(**values: Any) -> IngressSettings:
    """As if loaded: nothing is read from the environment of the test run but what is not given."""
    given = {"dingtalk_token": TOKEN, "dingtalk_aes_key": AES_KEY, "dingtalk_owner_key": [OWNER]}
    app = {"dingtalk_app_key": "dingappkey1", "dingtalk_app_secret": "the-secret"}
    app["dingtalk_corp_id"] = "dingcorp1"
    return IngressSettings(**{**given, **app, **values})


def app(token: str = TOKEN, aes_key: str = AES_KEY, owner: str = OWNER, **values: Any) -> App:
    pairs = (AppCredentials(token, aes_key),)
    given = {"credentials": pairs, "app_key": "dingappkey1", "app_secret": "the-secret", **values}
    return App(name="default", owner_keys=(owner,), **given)


def keys(**values: Any) -> list[Finding]:
    return settings_check.judge_keys(app(**values))


def of_several(tmp_path: Path) -> list[Finding]:
    return settings_check.app_of(of_two(tmp_path), None)[1]


def of_two(tmp_path: Path) -> IngressSettings:
    file = tmp_path / "apps.toml"
    text = f'token = "{TOKEN}"\naes_key = "{AES_KEY}"\nowner_keys = ["{OWNER}"]\ncorp_id = "c"\n'
    file.write_text(f"[apps.hr]\n{text}[apps.crm]\n{text}")
    none = {f"dingtalk_{name}": "" for name in ("token", "aes_key", "app_key", "app_secret")}
    return settings(**none, dingtalk_owner_key=[], dingtalk_apps_file=file)


def clocks(seen: float | Both | None) -> list[Finding]:
    return clock.judge(seen, base="http://user:s3cret@proxy.example.com:3128", max_age_s=300)


def public(address: str = HTTPS, *, addresses: tuple[str, ...] = ("8.8.8.8",), **seen: Any) -> list[Finding]:
    return url.judge(url.Seen(address, addresses, **seen), from_internet=True)


def answering(prefix: str, push: Push) -> list[Finding]:
    if prefix == "url":
        return public(tls="ok", days_left=60, push=push)
    return running(push=push)


def running(**seen: Any) -> list[Finding]:
    given = {"ready": True, "push": Push("success", 200, 0.01), **seen}
    return ingress.judge(ingress.Seen("http://127.0.0.1:8080/callback", "http://127.0.0.1:8081", **given))


def memory(**seen: Any) -> ingress.Seen:
    return ingress.Seen("http://127.0.0.1:8080/callback", "http://127.0.0.1:8081", ready=True, **seen)


def owners(*entries: tuple[str, int, int], **seen: Any) -> list[Finding]:
    told = [
        {"app": "default", "owner": o, "accepted": a, "refused": r, "last": 1_000.0} for o, a, r in entries
    ]
    return ingress.judge_owner(memory(owners=told, **seen), [OWNER], now=1_012.0)


def cluster(
    topics: Mapping[str, Topic] | None = None, *, brokers: int = 1, groups: Mapping[str, Any] | None = None
) -> list[Finding]:
    needs = {EVENTS: [("approval", "READ"), ("ingress", "WRITE")], INBOX: [("approval", "READ")]}
    shown = topics if topics is not None else {EVENTS: WELL, INBOX: WELL}
    seen = kafka.Seen(None, brokers, shown, groups if groups is not None else {"approval": ALL})
    return kafka_judge.judge(seen, KAFKA, needs)


def refused_by_kafka(kind: str) -> list[Finding]:
    seen = kafka.Seen(failure=(kind, "Kafka at broker:9092 says no"))
    return kafka_judge.judge(seen, KAFKA, {})


LAG = {"t": TopicLag(13, 35.0)}


def read_by(group: Group, *wanted: str, **seen: Any) -> list[Finding]:
    return consumers.judge(consumers.Seen({"billing": group}, **seen), wanted)


def disks(**seen: Any) -> list[Finding]:
    given = {"kind": "ext4", "free_bytes": 50 << 30, "fsyncs": (0.002, 0.003, 0.002), **seen}
    allow_unsafe = given.pop("allow_unsafe", False)
    return disk.judge(disk.Seen("/var/lib/dingbridge/journal", **given), allow_unsafe=allow_unsafe)


def api(error: ApiError | None, name: str = "v2/user/get") -> list[Finding]:
    return platform.judge([platform.Called(name, ("address-sync",), error)])


def tags(
    *,
    registered: tuple[str, ...] = ("user_add_org", "bpms_instance_change"),
    token: str = TOKEN,
    aes_key: str = AES_KEY,
    given: str | None = None,
) -> list[Finding]:
    registration = CallbackRegistration(registered, token, aes_key, HTTPS)
    return platform.judge_tags(registration, CONSUMERS, accepted=app().credentials, url=given)


def streams(connections: int = 2, last_s: float | None = 3.0, events: int = 12, **seen: Any) -> list[Finding]:
    status = {"connections": connections, "last_frame_s": last_s, "events": events, "refused": None}
    return stream.judge(stream.Seen(**{"status": status, **seen}), wanted=2, watchdog_s=180)


def failed(now: float = 10_000.0, **recovery: Any) -> list[Finding]:
    return ingress.judge_failed(memory(recovery=ingress.Recovery(**recovery)), [OWNER], now=now)


def month(calls: int, budget: int = 5_000) -> list[Finding]:
    return quota.judge({"month": "2026-11", "calls": calls, "by_api": {"v2/user/get": calls}}, budget)


def api_error(errcode: int, sub_code: str | None = None) -> ApiError:
    return error_for("v2/user/get", errcode, "请求被拒绝", sub_code)


def unavailable(**values: Any) -> Unavailable:
    return Unavailable("DingTalk v2/user/get: no connection", api="v2/user/get", **values)


def broken_consumer() -> list[Finding]:
    point = EntryPoint("lost", "tests.unit.doctor.test_codes:NOWHERE", "dingbridge.consumers")
    return settings_check.parts([], [point])[1]


def broken_check() -> list[Finding]:
    """One is not there, one is no check; the third works."""
    checks, findings = load_checks(
        [
            EntryPoint("lost", "tests.unit.doctor.nowhere:CHECK", GROUP),
            EntryPoint("odd", "tests.unit.doctor.test_codes:OWNER", GROUP),
            EntryPoint("ingress", "dingbridge.ingress.journal.check:CHECK", GROUP),
        ]
    )
    assert checks == {"ingress": disk.CHECK}
    named = [(f.values["part"], f.values["error"]) for f in findings]
    assert named == [("lost", "ModuleNotFoundError"), ("odd", "TypeError")]
    return findings


async def platform_check(context: Context) -> list[Finding]:
    return await run._platform(context, {})


def behind_a_proxy() -> list[Finding]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HTTPS_PROXY", "http://user:s3cret@proxy.example.com:3128")
        return looked_at(run._proxy)


def in_a_folder(case: Callable[[Path], list[Finding]]) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        return case(Path(folder))


CASES: dict[str, Callable[[], list[Finding]]] = {
    "settings.ok": lambda: settings_check.judge(app(), CONSUMERS, ingress=True),
    "settings.invalid": lambda: settings_check.judge_problems(["DINGTALK_TOKEN: not set"]),
    "settings.app": lambda: in_a_folder(of_several),
    "settings.consumer": broken_consumer,
    "settings.no_app": lambda: settings_check.judge(app(app_secret=None), CONSUMERS, ingress=True),
    "settings.stopped": lambda: examined(monkeypatched_settings=None),
    "settings.no_keys": lambda: in_a_folder(lambda folder: examined(monkeypatched_settings=of_two(folder))),
    "doctor.check": broken_check,
    "doctor.fault": lambda: examined(monkeypatched_settings=settings(), broken=True),
    "key.ok": keys,
    "key.aes": lambda: settings_check.judge_problems(["DINGTALK_AES_KEY: has 5 characters"]),
    "key.token": lambda: settings_check.judge_problems([f"DINGTALK_TOKEN: {model.TOKEN.words}"]),
    "key.owner": lambda: settings_check.judge_problems([f"DINGTALK_OWNER_KEY: 'x' {model.OWNER_WORDS}"]),
    "key.none": lambda: keys(credentials=()),
    "key.token_length": lambda: keys(token="short"),
    "proxy.used": behind_a_proxy,
    "clock.ok": lambda: clocks(1.2),
    "clock.skew": lambda: clocks(-75),
    "clock.wrong": lambda: clocks(400),
    "clock.unknown": lambda: clocks(None),
    "clock.unreachable": lambda: clocks(GONE),
    "url.ok": lambda: answering("url", Push("success", 200, 0.1)),
    "url.unknown": lambda: looked_at(run._url),
    "url.invalid": lambda: looked_at(run._url, url="user:s3cret@b.example.com/c?key=s3cret"),
    "url.http": lambda: public("http://bridge.example.com/callback"),
    "url.dns": lambda: public(addresses=()),
    "url.private": lambda: public(addresses=("10.0.0.9", "fe80::1%eth0")),
    "url.unreachable": lambda: public(unreachable=GONE),
    "url.tls_name": lambda: public(tls="name"),
    "url.tls_expired": lambda: public(tls="expired"),
    "url.tls_untrusted": lambda: public(tls="untrusted", tls_reason="self-signed certificate"),
    "url.tls_failed": lambda: public(tls="failed", tls_reason="WRONG_VERSION_NUMBER"),
    "url.tls_soon": lambda: public(tls="ok", days_left=3),
    "url.redirect": lambda: answering("url", Push("redirect", 301)),
    "url.refused": lambda: answering("url", Push("status", 403)),
    "url.status": lambda: answering("url", Push("status", 502)),
    "url.answer": lambda: answering("url", Push("answer", 200)),
    "url.elsewhere": lambda: public(push=Push("success", 200, 0.1), here=False),
    "url.slow": lambda: answering("url", Push("success", 200, 1.7)),
    "ingress.ok": running,
    "ingress.ready": lambda: running(push=None),
    "ingress.absent": lambda: running(absent=GONE),
    "ingress.not_ready": lambda: running(ready=False, details={"journal": {"words": "disk full"}}),
    "relay.restarting": lambda: running(relay={"state": "restarting", "words": "KeyError at relay:1"}),
    "relay.kafka": lambda: running(relay={"state": "down", "words": "does not answer"}),
    "relay.still": lambda: running(relay={"state": "up"}, oldest_s=61.0, publishes=False),
    "relay.behind": lambda: running(relay={"state": "up"}, oldest_s=61.0),
    "relay.other_company": lambda: running(other_company={"count": 3, "named": "ding2", "own": "ding1"}),
    "relay.parked": lambda: running(parked=ingress.parked_of('dingbridge_parked{reason="size"} 2.0\n')),
    "ingress.unreachable": lambda: answering("ingress", Push("unreachable", reason=GONE)),
    "ingress.refused": lambda: answering("ingress", Push("status", 403)),
    "ingress.status": lambda: answering("ingress", Push("redirect", 302)),
    "ingress.answer": lambda: answering("ingress", Push("answer", 200)),
    "ingress.slow": lambda: answering("ingress", Push("success", 200, 2.0)),
    "owner.ok": lambda: owners((OWNER, 3, 0)),
    "owner.unseen": owners,
    "owner.refused": lambda: owners(("dingcorp9", 0, 2)),
    "owner.restart": lambda: owners((OWNER, 0, 2)),
    "owner.signature": lambda: owners(refused={("forbidden", "signature"): 7}),
    "owner.unknown": lambda: owners(absent=GONE),
    "stream.ok": streams,
    "stream.unreachable": lambda: streams(unreachable=[(hosts.STREAM, GONE)]),
    "stream.unknown": lambda: streams(absent=GONE),
    "stream.restart": lambda: streams(status=None),
    "stream.closed": lambda: streams(0, None, 0),
    "stream.few": lambda: streams(1),
    "stream.silent": lambda: streams(last_s=181.0),
    "stream.no_events": lambda: streams(events=0),
    "stream.registered": lambda: stream.judge_tags(CONSUMERS, HTTPS),
    "kafka.ok": cluster,
    **{
        f"kafka.{kind}": (lambda kind=kind: refused_by_kafka(kind))  # type: ignore[misc]
        for kind in ("unreachable", "credentials", "mechanism", "no_sasl", "tls", "protocol")
    },
    "kafka.failed": lambda: refused_by_kafka("rights"),
    "kafka.rights": lambda: cluster({EVENTS: Topic(denied=True), INBOX: WELL}),
    "kafka.rights_unknown": lambda: cluster({EVENTS: Topic(copies=1), INBOX: WELL}),
    "kafka.create": lambda: cluster({EVENTS: Topic(missing=True, create="denied"), INBOX: WELL}),
    "kafka.refused": lambda: cluster(
        {EVENTS: Topic(missing=True, create="InvalidReplicationFactorError"), INBOX: WELL}
    ),
    "kafka.missing": lambda: cluster({EVENTS: Topic(missing=True), INBOX: WELL}),
    "kafka.offline": lambda: cluster({EVENTS: Topic(leaderless=True), INBOX: WELL}),
    "kafka.replicas": lambda: cluster({EVENTS: Topic(copies=2, in_step=False, may=ALL), INBOX: WELL}),
    "kafka.replication": lambda: cluster(brokers=3),
    "kafka.one_broker": cluster,
    "kafka.retention": lambda: cluster({EVENTS: Topic(copies=1, may=ALL, retention_ms=-1), INBOX: WELL}),
    "kafka.short": lambda: cluster({EVENTS: Topic(copies=1, may=ALL, retention_ms=DAY_MS), INBOX: WELL}),
    "kafka.retention_unknown": lambda: cluster({EVENTS: Topic(copies=1, may=ALL), INBOX: WELL}),
    "consumer.ok": lambda: read_by(Group(1)),
    "consumer.no_member": lambda: read_by(Group(0, topics=LAG)),
    "consumer.still": lambda: read_by(Group(1, topics=LAG), still=frozenset({"billing"})),
    "consumer.behind": lambda: read_by(Group(1, topics={"t": TopicLag(3, 301.0)})),
    "consumer.never_read": lambda: read_by(Group(0, topics=LAG, began=False)),
    "consumer.unknown": lambda: consumers.judge(consumers.Seen(failure="no"), []),
    "dead_letters.waiting": lambda: dead_letters.judge(dead_letters.Seen({"billing": 376, "approval": 0})),
    "dead_letters.unread": lambda: dead_letters.judge(dead_letters.Seen({}, {"billing": GONE})),
    "disk.ok": disks,
    "disk.absent": lambda: disks(absent=True),
    "disk.unusable": lambda: disks(unusable="Permission denied"),
    "disk.unsafe": lambda: disks(kind="tmpfs", unsafe=True),
    "disk.unsafe_allowed": lambda: disks(kind="overlay", unsafe=True, allow_unsafe=True),
    "disk.full": lambda: disks(free_bytes=10 << 20),
    "disk.low": lambda: disks(free_bytes=900 << 20),
    "disk.slow": lambda: disks(fsyncs=(0.2, 0.3, 0.2)),
    "disk.stalled": lambda: disks(fsyncs=(0.01, 1.4, 0.01)),
    "api.ok": lambda: api(None),
    "api.token": lambda: platform.judge([platform.Called("gettoken", ())]),
    "api.skipped": lambda: looked_at(platform_check),
    "api.suite": lambda: looked_at(platform_check, app=app(suite=True)),
    "api.credentials": lambda: api(api_error(40089)),
    "api.ip": lambda: api(api_error(60020)),
    "api.unreachable": lambda: api(unavailable()),
    "api.banned": lambda: api(unavailable(retry_after_s=300.0, about="address")),
    "api.busy": lambda: api(api_error(90018)),
    "api.quota": lambda: api(api_error(90020)),
    "api.budget": lambda: api(BudgetSpent("spent", api="v2/user/get")),
    "api.permission": lambda: api(api_error(88, "60011")),
    "api.scope": lambda: api(api_error(50002)),
    "tags.ok": tags,
    "tags.console": lambda: stream.judge_tags(CONSUMERS, None),
    "tags.unknown": lambda: platform.judge_tags(unavailable(), CONSUMERS, accepted=(), url=None),
    "tags.none": lambda: platform.judge_tags(None, CONSUMERS, accepted=(), url=None),
    "tags.missing": lambda: tags(registered=("user_add_org",)),
    "tags.unread": lambda: tags(registered=("user_add_org", "bpms_instance_change", "check_in")),
    "tags.url": lambda: tags(given="https://other.example.com/callback"),
    "tags.token": lambda: tags(token="anotherToken"),
    "tags.aes_key": lambda: tags(aes_key="b" * 43),
    "approval.true_utc": lambda: [found("approval.true_utc", number=3)],
    "outbound.conflict": lambda: outbound_check.judge({"conflict": 2, "pending": 3}),
    "outbound.waiting": lambda: outbound_check.judge({"refused": 2, "adopted": 0, "pending": 3}),
    "events.templates": lambda: subscription.judge({"approval": {"PROC-A": ("finish",)}}, ["outbound"]),
    "failed.read": lambda: failed(last=9_400.0, items=12),
    "failed.stale": lambda: failed(last=1.0, now=30_000.0),
    "failed.pages": lambda: failed(last=9_400.0, pages_missing=1),
    "failed.unknown": lambda: ingress.judge_failed(memory(), [OWNER]),
    "failed.likely": lambda: ingress.judge_failed(memory(refused={("unavailable", "disk"): 4}), [OWNER]),
    "failed.unasked": lambda: ingress.judge_failed(memory(absent=GONE), [OWNER]),
    "quota.calls": lambda: month(4_000),
}


def looked_at(check: Any, **values: Any) -> list[Finding]:
    """What a check says of a stack without app key, which nothing is asked of."""
    credentials = Credentials(TOKEN, AES_KEY, (OWNER,))
    context: Any = Context(settings(), app(), credentials, CONSUMERS, True, None, None, None, None)
    for name, value in values.items():
        setattr(context, name, value)
    return asyncio.run(check(context))


def examined(*, monkeypatched_settings: IngressSettings | None, broken: bool = False) -> list[Finding]:
    """A whole run with these settings (``None``: they do not load), and one check that breaks."""

    async def breaks(context: Context) -> list[Finding]:
        raise ZeroDivisionError(TOKEN)

    told: list[Finding] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings_check, "load", lambda **_: (monkeypatched_settings, []))
        patch.setattr(run, "WITHOUT_APP", ())
        patch.setattr(run, "_in_order", lambda of_parts: [breaks] if broken else [])
        patch.setattr(run, "configure_logging", lambda settings: None)
        asyncio.run(run.examine(url=None, app_name=None, wanted=[], report=told.extend, checks={}))
    return told


def test_there_is_a_case_for_every_code() -> None:
    assert set(CASES) == set(WORDS)


@of_each(CASES)
def test_the_code_is_produced_and_said_in_both_languages(code: str) -> None:
    """With values that the finding has."""
    findings = [finding for finding in CASES[code]() if finding.code == code]
    assert findings, f"{code} is not among what the case produces"
    words = WORDS[code]
    well = words.level is Level.OK
    for finding in findings:
        for lang, texts in (("en", words.en), ("zh", words.zh)):
            assert len(texts) == (1 if well else 2), "a cause, and a remedy unless all is well"
            assert lang == "en" or all(t == "{problem}" or re.search("[一-鿿]", t) for t in texts)
            shown = printed(finding, WORDS, lang)  # type: ignore[arg-type]
            assert code in shown
            named = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
            assert named <= finding.values.keys()
            for secret in (TOKEN, AES_KEY, "the-secret", "anotherToken", "b" * 43, "s3cret"):
                assert secret not in shown


def test_what_a_refusal_is_about_decides_what_is_found() -> None:
    for code in REFUSALS:
        error = error_for("v2/user/get", 88, "no", code)
        [finding] = platform.judge([platform.Called(error.api, ("address-sync",), error)])
        expected = {
            "token": "api.credentials",
            "address": "api.ip",
            "right": "api.permission",
            "entity": "api.scope",
            "month": "api.quota",
            "busy": "api.busy",
            "api": "api.busy",
        }
        assert finding.code == expected[REFUSALS[code].about]


def test_a_permission_that_two_calls_need_is_one_finding() -> None:
    refused = error_named("x", "AccessTokenPermissionDenied", "[Workflow.Instance.Read]")
    called = [platform.Called(name, (part,), refused) for name, part in (("ids", "a"), ("detail", "b"))]
    [finding] = platform.judge(called)
    assert (finding.values["api"], finding.values["parts"]) == ("ids, detail", ["a", "b"])
    assert finding.values["permission"] == "Workflow.Instance.Read"


def test_the_guide_lists_every_code_and_no_other() -> None:
    guide = Path(__file__).parents[3] / "docs" / "guide" / "doctor.md"
    listed = guide.read_text("utf-8").split("## Findings")[1]
    rows = [line.split("|")[2] for line in listed.splitlines() if line.startswith("| ") and "`" in line]
    assert sorted(code for row in rows for code in re.findall(r"`([\w.]+)`", row)) == sorted(WORDS)


def test_of_every_app_whose_failed_list_is_read_it_is_said_and_of_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hr = App("hr", app().credentials, ("dinghr",), "dinghr", "the-secret")
    suite = App("isv", app().credentials, ("suitekey",), "suitekey", "the-secret", suite=True)
    bare = App("bare", app().credentials, ("dingbare",))
    apps = {of.name: of for of in (app(), hr, suite, bare)}
    monkeypatch.setattr("dingbridge.doctor.context.load_apps", lambda settings: apps)
    seen = memory(recovery=ingress.Recovery(last=9e9, items=3))
    for name, expected in (("default", "read"), ("hr", "read"), ("isv", "unknown"), ("bare", "unknown")):
        [finding] = looked_at(run._failed, app=apps[name], of_ingress=seen)
        assert finding.code == f"failed.{expected}", name


def test_without_the_ingress_nothing_is_said_of_it() -> None:
    for check in (run._url, run._ingress, run._owner, run._stream, run._failed):
        assert looked_at(check, with_ingress=False) == []


def test_in_stream_mode_nothing_is_said_of_url_keys_and_owner() -> None:
    streaming = app(credentials=(), mode="stream")
    assert settings_check.judge_keys(streaming) == []
    for check in (run._url, run._owner):
        assert looked_at(check, app=streaming, credentials=None, of_ingress=memory(), url=HTTPS) == []
    assert {finding.code for finding in looked_at(run._tags, app=streaming)} == {"tags.console"}
    assert looked_at(run._stream) == [], "of an app by HTTP"


def test_what_is_published_by_nobody_or_read_by_nobody_is_an_error() -> None:
    """The exit code was 0 with a relay that had stalled, a URL that nobody reaches, and a consumer that was
    frozen for 35 s while 13 records waited."""
    stalled = running(relay={"state": "stalled", "words": "no answer"})
    never = Group(0, topics=LAG, began=False)
    for findings in (
        stalled,
        running(relay={"state": "up"}, oldest_s=61.0, publishes=False),
        public(addresses=("10.0.0.9",)),
        read_by(Group(0, topics=LAG)),
        read_by(Group(1, topics=LAG), still=frozenset({"billing"})),
        read_by(never, "billing"),
    ):
        assert exit_code(findings, WORDS) == 1, findings
    for findings in (
        running(relay={"state": "up"}, oldest_s=59.0),
        read_by(Group(1, topics=LAG)),
        read_by(Group(0)),
        read_by(never),
    ):
        assert exit_code(findings, WORDS) == 0, findings
