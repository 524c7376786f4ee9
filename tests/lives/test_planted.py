"""Each bug that lives were made for, put back: some life of a bounded number ends badly because of it.

A bug is planted by replacing one function of the product. A life that finds it ends well without it, so it
is the bug that was found; ``make test`` lives only the life with the bug.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dingbridge.consumers.approval.archive import document as approval_document
from dingbridge.consumers.approval.archive import times
from dingbridge.consumers.outbound.contacts import agent, identity, outcome, unnamed
from dingbridge.consumers.outbound.contacts.dingtalk import Contacts
from dingbridge.dingtalk.api import DingTalkClient
from dingbridge.dingtalk.api.approvals import ApprovalCalls
from dingbridge.mirror import answers, leavers
from tests.lives.clock import everywhere
from tests.lives.life import Plan, Step, lived
from tests.support.sizes import QUICK, sized

MOST = 40
"""Lives that are tried before a bug counts as not found."""


@dataclass(frozen=True)
class Bug:
    """The life ``known`` found it before, and is lived first."""

    name: str
    plant: Callable[[pytest.MonkeyPatch, ExitStack], None]
    known: Plan


BUGS: list[Bug] = []


def bug(name: str, kind: str, seed: int, steps: int | Sequence[Step]) -> Callable[[Any], Any]:
    """``steps``: so many of the life of ``seed`` find it, or these where all reads lag 4 s, and two people a
    day may leave without an event."""
    if isinstance(steps, int):
        known = Plan.of(kind, seed)
        known = replace(known, steps=known.steps[:steps])
    else:
        known = Plan(kind, seed, "kind,late=1,late_ms=4000", tuple(steps), max_leavers="2")

    def note(plant: Callable[[pytest.MonkeyPatch, ExitStack], None]) -> Any:
        BUGS.append(Bug(name, plant, known))
        return plant

    return note


@bug("an answer is believed at once, and for good", "contacts", 1, 2)
def _believed_at_once(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    stack.enter_context(everywhere(answers.decide, lambda *_, **__: answers.Decision(True, None)))
    stack.enter_context(everywhere(answers.agreed, lambda *_, **__: True))
    stack.enter_context(everywhere(answers.next_ms, lambda began_ms, again_ms, settles_ms: again_ms))


@bug("an action runs on a document that is not at its end", "approvals", 2, 3)
def _acts_on_a_running_document(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    stack.enter_context(everywhere(approval_document.at_end, lambda document: True))


@bug("the false Z of approvals is believed", "approvals", 2, 3)
def _true_z(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    stack.enter_context(everywhere(times.zone_of, lambda *_: "true"))


@bug("who changes or takes back an approval is not linked to it", "approvals", 2, 8)
def _no_links(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    read = ApprovalCalls.approval

    async def alone(self: ApprovalCalls, instance_id: str) -> dict[str, Any]:
        document = dict(await read(self, instance_id))
        for name in ("bizAction", "mainProcessInstanceId", "attachedProcessInstanceIds"):
            document.pop(name, None)
        return document

    patch.setattr(ApprovalCalls, "approval", alone)


@bug("whoever has the number is the OA's person", "outbound", 5, 10)
def _by_number(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    find, decide = Contacts.find, agent.decide

    async def by_number(self: Contacts, entity: Any, ledger: Any) -> Any:
        found = await find(self, entity, ledger)
        mobile = (
            ledger.desired.fields.get("mobile") or ledger.written.get("mobile") if ledger.desired else None
        )
        if found is not None or not mobile or ledger.owned_id is None:
            return found
        return await self._alike(replace(entity, desired={}), {"mobile": mobile})

    def taken(kind: Any, ledger: Any, observed: Any, **rest: Any) -> Any:
        if observed is not None and ledger.owned_id is not None:
            ledger = replace(ledger, owned_id=observed.ding_id, mark=None)
        return decide(kind, ledger, observed, **rest)

    patch.setattr(Contacts, "find", by_number)
    stack.enter_context(everywhere(identity.stranger, lambda *_, **__: None))
    stack.enter_context(everywhere(agent.decide, taken))


@bug("a creation whose reply was lost is never ours", "outbound", 5, 13)
def _never_ours(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    stack.enter_context(everywhere(outcome.is_made, lambda ledger, observed: False))


@bug("our own write is told as a person's change", "outbound", 2, 2)
def _echo(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    settle = agent.settle_outcome

    def forgetful(ledger: Any, call: Any, *rest: Any) -> Any:
        decision = settle(ledger, call, *rest)
        return replace(decision, ledger=replace(decision.ledger, seen=ledger.seen, settling={}))

    stack.enter_context(everywhere(settle, forgetful))


@bug("nothing is told of whom the OA never named", "outbound", 1, 1)
def _unnamed(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    async def silent(*_: Any) -> None: ...

    stack.enter_context(everywhere(unnamed.report_unnamed, silent))


# Removals: the two rules of them that the product has, by its own names, here alone


def _one_no_is_believed(stack: ExitStack) -> None:
    decide = answers.decide

    def believed(reported: Any, reads: int, *, exists: bool, here: bool) -> answers.Decision:
        if exists:
            return decide(reported, reads, exists=exists, here=here)
        return answers.Decision(True, None)

    stack.enter_context(everywhere(decide, believed))


def _no_limit(patch: pytest.MonkeyPatch) -> None:
    async def allows(self: Any, tx: Any, row: Any) -> bool:
        return True

    patch.setattr(leavers.LeaverLimit, "allows", allows)


SYNCED_WHILE_PEOPLE_MOVE = (
    Step(5.0, "moved_while_read", 1),
    Step(4.0, "move", 0),  # a moment before the sync that is asked for begins
    *(Step(0.3, "move", dice) for dice in range(1, 4)),
)


@bug("who is missing in a department's listing is marked as left", "cruel", 1, SYNCED_WHILE_PEOPLE_MOVE)
def _a_list_removes(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    listed = DingTalkClient.department_users

    async def listed_and_removed(self: DingTalkClient, dept_id: int) -> AsyncIterator[Any]:
        seen = []
        async for user in listed(self, dept_id):
            seen.append(user["userid"])
            yield user
        _mark_others(dept_id, seen)

    patch.setattr(DingTalkClient, "department_users", listed_and_removed)


def _mark_others(dept_id: int, seen: list[str]) -> None:
    others = f"userid NOT IN ({', '.join('?' * len(seen))})"
    of_department = "userid IN (SELECT userid FROM memberships WHERE dept_id = ?)"
    marked = f"UPDATE users SET left_at = updated_at WHERE {of_department} AND {others}"
    with closing(sqlite3.connect(Path(os.environ["DATA_DIR"]) / "address-sync.db", timeout=0)) as db, db:
        db.execute(marked, (dept_id, *seen))


@bug('one "no such user" is believed at once', "cruel", 1, [Step(5.0, "no_such_user_for_a_minute", 1)])
def _no_is_believed_at_once(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    _one_no_is_believed(stack)


@bug("people who are gone without an event are not counted", "cruel", 1, [Step(5.0, "no_such_user", 5)])
def _nobody_is_counted(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    _no_limit(patch)


@contextmanager
def planted(one: Bug) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        one.plant(patch, stack)
        yield


def lives(one: Bug) -> Iterator[Plan]:
    """The one that is known to find it, then whole ones."""
    yield one.known
    for seed in range(1, MOST + 1):
        yield Plan.of(one.known.kind, seed)


@pytest.mark.parametrize("one", sized(BUGS, BUGS, quick=BUGS[::3]), ids=lambda one: one.name)
def test_a_bug_that_is_put_back_is_found(one: Bug, tmp_path: Path) -> None:
    for number, plan in enumerate(lives(one)):
        with planted(one):
            problems = lived(plan, tmp_path / f"{number}-planted")
        if problems and (QUICK or not lived(plan, tmp_path / f"{number}")):
            return
    raise AssertionError(f"{MOST} lives end well with it: {one.name}")
