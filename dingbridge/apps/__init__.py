"""The DingTalk apps of ``DINGTALK_APPS_FILE``: what an app is, reading the file, editing it."""
