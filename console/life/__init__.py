"""One event's life: where it stands, and what each consumer made of it."""
