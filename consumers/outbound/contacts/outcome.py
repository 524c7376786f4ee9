"""The outcome of a call: from its reply, or without one from what DingTalk holds. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from dingbridge.consumers.outbound.fields import fulfils, written_over
from dingbridge.consumers.outbound.ledger import (
    EXISTS,
    Decision,
    Fields,
    Intention,
    Ledger,
    Observed,
    Outcome,
    Result,
    Rules,
    Settling,
)

CALL_MS: Final = 5_000
"""How long DingTalk may still work on a call without an answer: it gives up after 3 s
(developerpedia, best-practices/retry)."""
_WAIT_MS: Final = 10 * 60_000
HOUR_MS: Final = 60 * 60_000
CREATIONS: Final = 3
"""After so many attempts, a creation that DingTalk refuses because the id is taken was not ours."""
TAKEN: Final = frozenset({"60102", "60104", "60107", "60021", "60008"})
"""The error of a repeated creation when the first one was carried out (server-api-error-codes-1)."""


def wait_ms(since_ms: int, now_ms: int) -> int:
    """How long until an entity that waits for another one is read again; the other's arrival wakes it
    earlier."""
    return min(max(now_ms - since_ms, _WAIT_MS), HOUR_MS)


def _over_ms(intention: Intention) -> int:
    """How long to wait after a call without an answer; longer after each further one."""
    return min(CALL_MS << min(intention.attempt - 1, 20), HOUR_MS)


def settle_outcome(ledger: Ledger, outcome: Outcome, now_ms: int, rules: Rules) -> Decision:
    """After the call whose intention is open in ``ledger``; the desired state may be newer by now."""
    return awake(_settled(ledger, outcome, now_ms, rules), now_ms)


def awake(decision: Decision, now_ms: int) -> Decision:
    """The decision, due no later than a read that cannot lag any more."""
    ledger, due_ms = decision.ledger, decision.due_ms
    times = [state.until_ms for state in (*ledger.settling.values(), ledger.refetch) if state is not None]
    later = [at for at in times if at > now_ms]
    return replace(decision, due_ms=min([*later, *([] if due_ms is None else [due_ms])], default=None))


def _settled(ledger: Ledger, outcome: Outcome, now_ms: int, rules: Rules) -> Decision:
    intention = ledger.intention
    if intention is None or intention.outcome not in ("open", "invited"):
        return Decision(ledger, due_ms=now_ms)
    again = replace(intention, outcome="unknown", closed_ms=now_ms)
    if outcome.kind == "done":
        created = Observed(outcome.ding_id or ledger.owned_id or "", {}, outcome.mark)
        return _done(ledger, intention, created, now_ms, rules)
    if intention.op != "create" and outcome.kind != "refused":
        ledger = replace(ledger, removal_approved=True)  # it passed the limit before, and is counted once
    taken = intention.op == "create" and outcome.code in TAKEN
    if outcome.kind == "unknown" or (taken and 1 < intention.attempt <= CREATIONS):
        return Decision(ledger, due_ms=now_ms + _over_ms(intention))
    if outcome.kind in ("unsent", "stranger"):
        earlier = None if intention.attempt == 1 else replace(again, attempt=intention.attempt - 1)
        ledger = replace(ledger, intention=earlier)
        if outcome.kind == "stranger":
            return somebody_else(ledger, str(outcome.words), ledger.owned_id)
        return Decision(ledger, due_ms=now_ms + max(outcome.retry_after_ms, 1000))
    if outcome.kind == "pending":
        waiting = replace(intention, outcome="invited") if outcome.reason == "acceptance" else None
        result = answer(ledger, "pending", reason=outcome.reason)
        since_ms = now_ms if ledger.desired is None else ledger.desired.since_ms
        due_ms = now_ms + wait_ms(since_ms, now_ms)
        return Decision(replace(ledger, intention=waiting), result=result, due_ms=due_ms)
    refused = replace(
        ledger,
        intention=replace(intention, outcome="refused", closed_ms=now_ms, code=outcome.code),
        # somebody who has gone is reported again when they come back
        done_version=None if intention.op == "create" else ledger.done_version,
    )
    if ledger.desired is None or ledger.desired.version != intention.version:
        return Decision(refused, due_ms=now_ms)
    result = answer(refused, "refused", code=outcome.code, words=outcome.words)
    # the holder of the id will be found when reads no longer lag
    return Decision(refused, result=result, due_ms=now_ms + rules.settle_ms if taken else None)


def resolve(ledger: Ledger, observed: Observed | None, rules: Rules, now_ms: int) -> Ledger | Decision:
    """The outcome of the open call: the ledger to go on with, or a decision to return now."""
    intention = ledger.intention
    if intention is None:
        return ledger
    if ledger.conflict == "outcome":
        settled_ms = (intention.closed_ms or 0) + rules.settle_ms
        if now_ms < settled_ms:
            return Decision(ledger, due_ms=settled_ms)
        return replace(ledger, conflict=None)
    if intention.outcome == "invited":
        return _invited(ledger, intention, observed, rules, now_ms)
    made = is_made(ledger, observed)  # also when people changed it meanwhile
    if made and intention.outcome == "unknown":
        return _done(ledger, intention, observed, now_ms, rules)
    if intention.outcome != "open":
        return ledger
    fields = None if observed is None else observed.fields
    # the field may have had the desired value before somebody's change, and the read may be older
    moved = ledger.lagging(now_ms) & {EXISTS, *(intention.target or ())}
    if moved:
        return Decision(ledger, due_ms=max(ledger.settling[name].until_ms for name in moved))
    if made or _holds(fields, intention.target):
        return _done(ledger, intention, observed, now_ms, rules)
    over_ms = intention.opened_ms + _over_ms(intention)
    if intention.op == "create" and fields is None:
        over_ms += rules.settle_ms  # a read may show late what was created
    if now_ms < over_ms:
        return Decision(ledger, due_ms=over_ms)
    if fields is None or _holds(fields, intention.before, intention.target):
        return _reopened(ledger, intention, now_ms, rules)
    failed = replace(_reopened(ledger, intention, now_ms, rules), conflict="outcome")
    words = "A call had no answer, and DingTalk holds neither the old nor the new. It is compared again soon."
    result = answer(failed, "conflict", reason="outcome", words=words)
    return Decision(failed, result=result, due_ms=now_ms + rules.settle_ms)


def is_made(ledger: Ledger, observed: Observed | None) -> bool:
    """Whether ``observed`` is the result of a creation whose outcome is unknown: nobody had that id
    before."""
    return ledger.creation is not None and observed is not None and observed.by == "chosen"


def _invited(
    ledger: Ledger, intention: Intention, observed: Observed | None, rules: Rules, now_ms: int
) -> Ledger | Decision:
    if observed is not None and is_made(ledger, observed):
        accepted = replace(intention, target={**(intention.target or {}), **observed.fields}, complete=False)
        return _done(ledger, accepted, observed, now_ms, rules)
    if observed is not None or ledger.desired is None or ledger.desired.version != intention.version:
        return replace(ledger, intention=None)
    due_ms = now_ms + wait_ms(intention.opened_ms, now_ms)
    return Decision(ledger, result=answer(ledger, "pending", reason="acceptance"), due_ms=due_ms)


def _holds(fields: Fields | None, *states: Fields | None) -> bool:
    """Whether each field has its value in one of the states; None is a state, too."""
    if fields is None:
        return None in states
    known = [state for state in states if state is not None]
    names = {name for state in known for name in state if name in fields}
    return bool(known) and all(
        any(name in state and fulfils(name, fields[name], state[name]) for state in known) for name in names
    )


def _reopened(ledger: Ledger, intention: Intention, now_ms: int, rules: Rules) -> Ledger:
    """Compare again, and write again if it still differs: the call may have been carried out."""
    closed = replace(intention, outcome="unknown", closed_ms=now_ms)
    values = {EXISTS: False} if intention.target is None else {EXISTS: True, **intention.target}
    settling = settle(ledger.settling, values, now_ms, rules)
    for name, value in values.items():
        state = settling[name]
        settling[name] = replace(state, perhaps_ours=(*state.perhaps_ours, value))
    return replace(ledger, intention=closed, settling=settling)


def settle(
    settling: Mapping[str, Settling], names: Iterable[str], now_ms: int, rules: Rules
) -> dict[str, Settling]:
    """``settling`` with ``names`` as fields that were changed now."""
    until_ms = now_ms + rules.settle_ms
    changed = {name: replace(settling.get(name, Settling(0)), until_ms=until_ms) for name in names}
    return {**settling, **changed}


def _done(
    ledger: Ledger, intention: Intention, there: Observed | None, now_ms: int, rules: Rules
) -> Decision:
    """``there``: what a creation made, if known."""
    target, after = intention.target, None
    if intention.op == "create" and there is not None:
        ledger = replace(ledger, owned_id=there.ding_id, mark=there.mark, candidate=None)
    if target is None:
        written, names = {EXISTS: False}, {EXISTS}
    else:
        updates = intention.op == "update"
        seen = (ledger.seen if updates else None) or {}
        after = seen | {name: written_over(name, seen.get(name), value) for name, value in target.items()}
        written = {**ledger.written, **target, EXISTS: True}
        names = {*target} if updates else {EXISTS, *target}
    desired = ledger.desired
    current = desired is not None and desired.version == intention.version
    complete = current and intention.complete
    settled = replace(
        ledger,
        seen=after,
        written=written,
        intention=replace(intention, outcome="done", closed_ms=now_ms),
        settling={**ledger.settling, **dict.fromkeys(names, Settling(now_ms + rules.settle_ms))},
        done_version=intention.version if complete else ledger.done_version,
        removal_approved=False,
    )
    result = None
    if complete and ledger.done_version != intention.version:
        result = answer(settled, "done", fields=tuple(target or ()))
    return Decision(settled, result=result, due_ms=now_ms + rules.settle_ms if complete else now_ms)


def somebody_else(ledger: Ledger, why: str, ding_id: str | None) -> Decision:
    """``ding_id`` is left alone until it is the row's own again, or an operator releases it."""
    stopped, desired = replace(ledger, conflict="somebody-else"), ledger.desired
    result = Result(
        "conflict",
        0 if desired is None else desired.version,
        reason="somebody-else",
        ding_id=ding_id,
        fields=(why,),
    )
    return Decision(stopped, result=result)


def answer(ledger: Ledger, result: Any, **more: Any) -> Result:
    version = 0 if ledger.desired is None else ledger.desired.version
    return Result(result, version, ding_id=ledger.ding_id, **more)
