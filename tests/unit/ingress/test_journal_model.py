"""The journal, its file and its checkpoint, against a plain list: with crashes at every call that writes.

What ``keep`` returned for is there after any crash; nothing is there twice; a ``seq`` is never given again;
the checkpoint never stands beyond the journal; parked callbacks stay. A crash is the end of the process, or a
loss of power that leaves of the unsynced writes nothing, or any of their sectors.
"""

import contextlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import current
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dingbridge.ingress.journal.rows import NewCallback
from tests.support.disk import MortalDisk, Survives, mortal_disk
from tests.support.sizes import LONG, sized

NOW = 1_764_000_000_000
SURVIVES: tuple[Survives, ...] = ("all", "synced", "torn")


def body(key: int) -> bytes:
    return b"%d " % key + bytes([key % 256]) * (key * 131 % 3000)


def entry(key: int) -> NewCallback:
    return NewCallback(NOW + key, "default", "http", body(key), b"key-%d" % key)


@dataclass
class State:
    """What must be in the folder."""

    rows: dict[int, bytes] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    issued: int = 0
    passed: int = 0
    parked: frozenset[int] = frozenset()

    def kept(self, keys: list[int]) -> tuple["State", list[bool]]:
        """The state behind ``keep(keys)``, and what it must return."""
        after = State(dict(self.rows), set(self.known), self.issued, self.passed, self.parked)
        new = []
        for key in keys:
            new.append(key not in after.known)
            if new[-1]:
                after.known.add(key)
                after.issued += 1
                after.rows[after.issued] = body(key)
        return after, new

    def pruned(self, limit: int) -> "State":
        doomed = [seq for seq in sorted(self.rows) if seq <= self.passed and seq not in self.parked][:limit]
        rows = {seq: content for seq, content in self.rows.items() if seq not in doomed}
        return State(rows, self.known, self.issued, self.passed, self.parked)

    def forgotten(self) -> "State":
        return State(self.rows, set(), self.issued, self.passed, self.parked)

    def moved(self, seq: int, parked: frozenset[int]) -> "State":
        return State(self.rows, self.known, self.issued, seq, self.parked | parked)

    def unparked(self, seqs: frozenset[int]) -> "State":
        return State(self.rows, self.known, self.issued, self.passed, self.parked - seqs)


class Journal:
    """One folder on a disk that may die, and the state that it must be in: ``state``, or, when the disk has
    died in the middle of something, that or ``attempted``."""

    def __init__(self, disk: MortalDisk) -> None:
        self.disk = disk
        self.folder = Path(tempfile.mkdtemp(prefix="journal-model-"))
        self.state = State()
        self.attempted: State | None = None
        self.file: JournalFile | None = None
        self.checkpoint: Checkpoint | None = None
        self.crashes = 0

    def open(self) -> None:
        self.file = open_current(self.folder)
        self.checkpoint = Checkpoint(current(self.folder).path, self.file.id)

    def close(self) -> None:
        for handle in (self.checkpoint, self.file):
            if handle is not None:
                with contextlib.suppress(apsw.Error):
                    handle.close()
        self.file = self.checkpoint = None

    def remove(self) -> None:
        self.close()
        shutil.rmtree(self.folder)

    @contextlib.contextmanager
    def attempt(self, after: State) -> Iterator[None]:
        """The block leads to ``after``, wholly or not at all. Any error that is not of a dead disk is one."""
        self.attempted = after
        try:
            yield
        except Exception:
            if not self.disk.dead:
                raise
        if not self.disk.dead:
            self.state, self.attempted = after, None

    def keep(self, keys: list[int]) -> None:
        after, expected = self.state.kept(keys)
        with self.attempt(after):
            assert self.file is not None
            assert self.file.keep([entry(key) for key in keys]) == expected
            # it has returned: from here on the callbacks are there, whatever dies
            self.state, self.attempted = after, None

    def move(self, seq: int, parked: frozenset[int]) -> None:
        with self.attempt(self.state.moved(seq, parked)):
            assert self.file is not None
            assert self.checkpoint is not None
            self.checkpoint.commit(seq, [self.parked(s) for s in parked])

    def unpark(self, seqs: frozenset[int]) -> None:
        with self.attempt(self.state.unparked(seqs)):
            assert self.checkpoint is not None
            self.checkpoint.unpark(self.parked(s) for s in seqs)

    def prune(self, limit: int) -> None:
        with self.attempt(self.state.pruned(limit)):
            assert self.file is not None
            assert self.checkpoint is not None
            self.file.prune_callbacks(
                self.checkpoint.seq(), self.checkpoint.parked_seqs(), limit, after_seq=0
            )

    def forget(self) -> None:
        with self.attempt(self.state.forgotten()):
            assert self.file is not None
            self.file.prune_seen(NOW + 1_000_000, 1_000_000)

    def empty_wal(self) -> None:
        with self.attempt(self.state):
            assert self.file is not None
            self.file.truncate_wal()

    def reopen(self) -> None:
        with self.attempt(self.state):
            self.close()
            self.open()

    def parked(self, seq: int) -> Parked:
        assert self.file is not None
        return Parked(seq, 0, "topic", "rights", 1)

    def restart(self, survives: Survives, dice: random.Random) -> None:
        """After a crash: what survived, opened as the ingress does at its start."""
        self.crashes += self.disk.dead
        self.close()
        self.disk.restart(survives, dice)
        self.open()
        found = self.found()
        allowed = [self.state] if self.attempted is None else [self.state, self.attempted]
        assert found in [self.facts(state) for state in allowed]
        self.state = allowed[[self.facts(state) for state in allowed].index(found)]
        self.attempted = None

    def found(self) -> tuple[object, ...]:
        assert self.file is not None
        assert self.checkpoint is not None
        rows = self.file.read(0, max_rows=100_000, max_bytes=1 << 30)
        assert all(row.intact for row in rows)
        seqs = [row.seq for row in rows]
        assert seqs == sorted(set(seqs))
        return (
            {row.seq: row.body for row in rows},
            {int(key[4:]) for (key,) in self.file.db.execute("SELECT key FROM seen")},
            self.file.highest_seq(),
            self.checkpoint.seq(),
            self.checkpoint.parked_seqs(),
        )

    @staticmethod
    def facts(state: State) -> tuple[object, ...]:
        return state.rows, state.known, state.issued, state.passed, state.parked

    def check(self) -> None:
        found = self.found()
        assert found == self.facts(self.state)
        assert self.state.passed <= self.state.issued
        assert self.state.parked <= self.state.rows.keys()


