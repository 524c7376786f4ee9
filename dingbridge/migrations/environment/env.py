"""Alembic runs this file within each command that ``dingbridge/migrations/upgrade.py`` gives.

It works on the connection that the configuration has, in the transaction that is open there.
"""

from alembic import context

attributes = context.config.attributes
# We begin SQLite's transactions ourselves, so its DDL is transactional. Alembic assumes that it is not.
context.configure(connection=attributes["connection"], transactional_ddl=True, **attributes["options"])
context.run_migrations()
