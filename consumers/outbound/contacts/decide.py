"""Decides what to do about one entity, from its ledger and what DingTalk returned. Pure.

A look has four steps: settle the call that is open; read what DingTalk holds, knowing that a read may lag;
find what a person changed since the last look; write what the OA's desired state still lacks. Each call's
intention is committed before the call, so a look after a crash, after a lost reply, or at an event that
overtook the reply begins with the first step like any other.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from dingbridge.consumers.outbound.contacts.identity import stranger
from dingbridge.consumers.outbound.contacts.outcome import (
    LONGEST_WAIT_MS,
    TAKEN,
    answer,
    awake,
    is_made,
    resolve,
    settle_outcome,
    somebody_else,
    unsettled,
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
    Op,
    PendingReason,
    Rules,
    Update,
    Verdict,
)
from dingbridge.consumers.outbound.owners import Owners
from dingbridge.snapshots.late_answers import look_again_s

__all__ = ["decide", "settle_outcome"]

HOUR_MS: Final = 60 * 60_000
_NEEDED: Final[dict[Kind, str]] = {"user": "`name` and `departments`", "department": "`name` and `parent`"}
"""What a message must have to create one, in words."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What differs from the desired state and may be written. ``fields`` is empty for a deletion."""

    op: Op
    fields: Fields


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
    """One look. ``observed``: None when DingTalk has no such entity. ``flagged``: an event asked for it.
    ``may_remove``, ``may_update``: the day's removals and updates are not used up (``removal_approved``
    overrides both)."""
    still = {name: until_ms for name, until_ms in ledger.unsettled.items() if until_ms > now_ms}
    again_ms = ledger.again_ms if ledger.again_ms is not None and ledger.again_ms > now_ms else None
    if flagged:
        again_ms = now_ms + rules.settle_ms
    ledger = replace(ledger, unsettled=still, again_ms=again_ms)
    if observed is not None and ledger.owned_id is not None and not is_made(ledger, observed):
        absent = ledger.desired is not None and ledger.desired.absent
        why = stranger(kind, ledger, observed, removing=absent)
        if why is not None and absent and ledger.seen is None:
            observed = None  # the row's own is removed as desired; a later holder of the id is not ours
        elif why is not None and EXISTS in still:
            return awake(Decision(ledger))  # may be the previous holder of the id
        elif why is not None:
            return awake(somebody_else(ledger, why, observed.ding_id))
    if ledger.conflict == "somebody-else":
        ledger = replace(ledger, conflict=None)
    resolved = resolve(ledger, observed, rules, now_ms)
    if isinstance(resolved, Decision):
        last = resolved.ledger.intention
        return replace(awake(resolved), echo=flagged and last is not None and last.outcome == "done")
    ledger = resolved
    returned = None if observed is None else observed.fields
    known = ledger.owned_id if ledger.seen is None else ledger.ding_id
    found = observed is not None and observed.ding_id != known
    if observed is not None and found:
        ledger = replace(ledger, mark=None, seen=None, candidate=observed.ding_id)
    state = _believed(ledger, returned)
    lost = ledger.owned_id is None and state is None  # a candidate that has gone is reported to nobody
    changed = {} if found or lost else _changed(ledger.seen, state)
    ours = {
        name: new
        for name, (_, new) in changed.items()
        if any(fulfils(name, new, value) for value in ledger.doubtful.get(name, ()))
    }
    news = (EXISTS, *(state or ())) if found else tuple(changed)
    changed = {name: change for name, change in changed.items() if name not in ours}
    # an event reports something that this read does not show and no write of ours explains
    unseen = not (news or ledger.unsettled) and ledger.again_ms is not None
    looks = (1 if flagged else ledger.looks and ledger.looks + 1) if unseen else 0
    ledger = replace(
        ledger,
        looks=looks,
        **_whose(ledger, observed, gone=state is None, settled=EXISTS not in {**ledger.unsettled, **changed}),
        seen=None if state is None else {**(ledger.seen or {}), **state},
        written=ledger.written | ours,
        unsettled=unsettled(ledger, news, now_ms, rules),
        doubtful={
            name: values
            for name, values in ledger.doubtful.items()
            if not ledger.unsettled.keys().isdisjoint((name, EXISTS))
        },
    )
    plan = _plan(kind, ledger, owners)
    shown = observed is not None
    left = may_remove if plan is not None and plan.op == "delete" else may_update
    decision = _carry_out(kind, ledger, plan, rules, now_ms, left=left, shown=shown)
    changes = _judged(kind, decision.ledger, plan, changed, owners)
    echo = flagged and not (news or _changed(returned, state)) and ledger.intention is not None
    agreed = _agreed(kind, decision.ledger, owners)
    due_ms = decision.due_ms
    if looks and (after_s := look_again_s(looks)) is not None:
        due_ms = min(now_ms + round(after_s * 1000), due_ms or now_ms + rules.settle_ms)
    return awake(replace(decision, ledger=agreed, changes=changes, echo=echo, due_ms=due_ms))


