"""The revisions of approval's tables, as Alembic has them; ``consumers/runtime/migrations`` runs them."""
