"""``dingbridge probe``: makes the reads that the installed consumers need, at a real app, and compares.

``cli`` announces, asks and prints; ``run`` makes the calls that parts declare (``dingbridge.doctor.parts``);
``recorder`` keeps what came, in memory; ``compare`` and ``judge`` hold it against the tables that the client
uses (``dingbridge.dingtalk.api.shapes``, the codes of refusals, the catalogue of events); ``times`` holds an
approval's clocks against each other; ``lag`` measures how late reads are behind events; ``report`` writes
what was seen without a value, by the names that ``names`` lets through. It reads, and changes nothing.
"""