class JournalMachine(RuleBasedStateMachine):
    """Any sequence of what ingress and publisher do, with crashes in between and in the middle."""

    @initialize(dies_at=st.none() | st.integers(1, 40), survives=st.sampled_from(SURVIVES))
    def begin(self, dies_at, survives):
        self._context = mortal_disk()
        self.journal = Journal(self._context.__enter__())
        self.journal.disk.dies_at = dies_at
        try:
            self.journal.reopen()
        finally:
            if self.journal.disk.dead:
                self.journal.restart(survives, random.Random(0))
            self.journal.disk.dies_at = None

    @property
    def alive(self) -> bool:
        return not self.journal.disk.dead

    @precondition(lambda self: self.alive)
    @rule(keys=st.lists(st.integers(0, 40), min_size=1, max_size=8))
    def keep(self, keys):
        self.journal.keep(keys)

    @precondition(lambda self: self.alive)
    @rule(share=st.floats(0, 1), parked=st.sets(st.integers(0, 5)))
    def publish(self, share, parked):
        state = self.journal.state
        seq = state.passed + round(share * (state.issued - state.passed))
        self.journal.move(seq, frozenset(s for n in parked if (s := seq - n) > state.passed))

    @precondition(lambda self: self.alive)
    @rule(which=st.sets(st.integers(0, 5)))
    def unpark(self, which):
        waiting = sorted(self.journal.state.parked)
        self.journal.unpark(frozenset(waiting[n] for n in which if n < len(waiting)))

    @precondition(lambda self: self.alive)
    @rule(limit=st.integers(1, 10))
    def prune(self, limit):
        self.journal.prune(limit)

    @precondition(lambda self: self.alive)
    @rule()
    def forget_keys(self):
        self.journal.forget()

    @precondition(lambda self: self.alive)
    @rule()
    def empty_wal(self):
        self.journal.empty_wal()

    @precondition(lambda self: self.alive)
    @rule()
    def reopen(self):
        self.journal.reopen()

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


def story(journal: Journal) -> None:
    """A day in short: everything that writes, at least once, the WAL restarted in between."""
    steps = (
        journal.reopen,
        lambda: journal.keep([1, 2, 3]),
        lambda: journal.keep([3, 4]),
        lambda: journal.move(3, frozenset({2})),
        journal.empty_wal,
        lambda: journal.keep([5, 6, 7, 8]),
        lambda: journal.prune(10),
        lambda: journal.move(8, frozenset()),
        lambda: journal.unpark(frozenset({2})),
        journal.reopen,
        lambda: journal.prune(10),
        journal.forget,
        lambda: journal.keep([1, 9]),
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
                issued = journal.state.issued
                journal.keep([100, 101])
                assert set(journal.state.rows) - set(range(issued + 1)) == {issued + 1, issued + 2}
                journal.check()
                journal.remove()
    print(f"crashed at every {each}. of {calls} calls, {survives} survives")
