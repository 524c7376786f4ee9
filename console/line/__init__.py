"""The line DingTalk → journal → Kafka → consumers → their systems, judged by listeners' answers. No I/O."""
