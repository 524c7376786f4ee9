"""Which tables and columns of the code a database lacks, by name.

Only names are compared; a table or column that only the database has is no error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Column, Connection, Table, inspect
from sqlalchemy.schema import CreateColumn

FROM_SETTINGS: Final = "from_settings"
"""In a column's ``info``: a setting has added it, and no revision makes it."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """``tables`` that are not there, and ``columns`` of those that are; ``statements`` are the SQL that would
    add the columns."""

    tables: tuple[Table, ...] = ()
    columns: "tuple[Column[object], ...]" = ()
    statements: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.columns)

    def __str__(self) -> str:
        """The names, as ``ledger, bills.amount``."""
        return ", ".join([*(table.name for table in self.tables), *map(str, self.columns)])


def lacking(connection: Connection, tables: Iterable[Table]) -> Lacking:
    """Compare ``tables`` with the database of ``connection``."""
    expected = {table.name: table for table in tables}
    looker = inspect(connection)
    there = [name for name in looker.get_table_names() if name in expected]
    found = looker.get_multi_columns(filter_names=there) if there else {}
    named = {name: {column["name"] for column in columns} for (_, name), columns in found.items()}
    columns = [
        column for name in there for column in expected[name].columns if column.name not in named[name]
    ]
    return Lacking(
        tuple(table for name, table in expected.items() if name not in named),
        tuple(columns),
        tuple(_statement(connection, column) for column in columns),
    )


def _statement(connection: Connection, column: "Column[object]") -> str:
    dialect = connection.dialect
    table = dialect.identifier_preparer.format_table(column.table)
    return f"ALTER TABLE {table} ADD COLUMN {CreateColumn(column).compile(dialect=dialect)}"
