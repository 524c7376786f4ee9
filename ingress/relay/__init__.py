"""The relay: from the journal to Kafka, in order, in a process of its own."""
