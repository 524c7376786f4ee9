"""The journal's file against a plain list, with crashes at every call that writes.

What ``commit`` returned for is there after any crash, callbacks together with the acknowledgement. Nothing is
there twice, and a ``seq`` is never given again. Behind ``acked`` no number is missing. Parked callbacks stay.
A crash is the end of the process, or a loss of power: of the unsynced writes it leaves nothing, or some
sectors.
"""

import contextlib
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import open_current
from dingbridge.ingress.journal.rows import Acknowledgement
from tests.support.disk import MortalDisk, Survives, mortal_disk
from tests.support.sizes import LONG, sized
from tests.unit.ingress.filled import NOW, callback, rights, rows

SURVIVES: tuple[Survives, ...] = ("all", "synced", "torn")


def body(key: int) -> bytes:
    return b"%d " % key + bytes([key % 256]) * (key * 131 % 3000)


@dataclass(frozen=True)
class State:
    """What must be in the file. ``rows``: the key of each callback, by its ``seq``."""

    rows: dict[int, int] = field(default_factory=dict)
    known: frozenset[int] = frozenset()
    issued: int = 0
    acked: int = 0
    parked: frozenset[int] = frozenset()

    def kept(self, keys: list[int]) -> tuple["State", list[bool]]:
        """The state after ``keys`` were kept, and what must be returned for each."""
        new = [key not in self.known and key not in keys[:at] for at, key in enumerate(keys)]
        fresh = [key for key, is_new in zip(keys, new, strict=True) if is_new]
        added = dict(enumerate(fresh, self.issued + 1))
        known, issued = self.known | set(keys), self.issued + len(fresh)
        return replace(self, rows=self.rows | added, known=known, issued=issued), new

    def pruned(self, limit: int, before_key: int) -> "State":
        last = min(self.rows, default=0) + limit - 1
        gone = {
            seq
            for seq, key in self.rows.items()
            if seq <= min(last, self.acked) and seq not in self.parked and key < before_key
        }
        return replace(self, rows={seq: key for seq, key in self.rows.items() if seq not in gone})


class Journal:
    """One folder on a disk that may die, and the state that it must be in: ``state``. When the disk has died
    in the middle of something, ``attempted`` is right, too."""

    def __init__(self, disk: MortalDisk) -> None:
        self.disk = disk
        self.folder = Path(tempfile.mkdtemp(prefix="journal-model-"))
        self.state = self.attempted = State()
        self.file: JournalFile | None = None

    def close(self) -> None:
        if self.file is not None:
            with contextlib.suppress(apsw.Error):
                self.file.close()
        self.file = None

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    def reopen(self) -> None:
        def work() -> None:
            self.close()
            self.file = open_current(self.folder)

        self.attempt(self.state, work)

    def attempt(self, after: State, work: Callable[[], object]) -> None:
        """``work`` leads to ``after``, wholly or not at all. Any error that is not of a dead disk is one."""
        self.attempted = after
        try:
            work()
        except Exception:
            if not self.disk.dead:
                raise
            return
        self.state = after

    def commit(
        self, keys: list[int], acked: int | None, parked: frozenset[int], sent: frozenset[int]
    ) -> None:
        after, expected = self.state.kept(keys)
        now_parked = after.parked - sent | parked
        after = replace(after, acked=after.acked if acked is None else acked, parked=now_parked)
        acknowledgement = Acknowledgement(acked, [*map(rights, parked)], [*map(rights, sent)])

        def work() -> None:
            callbacks = [callback(body(key), NOW + key, b"%d" % key) for key in keys]
            assert self.file.commit(callbacks, None, [acknowledgement]) == expected

        self.attempt(after, work)

    def prune(self, limit: int, before_key: int) -> None:
        after = self.state.pruned(limit, before_key)
        self.attempt(after, lambda: self.file.prune_callbacks(0, limit, (NOW + before_key, NOW + 1_000)))

    def forget(self) -> None:
        after = replace(self.state, known=frozenset())
        self.attempt(after, lambda: self.file.prune_seen(NOW + 1_000_000, 1_000_000))

    def empty_wal(self) -> None:
        self.attempt(self.state, lambda: self.file.truncate_wal())

    def restart(self, survives: Survives, dice: random.Random) -> None:
        """After a crash: what survived, opened as the ingress does at its start."""
        self.close()
        self.disk.restart(survives, dice)
        self.file = open_current(self.folder)
        found = self.found()
        assert found in (self.state, self.attempted)
        self.state = self.attempted = found

    def found(self) -> State:
        kept = rows(self.file)
        assert all(row.intact and row.body == body(int(row.body.split()[0])) for row in kept)
        return State(
            {row.seq: int(row.body.split()[0]) for row in kept},
            frozenset(int(key) for (key,) in self.file.db.execute("SELECT key FROM seen")),
            self.file.highest_seq(),
            self.file.acked(),
            frozenset(self.file.parked_seqs(0, 1_000_000)),
        )

    def check(self) -> None:
        found = self.found()
        assert found == self.state
        assert found.acked <= found.issued
        assert {*range(found.acked + 1, found.issued + 1)} | found.parked <= found.rows.keys()


