"""The dead letters that an address or a form names, and the command for them.

The filter is made by the command's own function, so the page lists, counts and sends the same letters.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self
from urllib.parse import urlencode

import typer
from aiohttp import web
from multidict import MultiMapping

from dingbridge.cli.dlq.selection import dead_letter_filter
from dingbridge.console.commands import Command
from dingbridge.kafka.topic_policy import CONSUMER_RE
from dingbridge.replay.dead_letters import DeadLetterFilter

MOST_LETTERS: Final = 200
"""Letters that may be named one by one: more of them are a filter, and not an argument list of any length."""

Act = Literal["replay", "skip"]
_OPTIONS: Final = {"events": "--events", "key": "--key", "error_is": "--error-is"}
_TIMES: Final = {"since": "--since", "until": "--until"}


@dataclass(frozen=True, slots=True)
class Selection:
    """Dead letters of ``consumer``: those in ``letters`` (``partition/offset``), all if there are none, that
    every filter which is not empty admits; at most ``limit`` of them (0: all)."""

    consumer: str
    letters: tuple[str, ...] = ()
    events: str = ""
    key: str = ""
    error_is: str = ""
    since: str = ""
    until: str = ""
    limit: int = 0

    @classmethod
    def of(cls, form: MultiMapping[Any]) -> Self:
        """From an address's query, or a form. Raises 400."""
        consumer = str(form.get("consumer", ""))
        if not CONSUMER_RE.fullmatch(consumer):
            raise web.HTTPBadRequest(text="this names no consumer; choose one of the list")
        texts = {name: str(form.get(name, "")).strip() for name in (*_OPTIONS, *_TIMES)}
        texts["error_is"] = str(form.get("error_is", ""))  # the whole of it
        letters = [str(letter) for letter in form.getall("letter", [])]
        limit = str(form.get("limit", "0"))
        if any("\0" in text for text in (*texts.values(), *letters)) or not re.fullmatch(
            r"[0-9]{1,9}", limit
        ):
            raise web.HTTPBadRequest(text="this is no filter of dead letters")
        if len(set(letters)) > MOST_LETTERS:
            raise web.HTTPBadRequest(
                text=f"{len(set(letters))} letters are selected; at most {MOST_LETTERS} are named one by "
                "one. Filter by error, EventType or time, and take all that match"
            )
        chosen = cls(consumer, tuple(dict.fromkeys(letters)), **texts, limit=int(limit))
        chosen.wanted()
        return chosen

    def wanted(self) -> DeadLetterFilter:
        """The filter; without the limit. Raises 400."""
        try:
            return dead_letter_filter(
                [self.events] if self.events else None,
                [self.key] if self.key else None,
                None,
                [self.error_is] if self.error_is else None,
                self.since or None,
                self.until or None,
                self.letters,
            )
        except typer.BadParameter as error:
            raise web.HTTPBadRequest(text=error.message) from None

    def fixed(self, now: datetime) -> Self:
        """Bound to what there is at ``now``: "2h" becomes a time, and letters that come later are not meant.
        Letters that are named are bound already."""
        wanted = self.wanted()
        since = _text(wanted.since) if wanted.since else ""
        until = now if wanted.until is None else min(now, wanted.until)
        return replace(self, since=since, until="" if self.letters and not self.until else _text(until))

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The selection as a form's hidden fields, or an address's query."""
        found = [("consumer", self.consumer), *(("letter", letter) for letter in self.letters)]
        found += [(name, text) for name in (*_OPTIONS, *_TIMES) if (text := getattr(self, name))]
        return [*found, ("limit", str(self.limit))] if self.limit else found

    @property
    def query(self) -> str:
        return urlencode(self.fields)

    def command(self, act: Act, *, dry_run: bool = False, count: int | None = None) -> Command:
        """``dingbridge dlq replay`` (or ``skip``) of it; with ``dry_run`` it only counts. ``count`` is the
        number that the page showed."""
        argv = ["dlq", act, self.consumer]
        for letter in self.letters:
            argv += ["--letter", letter]
        for name, option in (_OPTIONS | _TIMES).items():
            if text := getattr(self, name):
                argv += [option, text]
        if self.limit:
            argv += ["--limit", str(self.limit)]
        if act == "skip" and self.wanted() == DeadLetterFilter():
            argv.append("--all")
        return Command((*argv, "--dry-run" if dry_run else "--yes", "--json"), count)


def act_of(text: str) -> Act:
    """Raises 400."""
    match text:
        case "replay" | "skip":
            return text
    raise web.HTTPBadRequest(text="this is neither replay nor skip")


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
