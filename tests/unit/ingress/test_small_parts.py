"""Small pure parts: whose address it was, how many lines a flood may write, which owners were seen."""

import asyncio
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from dingbridge.ingress.app import Ingress
from dingbridge.ingress.diagnostics import OWNERS_KEPT, Diagnostics
from dingbridge.ingress.journal.locks import journal_lock
from dingbridge.logging import LogLimiter
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.settings.trusted_proxies import client_address
from dingbridge.tasks import TaskEnded, end
from tests.lives.clock import jumping
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "expected"),
    [
        ((), "10.0.0.9", ["1.2.3.4"], "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.9", ["1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.9", ["6.6.6.6, 1.2.3.4, 10.1.1.1"], "1.2.3.4"),
        (("10.0.0.0/8",), "10.0.0.9", ["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
        (("10.0.0.0/8",), "8.8.8.8", ["1.2.3.4"], "8.8.8.8"),
        (("10.0.0.0/8",), "10.0.0.9", ["1.2.3.4, nonsense"], "10.0.0.9"),
        (("10.0.0.0/8",), "10.0.0.9", [], "10.0.0.9"),
        (("10.0.0.9",), "10.0.0.9", ["::1"], "::1"),
    ],
)
def test_only_trusted_proxies_are_believed(trusted, peer, forwarded, expected):
    assert client_address(peer, forwarded, trusted) == expected


def test_a_flood_of_one_reason_is_cut_at_5_lines_in_10_s_and_others_still_get_through():
    now = [0.0]
    limiter = LogLimiter(clock=lambda: now[0])
    assert [limiter.allow("signature") for _ in range(7)] == [0, 0, 0, 0, 0, None, None]
    assert limiter.allow("owner") == 0
    now[0] = 9.9
    assert limiter.allow("signature") is None
    now[0] = 10.0
    assert limiter.allow("signature") == 3, "says how many were left out"
    assert limiter.allow("signature") == 0


def test_owner_keys_are_remembered_by_app_the_latest_last_and_not_without_end():
    now = [100.0]
    seen = Diagnostics(clock=lambda: now[0])
    seen.owner_refused("default", "dingcorp1")
    seen.owner_accepted("hr", "dingcorp1")
    now[0] = 200.0
    seen.owner_accepted("hr", "dingcorp1")
    assert seen.owners() == [
        {"app": "default", "owner": "dingcorp1", "accepted": 0, "refused": 1, "last": 100.0},
        {"app": "hr", "owner": "dingcorp1", "accepted": 2, "refused": 0, "last": 200.0},
    ]
    for number in range(OWNERS_KEPT - 1):
        seen.owner_refused("default", f"owner{number}")
    assert len(seen.owners()) == OWNERS_KEPT
    assert seen.owners()[0]["app"] == "hr", "the one that was seen the longest ago is gone"


# -- The ingress does not outlive a task that it needs: it closes what it has open, and ends in words


NOWHERE = "127.0.0.1:1"
CREDENTIALS = SAMPLE_CREDENTIALS | {"DINGTALK_API_BASE": "http://127.0.0.1:1"}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return IngressSettings.load(
        data_dir=tmp_path,
        journal_allow_unsafe=True,
        ingress_port=0,
        admin_port=0,
        kafka_bootstrap_servers=NOWHERE,
    )


async def fails(*_):
    raise KeyError("张三")


async def returns(*_):
    pass


@pytest.mark.parametrize("ending", [fails, returns])
@pytest.mark.parametrize(
    "task",
    [
        "dingbridge.ingress.app.Ingress._measure",
        "dingbridge.ingress.journal.drain.Drainer.run",
        "dingbridge.ingress.relay.relay.Relay.run",
        "dingbridge.ingress.per_app.PerApp.watch",
        "dingbridge.ingress.recovery.apps.AppRecovery._regularly",
    ],
)
async def test_a_task_that_ends_ends_the_ingress(settings, monkeypatch, task, ending):
    monkeypatch.setattr(task, ending)
    with pytest.raises(TaskEnded, match="has ended") as raised:
        async with asyncio.timeout(60):
            await Ingress(settings).run()
    assert "张三" not in str(raised.value)
    with journal_lock(settings.journal_path):
        pass  # the folder is free: what starts the process again begins from what is in it


async def test_a_measure_that_fails_ends_nothing(settings, monkeypatch):
    def fails(root):
        raise TypeError("a fault of ours")

    monkeypatch.setattr("dingbridge.ingress.app.journal_status", fails)
    with capture_logs() as logs:
        measuring = asyncio.ensure_future(Ingress(settings)._measure())
        await eventually(lambda: logs, what="it is said")
    assert logs == [{"event": "journal.status_failed", "error": "TypeError", "log_level": "warning"}]
    assert not measuring.done()
    await end(measuring)


@pytest.mark.parametrize("budget_s", [8, 9.9])
def test_a_stop_in_which_everything_hangs_takes_less_than_10_s(settings, budget_s):
    """DingTalk's first retry comes after 10 s."""
    settings = settings.model_copy(update={"shutdown_timeout_s": budget_s})
    hangs = SimpleNamespace(stop=asyncio.sleep)

    async def forever():
        await asyncio.Event().wait()

    with jumping() as loop:

        def join(within_s):
            loop.now += within_s

        ingress = Ingress(settings)
        # aiohttp waits so long for its handlers
        public = ingress._public
        public._runner = SimpleNamespace(cleanup=lambda: asyncio.sleep(public._stop_within_s))
        ingress._streams.each = ingress._recovery.each = {"default": hangs}
        ingress._relay._publisher = SimpleNamespace(stop=lambda: None)
        ingress._journal._thread = SimpleNamespace(join=join)
        ingress._admin._runner = SimpleNamespace(cleanup=forever)
        loop.run_until_complete(ingress._stop())
        assert loop.now < 10
