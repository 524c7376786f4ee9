"""What commands share that send many records: the question before, the bar on the way, times as arguments."""

import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import typer

_AGO_RE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

LINE_EVERY = 10
"""Percent between two lines of progress in a pipe."""


def say(text: str) -> None:
    """A line to standard error: standard output is for the answer."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: dict[str, Any]) -> None:
    """One JSON object in one line to standard output."""
    import orjson

    print(orjson.dumps(value).decode())


def open_here(request: Any, timeout: float) -> Any:
    """``urlopen`` of one of our own processes: a proxy of the environment cannot reach this machine's own
    addresses, and is not asked."""
    from urllib.request import ProxyHandler, build_opener

    return build_opener(ProxyHandler({})).open(request, timeout=timeout)


def refusal_of(answer: Any) -> str | None:
    """Why one of our own processes refuses, in its words; ``None`` if it was none that answered."""
    import json

    try:
        return str(json.load(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return None


def confirmed(question: str, yes: bool) -> bool:
    """Ask on a terminal, unless ``yes``; nobody is asked in a pipe."""
    return yes or not sys.stdin.isatty() or ask(question)


def ask(question: str) -> bool:
    """Ask on a terminal. Ctrl-C there ends the command, also while an event loop runs: that would only note
    the first one, for when the question is answered."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """``sent(n)`` moves it on; ``write`` takes a line of text for each tenth."""

    def __init__(self, total: int, write: Callable[[str], None] = say) -> None:
        self.total, self.done = total, 0
        self._write, self._said = write, 0

    def sent(self, count: int) -> None:
        self.done += count
        # a blocked key's letters may be joined by more on the way
        self.total = max(self.total, self.done)
        percent = self.done * 100 // self.total if self.total else 100
        if percent // LINE_EVERY > self._said // LINE_EVERY:
            self._said = percent
            self._write(f"sent {self.done:,} of {self.total:,} ({percent} %)")


@contextmanager
def progress(total: int) -> Iterator[Progress]:
    """A bar on a terminal, on standard error; in a pipe a line for each tenth."""
    if not sys.stderr.isatty():
        yield Progress(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)

        class Drawn(Progress):
            def sent(self, count: int) -> None:
                self.done += count
                self.total = max(self.total, self.done)
                bar.update(task, completed=self.done, total=self.total)

        yield Drawn(total)


def moment(text: str, option: str, now: datetime | None = None) -> datetime:
    """A point in time as the argument of ``option``: ISO 8601 with a zone; or ``90m``, ``2h``, ``3d`` before
    ``now``. Raises ``typer.BadParameter``."""
    ago = _AGO_RE.fullmatch(text)
    if ago:
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is not None:
            return parsed.astimezone(UTC)
        fault = f"{text!r} has no time zone"  # the operator's is not the one of the machine, or of DingTalk
    except (ValueError, OverflowError):
        fault = f"{text!r} is no time"
    raise typer.BadParameter(
        f"{fault}; as 2026-11-25T08:00:00+08:00, 2026-11-25T00:00Z, or 90m, 2h, 3d ago", param_hint=option
    )


def listed(values: list[str] | None) -> tuple[str, ...]:
    """An option that may be repeated and may hold commas, as one tuple without repeats."""
    parts = (part.strip() for value in values or () for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))
