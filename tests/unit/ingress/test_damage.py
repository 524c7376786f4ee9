"""A journal after the disk has been at it: what can be read is published, the rest is parked, counted or
said; or the start is refused with the remedy. Nothing is published that DingTalk did not push.
"""

import asyncio
import json
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalUnavailable
from dingbridge.ingress.journal.drain import Drainer, DrainState
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import current, put_aside, rename_damaged
from dingbridge.ingress.journal.inspect import JournalView
from dingbridge.ingress.journal.retention import prune_step
from dingbridge.ingress.journal.rows import CONTROL, Acknowledgement
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.relay.reading import JournalReader
from tests.support.sizes import LONG, new_seed, sized
from tests.unit.ingress.filled import DAY, NOW, callback, fill, rights, started

COUNT, ACKED, PARKED, LATER = 120, 50, 7, 1_000
"""``LATER``: the number of a callback that is kept after the start."""
JOURNAL, WAL = "journal.db", "journal.db-wal"
NUMBER = re.compile(rb"[\x01-\x78](?=[\x0c-\x0e]\x00\x05\x1b\x15)")
"""The rowid of a callback of ours, by the header of its record: NULL, 6 bytes of time, ``default``, ``http``
(sqlite.org/fileformat2.html)."""
SCHEMA = "the schema"
"""Such a file may pass SQLite's checks, and then our statements do not fit it, or find other pages."""


def body(number: int) -> bytes:
    return json.dumps({"number": number, "text": "钉" * (number * 37 % 900)}, ensure_ascii=False).encode()


BODIES = {body(n) for n in (*range(1, COUNT + 1), LATER)}


def keep(file: JournalFile, *numbers: int) -> None:
    file.commit([callback(body(n), NOW + n, b"key-%d" % n) for n in numbers])


