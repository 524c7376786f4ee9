"""Each bug that lives of the bridge were made for, put into the product: some life ends badly because of it.

A bug is planted by replacing a function of the product, as in ``test_planted.py``.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from dingbridge.ingress import callback
from dingbridge.ingress.journal import disk, folder
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.rows import NewCallback, columns_of
from dingbridge.ingress.relay.batches import BatchSet, BlockedTopics
from dingbridge.ingress.relay.publisher import Publisher
from dingbridge.ingress.relay.sender import Sender
from dingbridge.ingress.stream import client
from dingbridge.ingress.stream.gaps import Gaps
from tests.lives.bridge.life import lived, plan_of
from tests.lives.clock import everywhere
from tests.lives.life import Plan
from tests.lives.test_planted import Bug, planted
from tests.support.sizes import QUICK, sized

MOST = 200
"""Lives that are tried before a bug counts as not found."""

BUGS: list[Bug] = []
Plant = Callable[[pytest.MonkeyPatch, ExitStack], None]


def bug(name: str, seed: int, steps: int) -> Callable[[Plant], Plant]:
    """So many ``steps`` of the life of ``seed`` find it."""
    known = plan_of(seed)

    def note(plant: Plant) -> Plant:
        BUGS.append(Bug(name, plant, replace(known, steps=known.steps[:steps])))
        return plant

    return note


async def _accept_early(journal: Any, new: NewCallback, callbacks: Any) -> None:
    """Hand it over, and wait for nothing."""
    asyncio.ensure_future(journal.append(new)).add_done_callback(lambda done: done.exception())


@bug("success is answered before the commit", 1, 8)
def _early_success(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    patch.setattr(callback, "accept", _accept_early)


@bug("a Stream event is acknowledged before it is on the disk", 2, 5)
def _early_stream(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    patch.setattr(client, "accept", _accept_early)


@bug("the journal says acknowledged before Kafka has answered", 2, 9)
def _acked_ahead(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    send = Publisher._send_and_build

    async def ahead(self: Publisher, current: BatchSet) -> Any:
        self._acked = current.last
        await self._save()
        return await send(self, current)

    patch.setattr(Publisher, "_send_and_build", ahead)


@bug("what is parked is not of the commit that passes it", 267, 7)
def _parked_late(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    commit = JournalFile.commit

    def twice(self: JournalFile, callbacks: Any = (), notes: Any = None, acks: Any = ()) -> list[bool]:
        each = list(acks)
        new = commit(self, callbacks, notes, [one._replace(parked=(), sent=()) for one in each])
        commit(self, (), None, [one._replace(acked=None) for one in each])
        return new

    patch.setattr(JournalFile, "commit", twice)


@bug("the name of a new journal is not synced", 1, 2)
def _unsynced_name(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    patch.setattr(folder, "sync", lambda path: None)


def _unsynced(how: str) -> Plant:
    def plant(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        durable = disk.make_durable

        def weak(db: apsw.Connection, *, create: bool) -> None:
            durable(db, create=create)
            db.execute(f"PRAGMA synchronous = {how}")

        stack.enter_context(everywhere(durable, weak))

    return plant


bug("a commit is not synced at all", 1, 2)(_unsynced("OFF"))
bug("a commit returns before its sync", 1, 2)(_unsynced("NORMAL"))


@bug("a batch that got lost counts as acknowledged", 2, 4)
def _lost_batch(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    wait = Sender._errors

    async def no_errors(self: Sender, *rest: Any) -> dict[Any, Any]:
        await wait(self, *rest)
        return {}

    patch.setattr(Sender, "_errors", no_errors)


@bug("parked callbacks are pruned", 2, 7)
def _pruned(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    def prune(self: JournalFile, after_seq: int, limit: int, kept_ms: tuple[int, int]) -> None:
        with self.db:
            self.db.execute(
                "DELETE FROM callbacks WHERE seq <= ? AND received_ms NOT BETWEEN ? AND ?",
                (self.acked(), *kept_ms),
            )

    patch.setattr(JournalFile, "prune_callbacks", prune)


@bug("a drain forgets parked callbacks", 2, 9)
def _forgotten_parked(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    patch.setattr(JournalFile, "parked_seqs", lambda self, after_seq, limit: [])


@bug("a dedupe key is committed without its row", 1, 8)
def _key_without_row(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    commit = JournalFile.commit

    def apart(self: JournalFile, callbacks: Any = (), *rest: Any) -> list[bool]:
        with self.db:  # the keys first
            seen = [(one.key, one.received_ms) for one in callbacks if one.key is not None]
            unknown = self._insert("seen", seen, " ON CONFLICT DO NOTHING RETURNING key")
        new = []
        for one in callbacks:
            new.append(one.key is None or one.key in unknown)
            unknown.discard(one.key)
        fresh = [one for one, is_new in zip(callbacks, new, strict=True) if is_new]
        with self.db:
            rows = [columns_of(seq, one) for seq, one in enumerate(fresh, self._issued + 1)]
            self._insert("callbacks", rows)
        self._issued += sum(new)
        commit(self, (), *rest)
        return new

    patch.setattr(JournalFile, "commit", apart)


@bug("a retry sends parked callbacks in another order", 2, 4)
def _turned_order(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    parked = JournalFile.parked
    patch.setattr(JournalFile, "parked", lambda self, *rest: parked(self, *rest)[::-1])


@bug("new callbacks overtake parked ones once the first of these is taken", 4, 10)
def _overtaken(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    taken = BlockedTopics.taken
    patch.setattr(BlockedTopics, "taken", lambda self, topic, **_: taken(self, topic, all_of_it=True))


@bug("a gap of Stream is not reported", 2, 11)
def _silent_gap(patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
    def opened(self: Gaps) -> None:
        self.open += 1

    patch.setattr(Gaps, "opened", opened)


def lives(one: Bug) -> Iterator[Plan]:
    """Yield the life that is known to find the bug, then whole lives by seed."""
    yield one.known
    for seed in range(1, MOST + 1):
        yield plan_of(seed)


@pytest.mark.parametrize("one", sized(BUGS, BUGS, quick=BUGS[::2]), ids=lambda one: one.name)
def test_a_bug_that_is_put_in_is_found(one: Bug, tmp_path: Path) -> None:
    for number, plan in enumerate(lives(one)):
        with planted(one):
            problems = lived(plan, tmp_path / f"{number}-planted")
        if problems and (QUICK or not lived(plan, tmp_path / f"{number}")):
            return
    raise AssertionError(f"{MOST} lives end well with it: {one.name}")
