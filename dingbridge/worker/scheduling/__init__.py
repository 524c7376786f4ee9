"""Which record is worked on next, retried, given up, or waits."""
