"""One attempt at an event: the two halves of its handler, their time limits, and the transactions that events share."""
