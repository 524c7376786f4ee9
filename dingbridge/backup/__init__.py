"""``dingbridge backup`` and ``dingbridge restore``: the journal, the consumers' databases, and where in Kafka
their groups were."""
