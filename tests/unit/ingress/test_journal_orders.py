"""A page of the failed list, its ledger and resync requests: one commit, all or nothing."""

import apsw
import pytest

from dingbridge.ingress.journal.rows import CONTROL, NewCallback, ResyncRequest
from tests.unit.ingress.filled import fill

NOW = 1_800_000_000_000
ORDER = ResyncRequest("page-1", "a page may be gone", app="oa", corp_id="c", since_ms=5, part="contacts")


def callback(name: bytes) -> NewCallback:
    return NewCallback(NOW, "oa", "failed-list", name, b"key-" + name)


def test_a_page_with_its_orders_and_notes_comes_back_as_it_was_kept(tmp_path) -> None:
    file = fill(tmp_path, 0)
    rows = [callback(b"a"), ORDER, callback(b"a"), ORDER]
    assert file.commit(rows, {"recovery/oa": "page"}, NOW) == [True, True, False, True]
    kept = file.read(0, max_rows=10, max_bytes=1000)
    assert [(row.seq, row.via) for row in kept] == [(1, "failed-list"), (2, CONTROL), (3, CONTROL)]
    assert ResyncRequest.of(kept[1]) == ORDER
    everyone = ResyncRequest("x", "why")
    file.commit([everyone], {"recovery/oa": None, "recovery/other": "1"}, NOW)
    assert ResyncRequest.of(file.read(3, max_rows=1, max_bytes=1)[0]) == everyone
    assert file.notes("recovery/") == {"recovery/other": "1"}


def test_what_fails_in_between_leaves_nothing_of_the_page(tmp_path) -> None:
    file = fill(tmp_path, 0)
    with pytest.raises((apsw.Error, TypeError)):
        file.commit([callback(b"a"), ORDER], {"recovery/oa": object()}, NOW)  # type: ignore[dict-item]
    assert file.read(0, max_rows=10, max_bytes=1000) == []
    assert file.commit([callback(b"a")], {}, NOW) == [True]
