"""The revisions of approval's tables, as Alembic has them; ``dingbridge/worker/store/migrations`` runs
them."""
