"""Whom the doctor looks at: settings, apps, consumers, and the templates whose events must be subscribed."""

import asyncio
import os
from importlib.metadata import EntryPoint

import pytest

from dingbridge import Consumer
from dingbridge.dingtalk.api import CallbackRegistration
from dingbridge.doctor import run
from dingbridge.doctor.checks import platform, subscription
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import printed
from dingbridge.doctor.parts import load_checks
from dingbridge.simulator.kafka.ports import free_port
from dingbridge.worker.registry import Family
from tests.support.compose_files import TRIAL, rendered
from tests.support.manifests import container, documents
from tests.unit.doctor.test_codes import AES_KEY, TOKEN, WORDS, settings

HERE = "tests.unit.doctor.test_parts"


@pytest.mark.parametrize(
    ("changed", "codes"),
    [
        (
            {"DINGTALK_TOKEN": "a token", "DINGTALK_AES_KEY": "short", "DINGTALK_OWNER_KEY": "“ding”"},
            {"key.token", "key.aes", "key.owner"},
        ),
        ({"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": __file__}, {"settings.invalid"}),
    ],
    ids=["keys of a strange form", "a file that is no certificate"],
)
def test_settings_that_do_not_load_are_told_in_the_doctors_own_words(monkeypatch, changed, codes):
    given = {"DINGTALK_TOKEN": TOKEN, "DINGTALK_AES_KEY": AES_KEY, "DINGTALK_OWNER_KEY": "dingappkey1"}
    given |= {"DINGTALK_CORP_ID": "dingcorp1"}
    for name, value in (given | changed).items():
        monkeypatch.setenv(name, value)
    loaded, findings = settings_check.load()
    assert loaded is None
    assert {f.code for f in findings} == codes
    told = "".join(printed(finding, WORDS, "zh") for finding in findings)
    assert "a token" not in told
    assert codes != {"settings.invalid"} or "KAFKA_SSL_CAFILE" in told


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
    assert chosen == [settings_check.Part("forward-a", ("check_in",))]
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


# -- templates whose events must be subscribed


ACTIONS = """
from dingbridge.consumers.approval.actions import Approved, action
from dingbridge import Transaction

@action("PROC-SEAL", "PROC-EXPENSE")
async def book(approval: Approved, tx: Transaction) -> None: ...
"""
PATH = "/v1.0/event/bpms_instance_change/processCode"
APPROVALS = ("bpms_instance_change", "bpms_task_change")


@pytest.fixture
def configured(monkeypatch, tmp_path):
    """Two templates with an action, two of outbound's, one of them the same."""
    for variable, name, text in (
        ("APPROVAL_ACTIONS", "actions.py", ACTIONS),
        ("OUTBOUND_OWNERS", "owners.toml", "".join(f'[templates."{c}"]\nrequest_id_field = "No."\n' for c in
                                                   ("PROC-EXPENSE", "PROC-LEAVE"))),
    ):  # fmt: skip
        file = tmp_path / name
        file.write_text(text)
        monkeypatch.setenv(variable, str(file))


def told(*names):
    """What is said where these parts are looked at."""
    consumers = [settings_check.Part(name, APPROVALS) for name in names]
    checks, _ = load_checks()
    context = Context(settings(), None, None, consumers, True, None, None, None, None)
    asked = {name: check for name, check in checks.items() if name in names}
    return asyncio.run(run._templates(context, asked))


def test_each_template_that_is_configured_has_a_path_with_what_all_parts_need_of_it(configured):
    [finding] = told("approval", "outbound")
    assert finding.values["paths"] == [
        f"{PATH}/PROC-EXPENSE/type/{{finish,terminate,delete}}",
        f"{PATH}/PROC-LEAVE/type/{{finish,terminate}}",
        f"{PATH}/PROC-SEAL/type/{{finish,terminate,delete}}",
    ]
    for lang in ("en", "zh"):
        text = printed(finding, WORDS, lang)
        assert all(path in text for path in finding.values["paths"])
        assert "names no template" not in text
        assert "没有指定模板" not in text


def test_who_reads_approvals_of_every_template_is_named(configured, monkeypatch):
    [finding] = told("outbound", "billing")
    assert "billing: reads approvals and names no template" in " ".join(printed(finding, WORDS, "en").split())
    monkeypatch.delenv("APPROVAL_ACTIONS")
    [finding] = told("approval", "outbound")
    assert "approval 也读取审批" in printed(finding, WORDS, "zh"), (
        "it archives all, and has the examples' action"
    )


def test_where_no_template_is_configured_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.delenv("APPROVAL_ACTIONS", raising=False)
    monkeypatch.delenv("OUTBOUND_OWNERS", raising=False)
    assert told("approval", "outbound") == []
    monkeypatch.setenv("APPROVAL_ACTIONS", str(tmp_path / "gone.py"))
    monkeypatch.setenv("OUTBOUND_OWNERS", str(tmp_path / "gone.toml"))
    assert told("approval", "outbound") == [], "which of the settings is wrong is told elsewhere"


def test_one_type_alone_needs_no_braces():
    assert subscription.path("PROC-A", ["finish"]) == f"{PATH}/PROC-A/type/finish"


def by_compose():
    return rendered(TRIAL)["address-sync"]["environment"]


def by_the_chart():
    workloads = [d for d in documents("consumers.yaml") if d["kind"] == "StatefulSet"]
    [address_sync] = [d for d in workloads if container(d)["args"] == ["consume", "address-sync"]]
    [shared] = documents("settings.yaml")
    own = {item["name"]: item["value"] for item in container(address_sync)["env"]}
    return shared["data"] | own


@pytest.mark.parametrize("deployed", [by_compose, by_the_chart])
async def test_a_consumers_own_environment_has_no_callback_keys_and_that_is_no_mistake(
    deployed, tmp_path, monkeypatch
):
    """The guide runs ``doctor --part`` there: it found "the ingress does not start", and ended with 2."""
    given = {name: value for name, value in deployed().items() if not name.endswith("_FILE")}
    given |= {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}", "DATA_DIR": str(tmp_path)}
    given |= {"DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "DINGTALK_APP_SECRET": "secret"}
    given["DINGTALK_API_BASE"] = f"http://127.0.0.1:{free_port()}"
    for name in [name for name in os.environ if name.split("_")[0] in ("DINGTALK", "KAFKA")]:
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    findings = []
    checks, _ = load_checks()
    await run.examine(url=None, app_name=None, wanted=["address-sync"], report=findings.extend, checks=checks)
    codes = {finding.code for finding in findings}
    assert {code for code in codes if code.split(".")[0] in ("settings", "key")} == {"settings.ok"}
    assert {"clock.unreachable", "kafka.unreachable", "api.unreachable"} <= codes, "all of it is looked at"
    findings.clear()
    monkeypatch.setenv("DATABASE_URL", "mysql://h")
    await run.examine(url=None, app_name=None, wanted=["address-sync"], report=findings.extend, checks=checks)
    [mistake, stopped] = findings
    assert "DATABASE_URL" in mistake.values["problem"]
    assert stopped.code == "settings.stopped"


def test_where_the_callback_keys_are_not_known_those_that_are_registered_are_not_wrong():
    registered = CallbackRegistration((), "token", "k" * 43, "https://b.example/callback")
    assert [f.code for f in platform.judge_tags(registered, [], accepted=(), url=None)] == ["tags.ok"]
