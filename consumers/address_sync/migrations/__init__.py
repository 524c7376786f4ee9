"""The revisions of address-sync's tables, as Alembic has them; ``dingbridge/worker/store/migrations`` runs
them."""
