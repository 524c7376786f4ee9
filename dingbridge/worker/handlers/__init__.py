"""Handlers for one EventType: ``@on("user_add_org")`` on a method of a ``Consumer``.

``on`` has a type for each EventType's ``data``; ``marks`` is what it does.
"""
