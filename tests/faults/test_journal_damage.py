"""A journal's folder after the disk, or somebody, has been at it: it starts and says what it found, or
refuses with the remedy; never silently empty, never below the cursor, and nothing is published that DingTalk
did not say.
"""

import asyncio
import json
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from ingress.cursor import CursorFile, Parked
from ingress.errors import JournalError
from ingress.folder import CURSOR_FILE
from ingress.high_water import SUFFIX
from ingress.inspection import Seen, views
from ingress.journal_file import Entry, JournalFile
from ingress.reading import JournalReader
from ingress.status import folder_status
from ingress.upkeep import open_newest
from tests.faults.sizes import LONG
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

NOW = 1_764_000_000_000
COUNT, CURSOR, PARKED = 120, 50, 7
FILE = "journal-0001.db"
POSITIONS = 2_000 if LONG else 150
ALARMS = {"publisher.damaged", "publisher.missing", "publisher.journal_unreadable"}


def body(number: int) -> bytes:
    return json.dumps({"number": number, "text": "钉" * (number * 37 % 900)}, ensure_ascii=False).encode()


def keep(file: JournalFile, first: int, count: int) -> None:
    numbers = range(first, first + count)
    file.keep([Entry(NOW + n, "default", "http", body(n), b"key-%d" % n) for n in numbers])


