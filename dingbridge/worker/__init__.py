"""The runtime of every consumer: Kafka records in, one database transaction per event out.

A record's way through it: ``worker.py`` fetches, ``scheduler.py`` keeps order (``queues/``), retries and
gives up, ``executor.py`` makes one attempt. Authors import from ``dingbridge``, never from here.
"""
