"""How findings are said (language, text, JSON, exit code), and what judgements weigh besides a code."""

import json
from importlib.metadata import EntryPoint

import pytest
import typer
from typer.testing import CliRunner

from dingbridge import Consumer
from dingbridge.cli.doctor import command
from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.doctor import run
from dingbridge.doctor.checks import clock, ingress, kafka, platform, quota, url
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.checks.kafka_wire import operations
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Both, as_json, exit_code, found, language, plain, printed, summary
from dingbridge.doctor.parts import GROUP, load_checks
from dingbridge.ingress.journal import check as disk
from dingbridge.settings import KafkaSettings
from dingbridge.settings.apps import AppCredentials
from dingbridge.worker.registry import Family
from tests.unit.doctor.test_codes import AES_KEY, TOKEN, WORDS, app, settings

HERE = "tests.unit.doctor.test_findings"
FINDINGS = [
    found("clock.ok", limit_s=10),
    found("clock.skew", seconds=75, side=Both("behind", "慢")),
    found("ingress.absent", address="http://127.0.0.1:8081", reason=Both("refused", "被拒绝")),
]


@pytest.mark.parametrize(
    ("chosen", "environment", "expected"),
    [
        (None, {}, "en"),
        (None, {"LANG": "zh_CN.UTF-8"}, "zh"),
        (None, {"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "C"}, "en"),
        (None, {"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW.UTF-8"}, "zh"),
        (None, {"LC_ALL": "C.UTF-8", "LC_MESSAGES": "zh_CN", "LANG": "zh_CN"}, "en"),
        (None, {"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
        ("en", {"LC_ALL": "zh_CN.UTF-8"}, "en"),
        ("zh", {"LC_ALL": "en_US.UTF-8"}, "zh"),
    ],
)
def test_the_language_is_the_one_chosen_or_the_locales(chosen, environment, expected):
    assert language(chosen, environment) == expected


def test_the_exit_code_is_that_of_the_worst():
    assert exit_code(FINDINGS[:2], WORDS) == 0, "a warning is no error"
    assert exit_code(FINDINGS, WORDS) == 1
    assert exit_code([*FINDINGS, found("key.aes", problem="has 5 characters")], WORDS) == 2


def test_english_is_wrapped_and_chinese_left_to_the_terminal():
    finding = found("owner.refused", owner="dingcorp9", refused=2, ago_s=3, wanted="dingappkey1,dingcorp9")
    english, chinese = (printed(finding, WORDS, lang).splitlines() for lang in ("en", "zh"))
    assert max(map(len, english)) <= 110
    assert english[0].startswith("error   owner.refused          DingTalk encrypts for dingcorp9")
    assert " do: Set DINGTALK_OWNER_KEY=dingappkey1,dingcorp9" in "\n".join(english)
    assert len(chinese) == 2
    assert chinese[0].startswith("错误 owner.refused          钉钉使用 dingcorp9 加密")
    assert summary(FINDINGS, WORDS, "en") == "Findings: 3; errors: 1, warnings: 1."
    assert summary(FINDINGS, WORDS, "zh") == "共 3 条；错误：1，警告：1。"


def test_for_machines_there_are_codes_and_values():
    told = as_json(FINDINGS, WORDS, "zh")
    assert (told["exit_code"], told["lang"]) == (1, "zh")
    assert [(one["code"], one["level"]) for one in told["findings"]] == [
        ("clock.ok", "ok"),
        ("clock.skew", "warning"),
        ("ingress.absent", "error"),
    ]
    assert told["findings"][1]["values"] == {"seconds": 75, "side": "慢"}
    assert told["findings"][2]["cause"] == "ingress 的内部端口 http://127.0.0.1:8081 没有应答：被拒绝。"


def test_for_machines_values_in_lists_are_said_in_the_language_too():
    finding = found("kafka.short", topics=[Both("a (1 days)", "a（1 天）"), Both("b", "乙")])
    [told] = as_json([finding], WORDS, "zh")["findings"]
    assert told["values"] == {"topics": ["a（1 天）", "乙"]}


def test_values_are_said_in_the_language():
    assert plain(["a", Both("b", "乙")], "en") == "a, b"
    assert plain(["a", Both("b", "乙")], "zh") == "a、乙"
    assert (plain(12345, "en"), plain(2.26, "en")) == ("12,345", "2.3")


def invoke(monkeypatch, *arguments):
    async def examine(*, url, app_name, wanted, report, checks):
        report(FINDINGS)

    monkeypatch.setattr("dingbridge.doctor.run.examine", examine)
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, arguments, env={"LC_ALL": "C"})


def test_the_command_prints_text_or_json_and_exits_by_what_was_found(monkeypatch):
    text = invoke(monkeypatch)
    assert text.exit_code == 1
    assert text.output.endswith("\nFindings: 3; errors: 1, warnings: 1.\n")
    told = invoke(monkeypatch, "--json", "--lang", "zh")
    assert told.exit_code == 1
    assert json.loads(told.output) == json.loads(json.dumps(as_json(FINDINGS, WORDS, "zh")))


def test_a_language_that_there_is_not_is_a_usage_error(monkeypatch):
    result = invoke(monkeypatch, "--lang", "fr")
    assert result.exit_code == 2
    assert "--lang" in result.output


# -- what single judgements weigh


def test_the_clocks_difference_knows_that_the_header_is_cut_to_seconds():
    assert clock.skew("Wed, 25 Nov 2026 08:00:00 GMT", 1795593600.5) == 0
    assert clock.skew("Wed, 25 Nov 2026 08:00:00 GMT", 1795593670.5) == 70
    assert clock.skew("", 1795593600.5) is None
    assert clock.skew("yesterday", 1795593600.5) is None
    assert clock.skew("Mon, 01 Jan 99999999999 00:00:00 GMT", 1795593600.5) is None
    assert clock.skew("Wed, 25 Nov 2026 08:00:00 +99999999999999999999", 1795593600.5) is None
    [finding] = clock.judge(9_000_000.0, base="", max_age_s=0)
    assert finding.code == "clock.skew", "CALLBACK_MAX_AGE_S=0 accepts any age"


def test_a_url_is_shown_without_what_may_be_secret():
    assert url.shown("https://user:pw@b.example.com:8443/callback?key=s3cret") == (
        "https://b.example.com:8443/callback"
    )
    assert url.shown("http://[::1]:80/c") == "http://[::1]:80/c"
    assert [url.usable(text) for text in ("https://a/c", "ftp://a", "https://", "http://a:port/")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user:s3cret@b.example.com/callback", "b.example.com/callback"),
        ("user:s3cret@b.example.com/callback?key=s3cret", "b.example.com/callback"),
        ("//user:s3cret@b.example.com", "b.example.com"),
        ("https://user:pa/s3cret@b.example.com/c", "b.example.com/c"),
        ("user:p?s3cret@b.example.com/c", "…"),
        ("user:p#s3cret@b.example.com/c", "…"),
        ("b.example.com/callback?key=s3cret", "b.example.com/callback"),
        ("http://a:port/", "http://a:port/"),
        ("http://[::1", "http://[::1"),
        ("", ""),
    ],
)
async def test_of_what_is_no_url_nothing_is_shown_that_may_be_secret_either(text, expected):
    assert url.shown(text) == expected
    context = Context(settings(), app(), None, [], True, text, None, None, None)
    [finding] = await run._url(context)
    assert (finding.code, finding.values) == ("url.invalid", {"url": expected})


def test_the_api_bases_user_is_not_shown():
    base = "http://user:s3cret@proxy.example.com:3128"
    for seen, code in ((FINDINGS[2].values["reason"], "clock.unreachable"), (None, "clock.unknown")):
        [finding] = clock.judge(seen, base=base, max_age_s=300)
        assert (finding.code, finding.values["base"]) == (code, "http://proxy.example.com:3128")


def test_a_private_address_is_an_error_only_where_dingtalk_itself_must_reach_it():
    seen = url.Seen("https://b.example.com/", ("127.0.0.1",), tls="expired")
    assert [f.code for f in url.judge(seen, from_internet=False)] == ["url.tls_expired"]
    assert [f.code for f in url.judge(seen, from_internet=True)] == ["url.private", "url.tls_expired"]


def test_pushes_of_our_own_that_an_ingress_refused_are_not_dingtalks():
    told = [{"app": "default", "owner": "ours", "accepted": 0, "refused": 2, "last": 0.0}]
    refused = {("forbidden", "owner"): 2, ("forbidden", "signature"): 9, ("malformed", "body"): 5}
    seen = ingress.Seen("", "", owners=told, refused=refused)
    assert [f.code for f in ingress.judge_failed(seen, ["ours"])] == ["failed.unknown"]
    [likely] = ingress.judge_failed(seen, ["another"])
    assert likely.values["count"] == 2, "a wrong signature is nobody's push"


def test_refusals_are_read_from_the_ingresss_metrics():
    page = (
        "# TYPE dingbridge_callbacks counter\n"
        'dingbridge_callbacks_total{outcome="kept",reason="",event_type="check_in"} 5\n'
        'dingbridge_callbacks_total{outcome="unavailable",reason="disk",event_type=""} 2\n'
        'dingbridge_callbacks_total{outcome="forbidden",reason="signature",event_type=""} 3\n'
    )
    assert ingress.refused_of(page) == {("unavailable", "disk"): 2, ("forbidden", "signature"): 3}


def test_recovery_is_read_from_the_ingresss_metrics_too():
    page = (
        "# TYPE dingbridge_recovery_items counter\n"
        'dingbridge_recovery_items_total{event_type="check_in"} 5\n'
        'dingbridge_recovery_items_total{event_type="other"} 2\n'
        "# TYPE dingbridge_recovery_pages_missing counter\n"
        "dingbridge_recovery_pages_missing_total 1\n"
        "# TYPE dingbridge_recovery_last_success_timestamp_seconds gauge\n"
        "dingbridge_recovery_last_success_timestamp_seconds 1.7e9\n"
    )
    assert ingress.recovery_of(page) == ingress.Recovery(last=1.7e9, items=7, pages_missing=1)
    assert ingress.recovery_of("") == ingress.Recovery()


def test_what_an_ingress_that_listens_on_all_addresses_is_reached_by():
    given = settings(ingress_host="::", ingress_port=1, admin_host="0.0.0.0", admin_port=2)
    assert ingress.addresses(given) == ("http://[::1]:1/callback", "http://127.0.0.1:2")
    assert ingress.addresses(given, "hr")[0] == "http://[::1]:1/callback/hr"
    assert ingress.relay_address(given) == "http://127.0.0.1:8083"


def test_the_disk_is_looked_at_and_left_as_it_was(tmp_path):
    seen = disk.look(tmp_path)
    assert (len(seen.fsyncs), seen.unusable, seen.absent) == (5, "", False)
    assert seen.free_bytes > 0
    assert list(tmp_path.iterdir()) == []
    assert disk.look(tmp_path / "nowhere").absent
    assert disk.look(tmp_path / ("x" * 300)).unusable, "it cannot even be looked for"


def test_rights_are_told_by_bits():
    assert operations((1 << 3) | (1 << 8)) == {"READ", "DESCRIBE"}
    assert operations(0) == frozenset()
    assert operations(-(2**31)) is None, "an older broker does not tell"


def test_each_part_needs_the_rights_that_the_document_lists():
    needs = kafka.needs(
        KafkaSettings(), [settings_check.Part("approval", ("bpms_instance_change",))], ingress=True
    )
    assert needs == {
        "dingtalk.unclassified": [("ingress", "WRITE")],
        "dingtalk.bpms_instance_change": [("approval", "READ"), ("ingress", "WRITE")],
        "ctl-dingtalk.inbox.approval": [("approval", "READ")],
        "ctl-dingtalk.dlq.approval": [("approval", "WRITE")],
    }
    forward = settings_check.Part("forward-a", ("bpms_instance_change",), written=("deliveries",))
    assert kafka.needs(KafkaSettings(), [forward], ingress=False)["ctl-dingtalk.deliveries"] == [
        ("forward-a", "WRITE")
    ]
    alone = kafka.needs(KafkaSettings(), [], ingress=True)
    assert alone == {"dingtalk.unclassified": [("ingress", "WRITE")]}
    recovering = kafka.needs(KafkaSettings(), [], ingress=True, recovery=True)
    assert recovering == alone | {
        "ctl-dingtalk.inbox.address-sync": [("ingress", "WRITE")],
        "ctl-dingtalk.inbox.approval": [("ingress", "WRITE")],
        "ctl-dingtalk.inbox.outbound": [("ingress", "WRITE")],
    }


def test_only_pushes_that_cost_something_are_counted():
    counted = ["bpms_instance_change", "check_in", "unclassified", "org_remove", "user_role_change"]
    free = ["user_add_org", "org_dept_modify", "label_conf_add", "org_admin_add", "org_change"]
    assert [n for n in counted + free if kafka.counts(KafkaSettings(), f"dingtalk.{n}")] == counted
    assert not kafka.counts(KafkaSettings(), "ctl-dingtalk.dlq.approval")


def test_a_count_that_may_be_short_says_so():
    spent = {"month": "2026-11", "calls": 1, "by_api": {}}
    [finding] = quota.judge(spent, 12, all_pushes=False)
    assert finding.values["pushes"] == Both("at least 12", "至少 12")


def test_both_quotas_may_be_spent_at_once():
    spent = {"month": "2026-11", "calls": 5_001, "by_api": {}}
    assert [f.code for f in quota.judge(spent, 3_001, all_pushes=True)] == [
        "quota.calls_spent",
        "quota.pushes_spent",
    ]


async def tried(monkeypatch, *names):
    """The probes of these parts."""
    client = DingTalkClient(app_key="k", app_secret="s", base="http://127.0.0.1:1")
    probes = []

    async def look(client, wanted, known):
        probes.extend(wanted)
        return []

    monkeypatch.setattr(platform, "look", look)
    context = Context(settings(), None, None, [], True, None, None, client, None)
    checks, _ = load_checks()
    await run._platform(context, {name: check for name, check in checks.items() if name in names})
    return probes


async def test_only_the_calls_of_the_chosen_parts_are_tried(monkeypatch, tmp_path):
    monkeypatch.delenv("ARCHIVE_DIR", raising=False)
    assert {probe.parts for probe in await tried(monkeypatch, "approval")} == {("approval",)}
    assert await tried(monkeypatch, "ingress", "billing") == []
    monkeypatch.setenv("ARCHIVE_DIR", str(tmp_path))
    assert len(await tried(monkeypatch, "address-sync", "approval")) == 12


async def test_a_consumers_mistake_loses_no_other_check(monkeypatch):
    monkeypatch.setenv("ARCHIVE_MAX_BYTES", "x")
    assert len(await tried(monkeypatch, "address-sync", "approval")) == 12


def test_a_call_of_two_parts_is_tried_once():
    call = platform.Call("v2/user/get", None)
    [probe] = platform.probes({"address-sync": [call], "billing": [call]})
    assert probe.parts == ("address-sync", "billing")


def test_a_check_that_does_not_load_is_named_and_the_others_work():
    points = [
        EntryPoint("lost", "tests.unit.doctor.nowhere:CHECK", GROUP),
        EntryPoint("odd", "tests.unit.doctor.test_findings:HERE", GROUP),
        EntryPoint("ingress", "dingbridge.ingress.journal.check:CHECK", GROUP),
    ]
    checks, findings = load_checks(points)
    assert checks == {"ingress": disk.CHECK}
    named = [(f.code, f.values["part"], f.values["error"]) for f in findings]
    assert named == [("doctor.check", "lost", "ModuleNotFoundError"), ("doctor.check", "odd", "TypeError")]


# -- settings, apps and consumers


def test_a_file_that_is_no_certificate_is_a_mistake_of_the_settings_and_no_fault_of_ours(
    monkeypatch, tmp_path
):
    file = tmp_path / "ca.pem"
    file.write_text("this is no certificate")
    given = {"DINGTALK_TOKEN": TOKEN, "DINGTALK_AES_KEY": AES_KEY, "DINGTALK_OWNER_KEY": "dingappkey1"}
    given |= {"DINGTALK_CORP_ID": "c", "KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": str(file)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    loaded, [finding] = settings_check.load()
    assert loaded is None
    assert finding.code == "settings.invalid"
    assert finding.values["problem"].startswith("KAFKA_SSL_CAFILE: ")


def test_keys_of_a_strange_form_are_told_in_the_doctors_own_words(monkeypatch):
    monkeypatch.setenv("DINGTALK_TOKEN", "a token")
    monkeypatch.setenv("DINGTALK_AES_KEY", "short")
    monkeypatch.setenv("DINGTALK_OWNER_KEY", "“ding”")
    monkeypatch.setenv("DINGTALK_CORP_ID", "dingcorp1")
    settings, findings = settings_check.load()
    assert settings is None
    assert {f.code for f in findings} == {"key.token", "key.aes", "key.owner"}
    chinese = "".join(printed(finding, WORDS, "zh") for finding in findings)
    assert "重新复制事件订阅的 Token" in chinese
    assert "a token" not in chinese


def test_the_app_is_the_one_that_is_named_else_the_environments_else_the_only_one(tmp_path):
    file = tmp_path / "apps.toml"
    pair = f'token = "{TOKEN}"\naes_key = "{AES_KEY}"\nowner_keys = ["dinghr"]\ncorp_id = "c"\n'
    file.write_text(f"[apps.hr]\n{pair}")
    both = settings(dingtalk_apps_file=file)
    assert settings_check.app_of(both, None)[0].name == "default"
    assert settings_check.app_of(both, "hr")[0].owner_keys == ("dinghr",)
    assert [f.code for f in settings_check.app_of(both, "crm")[1]] == ["settings.invalid"]
    nothing = {f"dingtalk_{name}": "" for name in ("token", "aes_key", "app_key", "app_secret")}
    alone = settings(**nothing, dingtalk_owner_key=[], dingtalk_apps_file=file)
    assert settings_check.app_of(alone, None)[0].name == "hr"


def test_while_a_pair_is_replaced_both_are_right():
    old, new = AppCredentials("oldToken1", "o" * 43), AppCredentials("newToken1", "n" * 43)
    for pair in (old, new):
        registered = CallbackRegistration(("check_in",), pair.token, pair.aes_key, "https://b.example.com/c")
        judged = platform.judge_tags(registered, [], accepted=[new, old], url=None)
        assert {f.code for f in judged} == {"tags.ok", "tags.unread"}


class Second(Consumer):
    name = "many-second"
    topics = ("check_in",)

    async def handle(self, event, tx, prepared): ...


MANY = Family(names=lambda: [Second.name], make=lambda name: Second)


def test_of_a_family_each_member_is_a_part():
    point = EntryPoint("many", f"{HERE}:MANY", "dingbridge.consumers")
    assert settings_check.parts([], [point]) == ([settings_check.Part("many-second", ("check_in",))], [])
    assert settings_check.parts(["ingress"], [point]) == ([], [])


def test_a_consumer_that_is_left_out_need_not_load_and_one_that_is_unknown_is_said():
    lost = EntryPoint("lost", f"{HERE}:NOWHERE", "dingbridge.consumers")
    assert settings_check.parts(["ingress"], [lost]) == ([], [])
    _, [finding] = settings_check.parts(["no-such"], [])
    assert (finding.code, finding.values["consumer"]) == ("settings.consumer", "no-such")


OURS = [
    EntryPoint("address-sync", "dingbridge.consumers.address_sync:AddressSync", "dingbridge.consumers"),
    EntryPoint("approval", "dingbridge.consumers.approval:Approval", "dingbridge.consumers"),
]


@pytest.mark.parametrize(
    ("variable", "value", "concerned"),
    [
        ("DATABASE_URL", "mysql://u:s3cret@h/d", ["address-sync", "approval"]),
        ("DATABASE_URL", "postgresql://u:pa@s3cret@h/d", ["address-sync", "approval"]),
        ("MAX_LEAVERS", "abc", ["address-sync"]),
        ("ARCHIVE_MAX_BYTES", "x", ["approval"]),
        ("APPROVAL_ACTIONS", "no.such.module", ["approval"]),
    ],
)
def test_settings_with_which_a_consumer_would_not_start_are_told(monkeypatch, variable, value, concerned):
    monkeypatch.setenv(variable, value)
    chosen, findings = settings_check.parts([], OURS)
    assert [part.name for part in chosen] == ["address-sync", "approval"], "the other checks go on"
    assert [(f.code, f.values["consumer"]) for f in findings] == [("settings.consumer", n) for n in concerned]
    for finding in findings:
        assert finding.values["reason"].startswith(variable)
        assert "s3cret" not in finding.values["reason"]
    [only] = settings_check.parts(concerned[:1], OURS)[1]
    assert only.values["consumer"] == concerned[0]
    assert settings_check.parts(["ingress"], OURS) == ([], [])


def test_a_system_whose_secret_is_not_set_is_told(monkeypatch, tmp_path):
    file = tmp_path / "forward.toml"
    system = 'url = "https://a.example.com/"\ntypes = ["check_in"]\nsecrets = ["SYSTEM_A_SECRET"]\n'
    file.write_text(f"[systems.a]\n{system}")
    monkeypatch.setenv("FORWARD_FILE", str(file))
    forward = EntryPoint("forward", "dingbridge.consumers.forward:SYSTEMS", "dingbridge.consumers")
    chosen, [finding] = settings_check.parts([], [forward])
    assert chosen == [settings_check.Part("forward-a", ("check_in",), written=("deliveries",))]
    assert (finding.code, finding.values["consumer"]) == ("settings.consumer", "forward-a")
    assert finding.values["reason"].startswith("SYSTEM_A_SECRET")


def test_what_the_ingress_does_not_start_with_either_is_told_once(monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker")
    monkeypatch.setenv("DATABASE_URL", "mysql://u@h/d")
    monkeypatch.setenv("ARCHIVE_MAX_BYTES", "none")
    _, told = settings_check.load()
    _, findings = settings_check.parts(["approval"], OURS, told)
    for variable in ("KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL"):
        assert any(f.values["problem"].startswith(variable) for f in told)
    assert [f.values["reason"].partition(":")[0] for f in findings] == ["ARCHIVE_MAX_BYTES"]
    monkeypatch.delenv("ARCHIVE_MAX_BYTES")
    assert settings_check.parts(["approval"], OURS, told)[1] == []