def journal(folder: Path, *, wal: bool) -> Path:
    """A folder as an ingress left it: ``CURSOR`` of ``COUNT`` callbacks are published, one is parked. With
    ``wal`` it was killed, and the second half of the callbacks stands in the WAL alone."""
    work = folder.with_name(folder.name + "-live")
    work.mkdir(parents=True)
    file = open_newest(work)
    keep(file, 1, COUNT // 2)
    cursor = CursorFile(work)
    cursor.move(file.id, CURSOR, [Parked(file.id, PARKED, 0, "topic", "rights", 1)])
    file.checkpoint_truncate()
    keep(file, COUNT // 2 + 1, COUNT // 2)
    if wal:
        shutil.copytree(work, folder, ignore=shutil.ignore_patterns("*-shm"))
    cursor.close()
    file.close()
    if not wal:
        shutil.copytree(work, folder)
    shutil.rmtree(work)
    return folder


@dataclass
class Found:
    """What an ingress that starts on a folder would do: refuse in words, or publish, park and say."""

    refused: str | None = None
    published: dict[int, bytes] = field(default_factory=dict)
    parked: set[int] = field(default_factory=set)
    said: set[str] = field(default_factory=set)


def start(folder: Path) -> Found:
    """Start on the folder as the ingress and its publisher do, but for Kafka."""
    found = Found()
    with capture_logs() as logs:
        try:
            file = open_newest(folder)
        except JournalError as error:
            found.refused = str(error)
            return found
        keep(file, 1_000, 1)
        cursor = CursorFile(folder)
        reader = JournalReader(folder, cursor)
        source = reader.current()
        if source is not None:
            seq = cursor.seq(source.id)
            while rows := reader.read(source, seq):
                assert [row.seq for row in rows] == sorted({row.seq for row in rows})
                found.published |= {row.seq: row.body for row in rows if row.intact}
                found.parked |= {row.seq for row in rows if not row.intact}
                assert rows[-1].seq > seq
                seq = rows[-1].seq
        found.parked |= cursor.parked_seqs(file.id)
        reader.close()
        cursor.close()
        file.close()
    found.said = {line["event"] for line in logs}
    return found


def assert_honest(found: Found, what: str) -> str:
    """Refused with a remedy, or each callback behind the cursor published as it was kept, or said to be lost.
    Returns which of them."""
    if found.refused is not None:
        assert (
            "Nothing was changed" in found.refused
            or "nothing was changed" in found.refused
            or ("back; or" in found.refused or "Restore" in found.refused)
        ), f"{what}: no remedy in {found.refused!r}"
        return "refused"
    for seq, content in found.published.items():
        assert content in (body(seq), body(1_000)), f"{what}: {seq} was published changed"
    unaccounted = set(range(CURSOR + 1, COUNT + 1)) - found.published.keys() - found.parked
    assert not unaccounted, f"{what}: {sorted(unaccounted)} vanished without a word"
    assert body(1_000) in found.published.values(), f"{what}: what came afterwards stays unpublished"
    return "as it was" if found.parked == {PARKED} and not found.said & ALARMS else "said"


def assert_shown(folder: Path, what: str) -> None:
    """``dingbridge journal`` shows every callback that was kept, as it was or as damaged; or says that it
    cannot read the file."""
    found, unreadable = views(folder)
    assert len(found) + len(unreadable) == 1
    for view in found:
        shown: dict[int, Seen] = {}
        with suppress(JournalError):  # it says so
            shown = {seen.row.seq: seen for seen in view.callbacks(0)}
        hidden = set(range(1, COUNT + 1)) - shown.keys()
        assert not shown or not hidden, f"{what}: {sorted(hidden)} hidden"
        changed = [
            seq
            for seq, seen in shown.items()
            if seen.row.intact and seen.row.body not in (body(seq), body(1_000))
        ]
        assert not changed, f"{what}: {changed} shown as if they were whole"


def flipped(content: bytes, position: int, bit: int) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def damaged_copies(source: Path, scratch: Path, name: str, dice: random.Random) -> Iterator[tuple[str, Path]]:
    whole = (source / name).read_bytes()
    for position in sorted(dice.sample(range(len(whole)), POSITIONS)):
        bit = dice.randrange(8)
        copy = scratch / "copy"
        shutil.copytree(source, copy)
        (copy / name).write_bytes(flipped(whole, position, bit))
        yield f"{name}, bit {bit} of byte {position}", copy
        shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("name", "wal"),
    [(FILE, False), (f"{FILE}-wal", True), (CURSOR_FILE, False), (f"{FILE}{SUFFIX}", True)],
    ids=["journal", "wal", "cursor", "mark"],
)
def test_a_flipped_bit_anywhere_is_noticed_or_harmless(tmp_path, figure, name, wal):
    source = journal(tmp_path / "source", wal=wal)
    seed = random.randrange(1 << 32)
    outcomes: dict[str, int] = {}
    if name.endswith(SUFFIX):
        copies = (
            (f"{name}, byte {n}", _with(source, tmp_path / f"copy-{n}", name, flipped(content, n, 1)))
            for content in [(source / name).read_bytes()]
            for n in range(len(content))
        )
    else:
        copies = damaged_copies(source, tmp_path, name, random.Random(seed))
    for what, copy in copies:
        outcome = assert_honest(start(copy), f"seed {seed}: {what}")
        assert_shown(copy, f"seed {seed}: {what}")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    figure(f"one bit of {name} flipped, {sum(outcomes.values())} places: {outcomes}")


def _with(source: Path, copy: Path, name: str, content: bytes) -> Path:
    shutil.copytree(source, copy)
    (copy / name).write_bytes(content)
    return copy


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal", CURSOR_FILE])
@pytest.mark.parametrize("kind", ["cut", "torn", "zeroed"])
def test_a_torn_or_cut_file_is_noticed(tmp_path, figure, name, kind):
    source = journal(tmp_path / "source", wal=True)
    whole = (source / name).read_bytes()
    dice = random.Random(3)
    outcomes: dict[str, int] = {}
    for position in [0, 1, 512, 4096, *dice.sample(range(len(whole)), 20)]:
        hurt = {
            "cut": whole[:position],
            "torn": whole[:position] + dice.randbytes(512) + whole[position + 512 :],
            "zeroed": whole[:position] + bytes(512) + whole[position + 512 :],
        }[kind]
        copy = _with(source, tmp_path / "copy", name, hurt)
        outcome = assert_honest(start(copy), f"{name} {kind} at {position}")
        assert_shown(copy, f"{name} {kind} at {position}")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        shutil.rmtree(copy)
    figure(f"{name} {kind} at {sum(outcomes.values())} places: {outcomes}")


# -- what an operator does, by mistake or on purpose


def test_the_remedy_for_a_damaged_file_works(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    (folder / FILE).write_bytes(b"no database" * 1000)
    refused = start(folder).refused
    assert refused is not None
    assert f"move {FILE}* and {CURSOR_FILE}* out of the folder" in refused
    for path in [*folder.glob(f"{FILE}*"), *folder.glob(f"{CURSOR_FILE}*")]:
        path.rename(tmp_path / path.name)
    found = start(folder)
    assert found.refused is None
    assert list(found.published.values()) == [body(1_000)]


def test_a_missing_wal_is_refused_and_may_be_given_up(tmp_path):
    folder = journal(tmp_path / "journal", wal=True)
    (folder / f"{FILE}-wal").rename(tmp_path / "wal")
    refused = start(folder).refused
    assert refused is not None
    assert f"ends at callback {COUNT // 2}, but it has held {COUNT}" in refused
    (tmp_path / "wal").rename(folder / f"{FILE}-wal")
    whole = shutil.copytree(folder, tmp_path / "whole")
    assert set(range(CURSOR + 1, COUNT + 1)) <= start(whole).published.keys()
    (folder / f"{FILE}-wal").unlink()
    (folder / f"{FILE}{SUFFIX}").unlink()
    assert start(folder).refused is None


def test_an_older_copy_is_refused_although_nothing_was_published_since(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    shutil.copy(folder / FILE, tmp_path / "older")
    file = open_newest(folder)
    keep(file, COUNT + 1, 5)
    file.close()
    (tmp_path / "older").rename(folder / FILE)
    refused = start(folder).refused
    assert refused is not None
    assert "an older copy was restored" in refused


def test_another_journal_in_its_place_is_refused(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    other = journal(tmp_path / "other", wal=False)
    shutil.copy(other / FILE, folder / FILE)
    refused = start(folder).refused
    assert refused is not None
    assert "is another journal" in refused
    (folder / f"{FILE}{SUFFIX}").unlink()
    refused = start(folder).refused
    assert refused is not None
    assert "the cursor belongs to a journal" in refused


def test_a_file_that_has_gone_is_refused(tmp_path):
    folder = journal(tmp_path / "journal", wal=True)
    (folder / FILE).rename(tmp_path / FILE)
    before = (folder / f"{FILE}-wal").read_bytes()
    refused = start(folder).refused
    assert refused is not None
    assert f"is not here, but it has held {COUNT} callbacks" in refused
    assert (folder / f"{FILE}-wal").read_bytes() == before
    assert not (folder / FILE).exists()


@pytest.mark.parametrize("kind", ["missing", "emptied"])
def test_without_its_cursor_all_that_stands_is_published_again(tmp_path, kind):
    folder = journal(tmp_path / "journal", wal=False)
    file = open_newest(folder)
    file.prune_callbacks(CURSOR, frozenset({PARKED}), 1_000)
    file.close()
    (folder / CURSOR_FILE).unlink()
    if kind == "emptied":
        (folder / CURSOR_FILE).touch()
    found = start(folder)
    assert found.published.keys() == {PARKED, *range(CURSOR + 1, COUNT + 2)}
    assert not found.parked
    assert "journal.cursor_missing" in found.said
    assert not found.said & ALARMS


def test_an_emptied_journal_goes_on_with_the_next_number(tmp_path):
    folder = journal(tmp_path / "journal", wal=False)
    file = open_newest(folder)
    cursor = CursorFile(folder)
    cursor.move(file.id, COUNT)
    cursor.unpark(cursor.parked())
    cursor.close()
    assert file.prune_callbacks(COUNT, frozenset(), 1_000) == COUNT
    file.close()
    found = start(folder)
    assert found.published == {COUNT + 1: body(1_000)}
    assert not found.said & ALARMS


@pytest.mark.parametrize("damage", ["garbage", "emptied", "newer"])
def test_a_damaged_older_file_does_not_stop_newer_callbacks(tmp_path, damage):
    folder = journal(tmp_path / "journal", wal=False)
    newer = JournalFile(folder / "journal-0002.db", create=True)
    keep(newer, 500, 1)
    newer.close()
    older = folder / FILE
    if damage == "newer":
        db = apsw.Connection(str(older))
        db.execute("PRAGMA user_version = 99")
        db.close()
    else:
        older.write_bytes(b"no database" * 1000 if damage == "garbage" else b"")
    before = older.read_bytes()
    found = start(folder)
    assert found.refused is None
    assert list(found.published.values()) == [body(500), body(1_000)]
    assert found.said >= {"journal.old_file_unreadable", "publisher.journal_unreadable"}
    assert folder_status(folder).unreadable == (FILE,)
    assert older.read_bytes() == before


@pytest.mark.parametrize("rows", [range(60, 61), range(60, 100), range(100, COUNT + 1)])
def test_callbacks_that_vanished_from_the_middle_or_the_end_are_missed(tmp_path, rows):
    folder = journal(tmp_path / "journal", wal=False)
    db = apsw.Connection(str(folder / FILE))
    db.execute("DELETE FROM callbacks WHERE seq BETWEEN ? AND ?", (rows[0], rows[-1]))
    db.close()
    found = start(folder)
    assert found.parked == {PARKED, *rows}
    assert "publisher.missing" in found.said


# -- the same with real processes


async def refusal_of(processes, ingress: IngressUnderTest) -> str:
    """What an ingress says that does not start."""
    process = processes.start("ingress", env=ingress.env)
    assert await asyncio.to_thread(process.wait, 30) == 1
    text = process.log_text()
    assert "Traceback" not in text
    return text


async def test_a_real_ingress_refuses_with_exit_code_1_and_words(processes, tmp_path):
    away = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    cases = {
        "wal": "its journal-0001.db-wal was removed",
        "newer": "written by a newer dingbridge",
        "cursor": "the cursor's file",
    }
    for case, words in cases.items():
        ingress = IngressUnderTest(processes, tmp_path / case, away)
        folder = journal(ingress.journal, wal=case == "wal")
        if case == "wal":
            (folder / f"{FILE}-wal").unlink()
        elif case == "newer":
            db = apsw.Connection(str(folder / FILE))
            db.execute("PRAGMA user_version = 99")
            db.close()
        else:
            content = (folder / CURSOR_FILE).read_bytes()
            (folder / CURSOR_FILE).write_bytes(b"\0" * 100 + content[100:])
        assert words in await refusal_of(processes, ingress)


async def test_a_damaged_callback_is_parked_until_it_is_mended_or_given_up(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url)
    await pusher.push_all((n, event(n)) for n in range(40))
    assert len(pusher.succeeded) == 40
    ingress.process.stop()

    path = ingress.journal / FILE
    db = apsw.Connection(str(path))
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)  # whoever closed last, all is in the file
    db.close()
    content = path.read_bytes()
    hurt = {n: event(n).replace(b'"number": %d' % n, b'"number": 9%d' % (n % 10)) for n in (17, 23)}
    for number, bad in hurt.items():
        assert event(number) in content  # maybe twice: a page that was split keeps what is no row any more
        content = content.replace(event(number), bad)
    path.write_bytes(content)
    ingress.env |= kafka_env
    await asyncio.to_thread(ingress.start)
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the backlog is published")
    await eventually(lambda: asyncio.to_thread(parked, ingress, 2), 30, "the alarm")
    comparison = await compare(kafka_settings, pusher)
    figure(f"with a flipped byte in two of them: {comparison}")
    assert comparison.lost == hurt.keys()
    assert not comparison.unasked, "nothing is published that DingTalk did not say"

    # one is given up while all goes on
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    seq = db.execute("SELECT seq FROM callbacks WHERE body = ?", (hurt[23],)).get
    db.close()
    answer = await asyncio.to_thread(processes.run, "journal", "discard", str(seq), env=ingress.env)
    assert (answer.returncode, answer.stdout) == (0, "discarded: 1\n"), answer.stderr
    await eventually(lambda: asyncio.to_thread(parked, ingress, 1), 30, "one is left")
    ingress.process.stop()

    # the other is mended
    db = apsw.Connection(str(path))
    db.execute("UPDATE callbacks SET body = ? WHERE body = ?", (event(17), hurt[17]))
    db.close()
    await asyncio.to_thread(ingress.start)
    answer = await asyncio.to_thread(processes.run, "journal", "retry", env=ingress.env)
    assert answer.returncode == 0, answer.stderr
    await eventually(lambda: asyncio.to_thread(parked, ingress, 0), 60, "nothing is parked")
    comparison = await compare(kafka_settings, pusher)
    figure(f"one mended, one given up: {comparison}")
    assert comparison.lost == {23}
    assert not comparison.unasked


def parked(ingress: IngressUnderTest, count: int) -> bool:
    return ingress.metric("dingbridge_parked", reason="damaged") == count
