"""The HTTP edge: receives callbacks, keeps them, answers, and publishes them to Kafka.

In the order in which a callback travels: ``server``, ``callback``, ``journal``, ``relay``.
"""
