"""Decides about one entity, from its ledger and a read of DingTalk. Pure.

A decision settles the open call, and takes over the read, which may lag. Then it finds what people changed
since the last read, and writes what the OA's desired state still lacks. Each call's
intention is committed before the call. So a decision after a crash, after a lost reply, or at an event that
overtook the reply begins with the first step like any other.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from dingbridge.consumers.outbound.contacts.identity import stranger
from dingbridge.consumers.outbound.contacts.outcome import (
    HOUR_MS,
    TAKEN,
    answer,
    awake,
    is_made,
    resolve,
    settle,
    somebody_else,
    wait_ms,
)
from dingbridge.consumers.outbound.fields import DINGTALK_IDS, ONCE, fulfils, same
from dingbridge.consumers.outbound.ledger import (
    EXISTS,
    Action,
    Change,
    Create,
    Decision,
    Delete,
    DesiredState,
    Fields,
    Intention,
    Kind,
    Ledger,
    Observed,
    PendingReason,
    Refetch,
    Rules,
    Update,
    Verdict,
)
from dingbridge.consumers.outbound.owners import Owners
from dingbridge.snapshots.late_answers import look_again_s

_NEEDED: Final[dict[Kind, str]] = {"user": "`name` and `departments`", "department": "`name` and `parent`"}
"""What a message must have to create one, in words."""


@dataclass(frozen=True, slots=True)
class _Compared:
    """A read beside what was last seen. ``ledger`` has a new candidate, if one was found. ``state``: what
    DingTalk holds, as far as it is believed. ``news`` names what differs: by people, ``{name: (old, new)}``,
    or by calls of ours without a reply."""

    ledger: Ledger
    state: Fields | None
    by_people: dict[str, tuple[Any, Any]]
    by_us: Fields
    news: tuple[str, ...]


def decide(
    kind: Kind,
    ledger: Ledger,
    observed: Observed | None,
    *,
    owners: Owners,
    rules: Rules,
    now_ms: int,
    flagged: bool = False,
    may_remove: bool = True,
    may_update: bool = True,
) -> Decision:
    """Decide after one read. ``observed``: None when DingTalk has no such entity. ``flagged``: an event asked
    for the read. ``may_remove``, ``may_update``: the day's removals and updates are not used up
    (``removal_approved`` overrides both)."""
    refetch = ledger.refetch
    if flagged:
        refetch = Refetch(now_ms + rules.settle_ms, reads=0)
    elif refetch is not None and refetch.until_ms <= now_ms:
        refetch = None
    ledger = replace(ledger, refetch=refetch)
    if observed is not None and ledger.owned_id is not None and not is_made(ledger, observed):
        absent = ledger.desired is not None and ledger.desired.absent
        why = stranger(kind, ledger, observed, removing=absent)
        if why is not None and absent and ledger.seen is None:
            observed = None  # the row's own is removed as desired; a later holder of the id is not ours
        elif why is not None and EXISTS in ledger.lagging(now_ms):
            return awake(Decision(ledger), now_ms)  # may be the previous holder of the id
        elif why is not None:
            return awake(somebody_else(ledger, why, observed.ding_id), now_ms)
    if ledger.conflict == "somebody-else":
        ledger = replace(ledger, conflict=None)
    resolved = resolve(ledger, observed, rules, now_ms)
    if isinstance(resolved, Decision):
        last = resolved.ledger.intention
        echo = flagged and last is not None and last.outcome == "done"
        return replace(awake(resolved, now_ms), echo=echo)
    lagging = resolved.lagging(now_ms)  # a call without a reply adds to it
    compared = _compare(resolved, observed, lagging)
    ledger = _after_read(compared, observed, lagging, rules, now_ms)
    plan = _plan(kind, ledger, owners)
    left = may_remove if plan is not None and plan.op == "delete" else may_update
    decision = _carry_out(kind, ledger, plan, rules, now_ms, left=left, shown=observed is not None)
    returned = None if observed is None else observed.fields
    decision = replace(
        decision,
        ledger=_agreed(kind, decision.ledger, owners),
        changes=_judged(kind, decision.ledger, plan, compared.by_people, owners),
        echo=flagged
        and ledger.intention is not None
        and not (compared.news or _changed(returned, compared.state)),
    )
    reads = 0 if ledger.refetch is None else ledger.refetch.reads or 0
    if reads and (after_s := look_again_s(reads)) is not None:
        soon_ms = min(now_ms + round(after_s * 1000), decision.due_ms or now_ms + rules.settle_ms)
        decision = replace(decision, due_ms=soon_ms)
    return awake(decision, now_ms)


def _compare(ledger: Ledger, observed: Observed | None, lagging: frozenset[str]) -> _Compared:
    """Compare a read with what was last seen."""
    known = ledger.owned_id if ledger.seen is None else ledger.ding_id
    found = observed is not None and observed.ding_id != known
    if observed is not None and found:
        ledger = replace(ledger, mark=None, seen=None, candidate=observed.ding_id)
    state = _believed(ledger, None if observed is None else observed.fields, lagging)
    lost = ledger.owned_id is None and state is None  # a candidate that has gone is reported to nobody
    changed = {} if found or lost else _changed(ledger.seen, state)
    by_us = {
        name: new
        for name, (_, new) in changed.items()
        if name in ledger.settling
        and any(fulfils(name, new, value) for value in ledger.settling[name].perhaps_ours)
    }
    by_people = {name: change for name, change in changed.items() if name not in by_us}
    news = (EXISTS, *(state or ())) if found else tuple(changed)
    return _Compared(ledger, state, by_people, by_us, news)


def _after_read(
    compared: _Compared, observed: Observed | None, lagging: frozenset[str], rules: Rules, now_ms: int
) -> Ledger:
    """The ledger with what was read."""
    ledger, state = compared.ledger, compared.state
    refetch = ledger.refetch
    if refetch is not None:
        # an event reports something that this read does not show and no write of ours explains
        unseen = refetch.reads is not None and not (compared.news or lagging)
        refetch = replace(refetch, reads=(refetch.reads or 0) + 1 if unseen else None)
    still = {
        name: field
        for name, field in ledger.settling.items()
        if name in lagging or (EXISTS in lagging and field.perhaps_ours)
    }
    settled = EXISTS not in lagging and EXISTS not in compared.by_people
    return replace(
        ledger,
        refetch=refetch,
        **_whose(ledger, observed, gone=state is None, settled=settled),
        seen=None if state is None else {**(ledger.seen or {}), **state},
        written=ledger.written | compared.by_us,
        settling=settle(still, compared.news, now_ms, rules),
    )


def _whose(ledger: Ledger, observed: Observed | None, *, gone: bool, settled: bool) -> dict[str, Any]:
    """The row's own id, mark and candidate after the read. Once the OA's ``absent`` is carried out it owns
    nothing: DingTalk may give the id to somebody of another row."""
    absent = ledger.desired is not None and ledger.desired.absent
    owned_id = None if gone and settled and absent else ledger.owned_id
    candidate = None if gone else ledger.candidate
    mark = None if owned_id is None and candidate is None else ledger.mark
    if (
        mark is None
        and observed is not None
        and (candidate is not None or (owned_id is not None and settled))
    ):
        mark = observed.mark
    return {"owned_id": owned_id, "mark": mark, "candidate": candidate}


def _believed(ledger: Ledger, returned: Fields | None, lagging: frozenset[str]) -> Fields | None:
    """The believed state: the fields of the read, but lagging fields as last seen."""
    seen = ledger.seen
    if EXISTS in lagging:
        return seen
    if returned is None or seen is None:
        return returned
    return returned | {name: seen[name] for name in lagging if name in seen}


def _changed(seen: Fields | None, state: Fields | None) -> dict[str, tuple[Any, Any]]:
    """The fields that differ from what was last seen."""
    if seen is None or state is None:
        here = state is not None
        return {} if here == (seen is not None) else {EXISTS: (not here, here)}
    return {
        name: (seen[name], value)
        for name, value in state.items()
        if name in seen and not same(name, seen[name], value)
    }


def _plan(kind: Kind, ledger: Ledger, owners: Owners) -> Action | None:
    """What would write that of the desired state which does not hold yet, and is the OA's to write."""
    desired, seen, written = ledger.desired, ledger.seen, ledger.written

    def ours(name: str, value: Any) -> bool:
        owner = owners.owner_of(kind, name)
        if owner == "report":  # a new version of the OA's counts
            return name not in written or not same(name, written[name], value)
        return owner == "oa"

    if desired is None or (desired.absent and (seen is None or not ours(EXISTS, False))):
        return None
    if desired.absent:
        return Delete(ledger.owned_id or "")  # Invariant 7: a candidate is not written
    if seen is None:
        if not (desired.creates and ours(EXISTS, True)):
            return None
        as_it_was = _as_it_was(ledger, desired.version)
        fields = {
            name: as_it_was.get(name, value) if owners.owner_of(kind, name) == "dingtalk" else value
            for name, value in desired.fields.items()
            if name != "managers"  # managers must be members of it, so they come later
        }
        return Create(fields)
    fields = {
        name: value
        for name, value in desired.fields.items()
        if name not in ONCE and not fulfils(name, seen.get(name), value) and ours(name, value)
    }
    before = {name: seen.get(name) for name in fields}
    return Update(ledger.owned_id or "", fields, before) if fields else None


