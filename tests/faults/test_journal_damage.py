"""A journal after the disk has been at it: what still reads is published, the rest is parked, counted or
said; or the start is refused with the remedy. Nothing is published that DingTalk did not say.
"""

import asyncio
import random
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import apsw
import pytest
from dingbridge.ingress.journal.directory import current, damaged, folders

from dingbridge.ingress.errors import JournalError
from dingbridge.ingress.journal.inspect import JournalView
from dingbridge.ingress.journal.rows import CONTROL
from tests.faults.damaged_journal import COUNT, LATER, PARKED, PASSED, Found, body, journal, start
from tests.support.comparison import compare
from tests.support.disk import SickDisk
from tests.support.ingress import IngressUnderTest
from tests.support.load import Load, event
from tests.support.pusher import Pusher
from tests.support.sizes import LONG, new_seed, sized
from tests.support.waiting import eventually

POSITIONS = sized(30, 2_000)
JOURNAL, WAL, CHECKPOINT = "journal.db", "journal.db-wal", "checkpoint.db"
WAITING = range(PASSED + 1, COUNT + 1)
BODIES = {body(n) for n in (*range(1, COUNT + 1), LATER)}


def assert_honest(found: Found, what: str, *, may_end_early: bool = False) -> str:
    """Refused with a remedy; or each callback behind the checkpoint is published as it was kept, parked, or
    counted as unread. Returns which of them.

    ``may_end_early``: where the WAL itself is damaged, SQLite takes its frames up to there."""
    if found.refused is not None:
        assert re.search(r"[Nn]othing was changed|; or |move \S+ away", found.refused), (
            f"{what}: {found.refused}"
        )
        return "refused"
    published = set(found.published)
    assert published <= BODIES, f"{what}: one was published changed"
    assert body(LATER) in published, f"{what}: what came afterwards stays unpublished"
    wanted = [*WAITING, PARKED] if found.aside else WAITING
    missed = {n for n in wanted if body(n) not in published}
    if may_end_early and missed:
        assert missed == set(range(min(missed), COUNT + 1)), f"{what}: {sorted(missed)} vanished"
        return "ends early"
    if found.lost:
        assert found.unread, f"{what}: lost without a word"
        return "put aside, lost"
    assert len(missed) <= found.unread + found.damaged, f"{what}: {sorted(missed)} vanished without a word"
    if found.aside:
        return "put aside, some unread" if missed else "put aside"
    return "parked" if found.damaged else "as it was"


def assert_shown(root: Path, what: str) -> None:
    """``dingbridge journal`` shows no callback as whole that is not."""
    for folder in folders(root):
        with suppress(apsw.Error, JournalError), closing(JournalView(folder)) as view:
            for one in view.callbacks(0):
                whole = not one.row.intact or one.row.via == CONTROL
                assert whole or one.row.body in BODIES, f"{what}: {one.row.seq} is changed"


def flipped(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def _with(source: Path, copy: Path, name: str, content: bytes) -> Path:
    shutil.copytree(source, copy)
    (current(copy).path / name).write_bytes(content)
    return copy


def outcomes_of(hurt: Iterator[tuple[str, bytes]], source: Path, name: str) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for what, content in hurt:
        copy = _with(source, source.with_name("copy"), name, content)
        outcomes[assert_honest(start(copy), what, may_end_early=name == WAL)] += 1
        assert_shown(copy, what)
        shutil.rmtree(copy)
    return outcomes


NUMBER = re.compile(rb"[\x01-\x78](?=[\x07-\x09]\x00\x05\x1b\x15)")
"""The rowid of a callback of ours, by the header of its record: NULL, 6 bytes of time, ``default``, ``http``
(sqlite.org/fileformat2.html)."""
SCHEMA = "the schema"
"""Such a file may pass SQLite's checks, and then our statements do not fit it, or find other pages."""


@pytest.mark.parametrize("where", [JOURNAL, WAL, CHECKPOINT, "a number", "a number, unchecked", SCHEMA])
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path, figure, monkeypatch, where):
    name, number = where if where in (WAL, CHECKPOINT) else JOURNAL, where.startswith("a number")
    if where.endswith("unchecked"):
        monkeypatch.setattr("dingbridge.ingress.journal.startup._QUICK_CHECK_MAX_BYTES", 0)
    source = journal(tmp_path / "source", wal=name == WAL)
    whole, seed = (current(source).path / name).read_bytes(), new_seed()
    bytes_, also = [*range(len(whole))], []
    if number:
        bytes_ = [match.start() for match in NUMBER.finditer(whole)]
        assert len(bytes_) >= COUNT
    elif where == SCHEMA:
        bytes_ = [*range(whole.index(b"CREATE TABLE"), 4096)]
        also = [whole.index(b"callbackscallbacks") + len(b"callbackscallbacks")]  # the table's first page
    places = [(at, bit) for at in bytes_ for bit in range(8)]
    chosen = places if LONG and number else random.Random(seed).sample(places, POSITIONS)
    chosen += [(at, bit) for at in also for bit in range(8)]
    hurt = ((f"seed {seed}: bit {bit} of {at}", flipped(whole, at, bit)) for at, bit in chosen)
    outcomes = outcomes_of(hurt, source, name)
    figure(f"one bit of {where} flipped, {outcomes.total()} places: {dict(outcomes)}")


