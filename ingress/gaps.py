"""What a damaged journal file lacks: for the publisher, which goes on behind it, and for the operator's view.

Which numbers may be missing without damage is not decided here: the publisher asks behind its cursor, the
view also before it.
"""

from ingress.journal_file import JournalFile, Row

MAX_ROWS = 256
"""How many callbacks are read at once."""
MAX_MISSING = 1_000
"""Of a longer gap only the last so many are told one by one: a wrong number must not become a flood."""


def one_by_one(file: JournalFile, after_seq: int, last_seq: int) -> list[Row]:
    """What stands behind ``after_seq`` up to ``last_seq``, where damage keeps it from being read at once;
    what cannot be read by itself either comes as not intact."""
    found = (file.row(seq) for seq in range(after_seq + 1, last_seq + 1))
    return [row for row in found if row is not None]


def missing(after_seq: int, before_seq: int, pruned_seq: int) -> range:
    """The numbers between the two, of which no row was found, that only damage can have taken away."""
    return range(max(after_seq, pruned_seq, before_seq - 1 - MAX_MISSING) + 1, before_seq)
