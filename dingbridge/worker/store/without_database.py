"""What a consumer with ``uses_database = False`` is given in place of a database: it refuses every use, in
words."""

from typing import Any, NoReturn

from dingbridge.errors import SettingsError
from dingbridge.worker.context import Context, Reader
from dingbridge.worker.store.transaction import Transaction


class _NoConnection:
    def __getattr__(self, name: str) -> NoReturn:
        raise SettingsError(
            [
                "the consumer has `uses_database = False`, and its handler asks for the database; remove "
                "that line"
            ]
        )


_NONE: Any = _NoConnection()


def no_reader() -> Reader:
    """Each read raises ``SettingsError``."""
    return Reader(lambda: _NONE.connect())


def no_transaction(ctx: Context) -> Transaction:
    """Each statement raises ``SettingsError``."""
    return Transaction(_NONE, ctx)
