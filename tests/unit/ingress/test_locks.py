"""One process writes below a ``JOURNAL_DIR``, and none lies inside another's."""

import fcntl
import os

import pytest

from dingbridge.errors import BridgeError
from dingbridge.ingress.admin.publish import publish
from dingbridge.ingress.app import Ingress
from dingbridge.ingress.errors import JournalLocked
from dingbridge.ingress.journal.folder import current
from dingbridge.ingress.journal.locks import drain_lock, journal_lock
from tests.unit.ingress.filled import fill
from tests.unit.ingress.relay.fakes import settings


def test_one_process_holds_the_folder(tmp_path):
    locked = pytest.raises(JournalLocked, match=rf"another ingress \(process {os.getpid()}\) holds")
    with journal_lock(tmp_path), locked, journal_lock(tmp_path):
        pass
    with journal_lock(tmp_path):
        pass


@pytest.mark.parametrize("below", ["current", "damaged-x", "a/b", "a/b/c/d/e"])
@pytest.mark.parametrize("outer_first", [True, False])
def test_of_two_that_lie_inside_each_other_the_second_is_refused(tmp_path, below, outer_first):
    outer, inner = tmp_path / "outer", tmp_path / "outer" / below
    inner.mkdir(parents=True)
    first, second = (outer, inner) if outer_first else (inner, outer)
    with journal_lock(first):
        with pytest.raises(JournalLocked) as refused, journal_lock(second):
            pass
        words = str(refused.value)
        assert str(outer) in words
        if outer_first or below.count("/") < 2:
            assert f"process {os.getpid()}" in words
            assert str(inner) in words
        assert "give each a JOURNAL_DIR that does not lie inside the other's" in words
        assert not (inner / "ingress.lock").exists() or not outer_first, "nothing is left behind"
    with journal_lock(second):
        pass


def test_those_side_by_side_and_locks_of_other_programs_are_no_matter(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    of_another = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(of_another, fcntl.LOCK_EX)
    with journal_lock(tmp_path / "one"), journal_lock(tmp_path / "two"):
        os.close(of_another)


async def test_an_ingress_does_not_start_inside_the_folder_of_another_or_around_it(tmp_path):
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    for first, second in ((outer, inner), (inner, outer)):
        ours = settings(journal_dir=second, data_dir=tmp_path, journal_allow_unsafe=True)
        with journal_lock(first), pytest.raises(JournalLocked, match=f"holds {first}|inside {first}"):
            await Ingress(ours).run()
        assert not current(second).exists()


@pytest.mark.parametrize("name", ["current", "damaged-x", "copy"])
def test_no_ingress_starts_on_a_folder_while_it_is_drained(tmp_path, name):
    """Of a copy the folder itself is held; nothing is written into it."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    folder = there / name
    folder.mkdir(parents=True)
    if name == "damaged-x":
        with journal_lock(there):
            pass
    with journal_lock(here):
        refused = pytest.raises(JournalLocked, match="drains the journal in")
        with drain_lock(folder, here), refused, journal_lock(folder if name == "copy" else there):
            pass
        with drain_lock(here / "damaged-y", here):
            pass


async def test_nothing_inside_the_folder_of_an_ingress_is_published_by_hand(tmp_path):
    inner = tmp_path / "inner"
    fill(inner, 3).close()
    fill(tmp_path, 3).close()
    damaged = current(tmp_path).parent.rename(tmp_path / "damaged-x")
    with journal_lock(tmp_path):
        with pytest.raises(JournalLocked, match=f"{inner} lies inside {tmp_path}, which another ingress"):
            await publish(settings(), inner)
        with pytest.raises(BridgeError, match="journal drain` takes any folder"):
            await publish(settings(), damaged)
    assert not (damaged / "ingress.lock").exists()
    assert not (inner / "ingress.lock").exists()
