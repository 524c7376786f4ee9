"""The revisions of outbound's tables, as Alembic has them; ``dingbridge/worker/store/migrations`` runs
them."""
