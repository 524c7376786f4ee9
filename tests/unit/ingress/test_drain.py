"""A folder is drained into the current journal whole, in order, and as far as it can be read."""

import asyncio
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.routes import verbs
from dingbridge.ingress.errors import JournalError, JournalLocked, JournalUnavailable
from dingbridge.ingress.journal.drain import NOTES, Drainer, _Source, drain_states
from dingbridge.ingress.journal.file import JournalFile
from dingbridge.ingress.journal.folder import DRAINED, current, put_aside
from dingbridge.ingress.journal.inspect import journal_status
from dingbridge.ingress.journal.locks import journal_lock
from dingbridge.ingress.journal.rows import CONTROL, ResyncRequest
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import FolderMetrics
from dingbridge.tasks import end
from tests.support.waiting import eventually
from tests.unit.ingress.filled import callback, fill, rows_below, started

DRAIN = "dingbridge.ingress.journal.drain"
COUNT, ACKED, PARKED, PRUNED = 600, 300, (7, 290), 100
EXPECTED = [*PARKED, *range(ACKED + 1, COUNT + 1)]
GARBAGE = b"no database" * 1_000


def filled(root: Path, name: str = "damaged-20260101T000000Z") -> Path:
    """The file of a journal below ``root`` that is not current any more: those up to ``ACKED`` are published
    but for ``PARKED``, and some of them are pruned."""
    with closing(fill(root, COUNT, ACKED, PARKED)) as file:
        file.prune_callbacks(0, PRUNED, (1, 0))
    return current(root).parent.rename(root / name) / "journal.db"


@pytest.fixture
def aside(tmp_path):
    return filled(tmp_path)


def numbers(root):
    return [int(row.body) for row in rows_below(root) if row.via != CONTROL]


def requests(root):
    return [ResyncRequest.of(row).reason for row in rows_below(root) if row.via == CONTROL]


def words(unreadable):
    return f"a journal was put aside: {unreadable} callback(s) of it could not be read"


async def drained(journal, done=None):
    """Drain what was put aside, as an ingress does, until ``done``: until nothing is left to drain."""
    running = asyncio.ensure_future(Drainer(journal).run())
    await eventually(done or (lambda: not put_aside(journal.root)), 30, "all of it is drained")
    assert not running.done()
    await journal.notes("")  # what the last step has given to the writer is committed
    await end(running)


async def state_of(journal, path):
    return drain_states(await journal.notes(NOTES))[str(path.parent.relative_to(journal.root))]


async def test_what_was_parked_and_what_waited_comes_in_order_with_its_first_receipt(tmp_path, aside):
    """And callbacks are kept meanwhile. No dedupe keys are taken: a false repeat would be a loss."""
    before = {row.seq: row for row in [*open_rows(aside)]}
    async with started(tmp_path) as journal:
        assert await journal.append(callback(b"0"))
        await drained(journal)
        assert numbers(tmp_path) == [0, *EXPECTED]
        for row in rows_below(tmp_path)[1:-1]:
            first = before[int(row.body)]
            assert (row.received_ms, row.app, row.via, row.facts) == (
                *(first.received_ms, first.app, first.via, first.facts),
            )
        assert requests(tmp_path) == [words(0)]
        assert await journal.append(callback(b"%d" % COUNT)), "pushed again"
        assert not aside.parent.exists()
        await eventually(lambda: not journal_status(tmp_path).put_aside, 5, "the note is removed")


def open_rows(path):
    with closing(JournalFile(path, read_only=True)) as file:
        yield from file.read(0, max_rows=9_999, max_bytes=1 << 30)


@pytest.mark.parametrize("kept_late", [False, True])
async def test_a_drain_that_is_interrupted_at_any_commit_goes_on_without_doubles(
    tmp_path, aside, monkeypatch, kept_late
):
    """``kept_late``: the process was killed just after the commit."""
    monkeypatch.setattr(f"{DRAIN}._ROWS", 64)
    real, calls = Journal.commit, 0

    async def cut_off(self, *arguments):
        nonlocal calls
        calls += 1
        if calls % 2:
            return await real(self, *arguments)
        if kept_late:
            await real(self, *arguments)
        raise JournalUnavailable("disk", "cut off")

    monkeypatch.setattr(Journal, "commit", cut_off)
    for _ in range(100):
        async with started(tmp_path) as journal:
            try:
                state = await Drainer(journal).drain(aside)
                break
            except JournalUnavailable:
                continue
    assert calls >= 6
    assert state.kept == len(EXPECTED)
    assert numbers(tmp_path) == EXPECTED
    assert requests(tmp_path) == [words(0)]


