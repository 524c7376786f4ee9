"""forward, the sample consumer that hands events to other systems over HTTP, signed.

``FORWARD_FILE`` declares the systems; each is a consumer of its own, ``forward-<system>``.
"""

from dingbridge.consumers.forward.consumer import SYSTEMS, Forward, consumer_of

__all__ = ["SYSTEMS", "Forward", "consumer_of"]
