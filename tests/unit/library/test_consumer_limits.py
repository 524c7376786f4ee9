"""``<NAME>_CONCURRENCY`` and its like: a consumer's class, changed by the environment."""

import json
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from dingbridge import Consumer
from dingbridge.cli.consume import _load
from dingbridge.cli.consumers import command
from dingbridge.errors import SettingsError
from dingbridge.worker import registry


class LeaveLedger(Consumer):
    name = "leave-ledger"
    topics = ("user_add_org",)

    async def handle(self, event, tx, prepared): ...


@pytest.fixture(autouse=True)
def _installed(monkeypatch):
    point = EntryPoint("leave-ledger", f"{__name__}:LeaveLedger", registry.GROUP)
    monkeypatch.setattr(registry, "_found", lambda: {"leave-ledger": point})


def limits(consumer):
    names = ("concurrency", "max_attempts", "retry_first_s", "retry_max_s", "handler_timeout_s")
    return [getattr(consumer, name) for name in names]


def test_what_the_environment_says_is_set_and_shown(monkeypatch):
    assert limits(_load("leave-ledger")[0]) == [32, 8, 0.5, 60, 60]
    values = {"CONCURRENCY": "4", "MAX_ATTEMPTS": "none", "RETRY_MAX_S": "5", "HANDLER_TIMEOUT_S": "7.5"}
    for name, value in values.items():
        monkeypatch.setenv(f"LEAVE_LEDGER_{name}", value)
    assert limits(_load("leave-ledger")[0]) == [4, None, 0.5, 5, 7.5]
    shown = json.loads(CliRunner().invoke(command, ["--json"]).stdout)
    assert [shown[name] for name in ("concurrency", "max_attempts", "retry_max_s")] == [4, None, 5]
    assert "no end\t0.5 to 5 s\t7.5 s" in CliRunner().invoke(command, []).stdout


def test_mistakes_are_told_with_all_the_others_and_end_no_list(monkeypatch):
    for name, value in {"CONCURRENCY": "0", "MAX_ATTEMPTS": "-1"}.items():
        monkeypatch.setenv(f"LEAVE_LEDGER_{name}", value)
    monkeypatch.setenv("ADMIN_PORT", "x")
    with pytest.raises(
        SettingsError,
        match=r"(?s)LEDGER_CONCURRENCY: .*MAX_ATTEMPTS: must be 1 or more, or none\n.*ADMIN_PORT",
    ):
        _load("leave-ledger")
    shown = CliRunner().invoke(command, ["--json"])
    assert shown.exit_code == 0
    assert "LEAVE_LEDGER_CONCURRENCY" in json.loads(shown.stdout)["problem"]
