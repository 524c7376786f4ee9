"""Changes a process of ours from outside, by a ``sitecustomize`` that Python imports at its start: kills it
at an exact point, or sets its clock. No hook for any of it is in the product.
"""

from pathlib import Path
from typing import Literal

_SCRIPT = """
import asyncio, importlib, os, signal
from pathlib import Path

owner = getattr(importlib.import_module({module!r}), {owner!r})
method, calls, marker = getattr(owner, {method!r}), [0], Path({marker!r})


def die():
    calls[0] += 1
    if calls[0] < {call} or marker.exists():
        return
    marker.write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


async def hangs(*args, **kwargs):
    calls[0] += 1
    if calls[0] >= {call} and not marker.exists():
        marker.write_text(str(os.getpid()))
        await asyncio.Event().wait()
    return await method(*args, **kwargs)


def before(*args, **kwargs):
    die()
    return method(*args, **kwargs)


def after(*args, **kwargs):
    outcome = method(*args, **kwargs)
    die()
    return outcome


setattr(owner, {method!r}, {when})
"""


_CLOCK = """
import time

now, now_ns = time.time, time.time_ns
time.time = lambda: now() + {shift_s}
time.time_ns = lambda: now_ns() + {shift_s} * 10**9
"""


class Sabotage:
    """SIGKILL ``when`` (before or after) the ``call``-th call of ``place`` (``module:Class.method``) in one
    process, once: a file remembers. ``hangs``: that call, a coroutine, never returns, and nobody is killed.

    ``env`` makes a process and its children subject to it; ``done`` says whether it has happened.
    """

    def __init__(
        self, folder: Path, place: str, when: Literal["before", "after", "hangs"], call: int
    ) -> None:
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


def clock(folder: Path, shift_s: int) -> dict[str, str]:
    """The environment of a process whose clock is ``shift_s`` ahead; its monotonic clock is not."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_CLOCK.format(shift_s=shift_s))
    return {"PYTHONPATH": str(folder)}
