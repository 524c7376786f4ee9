"""Records once more to one consumer: its dead letters, or a range of time of its topics.

Records are copied into the consumer's inbox topic, so that no other group sees them. ``letters.py`` reads the
dead letters, ``span.py`` finds a range of time, ``dingbridge/kafka/reader.py`` streams records to the end
seen at the start, ``copying.py`` sends the copies, ``history.py`` knows what was copied before. The commands
are ``dingbridge/cli/dlq.py`` and ``dingbridge/cli/replay.py``.
"""
