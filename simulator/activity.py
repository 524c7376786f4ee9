"""How the company lives by itself: at a rate of events, by a script, or not at all.

It begins with the first registered callback: before it nobody would receive an event, and a script's times
count from there. A script is a TOML or JSON file::

    [[steps]]
    at = 0.5              # seconds after the start
    action = "hire"       # an action of simulator.company.platform.ARGUMENTS, with its arguments beside it
    count = 3

    [[steps]]
    at = 10
    rate = 20             # events per second from here on

    [[steps]]
    at = 30
    action = "approve"
    repeat = 5            # times, one every ``every`` seconds
    every = 0.2
"""

import asyncio
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog

from dingbridge.errors import SettingsError
from dingbridge.simulator.company.platform import ARGUMENTS
from dingbridge.simulator.errors import ActionError

log = structlog.get_logger(__name__)

MOST_QUEUED: Final = 10_000
"""Pushes not yet begun, above which the rate holds back: a slow receiver must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing of a script: an action with arguments, or (``action`` ``None``) a new rate. ``at_s`` is
    seconds after the start."""

    at_s: float
    action: str | None
    arguments: dict[str, Any]
    rate: float | None = None


def load_script(path: Path) -> list[Step]:
    """The steps of a script in the order of time. Raises ``SettingsError`` listing every mistake."""
    try:
        text = path.read_text(encoding="utf-8")
        script = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise SettingsError([f"the script {path} cannot be read ({error.strerror})"]) from error
    except ValueError as error:
        raise SettingsError([f"the script {path} is neither TOML nor (as *.json) JSON: {error}"]) from error
    entries = script.get("steps") if isinstance(script, dict) else script
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SettingsError([f"the script {path} needs a list of tables named steps"])
    steps: list[Step] = []
    problems: list[str] = []
    for number, entry in enumerate(entries, 1):
        try:
            steps += _parse_step(dict(entry))
        except (ValueError, TypeError) as error:
            problems.append(f"script {path.name}, step {number}: {error}")
    if problems:
        raise SettingsError(problems)
    return sorted(steps, key=lambda step: step.at_s)


def _parse_step(entry: dict[str, Any]) -> list[Step]:
    at, rate, action = _seconds(entry, "at", None), entry.pop("rate", None), entry.pop("action", None)
    if rate is not None:
        if action is not None or entry:
            raise ValueError("a step has either rate or action")
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 100_000:
            raise ValueError("rate must be a number of events per second, 0 to 100000")
        return [Step(at, None, {}, float(rate))]
    if action not in ARGUMENTS:
        raise ValueError(f"action must be one of {', '.join(ARGUMENTS)}")
    repeat, every = entry.pop("repeat", 1), _seconds(entry, "every", 1.0)
    if not isinstance(repeat, int) or repeat < 1:
        raise ValueError("repeat must be a whole number from 1")
    if unknown := [name for name in entry if name not in ARGUMENTS[action]]:
        raise ValueError(f"{action} takes no {', '.join(unknown)}; it takes {', '.join(ARGUMENTS[action])}")
    return [Step(at + i * every, action, entry) for i in range(repeat)]


def _seconds(entry: dict[str, Any], name: str, default: float | None) -> float:
    value = entry.pop(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ValueError(f"{name} must be a number of seconds, as {name} = 1.5")
    return float(value)


class Activity:
    """Runs a script and a rate. ``act`` and ``act_at_random`` return how many events they made."""

    def __init__(
        self,
        act: Callable[[str, dict[str, Any]], int],
        act_at_random: Callable[[], int],
        queued: Callable[[], int],
        *,
        rate: float = 0.0,
        script: list[Step] | None = None,
    ) -> None:
        self._act = act
        self._act_at_random = act_at_random
        self._queued = queued
        self.rate = rate
        self._script = script or []
        self._begun = asyncio.Event()
        self._rate_changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run_rate()), asyncio.create_task(self._run_script())]

    def begin(self) -> None:
        """Somebody is registered: from now on, time runs."""
        self._begun.set()

    def set_rate(self, per_second: float) -> None:
        """Events per second, 0 for none; at once."""
        self.rate = per_second
        self._rate_changed.set()

    def halt(self) -> None:
        """No more activity: rate 0, and the rest of the script is dropped."""
        self.set_rate(0)
        for task in self._tasks[1:]:
            task.cancel()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run_rate(self) -> None:
        await self._begun.wait()
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            if self.rate <= 0:
                self._rate_changed.clear()
                await self._rate_changed.wait()
                due = loop.time()
                continue
            now = loop.time()
            due = max(due, now - 1)  # what could not be done in time is not made up for later
            if self._queued() > MOST_QUEUED:
                due = now + 0.1
            elif due <= now:
                due += max(1, self._act_at_random()) / self.rate
            self._rate_changed.clear()
            try:
                # at a high rate this yields to the pushes without waiting
                async with asyncio.timeout(max(0.0, due - loop.time())):
                    await self._rate_changed.wait()
                due = loop.time()
            except TimeoutError:
                pass

    async def _run_script(self) -> None:
        await self._begun.wait()
        loop = asyncio.get_running_loop()
        began = loop.time()
        for step in self._script:
            await asyncio.sleep(max(0.0, began + step.at_s - loop.time()))
            if step.action is None:
                self.set_rate(step.rate or 0.0)
                continue
            try:
                self._act(step.action, step.arguments)
            except ActionError as error:
                log.warning("simulator.step_failed", action=step.action, reason=str(error))
        if self._script:
            log.info("simulator.script_ended", steps=len(self._script))
