"""What the relay's unit tests share: a Kafka that is none, a folder to publish, and children that are small
programs of the test's own."""

import asyncio
import sys

import pytest

from dingbridge.ingress.relay import child as children
from tests.unit.ingress.relay.fakes import FakeKafka, Folder


@pytest.fixture
def child(monkeypatch):
    """``child(*sources)``: what is started runs these, one after the other and the last again and again; an
    error among them is raised instead. ``child.pids``: what has been started."""
    real = asyncio.create_subprocess_exec
    monkeypatch.setattr(children, "RESTART_S", (0.01, 0.05))

    def runs(*sources):
        left = list(sources)

        async def start(*arguments, **how):
            source = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(source, OSError):
                raise source
            process = await real(sys.executable, "-c", source, **how)
            runs.pids.append(process.pid)
            return process

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start)

    runs.pids = []
    return runs


@pytest.fixture
def kafka(monkeypatch):
    fake = FakeKafka()
    fake.install(monkeypatch)
    return fake


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "current")
    yield made
    made.close()