def _as_it_was(ledger: Ledger, version: int) -> Fields:
    """The values of fields that DingTalk owns, for creating an entity again. Where they were refused
    (somebody else has the number by now), a newer message is created with its own values only."""
    last = ledger.intention
    if last is None or (last.op, last.outcome) != ("create", "refused"):
        return ledger.written
    return (last.target or {}) if last.version == version else {}


def _carry_out(
    kind: Kind,
    ledger: Ledger,
    plan: Action | None,
    rules: Rules,
    now_ms: int,
    *,
    left: bool,
    shown: bool,
) -> Decision:
    """The plan as an action, or why it must wait. ``left``: the day's limit of the plan's ``op`` is not used
    up. ``shown``: this read has shown what the ledger names."""
    desired = ledger.desired
    if desired is None:
        return Decision(ledger)
    if ledger.candidate is not None:
        fields = () if plan is None else tuple(plan.fields)
        return Decision(ledger, result=answer(ledger, "pending", reason="adopted", fields=fields))
    if plan is None:
        return _nothing_left(kind, ledger, desired, rules, now_ms)
    if ledger.conflict is not None:
        return Decision(ledger)
    if desired.missing not in (None, "manager-missing"):
        return _pending(ledger, desired.missing, now_ms + wait_ms(desired.since_ms, now_ms))
    if plan.op == "delete":
        if not desired.immediate and now_ms < desired.since_ms + rules.grace_ms:
            return _pending(ledger, "grace", desired.since_ms + rules.grace_ms)
        if ledger.refetch is not None:
            return Decision(ledger)  # an event came, and the read may still show the previous holder
        if not (left or ledger.removal_approved):
            return _pending(ledger, "removal-approval", now_ms + HOUR_MS)
    # what an operator released, or what a creation still lacks, was never done before and is not counted
    counted = plan.op == "update" and ledger.done_version is not None
    if counted and not (left or ledger.removal_approved):
        return _pending(ledger, "update-approval", now_ms + HOUR_MS)
    if shown == (plan.op == "create"):
        return Decision(ledger)  # the read lags: an update needs an entity in it, a creation needs none
    last = ledger.intention
    before = plan.before if isinstance(plan, Update) else ledger.seen
    target = None if plan.op == "delete" else plan.fields
    this = (desired.version, plan.op, target, "refused")
    if last is not None and (last.version, last.op, last.target, last.outcome) == this:
        again_ms = (last.closed_ms or 0) + HOUR_MS
        if plan.op != "create" or last.code not in TAKEN:
            return Decision(ledger)
        if now_ms < again_ms:
            return Decision(ledger, due_ms=again_ms)  # the holder of the number may give it up
    chosen = desired.chosen if plan.op == "create" else ""
    repeated = last is not None and last.outcome == "unknown" and (last.op, last.chosen) == (plan.op, chosen)
    if desired.version == ledger.done_version and not repeated:
        lately = tuple(at for at in ledger.writes_back_ms if at > now_ms - HOUR_MS)
        if len(lately) >= rules.writes_back_per_hour:
            stopped = replace(ledger, conflict="flapping")
            words = "Somebody changes it again and again. Find out who, then release it."
            return Decision(stopped, result=answer(stopped, "conflict", reason="flapping", words=words))
        ledger = replace(ledger, writes_back_ms=(*lately, now_ms))
    incomplete = desired.missing is not None or (plan.op == "create" and desired.fields.get("managers"))
    intention = Intention(
        op=plan.op,
        version=desired.version,
        before=before,
        target=target,
        opened_ms=now_ms,
        complete=not incomplete,
        attempt=last.attempt + 1 if last is not None and repeated else 1,
        chosen=chosen,
    )
    opened = replace(ledger, intention=intention)
    return Decision(opened, action=plan, due_ms=now_ms + rules.settle_ms)