@pytest.mark.parametrize("hurt", ["a page", "rows"])
async def test_what_cannot_be_read_is_counted_hides_nothing_else_and_stays_for_a_person(
    tmp_path, aside, hurt
):
    if hurt == "rows":
        with closing(JournalFile(aside)) as file:
            file.db.execute("UPDATE callbacks SET body = x'ff' WHERE seq = 400")
            file.db.execute("DELETE FROM callbacks WHERE seq = 7")
    else:
        content = aside.read_bytes()
        at = content.rindex(b"450") // 4096 * 4096
        aside.write_bytes(content[:at] + b"\xa5" * 4096 + content[at + 4096 :])
    async with started(tmp_path) as journal:
        with capture_logs() as logs:
            await drained(journal)
        state = await state_of(journal, aside)
    missing = [n for n in EXPECTED if n not in numbers(tmp_path)]
    assert state.unreadable == len(missing) > 0
    assert state.counted
    assert [n for n in EXPECTED if n not in missing] == numbers(tmp_path)
    assert requests(tmp_path) == [words(state.unreadable)]
    assert sum(one["callbacks"] for one in logs if one["event"] == "journal.unreadable") == state.unreadable
    assert aside.with_name(DRAINED).exists()
    status = journal_status(tmp_path)
    assert [(one.done, one.unreadable) for one in status.put_aside.values()] == [(True, len(missing))]
    registry = CollectorRegistry()
    status.show(FolderMetrics(registry))
    assert registry.get_sample_value("dingbridge_journal_unreadable") == len(missing)
    assert registry.get_sample_value("dingbridge_journal_damaged_folders") == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE state SET value = '599 0' WHERE key = 'acked'",
        "DELETE FROM state WHERE key = 'acked'",
        "DROP TABLE parked",
        "UPDATE parked SET seq = x'02000000' WHERE seq = 7",
    ],
)
async def test_where_it_is_not_known_what_kafka_has_all_that_is_there_comes(tmp_path, aside, change):
    with closing(apsw.Connection(str(aside))) as db:
        db.execute(change)
    async with started(tmp_path) as journal:
        await drained(journal)
    assert numbers(tmp_path) == [PARKED[0], *range(PRUNED + 1, COUNT + 1)]
    assert requests(tmp_path) == [words(0)]


@pytest.mark.parametrize(("last", "unreadable"), [(1 << 40, 1), (3, 0)])
async def test_a_last_number_that_has_changed_neither_hides_rows_nor_lasts_for_ever(
    tmp_path, aside, last, unreadable
):
    with closing(apsw.Connection(str(aside))) as db:
        db.execute("UPDATE sqlite_sequence SET seq = ?", (last,))
    async with started(tmp_path) as journal:
        await drained(journal)
    assert numbers(tmp_path) == EXPECTED
    assert requests(tmp_path) == [words("an unknown number of" if unreadable else 0)]


@pytest.mark.parametrize("hurt", ["garbage", "id"])
async def test_of_a_file_of_which_nothing_can_be_read_the_number_is_unknown_and_that_is_said(
    tmp_path, aside, hurt
):
    """A file without the journal's id is drained all the same."""
    if hurt == "garbage":
        aside.write_bytes(GARBAGE)
    else:
        with closing(apsw.Connection(str(aside))) as db:
            db.execute("DELETE FROM state WHERE key = 'id'")
    async with started(tmp_path) as journal:
        await drained(journal)
    assert requests(tmp_path) == [words("an unknown number of" if hurt == "garbage" else 0)]
    assert numbers(tmp_path) == ([] if hurt == "garbage" else EXPECTED)
    assert aside.with_name(DRAINED).exists() is (hurt == "garbage")


