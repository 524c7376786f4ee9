"""``dingbridge demo``: the whole bridge on one machine, alive for half a minute, and then the accounts.

``story`` is the course of events; ``stack`` the processes; ``watch`` collects the figures, from Kafka by
``topics`` and from the OA databases by ``databases``; ``tally`` compares what must be with what is;
``accounts`` puts the end into words; ``table`` shows it all. The demo is an outsider: it knows DingTalk's
side, Kafka's records and the tables' SQL, and uses nothing of the ingress' or the consumers' code.
"""
