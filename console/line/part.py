"""A part of the line: how it is, what is wrong with it, and what of it waits for a person. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Literal

Kind = Literal["dingtalk", "journal", "kafka", "consumer", "systems"]


class State(IntEnum):
    """How a part is; the higher, the worse."""

    OK = 0
    UNKNOWN = 1
    """No source answers."""
    DEGRADED = 2
    """It works, with trouble, or something of it waits for a person."""
    UNREACHABLE = 3
    """Its private listener does not answer."""
    STOPPED = 4

    @property
    def word(self) -> str:
        return self.name.lower()


_CONSUMER: Final = "/consumers#{consumer}"
WHERE: Final[Mapping[str, str]] = {
    "parked": "/dead-letters#parked",
    **dict.fromkeys(("dead_letters", "dead_letters_new"), "/dead-letters#of-{consumer}"),
    **{
        f"outbound_{s}": f"/outbound?state={s}"
        for s in ("conflict", "refused", "removal", "update", "adopted")
    },
    **dict.fromkeys(
        ("waits", "retries", "consumer_behind", "no_member", "not_joined", "database"), _CONSUMER
    ),
}
"""By a trouble's code the page on which one acts, or sees whom to act on; others are mended elsewhere."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a part, by a code that ``words/now.toml`` has words for (``what_<code>``,
    ``do_<code>``). ``text`` is the process's own words; ``since`` is epoch s, if known; ``waits`` is how many
    records, people or departments wait because of it."""

    state: State
    code: str
    values: Mapping[str, str | int | float] = field(default_factory=dict)
    text: str = ""
    since: float | None = None
    waits: int = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the line. ``consumer`` names whose it is, of the last two kinds. ``troubles`` begin with
    the worst. ``rate`` is a second, ``oldest_s`` the age of what waits longest, ``p99_s`` of the last minute;
    None where it is not known."""

    kind: Kind
    consumer: str = ""
    troubles: Sequence[Trouble] = ()
    rate: float | None = None
    oldest_s: float | None = None
    p99_s: float | None = None

    @property
    def trouble(self) -> Trouble | None:
        """The worst, of equals the first."""
        return next(iter(self.troubles), None)

    @property
    def state(self) -> State:
        return State.OK if self.trouble is None else self.trouble.state

    @property
    def waits(self) -> int:
        """How many wait here."""
        return sum(trouble.waits for trouble in self.troubles)


def ranked(troubles: Iterable[Trouble]) -> tuple[Trouble, ...]:
    """The worst first."""
    return tuple(sorted(troubles, key=lambda trouble: -trouble.state))


def wrong(parts: Sequence[Part]) -> list[tuple[Part, Trouble]]:
    """All that is wrong, or waits for a person, the worst first. Of equals the part nearest to DingTalk comes
    first, and retries come last."""
    found = [(part, trouble) for part in parts for trouble in part.troubles if trouble.state > State.UNKNOWN]
    return sorted(found, key=lambda one: (-one[1].state, one[1].code == "retries"))


def not_known(parts: Sequence[Part]) -> list[tuple[Part, Trouble]]:
    """The parts that no source reports on, with the reason. Not known is not green."""
    return [(part, part.trouble) for part in parts if part.trouble and part.state is State.UNKNOWN]
