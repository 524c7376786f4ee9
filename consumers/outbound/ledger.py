"""What is known of one user or department of the OA's: what is wished, what DingTalk holds, what we wrote.

Values only; ``decide.py`` has the rules. Fields go by the messages' names (``messages.py``), and hold
DingTalk's ids where they name departments (numbers) or people (userids). ``EXISTS`` is a field too: whether
the entity is there.
"""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

Kind = Literal["user", "department"]
Fields = dict[str, Any]
Op = Literal["create", "update", "delete"]
Verdict = Literal["accepted", "written-back", "reported"]
ResultName = Literal["done", "unchanged", "pending", "superseded", "refused", "conflict"]
PendingReason = Literal[
    "parent-missing",
    "department-missing",
    "manager-missing",
    "acceptance",
    "grace",
    "removal-approval",
    "adopted",
    "not-empty",
    "termination-delay",
    "user-missing",
    "request-missing",
]
ConflictReason = Literal["outcome", "flapping", "removed"]
"""``outcome``: after a call without an answer DingTalk holds neither the old nor the new state; ``flapping``:
it was written back too often; ``removed``: somebody removed it in DingTalk, and the owners' file says to
leave it."""

EXISTS: Final = "exists"


@dataclass(frozen=True, slots=True)
class Wish:
    """The OA's last word.

    ``since_ms``: when it (of several ``absent`` in a row: the first) came. ``missing``: what ``fields`` names
    is not all in DingTalk yet; a manager is then left out of ``fields``, anything else stops the writing.
    """

    version: int
    fields: Fields
    absent: bool
    since_ms: int
    missing: PendingReason | None = None


@dataclass(frozen=True, slots=True)
class Intention:
    """One call, committed before it is made.

    ``before`` is None where there was nothing, ``target`` for a deletion. Of an update both hold what is
    written, and nothing else. ``version`` is the wish's; ``complete``: nothing of it is left to write.
    ``attempt`` counts repetitions, from 1. ``equal_since_ms``: since when reads have shown nothing, after a
    creation whose outcome is not known. ``invited``: the person must accept first (40103).
    """

    op: Op
    version: int
    before: Fields | None
    target: Fields | None
    opened_ms: int
    complete: bool = True
    attempt: int = 1
    closed_ms: int | None = None
    outcome: Literal["open", "invited", "done", "unknown", "refused"] = "open"
    equal_since_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is kept of one entity.

    ``seen`` is the last state known, None where there is nothing (yet). ``written`` are the OA's values that
    DingTalk has held. ``ding_id`` stays when the entity is gone, so that late events find it. ``adopted``: it
    was there before us and is not written until it is released. ``done_version`` is the last version that was
    carried out. ``unsettled``: fields that were just changed, by whomever, and until when (epoch ms) a
    lagging read may still show an older state of them; ``doubtful``: values of calls whose outcome was not
    known, which therefore are no person's. ``again_ms``: when to look again, since the last read may
    have been older than the event or the message that led to it.
    """

    ding_id: str | None = None
    adopted: bool = False
    wish: Wish | None = None
    done_version: int | None = None
    seen: Fields | None = None
    written: Fields = field(default_factory=dict)
    intention: Intention | None = None
    unsettled: dict[str, int] = field(default_factory=dict)
    doubtful: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    again_ms: int | None = None
    writes_back_ms: tuple[int, ...] = ()
    conflict: ConflictReason | None = None
    removal_approved: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """What DingTalk says of the entity now: its id and its fields (``fields.observed``)."""

    ding_id: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Create:
    fields: Fields


@dataclass(frozen=True, slots=True)
class Update:
    """``before`` holds what DingTalk has of the same fields: of ``extension`` only what differs is sent."""

    ding_id: str
    fields: Fields
    before: Fields


@dataclass(frozen=True, slots=True)
class Delete:
    ding_id: str


Action = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a message. ``fields``: names of what was written, or of an adopted entity would be."""

    result: ResultName
    version: int
    reason: PendingReason | ConflictReason | None = None
    code: str | None = None
    words: str | None = None
    ding_id: str | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What a person changed in DingTalk: ``fields`` is ``{name: (old, new)}``."""

    fields: dict[str, tuple[Any, Any]]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Decision:
    """``ledger`` is to be stored, ``action`` to be done after that (its intention stands open in the ledger),
    ``due_ms`` is when to look again without an event; None: not at all. ``echo``: the event told of our own
    write."""

    ledger: Ledger
    action: Action | None = None
    result: Result | None = None
    changes: tuple[Change, ...] = ()
    echo: bool = False
    due_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """Times in ms."""

    settle_ms: int = 60_000
    grace_ms: int = 7 * 86_400_000
    writes_back_per_hour: int = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went.

    ``done``: with the ``ding_id`` of what was created. ``unknown``: it may have been done. ``unsent``: it was
    certainly not, for reasons that are nobody's (no connection, rate); again after ``retry_after_ms``.
    ``pending``: DingTalk wants something else first (``acceptance``: the person; ``not-empty``: the
    department has members). ``refused``: with DingTalk's ``code`` and the remedy in ``words``.
    """

    kind: Literal["done", "pending", "refused", "unknown", "unsent"]
    ding_id: str | None = None
    reason: PendingReason | None = None
    code: str | None = None
    words: str | None = None
    retry_after_ms: int = 0


def take(ledger: Ledger, wish: Wish) -> Ledger:
    """With the OA's new word: the newest version wins, an equal one changes nothing."""
    old = ledger.wish
    if old is None:
        return replace(ledger, wish=wish)
    if wish.version <= old.version:
        return ledger
    if wish.absent and old.absent:
        wish = replace(wish, since_ms=old.since_ms)
    approved = ledger.removal_approved and wish.absent
    return replace(ledger, wish=wish, conflict=None, writes_back_ms=(), removal_approved=approved)


def release(ledger: Ledger) -> Ledger:
    """The operator's word: write it, whatever held us back (adopted, in conflict, refused)."""
    intention = ledger.intention
    if intention is not None and intention.outcome == "refused":
        intention = None
    written = {name: value for name, value in ledger.written.items() if name != EXISTS}
    return replace(
        ledger, adopted=False, conflict=None, writes_back_ms=(), intention=intention, written=written
    )
