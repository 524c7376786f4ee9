"""What each console of a test would make anew, and what costs most of its time, is made once."""

from functools import cache

import pytest

from dingbridge.console.render import Render
from dingbridge.doctor.findings import read_words
from dingbridge.worker.registry import installed_consumers, known_consumers
from tests.unit.console.support import use_quick_hasher

RENDER, WORDS = cache(Render), cache(read_words)
INSTALLED, KNOWN = cache(installed_consumers), cache(known_consumers)


@pytest.fixture(autouse=True)
def _made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    use_quick_hasher(monkeypatch)
    monkeypatch.setattr("dingbridge.console.app.Render", RENDER)
    monkeypatch.setattr("dingbridge.console.app.installed_consumers", INSTALLED)
    monkeypatch.setattr("dingbridge.console.watch.known_consumers", KNOWN)
    monkeypatch.setattr("dingbridge.console.sources.doctor.read_words", WORDS)
