"""The ingress does not outlive a task that it needs: it closes what it has open, and ends in words."""

import asyncio

import pytest

from dingbridge.ingress.app import Ingress
from dingbridge.ingress.journal.directory import ingress_lock
from dingbridge.settings import SAMPLE_CREDENTIALS, IngressSettings
from dingbridge.tasks import TaskEnded

CREDENTIALS = SAMPLE_CREDENTIALS | {"DINGTALK_API_BASE": "http://127.0.0.1:1"}


@pytest.fixture
def settings(tmp_path, monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return IngressSettings.load(
        data_dir=tmp_path, journal_allow_unsafe=True, ingress_port=0, admin_port=0, ingress_relay="none"
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
        "dingbridge.ingress.journal.importing.Importer.run",
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
    lock = ingress_lock(settings.journal_path)
    lock.acquire()  # the folder is free: what starts the process again begins from what is in it
    lock.release()