def _nothing_left(kind: Kind, ledger: Ledger, desired: DesiredState, rules: Rules, now_ms: int) -> Decision:
    due_ms = now_ms + wait_ms(desired.since_ms, now_ms)
    if desired.missing is not None:
        return _pending(ledger, desired.missing, due_ms)
    if not desired.absent and ledger.seen is None and not desired.creates and ledger.owned_id is None:
        reason: PendingReason = "user-missing" if kind == "user" else "department-missing"
        words = (
            "Not found in DingTalk, and the message says too little to create it: send "
            f"{_NEEDED[kind]} as well, or correct the `{DINGTALK_IDS[kind]}`"
        )
        return _pending(ledger, reason, due_ms, words=words)
    if not desired.absent and ledger.seen is None:
        words = (
            "Removed in DingTalk, and the owners' file says to leave it so. Release it to create it again."
            if desired.creates
            else f"Removed in DingTalk. Send {_NEEDED[kind]} as well to create it again."
        )
        return Decision(ledger, result=answer(ledger, "conflict", reason="removed", words=words))
    unknown = any(state.perhaps_ours for state in ledger.settling.values())
    if ledger.done_version == desired.version or unknown:
        return Decision(ledger)
    done = replace(ledger, done_version=desired.version, refetch=Refetch(now_ms + rules.settle_ms))
    last = ledger.intention
    written = last is not None and last.outcome == "done" and last.version == desired.version
    return Decision(done, result=answer(done, "done" if written else "unchanged"))


