"""Kills a process of ours at an exact point, from outside: no hook for it stands in the product.

Python imports ``sitecustomize`` at its start; the one written here wraps one method of one class, and sends
the process SIGKILL when that method is called (or has returned) for the n-th time, once: a file remembers.
"""

from pathlib import Path
from typing import Literal

_SCRIPT = """
import importlib, os, signal
from pathlib import Path

owner = getattr(importlib.import_module({module!r}), {owner!r})
method, calls, marker = getattr(owner, {method!r}), [0], Path({marker!r})


def die():
    calls[0] += 1
    if calls[0] < {call} or marker.exists():
        return
    marker.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


def before(*args, **kwargs):
    die()
    return method(*args, **kwargs)


def after(*args, **kwargs):
    outcome = method(*args, **kwargs)
    die()
    return outcome


setattr(owner, {method!r}, {when})
"""


class Sabotage:
    """Dies ``when`` (before or after) the ``call``-th call of ``place``: ``module:Class.method``.

    ``env`` makes a process and its children subject to it; ``done`` says whether it has happened.
    """

    def __init__(self, folder: Path, place: str, when: Literal["before", "after"], call: int) -> None:
        module, _, name = place.partition(":")
        owner, _, method = name.partition(".")
        folder.mkdir()
        self._marker = folder / "done"
        self.env = {"PYTHONPATH": str(folder)}
        script = _SCRIPT.format(
            module=module, owner=owner, method=method, when=when, call=call, marker=str(self._marker)
        )
        (folder / "sitecustomize.py").write_text(script)

    @property
    def done(self) -> bool:
        return self._marker.exists()
