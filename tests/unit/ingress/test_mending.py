"""A damaged journal file and the one that takes its place."""

import contextlib
import errno
import os
import random
from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dingbridge.events import dedupe_key, extract_facts
from ingress.errors import JournalError, JournalNewer
from ingress.high_water import SUFFIX
from ingress.journal.checkpoint import CursorFile, Parked
from ingress.journal.directory import CURSOR_FILE
from ingress.journal.inspect import View
from ingress.journal.startup import open_newest
from ingress.journal.store import JournalFile, NewCallback, StoredCallback
from ingress.mending import fault_of, mend
from ingress.salvage import salvage

PAGE = 4096
CURSOR, COUNT = 40, 100
FILE = "journal-0001.db"
MIDDLE = slice(PAGE // 4, PAGE // 2)


def entries(bodies: list[bytes]) -> list[NewCallback]:
    return [
        NewCallback(
            1_764_000_000_000 + n, "default", "http", body, dedupe_key(extract_facts(body), "default", body)
        )
        for n, body in enumerate(bodies)
    ]


def bodies(count: int) -> list[bytes]:
    """Of all sizes that SQLite stores differently: within a page, over one further page, over many."""
    dice = random.Random(5)
    return [
        b"%d " % n + dice.randbytes(dice.choice([9, 700, 3_900, 4_060, 5_000, 30_000])) for n in range(count)
    ]


BODIES = bodies(COUNT)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The first ``CURSOR`` callbacks are published, and pruned but for number 7, which is parked."""
    file = open_newest(tmp_path)
    file.keep(entries(BODIES))
    cursor = CursorFile(tmp_path)
    cursor.move(file.id, CURSOR, [Parked(file.id, 7, 0, "topic", "rights", 1)])
    cursor.close()
    file.prune_callbacks(CURSOR, frozenset({7}), 1_000)
    file.close()
    return tmp_path


def rows_of(path: Path) -> dict[int, StoredCallback]:
    view = View(path)
    try:
        return {seen.row.seq: seen.row for seen in view.callbacks(0)}
    finally:
        view.file.close()


def spoil(path: Path, page: int, part: slice = slice(0, PAGE)) -> None:
    content = bytearray(path.read_bytes())
    begin = (page - 1) * PAGE
    content[begin + part.start : begin + part.stop] = random.Random(page).randbytes(part.stop - part.start)
    path.write_bytes(content)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 40_000), min_size=1, max_size=60), st.integers(0, 60), st.integers(0, 1 << 32))
def test_all_callbacks_are_read_from_the_pages_of_file_and_log(tmp_path_factory, sizes, logged, seed):
    folder = tmp_path_factory.mktemp("journal")
    file = JournalFile(folder / FILE, create=True)
    dice = random.Random(seed)
    kept = [b"%d " % n + dice.randbytes(size) for n, size in enumerate(sizes)]
    file.keep(entries(kept[logged:]))
    file.checkpoint_truncate()
    file.keep(entries(kept[:logged]))
    wal = folder / f"{FILE}-wal"
    found = list(salvage((folder / FILE).read_bytes(), wal.read_bytes() if wal.exists() else b""))
    assert {row.seq: row.body for row in found} == dict(enumerate(kept[logged:] + kept[:logged], 1))
    file.close()


@pytest.mark.parametrize("page", [1, 2, 3, 4, 5, 6])
def test_a_file_without_its_header_its_schema_or_its_index_is_saved_whole(folder, page):
    """The first pages hold no callback: header and schema, and the roots of tables and indexes."""
    whole = rows_of(folder / FILE)
    spoil(folder / FILE, page)
    assert fault_of(folder / FILE) is not None
    (mended,) = mend(folder)
    assert (mended.waiting, mended.lost) == (COUNT - CURSOR, 0)
    assert (folder / mended.kept).stat().st_mode & 0o777 == 0o600
    found = rows_of(folder / FILE)
    assert {seq: row for seq, row in found.items() if seq > CURSOR or seq == 7} == whole
    assert fault_of(folder / FILE) is None
    open_newest(folder).close()  # cursor and mark are satisfied


def test_whichever_page_is_damaged_all_that_stands_on_others_is_saved(folder, tmp_path_factory):
    whole = (folder / FILE).read_bytes()
    mark, cursor = (folder / f"{FILE}{SUFFIX}").read_bytes(), (folder / CURSOR_FILE).read_bytes()
    pages = range(1, len(whole) // PAGE + 1)
    for page in random.Random(1).sample(pages, 25):
        copy = tmp_path_factory.mktemp("copy")
        (copy / f"{FILE}{SUFFIX}").write_bytes(mark)
        (copy / CURSOR_FILE).write_bytes(cursor)
        (copy / FILE).write_bytes(whole)
        spoil(copy / FILE, page, MIDDLE)
        spoilt = salvage((copy / FILE).read_bytes())
        readable = {row.seq for row in spoilt if row.seq > CURSOR}
        # a page holds at most some callbacks of 9 or 700 bytes, or a piece of one
        assert len(readable) >= COUNT - CURSOR - PAGE // 700 * 8
        mended = mend(copy)
        if not mended:
            continue  # SQLite sees nothing: content alone is damaged, which the publisher parks
        assert (mended[0].waiting, mended[0].lost) == (len(readable), COUNT - CURSOR - len(readable))
        found = rows_of(copy / FILE)
        assert set(range(CURSOR + 1, COUNT + 1)) <= found.keys(), "what is lost is told as damaged"
        assert {seq for seq, row in found.items() if row.intact and seq > CURSOR} == readable
        assert all(row.body == BODIES[seq - 1] for seq, row in found.items() if row.intact)


def test_what_the_disk_does_not_give_is_lost_alone(folder, monkeypatch):
    """A bad sector: reading it is an error, for SQLite and for us."""
    spoil(folder / FILE, 1)
    whole = (folder / FILE).read_bytes()
    page = whole.index(BODIES[-1][:9]) // PAGE
    spoilt = whole[: page * PAGE] + bytes(PAGE) + whole[(page + 1) * PAGE :]
    readable = {row.seq for row in salvage(spoilt) if row.seq > CURSOR}
    assert 0 < len(readable) < COUNT - CURSOR
    pread = os.pread

    def sick(fd: int, length: int, offset: int) -> bytes:
        if offset < (page + 1) * PAGE and offset + length > page * PAGE:
            raise OSError(errno.EIO, "Input/output error")
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", sick)
    (mended,) = mend(folder)
    assert (mended.waiting, mended.lost) == (len(readable), COUNT - CURSOR - len(readable))


def test_with_nothing_left_of_it_no_number_is_given_twice(folder):
    """All is published and pruned, there is no mark, as in a back-up that was restored, and the page that
    tells the highest number is damaged: the cursor knows better."""
    file = JournalFile(folder / FILE)
    with contextlib.closing(CursorFile(folder)) as cursor:
        cursor.move(file.id, COUNT)
        cursor.unpark(cursor.parked())
    file.prune_callbacks(COUNT, frozenset(), 1_000)
    root = file.db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_sequence'").get
    file.db.execute("VACUUM")
    file.close()
    (folder / f"{FILE}{SUFFIX}").unlink()
    spoil(folder / FILE, root)
    (mended,) = mend(folder)
    assert (mended.waiting, mended.lost) == (0, 0)
    with contextlib.closing(open_newest(folder)) as file:
        file.keep(entries([b"new"]))
        assert file.highest_seq() == COUNT + 1


def test_it_goes_on_with_the_next_number_and_knows_its_callbacks(folder):
    spoil(folder / FILE, 1)
    mend(folder)
    file = open_newest(folder)
    assert file.keep(entries([BODIES[-1], b"new"])) == [False, True]
    assert file.highest_seq() == COUNT + 1
    file.close()


def test_sound_files_stay_as_they_are(folder):
    names = (FILE, f"{FILE}{SUFFIX}", CURSOR_FILE)
    before = [(folder / name).read_bytes() for name in names]
    assert mend(folder) == []
    assert [(folder / name).read_bytes() for name in names] == before


@pytest.mark.parametrize("renames", range(3))
def test_cut_off_between_any_two_renames_it_is_finished_by_the_next_call(folder, monkeypatch, renames):
    spoil(folder / FILE, 1)
    (folder / f"{FILE}-wal").touch()
    rename, done = Path.rename, []

    def cut_off(self: Path, target: Path) -> Path:
        if len(done) > renames:
            raise KeyboardInterrupt
        done.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", cut_off)
    with pytest.raises(KeyboardInterrupt):
        mend(folder)
    monkeypatch.undo()
    mend(folder)
    assert fault_of(folder / FILE) is None
    assert {seq for seq, row in rows_of(folder / FILE).items() if row.intact} >= set(
        range(CURSOR + 1, COUNT + 1)
    )
    open_newest(folder).close()


def test_a_file_that_tells_nothing_of_itself_is_refused_and_left(folder):
    spoil(folder / FILE, 1)
    (folder / f"{FILE}{SUFFIX}").unlink()
    before = (folder / FILE).read_bytes()
    with pytest.raises(JournalError, match="which journal it is"):
        mend(folder)
    assert (folder / FILE).read_bytes() == before


def test_a_newer_versions_file_is_left_to_it(folder):
    db = apsw.Connection(str(folder / FILE))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(JournalNewer, match="start the newer one"):
        mend(folder)


def test_a_damaged_cursor_is_not_believed(folder):
    spoil(folder / FILE, 1)
    spoil(folder / CURSOR_FILE, 1)
    with pytest.raises(JournalError, match="published again"):
        mend(folder)


def test_two_callbacks_of_one_number_are_both_kept(folder):
    """As a commit that was torn leaves its pages in the log, and its numbers to the next one."""
    path = folder / FILE
    file = JournalFile(path)
    file.keep(entries([b"torn"]))
    file.close()
    torn = path.read_bytes()
    (folder / f"{FILE}{SUFFIX}").unlink()  # written behind a commit
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM callbacks WHERE seq > ?", (COUNT,))
    db.execute("UPDATE sqlite_sequence SET seq = ?", (COUNT,))
    db.close()
    file = JournalFile(path)
    file.keep(entries([b"whole"]))
    file.close()
    # both versions of the last page stand somewhere in the file
    path.write_bytes(path.read_bytes() + torn)
    spoil(path, 1)
    mend(folder)
    found = [row.body for seq, row in rows_of(path).items() if seq > COUNT]
    assert sorted(found) == [b"torn", b"whole"]


def test_further_pages_that_lead_back_to_themselves_end() -> None:
    at, in_the_leaf = 20, 2048  # as the format has it for this size
    cell = b"\xc0\x80\x80\x80\x80\x00\x01" + bytes(in_the_leaf) + (2).to_bytes(4, "big")  # 2 TiB, row 1
    header = b"\x0d\x00\x00\x00\x01\x00\x00\x00" + at.to_bytes(2, "big")
    leaf = header.ljust(at, b"\x00") + cell
    further = (2).to_bytes(4, "big")
    assert list(salvage(leaf.ljust(PAGE, b"\x00") + further.ljust(PAGE, b"\x00"))) == []
