"""The HTTP edge: receives callbacks, keeps them, answers, and publishes them to Kafka.

In the order in which a callback travels: ``http``, ``journal`` (over ``journal_file``), ``publisher``.
"""