def _whose(ledger: Ledger, observed: Observed | None, *, gone: bool, settled: bool) -> dict[str, Any]:
    """What the row owns, its mark, and its candidate. Once the OA's ``absent`` is carried out it owns
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


def _believed(ledger: Ledger, returned: Fields | None) -> Fields | None:
    """What DingTalk holds: what it returned, but for unsettled fields what we know."""
    seen = ledger.seen
    if EXISTS in ledger.unsettled:
        return seen
    if returned is None or seen is None:
        return returned
    return returned | {name: seen[name] for name in ledger.unsettled if name in seen}


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


def _plan(kind: Kind, ledger: Ledger, owners: Owners) -> _Plan | None:
    """What of the desired state does not hold yet, and is the OA's to write."""
    desired, seen, written = ledger.desired, ledger.seen, ledger.written

    def ours(name: str, value: Any) -> bool:
        owner = owners.owner_of(kind, name)
        if owner == "report":  # a new version of the OA's counts
            return name not in written or not same(name, written[name], value)
        return owner == "oa"

    if desired is None or (desired.absent and (seen is None or not ours(EXISTS, False))):
        return None
    if desired.absent:
        return _Plan("delete", {})
    if seen is None:
        if not (desired.creates and ours(EXISTS, True)):
            return None
        as_it_was = _as_it_was(ledger, desired.version)
        fields = {
            name: as_it_was.get(name, value) if owners.owner_of(kind, name) == "dingtalk" else value
            for name, value in desired.fields.items()
            if name != "managers"  # managers must be members of it, so they come later
        }
        return _Plan("create", fields)
    fields = {
        name: value
        for name, value in desired.fields.items()
        if name not in ONCE and not fulfils(name, seen.get(name), value) and ours(name, value)
    }
    return _Plan("update", fields) if fields else None


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
    plan: _Plan | None,
    rules: Rules,
    now_ms: int,
    *,
    left: bool,
    shown: bool,
) -> Decision:
    """The plan as an action, or why it must wait. ``left``: the day's limit of the plan's ``op`` is not used
    up. ``shown``: this look has read what the ledger names."""
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
        if ledger.again_ms is not None:
            return Decision(ledger)  # an event came, and the read may still show the previous holder
        if not (left or ledger.removal_approved):
            return _pending(ledger, "removal-approval", now_ms + LONGEST_WAIT_MS)
    # what an operator released, or what a creation still lacks, was never done before and is not counted
    counted = plan.op == "update" and ledger.done_version is not None
    if counted and not (left or ledger.removal_approved):
        return _pending(ledger, "update-approval", now_ms + LONGEST_WAIT_MS)
    if shown == (plan.op == "create"):
        return Decision(ledger)  # the read lags: update only what it shows, create only what it does not
    last = ledger.intention
    seen = ledger.seen or {}
    before = {name: seen.get(name) for name in plan.fields} if plan.op == "update" else ledger.seen
    target = None if plan.op == "delete" else plan.fields
    this = (desired.version, plan.op, target)
    just_this = last is not None and (last.version, last.op, last.target) == this
    if just_this and last is not None and last.outcome == "refused":
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
    left = desired.missing is not None or (plan.op == "create" and bool(desired.fields.get("managers")))
    intention = Intention(
        op=plan.op,
        version=desired.version,
        before=before,
        target=target,
        opened_ms=now_ms,
        complete=not left,
        attempt=last.attempt + 1 if last is not None and repeated else 1,
        chosen=chosen,
    )
    opened = replace(ledger, intention=intention)
    return Decision(opened, action=_action(plan, opened, before), due_ms=now_ms + rules.settle_ms)


def _action(plan: _Plan, ledger: Ledger, before: Fields | None) -> Action:
    if plan.op == "create" or ledger.owned_id is None:
        return Create(plan.fields)
    if plan.op == "delete":
        return Delete(ledger.owned_id)
    return Update(ledger.owned_id, plan.fields, before or {})


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
    if ledger.done_version == desired.version or ledger.doubtful:
        return Decision(ledger)
    done = replace(ledger, done_version=desired.version, again_ms=now_ms + rules.settle_ms)
    last = ledger.intention
    written = last is not None and last.outcome == "done" and last.version == desired.version
    return Decision(done, result=answer(done, "done" if written else "unchanged"))


def _judged(
    kind: Kind, ledger: Ledger, plan: _Plan | None, changed: dict[str, tuple[Any, Any]], owners: Owners
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
