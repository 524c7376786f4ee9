"""A folder comes into the current journal whole, once, in order, and as far as it reads."""

import asyncio
import time
from contextlib import asynccontextmanager, closing, suppress

import apsw
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from dingbridge.events import dedupe_key, extract_facts
from dingbridge.ingress.errors import JournalDamaged, JournalError, JournalUnavailable
from dingbridge.ingress.journal.checkpoint import Checkpoint, Parked
from dingbridge.ingress.journal.directory import JournalFolder, current, damaged, report_damage
from dingbridge.ingress.journal.importing import Importer
from dingbridge.ingress.journal.inspect import journal_status
from dingbridge.ingress.journal.retention import Retention
from dingbridge.ingress.journal.rows import CONTROL, NewCallback, ResyncRequest
from dingbridge.ingress.journal.startup import open_current
from dingbridge.ingress.journal.store import JournalFile
from dingbridge.ingress.journal.writer import Journal
from dingbridge.ingress.metrics import JournalMetrics
from tests.support.waiting import eventually

COUNT, PASSED, PARKED, PRUNED = 600, 300, (7, 290), 100
NOW = int(time.time() * 1000) - 60_000


def entry(number: int) -> NewCallback:
    return NewCallback(NOW + number, "default", "http", b"%d" % number, b"key-%04d" % number)


def fill(root, name="current"):
    """``COUNT`` callbacks, those up to ``PASSED`` published but for ``PARKED``, some of them pruned."""
    root.mkdir(exist_ok=True)
    with closing(open_current(root)) as file:
        file.keep([entry(n) for n in range(1, COUNT + 1)])
        with closing(Checkpoint(current(root).path, file.id)) as checkpoint:
            checkpoint.commit(PASSED, [Parked(n, 0, "t", "rights", 1) for n in PARKED])
        file.prune_callbacks(PRUNED, frozenset(PARKED), 1_000, after_seq=0)
    return JournalFolder(current(root).path.rename(root / name))


@pytest.fixture
def aside(tmp_path):
    return fill(tmp_path, "damaged-20260101T000000Z")


@asynccontextmanager
async def started(root):
    journal = Journal(root, Retention(3600, 86_400), JournalMetrics(CollectorRegistry()))
    await journal.start()
    try:
        yield journal
    finally:
        await journal.stop()


def kept(root):
    with closing(JournalFile(current(root).journal, read_only=True)) as file:
        return file.read(0, max_rows=99_999, max_bytes=1 << 30)


def numbers(root):
    return [int(row.body) for row in kept(root) if row.via != CONTROL]


def requests(root):
    return [ResyncRequest.of(row).reason for row in kept(root) if row.via == CONTROL]


EXPECTED = [*PARKED, *range(PASSED + 1, COUNT + 1)]


async def test_what_was_parked_and_what_waited_comes_in_order_with_its_time_of_receipt(tmp_path, aside):
    async with started(tmp_path) as journal:
        state = await Importer(tmp_path, journal, 0).bring_in(aside)
        assert (state.rows, state.unread, state.done_ms is None) == (len(EXPECTED), 0, False)
        assert numbers(tmp_path) == EXPECTED
        assert all(row.received_ms == NOW + int(row.body) for row in kept(tmp_path) if row.via != CONTROL)
        assert requests(tmp_path) == ["a journal was damaged: 0 callback(s) of it could not be read"]
        known = [await journal.append(entry(n)) for n in (1, PRUNED, PASSED, COUNT, COUNT + 1)]
        assert known == [False, False, False, False, True], "a repeated push is still recognised"


async def test_what_was_pushed_again_before_the_import_is_there_once(tmp_path):
    """The listener does not wait for it. What was put back, past the dedupe, is no repetition."""

    def pushed(number, received_ms, **more):
        body = b'{"EventType": "x", "CorpId": "c", "eventId": "%d"}' % number
        key = dedupe_key(extract_facts(body), "default", body)
        return NewCallback(received_ms, "default", "http", body, **{"key": key, **more})

    with closing(open_current(tmp_path)) as file:
        file.keep([pushed(1, NOW), pushed(2, NOW)])
    report_damage(current(tmp_path).path, "a page is torn")
    async with started(tmp_path) as journal:
        assert await journal.append(pushed(1, NOW + 10_000))
        [aside] = damaged(tmp_path)
        await Importer(tmp_path, journal, 0).bring_in(aside)
        assert not await journal.append(pushed(2, NOW + 20_000))
        await journal.append(pushed(2, NOW, key=b"", keep_again=True))
    assert [extract_facts(row.body).event_id for row in kept(tmp_path) if row.via != CONTROL] == [
        "1",
        "2",
        "2",
    ]


