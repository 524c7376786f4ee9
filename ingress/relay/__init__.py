"""The relay: from the journal to Kafka, in order; a task of the ingress."""
