"""What can go wrong with the journal. Drawn with the rest of the tree in ``dingbridge/errors.py``."""

from dingbridge.errors import BridgeError


class JournalError(BridgeError):
    """The journal cannot be opened, or says something that must not be passed over."""


class JournalDamaged(JournalError):
    """The journal, or its checkpoint, is not what was written: it is put aside at the next start."""


class JournalNewer(JournalError):
    """A newer version has written the journal."""


class JournalOlder(JournalError):
    """An older version has written the journal, and nobody has brought it up yet."""


class JournalLocked(JournalError):
    """Another process holds the journal's folder."""


class JournalUnavailable(JournalError):
    """A callback was not kept. ``reason`` is one of ``disk``, ``queue_full``, ``too_slow``, ``stopping``."""

    def __init__(self, reason: str, words: str) -> None:
        self.reason = reason
        super().__init__(words)
