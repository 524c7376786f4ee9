"""The simulator's own surface: its page, and the requests that make something happen."""
