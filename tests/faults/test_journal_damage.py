"""A journal's folder after the disk has been at it: it starts and says what it found, or refuses with the
remedy; never silently empty, never below the cursor, and nothing is published that DingTalk did not say.
"""

import asyncio
import random
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from ingress.errors import JournalError
from ingress.high_water import SUFFIX
from ingress.journal.directory import CURSOR_FILE, next_journal_file
from ingress.journal.inspect import Seen, views
from ingress.journal.store import JournalFile
from tests.faults.damaged_journal import (
    ALARMS,
    COUNT,
    CURSOR,
    FILE,
    PARKED,
    Found,
    body,
    journal,
    publish,
    start,
)
from tests.faults.sizes import LONG, new_seed
from tests.support.comparison import compare
from tests.support.ingress import IngressUnderTest
from tests.support.load import event
from tests.support.pusher import Pusher
from tests.support.waiting import eventually

POSITIONS = 2_000 if LONG else 150


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
    assert_accounted(found, what)
    assert body(1_000) in found.published.values(), f"{what}: what came afterwards stays unpublished"
    return "as it was" if found.parked == {PARKED} and not found.said & ALARMS else "said"


def assert_accounted(found: Found, what: str) -> None:
    for seq, content in found.published.items():
        assert content in (body(seq), body(1_000)), f"{what}: {seq} was published changed"
    unaccounted = set(range(CURSOR + 1, COUNT + 1)) - found.published.keys() - found.parked
    assert not unaccounted, f"{what}: {sorted(unaccounted)} vanished without a word"


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
    seed = new_seed()
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


NUMBER = re.compile(rb"[\x01-\x78](?=[\x07-\x09]\x00\x05\x1b\x15)")
"""The rowid of a callback of ours, by the header of its record: NULL, 6 bytes of time, ``default``, ``http``
(sqlite.org/fileformat2.html)."""


def test_a_flipped_bit_in_a_callbacks_number_is_noticed_or_harmless(tmp_path, figure):
    """SQLite checks an older file, or a large one, only as it is read; and then not the order of numbers."""
    source = journal(tmp_path / "source", wal=False)
    JournalFile(next_journal_file(source), create=True).close()
    whole = (source / FILE).read_bytes()
    places = [(match.start(), bit) for match in NUMBER.finditer(whole) for bit in range(8)]
    assert len(places) >= 8 * COUNT
    lost = 0
    seed = new_seed()
    for position, bit in places if LONG else random.Random(seed).sample(places, POSITIONS):
        what = f"seed {seed}: bit {bit} of byte {position}"
        copy = _with(source, tmp_path / "copy", FILE, flipped(whole, position, bit))
        found = Found()
        publish(copy, found)
        assert_accounted(found, what)
        for view in views(copy)[0]:
            shown = {seen.row.seq: seen.row for seen in view.callbacks(0)}
            changed = [seq for seq, row in shown.items() if row.intact and row.body != body(seq)]
            assert not changed, f"{what}: {changed} shown as if they were whole"
        lost += len(found.parked - {PARKED})
        shutil.rmtree(copy)
    figure(f"one bit of a number flipped, {len(places)} places: {lost} callbacks parked as damaged")


def test_a_flipped_bit_in_the_names_of_columns_is_refused_or_harmless(tmp_path, figure):
    """Such a file passes SQLite's checks, and then nothing could be kept in it."""
    source = journal(tmp_path / "source", wal=False)
    whole = (source / FILE).read_bytes()
    places = [(at, bit) for at in range(whole.index(b"CREATE TABLE"), 4096) for bit in range(7)]
    outcomes: dict[str, int] = {}
    seed = new_seed()
    for position, bit in random.Random(seed).sample(places, POSITIONS):
        copy = _with(source, tmp_path / "copy", FILE, flipped(whole, position, bit))
        outcome = assert_honest(start(copy), f"seed {seed}: bit {bit} of byte {position}")
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        shutil.rmtree(copy)
    figure(f"one bit of the schema flipped, {sum(outcomes.values())} places: {outcomes}")


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


async def test_a_damaged_journal_is_mended_and_nothing_readable_is_lost(
    processes, kafka_env, kafka_settings, tmp_path, figure
):
    ingress = IngressUnderTest(processes, tmp_path, {**kafka_env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"})
    await asyncio.to_thread(ingress.start)
    pusher = Pusher(ingress.url)
    await pusher.push_all((n, event(n)) for n in range(200))
    ingress.process.stop()
    path = ingress.journal / FILE
    content = path.read_bytes()
    path.write_bytes(b"\0" * 100 + content[100:])  # the header
    assert "dingbridge journal mend" in await refusal_of(processes, ingress)
    mended = await asyncio.to_thread(processes.run, "journal", "mend", env=ingress.env)
    assert mended.returncode == 0, mended.stderr
    assert "200 wait for Kafka" in mended.stdout
    ingress.env |= kafka_env
    await asyncio.to_thread(ingress.start)
    await eventually(lambda: asyncio.to_thread(ingress.drained), 60, "the backlog is published")
    comparison = await compare(kafka_settings, pusher)
    figure(f"header zeroed, then mended: {comparison}")
    assert not comparison.lost
    assert not comparison.unasked
