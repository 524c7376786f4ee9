"""What is known of one user or department of the OA's: the desired state, what DingTalk holds, what we wrote.

Values only; ``decide.py`` has the rules. Fields go by the messages' names (``messages.py``), and hold
DingTalk's ids where they name departments (numbers) or people (userids). ``EXISTS`` is a field too: whether
the entity is there.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final, Literal

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
    "update-approval",
    "adopted",
    "not-empty",
    "approval-limit",
    "user-missing",
    "request-missing",
    "unknown",
]
ConflictReason = Literal["outcome", "flapping", "removed", "somebody-else", "owned-by-another"]
"""``outcome``: after a call without an answer DingTalk holds neither the old nor the new state.

``flapping``: the field was written back too often. ``removed``: a person removed the entity in DingTalk, and
the owners' file leaves that so. ``somebody-else``: another entity has, or may have, the row's id.
``owned-by-another``: the entity in DingTalk belongs to another row.
"""

EXISTS: Final = "exists"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """The OA's last message about one entity.

    ``since_ms``: when it (of several ``absent`` in a row: the first) came. ``missing``: a reference in
    ``fields`` does not exist in DingTalk yet; a missing manager is left out, any other stops the write.
    ``chosen`` is the id of a creation: a person's userid, a department's ``source_identifier``.
    ``creates``: the message has all that a creation needs; one that has less writes to who is there.
    ``immediate``: a removal does not wait for the grace days.
    """

    version: int
    fields: Fields
    absent: bool
    since_ms: int
    missing: PendingReason | None = None
    chosen: str = ""
    creates: bool = True
    immediate: bool = False


@dataclass(frozen=True, slots=True)
class Intention:
    """One call, committed before it is made.

    ``before`` is None where there was nothing, ``target`` for a deletion. Of an update both hold what is
    written, and nothing else. ``version`` is the desired state's; ``complete``: no more of it is to write.
    ``attempt`` counts repetitions, from 1. ``invited``: the person must accept first (40103). ``chosen`` is
    the desired state's; a read before the first attempt of a creation found nothing under it.
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
    chosen: str = ""
    code: str | None = None
    """DingTalk's, of a refusal."""


