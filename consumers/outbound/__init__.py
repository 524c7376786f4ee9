"""outbound: what the OA wants reaches DingTalk, and what people change there comes back without an echo."""

from dingbridge.consumers.outbound.consumer import Outbound

__all__ = ["Outbound"]
