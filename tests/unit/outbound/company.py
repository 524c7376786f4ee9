"""A company at DingTalk, people who change it, and an agent that works by ``decide``: all on one fake clock.

Reads lag by less than the settle time, replies are lost, calls are carried out late, the agent is killed
between any two steps, and events come early, late, twice or in another order.
"""

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dingbridge.consumers.outbound.contacts.decide import decide
from dingbridge.consumers.outbound.contacts.outcome import settle_outcome
from dingbridge.consumers.outbound.ledger import (
    EXISTS,
    Action,
    Create,
    Delete,
    DesiredState,
    Fields,
    Kind,
    Ledger,
    Observed,
    Outcome,
    Result,
    Rules,
    Update,
    release,
    take,
)
from dingbridge.consumers.outbound.owners import Owners

S = 1000
RULES = Rules(settle_ms=60 * S, grace_ms=600 * S)
OWNERS = Owners(users={"remark": "report", "workPlace": "dingtalk"})
LATE_MS = 3 * S
ROUND_MS = 500
"""Between a read and the call, and between the call and its reply."""

Fault = Literal[
    "none", "lost", "late", "unsent", "killed-before-commit", "killed-before-call", "killed-after"
]


@dataclass
class Edit:
    """What a person did to one field."""

    at_ms: int
    name: str
    new: Any
    known: bool
    """Whether the field stood in the ledger."""

    def stands_in(self, there: tuple[Observed, ...]) -> bool:
        if self.name == EXISTS:
            return bool(there) == self.new
        return bool(there) and bool(there[0].fields.get(self.name) == self.new)


