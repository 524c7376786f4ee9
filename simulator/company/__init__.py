"""The invented company: who and what there is, what happens there, and its events."""
