"""A made-up next version of a consumer's tables: one more revision, which adds a column and a table."""

import shutil
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Column, MetaData, Table, Text

from dingbridge.migrations.upgrade import Tables, scripts_of

REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("{table}", sa.Column("of_the_next", sa.Text))
    op.create_table("{table}_next", sa.Column("id", sa.Text, primary_key=True))
"""
_numbers = count()


def head(consumer: type[Tables]) -> str:
    """The latest revision of this version."""
    return str(scripts_of(str(consumer.migrations)).get_current_head())


def next_of(consumer: type[Tables], folder: Path) -> Any:
    """The next version of ``consumer``, which has ``migrations``; ``folder`` is on the path."""
    package = f"next_{next(_numbers)}"
    shutil.copytree(scripts_of(str(consumer.migrations)).dir, folder / package)
    table = min(consumer.own_tables)
    text = REVISION.format(before=head(consumer), table=table)
    (folder / package / "v9999_next.py").write_text(text)
    metadata = MetaData()
    assert consumer.metadata is not None
    for each in consumer.metadata.sorted_tables:
        each.to_metadata(metadata)
    metadata.tables[table].append_column(Column("of_the_next", Text))
    Table(f"{table}_next", metadata, Column("id", Text, primary_key=True))
    about = {"metadata": metadata, "migrations": package}
    return type("Next", (consumer,), {**about, "own_tables": frozenset(metadata.tables)})
