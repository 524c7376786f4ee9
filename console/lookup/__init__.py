"""Who or what a person's words may mean, by the consumers' tables."""
