"""The write-ahead journal: what DingTalk sent, durable before it is answered."""
