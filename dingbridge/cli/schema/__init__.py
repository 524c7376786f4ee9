"""``dingbridge schema``: the contract of the topics, for other programs."""
