"""Kafka: connections, topics, what a failure means in words, reading topics once."""