@dataclass
class Entity:
    """One user or department: its truth, and the row that the consumer keeps of it."""

    kind: Kind = "user"
    owners: Owners = OWNERS
    now_ms: int = 0
    history: list[tuple[int, tuple[Observed, ...]]] = field(default_factory=lambda: [(-1, ())])
    ledger: Ledger = field(default_factory=Ledger)
    flagged: bool = False
    due_ms: int | None = None
    events: list[int] = field(default_factory=list)
    late: list[tuple[int, Action]] = field(default_factory=list)
    wanted: list[DesiredState] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    changes: list[tuple[str, Any, str]] = field(default_factory=list)
    ids: int = 0
    written: int = 0
    echoes: int = 0

    @property
    def truth(self) -> Fields | None:
        there = self.history[-1][1]
        return there[0].fields if there else None

    def set(self, *there: Observed, event_after_ms: int = 0) -> None:
        assert len(there) <= 1, "created twice"
        self.now_ms += 1  # no two things at one time
        self.history.append((self.now_ms, there))
        self.events.append(self.now_ms + event_after_ms)

    # the OA and people

    def want(self, fields: Fields | None) -> None:
        """The OA's next word; None: it shall not be there."""
        version = self.wanted[-1].version + 1 if self.wanted else 1
        desired = DesiredState(version, fields or {}, fields is None, self.now_ms)
        self.wanted.append(desired)
        self.hear(desired)

    def hear(self, desired: DesiredState) -> None:
        self.ledger = take(self.ledger, desired)
        self.due_ms = self.now_ms

    def edit(self, name: str, value: Any, event_after_ms: int = 0) -> None:
        """A person changes a field; ``EXISTS`` removes or adds the whole."""
        there = self.history[-1][1]
        known = self.ledger.ding_id is not None and name in (EXISTS, *(self.ledger.seen or ()))
        if name == EXISTS:
            if value == bool(there):
                return
            self.ids += 1
            old = self.ledger.ding_id if self.kind == "user" else None  # only userids can be chosen
            id_ = there[0].ding_id if there else old or f"p{self.ids}"
            before = next((there[0].fields for _, there in reversed(self.history) if there), {"name": "P"})
            self.set(*([Observed(id_, before)] if value else []), event_after_ms=event_after_ms)
        elif there and there[0].fields.get(name) != value:
            fields = {**there[0].fields, name: value}
            self.set(Observed(there[0].ding_id, fields), event_after_ms=event_after_ms)
        else:
            return
        self.edits.append(Edit(self.now_ms, name, value, known))

    # DingTalk

    def read(self, lag_ms: int) -> Observed | None:
        """As ``Contacts.find`` does; what people add has no id that the OA chooses."""
        at = bisect_right(self.history, self.now_ms - lag_ms, key=lambda entry: entry[0]) - 1
        there = self.history[max(at, 0)][1]
        if not there:
            return None
        id_, begun, owned = there[0].ding_id, self.ledger.creation, self.ledger.owned_id
        chosen = not id_.startswith("p")
        empty = dict.fromkeys(("title", "remark", "workPlace") if self.kind == "user" else ("managers",))
        found = Observed(id_, {**empty, **there[0].fields}, mark=f"mark-{id_}")
        if begun is not None and (chosen or begun.outcome == "open"):
            return replace(found, by="chosen") if chosen else None
        if id_ == owned:
            return found
        # by its name or number, which no absent has, or by what was chosen
        alike = owned is None and self.ledger.desired is not None and not self.ledger.desired.absent
        return replace(found, by="match") if alike or chosen else None

    def call(self, action: Action) -> Outcome:
        there = self.history[-1][1]
        match action:
            case Create(fields):
                if there and (self.kind == "user" or there[0].ding_id.startswith("p")):
                    return Outcome("refused", code="60102" if self.kind == "user" else "60021")
                self.ids += 1
                id_ = "u1" if self.kind == "user" else f"d{self.ids}"
                self.set(*there, Observed(id_, fields))
                self.written += 1
                return Outcome("done", id_, f"mark-{id_}")
            case Update(id_, fields):
                if not there or there[0].ding_id != id_:
                    return Outcome("unsent")  # DingTalk says that it is not there
                after = {**there[0].fields, **fields}
                if after != there[0].fields:
                    self.set(Observed(id_, after))
                    self.written += 1
                return Outcome("done")
            case Delete(id_):
                if there:
                    self.set()
                    self.written += 1
                return Outcome("done")

    # the agent

    def tick(self, ms: int, faults: list[tuple[Fault, int]]) -> None:
        """Time passes; events come, and the agent does what is due, with ``faults`` and lags while there are
        some."""
        end = self.now_ms + ms
        while True:
            due = [self.now_ms] if self.flagged else [] if self.due_ms is None else [self.due_ms]
            soonest = min([*due, *self.events, *(at for at, _ in self.late)], default=end)
            if soonest >= end:
                self.now_ms = max(end, self.now_ms)
                return
            self.now_ms = max(soonest, self.now_ms)
            self._happen()
            if not self.wanted:
                self.flagged = False  # no row yet, so the event is about nothing of ours
            elif self.flagged or (self.due_ms is not None and self.due_ms <= self.now_ms):
                self.look(*(faults.pop() if faults else ("none", 0)))

    def _happen(self) -> None:
        for at, action in self.late:
            if at <= self.now_ms:
                self.call(action)
        self.late = [entry for entry in self.late if entry[0] > self.now_ms]
        self.flagged = self.flagged or any(at <= self.now_ms for at in self.events)
        self.events = [at for at in self.events if at > self.now_ms]

    def look(self, fault: Fault = "none", lag_ms: int = 0, meanwhile: Any = None) -> None:
        """One turn of the agent. ``meanwhile`` is called between the read and the call."""
        observed = self.read(lag_ms)
        decision = decide(
            self.kind,
            self.ledger,
            observed,
            owners=self.owners,
            rules=RULES,
            now_ms=self.now_ms,
            flagged=self.flagged,
        )
        if fault == "killed-before-commit":
            self.due_ms = self.now_ms + RULES.settle_ms  # its lease
            return
        self.flagged = False
        self._commit(decision)
        self.now_ms += ROUND_MS
        self._happen()
        if meanwhile is not None:
            meanwhile()
        if decision.action is None or fault == "killed-before-call":
            return
        if fault == "unsent":
            outcome = Outcome("unsent")
        elif fault == "late":
            self.late.append((self.now_ms + LATE_MS, decision.action))
            outcome = Outcome("unknown")
        else:
            outcome = self.call(decision.action)
        self.now_ms += ROUND_MS
        self._happen()
        if fault == "killed-after":
            return
        flagged = self.flagged
        self._commit(
            settle_outcome(
                self.ledger, Outcome("unknown") if fault == "lost" else outcome, self.now_ms, RULES
            )
        )
        self.flagged = flagged

    def _commit(self, decision: Any) -> None:
        self.ledger = decision.ledger
        self.due_ms = decision.due_ms
        self.echoes += decision.echo
        if decision.result is not None and decision.result not in self.results[-1:]:
            self.results.append(decision.result)
        for change in decision.changes:
            self.changes += [(name, new, change.verdict) for name, (_, new) in change.fields.items()]

    def settle(self) -> None:
        """Until nothing is left to do, with an operator who releases what is held."""
        for _ in range(4):
            self.tick(10 * 3600 * S, [])
            refused = self.ledger.intention is not None and self.ledger.intention.outcome == "refused"
            if self.ledger.candidate is not None or self.ledger.conflict is not None or refused:
                self.ledger, self.due_ms = release(self.ledger), self.now_ms
        assert self.due_ms is None

    def standing(self) -> Counter[tuple[str, Any]]:
        """What people changed of an entity that we knew, not back and forth, and nobody touched for so long
        that a look must have seen it."""
        long_ms = 10 * RULES.settle_ms
        found: Counter[tuple[str, Any]] = Counter()
        lately: dict[str, int] = {}
        for edit in self.edits:
            ends = [at for at, there in self.history if at > edit.at_ms and not edit.stands_in(there)]
            stood_ms = min(ends, default=self.now_ms) - edit.at_ms
            alone = all(edit.at_ms - lately.get(name, -long_ms) >= long_ms for name in (edit.name, EXISTS))
            if edit.known and alone and stood_ms > long_ms and not self._wanted(edit, edit.at_ms + long_ms):
                found[edit.name, str(edit.new)] += 1
            lately[edit.name] = edit.at_ms
        return found

    def _wanted(self, edit: Edit, until_ms: int) -> bool:
        """Whether the OA wants just the same about then: who did it, nobody can tell."""
        ends = [*(desired.since_ms for desired in self.wanted[1:]), until_ms]
        return any(
            (desired.absent != edit.new if edit.name == EXISTS else desired.fields.get(edit.name) == edit.new)
            for desired, end_ms in zip(self.wanted, ends, strict=True)
            if desired.since_ms < until_ms and end_ms > edit.at_ms - 5 * RULES.settle_ms
        )