class JournalMachine(RuleBasedStateMachine):
    """Any sequence of what the writer does, with crashes in between and in the middle."""

    @initialize(dies_at=st.none() | st.integers(1, 40), survives=st.sampled_from(SURVIVES))
    def begin(self, dies_at, survives):
        self._context = mortal_disk()
        self.journal = Journal(self._context.__enter__())
        self.journal.disk.dies_at = dies_at
        self.journal.reopen()
        if self.journal.disk.dead:
            self.journal.restart(survives, random.Random(0))
        self.journal.disk.dies_at = None

    @property
    def alive(self) -> bool:
        return not self.journal.disk.dead

    @precondition(lambda self: self.alive)
    @rule(
        keys=st.lists(st.integers(0, 40), max_size=8),
        share=st.none() | st.floats(0, 1),
        parked=st.sets(st.integers(0, 5)),
        sent=st.sets(st.integers(0, 5)),
    )
    def commit(self, keys, share, parked, sent):
        state, before = self.journal.state, sorted(self.journal.state.parked)
        acked = None if share is None else state.acked + round(share * (state.issued - state.acked))
        passed = {seq for n in parked if (seq := (acked or 0) - n) > state.acked}
        gone = frozenset(before[n] for n in sent if n < len(before))
        self.journal.commit(keys, acked, frozenset(passed), gone)

    @precondition(lambda self: self.alive)
    @rule(limit=st.integers(1, 10), before_key=st.integers(0, 41))
    def prune(self, limit, before_key):
        self.journal.prune(limit, before_key)

    @precondition(lambda self: self.alive)
    @rule(which=st.sampled_from([Journal.forget, Journal.empty_wal, Journal.reopen]))
    def do(self, which):
        which(self.journal)

    @precondition(lambda self: self.alive)
    @rule(calls=st.integers(1, 25))
    def crash_soon(self, calls):
        self.journal.disk.dies_at = self.journal.disk.calls + calls

    @rule(survives=st.sampled_from(SURVIVES), seed=st.integers(0, 1 << 16))
    def restart(self, survives, seed):
        self.journal.restart(survives, random.Random(seed))

    @invariant()
    def it_is_what_the_list_says(self):
        if hasattr(self, "journal") and self.alive:
            self.journal.check()

    def teardown(self):
        if hasattr(self, "journal"):
            self.journal.restart("torn", random.Random(1))
            self.journal.remove()
            self._context.__exit__(None, None, None)


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=sized(30, 500, quick=12),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

NONE: frozenset[int] = frozenset()


def story(journal: Journal) -> None:
    """A day in short: everything that writes, at least once, the WAL restarted in between."""
    steps = (
        journal.reopen,
        lambda: journal.commit([1, 2, 3], None, NONE, NONE),
        lambda: journal.commit([3, 4], 3, frozenset({2}), NONE),
        journal.empty_wal,
        lambda: journal.commit([5, 6, 7, 8], None, NONE, NONE),
        lambda: journal.prune(10, 99),
        lambda: journal.commit([], 8, NONE, frozenset({2})),
        journal.reopen,
        lambda: journal.prune(10, 99),
        journal.forget,
        lambda: journal.commit([1, 9], None, NONE, NONE),
        journal.reopen,
    )
    for step in steps:
        if not journal.disk.dead:
            step()


@pytest.mark.parametrize("survives", SURVIVES)
def test_a_crash_at_every_single_call_that_writes(survives):
    with mortal_disk() as disk:
        whole = Journal(disk)
        story(whole)
        calls = disk.calls
        whole.check()
        whole.remove()
    # of all of them each third, which is the other's neighbour; "torn" is at every call beyond ``make test``
    rare = sized(3, 1, quick=9) if survives != "torn" else sized(1, 1, quick=3)
    first, each = (1, 1) if rare == 1 else (SURVIVES.index(survives) + 1, rare)
    for number in range(first, calls + 1, each):
        for seed in range(4 if survives == "torn" and LONG else 1):
            with mortal_disk() as disk:
                journal = Journal(disk)
                disk.dies_at = number
                story(journal)
                assert disk.dead
                journal.restart(survives, random.Random(f"{number}-{seed}"))
                journal.check()
                # and life goes on: a number is never given again
                journal.commit([100, 101], None, NONE, NONE)
                journal.check()
                journal.remove()
