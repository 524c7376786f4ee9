"""``make demo``: the whole bridge on one machine, alive for half a minute, and then the summary.

``scenario`` is the course of events; in it ``both_ways`` is played by ``oa``, an OA that knows only topics;
``processes`` the processes; ``poller`` collects the figures, from Kafka
by ``topics`` and from the OA databases by ``databases``; ``verification`` compares what must be with what is;
``summary`` puts the end into words; ``table`` shows it all. The demo is an outsider: it knows DingTalk's
side, Kafka's records and the tables' SQL, and uses nothing of the ingress' or the consumers' code.
"""
