"""The callbacks of a journal file in order, damaged ones among them: for the publisher, which must pass them,
and for the operator, who must see them.

A number that is missing is a callback that the disk has lost, since only published ones are ever deleted; it
comes as a row that is not intact, like one that cannot be read.
"""

from collections.abc import Collection, Sequence

from ingress.journal.store import UNREADABLE, JournalFile, StoredCallback, missing_row

MAX_ROWS = 256
"""How many callbacks are read at once."""
MAX_MISSING = 1_000
"""Of a longer gap only the last so many are told one by one: a wrong number must not become a flood."""


def rows_behind(
    file: JournalFile, after_seq: int, highest_seq: int, *, max_bytes: int, kept: Collection[int] = ()
) -> tuple[list[StoredCallback], int]:
    """Some callbacks behind ``after_seq`` in the order of their numbers, and up to which number, at most
    ``highest_seq``, that is all.

    ``highest_seq`` was given before this is called. ``kept`` are numbers that are never pruned. Raises
    ``apsw.Error`` when the disk fails, or where the file cannot even be searched.
    """
    found, end = _found(file, after_seq, highest_seq, max_bytes)
    pruned = file.pruned_seq()  # after the rows: what was pruned meanwhile is not missing
    rows: list[StoredCallback] = []
    seq = after_seq
    for row in found:
        # a damaged page may hide that a row was pruned
        if row.intact or row.seq in kept or row.seq > pruned:
            rows += map(missing_row, missing(seq, row.seq, pruned, kept))
            rows.append(row)
            seq = row.seq
    rows += map(missing_row, missing(seq, end + 1, pruned, kept))
    return rows, end


def missing(after_seq: int, before_seq: int, pruned_seq: int, kept: Collection[int] = ()) -> list[int]:
    """The numbers between the two that only damage can have taken away, if no row has them."""
    first = max(after_seq, pruned_seq, before_seq - 1 - MAX_MISSING) + 1
    return sorted({*range(first, before_seq), *(seq for seq in kept if after_seq < seq < before_seq)})


def _found(
    file: JournalFile, after_seq: int, highest_seq: int, max_bytes: int
) -> tuple[list[StoredCallback], int]:
    """What is found behind ``after_seq``, its numbers rising, and up to which number that is all."""
    try:
        rows = file.read(after_seq, max_rows=MAX_ROWS, max_bytes=max_bytes)
        whole = len(rows) < MAX_ROWS and sum(len(row.body) for row in rows) < max_bytes
        end = highest_seq
    except UNREADABLE:  # one by one: those that cannot be read at all come as not intact
        whole, end = True, min(after_seq + MAX_ROWS, highest_seq)
        rows = [row for seq in range(after_seq + 1, end + 1) if (row := file.row(seq)) is not None]
    rows = _rising(rows, after_seq, highest_seq)
    if not whole:  # where the numbers themselves are damaged, go on all the same
        end = rows[-1].seq if rows else after_seq + 1
    return rows, end


def _rising(rows: Sequence[StoredCallback], after_seq: int, highest_seq: int) -> list[StoredCallback]:
    """Without those whose number cannot be. The number of a row that is not intact is believed only if no
    intact one behind it contradicts it, since it must not hide the callbacks in between."""
    kept: list[StoredCallback] = []
    before = highest_seq + 1
    for row in reversed(rows):
        if after_seq < row.seq < before:
            kept.append(row)
            if row.intact:
                before = row.seq
    rising: list[StoredCallback] = []
    for row in reversed(kept):
        if row.seq > after_seq:
            rising.append(row)
            after_seq = row.seq
    return rising
