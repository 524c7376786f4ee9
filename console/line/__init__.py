"""The line DingTalk → journal → Kafka → consumers → their systems, judged from what listeners say. No I/O."""
