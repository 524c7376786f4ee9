"""What a broker loads is kept for one build of Java, and brokers start without it."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dev.servers import __main__ as servers
from dingbridge.simulator.kafka.jars import classes_file


def java_of(folder: Path) -> Callable[[str], str]:
    def java(build: str) -> str:
        script = folder / "java"
        script.write_text(f"#!/bin/sh\necho 'openjdk version \"{build}\"' >&2\n")
        script.chmod(0o755)
        return str(script)

    return java


def test_another_build_at_the_same_place_has_a_file_of_its_own(tmp_path: Path) -> None:
    java = java_of(tmp_path)
    first, again, updated = (classes_file(tmp_path / "4", java(build)) for build in ("17.1", "17.1", "17.2"))
    assert first == again != updated
    assert first.name.startswith("4-")


@pytest.mark.parametrize("written", [True, False])
def test_a_java_that_keeps_no_classes_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    @contextmanager
    def broker(_: Path, *, classes_to: Path, **more: Any) -> Iterator[SimpleNamespace]:
        if written:
            classes_to.write_bytes(b"classes")
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            yield SimpleNamespace(pids=[process.pid])

    path = java_of(tmp_path)("17.1")
    monkeypatch.setattr(servers, "JarsKafka", broker)
    monkeypatch.setattr(servers, "java", lambda: path)
    servers._share_classes(tmp_path / "4")
    assert classes_file(tmp_path / "4", path).exists() is written
