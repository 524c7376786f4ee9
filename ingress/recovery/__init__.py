"""Recovery of pushes that DingTalk gave up: its failed list is read, and enters the journal like callbacks.

``source`` speaks to DingTalk, ``convert`` says what an item becomes (pure), ``state`` notes what is about to
be read, ``poller`` joins them for one page after the other, ``scheduler`` says when, ``apps`` for which apps.
"""
