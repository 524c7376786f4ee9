"""Recovery of pushes that DingTalk gave up: its failed list is read, and enters the journal like callbacks.

``convert`` makes a callback of an item (pure), ``poller`` reads page after page and keeps them, ``apps``
decides when, and for which apps.
"""
