"""Showing the demo: on a terminal a progress bar and a table that moves, in a pipe plain lines. Collects and
decides nothing."""

import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dev.demo.poller import Figures

LINE_EVERY_S: Final = 10.0
WIDTH: Final = 120
"""Characters of a line in a pipe, and at most on a terminal."""
Row: TypeAlias = tuple[str, object, str]
"""A figure of the summary: its name, the figure, and an explanation in words."""


class Screen:
    """Where the demo is shown. ``line`` stays, ``figures`` is replaced by the next on a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = WIDTH
        self._live: Live | None = None
        self._lives_s = 0.0
        self._next_line = 0.0

    def line(self, text: str = "", style: str | None = None) -> None:
        """One or more lines of text, as they are."""
        self._console.print(Text(text, style=style or ""), soft_wrap=True)

    def text(self, text: str, style: str | None = None) -> None:
        """Sentences, broken into lines."""
        self.line("\n".join(textwrap.wrap(text, min(WIDTH, self._console.width))), style)

    def folded(self, text: str) -> None:
        """A value, broken into lines wherever one is full; all but the first are indented."""
        width = min(WIDTH, self._console.width) - 4
        self.line("\n  ".join(text[at : at + width] for at in range(0, len(text), width)))

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
        self._table(table)

    def summary(self, rows: Sequence[Row], bad: Sequence[str] = ()) -> None:
        """The table of the end; the names in ``bad`` are red."""
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, style="bold")
        table.add_column(no_wrap=True, justify="right")
        table.add_column()
        for name, figure, words in rows:
            table.add_row(name, Text(str(figure), "bold red" if name in bad else "bold green"), Text(words))
        self._table(table)

    def _table(self, table: Table) -> None:
        with self._console.capture() as captured:
            self._console.print(table, width=min(WIDTH, self._console.width))
        for line in captured.get().splitlines():  # rich fills each line with blanks up to the table's width
            self._console.print(Text.from_ansi(line.rstrip()), soft_wrap=True)

    @contextmanager
    def waiting(self, words: str) -> Iterator[None]:
        """On a terminal a line that moves while something is under way."""
        with self._console.status(words):
            yield

    @contextmanager
    def moving(self, lives_s: float) -> Iterator[None]:
        """While figures are shown; the company lives for ``lives_s``, and then all comes to rest."""
        if not self._console.is_terminal:
            yield
            return
        self._lives_s = lives_s
        with Live(console=self._console, refresh_per_second=8, transient=True) as self._live:
            yield
        self._live = None

    def figures(self, figures: Figures) -> None:
        """The latest figures; in a pipe at most one line in ``LINE_EVERY_S``."""
        if self._live is not None:
            self._live.update(Group(_progress(figures, self._lives_s), live_table(figures)))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self.line(plain_line(figures))


def plain_line(f: Figures) -> str:
    """The most important figures, on one line."""
    down = "" if f.ingress_up else " (the ingress is down)"
    return (
        f"{f.elapsed_s:5.0f} s  {f.pushed} pushed, {f.answered} answered{down}; {f.records} records; "
        f"{f.rows.employees} employees, {f.rows.approvals} approvals; lost {f.lost}"
    )


def _progress(f: Figures, lives_s: float) -> Table:
    rests = f.elapsed_s >= lives_s
    words = "what is under way comes to its end" if rests else f"the company lives for {lives_s:g} s"
    line = Table.grid(padding=(0, 2))
    line.add_row(
        ProgressBar(total=lives_s, completed=min(f.elapsed_s, lives_s), width=40), Text(words, "dim")
    )
    return line


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
        if count:
            _pair(table, f"  {topic}", count)
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
