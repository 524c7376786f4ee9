"""People and departments, both ways: rows, the agent that works on them, and its calls to DingTalk."""
