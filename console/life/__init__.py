"""One event's life: where it is, and its outcome at each consumer."""
