"""A stand-in for the DingTalk Open Platform, over real HTTP: for the local stack, the demo and the tests.

It speaks by DingTalk's documents and not by our client, so that what works here has a chance to work there.
Everything it knows is invented from a seed; nothing is written to disk.

In the order in which something happens: ``company`` and ``approvals`` hold the state, ``platform`` changes
it and yields events (shaped by ``events``), ``push`` delivers them, ``failed`` keeps what could not be
delivered; ``api`` is DingTalk's HTTP surface, ``control`` ours, ``activity`` lets the company live, and
``server`` puts it all together.
"""
