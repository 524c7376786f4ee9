"""Recovery of pushes that DingTalk gave up: its failed list is read, and enters the journal like callbacks.

``items`` says what an item becomes, ``ledger`` what is known of earlier calls and who may make the next
one, ``steps`` what is to be done next: all three without I/O. ``ledger_topic`` keeps the ledger in Kafka,
``lists`` speaks to DingTalk, ``orders`` asks consumers to look anew, ``poller`` joins them, ``task`` says
when, ``apps`` for which apps.
"""
