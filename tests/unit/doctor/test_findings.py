"""How findings are said (language, text, JSON, exit code), and what judgements weigh besides a code."""

import re
import string
from pathlib import Path

import pytest

from dingbridge.dingtalk.api import CallbackRegistration, DingTalkClient
from dingbridge.doctor import run
from dingbridge.doctor.checks import clock, ingress, kafka, platform, quota, url
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import Both, as_json, exit_code, found, language, plain, printed
from dingbridge.doctor.parts import load_checks
from dingbridge.ingress.journal import check as disk
from dingbridge.kafka.wire import operations
from dingbridge.settings import KafkaSettings
from dingbridge.settings.apps import AppCredentials
from tests.unit.doctor.test_codes import WORDS, settings

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
    assert len(chinese) == 2


def test_for_machines_there_are_codes_and_values_in_the_language():
    told = as_json([*FINDINGS, found("kafka.short", topics=[Both("a (1 days)", "a（1 天）")])], WORDS, "zh")
    assert (told["exit_code"], told["lang"]) == (1, "zh")
    assert [(one["code"], one["level"], one["values"]) for one in told["findings"]] == [
        ("clock.ok", "ok", {"limit_s": 10}),
        ("clock.skew", "warning", {"seconds": 75, "side": "慢"}),
        ("ingress.absent", "error", {"address": "http://127.0.0.1:8081", "reason": "被拒绝"}),
        ("kafka.short", "warning", {"topics": ["a（1 天）"]}),
    ]
    assert plain(["a", Both("b", "乙")], "zh") == "a、乙"
    assert (plain(12345, "en"), plain(2.26, "en")) == ("12,345", "2.3")


# -- the guide: both pages show the same findings (the integration test compares the English one)


GUIDES = Path(__file__).parents[3] / "docs" / "guide"
SUMMARY = {
    "en": "Findings: {all}; errors: {errors}, warnings: {warnings}.",
    "zh": "共 {all} 条；错误：{errors}，警告：{warnings}。",
}


def shown_in(page: str) -> dict[str, str]:
    """``{what is wrong: the output that the page shows}``."""
    text = (GUIDES / page).read_text(encoding="utf-8")
    return dict(re.findall(r"<!-- doctor: ([\w ]+) -->\n```text\n(.*?)```", text, re.DOTALL))


def read_back(output: str, lang: str) -> list[tuple[str, dict[str, str]]]:
    """``[(code, values)]``, each read back out of the words in which it was said."""
    *lines, last = re.split(r"\n(?=\S)", output.strip())
    read = []
    for line in lines:
        _level, code, text = " ".join(line.split()).split(" ", 2)
        remedy = {"en": " do: ", "zh": " 办法："}[lang]
        read.append((code, values_in(text, remedy.join(getattr(WORDS[code], lang)))))
    return [*read, ("summary", values_in(last, SUMMARY[lang]))]


def values_in(text: str, template: str) -> dict[str, str]:
    pattern, seen = "", set()
    for literal, name, _, _ in string.Formatter().parse(template):
        pattern += re.escape(literal)
        if name:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>.*?)"
            seen.add(name)
    match = re.fullmatch(pattern, text)
    assert match, f"{text!r} is not said like {template!r}"
    return {name: value.replace("、", ", ") for name, value in match.groupdict().items()}


def test_the_chinese_page_shows_the_same_findings():
    english, chinese = (shown_in(f"doctor{suffix}.md") for suffix in ("", ".zh-CN"))
    assert english.keys() == chinese.keys()
    for what in english:
        pairs = zip(read_back(english[what], "en"), read_back(chinese[what], "zh"), strict=True)
        for (code, ours), (same, theirs) in pairs:
            assert code == same
            assert all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys()), (what, code)


# -- what single judgements weigh


def test_the_clocks_difference_knows_that_the_header_is_cut_to_seconds():
    assert clock.skew("Wed, 25 Nov 2026 08:00:00 GMT", 1795593600.5) == 0
    assert clock.skew("Wed, 25 Nov 2026 08:00:00 GMT", 1795593670.5) == 70
    for no_time in (
        *("", "yesterday", "Mon, 01 Jan 99999999999 00:00:00 GMT"),
        "Wed, 25 Nov 2026 08:00:00 +99999999999999999999",
    ):
        assert clock.skew(no_time, 1795593600.5) is None
    [finding] = clock.judge(9_000_000.0, base="", max_age_s=0)
    assert finding.code == "clock.skew", "CALLBACK_MAX_AGE_S=0 accepts any age"


@pytest.mark.parametrize(
    ("text", "shown", "usable"),
    [
        ("https://u:pw@b.example.com:8443/c?key=s3cret", "https://b.example.com:8443/c", True),
        ("http://[::1]:80/c", "http://[::1]:80/c", True),
        ("ftp://a", "ftp://a", False),
        ("https://", "https://", False),
        ("user:s3cret@b.example.com/callback?key=s3cret", "b.example.com/callback", False),
        ("//user:s3cret@b.example.com", "b.example.com", False),
        ("https://user:pa/s3cret@b.example.com/c", "b.example.com/c", False),
        ("user:p?s3cret@b.example.com/c", "…", False),
        ("user:p#s3cret@b.example.com/c", "…", False),
        ("http://a:port/", "http://a:port/", False),
        ("http://[::1", "http://[::1", False),
        ("", "", False),
    ],
)
def test_of_what_is_no_url_nothing_is_shown_that_may_be_secret_either(text, shown, usable):
    assert (url.shown(text), url.usable(text)) == (shown, usable)


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


