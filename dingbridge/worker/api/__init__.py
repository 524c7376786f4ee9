"""How a consumer reaches DingTalk's Open API: a client for each app."""
