"""The Alembic revisions of the worker's own tables."""
