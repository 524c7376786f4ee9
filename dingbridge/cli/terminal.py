"""What all commands share: common options, tables and JSON, questions, the bar on the way, times."""

import json
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from dingbridge.errors import BridgeError

_LENGTH_RE = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

_ANSWER_WITHIN_S = 600.0
"""For a request that imports a journal, or reads all lists of failed pushes."""

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines; of a list one object a line.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and change nothing.")]
Reveal = Annotated[bool, typer.Option("--reveal", help="Show private values, too.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

ROWS_OF_A_TABLE = 1_000
"""A longer list is drawn on a terminal as several tables, so that it need not be in memory."""

LINE_EVERY = 10
"""Percent between two lines of progress in a pipe."""


def say(text: str) -> None:
    """A line to standard error: standard output is for the answer."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object in one line to standard output."""
    import orjson

    print(orjson.dumps(value, default=str).decode())


def open_here(request: Any, timeout: float) -> Any:
    """``urlopen`` of one of our own processes: a proxy of the environment cannot reach this machine's own
    addresses, and is not asked."""
    from urllib.request import ProxyHandler, build_opener

    return build_opener(ProxyHandler({})).open(request, timeout=timeout)


def post_json(
    url: str, body: Mapping[str, Any], process: str, remedy: str, *, token: str = "", late: str = ""
) -> Any:
    """What one of our own processes answers to ``POST url``; ``token`` is that of a private listener.

    Raises ``BridgeError``: in the process's own words where it refuses, with the ``remedy`` where nothing
    answers, or something else, and with ``late`` where it takes too long.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import Request

    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    request = Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - our own
    try:
        with open_here(request, _ANSWER_WITHIN_S) as answer:
            return json.load(answer)
    except HTTPError as error:
        why: object = f"HTTP {error.code}"
        with suppress(ValueError, KeyError, TypeError):
            raise BridgeError(str(json.load(error)["error"])) from None
    except TimeoutError:
        raise BridgeError(
            f"the {process} at {url} has not answered for {_ANSWER_WITHIN_S:g} s; "
            + (late or "it may still do what it was asked for")
        ) from None
    except (HTTPException, OSError, ValueError) as error:
        why = getattr(error, "reason", None) or type(error).__name__
    raise BridgeError(f"no {process} answers at {url} ({why}); {remedy}")


def confirmed(question: str, yes: bool) -> bool:
    """Ask on a terminal, unless ``yes``. Raises ``typer.BadParameter``, exit code 2, where nobody can be
    asked: a script that changes or destroys something says ``--yes``."""
    if not yes and not sys.stdin.isatty():
        raise typer.BadParameter(
            f"nobody can be asked here: {question} Nothing was changed; --yes does it", param_hint="--yes"
        )
    return yes or ask(question)


def ask(question: str) -> bool:
    """Ask on a terminal. Ctrl-C there ends the command, also while an event loop runs: that would only note
    the first one, for when the question is answered."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return typer.confirm(question, err=True)
    finally:
        signal.signal(signal.SIGINT, before)


class Progress:
    """How far a long command has come; in a pipe a line for each tenth, through ``write``."""

    def __init__(self, total: int = 0, what: str = "sent", write: Callable[[str], None] = say) -> None:
        self.done, self.total, self.what, self.note = 0, total, what, ""
        self._write = write
        self._said = (what, 0)

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.update(self.done + count, max(self.total, self.done + count))

    def update(self, done: int, total: int, *, what: str | None = None, note: str = "") -> None:
        """What is done of ``total`` by now. ``what`` names another step from here on; ``note`` follows the
        figures."""
        self.done, self.total, self.what, self.note = done, total, what or self.what, note
        self._show()

    def _show(self) -> None:
        percent = min(100, self.done * 100 // self.total) if self.total else 100
        said = (self.what, percent // LINE_EVERY)
        if said != self._said:
            self._said = said
            note = f", {self.note}" if self.note else ""
            self._write(f"{self.what}: {self.done:,} of {self.total:,} ({percent} %){note}")


@contextmanager
def progress(total: int = 0, what: str = "sent") -> Iterator[Progress]:
    """A bar on a terminal, in a pipe lines; both on standard error."""
    if not sys.stderr.isatty():
        yield Progress(total, what)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total or None, note="")

        class Drawn(Progress):
            def _show(self) -> None:
                bar.update(task, description=self.what, completed=self.done, total=self.total, note=self.note)

        yield Drawn(total, what)


@contextmanager
def listing(
    columns: Sequence[str], *, as_json: bool, title: str = ""
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that prints one entry of a list: with ``as_json`` as one JSON object a line; else its
    ``columns``, on a terminal in a drawn table, in a pipe as fields between tabs under a line of the columns'
    names (and a ``# title``). Outside a terminal each is printed as it comes, on one ``ROWS_OF_A_TABLE`` of
    them together."""
    if as_json:
        yield print_json
        return
    if not sys.stdout.isatty():
        if title:
            print(f"# {title}")
        print(*columns, sep="\t")
        yield lambda entry: print(*(_cell(entry[name]) for name in columns), sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows: list[list[Text]] = []

    def draw() -> None:
        table = Table(title=title or None, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        rows.clear()

    def add(entry: Mapping[str, Any]) -> None:
        if len(rows) == ROWS_OF_A_TABLE:
            draw()
        # not as a plain str, in which rich would read a value's [brackets] as its own markup
        rows.append([Text(_cell(entry[name])) for name in columns])

    yield add
    draw()


def print_list(
    columns: Sequence[str], entries: Iterable[Mapping[str, Any]], *, as_json: bool, title: str = ""
) -> None:
    """All ``entries``, by ``listing``."""
    with listing(columns, as_json=as_json, title=title) as add:
        for entry in entries:
            add(entry)


def _cell(value: object) -> str:
    """One line of text, in which nothing can command a terminal."""
    text = "-" if value is None else str(value)
    return "".join(c if c.isprintable() else " " for c in text)


def length(text: str) -> timedelta | None:
    """``90s``, ``90m``, ``2h`` or ``3d``; None for any other text."""
    found = _LENGTH_RE.fullmatch(text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


def moment(text: str, option: str, now: datetime | None = None) -> datetime:
    """A point in time as the argument of ``option``: ISO 8601 with a zone; or ``90m``, ``2h``, ``3d`` before
    ``now``. Raises ``typer.BadParameter``."""
    if (ago := length(text)) is not None:
        return (now or datetime.now(UTC)) - ago
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
