"""``dingbridge schema``: the records in Kafka beside the catalogue."""
