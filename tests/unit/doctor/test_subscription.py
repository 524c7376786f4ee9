"""The rules of the event subscription that the doctor prints for the templates that are configured."""

import asyncio

import pytest

from dingbridge.doctor import run
from dingbridge.doctor.checks import settings as settings_check
from dingbridge.doctor.checks import subscription
from dingbridge.doctor.context import Context
from dingbridge.doctor.findings import printed
from dingbridge.doctor.parts import load_checks
from tests.unit.doctor.test_codes import WORDS, settings

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