async def test_on_a_nearly_full_disk_the_folder_waits_and_what_comes_is_kept(tmp_path, aside, monkeypatch):
    async with started(tmp_path) as journal:
        with monkeypatch.context() as full:
            full.setattr(f"{DRAIN}.MIN_FREE_BYTES", 1 << 62)
            with pytest.raises(JournalUnavailable, match="are free under"):
                await Drainer(journal).drain(aside)
            assert await journal.append(callback(b"0"))
        assert numbers(tmp_path) == [0]
        assert put_aside(tmp_path) == [aside]
        await drained(journal)
    assert numbers(tmp_path) == [0, *EXPECTED]


async def test_a_folder_with_anything_else_in_it_is_drained_once_and_stays(tmp_path, aside, monkeypatch):
    monkeypatch.setattr(f"{DRAIN}._EVERY_S", 0.01)
    (aside.parent / "notes.txt").write_text("what a person has written down")
    async with started(tmp_path) as journal:
        with capture_logs() as logs:
            await drained(journal, lambda: [one["event"] for one in logs].count("journal.drain_waits") > 2)
        assert any("it also holds notes.txt" in one.get("words", "") for one in logs)
        assert numbers(tmp_path) == EXPECTED
        assert requests(tmp_path) == [words(0)], "the consumers are asked once"
        (aside.parent / "notes.txt").unlink()
        await drained(journal)
    assert not aside.parent.exists()


async def test_a_file_of_another_version_is_neither_drained_nor_deleted(tmp_path, aside):
    with closing(apsw.Connection(str(aside))) as db:
        db.execute("PRAGMA user_version = 99")
    before = aside.read_bytes()
    async with started(tmp_path) as journal:
        with capture_logs() as logs:
            await drained(journal, lambda: any("newer" in one.get("words", "") for one in logs))
        assert rows_below(tmp_path) == []
    assert aside.read_bytes() == before


async def test_what_the_drain_meets_ends_nothing(tmp_path, aside, monkeypatch):
    """A file may fail in a way of its own."""
    monkeypatch.setattr(f"{DRAIN}._EVERY_S", 0.01)
    met = []

    def once(error, real):
        def call(*arguments):
            if error not in met:
                met.append(error)
                raise error
            return real(*arguments)

        return call

    riddle = once(AttributeError("a flipped bit of which nobody has thought"), _Source.pages)
    monkeypatch.setattr(_Source, "pages", riddle)
    async with started(tmp_path) as journal:
        await drained(journal)
    assert len(met) == 1
    assert numbers(tmp_path) == EXPECTED


# -- By hand: the journal of an instance that is gone


def drain_verb(journal):
    return verbs(Drainer(journal), None)["drain"]


async def test_the_journals_of_another_instance_come_once_and_then_what_came_since(tmp_path):
    gone = tmp_path / "gone"
    filled(gone, "damaged-20260101T000000Z")
    filled(gone, "current")
    async with started(tmp_path / "here") as journal:
        for _ in range(2):
            assert await drain_verb(journal)({"folder": str(gone)}) == {
                "kept": 2 * len(EXPECTED),
                "unreadable": 0,
            }
        assert numbers(tmp_path / "here") == EXPECTED * 2
        assert requests(tmp_path / "here") == [], "nothing was damaged"
        fill(gone, 1).close()
        await drain_verb(journal)({"folder": str(gone / "current")})
    assert numbers(tmp_path / "here") == [*EXPECTED, *EXPECTED, COUNT + 1]
    assert len(put_aside(gone)) == 1, "the folders are only read"


@pytest.mark.parametrize("way", [".backup", "VACUUM INTO"])
async def test_a_copy_that_sqlite_makes_beside_a_running_ingress_is_drained(tmp_path, way):
    """Both ways of the page about back-ups; ``.backup`` is this function."""
    (tmp_path / "copy").mkdir()
    with closing(fill(tmp_path / "old", 5, 3, (2,))) as file:
        with (
            closing(sqlite3.connect(current(tmp_path / "old"))) as old,
            closing(sqlite3.connect(tmp_path / "copy" / "journal.db")) as copy,
        ):
            if way == ".backup":
                old.backup(copy)
            else:
                old.execute("VACUUM INTO ?", [str(tmp_path / "copy" / "journal.db")])
        file.commit([callback(b"7")])
    async with started(tmp_path / "new") as journal:
        assert await journal.append(callback(b"6"))
        done = await drain_verb(journal)({"folder": str(tmp_path / "copy")})
        assert done == {"kept": 3, "unreadable": 0}
    assert numbers(tmp_path / "new") == [6, 2, 4, 5]


