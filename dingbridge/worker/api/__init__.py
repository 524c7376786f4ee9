"""How DingTalk's Open API is reached: a client for each app, and what the app may spend in a month."""
