"""``dingbridge callback``: the callback URL at DingTalk."""