@pytest.mark.parametrize("named", ["", "current", "damaged-20260101T000000Z", "by-hand"])
async def test_that_of_a_live_instance_is_refused_whole(tmp_path, named):
    other = tmp_path / "other"
    filled(other)
    filled(other, "by-hand")
    fill(other, 3).close()
    async with started(tmp_path / "here") as journal:
        with journal_lock(other), pytest.raises(JournalLocked, match=f"holds the journal in {other}, which"):
            await drain_verb(journal)({"folder": str(other / named)})
        assert rows_below(tmp_path / "here") == []


async def test_a_folder_without_a_journal_is_refused(tmp_path):
    async with started(tmp_path / "here") as journal:
        with pytest.raises(BridgeError, match="there is no journal in"):
            await drain_verb(journal)({"folder": str(tmp_path / "nowhere")})
        (tmp_path / "foreign").mkdir()
        with closing(apsw.Connection(str(tmp_path / "foreign" / "journal.db"))) as db:
            db.execute("CREATE TABLE t (a)")
        with pytest.raises(JournalError, match="is not a journal of dingbridge"):
            await drain_verb(journal)({"folder": str(tmp_path / "foreign")})


@pytest.mark.parametrize("relative", [False, True])
async def test_a_folder_of_its_own_that_a_person_names_is_not_drained_twice(
    tmp_path, aside, monkeypatch, relative
):
    """Also where ``JOURNAL_DIR`` is a relative path."""
    monkeypatch.chdir(tmp_path)
    async with started(Path() if relative else tmp_path) as journal:
        assert (await drain_verb(journal)({"folder": str(aside.parent)}))["kept"] == len(EXPECTED)
        await drained(journal)
    assert numbers(tmp_path) == EXPECTED


async def test_no_file_is_touched_on_the_event_loop_and_no_tree_is_walked(tmp_path, aside, touched):
    """A network folder may take minutes for each call, and a large tree many calls."""
    (tmp_path / "other").mkdir()
    outside = filled(tmp_path / "other")
    for tree in (tmp_path, outside.parent.parent):
        (tree / "tree" / "branch" / "twig").mkdir(parents=True)
    async with started(tmp_path) as journal:
        touched.clear()
        await drain_verb(journal)({"folder": str(outside.parent.parent)})
        with capture_logs() as logs:
            await drained(journal, lambda: any(one["event"] == "journal.folder_removed" for one in logs))
        await asyncio.to_thread(journal_status, tmp_path)
        assert [one for one in touched if one[2]] == []
    listed = {path for call, path, _ in touched if call == "scandir"}
    assert not [path for path in listed if "tree" in str(path)]
    assert numbers(tmp_path) == EXPECTED * 2


@pytest.fixture
def touched(tmp_path, monkeypatch):
    """``(call, path, whether it was on this thread)`` of each call on a file below ``tmp_path``."""
    calls, loop = [], threading.get_ident()

    def recorded(name, real):
        def call(path=".", *arguments, **more):
            if isinstance(path, str | Path) and Path(path).is_relative_to(tmp_path):
                calls.append((name, Path(path), threading.get_ident() == loop))
            return real(path, *arguments, **more)

        return call

    for name in ("stat", "lstat", "scandir", "listdir", "open", "utime", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name)))
    monkeypatch.setattr(shutil, "disk_usage", recorded("disk_usage", shutil.disk_usage))
    return calls


