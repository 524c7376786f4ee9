"""Pushing events to the registered callback, and the lists of what could not be delivered."""