@pytest.mark.parametrize("kept_late", [False, True])
async def test_an_import_that_is_cut_off_anywhere_goes_on_without_doubles(
    tmp_path, aside, monkeypatch, kept_late
):
    """``kept_late``: what was refused as too slow is committed all the same."""
    monkeypatch.setattr("dingbridge.ingress.journal.importing._ROWS", 64)
    real, calls = Journal.commit, 0

    async def cut_off(self, *arguments):
        nonlocal calls
        calls += 1
        if calls % 2:
            return await real(self, *arguments)
        if kept_late:
            await real(self, *arguments)
        raise JournalUnavailable("too_slow", "cut off")

    monkeypatch.setattr(Journal, "commit", cut_off)
    for _ in range(100):
        async with started(tmp_path) as journal:
            try:
                state = await Importer(tmp_path, journal, 0).bring_in(aside)
                break
            except JournalUnavailable:
                continue
    assert calls > 8
    assert state.rows == len(EXPECTED)
    assert numbers(tmp_path) == EXPECTED
    assert len(requests(tmp_path)) == 1


def hurt(folder, text, number):
    content = folder.journal.read_bytes()
    at = content.index(b"http" + b"%d" % number) // 4096 * 4096
    folder.journal.write_bytes(content[:at] + text * (4096 // len(text)) + content[at + 4096 :])


async def test_what_does_not_read_is_counted_and_hides_nothing_else(tmp_path, aside):
    hurt(aside, b"\xa5", 450)
    async with started(tmp_path) as journal:
        with capture_logs() as logs:
            state = await Importer(tmp_path, journal, 0).bring_in(aside)
        assert 0 < state.unread < 200
        assert len(numbers(tmp_path)) + state.unread == len(EXPECTED)
        assert requests(tmp_path) == [
            f"a journal was damaged: {state.unread} callback(s) of it could not be read"
        ]
    assert sum(line["callbacks"] for line in logs if line["event"] == "journal.unread") == state.unread
    assert journal_status(tmp_path).unread == state.unread


async def test_what_the_disk_has_changed_is_not_brought_in(tmp_path, aside):
    with closing(JournalFile(aside.journal)) as file:
        file.db.execute(
            "UPDATE callbacks SET body = x'ff' WHERE seq = 400; DELETE FROM callbacks WHERE seq = 7"
        )
    async with started(tmp_path) as journal:
        state = await Importer(tmp_path, journal, 0).bring_in(aside)
    assert state.unread == 2
    assert numbers(tmp_path) == [n for n in EXPECTED if n not in (7, 400)]


@pytest.mark.parametrize("statement", [None, "UPDATE checkpoint SET seq = 599", "DROP TABLE parked"])
async def test_where_the_checkpoint_does_not_read_all_that_was_not_pruned_counts(tmp_path, aside, statement):
    if statement is None:
        aside.checkpoint.unlink()
    else:
        with closing(Checkpoint(aside.path)) as checkpoint:
            checkpoint.db.execute(statement)
    async with started(tmp_path) as journal:
        state = await Importer(tmp_path, journal, 0).bring_in(aside)
    assert numbers(tmp_path) == [PARKED[0], *range(PRUNED + 1, COUNT + 1)]
    assert state.unread == 0


@pytest.mark.parametrize("last", [1 << 40, 3])
async def test_a_last_number_that_the_disk_has_changed_neither_hides_rows_nor_lasts_for_ever(
    tmp_path, aside, last
):
    with closing(JournalFile(aside.journal)) as file:
        file.db.execute("UPDATE sqlite_sequence SET seq = ?", (last,))
    async with started(tmp_path) as journal:
        state = await Importer(tmp_path, journal, 0).bring_in(aside)
    assert numbers(tmp_path) == EXPECTED
    assert state.unread == (1 if last > COUNT else 0), "how many there were is not known"


async def test_of_a_folder_of_which_nothing_reads_the_number_is_unknown_and_that_is_said(tmp_path, aside):
    aside.journal.write_bytes(b"no database" * 1_000)
    async with started(tmp_path) as journal:
        importer = Importer(tmp_path, journal, 0)
        with capture_logs() as logs:
            for _ in range(2):
                state = await importer.bring_in(aside)
                assert (state.unread, state.counted) == (1, False)
        assert requests(tmp_path) == [UNKNOWN]
        line = next(line for line in logs if line["event"] == "journal.imported")
        assert line["unread"] == "an unknown number of"
        assert await importer.remove(0) == [], "somebody may have a back-up"
        assert await importer.remove(0, forget=True) == [aside.name]


async def test_without_disk_the_folder_stays_and_what_comes_is_kept(tmp_path, aside, monkeypatch):
    async with started(tmp_path) as journal:
        with monkeypatch.context() as full:
            full.setattr("dingbridge.ingress.journal.importing.MIN_FREE_BYTES", 1 << 62)
            with pytest.raises(JournalUnavailable, match="are free under"):
                await Importer(tmp_path, journal, 0).bring_in(aside)
            assert await journal.append(entry(1_000))
        assert numbers(tmp_path) == [1_000]
        assert damaged(tmp_path) == [aside]
        await Importer(tmp_path, journal, 0).bring_in(aside)
    assert numbers(tmp_path) == [1_000, *EXPECTED]


async def test_an_ingress_imports_what_was_put_aside_and_deletes_it_when_its_time_is_over(tmp_path, aside):
    async with started(tmp_path) as journal:
        importer = Importer(tmp_path, journal, 3600)
        running = asyncio.ensure_future(importer.run())
        await eventually(lambda: journal_status(tmp_path).as_json()["damaged"][0]["imported"], 10, "imported")
        running.cancel()
        assert await importer.remove(3600) == []
        assert await importer.remove(0) == [aside.name]
        assert not damaged(tmp_path)


@pytest.mark.parametrize("inside", ["current/journal.db", "journal.db.copy"])
async def test_a_folder_is_deleted_by_its_own_files_and_never_with_what_else_lies_in_it(
    tmp_path, aside, inside
):
    """Somebody may have moved a second journal into it, which was never imported."""
    other = fill(tmp_path, "damaged-20260101T000001Z")
    (aside.path / inside).parent.mkdir(exist_ok=True)
    (aside.path / inside).write_bytes(b"whatever somebody has put there")
    async with started(tmp_path) as journal:
        importer = Importer(tmp_path, journal, 0)
        for folder in (aside, other):
            await importer.bring_in(folder)
        for _ in range(2):
            with pytest.raises(JournalError, match=f"{aside.name} is kept: .*{inside.split('/')[0]}.*move "):
                await importer.remove(0)
            assert (aside.path / inside).exists()
            assert aside.journal.exists(), "nothing of it is deleted"
            assert damaged(tmp_path) == [aside], "the other one is"
        (aside.path / inside).rename(tmp_path / "elsewhere")
        with suppress(OSError):
            (aside.path / inside).parent.rmdir()
        assert await importer.remove(0) == [aside.name]


async def test_what_waits_is_never_deleted(tmp_path, aside):
    async with started(tmp_path) as journal:
        assert await Importer(tmp_path, journal, 0).remove(0, forget=True) == []
    assert damaged(tmp_path) == [aside]


async def test_a_later_damage_does_not_bring_an_earlier_folder_in_again(tmp_path, aside):
    async with started(tmp_path) as journal:
        await Importer(tmp_path, journal, 0).bring_in(aside)
    report_damage(current(tmp_path).path, "again")
    async with started(tmp_path) as journal:
        importer = Importer(tmp_path, journal, 0)
        for folder in damaged(tmp_path):
            await importer.bring_in(folder)
    assert numbers(tmp_path) == EXPECTED


async def test_a_folder_of_another_instance_comes_in_once_and_then_what_came_since(tmp_path):
    gone = fill(tmp_path / "gone")
    async with started(tmp_path) as journal:
        importer = Importer(tmp_path, journal, 0)
        for _ in range(2):
            assert (await importer.bring_in(gone)).rows == len(EXPECTED)
        assert requests(tmp_path) == [], "nothing was damaged"
        with closing(JournalFile(gone.journal)) as file:
            file.keep([entry(COUNT + 1)])
        assert (await importer.bring_in(gone)).rows == len(EXPECTED) + 1
    assert numbers(tmp_path) == [*EXPECTED, COUNT + 1]


async def test_of_another_folder_nothing_counts_as_pushed_again(tmp_path):
    """Else what was put back, past the dedupe, would be lost."""
    body = b'{"EventType": "x", "CorpId": "c", "eventId": "1"}'
    key = dedupe_key(extract_facts(body), "default", body)
    (tmp_path / "gone").mkdir()
    with closing(JournalFile(tmp_path / "gone" / "journal.db", create=True)) as file:
        file.keep([NewCallback(NOW, "default", "http", body, b"", keep_again=True)])
    async with started(tmp_path) as journal:
        await journal.append(NewCallback(NOW + 5, "default", "http", body, key))
        await Importer(tmp_path, journal, 0).bring_in(JournalFolder(tmp_path / "gone"))
    assert [row.body for row in kept(tmp_path)] == [body, body]


async def test_one_that_cannot_be_opened_is_refused(tmp_path):
    gone = fill(tmp_path / "gone")
    gone.journal.write_bytes(b"no database" * 1_000)
    async with started(tmp_path) as journal:
        with pytest.raises(JournalDamaged, match="cannot be read"):
            await Importer(tmp_path, journal, 0).bring_in(gone)


async def test_a_dedupe_key_that_is_none_any_more_neither_ends_the_import_nor_hides_the_others(
    tmp_path, aside
):
    with closing(JournalFile(aside.journal)) as file:
        file.db.execute("UPDATE seen SET key = 'text' WHERE key = ?", (b"key-0600",))
    real = JournalFile.seen

    def seen(self, after_key, limit):  # where the bit has flipped, it still stands in its place
        found = real(self, after_key, limit)
        return [*found, ("text", NOW)] if len(found) < limit else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JournalFile, "seen", seen)
        async with started(tmp_path) as journal:
            assert (await Importer(tmp_path, journal, 0).bring_in(aside)).done_ms is not None
            assert not await journal.append(entry(1))


async def test_a_folder_that_is_a_riddle_stays_and_ends_nothing(tmp_path, aside, monkeypatch):
    def pages(*_):
        raise AttributeError("a flipped bit that nobody has thought of")

    monkeypatch.setattr("dingbridge.ingress.journal.importing._Source.pages", pages)
    async with started(tmp_path) as journal:
        with capture_logs() as logs:
            running = asyncio.ensure_future(Importer(tmp_path, journal, 0).run())
            await eventually(lambda: any(e["event"] == "journal.import_waits" for e in logs), 10, "it waits")
            assert not running.done()
            running.cancel()
    assert damaged(tmp_path) == [aside]


UNKNOWN = "a journal was damaged: an unknown number of callback(s) of it could not be read"


async def test_where_what_was_parked_cannot_be_listed_nobody_says_that_none_was_lost(
    tmp_path, aside, monkeypatch
):
    aside.checkpoint.unlink()

    def seqs(*_):
        raise apsw.CorruptError("a page in between")

    monkeypatch.setattr(JournalFile, "seqs", seqs)
    async with started(tmp_path) as journal:
        importer = Importer(tmp_path, journal, 0)
        state = await importer.bring_in(aside)
        assert (state.unread, state.counted) == (1, False)
        assert requests(tmp_path) == [UNKNOWN]
        assert await importer.remove(0) == [], "somebody may have a back-up"


async def test_a_folder_that_does_not_say_which_journal_it_is_comes_in_all_the_same(tmp_path, aside):
    with closing(JournalFile(aside.journal)) as file:
        file.db.execute("DELETE FROM meta")
    async with started(tmp_path) as journal:
        state = await Importer(tmp_path, journal, 0).bring_in(aside)
    assert (numbers(tmp_path), state.unread, state.counted) == (EXPECTED, 0, True)