@dataclass(frozen=True, slots=True)
class Settling:
    """The state of a field that was just changed, by whomever: until ``until_ms`` a read may show an older
    value. ``perhaps_ours``: values of calls whose outcome was not known, which therefore are no person's."""

    until_ms: int
    perhaps_ours: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Refetch:
    """An event came, or a version was carried out, and until ``until_ms`` a read may be older. ``reads``: how
    many reads have not shown what the event reports; None: there is nothing to be shown."""

    until_ms: int
    reads: int | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that is kept of one entity.

    ``owned_id`` is DingTalk's id of what we created, or what an operator released; nothing else is ever
    written or deleted. It stays when the entity is gone, until the OA's ``absent`` is carried out. ``mark``
    identifies the entity, since an id may be given again: the ``unionid``, a department's
    ``source_identifier``; known from the creation's reply or the first read. ``candidate`` is the id that a
    release would give to the row, found by the OA's values; one without ``seen`` must be read first.
    ``seen`` is the last state known of either, None where there is nothing (yet). ``written`` are the OA's
    values that DingTalk has had. ``done_version`` is the last version that was carried out. A field is
    settled, or ``settling``. ``refetch`` is there while a read may be older than an event.
    ``removal_approved``: an operator has let a removal, or an update, go beyond the day's limit, or it was
    counted before.
    """

    owned_id: str | None = None
    mark: str | None = None
    candidate: str | None = None
    desired: DesiredState | None = None
    done_version: int | None = None
    seen: Fields | None = None
    written: Fields = field(default_factory=dict)
    intention: Intention | None = None
    settling: dict[str, Settling] = field(default_factory=dict)
    refetch: Refetch | None = None
    writes_back_ms: tuple[int, ...] = ()
    conflict: ConflictReason | None = None
    removal_approved: bool = False

    @property
    def ding_id(self) -> str | None:
        """DingTalk's id, or the candidate's."""
        return self.owned_id or self.candidate

    @property
    def creation(self) -> Intention | None:
        """The creation whose outcome is unknown, if there is one."""
        last = self.intention
        if last is None or last.op != "create":
            return None
        exists = self.settling.get(EXISTS)
        late = last.outcome == "unknown" and exists is not None and bool(exists.perhaps_ours)
        return last if late or last.outcome in ("open", "invited") else None

    def lagging(self, now_ms: int) -> frozenset[str]:
        """The fields of which a read may still show an older value."""
        return frozenset(name for name, state in self.settling.items() if state.until_ms > now_ms)


@dataclass(frozen=True, slots=True)
class Observed:
    """An entity as DingTalk has it now: id, fields (``fields.observed``) and mark (``Ledger.mark``).

    ``by`` is how it was found: ``id``, by the row's own id; ``chosen``, by the id chosen for a creation that
    may have been carried out; ``match``, by any other value of the OA's. ``lacking`` names fields that are
    empty, or that the app may not see; after ``without_withheld`` only the latter.
    """

    ding_id: str
    fields: Fields
    mark: str | None = None
    by: Literal["id", "chosen", "match"] = "id"
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Create:
    op: ClassVar[Op] = "create"
    fields: Fields


@dataclass(frozen=True, slots=True)
class Update:
    """``before`` holds what DingTalk has of the same fields: of ``extension`` only what differs is sent."""

    op: ClassVar[Op] = "update"
    ding_id: str
    fields: Fields
    before: Fields


@dataclass(frozen=True, slots=True)
class Delete:
    op: ClassVar[Op] = "delete"
    fields: ClassVar[Fields] = {}
    ding_id: str


Action = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a message. ``fields``: names of what was written, or of a candidate would be; of
    ``somebody-else`` by what it differs."""

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
    """``ledger`` is stored first, then ``action`` is done (its intention is open in the ledger). ``due_ms``:
    when to read again without an event; None: not at all. ``echo``: the event was caused by our own write."""

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

    ``done``: with the ``ding_id`` of what was created, and its ``mark`` if it is known. ``unknown``: it may
    have been done. ``unsent``: it was certainly not done (no connection, rate limit); again after
    ``retry_after_ms``. ``pending``: DingTalk wants something else first (``acceptance``: the person;
    ``not-empty``: the department has members). ``refused``: with DingTalk's ``code`` and the remedy in
    ``words``. ``stranger``: nothing was sent, since it would have hit somebody else, who differs by
    ``words``.
    """

    kind: Literal["done", "pending", "refused", "unknown", "unsent", "stranger"]
    ding_id: str | None = None
    mark: str | None = None
    reason: PendingReason | None = None
    code: str | None = None
    words: str | None = None
    retry_after_ms: int = 0


def take(ledger: Ledger, desired: DesiredState) -> Ledger:
    """With the OA's new message: the newest version wins, an equal one changes nothing."""
    old = ledger.desired
    if old is None:
        return replace(ledger, desired=desired)
    if desired.version <= old.version:
        return ledger
    if desired.absent and old.absent:
        desired = replace(desired, since_ms=old.since_ms)
    approved = ledger.removal_approved and desired.absent
    return replace(ledger, desired=desired, conflict=None, writes_back_ms=(), removal_approved=approved)


def release(ledger: Ledger) -> Ledger:
    """By an operator: write it, whatever it waited for (a candidate, a conflict, a refusal).

    A candidate becomes the row's own. A row whose own is gone, or may be somebody else by now, owns nothing
    any more. Whoever is found then is a candidate again, and an operator sees each before it is written.
    """
    intention = ledger.intention
    if intention is not None and intention.outcome == "refused":
        intention = None
    written = {name: value for name, value in ledger.written.items() if name != EXISTS}
    released = replace(ledger, conflict=None, writes_back_ms=(), intention=intention, written=written)
    if ledger.candidate is not None and ledger.seen is not None:
        return replace(released, owned_id=ledger.candidate, candidate=None)
    if ledger.creation is None and (ledger.seen is None or ledger.conflict == "somebody-else"):
        return replace(released, owned_id=None, candidate=ledger.ding_id, mark=None, seen=None)
    return released
