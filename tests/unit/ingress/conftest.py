"""What the tests of the ingress's processes share: children that are small programs of the test's own."""

import asyncio
import sys

import pytest

from ingress.relay import supervised_process as respawn


@pytest.fixture
def child(monkeypatch):
    """``child(*sources)``: what is started runs these, one after the other and the last again and again; an
    error among them is raised instead."""
    real = asyncio.create_subprocess_exec
    monkeypatch.setattr(respawn, "RESTART_S", (0.01, 0.05))

    def runs(*sources):
        left = list(sources)

        async def start(*arguments, **how):
            source = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(source, OSError):
                raise source
            return await real(sys.executable, "-c", source, **how)

        monkeypatch.setattr(asyncio, "create_subprocess_exec", start)

    return runs
