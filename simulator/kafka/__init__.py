"""A real Kafka for trials, demo and tests, from its own jars by this machine's Java: no Docker is needed."""
