"""People and departments, both ways: rows, the agent that works at them, and what it asks of DingTalk."""
