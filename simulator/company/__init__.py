"""The invented company: who and what there is, what happens there, and the events that tell of it."""
