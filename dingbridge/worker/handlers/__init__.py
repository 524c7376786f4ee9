"""Handlers for one EventType: ``@on(UserAddOrg)`` on a method of a ``Consumer``.

``on`` is the decorator; ``marks`` finds the handlers of a class.
"""
