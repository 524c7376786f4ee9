"""``dingbridge console``: one event's whole life on one page, for those who run the bridge.

A process of its own on top of the others: it reads journals, topics, the consumers' databases and the private
listeners, and changes nothing by itself. Whatever a page does is a ``dingbridge`` command (``commands.py``).
"""
