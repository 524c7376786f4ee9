"""Which dead letters a command is about: the options that say so, and the filter that they make."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from dingbridge.cli.terminal import listed, moment
from dingbridge.replay.dead_letters import DeadLetterFilter

_PLACE_RE = re.compile(r"(\d{1,9})[/:](\d{1,18})", re.ASCII)

Letters = Annotated[
    list[str] | None,
    typer.Option("--letter", metavar="PARTITION/OFFSET", help="This one, as `list` prints it; repeatable."),
]
Events = Annotated[list[str] | None, typer.Option("--events", help="EventTypes, with commas.")]
Keys = Annotated[
    list[str] | None, typer.Option("--key", help="Keys, as corpid:userid, or the #… of the log.")
]
Errors = Annotated[list[str] | None, typer.Option("--error", help="Part of the error or of the reason.")]
WholeErrors = Annotated[
    list[str] | None, typer.Option("--error-is", help="The whole error, as `reasons` prints it.")
]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Given up since: 2026-11-25T08:00:00+08:00, or 2h (ago)."),
]
Until = Annotated[str | None, typer.Option("--until", help="Given up before.")]


def dead_letter_filter(
    events: list[str] | None,
    keys: list[str] | None,
    errors: list[str] | None,
    whole_errors: list[str] | None,
    since: str | None,
    until: str | None,
    letters: Sequence[str] | None = None,
) -> DeadLetterFilter:
    """The filter of these options. Raises ``typer.BadParameter``."""
    return DeadLetterFilter(
        listed(events),
        listed(keys),
        tuple(errors or ()),
        moment(since, "--since") if since is not None else None,
        moment(until, "--until") if until is not None else None,
        tuple(whole_errors or ()),
        frozenset(place_of(letter, "--letter") for letter in letters or ()),
    )


def place_of(text: str, option: str) -> tuple[int, int]:
    """Partition and offset of ``2/17`` (also ``2:17``). Raises ``typer.BadParameter``."""
    found = _PLACE_RE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no place of a dead letter; as 0/17", param_hint=option)
    return int(found[1]), int(found[2])
