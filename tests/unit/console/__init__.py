"""The console without a browser, a Kafka or a network but loopback."""
