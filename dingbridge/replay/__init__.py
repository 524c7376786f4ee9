"""Records once more to one consumer: its dead letters, or a range of time of its topics.

Records are copied into the consumer's inbox topic, so that no other group sees them. ``dead_letters.py`` and
``dead_letter_queue.py`` read the dead letters, ``time_range.py`` finds a range of time,
``dingbridge/kafka/reader.py`` streams records to the end seen at the start, ``copying.py`` sends the copies.
Nothing here holds records in memory, except for the batch that is sent. The commands are
``dingbridge/cli/dlq/`` and ``dingbridge/cli/replay.py``.
"""
