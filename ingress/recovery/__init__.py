"""Recovery of pushes that DingTalk gave up: its failed list is read, and enters the journal like callbacks.

``convert`` says what an item becomes (pure), ``poller`` reads one page after the other and keeps it, ``apps``
says when, and for which apps.
"""