def _judged(
    kind: Kind, ledger: Ledger, plan: Action | None, changed: dict[str, tuple[Any, Any]], owners: Owners
) -> tuple[Change, ...]:
    """What people changed, one change for each verdict. ``ledger`` is as it will be stored."""
    desired = ledger.desired
    refused = ledger.intention is not None and ledger.intention.outcome == "refused"
    blocked = ledger.candidate is not None or ledger.conflict is not None or refused
    found: dict[Verdict, dict[str, tuple[Any, Any]]] = {}
    for name, (old, new) in changed.items():
        verdict: Verdict = "reported"
        if name == EXISTS:
            wanted = desired is not None and new != desired.absent
        else:
            wanted = desired is None or name not in desired.fields or fulfils(name, new, desired.fields[name])
        if wanted or owners.owner_of(kind, name) == "dingtalk":
            verdict = "accepted"
        elif plan is not None and not blocked and (name == EXISTS or name in plan.fields):
            verdict = "written-back"
        found.setdefault(verdict, {})[name] = (old, new)
    return tuple(Change(fields, verdict) for verdict, fields in found.items())


def _agreed(kind: Kind, ledger: Ledger, owners: Owners) -> Ledger:
    """``ledger`` with ``written``: the OA's values that DingTalk holds, and DingTalk's for fields that it
    owns."""
    desired, seen = ledger.desired, ledger.seen
    if desired is None or seen is None or desired.absent:
        return ledger
    known = {name: value for name, value in desired.fields.items() if name in seen}
    agreed = {name: value for name, value in known.items() if fulfils(name, seen[name], value)}
    theirs = {name: seen[name] for name in known if owners.owner_of(kind, name) == "dingtalk"}
    return replace(ledger, written={**ledger.written, **agreed, **theirs, EXISTS: True})


def _pending(ledger: Ledger, reason: PendingReason, due_ms: int, words: str | None = None) -> Decision:
    return Decision(ledger, result=answer(ledger, "pending", reason=reason, words=words), due_ms=due_ms)
