"""What has happened in a company, as a file: from it, the same company lives the same life again.

A life is fixed by the seed, and by what was asked for when, in the order of asking. So that is all that is
kept: actions with their arguments, and those that came by themselves (``action`` ``null``). Faults, scope and
deliveries are the surroundings, and are not recorded.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dingbridge.errors import SettingsError

VERSION: Final = 1
MOST_STEPS: Final = 500_000
"""Steps kept; a longer life cannot be lived again whole, and its recording says so."""
_HEADER: Final = {
    "version": int,
    "seed": int,
    "users": int,
    "departments": int,
    "corp_id": str,
    "generation": str,
    "duplicates": int | float,
    "reorder": int | float,
    "began_ms": int,
    "before": int,
}


@dataclass(frozen=True, slots=True)
class RecordedStep:
    """``at_ms`` is the company's clock (epoch ms); no ``action`` means what came by itself."""

    at_ms: int
    action: str | None
    arguments: dict[str, Any]


@dataclass(slots=True)
class Recording:
    """A company's beginning and what has happened since. ``before`` is how many steps came before somebody
    was registered, ``None`` while nobody is."""

    seed: int
    users: int
    departments: int
    corp_id: str
    generation: Any
    duplicates: float
    reorder: float
    began_ms: int
    before: int | None = None
    complete: bool = True
    steps: list[RecordedStep] = field(default_factory=list)

    def add(self, step: RecordedStep) -> None:
        if len(self.steps) >= MOST_STEPS:
            self.complete = False
            return
        self.steps.append(step)

    def registered(self) -> None:
        if self.before is None:
            self.before = len(self.steps)

    def as_json(self) -> dict[str, Any]:
        head = {name: getattr(self, name) for name in _HEADER if name not in ("version", "before")}
        return {
            "version": VERSION,
            **head,
            "before": len(self.steps) if self.before is None else self.before,
            "complete": self.complete,
            "steps": [[step.at_ms, step.action, step.arguments] for step in self.steps],
        }


def load_recording(path: Path) -> Recording:
    """Raises ``SettingsError``, also for one that is not complete."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"the recording {path} cannot be read ({error.strerror})"]) from error
    except ValueError as error:
        raise SettingsError([f"the recording {path} is no JSON: {error}"]) from error
    whole = (
        isinstance(raw, dict)
        and all(isinstance(raw.get(name), kind) for name, kind in _HEADER.items())
        and raw["generation"] in ("old", "new", "mixed")
        and isinstance(raw.get("steps"), list)
        and all(_is_step(step) for step in raw["steps"])
    )
    if not whole or raw["version"] != VERSION:
        raise SettingsError(
            [f"{path} is no recording of version {VERSION}; get one from GET /_sim/recording of a simulator"]
        )
    if not raw.get("complete"):
        raise SettingsError(
            [f"the recording {path} is not complete: its life had more than {MOST_STEPS} steps; record less"]
        )
    head = {name: raw[name] for name in _HEADER if name != "version"}
    return Recording(**head, steps=[RecordedStep(*step) for step in raw["steps"]])


def _is_step(step: Any) -> bool:
    if not isinstance(step, list) or len(step) != 3:
        return False
    at_ms, action, arguments = step
    return isinstance(at_ms, int) and isinstance(action, str | None) and isinstance(arguments, dict)


class Replay:
    """Lets the steps of a recording happen again, with their own clock. ``speed`` 1 is as fast as it was, 0
    without any waiting."""

    def __init__(self, recording: Recording, now_ms: Callable[[], int], *, speed: float = 1.0) -> None:
        self.recording = recording
        self._speed = speed
        self._now_ms = now_ms
        self._at_ms: int | None = recording.began_ms
        self.done = 0

    def clock(self) -> int:
        """The company's: that of the step, and the real one when all are over."""
        return self._now_ms() if self._at_ms is None else self._at_ms

    def _next(self, step: Callable[[RecordedStep], None]) -> None:
        current = self.recording.steps[self.done]
        self._at_ms = current.at_ms
        self.done += 1
        step(current)
        if self.done == len(self.recording.steps):
            self._at_ms = None

    def prologue(self, step: Callable[[RecordedStep], None]) -> None:
        """At once what had happened before anybody was registered."""
        while self.done < (self.recording.before or 0):
            self._next(step)
        if not self.recording.steps:
            self._at_ms = None

    async def run(self, step: Callable[[RecordedStep], None]) -> None:
        """The rest, each at its time; call it when somebody is registered."""
        steps = self.recording.steps
        loop = asyncio.get_running_loop()
        began, first_ms = loop.time(), steps[self.done].at_ms if self.done < len(steps) else 0
        while self.done < len(steps):
            due = began + (steps[self.done].at_ms - first_ms) / 1000 / self._speed if self._speed else began
            # at speed 0 this yields to the pushes without waiting
            await asyncio.sleep(max(0.0, due - loop.time()))
            self._next(step)
