"""What a consumer with ``uses_database = False`` is given in place of a database: nothing, said in words."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from sqlalchemy import Executable, Table
from sqlalchemy.engine import CursorResult, Result

from dingbridge.errors import SettingsError
from dingbridge.worker.context import Context, Reader
from dingbridge.worker.store.transaction import Transaction


def _refuse() -> NoReturn:
    raise SettingsError(
        ["the consumer says `uses_database = False`, and its handler asks for the database; remove that line"]
    )


class NoReader(Reader):
    """Refuses every read."""

    def __init__(self) -> None:
        pass

    async def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | None = None
    ) -> Result[Any]:
        _refuse()


class NoTransaction(Transaction):
    """Refuses every statement."""

    def __init__(self, ctx: Context) -> None:
        self.abandoned = False
        self._ctx = ctx

    @property
    def dialect(self) -> str:
        _refuse()

    async def execute(
        self,
        statement: Executable,
        parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        _refuse()

    def insert(self, table: Table) -> NoReturn:
        _refuse()