@pytest.mark.parametrize("name", [JOURNAL, WAL, CHECKPOINT])
@pytest.mark.parametrize("kind", ["cut", "torn", "zeroed"])
def test_a_torn_or_cut_file_is_noticed(tmp_path, figure, name, kind):
    source = journal(tmp_path / "source", wal=True)
    whole = (current(source).path / name).read_bytes()
    dice = random.Random(3)

    def hurt() -> Iterator[tuple[str, bytes]]:
        for position in [0, 1, 512, 4096, *dice.sample(range(len(whole)), sized(6, 20))]:
            yield (
                f"{name} {kind} at {position}",
                {
                    "cut": whole[:position],
                    "torn": whole[:position] + dice.randbytes(512) + whole[position + 512 :],
                    "zeroed": whole[:position] + bytes(512) + whole[position + 512 :],
                }[kind],
            )

    outcomes = outcomes_of(hurt(), source, name)
    figure(f"{name} {kind} at {outcomes.total()} places: {dict(outcomes)}")


# -- the same with real processes


def parked(ingress: IngressUnderTest, count: int) -> bool:
    return ingress.metric("dingbridge_parked", reason="damaged") == count


async def test_a_changed_callback_is_parked_until_it_is_given_up(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url)
    await pusher.push_all((n, event(n)) for n in range(40))
    assert len(pusher.succeeded) == 40
    ingress.process.stop()

    path = current(ingress.journal).journal
    with closing(apsw.Connection(str(path))) as db:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # whoever closed last, all is in the file
    content = path.read_bytes()
    hurt = {n: event(n).replace(b'"number": %d' % n, b'"number": 9%d' % (n % 10)) for n in (17, 23)}
    for number, bad in hurt.items():
        assert event(number) in content  # maybe twice: a page that was split keeps what is no row any more
        content = content.replace(event(number), bad)
    path.write_bytes(content)
    ingress.env |= kafka_env
    await asyncio.to_thread(ingress.start)
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="the backlog is published")
    await eventually(lambda: asyncio.to_thread(parked, ingress, 2), what="the alarm")
    comparison = await compare(kafka_settings, pusher)
    figure(f"with a flipped byte in two of them: {comparison}")
    assert comparison.lost == hurt.keys()
    assert not comparison.unasked, "nothing is published that DingTalk did not say"

    answer = await asyncio.to_thread(processes.run, "journal", "prune", "--damaged", "--yes", env=ingress.env)
    assert answer.returncode == 0, answer.stderr
    assert "damaged callbacks: 2" in answer.stdout
    await eventually(lambda: asyncio.to_thread(parked, ingress, 0), what="none is left")


async def test_a_journal_that_fails_while_it_is_written_ends_the_ingress_and_is_imported(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    disk = SickDisk(tmp_path / "disk")
    ingress = IngressUnderTest(processes, tmp_path, kafka_env, disk.env)
    pusher = Pusher(ingress.url)
    await asyncio.to_thread(ingress.start)
    async with Load(pusher, lanes=6) as load:
        await load.more(40)
        folder = current(ingress.journal).path
        disk.falls("fsync", files=[folder / JOURNAL, folder / WAL])
        await eventually(lambda: pusher.outcomes["503"], what="the failure is felt")
        async with ingress.supervised() as codes:
            await eventually(lambda: damaged(ingress.journal), what="put aside")
            await load.more(40)
        assert codes == [1]
    await eventually(lambda: asyncio.to_thread(ingress.drained), what="both are published")
    comparison = await compare(kafka_settings, pusher)
    figure(f"a new journal after the old one failed: {comparison}")
    comparison.assert_holds()
    assert ingress.process is not None
    assert "journal.put_aside" in ingress.process.log_text()


async def test_what_the_relay_alone_meets_ends_the_ingress_and_is_imported(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    """A callback that is missing behind the checkpoint: the writer never reads it."""
    ingress = IngressUnderTest(processes, tmp_path, {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url)
    await pusher.push_all((n, event(n)) for n in range(40))
    ingress.process.stop()
    with closing(apsw.Connection(str(current(ingress.journal).journal))) as db:
        db.execute("DELETE FROM callbacks WHERE seq = 20")
    ingress.env |= kafka_env
    await asyncio.to_thread(ingress.start)
    async with ingress.supervised() as codes:
        await eventually(lambda: damaged(ingress.journal), what="put aside")
        await eventually(lambda: asyncio.to_thread(ingress.drained), what="all is published")
    assert codes == [1]
    await eventually(
        lambda: asyncio.to_thread(lambda: ingress.metric("dingbridge_journal_unread") == 1), what="it is told"
    )
    comparison = await compare(kafka_settings, pusher)
    figure(f"one callback is missing: {comparison}")
    assert len(comparison.lost) == 1