def journal(root: Path, *, wal: bool) -> Path:
    """A ``JOURNAL_DIR`` as an ingress left it: ``ACKED`` of ``COUNT`` callbacks are published, one is parked.
    With ``wal`` it was killed, and the second half of the callbacks is in the WAL alone."""
    work = root.with_name(root.name + "-live")
    file = fill(work, 0)
    keep(file, *range(1, COUNT // 2 + 1))
    file.commit([], {"recovery/oa": "page 3"}, [Acknowledgement(ACKED, [rights(PARKED)])])
    file.truncate_wal()
    keep(file, *range(COUNT // 2 + 1, COUNT + 1))
    if wal:
        shutil.copytree(work, root, ignore=shutil.ignore_patterns("*-shm"))
    file.close()
    if not wal:
        shutil.copytree(work, root)
    shutil.rmtree(work)
    return root


@dataclass
class Found:
    """What an ingress that starts on a folder would do, with its relay, and started again when it ends."""

    refused: str | None = None
    published: list[bytes] = field(default_factory=list)
    parked: list[bytes] = field(default_factory=list)
    damaged: int = 0
    """How many rows are not intact, parked ones among them."""
    drained: DrainState | None = None


def start(root: Path) -> Found:
    """Start on ``root`` as the ingress does, without Kafka, and keep one callback more."""
    found = Found()
    try:
        try:
            asyncio.run(_live(root, found))
        except JournalDamaged as error:
            rename_damaged(root, str(error))
            asyncio.run(_live(root, found))
    except JournalError as error:
        found.refused = str(error)
    return found


async def _live(root: Path, found: Found) -> None:
    async with started(root) as journal:
        try:
            await _look(journal, root, found)
        except JournalUnavailable:
            raise journal._ended or AssertionError("it waits") from None


async def _look(journal: Journal, root: Path, found: Found) -> None:
    for path in put_aside(root):
        found.drained = await Drainer(journal).drain(path)
    assert await journal.append(callback(body(LATER), key=b"later"))
    reader = JournalReader(current(root))
    try:
        _, seq = await reader.begin()
        for _, row in await reader.parked("topic", ["rights"], 0, 10):
            if row.intact:
                found.parked.append(row.body)
            else:
                found.damaged += 1
        while rows := await reader.read(seq):
            for row in rows:
                assert row.seq > seq
                seq = row.seq
                if not row.intact:
                    found.damaged += 1
                elif row.via != CONTROL:
                    found.published.append(row.body)
    finally:
        reader.close()
    await journal.acknowledge(Acknowledgement(seq))
    await journal._submit(lambda file: prune_step(file, root, DAY, 0))
    assert not journal.fault


def assert_honest(found: Found, what: str, *, may_end_early: bool = False) -> str:
    """Refused with a remedy; or each callback that waited is published as it was kept, or counted; and the
    parked one is still parked, published or counted. Returns which of them.

    ``may_end_early``: where the WAL itself is damaged, SQLite takes its frames up to there."""
    if found.refused is not None:
        assert re.search(r"[Nn]othing was changed|; or |move \S+ away|move it away", found.refused), (
            f"{what}: {found.refused}"
        )
        return "refused"
    published, drained = set(found.published), found.drained
    assert published | set(found.parked) <= BODIES, f"{what}: one was published changed"
    assert body(LATER) in published, f"{what}: what came afterwards stays unpublished"
    missed = {n for n in range(ACKED + 1, COUNT + 1) if body(n) not in published}
    if may_end_early and missed:
        assert missed == set(range(min(missed), COUNT + 1)), f"{what}: {sorted(missed)} vanished"
        return "ends early"
    if body(PARKED) not in published and body(PARKED) not in found.parked:
        missed.add(PARKED)
    if drained is not None and not drained.counted:
        assert drained.unreadable, f"{what}: lost without a word"
        return "put aside, some lost"
    unreadable = drained.unreadable if drained is not None else 0
    assert len(missed) <= unreadable + found.damaged, f"{what}: {sorted(missed)} vanished without a word"
    if drained is not None:
        return "put aside, some unreadable" if missed else "put aside"
    return "parked" if found.damaged else "as it was"


def assert_shown(root: Path, what: str) -> None:
    """``dingbridge journal`` shows no callback as whole that is not."""
    for path in root.rglob("journal.db"):
        with suppress(apsw.Error, JournalError), closing(JournalView(path)) as view:
            for one in view.newest(10_000, waiting=False, parked=False):
                whole = not one.row.intact or one.row.via == CONTROL
                assert whole or one.row.body in BODIES, f"{what}: {one.row.seq} is changed"


def outcomes_of(hurt: Iterator[tuple[str, bytes]], source: Path, name: str) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for what, content in hurt:
        copy = source.with_name("copy")
        shutil.copytree(source, copy)
        current(copy).with_name(name).write_bytes(content)
        try:
            outcomes[assert_honest(start(copy), what, may_end_early=name == WAL)] += 1
            assert_shown(copy, what)
        except BaseException as error:
            error.add_note(what)
            raise
        shutil.rmtree(copy)
    return outcomes


def flipped(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def pages_of(content: bytes, text: bytes) -> list[int]:
    """The places of the pages in which ``text`` stands."""
    first = sorted({match.start() // 4096 * 4096 for match in re.finditer(re.escape(text), content)})
    return [at for page in first for at in range(page, page + 4096)]


@pytest.mark.parametrize("where", [JOURNAL, WAL, "a number", "a number, unchecked", "state", SCHEMA])
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, monkeypatch, where):
    name = WAL if where == WAL else JOURNAL
    if where.endswith("unchecked"):
        monkeypatch.setattr("dingbridge.ingress.journal.folder._QUICK_CHECK_MAX_BYTES", 0)
    source = journal(tmp_path / "source", wal=name == WAL)
    whole, seed = current(source).with_name(name).read_bytes(), new_seed()
    places = [*range(len(whole))]
    if where.startswith("a number"):
        places = [match.start() for match in NUMBER.finditer(whole)]
        assert len(places) >= COUNT
    elif where == SCHEMA:
        places = [*range(whole.index(b"CREATE TABLE"), 4096)]
    elif where == "state":
        places = pages_of(whole, b"recovery/oa")
        places = [at for at in places if whole[at]]
    bits = [(at, bit) for at in places for bit in range(8)]
    dice = random.Random(seed)
    few = sized(40, 2_000, quick=20)
    chosen = bits if LONG and len(bits) < 5_000 else dice.sample(bits, min(few, len(bits)))
    hurt = ((f"seed {seed}: bit {bit} of {at}", flipped(whole, at, bit)) for at, bit in chosen)
    print(f"one bit of {where} flipped: {dict(outcomes_of(hurt, source, name))}")


@pytest.mark.parametrize("name", [JOURNAL, WAL])
@pytest.mark.parametrize("kind", ["cut", "torn", "zeroed"])
def test_a_torn_or_cut_file_is_noticed(tmp_path, name, kind):
    source = journal(tmp_path / "source", wal=True)
    whole = current(source).with_name(name).read_bytes()
    dice = random.Random(3)

    def hurt() -> Iterator[tuple[str, bytes]]:
        for position in [0, 1, 512, 4096, *dice.sample(range(len(whole)), sized(6, 20))]:
            rest = whole[position + 512 :]
            content = {"cut": b"", "torn": dice.randbytes(512) + rest, "zeroed": bytes(512) + rest}[kind]
            yield f"{name} {kind} at {position}", whole[:position] + content

    print(f"{name} {kind}: {dict(outcomes_of(hurt(), source, name))}")