async def test_a_stop_in_the_middle_of_a_read_ends_the_drain(tmp_path, aside, monkeypatch):
    """SQLite refuses to close a file that another thread is reading."""
    reading, go_on = threading.Event(), threading.Event()

    def blocked():
        reading.set()
        go_on.wait(30)

    def row(self, seq):
        self.db.create_scalar_function("blocked", blocked)
        self.db.execute("SELECT blocked()").fetchall()

    monkeypatch.setattr(JournalFile, "row", row)
    async with started(tmp_path) as journal:
        running = asyncio.ensure_future(Drainer(journal).run())
        await eventually(reading.is_set, 5, "it reads")
        running.cancel()
        await asyncio.wait([running], timeout=5)
        go_on.set()
        assert running.cancelled()


async def test_a_journal_that_is_moved_away_under_its_ingress_is_not_drained_into_itself(tmp_path):
    """It would be deleted at the end, with all that is kept in it. The next start drains it."""
    async with started(tmp_path) as journal:
        current(tmp_path).parent.rename(tmp_path / "damaged-by-hand")
        assert await journal.append(callback(b"1"))
        with capture_logs() as logs:
            await drained(
                journal, lambda: any("start the ingress again" in one.get("words", "") for one in logs)
            )
    async with started(tmp_path) as journal:
        await drained(journal)
    assert numbers(tmp_path) == [1]


@pytest.mark.parametrize("name", ["by-hand", "damaged-by-hand/current"])
async def test_a_folder_that_nobody_here_has_put_aside_is_shown_and_drained_when_a_person_asks(
    tmp_path, aside, name
):
    """``mv`` moves a second folder into the first, which exists."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    aside = aside.parent.rename(tmp_path / name) / aside.name
    filled(tmp_path)  # drained by itself
    async with started(tmp_path) as journal:
        await drained(journal)
        assert numbers(tmp_path) == EXPECTED, "that one alone"
        assert not journal_status(tmp_path).put_aside[name].done
        await drain_verb(journal)({"folder": str(aside.parent)})
        assert journal_status(tmp_path).put_aside[name].done
    assert numbers(tmp_path) == EXPECTED * 2
    assert aside.exists()


@pytest.mark.parametrize("below", ["second", "damaged-by-hand", "damaged-by-hand/second", "a/b"])
async def test_no_live_journal_below_is_drained_or_deleted(tmp_path, aside, monkeypatch, below):
    """As one of an ingress whose ``JOURNAL_DIR`` lies inside this one."""
    (other := tmp_path / below).mkdir(parents=True)
    async with started(other) as live, started(tmp_path) as journal:
        assert await live.append(callback(b"1"))
        await drained(journal)
        assert await live.append(callback(b"2"))
        assert numbers(tmp_path) == EXPECTED
    assert numbers(other) == [1, 2]


async def test_a_folder_that_another_process_holds_waits(tmp_path, aside, monkeypatch):
    monkeypatch.setattr(f"{DRAIN}._EVERY_S", 0.01)
    async with started(tmp_path) as journal:
        with journal_lock(aside.parent), capture_logs() as logs:
            await drained(journal, lambda: [one["event"] for one in logs].count("journal.drain_waits") > 1)
            assert f"holds the journal in {aside.parent}" in logs[-1]["words"]
            assert numbers(tmp_path) == []
            assert aside.exists()


async def test_a_link_to_another_folder_is_not_followed(tmp_path, aside):
    live = tmp_path / "elsewhere"
    fill(live, 3).close()
    (tmp_path / "damaged-link").symlink_to(live / "current")
    async with started(tmp_path) as journal:
        await drained(journal)
    assert numbers(tmp_path) == EXPECTED
    assert numbers(live) == [1, 2, 3]


async def test_all_of_a_file_is_drained_that_does_not_say_how_far_kafka_was_after_a_long_life(tmp_path):
    """Its numbers are high, and most of its callbacks are pruned."""
    with closing(fill(tmp_path, 0)) as file:
        file.db.execute("INSERT INTO sqlite_sequence VALUES ('callbacks', 50000000)")
    with closing(fill(tmp_path, 5)) as file:
        file.db.execute("UPDATE state SET value = '5 0' WHERE key = 'acked'")
    current(tmp_path).parent.rename(tmp_path / "damaged-old")
    async with started(tmp_path) as journal:
        await drained(journal)
    assert numbers(tmp_path) == [50_000_000 + n for n in range(1, 6)]
