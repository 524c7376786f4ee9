"""What a poller does next, from the ledger alone. Pure; one step is safe to do twice.

Debts first: what earlier calls left behind is settled before another call destroys anything.
"""

from dataclasses import dataclass

from ingress.recovery.ledger import Intent, Ledger, Page


@dataclass(frozen=True, slots=True)
class Lost:
    """Somebody else holds the lease: do nothing more."""


@dataclass(frozen=True, slots=True)
class Order:
    """A page may be gone: ask for a look at what may have stood on it."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Enter:
    """A page is kept, and not in a journal."""

    page: Page


@dataclass(frozen=True, slots=True)
class Call:
    """Nothing is owed: note an intent, and read the next page."""


@dataclass(frozen=True, slots=True)
class End:
    """The list was read to its end."""


Step = Lost | Order | Enter | Call | End


def next_step(ledger: Ledger, me: str, *, more: bool) -> Step:
    """``more``: whether the list may hold more than this run has read."""
    if ledger.holder != me:
        return Lost()
    if ledger.open:
        return Order(next(iter(ledger.open.values())))
    if ledger.pages:
        return Enter(next(iter(ledger.pages.values())))
    return Call() if more else End()
