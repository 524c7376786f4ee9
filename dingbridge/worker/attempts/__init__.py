"""One attempt at an event: its handler's halves, their time limits, the transactions that events share."""
