"""A member of the consumer's group: what is fetched, handed over and committed."""
