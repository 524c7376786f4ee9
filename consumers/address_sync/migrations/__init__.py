"""The revisions of address-sync's tables, as Alembic has them; ``consumers/runtime/migrations`` runs them."""
