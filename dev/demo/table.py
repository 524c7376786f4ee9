"""Showing the demo: a table that moves on a terminal, plain lines in a pipe. Collects and decides nothing."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dev.demo.poller import Figures

LINE_EVERY_S: Final = 2.0
_TOPICS_EVERY: Final = 3
_PIPE_WIDTH: Final = 160


class Screen:
    """Where the demo is shown. ``line`` stays, ``figures`` is replaced by the next on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = _PIPE_WIDTH
        self._live: Live | None = None
        self._last_line = 0.0
        self._lines = 0

    def line(self, text: str = "", style: str | None = None) -> None:
        """One or more lines of text, as they are."""
        self._console.print(Text(text, style=style or ""), soft_wrap=True)

    def heading(self, text: str) -> None:
        self.line()
        self.line(text, "bold")

    def rows(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table that stays."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            # not as a plain str, in which rich would read a value's [brackets] as its own markup
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        self._console.print(table)

    @contextmanager
    def moving(self) -> Iterator[None]:
        """While figures are shown."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=8) as self._live:
            yield
        self._live = None

    def figures(self, figures: Figures, *, always: bool = False) -> None:
        """The latest figures; in a pipe at most one line in ``LINE_EVERY_S``, unless ``always``."""
        if self._live is not None:
            self._live.update(live_table(figures))
            return
        if not always and time.monotonic() - self._last_line < LINE_EVERY_S:
            return
        self._last_line = time.monotonic()
        self.line(plain_line(figures))
        if always or self._lines % _TOPICS_EVERY == _TOPICS_EVERY - 1:
            self.line("        " + topics_line(figures))
        self._lines += 1


def plain_line(f: Figures) -> str:
    """All figures but the topics' on one line."""
    rows = f.rows
    ingress = "" if f.ingress_up else " (the ingress is down)"
    return (
        f"{f.elapsed_s:5.0f} s  pushed {f.pushed}, answered {f.answered}, failed attempts {f.failed_attempts}"
        f"{ingress}, p50/p99 {milliseconds(f.p50_ms)}/{milliseconds(f.p99_ms)} ms | "
        f"Kafka {f.records} records | OA {rows.employees} employees, {rows.leavers} left, "
        f"{rows.departments} departments, {rows.memberships} memberships | "
        f"{rows.approvals} approvals archived, {rows.leave_ledger} leaves | "
        f"on the way {f.missing - f.lost}, lost {f.lost}"
    )


def topics_line(f: Figures) -> str:
    """Records of each topic that has any."""
    return "topics       " + (", ".join(f"{t} {n}" for t, n in sorted(f.topics.items()) if n) or "none yet")


def live_table(f: Figures) -> Table:
    """All figures, side by side."""
    whole = Table.grid(padding=(0, 3))
    whole.add_row(_left(f), _right(f))
    return whole


def _left(f: Figures) -> Table:
    rows = f.rows
    table = _block(f"{f.elapsed_s:.0f} s")
    down = None if f.ingress_up else "bold red"
    _pair(table, "DingTalk's side", "" if f.ingress_up else "ingress down", down or "bold")
    _pair(table, "  pushed", f.pushed)
    _pair(table, "  answered success", f.answered, "green")
    _pair(table, "  failed attempts", f.failed_attempts, "yellow" if f.failed_attempts else None)
    _pair(table, "  to be retried, under way", f.pending)
    _pair(table, "  answer p50 / p99, ms", f"{milliseconds(f.p50_ms)} / {milliseconds(f.p99_ms)}")
    _pair(table, "OA database", "", "bold")
    _pair(table, "  employees / who left", f"{rows.employees} / {rows.leavers}")
    _pair(table, "  departments", rows.departments)
    _pair(table, "  memberships", rows.memberships)
    _pair(table, "  approvals archived", rows.approvals)
    _pair(table, "  leave ledger", rows.leave_ledger)
    return table


def _right(f: Figures) -> Table:
    table = _block("records")
    _pair(table, "Kafka topics", "", "bold")
    for topic, count in sorted(f.topics.items()):
        _pair(table, f"  {topic}", count, None if count else "dim")
    _pair(table, "answered, on the way", f.missing - f.lost)
    _pair(table, "answered, lost", f.lost, "bold red" if f.lost else "bold green")
    return table


def _block(heading: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column(heading, justify="right")
    return table


def _pair(table: Table, name: str, value: object, style: str | None = None) -> None:
    table.add_row(name, str(value), style=style)


def milliseconds(value: float | None) -> str:
    """A duration in ms with about two digits; ``-`` for none."""
    return "-" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"
