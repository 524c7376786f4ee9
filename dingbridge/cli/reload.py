"""Runs a command as a process of its own, and again whenever the code beneath it changes: for authors."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dingbridge.cli.consumer_file import is_file, module_of
from dingbridge.cli.terminal import say
from dingbridge.worker.registry import check_installed

LOOK_EVERY_S: Final = 0.3
END_WITHIN_S: Final = 30
"""How long the process may take to end before it is killed, in s: more than ``SHUTDOWN_TIMEOUT_S``."""
_NO_CODE: Final = frozenset({"__pycache__", "node_modules", "site-packages"})


def code_of(consumer: str) -> Path:
    """The folder of a consumer's code, or its file: of an installed one its package, of
    ``path/to/file.py:Class`` the package or folder that it stands in. Raises ``UnknownConsumer``."""
    if is_file(consumer):
        module, folder = module_of(consumer)
        return folder / module.split(".")[0] if "." in module else folder
    module = check_installed(consumer).module.split(".")[0]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return Path.cwd()
    return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)


def run_and_reload(command: Sequence[str], code: Path) -> int:
    """Run ``command`` until SIGTERM or Ctrl-C, which it is handed on; returns its exit code then. One that
    ends by itself is started again after the next change."""
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: asked.append(number))
    while True:
        started_with = _versions(code)
        child = subprocess.Popen(command)
        ended = False
        while not asked and (now := _versions(code)) == started_with:
            if not ended and child.poll() is not None:
                ended = True
                say(f"It ended with exit code {child.returncode}, and starts again when its code changes.")
            time.sleep(LOOK_EVERY_S)
        if asked:
            return _end(child)
        changed = sorted({file for file, _ in now ^ started_with})
        say(f"{changed[0]} has changed: starting again.")
        _end(child)


def _versions(code: Path) -> frozenset[tuple[str, int]]:
    """Every file of Python code with when it was written."""
    if code.is_file():
        return frozenset({(str(code), code.stat().st_mtime_ns)})
    found = set()
    for folder, below, files in os.walk(code):
        below[:] = [name for name in below if name not in _NO_CODE and not name.startswith(".")]
        for name in files:
            path = Path(folder, name)
            if path.suffix == ".py" and path.exists():  # else an editor has just taken it away
                found.add((str(path), path.stat().st_mtime_ns))
    return frozenset(found)


def _end(child: "subprocess.Popen[bytes]") -> int:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            print(f"It does not end within {END_WITHIN_S} s, and is killed.", file=sys.stderr)
            child.kill()
    code = child.wait()
    return code if code >= 0 else 128 - code  # by a signal, as a shell has it
