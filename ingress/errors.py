"""What can go wrong with the journal. Drawn with the rest of the tree in ``dingbridge/errors.py``."""

from dingbridge.errors import BridgeError


class JournalError(BridgeError):
    """The journal cannot be opened, or is in a state that must not be ignored."""


class JournalDamaged(JournalError):
    """The journal is damaged; the next start renames it and makes a new one."""


class JournalLocked(JournalError):
    """Another process holds the journal's folder."""


class JournalUnavailable(JournalError):
    """A callback was not kept. ``reason`` is one of ``disk``, ``queue_full``, ``too_slow``, ``stopping``."""

    def __init__(self, reason: str, words: str) -> None:
        self.reason = reason
        super().__init__(words)
