"""A life is lived, and if something is wrong in the end, a shorter one that goes wrong as well is printed."""

import itertools
from collections.abc import Callable
from pathlib import Path

from tests.lives.life import Plan, lived, shrunk

_LOG_LINES = 60

Lived = Callable[[Plan, Path, list[str] | None], list[str]]


def must_hold(kind: str, seed: int, folder: Path, *, long_outage: bool = False) -> None:
    """Fails with the life, its end and its last log lines. ``long_outage``: DingTalk is away for a day."""
    plan_must_hold(Plan.of(kind, seed, long_outage=long_outage), lived, folder)


def plan_must_hold(plan: Plan, lived: Lived, folder: Path) -> None:
    """The same of a plan, lived by ``lived``."""
    number = itertools.count()

    def wrong(plan: Plan, log: list[str] | None = None) -> list[str]:
        return lived(plan, folder / str(next(number)), log)

    if not wrong(plan):
        return
    shorter = shrunk(plan, lambda one: bool(wrong(one)))
    log: list[str] = []
    problems = wrong(shorter, log)
    own = {"bridge": "test_bridge.py", "cruel": "test_cruel.py"}
    file = own.get(plan.kind, f"test_all.py -k {plan.kind}-")
    again = f"LIVES={plan.seed} pytest tests/lives/{file}"
    raise AssertionError("\n".join([str(shorter), "", *problems, "", *log[-_LOG_LINES:], "", again]))