def test_refusals_and_recovery_are_read_from_the_ingresss_metrics():
    page = (
        "# TYPE dingbridge_callbacks counter\n"
        'dingbridge_callbacks_total{outcome="kept",reason="",event_type="check_in"} 5\n'
        'dingbridge_callbacks_total{outcome="unavailable",reason="disk",event_type=""} 2\n'
        'dingbridge_callbacks_total{outcome="forbidden",reason="signature",event_type=""} 3\n'
        "# TYPE dingbridge_recovery_items counter\n"
        'dingbridge_recovery_items_total{event_type="check_in"} 5\n'
        'dingbridge_recovery_items_total{event_type="other"} 2\n'
        "# TYPE dingbridge_recovery_pages_missing counter\n"
        "dingbridge_recovery_pages_missing_total 1\n"
        "# TYPE dingbridge_recovery_last_success_timestamp_seconds gauge\n"
        "dingbridge_recovery_last_success_timestamp_seconds 1.7e9\n"
    )
    assert ingress.refused_of(page) == {("unavailable", "disk"): 2, ("forbidden", "signature"): 3}
    assert ingress.recovery_of(page) == ingress.Recovery(last=1.7e9, items=7, pages_missing=1)
    assert ingress.recovery_of("") == ingress.Recovery()


def test_what_an_ingress_that_listens_on_all_addresses_is_reached_by():
    given = settings(ingress_host="::", ingress_port=1, admin_host="0.0.0.0", admin_port=2)
    assert ingress.addresses(given) == ("http://[::1]:1/callback", "http://127.0.0.1:2")
    assert ingress.addresses(given, "hr")[0] == "http://[::1]:1/callback/hr"


def test_the_disk_is_looked_at_and_left_as_it_was(tmp_path):
    seen = disk.look(tmp_path)
    assert (len(seen.fsyncs), seen.unusable, seen.absent, seen.free_bytes > 0) == (5, "", False, True)
    assert list(tmp_path.iterdir()) == []
    assert disk.look(tmp_path / "nowhere").absent
    assert disk.look(tmp_path / ("x" * 300)).unusable, "it cannot even be looked for"


def test_while_a_pair_is_replaced_both_are_right():
    old, new = AppCredentials("oldToken1", "o" * 43), AppCredentials("newToken1", "n" * 43)
    for pair in (old, new):
        registered = CallbackRegistration(("check_in",), pair.token, pair.aes_key, "https://b.example.com/c")
        judged = platform.judge_tags(registered, [], accepted=[new, old], url=None)
        assert {f.code for f in judged} == {"tags.ok", "tags.unread"}


# -- Kafka and the month's quota


def test_rights_are_told_by_bits():
    assert operations((1 << 3) | (1 << 8)) == {"READ", "DESCRIBE"}
    assert operations(0) == frozenset()
    assert operations(-(2**31)) is None, "an older broker does not tell"


def test_each_part_needs_the_rights_that_the_document_lists():
    approval = settings_check.Part("approval", ("bpms_instance_change",), ("resync",))
    assert kafka.needs(KafkaSettings(), [approval], ingress=True) == {
        "dingtalk.unclassified": [("ingress", "WRITE")],
        "ctl-dingtalk.resync": [("ingress", "WRITE"), ("approval", "READ")],
        "dingtalk.bpms_instance_change": [("approval", "READ"), ("ingress", "WRITE")],
        "ctl-dingtalk.inbox.approval": [("approval", "READ")],
        "ctl-dingtalk.dlq.approval": [("approval", "WRITE")],
    }
    outbound = settings_check.Part("outbound", ("bpms_instance_change",), written=("changes",))
    wanted = kafka.needs(KafkaSettings(), [outbound], ingress=False)
    assert wanted["ctl-dingtalk.changes"] == [("outbound", "WRITE")]
    assert kafka.needs(KafkaSettings(), [], ingress=True) == {
        "dingtalk.unclassified": [("ingress", "WRITE")],
        "ctl-dingtalk.resync": [("ingress", "WRITE")],
    }


def test_calls_are_compared_with_the_budget_from_80_percent_on():
    spent = {"month": "2026-11", "calls": 4_000, "by_api": {}}
    assert [len(quota.judge(spent, budget)) for budget in (0, 1, 5_000, 5_001)] == [0, 1, 1, 0]


# -- calls of the parts


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
    assert len(await tried(monkeypatch, "address-sync", "approval")) == 10
    monkeypatch.setenv("ARCHIVE_MAX_BYTES", "x")
    assert len(await tried(monkeypatch, "address-sync", "approval")) == 10, "a mistake loses no other check"


def test_a_call_of_two_parts_is_tried_once():
    call = platform.Call("v2/user/get", None)
    [probe] = platform.probes({"address-sync": [call], "billing": [call]})
    assert probe.parts == ("address-sync", "billing")
